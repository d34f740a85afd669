from __future__ import annotations

import itertools
import time

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from extensions.dead_letters import Failure, write_letter
from extensions.keys import LANES, QueueKeys
from extensions.queue import (
    GROUP,
    Add,
    Bury,
    Done,
    Leased,
    Operation,
    RequestQueue,
    Return,
    Status,
)
from extensions.versions import NewerVersionError

KEYS = QueueKeys("test")


def add(url: str = "u", lane: int = 2, *, seen=None, delay: float = 0.0, watcher: str = "") -> Add:
    fields = {"url": url, **({"watcher": watcher} if watcher else {})}
    return Add(lane, fields, seen, delay)


def bury(leased: Leased, **changes) -> Bury:
    letter = write_letter(leased, Failure("why"), attempts=1, now=2.0)
    return Bury(leased, letter | changes)


def again(leased: Leased, delay: float = 0.0, lane: int = 2) -> Return:
    return Return(leased, lane, {n.decode(): v.decode() for n, v in leased.fields.items()}, delay)


def urls(leased: list[Leased]) -> list[str]:
    return [one.fields[b"url"].decode() for one in leased]


@pytest.fixture
def worker(redis, clock):
    """Open the queue as a worker of the given name."""

    def build(name: str = "ann", lease: float = 30.0) -> RequestQueue:
        queue = RequestQueue(redis, "test", worker=name, lease=lease, clock=clock)
        queue.open()
        return queue

    return build


@pytest.fixture
def queue(worker) -> RequestQueue:
    return worker()


def test_requests_of_an_earlier_lane_are_leased_first(queue):
    queue.commit([add("backfill", 3), add("battle", 2), add("search", 1), add("battle2", 2)])

    _, leased = queue.lease(3)

    assert urls(leased) == ["search", "battle", "battle2"]


def test_one_commit_serves_many_operations_and_tells_of_each_whether_it_took_effect(queue):
    queue.commit([add("a", seen=(1, "1")), add("b")])
    _, (first, second) = queue.lease(2)

    effects = queue.commit(
        [add("a", seen=(1, "1")), Done(first, "archived"), Done(first, "archived"), bury(second)]
    )

    assert effects == [False, True, False, True]


@pytest.mark.parametrize(
    "settle",
    [lambda leased: Done(leased, "archived"), again, lambda leased: again(leased, 60.0), bury],
    ids=["done", "returned", "delayed", "buried"],
)
def test_a_commit_that_arrives_twice_settles_a_lease_once(queue, settle):
    queue.commit([add()])
    _, [leased] = queue.lease(1)
    operation: Operation = settle(leased)
    queue.commit([operation])
    once = queue.status()

    effects = queue.commit([operation])

    assert effects == [False]
    assert queue.status() == once


def test_a_request_that_is_not_filtered_is_added_as_often_as_it_is_sent(queue):
    queue.commit([add("u"), add("u")])

    assert queue.status().left == 2


def test_the_same_fingerprint_in_another_bucket_is_another_request(queue):
    effects = queue.commit([add(seen=(1, "5")), add(seen=(2, "5")), add(seen=(2, "5"))])

    assert effects == [True, True, False]


def test_a_delayed_request_is_leased_when_it_is_due_and_not_before(queue, clock):
    queue.commit([add(delay=60.0)])
    clock.now += 59.9
    _, early = queue.lease(1)
    clock.now += 0.1

    _, due = queue.lease(1)

    assert (urls(early), urls(due)) == ([], ["u"])


def test_without_a_clock_of_its_own_a_queue_takes_the_servers(redis):
    queue = RequestQueue(redis, "test", worker="ann")
    queue.open()
    queue.commit([add("later", delay=60.0), add("now", delay=0.0)])

    _, leased = queue.lease(2)

    assert urls(leased) == ["now"]


def test_two_delayed_requests_that_look_the_same_are_two(queue, clock):
    queue.commit([add(delay=5.0), add(delay=5.0)])
    clock.now += 5.0

    _, leased = queue.lease(5)

    assert urls(leased) == ["u", "u"]


