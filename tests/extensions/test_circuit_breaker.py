from __future__ import annotations

import asyncio
import logging
import re
from types import SimpleNamespace

import pytest
from scrapy import Request, signals
from scrapy.http import Response
from scrapy.settings import Settings
from scrapy.utils.test import get_crawler

from extensions.circuit_breaker import CircuitBreaker, policy_from_settings, what_is_wrong
from extensions.hosts import Hosts, Policy
from extensions.keys import HostKeys
from extensions.throttle import Throttle, Turn
from tests.conftest import Clock
from tests.extensions.waiting import until

HOST = "site.example"
URL = f"http://{HOST}/battle.json"
REQUEST = Request(URL)
TURN = Turn(HOST)
PROBE = Turn(HOST, is_probe=True)


@pytest.fixture
def crawler_of(redis, redis_url):  # noqa: ARG001 -- emptied before and after
    """Build a crawl with both extensions, opened without its listener."""

    def build(**settings):
        names = ("throttle.Throttle", "circuit_breaker.CircuitBreaker")
        extensions = {f"extensions.{name}": n for n, name in enumerate(names)}
        given = {
            "REDIS_URL": redis_url,
            "EXTENSIONS_BASE": {},
            "EXTENSIONS": extensions,
            **settings,
        }
        crawler = get_crawler(settings_dict=given)
        throttle = crawler.get_extension(Throttle)
        crawler.signals.disconnect(throttle.spider_opened, signals.spider_opened)
        crawler.signals.send_catch_log(signals.spider_opened, spider=None)
        return crawler

    return build


@pytest.fixture
def crawler(crawler_of):
    return crawler_of(CIRCUIT_BREAKER_ERRORS=3)


@pytest.fixture
def breaker(crawler) -> CircuitBreaker:
    return crawler.get_extension(CircuitBreaker)


@pytest.fixture
def fleet(redis) -> Hosts:
    """What another worker sees."""
    return Hosts(redis, HostKeys().namespace)


def held(crawler) -> float | None:
    return crawler.get_extension(Throttle).held(URL)


def status(fleet: Hosts) -> str:
    fleet.set_rate(HOST, None)
    [host] = fleet.status()
    return host.breaker


async def fail(breaker: CircuitBreaker, times: int = 1, kind: str = "HTTP 500") -> None:
    for _ in range(times):
        await breaker.failed(TURN, REQUEST, kind)


# --- What is an error -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "status", "kind", "body", "wrong"),
    [
        (URL, 200, "application/json", b'{"id": 1}', ""),
        (URL, 200, "", b'{"id": 1}', ""),
        (URL, 500, "", b"", "HTTP 500"),
        (URL, 503, "application/json", b"{}", "HTTP 503"),
        (URL, 599, "", b"", "HTTP 599"),
        (URL, 404, "text/html", b"<html>", ""),
        (URL, 429, "text/html", b"<html>", ""),
        (URL, 200, "text/html", b"<html>prove it", "a page instead of JSON"),
        (URL, 200, "", b" \r\n <!DOCTYPE html>", "a page instead of JSON"),
        (f"{URL}?x=1", 200, "", b"<html>", "a page instead of JSON"),
        ("http://h/api", 200, "application/json", b"<html>", "a page instead of JSON"),
        ("http://h/", 200, "text/html", b"<html>", ""),
        ("http://h/page?as=.json", 200, "text/html", b"<html>", ""),
        (URL, 200, "", b"", ""),
        (URL, 304, "", b"<html>", ""),
    ],
    ids=[
        "JSON",
        "JSON without a type",
        "500",
        "503",
        "599",
        "404",
        "429",
        "a challenge",
        "a challenge after spaces",
        "a challenge with a query",
        "a challenge by type",
        "a page",
        "a page with a query",
        "nothing",
        "not changed",
    ],
)
def test_a_failing_host_is_told_by_its_reply(url, status, kind, body, wrong):
    headers = {"Content-Type": kind} if kind else {}

    assert what_is_wrong(Response(url, status, headers, body)) == wrong


