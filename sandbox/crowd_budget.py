"""The budget of messages of one connection, kept as the battle server keeps it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL = 0.6
"""Seconds for one message."""
QUEUED = 5
"""Messages that wait for their turn at most."""


class Budget:
    """Lets a message through every 0.6 s, has five wait, and throws away the others."""

    def __init__(
        self,
        handle: Callable[[str], None],
        clock: Callable[[], float],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        """Take who handles a message, a clock in seconds, and who calls after some seconds."""
        self._handle = handle
        self._clock = clock
        self._later = later
        self._last: float | None = None
        """When a message was handled last."""
        self._waiting: deque[str] = deque()
        self._is_timed = False

    @property
    def is_used_up(self) -> bool:
        """Whether the next message will have to wait."""
        return self._is_timed or self._left() > 0

    def take(self, message: str) -> bool:
        """Handle a message now or later, or return False to throw it away."""
        if not self.is_used_up:
            self._let_through(message)
            return True
        if len(self._waiting) >= QUEUED:
            return False
        self._waiting.append(message)
        if not self._is_timed:
            self._wait(self._left())
        return True

    def close(self) -> None:
        """Forget the messages that wait."""
        self._waiting.clear()

    def _left(self) -> float:
        return 0.0 if self._last is None else self._last + INTERVAL - self._clock()

    def _let_through(self, message: str) -> None:
        self._last = self._clock()
        self._handle(message)

    def _wait(self, seconds: float) -> None:
        self._is_timed = True
        self._later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._is_timed = False
        if self._waiting:
            self._let_through(self._waiting.popleft())
        if self._waiting:
            self._wait(INTERVAL)