@pytest.mark.parametrize(
    ("member", "shown"),
    [
        ("{", "not JSON"),
        ("5", "5"),
        ("[1,9,[]]", "[1,9,[]]"),
        ('[1,6,["url","u"]]', '[1,6,["url","u"]]'),
        ('[1,2,["odd"]]', '[1,2,["odd"]]'),
        ('[1,2,{"url":"u"}]', '[1,2,{"url":"u"}]'),
    ],
    ids=["no JSON", "no list", "no lane", "no lane but a key", "no pairs", "no fields"],
)
def test_a_delayed_request_that_is_none_becomes_an_entry_that_says_so(queue, redis, member, shown):
    redis.zadd(KEYS.delayed, {member: 1.0})
    queue.commit([add(lane=3)])

    _, leased = queue.lease(2)

    assert [one.fields for one in leased] == [{b"delayed": shown.encode()}, {b"url": b"u"}]
    assert redis.zcard(KEYS.delayed) == 0
    assert queue.status().imbalance() == 0


def test_no_request_is_leased_twice_while_its_holder_lives(worker):
    ann, bob = worker("ann"), worker("bob")
    ann.commit([add("a"), add("b"), add("c")])

    leased = [one for queue in (ann, bob, ann, bob) for one in queue.lease(1)[1]]

    assert urls(leased) == ["a", "b", "c"]
    assert ann.reclaim() == bob.reclaim() == []


def test_a_dead_workers_requests_go_to_whoever_asks(worker):
    ann, bob = worker("ann", lease=0.0), worker("bob", lease=0.0)
    ann.commit([add("a", 1), add("b", 3)])
    ann.lease(2)

    taken = bob.reclaim()

    assert [(one.lane, one.deliveries) for one in taken] == [(1, 2), (3, 2)]
    assert urls(taken) == ["a", "b"]


def test_more_requests_than_one_look_can_take_are_taken_in_the_next(worker):
    ann, bob = worker("ann"), worker("bob", lease=0.0)
    ann.commit([add(f"u{n}") for n in range(150)])
    ann.lease(150)

    taken = [one for _ in range(2) for one in bob.reclaim()]

    assert len({one.id for one in taken}) == 150


def test_an_entry_that_was_deleted_by_hand_is_not_taken_over(queue, redis, worker):
    queue.commit([add("a"), add("b")])
    _, [leased, _] = queue.lease(2)
    redis.xdel(KEYS.lanes[1], leased.id)

    taken = worker("bob", lease=0.0).reclaim()

    assert urls(taken) == ["b"]


def test_what_another_took_over_is_not_renewed_for_the_first(worker, redis):
    ann, bob = worker("ann"), worker("bob", lease=0.0)
    ann.commit([add()])
    _, leased = ann.lease(1)
    bob.reclaim()

    ann.renew(leased)

    [pending] = redis.xpending_range(KEYS.lanes[1], GROUP, "-", "+", 10)
    assert pending["consumer"] == b"bob"


def test_renewing_begins_the_lease_anew(worker, redis):
    ann = worker("ann")
    ann.commit([add()])
    _, leased = ann.lease(1)
    redis.xclaim(KEYS.lanes[1], GROUP, "ann", 0, [leased[0].id], idle=29_999, justid=True)

    ann.renew(leased)

    [pending] = redis.xpending_range(KEYS.lanes[1], GROUP, "-", "+", 10)
    assert pending["time_since_delivered"] < 5_000
    assert pending["times_delivered"] == 1


def test_what_is_given_back_can_be_taken_at_once_and_does_not_count_as_a_delivery(worker):
    ann, bob = worker("ann"), worker("bob")
    ann.commit([add()])
    _, leased = ann.lease(1)
    ann.give_back(leased)

    [taken] = bob.reclaim()

    assert taken.deliveries == 1


def test_renewing_and_giving_back_nothing_asks_redis_nothing(queue, redis):
    before = redis.info("stats")["total_commands_processed"]

    queue.renew([])
    queue.give_back(iter([]))

    assert redis.info("stats")["total_commands_processed"] == before + 1


def test_a_worker_whose_lease_was_taken_over_can_still_finish_first(worker):
    ann, bob = worker("ann"), worker("bob", lease=0.0)
    ann.commit([add()])
    _, [slow] = ann.lease(1)
    [taken] = bob.reclaim()

    effects = [ann.commit([Done(slow, "archived")]), bob.commit([Done(taken, "archived")])]

    assert effects == [[True], [False]]
    assert bob.status().total("archived") == 1


