"""Say which arguments a spider takes, and read what `-a` gives."""

from __future__ import annotations

import difflib
import inspect
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from battles.parsers.names import to_id
from battles.parsers.numbers import number

if TYPE_CHECKING:
    from collections.abc import Iterable


class Argument(NamedTuple):
    """What a spider may be given; its `arguments` are the one list of them."""

    name: str
    example: str
    meaning: str
    """For people, as `scrapy crawl --help` shows it."""


class ArgumentError(ValueError):
    """Raised when an argument makes no sense; the message says which, why and what to give."""


def reject_unknown(given: Iterable[str], arguments: Iterable[Argument]) -> None:
    """Refuse the first argument that the spider does not have; `_job` is scrapyd's."""
    known = [argument.name for argument in arguments]
    for name in sorted(set(given) - set(known) - {"_job"}):
        raise ArgumentError(f"unknown argument {name!r}: {nearest(name, known)}")


def purpose_of(spider: type) -> str:
    """Return the sentence with which a spider's docstring begins."""
    return (inspect.getdoc(spider) or "").partition("\n")[0]


def nearest(name: str, known: Iterable[str]) -> str:
    """Say what somebody may have meant, or what there is.

    >>> nearest("room", ["replays", "rooms"]), nearest("x", ["replays", "rooms"])
    ("did you mean 'rooms'?", 'there are replays, rooms')
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"


def read_names(name: str, text: str | None) -> list[str]:
    """Read `a,b` as identifiers; display names are reduced to them.

    >>> read_names("formats", "gen9ou,[Gen 1] OU")
    ['gen9ou', 'gen1ou']
    """
    if text is None:
        return []
    names = [to_id(part) for part in text.split(",")]
    if not all(names):
        raise ArgumentError(f"{name}={text!r}: give one or more names, as in {name}=a,b")
    return list(dict.fromkeys(names))


def read_time(name: str, text: str | None) -> int | None:
    """Read a date or a time as seconds since the epoch; without a zone it is UTC.

    >>> read_time("since", "2026-11-01"), read_time("since", "2026-11-01T12:00+01:00")
    (1793491200, 1793530800)
    """
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentError(
            f"{name}={text!r} is no date: give it as 2026-11-01 or 2026-11-01T18:30"
        ) from None
    seconds = int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
    if seconds < 0:
        raise ArgumentError(f"{name}={text!r} is before 1970")
    return seconds


def read_count(name: str, text: str | int | None) -> int | None:
    """Read a whole number above zero."""
    if text is None:
        return None
    count = number(text)
    if count is None or count < 1:
        raise ArgumentError(f"{name}={text!r}: give a whole number above zero")
    return count


def read_flag(name: str, text: str | bool | None) -> bool:  # noqa: FBT001 -- scripts pass real booleans
    """Read 1 or 0."""
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    flag = words.get(str(text).lower()) if text is not None else False
    if flag is None:
        raise ArgumentError(f"{name}={text!r}: give 1 or 0")
    return flag
