"""Hold a battle as one line of JSON, as the segments keep it."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

from battles.items import Battle, Player

_FIELDS = frozenset(field.name for field in fields(Battle))
_PLAYER_FIELDS = frozenset(field.name for field in fields(Player))
_PASSING = ("private", "asked")
"""Fields that only the pipelines need."""


def to_record(battle: Battle) -> dict[str, Any]:
    """Return the fields that are kept."""
    record = asdict(battle)
    for name in _PASSING:
        del record[name]
    return record


def encode(battle: Battle) -> bytes:
    """Write a battle as one line, without its line feed."""
    return json.dumps(to_record(battle), ensure_ascii=False, separators=(",", ":")).encode()


def decode(line: bytes) -> Battle:
    """Read a line that `encode` wrote; fields of later versions are passed over.

    Raises:
        ValueError: it did not.

    """
    try:
        record = json.loads(line)
        players = [Player(**_known(player, _PLAYER_FIELDS)) for player in record.pop("players")]
        return Battle(players=players, **_known(record, _FIELDS))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"no battle but {line[:60]!r}: {error}") from None


def _known(record: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name in names}