# --- Settings -------------------------------------------------------------------------------------


def test_the_policy_is_what_the_settings_say():
    names = ("ERRORS", "FLOOR", "WINDOW", "SHARE", "MINIMUM", "HOLD", "HOLD_MAX")
    values = (3, 0.3, 4.0, 0.25, 5, 6.0, 7.0)
    given = {f"CIRCUIT_BREAKER_{n}": str(v) for n, v in zip(names, values, strict=True)}

    assert policy_from_settings(Settings(given)) == Policy(*values)
    assert policy_from_settings(Settings()) == Policy()


COUNTS = "CIRCUIT_BREAKER_…: give errors from 0, a window above 0, shares up to 1"
HOLDS = "CIRCUIT_BREAKER_…: give a minimum from 1, and a hold up to its maximum"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("ERRORS", -1, COUNTS),
        ("ERRORS", "many", "invalid literal for int() with base 10: 'many'"),
        ("WINDOW", 0, COUNTS),
        ("FLOOR", 1.5, COUNTS),
        ("FLOOR", -0.1, COUNTS),
        ("FLOOR", "nan", COUNTS),
        ("SHARE", 1.5, COUNTS),
        ("SHARE", -0.1, COUNTS),
        ("SHARE", "nan", COUNTS),
        ("MINIMUM", 0, HOLDS),
        ("HOLD", 0, HOLDS),
        ("HOLD", 3600, HOLDS),
        ("HOLD_MAX", 1, HOLDS),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(name, value, reason):
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        policy_from_settings(Settings({f"CIRCUIT_BREAKER_{name}": value}))


def test_an_action_that_is_none_ends_the_crawl_at_its_start(crawler_of):
    with pytest.raises(ValueError, match="CIRCUIT_BREAKER_ACTION is 'panic': give hold or close"):
        crawler_of(CIRCUIT_BREAKER_ACTION="panic")


# --- Tripping -------------------------------------------------------------------------------------


def test_too_many_errors_close_the_gate_here_and_for_everybody(breaker, crawler, fleet):
    asyncio.run(fail(breaker, 3))

    assert held(crawler) == pytest.approx(60.0, abs=1.0)
    assert fleet.gates() == {HOST: pytest.approx(60.0, abs=1.0)}


def test_fewer_errors_do_not(breaker, crawler, fleet):
    asyncio.run(fail(breaker, 2))

    assert (held(crawler), fleet.gates()) == (None, {})


def test_what_went_well_is_counted_together_after_a_moment(crawler_of, fleet, monkeypatch):
    monkeypatch.setattr("extensions.circuit_breaker.TOLD_AFTER", 0.001)
    crawler = crawler_of(CIRCUIT_BREAKER_ERRORS=0, CIRCUIT_BREAKER_MINIMUM=4)
    breaker = crawler.get_extension(CircuitBreaker)

    async def scene():
        for _ in range(3):
            await breaker.succeeded(TURN)
        flushing = breaker._flushing
        await flushing
        # One failure more makes four, of which a quarter is not half.
        await fail(breaker)
        return breaker._flushing

    assert asyncio.run(scene()) is None
    assert fleet.gates() == {}
    # Two failures more make six, of which three are half.
    asyncio.run(fail(breaker, 2))
    assert fleet.gates() != {}


def test_what_went_well_counts_before_what_failed_after_it(crawler_of, fleet):
    crawler = crawler_of(CIRCUIT_BREAKER_ERRORS=0, CIRCUIT_BREAKER_MINIMUM=4)
    breaker = crawler.get_extension(CircuitBreaker)

    async def scene():
        for _ in range(4):
            await breaker.succeeded(TURN)
        await fail(breaker, 3)
        tripped_early = fleet.gates()
        await fail(breaker)
        return tripped_early

    assert asyncio.run(scene()) == {}
    assert fleet.gates() != {}


