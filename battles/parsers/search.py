"""Read a page of the replay search."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from battles.parsers.names import is_battle_id
from battles.parsers.numbers import number
from battles.parsers.reply import BadReplyError, parse_json

PAGE_FULL = 51
"""Rows in a page that has a successor."""
PAGE_STEP = 50
"""Rows from one `page=` to the next."""
PAGE_LAST = 100
"""The site answers pages beyond this one with nothing."""


@dataclass(frozen=True, slots=True)
class Row:
    """One replay as a search lists it."""

    id: str
    uploaded: int
    """Seconds since the epoch."""
    rating: int | None = field(default=None, compare=False)
    """The rating the site files it under by now; a replay that is saved again may get another."""


@dataclass(frozen=True, slots=True)
class SearchPage:
    """What one search page says."""

    rows: tuple[Row, ...]
    """Newest first, public ones only."""
    newest: int | None
    """Upload time of the first row, in seconds since the epoch."""
    oldest: int | None
    """Upload time of the last row; `None` when there is no row."""
    has_more: bool
    unusable: int
    """Rows left out because they name no public battle."""


def parse_search(body: bytes) -> SearchPage:
    """Read a page of the replay search.

    Raises:
        BadReplyError: the reply is no list of replays.
        RefusedError: the site refused the question.

    """
    entries = parse_json(body)
    if not isinstance(entries, list):
        raise BadReplyError(f"not a list of replays but {type(entries).__name__}")
    times = [time for entry in entries if (time := _uploaded(entry)) is not None]
    rows = tuple(row for entry in entries if (row := _row(entry)))
    if entries and not times:
        raise BadReplyError(f"{len(entries)} rows, none with an upload time")
    return SearchPage(
        rows=rows,
        newest=max(times, default=None),
        oldest=min(times, default=None),
        has_more=len(entries) >= PAGE_FULL,
        unusable=len(entries) - len(rows),
    )


def _uploaded(entry: Any) -> int | None:  # noqa: ANN401 -- whatever stood in the JSON
    return number(entry.get("uploadtime")) if isinstance(entry, dict) else None


def _row(entry: Any) -> Row | None:  # noqa: ANN401 -- whatever stood in the JSON
    uploaded = _uploaded(entry)
    if uploaded is None or entry.get("private") not in (None, 0):
        return None
    battle_id = entry.get("id")
    if not isinstance(battle_id, str) or not is_battle_id(battle_id):
        return None
    return Row(id=battle_id, uploaded=uploaded, rating=number(entry.get("rating")))
