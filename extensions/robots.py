"""Obey robots.txt also when it cannot be had: what it forbids is not known then."""

from __future__ import annotations

import asyncio
import logging
import time
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scrapy import Request, signals
from scrapy.downloadermiddlewares import robotstxt
from scrapy.exceptions import DownloadFailedError, IgnoreRequest
from scrapy.http.request import NO_CALLBACK
from scrapy.utils.httpobj import urlparse_cached
from scrapy.utils.misc import build_from_crawler

from extensions.allowed_hosts import may_lead
from extensions.throttle import HeldError

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from scrapy.robotstxt import RobotParser

logger = logging.getLogger(__name__)

_REDIRECTS = {301, 302, 303, 307, 308}
_HOPS = 5
"""Redirects that RFC 9309 wants followed at least."""
_KEPT = 86_400.0
"""Seconds; RFC 9309 wants it no older."""


class RobotsTxtMiddleware(robotstxt.RobotsTxtMiddleware):
    """Scrapy's middleware, but a site whose robots.txt fails is asked again and not crawled.

    As RFC 9309 has it: a 4xx means that everything is allowed, a 5xx or no answer that nothing is,
    and redirects are followed, to other hosts, too, up to five; more mean that everything is
    allowed. It is asked for again after a day. What is no HTTP has none.

    Settings:
        ROBOTSTXT_OBEY, ROBOTSTXT_PARSER, ROBOTSTXT_USER_AGENT, USER_AGENT: as in Scrapy.
    """

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._fetches: dict[str, tuple[float, asyncio.Future[RobotParser | None]]] = {}
        """By host: since when, and what it says."""
        self._said: dict[str, str] = {}
        """By address: why it cannot be had, as it was said."""

    async def robot_parser(self, request: Request) -> RobotParser | None:
        """Return what the host's robots.txt says; None when it says nothing.

        Raises:
            HeldError: its host is left alone now.
            DownloadFailedError: it cannot be had.

        """
        address = urlparse_cached(request)
        if address.scheme not in ("http", "https"):
            return None
        known, now = self._fetches.get(address.netloc), time.monotonic()
        if known is None or now - known[0] > _KEPT:
            url = f"{address.scheme}://{address.netloc}/robots.txt"
            known = now, asyncio.ensure_future(self._fetch(url, request))
            self._fetches[address.netloc] = known
        try:
            # A finished one costs no turn of the event loop.
            return known[1].result() if known[1].done() else await asyncio.shield(known[1])
        except (HeldError, DownloadFailedError):
            if self._fetches.get(address.netloc) is known:
                del self._fetches[address.netloc]
            raise

    async def _fetch(self, url: str, request: Request) -> RobotParser | None:
        self._stats.inc_value("robotstxt/request_count")
        try:
            response = await self._follow(url)
        except HeldError:
            raise
        except Exception as error:
            raise self._unavailable(url, f"{type(error).__name__}: {error}") from error
        self._stats.inc_value(f"robotstxt/response_status_count/{response.status}")
        is_refused = response.status == HTTPStatus.TOO_MANY_REQUESTS
        if is_refused or response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise self._unavailable(url, f"HTTP {response.status}")
        self._said.pop(url, None)
        if response.status != HTTPStatus.OK:
            return None
        parser: RobotParser = build_from_crawler(self._parserimpl, self.crawler, response.body)
        await self.crawler.signals.send_catch_log_async(
            signal=signals.robots_parsed, robotparser=parser, request=request
        )
        return parser

    async def _follow(self, url: str) -> Response:
        """Download it from where it is by now; each hop waits for its host's turn."""
        response = await self._download(url)
        for _ in range(_HOPS):
            target = _target(response)
            if target is None or not may_lead(url, target):
                break
            response = await self._download(target)
        return response

    async def _download(self, url: str) -> Response:
        request = Request(
            url,
            priority=self.DOWNLOAD_PRIORITY,
            meta={"dont_obey_robotstxt": True},
            callback=NO_CALLBACK,
        )
        if self.crawler.engine is None:
            raise IgnoreRequest("the crawl is ending")
        return await self.crawler.engine.download_async(request)

    def _unavailable(self, url: str, reason: str) -> DownloadFailedError:
        if self._said.get(url) != reason:
            self._said[url] = reason
            said = "%s cannot be had, so its site is not asked for anything: %s"
            logger.warning(said, url, reason)
        return DownloadFailedError(f"{url} cannot be had: {reason}")


def _target(response: Response) -> str | None:
    """Return where a redirect leads to; None when it is none, or leads nowhere."""
    location = response.headers.get("Location")
    if response.status not in _REDIRECTS or not location:
        return None
    try:
        target = response.urljoin(location.decode("latin-1").strip())
        is_web = urlsplit(target).scheme in ("http", "https") and urlsplit(target).netloc
    except ValueError:
        return None
    return target if is_web else None
