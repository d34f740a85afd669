from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scrapy import Request, signals
from scrapy.exceptions import CannotResolveHostError
from scrapy.http import Response
from scrapy.utils.test import get_crawler

from extensions.circuit_breaker import OUTAGES
from extensions.gated_download import GatedDownloadHandler, is_refusal, retry_after
from extensions.hosts import Hosts, Limit
from extensions.keys import HostKeys
from extensions.throttle import HeldError, Throttle

HOST = "site.example"
URL = f"http://{HOST}/battle.json"
ONE = Limit(concurrency=1)
NOON = "Sat, 21 Nov 2026 12:00:00 GMT"


def reply(status: int = 200, body: bytes = b"{}", **headers: str) -> Response:
    return Response(URL, status, {n.replace("_", "-"): v for n, v in headers.items()}, body)


class Handler(GatedDownloadHandler):
    """Fetches what the test gave it."""

    outcome: Response | Exception

    async def fetch(self, request: Request) -> Response:
        assert request.url == URL
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def handler_of(redis, redis_url, monkeypatch):  # noqa: ARG001 -- emptied before and after
    """Build the handler of a crawl with the named extensions."""
    # However slow this machine is, a permit is used and not given up for another.
    monkeypatch.setattr("extensions.throttle._LATE", 60.0)

    def build(*names: str, **settings) -> Handler:
        extensions = {f"extensions.{name}": n for n, name in enumerate(names)}
        given = {
            "REDIS_URL": redis_url,
            "EXTENSIONS_BASE": {},
            "EXTENSIONS": extensions,
            "THROTTLE_CONCURRENCY": 1,
        }
        crawler = get_crawler(settings_dict={**given, **settings})
        if throttle := crawler.get_extension(Throttle):
            crawler.signals.disconnect(throttle.spider_opened, signals.spider_opened)
        crawler.signals.send_catch_log(signals.spider_opened, spider=None)
        return Handler.from_crawler(crawler)

    return build


@pytest.fixture
def handler(handler_of) -> Handler:
    breaker = {"CIRCUIT_BREAKER_ERRORS": 1, "CIRCUIT_BREAKER_HOLD": 60.0}
    return handler_of("throttle.Throttle", "circuit_breaker.CircuitBreaker", **breaker)


@pytest.fixture
def fleet(redis) -> Hosts:
    return Hosts(redis, HostKeys().namespace)


def download(handler: Handler, outcome: Response | Exception) -> Response:
    handler.outcome = outcome

    async def act() -> Response:
        try:
            return await handler.download_request(Request(URL))
        finally:
            # What is given back is told to Redis a moment later.
            if handler._throttle is not None and handler._throttle._flushing is not None:
                await handler._throttle._flushing

    return asyncio.run(act())


def is_given_back(fleet: Hosts) -> bool:
    fleet.reopen(HOST)
    return len(fleet.acquire(HOST, 1, ONE, ahead=0.5, longest=60.0).permits) == 1


# --- What a reply asks for ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry_After": "5"}, 5.0),
        ({"Retry_After": " 5 "}, 5.0),
        ({"Retry_After": "0"}, 0.0),
        ({"Retry_After": "9" * 400}, 999_999_999.0),
        ({"Retry_After": "-5"}, None),
        ({"Retry_After": "5.5"}, None),
        ({"Retry_After": "²"}, None),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": ""}, None),
        ({"Retry_After": "Sat, 21 Nov 2026 12:01:30 GMT", "Date": NOON}, 90.0),
        ({"Retry_After": "Sat, 21 Nov 2026 13:01:30 +0100", "Date": NOON}, 90.0),
        ({"Retry_After": "Saturday, 21-Nov-26 12:01:30 GMT", "Date": NOON}, 90.0),
        ({"Retry_After": "Sat, 21 Nov 2026 11:00:00 GMT", "Date": NOON}, 0.0),
        ({"Retry_After": "Sat, 21 Nov 99999 12:00:00 GMT", "Date": NOON}, None),
        ({"Retry_After": "Sat, 31 Feb 2026 12:00:00 GMT", "Date": NOON}, None),
    ],
    ids=[
        "nothing",
        "seconds",
        "spaces",
        "none",
        "huge",
        "negative",
        "a fraction",
        "a digit that is none",
        "a word",
        "empty",
        "a date",
        "another zone",
        "an old form",
        "a date that is over",
        "a year too far",
        "a day that is none",
    ],
)
def test_a_reply_says_how_long_to_stay_away(headers, seconds):
    assert retry_after(reply(429, **headers)) == seconds


@pytest.mark.parametrize("date", [{}, {"Date": "yesterday"}], ids=["no date", "nonsense"])
def test_without_a_date_of_the_reply_our_clock_counts(monkeypatch, date):
    monkeypatch.setattr("extensions.gated_download.time.time", lambda: 1_795_262_400.0)

    assert retry_after(reply(429, Retry_After="Sat, 21 Nov 2026 12:01:30 GMT", **date)) == 90.0


@given(
    st.one_of(
        st.text(max_size=40),
        st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} (Feb|Nov) \d{1,6} \d\d:\d\d:\d{1,3} [+-]?\w{0,9}"),
    )
)
def test_whatever_the_header_holds_it_is_read_or_ignored(text):
    response = Response(URL, 429, {"Retry-After": text.encode()})

    seconds = retry_after(response)

    assert seconds is None or seconds >= 0.0


