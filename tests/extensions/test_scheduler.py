"""The scheduler over a real queue, with an engine that the test plays.

Long, because all of its sections use the one rig: in and out, acknowledged, tried again, items and
errors, watchers, the end, settings.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import SimpleNamespace

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, OutOfMemoryError
from scrapy import Request, Spider, signals
from scrapy.exceptions import DropItem
from scrapy.http import Response
from scrapy.settings import Settings
from scrapy.utils.defer import maybe_deferred_to_future
from scrapy.utils.test import get_crawler
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from extensions.connection import UnreachableError
from extensions.dead_letters import DeadLetterError
from extensions.keys import GROUP, QueueKeys
from extensions.lease import LeaseLostError, NotStoredError, still_held
from extensions.queue import Add, RequestQueue, Status
from extensions.retry import retry_later
from extensions.scheduler import Scheduler, namespace_of
from extensions.signals import data_lost, nothing_waits, redis_failed, work_blocked
from tests.extensions.waiting import until

URL = "http://site/page"
KEYS = QueueKeys("pages:queue")


class PagesSpider(Spider):
    name = "pages"

    async def start(self):
        yield Request(URL, dont_filter=True)

    def parse_page(self, response):
        """A callback."""

    def failed(self, failure):
        """An errback."""


class Engine:
    """What the scheduler sees of Scrapy's engine."""

    def __init__(self) -> None:
        self.wakes = 0
        self._slot = SimpleNamespace(closing=None, inprogress=set(), nextcall=self)
        self.downloader = SimpleNamespace(slots={}, active=set())
        self.closed_for: list[str] = []

    def schedule(self) -> None:
        self.wakes += 1

    async def close_spider_async(self, *, reason: str) -> None:
        self.closed_for.append(reason)


class Rig:
    """A scheduler, its engine and a look into its queue."""

    def __init__(self, redis_url: str, settings: dict) -> None:
        settings = {"REDIS_URL": redis_url, "RETRY_TIMES": 2, **settings}
        self.crawler = get_crawler(PagesSpider, settings)
        self.engine = self.crawler.engine = Engine()
        self.spider = self.crawler.spider = PagesSpider.from_crawler(self.crawler)
        self.scheduler = Scheduler.from_crawler(self.crawler)
        self.queue = RequestQueue(Redis.from_url(redis_url), "pages:queue", worker="test")
        self.queue.open()

    @property
    def status(self) -> Status:
        return self.queue.status()

    @property
    def letter(self) -> dict:
        """The only dead letter."""
        [letter] = self.queue.dead_letters().values()
        return letter

    def stat(self, name: str) -> object:
        return self.crawler.stats.get_value(name)

    async def next(self) -> Request:
        """Have the engine take a request and begin it."""
        requests: list[Request | None] = []
        await until(lambda: requests.append(self.scheduler.next_request()) or requests[-1])
        self.engine._slot.inprogress.add(requests[-1])
        return requests[-1]

    async def begin(self, **arguments) -> Request:
        """Put a request in and take it out."""
        self.scheduler.enqueue_request(Request(URL, **{"dont_filter": True, **arguments}))
        return await self.next()

    def respond(self, request: Request, status: int = 200, body: bytes = b"page") -> Response:
        response = Response(request.url, status=status, body=body, request=request)
        self.send(signals.response_received, response=response, request=request)
        return response

    def send(self, signal: object, **arguments) -> None:
        results = self.crawler.signals.send_catch_log(signal, spider=self.spider, **arguments)
        for _, result in results:
            if isinstance(result, Failure):
                result.raiseException()

    async def finish(self, request: Request) -> None:
        """Have the engine be through with a request, and wait until that is in the queue."""
        self.engine._slot.inprogress.discard(request)
        await until(lambda: request not in self.scheduler._leases)
        await self.committed()

    async def committed(self) -> None:
        """Wait until everything sent is in the queue."""
        await until(lambda: not self.scheduler._exchange._outbox)


@pytest.fixture
def other(redis) -> RequestQueue:
    """Another worker's look at the queue."""
    queue = RequestQueue(redis, "pages:queue", worker="other")
    queue.open()
    return queue


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, redis, redis_url):  # noqa: ARG001 -- emptied before and after
    """Play a scene with an open scheduler, which is closed in the end."""
    monkeypatch.setattr("extensions.exchange._TURN", 0.001)
    monkeypatch.setattr("extensions.exchange._LOOK", 0.002)

    def play(scene, *, reason: str = "shutdown", **settings) -> Rig:
        async def act() -> Rig:
            rig = Rig(redis_url, settings)
            rig.scheduler.open(rig.spider)
            try:
                await scene(rig)
            finally:
                await maybe_deferred_to_future(rig.scheduler.close(reason))
            return rig

        return asyncio.run(act())

    return play


