"""Write the battle to a segment, and wait until its bytes are durable."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from battles.records import encode
from extensions.batch import Batcher
from extensions.signals import work_blocked
from extensions.spool import Spool
from extensions.storage import StorageError, storage_from_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy.crawler import Crawler
    from scrapy.settings import BaseSettings

    from battles.items import Battle
    from extensions.segments import Location

logger = logging.getLogger(__name__)

_STORE_AGAIN, _STORE_AGAIN_MAX = 1.0, 60.0
"""Seconds to wait after the store refused a segment; they double up to the second figure."""
_DISK_TRIES = 6
"""How often a batch is offered to a disk that refuses it, the waits between them doubling."""


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

    A store that is away is tried again, and meanwhile segments wait in the spool; when that is
    full, nothing new is begun until the store is back.

    Settings:
        SEGMENT_FRAME_RECORDS (32): the most battles that are compressed and made durable at once.
        SEGMENT_COMMIT_DELAY (1.0): the longest a battle waits for others, in seconds.
        SPOOL_LIMIT (1073741824): bytes that may wait in the spool for the store.
    """

    def __init__(
        self,
        spool: Spool,
        crawler: Crawler,
        *,
        frame_records: int,
        commit_delay: float,
        limit: int,
    ) -> None:
        assert crawler.stats is not None  # noqa: S101 -- Scrapy has set it by now
        self._spool = spool
        self._crawler = crawler
        self._stats = crawler.stats
        self._batch = Batcher(self._commit, size=frame_records, delay=commit_delay)
        self._limit = limit
        self._storing: asyncio.Task[None] | None = None
        self._is_away = False
        self._is_leaving = asyncio.Event()

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> ArchivePipeline:
        settings = crawler.settings
        return cls(
            spool_from_settings(settings),
            crawler,
            frame_records=settings.getint("SEGMENT_FRAME_RECORDS", 32),
            commit_delay=settings.getfloat("SEGMENT_COMMIT_DELAY", 1.0),
            limit=settings.getint("SPOOL_LIMIT", 1024**3),
        )

    async def process_item(self, item: Battle) -> Archived:
        location = await self._write(item)
        if self._spool.waiting and self._storing is None:
            self._storing = asyncio.create_task(self._store())
        self._heed_limit()
        return Archived(item, location)

    async def close_spider(self) -> None:
        self._is_leaving.set()
        if self._storing is not None:
            await self._storing
        self._spool.seal()
        await self._store()

    async def _write(self, item: Battle) -> Location:
        """Make a battle durable, and be patient with a disk that is full.

        Raises:
            OSError: it stays full.

        """
        for n in range(_DISK_TRIES):
            try:
                location = await self._batch.submit(item)
            except OSError as error:
                self._block(f"the disk refuses: {error}")
                if n == _DISK_TRIES - 1:
                    raise
                await self._pause(2.0**n)
            else:
                if n:
                    self._block("")
                return location
        raise AssertionError

    def _commit(self, battles: Sequence[Battle]) -> list[Location]:
        return self._spool.commit([encode(battle) for battle in battles])

    async def _store(self) -> None:
        """Store what is full; what the store refuses stays in the spool and is tried again."""
        pause = _STORE_AGAIN
        while not await self._store_once() and not self._is_leaving.is_set():
            self._is_away = True
            self._heed_limit()
            await self._pause(pause)
            pause = min(2 * pause, _STORE_AGAIN_MAX)
        self._storing, self._is_away = None, False
        self._block("")

    def _heed_limit(self) -> None:
        if self._is_away and self._spool.size >= self._limit:
            self._block(f"the store is away and {self._spool.size} bytes wait in the spool")

    async def _store_once(self) -> bool:
        try:
            stored = await asyncio.to_thread(self._spool.store)
        except StorageError as error:
            self._stats.inc_value("archive/store_failed")
            logger.error("%d segments wait in the spool: %s", self._spool.waiting, error)  # noqa: TRY400 -- the line says it all
            return False
        self._stats.inc_value("archive/segments_stored", stored)
        return True

    def _block(self, reason: str) -> None:
        self._crawler.signals.send_catch_log(work_blocked, reason=reason, by="archive")

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_leaving.wait(), seconds)
