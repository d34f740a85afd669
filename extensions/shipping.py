"""Bring segments from the spool to the store, and say when each has arrived."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from extensions.lease import NotStoredError
from extensions.storage import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from extensions.spool import Spool

logger = logging.getLogger(__name__)

_AGAIN, _AGAIN_MAX = 1.0, 60.0
"""Seconds to wait after the store refused a segment; they double up to the second figure."""


class Shipping:
    """Closes segments in time and stores them, one after the other, while the crawl goes on.

    A store that refuses is asked again for as long as the crawl lasts; once it is told to `leave`,
    each segment gets one more try.
    """

    def __init__(
        self,
        spool: Spool,
        *,
        age: float,
        limit: int,
        block: Callable[[str], None],
        count: Callable[[str], None],
    ) -> None:
        """Take the seconds that a segment stays open, and the bytes that may wait in the spool.

        Args:
            spool: where segments lie meanwhile.
            age: 0 leaves a segment open until it is full or somebody closes it.
            limit: beyond that nothing new should be begun.
            block: told why nothing new should be begun, or with an empty text that it may.
            count: told the name of a stat that is one more.

        """
        self._spool = spool
        self._age = age
        self._limit = limit
        self._block = block
        self._count = count
        self._waiting: dict[str, asyncio.Future[None]] = {}
        """Who waits for a segment, by its key."""
        self._closing: dict[str, asyncio.TimerHandle] = {}
        """Segments that are closed when their time has come."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._shipping: asyncio.Task[None] | None = None
        self._is_away = False
        self._stays_open = False
        """Whether the disk refused to close a segment when that was tried last."""
        self._has_given_up = False
        self._is_leaving = asyncio.Event()

    def committed(self, key: str) -> None:
        """Take note that there are new lines in a segment."""
        if self._age and key not in self._closing and key == self._spool.open_key:
            loop = asyncio.get_running_loop()
            self._closing[key] = loop.call_later(self._age, self._close, key)
        self._ship()
        self._heed_limit()

    async def stored(self, key: str) -> None:
        """Return when the segment is in the store.

        Raises:
            NotStoredError: the crawl ends and the store refuses; it stays in the spool.

        """
        if self._has_given_up:
            raise self._given_up()
        if not self._spool.holds(key):
            return
        if key not in self._waiting:
            self._waiting[key] = asyncio.get_running_loop().create_future()
        # Shared by all who wait: one that is cancelled takes nothing from the others.
        await asyncio.shield(self._waiting[key])

    def close_now(self) -> None:
        """Close the open segment if somebody waits for it, however little is in it."""
        key = self._spool.open_key
        if key in self._waiting:
            self._close(key)

    def leave(self) -> None:
        """Close what is open, store what can be stored, and give up the rest."""
        self._is_leaving.set()
        self.close_now()

    async def close(self) -> int:
        """Store everything, and return how many segments stay in the spool."""
        self._is_leaving.set()
        for handle in self._closing.values():
            handle.cancel()
        await self._seal(None)
        while self._tasks or self._shipping is not None:
            await asyncio.gather(*self._tasks, *filter(None, [self._shipping]))
        return self._spool.waiting

    def _close(self, key: str) -> None:
        task = asyncio.create_task(self._seal(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _seal(self, key: str | None) -> None:
        """Close a segment; a disk that refuses is asked again a little later."""
        try:
            await asyncio.to_thread(self._spool.seal, key)
        except OSError as error:
            level = logging.DEBUG if self._stays_open else logging.WARNING
            logger.log(level, "A segment stays open: %s", error)
            self._stays_open = True
            if self._is_leaving.is_set():
                self._give_up()
            elif key is not None:
                loop = asyncio.get_running_loop()
                self._closing[key] = loop.call_later(_AGAIN, self._close, key)
        else:
            self._stays_open = False
        self._ship()

    def _ship(self) -> None:
        if self._spool.waiting and self._shipping is None and not self._has_given_up:
            self._shipping = asyncio.create_task(self._store())

    async def _store(self) -> None:
        """Store what is closed; what the store refuses stays in the spool and is tried again."""
        pause = _AGAIN
        while self._spool.waiting:
            # Whether it is leaving is asked before: a try that began earlier is not the last.
            is_last = self._is_leaving.is_set()
            if await self._store_next():
                pause = _AGAIN
            elif is_last:
                self._give_up()
                break
            else:
                self._is_away = True
                self._heed_limit()
                await self._pause(pause)
                pause = min(2 * pause, _AGAIN_MAX)
        self._shipping = None

    async def _store_next(self) -> bool:
        try:
            key = await asyncio.to_thread(self._spool.store_next)
        except StorageError as error:
            self._count("archive/store_failed")
            # Once, and not again with each of the tries that follow.
            level = logging.DEBUG if self._is_away else logging.ERROR
            logger.log(level, "%d segments wait in the spool: %s", self._spool.waiting, error)
            return False
        if key is not None:
            self._arrived(key)
        if self._is_away:
            self._is_away = False
            self._block("")
        return True

    def _arrived(self, key: str) -> None:
        self._count("archive/segments_stored")
        if handle := self._closing.pop(key, None):
            handle.cancel()
        if (waiting := self._waiting.pop(key, None)) and not waiting.done():
            waiting.set_result(None)

    def _give_up(self) -> None:
        self._has_given_up = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(self._given_up())
                # Whoever waited may have been cancelled.
                waiting.exception()
        self._waiting.clear()

    @staticmethod
    def _given_up() -> NotStoredError:
        return NotStoredError("the crawl ends, and its segment stays in the spool")

    def _heed_limit(self) -> None:
        if self._is_away and self._spool.size >= self._limit:
            self._block(f"the store is away and {self._spool.size} bytes wait in the spool")

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_leaving.wait(), seconds)
