"""Bring in what a crash left in the spool, before the crawl begins."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from scrapy import signals

from battles.index import BattleIndex, Entry
from battles.pipelines.archive import spool_from_settings
from battles.records import decode
from extensions.storage import StorageError

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from scrapy.statscollectors import StatsCollector

    from extensions.spool import Recovered, Spool

logger = logging.getLogger(__name__)


class SpoolRecovery:
    """An extension: cuts, indexes and stores the segments of dead processes at start-up."""

    def __init__(self, spool: Spool, index: BattleIndex, stats: StatsCollector) -> None:
        self._spool = spool
        self._index = index
        self._stats = stats
        self._is_refused = False

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> SpoolRecovery:
        settings = crawler.settings
        assert crawler.stats is not None  # noqa: S101 -- Scrapy has set it by now
        recovery = cls(
            spool_from_settings(settings), BattleIndex.from_settings(settings), crawler.stats
        )
        crawler.signals.connect(recovery.spider_opened, signals.spider_opened)
        crawler.signals.connect(recovery.spider_closed, signals.spider_closed)
        return recovery

    async def spider_opened(self) -> None:
        await asyncio.to_thread(self.recover)

    async def spider_closed(self) -> None:
        """Try once more what the store refused at the start, and count what stays."""
        if self._is_refused:
            await asyncio.to_thread(self.recover)
        if self._is_refused:
            self._stats.inc_value("spool/segments_left", self._spool.left_behind())

    def recover(self) -> None:
        """Recover everything there is; what the store refuses stays in the spool."""
        self._is_refused = False
        try:
            for recovered in self._spool.recover():
                self._index.add(entries(recovered))
                self._stats.inc_value("spool/segments_recovered")
        except StorageError as error:
            self._is_refused = True
            logger.error("What a crash left stays in the spool: %s", error)  # noqa: TRY400 -- the line says it all


def entries(recovered: Recovered) -> list[Entry]:
    """Build the index entries of a segment's battles; what is no battle is told and passed over."""
    found = []
    for line, location in recovered.lines():
        try:
            found.append(Entry.of(decode(line), location))
        except ValueError as error:
            logger.error("%s: %s", recovered.key, error)  # noqa: TRY400 -- the line says it all
    return found
