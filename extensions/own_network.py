"""Tell a worker's own broken network from a site that fails, and look when it is mended."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from scrapy import Request
from scrapy.exceptions import CannotResolveHostError

from extensions.hosts import host_of
from extensions.signals import work_blocked
from extensions.throttle import HeldError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scrapy.crawler import Crawler
    from scrapy.http import Response

    from extensions.hosts import Policy
    from extensions.throttle import Throttle

logger = logging.getLogger(__name__)

_OURS = (
    aiohttp.ClientConnectorDNSError,
    aiohttp.ClientProxyConnectionError,
    aiohttp.ClientHttpProxyError,
)
"""What fails before anything has reached a site: our own DNS, our own proxy."""
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}
_DOUBLINGS = 30


def is_own(error: BaseException) -> bool:
    """Tell whether a download failed before it reached the site."""
    if isinstance(error, CannotResolveHostError):
        return True
    cause = error.__cause__
    if isinstance(cause, _OURS):
        return True
    return isinstance(cause, OSError) and cause.errno in _NO_ROUTE


class OwnNetwork:
    """Pauses this worker when it alone cannot reach a host, and looks when it can again.

    What it was to fetch goes to the others meanwhile. It asks for the host's robots.txt, which is
    small and always allowed, after the breaker's hold, and less and less often.
    """

    def __init__(
        self,
        crawler: Crawler,
        policy: Policy,
        throttle: Throttle,
        is_well: Callable[[Response], bool],
        *,
        on_pause: Callable[[str], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Take what tells a good reply, whom to tell of a host it pauses for, and how to wait."""
        self._crawler = crawler
        self._policy = policy
        self._throttle = throttle
        self._is_well = is_well
        self._on_pause = on_pause
        self._sleep = sleep
        self._row: Counter[str] = Counter()
        """By host: failures since the last success."""
        self._pauses: Counter[str] = Counter()
        """By host: pauses since the last success."""
        self._looking: dict[str, asyncio.Task[None]] = {}

    def failed(self, url: str, kind: str) -> None:
        """Count a request that did not reach the site."""
        host = host_of(url)
        self._row[host] += 1
        if self._policy.errors and self._row[host] >= self._policy.errors:
            self.pause(
                url, f"this worker cannot reach {host}, by {kind}: see its network and proxy"
            )

    def succeeded(self, host: str) -> None:
        """Take note of a reply that is what it should be."""
        if host in self._row or host in self._pauses:
            self._row.pop(host, None)
            self._pauses.pop(host, None)

    def pause(self, url: str, reason: str) -> None:
        """Leave a host to the other workers until it answers here."""
        host = host_of(url)
        if host in self._looking:
            return
        self._throttle.pause(host, reason)
        self._tell(host, reason)
        self._looking[host] = asyncio.create_task(self._look(url))
        if self._on_pause is not None:
            self._on_pause(host)

    def close(self) -> None:
        for task in self._looking.values():
            task.cancel()

    async def _look(self, url: str) -> None:
        host, address = host_of(url), _robots_txt(url)
        while True:
            doublings = min(self._pauses[host], _DOUBLINGS)
            self._pauses[host] += 1
            await self._sleep(min(self._policy.hold * 2.0**doublings, self._policy.hold_max))
            if await self._answers(address):
                break
        self._row.pop(host, None)
        del self._looking[host]
        self._throttle.resume(host)
        self._tell(host, "")

    async def _answers(self, url: str) -> bool:
        meta = {"is_own_probe": True, "dont_retry": True, "dont_obey_robotstxt": True}
        assert self._crawler.engine is not None  # noqa: S101 -- a crawl runs
        try:
            response = await self._crawler.engine.download_async(Request(url, meta=meta))
        except HeldError:
            # The whole fleet leaves it alone: that is not for this worker to find out.
            return True
        except Exception as error:  # noqa: BLE001 -- whatever fails, it does not answer
            logger.debug("%s does not answer yet: %s", url, error)
            return False
        return self._is_well(response)

    def _tell(self, host: str, reason: str) -> None:
        self._crawler.signals.send_catch_log(
            work_blocked, reason=reason, by=f"the network to {host}", gives_back=bool(reason)
        )


def _robots_txt(url: str) -> str:
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}/robots.txt"