@pytest.fixture
def probed(breaker, fleet):
    """Have the breaker wait for a probe."""
    fleet.report(HOST, Policy(errors=1, hold=1e-6), failures=1)
    fleet.acquire(HOST, 1, Throttle.from_crawler(breaker._crawler)._limits(HOST), **SPANS)
    assert status(fleet) == "half-open"
    return breaker


SPANS = {"ahead": 0.5, "longest": 60.0}


def test_a_probe_that_succeeds_opens_the_gate_at_once(probed, crawler, fleet):
    crawler.get_extension(Throttle).close_gate(HOST, 60.0)

    asyncio.run(probed.succeeded(PROBE))

    assert (held(crawler), status(fleet)) == (None, "closed")


def test_a_probe_that_fails_closes_it_again(probed, crawler, fleet):
    asyncio.run(probed.failed(PROBE, REQUEST, "HTTP 500"))

    assert held(crawler) == pytest.approx(120.0, abs=1.0)
    assert status(fleet) == "open"


def test_without_redis_an_error_is_logged_and_the_crawl_goes_on(breaker, crawler, caplog, redis):
    # An address that nobody listens at takes the place of the server's.
    crawler.get_extension(Throttle).hosts = Hosts(type(redis)(port=1, retry=None), "throttle")

    asyncio.run(fail(breaker))

    assert caplog.messages == [f"{URL}: HTTP 500 ''"]


# --- What is said ---------------------------------------------------------------------------------


def test_an_error_is_logged_with_its_status_and_the_first_bytes_of_the_reply(
    breaker, crawler, caplog
):
    response = Response(URL, 502, body=b"<h1>Bad gateway</h1>\xff" + b"x" * 500)

    asyncio.run(breaker.failed(TURN, REQUEST, "HTTP 502", response))

    assert caplog.messages == [f"{URL}: HTTP 502 '<h1>Bad gateway</h1>\ufffd{'x' * 79}'"]
    assert crawler.stats.get_value("circuit_breaker/errors") == 1


def test_an_error_that_was_said_already_only_counts(breaker, crawler, caplog):
    async def scene():
        for _ in range(12):
            await breaker.failed(TURN, REQUEST, "HTTP 502", is_said=True)

    asyncio.run(scene())
    crawler.signals.send_catch_log(signals.spider_closed, spider=None, reason="finished")

    assert [text for text in caplog.messages if "HTTP 502" in text] == []
    assert crawler.stats.get_value("circuit_breaker/errors") == 12


def test_after_ten_of_a_kind_only_their_number_is_logged(breaker, crawler, caplog):
    async def scene():
        await fail(breaker, 205)
        await fail(breaker, 1, "DownloadTimeoutError")

    asyncio.run(scene())
    counts = [message for message in caplog.messages if "so far" in message]
    others = [message for message in caplog.messages if "so far" not in message]

    assert others == [f"{URL}: HTTP 500 ''"] * 10 + [f"{URL}: DownloadTimeoutError ''"]
    assert counts == [f"{HOST}: HTTP 500, {n} times so far" for n in (*range(20, 101, 10), 200)]
    assert crawler.stats.get_value("circuit_breaker/errors") == 206


def test_in_the_end_all_are_counted(breaker, crawler, caplog):
    asyncio.run(fail(breaker, 12))
    asyncio.run(fail(breaker, 10, "HTTP 503"))
    caplog.clear()

    crawler.signals.send_catch_log(signals.spider_closed, spider=None, reason="finished")

    assert caplog.messages == [f"{HOST}: HTTP 500, 12 times in all"]


def test_the_end_waits_for_no_counts(breaker, crawler):
    async def scene():
        await breaker.succeeded(TURN)
        crawler.signals.send_catch_log(signals.spider_closed, spider=None, reason="finished")
        await asyncio.sleep(0)
        return breaker._flushing.cancelled()

    assert asyncio.run(scene())


