"""The sandbox answers odd queries as the real site does."""

from __future__ import annotations

import math

import pytest

from sandbox.queries import ActionError, DatabaseError, number
from sandbox.site import ReplaySite

FORMAT = {"format": "gen9ou"}
BOTH = 'Cannot set both "page" and "before", please choose one method of pagination'
MIXED = "Contains can't be combined with other things."


@pytest.fixture(scope="module")
def site(make) -> ReplaySite:
    """Sixty battles a second apart, the newest at 1060, of C and D each third; log and rating."""
    players = [["A", "B"], ["A", "B"], ["C", "D"]]
    return ReplaySite(
        make(
            n,
            1000 + n,
            players=players[n % 3],
            rating=1000 + n % 7,
            log=b'"|switch|p1a: X|Pika_chu|1/1\\n|win|A\\n"' if n % 20 == 0 else b'"|win|A"',
        )
        for n in range(1, 61)
    )


def ids(rows: list[dict]) -> list[int]:
    return [int(row["id"].removeprefix("gen9ou-")) for row in rows]


@pytest.mark.parametrize("filters", [{}, FORMAT, {"user": "A"}, {"user": "A", "user2": "B"}])
@pytest.mark.parametrize(
    "odd",
    [
        {"before": "0"},
        {"before": "-0"},
        {"before": "abc"},
        {"before": ""},
        {"before": "12abc"},
        {"before": "1_000"},
        {"page": ""},
        {"page": "1.0"},
        {"page": "0x1"},
        {"page": " 1 "},
        {"page": "1e0"},
        {"page": "1", "before": "0"},
        {"page": "1", "before": "abc"},
        {"sort": ""},
        {"contains": ""},
        {"unheard": "of"},
    ],
    ids=str,
)
def test_what_the_site_does_not_notice_changes_nothing(site, filters, odd):
    assert site.search({**filters, **odd}) == site.search(filters) != []


@pytest.mark.parametrize("filters", [{}, FORMAT, {"user": "A"}])
@pytest.mark.parametrize("before", ["-5", "-1", "1e2", "0x10", "1"])
def test_nothing_is_older_than_the_oldest(site, filters, before):
    assert site.search({**filters, "before": before}) == []


@pytest.mark.parametrize("filters", [{}, FORMAT, {"user": "A"}])
@pytest.mark.parametrize("before", ["1e9", "1e18", " 1061 ", "+1061", "1061.0", "0x425"])
def test_a_number_may_be_written_as_javascript_reads_it(site, filters, before):
    assert site.search({**filters, "before": before}) == site.search(filters)


@pytest.mark.parametrize("filters", [{}, FORMAT, {"user": "A"}])
@pytest.mark.parametrize("before", ["1.5", "-1.5", "1e19", "9" * 400, "Infinity", "-Infinity"])
def test_a_time_that_the_database_does_not_take_is_an_error(site, filters, before):
    with pytest.raises(DatabaseError):
        site.search({**filters, "before": before})


@pytest.mark.parametrize("page", ["101", "1e3", "9" * 400, "Infinity"])
def test_beyond_the_last_page_is_nothing(site, page):
    assert site.search({**FORMAT, "page": page}) == []


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"page": "0"}, "Invalid page number: 0"),
        ({"page": "x"}, "Invalid page number: x"),
        ({"page": "-1"}, "Invalid page number: -1"),
        ({"page": "1.5"}, "Invalid page number: 1.5"),
        ({"page": " "}, "Invalid page number:  "),
        ({"page": "infinity"}, "Invalid page number: infinity"),
        ({"page": "1", "before": "1"}, BOTH),
        ({"page": "1", "before": "-5"}, BOTH),
        ({"page": "1", "before": "1.5"}, BOTH),
        ({"page": "0", "before": "1"}, "Invalid page number: 0"),
        ({"sort": "zzz", "page": "0"}, 'Sort must be "rating" or "date"'),
        ({"sort": "Rating"}, 'Sort must be "rating" or "date"'),
        ({"user": "a,b,c", "page": "0"}, "Limit 2 usernames in a search"),
        ({"username": "a,b", "user2": "c"}, "Limit 2 usernames in a search"),
        ({"contains": "Pikachu", "format": "gen9ou"}, MIXED),
        ({"contains": "Pikachu", "unheard": ""}, MIXED),
        ({"contains": "Pikachu", "page": "0"}, "Invalid page number: 0"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_said_as_the_site_says_it(site, parameters, error):
    with pytest.raises(ActionError) as raised:
        site.search(parameters)

    assert str(raised.value) == error


@pytest.mark.parametrize(
    ("parameters", "same_as"),
    [
        ({"username": "C", "user": "A"}, {"user": "C"}),
        ({"username": "", "user": "C"}, {"user": "C"}),
        ({"user": "C", "username2": "D", "user2": "A"}, {"user": "C,D"}),
        ({"user2": "C"}, {"user": "C"}),
        ({"user": ",C,"}, {"user": "C"}),
        ({"user": "C,c"}, {"user": "C"}),
        ({"user": "☆"}, {}),
        ({"format": "?"}, {}),
        # The list of all formats knows one order, and one page.
        ({"sort": "rating"}, {}),
        ({"page": "2"}, {}),
    ],
    ids=str,
)
def test_searches_that_are_the_same(site, parameters, same_as):
    assert site.search(parameters) == site.search(same_as) != []


def test_an_order_by_rating_is_one_of_a_format_or_a_user(site):
    for filters in (FORMAT, {"user": "C"}):
        ratings = [row["rating"] for row in site.search({**filters, "sort": "rating"})]
        assert ratings == sorted(ratings, reverse=True)
        assert ratings[0] > ratings[-1]


@pytest.mark.parametrize(
    ("contains", "found"),
    [
        ("Pika_chu", [60, 40, 20]),
        ("Pika_chu,switch", [60, 40, 20]),
        ("pika", []),
        ("Pika%", []),
        ("Pika_chu,a,b", []),
        (",Pika", [60, 40, 20]),
    ],
)
def test_words_are_found_in_logs(site, contains, found):
    rows = site.search({"contains": contains})

    assert ids(rows) == found
    assert all(list(row) == ["uploadtime", "id", "format", "players", "rating"] for row in rows)


def test_words_are_found_in_the_last_hour_alone_and_fifty_times_at_most(make):
    site = ReplaySite(make(n, 100 * n) for n in range(1, 101))
    many = ReplaySite(make(n, n) for n in range(1, 101))

    assert ids(site.search({"contains": "win"})) == list(range(100, 64, -1))
    assert len(many.search({"contains": "win"})) == 50


def test_words_are_found_nowhere_when_there_is_nothing():
    assert ReplaySite([]).search({"contains": "win"}) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 0),
        ("0x1F", 31),
        ("0b11", 3),
        ("0o17", 15),
        ("5.", 5),
        (".5", 0.5),
        ("-1E2", -100),
        ("-Infinity", -math.inf),
        ("0x" + "f" * 400, math.inf),
    ],
)
def test_a_number_is_what_javascript_makes_of_a_text(text, value):
    assert number(text) == value


@pytest.mark.parametrize(
    "text", ["x", "1 2", "0x", "0x_1", "-0x1", "0b2", "inf", "infinity", "nan", "1_0", "٣", "."]
)
def test_any_other_text_is_no_number(text):
    assert math.isnan(number(text))
