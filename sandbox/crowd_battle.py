"""One battle of the crowd: who plays, what becomes of it, and what its log says at any time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import merge
from itertools import chain
from math import isfinite
from operator import attrgetter, itemgetter
from random import Random
from typing import TYPE_CHECKING

from sandbox.queries import to_id

if TYPE_CHECKING:
    from collections.abc import Iterator

_TEAM = 6
_LEAST_TURNS = 12
"""A battle of fewer is given up: not all of a team can faint in it."""
_GIVEN_UP_EVERY = 4
_PACE = (4.0, 12.0)
"""Seconds between two turns, drawn for each battle."""
_LEAST_STEPS, _MOST_STEPS = 3, 60
"""Turns of a battle, however long it is."""
_FULL = 100
_WEAK = 25
"""Percent of a Pokémon's health below which it heals."""
_SPECIES = (
    *("Alakazam", "Chansey", "Cloyster", "Dragonite", "Exeggutor", "Gengar", "Golem", "Gyarados"),
    *("Jolteon", "Jynx", "Lapras", "Machamp", "Rhydon", "Slowbro", "Snorlax", "Starmie"),
    *("Tauros", "Vaporeon", "Victreebel", "Zapdos"),
)
"""Those that every generation has."""
_MOVES = ("Body Slam", "Double-Edge", "Earthquake", "Ice Beam", "Psychic", "Surf", "Thunderbolt")
_RULES = (
    "|rule|Species Clause: Limit one of each Pokémon",
    "|rule|HP Percentage Mod: HP is shown in percentages",
    "|rule|Sleep Clause Mod: Limit one foe put to sleep",
)

Frame = tuple[float, list[str]]
"""Seconds since the epoch, and the lines that are said then."""


