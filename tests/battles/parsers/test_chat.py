"""Logs without what people said."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from battles.parsers.chat import without_chat
from battles.parsers.replay import parse_replay

CHAT = ["|c|☆A|hello", "|c:|1795000032|☆A|hello", "|chat|A|hello", "|chat:|1795000032|A|hello"]


@pytest.mark.parametrize("line", CHAT)
def test_chat_is_taken_out_and_the_battle_stays(line):
    log = f"|j|☆A\n{line}\n|cant|p1a: X|par\n|win|A\n"

    assert without_chat(log) == "|j|☆A\n|cant|p1a: X|par\n|win|A\n"


@pytest.mark.parametrize("line", CHAT)
def test_chat_is_noticed(line):
    reply = {"id": "gen9ou-1", "log": f"|turn|1\n{line}\n|win|A"}

    battle = parse_replay(json.dumps(reply).encode(), asked="gen9ou-1", url="", fetched_at=1)

    assert battle.has_chat


lines = st.sampled_from([*CHAT, "|win|A", "|", "||", "", " ", "\r"]) | st.text()


@settings(deadline=None)
@given(st.lists(lines).map("\n".join))
def test_what_has_no_chat_stays_as_it_is(text):
    silent = without_chat(text)

    assert without_chat(silent) == silent
