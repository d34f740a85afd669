"""Read an open team sheet."""

from __future__ import annotations

from battles.items import Sheet
from battles.parsers.numbers import number

_MOST_POKEMON = 24
"""The server allows no more."""
_MOST_MOVES = 24
_STATS = 6
_FIELDS = 12
_LAST_FIELDS = 6


def parse_sheet(packed: str) -> list[Sheet]:
    """Read a team as the server packs it; what makes no sense is passed over.

    >>> parse_sheet("Pelipper||ChoiceScarf|Drizzle|uturn,hurricane|Timid||M|||50|,,,,,Water")
    ... # doctest: +ELLIPSIS
    [Sheet(species='Pelipper', nickname=None, item='ChoiceScarf', ability='Drizzle', moves=['utu...
    """
    sets = packed.split("]", _MOST_POKEMON)[:_MOST_POKEMON]
    return [sheet for text in sets if (sheet := _read(text))]


def _read(text: str) -> Sheet | None:
    fields = [*text.split("|", _FIELDS), *[""] * _FIELDS][:_FIELDS]
    name, species, item, ability, moves, nature, evs, gender, ivs, shiny, level, last = fields
    # Happiness, the type of Hidden Power, the ball, Gigantamax, the Dynamax level, the Tera type.
    _, hidden_power, _, gigantamax, _, tera = [*last.split(",", _LAST_FIELDS), *[""] * 6][:6]
    if not name:
        return None
    return Sheet(
        species=species or name,
        nickname=name if species else None,
        item=item or None,
        ability=ability or None,
        moves=[move for move in moves.split(",", _MOST_MOVES)[:_MOST_MOVES] if move],
        nature=nature or None,
        gender=gender or None,
        level=number(level) or 100,
        shiny=bool(shiny),
        tera=tera or None,
        hidden_power=hidden_power or None,
        gigantamax=bool(gigantamax),
        evs=_stats(evs),
        ivs=_stats(ivs),
    )


def _stats(text: str) -> list[int | None]:
    return [number(value) for value in text.split(",", _STATS)[:_STATS]] if text else []
