"""How battles come to their end."""

from __future__ import annotations

import pytest

from battles.parsers.log import parse_log

TWO = ["|gametype|singles", "|player|p1|Ann|1|", "|player|p2|Bob|1|", "|start", "|turn|3"]
CYCLING = "means to perform restorative berry-cycling"


def facts_of(*lines: str):
    return parse_log("\n".join([*TWO, *lines]))


@pytest.mark.parametrize(
    ("lines", "ended"),
    [
        (["Bob is offering a tie.", "Ann accepted the tie.", "|", "|tie"], "tie agreed"),
        (["Ann aceptó el empate.", "|", "|tie"], "tie agreed"),
        (["||Ann accepted the tie.", "|tie"], "tie agreed"),
        (["Eve accepted the tie.", "|tie"], "normal"),
        (["Ann accepted the tie.", "|win|Ann"], "normal"),
        (["|c|Eve|Ann accepted the tie.", "|tie"], "normal"),
        (["Ann accepted the tie.", "|turn|4", "|tie"], "normal"),
        (["|message|It is turn 1000. You have hit the turn limit!", "|", "|tie"], "turn limit"),
        (
            [
                "|-message|This battle cannot progress. Endless Battle Clause activated!",
                "|",
                "|tie",
            ],
            "endless battle",
        ),
        (
            [
                f"|-message|Bob's team started with the rudimentary {CYCLING} and thus loses.",
                "|win|Ann",
            ],
            "endless battle",
        ),
        (["Mod forced a tie.", "|", "|tie"], "forced"),
        (["Mod forced a win for Ann.", "|", "|win|Ann"], "forced"),
    ],
)
def test_an_end_is_what_the_lines_before_it_say(lines, ended):
    assert facts_of(*lines).ended == ended


@pytest.mark.parametrize(
    ("said", "ended"),
    [
        ("forfeited.", "forfeit"),
        ("forfeited by changing their name.", "forfeit"),
        ("lost by having an inappropriate name.", "forfeit"),
        ("lost due to inactivity.", "inactivity"),
        ("lost by being offline too long.", "inactivity"),
        ("lost the series due to inactivity.", "inactivity"),
    ],
)
def test_who_gave_up_is_kept(said, ended):
    facts = facts_of(f"|-message|Bob {said}", "|win|Ann")

    assert facts.ended == ended
    assert {side: one.gave_up for side, one in facts.players.items()} == {"p1": None, "p2": ended}


def test_all_who_were_inactive_are_kept():
    facts = facts_of("|-message|All players are inactive.", "|tie")

    assert [player.gave_up for player in facts.players.values()] == ["inactivity"] * 2


@pytest.mark.parametrize(
    "lines", [["|t:|9"], ["|turn|4", "|t:|9"], ["|t:|9", "|move|p1a: X|Surf|p2a: Y", "|turn|4"]]
)
def test_a_turn_that_comes_after_a_forfeit_does_not_undo_it(lines):
    assert facts_of("|-message|Bob forfeited.", "|", *lines, "|", "|win|Ann").ended == "forfeit"


def test_who_won_before_the_forfeit_arrived_has_won():
    assert facts_of("|-message|Bob forfeited.", "|faint|p1a: X", "|", "|win|Bob").ended == "normal"


def test_all_of_four_must_accept_a_tie():
    four = [*TWO[:3], "|player|p3|Cal|1|", "|player|p4|Dan|1|", "|start", "|turn|3"]
    one = [*four, "Ann accepted the tie."]

    assert parse_log("\n".join([*one, "|tie"])).ended == "normal"
    every = [*one, "All players have accepted the tie.", "|tie"]
    assert parse_log("\n".join(every)).ended == "tie agreed"
