"""What goes wrong on request: refusals, rubbish, torn replies, slowness."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal
from zlib import crc32

Fault = Literal["garbage", "truncated", "refused"]

GARBAGE = b"<!DOCTYPE html><html><title>Just a moment...</title><p>Checking your browser</html>"
"""A challenge page, which comes with status 200."""


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """Shares of the requests (0 to 1) that get each fault; the rest is served as it should be."""

    garbage: float = 0.0
    """HTML with status 200."""
    truncated: float = 0.0
    """JSON that breaks off."""
    refused: float = 0.0
    """`status` instead of an answer."""
    status: int = 503
    retry_after: str | None = None
    """Sent with `status`: seconds or a date."""
    most: float = 0.0
    """Requests a second beyond which everything gets `status`; 0 takes any number."""
    broken_every: int = 0
    """About each so many-th battle, always the same ones, gets a 500."""
    latency: float = 0.0
    """Seconds before each answer."""
    seed: int = 1
    _recent: deque[float] = field(default_factory=deque, compare=False, repr=False)
    _random: random.Random = field(default_factory=random.Random, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("garbage", "truncated", "refused"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)!r}: give a share from 0 to 1")
        if self.latency < 0:
            raise ValueError(f"latency={self.latency!r}: give seconds")
        if self.most < 0 or self.broken_every < 0:
            raise ValueError(f"most={self.most!r}, broken_every={self.broken_every!r}: from 0 on")
        if not 200 <= self.status <= 599:  # noqa: PLR2004 -- what HTTP calls final
            raise ValueError(f"status={self.status!r}: give one from 200 to 599")
        if not isinstance(self.retry_after, str | None):
            raise TypeError(f"retry_after={self.retry_after!r}: give it as text")
        self._random.seed(self.seed)

    def draw(self) -> Fault | None:
        """Choose what happens to one request."""
        chance = self._random.random()
        shares: dict[Fault, float] = {
            "garbage": self.garbage,
            "truncated": self.truncated,
            "refused": self.refused,
        }
        for fault, share in shares.items():
            chance -= share
            if chance < 0:
                return fault
        return None

    def is_broken(self, name: str) -> bool:
        """Tell whether a battle is one of those that cannot be had.

        >>> Misbehaviour(broken_every=1).is_broken("gen9ou-1"), Misbehaviour().is_broken("gen9ou-1")
        (True, False)
        """
        return self.broken_every > 0 and crc32(name.encode()) % self.broken_every == 0

    def is_too_much(self, now: float) -> bool:
        """Count a request at a time in seconds, and tell whether the last second had too many."""
        while self._recent and self._recent[0] <= now - 1.0:
            self._recent.popleft()
        self._recent.append(now)
        return 0 < self.most < len(self._recent)

    def changed(self, changes: dict[str, Any]) -> Misbehaviour:
        """Return a copy with some of the fields changed.

        Raises:
            ValueError: there is no such field, or its value makes no sense.
            TypeError: the same.

        """
        if not isinstance(changes, dict):
            raise TypeError(f"not an object but {type(changes).__name__}")
        known = {entry.name for entry in fields(self) if not entry.name.startswith("_")}
        if unknown := changes.keys() - known:
            raise ValueError(f"unknown {sorted(unknown)}: there are {sorted(known)}")
        return replace(self, _random=random.Random(), _recent=deque(), **changes)  # noqa: S311 -- no secret