# --- What Redis lost, and what is of a later version ----------------------------------------------


def test_a_crawl_begins_anew_when_redis_has_lost_its_data(run, redis, caplog):
    heard = []

    async def rebuild():
        await asyncio.sleep(0.02)
        heard.append("rebuilt")

    async def scene(rig):
        rig.crawler.signals.connect(rebuild, data_lost)
        await rig.committed()
        redis.flushdb()
        await until(lambda: rig.stat("queue/lost"))
        assert rig.scheduler.has_pending_requests()
        request = await rig.next()
        heard.append(request.url)
        await rig.finish(request)

    run(scene)

    assert heard == ["rebuilt", URL]
    assert caplog.text.count("Redis has lost its data") == 1


def start_of_walk() -> Request:
    return Request(URL, meta={"family": "walk", "is_start_request": True})


def test_what_an_old_walk_finds_keeps_none_from_beginning_anew(run, redis):
    async def scene(rig):
        rig.scheduler.enqueue_request(start_of_walk())
        page = await rig.next()
        redis.flushdb()
        await until(lambda: rig.stat("queue/lost"))
        family = page.meta["family"]
        rig.scheduler.enqueue_request(Request(f"{URL}?2", meta={"family": family}))
        rig.scheduler.enqueue_request(start_of_walk())
        await rig.finish(page)
        waiting = {(await rig.next()).url for _ in range(3)}
        assert waiting == {URL, f"{URL}?2"}

    run(scene)


def test_a_walk_that_goes_on_is_not_begun_twice(run):
    async def scene(rig):
        rig.scheduler.enqueue_request(start_of_walk())
        rig.scheduler.enqueue_request(start_of_walk())
        await rig.committed()

    assert run(scene).status.left == 1


def test_a_worker_that_meets_a_later_version_leaves_it_alone_and_ends(run, redis, caplog):
    async def scene(rig):
        redis.xadd(KEYS.lanes[0], {"url": URL, "v": "3"})
        await until(lambda: rig.scheduler.next_request() or rig.engine.closed_for)
        assert rig.engine.closed_for == ["newer_version"]

    rig = run(scene)

    assert "a request in the queue is of version 3, and this worker knows up to 2" in caplog.text
    assert (rig.status.left, rig.status.dead_letters) == (1, 0)
    assert rig.queue.reclaim(1)[0].fields[b"v"] == b"3"


def test_what_redis_refuses_to_others_ends_the_worker_in_one_line(run, caplog):
    async def scene(rig):
        refused = NoPermissionError("not you", status_code="NOPERM")
        rig.send(redis_failed, error=refused)
        rig.send(redis_failed, error=refused)
        await until(lambda: rig.engine.closed_for)
        assert rig.scheduler.next_request() is None
        assert rig.engine.closed_for == ["redis_refused"]

    run(scene)

    [line] = caplog.messages
    assert line.endswith("(NOPERM not you); the crawl ends")


def test_a_redis_that_is_full_for_others_pauses_the_worker(run, caplog):
    async def scene(rig):
        rig.send(redis_failed, error=OutOfMemoryError("no", status_code="OOM"))
        assert "its memory is full" in rig.scheduler._exchange.blocked

    run(scene)

    assert caplog.messages[0].startswith("The crawl pauses: Redis takes nothing")


def test_a_page_that_waits_for_redis_when_the_crawl_ends_is_put_back(run):
    async def scene(rig):
        request = await rig.begin()
        error = Failure(NotStoredError("the crawl ends"))
        rig.send(signals.spider_error, response=rig.respond(request), failure=error)
        await rig.finish(request)

    rig = run(scene)

    assert (rig.status.left, rig.status.dead_letters) == (1, 0)


def test_two_reasons_to_pause_are_over_when_both_are(run):
    async def scene(rig):
        rig.send(work_blocked, reason="the store is away", by="archive")
        rig.send(work_blocked, reason="the index is built", by="index")
        rig.send(work_blocked, reason="", by="index")
        assert rig.scheduler._exchange.blocked == "the store is away"
        rig.send(work_blocked, reason="", by="archive")
        assert rig.scheduler._exchange.blocked == ""

    run(scene)


@pytest.mark.parametrize(("queued", "downloading", "told"), [(0, 0, 1), (1, 0, 0), (0, 1, 0)])
def test_it_is_told_when_nothing_waits_anywhere(run, queued, downloading, told):
    heard = []

    async def scene(rig):
        rig.crawler.signals.connect(lambda: heard.append(1), nothing_waits, weak=False)
        request = await rig.begin()
        if downloading:
            rig.engine.downloader.active.add(request)
        for _ in range(queued):
            rig.scheduler.enqueue_request(
                Request(URL, dont_filter=True, meta={"delay": 60.0}, priority=-1)
            )
        await rig.committed()
        heard.clear()
        rig.scheduler.look(rig.status)
        assert len(heard) == told

    run(scene)


