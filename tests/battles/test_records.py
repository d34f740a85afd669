"""Battles as lines of JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from battles.items import SCHEMA, Battle, Player, Pokemon, Sheet
from battles.records import decode, encode, to_record

numbers = st.none() | st.integers(0, 2**31)
players = st.builds(
    Player,
    side=st.sampled_from(["p1", "p2", "p3", "p4"]),
    rating_before=numbers,
    rating_after=numbers,
    pokemon=st.lists(st.builds(Pokemon), max_size=2),
    sheet=st.lists(st.builds(Sheet), max_size=2),
)
battles = st.builds(
    Battle,
    generation=numbers,
    players=st.lists(players, max_size=4),
    turns=st.integers(0, 2**31),
    started=numbers,
    uploaded=numbers,
    rating=numbers,
    fetched_at=st.integers(0, 2**31),
    private=st.just(0),
    asked=st.just(""),
    schema=st.just(SCHEMA),
)
BATTLE = Battle(
    id="gen9ou-1",
    formatid="gen9ou",
    format="[Gen 9] OU",
    generation=9,
    gametype="singles",
    players=[Player("p1", "A ☕", 1500, 1520, ["Gible"])],
    winner="A ☕",
    tie=False,
    ended="forfeit",
    turns=3,
    started=1,
    uploaded=2,
    rating=1500,
    rated=True,
    open_team_sheets=False,
    log="|win|A ☕\u2028\r\n",
    source="replay",
    url="https://replay/gen9ou-1.json",
    fetched_at=3,
    content_hash="00",
)


@settings(deadline=None)
@given(battles)
def test_a_battle_outlives_its_record(battle):
    assert decode(encode(battle)) == battle


def test_a_record_is_one_line_of_utf_8():
    line = encode(BATTLE)

    assert b"\n" not in line
    assert "A ☕".encode() in line
    assert decode(line) == BATTLE


def test_what_only_the_pipelines_need_is_not_kept():
    record = to_record(replace(BATTLE, private=2, asked="gen9ou-2"))

    assert {"private", "asked"}.isdisjoint(record)


def test_fields_of_later_versions_are_passed_over():
    record = to_record(BATTLE) | {"weather": "rain"}
    record["players"][0]["country"] = "Kanto"

    assert decode(json.dumps(record).encode()) == BATTLE


_ADDED = ["winner_side", "rated_text", "rules", "custom_rules", "timer", "match", "game", "best_of"]
_ADDED_TO_PLAYERS = ["other_names", "gave_up", "pokemon", "sheet"]


def test_a_record_without_a_version_is_of_the_first():
    record = to_record(BATTLE)
    for name in (*_ADDED, "schema"):
        del record[name]
    for name in _ADDED_TO_PLAYERS:
        del record["players"][0][name]

    battle = decode(json.dumps(record).encode())

    assert battle == replace(BATTLE, schema=1)
    assert decode(encode(battle)).schema == 1


def test_what_is_read_of_a_later_version_is_of_this_one():
    record = to_record(BATTLE) | {"schema": SCHEMA + 1}

    assert decode(json.dumps(record).encode()).schema == SCHEMA


RECORD = to_record(BATTLE)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(encode(BATTLE)[:-20], id="torn"),
        pytest.param(encode(BATTLE) * 2, id="two"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"players"', id="text"),
        pytest.param(b"null", id="null"),
        pytest.param(b"{}", id="no field"),
        pytest.param(b'{"players":[]}', id="fields missing"),
        pytest.param(json.dumps(RECORD | {"players": None}).encode(), id="no players"),
        pytest.param(json.dumps(RECORD | {"players": ["A"]}).encode(), id="names for players"),
        pytest.param(json.dumps(RECORD | {"players": [{}]}).encode(), id="empty players"),
        pytest.param(b'{"players":' * 100_000, id="too deep"),
        pytest.param(b'{"players":' + b"9" * 5000 + b"}", id="a number without end"),
        pytest.param(b"\xff\xfe{}", id="no UTF-8"),
    ],
)
def test_what_is_no_record_is_refused(line):
    with pytest.raises(ValueError, match=r"^no battle but b['\"]"):
        decode(line)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(
    st.binary()
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.sampled_from(sorted(RECORD)), json_values).map(
        lambda changes: json.dumps(RECORD | changes).encode()
    )
)
def test_any_line_is_a_battle_or_a_value_error(line):
    try:
        decoded = decode(line)
    except ValueError as error:
        decoded = str(error)

    assert decoded


def test_a_record_holds_and_shows_no_password_of_a_site(battles):
    battle = replace(battles[0], url="https://ann:pa55w0rd@host/x.json")
    kept_before = encode(battles[0]).replace(
        battles[0].url.encode(), b"https://ann:pa55w0rd@host/x.json"
    )

    assert b"pa55w0rd" not in encode(battle)
    assert decode(kept_before).url == "https://host/x.json"
