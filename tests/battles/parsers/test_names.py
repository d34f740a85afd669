"""The site's identifiers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from battles.parsers.names import (
    battle_of,
    format_of,
    is_battle_id,
    is_private_id,
    pasted_battle,
    to_id,
)


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("[Gen 9] Random Battle", "gen9randombattle"),
        ("Zoë Müller", "zomller"),
        ("Fire 🔥 Starter", "firestarter"),
        ("O'Brien", "obrien"),
        ("ピカチュウ", ""),
        ("", ""),
    ],
)
def test_an_id_keeps_letters_and_digits_alone(name, id):
    assert to_id(name) == id


@pytest.mark.parametrize(
    ("id", "format"),
    [
        ("gen9ou-2390483321", "gen9ou"),
        ("smogtours-gen9ou-871002", "gen9ou"),
        ("ou-20651579", "ou"),
        ("balancedhackmons7322360", "balancedhackmons"),
        ("gen9championsvgc2026regmbbo3-2480005708", "gen9championsvgc2026regmbbo3"),
    ],
)
def test_a_battle_id_tells_its_format(id, format):
    assert is_battle_id(id)
    assert format_of(id) == format


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("gen9ou", id="a format"),
        pytest.param("gen9ou-", id="no number"),
        pytest.param("GEN9OU-1", id="capitals"),
        pytest.param("gen9ou-1\n", id="a line feed"),
        pytest.param("gen9ou-\N{ARABIC-INDIC DIGIT ONE}", id="a digit that is not ours"),
        pytest.param("../../etc/passwd-1", id="a path"),
        pytest.param("gen9ou-90001-abcdefghijklmnopqrstuvwxyz01234pw", id="a private battle"),
        pytest.param("game-bestof3-gen9ou-1", id="a set of battles"),
        pytest.param("a" * 99 + "-1", id="too long"),
    ],
)
def test_what_names_no_public_battle_is_no_battle_id(text):
    assert not is_battle_id(text)


def test_an_id_has_a_hundred_characters_at_most():
    public, private = "a" * 98 + "-1", "a" * 92 + "-1-abcpw"

    assert (is_battle_id(public), is_battle_id(f"a{public}")) == (True, False)
    assert (is_private_id(private), is_private_id(f"a{private}")) == (True, False)


@pytest.mark.parametrize(
    ("url", "id"),
    [
        ("https://example.org/smogtours-gen9ou-1.json", "smogtours-gen9ou-1"),
        ("https://example.org/ou-1.json?x=/2", "ou-1"),
        ("https://example.org/search.json?format=gen9ou-1.json", None),
        ("https://example.org/gen9ou-1.log", None),
        ("https://example.org/gen9ou-1", None),
        ("", None),
    ],
)
def test_the_address_of_a_replay_tells_its_battle(url, id):
    assert battle_of(url) == id


@settings(deadline=None)
@given(st.text())
def test_any_text_has_an_id_that_is_its_own(text):
    id = to_id(text)

    assert to_id(id) == id


@settings(deadline=None)
@given(st.from_regex(r"[a-z0-9-]{0,110}", fullmatch=True))
def test_whatever_looks_like_an_id_has_a_format_in_it(text):
    assert format_of(text) in text


@settings(deadline=None)
@given(
    st.sampled_from(["", "smogtours-", "azure-"]),
    st.from_regex(r"[a-z0-9]{1,30}", fullmatch=True),
    st.integers(min_value=0, max_value=10**10),
)
def test_the_format_is_what_stands_before_the_number(server, format, number):
    id = f"{server}{format}-{number}"

    assert is_battle_id(id)
    assert format_of(id) == format


IDS = st.from_regex(r"(smogtours-)?gen[1-9]ou-[0-9]{1,10}(-[a-z0-9]{1,31}pw)?", fullmatch=True)
BEFORE = st.sampled_from(
    [
        *("", "battle-", " ", "psim.us/r/", "https://psim.us/r/"),
        *("https://replay.pokemonshowdown.com/", "https://play.pokemonshowdown.com/battle-"),
    ]
)
ENDINGS = st.sampled_from(["", ".json", ".log", "/"])
BEHIND = st.sampled_from(["", "?p2", "#turn5", "?p2#turn/5", "\r\n"])


@settings(deadline=None)
@given(BEFORE, IDS, ENDINGS, BEHIND)
def test_whatever_is_pasted_around_an_id_the_id_is_read(before, id, ending, behind):
    assert pasted_battle(before + id + ending + behind) == id


@settings(deadline=None)
@given(st.text())
def test_what_is_read_from_any_text_is_read_again(text):
    id = pasted_battle(text)

    assert id is None or pasted_battle(id) == id
