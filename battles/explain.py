"""Tell everything that is known of a battle: whether it is stored, and where on its way it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from battles.parsers.names import battle_of
from extensions.inspection import find

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis import Redis

    from battles.index import BattleIndex

NOBODY_KNOWS = (
    "not archived, not in a queue, no dead letter: it was never listed, or was gone when asked for"
)


def explain(redis: Redis, index: BattleIndex, battle_id: str, queues: Iterable[str]) -> list[str]:
    """Return lines that say where the battle is, none if nobody knows; queues by namespace."""
    lines = []
    row = index.find([battle_id]).get(battle_id)
    if row is not None:
        place = row.location
        lines.append(
            f"archived: {place.segment}, bytes {place.offset}-{place.offset + place.length - 1}, "
            f"line {place.line}; fetched at {row.fetched_at}"
        )
    for namespace in queues:
        found = find(
            redis, namespace, lambda url: battle_of(url) == battle_id, containing=battle_id
        )
        lines += [f"{entry.where} in {namespace}, {entry.lane}: {entry.detail}" for entry in found]
    return lines
