"""What the spiders yield: a battle, or a reply that is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Ending = Literal["normal", "forfeit", "inactivity"]
"""How a battle can end: played out, given up, or timed out."""


@dataclass(slots=True)
class Player:
    """One side of a battle."""

    side: str
    """`p1` to `p4`."""
    name: str
    """As shown, without the rank symbol."""
    rating_before: int | None = None
    """Ladder rating when the battle began; `None` when it was not rated."""
    rating_after: int | None = None
    """Ladder rating the server announced after the end."""
    team: list[str] = field(default_factory=list)
    """Species in the order in which they were shown, each as it first was; unseen ones missing."""


@dataclass(slots=True, repr=False)
class Battle:
    """One battle as its log tells it."""

    id: str
    """As the site spells it: `gen9ou-2390483321`, `smogtours-gen9ou-1`, `ou-20651579`."""
    formatid: str
    """`gen9ou`."""
    format: str
    """The display name: `[Gen 9] OU`."""
    generation: int | None
    gametype: str | None
    """`singles`, `doubles`, `triples`, `multi` or `freeforall`."""
    players: list[Player]
    winner: str | None
    """The winner's name; `None` for a tie and for a battle without an end."""
    tie: bool
    ended: Ending | None
    """`None` when the log holds no end."""
    turns: int
    started: int | None
    """Seconds since the epoch, from the log's first `|t:|`."""
    uploaded: int | None
    """Seconds since the epoch, as the replay site gives it."""
    rating: int | None
    """The rating the site files the replay under."""
    rated: bool
    """Whether it counts for the ladder; a tournament's battle does not."""
    open_team_sheets: bool
    log: str
    source: Literal["replay", "room"]
    url: str
    fetched_at: int
    """Seconds since the epoch."""
    content_hash: str
    """BLAKE2b (16 bytes, hexadecimal) of the log without its chat.

    Two that differ may differ only in what the versions that fetched them took for chat; nothing
    here compares them. Of a battle that is fetched again the later copy counts, whatever its hash.
    """
    private: int = 0
    """The site's privacy code; only 0 is public and only 0 is stored."""
    has_chat: bool = False
    """Whether people said something in it, before `validate` took that out."""
    asked: str = ""
    """The id that was requested; `validate` compares it with `id`."""
    is_durable: bool = field(default=False, compare=False)
    """Whether it is archived and indexed: what fails later is no reason to fetch it again."""
    lease: Any = field(default=None, compare=False)
    """The `extensions.lease.Lease` of its request, which somebody else may have taken over."""

    def __repr__(self) -> str:
        """Spare Scrapy's log the battle's."""
        return f"<Battle {self.id}>"


@dataclass(slots=True)
class Withdrawn:
    """A battle that its players, or the site, took back after it was archived."""

    id: str
    at: int
    """When that was noticed; seconds since the epoch."""
    reason: str


@dataclass(frozen=True, slots=True)
class Covered:
    """What a page of a sweep lists, and what it would have listed."""

    format: str | None
    user: str | None
    sweep: int
    """Which sweep it is of."""
    oldest: int
    """How far the sweep goes back; seconds since the epoch, inclusive."""
    since: int
    """Seconds since the epoch, inclusive; between the two it lists every public replay."""
    until: int
    """Seconds since the epoch, exclusive."""
    ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Gap:
    """A second of which the site has more battles than its search shows."""

    format: str | None
    """None: of the formats that the crawl saw nowhere, when it lists all together."""
    user: str | None
    second: int
    """Seconds since the epoch."""
    at: int
    """When that was noticed; seconds since the epoch."""


@dataclass(slots=True)
class Unreadable:
    """A reply that is no battle, and why."""

    asked: str
    url: str
    reason: str
