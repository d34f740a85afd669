"""What the spiders yield: a battle, or a reply that is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA = 2
"""Of the records that this code writes; those that do not say theirs are of the first."""

Ending = Literal[
    "normal", "forfeit", "inactivity", "tie agreed", "turn limit", "endless battle", "forced"
]
"""How a battle can end: played out, given up, timed out, a tie that all accepted, after the last
turn there can be, by the Endless Battle Clause, or as somebody in charge decided."""


@dataclass(slots=True)
class Pokemon:
    """One Pokémon, as far as the battle showed it."""

    species: str
    """As it first was; `Urshifu-*` when only the preview showed it, which hides the forme."""
    nickname: str | None = None
    """As shown, and the species' name without one; `None` when it did not come out."""
    level: int = 100
    gender: str | None = None
    """`M` or `F`."""
    shiny: bool | None = None
    """`None` when it did not come out: the preview does not tell."""
    lead: bool = False
    """Whether it was the first in its place."""
    brought: bool = False
    """Whether it came out; who is chosen for a battle and never comes out does not show."""
    tera: str | None = None
    """The type it took on by Terastallization."""
    item: str | None = None
    """The first that was revealed, unless it was another's before."""
    ability: str | None = None
    """The first that was revealed, unless it was another's, or came with another forme."""
    moves: list[str] = field(default_factory=list)
    """Its own, in the order of their first use."""


@dataclass(slots=True)
class Sheet:
    """One Pokémon of an open team sheet, as its player brought it.

    Names are spelled as the server packs them (`ChoiceScarf`, `hydropump`); what is not told is
    `None` or empty.
    """

    species: str
    nickname: str | None = None
    item: str | None = None
    ability: str | None = None
    moves: list[str] = field(default_factory=list)
    nature: str | None = None
    gender: str | None = None
    level: int = 100
    shiny: bool = False
    tera: str | None = None
    hidden_power: str | None = None
    gigantamax: bool = False
    evs: list[int | None] = field(default_factory=list)
    """Of HP, Attack, Defense, Special Attack, Special Defense and Speed; empty as a rule."""
    ivs: list[int | None] = field(default_factory=list)
    """In the same order; empty as a rule."""


@dataclass(slots=True)
class Player:
    """One side of a battle."""

    side: str
    """`p1` to `p4`."""
    name: str
    """As shown, without the rank symbol; the last one that the seat had before the end."""
    rating_before: int | None = None
    """Ladder rating when the battle began; `None` when it was not rated."""
    rating_after: int | None = None
    """Ladder rating the server announced after the end."""
    team: list[str] = field(default_factory=list)
    """Species in the order in which they were shown, each as it first was; unseen ones missing."""
    other_names: list[str] = field(default_factory=list)
    """What else who had the seat was called during the battle: before a change of name, or a
    substitute."""
    gave_up: Literal["forfeit", "inactivity"] | None = None
    """Whether this player forfeited or timed out, also when others played on."""
    pokemon: list[Pokemon] = field(default_factory=list)
    """What was shown of each of the team, in the same order."""
    sheet: list[Sheet] = field(default_factory=list)
    """The open team sheet; empty when there was none."""


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
    winner_side: list[str] | None = None
    """The sides that won, two in a multi battle; `None` for a tie and without an end."""
    rated_text: str | None = None
    """Why it counts as official and not for the ladder: `Tournament battle`."""
    rules: list[str] = field(default_factory=list)
    """Clauses and mods as the log tells them, each with its explanation."""
    custom_rules: list[str] = field(default_factory=list)
    """What a challenge changed of the format's rules."""
    timer: bool = False
    """Whether the timer ran, at least for a time."""
    match: str | None = None
    """The room of the best-of series it is a game of: `game-bestof3-gen9ou-1`."""
    game: int | None = None
    """Which game of the series, from 1."""
    best_of: int | None = None
    """Games in the series at most."""
    schema: int = SCHEMA
    """The version of the record; with 1 only the log tells what was added since."""
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