def test_a_returned_request_changes_lane_and_the_ledger_follows(queue):
    queue.commit([add(lane=1)])
    _, [leased] = queue.lease(1)

    queue.commit([again(leased, lane=3)])

    lanes = queue.status().lanes
    assert (lanes["discovery"]["discovered"], lanes["backfill"]["discovered"]) == (0, 1)
    assert lanes["backfill"]["queued"] == 1


def test_a_paused_queue_leases_nothing_until_it_is_resumed(queue):
    queue.commit([add()])
    queue.set_state("paused")
    paused = queue.lease(1)
    queue.set_state("running")

    running = queue.lease(1)

    assert paused == ("paused", [])
    assert (running[0], urls(running[1])) == ("running", ["u"])


def test_a_draining_queue_leases_what_there_is(queue):
    queue.commit([add()])
    queue.set_state("draining")

    state, leased = queue.lease(1)

    assert (state, urls(leased)) == ("draining", ["u"])


def test_there_is_one_watcher_of_a_name(queue):
    effects = queue.commit([add("a", watcher="w"), add("b", watcher="w"), add("c", watcher="v")])

    assert effects == [True, False, True]
    assert queue.status().watchers == 2


def test_a_watcher_is_not_left_to_do(queue):
    queue.commit([add(watcher="w"), add()])

    assert queue.status().left == 1


def test_a_watcher_stays_one_while_it_is_leased_and_put_back(queue):
    queue.commit([add(watcher="w")])
    _, [leased] = queue.lease(1)
    during = queue.status()
    queue.commit([again(leased, 60.0)])

    after = queue.status()

    assert (during.left, during.watchers) == (after.left, after.watchers) == (0, 1)


@pytest.mark.parametrize(
    "end", [lambda leased: Done(leased, "followed"), bury], ids=["done", "buried"]
)
def test_a_watcher_that_ends_makes_room_for_another(queue, end):
    queue.commit([add(watcher="w")])
    _, [leased] = queue.lease(1)
    queue.commit([end(leased)])

    effects = queue.commit([add(watcher="w")])

    assert effects == [True]
    assert queue.status().left == 0


def test_a_request_that_its_watcher_keeps_out_is_not_seen(queue):
    queue.commit([add("a", watcher="w"), add("b", watcher="w", seen=(1, "1"))])

    effects = queue.commit([add("b", seen=(1, "1"))])

    assert effects == [True]


def test_a_dead_letter_is_kept_with_a_number_of_its_own(queue):
    queue.commit([add("a"), add("b")])
    _, leased = queue.lease(2)

    queue.commit([bury(one) for one in leased])

    letters = queue.dead_letters()
    assert list(letters) == ["1", "2"]
    assert [letter["fields"] for letter in letters.values()] == [["url", "a"], ["url", "b"]]


def test_dead_letters_are_listed_oldest_first(queue):
    queue.commit([add(f"u{n}") for n in range(12)])
    _, leased = queue.lease(12)

    queue.commit([bury(one) for one in leased])

    assert list(queue.dead_letters()) == [str(n) for n in range(1, 13)]


def test_a_requeued_letter_is_a_request_again_and_the_rest_are_named(queue):
    queue.commit([add("ü", 3)])
    _, [leased] = queue.lease(1)
    queue.commit([bury(leased)])

    settled = queue.requeue(["7", "1", "no number"])

    _, [back] = queue.lease(1)
    assert settled == ["1"]
    assert (back.lane, back.fields) == (3, {b"url": "ü".encode()})
    assert queue.dead_letters() == {}


def test_a_letter_that_cannot_be_read_is_not_requeued_but_can_be_dropped(queue):
    queue.commit([add()])
    _, [leased] = queue.lease(1)
    queue.commit([bury(leased, fields=[])])

    requeued, dropped = queue.requeue(["1"]), queue.drop(["1"])

    assert (requeued, dropped) == ([], ["1"])
    assert queue.status().total("dropped") == 1
    assert queue.status().imbalance() == 0


