"""Leave a host alone that fails again and again, and look with one request whether it is well."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING

from redis.exceptions import RedisError
from scrapy import signals
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
    ResponseDataLossError,
)

from extensions.hosts import TOLD_AFTER, Policy, Verdict
from extensions.own_network import OwnNetwork, is_own
from extensions.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from scrapy.settings import BaseSettings

    from extensions.throttle import Turn

logger = logging.getLogger(__name__)

OUTAGES = (
    CannotResolveHostError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
    ResponseDataLossError,
)
"""What goes wrong with a host, and not with one request."""
_ACTIONS = ("hold", "close")
_LOGGED = 10
"""Errors of a kind that are logged one by one; after these, their count."""
_BODY_SHOWN = 100
"""Bytes of a reply in the log."""
_JSON = (b"{", b"[", b"]")
"""How what the sites call JSON begins; nearly every reply does."""
_TOLD_EVERY = 60.0
"""Seconds between two lines that say how many of how many requests fail."""


class CircuitBreaker:
    """An extension: counts errors for each host, over all workers, and trips on too many.

    While it is open nothing is sent to the host, and nothing uses up retries; then one request of
    the whole fleet tries. Errors are what `what_is_wrong` says, and connections that fail. A 429 is
    none, and neither is a 404. A worker that fails while others do not pauses alone, and so does
    one whose requests do not get as far as the host.

    Settings:
        CIRCUIT_BREAKER_ERRORS (10): errors within the window that trip it; 0: any number. In a row,
            without a success between them, they trip it at once.
        CIRCUIT_BREAKER_FLOOR (0.2): the least share of what was asked in the window that they must
            be to trip it, if not in a row.
        CIRCUIT_BREAKER_WINDOW (60.0): seconds.
        CIRCUIT_BREAKER_SHARE (0.5): failures among the requests of a window that trip it; 0: any.
        CIRCUIT_BREAKER_MINIMUM (20): requests in a window before the share counts.
        CIRCUIT_BREAKER_HOLD (60.0): seconds until the first probe; doubles with each that fails.
        CIRCUIT_BREAKER_HOLD_MAX (1800.0): seconds; where doubling stops.
        CIRCUIT_BREAKER_ACTION (hold): `close` to end the crawl when it trips.
    """

    def __init__(
        self,
        crawler: Crawler,
        policy: Policy,
        *,
        action: str = "hold",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if action not in _ACTIONS:
            raise ValueError(f"CIRCUIT_BREAKER_ACTION is {action!r}: give hold or close")
        self._crawler = crawler
        self._policy = policy
        self._action = action
        self._clock = clock
        self._throttle: Throttle | None = None
        self._own: OwnNetwork | None = None
        self._successes: Counter[str] = Counter()
        """By host: requests that went well and are not reported yet."""
        self._kinds: Counter[tuple[str, str]] = Counter()
        """Errors so far, by host and kind."""
        self._told_at: dict[str, float] = {}
        """By host: when it was said how many requests fail; at first, when one failed."""
        self._hosts: set[str] = set()
        """Those that this worker has asked: the fleet may have other spiders, for others."""
        self._telling: set[asyncio.Task[None]] = set()
        self._flushing: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> CircuitBreaker:
        settings = crawler.settings
        breaker = cls(
            crawler,
            policy_from_settings(settings),
            action=settings.get("CIRCUIT_BREAKER_ACTION", "hold"),
        )
        crawler.signals.connect(breaker.spider_opened, signals.spider_opened)
        crawler.signals.connect(breaker.spider_closed, signals.spider_closed)
        return breaker

    def spider_opened(self) -> None:
        self._throttle = self._crawler.get_extension(Throttle)
        if self._throttle is not None:
            self._throttle.on_change = self.changed
            self._own = OwnNetwork(
                self._crawler, self._policy, self._throttle, _is_well, on_pause=self._tripped
            )

    def spider_closed(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
        if self._own is not None:
            self._own.close()
        for (host, kind), count in self._kinds.items():
            if count > _LOGGED:
                logger.error("%s: %s, %d times in all", host, kind, count)

    async def succeeded(self, turn: Turn) -> None:
        """Count a reply that is what it should be."""
        self._hosts.add(turn.host)
        if self._own is not None:
            self._own.succeeded(turn.host)
        if turn.is_probe:
            await self._report(turn.host, successes=1, is_probe=True)
            return
        self._successes[turn.host] += 1
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())

    def is_alive(self, turn: Turn) -> None:
        """Count a probe as a success before its request is done."""
        self._hosts.add(turn.host)
        self._telling.add(task := asyncio.create_task(self.succeeded(turn)))
        task.add_done_callback(self._telling.discard)

    async def failed(
        self,
        turn: Turn,
        request: Request,
        error: Exception | str,
        response: Response | None = None,
        *,
        took: float = 0.0,
        is_said: bool = False,
    ) -> None:
        """Count an error that came after so many seconds, and log it with the reply's first bytes.

        It is not logged when whoever tells of it has said so already. What failed before it
        reached the host says nothing of it.
        """
        self._hosts.add(turn.host)
        kind = error if isinstance(error, str) else type(error).__name__
        self._count("circuit_breaker/errors")
        if not is_said:
            self._log(turn.host, request, kind, response)
        if self._own is not None and isinstance(error, Exception) and is_own(error):
            self._own.failed(request.url, kind)
            if turn.is_probe and self._throttle is not None:
                # It decides nothing: another worker is to look.
                await self._throttle.hold(turn.host, kind, TOLD_AFTER, is_probe=True)
            return
        verdict = await self._report(
            turn.host,
            successes=self._successes.pop(turn.host, 0),
            failures=1,
            took=took,
            is_probe=turn.is_probe,
            reason=kind,
        )
        if verdict is not None:
            self._heed(turn.host, request, verdict)

    def changed(self, host: str, change: str) -> None:
        """Take note that a breaker changed, here or in another worker."""
        if change == "closed":
            logger.info("%s is well again", host)
            return
        self._count("circuit_breaker/tripped")
        logger.warning("%s fails too often and is left alone: see `scrapy throttle`", host)
        self._tripped(host)

    def _tripped(self, host: str) -> None:
        if self._action == "close" and self._closing is None and host in self._hosts:
            self._closing = asyncio.create_task(self._close(f"circuit breaker: {host}"))

    def _heed(self, host: str, request: Request, verdict: Verdict) -> None:
        """Do what the fleet makes of an error of this worker's."""
        if self._throttle is None or self._own is None:
            return
        if verdict.change == "alone":
            self._count("circuit_breaker/alone")
            reason = f"requests to {host} fail here, and not in other workers: see its network"
            self._own.pause(request.url, reason)
        elif verdict.change == "unsure":
            self._throttle.pause(host, "the other workers are heard first", TOLD_AFTER * 1.2)
        elif verdict.change == "":
            self._tell(host, verdict)

    def _tell(self, host: str, verdict: Verdict) -> None:
        """Say now and then how many requests fail, as long as that trips nothing."""
        now = self._clock()
        if now - self._told_at.setdefault(host, now) < _TOLD_EVERY:
            return
        self._told_at[host] = now
        failed = f"{verdict.failures} of {verdict.calls} requests"
        span = f"{self._policy.window:.0f} s"
        logger.warning("%s: %s failed within %s, and are tried again", host, failed, span)

    async def _close(self, reason: str) -> None:
        if self._crawler.engine is not None:
            await self._crawler.engine.close_spider_async(reason=reason)

    async def _flush(self) -> None:
        await asyncio.sleep(TOLD_AFTER)
        self._flushing = None
        counts, self._successes = self._successes, Counter()
        for host, count in counts.items():
            await self._report(host, successes=count)

    async def _report(
        self,
        host: str,
        *,
        successes: int = 0,
        failures: int = 0,
        took: float = 0.0,
        is_probe: bool = False,
        reason: str = "",
    ) -> Verdict | None:
        if self._throttle is None:
            return None
        try:
            verdict = await asyncio.to_thread(
                self._throttle.hosts.report,
                host,
                self._policy,
                successes=successes,
                failures=failures,
                took=took,
                is_probe=is_probe,
                reason=reason,
            )
        except (RedisError, OSError) as error:
            # The scheduler says what is wrong with Redis. What went well is lost count of.
            self._throttle.on_failure(error)
            return None
        if verdict.held or is_probe:
            self._throttle.close_gate(host, verdict.held)
        return verdict

    def _log(self, host: str, request: Request, kind: str, response: Response | None) -> None:
        self._kinds[host, kind] += 1
        count = self._kinds[host, kind]
        if count > _LOGGED:
            if count % 10 ** (len(str(count)) - 1) == 0:
                logger.error("%s: %s, %d times so far", host, kind, count)
            return
        body = b"" if response is None else response.body[:_BODY_SHOWN]
        logger.error("%s: %s %r", request.url, kind, body.decode(errors="replace"))

    def _count(self, name: str) -> None:
        if self._crawler.stats:
            self._crawler.stats.inc_value(name)