def test_as_long_as_more_is_being_discovered_something_waits(run):
    heard = []

    async def scene(rig):
        rig.crawler.signals.connect(lambda: heard.append(1), nothing_waits, weak=False)
        await rig.begin(priority=1)
        await rig.committed()
        heard.clear()
        rig.scheduler.look(rig.status)
        assert heard == []

    run(scene)


# --- What is left ---------------------------------------------------------------------------------


def test_what_is_left_is_a_stat_once_nothing_more_is_being_discovered(run):
    async def scene(rig):
        search = await rig.begin(priority=1)
        for _ in range(3):
            rig.scheduler.enqueue_request(Request(URL, dont_filter=True))
        await rig.committed()
        rig.scheduler.look(rig.status)
        assert rig.stat("queue/left") is None
        rig.respond(search)
        await rig.finish(search)
        rig.scheduler.look(rig.status)
        assert rig.stat("queue/left") == 3

    run(scene)


def test_what_is_left_is_unknown_again_when_discovery_goes_on(run):
    async def scene(rig):
        await rig.begin()
        rig.scheduler.look(rig.status)
        assert rig.stat("queue/left") == 1
        rig.scheduler.enqueue_request(Request(URL, priority=1, meta={"delay": 60.0}))
        await rig.committed()
        rig.scheduler.look(rig.status)
        assert rig.stat("queue/left") is None

    run(scene)


# --- In and out -----------------------------------------------------------------------------------


def test_a_request_comes_out_as_it_went_in(run):
    async def scene(rig):
        request = await rig.begin(callback=rig.spider.parse_page, meta={"a": 1})
        assert (request.url, request.callback) == (URL, rig.spider.parse_page)
        assert request.meta["a"] == 1

    run(scene)


def test_a_request_that_was_seen_is_not_added_again(run):
    async def scene(rig):
        for _ in range(3):
            rig.scheduler.enqueue_request(Request(URL))
        await rig.committed()

    rig = run(scene)

    assert rig.status.left == 1
    assert rig.stat("queue/refused") == 2


def test_a_request_that_is_not_filtered_is_added_again(run):
    async def scene(rig):
        for _ in range(2):
            rig.scheduler.enqueue_request(Request(URL, dont_filter=True))
        await rig.committed()

    rig = run(scene)

    assert rig.status.left == 2


@pytest.mark.parametrize(
    ("priority", "lane"), [(5, "discovery"), (0, "downloads"), (-5, "backfill")]
)
def test_priority_picks_the_lane(run, priority, lane):
    async def scene(rig):
        rig.scheduler.enqueue_request(Request(URL, priority=priority))
        await rig.committed()

    rig = run(scene)

    assert rig.status.lanes[lane]["discovered"] == 1


def test_a_request_with_a_delay_waits(run):
    async def scene(rig):
        rig.scheduler.enqueue_request(Request(URL, meta={"delay": 60.0}))
        await rig.committed()

    rig = run(scene)

    assert rig.status.total("delayed") == 1


def test_a_request_that_cannot_be_written_is_refused_with_the_reason(run, caplog):
    async def scene(rig):
        assert not rig.scheduler.enqueue_request(Request(URL, meta={"page": object()}))

    rig = run(scene)

    assert rig.stat("queue/unfit") == 1
    assert "is not JSON: Object of type object" in caplog.text
    assert rig.status.left == 0


@pytest.mark.parametrize(
    "fields",
    [{"url": "no scheme"}, {"url": URL, "callback": "close"}, {"url": URL, "meta": "[" * 9999}],
    ids=["address", "callback", "meta"],
)
def test_an_entry_that_is_no_request_is_buried_and_the_next_is_taken(run, redis, fields):
    async def scene(rig):
        redis.xadd(KEYS.lanes[0], fields)
        request = await rig.begin()
        assert request.url == URL
        await rig.committed()

    rig = run(scene)

    assert rig.letter["reason"].startswith("no request: ")
    assert rig.letter["attempts"] == 1


def test_the_engine_is_woken_when_there_is_work(run):
    async def scene(rig):
        await rig.begin()

    rig = run(scene)

    assert rig.engine.wakes >= 1


# --- Acknowledged ---------------------------------------------------------------------------------


def test_a_request_is_leased_until_the_engine_is_done_with_it(run):
    async def scene(rig):
        request = await rig.begin()
        response = rig.respond(request)
        rig.send(signals.item_scraped, item={}, response=response)
        await asyncio.sleep(0.01)
        during = rig.status.total("leased")
        await rig.finish(request)
        assert (during, rig.status.total("leased")) == (1, 0)

    run(scene)


