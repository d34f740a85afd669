"""Hand requests to the engine from the queue that all workers share.

Scrapy's interface is synchronous and takes one request at a time; `exchange` reaches the queue in
batches. A request is acknowledged in the commit that holds, or follows, everything that came of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError
from scrapy import Request, signals
from scrapy.exceptions import IgnoreRequest
from scrapy.utils.defer import deferred_from_coro
from twisted.python.failure import Failure as TwistedFailure

from extensions.addresses import one_line
from extensions.allowed_hosts import AllowedHosts
from extensions.connection import check, check_memory, connect
from extensions.dead_letters import DeadLetterError, Failure
from extensions.exchange import Exchange
from extensions.keys import LANES, lane_of
from extensions.lease import Lease, LeaseLostError, NotStoredError, lease_of
from extensions.queue import Add, Leased, Operation, RequestQueue, Return
from extensions.request_fields import (
    ENTRY_VERSION,
    DecodeError,
    EncodeError,
    NewerEntryError,
    decode,
    encode,
)
from extensions.retry import retry_later
from extensions.seen import Seen
from extensions.signals import data_lost, leaving, nothing_waits, redis_failed, work_blocked
from extensions.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy import Spider
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from scrapy.settings import BaseSettings
    from twisted.internet.defer import Deferred

    from extensions.queue import Status

logger = logging.getLogger(__name__)

_WATCH_WHILE_DRAINING = 5.0
"""Seconds between two looks whether a queue that was to be drained runs again."""


class Scheduler:
    """A scheduler over `RequestQueue`; takes the place of scrapy-redis's, whose settings it heeds.

    A request whose meta holds `delay` (seconds) is handed out when the time is over, by whichever
    worker is free. One whose meta holds `watcher` (a name) puts itself back for ever: there never
    is more than one of that name, and it does not keep the crawl from ending, unless the spider's
    `is_watching` is true. Its next look is a request of that name for the same address, or any of
    that name that does not have its meta; what else has its meta is a request of its own.
    Requests whose meta holds `family` (a name) are compared with those of their family only, and
    one that says `is_start_request` begins it anew, unless one of the family is in the queue.
    What a watch lists may be a roster, see `roster`: it is looked at until nobody is left on it,
    also while the queue is draining.

    When Redis has lost its data, the spider's start is taken once more.

    Settings:
        REDIS_URL, REDIS_PARAMS: as in scrapy-redis.
        SCHEDULER_PERSIST (False): remember what was seen when nothing is left to do. What is left
            to do is always kept.
        SCHEDULER_FLUSH_ON_START (False): throw away what an earlier crawl left.
        SCHEDULER_QUEUE_KEY (%(spider)s:queue): prefix of the queue's keys in Redis.
        QUEUE_LEASE (30.0): seconds after which a silent worker's requests go to others.
        QUEUE_DELIVERIES (10): how many workers may die holding a request before it is buried.
        QUEUE_PREFETCH (64): the most requests that a worker leases ahead.
        QUEUE_HIGH_WATER (100000): waiting downloads beyond which nothing more is discovered, until
            half of them are done; 0: any number.

    A spider may have a method `fallback(request, reason)`: it is asked what to try instead of a
    request that has failed for good, and returns a request, or None for a dead letter. It may name
    `sites`, the settings with the addresses that it asks: a request for another host becomes a dead
    letter, unless `QUEUE_HOSTS` names it; see `AllowedHosts`.
    """

    def __init__(
        self,
        crawler: Crawler,
        queue: RequestQueue,
        *,
        lease: float = 30.0,
        deliveries: int = 10,
        prefetch: int = 64,
        persist: bool = False,
    ) -> None:
        self._crawler = crawler
        self._queue = queue
        self._deliveries = deliveries
        self._persist = persist
        self._leases: dict[Request, Lease] = {}
        """What the engine works on."""
        self._exchange = Exchange(queue, self, lease=lease, prefetch=prefetch)
        self._blocks: dict[str, str] = {}
        self._anew: asyncio.Task[None] | None = None
        self._is_outdated = False

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Scheduler:
        settings = crawler.settings
        assert crawler.spidercls is not None  # noqa: S101 -- Scrapy has set it by now
        lease = settings.getfloat("QUEUE_LEASE", 30.0)
        queue = queue_from_settings(settings, crawler.spidercls.name, lease=lease)
        check_memory(connect(settings, patience=1.0))
        if settings.getbool("SCHEDULER_FLUSH_ON_START"):
            queue.purge()
        scheduler = cls(
            crawler,
            queue,
            lease=lease,
            deliveries=settings.getint("QUEUE_DELIVERIES", 10),
            prefetch=settings.getint("QUEUE_PREFETCH", 64),
            persist=settings.getbool("SCHEDULER_PERSIST"),
        )
        connect_signal = crawler.signals.connect
        connect_signal(scheduler.item_scraped, signals.item_scraped)
        connect_signal(scheduler.item_dropped, signals.item_dropped)
        connect_signal(scheduler.item_error, signals.item_error)
        connect_signal(scheduler.spider_error, signals.spider_error)
        connect_signal(scheduler.response_received, signals.response_received)
        connect_signal(scheduler.work_blocked, work_blocked)
        connect_signal(scheduler.redis_failed, redis_failed)
        return scheduler

    def open(self, spider: Spider) -> None:
        self._spider = spider
        self._seen = Seen(self._fingerprinter)
        self._allowed = AllowedHosts.of(spider, self._crawler.settings)
        self._queue.open()
        self._exchange.start()

    def close(self, reason: str) -> Deferred[None]:
        return deferred_from_coro(self._close(reason))

    def has_pending_requests(self) -> bool:
        """Tell whether the crawl goes on; false only when Redis says that nothing is left."""
        exchange = self._exchange
        if self._leases or not exchange.is_empty or exchange.left is None or self._anew:
            return True
        is_watching = getattr(self._spider, "is_watching", False)
        if exchange.state == "draining" and not exchange.listed:
            is_watching = False
        return exchange.left > 0 or (is_watching and exchange.watchers > 0)

    def enqueue_request(self, request: Request) -> bool:
        lease = self._lease_it_replaces(request)
        is_start = lease is None and self._begins_family(request)
        if origin := request.meta.get("queue_lease"):
            origin.is_accounted = True
        try:
            fields = encode(request, self._spider)
        except EncodeError as error:
            return self._refuse(lease, str(error))
        lane, delay = lane_of(request.priority), float(request.meta.get("delay", 0.0))
        if lease is None:
            seen = None if request.dont_filter else self._seen.place(request)
            self._exchange.send(Add(lane, fields, seen, delay, is_start))
        else:
            if lease.request is not None and request.url == lease.request.url:
                # What middlewares put into the headers, they put there again. A redirect is left
                # alone: what was taken from its headers is not for another host.
                fields.pop("headers", None)
                if headers := lease.leased.fields.get(b"headers"):
                    fields["headers"] = headers.decode()
            lease.replacement = Return(lease.leased, lane, fields, delay)
        return True

    def _begins_family(self, request: Request) -> bool:
        """Tell whether a request begins its family, and if so, give it one of its own.

        A family is of one queue: what a walk finds that began before Redis lost its data must not
        be taken for a part of the walk that begins anew.
        """
        family = request.meta.get("family")
        if not (family and request.meta.get("is_start_request")):
            return False
        request.meta["family"] = f"{family}@{self._queue.epoch}"
        return True

    def next_request(self) -> Request | None:
        while leased := self._exchange.take():
            if request := self._begin(leased):
                return request
        return None

    def item_scraped(self, response: Response | None) -> None:
        if lease := lease_of(response):
            lease.items += 1

    def item_dropped(self, response: Response | None, exception: BaseException) -> None:
        if (lease := lease_of(response)) and isinstance(exception, DeadLetterError):
            lease.failure = Failure.of(str(exception), response)

    def item_error(self, item: Any, response: Response | None, failure: TwistedFailure) -> None:  # noqa: ANN401 -- whatever a spider yields
        """Try again when an item could not be stored: nothing is acknowledged without its bytes.

        An item that says `is_durable` has been stored: it was somebody else's pipeline that failed.
        """
        lease = lease_of(response)
        if lease is None:
            return
        said = failure.getErrorMessage()
        if isinstance(failure.value, LeaseLostError):
            self.count("queue/leases_lost")
            lease.is_accounted = lease.is_lost = True
        elif isinstance(failure.value, NotStoredError):
            lease.replacement = lease.put_back(0.0)
        elif getattr(item, "is_durable", False):
            what = f"{_pipeline(failure)} failed after the item was stored: {said}"
            lease.failure = Failure.of(what, response)
        else:
            self._try_again(lease, f"an item could not be stored: {said}")

    def spider_error(self, response: Response | None, failure: TwistedFailure) -> None:
        if lease := lease_of(response):
            if isinstance(failure.value, NotStoredError):
                lease.replacement = lease.put_back(0.0)
                return
            name = failure.type.__name__ if failure.type else "error"
            reason = f"the spider failed: {name}: {failure.getErrorMessage()}"
            if isinstance(failure.value, RedisError):
                self.redis_failed(failure.value)
                self._try_again(lease, reason)
            else:
                lease.failure = Failure.of(reason, response)

    def response_received(self, request: Request) -> None:
        if lease := request.meta.get("queue_lease"):
            lease.is_accounted = True

    def work_blocked(self, reason: str, by: str = "", *, gives_back: bool = False) -> None:
        """Begin nothing new as long as anybody has a reason for it.

        Leases are kept, unless the reason is one that other workers do not have.
        """
        was_blocked = bool(self._exchange.blocked)
        self._blocks[by] = reason
        reasons = "; ".join(filter(None, self._blocks.values()))
        if bool(reasons) != was_blocked:
            logger.warning("The crawl pauses: %s" if reasons else "The crawl goes on%s", reasons)
        self._exchange.blocked = reasons
        if gives_back:
            self._exchange.give_back()
        if not reasons:
            self.wake()

    def redis_failed(self, error: BaseException) -> None:
        """Heed what Redis answered to others than the exchange."""
        self._exchange.heed(error)

    def redis_full(self, reason: str) -> None:
        """Begin nothing new while Redis takes nothing."""
        self.work_blocked(reason, by="redis")

    def redis_refused(self, reason: str) -> None:
        """End this worker: what Redis refuses, it refuses the next time, too."""
        logger.error("%s; the crawl ends", reason)
        self._exchange.blocked = reason
        self._end("redis_refused")

    def collect(self) -> list[Operation]:
        """Settle what the engine is done with: handed out, and no longer in progress."""
        slot = _engine_slot(self._crawler)
        if slot.closing is not None:
            self._take_back_unbegun()
            self._crawler.signals.send_catch_log(leaving)
        in_progress = slot.inprogress
        finished = [request for request in self._leases if request not in in_progress]
        for request in finished:
            try:
                self._look_after(self._leases[request])
            except Exception as error:
                # Whatever is wrong with one request must not stop the exchange of all others.
                logger.exception("%s cannot be settled", request)
                self._leases[request].failure = Failure(f"it cannot be settled: {error!r}")
        leases = [self._leases.pop(request) for request in finished]
        self._exchange.inbox.extend(lease.leased for lease in leases if lease.is_unbegun)
        return [one.operation() for one in leases if not (one.is_unbegun or one.is_lost)]

    def held(self) -> list[Leased]:
        """Return what the engine works on."""
        return [lease.leased for lease in self._leases.values()]

    def closed_hosts(self) -> dict[str, float]:
        """Return the hosts that must not be asked now, and for how many seconds."""
        throttle = self._crawler.get_extension(Throttle)
        return {} if throttle is None else throttle.closed()

    def wake(self) -> None:
        """Have the engine look for work now: its own heart beats every 5 s."""
        _engine_slot(self._crawler).nextcall.schedule()

    def count(self, name: str, count: int = 1) -> None:
        """Add to a stat."""
        if count and self._crawler.stats:
            self._crawler.stats.inc_value(name, count)

    def look(self, status: Status) -> None:
        """Keep as a stat what is left, for as long as nothing more is being discovered."""
        stats, discovery = self._crawler.stats, status.lanes[LANES[0]]
        is_known = not any(discovery.get(where) for where in ("queued", "leased", "delayed"))
        if stats and (is_known or stats.get_value("queue/left") is not None):
            stats.set_value("queue/left", status.left if is_known else None)
        waiting = status.left - status.total("leased")
        if (
            waiting <= 0
            and not discovery.get("leased")
            and not self._exchange.inbox
            and not _engine(self._crawler).downloader.active
        ):
            self._crawler.signals.send_catch_log(nothing_waits)

    def lost_leases(self, lost: Sequence[Leased]) -> None:
        """Leave to others what they have taken over: they store it, and settle it."""
        ids = {(leased.lane, leased.id) for leased in lost}
        for lease in self._leases.values():
            if (lease.leased.lane, lease.leased.id) in ids:
                lease.is_lost = True

    def lost(self) -> None:
        """Begin anew: what was in the queue is gone, and so is what was archived from the index."""
        self.count("queue/lost")
        logger.error(
            "Redis has lost its data, or throws keys away: the crawl begins anew, and the index is "
            "made whole. Have Redis keep all data, on disk (appendonly yes, maxmemory-policy "
            "noeviction)"
        )
        if self._anew is None:
            self._anew = asyncio.create_task(self._begin_anew())

    async def _begin_anew(self) -> None:
        try:
            await self._crawler.signals.send_catch_log_async(data_lost)
            async for output in self._spider.start():
                if isinstance(output, Request):
                    self.enqueue_request(output)
        except Exception:
            logger.exception("The crawl could not begin anew: run it again")
        finally:
            self._anew = None

    def _begin(self, leased: Leased) -> Request | None:
        """Make a request of an entry, or bury what is none and what kills its workers."""
        lease = Lease(leased, queue=self._queue)
        try:
            request = decode(leased.fields, self._spider)
        except DecodeError as error:
            self._bury(lease, str(error))
            return None
        except NewerEntryError as error:
            self._leave_to_newer(lease, error)
            return None
        if objection := self._allowed.objection(request):
            self._bury(lease, objection)
            return None
        if leased.deliveries > self._deliveries:
            self._bury(lease, f"{leased.deliveries - 1} workers died holding it")
            return None
        is_draining = self._exchange.state == "draining"
        if is_draining and b"watcher" in leased.fields and not self._exchange.listed:
            # It would find more and more; should the crawl go on, it is still there.
            self._exchange.send(lease.put_back(_WATCH_WHILE_DRAINING))
            return None
        lease.request = request
        request.meta["queue_lease"] = lease
        self._leases[request] = lease
        return request

    def _leave_to_newer(self, lease: Lease, error: NewerEntryError) -> None:
        """End this worker, and leave the request as it is to one that understands it."""
        self._exchange.inbox.append(lease.leased)
        if not self._is_outdated:
            self._is_outdated = True
            self._exchange.blocked = str(error)
            logger.error("%s, and this worker knows up to %d: upgrade it", error, ENTRY_VERSION)
            self._end("newer_version")

    def _end(self, reason: str) -> None:
        closing = _engine(self._crawler).close_spider_async(reason=reason)
        self._closing = asyncio.create_task(closing)

    def _refuse(self, lease: Lease | None, reason: str) -> bool:
        """Say why a request cannot be queued; if it was another's next try, that one has failed."""
        self.count("queue/unfit")
        logger.error("A request cannot be queued: %s", reason)
        if lease is not None:
            lease.failure = Failure(reason)
        return False

    def _bury(self, lease: Lease, reason: str) -> None:
        lease.failure = Failure(reason)
        logger.error("A request is buried: %s", one_line(reason))
        self._exchange.send(lease.operation())

    def _look_after(self, lease: Lease) -> None:
        """Try again what failed where neither the spider nor the retry middleware sees it."""
        if not (lease.is_accounted or lease.is_unbegun or lease.failure):
            self._try_again(lease, "it failed before the spider saw it: the worker's log says why")
        # In place of a watch, its name would stay and nobody watch.
        if lease.failure and lease.request and not (lease.replacement or lease.watcher):
            self._fall_back(lease, lease.request, lease.failure.reason)

    def _fall_back(self, lease: Lease, request: Request, reason: str) -> None:
        fallback = getattr(self._spider, "fallback", None)
        instead = fallback(request, reason) if fallback else None
        if instead is not None:
            fields = encode(instead, self._spider)
            delay = float(instead.meta.get("delay", 0.0))
            lease.replacement = Return(lease.leased, lane_of(instead.priority), fields, delay)
            self.count("queue/fallbacks")

    def _try_again(self, lease: Lease, reason: str) -> None:
        if lease.request is None or lease.replacement is not None:
            return
        again = retry_later(lease.request, self._spider, reason)
        if again is not None:
            self.enqueue_request(again)

    def _lease_it_replaces(self, request: Request) -> Lease | None:
        """Find the lease of which this request is the next try, hop or look."""
        watcher = request.meta.get("watcher")
        lease: Lease | None = request.meta.get("queue_lease")
        if watcher is not None:
            watched = next((one for one in self._leases.values() if one.watcher == watcher), None)
            if watched is not None and watched is lease and not _is_again(request, watched):
                del request.meta["watcher"]
                watched = None
            return self._unless_replaced(watched, request)
        if lease is None or lease.request is None or lease.request not in self._leases:
            return None
        return self._unless_replaced(lease if _is_next(request, lease) else None, request)

    def _unless_replaced(self, lease: Lease | None, request: Request) -> Lease | None:
        """Have what comes second be a request of its own: nothing is lost for a mistake."""
        if lease is None or lease.replacement is None:
            return lease
        logger.error("%s would be the second in the place of one request", request)
        # A watch stays one: the queue takes no other of its name.
        request.dont_filter = True
        return None

    async def _close(self, reason: str) -> None:
        await self._exchange.stop()
        if reason == "finished" and not self._persist:
            await asyncio.to_thread(self._queue.status, forget_if_finished=True)

    @property
    def _fingerprinter(self) -> Any:  # noqa: ANN401 -- Scrapy has no public type for it
        return self._crawler.request_fingerprinter

    def _take_back_unbegun(self) -> None:
        """Take from the downloader what waits for its turn, so that leaving takes no such time."""
        for slot in _engine(self._crawler).downloader.slots.values():
            while slot.queue:
                request, downloaded = slot.queue.popleft()
                if lease := self._leases.get(request):
                    lease.is_unbegun = True
                    # It has not failed, so nobody is told that it has.
                    request.errback = None
                refusal = IgnoreRequest("the crawl is ending")
                downloaded.errback(TwistedFailure(refusal))  # type: ignore[no-untyped-call]


