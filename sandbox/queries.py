"""What a search asks for, read as the real site reads it: as JavaScript turns text into numbers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_USERS_LIMIT = 2
_NOT_ID = re.compile(r"[^a-z0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|Infinity)")
_BASES = {"0x": 16, "0o": 8, "0b": 2}
_BIGINT = 2**63
"""The database's whole numbers end below it."""


class ActionError(Exception):
    """Raised when a search makes no sense; the site says so with status 200."""


class DatabaseError(Exception):
    """Raised when the site asks its database what that does not understand: a 500."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a search asks for."""

    users: list[str]
    """Ids, at most two."""
    format_id: str
    page: float
    before: float | None
    by_rating: bool
    contains: str

    def limit(self) -> int | None:
        """Return `before` as the database takes it.

        Raises:
            DatabaseError: it is no whole number, or too large.

        """
        if self.before is None:
            return None
        if not self.before.is_integer() or abs(self.before) >= _BIGINT:
            raise DatabaseError(f"invalid input syntax for type bigint: {self.before}")
        return int(self.before)


def read_query(parameters: Mapping[str, str]) -> Query:
    """Read the parameters of a search; what goes unnoticed on the site goes so here.

    Raises:
        ActionError: they make no sense. Of several mistakes the site names the same one.

    """
    sort, contains = parameters.get("sort", ""), parameters.get("contains", "")
    if sort not in ("", "rating", "date"):
        raise ActionError('Sort must be "rating" or "date"')
    users = _users(parameters)
    page, before = _pagination(parameters)
    if contains and len(parameters) > 1:
        raise ActionError("Contains can't be combined with other things.")
    format_id = to_id(parameters.get("format", ""))
    return Query(users, format_id, page, before, sort == "rating", contains)


def to_id(name: str) -> str:
    """Reduce a name to what the site compares."""
    return _NOT_ID.sub("", name.lower())


def number(text: str) -> float:
    """Return what JavaScript's `Number` makes of a text.

    >>> number(""), number(" 1e3 "), number("0x10"), number("-.5"), number("1_000")
    (0.0, 1000.0, 16.0, -0.5, nan)
    """
    text = text.strip()
    if not text:
        return 0.0
    base = _BASES.get(text[:2].lower())
    if base is not None:
        return _whole(text[2:], base)
    return float(text) if _DECIMAL.fullmatch(text) else math.nan


def _whole(digits: str, base: int) -> float:
    try:
        # An underscore is a digit's neighbour in Python alone.
        return float(int(digits, base)) if digits.isascii() and digits.isalnum() else math.nan
    except ValueError:
        return math.nan
    except OverflowError:
        return math.inf


def _users(parameters: Mapping[str, str]) -> list[str]:
    first = parameters.get("username") or parameters.get("user", "")
    second = parameters.get("username2") or parameters.get("user2", "")
    names = [*first.split(","), *second.split(",")]
    users = [userid for name in names if (userid := to_id(name))]
    if len(users) > _USERS_LIMIT:
        raise ActionError("Limit 2 usernames in a search")
    return users


def _pagination(parameters: Mapping[str, str]) -> tuple[float, float | None]:
    text = parameters.get("page", "")
    page, before = number(text or "1"), number(parameters.get("before", ""))
    if not page > 0 or not (math.isinf(page) or page.is_integer()):
        raise ActionError(f"Invalid page number: {text}")
    # Neither nought nor what is no number limits anything.
    is_limited = before != 0 and not math.isnan(before)
    if text and is_limited:
        raise ActionError(
            'Cannot set both "page" and "before", please choose one method of pagination'
        )
    return page, before if is_limited else None