def test_what_came_of_a_request_is_in_the_queue_when_it_is_taken_out(run):
    async def scene(rig):
        request = await rig.begin()
        rig.respond(request)
        rig.scheduler.enqueue_request(Request(f"{URL}/child"))
        await rig.finish(request)
        assert rig.status.left == 1
        assert rig.status.total("gone") == 1

    run(scene)


@pytest.mark.parametrize(
    ("priority", "items", "outcome"),
    [(0, 1, "archived"), (0, 0, "gone"), (1, 0, "followed"), (1, 2, "archived"), (-1, 0, "gone")],
)
def test_the_ledger_says_what_came_of_a_request(run, priority, items, outcome):
    async def scene(rig):
        request = await rig.begin(priority=priority)
        response = rig.respond(request)
        for _ in range(items):
            rig.send(signals.item_scraped, item={}, response=response)
        await rig.finish(request)

    rig = run(scene)

    assert rig.status.total(outcome) == 1
    assert rig.status.imbalance() == 0


def test_an_item_of_the_spiders_start_has_no_lease(run):
    async def scene(rig):
        rig.send(signals.item_scraped, item={}, response=None)
        rig.send(signals.item_error, item={}, response=None, failure=Failure(OSError("x")))

    rig = run(scene)

    assert rig.status.left == 0


# --- Tried again ----------------------------------------------------------------------------------


def test_a_retry_takes_the_place_of_its_original(run):
    async def scene(rig):
        request = await rig.begin(meta={"kept": 1})
        again = retry_later(request, rig.spider, "HTTP 503")
        again.meta["delay"] = 60.0
        rig.scheduler.enqueue_request(again)
        await rig.finish(request)

    rig = run(scene)

    status = rig.status
    assert (status.left, status.total("delayed"), status.total("leased")) == (1, 1, 0)
    assert (status.total("discovered"), status.imbalance()) == (1, 0)


def test_a_retry_counts_its_tries(run):
    async def scene(rig):
        request = await rig.begin()
        again = retry_later(request, rig.spider, "HTTP 503")
        again.meta["delay"] = 0.0
        rig.scheduler.enqueue_request(again)
        await rig.finish(request)
        second = await rig.next()
        assert second.meta["retry_times"] == 1
        assert "delay" not in second.meta

    run(scene)


def test_a_retry_keeps_the_headers_it_was_queued_with(run):
    async def scene(rig):
        request = await rig.begin(headers={"X-Mine": "1"})
        request.headers["User-Agent"] = "set by a middleware"
        again = retry_later(request, rig.spider, "HTTP 503")
        again.meta["delay"] = 0.0
        rig.scheduler.enqueue_request(again)
        await rig.finish(request)
        second = await rig.next()
        assert second.headers.to_unicode_dict().data == {"X-Mine": "1"}

    run(scene)


def test_a_redirect_takes_the_place_of_its_original(run):
    async def scene(rig):
        request = await rig.begin()
        rig.scheduler.enqueue_request(
            request.replace(url=f"{URL}/moved", meta={**request.meta, "redirect_times": 1})
        )
        await rig.finish(request)

    rig = run(scene)

    status = rig.status
    assert (status.left, status.total("discovered")) == (1, 1)
    assert status.imbalance() == 0


def test_a_redirect_is_not_given_headers_that_were_taken_from_it(run):
    async def scene(rig):
        request = await rig.begin(headers={"Authorization": "secret", "X-Mine": "1"})
        elsewhere = request.replace(
            url="http://elsewhere/", meta={**request.meta, "redirect_times": 1}
        )
        del elsewhere.headers["Authorization"]
        rig.scheduler.enqueue_request(elsewhere)
        await rig.finish(request)
        second = await rig.next()
        assert second.headers.to_unicode_dict().data == {"X-Mine": "1"}

    run(scene)


@pytest.mark.parametrize("hop", ["retry_times", "redirect_times"])
def test_a_request_with_its_parents_meta_is_no_retry(run, hop):
    async def scene(rig):
        request = await rig.begin(meta={hop: 2})
        rig.respond(request)
        rig.scheduler.enqueue_request(Request(f"{URL}/child", meta=request.meta))
        await rig.finish(request)

    rig = run(scene)

    assert (rig.status.left, rig.status.total("gone")) == (1, 1)
    assert rig.status.total("discovered") == 2


def test_a_retry_of_a_request_that_is_settled_is_a_new_one(run):
    async def scene(rig):
        request = await rig.begin()
        rig.respond(request)
        await rig.finish(request)
        rig.scheduler.enqueue_request(retry_later(request, rig.spider, "late"))
        await rig.committed()

    rig = run(scene)

    assert rig.status.total("discovered") == 2


