"""Log nothing of what goes well: at hundreds of pages a second that costs more than it tells."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from scrapy.logformatter import LogFormatter, LogFormatterResult

from extensions.lease import LeaseLostError, NotStoredError

if TYPE_CHECKING:
    from typing import Any

    from scrapy import Request, Spider
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from twisted.python.failure import Failure


class QuietLogFormatter(LogFormatter):
    """Says that a page was fetched or an item scraped only if the log takes debug messages."""

    def __init__(self, *, is_debugging: bool) -> None:
        self._is_debugging = is_debugging

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> QuietLogFormatter:
        level = logging.getLevelName(str(crawler.settings["LOG_LEVEL"]).upper())
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
        return _quiet(result, exception)

    def spider_error(
        self, failure: Failure, request: Request, response: Response | Failure, spider: Spider
    ) -> LogFormatterResult:
        result = super().spider_error(failure, request, response, spider)
        return _quiet(result, failure.value)

    def scraped(  # type: ignore[override]  # as above
        self,
        item: Any,  # noqa: ANN401 -- any item
        response: Response | Failure | None,
        spider: Spider,
    ) -> LogFormatterResult | None:
        return super().scraped(item, response, spider) if self._is_debugging else None


def _quiet(result: LogFormatterResult, error: BaseException | None) -> LogFormatterResult:
    if isinstance(error, (LeaseLostError, NotStoredError)):
        # Nothing is wrong: the request is another worker's, or the next one's.
        result["level"] = logging.DEBUG
    return result
