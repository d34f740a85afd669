"""Logs without what people said."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from battles.parsers.chat import without_chat
from battles.parsers.replay import parse_replay

CHAT = [
    "|c|☆A|hello",
    "|c:|1795000032|☆A|hello",
    "|chat|A|hello",
    "|chat:|1795000032|A|hello",
    "|chatmsg|hello",
    "|chatmsg-raw|<b>hello</b>",
    "|pm| A| B|hello",
    "|error|The command /x does not exist.",
    "|popup|You are now blocking challenges.",
    "|hidelines|unlink|a",
    "|unlink|a",
    "Roll (1 - 6): 5",
    "||Invite sent to B!",
    "||>>> battle.turn",
    "||<<< 5",
    "A was muted by B for 7 minutes.",
    "A: is offering a tie, B says",
    '|raw|<div class="infobox"> You joined A vs. B</div>',
    '|raw|<div class="infobox">Roll (1 - 6): 5</div>',
    '|raw|<div class="broadcast-blue"><b>Vote for A</b></div>',
    '|raw|<div class="broadcast-red"><b>The server is restarting soon.</b><br />Finish.</div>',
    '|raw|<div class="message"><ul class="utilichart"><li class="result">Gible</li></ul></div>',
    '|raw|<font size="1"><span class="gray">Gen:</span> 4</font>',
    '|html|<strong class="message-error">No.</strong>',
    '|html|<div class="infobox">hello</div>',
    '|uhtml|poll1|<div class="infobox">Who wins?</div>',
    "|uhtmlchange|poll1|",
]
"""Chat, and answers to commands."""
NOTICES = [
    "Ann rejected open team sheets.",
    "Ann has agreed to open team sheets.",
    "||Ann is ready for game 2.",
    "Café ☕ is offering a tie.",
    "Ann accepted the tie.",
    "All players have accepted the tie.",
    "Ann está ofreciendo un empate.",
    "Annが引き分けに同意しました。",
    "Ann hat das Unentschieden abgelehnt.",
    "||Ann forfeited.",
    "||Ann lost the series due to inactivity.",
    "||Ann | Time left: 150 sec this turn | 210 sec total",
    "||[Ann has 150s this turn / 210s total]",
    "||Ladder isn't responding, score probably updated but might not have (timeout).",
    "|raw|Ann&#39;s rating: 1000 &rarr; <strong>1045</strong><br />(+45 for winning)",
    "|raw|Ann's rating: 1000 &rarr; <strong>1045</strong><br />(+45 for winning)",
    "|raw|Ratings not updated. The ladders are currently disabled.",
    '|raw|Ann\'s Tera Types:<br /><psicon pokemon="gible" /><psicon type="Fire" />',
    '|raw|<span style="white-space:nowrap"><psicon pokemon="gible" /></span>',
    '|raw|<div class="infobox"><details class="readmore"><summary><strong>2 custom rules:</strong>',
    '|raw|<div class="broadcast-blue"><b>Battle Factory Tier: OU</b></div>',
    '|raw|<div class="broadcast-red"><strong>This battle is invite-only!</strong></div>',
    '|-start|p1a: X|typechange|Fire|[silent]\n|raw|<div class="message"><ul class="utilichart">',
    '|html|<div class="broadcast-blue"><strong>[Gen 9] OU is currently suspecting Gible!</strong>',
    '|html|<div class="broadcast-red"><b>The battle crashed</b><br />We fix it.</div>',
    '|html|<div class="message-warning">[ann] <strong>/editbattle</strong> hp,p1,1,50</div>',
    '|html|<table width="100%"><tr><td align="left">Ann</td><td align="right">Bob</tr></table>',
    '|uhtml|bestof|<h2><strong>Game 1</strong> of <a href="/game-1">a best-of-3</a></h2>',
    '|uhtml|next|Next: <a href="/battle-1"><strong>Game 2 of 3</strong></a>',
    "|inactive|Ann has 30 seconds left.",
    "|inactiveoff|Battle timer is now OFF.",
    "|-message|Ann forfeited.",
    "|bigerror|You will auto-tie if the battle doesn't end in 100 turns (on turn 1000).",
    "|j|☆Ann",
    "|",
    "||",
    "|| \r",
]
"""What says something of the battle."""


@pytest.mark.parametrize("line", CHAT)
def test_chat_is_taken_out_and_the_battle_stays(line):
    log = f"|j|☆A\n{line}\n|cant|p1a: X|par\n|win|A\n"

    assert without_chat(log) == "|j|☆A\n|cant|p1a: X|par\n|win|A\n"


@pytest.mark.parametrize("line", CHAT)
def test_chat_is_noticed(line):
    reply = {"id": "gen9ou-1", "log": f"|turn|1\n{line}\n|win|A"}

    battle = parse_replay(json.dumps(reply).encode(), asked="gen9ou-1", url="", fetched_at=1)

    assert battle.has_chat


@pytest.mark.parametrize("line", NOTICES)
def test_what_says_something_of_the_battle_stays(line):
    log = f"|j|☆A\n{line}\n|win|A\n"

    assert without_chat(log) == log


def test_a_log_that_ends_in_chat_ends_in_the_line_before():
    assert without_chat("|win|A\n|c|☆A|gg\nRoll: 5") == "|win|A"


@pytest.mark.parametrize(
    ("log", "silent"),
    [
        ("", ""),
        ("\n", "\n"),
        ("|c|☆A|hi", ""),
        ("|c|☆A|hi\n", ""),
        ("|c|☆A|hi\n\n|win|A\n", "\n|win|A\n"),
        ("|win|A\n\n|c|☆A|gg", "|win|A\n"),
    ],
)
def test_chat_goes_with_one_line_feed_from_the_beginning_to_the_end(log, silent):
    assert without_chat(log) == silent


lines = st.sampled_from([*CHAT, *NOTICES, "|win|A", "|", "||", "", " ", "\r"]) | st.text()


@settings(deadline=None)
@given(st.lists(lines).map("\n".join))
def test_what_has_no_chat_stays_as_it_is(text):
    silent = without_chat(text)

    assert without_chat(silent) == silent
