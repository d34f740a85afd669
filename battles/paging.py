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

_LISTS = ("between", "formats", "crowded", "edge")


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
    edge: tuple[str, ...] = ()
    """Battles of the last second seen, which the next page lists again."""
    resume: int | None = None
    """Where to go on with `before` when `second` is done."""
    left: int | None = None
    """How many battles are wanted at most; `None` wants all."""
    look: int | None = None
    """Counts the looks of a watch, each of which reads the same pages anew."""
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
        return (
            (self.since is None or row.uploaded >= self.since)
            and (self.second is None or row.uploaded == self.second)
            and row.id not in self.edge
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


def begin(walk: Walk, *, until: int | None) -> Walk:
    """Have a walk begin at the newest battle before a time; None begins at the newest of all."""
    if until is None:
        return walk
    return replace(walk, before=until if walk.is_filtered else until - 1)


def advance(walk: Walk, page: SearchPage) -> Step:
    """Say which battles of the page are wanted, and where to go on.

    Raises:
        BadReplyError: the page does not begin where it was asked to.

    """
    step = _advance(walk, page)
    if walk.left is None:
        return step
    step.rows = step.rows[: walk.left]
    left = walk.left - len(step.rows)
    step.walks = [replace(following, left=left) for following in step.walks] if left else []
    return step


def _advance(walk: Walk, page: SearchPage) -> Step:
    rows = [row for row in page.rows if walk.wants(row)]
    edge = tuple(row.id for row in page.rows if row.uploaded == page.oldest)
    if walk.page is not None:
        return _advance_in_second(walk if walk.between else replace(walk, edge=edge), page, rows)
    _check_beginning(walk, page)
    walk = replace(walk, edge=edge)
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
    if not walk.is_filtered:
        crowded = (*walk.crowded, oldest)
        return Step(rows, [replace(walk, before=oldest - 1, edge=(), crowded=crowded)])
    resume = oldest if walk.second is None else None
    inside = replace(walk, second=oldest, before=None, resume=resume)
    return Step(rows, [_halve(inside, 1, PAGE_LAST)])


def _crowded_seconds(walk: Walk) -> list[Walk]:
    return [
        Walk(format=name, second=second, before=second + 1, left=walk.left, look=walk.look)
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
        # Its battles are taken when the second is walked from its first page on.
        return Step([], [_halve(walk, *((low, number) if found else (number + 1, high)))])
    if is_end or oldest < second:
        return Step(rows, _resumed(walk))
    if number >= PAGE_LAST:
        return Step(rows, _resumed(walk), suspect=second)
    return Step(rows, [replace(walk, page=number + 1)])


def _resumed(walk: Walk) -> list[Walk]:
    if walk.resume is None:
        return []
    return [replace(walk, second=None, page=None, edge=(), before=walk.resume, resume=None)]
