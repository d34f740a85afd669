"""Collect what arrives within a moment and handle it in one call."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_Entry = TypeVar("_Entry")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[_Entry, _Result]):
    entry: _Entry
    since: float
    """On the event loop's clock."""
    result: asyncio.Future[_Result]


class Batcher(Generic[_Entry, _Result]):
    """Gives entries in batches to a function that runs in a thread, one batch at a time.

    The function returns one result an entry, in order. What it raises, every entry of the batch
    gets.
    """

    def __init__(
        self,
        handle: Callable[[list[_Entry]], Sequence[_Result]],
        *,
        size: int,
        delay: float,
    ) -> None:
        """Take the most entries of a batch, and the seconds the first one waits for others."""
        self._handle = handle
        self._size = size
        self._delay = delay
        self._waiting: list[_Waiting[_Entry, _Result]] = []
        self._full = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, entry: _Entry) -> _Result:
        """Return the entry's result when its batch has been handled."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[_Result] = loop.create_future()
        self._waiting.append(_Waiting(entry, loop.time(), result))
        if len(self._waiting) >= self._size:
            self._full.set()
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await result

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._wait_for_more()
                batch, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
                await self._settle(batch)
        finally:
            self._worker = None

    async def _wait_for_more(self) -> None:
        if len(self._waiting) >= self._size:
            return
        self._full.clear()
        waited = asyncio.get_running_loop().time() - self._waiting[0].since
        try:
            await asyncio.wait_for(self._full.wait(), self._delay - waited)
        except TimeoutError:
            return

    async def _settle(self, batch: list[_Waiting[_Entry, _Result]]) -> None:
        try:
            results = await asyncio.to_thread(self._handle, [waiting.entry for waiting in batch])
            settled = list(zip(batch, results, strict=True))
        except Exception as error:  # noqa: BLE001 -- handed on to everybody who waits
            for waiting in batch:
                if not waiting.result.done():
                    waiting.result.set_exception(error)
            return
        for waiting, result in settled:
            if not waiting.result.done():
                waiting.result.set_result(result)
