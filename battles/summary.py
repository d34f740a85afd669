"""Describe battles to people: in a line, or in a few."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from battles.items import Battle, Player


_HOW = {
    "forfeit": " by forfeit",
    "inactivity": " on time",
    "tie agreed": " by agreement",
    "turn limit": " at the turn limit",
    "endless battle": " by the Endless Battle Clause",
    "forced": " as decided by the staff",
}


def line(battle: Battle) -> str:
    """Describe a battle in one line."""
    names = " \N{EN DASH} ".join(player.name for player in battle.players)
    rating = "unrated" if battle.rating is None else str(battle.rating)
    return f"{_time(battle.uploaded):16}  {battle.id:34}  {rating:>7}  {names}  ({outcome(battle)})"


def outcome(battle: Battle) -> str:
    """Say how it ended."""
    if battle.ended is None:
        return f"no end, turn {battle.turns}"
    result = "tie" if battle.tie else f"{battle.winner} won"
    how = _HOW.get(battle.ended, "")
    return f"{result}{how}, turn {battle.turns}"


def describe(battle: Battle) -> str:
    """Describe a battle in a few lines."""
    kind = f"{battle.gametype or '?'}, generation {battle.generation or '?'}"
    lines = [
        f"{battle.id}: {battle.format}, {kind}",
        f"{outcome(battle)}; began {_time(battle.started)}, uploaded {_time(battle.uploaded)} UTC",
        *(_player(player) for player in battle.players),
        f"{len(battle.log.splitlines())} lines of log; from {battle.url}",
    ]
    return "\n".join(lines)


def _player(player: Player) -> str:
    before, after = player.rating_before, player.rating_after
    rating = f" ({before or '?'} → {after})" if after else f" ({before})" if before else ""
    return f"  {player.side} {player.name}{rating}: {', '.join(player.team) or 'no team shown'}"


def _time(seconds: int | None) -> str:
    if seconds is None:
        return "at an unknown time"
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
