"""A worker whose own network is broken pauses alone, and looks whether it is mended."""

from __future__ import annotations

import asyncio
import errno
from types import SimpleNamespace

import aiohttp
import pytest
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
)
from scrapy.http import Response
from scrapy.utils.test import get_crawler

from extensions.hosts import Policy
from extensions.own_network import OwnNetwork, is_own
from extensions.signals import work_blocked
from extensions.throttle import HeldError, Throttle
from tests.extensions.waiting import until

URL, HOST = "https://user:word@site.example/page.json", "site.example"


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


KEY = SimpleNamespace(host="proxy", port=1, ssl=None, is_ssl=False)


@pytest.mark.parametrize(
    ("error", "is_ours"),
    [
        (CannotResolveHostError("x"), True),
        (
            caused(
                DownloadConnectionRefusedError("x"),
                aiohttp.ClientProxyConnectionError(KEY, OSError(errno.ECONNREFUSED, "refused")),
            ),
            True,
        ),
        (
            caused(
                DownloadConnectionRefusedError("x"),
                aiohttp.ClientConnectorError(KEY, OSError(errno.ENETUNREACH, "no network")),
            ),
            True,
        ),
        (
            caused(
                DownloadConnectionRefusedError("x"),
                aiohttp.ClientConnectorError(KEY, OSError(errno.ECONNREFUSED, "refused")),
            ),
            False,
        ),
        (DownloadFailedError("x"), False),
    ],
    ids=["DNS", "proxy", "no route", "refused by the site", "another"],
)
def test_what_fails_before_the_site_is_the_workers_fault(error, is_ours):
    assert is_own(error) is is_ours


class Pauses:
    """Waits for as long as the test wants, and notes for how long it was to be."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def crawler(redis_url, monkeypatch):
    crawler = get_crawler(settings_dict={"REDIS_URL": redis_url})
    crawler.asked, crawler.answers, crawler.blocks = [], [], []

    async def download(request):
        crawler.asked.append(request)
        answer = crawler.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(crawler, "_engine", SimpleNamespace(download_async=download))

    def blocked(reason: str, by: str, gives_back: bool) -> None:  # noqa: FBT001 -- as it is sent
        crawler.blocks.append((reason, by, gives_back))

    crawler.signals.connect(blocked, work_blocked, weak=False)
    return crawler


@pytest.fixture
def throttle(crawler) -> Throttle:
    return Throttle.from_crawler(crawler)


def own_of(crawler, throttle: Throttle, pauses: Pauses) -> OwnNetwork:
    policy = Policy(errors=3, hold=10.0, hold_max=30.0)
    return OwnNetwork(crawler, policy, throttle, lambda reply: reply.status < 500, sleep=pauses)


def test_too_many_failures_in_a_row_pause_this_worker_until_the_host_answers(crawler, throttle):
    pauses = Pauses()
    robots = "https://site.example/robots.txt"
    crawler.answers = [OSError("no"), Response(robots, 503), Response(robots, 404)]

    async def scene() -> float | None:
        own = own_of(crawler, throttle, pauses)
        own.failed(URL, "ProxyError")
        own.failed(URL, "ProxyError")
        own.succeeded(HOST)
        for _ in range(3):
            assert throttle.held(URL) is None
            own.failed(URL, "ProxyError")
        held = throttle.held(URL)
        await until(lambda: throttle.held(URL) is None)
        return held

    assert asyncio.run(scene()) == 0.0
    assert pauses.seconds == [10.0, 20.0, 30.0]
    assert [(one.url, one.meta["is_own_probe"]) for one in crawler.asked] == [(robots, True)] * 3
    assert crawler.blocks == [
        (
            "this worker cannot reach site.example, by ProxyError: see its network and proxy",
            "the network to site.example",
            True,
        ),
        ("", "the network to site.example", False),
    ]


def test_a_host_that_the_fleet_leaves_alone_is_not_for_one_worker_to_find_out(crawler, throttle):
    crawler.answers = [HeldError(HOST, 60.0, "its gate is closed")]

    async def scene() -> None:
        own_of(crawler, throttle, Pauses()).pause(URL, "alone")
        await until(lambda: throttle.held(URL) is None)

    asyncio.run(scene())

    assert len(crawler.asked) == 1


def test_a_crawl_that_ends_looks_no_more(crawler, throttle):
    async def scene() -> set[asyncio.Task[None]]:
        own = own_of(crawler, throttle, Pauses())
        own._sleep = asyncio.sleep
        own.pause(URL, "alone")
        own.pause(URL, "once more")
        own.close()
        await asyncio.sleep(0)
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(scene()) == set()
    assert len(crawler.blocks) == 1
