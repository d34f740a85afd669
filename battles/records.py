"""Hold a battle as one line of JSON, as the segments keep it."""

from __future__ import annotations

import json
from dataclasses import fields
from operator import attrgetter
from typing import Any

from battles.items import SCHEMA, Battle, Player, Pokemon, Sheet
from extensions.credentials import without_userinfo

_FIELDS = frozenset(field.name for field in fields(Battle))
_PLAYER_FIELDS = frozenset(field.name for field in fields(Player))
_POKEMON_FIELDS = frozenset(field.name for field in fields(Pokemon))
_SHEET_FIELDS = frozenset(field.name for field in fields(Sheet))
_PASSING = ("private", "has_chat", "asked", "is_durable", "lease")
"""Fields that only the pipelines need."""
_KEPT = tuple(field.name for field in fields(Battle) if field.name not in _PASSING)
_PLAYER_KEPT = tuple(field.name for field in fields(Player))
_POKEMON_KEPT = tuple(field.name for field in fields(Pokemon))
_SHEET_KEPT = tuple(field.name for field in fields(Sheet))
_values, _player_values = attrgetter(*_KEPT), attrgetter(*_PLAYER_KEPT)
_pokemon_values, _sheet_values = attrgetter(*_POKEMON_KEPT), attrgetter(*_SHEET_KEPT)
_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def to_record(battle: Battle) -> dict[str, Any]:
    """Return the fields that are kept."""
    # Not `asdict`: its deep copy costs more than everything else that storing a battle does.
    record = dict(zip(_KEPT, _values(battle), strict=True))
    record["players"] = [_player_record(player) for player in battle.players]
    # Of what asked for it, where the queue still holds addresses with a password.
    record["url"] = without_userinfo(battle.url)
    return record


def _player_record(player: Player) -> dict[str, Any]:
    record = dict(zip(_PLAYER_KEPT, _player_values(player), strict=True))
    record["pokemon"] = [
        dict(zip(_POKEMON_KEPT, _pokemon_values(pokemon), strict=True))
        for pokemon in player.pokemon
    ]
    record["sheet"] = [
        dict(zip(_SHEET_KEPT, _sheet_values(sheet), strict=True)) for sheet in player.sheet
    ]
    return record


def encode(battle: Battle) -> bytes:
    """Write a battle as one line, without its line feed."""
    return _encoder.encode(to_record(battle)).encode()


def decode(line: bytes) -> Battle:
    """Read a line that `encode` wrote; fields of later versions are passed over.

    What an earlier version did not write is left at its default, and `schema` says the version.

    Raises:
        ValueError: it did not.

    """
    try:
        record = json.loads(line)
        # Earlier versions kept user and password of a site in it.
        record["url"] = without_userinfo(record["url"])
        record["schema"] = min(SCHEMA, record.get("schema", 1))
        players = [_player(player) for player in record.pop("players")]
        return Battle(players=players, **_known(record, _FIELDS))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"no battle but {line[:60]!r}: {error}") from None


def _player(record: dict[str, Any]) -> Player:
    known = _known(record, _PLAYER_FIELDS)
    pokemon = [Pokemon(**_known(one, _POKEMON_FIELDS)) for one in known.pop("pokemon", ())]
    sheet = [Sheet(**_known(one, _SHEET_FIELDS)) for one in known.pop("sheet", ())]
    return Player(**known, pokemon=pokemon, sheet=sheet)


def _known(record: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name in names}
