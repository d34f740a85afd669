"""What the queue does not lease: for hosts that are held, and discovery while downloads pile up."""

from __future__ import annotations

import pytest

from extensions.hosts import Hosts, Policy
from extensions.keys import HostKeys, QueueKeys
from extensions.queue import Add, Done, Leased, RequestQueue

KEYS = QueueKeys("test")


def add(url: str, lane: int = 2, delay: float = 0.0, **fields: str) -> Add:
    return Add(lane, {"url": url, **fields}, None, delay)


def urls(leased: tuple[str, list[Leased]]) -> list[str]:
    return [one.fields[b"url"].decode() for one in leased[1]]


class HeedingQueue(RequestQueue):
    """Leases nothing for hosts that are held, as a worker with a throttle does."""

    hosts: Hosts

    def lease(self, count: int) -> tuple[str, list[Leased]]:
        return super().lease(
            count, {host: left for host, left in self.hosts.gates().items() if left}
        )


@pytest.fixture
def worker(redis, clock, hosts):
    """Open the queue as a worker of the given name."""

    def build(name: str = "ann", **arguments) -> RequestQueue:
        queue = HeedingQueue(redis, "test", worker=name, clock=clock, **arguments)
        queue.hosts = hosts
        queue.open()
        return queue

    return build


@pytest.fixture
def queue(worker) -> RequestQueue:
    return worker()


@pytest.fixture
def hosts(redis, clock) -> Hosts:
    return Hosts(redis, HostKeys().namespace, clock=clock)


@pytest.fixture
def hold(hosts):
    """Close the gate of a host for so many seconds."""

    def close(host: str, seconds: float = 60.0) -> None:
        hosts.hold(host, "HTTP 429", asked=seconds, default=1.0, longest=86_400.0)

    return close


# --- Gates ----------------------------------------------------------------------------------------


def test_nothing_is_leased_for_a_held_host_and_others_pass_it(queue, hold):
    queue.commit([add("http://held/1"), add("http://held/2"), add("http://open/3")])
    hold("held")

    assert urls(queue.lease(1)) == ["http://open/3"]


def test_a_few_wanted_are_found_behind_many_held(queue, hold):
    queue.commit([add(f"http://held/{n}") for n in range(120)])
    queue.commit([add(f"http://open/{n}") for n in range(3)])
    hold("held")

    assert urls(queue.lease(3)) == [f"http://open/{n}" for n in range(3)]


def test_when_very_many_are_held_the_rest_is_found_in_the_next_look(queue, hold):
    queue.commit([add("http://held/") for _ in range(600)])
    queue.commit([add("http://open/")])
    hold("held")

    assert [urls(queue.lease(5)), urls(queue.lease(5))] == [[], ["http://open/"]]


def test_what_is_held_waits_among_the_delayed_until_its_gate_opens(queue, hold, clock):
    queue.commit([add("http://held/1", 1), add("http://held/2", 3), add("http://open/")])
    hold("held", 60.0)
    queue.lease(5)
    status = queue.status()
    clock.now += 59.9
    early = urls(queue.lease(5))
    clock.now += 0.2

    assert (status.total("delayed"), status.lanes["discovery"]["delayed"]) == (2, 1)
    assert early == []
    assert urls(queue.lease(5)) == ["http://held/1", "http://held/2"]


def test_what_is_held_keeps_its_fields(queue, hold, clock):
    queue.commit([add("http://held/", meta='{"a": [1.5, "é"]}', method="POST")])
    queue.commit([add("http://open/")])
    hold("held", 1.0)
    queue.lease(5)
    clock.now += 1.1

    [leased] = queue.lease(5)[1]

    assert leased.fields == {
        b"url": b"http://held/",
        b"meta": '{"a": [1.5, "é"]}'.encode(),
        b"method": b"POST",
    }


def test_the_ledger_balances_while_a_host_is_held_and_after(queue, hold, clock):
    queue.commit([add("http://held/", lane) for lane in (1, 2, 3)])
    queue.commit([add("http://held/watch", 1, watcher="w"), add("http://open/")])
    hold("held", 60.0)
    queue.commit([Done(one, "archived") for one in queue.lease(9)[1]])
    during = queue.status()
    clock.now += 61.0
    leased = queue.lease(9)[1]
    queue.commit([Done(one, "archived") for one in leased])
    after = queue.status()

    assert (during.imbalance(), during.left, during.watchers) == (0, 3, 1)
    assert (len(leased), after.imbalance(), after.left, after.watchers) == (4, 0, 0, 0)
    assert (after.total("archived"), after.total("delayed")) == (5, 0)


def test_while_every_host_is_held_nothing_moves(queue, hold, redis):
    queue.commit([add("http://a/"), add("http://b/", 1)])
    hold("a")
    hold("b")
    before = queue.status()

    assert urls(queue.lease(5)) == []
    assert queue.status() == before
    assert before.total("queued") == 2
    assert redis.zcard(KEYS.delayed) == 0


def test_when_one_of_all_held_hosts_opens_its_requests_are_leased_at_once(queue, hold, hosts):
    queue.commit([add("http://a/"), add("http://b/")])
    hold("a")
    hold("b")
    queue.lease(5)

    hosts.reopen("b")

    assert urls(queue.lease(5)) == ["http://b/"]


def test_a_host_that_this_queue_does_not_ask_holds_nothing(queue, hold):
    queue.commit([add("http://mine/")])
    hold("another")

    assert urls(queue.lease(5)) == ["http://mine/"]