def _is_well(response: Response) -> bool:
    return not what_is_wrong(response)


def what_is_wrong(response: Response) -> str:
    """Say what a reply tells of a failing host; empty when all is well.

    A challenge page comes with status 200: what says it is JSON, by address or header, must look
    like JSON.
    """
    if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return f"HTTP {response.status}"
    if response.body[:1] in _JSON or response.status != HTTPStatus.OK:
        return ""
    kind = response.headers.get("Content-Type", b"") or b""
    # What is compressed shows its first byte to nobody yet.
    is_compressed = b"html" in kind and "Content-Encoding" in response.headers
    is_page = is_compressed or response.body[:_BODY_SHOWN].lstrip()[:1] == b"<"
    path = response.url.partition("?")[0]
    if is_page and (path.endswith(".json") or b"json" in kind):
        return "a page instead of JSON"
    return ""


def policy_from_settings(settings: BaseSettings) -> Policy:
    """Read when a breaker trips.

    Raises:
        ValueError: one of the settings makes no sense.

    """
    policy = Policy(
        errors=settings.getint("CIRCUIT_BREAKER_ERRORS", 10),
        floor=settings.getfloat("CIRCUIT_BREAKER_FLOOR", 0.2),
        window=settings.getfloat("CIRCUIT_BREAKER_WINDOW", 60.0),
        share=settings.getfloat("CIRCUIT_BREAKER_SHARE", 0.5),
        minimum=settings.getint("CIRCUIT_BREAKER_MINIMUM", 20),
        hold=settings.getfloat("CIRCUIT_BREAKER_HOLD", 60.0),
        hold_max=settings.getfloat("CIRCUIT_BREAKER_HOLD_MAX", 1800.0),
    )
    are_shares = 0 <= policy.share <= 1 and 0 <= policy.floor <= 1
    if policy.errors < 0 or policy.window <= 0 or not are_shares:
        raise ValueError("CIRCUIT_BREAKER_…: give errors from 0, a window above 0, shares up to 1")
    if policy.minimum < 1 or not 0 < policy.hold <= policy.hold_max:
        raise ValueError("CIRCUIT_BREAKER_…: give a minimum from 1, and a hold up to its maximum")
    return policy
