"""The scheduler in a real crawl of a small site, of which every page ends in another way.

One crawl serves all tests of this module: they look at what it left in the queue.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from redis import Redis
from scrapy import Request, Spider
from scrapy.http import Response
from scrapy.utils.test import get_crawler

from extensions.keys import QueueKeys
from extensions.queue import RequestQueue, Status

SETTINGS = {
    "SCHEDULER": "extensions.scheduler.Scheduler",
    "SCHEDULER_PERSIST": True,
    "DOWNLOADER_MIDDLEWARES": {
        "scrapy.downloadermiddlewares.retry.RetryMiddleware": None,
        "extensions.retry.RetryMiddleware": 550,
    },
    "SPIDER_MIDDLEWARES": {"scrapy.spidermiddlewares.metacopy.MetaCopyDetectionMiddleware": None},
    "RETRY_TIMES": 1,
    "RETRY_BACKOFF": 0.01,
    "RETRY_PRIORITY_ADJUST": 0,
    "REDIRECT_PRIORITY_ADJUST": 0,
    "DOWNLOAD_DELAY": 0,
    "LOG_ENABLED": False,
}


ANSWERS = {
    "/missing": {"status": 404},
    "/forbidden": {"status": 403, "body": b"x" * 600},
    "/broken": {"status": 503, "text": "not now"},
    "/flaky": {"status": 503},
    "/moved": {"status": 302, "headers": {"Location": "/target"}},
    "/corrupt": {"body": b"no gzip", "headers": {"Content-Encoding": "gzip"}},
}
"""What the site says where it does not say that all is well."""


class Site:
    """Answers by path, and counts."""

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()

    async def answer(self, request: web.Request) -> web.Response:
        path = request.path
        self.hits[path] += 1
        if path == "/hangs-up":
            request.transport.close()
        if path == "/flaky" and self.hits[path] > 1:
            path = "/good"
        return web.Response(**ANSWERS.get(path, {"text": "a page"}))


class OnePipeline:
    """Stores an item, or fails as the item says."""

    def process_item(self, item):
        if item["path"] == "/unstored":
            raise OSError("disk full")
        return item


class SmallSpider(Spider):
    name = "small"
    handle_httpstatus_list = [404]
    custom_settings = {"ITEM_PIPELINES": {OnePipeline: 100}}
    site = ""
    paths = ("good", "missing", "forbidden", "broken", "flaky", "moved", "corrupt", "hangs-up")
    paths += ("unstored", "fails", "copies", "unfit", "errback-fails")

    async def start(self):
        for path in self.paths:
            errback = self.fail if path == "errback-fails" else None
            address = "http://127.0.0.1:1" if errback else self.site
            yield Request(f"{address}/{path}", self.parse, errback=errback)
        yield Request(f"{self.site}/watch", self.parse_watch, meta={"watcher": "w"})

    def parse(self, response: Response):
        path = urlsplit(response.url).path
        if path == "/fails":
            raise ZeroDivisionError("a bug")
        if path == "/copies":
            yield Request(f"{self.site}/child", self.parse, meta=response.meta)
        elif path == "/unfit":
            yield Request(f"{self.site}/never", self.parse, meta={"page": object()})
        elif response.status != 404:
            yield {"path": path}

    def parse_watch(self, response: Response):
        again = {"watcher": "w", "delay": 0.3}
        yield Request(response.url, self.parse_watch, dont_filter=True, meta=again)

    def fail(self, _failure):
        raise KeyError("in the errback")


@dataclass
class Crawled:
    """What a crawl left."""

    status: Status
    letters: dict[str, dict]
    """By path."""
    stats: dict
    hits: Counter[str]


async def crawl(redis_url: str, site: Site) -> dict:
    app = web.Application()
    app.router.add_get("/{path:.*}", site.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    crawler = get_crawler(SmallSpider, {**SETTINGS, "REDIS_URL": redis_url})
    try:
        await crawler.crawl_async(site=f"http://{host}:{port}")
    finally:
        await runner.cleanup()
    return crawler.stats.get_stats()


def _path(letter: dict) -> str:
    fields = letter["fields"]
    return urlsplit(dict(zip(fields[::2], fields[1::2], strict=True))["url"]).path


@pytest.fixture(scope="module")
def crawled(redis_url) -> Crawled:
    redis, site = Redis.from_url(redis_url), Site()
    redis.flushdb()
    queue = RequestQueue(redis, "small:queue", worker="test")
    queue.open()
    redis.xadd(QueueKeys("small:queue").lanes[0], {"url": "/hostile", "callback": "close"})

    stats = asyncio.run(crawl(redis_url, site))

    letters = {_path(letter): letter for letter in queue.dead_letters().values()}
    status = queue.status()
    redis.flushdb()
    redis.close()
    return Crawled(status, letters, stats, site.hits)


def test_the_crawl_ends_of_itself_with_nothing_left_but_the_watcher(crawled):
    assert crawled.stats["finish_reason"] == "finished"
    assert (crawled.status.left, crawled.status.watchers) == (0, 1)


def test_the_ledger_balances(crawled):
    # The hostile entry was put in by hand, so nobody discovered it.
    assert crawled.status.imbalance() == 1


def test_nothing_is_leased_any_more(crawled):
    assert crawled.status.total("leased") == 0


def test_every_page_that_could_be_stored_is_archived(crawled):
    # good, flaky, target, child
    assert crawled.status.total("archived") == 4


def test_a_page_that_is_not_there_is_gone_when_the_spider_handles_it(crawled):
    # missing, copies, unfit
    assert crawled.status.total("gone") == 3
    assert "/missing" not in crawled.letters


def test_a_retried_request_is_fetched_again_and_counted_once(crawled):
    assert crawled.hits["/flaky"] == 2
    assert "/flaky" not in crawled.letters


@pytest.mark.parametrize("path", ["/broken", "/corrupt", "/unstored"])
def test_what_may_succeed_another_time_is_fetched_as_often_as_it_may(crawled, path):
    assert crawled.hits[path] == 2


def test_a_redirect_is_followed_and_counted_once(crawled):
    assert (crawled.hits["/moved"], crawled.hits["/target"]) == (1, 1)


def test_a_child_with_its_parents_meta_is_a_request_of_its_own(crawled):
    assert (crawled.hits["/copies"], crawled.hits["/child"]) == (1, 1)


def test_a_request_that_cannot_be_queued_is_counted(crawled):
    assert crawled.stats["queue/unfit"] == 1


def test_the_watcher_looked_once_and_waits(crawled):
    assert crawled.hits["/watch"] >= 1
    assert crawled.status.total("delayed") == 1


@pytest.mark.parametrize(
    ("path", "reason", "status", "tries"),
    [
        ("/forbidden", "HTTP 403", 403, 1),
        ("/broken", "HTTP 503", 503, 2),
        ("/corrupt", "it failed before the spider saw it: the worker's log says why", None, 2),
        ("/unstored", "an item could not be stored: disk full", None, 2),
        ("/fails", "the spider failed: ZeroDivisionError: a bug", 200, 1),
        ("/hostile", "no request: the spider small has no callback 'close'", None, 1),
    ],
)
def test_what_does_not_succeed_is_a_dead_letter_with_its_cause(
    crawled, path, reason, status, tries
):
    letter = crawled.letters[path]

    assert (letter["reason"], letter["status"]) == (reason, status)
    assert letter["attempts"] == tries


@pytest.mark.parametrize("path", ["/hangs-up", "/errback-fails"])
def test_a_failed_connection_is_a_dead_letter_after_its_tries(crawled, path):
    letter = crawled.letters[path]

    assert letter["status"] is None
    assert letter["attempts"] == 2


def test_a_letter_holds_the_first_500_bytes_of_the_reply(crawled):
    assert crawled.letters["/forbidden"]["body"] == "x" * 500


def test_there_are_no_other_letters(crawled):
    assert len(crawled.letters) == crawled.status.dead_letters == 8
