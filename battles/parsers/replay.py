"""Read one stored replay."""

from __future__ import annotations

from battles.items import Battle, Player
from battles.parsers.chat import without_chat
from battles.parsers.log import LogFacts, content_hash, parse_log
from battles.parsers.names import format_of, to_id
from battles.parsers.numbers import number
from battles.parsers.reply import BadReplyError, parse_json

_NAME_LENGTH = 64
"""Characters; nothing the site calls a format or a player is longer."""


def parse_replay(body: bytes, *, asked: str, url: str, fetched_at: int) -> Battle:
    """Read the site's `/{id}.json`.

    Whether the battle is fit to keep is for the pipelines to say: the log may be empty, the battle
    private, and the id another one than was asked for.

    Raises:
        BadReplyError: the reply is no JSON object.
        RefusedError: the site refused the question.

    """
    reply = parse_json(body)
    if not isinstance(reply, dict):
        raise BadReplyError(f"not a replay but {type(reply).__name__}")
    log = _text(reply.get("log"))
    facts, silent = parse_log(log), without_chat(log)
    battle_id = _text(reply.get("id"))
    private = reply.get("private", 0)
    return Battle(
        id=battle_id,
        formatid=to_id(_text(reply.get("formatid")))[:_NAME_LENGTH] or format_of(asked),
        format=_text(reply.get("format")) or facts.format,
        players=_players(facts, reply.get("players")),
        uploaded=number(reply.get("uploadtime")),
        rating=number(reply.get("rating")),
        log=log,
        source="replay",
        url=url,
        fetched_at=fetched_at,
        content_hash=content_hash(silent),
        has_chat=silent != log,
        # What is neither 0 nor a known code is private until the site says otherwise.
        private=private if isinstance(private, int) else -1,
        asked=asked,
        **facts.of_battle(),
    )


def _players(facts: LogFacts, listed: object) -> list[Player]:
    """Prefer the log's players; the list beside it stands in for a log without any."""
    if facts.players or not isinstance(listed, list):
        return list(facts.players.values())
    names = [_text(name).removeprefix("!") for name in listed[:4]]
    return [Player(side=f"p{n}", name=name) for n, name in enumerate(names, start=1) if name]


def _text(value: object) -> str:
    """Take text as it is but for what UTF-8 cannot hold: JSON may carry half a surrogate pair."""
    if not isinstance(value, str):
        return ""
    return value.encode("utf-8", "replace").decode()
