"""Repeat what Redis does not take now, until it does or the crawl ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from redis.exceptions import RedisError

from extensions.lease import NotStoredError
from extensions.signals import leaving, redis_failed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scrapy.signalmanager import SignalManager

_AGAIN, _AGAIN_MAX = 0.2, 5.0
"""Seconds between two tries; they double up to the second figure."""
_Result = TypeVar("_Result")


class Patience:
    """Has an item or a page wait, instead of being fetched again for a fault that is not its own.

    The scheduler is told of each failure. It alone says what is wrong, once for all who wait.
    """

    def __init__(self, signals: SignalManager) -> None:
        self._signals = signals
        self._is_leaving = asyncio.Event()
        signals.connect(self.leave, leaving)

    def leave(self) -> None:
        """Give what waits one more try: the crawl ends."""
        self._is_leaving.set()

    async def until_taken(self, call: Callable[[], Awaitable[_Result]]) -> _Result:
        """Return what the call returns, once Redis takes it; the call must be safe to repeat.

        Raises:
            NotStoredError: the crawl ends before.

        """
        pause = _AGAIN
        while True:
            is_last = self._is_leaving.is_set()
            try:
                return await call()
            except RedisError as error:
                self._signals.send_catch_log(redis_failed, error=error)
                if is_last:
                    raise NotStoredError("the crawl ends, and Redis does not take it") from error
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_leaving.wait(), pause)
            pause = min(2 * pause, _AGAIN_MAX)
