from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest
from scrapy import Request, Spider, signals
from scrapy.exceptions import (
    DownloadFailedError,
    DownloadTimeoutError,
    IgnoreRequest,
    NotConfigured,
)
from scrapy.http import Response
from scrapy.utils.test import get_crawler

from extensions.retry import RetryMiddleware
from extensions.robots import RobotsTxtMiddleware
from extensions.throttle import HeldError

URL = "https://site.example/page"
NO_ENTRY = b"User-agent: *\nDisallow: /secret\n"


class Engine:
    """Answers with what the test gave it, in turn; the last answer stays."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[Request] = []

    async def download_async(self, request: Request) -> Response:
        self.asked.append(request)
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, str):
            return Response(request.url, 301, headers={"Location": answer})
        return Response(request.url, answer, body=NO_ENTRY)


@pytest.fixture
def middleware_of():
    """Build the middleware of a crawl whose site answers so."""

    def build(*answers: int | Exception) -> RobotsTxtMiddleware:
        settings = {"ROBOTSTXT_OBEY": True, "EXTENSIONS_BASE": {}}
        crawler = get_crawler(settings_dict=settings)
        crawler.engine = Engine(*answers)
        return RobotsTxtMiddleware.from_crawler(crawler)

    return build


def ask(middleware: RobotsTxtMiddleware, *urls: str) -> list[str]:
    """Have requests pass the middleware together, and return what became of each."""

    async def act() -> list:
        calls = (middleware.process_request(Request(url)) for url in urls)
        return await asyncio.gather(*calls, return_exceptions=True)

    return ["passed" if one is None else type(one).__name__ for one in asyncio.run(act())]


def asked(middleware: RobotsTxtMiddleware) -> list[str]:
    return [request.url for request in middleware.crawler.engine.asked]


def test_what_robots_txt_forbids_is_refused_and_all_else_passes(middleware_of):
    middleware = middleware_of(200)

    assert ask(middleware, URL, "https://site.example/secret/x") == ["passed", "IgnoreRequest"]


def test_others_are_told_what_a_robots_txt_says(middleware_of):
    middleware, told = middleware_of(200), []

    async def hear(robotparser, request) -> None:
        await asyncio.sleep(0)
        told.append((robotparser.allowed("https://site.example/secret", "x"), request.url))

    middleware.crawler.signals.connect(hear, signals.robots_parsed)

    ask(middleware, URL)

    assert told == [(False, URL)]


@pytest.mark.parametrize("status", [204, 301, 400, 401, 403, 404, 410])
def test_a_site_that_has_none_allows_everything(middleware_of, status):
    middleware = middleware_of(status)

    assert ask(middleware, "https://site.example/secret", URL) == ["passed", "passed"]
    assert ask(middleware, URL) == ["passed"]
    assert len(asked(middleware)) == 1


@pytest.mark.parametrize(
    "failure",
    [429, 500, 503, DownloadTimeoutError("60 s"), ZeroDivisionError(), IgnoreRequest("no")],
    ids=repr,
)
def test_while_it_cannot_be_had_nothing_passes_and_it_is_asked_for_again(middleware_of, failure):
    middleware = middleware_of(failure, 200)

    assert ask(middleware, URL, URL) == ["DownloadFailedError", "DownloadFailedError"]
    assert ask(middleware, URL) == ["passed"]
    assert len(asked(middleware)) == 2


def test_a_request_that_does_not_pass_has_failed_and_says_why(middleware_of, caplog):
    middleware = middleware_of(503)
    complaint = r"https://site\.example/robots\.txt cannot be had: HTTP 503"

    with pytest.raises(DownloadFailedError, match=complaint):
        asyncio.run(middleware.process_request(Request(URL)))

    assert "https://site.example/robots.txt cannot be had" in caplog.text
    assert "HTTP 503" in caplog.text


def test_what_keeps_it_from_being_had_is_said_once_until_it_changes(middleware_of, caplog):
    middleware = middleware_of(503, 503, 500, 503, 200)
    for _ in range(5):
        ask(middleware, URL)

    said = [record.getMessage()[-8:] for record in caplog.records if "cannot be had" in record.msg]
    assert said == ["HTTP 503", "HTTP 500", "HTTP 503"]


def test_a_robots_txt_that_cannot_be_had_uses_up_a_retry(middleware_of):
    middleware = middleware_of(503)
    middleware.crawler.spider = Spider.from_crawler(middleware.crawler, name="any")
    retry = RetryMiddleware.from_crawler(middleware.crawler)
    request = Request(URL, meta={"queue_lease": object()})
    with pytest.raises(DownloadFailedError) as failed:
        asyncio.run(middleware.process_request(request))

    again = retry.process_exception(request, failed.value)

    assert again.meta["retry_times"] == 1
    assert again.meta["delay"] >= 0


def test_a_robots_txt_that_waits_for_a_held_host_holds_for_as_long(middleware_of, caplog):
    middleware = middleware_of(HeldError("site.example", 77.0, "its gate is closed"))

    with pytest.raises(HeldError) as refused:
        asyncio.run(middleware.process_request(Request(URL)))

    assert refused.value.seconds == 77.0
    assert caplog.messages == []


def test_after_a_held_host_it_is_asked_for_again(middleware_of):
    middleware = middleware_of(HeldError("site.example", 77.0, "its gate is closed"), 200)

    assert ask(middleware, URL, URL) == ["HeldError", "HeldError"]
    assert ask(middleware, URL) == ["passed"]
    assert len(asked(middleware)) == 2


def test_requests_that_come_together_have_it_fetched_once(middleware_of):
    middleware = middleware_of(200)

    assert ask(middleware, *[URL] * 5) == ["passed"] * 5
    assert asked(middleware) == ["https://site.example/robots.txt"]
    assert middleware.crawler.stats.get_value("robotstxt/request_count") == 1


def test_a_request_that_is_given_up_takes_nothing_from_the_others(middleware_of):
    middleware = middleware_of(200)

    async def scene():
        first, second = (
            asyncio.create_task(middleware.process_request(Request(URL))) for _ in range(2)
        )
        await asyncio.sleep(0)
        first.cancel()
        return await asyncio.gather(first, second, return_exceptions=True)

    outcomes = asyncio.run(scene())

    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, type(None)]


def test_each_host_and_port_has_its_own(middleware_of):
    middleware = middleware_of(404)

    ask(middleware, URL, "http://site.example:8000/", "http://other.example/")

    assert asked(middleware) == [
        "https://site.example/robots.txt",
        "http://site.example:8000/robots.txt",
        "http://other.example/robots.txt",
    ]


@pytest.mark.parametrize("url", ["ws://site.example/socket", "wss://site.example/", "data:,x"])
def test_what_is_no_http_has_none(middleware_of, url):
    middleware = middleware_of(200)

    assert ask(middleware, url) == ["passed"]
    assert asked(middleware) == []


def test_a_request_can_be_exempt(middleware_of):
    middleware = middleware_of(500)
    request = Request(URL, meta={"dont_obey_robotstxt": True})

    assert asyncio.run(middleware.process_request(request)) is None
    assert asked(middleware) == []


def test_it_is_fetched_without_asking_itself(middleware_of):
    middleware = middleware_of(200)

    ask(middleware, URL)

    [request] = middleware.crawler.engine.asked
    assert request.meta["dont_obey_robotstxt"] is True
    assert request.priority > 0


@pytest.mark.parametrize(("age", "times"), [(86_399.0, 1), (86_401.0, 2)])
def test_after_a_day_it_is_asked_for_again(middleware_of, monkeypatch, age, times):
    middleware = middleware_of(200)
    ask(middleware, URL)
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + age)
    monkeypatch.setattr("extensions.robots.time", later)

    ask(middleware, URL, URL)

    assert len(asked(middleware)) == times


def test_disobedience_can_be_set():
    with pytest.raises(NotConfigured):
        RobotsTxtMiddleware.from_crawler(get_crawler(settings_dict={"ROBOTSTXT_OBEY": False}))


FORBIDDEN = "https://site.example/secret/x"


@pytest.mark.parametrize("hops", range(1, 6))
def test_redirects_of_a_robots_txt_are_followed_five_at_least(middleware_of, hops):
    targets = [f"https://other.example/{n}" for n in range(hops)]
    middleware = middleware_of(*targets, 200)

    assert ask(middleware, URL, FORBIDDEN) == ["passed", "IgnoreRequest"]
    assert asked(middleware) == ["https://site.example/robots.txt", *targets]
    assert all(one.meta["dont_obey_robotstxt"] for one in middleware.crawler.engine.asked)


def test_a_redirect_is_read_from_where_it_stands(middleware_of):
    middleware = middleware_of("/moved/robots.txt", 200)

    assert ask(middleware, FORBIDDEN) == ["IgnoreRequest"]
    assert asked(middleware)[1] == "https://site.example/moved/robots.txt"


def test_a_robots_txt_that_never_ends_to_move_allows_all(middleware_of):
    middleware = middleware_of("/robots.txt")

    assert ask(middleware, FORBIDDEN) == ["passed"]
    assert len(asked(middleware)) == 6


@pytest.mark.parametrize(
    "target",
    ["http://[", "file:///etc/passwd", "data:,x", "http://169.254.169.254/", "http://redis:6379/"],
)
def test_no_redirect_is_followed_to_where_no_robots_txt_is(middleware_of, target):
    middleware = middleware_of(target)

    assert ask(middleware, FORBIDDEN) == ["passed"]
    assert len(asked(middleware)) == 1


def test_a_robots_txt_that_is_moved_to_where_it_fails_cannot_be_had(middleware_of):
    middleware = middleware_of("https://other.example/robots.txt", 503)

    assert ask(middleware, URL) == ["DownloadFailedError"]
