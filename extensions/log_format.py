"""Log nothing of what goes well, and one line of what a site or a disk does to us."""

from __future__ import annotations

import logging
import time
from math import inf
from typing import TYPE_CHECKING

from redis.exceptions import RedisError
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
    ResponseDataLossError,
    StopDownload,
    UnsupportedURLSchemeError,
)
from scrapy.logformatter import LogFormatter, LogFormatterResult

from extensions.addresses import one_line, without_credentials
from extensions.dead_letters import DeadLetterError
from extensions.lease import LeaseLostError, NotStoredError
from extensions.storage import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scrapy import Request, Spider
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from twisted.python.failure import Failure


_OTHERS = (
    CannotResolveHostError,
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
    OSError,
    RedisError,
    ResponseDataLossError,
    StopDownload,
    StorageError,
    UnsupportedURLSchemeError,
)
"""Errors that say all there is to know: where in our code they were raised helps nobody."""
_LEFT = (LeaseLostError, NotStoredError)
"""Nothing is wrong then: the request is another worker's, or the next one's."""
_SAID_AGAIN = 60.0
"""Seconds until the same kind of error is said of another item."""
_TELL_ADDRESSES = (
    "scrapy.core.engine",
    "scrapy.core.scraper",
    "scrapy.downloadermiddlewares.httpcompression",
    "scrapy.downloadermiddlewares.redirect",
    "scrapy.downloadermiddlewares.retry",
    "scrapy.downloadermiddlewares.robotstxt",
    "scrapy.spidermiddlewares.httperror",
    "extensions.circuit_breaker",
    "extensions.robots",
    "extensions.scheduler",
)
"""Loggers that name requests or quote errors that do."""


class _Discretion(logging.Filter):
    """Takes out tracebacks that say nothing, and credentials."""

    def filter(self, record: logging.LogRecord) -> bool:
        # Scrapy adds the traceback after it has asked how to put it.
        if isinstance(record.args, dict) and record.args.get("is_brief"):
            record.exc_info = None
        text = record.getMessage()
        if (shown := without_credentials(text)) != text:
            record.msg, record.args = shown, ()
        return True


_DISCRETION = _Discretion()


class QuietLogFormatter(LogFormatter):
    """Says that a page was fetched or an item scraped only if the log takes debug messages.

    What a site, a store, Redis or a disk does wrong is a line without a traceback; what is wrong
    in the code keeps its own.
    """

    def __init__(self, *, is_debugging: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._is_debugging = is_debugging
        self._clock = clock
        self._said: dict[type, float] = {}
        """When it was said last that no item can be stored, by the kind of error."""

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> QuietLogFormatter:
        level = logging.getLevelName(str(crawler.settings["LOG_LEVEL"]).upper())
        for name in (*_TELL_ADDRESSES, crawler.spidercls.name if crawler.spidercls else None):
            if name:
                # The same one is added only once.
                logging.getLogger(name).addFilter(_DISCRETION)
        return cls(is_debugging=not isinstance(level, int) or level <= logging.DEBUG)

    def crawled(  # type: ignore[override]  # Scrapy takes None for silence
        self, request: Request, response: Response, spider: Spider
    ) -> LogFormatterResult | None:
        return super().crawled(request, response, spider) if self._is_debugging else None

    def item_error(
        self,
        item: Any,  # noqa: ANN401 -- any item
        exception: BaseException,
        response: Response | Failure | None,
        spider: Spider,
    ) -> LogFormatterResult:
        result = super().item_error(item, exception, response, spider)
        if isinstance(exception, _LEFT):
            result["level"] = logging.DEBUG
        elif isinstance(exception, _OTHERS):
            result |= _brief(f"{item!r:.200} could not be stored", exception)
            if not self._is_news(exception):
                result["level"] = logging.DEBUG
        return result

    def _is_news(self, exception: BaseException) -> bool:
        """Tell whether such an error was not said within a minute: one takes a whole batch."""
        now, kind = self._clock(), type(exception)
        is_news = now - self._said.get(kind, -inf) >= _SAID_AGAIN
        if is_news:
            self._said[kind] = now
        return is_news

    def spider_error(
        self,
        failure: Failure,
        request: Request,
        response: Response | Failure,
        spider: Spider,
    ) -> LogFormatterResult:
        result = super().spider_error(failure, request, response, spider)
        if isinstance(failure.value, _LEFT):
            result["level"] = logging.DEBUG
        elif isinstance(failure.value, _OTHERS):
            result |= _brief(f"The spider could not read {request.url}", failure.value)
        return result

    def download_error(
        self, failure: Failure, request: Request, spider: Spider, errmsg: str | None = None
    ) -> LogFormatterResult:
        result = super().download_error(failure, request, spider, errmsg)
        if isinstance(failure.value, _OTHERS):
            result |= _brief(f"{request.url} could not be had", failure.value)
            if _is_told(request):
                result["level"] = logging.DEBUG
        return result

    def dropped(
        self,
        item: Any,  # noqa: ANN401 -- any item
        exception: BaseException,
        response: Response | Failure | None,
        spider: Spider,
    ) -> LogFormatterResult:
        result = super().dropped(item, exception, response, spider)
        # Not the item, which may be a whole page.
        result |= {"msg": "Dropped: %(said)s", "args": {"said": one_line(str(exception))}}
        request = getattr(response, "request", None)
        if isinstance(exception, DeadLetterError) and request is not None and _is_told(request):
            result["level"] = logging.DEBUG
        return result

    def scraped(  # type: ignore[override]  # as above
        self,
        item: Any,  # noqa: ANN401 -- any item
        response: Response | Failure | None,
        spider: Spider,
    ) -> LogFormatterResult | None:
        return super().scraped(item, response, spider) if self._is_debugging else None


def _brief(what: str, error: BaseException | None) -> LogFormatterResult:
    """Say on one line what happened, and have `_Discretion` leave out the traceback."""
    said = one_line(f"{what}: {type(error).__name__}: {error}", 600)
    return {"level": logging.ERROR, "msg": "%(said)s", "args": {"said": said, "is_brief": True}}


def _is_told(request: Request) -> bool:
    """Tell whether `give_up` has said already why the request fails."""
    lease = request.meta.get("queue_lease")
    return lease is not None and lease.failure is not None
