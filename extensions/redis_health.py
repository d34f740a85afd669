"""Keep how Redis is, as far as one worker has found, and say what is new of it, once."""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING, Protocol

from extensions.redis_errors import trouble_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from extensions.redis_errors import Trouble

logger = logging.getLogger(__name__)

_FAILOVER = 60.0
"""Seconds after which what could have been a failover is none."""
_GAP = 10.0
"""Seconds without a doubtful answer after which the next one begins another failover."""
_CALM = 5.0
"""Seconds that Redis must have taken everything before new work is begun: memory that is nearly
full is full again with the next requests."""


class Listener(Protocol):
    """Who is told how Redis is."""

    def count(self, name: str, count: int = 1) -> None:
        """Add to a stat."""

    def redis_full(self, reason: str) -> None:
        """Take note that Redis takes nothing, or with an empty text that it does again."""

    def redis_refused(self, reason: str) -> None:
        """Take note that no waiting helps."""


class RedisHealth:
    """What the errors of one worker's traffic with Redis come to."""

    def __init__(self, listener: Listener, *, clock: Callable[[], float]) -> None:
        """Take a clock in seconds."""
        self._listener = listener
        self._clock = clock
        self.failures = 0
        """How often the exchange has failed since it worked last."""
        self.is_away = False
        """Whether it did not answer when it was asked last, so that it may have lost something."""
        self.is_full = False
        """Whether it answers and takes nothing, or did a moment ago."""
        self.is_refused = False
        self._calm_since: float | None = None
        self._doubted_since = self._doubted_at = -inf

    def failed(self, error: BaseException) -> None:
        """Take note that the exchange failed."""
        self.failures += 1
        trouble = trouble_of(error)
        if not self.heard(error):
            was_away, self.is_away = self.is_away, True
            if not (was_away or self.is_refused):
                logger.warning("Redis is away, waiting for it: %s", trouble.said)
                self._listener.count("queue/redis_away", 1)
        else:
            self.is_away = False

    def heard(self, error: BaseException) -> bool:
        """Take note of an error, whoever met it; say whether that was more than being away."""
        trouble = trouble_of(error)
        if trouble.kind == "full":
            self._fill(trouble)
        elif trouble.kind == "refused" or (trouble.kind == "doubtful" and self._lasts()):
            self._refuse(trouble)
        else:
            return False
        return True

    def worked(self) -> None:
        """Take note that an exchange succeeded; while Redis is full, one that wrote something."""
        if self.is_away:
            logger.warning("Redis is back after %d tries", self.failures)
        self.failures, self.is_away = 0, False
        if self.is_full:
            self._calm_since = self._clock() if self._calm_since is None else self._calm_since
            if self._clock() - self._calm_since >= _CALM:
                self.is_full = False
                self._listener.redis_full("")

    def _fill(self, trouble: Trouble) -> None:
        self._calm_since = None
        if not self.is_full:
            self.is_full = True
            self._listener.count("queue/redis_full", 1)
            self._listener.redis_full(str(trouble))

    def _refuse(self, trouble: Trouble) -> None:
        if not self.is_refused:
            self.is_refused = True
            self._listener.redis_refused(str(trouble))

    def _lasts(self) -> bool:
        """Tell whether doubtful answers have come for longer than any failover takes."""
        now = self._clock()
        if now - self._doubted_at > _GAP:
            self._doubted_since = now
        self._doubted_at = now
        return now - self._doubted_since >= _FAILOVER
