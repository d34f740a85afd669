"""Write the battle to a segment, and wait until its bytes are durable."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from battles.items import Battle
from battles.records import encode
from battles.spools import spool_folder, waits_for_store, write_note
from extensions.batch import Batcher
from extensions.lease import LeaseLostError, NotStoredError, still_held
from extensions.shipping import Shipping
from extensions.signals import leaving, nothing_waits, work_blocked
from extensions.spool import Spool
from extensions.storage import is_bucket, storage_from_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy.crawler import Crawler
    from scrapy.settings import BaseSettings

    from extensions.segments import Location

_BUCKET_AGE = 30.0
"""Seconds that a segment stays open whose battles wait for the store."""
_MOST_IN_WORK = 3
"""Segments that may be on their way within `SCRAPER_SLOT_MAX_ACTIVE_SIZE`, where Scrapy stops."""
_DISK_AGAIN, _DISK_AGAIN_MAX = 1.0, 10.0
"""Seconds until a disk that refuses is tried again; they double up to the second figure."""


@dataclass(slots=True)
class Archived:
    """A battle whose bytes are durable."""

    battle: Battle
    location: Location


def spool_from_settings(settings: BaseSettings) -> Spool:
    """Open the spool of this process.

    Settings:
        SEGMENT_RECORDS (500): battles in a segment.
        SEGMENT_BYTES (16777216): bytes of its lines, before they are compressed.

    Raises:
        ValueError: the archive's address makes no sense.

    """
    # Battles in work wait for their segment: it must be full before Scrapy takes no more of them.
    most = settings.getint("SCRAPER_SLOT_MAX_ACTIVE_SIZE") // _MOST_IN_WORK
    write_note(settings)
    return Spool(
        spool_folder(settings),
        storage_from_settings(settings),
        worker=f"{socket.gethostname()}-{os.getpid()}",
        segment_records=settings.getint("SEGMENT_RECORDS", 500),
        segment_bytes=min(settings.getint("SEGMENT_BYTES", 16 * 1024**2), most),
    )


class ArchivePipeline:
    """Returns a battle when its bytes are durable: in the store, or on the disk of this machine.

    A store that is away is tried again, and meanwhile segments wait in the spool; when that is
    full, nothing new is begun until the store is back. The same goes for a disk that is full: what
    was fetched waits for room, for as long as the crawl lasts, and then goes back to the queue.

    Settings:
        SEGMENT_FRAME_RECORDS (32): the most battles that are compressed and made durable at once.
        SEGMENT_COMMIT_DELAY (1.0): the longest a battle waits for others, in seconds.
        SEGMENT_AGE (30.0 for a bucket, 0.0 for a folder): seconds after which a segment is closed
            that is not full; 0: whenever it is.
        SPOOL_LIMIT (1073741824): bytes that may wait in the spool for the store.
    """

    def __init__(self, spool: Spool, crawler: Crawler) -> None:
        assert crawler.stats is not None  # noqa: S101 -- Scrapy has set it by now
        settings = crawler.settings
        self._spool = spool
        self._crawler = crawler
        self._stats = crawler.stats
        self._batch = Batcher(
            self._commit,
            size=settings.getint("SEGMENT_FRAME_RECORDS", 32),
            delay=settings.getfloat("SEGMENT_COMMIT_DELAY", 1.0),
        )
        self._waits = waits_for_store(settings)
        is_timed = self._waits or is_bucket(settings)
        self._shipping = Shipping(
            spool,
            age=settings.getfloat("SEGMENT_AGE", _BUCKET_AGE if is_timed else 0.0),
            limit=settings.getint("SPOOL_LIMIT", 1024**3),
            block=partial(self._block, by="store"),
            count=self._stats.inc_value,
        )
        self._refused = 0
        """Battles that wait for a disk with room."""
        self._is_leaving = asyncio.Event()

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> ArchivePipeline:
        pipeline = cls(spool_from_settings(crawler.settings), crawler)
        crawler.signals.connect(pipeline.hurry, nothing_waits)
        crawler.signals.connect(pipeline.leave, leaving)
        return pipeline

    async def process_item(self, item: Any) -> Any:  # noqa: ANN401 -- a spider of somebody's
        return await self._archive(item) if isinstance(item, Battle) else item

    async def _archive(self, item: Battle) -> Archived:
        location = await self._write(item)
        self._shipping.committed(location.segment)
        if self._waits:
            await self._shipping.stored(location.segment)
        return Archived(item, location)

    def hurry(self) -> None:
        """Store what others wait for to end; a crawl that goes on for ever keeps its pace."""
        if not getattr(self._crawler.spider, "is_watching", False):
            self._shipping.close_now()

    def leave(self) -> None:
        """Store what is here, and give up what the store refuses: the crawl ends."""
        self._is_leaving.set()
        self._shipping.leave()

    async def close_spider(self) -> None:
        self._is_leaving.set()
        if left := await self._shipping.close():
            self._stats.inc_value("spool/segments_left", left)

    async def _write(self, item: Battle) -> Location:
        """Make a battle durable on the disk, and be patient with one that is full.

        Raises:
            NotStoredError: it is still full when the crawl ends.
            LeaseLostError: another worker has the battle by now.

        """
        try:
            location = await self._batch.submit(item)
        except OSError as error:
            location = await self._wait_for_room(item, error)
        if location is None:
            raise LeaseLostError(f"{item.id} is another worker's by now")
        return location

    async def _wait_for_room(self, item: Battle, error: OSError) -> Location | None:
        """Offer a battle to the disk again and again, while nothing new is begun."""
        self._refused += 1
        if self._refused == 1:
            self._stats.inc_value("archive/disk_refused")
        self._block(f"the disk refuses: {error}", by="disk")
        try:
            return await self._offer_again(item)
        finally:
            self._refused -= 1
            # The last one: the first that finds room may have taken all there was.
            if not self._refused:
                self._block("", by="disk")

    async def _offer_again(self, item: Battle) -> Location | None:
        pause = _DISK_AGAIN
        while True:
            # Whether it is leaving is asked before: a try that began earlier is not the last.
            is_last = self._is_leaving.is_set()
            await self._pause(pause)
            try:
                return await self._batch.submit(item)
            except OSError as error:
                if is_last:
                    raise NotStoredError(f"the crawl ends, and the disk refuses: {error}") from None
                pause = min(2 * pause, _DISK_AGAIN_MAX)

    def _commit(self, battles: Sequence[Battle]) -> list[Location | None]:
        """Write those that are still this worker's; None for the others."""
        held = still_held([battle.lease for battle in battles])
        ours = [encode(battle) for battle, is_held in zip(battles, held, strict=True) if is_held]
        locations = iter(self._spool.commit(ours) if ours else [])
        return [next(locations) if is_held else None for is_held in held]

    def _block(self, reason: str, *, by: str) -> None:
        self._crawler.signals.send_catch_log(work_blocked, reason=reason, by=by)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_leaving.wait(), seconds)
