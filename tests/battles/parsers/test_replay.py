"""Stored replays: every one that the sandbox ships, captured ones, and rubbish."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from battles.items import Player
from battles.parsers.chat import without_chat
from battles.parsers.log import content_hash
from battles.parsers.replay import parse_replay
from battles.parsers.reply import BadReplyError, RefusedError
from battles.records import decode, encode

FORMATS = {
    "gen9randombattle": (633, 9, "singles", 2),
    "gen9ou": (364, 9, "singles", 2),
    "gen9championsvgc2026regmbbo3": (278, 9, "doubles", 2),
    "gen9randomdoublesbattle": (189, 9, "doubles", 2),
    "gen7randombattle": (171, 7, "singles", 2),
    "gen1randombattle": (165, 1, "singles", 2),
    "gen9freeforallrandombattle": (101, 9, "freeforall", 4),
    "gen4randombattle": (78, 4, "singles", 2),
    "ou": (21, 5, "singles", 2),
}
"""The recorded formats: how many battles, generation, game type, players."""
PREVIEWED = ("gen9ou", "gen9championsvgc2026regmbbo3", "ou")
of_each_format = pytest.mark.parametrize("format", FORMATS)


def read(reply: object, asked: str = "gen9ou-1"):
    body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
    return parse_replay(body, asked=asked, url="https://replay/x", fetched_at=1)


def last(pattern: str, log: str) -> str | None:
    return (re.findall(pattern, log, re.MULTILINE) or [None])[-1]


def ending(log: str) -> str:
    """Read the line that stands before the end, beside empty ones and who leaves the room."""
    before = re.split(r"^\|(?:win\|.*|tie)$", log, maxsplit=1, flags=re.MULTILINE)[0]
    line = [line for line in before.split("\n") if line not in ("", "|")][-1]
    return (
        "forfeit"
        if line.endswith("forfeited.")
        else "inactivity"
        if line.endswith(("due to inactivity.", "All players are inactive."))
        else "tie agreed"
        if line.endswith("accepted the tie.")
        else "normal"
    )


def test_every_recorded_battle_is_of_a_format_that_is_tested(parsed):
    assert {format: len(battles) for format, battles in parsed.items()} == {
        format: count for format, (count, *_) in FORMATS.items()
    }


@of_each_format
def test_a_recorded_battle_keeps_what_the_site_says_of_it(parsed, format):
    kept = [(b.id, b.formatid, b.format, b.uploaded, b.rating) for _, b in parsed[format]]

    assert kept == [(r.id, format, r.format, r.uploaded, r.rating) for r, _ in parsed[format]]
    assert {battle.private for _, battle in parsed[format]} == {0}


@of_each_format
def test_a_recorded_battle_has_its_generation_game_type_and_players(parsed, format):
    _, *expected = FORMATS[format]

    assert {(b.generation, b.gametype, len(b.players)) for _, b in parsed[format]} == {
        tuple(expected)
    }


@of_each_format
def test_the_players_of_a_recorded_battle_are_those_that_the_site_lists(parsed, format):
    players = [[(p.side, p.name) for p in battle.players] for _, battle in parsed[format]]

    assert players == [
        [(f"p{n}", name) for n, name in enumerate(replay.players, start=1)]
        for replay, _ in parsed[format]
    ]


@of_each_format
def test_a_recorded_battle_has_a_winner_or_is_a_tie(parsed, format):
    outcomes = [(battle.winner, battle.tie) for _, battle in parsed[format]]

    assert outcomes == [
        (last(r"^\|win\|(.*)$", b.log), "\n|tie\n" in b.log) for _, b in parsed[format]
    ]
    assert all((winner is None) is tie for winner, tie in outcomes)


@of_each_format
def test_the_winner_of_a_recorded_battle_played_it(parsed, format):
    winners = [(b.winner, [p.name for p in b.players]) for _, b in parsed[format] if b.winner]

    assert [winner for winner, names in winners if winner not in names] == []


@of_each_format
def test_a_recorded_battle_ends_as_its_log_says(parsed, format):
    endings = [battle.ended for _, battle in parsed[format]]

    assert endings == [ending(battle.log) for _, battle in parsed[format]]


@pytest.mark.parametrize("ended", ["normal", "forfeit", "inactivity", "tie agreed"])
def test_recorded_battles_end_in_every_way(parsed, ended):
    assert any(battle.ended == ended for _, battle in parsed["gen9randombattle"])


def test_a_recorded_battle_of_four_goes_on_when_one_gives_up(parsed):
    given_up = [b for _, b in parsed["gen9freeforallrandombattle"] if "forfeited." in b.log]

    assert len(given_up) > 5
    assert {battle.ended for battle in given_up} == {"normal"}


@of_each_format
def test_a_recorded_battle_has_turns_and_a_beginning(parsed, format):
    times = [(battle.turns, battle.started) for _, battle in parsed[format]]

    assert times == [
        (b.log.count("\n|turn|"), int(re.findall(r"^\|t:\|(\d+)$", b.log, re.MULTILINE)[0]))
        for _, b in parsed[format]
    ]
    assert all(battle.started < battle.uploaded for _, battle in parsed[format])


@of_each_format
def test_a_recorded_battle_is_rated_when_its_log_says_no_more_than_that(parsed, format):
    rated = [battle.rated for _, battle in parsed[format]]

    assert rated == ["\n|rated|\n" in battle.log for _, battle in parsed[format]]


def test_a_recorded_tournament_battle_is_not_rated(parsed):
    tournament = [b for _, b in parsed["gen9ou"] if b.id.startswith("smogtours-gen9ou-")]

    assert len(tournament) == 20
    assert not any(battle.rated for battle in tournament)


@of_each_format
def test_the_ratings_of_a_recorded_battle_are_those_announced(parsed, format):
    ratings = [
        [(p.rating_before, p.rating_after) for p in b.players]
        for _, b in parsed[format]
        if "'s rating: " in b.log
    ]

    assert ratings == [
        [
            (int(before), int(after))
            for before, after in re.findall(r"'s rating: (\d+) &rarr; <strong>(\d+)<", b.log)
        ]
        for _, b in parsed[format]
        if "'s rating: " in b.log
    ]


@of_each_format
def test_a_recorded_battle_is_filed_under_the_lower_of_the_new_ratings(parsed, format):
    announced = [b for _, b in parsed[format] if any(p.rating_after for p in b.players)]

    assert [b.rating for b in announced] == [
        min(p.rating_after for p in b.players) for b in announced
    ]


@of_each_format
def test_an_unrated_recorded_battle_has_no_ratings(parsed, format):
    unrated = [p for _, b in parsed[format] if not b.rated for p in b.players]

    assert {(player.rating_before, player.rating_after) for player in unrated} <= {(None, None)}


@of_each_format
def test_team_sheets_are_open_in_the_one_format_that_opens_them(parsed, format):
    assert {battle.open_team_sheets for _, battle in parsed[format]} == {format.endswith("bo3")}


@of_each_format
def test_the_team_of_a_recorded_player_has_one_to_six_pokemon(parsed, format):
    sizes = {len(player.team) for _, battle in parsed[format] for player in battle.players}

    assert sizes <= ({6} if format in PREVIEWED else {1, 2, 3, 4, 5, 6})


@of_each_format
def test_the_team_of_a_recorded_player_was_shown(parsed, format):
    # What a preview hides the battle shows.
    kind = "poke|switch" if format in PREVIEWED else "switch|drag|replace"
    shown = [
        set(re.findall(rf"^\|(?:{kind})\|(p\d)[^|]*\|([^,|\n]+)", b.log, re.MULTILINE))
        for _, b in parsed[format]
    ]

    teams = [{(p.side, name) for p in b.players for name in p.team} for _, b in parsed[format]]

    assert [team - seen for team, seen in zip(teams, shown, strict=True) if team - seen] == []


@of_each_format
def test_the_hash_of_a_recorded_battle_outlives_its_chat(parsed, format):
    hashes = [content_hash(without_chat(battle.log)) for _, battle in parsed[format]]

    assert hashes == [battle.content_hash for _, battle in parsed[format]]
    assert len(set(hashes)) == len(hashes)


@of_each_format
def test_taking_out_the_chat_of_a_recorded_battle_takes_out_nothing_else(parsed, format):
    kept = [without_chat(battle.log).split("\n") for _, battle in parsed[format]]

    assert kept == [
        [line for line in battle.log.split("\n") if not line.startswith("|c|")]
        for _, battle in parsed[format]
    ]


@of_each_format
def test_a_recorded_battle_outlives_its_record(parsed, format):
    battles = [replace(battle, asked="", has_chat=False) for _, battle in parsed[format]]

    assert [decode(encode(battle)) for battle in battles] == battles


def test_a_captured_replay_that_breaks_off_is_bad(captured):
    with pytest.raises(BadReplyError, match="broken JSON"):
        read(captured("replays/get_json"))


def test_the_whole_part_of_a_captured_replay_is_read(captured):
    whole = captured("replays/get_json").rpartition(b"\\n")[0] + b'"}'

    battle = read(whole, "gen9randombattle-330")

    assert (battle.id, battle.format) == ("gen9randombattle-330", "[Gen 9] Random Battle")
    assert [player.name for player in battle.players] == ["Botgjwr9a", "Botgjwr9b"]
    assert "Dragonite" in battle.players[1].team
    assert (battle.generation, battle.gametype) == (9, "singles")
    assert battle.started == 1795286087
    assert battle.ended is None


@pytest.mark.parametrize("code", [1, 2, 3, 10])
def test_a_captured_private_replay_says_so(captured, code):
    lines = captured("replays/private").splitlines()
    replies = [line.partition(b"json ")[2] for line in lines if line.startswith(b"200 ")]

    battles = {battle.private: battle for battle in map(read, replies[:4])}

    assert battles[code].id == f"gen9ou-900{code:02}"
    assert battles[code].ended == "normal"


@pytest.mark.parametrize(
    ("private", "code"),
    [(0, 0), (1, 1), (None, -1), ("0", -1), (0.0, -1), ([], -1)],
    ids=repr,
)
def test_a_battle_is_public_when_the_site_says_0_and_nothing_else(private, code):
    assert read({"private": private}).private == code


def test_a_replay_of_another_battle_keeps_both_ids():
    battle = read({"id": "gen9ou-2"}, "gen9ou-1")

    assert (battle.id, battle.asked) == ("gen9ou-2", "gen9ou-1")


@pytest.mark.parametrize(
    ("formatid", "asked", "expected"),
    [
        ("gen9ou", "gen1ou-1", "gen9ou"),
        ("[Gen 9] OU", "gen1ou-1", "gen9ou"),
        (None, "smogtours-gen9ou-1", "gen9ou"),
        ("x" * 1000, "gen9ou-1", "x" * 64),
    ],
    ids=["as sent", "reduced", "from the id", "cut"],
)
def test_a_format_is_an_id_of_its_own(formatid, asked, expected):
    assert read({"formatid": formatid}, asked).formatid == expected


def test_the_log_names_a_format_that_the_reply_does_not():
    assert read({"log": "|tier|[Gen 9] OU"}).format == "[Gen 9] OU"


def test_the_list_of_players_stands_in_for_a_log_without_any():
    battle = read({"players": ["!A", "B ☕", 3, "", "E"], "log": "|win|A"})

    assert battle.players == [Player("p1", "A"), Player("p2", "B ☕")]


def test_the_log_knows_its_players_better_than_the_list():
    battle = read({"players": ["X"], "log": "|player|p2|B"})

    assert battle.players == [Player("p2", "B")]


def test_a_player_list_that_is_none_is_passed_over():
    assert read({"players": "AB"}).players == []


@pytest.mark.parametrize("body", [b"[]", b"[{}]"])
def test_a_list_is_no_replay(body):
    with pytest.raises(BadReplyError, match="not a replay but list"):
        read(body)


def test_an_error_of_the_site_is_refused(captured):
    with pytest.raises(RefusedError, match="Invalid page number: 0"):
        read(captured("search/bad_page"))


def test_half_a_surrogate_pair_can_be_stored():
    battle = read(b'{"log": "|player|p1|\\ud83d|", "format": "\\udd25", "players": ["\\ud800"]}')

    assert battle.players == [Player("p1", "?")]
    assert decode(encode(battle)).format == "?"


text = st.text(st.characters(categories=["Cs", "Cc", "Ll", "Lo"]), max_size=6) | st.text()
rubbish = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=6,
)
pieces = st.sampled_from(
    [
        "\n",
        "|",
        "player|p1|",
        "switch|p2a: ",
        "win|",
        "tie",
        "turn|",
        "t:|9",
        "gen|",
        "\0",
        "\ud800",
    ]
)
logs = st.lists(pieces | text).map("".join)
fields = ("id", "format", "formatid", "players", "uploadtime", "rating", "private", "views", "log")
replies = st.dictionaries(st.sampled_from(fields), rubbish).flatmap(
    lambda reply: st.just(reply) | logs.map(lambda log: reply | {"log": log})
)


@settings(deadline=None)
@given(replies)
def test_any_object_is_a_replay_that_can_be_stored(reply):
    battle = read(reply)

    assert decode(encode(battle)) == replace(battle, private=0, asked="", has_chat=False)


@settings(deadline=None)
@given(st.binary() | rubbish.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_replay_or_a_known_error(body):
    with suppress(BadReplyError, RefusedError):
        assert b"\n" not in encode(read(body))


WHOLE = json.dumps({"id": "gen9ou-1", "log": "|player|p1|A ☕|\n|win|A ☕\n"}).encode()


@settings(deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_a_torn_replay_is_bad(length):
    with pytest.raises(BadReplyError):
        read(WHOLE[:length])
