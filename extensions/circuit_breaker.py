"""Leave a host alone that fails again and again, and look with one request whether it is well."""

from __future__ import annotations

import asyncio
import logging
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

from extensions.hosts import Policy
from extensions.throttle import Throttle

if TYPE_CHECKING:
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
_FLUSH = 1.0
"""Seconds in which what goes well is counted together."""


class CircuitBreaker:
    """An extension: counts errors for each host, over all workers, and trips on too many.

    While it is open nothing is sent to the host, and nothing uses up retries; then one request of
    the whole fleet tries. Errors are what `what_is_wrong` says, and connections that fail. A 429 is
    none, and neither is a 404.

    Settings:
        CIRCUIT_BREAKER_ERRORS (10): errors within the window that trip it; 0: any number.
        CIRCUIT_BREAKER_WINDOW (60.0): seconds.
        CIRCUIT_BREAKER_SHARE (0.5): failures among the requests of a window that trip it; 0: any.
        CIRCUIT_BREAKER_MINIMUM (20): requests in a window before the share counts.
        CIRCUIT_BREAKER_HOLD (60.0): seconds until the first probe; doubles with each that fails.
        CIRCUIT_BREAKER_HOLD_MAX (1800.0): seconds; where doubling stops.
        CIRCUIT_BREAKER_ACTION (hold): `close` to end the crawl when it trips.
    """

    def __init__(self, crawler: Crawler, policy: Policy, *, action: str = "hold") -> None:
        if action not in _ACTIONS:
            raise ValueError(f"CIRCUIT_BREAKER_ACTION is {action!r}: give hold or close")
        self._crawler = crawler
        self._policy = policy
        self._action = action
        self._throttle: Throttle | None = None
        self._successes: Counter[str] = Counter()
        """By host: requests that went well and are not reported yet."""
        self._kinds: Counter[tuple[str, str]] = Counter()
        """Errors so far, by host and kind."""
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

    def spider_closed(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
        for (host, kind), count in self._kinds.items():
            if count > _LOGGED:
                logger.error("%s: %s, %d times in all", host, kind, count)

    async def succeeded(self, turn: Turn) -> None:
        """Count a reply that is what it should be."""
        self._hosts.add(turn.host)
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
        self, turn: Turn, request: Request, kind: str, response: Response | None = None
    ) -> None:
        """Count an error, and log it with the first bytes of the reply."""
        self._hosts.add(turn.host)
        self._log(turn.host, request, kind, response)
        await self._report(
            turn.host,
            successes=self._successes.pop(turn.host, 0),
            failures=1,
            is_probe=turn.is_probe,
            reason=kind,
        )

    def changed(self, host: str, change: str) -> None:
        """Take note that a breaker changed, here or in another worker."""
        if change == "closed":
            logger.info("%s is well again", host)
            return
        self._count("circuit_breaker/tripped")
        logger.warning("%s fails too often and is left alone: see `scrapy throttle`", host)
        if self._action == "close" and self._closing is None and host in self._hosts:
            self._closing = asyncio.create_task(self._close(f"circuit breaker: {host}"))

    async def _close(self, reason: str) -> None:
        if self._crawler.engine is not None:
            await self._crawler.engine.close_spider_async(reason=reason)

    async def _flush(self) -> None:
        await asyncio.sleep(_FLUSH)
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
        is_probe: bool = False,
        reason: str = "",
    ) -> None:
        if self._throttle is None:
            return
        try:
            held, _ = await asyncio.to_thread(
                self._throttle.hosts.report,
                host,
                self._policy,
                successes=successes,
                failures=failures,
                is_probe=is_probe,
                reason=reason,
            )
        except (RedisError, OSError):
            # The exchange with the queue says that Redis is away. What went well is lost count of.
            return
        if held or is_probe:
            self._throttle.close_gate(host, held)

    def _log(self, host: str, request: Request, kind: str, response: Response | None) -> None:
        self._count("circuit_breaker/errors")
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
        window=settings.getfloat("CIRCUIT_BREAKER_WINDOW", 60.0),
        share=settings.getfloat("CIRCUIT_BREAKER_SHARE", 0.5),
        minimum=settings.getint("CIRCUIT_BREAKER_MINIMUM", 20),
        hold=settings.getfloat("CIRCUIT_BREAKER_HOLD", 60.0),
        hold_max=settings.getfloat("CIRCUIT_BREAKER_HOLD_MAX", 1800.0),
    )
    if policy.errors < 0 or policy.window <= 0 or not 0 <= policy.share <= 1:
        raise ValueError("CIRCUIT_BREAKER_…: give errors from 0, a window above 0, a share to 1")
    if policy.minimum < 1 or not 0 < policy.hold <= policy.hold_max:
        raise ValueError("CIRCUIT_BREAKER_…: give a minimum from 1, and a hold up to its maximum")
    return policy
