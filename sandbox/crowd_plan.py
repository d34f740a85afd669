"""How many battles the crowd plays, how long they are, and what becomes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from sandbox.crowd_battle import Battle, Fate, Player
from sandbox.queries import to_id

FORMATS = (
    *(
        "[Gen 9] Random Battle",
        "[Gen 9] OU",
        "[Gen 9] Random Battle (Blitz)",
        "[Gen 9] National Dex",
    ),
    *("[Gen 9] Ubers", "[Gen 9] Monotype", "[Gen 9] UU", "[Gen 8] Random Battle", "[Gen 9] 1v1"),
    *("[Gen 7] Random Battle", "[Gen 9] Anything Goes", "[Gen 3] OU", "[Gen 9] LC", "[Gen 1] OU"),
    *("[Gen 9] Almost Any Ability", "[Gen 6] OU", "[Gen 9] ZU", "[Gen 4] OU", "[Gen 9] STABmons"),
    *("[Gen 7] OU", "[Gen 8] OU", "[Gen 5] OU", "[Gen 2] OU", "[Gen 9] RU", "[Gen 9] NU"),
    *("[Gen 9] PU", "[Gen 1] Random Battle", "[Gen 9] Balanced Hackmons", "[Gen 9] CAP"),
    *("[Gen 6] Random Battle", "[Gen 5] Random Battle", "[Gen 4] Random Battle"),
)
"""Display names, those that are played most first."""
SHORT = (2.0, 15.0)
"""Seconds that a short battle takes, from and to."""
_AWAY = (5.0, 40.0)
_LATE = (0.5, 3.0)
"""Seconds after the end at which a battle is still hidden."""
_RATINGS = (1.0, 3.0)
"""Seconds after the end at which the new ratings are told."""
_LONGEST_AGE = 3600.0
"""Seconds for which a battle without an end has been played at most."""
_POOL = 4
"""Lengths drawn for each battle that is played at the start."""
_RATED = 0.7
"""Share."""
_AVATARS = (1, 2, 101, 102, 169, 170, 265, 266)
_RATINGS_FROM = (1000, 1900)
_INITIALS = "aaabbccdddeeffgghhiijjkkkllmmmnnooppqrrrsssstttuvwxyz0123456789"
_SYLLABLES = ("ba", "chi", "do", "fu", "ka", "lo", "mi", "no", "ra", "shi", "ta", "vu", "xy", "zu")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is played, and how; shares are from 0 to 1."""

    live: int = 2000
    """Battles in play at the start, and on average later."""
    rate: float = 4.0
    """New battles a second."""
    formats: int = 20
    """How many; the n-th is played an n-th as often as the first."""
    hide: float = 0.05
    """Share that is made private: half in mid-battle, a quarter in the step that ends it, a quarter
    0.5 to 3 s later."""
    drop: float = 0.05
    """Share that is unlisted for 5 to 40 s while a player is away."""
    short: float = 0.0
    """Share of battles of 2 to 15 s."""
    life: float = 600.0
    """Seconds that the room of a finished battle stays."""
    endless: int = 0
    """Battles that never end, beside the others."""
    mean: float | None = None
    """Seconds that a battle takes on average; None for what keeps `live` in play."""
    seed: int | None = None
    """Of what is drawn; None for another each time."""

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("hide", "drop", "short")}
        if wrong := [name for name, share in shares.items() if not 0 <= share <= 1]:
            raise ValueError(f"{wrong[0]}={shares[wrong[0]]}: give a share from 0 to 1")
        if self.hide + self.drop > 1:
            raise ValueError("hide and drop: give shares of at most 1 in all")
        if not 1 <= self.formats <= len(FORMATS):
            raise ValueError(f"formats={self.formats}: there are 1 to {len(FORMATS)}")
        if min(self.live, self.rate, self.endless, self.life) < 0:
            raise ValueError("live, rate, endless and life: give numbers from 0 on")
        if (self.live or self.rate) and self.average <= self.short * sum(SHORT) / 2:
            raise ValueError(f"battles of {self.average:g} s on average: give mean, or fewer short")

    @property
    def average(self) -> float:
        """Seconds that a battle takes; infinite when none is begun and there are some."""
        if self.mean is not None:
            return self.mean
        return self.live / self.rate if self.rate else math.inf

    def chance(self, what: object) -> Random:
        """Return what something is drawn from."""
        return Random(None if self.seed is None else f"{self.seed} {what}")  # noqa: S311 -- play

    def beginning(self, now: float) -> list[tuple[float, float]]:
        """Draw start and length of what is in play already, the oldest first.

        A long battle is met in play more often than a short one, in proportion to its length.
        """
        chance = self.chance("beginning")
        pool = [self.length(chance) for _ in range(_POOL * self.live)]
        lengths = pool[: self.live]
        if math.isfinite(sum(pool)) and pool:
            lengths = chance.choices(pool, cum_weights=list(accumulate(pool)), k=self.live)
        lengths += [math.inf] * self.endless
        return sorted((now - chance.random() * min(s, _LONGEST_AGE), s) for s in lengths)

    def length(self, chance: Random) -> float:
        """Draw how many seconds a battle takes."""
        if chance.random() < self.short:
            return chance.uniform(*SHORT)
        rest = (self.average - self.short * sum(SHORT) / 2) / (1 - self.short)
        least = min(SHORT[1], rest / 2)
        return least + (rest - least) * chance.gammavariate(2.0, 0.5)

    def battle(self, number: int, started: float, length: float) -> Battle:
        """Draw all else of a battle."""
        chance = self.chance(number)
        names = FORMATS[: self.formats]
        format = chance.choices(names, [1 / rank for rank in range(1, len(names) + 1)])[0]
        is_rated = chance.random() < _RATED
        ratings = length + chance.uniform(*_RATINGS) if is_rated else None
        hidden, away = self._interruption(chance, length)
        fate = Fate(length, hidden=hidden, away=away, ratings=ratings)
        return Battle(number, format, started, fate, _players(chance, is_rated=is_rated))

    def _interruption(
        self, chance: Random, length: float
    ) -> tuple[float | None, tuple[float, float] | None]:
        """Draw when a battle is hidden, or from when to when a player is away."""
        share = chance.random()
        if math.isinf(length) or share >= self.hide + self.drop:
            return None, None
        if share < self.hide / 2:
            return chance.uniform(0.1, 0.9) * length, None
        if share < self.hide * 3 / 4:
            return length, None
        if share < self.hide:
            return length + chance.uniform(*_LATE), None
        # At most half of the battle, so that something is left of a short one.
        gap = min(chance.uniform(*_AWAY), length / 2)
        left = chance.uniform(0.1, 0.9) * (length - gap)
        return None, (left, left + gap)


def _players(chance: Random, *, is_rated: bool) -> tuple[Player, Player]:
    gain = chance.randint(10, 40) * chance.choice([1, -1])
    one, other = _player(chance, gain, is_rated=is_rated), _player(chance, -gain, is_rated=is_rated)
    while to_id(one.name) == to_id(other.name):
        other = _player(chance, -gain, is_rated=is_rated)
    return one, other


def _player(chance: Random, gain: int, *, is_rated: bool) -> Player:
    rating = chance.randint(*_RATINGS_FROM) if is_rated else None
    return Player(_name(chance), chance.choice(_AVATARS), rating, gain)


def _name(chance: Random) -> str:
    stem = chance.choice(_INITIALS) + "".join(chance.choices(_SYLLABLES, k=chance.randint(1, 3)))
    space = chance.choice(["", "", " ", "."])
    return f"{stem.capitalize()}{space}{chance.randint(1, 9999)}"
