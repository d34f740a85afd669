"""Exports without names."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from typing import TYPE_CHECKING

import pytest

from battles.items import Pokemon, Sheet
from battles.parsers.log import parse_log
from battles.parsers.names import to_id
from battles.parsers.replay import parse_replay
from battles.pseudonyms import Pseudonyms
from battles.records import to_record

if TYPE_CHECKING:
    from battles.items import Battle

PROTOCOL = frozenset({"win", "tie", "null", "0", "007"})
"""Names of recorded players that are words of the protocol, or numbers, as well."""


def battle_of(*lines: str, players: tuple[str, ...] = ()) -> Battle:
    reply = {"id": "gen9ou-1", "log": "\n".join(lines), "players": players}
    return parse_replay(json.dumps(reply).encode(), asked="gen9ou-1", url="", fetched_at=1)


@pytest.fixture(scope="module")
def pseudonyms() -> Pseudonyms:
    return Pseudonyms("a secret")


@pytest.fixture(scope="module")
def pairs(recorded, pseudonyms) -> list[tuple[Battle, Battle]]:
    """Every recorded battle, and its copy without names."""
    battles = (parse_replay(r.json(), asked=r.id, url=r.id, fetched_at=1) for r in recorded)
    return [(battle, pseudonyms.replace_in(battle)) for battle in battles]


def mentions(text: str, name: str) -> list[str]:
    """Find the lines in which a name stands alone."""
    if name not in text:
        return []
    return re.findall(rf"^.*(?<!\w){re.escape(name)}(?!\w).*$", text, re.MULTILINE)


def without_species(battle: Battle) -> str:
    """Leave out where species stand: players are called Iron Moth and Pikachu too."""
    return re.sub(
        r"^(\|(?:switch|drag|replace|detailschange|poke)\|[^|]*)\|[^|]*",
        r"\1",
        battle.log,
        flags=re.MULTILINE,
    )


def test_no_name_survives_in_a_recorded_battle(pairs):
    left = {
        name: found
        for battle, copy in pairs
        for name in {player.name for player in battle.players} - PROTOCOL
        if (found := mentions(unescape(without_species(copy)), name))
    }

    assert left == {}


def test_no_name_survives_in_the_fields_of_a_recorded_battle(pairs):
    left = [
        (battle.id, player.name)
        for battle, copy in pairs
        for player in battle.players
        if player.name in (copy.winner, copy.format, *(other.name for other in copy.players))
    ]

    assert left == []


def test_names_that_are_words_of_the_protocol_survive_as_those_alone(pairs):
    left = {
        re.sub(r"[\d/]+", "0", found.split("|")[1])
        for battle, copy in pairs
        for name in {player.name for player in battle.players} & (PROTOCOL - {"0"})
        for found in mentions(unescape(copy.log), name)
    }

    assert left <= {"win", "tie"}


def test_a_recorded_battle_without_names_reads_as_before(pairs, pseudonyms):
    def renamed(log: str):
        facts = parse_log(log)
        for player in facts.players.values():
            player.name = pseudonyms.of(player.name)
        winner = facts.winner and pseudonyms.of(facts.winner)
        # Chat has no place in what is shared.
        return replace(facts, winner=winner)

    differing = [battle.id for battle, copy in pairs if renamed(battle.log) != parse_log(copy.log)]

    assert differing == []


def test_a_recorded_battle_keeps_all_but_names_and_log(pairs):
    def kept(battle: Battle) -> dict:
        record = to_record(battle)
        for player in record["players"]:
            del player["name"]
        return {key: record[key] for key in record if key not in ("winner", "log")}

    assert [kept(copy) for _, copy in pairs] == [kept(battle) for battle, _ in pairs]


def test_the_same_name_gets_the_same_pseudonym_everywhere(pairs):
    aliases: dict[str, set[str]] = {}
    for battle, copy in pairs:
        for player, other in zip(battle.players, copy.players, strict=True):
            aliases.setdefault(player.name, set()).add(other.name)

    assert {len(several) for several in aliases.values()} == {1}
    # Ash-Ketchum with a hyphen and with a dash is one user.
    assert len(set.union(*aliases.values())) == len({to_id(name) for name in aliases})


def test_the_winner_gets_the_pseudonym_of_the_player(pairs):
    won = [(battle, copy) for battle, copy in pairs if battle.winner is not None]

    assert len(won) > 5
    assert [copy.winner for _, copy in won] == [
        next(b.name for a, b in zip(one.players, copy.players, strict=True) if a.name == one.winner)
        for one, copy in won
    ]
    assert {copy.winner for one, copy in pairs if one.winner is None} <= {None}


def test_a_name_is_told_by_its_id():
    pseudonyms = Pseudonyms("a secret")

    assert pseudonyms.of("O'Brien") == pseudonyms.of("obrien")


def test_names_without_letters_are_told_apart():
    pseudonyms = Pseudonyms("a secret")

    assert pseudonyms.of("ピカ") != pseudonyms.of("チュウ")


def test_another_key_gives_other_pseudonyms():
    assert Pseudonyms("a secret").of("A") != Pseudonyms("another").of("A")


def test_a_pseudonym_can_be_made_again():
    assert Pseudonyms("a secret").of("Ash") == "player-edc3b1c32b"


def test_the_battle_itself_is_left_alone(pseudonyms):
    battle = battle_of("|player|p1|Ash|1|", "|win|Ash")

    pseudonyms.replace_in(battle)

    assert battle.players[0].name == "Ash"
    assert battle.winner == "Ash"


ASH = Pseudonyms("a secret").of("Ash")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("|player|p1|Ash|#ash|1500", f"|player|p1|{ASH}||1500"),
        ("|player|p1|", "|player|p1|"),
        ("|win|Ash", f"|win|{ASH}"),
        ("|-message|Ash forfeited.", f"|-message|{ASH} forfeited."),
        ("|inactive|Ash has 5 seconds left.", f"|inactive|{ASH} has 5 seconds left."),
        ("Ash is offering a tie.", f"{ASH} is offering a tie."),
        ("||Ash is ready for game 2.", f"||{ASH} is ready for game 2."),
        ("|-sidestart|p1: Ash|Reflect", f"|-sidestart|p1: {ASH}|Reflect"),
        ("|-start|p2a: Ash|Curse|[of] p1a: Ash", f"|-start|p2a: {ASH}|Curse|[of] p1a: {ASH}"),
        ("|-heal|p1a: X|1/1|[wisher] Ash", f"|-heal|p1a: X|1/1|[wisher] {ASH}"),
        ("|switch|p1a: Ash's|Ash, L1|1/1", f"|switch|p1a: {ASH}'s|Ash, L1|1/1"),
        ("|move|p1a: X|Ash|p2a: Y", "|move|p1a: X|Ash|p2a: Y"),
        ("|cant|p2a: Ash|Ash", f"|cant|p2a: {ASH}|Ash"),
        ("|-hint|Ash", f"|-hint|{ASH}"),
        ("|unheard of|Ash", f"|unheard of|{ASH}"),
        ("|inactive|Ash, as ash, ms still do.", f"|inactive|{ASH}, as {ASH}, ms still do."),
        ("|unheard of|<td>ash</td>", f"|unheard of|<td>{ASH}</td>"),
        ("|move|p1a: X|Tackle|[from] ash", "|move|p1a: X|Tackle|[from] ash"),
        ("|-message|Ashes, Nash and Ash2", "|-message|Ashes, Nash and Ash2"),
    ],
)
def test_a_name_is_replaced_where_names_stand(pseudonyms, line, expected):
    battle = battle_of("|player|p1|Ash|1|", line)

    assert pseudonyms.replace_in(battle).log.split("\n")[1] == expected


@pytest.mark.parametrize("line", ["|j|☆Ash", "|l| Ash", "|n|☆Ash|misty", "|c|☆Ash|I am Ash"])
def test_who_comes_and_goes_and_what_they_say_is_left_out(pseudonyms, line):
    battle = battle_of("|player|p1|Ash|1|", line, "|turn|1")

    assert pseudonyms.replace_in(battle).log == f"|player|p1|{ASH}||\n|turn|1"


@pytest.mark.parametrize(
    "name", ["win", "player", "p1", "1500", "a|b"[:1], "R&ampB", "<b>", "O'B", "and/or", '"hi"']
)
def test_an_odd_name_leaves_the_log_readable(pseudonyms, name):
    battle = battle_of(
        f"|player|p1|{name}|1|1500", "|player|p2|Z|2|", "|switch|p1a: X|Gible|1/1", f"|win|{name}"
    )

    copy = pseudonyms.replace_in(battle)

    facts = parse_log(copy.log)
    assert facts.players["p1"].name == facts.winner == copy.winner == pseudonyms.of(name)
    assert facts.players["p1"].rating_before == 1500


@pytest.mark.parametrize(
    "escaped", ["O&apos;B &amp; &lt;A/B&gt;", "O&#39;B &amp; &lt;A&#x2f;B&gt;", "O'B & <A/B>"]
)
def test_a_name_is_found_however_html_spells_it(pseudonyms, escaped):
    name = "O'B & <A/B>"

    copy = pseudonyms.replace_in(battle_of(f"|player|p1|{name}|1|", f"|unheard of|{escaped}</i>"))

    assert copy.log.endswith(f"|unheard of|{pseudonyms.of(name)}</i>")


def test_a_longer_name_is_replaced_before_the_shorter_that_begins_it(pseudonyms):
    battle = battle_of("|player|p1|Ash|1|", "|player|p2|Ash Ketchum|1|", "|win|Ash Ketchum")

    assert pseudonyms.replace_in(battle).winner == pseudonyms.of("Ash Ketchum")


def test_whoever_takes_a_seat_during_the_battle_is_replaced(pseudonyms):
    battle = battle_of("|player|p1|Ash|1|", "|player|p1|Misty|1|", "|-message|Misty forfeited.")

    log = pseudonyms.replace_in(battle).log

    assert log.endswith(f"|-message|{pseudonyms.of('Misty')} forfeited.")
    assert "Misty" not in log


def test_whoever_has_the_clock_started_is_replaced(pseudonyms):
    line = "|inactive|Battle timer is ON: inactive players lose. (requested by {})"

    copy = pseudonyms.replace_in(battle_of("|player|p1|Ash|1|", line.format("A (mod)")))

    assert copy.log.split("\n")[1] == line.format(pseudonyms.of("A (mod)"))


def test_an_id_is_replaced_by_the_pseudonym_of_its_name(pseudonyms):
    name = "OU mods = rfags!"
    table = '|html|<table width="100%"><tr><td align="left">{}</td><td align="right">Z</td></tr>'

    copy = pseudonyms.replace_in(battle_of(f"|player|p1|{name}|1|", table.format("oumodsrfags")))

    assert copy.log.split("\n")[1] == table.format(pseudonyms.of(name))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("The!", "|-message|All of the players are inactive."),
        ("-1045-", "|raw|Z's rating: 1000 &rarr; <strong>1045</strong>"),
        ("STRONG", "|raw|Z's rating: 1000 &rarr; <strong>1045</strong>"),
    ],
)
def test_an_id_that_reads_like_a_word_of_the_server_is_left(pseudonyms, name, line):
    copy = pseudonyms.replace_in(battle_of(f"|player|p1|{name}|1|", line))

    assert copy.log.split("\n")[1] == line


def test_whose_name_is_spelled_like_an_id_is_meant_by_it(pseudonyms):
    battle = battle_of("|player|p1|ash|1|", "|player|p2|Misty|1|", "|-message|ash, misty, Misty")

    log = pseudonyms.replace_in(battle).log

    misty = pseudonyms.of("Misty")
    assert log.endswith(f"|-message|{pseudonyms.of('ash')}, {misty}, {misty}")


def test_two_that_win_together_keep_their_own_pseudonyms(pseudonyms):
    battle = battle_of("|player|p1|Ash|1|", "|player|p3|Misty|1|", "|win|Ash & Misty")

    copy = pseudonyms.replace_in(battle)

    assert copy.winner == f"{ASH} & {pseudonyms.of('Misty')}"
    assert copy.log.endswith(f"|win|{copy.winner}")


def test_a_winner_who_is_no_player_is_replaced(pseudonyms):
    copy = pseudonyms.replace_in(battle_of("|win|Misty"))

    assert copy.winner == pseudonyms.of("Misty")
    assert copy.log == f"|win|{copy.winner}"


def test_players_of_the_list_alone_are_replaced(pseudonyms):
    copy = pseudonyms.replace_in(battle_of("|-message|Ash is here", players=("Ash",)))

    assert [player.name for player in copy.players] == [ASH]
    assert copy.log == f"|-message|{ASH} is here"


def test_a_battle_without_names_stays_as_it_is(pseudonyms):
    battle = battle_of("|turn|1", "|tie")

    assert pseudonyms.replace_in(battle) == battle


def test_no_name_of_a_seat_is_left_nor_a_nickname_that_is_one(battles):
    player = replace(
        battles[0].players[0],
        name="Annabel",
        other_names=["Bobbins"],
        pokemon=[Pokemon("Gible", nickname="Bobbins"), Pokemon("Moth")],
        sheet=[Sheet("Gible", nickname="Annabel")],
    )

    battle = Pseudonyms("key").replace_in(replace(battles[0], players=[player]))

    [hidden] = battle.players
    assert hidden.other_names == [Pseudonyms("key").of("Bobbins")]
    assert [one.nickname for one in hidden.pokemon] == [*hidden.other_names, None]
    assert hidden.sheet[0].nickname == hidden.name
