"""Show how far the crawl is."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from scrapy import signals
from scrapy.exceptions import NotConfigured
from tqdm import tqdm

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from scrapy.statscollectors import StatsCollector

_EVERY = 0.5
"""Seconds between two looks of the bar."""
_LEFT = "queue/left"
"""What the scheduler says is left to do, once nothing more is being discovered; else unset."""
_FOUND = "queue/added/downloads"
_ERRORS = ("log_count/ERROR", "retry/count", "item_dropped_count")


class ProgressBar:
    """An extension: one line on a terminal, nothing elsewhere.

    With `extensions.scheduler` it shows how much there is to do and the time left, as soon as
    nothing more is being discovered.

    Settings:
        PROGRESS_BAR (True): whether to show it.
        PROGRESS_UNIT (item): what is counted.
    """

    def __init__(self, stats: StatsCollector, *, unit: str) -> None:
        self._stats = stats
        self._unit = unit
        self._left: int | None = None
        # Until the spider is open; some never are.
        self._bar = tqdm(disable=True)
        self._handlers: list[logging.StreamHandler[Any]] = []

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> ProgressBar:
        settings = crawler.settings
        if not settings.getbool("PROGRESS_BAR", default=True) or not sys.stderr.isatty():
            raise NotConfigured
        bar = cls(crawler.stats, unit=settings.get("PROGRESS_UNIT", "item"))
        crawler.signals.connect(bar.spider_opened, signals.spider_opened)
        crawler.signals.connect(bar.response_received, signals.response_received)
        crawler.signals.connect(bar.item_scraped, signals.item_scraped)
        crawler.signals.connect(bar.spider_closed, signals.spider_closed)
        return bar

    def spider_opened(self) -> None:
        # Not earlier: what is logged until now would stand behind the bar.
        self._bar = tqdm(unit=f" {self._unit}", dynamic_ncols=True, mininterval=_EVERY, miniters=0)
        self._handlers = [
            handler
            for handler in logging.root.handlers
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr
        ]
        for handler in self._handlers:
            handler.setStream(_AboveTheBar())

    def response_received(self) -> None:
        """Show what was found while nothing is archived yet."""
        self._show(0)

    def item_scraped(self) -> None:
        self._show(1)

    def spider_closed(self) -> None:
        self._show(0)
        self._bar.close()
        for handler in self._handlers:
            handler.setStream(sys.stderr)

    def _show(self, new: int) -> None:
        value = self._stats.get_value
        # Before the first request is queued, nothing is left as well.
        left = value(_LEFT) if self._bar.n or value(_LEFT) else None
        if left != self._left:
            # What others do counts as well, and what an earlier crawl left.
            self._left = left
            self._bar.total = None if left is None else self._bar.n + left
        found = f"{value(_FOUND, 0)} found, " if left is None else ""
        errors = sum(value(name, 0) for name in _ERRORS)
        self._bar.set_postfix_str(f"{found}{errors} errors", refresh=False)
        self._bar.update(new)


class _AboveTheBar:
    """A stream for log lines that leaves the bar whole."""

    def write(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr, end="")

    def flush(self) -> None:
        sys.stderr.flush()
