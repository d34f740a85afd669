"""Who sat where, and who won."""

from __future__ import annotations

import pytest

from battles.parsers.log import parse_log

FOUR = [
    "|gametype|multi",
    *(f"|player|p{n}|{name}|1|" for n, name in enumerate(("Ann", "Bob", "Cal", "Dan"), start=1)),
    "|start",
]


def facts_of(*lines: str):
    return parse_log("\n".join(lines))


def rating_line(name: str, before: int, after: int) -> str:
    return f"|raw|{name}'s rating: {before} &rarr; <strong>{after}</strong><br />"


@pytest.mark.parametrize(
    ("told", "rating"), [pytest.param("1480", 1480, id="told"), pytest.param("", 1500, id="not")]
)
def test_the_rating_before_is_announced_only_where_the_player_line_has_none(told, rating):
    facts = facts_of(f"|player|p1|Ann|1|{told}", "|win|Ann", rating_line("Ann", 1500, 1520))

    player = facts.players["p1"]
    assert (player.rating_before, player.rating_after) == (rating, 1520)


@pytest.mark.parametrize(("name", "side"), [("Ann", "p1"), ("BOB!", "p2")])
def test_the_winner_has_a_side(name, side):
    facts = facts_of("|player|p1|Ann|1|", "|player|p2|Bob|1|", "|start", f"|win|{name}")

    assert facts.winner_side == [side]


@pytest.mark.parametrize("line", ["|tie", "|win|Eve", "|turn|3"])
def test_no_winner_has_no_side(line):
    assert facts_of("|player|p1|Ann|1|", "|player|p2|Bob|1|", "|start", line).winner_side is None


@pytest.mark.parametrize(
    ("winner", "sides"),
    [
        ("Ann & Cal", ["p1", "p3"]),
        ("Cal & Ann", ["p1", "p3"]),
        ("Dan & Bob", ["p2", "p4"]),
        ("Ann & Bob", None),
    ],
)
def test_allies_win_together(winner, sides):
    assert facts_of(*FOUR, f"|win|{winner}").winner_side == sides


def test_a_name_may_look_like_that_of_two():
    facts = facts_of("|player|p1|A & B|1|", "|player|p2|C|1|", "|start", "|win|A & B")

    assert facts.winner_side == ["p1"]


def test_allies_may_have_names_that_look_like_two():
    lines = [line.replace("Ann", "A & B") for line in FOUR]

    assert facts_of(*lines, "|win|A & B & Cal").winner_side == ["p1", "p3"]


def test_the_name_at_the_end_decides_and_all_are_kept():
    lines = ["|player|p1|Ann|1|1400", "|player|p2|Bob|1|", "|start", "|turn|1"]
    change = ["|player|p1|", "|player|p1|Eve|5|"]

    facts = facts_of(*lines, *change, "|win|Eve", rating_line("Eve", 1400, 1420))

    player = facts.players["p1"]
    assert (player.name, player.other_names) == ("Eve", ["Ann"])
    assert (player.rating_before, player.rating_after) == (1400, 1420)
    assert facts.winner_side == ["p1"]


def test_who_left_the_lobby_never_played():
    lobby = ["|player|p1|Player 1|1|", "|player|p1|Ann|1|1700", "|player|p1|", "|player|p1|Eve|5|"]

    facts = facts_of(*lobby, "|start", "|win|Eve")

    player = facts.players["p1"]
    assert (player.name, player.other_names, player.rating_before) == ("Eve", [], None)


def test_what_follows_the_end_does_not_count():
    battle = ["|player|p1|Ann|1|", "|start", "|switch|p1a: X|Gible|1/1", "|turn|3", "|win|Ann"]
    later = ["|player|p1|Eve|5|", "|turn|9", "|win|Eve", "|tie", "|-message|Ann forfeited."]
    later += ["|switch|p1a: Y|Moth|1/1", "|move|p1a: X|Surf|p2a: Y", "|tier|[Gen 1] OU", "|t:|9"]

    assert facts_of(*battle, *later) == facts_of(*battle)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_first_field_counts_whatever_ends_the_line(end):
    lines = [
        "|player|p1|Ann|1|",
        "|rated||x",
        "|tier|[Gen 9] OU|x",
        "|gen|9|x",
        "|gametype|singles|",
    ]
    lines += ["|t:|17|x", "|turn|21|", "|win|Ann|"]

    facts = parse_log(end.join(lines))

    assert (facts.format, facts.generation, facts.gametype) == ("[Gen 9] OU", 9, "singles")
    assert (facts.rated, facts.turns, facts.started) == (True, 21, 17)
    assert (facts.winner, facts.winner_side) == ("Ann", ["p1"])


@pytest.mark.parametrize("line", ["|-message|Eve forfeited.", rating_line("Eve", 1, 2)])
def test_it_is_not_asked_for_ever_whose_name_it_is(line, monkeypatch):
    asked = []
    monkeypatch.setattr("battles.parsers.seats.Seats.side_of", lambda _, name: asked.append(name))

    facts_of("|player|p1|Ann|1|", *[line] * 1000)

    assert 0 < len(asked) <= 100
