"""Follow the Pokémon of one side through a battle."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from operator import eq
from typing import TYPE_CHECKING, NamedTuple

from battles.items import Pokemon

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_POKEMON = 24
"""The server allows no more in a team; beyond it is rubbish."""
_MOST_MOVES = 24
_HIDDEN = "-*"
"""What a preview shows for the forme of a species whose forme it does not show."""
_OF_BATTLE = re.compile(r"-(?:Mega(?:-[XYZ])?|Ash|Gmax|Tera|Primal|Ultra|Eternamax|Bond)$")
"""Formes that are taken on in battle only, of those whose species a preview hides."""
_NOT_OWN = frozenset(("Struggle", "Recharge"))
_MAX = ("Max ", "G-Max ")
_CALLED = ("[from] move: Sleep Talk", "[from]Sleep Talk", "[from] lockedmove", "[from]lockedmove")
"""After a move that is the Pokémon's own all the same."""


class _Details(NamedTuple):
    """What `Charizard, L82, M, shiny` says, but for the last, which a preview leaves out."""

    species: str
    level: int
    gender: str | None


@dataclass(slots=True, eq=False)
class Shown:
    """A Pokémon, and what is to be known of it to understand the lines that follow."""

    facts: Pokemon
    identity: tuple[str, str]
    """Nickname and details as they were shown last."""
    moves: list[str]
    """Those of `facts`."""
    place: str = ""
    """Where it stands, if it is out."""
    has_fainted: bool = False
    is_transformed: bool = False
    has_own_item: bool = True
    has_own_ability: bool = True

    def use(self, move: str, about: str) -> None:
        """Take a move that is not among `moves`, and what stands behind its name."""
        if self.is_transformed or move in _NOT_OWN or ("Max " in move and move.startswith(_MAX)):
            return
        if "[" in about:
            if "[zeffect]" in about or ("[from]" in about and not _is_own(about)):
                return
            if "[anim]" in about and (move := move.removeprefix("Z-")) in self.moves:
                return
        if len(self.moves) < _MOST_MOVES:
            self.moves.append(move)

    def hold(self, item: str) -> None:
        """Take that it holds an item, or held it until now."""
        if self.facts.item is None and self.has_own_item:
            self.facts.item = item or None

    def have(self, ability: str) -> None:
        """Take that it has an ability."""
        if self.facts.ability is None and self.has_own_ability and not self.is_transformed:
            self.facts.ability = ability or None


def _is_own(about: str) -> bool:
    return any(called in about for called in _CALLED)


_Known = tuple[bool, bool, int, str | None, str | None]
"""Whether it was out before, and the first in its place; moves, Tera type and item."""


