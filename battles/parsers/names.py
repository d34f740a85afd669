"""The site's identifiers: formats, players, battles."""

from __future__ import annotations

import re

_NOT_ID = re.compile(r"[^a-z0-9]+")
_BATTLE_ID = re.compile(r"(?:[a-z0-9]+-)?[a-z0-9]+-?[0-9]+")
_PRIVATE_ID = re.compile(rf"{_BATTLE_ID.pattern}-[a-z0-9]+pw")
_ENDING = re.compile(r"\.(?:json|log|inputlog|html)$")
_LONGEST_ID = 100


def to_id(name: str) -> str:
    """Reduce a name to what Showdown compares: lower-case letters and digits.

    >>> to_id("[Gen 9] OU")
    'gen9ou'
    """
    return _NOT_ID.sub("", name.lower())


def is_battle_id(text: str) -> bool:
    """Tell whether the text could be a public battle's id.

    Private ids end in a password, and so are none.

    >>> is_battle_id("smogtours-gen9ou-1"), is_battle_id("gen9ou-1-abcdefpw"), is_battle_id("../x")
    (True, False, False)
    """
    return len(text) <= _LONGEST_ID and _BATTLE_ID.fullmatch(text) is not None


def is_private_id(text: str) -> bool:
    """Tell whether the text could be a private battle's id, which ends in a password.

    >>> is_private_id("gen9ou-1-abcpw"), is_private_id("gen9ou-1")
    (True, False)
    """
    return len(text) <= _LONGEST_ID and _PRIVATE_ID.fullmatch(text) is not None


def pasted_battle(text: str) -> str | None:
    """Read the id, public or private, from what people paste: an address, a room, or the id itself.

    >>> pasted_battle("https://replay.pokemonshowdown.com/gen9ou-1.log?p2#turn3")
    'gen9ou-1'
    >>> pasted_battle("battle-gen9ou-1"), pasted_battle("psim.us/r/gen9ou-1-abcpw/")
    ('gen9ou-1', 'gen9ou-1-abcpw')
    >>> pasted_battle("https://replay.pokemonshowdown.com/")
    """
    address = re.split(r"[?#]", text.strip().lower(), maxsplit=1)[0].rstrip("/")
    name = _ENDING.sub("", address.rpartition("/")[-1]).removeprefix("battle-")
    return name if is_battle_id(name) or is_private_id(name) else None


def format_of(battle_id: str) -> str:
    """Read the format from a battle's id.

    >>> format_of("smogtours-gen9ou-1"), format_of("balancedhackmons7322360")
    ('gen9ou', 'balancedhackmons')
    """
    without_number = re.sub(r"-?[0-9]+$", "", battle_id)
    return without_number.rsplit("-", 1)[-1]


def battle_of(url: str) -> str | None:
    """Read which battle an address is for: a replay's or a room's; None when it is something else.

    >>> battle_of("https://example.org/gen9ou-1.json"), battle_of("https://example.org/search.json")
    ('gen9ou-1', None)
    >>> battle_of("wss://example.org/websocket?room=battle-gen9ou-1")
    'gen9ou-1'
    >>> battle_of("https://example.org/battle-gen9ou-1")
    'gen9ou-1'
    """
    address, _, query = url.partition("?")
    name = query.removeprefix("room=") if query.startswith("room=") else address.rpartition("/")[-1]
    battle_id = name.removesuffix(".json") if name.endswith(".json") else _in_room(name)
    return battle_id if is_battle_id(battle_id) else None


def _in_room(name: str) -> str:
    return name.removeprefix("battle-") if name.startswith("battle-") else ""