def test_a_requeued_watcher_is_a_watcher_again(queue):
    queue.commit([add(watcher="w")])
    _, [leased] = queue.lease(1)
    queue.commit([bury(leased)])

    queue.requeue(["1"])

    status = queue.status()
    assert (status.left, status.watchers) == (0, 1)
    assert queue.commit([add(watcher="w")]) == [False]


def test_a_watcher_that_another_has_replaced_is_dropped_when_requeued(queue):
    queue.commit([add("old", watcher="w")])
    _, [leased] = queue.lease(1)
    queue.commit([bury(leased), add("new", watcher="w")])

    settled = queue.requeue(["1"])

    status = queue.status()
    assert settled == ["1"]
    assert (status.left, status.watchers, status.imbalance()) == (0, 1, 0)
    assert status.total("dropped") == 1
    assert urls(queue.lease(5)[1]) == ["new"]


def test_a_thousand_letters_are_requeued_and_each_is_accounted_for(queue):
    queue.commit([add(f"u{n}") for n in range(1000)])
    _, leased = queue.lease(1000)
    queue.commit([bury(one) for one in leased])

    settled = queue.requeue(list(queue.dead_letters()))

    status = queue.status()
    assert len(settled) == status.left == 1000
    assert (status.dead_letters, status.imbalance()) == (0, 0)


def test_settling_letters_twice_settles_them_once(queue):
    queue.commit([add()])
    _, [leased] = queue.lease(1)
    queue.commit([bury(leased)])
    queue.requeue(["1"])

    settled = [queue.requeue(["1"]), queue.drop(["1"])]

    assert settled == [[], []]
    assert queue.status().left == 1


def test_what_was_seen_is_forgotten_when_nothing_is_left(queue):
    queue.commit([add(seen=(1, "1"))])
    _, [leased] = queue.lease(1)
    queue.commit([Done(leased, "archived")])

    queue.status(forget_if_finished=True)

    assert queue.commit([add(seen=(1, "1"))]) == [True]


@pytest.mark.parametrize(
    "leave",
    [
        lambda queue: queue.commit([add("other")]),
        lambda queue: queue.commit([add("other", delay=60.0)]),
        lambda queue: queue.commit([add("other")]) and queue.lease(1),
    ],
    ids=["waiting", "delayed", "leased"],
)
def test_what_was_seen_is_kept_as_long_as_anything_is_left(queue, leave):
    queue.commit([add(seen=(1, "1"))])
    _, [leased] = queue.lease(1)
    queue.commit([Done(leased, "archived")])
    leave(queue)

    queue.status(forget_if_finished=True)

    assert queue.commit([add(seen=(1, "1"))]) == [False]


def test_looking_at_the_status_forgets_nothing(queue):
    queue.commit([add(seen=(1, "1"))])
    _, [leased] = queue.lease(1)
    queue.commit([Done(leased, "archived")])

    queue.status()

    assert queue.commit([add(seen=(1, "1"))]) == [False]


def test_a_purged_queue_is_empty_and_can_be_used(queue):
    queue.commit([add(seen=(1, "1")), add(watcher="w", delay=5.0), add()])
    _, [leased, _] = queue.lease(5)
    queue.commit([bury(leased)])
    queue.set_state("paused")

    queue.purge()

    status = queue.status()
    assert (status.state, status.left, status.watchers, status.dead_letters) == ("running", 0, 0, 0)
    assert {n for lane in status.lanes.values() for n in lane.values()} == {0}
    assert queue.commit([add(seen=(1, "1")), add(watcher="w")]) == [True, True]


@pytest.mark.parametrize("name", ["test2:lane:discovery", "testing", "test:index:rows:1", "other"])
def test_purging_touches_no_keys_but_the_queues_own(queue, redis, name):
    redis.set(name, "precious")
    redis.set(KEYS.seen(8191), "mine")

    purged = queue.purge()

    assert redis.getdel(name) == b"precious"
    assert purged == len(KEYS.lanes) + 1


def test_a_lease_from_before_a_purge_settles_nothing(queue):
    queue.commit([add()])
    _, [leased] = queue.lease(1)
    queue.purge()

    effects = queue.commit([Done(leased, "archived"), again(leased), bury(leased)])

    assert effects == [False, False, False]
    assert queue.status().imbalance() == 0


