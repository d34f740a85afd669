"""Decide which search page comes next, so that no battle is lost at an edge.

The site sorts by upload time in whole seconds and breaks no ties. So a page is followed by one that
begins with the last second again; a second that fills a whole page is walked by `page=`; and in the
list of all formats, which cannot be walked so, it is asked for format by format.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from battles.parsers.names import format_of
from battles.parsers.reply import BadReplyError
from battles.parsers.search import PAGE_LAST, Row, SearchPage

_LISTS = ("between", "formats", "crowded")


@dataclass(frozen=True, slots=True)
class Walk:
    """Where one search stands."""

    format: str | None = None
    user: str | None = None
    since: int | None = None
    """Seconds since the epoch, inclusive; the walk ends at older battles."""
    before: int | None = None
    """The site's parameter: exclusive with a format or a user, inclusive without."""
    second: int | None = None
    """Only battles of this second are wanted."""
    page: int | None = None
    """The site's parameter, for walking `second`."""
    between: tuple[int, ...] = ()
    """While the first page of `second` is looked for: the pages it is between, inclusive."""
    formats: tuple[str, ...] = ()
    """Formats seen so far, when all are listed together."""
    crowded: tuple[int, ...] = ()
    """Seconds to ask for format by format, when all are listed together."""

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Walk:
        """Rebuild a walk from its fields."""
        lists = {name: tuple(fields.get(name, ())) for name in _LISTS}
        return cls(**{**fields, **lists})

    def fields(self) -> dict[str, Any]:
        """Return what is not default, fit for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if value not in (None, ())
        }

    def parameters(self) -> dict[str, str]:
        """Return the parameters of the search."""
        named = {"format": self.format, "user": self.user, "before": self.before, "page": self.page}
        return {name: str(value) for name, value in named.items() if value is not None}

    @property
    def is_filtered(self) -> bool:
        return self.format is not None or self.user is not None

    def wants(self, row: Row) -> bool:
        return (self.since is None or row.uploaded >= self.since) and (
            self.second is None or row.uploaded == self.second
        )

    def is_over_at(self, oldest: int) -> bool:
        """Tell whether nothing wanted is older than this."""
        return (self.since is not None and oldest < self.since) or (
            self.second is not None and oldest < self.second
        )


@dataclass(slots=True)
class Step:
    """What follows from one page."""

    rows: list[Row]
    walks: list[Walk] = field(default_factory=list)
    suspect: int | None = None
    """A second of which the site would not show every battle."""


def first(*, format: str | None, user: str | None, since: int | None, until: int | None) -> Walk:
    """Begin a walk over the battles of `[since, until)`."""
    walk = Walk(format=format, user=user, since=since)
    if until is None:
        return walk
    return replace(walk, before=until if walk.is_filtered else until - 1)


def advance(walk: Walk, page: SearchPage) -> Step:
    """Say which battles of the page are wanted, and where to go on.

    Raises:
        BadReplyError: the page does not begin where it was asked to.

    """
    rows = [row for row in page.rows if walk.wants(row)]
    if walk.page is not None:
        return _advance_in_second(walk, page, rows)
    _check_beginning(walk, page)
    if not walk.is_filtered:
        seen = {*walk.formats, *(format_of(row.id) for row in page.rows)}
        walk = replace(walk, formats=tuple(sorted(seen)))
    oldest = page.oldest
    if oldest is None or not page.has_more or walk.is_over_at(oldest):
        return Step(rows, _crowded_seconds(walk))
    return _go_on(walk, rows, oldest)


def _check_beginning(walk: Walk, page: SearchPage) -> None:
    if walk.before is None or page.newest is None:
        return
    if page.newest > walk.before - (1 if walk.is_filtered else 0):
        raise BadReplyError(f"before={walk.before} is answered with battles of {page.newest}")


def _go_on(walk: Walk, rows: list[Row], oldest: int) -> Step:
    inclusive = 0 if walk.is_filtered else 1
    following = oldest + 1 - inclusive
    if following != walk.before:
        return Step(rows, [replace(walk, before=following)])
    # The whole page is of one second, and asking on would bring it again.
    beyond = replace(walk, before=oldest - inclusive)
    if not walk.is_filtered:
        return Step(rows, [replace(beyond, crowded=(*walk.crowded, oldest))])
    inside = _halve(Walk(walk.format, walk.user, second=oldest), 1, PAGE_LAST)
    return Step(rows, [inside] if walk.second is not None else [inside, beyond])


def _crowded_seconds(walk: Walk) -> list[Walk]:
    return [
        Walk(format=name, second=second, before=second + 1)
        for second in walk.crowded
        for name in walk.formats
    ]


def _halve(walk: Walk, low: int, high: int) -> Walk:
    """Look for the first page of a second in the middle of what is left, or begin at it."""
    if low >= high:
        return replace(walk, page=high, between=())
    return replace(walk, page=(low + high) // 2, between=(low, high))


def _advance_in_second(walk: Walk, page: SearchPage, rows: list[Row]) -> Step:
    number, second = walk.page or 1, walk.second or 0
    is_end = page.oldest is None or not page.has_more
    oldest = -1 if page.oldest is None else page.oldest
    if walk.between:
        low, high = walk.between
        found = is_end or oldest <= second
        return Step(rows, [_halve(walk, *((low, number) if found else (number + 1, high)))])
    if is_end or oldest < second:
        return Step(rows)
    if number >= PAGE_LAST:
        return Step(rows, suspect=second)
    return Step(rows, [replace(walk, page=number + 1)])
