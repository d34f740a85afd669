"""How much bots play on a battle server, what they play, and what they do in it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, get_args

Deed = Literal[
    "forfeit",
    "abandon",
    "hide",
    "hidereplay",
    "hidelate",
    "hideshow",
    "drop",
    "rename",
    "tie",
    "offertie",
    "timer",
]
DEEDS: tuple[Deed, ...] = get_args(Deed)
FORMATS: dict[Deed, str] = {
    "tie": "gen4ou",
    "offertie": "gen4ou",
    "timer": "gen9randombattleblitz",
}
"""Where a deed needs a format of its own.

Until its fourth generation, a battle in which the last ones faint together is a tie. A blitz gives
a player 15 s for a turn, other formats 150 s or 300 s.
"""
TEAMS = {
    "gen4ou": "Electrode|||static|explosion,lightscreen,charge,screech|Hardy|,252,,,4,252|||||"
}
"""The formats of those that need a team: one who can end a battle, or do no harm for 144 turns."""
LAST_STAND = "explosion"
"""The move of that team that ends a battle."""
OFFERED_FROM = 100
"""The first turn in which the server lets players offer a tie."""
_LAST_TURN_FOR_DEEDS = 6
_FOUR = ("multi", "freeforall")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
"""What names begin with, so that a list of battles can be split by it."""
_ODD = (
    "{n}th Mr. x{run}",
    "Dr. {n}x{run} ★",
    "Pika ピカ{n}x{run}",
    "K한국 {n}x{run}",
    "x{n}<{run}>&co/",
    '{n}\'s "x{run}"?',
    "_",
)
"""Names that the server takes as they are, or makes something of; the last is of 18 characters."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is played, and how; shares are from 0 to 1."""

    pairs: int = 1
    """Of players; a format for four has them bring two more."""
    seconds: float = 60.0
    """For how long battles are begun."""
    think: float = 0.5
    """Seconds for a choice, on average."""
    forfeit: float = 0.0
    """Share of the battles in which a player gives up."""
    abandon: float = 0.0
    """Share that both players walk out of."""
    hide: float = 0.0
    """Share that a player makes private."""
    hidereplay: float = 0.0
    """Share whose replay a player hides: it gets private in the step that ends it."""
    hidelate: float = 0.0
    """Share that a player makes private 0.5 s after the end."""
    hideshow: float = 0.0
    """Share that a player makes private, and public again after 4 s."""
    drop: float = 0.0
    """Share in which a player's connection ends, and who comes back after 3 s."""
    rename: float = 0.0
    """Share in which a player takes another name; these are unrated."""
    tie: float = 0.0
    """Share in which the last ones faint together."""
    offertie: float = 0.0
    """Share in which a tie is offered and taken, after 100 turns: a minute or more."""
    timer: float = 0.0
    """Share in which a player moves no more until the time is up."""
    odd: float = 0.0
    """Share of the players with odd names: spaces, symbols, foreign letters, 18 characters."""
    rated: float = 0.5
    """Share found by `/search`; the others are challenges."""
    format: str = "gen9randombattle"
    """One or more, with commas; only those that need no team."""
    seed: int | None = None
    """Of who does what; None for another each time."""

    def __post_init__(self) -> None:
        if not 0 <= sum(self._shares()) <= 1:
            raise ValueError(f"{', '.join(DEEDS)}: give shares of at most 1 in all")

    def deed(self, chance: random.Random) -> Deed | None:
        """Draw what happens in a battle."""
        shares = self._shares()
        return chance.choices((*DEEDS, None), [*shares, 1 - sum(shares)])[0]

    def turn(self, deed: Deed | None, chance: random.Random) -> int:
        """Draw the turn in which it happens."""
        return OFFERED_FROM if deed == "offertie" else chance.randint(1, _LAST_TURN_FOR_DEEDS)

    def format_for(self, deed: Deed | None, chance: random.Random) -> str:
        """Draw what is played."""
        drawn = chance.choice(self.format.split(","))
        return FORMATS.get(deed, drawn) if deed else drawn

    def is_searched(self, format: str, deed: Deed | None, chance: random.Random) -> bool:
        """Draw whether a battle is found by `/search`.

        The server lets nobody search for one of two against two, and in what is found so nobody
        takes another name.
        """
        drawn = chance.random() < self.rated
        return drawn and deed != "rename" and "multi" not in format

    def name(self, number: int, run: int, chance: random.Random) -> str:
        """Make up a name from a number that nobody had, in this run of the program."""
        plain = f"{_LETTERS[number % len(_LETTERS)]}{number}x{run:04x}"
        if not 0 <= chance.random() < self.odd:
            return plain
        odd = _ODD[number % len(_ODD)]
        return plain.ljust(18, "z") if odd == "_" else odd.format(n=number, run=f"{run:04x}")

    def chance(self, pair: int) -> random.Random:
        """Return what a pair's decisions are drawn from."""
        return random.Random(None if self.seed is None else f"{self.seed} {pair}")  # noqa: S311 -- play

    def _shares(self) -> list[float]:
        return [getattr(self, deed) for deed in DEEDS]


def players_of(format: str) -> int:
    """Tell how many play a format.

    >>> players_of("gen9multirandombattle"), players_of("gen9randomdoublesbattle")
    (4, 2)
    """
    return 4 if any(word in format for word in _FOUR) else 2
