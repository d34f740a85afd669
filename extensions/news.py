"""Hear at once what any worker tells all of them, over one of Redis's channels."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisClusterException, RedisError

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis
    from redis.client import PubSub

logger = logging.getLogger(__name__)

_LOOK = 1.0
"""Seconds until the thread notices that it should end."""
_CATCH_UP = 5.0
"""Seconds between two looks at what may have been missed."""
_AGAIN = 0.5
"""Seconds between two tries to reach a Redis that is away."""


class Listener:
    """Hands what arrives on a channel to the event loop, from a thread of its own."""

    def __init__(
        self,
        redis: Redis,
        channel: str,
        *,
        hear: Callable[[Any], None],
        catch_up: Callable[[], Callable[[], None]],
    ) -> None:
        """Take whom to tell, in the event loop.

        `catch_up` runs in the thread at first and now and then, since what was told while nobody
        listened is not told again; what it returns runs in the event loop.
        """
        self._redis = redis
        self._channel = channel
        self._hear = hear
        self._catch_up = catch_up
        self._ended = threading.Event()
        self.on_failure: Callable[[Exception], object] = lambda _error: None
        """Told in the event loop what Redis answered when nothing can be heard."""

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, args=(loop,), name="news", daemon=True).start()

    def stop(self) -> None:
        self._ended.set()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._ended.is_set():
            try:
                self._listen(loop)
            except (RedisError, RedisClusterException, OSError) as error:
                # The latter is no `RedisError`, and says that no node of a cluster answers.
                self._complain(loop, error)
                self._ended.wait(_AGAIN)
            except RuntimeError:
                # The event loop has ended.
                return
            except Exception:
                logger.exception("The news cannot be heard, which is tried again")
                self._ended.wait(_AGAIN)

    def _complain(self, loop: asyncio.AbstractEventLoop, error: Exception) -> None:
        # An event loop that has ended needs to know nothing.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self.on_failure, error)

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        with _channels(self._redis) as channel:
            channel.subscribe(self._channel)
            caught_up_at = float("-inf")
            while not self._ended.is_set():
                if time.monotonic() - caught_up_at > _CATCH_UP:
                    # Now and then: the client joins anew without a word when it was cut off.
                    loop.call_soon_threadsafe(self._catch_up())
                    caught_up_at = time.monotonic()
                message = channel.get_message(timeout=_LOOK)
                if message is not None:
                    loop.call_soon_threadsafe(self._tell, message["data"])
                    # Whoever said it: what Redis holds counts.
                    caught_up_at = float("-inf")

    def _tell(self, data: bytes) -> None:
        try:
            self._hear(json.loads(data))
        except (ValueError, TypeError, LookupError) as error:
            logger.warning("News of %s makes no sense: %s", self._channel, error)


def _channels(redis: Redis) -> PubSub:
    channels: PubSub = redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    return channels
