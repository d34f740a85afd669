"""One worker's turns: over a real Redis, with a clock that waiting moves.

Long, because all of its sections use the one throttle: limits, turns, held, back, news, crawl.
"""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry
from scrapy import Request, signals
from scrapy.robotstxt import ProtegoRobotParser
from scrapy.settings import Settings
from scrapy.utils.test import get_crawler

from extensions.hosts import MARGIN, Grant, Hosts, Limit, Policy
from extensions.keys import HostKeys
from extensions.limits import limits_from_settings
from extensions.throttle import HeldError, Throttle, Turn, _Answer
from tests.conftest import Clock
from tests.extensions.waiting import until

HOST = "site.example"
URL = f"http://{HOST}/page"
TEN = Limit(rate=10 / MARGIN)
KEYS = HostKeys()


@pytest.fixture
def throttle_of(redis, clock, monkeypatch):
    """Build a worker's throttle; when it waits, the clock moves."""

    async def sleep(_throttle: Throttle, seconds: float) -> None:
        end = clock.now + seconds
        await asyncio.sleep(0)
        clock.now = max(clock.now, end)

    monkeypatch.setattr(Throttle, "_sleep", sleep)

    def build(limit: Limit = TEN, **arguments) -> Throttle:
        return Throttle(redis, lambda _: limit, clock=clock, server_clock=clock, **arguments)

    return build


@pytest.fixture
def throttle(throttle_of) -> Throttle:
    return throttle_of()


@pytest.fixture
def away() -> Redis:
    """A Redis that does not answer."""
    return Redis(port=1, retry=Retry(NoBackoff(), 0))


@pytest.fixture
def hosts(redis, clock) -> Hosts:
    """What another worker does to the same hosts."""
    return Hosts(redis, KEYS.namespace, clock=clock)


def hold(hosts: Hosts, seconds: float) -> None:
    hosts.hold(HOST, "HTTP 429", asked=seconds, default=1.0, longest=1e6)


def trip(hosts: Hosts) -> None:
    hosts.report(HOST, Policy(errors=1), failures=1, reason="HTTP 500")


def acquire(hosts: Hosts, limit: Limit, wanted: int = 1):
    return hosts.acquire(HOST, wanted, limit, ahead=0.5, longest=60.0)


