"""Logs of rooms: they tell what the replay of the same battle tells."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from battles.items import Battle
from battles.parsers.room import parse_room
from battles.records import decode, encode

URL = "wss://server/showdown/websocket?room=battle-gen9ou-9"
NOW = 1_800_000_000
BATTLE = """\
|j|☆Ann
|j|☆B o b
|t:|1795286207
|gametype|singles
|player|p1|Ann|101|1500
|player|p2|B o b|102|1480
|gen|9
|tier|[Gen 9] OU
|rated|
|start
|turn|1
"""
END = """\
|-message|B o b forfeited.
|
|win|Ann
|raw|Ann's rating: 1500 &rarr; <strong>1516</strong><br />(+16 for winning)
|raw|B o b's rating: 1480 &rarr; <strong>1464</strong><br />(-16 for losing)
|player|p1|
|player|p2|
"""


def read(log: str | bytes, asked: str = "gen9ou-9") -> Battle:
    body = log.encode() if isinstance(log, str) else log
    return parse_room(body, asked=asked, url=URL, fetched_at=NOW)


def test_a_battle_says_where_it_comes_from():
    battle = read(BATTLE + END, asked="smogtours-gen9ou-9")

    assert (battle.id, battle.asked) == ("smogtours-gen9ou-9", "smogtours-gen9ou-9")
    assert (battle.formatid, battle.format) == ("gen9ou", "[Gen 9] OU")
    assert (battle.source, battle.url, battle.fetched_at) == ("room", URL, NOW)
    assert (battle.uploaded, battle.started, battle.private) == (None, 1795286207, 0)


@pytest.mark.parametrize("number", range(0, 450, 45))
def test_a_room_tells_what_the_replay_tells(parsed, number):
    battles = [pair for pairs in parsed.values() for pair in pairs]
    replay, expected = battles[number % len(battles)]

    battle = read(json.loads(replay.log), asked=replay.id)

    of_the_site = {"source", "url", "fetched_at", "uploaded", "rating"}
    same = {name: getattr(expected, name) for name in of_the_site}
    assert replace(battle, **same) == expected


def test_a_battle_is_rated_as_its_lower_player_was_before_it():
    battle = read(BATTLE + END)

    assert (battle.rated, battle.rating) == (True, 1480)
    assert [player.rating_after for player in battle.players] == [1516, 1464]


@pytest.mark.parametrize(
    "log",
    [
        BATTLE.replace("|rated|\n", ""),
        BATTLE.replace("|rated|\n", "|rated|Tournament battle\n"),
        BATTLE.replace("|1500", "|").replace("|1480", "|"),
        "",
    ],
    ids=["a game for fun", "a tournament's", "ratings unknown", "nothing"],
)
def test_any_other_battle_has_no_rating(log):
    assert read(log).rating is None


def test_a_battle_that_goes_on_has_no_end():
    battle = read(BATTLE)

    assert (battle.ended, battle.winner, battle.turns) == (None, None, 1)


def test_chat_does_not_change_the_content():
    talk = BATTLE + "|c|☆Ann|good luck\n"

    chatty, quiet = read(talk + END), read(BATTLE + END)

    assert (chatty.has_chat, quiet.has_chat) == (True, False)
    assert chatty.content_hash == quiet.content_hash
    assert "good luck" in chatty.log


@settings(deadline=None)
@given(st.binary() | st.text().map(lambda text: (BATTLE + text).encode("utf-8", "replace")))
def test_any_bytes_are_a_battle_that_can_be_stored(body):
    battle = read(body)

    assert decode(encode(battle)) == replace(battle, asked="", has_chat=False)
