"""What the log of a battle says, line by line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from battles.items import Player
from battles.parsers.chat import without_chat
from battles.parsers.log import content_hash, parse_log
from battles.parsers.numbers import number


def log_of(*lines: str) -> str:
    return "\n".join(lines)


def test_an_empty_log_says_nothing():
    facts = parse_log("")

    assert facts.players == {}
    assert (facts.winner, facts.tie, facts.ended) == (None, False, None)
    assert facts.turns == 0


@pytest.mark.parametrize(
    "name", ["Fire 🔥 Starter", 'Say "Hi" O\'Brien', "and/or", "|tie"[1:], "win", "ピカチュウ"]
)
def test_a_player_and_winner_may_be_called_anything(name):
    facts = parse_log(log_of(f"|player|p1|{name}|265|1500", f"|win|{name}"))

    assert facts.players == {"p1": Player("p1", name, rating_before=1500)}
    assert facts.winner == name


def test_players_come_in_the_order_of_the_sides():
    facts = parse_log(log_of(*(f"|player|p{n}|{n}" for n in (3, 1, 4, 2))))

    assert list(facts.players) == ["p1", "p2", "p3", "p4"]


def test_the_empty_player_after_the_end_does_not_rename():
    facts = parse_log(log_of("|player|p1|A|1|", "|win|A", "|player|p1|"))

    assert facts.players["p1"].name == "A"


def test_a_player_who_leaves_the_room_keeps_the_name():
    facts = parse_log(log_of("|player|p1|", "|player|p1|A|1|", "|start", "|player|p1|", "|win|A"))

    assert facts.players["p1"].name == "A"


@pytest.mark.parametrize("line", ["|player|p5|A", "|player|", "|player", "|player|p1"])
def test_a_player_line_without_a_side_or_name_is_passed_over(line):
    assert parse_log(line).players == {}


def test_a_tier_is_no_tie():
    facts = parse_log("|tier|[Gen 9] OU")

    assert (facts.format, facts.tie, facts.ended) == ("[Gen 9] OU", False, None)


def test_a_tie_ends_a_battle_without_a_winner():
    facts = parse_log(log_of("|turn|8", "|", "|tie"))

    assert (facts.tie, facts.winner, facts.ended) == (True, None, "normal")


@pytest.mark.parametrize(
    ("ends", "winner", "turns"),
    [
        (("|win|A", "|turn|9", "|win|B"), "A", 8),
        (("|win|A", "|win|A", "|turn|9"), "A", 8),
        (("|win|A", "|turn|9", "|tie"), "A", 8),
        (("|tie", "|turn|9", "|win|B"), None, 8),
    ],
)
def test_the_first_of_several_ends_counts(ends, winner, turns):
    facts = parse_log(log_of("|turn|8", *ends))

    assert (facts.winner, facts.turns) == (winner, turns)


def test_what_people_say_neither_wins_nor_ties():
    facts = parse_log(log_of("|c|☆A|that was |win|me right there", "|c|☆A|i want a |tie"))

    assert (facts.winner, facts.tie, facts.ended) == (None, False, None)


@pytest.mark.parametrize(
    ("lines", "ended"),
    [
        pytest.param(["|faint|p2a: X", "|", "|win|A"], "normal", id="played out"),
        pytest.param(["|-message|B forfeited.", "|", "|win|A"], "forfeit", id="given up"),
        pytest.param(["|message|B forfeited.", "|win|A"], "forfeit", id="given up long ago"),
        pytest.param(
            ["|-message|B lost due to inactivity.", "|win|A"], "inactivity", id="out of time"
        ),
        pytest.param(
            ["|-message|All players are inactive.", "|", "|tie"], "inactivity", id="all gone"
        ),
        pytest.param(["|-message|A is bored.", "|win|A"], "normal", id="something else"),
        pytest.param(["|-message|B forfeited."], None, id="no end"),
    ],
)
def test_a_battle_of_two_ends_as_the_lines_before_the_end_say(lines, ended):
    assert parse_log(log_of("|turn|3", *lines)).ended == ended


@pytest.mark.parametrize(
    ("lines", "ended"),
    [
        pytest.param(
            ["|-message|C forfeited.", "|player|p3|", "|turn|6", "|win|A"],
            "normal",
            id="others play on for a turn",
        ),
        pytest.param(
            ["|-message|C forfeited.", "|faint|p3b: X", "|", "|t:|9", "|faint|p2b: Y", "|win|A"],
            "normal",
            id="others end it within the turn",
        ),
        pytest.param(
            ["|-message|C forfeited.", "|player|p3|", "|faint|p3b: X", "|", "|win|A"],
            "forfeit",
            id="the last but one",
        ),
        pytest.param(
            ["|-message|C forfeited.", "|turn|6", "|-message|B lost due to inactivity.", "|win|A"],
            "inactivity",
            id="one after the other",
        ),
    ],
)
def test_a_forfeit_ends_a_battle_of_four_when_one_is_left(lines, ended):
    assert parse_log(log_of("|gametype|freeforall", "|turn|5", *lines)).ended == ended


@pytest.mark.parametrize(
    "spelling", ["O'Brien", "O&apos;Brien", "O&#39;Brien", "O&#x27;Brien"], ids=repr
)
def test_ratings_find_their_player_however_html_spells_the_name(spelling):
    facts = parse_log(
        log_of(
            "|player|p1|O'Brien|1|1000",
            f"|raw|{spelling}'s rating: 1000 &rarr; <strong>1055</strong><br />(+55 for winning)",
        )
    )

    assert facts.players["p1"] == Player("p1", "O'Brien", 1000, 1055)


def test_a_long_name_full_of_html_keeps_its_rating():
    name = "&<>'/" * 3 + "a//"
    escaped = "&amp;&lt;&gt;&apos;&#x2f;" * 3 + "a&#x2f;&#x2f;"

    facts = parse_log(
        log_of(f"|player|p1|{name}|", f"|raw|{escaped}'s rating: 1 &rarr; <strong>2</strong>")
    )

    assert facts.players["p1"].rating_after == 2


def test_names_without_letters_keep_their_own_ratings():
    facts = parse_log(
        log_of(
            "|player|p1|ピカ|",
            "|player|p2|チュウ|",
            "|raw|ピカ's rating: 1000 &rarr; <strong>1040</strong>",
            "|raw|チュウ's rating: 1100 &rarr; <strong>1060</strong>",
        )
    )

    assert [player.rating_after for player in facts.players.values()] == [1040, 1060]


def test_the_rating_of_somebody_else_is_passed_over():
    facts = parse_log(log_of("|player|p1|A|", "|raw|B's rating: 1 &rarr; <strong>2</strong>"))

    assert facts.players["p1"].rating_after is None


@pytest.mark.parametrize(
    ("line", "rated"),
    [("|rated|", True), ("|rated", True), ("|rated|Tournament battle", False)],
)
def test_a_battle_is_rated_when_no_message_says_otherwise(line, rated):
    assert parse_log(line).rated is rated


@pytest.mark.parametrize("line", ["|showteam|p1|Pelipper||", "|rule|Open Team Sheets: shown"])
def test_open_team_sheets_show_in_either_line(line):
    assert parse_log(line).open_team_sheets


def test_another_rule_opens_no_team_sheets():
    assert not parse_log("|rule|Sleep Clause Mod: Limit one foe put to sleep").open_team_sheets


@pytest.mark.parametrize(
    ("lines", "team"),
    [
        pytest.param(
            ["|poke|p1|Tauros-Paldea-Blaze, L81, M|", "|poke|p1|Ho-Oh|", "|switch|p1a: X|Pikachu"],
            ["Tauros-Paldea-Blaze", "Ho-Oh"],
            id="the preview is complete",
        ),
        pytest.param(
            ["|switch|p1a: X|Gible, L99|100/100", "|drag|p1a: Y|Moth", "|replace|p1a: Z|Zoroark"],
            ["Gible", "Moth", "Zoroark"],
            id="as they appear",
        ),
        pytest.param(
            ["|switch|p1a: X|Gible|1/1", "|switch|p1a: Y|Moth|1/1", "|switch|p1a: X|Gible|1/1"],
            ["Gible", "Moth"],
            id="each once",
        ),
        pytest.param(
            [
                "|switch|p1a: Char|Charizard, M|1/1",
                "|detailschange|p1a: Char|Charizard-Mega-X, M",
                "|switch|p1a: Moth|Moth|1/1",
                "|switch|p1a: Char|Charizard-Mega-X, M|1/1",
                "|switch|p1a: Moth|Moth|1/1",
            ],
            ["Charizard", "Moth"],
            id="a changed forme is the same",
        ),
        pytest.param(
            ["|switch|p1a: gg|Gible|1/1", "|switch|p1a: gg|Moth|1/1"],
            ["Gible", "Moth"],
            id="a nickname for two",
        ),
        pytest.param(
            ["|switch|p1a: Hot|Rotom-Heat|1/1", "|switch|p1a: Wet|Rotom-Wash|1/1"],
            ["Rotom-Heat", "Rotom-Wash"],
            id="two of a kind",
        ),
        pytest.param(["|poke|p9|Gible", "|switch|x|Moth", "|switch|"], [], id="no side"),
    ],
)
def test_a_team_is_the_species_that_were_shown(lines, team):
    facts = parse_log(log_of("|player|p1|A", *lines))

    assert facts.players["p1"].team == team


@pytest.mark.parametrize(
    ("line", "generation"),
    [("|gen|1", 1), ("|gen|4", 4), ("|gen|", None), ("|gen|x", None), ("|gen|300", None)],
)
def test_a_generation_is_a_small_number(line, generation):
    assert parse_log(line).generation == generation


def test_the_first_time_is_the_beginning():
    assert parse_log(log_of("|t:|1795000032", "|t:|1795000040")).started == 1795000032


@pytest.mark.parametrize("line", ["|turn|", "|turn|x", "|turn|-1", "|turn|" + "9" * 30, "turn|5"])
def test_a_turn_without_a_number_does_not_count(line):
    assert parse_log(log_of("|turn|2", line)).turns == 2


def test_an_empty_gametype_is_none():
    assert parse_log("|gametype|").gametype is None


def test_the_hash_of_a_log_depends_on_the_battle():
    assert content_hash("|win|A") != content_hash("|win|B")


@pytest.mark.parametrize(
    ("value", "result"),
    [
        pytest.param(0, 0, id="nought"),
        pytest.param("0012", 12, id="text"),
        pytest.param(2**31 - 1, 2**31 - 1, id="the largest"),
        pytest.param(2**31, None, id="too large"),
        pytest.param(10**5000, None, id="far too large"),
        pytest.param("9" * 5000, None, id="too long"),
        pytest.param(-1, None, id="negative"),
        pytest.param("-1", None, id="negative text"),
        pytest.param("²", None, id="a square"),
        pytest.param("٣", None, id="another script"),
        pytest.param(1.0, None, id="a float"),
        pytest.param(True, None, id="a truth"),
        pytest.param(None, None, id="nothing"),
    ],
)
def test_a_number_is_whole_and_fits(value, result):
    assert number(value) == result


KINDS = """
    win tie turn player poke switch drag replace t: gametype gen tier rated rule showteam raw
    message -message c start clearpoke teamsize move faint detailschange swap inactive uhtml
    -heal -damage -item -enditem -ability -terastallize -mega -transform -activate
"""
kinds = st.sampled_from(KINDS.split())
arguments = (
    st.sampled_from(
        ["p1", "p2a: X", "p9", "A", " forfeited.", "Pikachu, L1", "'s rating: 1 &rarr; <strong>2<"]
    )
    | st.sampled_from(
        [
            "p1a: X",
            "p1b: X",
            "Urshifu-*",
            "Urshifu, M",
            "[from] item: X",
            "[of] p2a: X",
            "6",
            "X]||",
        ]
    )
    | st.text(st.characters(), max_size=8)
)
lines = st.builds(lambda kind, rest: "|" + "|".join([kind, *rest]), kinds, st.lists(arguments))
surrogates = st.text(st.characters(categories=["Cs", "Cc", "Ll"]))


@settings(deadline=None)
@given(st.lists(lines | st.text() | surrogates).map("\n".join))
def test_any_text_is_a_log(text):
    facts = parse_log(text)

    assert set(facts.players) <= {"p1", "p2", "p3", "p4"}
    assert 0 <= facts.turns < 2**31


@settings(deadline=None)
@given(st.lists(lines | st.text()).map("\n".join))
def test_a_battle_is_the_same_without_its_chat(text):
    assert parse_log(without_chat(text)) == parse_log(text)
