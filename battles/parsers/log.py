"""Read the log of one battle."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import blake2b
from html import unescape
from typing import TYPE_CHECKING

from battles.items import Ending, Player
from battles.parsers.names import to_id

if TYPE_CHECKING:
    from collections.abc import Callable

_SIDES = ("p1", "p2", "p3", "p4")
_RATING = re.compile(r"(.{1,128})'s rating: ([0-9]{1,6}) &rarr; <strong>([0-9]{1,6})</strong>")
_LARGEST = 2**31
"""Numbers from here on are rubbish, and would not fit the index."""
_DIGITS = 10
"""As many as the largest number has."""
_LAST_GENERATION = 99
"""Beyond it is rubbish, and would not fit an export."""


@dataclass(slots=True)
class LogFacts:
    """What a log says of its battle; everything may be missing."""

    players: dict[str, Player] = field(default_factory=dict)
    """By side, in the order of the sides."""
    format: str = ""
    generation: int | None = None
    gametype: str | None = None
    started: int | None = None
    """Seconds since the epoch."""
    rated: bool = False
    open_team_sheets: bool = False
    turns: int = 0
    winner: str | None = None
    tie: bool = False
    ended: Ending | None = None


def parse_log(log: str) -> LogFacts:
    """Read what a log says; a line that makes no sense is passed over."""
    reader = _LogReader()
    for kind, rest in _LINE.findall(log):
        _READERS[kind](reader, rest)
    return reader.facts()


def content_hash(log: str) -> str:
    """Name the content of a log without chat."""
    return blake2b(log.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def number(text: object) -> int | None:
    """Read a whole number the site wrote as a number or as text, or return None.

    >>> number("1500"), number(1500), number(""), number(True), number("9" * 20)
    (1500, 1500, None, None, None)
    """
    if isinstance(text, bool) or not isinstance(text, (int, str)):
        return None
    if isinstance(text, str) and not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        return None
    value = int(text)
    return value if 0 <= value < _LARGEST else None


class _LogReader:
    """Collects the facts line by line; one method a line type."""

    def __init__(self) -> None:
        self._facts = LogFacts()
        self._previewed: dict[str, list[str]] = {}
        self._appeared: dict[str, dict[tuple[str, str], str]] = {}
        """By side: the species of each Pokémon, told apart by nickname and kind."""
        self._ratings: list[tuple[str, int, int]] = []
        self._stopped: Ending = "normal"

    def facts(self) -> LogFacts:
        facts = self._facts
        facts.players = {side: facts.players[side] for side in sorted(facts.players)}
        for side, player in facts.players.items():
            player.team = self._previewed.get(side) or list(self._appeared.get(side, {}).values())
        for name, before, after in self._ratings:
            self._rate(_comparable(name), before, after)
        return facts

    def _rate(self, name: str, before: int, after: int) -> None:
        for player in self._facts.players.values():
            if _comparable(player.name) == name:
                player.rating_before, player.rating_after = before, after

    def tie(self, _rest: str) -> None:
        self._facts.tie = True
        self._facts.ended = self._stopped

    def win(self, rest: str) -> None:
        self._facts.winner = rest
        self._facts.ended = self._stopped

    def message(self, rest: str) -> None:
        if rest.endswith(" forfeited."):
            self._stopped = "forfeit"
        elif rest.endswith(("inactivity.", "All players are inactive.")):
            self._stopped = "inactivity"

    def turn(self, rest: str) -> None:
        self._facts.turns = max(self._facts.turns, number(rest) or 0)
        # In a battle of four, somebody gives up and the others play on.
        self._stopped = "normal"

    def player(self, rest: str) -> None:
        side, name, _, rating = [*rest.split("|"), "", "", ""][:4]
        # An empty name follows the end of the battle, and the first name is the one that played.
        if side not in _SIDES or not name or side in self._facts.players:
            return
        self._facts.players[side] = Player(side=side, name=name, rating_before=number(rating))

    def preview(self, rest: str) -> None:
        side, _, details = rest.partition("|")
        if side in _SIDES:
            self._previewed.setdefault(side, []).append(_species(details))

    def appear(self, rest: str) -> None:
        position, _, details = rest.partition("|")
        side, nickname, species = position[:2], position.partition(": ")[2], _species(details)
        if side in _SIDES:
            # Charizard comes back as Charizard-Mega-X, and is the same.
            same = nickname, species.partition("-")[0]
            self._appeared.setdefault(side, {}).setdefault(same, species)

    def time(self, rest: str) -> None:
        if self._facts.started is None:
            self._facts.started = number(rest)
        # A turn is played out: whoever stopped before has not ended the battle.
        self._stopped = "normal"

    def gametype(self, rest: str) -> None:
        self._facts.gametype = rest or None

    def generation(self, rest: str) -> None:
        generation = number(rest)
        if generation is not None and generation <= _LAST_GENERATION:
            self._facts.generation = generation

    def tier(self, rest: str) -> None:
        self._facts.format = rest

    def rated(self, rest: str) -> None:
        # With a message it says that the battle is official, as of a tournament, and not rated.
        self._facts.rated = not rest

    def rule(self, rest: str) -> None:
        if rest.startswith("Open Team Sheets"):
            self._facts.open_team_sheets = True

    def team_sheet(self, _rest: str) -> None:
        self._facts.open_team_sheets = True

    def raw(self, rest: str) -> None:
        if match := _RATING.match(rest):
            name, before, after = match.groups()
            self._ratings.append((unescape(name), int(before), int(after)))


def _comparable(name: str) -> str:
    """Reduce a name to its id; one without letters and digits is compared as it is."""
    return to_id(name) or name


def _species(details: str) -> str:
    """Take `Tauros-Paldea-Blaze` from `Tauros-Paldea-Blaze, L81, M|252/252`."""
    return details.partition("|")[0].partition(",")[0]


_READERS: dict[str, Callable[[_LogReader, str], None]] = {
    "tie": _LogReader.tie,
    "win": _LogReader.win,
    "-message": _LogReader.message,
    "message": _LogReader.message,
    "turn": _LogReader.turn,
    "player": _LogReader.player,
    "poke": _LogReader.preview,
    "switch": _LogReader.appear,
    "drag": _LogReader.appear,
    "replace": _LogReader.appear,
    "t:": _LogReader.time,
    "gametype": _LogReader.gametype,
    "gen": _LogReader.generation,
    "tier": _LogReader.tier,
    "rated": _LogReader.rated,
    "rule": _LogReader.rule,
    "showteam": _LogReader.team_sheet,
    "raw": _LogReader.raw,
}

_PIPED = "|".join(re.escape(kind) for kind in _READERS if kind != "tie")
_LINE = re.compile(rf"^\|({_PIPED}|tie$)(?:\|(.*))?$", re.MULTILINE)
"""A line that says something; `tie` only when nothing follows. One search beats a look at each."""
