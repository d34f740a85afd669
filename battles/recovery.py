"""Bring in what a crash left in the spool, and what Redis lost of the index."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from redis.exceptions import LockError, RedisError
from scrapy import signals
from scrapy.exceptions import CloseSpider

from battles.corpus import Corpus, CorpusError, NewerSegmentError, entries_of
from battles.index import BattleIndex
from battles.pipelines.archive import spool_from_settings
from battles.spools import left_by_others, spool_folder, spool_root
from extensions.redis_errors import trouble_of
from extensions.signals import data_lost
from extensions.spool import left_behind
from extensions.storage import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrapy.crawler import Crawler
    from scrapy.settings import BaseSettings
    from scrapy.statscollectors import StatsCollector

    from battles.index import Entry
    from extensions.spool import Recovered

logger = logging.getLogger(__name__)

_TRIES = 6
"""How often a store is asked that is away when Redis has lost its data."""
_PAUSE = 10.0
"""Seconds between two of these."""
_LOCKED = 30.0
"""Seconds after which a worker that makes the index whole counts as dead."""


class SpoolRecovery:
    """An extension: cuts, indexes and stores the segments of dead processes at start-up."""

    def __init__(self, settings: BaseSettings, index: BattleIndex, stats: StatsCollector) -> None:
        self._settings = settings
        self._spool = spool_from_settings(settings)
        self._index = index
        self._stats = stats
        self._is_refused = False

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> SpoolRecovery:
        settings = crawler.settings
        assert crawler.stats is not None  # noqa: S101 -- Scrapy has set it by now
        recovery = cls(settings, BattleIndex.from_settings(settings), crawler.stats)
        crawler.signals.connect(recovery.spider_opened, signals.spider_opened)
        crawler.signals.connect(recovery.spider_closed, signals.spider_closed)
        return recovery

    async def spider_opened(self) -> None:
        with _refusals():
            await asyncio.to_thread(self._begin)

    def _begin(self) -> None:
        self._adopt()
        self.recover()
        self._tell_of_others()

    def _adopt(self) -> None:
        """Take in what the index knows, and no other crawl can.

        That is what workers of earlier versions left, and what belongs to a folder that is not
        there any more: it was moved, and this is where it is now.
        """
        root, folder = spool_root(self._settings), spool_folder(self._settings)
        try:
            for left in left_by_others(self._settings):
                if left.is_orphaned:
                    self._spool.adopt(left.folder, self._knows)
            others = self._spool.adopt(root, self._knows)
        except OSError as error:
            logger.warning("What lies in %s itself is left alone: %s", root, error)
            return
        if others:
            logger.warning(
                "%d segments in %s are left alone, since this index knows none of their battles: "
                "move them to %s if they belong to this archive",
                *(len(others), root, folder),
            )

    def _knows(self, key: str) -> bool:
        return not any(self._index.lacks([key]))

    def _tell_of_others(self) -> None:
        for left in left_by_others(self._settings):
            logger.warning(
                "%d segments in %s are left alone: they belong to the archive %s and the index %s, "
                "and a crawl for those brings them in",
                *(left.count, left.folder, left.archive, left.index),
            )

    async def spider_closed(self) -> None:
        """Try once more what the store refused at the start, and count what stays."""
        if self._is_refused:
            await asyncio.to_thread(self.recover)
        if self._is_refused:
            left = left_behind(spool_folder(self._settings))
            self._stats.inc_value("spool/segments_left", len(left))

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


class IndexRecovery:
    """An extension: makes the index whole at start-up, and when Redis has lost its data.

    One worker at a time does it; the others wait, and find it done.
    """

    def __init__(self, corpus: Corpus, stats: StatsCollector) -> None:
        self._corpus = corpus
        self._stats = stats

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> IndexRecovery:
        settings = crawler.settings
        assert crawler.stats is not None  # noqa: S101 -- Scrapy has set it by now
        recovery = cls(Corpus.from_settings(settings), crawler.stats)
        crawler.signals.connect(recovery.spider_opened, signals.spider_opened)
        crawler.signals.connect(recovery.data_lost, data_lost)
        return recovery

    async def spider_opened(self) -> None:
        try:
            with _refusals():
                await self._recover(spooled=False, tries=1)
        except NewerSegmentError as error:
            logger.error("%s", error)  # noqa: TRY400 -- the line says it all
            raise CloseSpider("newer_version") from None

    async def data_lost(self) -> None:
        """Bring back what the archive holds, before the spider begins anew."""
        await self._recover(spooled=True, tries=_TRIES)

    async def _recover(self, *, spooled: bool, tries: int) -> None:
        for n in range(tries):
            try:
                await asyncio.to_thread(self._make_whole, spooled=spooled)
            except NewerSegmentError:
                raise
            except (StorageError, CorpusError) as error:
                logger.error("The index may lack battles, which are fetched again: %s", error)  # noqa: TRY400 -- the line says it all
                if n < tries - 1:
                    await asyncio.sleep(_PAUSE)
            else:
                return

    def _make_whole(self, *, spooled: bool) -> None:
        index = self._corpus.index
        lock = index.redis.lock(index.keys.recovering, timeout=_LOCKED, thread_local=False)
        lock.acquire()
        battles = 0
        # Should the lock run out nevertheless, another does the same: it is safe to repeat.
        try:
            for _, count in self._segments(spooled=spooled):
                battles += count
                with suppress(LockError):
                    lock.reacquire()
        finally:
            with suppress(LockError):
                lock.release()
        if battles:
            self._stats.inc_value("index/recovered", battles)
            logger.warning(
                "%d battles of the archive were brought back into the index: Redis had lost them",
                battles,
            )

    def _segments(self, *, spooled: bool) -> Iterator[tuple[str, int]]:
        if self._corpus.index.is_whole():
            return self._corpus.reconcile(spooled=spooled)
        logger.error("The index has lost keys: it is made anew from the archive")
        return self._corpus.rebuild_index(may_shrink=True)


@contextmanager
def _refusals() -> Iterator[None]:
    """End a crawl that begins on a Redis which does not do what it is asked."""
    try:
        yield
    except RedisError as error:
        logger.error("%s", trouble_of(error))  # noqa: TRY400 -- the line says it all
        raise CloseSpider("redis_refused") from None


def entries(recovered: Recovered) -> list[Entry]:
    """Build the index entries of a segment's battles; what is no battle is told and passed over."""
    found, strange = entries_of(recovered.key, recovered.frames)
    for error in strange:
        logger.error("%s: %s", recovered.key, error)
    return found
