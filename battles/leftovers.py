"""Find names that are left in a battle after they were replaced."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from battles.pseudonyms import POKEMON, is_nameless, names_of, standing_alone, telling_id
from battles.records import to_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from battles.items import Battle

_PSEUDONYM = re.compile(r"(?<!\w)player-[0-9a-f]{10}(?!\w)")
_OWN = (
    "id",
    "formatid",
    "format",
    "gametype",
    "ended",
    "source",
    "url",
    "content_hash",
    "side",
    "team",
    "winner_side",
    "gave_up",
    "rated_text",
    "rules",
    "custom_rules",
    "match",
    *("species", "gender", "tera", "item", "ability", "moves", "nature", "hidden_power"),
)
"""Fields that nobody's name gets into."""
_SIDE = re.compile(r"(?:\[of\] )?p[1-4]: ")
"""What stands before the name of a side's player, rather than before a nickname."""


class LeftoverError(Exception):
    """Raised when a player's name or id is left; says in which battle and where."""


class Leftovers:
    """Looks for names, and counts what only reads like one.

    A Pokémon may be nicknamed like a player, and a player called like a species or a format.
    """

    def __init__(self) -> None:
        self.nicknames = 0
        self.words = 0

    def alike(self) -> str:
        """Return a warning of what reads like a name, or nothing."""
        if not self.nicknames and not self.words:
            return ""
        return (
            f"{self.nicknames} nicknames of Pokémon, and {self.words} words of battles such as "
            "species and formats, read like a player's name; they are left"
        )

    def check(self, battle: Battle, copy: Battle) -> None:
        """Look whether the copy holds anybody whom the battle names.

        Raises:
            LeftoverError: it does.

        """
        names = names_of(battle)
        search = _Search(copy.id, names | {telling_id(name) for name in names} - {""})
        record = to_record(copy)
        log = _PSEUDONYM.sub("*", record.pop("log"))
        for field, text in _texts(record):
            if field.rpartition(".")[2] in _OWN:
                self.words += search.count(text)
            else:
                search.refuse(text, field)
        if search.count(log):
            for number, line in enumerate(log.split("\n"), start=1):
                self._line(search, line, f"line {number} of its log")

    def _line(self, search: _Search, line: str, place: str) -> None:
        if not line.startswith("|"):
            search.refuse(line, place)
            return
        kind, _, rest = line[1:].partition("|")
        if kind == "player":
            side, _, about = rest.partition("|")
            name, _, others = about.partition("|")
            search.refuse(name, place)
            self.words += search.count(f"{side}|{others}")
        elif is_nameless(kind):
            for argument in rest.split("|"):
                self._argument(search, kind, argument, place)
        else:
            search.refuse(rest, place)

    def _argument(self, search: _Search, kind: str, argument: str, place: str) -> None:
        if _SIDE.match(argument):
            search.refuse(argument, place)
        elif kind == "showteam" or POKEMON.match(argument):
            self.nicknames += search.count(argument)
        else:
            self.words += search.count(argument)


class _Search:
    """Knows whom to look for in one battle."""

    def __init__(self, battle_id: str, names: set[str]) -> None:
        self._battle_id = battle_id
        self._names = standing_alone(sorted(names, key=len, reverse=True))

    def count(self, text: str) -> int:
        return sum(1 for _ in self._names.finditer(text))

    def refuse(self, text: str, place: str) -> None:
        if found := self._names.search(text):
            raise LeftoverError(
                f"{self._battle_id}: the name {found[0]!r} is left in {place}; nothing is exported"
            )


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401 -- what JSON holds
    """Yield each text of a record, with the field it is in."""
    if isinstance(value, str):
        yield path, _PSEUDONYM.sub("*", value)
    elif isinstance(value, list):
        for element in value:
            yield from _texts(element, path)
    elif isinstance(value, dict):
        for name, element in value.items():
            yield from _texts(element, f"{path}.{name}" if path else name)
