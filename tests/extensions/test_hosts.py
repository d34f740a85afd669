"""What the fleet shares of hosts, with a clock that the test moves.

Long, because all of its sections ask the same few methods: times, gates, breaker, status.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from extensions.hosts import MARGIN, Grant, Hosts, Limit, Policy, Verdict, database_of, host_of
from extensions.keys import HostKeys
from tests.conftest import Clock, examples

HOST = "site.example"
KEYS = HostKeys("test")
TEN = Limit(rate=10 / MARGIN)
"""Ten permits a second, after the margin."""
_names = (f"host-{n}.example" for n in count())


@pytest.fixture
def hosts(redis, clock) -> Hosts:
    return Hosts(redis, "test", clock=clock)


@pytest.fixture
def news(redis):
    """Return what was published since the test began."""
    channel = redis.pubsub(ignore_subscribe_messages=True)
    channel.subscribe(KEYS.news(database_of(redis)))
    channel.get_message(timeout=1.0)

    def published() -> list:
        heard = []
        while message := channel.get_message(timeout=0.05):
            heard.append(json.loads(message["data"]))
        return heard

    yield published
    channel.close()


def ask(hosts: Hosts, wanted: int = 1, limit: Limit = TEN, host: str = HOST, **more) -> Grant:
    return hosts.acquire(host, wanted, limit, **{"ahead": 0.5, "longest": 60.0, **more})


def times(grant: Grant) -> list[float]:
    """Return when permits may be used, in seconds from the answer."""
    return [pytest.approx(at - grant.now, abs=2e-6) for _, at in grant.permits]


def numbers(grant: Grant) -> list[int]:
    return [number for number, _ in grant.permits]


def hold(hosts: Hosts, asked: float | None = None, **more) -> float:
    return hosts.hold(HOST, "HTTP 429", asked=asked, **{"default": 60, "longest": 86_400, **more})


# --- Times ----------------------------------------------------------------------------------------


def test_requests_are_permitted_at_equal_distances_within_a_margin_of_the_limit(hosts):
    grant = ask(hosts, 3, Limit(rate=10))

    interval = 1 / (10 * MARGIN)
    assert times(grant) == [0.0, interval, 2 * interval]


def test_nothing_is_permitted_further_ahead_than_asked(hosts):
    grant = ask(hosts, 9, ahead=0.35)

    assert times(grant) == [0.0, 0.1, 0.2, 0.3]


def test_who_gets_nothing_is_told_when_to_ask_again(hosts, clock):
    ask(hosts, 9, ahead=0.35)

    early = ask(hosts, ahead=0.35)
    clock.now += early.wait
    later = ask(hosts, ahead=0.35)

    assert (early.permits, early.wait) == ((), pytest.approx(0.05))
    assert times(later) == [0.35]


def test_permits_have_numbers_of_their_own(hosts):
    first, second = ask(hosts, 2), ask(hosts, 2)

    assert numbers(first) + numbers(second) == [1, 2, 3, 4]


def test_after_a_pause_a_burst_may_go_at_once(hosts, clock):
    limit = Limit(TEN.rate, burst=3)
    ask(hosts, 1, limit)
    clock.now += 60.0

    grant = ask(hosts, 5, limit)

    assert times(grant) == [0.0, 0.0, 0.0, 0.1, 0.2]


def test_a_pause_is_not_saved_up_without_a_burst(hosts, clock):
    ask(hosts)
    clock.now += 60.0

    grant = ask(hosts, 2)

    assert times(grant) == [0.0, 0.1]


def test_without_a_rate_everything_may_go_at_once(hosts):
    grant = ask(hosts, 3, Limit())

    assert times(grant) == [0.0, 0.0, 0.0]


def test_each_host_has_a_limit_of_its_own(hosts):
    ask(hosts, 5)

    grant = ask(hosts, host="other.example")

    assert times(grant) == [0.0]


def test_a_crawl_delay_slows_a_host_down(hosts):
    hosts.set_crawl_delay(HOST, 0.25)

    grant = ask(hosts, 9)

    assert times(grant) == [0.0, 0.25, 0.5]


def test_a_crawl_delay_never_makes_a_host_faster(hosts):
    hosts.set_crawl_delay(HOST, 0.01)

    grant = ask(hosts, 2)

    assert times(grant) == [0.0, 0.1]


def test_a_crawl_delay_of_nothing_is_forgotten(hosts):
    hosts.set_crawl_delay(HOST, 3.0)

    hosts.set_crawl_delay(HOST, 0.0)

    assert times(ask(hosts, 2)) == [0.0, 0.1]
    assert hosts.changed() == set()


def test_a_rate_that_was_set_takes_the_place_of_the_settings(hosts):
    hosts.set_rate(HOST, 20 / MARGIN)

    grant = ask(hosts, 3)

    assert times(grant) == [0.0, 0.05, 0.1]


def test_a_rate_of_nothing_lets_everything_go(hosts):
    hosts.set_rate(HOST, 0.0)

    assert times(ask(hosts, 2)) == [0.0, 0.0]


def test_a_rate_that_was_set_can_be_taken_back(hosts):
    hosts.set_rate(HOST, 1.0)

    hosts.set_rate(HOST, None)

    assert times(ask(hosts, 2)) == [0.0, 0.1]
    assert hosts.changed() == set()


def test_hosts_with_a_limit_of_their_own_are_named(hosts):
    hosts.set_rate(HOST, 1.0)
    hosts.set_crawl_delay("slow.example", 3.0)
    ask(hosts, host="usual.example")

    assert hosts.changed() == {HOST, "slow.example"}


def test_without_a_clock_of_its_own_the_servers_counts(redis):
    hosts = Hosts(redis, "test")
    seconds, micros = redis.time()

    grant = ask(hosts, 2)

    assert grant.now == pytest.approx(seconds + micros / 1e6, abs=5.0)
    assert times(grant) == [0.0, 0.1]


@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rate=st.sampled_from([0.5, 3.0, 40.0, 1000.0]),
    burst=st.integers(1, 5),
    questions=st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.001, 0.02, 0.3, 2.0]), st.integers(0, 1), st.integers(1, 20)
        ),
        min_size=1,
        max_size=12,
    ),
)
def test_no_window_holds_more_than_the_limit_however_many_clients_ask(
    redis, rate, burst, questions
):
    clock, host = Clock(), next(_names)
    clients = [Hosts(redis, "test", clock=clock) for _ in range(2)]
    sent: list[float] = []
    for pause, client, wanted in questions:
        clock.now += pause
        grant = ask(clients[client], wanted, Limit(rate, burst), host)
        sent += [at for _, at in grant.permits]

    sent.sort()
    for window in (1.0, 60.0):
        most = max(n - bisect_left(sent, at - window + 1e-5) for n, at in enumerate(sent, start=1))
        # What a burst adds is there once; the margin keeps the rest below the limit.
        assert most <= rate * MARGIN * window + burst


# --- Concurrency ----------------------------------------------------------------------------------


def test_no_more_are_permitted_at_a_time_than_allowed(hosts):
    limit = Limit(concurrency=2)

    first, second = ask(hosts, 5, limit), ask(hosts, 5, limit)

    assert (numbers(first), numbers(second)) == ([1, 2], [])
    assert 0.0 < second.wait < 0.1


def test_a_permit_that_is_given_back_serves_another(hosts):
    limit = Limit(concurrency=2)
    ask(hosts, 2, limit)

    grant = ask(hosts, 5, limit, done=[1])

    assert numbers(grant) == [3]


def test_permits_can_be_given_back_without_asking_for_more(hosts):
    limit = Limit(concurrency=2)
    ask(hosts, 2, limit)

    nothing = ask(hosts, 0, limit, done=[1, 2])

    assert numbers(nothing) == []
    assert numbers(ask(hosts, 5, limit)) == [3, 4]


def test_the_permit_of_a_worker_that_died_comes_back_by_itself(hosts, clock):
    limit = Limit(concurrency=1)
    ask(hosts, 1, limit, longest=60.0)
    clock.now += 59.9
    early = ask(hosts, 1, limit)
    clock.now += 0.2

    assert (numbers(early), numbers(ask(hosts, 1, limit))) == ([], [2])


def test_a_permit_ahead_counts_from_when_it_may_be_used(hosts, clock):
    limit = Limit(2 / MARGIN, concurrency=2)
    ask(hosts, 2, limit, longest=10.0)
    clock.now += 10.2

    assert numbers(ask(hosts, 2, limit)) == [3]


# --- Gates ----------------------------------------------------------------------------------------


def test_a_held_host_gives_no_permits_until_its_time_is_over(hosts, clock):
    hold(hosts, 5.0)

    during = ask(hosts)
    clock.now += 5.0
    after = ask(hosts)

    assert (during.permits, during.held) == ((), pytest.approx(5.0))
    assert (len(after.permits), after.held, after.is_probe) == (1, 0.0, False)


def test_a_held_host_holds_nobody_else(hosts):
    hold(hosts, 5.0)

    assert ask(hosts, host="other.example").held == 0.0


def test_a_host_that_does_not_say_for_how_long_is_held_for_the_default(hosts):
    assert hold(hosts, default=60.0) == pytest.approx(60.0)
    assert hosts.gates() == {HOST: pytest.approx(60.0)}


def test_the_default_doubles_while_the_host_goes_on_refusing(hosts, clock):
    held = []
    for _ in range(4):
        held.append(hold(hosts, default=60.0))
        clock.now += held[-1]

    assert held == pytest.approx([60.0, 120.0, 240.0, 480.0])


def test_the_default_does_not_double_for_requests_that_were_refused_together(hosts, clock):
    hold(hosts, default=60.0)
    clock.now += 1.0

    assert [hold(hosts, default=60.0) for _ in range(5)] == pytest.approx([59.0] * 5)


def test_a_success_makes_the_next_hold_a_first_one(hosts, clock):
    for _ in range(3):
        clock.now += hold(hosts, default=60.0)
    hosts.report(HOST, Policy(), successes=1)

    assert hold(hosts, default=60.0) == pytest.approx(60.0)


def test_a_success_that_was_on_its_way_when_the_gate_closed_proves_nothing(hosts, clock):
    held = hold(hosts, default=60.0)
    hosts.report(HOST, Policy(), successes=1)
    clock.now += held

    assert hold(hosts, default=60.0) == pytest.approx(120.0)


@pytest.mark.parametrize("asked", [None, 1e9], ids=["not said", "asked for"])
def test_no_hold_is_longer_than_the_longest(hosts, asked):
    assert hold(hosts, asked, default=1e6, longest=3600.0) == pytest.approx(3600.0)


def test_the_longest_bounds_doubling_for_ever(hosts, clock):
    for _ in range(70):
        held = hold(hosts, default=60.0, longest=3600.0)
        clock.now += held

    assert held == pytest.approx(3600.0)


def test_a_shorter_wish_does_not_shorten_a_hold(hosts):
    hold(hosts, 60.0)

    assert hold(hosts, 1.0) == pytest.approx(60.0)


def test_a_longer_wish_prolongs_a_hold(hosts):
    hold(hosts, 1.0)

    assert hold(hosts, 60.0) == pytest.approx(60.0)


def test_a_gate_whose_time_is_over_is_closed_for_nothing_more(hosts, clock):
    hold(hosts, 5.0)
    clock.now += 5.1

    assert hosts.gates() == {HOST: 0.0}


def test_a_gate_that_makes_no_sense_is_none(hosts, redis):
    redis.hset(KEYS.gates, mapping={HOST: "nonsense", "other.example": "9" * 400})

    assert (hosts.gates(), ask(hosts).held) == ({}, 0.0)


def test_a_clock_that_is_set_back_prolongs_no_hold_by_more_than_itself(hosts, clock):
    hold(hosts, 60.0)
    clock.now += 50.0
    clock.now -= 3600.0
    left = hosts.gates()
    clock.now += 60.1

    assert left == {HOST: pytest.approx(60.0)}
    assert ask(hosts).held == 0.0


# --- Clocks and limits that change ----------------------------------------------------------------

SLOW, FAST = 0.02, 20.0


def first_permit(hosts: Hosts, clock: Clock, limit: Limit, *, within: float) -> float:
    """Ask now and then, as a worker does, and return the seconds until a permit may be used."""
    began = clock.now
    while clock.now - began <= within:
        grant = ask(hosts, 1, limit, ahead=0.3)
        if grant.permits:
            return grant.permits[0][1] - began
        clock.now += min(grant.wait, 1.0)
    raise AssertionError(f"nothing was permitted within {within} s")


def test_a_limit_that_was_slow_for_a_moment_is_forgotten_within_a_second(hosts, clock):
    first_permit(hosts, clock, Limit(FAST), within=1.0)
    hosts.set_rate(HOST, SLOW)
    first_permit(hosts, clock, Limit(FAST), within=60.0)
    hosts.set_rate(HOST, FAST)

    assert first_permit(hosts, clock, Limit(FAST), within=5.0) < 1.0


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
@pytest.mark.parametrize("rate", [0.5, 20.0])
def test_a_clock_that_was_set_costs_one_interval_at_most(hosts, clock, step, rate):
    for _ in range(5):
        ask(hosts, 3, Limit(rate), ahead=0.3)
        clock.now += 0.1
    clock.now += step

    pause = first_permit(hosts, clock, Limit(rate), within=10.0)

    # What was permitted before is sent meanwhile.
    assert pause <= 0.3 + 1 / (rate * MARGIN) + 1e-6


@settings(
    max_examples=examples(100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    events=st.lists(
        st.one_of(
            st.tuples(st.just("pass"), st.sampled_from([0.01, 0.3, 2.0, 30.0])),
            st.tuples(st.just("jump"), st.sampled_from([-7200.0, -3.0, -0.2, 0.2, 3.0, 7200.0])),
            st.tuples(st.just("rate"), st.sampled_from([SLOW, 0.5, FAST, 1000.0])),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_whatever_clock_and_limit_do_permits_come_within_an_interval(redis, events):
    clock, host = Clock(), next(_names)
    hosts, rate = Hosts(redis, "test", clock=clock), FAST
    for kind, value in events:
        if kind == "rate":
            rate = value
        else:
            clock.now += value
        ask(hosts, 5, Limit(rate), host, ahead=0.3)
    clock.now += 0.3 + 1 / (rate * MARGIN)

    grant = ask(hosts, 1, Limit(rate), host, ahead=0.3)

    assert [at - grant.now <= 0.3 + 1e-6 for _, at in grant.permits] == [True]


def test_what_was_counted_before_the_clock_was_set_back_holds_nobody(hosts, clock):
    one = Limit(concurrency=1)
    ask(hosts, 1, one)
    clock.now -= 3600.0

    assert ask(hosts, 1, one).permits


def test_reopening_ends_a_hold_and_forgets_the_refusals(hosts):
    hold(hosts)

    hosts.reopen(HOST)

    assert ask(hosts).held == 0.0
    assert hold(hosts, default=60.0) == pytest.approx(60.0)


# --- Breaker --------------------------------------------------------------------------------------

FEW = Policy(errors=3, window=60.0, share=0.0, hold=60.0, hold_max=200.0)


def fail(hosts: Hosts, times: int = 1, policy: Policy = FEW, **more) -> str:
    """Report errors one by one, and return what the last of them changed."""
    for _ in range(times):
        change = hosts.report(HOST, policy, failures=1, reason="HTTP 500", **more).change
    return change


@pytest.fixture
def tripped(hosts) -> Hosts:
    fail(hosts, 3)
    return hosts


@pytest.fixture
def probed(tripped, clock) -> Hosts:
    """Have the first hold be over and the probe on its way."""
    clock.now += 60.0
    ask(tripped)
    return tripped


def breaker(hosts: Hosts) -> str:
    ask(hosts, 0)
    [status] = hosts.status()
    return status.breaker


def test_so_many_errors_trip_the_breaker(hosts):
    changes = [hosts.report(HOST, FEW, failures=1).change for _ in range(3)]

    assert changes == ["", "", "tripped"]
    assert ask(hosts).held == pytest.approx(60.0)


def test_errors_of_several_workers_count_together(redis, clock):
    workers = [Hosts(redis, "test", clock=clock) for _ in range(3)]

    assert [fail(worker) for worker in workers] == ["", "", "tripped"]


def test_errors_of_another_host_do_not_count(hosts):
    fail(hosts, 2)
    hosts.report("other.example", FEW, failures=2)

    assert hosts.gates() == {}


@pytest.mark.parametrize(("pause", "change"), [(50.0, "tripped"), (61.0, "")])
def test_errors_count_for_as_long_as_the_window(hosts, clock, pause, change):
    fail(hosts, 2)
    clock.now += pause
    hosts.report(HOST, FEW, successes=1)

    assert fail(hosts) == change


def test_errors_in_a_row_trip_it_however_long_they_take(hosts, clock):
    changes = []
    for _ in range(3):
        changes.append(fail(hosts))
        clock.now += 3600.0

    assert changes == ["", "", "tripped"]


@pytest.mark.parametrize(("well", "change"), [(40, "tripped"), (41, "")])
def test_errors_trip_it_only_if_they_are_a_share_of_what_was_asked(hosts, well, change):
    policy = Policy(errors=10, floor=0.2, share=0.5)
    fail(hosts, 9, policy)
    hosts.report(HOST, policy, successes=well)

    verdict = hosts.report(HOST, policy, failures=1)

    assert verdict.change == change
    if not change:
        assert (verdict.calls, verdict.failures) == (51, 10)


def test_ten_in_a_row_trip_it_at_once_however_many_went_well_before(hosts):
    policy = Policy(errors=10, floor=0.2)
    hosts.report(HOST, policy, successes=5000)

    assert fail(hosts, 9, policy) == ""
    assert fail(hosts, 1, policy) == "tripped"


def test_the_window_slides(hosts, clock):
    changes = []
    for _ in range(20):
        hosts.report(HOST, FEW, successes=1)
        changes.append(fail(hosts))
        clock.now += 31.0

    assert set(changes) == {""}


@pytest.mark.parametrize(
    ("successes", "failures", "change"),
    [(5, 4, ""), (5, 5, "tripped"), (6, 5, ""), (0, 9, ""), (0, 10, "tripped")],
    ids=["too few", "half of ten", "less than half", "all but too few", "all of ten"],
)
def test_a_share_of_failures_trips_it_if_there_were_enough_requests(
    hosts, successes, failures, change
):
    policy = Policy(errors=0, share=0.5, minimum=10)

    assert hosts.report(HOST, policy, successes=successes, failures=failures).change == change


def test_only_a_failure_trips_it(hosts):
    policy = Policy(errors=0, share=0.1, minimum=10)
    fail(hosts, 9, policy)

    assert hosts.report(HOST, policy, successes=5).change == ""
    assert fail(hosts, 1, policy) == "tripped"


def test_a_host_of_which_is_told_is_known_without_a_limit(hosts):
    hosts.report(HOST, FEW, successes=1)

    assert [host.name for host in hosts.status()] == [HOST]


def test_without_rules_nothing_trips_it(hosts):
    assert fail(hosts, 100, Policy(errors=0, share=0.0)) == ""


def test_what_comes_back_after_it_tripped_changes_nothing(tripped, clock):
    clock.now += 1.0

    late = [
        tripped.report(HOST, FEW, failures=50),
        tripped.report(HOST, FEW, successes=50),
        tripped.report(HOST, FEW, successes=1, is_probe=True),
    ]

    assert late == [Verdict(pytest.approx(59.0), "")] * 3
    assert breaker(tripped) == "open"


def test_when_the_hold_is_over_one_request_of_the_whole_fleet_tries(tripped, redis, clock):
    other = Hosts(redis, "test", clock=clock)
    clock.now += 60.0

    probe, *rest = ask(tripped, 5), ask(other, 5), ask(tripped, 5)

    assert (probe.is_probe, times(probe)) == (True, [0.0])
    assert [(one.is_probed, one.permits, one.held) for one in rest] == [
        (True, (), pytest.approx(60.0))
    ] * 2
    assert breaker(tripped) == "half-open"


def test_giving_permits_back_begins_no_probe(tripped, clock):
    clock.now += 60.0

    ask(tripped, 0, done=[1])

    assert ask(tripped).is_probe


def test_a_probe_waits_for_nobody(hosts, clock):
    hosts.set_crawl_delay(HOST, 3600.0)
    ask(hosts, 1, Limit(concurrency=1), longest=1e6)
    fail(hosts, 3)
    clock.now += 60.0

    grant = ask(hosts, 1, Limit(concurrency=1))

    assert (grant.is_probe, times(grant)) == (True, [0.0])


def test_a_probe_that_succeeds_closes_the_breaker(probed):
    assert probed.report(HOST, FEW, successes=1, is_probe=True) == Verdict(0.0, "closed")
    assert len(ask(probed, 3).permits) == 3
    assert breaker(probed) == "closed"


def test_a_refusal_of_what_was_sent_before_the_probe_cancels_no_probe(probed, clock):
    hold(probed, 5.0)
    clock.now += 6.0

    assert probed.report(HOST, FEW, successes=1, is_probe=True) == Verdict(0.0, "closed")
    assert ask(probed).held == 0.0


def test_what_was_asked_for_while_the_probe_was_on_its_way_is_kept(probed):
    hold(probed, 500.0)

    verdict = probed.report(HOST, FEW, successes=1, is_probe=True)

    assert verdict == Verdict(pytest.approx(500.0), "closed")
    assert (breaker(probed), ask(probed).held) == ("closed", pytest.approx(500.0))


def test_a_probe_that_fails_shortens_no_hold_that_was_asked_for(probed):
    hold(probed, 500.0)

    assert probed.report(HOST, FEW, failures=1, is_probe=True).held == pytest.approx(500.0)


def test_a_hold_that_is_long_over_comes_back_with_no_clock_that_is_set_back(hosts, clock):
    hold(hosts, 1.0)
    clock.now += 600.0
    clock.now -= 3600.0
    fail(hosts, 3)
    clock.now += 60.0
    ask(hosts)

    assert hosts.report(HOST, FEW, successes=1, is_probe=True).held <= 1.0


def test_a_probe_that_is_refused_is_followed_by_another_when_the_host_says_so(probed, clock):
    hold(probed, 5.0, is_probe=True)
    clock.now += 5.1

    assert ask(probed).is_probe


def test_after_a_probe_that_succeeded_errors_are_counted_anew(probed):
    probed.report(HOST, FEW, successes=1, is_probe=True)

    assert [fail(probed), fail(probed), fail(probed)] == ["", "", "tripped"]
    assert probed.gates() == {HOST: pytest.approx(60.0)}


def test_a_probe_that_fails_doubles_the_hold_up_to_its_maximum(tripped, clock):
    held = [60.0]
    for _ in range(4):
        clock.now += held[-1]
        assert ask(tripped).is_probe
        held.append(tripped.report(HOST, FEW, failures=1, is_probe=True).held)

    assert held == pytest.approx([60.0, 120.0, 200.0, 200.0, 200.0])


def test_while_the_probe_is_on_its_way_nothing_else_decides(probed):
    others = [
        probed.report(HOST, FEW, successes=9).change,
        probed.report(HOST, FEW, failures=9).change,
    ]

    assert others == ["", ""]
    assert breaker(probed) == "half-open"


def test_a_probe_of_which_nothing_is_heard_is_followed_by_another(tripped, clock):
    clock.now += 60.0
    ask(tripped, longest=30.0)
    clock.now += 29.9
    early = ask(tripped, longest=30.0)
    clock.now += 0.2

    assert (early.is_probe, ask(tripped, longest=30.0).is_probe) == (False, True)


def test_a_hold_that_was_asked_for_outlasts_the_breakers(hosts):
    hold(hosts, 3600.0)

    fail(hosts, 3)

    assert ask(hosts).held == pytest.approx(3600.0)


def test_reopening_closes_the_breaker(tripped):
    tripped.reopen(HOST)

    assert breaker(tripped) == "closed"
    assert [fail(tripped), fail(tripped), fail(tripped)] == ["", "", "tripped"]


# --- Workers that fail alone ----------------------------------------------------------------------

TEN_ERRORS = Policy(errors=10, floor=0.2)


@pytest.fixture
def workers(redis, clock) -> dict[str, Hosts]:
    return {name: Hosts(redis, "test", worker=name, clock=clock) for name in ("ill", "well")}


def test_a_worker_that_fails_while_another_succeeds_fails_alone(workers, clock):
    changes = []
    for _ in range(20):
        workers["well"].report(HOST, TEN_ERRORS, successes=5)
        clock.now += 0.5
        changes.append(fail(workers["ill"], 1, TEN_ERRORS))

    assert "tripped" not in changes
    assert "alone" in changes
    assert ask(workers["well"]).held == 0.0


def test_errors_that_took_as_long_as_the_others_succeeded_are_one_workers(workers, clock):
    for _ in range(60):
        workers["well"].report(HOST, TEN_ERRORS, successes=1)
        clock.now += 1.0

    assert fail(workers["ill"], 10, TEN_ERRORS, took=60.0) == "alone"


def test_a_worker_that_suddenly_fails_hears_the_others_first(workers, clock):
    workers["well"].report(HOST, TEN_ERRORS, successes=100)
    clock.now += 0.2

    unsure = fail(workers["ill"], 10, TEN_ERRORS)
    clock.now += 1.2
    sure = fail(workers["ill"], 1, TEN_ERRORS)

    assert (unsure, sure) == ("unsure", "tripped")


def test_several_workers_that_fail_in_a_row_trip_it_at_once(workers, clock):
    for worker in workers.values():
        worker.report(HOST, TEN_ERRORS, successes=100)
    clock.now += 0.2

    changes = [fail(workers[name], 1, TEN_ERRORS) for name in 5 * ["ill", "well"]]

    assert changes == [""] * 9 + ["tripped"]


def test_a_worker_whose_others_are_gone_trips_it(workers, clock):
    workers["well"].report(HOST, TEN_ERRORS, successes=100)
    clock.now += 61.0

    assert fail(workers["ill"], 10, TEN_ERRORS) == "tripped"


def test_what_a_worker_failed_alone_counts_no_more(workers, clock):
    for _ in range(60):
        workers["well"].report(HOST, TEN_ERRORS, successes=1)
        clock.now += 1.0
    fail(workers["ill"], 10, TEN_ERRORS, took=60.0)

    assert fail(workers["well"], 1, TEN_ERRORS) == ""
    assert workers["well"].report(HOST, TEN_ERRORS, successes=1).failures == 1


# --- Status and news ------------------------------------------------------------------------------


def test_the_status_says_what_is_known_of_each_host(hosts, clock):
    ask(hosts, 3, host="b.example")
    clock.now += 60.0
    ask(hosts, 2, host="b.example")
    ask(hosts, host="a.example")
    hosts.set_rate("a.example", 7.0)
    hosts.set_crawl_delay("a.example", 2.5)
    hosts.hold("b.example", "HTTP 429", asked=30.0, default=1.0, longest=60.0)

    a, b = hosts.status()

    assert (a.name, a.set_rate, a.crawl_delay) == ("a.example", pytest.approx(7.0), 2.5)
    assert (a.held, a.breaker, a.reason) == (0.0, "closed", "")
    assert (b.name, b.set_rate, b.crawl_delay) == ("b.example", None, 0.0)
    assert (b.held, b.breaker, b.reason) == (pytest.approx(30.0), "closed", "HTTP 429")
    assert (b.begun, b.total) == (2, 5)


def test_the_status_says_why_a_breaker_is_open(tripped):
    ask(tripped)

    [status] = tripped.status()

    assert (status.breaker, status.reason) == ("open", "HTTP 500")


@pytest.mark.parametrize("pause", [0.3, 3.0, 40.0, 700.0])
def test_counts_of_requests_stay_a_handful_however_seldom_they_are(hosts, redis, clock, pause):
    for _ in range(100):
        ask(hosts, 1, Limit())
        clock.now += pause

    [status] = hosts.status()

    assert redis.hlen(KEYS.host(HOST)) <= 12
    assert status.begun == pytest.approx(min(100, 60 / pause), abs=1 + 10 / pause)
    assert status.total == 100


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (lambda hosts: hold(hosts, 5.0), [[HOST, 5_000_000]]),
        (lambda hosts: fail(hosts, 4), [[HOST, 60_000_000, "tripped"]]),
        (lambda hosts: hosts.set_rate(HOST, 1.0), [[HOST, None]]),
        (lambda hosts: hosts.set_crawl_delay(HOST, 1.0), [[HOST, None]]),
        (lambda hosts: hosts.reopen(HOST), [[HOST, 0]]),
    ],
    ids=["hold", "trip", "rate", "crawl delay", "reopen"],
)
def test_every_change_is_told_to_all(hosts, news, act, told):
    act(hosts)

    assert news() == told


def test_a_breaker_that_closes_is_told_to_all(probed, news):
    probed.report(HOST, FEW, successes=1, is_probe=True)

    assert news() == [[HOST, 0, "closed"]]


def test_refusals_that_change_nothing_are_told_to_nobody(hosts, news):
    hold(hosts, default=60.0)

    hold(hosts, default=60.0)

    assert news() == [[HOST, 60_000_000]]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://Site.Example/x", "site.example"),
        ("https://u:p@site.example:8443", "site.example:8443"),
        ("ws://site.example?x=@y", "site.example"),
        ("data:,x", ""),
    ],
)
def test_a_limit_is_for_name_and_port(url, host):
    assert host_of(url) == host


def test_another_database_of_the_server_hears_nothing(redis, hosts, news):
    kwargs = redis.connection_pool.connection_kwargs
    elsewhere = Redis(unix_socket_path=kwargs["path"], db=9) if "path" in kwargs else None
    if elsewhere is None:
        elsewhere = Redis(host=kwargs["host"], port=kwargs["port"], db=9)
    others = Hosts(elsewhere, "test")

    others.set_rate(HOST, 1.0)
    others.report(HOST, Policy(errors=1), failures=1)
    elsewhere.flushdb()

    assert others.news != hosts.news
    assert news() == []