def test_a_retry_that_cannot_be_written_is_a_dead_letter(run):
    async def scene(rig):
        request = await rig.begin()
        request.meta["page"] = object()
        assert not rig.scheduler.enqueue_request(retry_later(request, rig.spider, "HTTP 503"))
        await rig.finish(request)

    rig = run(scene)

    assert "is not JSON: Object of type object" in rig.letter["reason"]


def test_what_fails_where_nobody_sees_it_is_tried_again(run):
    async def scene(rig):
        request = await rig.begin()
        await rig.finish(request)

    rig = run(scene, RETRY_BACKOFF=60.0)

    assert (rig.status.total("gone"), rig.status.left) == (0, 1)


def test_what_keeps_failing_where_nobody_sees_it_is_a_dead_letter(run):
    async def scene(rig):
        request = await rig.begin(meta={"retry_times": 2})
        await rig.finish(request)

    rig = run(scene)

    assert rig.letter["reason"] == "it failed before the spider saw it: the worker's log says why"
    assert rig.letter["attempts"] == 3


def test_a_request_that_cannot_be_settled_stops_no_other(run, monkeypatch, caplog):
    def fail(*_arguments, **_more):
        raise ZeroDivisionError("a bug")

    async def scene(rig):
        first, second = await rig.begin(), await rig.begin()
        rig.respond(second)
        monkeypatch.setattr("extensions.scheduler.retry_later", fail)
        await rig.finish(first)
        await rig.finish(second)

    rig = run(scene)

    assert rig.letter["reason"] == "it cannot be settled: ZeroDivisionError('a bug')"
    assert rig.status.total("gone") == 1
    assert "cannot be settled" in caplog.text


def test_a_request_that_a_middleware_puts_in_anothers_place_accounts_for_it(run):
    async def scene(rig):
        request = await rig.begin()
        rig.scheduler.enqueue_request(request.replace(url=f"{URL}/instead"))
        await rig.finish(request)

    rig = run(scene)

    assert (rig.status.left, rig.status.total("gone")) == (1, 1)


# --- Items and errors -----------------------------------------------------------------------------


def test_a_request_whose_item_could_not_be_stored_goes_back(run):
    async def scene(rig):
        request = await rig.begin()
        response = rig.respond(request)
        for _ in range(2):
            rig.send(
                signals.item_error,
                item={},
                response=response,
                failure=Failure(OSError("disk full")),
            )
        await rig.finish(request)

    rig = run(scene, RETRY_BACKOFF=60.0)

    assert (rig.status.total("delayed"), rig.status.total("archived")) == (1, 0)
    assert rig.stat("retry/reason_count/an item could not be stored") == 1


def test_a_request_whose_items_never_can_be_stored_is_a_dead_letter(run):
    async def scene(rig):
        request = await rig.begin(meta={"retry_times": 2})
        response = rig.respond(request)
        rig.send(
            signals.item_error, item={}, response=response, failure=Failure(OSError("disk full"))
        )
        await rig.finish(request)

    rig = run(scene)

    assert rig.letter["reason"] == "an item could not be stored: disk full"
    assert rig.letter["attempts"] == 3


class SearchEnginePipeline:
    """Somebody's own, after ours."""

    def process_item(self, _item):
        raise ValueError("no room")


def test_what_is_stored_is_not_fetched_again_for_somebody_elses_pipeline(run):
    async def scene(rig):
        request = await rig.begin()
        response = rig.respond(request)
        try:
            SearchEnginePipeline().process_item({})
        except ValueError:
            failure = Failure()
        item = SimpleNamespace(is_durable=True)
        rig.send(signals.item_error, item=item, response=response, failure=failure)
        await rig.finish(request)

    rig = run(scene)

    assert rig.letter["reason"] == (
        "SearchEnginePipeline (ValueError) failed after the item was stored: no room"
    )
    assert rig.status.total("delayed") == 0


def test_an_item_that_this_worker_will_not_store_goes_back_as_it_was(run):
    async def scene(rig):
        request = await rig.begin()
        response = rig.respond(request)
        failure = Failure(NotStoredError("leaving"))
        rig.send(signals.item_error, item={}, response=response, failure=failure)
        await rig.finish(request)

    rig = run(scene)

    status = rig.status
    assert (status.left, status.total("delayed"), status.dead_letters) == (1, 0, 0)
    assert rig.stat("retry/count") is None


def test_an_item_whose_lease_is_lost_is_the_others(run, other):
    async def scene(rig):
        request = await rig.begin()
        response = rig.respond(request)
        [taken] = await take_over(rig)
        failure = Failure(LeaseLostError("too late"))
        rig.send(signals.item_error, item={}, response=response, failure=failure)
        await rig.finish(request)
        assert other.holds([taken]) == [True]

    rig = run(scene)

    status = rig.status
    assert (status.total("leased"), status.dead_letters, status.imbalance()) == (1, 0, 0)
    assert rig.stat("queue/leases_lost") == 1


