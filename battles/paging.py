"""Decide which search page comes next, so that no battle is lost at an edge.

The site sorts by upload time in whole seconds and breaks no ties. So a page is followed by one that
begins with the last second again; a second that fills a whole page is walked by `page=`; and in the
list of all formats, which cannot be walked so, it is asked for format by format: in the end, or at
once and one after another with a limit, which they share.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from battles.parsers.names import format_of
from battles.parsers.reply import BadReplyError
from battles.parsers.search import PAGE_FULL, PAGE_LAST, Row, SearchPage

_LISTS = ("between", "formats", "crowded", "asked", "edge")
_EDGE_FIRST = 2 * PAGE_FULL
_EDGE_LAST = 4 * PAGE_FULL
"""Battles in an `edge` at most: those taken before a second was walked by pages, which any of its
pages may list, come first; of those that its pages have listed, the latest are enough."""


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
    """Battles taken of the last second seen, which a next page may list again."""
    resume: int | None = None
    """Where to go on with `before` when `second` is done."""
    left: int | None = None
    """How many battles are wanted at most; `None` wants all."""
    look: int | None = None
    """Tells the looks of a watch apart, each of which reads the same pages anew."""
    crowded: tuple[int, ...] = ()
    """Seconds to ask for format by format, when all are listed together."""
    asked: tuple[int, ...] = ()
    """With a limit: for how many of `formats`, from the first, each of `crowded` was asked."""

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Walk:
        """Rebuild a walk from its fields; those of a later version are left out."""
        known = {name: fields[name] for name in fields.keys() & cls.__dataclass_fields__.keys()}
        lists = {name: tuple(known.get(name, ())) for name in _LISTS}
        return cls(**{**known, **lists})

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
    crowded: tuple[int, ...] = ()
    """Seconds of which one page shows a part, in the list of all formats: what is of a format that
    is listed nowhere else, is shown nowhere."""


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
    if not walk.between:
        walk = replace(walk, edge=_edge(walk, page))
    if walk.page is not None:
        return _advance_in_second(walk, page, rows)
    _check_beginning(walk, page)
    if not walk.is_filtered:
        seen = sorted({format_of(row.id) for row in page.rows})
        walk = replace(walk, formats=tuple(dict.fromkeys((*walk.formats, *seen))))
    oldest = page.oldest
    if oldest is None or not page.has_more or walk.is_over_at(oldest):
        return Step(rows, _afterwards(walk))
    return _go_on(walk, rows, oldest)


def _edge(walk: Walk, page: SearchPage) -> tuple[str, ...]:
    """Return the battles taken of the second with which the next page begins."""
    second = page.oldest if walk.second is None else walk.second
    listed = [row.id for row in page.rows if row.uploaded == second]
    is_same = walk.second is not None or page.oldest == page.newest
    earlier = [battle_id for battle_id in walk.edge if battle_id not in listed] if is_same else []
    edge = (*earlier, *listed)
    return (*edge[:_EDGE_FIRST], *edge[_EDGE_FIRST:][-_EDGE_LAST:])


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
        walk = replace(walk, crowded=(*walk.crowded, oldest), second=oldest, resume=oldest - 1)
        walks = _resumed(walk) if walk.left is None else _afterwards(walk)
        return Step(rows, walks, crowded=(oldest,))
    resume = oldest if walk.second is None else walk.resume
    inside = replace(walk, second=oldest, before=None, resume=resume)
    return Step(rows, [_halve(inside, 1, PAGE_LAST)])


def _afterwards(walk: Walk) -> list[Walk]:
    """Say where to go on when everything is seen of what a walk asked for."""
    if walk.left is None and walk.crowded:
        return _every_format(walk)
    return _next_format(walk) or _resumed(walk)


def _every_format(walk: Walk) -> list[Walk]:
    return [
        Walk(format=name, second=second, before=second + 1, look=walk.look)
        for second in walk.crowded
        for name in walk.formats
    ]


def _next_format(walk: Walk) -> list[Walk]:
    """Ask a crowded second for one more format; the newest formats may be new to any of them."""
    asked = dict.fromkeys(walk.crowded, 0) | dict(zip(walk.crowded, walk.asked, strict=False))
    for second in reversed(walk.crowded):
        if (count := asked[second]) < len(walk.formats):
            asked[second] += 1
            here = replace(walk, format=walk.formats[count], second=second, before=second + 1)
            edge = walk.edge if second == walk.second else ()
            return [replace(here, page=None, edge=edge, asked=tuple(asked.values()))]
    return []


def _resumed(walk: Walk) -> list[Walk]:
    """Go on with older battles than those of the second."""
    if walk.resume is None:
        return []
    walk = replace(walk, format=None if walk.crowded else walk.format, second=None, page=None)
    return [replace(walk, edge=(), before=walk.resume, resume=None)]


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
        return Step(rows, _afterwards(walk))
    if number >= PAGE_LAST:
        return Step(rows, _afterwards(walk), suspect=second)
    return Step(rows, [replace(walk, page=number + 1)])