def test_opening_twice_keeps_what_there_is(queue):
    queue.commit([add()])

    queue.open()

    assert queue.status().left == 1


def test_opening_says_so_when_a_key_is_something_else(redis):
    redis.set(KEYS.lanes[0], "not a stream")

    with pytest.raises(ResponseError, match="WRONGTYPE"):
        RequestQueue(redis, "test").open()


def test_opening_forgets_workers_that_are_long_gone_and_hold_nothing(worker, redis, monkeypatch):
    busy, idle = worker("busy"), worker("idle")
    busy.commit([add(), add()])
    busy.lease(1)
    _, [leased] = idle.lease(1)
    idle.commit([Done(leased, "archived")])
    monkeypatch.setattr("extensions.queue._FORGOTTEN", -1)

    worker("new")

    names = [consumer["name"] for consumer in redis.xinfo_consumers(KEYS.lanes[1], GROUP)]
    assert names == [b"busy"]


def test_a_status_tells_an_imbalance():
    lanes = {name: {"discovered": 0, "queued": 0, "leased": 0} for name in LANES}
    lanes["downloads"] |= {"discovered": 5, "queued": 1, "leased": 1, "archived": 1, "delayed": 1}

    status = Status("running", 3, 0, 0, lanes)

    assert status.imbalance() == 1
    assert status.total("archived") == 1


@pytest.mark.parametrize(
    "key", [KEYS.delayed, KEYS.counts, KEYS.watchers, KEYS.dead_letters, KEYS.hosts, KEYS.seen(0)]
)
def test_a_commit_that_meets_another_type_does_nothing_at_all(queue, redis, key):
    queue.commit([add()])
    _, [leased] = queue.lease(1)
    redis.delete(key)
    redis.lpush(key, "a list")
    before = {name: redis.dump(name) for name in redis.keys("test:*")}

    with pytest.raises(ResponseError, match=f"WRONGTYPE {key} is a list"):
        queue.commit(
            [
                add(watcher="w"),
                Done(leased, "archived"),
                bury(leased),
                add(delay=5.0, seen=(0, "1")),
            ]
        )

    assert {name: redis.dump(name) for name in redis.keys("test:*")} == before


def test_a_batch_that_comes_again_is_answered_and_not_done_again(queue):
    first = queue.commit([add(), add(seen=(0, "1")), add(seen=(0, "1"))], "1")

    again = queue.commit([add(), add(seen=(0, "1")), add(seen=(0, "1"))], "1")

    assert first == again == [True, True, False]
    assert queue.status().left == 2
    assert queue.commit([add()], "2") == [True]


def test_batches_of_two_workers_have_nothing_to_do_with_one_another(worker):
    ann, bob = worker("ann"), worker("bob")
    ann.commit([add()], "1")

    assert bob.commit([add()], "1") == [True]
    assert ann.status().left == 2


def test_a_batch_is_forgotten_after_minutes(queue, redis):
    queue.commit([add()], "1")

    assert 0 < redis.ttl(KEYS.batch("ann")) <= 600


def start(url: str = "first", *, lane: int = 1, delay: float = 0.0) -> Add:
    return Add(lane, {"url": url, "family": "gen/*"}, ("gen/*", url), delay, is_start=True)


def member(url: str) -> Add:
    return Add(1, {"url": url, "family": "gen/*"}, ("gen/*", url))


def test_a_family_begins_anew_once_none_of_it_is_left(queue):
    assert queue.commit([start()]) == [True]
    _, [first] = queue.lease(1)
    assert queue.commit([member("second"), member("second"), Done(first, "followed")]) == [
        True,
        False,
        True,
    ]
    _, [second] = queue.lease(1)
    queue.commit([Done(second, "followed")])

    assert queue.commit([start(), member("second")]) == [True, True]


@pytest.mark.parametrize("where", ["queued", "leased", "delayed", "returned"])
def test_a_family_does_not_begin_while_any_of_it_is_here(queue, where):
    queue.commit([start(delay=60.0 if where == "delayed" else 0.0)])
    if where in ("leased", "returned"):
        _, [leased] = queue.lease(1)
    if where == "returned":
        queue.commit([again(leased, 60.0, lane=1)])

    assert queue.commit([start()]) == [False]


