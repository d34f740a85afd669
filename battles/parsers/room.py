"""Read the log of a room into a battle."""

from __future__ import annotations

from battles.items import Battle
from battles.parsers.chat import without_chat
from battles.parsers.log import content_hash, parse_log
from battles.parsers.names import format_of


def parse_room(body: bytes, *, asked: str, url: str, fetched_at: int) -> Battle:
    """Read the lines of a room, as a spectator sees them.

    Its rating is the lower of the players' before the battle, which is what the site lists it by.
    """
    log = body.decode("utf-8", "replace")
    facts, silent = parse_log(log), without_chat(log)
    players = list(facts.players.values())
    ratings = [player.rating_before for player in players if player.rating_before is not None]
    return Battle(
        id=asked,
        formatid=format_of(asked),
        format=facts.format,
        players=players,
        uploaded=None,
        rating=min(ratings) if facts.rated and ratings else None,
        log=log,
        source="room",
        url=url,
        fetched_at=fetched_at,
        content_hash=content_hash(silent),
        has_chat=silent != log,
        asked=asked,
        **facts.of_battle(),
    )