@dataclass(slots=True)
class Team:
    """Tells the Pokémon of a side apart, by what is shown of them and where they stand.

    A nickname may be that of several, and one Pokémon may look different when it comes back.
    """

    active: dict[str, Shown]
    """Who stands where (`p1a`); all teams of a battle share it."""
    size: int | None = None
    has_preview: bool = False
    listed: list[Pokemon] = field(default_factory=list)
    """Those of the preview, or those who came out."""
    _waiting: list[tuple[Pokemon, _Details]] = field(default_factory=list)
    """Those of the preview who did not come out yet."""
    _known: dict[tuple[str, str], list[Shown]] = field(default_factory=dict)
    """By nickname and details as they were shown last."""
    _former: dict[tuple[str, str], Shown] = field(default_factory=dict)
    """By what they were shown with before they changed."""
    _appearances: dict[str, _Known] = field(default_factory=dict)
    """What was known of who stands there before it came out: Illusion may take the rest back."""
    _count: int = 0

    def preview(self, details: str) -> None:
        """Take a Pokémon of the preview."""
        if len(self.listed) < _MOST_POKEMON:
            seen = _read(details)
            pokemon = Pokemon(seen.species, None, seen.level, seen.gender)
            self.has_preview = True
            self.listed.append(pokemon)
            self._waiting.append((pokemon, seen))

    def clear(self) -> None:
        """Forget the preview, since another one follows."""
        self.has_preview = False
        self.listed, self._waiting = [], []

    def appear(self, place: str, nickname: str, details: str) -> None:
        """Take who comes out: by a switch, or by force."""
        if ", tera:" in details:
            details = _without_tera(details)
        identity = nickname, details
        alike = self._known.get(identity)
        if not alike and not self._former:
            shown = self._new(identity)
        elif alike and not alike[0].place and not alike[0].has_fainted:
            shown = alike[0]
        else:
            shown = self._returning(identity) or self._new(identity)
        if leaving := self.active.pop(place, None):
            leaving.place = ""
        if shown is not None:
            self._stand(shown, place, identity)

    def _stand(self, shown: Shown, place: str, identity: tuple[str, str]) -> None:
        facts, count = shown.facts, len(shown.moves)
        is_lead = place not in self._appearances
        self._appearances[place] = facts.brought, facts.lead, count, facts.tera, facts.item
        if not facts.brought:
            facts.brought, facts.nickname = True, identity[0]
            facts.shiny = ", shiny" in identity[1]
        if is_lead:
            facts.lead = True
        shown.has_fainted = shown.is_transformed = False
        if shown.place:
            # Two that were taken for one.
            self.active.pop(shown.place, None)
        shown.place = place
        self.active[place] = shown

    def swap(self, place: str, other: str) -> None:
        """Have two change their places; one of them may be empty."""
        here, there = self.active.pop(place, None), self.active.pop(other, None)
        for shown, where in ((here, other), (there, place)):
            if shown is not None:
                shown.place = where
                self.active[where] = shown

    def unmask(self, place: str, nickname: str, details: str) -> None:
        """Take who stood there in the guise of another: what that one did was its own doing."""
        mask, known = self.active.get(place), self._appearances.get(place)
        self.appear(place, nickname, details)
        shown = self.active.get(place)
        if mask and known and shown and shown is not mask:
            self._give_back(mask, known, shown)

    def _give_back(self, mask: Shown, known: _Known, shown: Shown) -> None:
        taken = mask.facts
        brought, lead, moves, tera, item = known
        for move in mask.moves[moves:]:
            if move not in shown.moves:
                shown.use(move, "")
        if tera is None:
            shown.facts.tera = taken.tera
        if item is None and taken.item:
            shown.hold(taken.item)
        shown.facts.lead |= taken.lead and not lead
        del mask.moves[moves:]
        taken.tera, taken.item, taken.lead = tera, item, lead
        if not brought:
            taken.nickname, taken.shiny, taken.brought = None, None, False
            self._forget(mask)

    def change(self, place: str, nickname: str, details: str) -> None:
        """Take that one looks different from now on, and stays who it is."""
        shown = self.active.get(place)
        if shown is None:
            return
        self._former[shown.identity] = shown
        self._drop(shown)
        self._keep(shown, (nickname, _without_tera(details)))
        # Its ability is that of the other forme now.
        shown.has_own_ability = False

    def _keep(self, shown: Shown, identity: tuple[str, str]) -> None:
        shown.identity = identity
        self._known.setdefault(identity, []).append(shown)

    def _drop(self, shown: Shown) -> None:
        alike = self._known.get(shown.identity, [])
        if shown in alike:
            alike.remove(shown)
        if not alike:
            self._known.pop(shown.identity, None)

    def _returning(self, identity: tuple[str, str]) -> Shown | None:
        known = self._known.get(identity)
        for shown in known or ():
            if not shown.place and (not shown.has_fainted or self._revives()):
                return shown
        former = self._former.get(identity)
        if former and not former.place and not former.has_fainted:
            return former
        # Two that look alike are two, unless there is no place for a second one.
        return known[0] if known and self._is_complete(identity[1]) else None

    def _revives(self) -> bool:
        return any("Revival Blessing" in pokemon.moves for pokemon in self.listed)

    def _is_complete(self, details: str) -> bool:
        if self.has_preview:
            return self._find(_read(details)) is None
        return self.size is not None and len(self.listed) >= self.size

    def _new(self, identity: tuple[str, str]) -> Shown | None:
        if self._count >= 2 * _MOST_POKEMON:
            return None
        self._count += 1
        seen = _read(identity[1])
        facts = (self._claim(seen) if self._waiting else None) or self._add(seen)
        shown = Shown(facts, identity, facts.moves)
        self._keep(shown, identity)
        return shown

    def _add(self, seen: _Details) -> Pokemon:
        pokemon = Pokemon(seen.species, None, seen.level, seen.gender)
        if not self.has_preview:
            count = len(self.listed)
            if count < _MOST_POKEMON and (not self.size or count < self.size):
                self.listed.append(pokemon)
        return pokemon

    def _claim(self, seen: _Details) -> Pokemon | None:
        """Find whom of the preview this is, and take the forme that it hid."""
        if (entry := self._find(seen)) is None:
            return None
        self._waiting.remove(entry)
        pokemon = entry[0]
        if not self.has_preview:
            pokemon.level = seen.level
        if pokemon.species.endswith(_HIDDEN):
            pokemon.species = _OF_BATTLE.sub("", seen.species)
        return pokemon

    def _find(self, seen: _Details) -> tuple[Pokemon, _Details] | None:
        for fits in _FITS:
            for entry in self._waiting:
                if fits(entry[1], seen):
                    return entry
        return None

    def _forget(self, shown: Shown) -> None:
        """Have one wait who was only a guise: it is of the team, with perhaps another level."""
        self._drop(shown)
        self._count -= 1
        pokemon = shown.facts
        if any(pokemon is listed for listed in self.listed):
            seen = _Details(pokemon.species, pokemon.level, pokemon.gender)
            self._waiting.append((pokemon, seen))


def _was_hidden(listed: _Details, seen: _Details) -> bool:
    if not listed.species.endswith(_HIDDEN) or listed.level != seen.level:
        return False
    species = listed.species.removesuffix(_HIDDEN)
    return seen.species == species or seen.species.startswith(f"{species}-")


def _is_of_kind(listed: _Details, seen: _Details) -> bool:
    """Take formes that a preview shows otherwise than the battle for the same."""
    return listed.species.partition("-")[0] == seen.species.partition("-")[0]


_FITS: tuple[Callable[[_Details, _Details], bool], ...] = (eq, _was_hidden, _is_of_kind)


def _without_tera(details: str) -> str:
    return details.partition(", tera:")[0]


@lru_cache(maxsize=4096)
def _read(details: str) -> _Details:
    species, *parts = details[:_LONGEST].split(", ", _MOST_PARTS)
    level = next((part[1:] for part in parts if part[:1] == "L" and part[1:].isdecimal()), "100")
    gender = next((part for part in parts if part in ("M", "F")), None)
    return _Details(species, int(level[:3]), gender)


_LONGEST = 200
"""Characters of a Pokémon's details; more are rubbish."""
_MOST_PARTS = 6