# --- Limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        ({}, Limit()),
        ({"THROTTLE_RATE": "2.5"}, Limit(2.5)),
        ({"THROTTLE_BURST": "3", "THROTTLE_CONCURRENCY": "4"}, Limit(0.0, 3, 4)),
        ({"THROTTLE_RATE": 9, "THROTTLE_HOSTS": {"site.example": 2}}, Limit(2.0)),
        ({"THROTTLE_RATE": 9, "THROTTLE_HOSTS": {"Site.Example": {"burst": 2}}}, Limit(9.0, 2)),
        ({"THROTTLE_RATE": 9, "THROTTLE_HOSTS": '{"site.example": {"concurrency": 2}}'}, None),
        ({"THROTTLE_RATE": 9, "THROTTLE_HOSTS": {"other.example": 2}}, Limit(9.0)),
    ],
    ids=["none", "rate", "others", "a host's rate", "a host's burst", "JSON", "another host's"],
)
def test_the_settings_say_how_much_of_a_host_is_used(given, limit):
    assert limits_from_settings(Settings(given))(HOST) == (limit or Limit(9.0, 1, 2))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"THROTTLE_RATE": "fast"}, "^THROTTLE_RATE, THROTTLE_BURST or .*: give numbers$"),
        ({"THROTTLE_RATE": -1}, "^THROTTLE_RATE, .*: give a rate of requests a second"),
        ({"THROTTLE_RATE": "nan"}, "^THROTTLE_RATE, .*: give a rate"),
        ({"THROTTLE_RATE": "inf"}, "^THROTTLE_RATE, .*: give a rate"),
        ({"THROTTLE_BURST": 0}, "THROTTLE_BURST .*a burst of 1 or more"),
        ({"THROTTLE_BURST": "1.5"}, "THROTTLE_BURST .*: give numbers$"),
        ({"THROTTLE_CONCURRENCY": -1}, r"THROTTLE_CONCURRENCY: .*a concurrency \(0: any\)$"),
        ({"THROTTLE_HOSTS": {"h": "fast"}}, r"^THROTTLE_HOSTS\['h'\]: give numbers$"),
        ({"THROTTLE_HOSTS": {"h": [1]}}, r"^THROTTLE_HOSTS\['h'\]: give numbers$"),
        ({"THROTTLE_HOSTS": {"h": -1}}, r"^THROTTLE_HOSTS\['h'\]: give a rate"),
        ({"THROTTLE_HOSTS": {"h": {"rat": 1}}}, r"^THROTTLE_HOSTS\['h'\]: .*; not rat$"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        limits_from_settings(Settings(given))


# --- Turns ----------------------------------------------------------------------------------------


def test_without_a_limit_redis_is_not_asked(away):
    throttle = Throttle(away, lambda _: Limit())

    assert asyncio.run(throttle.turn(URL)) == Turn(HOST)


def test_turns_come_at_the_rate_of_the_host(throttle, clock):
    async def scene():
        began = clock.now
        for _ in range(12):
            await throttle.turn(URL)
        return clock.now - began

    assert asyncio.run(scene()) == pytest.approx(1.1, abs=1e-4)


def test_two_workers_share_the_rate(throttle_of, clock):
    async def scene():
        began, workers = clock.now, [throttle_of(), throttle_of()]
        for n in range(12):
            await workers[n % 2].turn(URL)
        return clock.now - began

    assert asyncio.run(scene()) == pytest.approx(1.1, abs=1e-4)


def test_an_urgent_request_goes_before_those_that_wait(throttle):
    order = []

    async def ask(name: str, **options: bool) -> None:
        await throttle.turn(URL, **options)
        order.append(name)

    async def scene():
        waiting = [asyncio.create_task(ask(f"page {n}")) for n in range(20)]
        waiting.append(asyncio.create_task(ask("list", is_urgent=True)))
        await asyncio.gather(*waiting)

    asyncio.run(scene())

    # Permits reach 0.3 s ahead: so many have theirs by then.
    assert order.index("list") <= 5


def test_requests_that_wait_together_are_asked_for_in_one_call(throttle, redis):
    async def scene():
        await throttle.turn(URL)
        before = redis.info("commandstats")["cmdstat_evalsha"]["calls"]
        turns = await asyncio.gather(*(throttle.turn(URL) for _ in range(3)))
        return turns, redis.info("commandstats")["cmdstat_evalsha"]["calls"] - before

    turns, calls = asyncio.run(scene())

    assert sorted(turn.number for turn in turns) == [2, 3, 4]
    assert calls == 1


def test_a_permit_that_comes_too_late_is_given_up_for_another_once(throttle_of, clock, monkeypatch):
    throttle, waited = throttle_of(), Throttle._sleep

    async def oversleep(throttle: Throttle, seconds: float) -> None:
        await waited(throttle, seconds + 0.02)

    monkeypatch.setattr(Throttle, "_sleep", oversleep)

    assert asyncio.run(throttle.turn(URL)).number == 2
    assert clock.now > 0.04


@pytest.mark.parametrize("first", [-9999.0, 0.0, 1.8e9], ids=["before 0", "at 0", "in 2027"])
def test_a_server_whose_clock_is_hours_off_permits_at_the_right_time(redis, first):
    offset = time.monotonic() - first
    throttle = Throttle(redis, lambda _: TEN, server_clock=lambda: time.monotonic() - offset)

    async def scene():
        await throttle.turn(URL)
        began = time.monotonic()
        await throttle.turn(URL)
        return time.monotonic() - began

    assert 0.02 < asyncio.run(scene()) < 5.0


def test_a_redis_that_is_away_is_waited_for(redis, away, clock, throttle_of):
    throttle = throttle_of()
    throttle.hosts = Hosts(away, KEYS.namespace, clock=clock)

    async def scene():
        turn = asyncio.create_task(throttle.turn(URL))
        began = clock.now
        await until(lambda: clock.now - began > 2.0)
        is_early = turn.done()
        throttle.hosts = Hosts(redis, KEYS.namespace, clock=clock)
        return is_early, await turn

    assert asyncio.run(scene()) == (False, Turn(HOST, number=1))


# --- Held -----------------------------------------------------------------------------------------


def test_a_request_to_a_host_that_another_worker_holds_is_refused(throttle, hosts):
    hold(hosts, 5.0)

    with pytest.raises(HeldError, match=r"site\.example is held for 5\.0 s: ") as refused:
        asyncio.run(throttle.turn(URL))

    assert refused.value.seconds == pytest.approx(5.0)
    assert throttle.held(URL) == pytest.approx(5.0)


def test_a_host_that_is_held_here_is_not_asked_about(away, clock):
    throttle = Throttle(away, lambda _: TEN, clock=clock)
    throttle.close_gate(HOST, 5.0)

    with pytest.raises(HeldError):
        asyncio.run(throttle.turn(URL))


def test_a_gate_that_closes_while_a_request_waits_stops_it(throttle_of, monkeypatch):
    throttle = throttle_of()

    async def wait(throttle: Throttle, _seconds: float) -> None:
        throttle.close_gate(HOST, 7.0)

    monkeypatch.setattr(Throttle, "_sleep", wait)

    with pytest.raises(HeldError, match=r"7\.0 s"):
        asyncio.run(throttle.turn(URL))


def test_when_a_hold_is_over_requests_go_on(throttle, hosts, clock):
    hold(hosts, 5.0)
    throttle.close_gate(HOST, 5.0)
    clock.now += 5.0

    assert asyncio.run(throttle.turn(URL)) == Turn(HOST, number=1)
    assert throttle.held(URL) is None


def test_without_a_limit_a_host_is_asked_about_after_a_hold_and_then_no_more(
    throttle_of, hosts, clock
):
    throttle = throttle_of(Limit())
    hold(hosts, 9.0)
    throttle.close_gate(HOST, 5.0)
    clock.now += 5.0

    async def scene():
        with pytest.raises(HeldError, match=r"4\.0 s"):
            await throttle.turn(URL)
        clock.now += 4.0
        return [await throttle.turn(URL), await throttle.turn(URL)]

    assert asyncio.run(scene()) == [Turn(HOST, number=1), Turn(HOST)]


def test_one_of_many_requests_becomes_the_probe(throttle, hosts, clock):
    trip(hosts)
    clock.now += 60.0

    async def scene():
        return await asyncio.gather(*(throttle.turn(URL) for _ in range(4)), return_exceptions=True)

    probe, *others = asyncio.run(scene())

    assert probe == Turn(HOST, is_probe=True, number=1)
    assert [type(other) for other in others] == [HeldError] * 3


def test_who_finds_a_host_probed_comes_back_soon(throttle, hosts, clock):
    trip(hosts)
    clock.now += 60.0
    acquire(hosts, TEN)

    with pytest.raises(HeldError) as refused:
        asyncio.run(throttle.turn(URL))

    assert refused.value.seconds == pytest.approx(2.0)


def test_when_the_crawl_ends_waiting_requests_go_back(redis):
    throttle = Throttle(redis, lambda _: Limit(rate=0.01))

    async def scene():
        await throttle.turn(URL)
        waiting = [asyncio.create_task(throttle.turn(URL)) for _ in range(2)]
        await asyncio.sleep(0.03)
        throttle.leave()
        return await asyncio.gather(*waiting, throttle.turn(URL), return_exceptions=True)

    refusals = asyncio.run(scene())

    assert [str(refusal) for refusal in refusals] == [
        "site.example is held for 0.0 s: the crawl is ending"
    ] * 3


def test_an_answer_of_the_host_closes_its_gate_for_everybody(throttle, throttle_of, caplog):
    other = throttle_of()

    async def scene():
        await throttle.hold(HOST, "HTTP 429, Retry-After 5 s", 5.0)
        with pytest.raises(HeldError, match=r"5\.0 s"):
            await other.turn(URL)

    asyncio.run(scene())

    assert throttle.held(URL) == pytest.approx(5.0)
    assert caplog.messages == ["site.example is held: HTTP 429, Retry-After 5 s"]


def test_a_gate_closes_here_before_redis_has_answered(throttle):
    async def scene():
        task = asyncio.create_task(throttle.hold(HOST, "HTTP 429", 5.0))
        await asyncio.sleep(0)
        held = throttle.held(URL)
        await task
        return held

    assert asyncio.run(scene()) == pytest.approx(5.0)


def test_a_host_that_does_not_say_for_how_long_is_held_as_the_setting_says(throttle_of, clock):
    throttle = throttle_of(hold=60.0)

    async def scene():
        await throttle.hold(HOST, "HTTP 429", None)
        first = throttle.held(URL)
        clock.now += first
        await throttle.hold(HOST, "HTTP 429", None)
        return first, throttle.held(URL)

    assert asyncio.run(scene()) == (pytest.approx(60.0), pytest.approx(120.0))


def test_no_host_is_held_for_more_than_a_day(throttle):
    asyncio.run(throttle.hold(HOST, "HTTP 429", 1e9))

    assert throttle.held(URL) == pytest.approx(86_400.0)


def test_requests_refused_together_are_told_of_once(throttle, caplog):
    async def scene():
        await asyncio.gather(*(throttle.hold(HOST, "HTTP 429", 5.0) for _ in range(5)))

    asyncio.run(scene())

    assert len(caplog.messages) == 1


def test_a_hold_that_was_said_already_is_not_said_again(throttle, hosts, caplog):
    asyncio.run(throttle.hold(HOST, "HTTP 403", 5.0, is_said=True))

    assert caplog.messages == []
    assert hosts.gates() == {HOST: pytest.approx(5.0)}


def test_without_redis_a_worker_holds_the_host_by_itself_and_tells_the_scheduler(away, clock):
    throttle, told = Throttle(away, lambda _: TEN, clock=clock), []
    throttle.on_failure = told.append

    asyncio.run(throttle.hold(HOST, "HTTP 429", 5.0))

    assert throttle.held(URL) == pytest.approx(5.0)
    assert len(told) == 1


# --- Given back -----------------------------------------------------------------------------------


def test_a_turn_that_is_given_back_goes_along_with_the_next_question(throttle_of):
    throttle = throttle_of(Limit(concurrency=1))

    async def scene():
        first = await throttle.turn(URL)
        throttle.done(first)
        return first.number, (await throttle.turn(URL)).number

    assert asyncio.run(scene()) == (1, 2)


def test_a_turn_that_no_question_takes_along_is_given_back_soon(throttle_of, hosts, monkeypatch):
    monkeypatch.setattr("extensions.throttle._FLUSH", 0.001)
    one = Limit(concurrency=1)
    throttle = throttle_of(one)

    async def scene():
        throttle.done(await throttle.turn(URL))
        await until(lambda: throttle._flushing is None)

    asyncio.run(scene())

    assert len(acquire(hosts, one).permits) == 1


def test_a_turn_waits_until_another_is_given_back(throttle_of):
    throttle = throttle_of(Limit(concurrency=2))

    async def scene():
        turns = [await throttle.turn(URL), await throttle.turn(URL)]
        third = asyncio.create_task(throttle.turn(URL))
        await asyncio.sleep(0.02)
        is_early = third.done()
        throttle.done(turns[0])
        return is_early, (await third).number

    assert asyncio.run(scene()) == (False, 3)


def test_turns_of_hosts_without_such_a_limit_need_not_be_given_back(throttle):
    async def scene():
        throttle.done(await throttle.turn(URL))

    asyncio.run(scene())

    assert throttle._done.hosts() == []


def test_a_turn_that_redis_could_not_be_told_of_is_told_later(throttle_of, hosts, away, clock):
    throttle = throttle_of(Limit(concurrency=1))

    async def scene():
        first = await throttle.turn(URL)
        throttle.hosts = Hosts(away, KEYS.namespace, clock=clock)
        throttle.done(first)
        with pytest.raises(RedisConnectionError):
            throttle._grant(HOST, 0)
        throttle.hosts = hosts
        return await throttle.turn(URL)

    assert asyncio.run(scene()).number == 2


# --- News -----------------------------------------------------------------------------------------


def test_news_of_a_hold_close_the_gate_here(throttle):
    throttle.hear([HOST, 5_000_000])

    assert throttle.held(URL) == pytest.approx(5.0)


def test_news_of_an_end_open_it_if_redis_says_so_too(throttle, hosts, clock):
    hold(hosts, 60.0)
    throttle.close_gate(HOST, 60.0)
    clock.now += 1.0

    throttle.hear([HOST, 0])
    throttle._learn()()
    on_hearsay = throttle.held(URL)
    hosts.reopen(HOST)
    clock.now += 1.0
    throttle._learn()()

    assert on_hearsay == pytest.approx(59.0)
    assert throttle.held(URL) is None


def test_what_was_asked_before_a_gate_closed_does_not_open_it(throttle, clock):
    heed = throttle._learn()
    clock.now += 0.1
    throttle.close_gate(HOST, 60.0)
    heed()

    assert throttle.held(URL) == pytest.approx(60.0)


def test_a_permit_asked_for_before_a_gate_closed_does_not_open_it(throttle, monkeypatch):
    ask = throttle._ask

    def slow(hosts):
        answers = ask(hosts)
        throttle._clock.now += 0.1
        throttle.close_gate(HOST, 60.0)
        return answers

    monkeypatch.setattr(throttle._batch, "_handle", slow)

    with pytest.raises(HeldError, match="its gate is closed"):
        asyncio.run(throttle.turn(URL))

    assert throttle.held(URL) is not None


def test_a_clock_of_redis_that_runs_ahead_ends_no_hold_here(throttle, hosts, clock):
    hold(hosts, 60.0)
    throttle._learn()()
    hosts._clock = lambda: clock.now + 3600.0
    throttle.hosts._clock = hosts._clock
    throttle._learn()()

    assert throttle.held(URL) == pytest.approx(60.0)


def test_news_of_a_limit_have_redis_asked_from_then_on(throttle_of, hosts, clock):
    throttle = throttle_of(Limit())
    hosts.set_rate(HOST, 2 / MARGIN)
    throttle.hear([HOST, None])

    async def scene():
        began = clock.now
        for _ in range(3):
            await throttle.turn(URL)
        return clock.now - began

    assert asyncio.run(scene()) == pytest.approx(1.0, abs=1e-4)


def test_news_of_a_breaker_are_handed_on_if_redis_says_so_too(throttle, hosts):
    told: list[tuple[str, str]] = []
    throttle.on_change = lambda *change: told.append(change)

    async def hear(*news: object) -> None:
        throttle.hear([HOST, *news])
        await until(lambda: not throttle._confirming)

    asyncio.run(hear(60_000_000, "tripped"))
    trip(hosts)
    asyncio.run(hear(0, "closed"))
    asyncio.run(hear(60_000_000, "tripped"))
    hosts.reopen(HOST)
    asyncio.run(hear(0, "closed"))

    assert told == [(HOST, "tripped"), (HOST, "closed")]


@pytest.mark.parametrize(
    "nonsense", ["[]", "5", "null", '["site.example"]', '["site.example", "x"]', "[[], null]", "{"]
)
def test_news_that_make_no_sense_are_told_of_and_change_nothing(throttle, caplog, nonsense):
    throttle._news._tell(nonsense)

    assert f"News of {throttle.hosts.news} makes no sense: " in caplog.text
    assert throttle.held(URL) is None


# --- Pauses of this worker alone ------------------------------------------------------------------


def test_a_worker_that_pauses_sends_nothing_until_it_resumes(throttle):
    throttle.pause(HOST, "no network")
    with pytest.raises(HeldError, match="no network") as refused:
        asyncio.run(throttle.turn(URL))
    held = throttle.held(URL)
    passed = asyncio.run(throttle.turn(URL, may_pass=True))
    throttle.resume(HOST)

    assert (refused.value.seconds, held) == (0.0, 0.0)
    assert passed.host == asyncio.run(throttle.turn(URL)).host == HOST


def test_a_short_pause_does_not_end_a_long_one(throttle, clock):
    throttle.pause(HOST, "no network")
    throttle.pause(HOST, "a moment", 2.0)
    clock.now += 3.0

    assert throttle.held(URL) == 0.0


def test_a_hold_that_redis_could_not_be_told_of_is_told_when_it_is_back(
    throttle, hosts, away, clock
):
    redis, throttle.hosts._redis = throttle.hosts._redis, away
    script, throttle.hosts._hold = throttle.hosts._hold, Hosts(away, KEYS.namespace)._hold
    asyncio.run(throttle.hold(HOST, "HTTP 429", 600.0))
    throttle.hosts._redis, throttle.hosts._hold = redis, script
    clock.now += 100.0

    throttle._learn()()

    assert throttle.held(URL) == pytest.approx(500.0)
    assert hosts.gates() == {HOST: pytest.approx(500.0)}


def test_a_pause_of_some_seconds_ends_by_itself(throttle, clock):
    throttle.pause(HOST, "a moment", 2.0)
    left = throttle.held(URL)
    clock.now += 2.0

    assert (left, throttle.held(URL)) == (2.0, None)


# --- Clocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_a_clock_that_is_set_is_noticed_with_the_next_answer(redis, step):
    clock, server = Clock(), Clock()
    throttle = Throttle(redis, lambda _: TEN, clock=clock, server_clock=server)
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        clock.now += max(0.0, seconds)
        server.now += max(0.0, seconds)

    throttle._sleep = sleep

    async def turns(count: int) -> None:
        for _ in range(count):
            await throttle.turn(URL)

    asyncio.run(turns(5))
    server.now += step
    waited.clear()
    asyncio.run(turns(5))

    assert sum(waited) < 1.2


def test_nobody_waits_for_a_permit_longer_than_permits_reach_ahead(throttle):
    throttle._clocks.compare(0.0, 0.0, -3600.0)
    answer = _Answer(Grant(now=0.0), asked_at=5.0, answered_at=5.1, number=1, time=7200.0)

    assert throttle._local(answer) == pytest.approx(5.4)


# --- In a crawl -----------------------------------------------------------------------------------


def no_listener() -> bool:
    return not any(thread.name == "news" for thread in threading.enumerate())


@pytest.fixture
def crawler_of(redis, redis_url, monkeypatch):  # noqa: ARG001 -- emptied before and after
    monkeypatch.setattr("extensions.news._LOOK", 0.01)

    def build(**given):
        extensions = {"extensions.throttle.Throttle": 1}
        return get_crawler(
            settings_dict={
                "REDIS_URL": redis_url,
                "EXTENSIONS_BASE": {},
                "EXTENSIONS": extensions,
                **given,
            }
        )

    return build


def in_a_crawl(crawler, scene):
    """Play a scene between the signals that begin and end a crawl."""

    async def act():
        crawler.signals.send_catch_log(signals.spider_opened, spider=None)
        try:
            return await scene(crawler.get_extension(Throttle))
        finally:
            crawler.signals.send_catch_log(signals.engine_stopped)
            await until(no_listener)

    return asyncio.run(act())


def test_a_crawl_hears_of_holds_before_and_during_it(crawler_of, redis):
    fleet = Hosts(redis, KEYS.namespace)
    fleet.hold("before.example", "HTTP 429", asked=60.0, default=1.0, longest=99.0)

    async def scene(throttle):
        await until(lambda: throttle.held("http://before.example"))
        fleet.hold("during.example", "HTTP 429", asked=60.0, default=1.0, longest=99.0)
        await until(lambda: throttle.held("http://during.example"))

    in_a_crawl(crawler_of(), scene)


def test_a_crawl_hears_of_rates_before_and_during_it(crawler_of, redis):
    fleet = Hosts(redis, KEYS.namespace)
    fleet.set_rate("before.example", 5.0)

    async def scene(throttle):
        await until(lambda: "before.example" in throttle._changed)
        fleet.set_rate("during.example", 5.0)
        await until(lambda: "during.example" in throttle._changed)

    in_a_crawl(crawler_of(), scene)


def test_a_limit_that_makes_no_sense_ends_the_crawl_at_its_start(crawler_of):
    with pytest.raises(ValueError, match=r"^THROTTLE_RATE, .*: give numbers"):
        crawler_of(THROTTLE_RATE="fast")


def test_the_settings_arrive(crawler_of):
    async def scene(throttle):
        await throttle.hold(HOST, "HTTP 429", None)
        turns = [await throttle.turn("http://b.example/") for _ in range(2)]
        return throttle.held(URL), turns

    given = {"THROTTLE_HOLD": 77.0, "THROTTLE_RATE": 1e4, "THROTTLE_HOSTS": {"b.example": 0}}
    held, turns = in_a_crawl(crawler_of(**given), scene)

    assert held == pytest.approx(77.0, abs=0.5)
    assert turns == [Turn("b.example")] * 2


@pytest.mark.parametrize(
    ("asked", "kept"),
    [("2.5", 2.5), ("99999", 3600.0), ("-1", 0.0), ("soon", 0.0)],
    ids=["seconds", "too many", "less than none", "no number"],
)
def test_the_pause_that_robots_txt_asks_for_is_kept(crawler_of, redis, asked, kept):
    crawler = crawler_of(USER_AGENT="battles/0.1 (+a@b.example)")
    text = f"User-agent: *\nCrawl-delay: {asked}\n".encode()
    robots = ProtegoRobotParser(text, None)

    async def scene(_):
        # Twice, as a site that is asked again a day later.
        for parser in (robots, robots):
            await crawler.signals.send_catch_log_async(
                signals.robots_parsed, robotparser=parser, request=Request(URL)
            )

    in_a_crawl(crawler, scene)

    [delay] = [host.crawl_delay for host in Hosts(redis, KEYS.namespace).status()] or [0.0]
    assert delay == kept


def test_a_pause_that_robots_txt_no_longer_asks_for_is_forgotten(throttle, redis):
    async def scene():
        for text in (b"User-agent: *\nCrawl-delay: 5\n", b""):
            await throttle.robots_parsed(ProtegoRobotParser(text, None), Request(URL))

    asyncio.run(scene())

    assert Hosts(redis, KEYS.namespace).changed() == set()


def test_nobody_is_told_of_a_robots_txt_that_asks_for_no_pause(away):
    throttle = Throttle(away, lambda _: TEN)

    asyncio.run(throttle.robots_parsed(ProtegoRobotParser(b"", None), Request(URL)))

    assert throttle._changed == set()


@pytest.mark.parametrize(("agent", "delay"), [("robot", 3.0), (None, 5.0)])
def test_the_pause_is_that_of_the_agent_for_whom_robots_txt_is_read(redis, redis_url, agent, delay):
    settings = {
        "REDIS_URL": redis_url,
        "USER_AGENT": "archive/1.0",
        "ROBOTSTXT_USER_AGENT": agent,
        "EXTENSIONS": {"extensions.throttle.Throttle": 1},
    }
    crawler = get_crawler(settings_dict=settings)
    text = b"User-agent: robot\nCrawl-delay: 3\n\nUser-agent: archive\nCrawl-delay: 5\n"
    throttle = Throttle.from_crawler(crawler)

    asyncio.run(throttle.robots_parsed(ProtegoRobotParser(text, None), Request(URL)))

    assert [host.crawl_delay for host in Hosts(redis, KEYS.namespace).status()] == [delay]