def test_what_others_took_over_meanwhile_is_left_to_them(run, other):
    async def scene(rig):
        request = await rig.begin()
        [taken] = await take_over(rig)
        rig.scheduler.lost_leases([taken])
        assert still_held([request.meta["queue_lease"]]) == [False]
        rig.send(signals.item_scraped, item={}, response=rig.respond(request))
        await rig.finish(request)
        assert other.holds([taken]) == [True]

    rig = run(scene)

    assert (rig.status.total("leased"), rig.status.imbalance()) == (1, 0)


async def take_over(rig) -> list:
    """Have another worker take what the rig's has leased."""
    held = rig.scheduler.held()
    for leased in held:
        rig.scheduler._queue._redis.xclaim(
            KEYS.lanes[leased.lane - 1], GROUP, "other", 0, [leased.id]
        )
    await rig.committed()
    return held


@pytest.mark.parametrize(
    ("exception", "dead"), [(DeadLetterError("no log"), 1), (DropItem("a duplicate"), 0)]
)
def test_an_item_can_be_dropped_for_a_dead_letter_or_as_it_should_be(run, exception, dead):
    async def scene(rig):
        request = await rig.begin()
        response = rig.respond(request, 200, b"x" * 600)
        rig.send(signals.item_dropped, item={}, response=response, exception=exception)
        await rig.finish(request)

    rig = run(scene)

    letters = list(rig.queue.dead_letters().values())
    assert len(letters) == rig.status.total("dead") == dead
    assert all(letter["body"] == "x" * 500 for letter in letters)


def test_a_spider_that_fails_makes_a_dead_letter(run):
    async def scene(rig):
        request = await rig.begin()
        response = rig.respond(request, 206, b"x" * 600)
        rig.send(signals.spider_error, response=response, failure=Failure(KeyError("log")))
        await rig.finish(request)

    rig = run(scene)

    letter = rig.letter
    assert letter["reason"] == "the spider failed: KeyError: 'log'"
    assert (letter["status"], letter["body"]) == (206, "x" * 500)
    assert letter["fields"][:2] == ["url", URL]
    assert 0 <= letter["died_at"] - letter["queued_at"] < 20


def test_an_errback_that_fails_makes_a_dead_letter(run):
    async def scene(rig):
        request = await rig.begin()
        download = Failure(OSError("down"))
        download.request = request
        rig.send(signals.spider_error, response=download, failure=Failure(KeyError("x")))
        await rig.finish(request)

    rig = run(scene)

    assert (rig.letter["reason"], rig.letter["status"]) == (
        "the spider failed: KeyError: 'x'",
        None,
    )


def test_a_spider_that_fails_because_redis_is_away_is_tried_again(run):
    async def scene(rig):
        request = await rig.begin()
        response = rig.respond(request)
        gone = Failure(RedisConnectionError("gone"))
        rig.send(signals.spider_error, response=response, failure=gone)
        await rig.finish(request)

    rig = run(scene, RETRY_BACKOFF=60.0)

    assert (rig.status.dead_letters, rig.status.total("delayed")) == (0, 1)


def test_a_start_that_fails_is_nobodys_dead_letter(run):
    async def scene(rig):
        rig.send(signals.spider_error, response=None, failure=Failure(KeyError("x")))

    rig = run(scene)

    assert rig.status.dead_letters == 0


# --- Watchers -------------------------------------------------------------------------------------


def watch(**meta) -> Request:
    return Request(URL, dont_filter=True, meta={"watcher": "w", **meta})


def test_a_watcher_puts_itself_back_once(run):
    async def scene(rig):
        rig.scheduler.enqueue_request(watch())
        rig.scheduler.enqueue_request(watch())
        request = await rig.next()
        rig.respond(request)
        for _ in range(2):
            rig.scheduler.enqueue_request(watch(delay=60.0))
        await rig.finish(request)

    rig = run(scene)

    status = rig.status
    assert (status.watchers, status.left, status.total("delayed")) == (1, 0, 1)
    assert (status.total("discovered"), status.imbalance()) == (1, 0)


def test_children_with_a_watchs_meta_are_requests_of_their_own(run):
    async def scene(rig):
        rig.scheduler.enqueue_request(watch())
        request = await rig.next()
        response = rig.respond(request)
        for n in range(3):
            rig.scheduler.enqueue_request(Request(f"{URL}/{n}", meta=response.meta))
        rig.scheduler.enqueue_request(request.replace(dont_filter=True))
        await rig.finish(request)

    rig = run(scene)

    status = rig.status
    assert (status.watchers, status.left, status.imbalance()) == (1, 3, 0)