@dataclass(frozen=True, slots=True)
class Player:
    """Who plays."""

    name: str
    avatar: int
    rating: int | None
    """None when the battle is not rated."""
    gain: int
    """Of rating; who wins gains, and who loses gains less than nothing."""

    def seat(self, side: str) -> str:
        """Return the line that says who sits there."""
        rating = "" if self.rating is None else self.rating
        return f"|player|{side}|{self.name}|{self.avatar}|{rating}"


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a battle, in seconds since its beginning."""

    length: float
    """Infinite for a battle that never ends."""
    hidden: float | None = None
    """When it is made private: before the end, in the step that ends it, or after it."""
    away: tuple[float, float] | None = None
    """From when to when the first player is away."""
    ratings: float | None = None
    """When the new ratings are told; None for a battle that is not rated."""


@dataclass(frozen=True, slots=True)
class Battle:
    """One battle, all of which is settled from the beginning.

    Its log is a function of its id and of the time. Nobody leaves the room after the end, so that
    the log is the same for whoever reads it after the new ratings.
    """

    number: int
    format: str
    """The display name: `[Gen 9] OU`."""
    started: float
    """Seconds since the epoch."""
    fate: Fate
    players: tuple[Player, Player]

    @property
    def id(self) -> str:
        return f"{self.format_id}-{self.number}"

    @property
    def format_id(self) -> str:
        return to_id(self.format)

    @property
    def ended(self) -> float:
        return self.started + self.fate.length

    @property
    def settled(self) -> float:
        """When nothing more is said, and nobody hides it any more: seconds since the epoch."""
        fate = self.fate
        return self.started + max(fate.length, fate.hidden or 0.0, fate.ratings or 0.0)

    @property
    def min_elo(self) -> int | None:
        ratings = [player.rating for player in self.players if player.rating is not None]
        return min(ratings, default=None)

    @property
    def title(self) -> str:
        return " vs. ".join(player.name for player in self.players)

    @property
    def is_first_ahead(self) -> bool:
        """Whether the first player wins."""
        return self.players[0].gain > 0

    def frames(self) -> Iterator[Frame]:
        """Yield all that is said, in the order of time."""
        return merge(self._play(), self._absence(), key=itemgetter(0))

    def until(self, now: float) -> tuple[list[str], Iterator[Frame]]:
        """Return the lines of the log so far, and the frames to come."""
        lines: list[str] = []
        frames = self.frames()
        for frame in frames:
            if frame[0] > now:
                return lines, chain([frame], frames)
            lines += frame[1]
        return lines, frames

    def log(self) -> list[str]:
        """Return all lines of a battle that ends."""
        return [line for _, lines in self.frames() for line in lines]

    def _play(self) -> Iterator[Frame]:
        chance = Random(self.id)  # noqa: S311 -- play
        left, came = self.fate.away or (0.0, 0.0)
        length = self.fate.length - (came - left)
        pace = min(chance.uniform(*_PACE), length / _LEAST_STEPS)
        if isfinite(length):
            pace = max(pace, length / _MOST_STEPS)
        fight = _Fight(self, chance, length / pace)
        yield self.started, [*self._opening(), *fight.begin(self.started)]
        turn = 1
        while turn * pace < length - pace / 2:
            gap = came - left if turn * pace >= left else 0.0
            at = self.started + turn * pace + gap
            yield at, fight.go_on(at, turn)
            turn += 1
        yield self.ended, fight.end(self.ended)
        if self.fate.ratings is not None:
            yield self.started + self.fate.ratings, self._ratings()

    def _opening(self) -> list[str]:
        first, second = self.players
        return [
            f"|j|☆{first.name}",
            f"|j|☆{second.name}",
            f"|t:|{int(self.started)}",
            "|gametype|singles",
            first.seat("p1"),
            second.seat("p2"),
            f"|gen|{self.format.partition('[Gen ')[2][:1]}",
            f"|tier|{self.format}",
            *(["|rated|"] if first.rating is not None else []),
            *_RULES,
        ]

    def _absence(self) -> Iterator[Frame]:
        if self.fate.away is None:
            return
        left, came = self.fate.away
        name = self.players[0].name
        lost = f"|inactive|{name} disconnected and has a minute to reconnect!"
        yield self.started + left, [f"|l|☆{name}", lost, "|player|p1|"]
        yield self.started + came, [f"|j|☆{name}", self.players[0].seat("p1")]

    def _ratings(self) -> list[str]:
        return list(map(_rating, self.players))


def _rating(player: Player) -> str:
    before, deed = player.rating or 0, "winning" if player.gain > 0 else "losing"
    after = f"<strong>{before + player.gain}</strong>"
    return f"|raw|{player.name}'s rating: {before} &rarr; {after}<br />({player.gain:+} for {deed})"


class _Fight:
    """What the Pokémon do: those of the player who loses faint, one after the other."""

    def __init__(self, battle: Battle, chance: Random, turns: float) -> None:
        self._battle = battle
        self._chance = chance
        self._won, self._lost = ("p1", "p2") if battle.is_first_ahead else ("p2", "p1")
        is_given_up = turns < _LEAST_TURNS or battle.number % _GIVEN_UP_EVERY == 0
        self._is_given_up = is_given_up
        # A team of which half is left when the battle is given up, or nobody when it is not.
        self._each = max((2 * turns if is_given_up else turns) / _TEAM, 2.0)
        self._teams = {side: deque(chance.sample(_SPECIES, _TEAM)) for side in ("p1", "p2")}
        self._health = {"p1": _FULL, "p2": _FULL}
        self._fainted = 0

    def begin(self, now: float) -> list[str]:
        lines = []
        if "Random" not in self._battle.format:
            pokes = [f"|poke|{s}|{name}|" for s, team in self._teams.items() for name in team]
            lines = ["|clearpoke", *pokes, "|teampreview"]
        sizes = [f"|teamsize|{side}|{_TEAM}" for side in self._teams]
        return [*lines, *_step(now), *sizes, "|start", *map(self._come, self._teams), "|turn|1"]

    def go_on(self, now: float, turn: int) -> list[str]:
        is_due = turn >= (self._fainted + 1) * self._each and self._fainted < _TEAM - 1
        lines = [*_step(now), *self._strike(self._won, self._lost, is_last=is_due)]
        if is_due:
            self._teams[self._lost].rotate(-1)
            self._fainted += 1
            lines += ["|", "|upkeep", self._come(self._lost)]
        else:
            lines += [*self._strike(self._lost, self._won, is_last=False), "|", "|upkeep"]
        return [*lines, f"|turn|{turn + 1}"]

    def end(self, now: float) -> list[str]:
        lost, won = sorted(self._battle.players, key=attrgetter("gain"))
        last = [f"|-message|{lost.name} forfeited."]
        if not self._is_given_up:
            last = self._strike(self._won, self._lost, is_last=True)
        return [*_step(now), *last, "|", f"|win|{won.name}"]

    def _come(self, side: str) -> str:
        self._health[side] = _FULL
        return f"|switch|{self._at(side)}|{self._teams[side][0]}|{_FULL}/{_FULL}"

    def _at(self, side: str) -> str:
        return f"{side}a: {self._teams[side][0]}"

    def _strike(self, side: str, other: str, *, is_last: bool) -> list[str]:
        """Attack, or heal when there is need; the last strike is what the other one faints of."""
        me, target = self._at(side), self._at(other)
        if self._health[side] < _WEAK and not is_last:
            self._health[side] = _FULL
            return [f"|move|{me}|Recover|{me}", f"|-heal|{me}|{_FULL}/{_FULL}"]
        move = f"|move|{me}|{self._chance.choice(_MOVES)}|{target}"
        if is_last:
            return [move, f"|-damage|{target}|0 fnt", f"|faint|{target}"]
        self._health[other] = max(1, self._health[other] - self._chance.randint(5, 30))
        return [move, f"|-damage|{target}|{self._health[other]}/{_FULL}"]


def _step(now: float) -> list[str]:
    return ["|", f"|t:|{int(now)}"]
