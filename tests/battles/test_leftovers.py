"""Names that are left after they were replaced."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from battles.leftovers import LeftoverError, Leftovers
from battles.parsers.replay import parse_replay
from battles.pseudonyms import Pseudonyms

PSEUDONYMS = Pseudonyms("a secret")


def battle_of(*lines: str):
    log = "\n".join(["|player|p1|Ash Ketchum|1|", "|player|p2|Gible|2|", *lines])
    reply = {"id": "gen9ou-1", "log": log}
    return parse_replay(json.dumps(reply).encode(), asked="gen9ou-1", url="", fetched_at=1)


BATTLE = battle_of("|switch|p1a: X|Gible|1/1", "|win|Gible")
COPY = PSEUDONYMS.replace_in(BATTLE)


def test_no_name_is_left_in_a_recorded_battle(recorded):
    battles = [parse_replay(r.json(), asked=r.id, url=r.id, fetched_at=1) for r in recorded]
    leftovers = Leftovers()

    for battle in battles:
        leftovers.check(battle, PSEUDONYMS.replace_in(battle))

    assert leftovers.words > 0


@pytest.mark.parametrize(
    "line",
    [
        "Ash Ketchum is offering a tie.",
        "|-message|Ash Ketchum forfeited.",
        "|inactive|ashketchum has 5 seconds left.",
        "|unheard of|(Ash Ketchum)",
        "|raw|<td>ashketchum</td>",
        "|player|p3|Ash Ketchum|1|",
        "|-sidestart|p1: Ash Ketchum|Reflect",
        "|-start|p2a: X|Curse|[of] p1: Ash Ketchum",
        "|win|Gible",
    ],
)
def test_a_name_that_is_left_in_the_log_is_refused(line):
    copy = replace(COPY, log=f"{COPY.log}\n{line}")

    with pytest.raises(LeftoverError, match=r"^gen9ou-1: the name '.*' is left in line 5 of its"):
        Leftovers().check(BATTLE, copy)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("winner", {"winner": "Gible"}),
        ("players.name", {"players": BATTLE.players}),
    ],
)
def test_a_name_that_is_left_in_a_field_is_refused(field, changes):
    with pytest.raises(LeftoverError, match=f"is left in {field};"):
        Leftovers().check(BATTLE, replace(COPY, **changes))


def test_a_nickname_that_reads_like_a_name_is_counted():
    leftovers = Leftovers()
    log = f"{COPY.log}\n|faint|p1a: Ash Ketchum\n|showteam|p1|Ash Ketchum||leftovers"

    leftovers.check(BATTLE, replace(COPY, log=log))

    assert leftovers.nicknames == 2
    assert leftovers.alike().startswith("2 nicknames of Pokémon, and ")


def test_a_species_that_reads_like_a_name_is_counted():
    leftovers = Leftovers()

    leftovers.check(BATTLE, COPY)

    # In the log, in the team, and in what is known of the Pokémon.
    assert (leftovers.nicknames, leftovers.words) == (0, 3)


def test_what_only_begins_like_a_name_is_no_name():
    leftovers = Leftovers()
    battle = battle_of()

    leftovers.check(battle, replace(COPY, log="|-message|Gibles and XGible\n|move|p1a: X|Gibles"))

    assert leftovers.words == 2
    leftovers.check(battle, replace(COPY, players=[], log="|tie"))
    assert leftovers.words == 2


def test_nothing_that_reads_like_a_name_is_no_warning():
    assert Leftovers().alike() == ""


def test_a_pseudonym_is_no_name_of_somebody_called_player():
    battle = parse_replay(
        json.dumps({"id": "gen9ou-1", "log": "|player|p1|player|1|\n|win|player"}).encode(),
        asked="gen9ou-1",
        url="",
        fetched_at=1,
    )

    Leftovers().check(battle, PSEUDONYMS.replace_in(battle))