def test_a_second_next_try_is_an_error_that_is_said_and_loses_nothing(run, caplog):
    async def scene(rig):
        request = await rig.begin()
        rig.respond(request)
        for n in range(2):
            again = request.replace(url=f"{URL}/{n}")
            again.meta["retry_times"] = 1
            rig.scheduler.enqueue_request(again)
        await rig.finish(request)

    rig = run(scene)

    status = rig.status
    assert (status.left, status.imbalance()) == (2, 0)
    assert "/1> would be the second in the place of one request" in caplog.text


def test_a_watcher_that_does_not_put_itself_back_is_put_back(run):
    async def scene(rig):
        rig.scheduler.enqueue_request(watch())
        request = await rig.next()
        rig.respond(request)
        rig.scheduler.enqueue_request(watch(watcher="other", delay=60.0))
        await rig.finish(request)

    rig = run(scene)

    assert (rig.status.watchers, rig.status.total("gone")) == (2, 0)


def test_a_watcher_that_failed_is_put_back(run):
    async def scene(rig):
        rig.scheduler.enqueue_request(watch(kept=1))
        request = await rig.next()
        response = rig.respond(request)
        rig.send(signals.spider_error, response=response, failure=Failure(KeyError("x")))
        await rig.finish(request)

    rig = run(scene)

    status = rig.status
    assert (status.watchers, status.left, status.dead_letters) == (1, 0, 0)
    assert (status.total("delayed"), status.imbalance()) == (1, 0)


@pytest.mark.parametrize("watcher", ["w", b"\xff"], ids=["text", "no text"])
def test_a_watcher_that_is_no_request_is_buried_and_not_put_back(run, redis, watcher):
    async def scene(rig):
        redis.xadd(KEYS.lanes[0], {"url": URL, "callback": "close", "watcher": watcher})
        await rig.begin()
        await rig.committed()

    rig = run(scene)

    assert rig.letter["reason"].startswith("no request: ")
    assert rig.status.total("delayed") == 0


@pytest.mark.parametrize(
    ("is_watching", "state", "goes_on"),
    [(True, "running", True), (False, "running", False), (True, "draining", False)],
    ids=["watching", "not watching", "draining"],
)
def test_a_watcher_keeps_only_a_watching_spider_going(run, is_watching, state, goes_on):
    async def scene(rig):
        rig.spider.is_watching = is_watching
        rig.scheduler.enqueue_request(watch(delay=60.0))
        rig.queue.set_state(state)
        await rig.committed()
        exchange = rig.scheduler._exchange
        await until(lambda: exchange.left is not None and exchange.state == state)
        assert rig.scheduler.has_pending_requests() is goes_on

    run(scene)


def test_while_a_queue_is_drained_its_watches_wait(run):
    async def scene(rig):
        rig.queue.set_state("draining")
        await until(lambda: rig.scheduler._exchange.state == "draining")
        rig.scheduler.enqueue_request(watch())
        begun = []

        def is_put_back() -> bool:
            begun.append(rig.scheduler.next_request())
            return rig.status.total("delayed") == 1

        await until(is_put_back)
        assert set(begun) == {None}
        assert (rig.status.watchers, rig.status.imbalance()) == (1, 0)

    run(scene)


# --- The end --------------------------------------------------------------------------------------


def test_a_crawl_goes_on_until_redis_has_said_that_nothing_is_left(run):
    async def scene(rig):
        pending = [rig.scheduler.has_pending_requests()]
        request = await rig.begin()
        pending.append(rig.scheduler.has_pending_requests())
        rig.respond(request)
        await rig.finish(request)
        await until(lambda: not rig.scheduler.has_pending_requests())
        assert pending == [True, True]
        assert rig.status.left == 0

    run(scene)


def test_a_crawl_goes_on_while_another_worker_holds_a_request(run, other):
    other.commit([Add(2, {"url": URL})])
    other.lease(1)

    async def scene(rig):
        await until(lambda: rig.scheduler._exchange.left is not None)
        assert rig.scheduler.has_pending_requests()
        assert rig.scheduler.next_request() is None

    run(scene)


@pytest.mark.parametrize(
    ("reason", "settings", "seen_again"),
    [
        ("finished", {}, True),
        ("finished", {"SCHEDULER_PERSIST": True}, False),
        ("shutdown", {}, False),
    ],
    ids=["finished", "persistent", "interrupted"],
)
def test_what_was_seen_is_forgotten_when_the_crawl_is_finished(run, reason, settings, seen_again):
    async def crawl(rig):
        rig.scheduler.enqueue_request(Request(URL))
        request = await rig.next()
        rig.respond(request)
        await rig.finish(request)

    async def look(rig):
        rig.scheduler.enqueue_request(Request(URL))
        await rig.committed()

    run(crawl, reason=reason, **settings)
    rig = run(look)

    assert (rig.status.left == 1) is seen_again