def test_what_a_family_saw_is_nobody_elses(queue):
    queue.commit([start()])

    assert queue.commit([add("first", 1, seen=(0, "first"))]) == [True]


def test_a_purge_forgets_families_and_keeps_the_epoch(queue, redis):
    queue.commit([start()])
    epoch = queue.epoch

    queue.purge()

    assert not redis.keys("test:family:*")
    assert queue.commit([start()]) == [True]
    assert queue.epoch == epoch


def test_what_families_saw_is_gone_a_week_after_their_last(queue, redis):
    queue.commit([start(), member("second")])

    assert redis.ttl(KEYS.family("gen/*")) > 6 * 86_400


def test_a_queue_that_redis_lost_has_another_epoch_for_everybody(worker, redis):
    ann, bob = worker("ann"), worker("bob")
    assert ann.epoch == bob.epoch != ""
    redis.flushdb()
    ann.open()

    bob.lease(1)

    assert ann.epoch == bob.epoch
    assert bob.epoch != ""


def test_a_queue_of_a_later_version_is_left_alone(redis):
    redis.hset(KEYS.about, mapping={"version": 3, "epoch": "theirs"})

    with pytest.raises(NewerVersionError, match=r"the queue test is of version 3.*up to 2"):
        RequestQueue(redis, "test").open()

    assert redis.keys("*test*") == [KEYS.about.encode()]


def test_a_worker_that_took_a_request_meanwhile_is_not_forgotten(worker, redis, monkeypatch):
    """Between a look and the end of a consumer it could take a request with it."""
    idle = worker("idle")
    idle.commit([add(), add()])
    idle.lease(1)
    monkeypatch.setattr("extensions.queue._FORGOTTEN", -1)
    names = [call["command"] for call in _commands(redis, lambda: worker("new"))]

    assert [name for name in names if name not in ("HELLO", "CLIENT", "SELECT")] == [
        "HGET",
        "HGET",
        "EVALSHA",
    ]
    assert idle.status().lanes["downloads"]["leased"] == 1


def _commands(redis, act) -> list[dict]:
    """What one connection asks the server, in so many trips."""
    with redis.monitor() as monitor:
        act()
        redis.echo("over")
        heard = iter(monitor.next_command, None)
        seen = itertools.takewhile(lambda one: not one["command"].startswith("ECHO"), heard)
        return [
            {**one, "command": one["command"].split()[0]}
            for one in seen
            if one["client_type"] != "lua"
        ]


@pytest.fixture
def stands_still(monkeypatch):
    """Have this process have stood still for longer than a lease lasts."""

    def stand() -> None:
        now = time.monotonic()
        monkeypatch.setattr("extensions.queue._seconds", lambda: now + 31.0)

    return stand


def test_a_clock_that_is_set_back_makes_nothing_wait_that_much_longer(queue, clock):
    queue.commit([add(url="http://a/", delay=60.0), add(url="http://b/", delay=5.0)])
    clock.now += 2.0
    queue.lease(1)
    clock.now -= 3600.0
    queue.lease(1)
    clock.now += 4.0
    _, soon = queue.lease(9)
    clock.now += 56.0
    _, later = queue.lease(9)

    assert [one.fields[b"url"] for one in soon] == [b"http://b/"]
    assert [one.fields[b"url"] for one in later] == [b"http://a/"]


def test_the_dead_hold_their_leases_no_longer_when_the_clock_is_set_back(redis):
    """By the server's own clock, which counts the idle time of leases."""
    dead, alive = (RequestQueue(redis, "test", worker=name, lease=0.2) for name in "da")
    for queue in (dead, alive):
        queue.open()
    dead.commit([add()])
    [leased] = dead.lease(1)[1]
    # As a clock leaves it that is set back by an hour.
    soon = round((time.time() + 3600.0) * 1000)
    lane = KEYS.lanes[leased.lane - 1]
    redis.xclaim(lane, GROUP, "d", 0, [leased.id], time=soon, justid=True)
    redis.hset(KEYS.counts, "clock", soon)

    alive.lease(1)
    time.sleep(0.25)

    assert [one.id for one in alive.reclaim()] == [leased.id]