def _is_again(request: Request, lease: Lease) -> bool:
    """Tell whether a request with a watch's meta is its next look, and no child of it."""
    return lease.request is not None and request.url == lease.request.url


def _is_next(request: Request, lease: Lease) -> bool:
    hops = ("retry_times", "redirect_times", "put_off_times", "look_times")
    before = lease.request.meta if lease.request else {}
    return any(request.meta.get(hop, 0) > before.get(hop, 0) for hop in hops)


def _pipeline(failure: TwistedFailure) -> str:
    """Name the pipeline that failed, and its error."""
    name, trace = "a pipeline", failure.value.__traceback__ if failure.value else None
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if trace.tb_frame.f_code.co_name == "process_item" and owner is not None:
            name = type(owner).__name__
        trace = trace.tb_next
    return f"{name} ({type(failure.value).__name__})"


def queue_from_settings(
    settings: BaseSettings, spider: str, *, lease: float = 30.0
) -> RequestQueue:
    """Open the queue of a spider.

    Raises:
        ValueError: Redis does not answer.

    """
    # The exchange has a patience of its own, and says that it waits.
    redis = connect(settings, patience=1.0)
    check(redis)
    worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    return RequestQueue(
        redis,
        namespace_of(settings, spider),
        worker=worker,
        lease=lease,
        high_water=settings.getint("QUEUE_HIGH_WATER", 100_000),
    )


def namespace_of(settings: BaseSettings, spider: str) -> str:
    """Return the prefix of the keys of a spider's queue."""
    pattern: str = settings.get("SCHEDULER_QUEUE_KEY") or "%(spider)s:queue"
    return pattern % {"spider": spider}


def _engine(crawler: Crawler) -> Any:  # noqa: ANN401 -- see below
    return crawler.engine


def _engine_slot(crawler: Crawler) -> Any:  # noqa: ANN401 -- private to Scrapy, which has no other hook
    return _engine(crawler)._slot  # noqa: SLF001
