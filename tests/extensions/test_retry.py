from __future__ import annotations

import pytest
from scrapy import Request, Spider
from scrapy.exceptions import DownloadTimeoutError, IgnoreRequest
from scrapy.http import Response
from scrapy.utils.test import get_crawler

from extensions.dead_letters import Failure
from extensions.lease import Lease
from extensions.queue import Leased
from extensions.retry import RetryMiddleware, retry_later

URL = "http://site/page"


class PagesSpider(Spider):
    name = "pages"


@pytest.fixture
def middleware_of():
    """Build the middleware of a crawl with the given settings, and its spider with attributes."""

    def build(settings: dict | None = None, **attributes) -> RetryMiddleware:
        crawler = get_crawler(PagesSpider, settings)
        crawler.spider = PagesSpider.from_crawler(crawler)
        crawler.spider.__dict__.update(attributes)
        return RetryMiddleware.from_crawler(crawler)

    return build


@pytest.fixture
def middleware(middleware_of) -> RetryMiddleware:
    return middleware_of()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Have chance always say the most; return the bounds it was given."""
    bounds: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    monkeypatch.setattr("extensions.retry.random.uniform", draw)
    return bounds


def leased_request(**meta) -> Request:
    lease = Lease(Leased(2, "1-0", {}))
    lease.request = Request(URL, meta={"queue_lease": lease, **meta})
    return lease.request


def failure_of(request: Request) -> Failure | None:
    return request.meta["queue_lease"].failure


def reply(request: Request, status: int, body: bytes = b"no") -> Response:
    # Scrapy ties a reply to its request only when the middlewares are through with it.
    return Response(request.url, status=status, body=body)


# --- When -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tries", "most"), [(0, 1.0), (1, 2.0), (2, 4.0), (8, 256.0), (9, 300.0), (5000, 300.0)]
)
def test_the_time_to_wait_is_drawn_from_zero_to_one_that_doubles(middleware_of, drawn, tries, most):
    middleware = middleware_of({"RETRY_TIMES": 10_000})
    request = leased_request(retry_times=tries)

    again = middleware.process_response(request, reply(request, 503))

    assert drawn == [(0.0, most)]
    assert again.meta["delay"] == most


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({"RETRY_BACKOFF": 0.25}, 1.0),
        ({"RETRY_BACKOFF": 0.0}, 0.0),
        ({"RETRY_BACKOFF_MAX": 3.0}, 3.0),
    ],
    ids=["base", "at once", "highest"],
)
def test_the_time_to_wait_follows_the_settings(middleware_of, drawn, settings, most):
    request = leased_request(retry_times=2)

    middleware_of({"RETRY_TIMES": 5, **settings}).process_response(request, reply(request, 503))

    assert drawn == [(0.0, most)]


@pytest.mark.parametrize(("priority", "tries", "delay"), [(10, 0, 0.1), (10, 1, 2.0), (0, 0, 1.0)])
def test_the_first_retry_of_what_finds_more_comes_soon(middleware, drawn, priority, tries, delay):
    request = leased_request(retry_times=tries).replace(priority=priority)

    again = middleware.process_response(request, reply(request, 503))

    assert len(drawn) == 1
    assert again.meta["delay"] == pytest.approx(delay)


def test_the_drawn_time_lies_within_its_bounds(middleware):
    requests = [leased_request(retry_times=1) for _ in range(200)]

    delays = [middleware.process_response(one, reply(one, 503)).meta["delay"] for one in requests]

    assert 0.0 <= min(delays) < 0.5
    assert 1.5 < max(delays) <= 2.0


# --- Whether --------------------------------------------------------------------------------------


def test_another_try_is_a_copy_that_counts_and_is_not_filtered(middleware):
    request = leased_request(retry_times=1, kept="x")

    again = middleware.process_response(request, reply(request, 503))

    assert (again.url, again.dont_filter) == (URL, True)
    assert (again.meta["retry_times"], again.meta["kept"]) == (2, "x")
    assert again.meta["queue_lease"] is request.meta["queue_lease"]
    assert failure_of(request) is None


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 522, 408])
def test_scrapys_codes_are_tried_again(middleware, status):
    request = leased_request()

    again = middleware.process_response(request, reply(request, status))

    assert isinstance(again, Request)


def test_the_codes_can_be_set(middleware_of):
    middleware = middleware_of({"RETRY_HTTP_CODES": [418]})
    teapot, down = leased_request(), leased_request()

    results = [
        middleware.process_response(teapot, reply(teapot, 418)),
        middleware.process_response(down, reply(down, 503)),
    ]

    assert [type(result) for result in results] == [Request, Response]
    assert failure_of(down) == Failure("HTTP 503", 503, "no")


def test_a_good_reply_goes_on_to_the_spider(middleware):
    request = leased_request()
    response = reply(request, 200)

    result = middleware.process_response(request, response)

    assert result is response
    assert failure_of(request) is None


@pytest.mark.parametrize(
    ("settings", "meta"),
    [({"RETRY_TIMES": 2}, {}), ({"RETRY_TIMES": 9}, {"max_retry_times": 2})],
    ids=["setting", "meta"],
)
def test_after_its_last_try_a_request_is_a_dead_letter(middleware_of, settings, meta):
    request = leased_request(retry_times=2, **meta)
    response = reply(request, 503, b"x" * 600)

    result = middleware_of(settings).process_response(request, response)

    assert result is response
    assert failure_of(request) == Failure("HTTP 503", 503, "x" * 500)


def test_meta_can_ask_for_more_tries_than_the_setting(middleware_of):
    request = leased_request(retry_times=2, max_retry_times=3)

    again = middleware_of({"RETRY_TIMES": 2}).process_response(request, reply(request, 503))

    assert again.meta["retry_times"] == 3


def test_what_is_not_to_be_retried_is_a_dead_letter_at_once(middleware):
    request = leased_request(dont_retry=True)

    result = middleware.process_response(request, reply(request, 503))

    assert isinstance(result, Response)
    assert failure_of(request) == Failure("HTTP 503", 503, "no")


@pytest.mark.parametrize("status", [300, 302, 400, 401, 403, 404, 410])
def test_a_status_that_nobody_handles_is_a_dead_letter(middleware, status):
    request = leased_request()

    middleware.process_response(request, reply(request, status))

    assert failure_of(request) == Failure(f"HTTP {status}", status, "no")


@pytest.mark.parametrize(
    ("settings", "attributes", "meta"),
    [
        ({}, {"handle_httpstatus_list": [404]}, {}),
        ({}, {}, {"handle_httpstatus_list": [404]}),
        ({}, {}, {"handle_httpstatus_all": True}),
        ({"HTTPERROR_ALLOWED_CODES": [404]}, {}, {}),
        ({"HTTPERROR_ALLOW_ALL": True}, {}, {}),
    ],
    ids=["spider", "meta", "all by meta", "setting", "all by setting"],
)
def test_a_status_that_the_spider_handles_is_none(middleware_of, settings, attributes, meta):
    request = leased_request(**meta)

    middleware_of(settings, **attributes).process_response(request, reply(request, 404))

    assert failure_of(request) is None


def test_what_meta_handles_replaces_what_the_spider_handles(middleware_of):
    middleware = middleware_of(handle_httpstatus_list=[404])
    request = leased_request(handle_httpstatus_list=[410])

    middleware.process_response(request, reply(request, 404))

    assert failure_of(request) == Failure("HTTP 404", 404, "no")


# --- Exceptions -----------------------------------------------------------------------------------


def test_a_failed_download_is_tried_again(middleware):
    request = leased_request()

    again = middleware.process_exception(request, DownloadTimeoutError("60 s"))

    assert again.meta["retry_times"] == 1


def test_the_exceptions_can_be_set(middleware_of):
    middleware = middleware_of({"RETRY_EXCEPTIONS": ["builtins.KeyError"]})
    wanted, other = leased_request(), leased_request()

    results = [
        middleware.process_exception(wanted, KeyError("x")),
        middleware.process_exception(other, DownloadTimeoutError("60 s")),
    ]

    assert [type(result) for result in results] == [Request, type(None)]
    assert failure_of(other) == Failure("DownloadTimeoutError: 60 s")


@pytest.mark.parametrize(
    ("meta", "exception", "reason"),
    [
        ({"retry_times": 2}, DownloadTimeoutError("60 s"), "DownloadTimeoutError: 60 s"),
        ({"dont_retry": True}, DownloadTimeoutError(), "DownloadTimeoutError"),
        ({}, ZeroDivisionError("a bug"), "ZeroDivisionError: a bug"),
    ],
    ids=["too often", "not to be retried", "a bug"],
)
def test_a_download_that_will_not_succeed_is_a_dead_letter(middleware, meta, exception, reason):
    request = leased_request(**meta)

    result = middleware.process_exception(request, exception)

    assert result is None
    assert failure_of(request) == Failure(reason)


def test_a_request_that_a_middleware_refuses_is_none(middleware):
    request = leased_request()

    result = middleware.process_exception(request, IgnoreRequest("not now"))

    assert result is None
    assert failure_of(request) is None
    assert request.meta["queue_lease"].is_accounted


def test_a_request_that_robots_txt_forbids_becomes_a_dead_letter(middleware):
    request = leased_request()

    middleware.process_exception(request, IgnoreRequest("Forbidden by robots.txt"))

    assert failure_of(request) == Failure("IgnoreRequest: Forbidden by robots.txt")


@pytest.mark.parametrize("exception", [IgnoreRequest("no"), ZeroDivisionError()])
def test_a_request_without_a_lease_fails_as_in_scrapy(middleware, exception):
    result = middleware.process_exception(Request(URL), exception)

    assert result is None


# --- The rest -------------------------------------------------------------------------------------


def test_stats_count_by_a_word_and_letters_keep_the_whole_reason(middleware_of):
    middleware = middleware_of({"RETRY_TIMES": 1})
    spider, request = middleware.crawler.spider, leased_request()
    last = leased_request(retry_times=1)

    retry_later(request, spider, "bad reply: not JSON")
    retry_later(last, spider, "bad reply: not JSON")

    assert middleware.crawler.stats.get_value("retry/reason_count/bad reply") == 1
    assert failure_of(last) == Failure("bad reply: not JSON")


@pytest.mark.parametrize("status", [500, 503, 429, 404, 302, 199, 101, 0])
def test_without_retries_a_failure_is_a_dead_letter_and_not_a_page_that_is_gone(
    middleware_of, status
):
    middleware, request = middleware_of({"RETRY_ENABLED": False}), leased_request()

    outcome = middleware.process_response(request, Response(URL, status))

    assert isinstance(outcome, Response)
    assert failure_of(request) == Failure(f"HTTP {status}", status)


def test_without_retries_an_error_is_a_dead_letter(middleware_of):
    middleware, request = middleware_of({"RETRY_ENABLED": False}), leased_request()

    assert middleware.process_exception(request, DownloadTimeoutError("late")) is None

    assert failure_of(request) == Failure("DownloadTimeoutError: late")


def test_what_is_given_up_is_said_in_one_line_without_a_password(middleware_of, caplog):
    middleware = middleware_of({"RETRY_ENABLED": False})
    request = leased_request().replace(url="http://ann:secret@site/page")

    middleware.process_exception(request, DownloadTimeoutError("two\nlines"))

    [line] = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert line == "http://site/page is given up: DownloadTimeoutError: two lines"