@pytest.mark.parametrize(
    ("status", "headers", "is_one"),
    [
        (429, {}, True),
        (429, {"Retry_After": "5"}, True),
        (503, {}, False),
        (503, {"Retry_After": "5"}, True),
        (503, {"Retry_After": "soon"}, False),
        (500, {"Retry_After": "5"}, False),
        (200, {"Retry_After": "5"}, False),
    ],
)
def test_a_host_asks_to_be_left_alone(status, headers, is_one):
    assert is_refusal(reply(status, **headers)) is is_one


# --- A download -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outcome",
    [reply(200), reply(404), reply(500), reply(429, Retry_After="5")],
    ids=["200", "404", "500", "429"],
)
def test_every_reply_is_handed_on_and_the_turn_given_back(handler, fleet, outcome):
    assert download(handler, outcome) is outcome
    assert is_given_back(fleet)


@pytest.mark.parametrize("error", [*OUTAGES, ZeroDivisionError])
def test_every_failure_is_handed_on_and_the_turn_given_back(handler, fleet, error):
    with pytest.raises(error, match=r"^why$"):
        download(handler, error("why"))

    assert is_given_back(fleet)


@pytest.mark.parametrize(
    ("outcome", "reason", "seconds"),
    [
        (reply(429, Retry_After="5"), "HTTP 429, Retry-After 5 s", 5.0),
        (reply(429, Retry_After="0"), "HTTP 429, Retry-After 1 s", 1.0),
        (reply(503, Retry_After="7"), "HTTP 503, Retry-After 7 s", 7.0),
        (reply(429), "HTTP 429", 1800.0),
    ],
    ids=["429", "429 now", "503", "without a time"],
)
def test_a_host_that_asks_for_it_is_left_alone_and_has_not_failed(
    handler, fleet, outcome, reason, seconds
):
    download(handler, outcome)

    [host] = fleet.status()
    assert (host.reason, host.breaker) == (reason, "closed")
    assert host.held == pytest.approx(seconds, abs=1.0)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (reply(500), "HTTP 500"),
        (reply(503), "HTTP 503"),
        (reply(200, b"<html>prove it"), "a page instead of JSON"),
    ],
    ids=["500", "503", "a challenge"],
)
def test_a_reply_of_a_failing_host_counts_as_an_error(handler, fleet, outcome, reason):
    download(handler, outcome)

    [host] = fleet.status()
    assert (host.breaker, host.reason) == ("open", reason)


def test_a_host_that_cannot_be_found_has_not_failed(handler, fleet):
    with pytest.raises(CannotResolveHostError):
        download(handler, CannotResolveHostError("why"))

    [host] = fleet.status()
    assert host.breaker == "closed"


@pytest.mark.parametrize("error", [one for one in OUTAGES if one is not CannotResolveHostError])
def test_a_connection_that_fails_counts_as_an_error(handler, fleet, error):
    with pytest.raises(error):
        download(handler, error("why"))

    [host] = fleet.status()
    assert (host.breaker, host.reason) == ("open", error.__name__)


@pytest.mark.parametrize("outcome", [reply(200), reply(404)], ids=["200", "404"])
def test_a_reply_of_a_host_that_is_well_counts_as_a_success(handler, outcome):
    download(handler, outcome)

    assert handler._breaker._successes == {HOST: 1}


def test_a_failure_of_ours_says_nothing_of_the_host(handler, fleet):
    with pytest.raises(ZeroDivisionError):
        download(handler, ZeroDivisionError())

    [host] = fleet.status()
    assert (host.held, host.breaker) == (0.0, "closed")


def test_a_probe_that_succeeds_closes_the_breaker(handler, fleet):
    download(handler, reply(500))
    # The hold is over a minute early.
    fleet._redis.hset(HostKeys().gates, HOST, f"{int(time.time() * 1e6) - 1} 60000000")
    handler._throttle.close_gate(HOST, 1e-9)

    download(handler, reply(200))

    [host] = fleet.status()
    assert (host.held, host.breaker) == (0.0, "closed")


def test_nothing_is_fetched_from_a_held_host(handler):
    download(handler, reply(429, Retry_After="5"))

    with pytest.raises(HeldError, match="its gate is closed"):
        download(handler, AssertionError("it was fetched"))


# --- Without the extensions -----------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [reply(200), reply(429), reply(500)])
def test_without_the_extensions_it_only_fetches(handler_of, fleet, outcome):
    assert download(handler_of(), outcome) is outcome
    assert fleet.status() == []


def test_without_a_breaker_errors_are_not_counted(handler_of, fleet):
    handler = handler_of("throttle.Throttle", CIRCUIT_BREAKER_ERRORS=1)

    download(handler, reply(500))
    download(handler, reply(200))
    with pytest.raises(OUTAGES[0]):
        download(handler, OUTAGES[0]("why"))

    [host] = fleet.status()
    assert (host.total, host.breaker) == (3, "closed")


def test_without_a_breaker_refusals_are_heeded(handler_of, fleet):
    download(handler_of("throttle.Throttle"), reply(429, Retry_After="5"))

    assert fleet.gates() == {HOST: pytest.approx(5.0, abs=1.0)}
