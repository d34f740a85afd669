"""Write the battle to a segment, and wait until its bytes are durable."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from battles.records import encode
from extensions.batch import Batcher
from extensions.spool import Spool
from extensions.storage import StorageError, storage_from_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scrapy.crawler import Crawler
    from scrapy.settings import BaseSettings
    from scrapy.statscollectors import StatsCollector

    from battles.items import Battle
    from extensions.segments import Location

logger = logging.getLogger(__name__)

_STORE_AGAIN = 30.0
"""Seconds to wait after the store refused a segment."""


@dataclass(slots=True)
class Archived:
    """A battle whose bytes are durable."""

    battle: Battle
    location: Location


def spool_from_settings(settings: BaseSettings) -> Spool:
    """Open the spool of this process.

    Settings:
        SPOOL_DIR (.scrapy/spool): where segments lie until they are stored. A durable disk.
        SEGMENT_RECORDS (500): battles in a segment.

    Raises:
        ValueError: the archive's address makes no sense.

    """
    return Spool(
        Path(settings.get("SPOOL_DIR", ".scrapy/spool")),
        storage_from_settings(settings),
        worker=f"{socket.gethostname()}-{os.getpid()}",
        segment_records=settings.getint("SEGMENT_RECORDS", 500),
    )


class ArchivePipeline:
    """Returns an item when its bytes are on disk; segments go to the store when they are full.

    Settings:
        SEGMENT_FRAME_RECORDS (32): the most battles that are compressed and made durable at once.
        SEGMENT_COMMIT_DELAY (1.0): the longest a battle waits for others, in seconds.
    """

    def __init__(
        self,
        spool: Spool,
        stats: StatsCollector,
        *,
        frame_records: int,
        commit_delay: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool = spool
        self._stats = stats
        self._batch = Batcher(self._commit, size=frame_records, delay=commit_delay)
        self._clock = clock
        self._storing: asyncio.Task[None] | None = None
        self._store_at = 0.0

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> ArchivePipeline:
        settings = crawler.settings
        assert crawler.stats is not None  # noqa: S101 -- Scrapy has set it by now
        return cls(
            spool_from_settings(settings),
            crawler.stats,
            frame_records=settings.getint("SEGMENT_FRAME_RECORDS", 32),
            commit_delay=settings.getfloat("SEGMENT_COMMIT_DELAY", 1.0),
        )

    async def process_item(self, item: Battle) -> Archived:
        location = await self._batch.submit(item)
        if self._spool.waiting and self._storing is None and self._clock() >= self._store_at:
            self._storing = asyncio.create_task(self._store())
        return Archived(item, location)

    async def close_spider(self) -> None:
        if self._storing is not None:
            await self._storing
        self._spool.seal()
        await self._store()

    def _commit(self, battles: Sequence[Battle]) -> list[Location]:
        return self._spool.commit([encode(battle) for battle in battles])

    async def _store(self) -> None:
        """Store what is full; what the store refuses stays in the spool and is tried again."""
        try:
            stored = await asyncio.to_thread(self._spool.store)
            self._stats.inc_value("archive/segments_stored", stored)
        except StorageError as error:
            self._stats.inc_value("archive/store_failed")
            self._store_at = self._clock() + _STORE_AGAIN
            logger.error("%d segments wait in the spool: %s", self._spool.waiting, error)  # noqa: TRY400 -- the line says it all
        finally:
            self._storing = None
