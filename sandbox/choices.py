"""A random legal choice from what the battle server requests of a player."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

_SWITCHES = 0.1
"""Share of the turns in which a Pokémon that could attack is exchanged."""
_AT_A_FOE = {"normal", "any", "adjacentFoe"}


def choose(request: dict[str, Any], random: Random, spare: str = "") -> str | None:
    """Answer a request as `/choose` takes it; None when there is nothing to decide.

    The move with the id `spare` is left for later.
    """
    if request.get("wait") or not request.get("side"):
        return None
    team = request["side"]["pokemon"]
    if "forceSwitch" in request:
        return ", ".join(_replacements(request["forceSwitch"], team, random))
    if "active" in request:
        return ", ".join(_actions(request["active"], team, random, spare))
    return "default"


def _replacements(forced: list[bool], team: list[dict[str, Any]], random: Random) -> Iterator[str]:
    """Send others in for those that must leave; Revival Blessing asks for a fainted one."""
    sent: set[int] = set()
    for place, must in enumerate(forced):
        revives = bool(team[place].get("reviving"))
        slots = [slot for slot in _bench(team, fainted=revives) if slot not in sent]
        if must and slots:
            slot = random.choice(slots)
            sent.add(slot)
            yield f"switch {slot}"
        else:
            yield "pass"


def _actions(
    active: list[dict[str, Any]], team: list[dict[str, Any]], random: Random, spare: str
) -> Iterator[str]:
    sent: set[int] = set()
    for place, pokemon in enumerate(active):
        if _is_fainted(team[place]) or team[place].get("commanding"):
            yield "pass"
            continue
        slots = [slot for slot in _bench(team) if slot not in sent]
        may_leave = slots and not (pokemon.get("trapped") or pokemon.get("maybeTrapped"))
        if may_leave and random.random() < _SWITCHES:
            slot = random.choice(slots)
            sent.add(slot)
            yield f"switch {slot}"
        else:
            moves = [n for n in enumerate(pokemon["moves"], 1) if n[1].get("id") != spare]
            yield _move(moves, place, len(active), random)


def _move(moves: list[tuple[int, dict[str, Any]]], place: int, places: int, random: Random) -> str:
    number, move = random.choice([n for n in moves if not n[1].get("disabled")])
    target = move.get("target")
    if places > 1 and target in _AT_A_FOE:
        return f"move {number} {random.randint(1, places)}"
    if places > 1 and target == "adjacentAlly":
        return f"move {number} -{(place ^ 1) + 1}"
    if places > 1 and target == "adjacentAllyOrSelf":
        return f"move {number} -{place + 1}"
    return f"move {number}"


def _bench(team: Iterable[dict[str, Any]], *, fainted: bool = False) -> list[int]:
    """Return the slots, from 1, of those that are not in battle and can be sent there."""
    return [
        slot
        for slot, pokemon in enumerate(team, 1)
        if not pokemon["active"] and _is_fainted(pokemon) == fainted
    ]


def _is_fainted(pokemon: dict[str, Any]) -> bool:
    return bool(pokemon["condition"].endswith(" fnt"))
