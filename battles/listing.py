"""Decide what to ask so that every live battle is found: one answer shows a hundred at most."""

from __future__ import annotations

import string
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from battles.parsers.names import format_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from battles.parsers.frames import RoomList

_LETTERS = string.ascii_lowercase + string.digits
_LONGEST_PREFIX = 3
"""Letters; more than a hundred players whose names begin with the same three are not split."""
_MISSING = 0.02
"""Share of all battles that may begin or end while one asks."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which battles to list."""

    format: str = ""
    """Empty for all."""
    min_elo: int | None = None
    prefix: str = ""
    """Of a player's id."""

    @property
    def command(self) -> str:
        """The question as the server reads it."""
        elo = "" if self.min_elo is None else self.min_elo
        return f"/cmd roomlist {self.format},{elo},{self.prefix}"


class Listing:
    """Asks for all battles of some formats, or of all, and splits what is too much for an answer.

    By format first: one that is full is split by the first letters of the players' names.
    """

    def __init__(self, formats: Iterable[str] = (), *, min_elo: int | None = None) -> None:
        self.found: dict[str, int | None] = {}
        """The battles, and the lower of their players' ratings."""
        self.asked = 0
        self.is_cut = False
        """Whether some battles could not be told apart, and may be missing."""
        self._min_elo = min_elo
        self._formats = set(formats)
        self._is_split = False
        self._waiting = deque(Question(format, min_elo) for format in sorted(self._formats))
        if not self._formats:
            self._waiting.append(Question(min_elo=min_elo))

    @property
    def is_of_everything(self) -> bool:
        """Whether its size can be compared with the number of all battles."""
        return self._min_elo is None and (not self._formats or self._is_split)

    @property
    def has_more(self) -> bool:
        """Whether something is left to ask."""
        return bool(self._waiting)

    def next(self) -> Question | None:
        """Return what to ask next; None when all answers are complete."""
        if not self._waiting:
            return None
        self.asked += 1
        return self._waiting.popleft()

    def take(self, question: Question, answer: RoomList) -> None:
        """Take note of an answer."""
        self.found |= {room.id: room.min_elo for room in answer.rooms}
        if not answer.is_full:
            return
        if not question.format:
            self._is_split = True
            self._ask({format_of(room.id) for room in answer.rooms})
        elif len(question.prefix) < _LONGEST_PREFIX:
            prefixes = [question.prefix + letter for letter in _LETTERS]
            self._waiting.extend(
                Question(question.format, self._min_elo, prefix) for prefix in prefixes
            )
        else:
            self.is_cut = True

    def look_further(self, total: int | None, formats: Iterable[str]) -> None:
        """Ask for the other formats, too, when there are more battles than were found."""
        is_short = total is None or total - len(self.found) > 1 + _MISSING * total
        if self._is_split and is_short:
            self._ask(formats)

    def _ask(self, formats: Iterable[str]) -> None:
        new = {*formats} - self._formats
        self._formats |= new
        self._waiting.extend(Question(format, self._min_elo) for format in sorted(new))
