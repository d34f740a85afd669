"""Show how far the crawl is."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from scrapy import signals
from scrapy.exceptions import NotConfigured
from tqdm import tqdm

if TYPE_CHECKING:
    from scrapy import Spider
    from scrapy.crawler import Crawler

_ERRORS = ("log_count/ERROR", "retry/count", "item_dropped_count")


class ProgressBar:
    """An extension: one line on a terminal, nothing elsewhere.

    Settings:
        PROGRESS_BAR (True): whether to show it.
        PROGRESS_UNIT (item): what is counted.
        PROGRESS_TOTAL_STAT (unset): the stat that counts what there is to do; shown for spiders
            whose `is_bounded` is true, since the others find more for ever.
    """

    def __init__(self, crawler: Crawler, *, unit: str, total_stat: str | None) -> None:
        self._crawler = crawler
        self._total_stat = total_stat
        self._bar = tqdm(unit=f" {unit}", dynamic_ncols=True, leave=True, disable=None)
        self._handlers = [
            handler
            for handler in logging.root.handlers
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr
        ]

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> ProgressBar:
        settings = crawler.settings
        if not settings.getbool("PROGRESS_BAR", default=True) or not sys.stderr.isatty():
            raise NotConfigured
        bar = cls(
            crawler,
            unit=settings.get("PROGRESS_UNIT", "item"),
            total_stat=settings.get("PROGRESS_TOTAL_STAT"),
        )
        crawler.signals.connect(bar.spider_opened, signals.spider_opened)
        crawler.signals.connect(bar.item_scraped, signals.item_scraped)
        crawler.signals.connect(bar.spider_closed, signals.spider_closed)
        return bar

    def spider_opened(self) -> None:
        for handler in self._handlers:
            handler.setStream(_AboveTheBar())

    def item_scraped(self, spider: Spider) -> None:
        stats = self._crawler.stats
        assert stats is not None  # noqa: S101 -- Scrapy has set it by now
        if self._total_stat and getattr(spider, "is_bounded", False):
            self._bar.total = stats.get_value(self._total_stat)
        errors = sum(stats.get_value(name, 0) for name in _ERRORS)
        self._bar.set_postfix_str(f"{errors} errors", refresh=False)
        self._bar.update()

    def spider_closed(self) -> None:
        self._bar.close()
        for handler in self._handlers:
            handler.setStream(sys.stderr)


class _AboveTheBar:
    """A stream for log lines that leaves the bar whole."""

    def write(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr, end="")

    def flush(self) -> None:
        sys.stderr.flush()