def test_a_worker_that_stood_still_asks_which_leases_it_has(worker, redis, stands_still):
    ann, bob = worker("ann"), worker("bob")
    ann.commit([add(), add()])
    _, leased = ann.lease(2)
    ann.renew(leased)
    redis.xclaim(KEYS.lanes[1], GROUP, "bob", 0, [leased[0].id])

    before = ann.holds(leased)
    stands_still()

    assert before == [True, True]
    assert ann.holds(leased) == [False, True]
    assert bob.holds(leased) == [True, False]


def test_a_renewal_of_nothing_says_nothing_of_what_is_held(worker, redis, stands_still):
    ann = worker("ann")
    ann.commit([add()])
    _, leased = ann.lease(1)
    ann.renew(leased)
    redis.xclaim(KEYS.lanes[1], GROUP, "bob", 0, [leased[0].id])
    stands_still()

    ann.renew([])

    assert ann.holds(leased) == [False]


def test_a_lease_counts_as_held_while_nobody_can_be_asked(worker, monkeypatch):
    ann = worker("ann")
    ann.commit([add()])
    _, leased = ann.lease(1)

    def refuse(_held):
        raise RedisConnectionError("away")

    monkeypatch.setattr(ann, "_are_pending", refuse)

    assert ann.holds(leased) == [True]


def test_a_renewal_says_what_others_took_over(worker, redis):
    ann = worker("ann")
    ann.commit([add(), add(), add()])
    _, leased = ann.lease(3)
    redis.xclaim(KEYS.lanes[1], GROUP, "bob", 0, [leased[1].id])

    assert ann.renew(leased) == [leased[1]]
    assert ann.renew([leased[0]]) == []


def test_a_commit_that_fails_takes_nothing_out(queue, redis):
    queue.commit([add()])
    _, [leased] = queue.lease(1)
    redis.set(KEYS.delayed, "no sorted set")

    with pytest.raises(ResponseError):
        queue.commit([add(delay=5.0), Done(leased, "archived")])

    assert redis.xlen(KEYS.lanes[1]) == 1


def contents(redis) -> dict:
    return {key: redis.dump(key) for key in redis.scan_iter()}


def test_a_version_is_checked_without_a_change(queue, redis):
    queue.check_version()
    redis.hset(KEYS.about, "version", 3)
    before = contents(redis)

    with pytest.raises(NewerVersionError, match=r"the queue test is of version 3.*up to 2"):
        queue.check_version()

    assert contents(redis) == before


def test_a_queue_that_is_not_there_is_of_no_later_version(redis):
    RequestQueue(redis, "nowhere").check_version()

    assert redis.keys() == []


def test_a_queue_that_is_renounced_begins_anew_for_all(worker):
    ann, bob = worker("ann"), worker("bob")
    ann.commit([add(seen=(1, "7"))])
    before = ann.epoch

    ann.renounce()
    bob.lease(1)
    [effect] = bob.commit([add(seen=(1, "7"))])

    assert bob.epoch not in (before, "")
    assert (effect, bob.status().left) == (True, 1)


def test_a_queue_is_renounced_once_by_all_who_notice(worker):
    ann, bob = worker("ann"), worker("bob")
    ann.renounce()
    ann.commit([add()])

    bob.renounce()

    assert ann.status().left == 1


def test_a_queue_of_a_later_version_is_not_thrown_away(queue, redis):
    queue.commit([add()])
    redis.hset(KEYS.about, "version", 3)
    before = contents(redis)

    with pytest.raises(NewerVersionError):
        queue.purge()

    assert contents(redis) == before


@pytest.mark.parametrize("name", ["watcher", "roster"])
def test_an_entry_whose_names_are_no_text_can_be_settled(queue, redis, name):
    redis.xadd(KEYS.lanes[1], {"url": "u", name: b"\xff \xff"})
    _, [leased] = queue.lease(1)

    assert queue.commit([Done(leased, "gone")]) == [True]


def test_a_redis_that_throws_nothing_away_has_thrown_away_none(queue):
    assert queue.evicted_keys() == 0