def test_a_leaving_worker_gives_back_what_it_did_not_begin(run):
    async def scene(rig):
        for n in range(3):
            rig.scheduler.enqueue_request(Request(f"{URL}/{n}"))
        first = await rig.next()
        rig.respond(first)
        rig.engine._slot.inprogress.discard(first)

    rig = run(scene)

    assert (rig.status.total("gone"), rig.status.left) == (1, 2)
    assert len(rig.queue.reclaim()) == rig.status.total("leased")


def test_a_leaving_worker_takes_back_what_waits_in_the_downloader(run):
    async def scene(rig):
        request = await rig.begin(errback=rig.spider.failed)
        refused: list[Failure] = []
        waiting = deque()
        for queued in (request, Request("http://site/robots.txt")):
            waiting.append((queued, Deferred()))
            waiting[-1][1].addErrback(refused.append)
        rig.engine.downloader.slots["site"] = SimpleNamespace(queue=waiting)
        rig.engine._slot.closing = object()
        await until(lambda: len(refused) == 2)
        rig.engine._slot.inprogress.discard(request)
        assert [failure.getErrorMessage() for failure in refused] == ["the crawl is ending"] * 2
        assert request.errback is None

    rig = run(scene)

    assert (rig.status.left, rig.status.total("gone")) == (1, 0)
    assert len(rig.queue.reclaim()) == 1


# --- Settings -------------------------------------------------------------------------------------


def test_the_key_of_the_queue_can_be_set(run, redis):
    async def scene(rig):
        rig.scheduler.enqueue_request(Request(URL))
        await rig.committed()

    run(scene, SCHEDULER_QUEUE_KEY="mine:%(spider)s")

    assert redis.xlen(QueueKeys("mine:pages").lanes[1]) == 1


@pytest.mark.parametrize("pattern", [None, ""], ids=["unset", "empty"])
def test_a_queue_is_named_after_its_spider(pattern):
    settings = Settings({"SCHEDULER_QUEUE_KEY": pattern})

    assert namespace_of(settings, "pages") == "pages:queue"


def test_what_an_earlier_crawl_left_can_be_thrown_away(run, other):
    other.commit([Add(2, {"url": URL}), Add(1, {"url": URL}, delay=60.0)])

    async def scene(rig):
        assert rig.status.left == 0

    run(scene, SCHEDULER_FLUSH_ON_START=True)


def test_a_request_for_a_host_that_nobody_named_is_buried_unsent(run, redis):
    redis.xadd(KEYS.lanes[0], {"url": "http://169.254.169.254/latest/meta-data"})

    async def scene(rig):
        assert (await rig.begin()).url == URL

    rig = run(scene, QUEUE_HOSTS=["site"])

    assert rig.letter["reason"] == "169.254.169.254 is no host of this crawl's settings"


@pytest.mark.parametrize(("deaths", "is_buried"), [(2, False), (3, True)])
def test_a_request_that_kills_its_workers_is_buried(run, other, redis, deaths, is_buried):
    other.commit([Add(2, {"url": f"{URL}/killer"}), Add(2, {"url": URL})])
    other.lease(1)
    [entry] = redis.xpending_range(KEYS.lanes[1], GROUP, "-", "+", 1)
    ids = [entry["message_id"]]
    redis.xclaim(KEYS.lanes[1], GROUP, "other", 0, ids, idle=60_000, retrycount=deaths, justid=True)

    async def scene(rig):
        taken = {(await rig.next()).url for _ in range(1 if is_buried else 2)}
        assert (f"{URL}/killer" in taken) is not is_buried
        await rig.committed()

    rig = run(scene, QUEUE_DELIVERIES=3, QUEUE_LEASE=30.0)

    reasons = [letter["reason"] for letter in rig.queue.dead_letters().values()]
    assert reasons == ["3 workers died holding it"] * is_buried


def test_leases_of_a_set_length_are_taken_over_after_it(run, other):
    other.commit([Add(2, {"url": URL})])
    other.lease(1)

    async def scene(rig):
        request = await rig.next()
        assert request.url == URL

    rig = run(scene, QUEUE_LEASE=0.0)

    assert rig.stat("queue/reclaimed") >= 1


def test_how_many_requests_are_leased_ahead_can_be_set(run, other):
    other.commit([Add(2, {"url": f"{URL}/{n}"}) for n in range(20)])

    async def scene(rig):
        await rig.next()
        await asyncio.sleep(0.02)
        assert rig.status.total("leased") <= 5

    run(scene, QUEUE_PREFETCH=4)


def test_a_redis_that_does_not_answer_stops_the_crawl_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setattr("extensions.connection._RETRIES", 0)
    crawler = get_crawler(PagesSpider, {"REDIS_URL": f"unix://{tmp_path}/nothing"})

    with pytest.raises(UnreachableError, match="Redis does not answer"):
        Scheduler.from_crawler(crawler)
