"""Say once what keeps a server from answering, how long to wait, and when it answers again."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from extensions.addresses import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

_NOTICE = 200
"""Characters of what a server says of itself that are logged."""
_DOUBLINGS = 30


@dataclass(slots=True, eq=False)
class Failure:
    """One connection that came to nothing; all who waited for it share it."""

    cause: str
    """What the log says: one line, without what changes from one try to the next."""
    error: Exception | None = None
    """Of the network, as Scrapy names it; None: the server was reached, and refuses us."""
    retry_after: float | None = None
    """Seconds that the server asks for."""
    took: float = 0.0
    """Seconds until it had failed."""
    seconds: float = 0.0
    """To wait before the next try."""
    is_told: bool = False
    """Whether the circuit breaker has heard of it."""

    @property
    def is_refusal(self) -> bool:
        return self.error is None


class Backoff:
    """Seconds to wait, which double from one failure to the next."""

    def __init__(
        self, first: float, longest: float, clock: Callable[[], float], *, is_drawn: bool = False
    ) -> None:
        """Take seconds; what is drawn is between half of them and all."""
        self._first, self._longest = first, longest
        self._clock = clock
        self._is_drawn = is_drawn
        self._failures = 0
        self._until = 0.0

    @property
    def left(self) -> float:
        """Seconds until the next try."""
        return max(0.0, self._until - self._clock())

    def failed(self, asked: float | None = None) -> float:
        """Return the seconds to wait, or those that somebody asked for.

        Failures of one moment count once: what fails before its wait is over was begun before.
        """
        now = self._clock()
        if now >= self._until:
            pause = min(self._longest, self._first * 2.0 ** min(self._failures, _DOUBLINGS))
            if self._is_drawn:
                pause = random.uniform(pause / 2, pause)  # noqa: S311 -- no secret
            self._until = now + pause
            self._failures += 1
        if asked is not None:
            self._until = now + asked
        return self.left

    def reset(self) -> None:
        self._failures, self._until = 0, 0.0


class Outage:
    """What is said of a server from its first failure to the next answer."""

    def __init__(self, host: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._host = host
        self._clock = clock
        self._since: float | None = None
        self._failures = 0
        self._said = ""

    def failed(self, failure: Failure, notice: str = "") -> None:
        """Log the cause, and what the server has said of itself, if that is news."""
        if self._since is None:
            self._since = self._clock()
        self._failures += 1
        verb = "refuses us" if failure.is_refusal else "cannot be reached"
        text = f"{verb}: {failure.cause}"
        if notice := one_line(notice, _NOTICE):
            text = f"{text}; it says: {notice}"
        if text != self._said:
            self._said = text
            logger.warning("%s %s", self._host, text)

    def answered(self) -> None:
        if self._since is None:
            return
        seconds, attempts = self._clock() - self._since, self._failures + 1
        logger.info("%s answers again after %.0f s, %d attempts", self._host, seconds, attempts)
        self._since, self._failures, self._said = None, 0, ""