@pytest.mark.parametrize(("seconds", "lines"), [(59.0, 0), (61.0, 1), (600.0, 10)])
def test_hiccups_are_told_of_once_a_minute(crawler, caplog, seconds, lines):
    clock = Clock()
    breaker = CircuitBreaker(crawler, Policy(errors=10), clock=clock)
    breaker.spider_opened()

    async def scene():
        for _ in range(round(seconds) + 1):
            for _ in range(10):
                await breaker.succeeded(TURN)
            await fail(breaker)
            clock.now += 1.0

    asyncio.run(scene())
    told = [one for one in caplog.messages if "are tried again" in one]

    assert len(told) == lines
    assert all("requests failed within 60 s, and are tried again" in one for one in told)


# --- What is done ---------------------------------------------------------------------------------


@pytest.fixture
def closed_with(monkeypatch):
    """Give a crawl an engine that only notes why it was closed."""

    def attach(crawler) -> list[str]:
        reasons: list[str] = []

        async def close(*, reason: str) -> None:
            reasons.append(reason)

        engine = SimpleNamespace(close_spider_async=close)
        monkeypatch.setattr(crawler, "_engine", engine)
        return reasons

    return attach


@pytest.fixture
def hear(fleet):
    """Have a crawl hear of what became of a host's breaker."""

    async def tell(crawler, *changes: str) -> None:
        throttle = crawler.get_extension(Throttle)
        for change in changes:
            if change == "tripped":
                fleet.report(HOST, Policy(errors=1), failures=1)
            throttle.hear([HOST, 60_000_000, change])
        await until(lambda: not throttle._confirming)
        await asyncio.sleep(0.001)

    return tell


def test_a_crawl_holds_a_host_whose_breaker_tripped_anywhere(crawler, caplog, closed_with, hear):
    reasons = closed_with(crawler)

    asyncio.run(hear(crawler, "tripped"))

    assert held(crawler) > 0.0
    assert caplog.messages == [f"{HOST} fails too often and is left alone: see `scrapy throttle`"]
    assert crawler.stats.get_value("circuit_breaker/tripped") == 1
    assert reasons == []


def test_a_crawl_can_end_instead(crawler_of, closed_with, hear):
    crawler = crawler_of(CIRCUIT_BREAKER_ACTION="close")
    reasons = closed_with(crawler)

    async def scene() -> None:
        await crawler.get_extension(CircuitBreaker).succeeded(Turn(HOST))
        await hear(crawler, "tripped", "tripped")

    asyncio.run(scene())

    assert reasons == ["circuit breaker: site.example"]


def test_a_host_that_only_others_ask_ends_no_crawl(crawler_of, closed_with, hear):
    crawler = crawler_of(CIRCUIT_BREAKER_ACTION="close")
    reasons = closed_with(crawler)

    asyncio.run(hear(crawler, "tripped"))

    assert reasons == []


def test_a_host_that_is_well_again_is_told_of(crawler, caplog, hear):
    caplog.set_level(logging.INFO, "extensions")

    asyncio.run(hear(crawler, "closed"))

    assert caplog.messages == [f"{HOST} is well again"]
    assert crawler.stats.get_value("circuit_breaker/tripped") is None


def test_without_a_throttle_errors_are_still_logged(redis_url, caplog):
    extensions = {"extensions.circuit_breaker.CircuitBreaker": 1}
    crawler = get_crawler(
        settings_dict={"REDIS_URL": redis_url, "EXTENSIONS_BASE": {}, "EXTENSIONS": extensions}
    )
    crawler.signals.send_catch_log(signals.spider_opened, spider=None)
    breaker = crawler.get_extension(CircuitBreaker)

    async def scene():
        await breaker.succeeded(PROBE)
        await fail(breaker)

    asyncio.run(scene())

    assert caplog.messages == [f"{URL}: HTTP 500 ''"]
