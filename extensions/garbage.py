"""Have Python look for garbage less often: a crawler makes many objects, and few cycles of them."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from scrapy import signals
from scrapy.exceptions import NotConfigured

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

_YOUNG_PER_MIDDLE = 20
"""Looks at the youngest objects before a look at those that survived one."""


class GarbageCollection:
    """An extension: raises the number of new objects that make the collector look for cycles.

    What start-up made is set aside for good; the thresholds of before are restored at the end.

    Settings:
        GC_THRESHOLD (20000): new objects between two looks; 0 leaves Python's own thresholds.
    """

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self._before = gc.get_threshold()

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> GarbageCollection:
        threshold = crawler.settings.getint("GC_THRESHOLD", 20_000)
        if not threshold:
            raise NotConfigured
        extension = cls(threshold)
        crawler.signals.connect(extension.spider_opened, signals.spider_opened)
        crawler.signals.connect(extension.spider_closed, signals.spider_closed)
        return extension

    def spider_opened(self) -> None:
        self._before = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(self._threshold, _YOUNG_PER_MIDDLE, self._before[2])

    def spider_closed(self) -> None:
        gc.set_threshold(*self._before)
        gc.unfreeze()
