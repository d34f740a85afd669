"""What becomes of a request that fails: tried again, put off, or another in its place."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from redis import Redis
from scrapy import Request, Spider
from scrapy.exceptions import DownloadTimeoutError
from scrapy.http import Response
from scrapy.utils.defer import maybe_deferred_to_future
from scrapy.utils.test import get_crawler

from extensions.keys import QueueKeys
from extensions.queue import RequestQueue, Status
from extensions.retry import RetryMiddleware
from extensions.scheduler import Scheduler
from extensions.throttle import HeldError, Throttle
from tests.extensions.waiting import until

URL = "http://site/room"
INSTEAD = "http://elsewhere/replay"
KEYS = QueueKeys("pages:queue")


class PagesSpider(Spider):
    name = "pages"

    def parse_page(self, response):
        """A callback."""


class FallbackSpider(PagesSpider):
    """Tries another source once."""

    def fallback(self, request: Request, reason: str) -> Request | None:
        if request.url != URL:
            return None
        meta = {"because": reason, **self.instead_meta}
        return Request(INSTEAD, self.parse_page, meta=meta, priority=-1)

    instead_meta: dict = {}


class BrokenSpider(PagesSpider):
    def fallback(self, request: Request, reason: str) -> Request | None:
        raise ZeroDivisionError(f"{request.url}: {reason}")


class Rig:
    """A scheduler and a retry middleware, with an engine that the test plays."""

    def __init__(self, redis_url: str, spider: type[Spider]) -> None:
        extensions = {"EXTENSIONS_BASE": {}, "EXTENSIONS": {"extensions.throttle.Throttle": 1}}
        settings = {"REDIS_URL": redis_url, "RETRY_TIMES": 1, "RETRY_BACKOFF": 0.0, **extensions}
        self.crawler = get_crawler(spider, settings)
        self.in_progress: set[Request] = set()
        wake = SimpleNamespace(schedule=lambda: None)
        slot = SimpleNamespace(closing=None, inprogress=self.in_progress, nextcall=wake)
        self.crawler.engine = SimpleNamespace(_slot=slot)
        self.spider = self.crawler.spider = spider.from_crawler(self.crawler)
        self.throttle = self.crawler.get_extension(Throttle)
        self.scheduler = Scheduler.from_crawler(self.crawler)
        self.middleware = RetryMiddleware.from_crawler(self.crawler)
        self.queue = RequestQueue(Redis.from_url(redis_url), KEYS.namespace, worker="test")

    @property
    def status(self) -> Status:
        return self.queue.status()

    @property
    def letter(self) -> dict:
        """The only dead letter."""
        [letter] = self.queue.dead_letters().values()
        return letter

    async def next(self) -> Request:
        found: list[Request | None] = []
        await until(lambda: found.append(self.scheduler.next_request()) or found[-1])
        self.in_progress.add(found[-1])
        return found[-1]

    async def begin(self, **arguments) -> Request:
        self.scheduler.enqueue_request(Request(URL, **arguments))
        return await self.next()

    async def end(self, request: Request, outcome: int | Exception) -> Request | None:
        """Have a request end so, and return what is queued in its place by the middleware."""
        if isinstance(outcome, Exception):
            again = self.middleware.process_exception(request, outcome)
        else:
            response = Response(request.url, outcome, body=b"no")
            again = self.middleware.process_response(request, response)
            request.meta["queue_lease"].is_accounted = True
        if isinstance(again, Request):
            self.scheduler.enqueue_request(again)
        self.in_progress.discard(request)
        await until(lambda: request not in self.scheduler._leases)
        await until(lambda: not self.scheduler._exchange._outbox)
        return again if isinstance(again, Request) else None


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, redis, redis_url):  # noqa: ARG001 -- emptied before and after
    """Play a scene with an open scheduler, which is closed in the end."""
    monkeypatch.setattr("extensions.exchange._TURN", 0.001)
    monkeypatch.setattr("extensions.exchange._LOOK", 0.002)

    def play(scene, spider: type[Spider] = FallbackSpider) -> Rig:
        async def act() -> Rig:
            rig = Rig(redis_url, spider)
            rig.scheduler.open(rig.spider)
            try:
                await scene(rig)
            finally:
                await maybe_deferred_to_future(rig.scheduler.close("shutdown"))
            return rig

        return asyncio.run(act())

    return play


# --- Another in its place -------------------------------------------------------------------------


def test_when_a_source_has_given_up_another_is_tried(run):
    async def scene(rig):
        await rig.end(await rig.begin(), 404)
        instead = await rig.next()
        assert (instead.url, instead.callback) == (INSTEAD, rig.spider.parse_page)
        assert instead.meta["because"] == "HTTP 404"

    rig = run(scene)

    status = rig.status
    assert (status.dead_letters, status.left, status.imbalance()) == (0, 1, 0)
    assert (status.total("discovered"), status.lanes["backfill"]["discovered"]) == (1, 1)
    assert rig.crawler.stats.get_value("queue/fallbacks") == 1


def test_before_another_is_tried_all_retries_are(run):
    async def scene(rig):
        first = await rig.end(await rig.begin(), 500)
        second = await rig.next()
        await rig.end(second, DownloadTimeoutError("60 s"))
        assert first.meta["retry_times"] == 1
        assert (await rig.next()).meta["because"] == "DownloadTimeoutError: 60 s"

    run(scene)


def test_another_may_be_tried_later(run):
    async def scene(rig):
        rig.spider.instead_meta = {"delay": 60.0}
        await rig.end(await rig.begin(), 404)

    assert run(scene).status.lanes["backfill"]["delayed"] == 1


def test_when_the_other_source_fails_too_it_is_a_dead_letter(run):
    async def scene(rig):
        await rig.end(await rig.begin(), 404)
        await rig.end(await rig.next(), 410)

    rig = run(scene)

    assert (rig.letter["reason"], rig.letter["fields"][:2]) == ("HTTP 410", ["url", INSTEAD])
    assert (rig.status.left, rig.status.imbalance()) == (0, 0)


def test_a_spider_without_the_method_gets_a_dead_letter(run):
    async def scene(rig):
        await rig.end(await rig.begin(), 404)

    rig = run(scene, PagesSpider)

    assert rig.letter["reason"] == "HTTP 404"
    assert rig.crawler.stats.get_value("queue/fallbacks") is None


def test_a_spiders_method_that_fails_costs_no_more_than_its_request(run, caplog):
    async def scene(rig):
        await rig.end(await rig.begin(), 404)
        request = await rig.begin(dont_filter=True)
        await rig.end(request, 200)

    rig = run(scene, BrokenSpider)

    assert "it cannot be settled: ZeroDivisionError" in rig.letter["reason"]
    assert "HTTP 404" in rig.letter["reason"]
    assert "cannot be settled" in caplog.text


def test_an_instead_that_cannot_be_queued_makes_a_dead_letter(run):
    async def scene(rig):
        rig.spider.instead_meta = {"page": object()}
        await rig.end(await rig.begin(), 404)

    rig = run(scene)

    assert "is not JSON" in rig.letter["reason"]
    assert (rig.status.left, rig.status.imbalance()) == (0, 0)


@pytest.mark.parametrize("status", [200, 500], ids=["it succeeded", "it is tried again"])
def test_what_has_not_failed_for_good_has_no_fallback(run, status):
    async def scene(rig):
        await rig.end(await rig.begin(), status)

    rig = run(scene)

    assert rig.crawler.stats.get_value("queue/fallbacks") is None
    assert rig.status.dead_letters == 0


# --- Put off --------------------------------------------------------------------------------------


def test_a_request_to_a_held_host_is_put_off_and_uses_up_no_retry(run):
    async def scene(rig):
        request = await rig.begin(meta={"retry_times": 1})
        again = await rig.end(request, HeldError("site", 60.0, "its gate is closed"))
        assert (again.meta["delay"], again.meta["put_off_times"]) == (60.0, 1)
        assert (again.meta["retry_times"], again.dont_filter) == (1, True)

    rig = run(scene)

    status = rig.status
    assert (status.total("delayed"), status.dead_letters, status.imbalance()) == (1, 0, 0)
    assert rig.crawler.stats.get_value("throttle/put_off") == 1
    assert rig.crawler.stats.get_value("retry/count") is None


def test_a_request_can_be_put_off_any_number_of_times(run):
    async def scene(rig):
        request = await rig.begin()
        for _ in range(5):
            again = await rig.end(request, HeldError("site", 0.0, "the crawl is ending"))
            request = await rig.next()
        assert again.meta["put_off_times"] == 5

    rig = run(scene)

    assert (rig.status.dead_letters, rig.status.left) == (0, 1)


@pytest.mark.parametrize(
    "outcome", [429, 503, DownloadTimeoutError("60 s")], ids=["429", "503", "time-out"]
)
def test_a_failure_while_the_host_is_held_uses_up_no_retry(run, outcome):
    async def scene(rig):
        request = await rig.begin(meta={"retry_times": 1})
        rig.throttle.close_gate("site", 60.0)
        again = await rig.end(request, outcome)
        assert again.meta["retry_times"] == 1
        assert 55.0 < again.meta["delay"] <= 60.0

    assert run(scene).status.total("delayed") == 1


def test_a_hold_of_another_host_changes_nothing(run):
    async def scene(rig):
        rig.throttle.close_gate("another", 60.0)
        again = await rig.end(await rig.begin(), 503)
        assert again.meta["retry_times"] == 1

    run(scene)


def test_what_is_gone_is_a_dead_letter_also_while_its_host_is_held(run):
    async def scene(rig):
        request = await rig.begin()
        rig.throttle.close_gate("site", 60.0)
        await rig.end(request, 404)

    assert run(scene, PagesSpider).letter["reason"] == "HTTP 404"


def test_a_watcher_that_is_put_off_goes_on_watching(run):
    async def scene(rig):
        request = await rig.begin(meta={"watcher": "w"})
        await rig.end(request, HeldError("site", 0.0, "its gate is closed"))
        assert (await rig.next()).meta["watcher"] == "w"

    rig = run(scene)

    assert (rig.status.watchers, rig.status.left, rig.status.imbalance()) == (1, 0, 0)


# --- Not from the queue ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [HeldError("site", 60.0, "its gate is closed"), DownloadTimeoutError("60 s")],
    ids=["held", "time-out"],
)
def test_a_failure_of_what_is_not_from_the_queue_is_left_to_whoever_waits_for_it(run, error):
    async def scene(rig):
        assert rig.middleware.process_exception(Request(URL), error) is None

    assert run(scene).status.left == 0


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("seconds", [0.0, 60.0], ids=["open", "held"])
def test_a_reply_to_what_is_not_from_the_queue_is_handed_on(run, status, seconds):
    async def scene(rig):
        rig.throttle.close_gate("site", seconds)
        response = Response(URL, status)
        assert rig.middleware.process_response(Request(URL), response) is response

    assert run(scene).status.left == 0
