"""Battles as people read them."""

from __future__ import annotations

import pytest

from battles.items import Battle, Player
from battles.summary import describe, line, outcome

LOG = "|player|p1|A|\n|turn|1\n|win|A ☕\n"


def battle(**changes: object) -> Battle:
    fields = {
        "id": "gen9ou-2390483321",
        "formatid": "gen9ou",
        "format": "[Gen 9] OU",
        "generation": 9,
        "gametype": "singles",
        "players": [
            Player("p1", "A ☕", 1500, 1520, ["Gible", "Moth"]),
            Player("p2", "B", 1480, None),
            Player("p3", "C", None, 1000),
            Player("p4", "D"),
        ],
        "winner": "A ☕",
        "tie": False,
        "ended": "normal",
        "turns": 12,
        "started": 1795000032,
        "uploaded": 1795000132,
        "rating": 1480,
        "rated": True,
        "open_team_sheets": False,
        "log": LOG,
        "source": "replay",
        "url": "https://replay/x.json",
        "fetched_at": 1,
        "content_hash": "00",
    }
    return Battle(**fields | changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "A ☕ won, turn 12"),
        ({"ended": "forfeit"}, "A ☕ won by forfeit, turn 12"),
        ({"ended": "inactivity"}, "A ☕ won on time, turn 12"),
        ({"winner": None, "tie": True}, "tie, turn 12"),
        ({"winner": None, "tie": True, "ended": "inactivity"}, "tie on time, turn 12"),
        ({"winner": None, "ended": None}, "no end, turn 12"),
    ],
    ids=["played", "forfeit", "time", "tie", "tie on time", "running"],
)
def test_an_outcome_says_who_won_and_how(changes, expected):
    assert outcome(battle(**changes)) == expected


def test_a_line_holds_time_id_rating_players_and_outcome():
    assert line(battle()) == (
        "2026-11-18 11:08  gen9ou-2390483321                      1480"
        "  A ☕ \N{EN DASH} B \N{EN DASH} C \N{EN DASH} D  (A ☕ won, turn 12)"
    )


def test_a_line_of_an_unrated_battle_without_a_time_says_so():
    text = line(battle(rating=None, uploaded=None))

    assert text.startswith("at an unknown time  gen9ou-2390483321")
    assert "unrated" in text


def test_a_description_holds_everything_but_the_log():
    assert describe(battle()).split("\n") == [
        "gen9ou-2390483321: [Gen 9] OU, singles, generation 9",
        "A ☕ won, turn 12; began 2026-11-18 11:07, uploaded 2026-11-18 11:08 UTC",
        "  p1 A ☕ (1500 → 1520): Gible, Moth",
        "  p2 B (1480): no team shown",
        "  p3 C (? → 1000): no team shown",
        "  p4 D: no team shown",
        "3 lines of log; from https://replay/x.json",
    ]


def test_a_description_of_an_old_log_says_what_it_does_not_know():
    text = describe(battle(gametype=None, generation=None, started=None))

    assert "[Gen 9] OU, ?, generation ?" in text
    assert "began at an unknown time" in text
