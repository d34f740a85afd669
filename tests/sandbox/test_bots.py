"""What a player sees of a battle."""

from __future__ import annotations

import pytest

from sandbox.bots import Battle


@pytest.fixture
def battle() -> Battle:
    return Battle("battle-gen9ou-1", "gen9ou", started=1000.0)


def read(battle: Battle, *lines: str) -> Battle:
    for line in lines:
        battle.read(line)
    return battle


def test_a_battle_is_unfinished_until_it_ends(battle):
    read(battle, "|player|p1|Ann|1|", "|player|p2|Bob|2|1200", "|start", "|turn|1", "|turn|2")

    assert (battle.p1, battle.p2, battle.turns) == ("Ann", "Bob", 2)
    assert (battle.outcome, battle.winner, battle.ended) == ("unfinished", None, None)


@pytest.mark.parametrize(
    ("lines", "outcome", "winner"),
    [
        (["|win|Ann"], "won", "Ann"),
        (["|tie"], "tie", None),
        (["|-message|Bob forfeited.", "|win|Ann"], "forfeit", "Ann"),
        (["|noinit|rename|battle-gen9ou-1-xpw|Ann vs. Bob", "|win|Bob"], "hidden", "Bob"),
    ],
    ids=["won", "tie", "forfeit", "hidden"],
)
def test_a_battle_ends(battle, lines, outcome, winner):
    read(battle, *lines)

    assert (battle.outcome, battle.winner) == (outcome, winner)
    assert battle.ended > battle.started


def test_a_tier_is_no_tie(battle):
    assert read(battle, "|tier|[Gen 9] OU").ended is None


def test_a_player_who_leaves_takes_no_name_along(battle):
    assert read(battle, "|player|p1|Ann|1|", "|player|p1|").p1 == "Ann"


def test_the_end_is_read_once_by_either_player(battle):
    ended = read(battle, "|win|Ann").ended

    assert read(battle, "|win|Ann").ended == ended


def test_the_other_player_does_not_undo_a_forfeit(battle):
    read(battle, "|-message|Bob forfeited.", "|-message|Bob forfeited.", "|win|Ann")

    assert battle.outcome == "forfeit"


def test_an_abandoned_battle_has_no_winner(battle):
    battle.abandon()

    assert (battle.outcome, battle.winner) == ("abandoned", None)


def test_four_players_have_seats(battle):
    read(battle, "|player|p3|Cid|1|", "|player|p4|Dee|2|", "|player|p5|Eve|3|")

    assert (battle.p3, battle.p4) == ("Cid", "Dee")


def test_a_player_may_take_another_name(battle):
    assert read(battle, "|player|p1|Ann|1|", "|player|p1|Anna|1|").p1 == "Anna"


HIDDEN = "|noinit|rename|battle-gen9ou-1-xpw|Ann vs. Bob"
SHOWN = "|noinit|rename|battle-gen9ou-1|Ann vs. Bob"


@pytest.mark.parametrize(
    ("lines", "outcome", "public"),
    [
        ([HIDDEN], "hidden", False),
        (["|win|Ann", HIDDEN], "hidden", False),
        ([HIDDEN, SHOWN], "unfinished", True),
        ([HIDDEN, SHOWN, "|win|Ann"], "won", True),
        ([HIDDEN, "|win|Ann", SHOWN], "won", True),
        ([HIDDEN, "|tie", SHOWN], "tie", True),
    ],
    ids=["hidden", "hidden later", "shown", "shown, won", "won, shown", "tied, shown"],
)
def test_a_battle_is_hidden_while_its_room_has_the_longer_name(battle, lines, outcome, public):
    read(battle, *lines)

    assert (battle.outcome, battle.public) == (outcome, public)
