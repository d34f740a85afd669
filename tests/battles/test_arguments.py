"""What `-a` may give a spider, and what is said when it makes no sense."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from battles.arguments import (
    Argument,
    ArgumentError,
    read_count,
    read_flag,
    read_names,
    read_time,
    reject_unknown,
)


def taken(*names: str) -> list[Argument]:
    return [Argument(name, "", "") for name in names]


def test_known_arguments_and_scrapyds_own_are_taken():
    reject_unknown(["formats", "since", "_job"], taken("formats", "since", "until"))


def test_a_mistyped_argument_is_told_its_neighbour():
    with pytest.raises(ArgumentError, match="unknown argument 'format': did you mean 'formats'"):
        reject_unknown(["format"], taken("formats", "since"))


def test_an_argument_like_no_other_is_told_what_there_is():
    with pytest.raises(ArgumentError, match="unknown argument 'x': there are formats, since"):
        reject_unknown(["x"], taken("since", "formats"))


def test_of_many_unknown_arguments_the_first_by_name_is_told():
    with pytest.raises(ArgumentError, match="unknown argument 'a'"):
        reject_unknown("zyxwvutsrqponmlkjihgfedcba", taken("formats"))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (None, []),
        ("gen9ou", ["gen9ou"]),
        ("gen9ou, [Gen 1] OU", ["gen9ou", "gen1ou"]),
        ("a,A, a ", ["a"]),
    ],
)
def test_names_are_reduced_to_ids_each_once(text, names):
    assert read_names("formats", text) == names


@pytest.mark.parametrize("text", ["", ",", "a,,b", "a,", "ピカチュウ", "[]"])
def test_a_name_without_letters_is_no_name(text):
    with pytest.raises(ArgumentError, match=r"^users=.*: give one or more names"):
        read_names("users", text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("1970-01-01", 0),
        ("2026-11-01", 1793491200),
        ("2026-11-01T00:00", 1793491200),
        ("2026-11-01T00:00Z", 1793491200),
        ("2026-11-01T01:00+01:00", 1793491200),
        ("2026-11-01 00:00:00.9", 1793491200),
    ],
)
def test_a_time_is_utc_unless_it_says_otherwise(text, seconds):
    assert read_time("since", text) == seconds


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "1793491200x", "01.11.2026"])
def test_what_is_no_date_is_told_how_to_write_one(text):
    with pytest.raises(ArgumentError, match=r"^since=.* is no date: give it as 2026-11-01 or"):
        read_time("since", text)


@pytest.mark.parametrize("text", ["1969-12-31", "0001-01-01T00:00+23:59"])
def test_a_time_before_the_epoch_is_refused(text):
    with pytest.raises(ArgumentError, match="is before 1970"):
        read_time("since", text)


@pytest.mark.parametrize(("given", "count"), [(None, None), ("1", 1), ("0500", 500), (7, 7)])
def test_a_count_is_a_whole_number(given, count):
    assert read_count("limit", given) == count


@pytest.mark.parametrize(
    "given",
    ["", "0", 0, "-1", -1, "1.5", " 1", "1e3", "²", "٣", "many", "9" * 5000],
    ids=lambda value: repr(value)[:8],
)
def test_what_is_no_count_is_refused(given):
    with pytest.raises(ArgumentError, match=r"^limit=.*: give a whole number above zero"):
        read_count("limit", given)


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        (None, False),
        ("1", True),
        ("True", True),
        ("yes", True),
        (True, True),
        ("0", False),
        ("false", False),
        ("NO", False),
        (False, False),
    ],
)
def test_a_flag_is_1_or_0(given, flag):
    assert read_flag("follow", given) is flag


@pytest.mark.parametrize("text", ["", "2", "maybe"])
def test_what_is_no_flag_is_refused(text):
    with pytest.raises(ArgumentError, match=r"^follow=.*: give 1 or 0"):
        read_flag("follow", text)


@pytest.mark.parametrize("read", [read_names, read_time, read_count, read_flag])
@settings(deadline=None)
@given(text=st.text() | st.datetimes().map(str))
@example(text="9999-12-31T23:59-23:59")
def test_any_text_is_a_value_or_an_argument_error(read, text):
    try:
        value = read("name", text)
    except ArgumentError as error:
        value = str(error)

    assert value is not None