def test_a_hold_that_is_over_holds_nothing(queue, hold, clock):
    queue.commit([add("http://site/")])
    hold("site", 5.0)
    clock.now += 5.0

    assert urls(queue.lease(5)) == ["http://site/"]


def test_an_open_breaker_holds_its_host_too(queue, hosts):
    queue.commit([add("http://site/")])
    hosts.report("site", Policy(errors=1), failures=1)

    assert urls(queue.lease(5)) == []


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://Site.Example/x", "site.example"),
        ("http://u:p@site.example/", "site.example"),
        ("ws://site.example?x=1", "site.example"),
        ("http://site.example:80#x", "site.example:80"),
        ("http://[::1]:8000/", "[::1]:8000"),
    ],
    ids=["case", "user", "query", "port", "IPv6"],
)
def test_a_request_is_known_by_the_host_that_the_throttle_knows(queue, hold, url, host):
    queue.commit([add(url), add("http://open/")])
    hold(host)

    assert urls(queue.lease(5)) == ["http://open/"]


@pytest.mark.parametrize(
    "url", ["http://site.example:81/", "http://a.site.example/", "nonsense", "data:,site.example"]
)
def test_a_request_for_another_host_is_not_held(queue, hold, url):
    queue.commit([add(url)])
    hold("site.example")

    assert urls(queue.lease(5)) == [url]


def test_a_paused_queue_puts_nothing_off(queue, hold):
    queue.commit([add("http://held/"), add("http://open/")])
    hold("held")
    queue.set_state("paused")

    assert queue.lease(5) == ("paused", [])
    assert queue.status().total("queued") == 2


# --- High water -----------------------------------------------------------------------------------


def fill(queue: RequestQueue, downloads: int) -> None:
    queue.commit([add("http://site/search", 1) for _ in range(9)])
    queue.commit([add(f"http://site/{n}", 2) for n in range(downloads)])


def drain(queue: RequestQueue, count: int) -> list[str]:
    """Lease and finish so many requests one by one, and return their addresses."""
    taken = []
    for _ in range(count):
        _, leased = queue.lease(1)
        taken += urls(("", leased))
        queue.commit([Done(one, "archived") for one in leased])
    return taken


def test_at_high_water_nothing_is_discovered_until_half_of_it_is_done(worker):
    queue = worker(high_water=10)
    fill(queue, 11)

    taken = drain(queue, 8)

    assert taken == [*(f"http://site/{n}" for n in range(7)), "http://site/search"]


def test_below_high_water_discovery_goes_first(worker):
    queue = worker(high_water=10)
    fill(queue, 10)

    assert drain(queue, 1) == ["http://site/search"]


def test_the_status_says_that_discovery_waits(worker):
    queue = worker(high_water=2)
    fill(queue, 3)
    before = queue.status().is_flooded
    queue.lease(0)
    during = queue.status().is_flooded
    drain(queue, 4)

    assert (before, during, queue.status().is_flooded) == (False, True, False)


def test_delayed_downloads_count_and_backfill_does_not(worker):
    queue = worker(high_water=2)
    queue.commit([add("http://site/search", 1), *(add("http://site/b", 3) for _ in range(9))])
    is_led = drain(queue, 1)
    queue.commit([add("http://site/search", 1), *(add("http://site/d", delay=60.0),) * 3])

    assert is_led == ["http://site/search"]
    assert drain(queue, 1) == ["http://site/b"]


def test_discovery_goes_on_when_no_download_is_left_however_low_the_mark(worker):
    queue = worker(high_water=1)
    fill(queue, 2)

    assert drain(queue, 3) == ["http://site/0", "http://site/1", "http://site/search"]


def test_a_mark_of_zero_lets_any_number_wait(worker):
    queue = worker(high_water=0)
    fill(queue, 50)

    assert drain(queue, 1) == ["http://site/search"]


def test_a_mark_that_is_taken_away_ends_the_wait(worker):
    marked, free = worker("ann", high_water=2), worker("bob", high_water=0)
    fill(marked, 9)
    marked.lease(1)

    assert urls(free.lease(1)) == ["http://site/search"]
    assert free.status().is_flooded is False


def test_the_mark_is_forgotten_with_everything_else(worker):
    queue = worker(high_water=2)
    fill(queue, 3)
    queue.lease(1)

    queue.purge()

    assert queue.status().is_flooded is False


# --- Blocked --------------------------------------------------------------------------------------


def test_everybody_can_see_which_worker_begins_nothing_new_and_why(worker):
    ann, bob = worker("ann"), worker("bob")
    ann.block("the spöol is full")
    bob.block("S3 is away")

    assert bob.blocked() == {"ann": "the spöol is full", "bob": "S3 is away"}


def test_a_worker_that_goes_on_is_not_listed(worker):
    ann = worker("ann")
    ann.block("S3 is away")

    ann.block("")

    assert ann.blocked() == {}


@pytest.mark.parametrize(("pause", "listed"), [(59.0, ["ann"]), (61.0, [])])
def test_a_worker_that_no_longer_says_so_is_not_believed(worker, clock, pause, listed):
    worker("ann").block("S3 is away")
    clock.now += pause

    assert list(worker("bob").blocked()) == listed


def test_a_worker_that_repeats_itself_is(worker, clock):
    ann = worker("ann")
    for _ in range(3):
        ann.block("S3 is away")
        clock.now += 40.0

    assert ann.blocked() == {"ann": "S3 is away"}


def test_without_a_clock_of_its_own_a_queue_takes_the_servers(redis):
    queue = RequestQueue(redis, "test", worker="ann")

    queue.block("S3 is away")

    assert queue.blocked() == {"ann": "S3 is away"}
