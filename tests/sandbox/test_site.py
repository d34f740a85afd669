"""The sandbox answers as the real site does."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from sandbox.queries import ActionError, to_id
from sandbox.site import Plan, ReplaySite

RECENT = ["uploadtime", "id", "format", "players", "rating"]
LOCKED = {"private": 1, "password": "secret"}
FILTERED = [*RECENT, "private", "password"]
LISTS = pytest.mark.parametrize(
    "filters", [{}, {"format": "gen9ou"}, {"user": "aCETrainer22"}], ids=["all", "format", "user"]
)


@pytest.fixture(scope="module")
def hundred(make) -> ReplaySite:
    """A hundred battles a second apart, the newest at 1100."""
    return ReplaySite(make(n, 1000 + n) for n in range(1, 101))


def times(rows: list[dict]) -> list[int]:
    return [row["uploadtime"] for row in rows]


@LISTS
def test_rows_come_newest_first_and_51_at_most(site, filters):
    rows = site.search(filters)

    assert len(rows) <= 51
    assert times(rows) == sorted(times(rows), reverse=True)


@pytest.mark.parametrize("filters", [{}, {"format": "gen9ou"}], ids=["all", "format"])
def test_a_51st_row_means_that_there_is_more(hundred, filters):
    assert len(hundred.search(filters)) == 51


def test_the_list_of_all_formats_says_less_of_a_battle(site):
    assert list(site.search({})[0]) == RECENT


@pytest.mark.parametrize("filters", [{"format": "gen9ou"}, {"user": "AceTrainer22"}])
def test_a_filtered_list_says_that_a_battle_is_public(site, filters):
    row = site.search(filters)[0]

    assert list(row) == FILTERED
    assert (row["private"], row["password"]) == (0, None)


@pytest.mark.parametrize("filters", [{"format": "gen9ou"}, {"user": "A"}])
def test_before_is_exclusive_with_a_filter(hundred, filters):
    assert times(hundred.search({**filters, "before": "1050"}))[0] == 1049


def test_before_is_inclusive_without_a_filter(hundred):
    assert times(hundred.search({"before": "1050"}))[0] == 1050


@LISTS
@pytest.mark.parametrize("before", ["abc", "", "²", "0", "0.0", " "])
def test_a_before_that_is_no_number_is_ignored(site, filters, before):
    assert site.search({**filters, "before": before}) == site.search(filters)


def test_pages_are_50_rows_apart(hundred):
    first, second = (hundred.search({"format": "gen9ou", "page": page}) for page in "12")

    assert first[50] == second[0]
    assert len(second) == 50


def test_the_list_of_all_formats_has_no_pages(hundred):
    assert hundred.search({"page": "2"}) == hundred.search({})


def test_a_page_beyond_the_last_is_empty(hundred):
    assert hundred.search({"format": "gen9ou", "page": "3"}) == []


def test_page_101_is_empty_whatever_there_is(make):
    site = ReplaySite(make(n, n) for n in range(5100))

    assert len(site.search({"format": "gen9ou", "page": "100"})) == 51
    assert site.search({"format": "gen9ou", "page": "101"}) == []


@pytest.mark.parametrize("page", ["0", "x", "-1", "1.5", "²", " "])
def test_a_page_that_is_no_number_is_refused(site, page):
    with pytest.raises(ActionError, match=f"^Invalid page number: {page}$"):
        site.search({"format": "gen9ou", "page": page})


def test_page_and_before_exclude_each_other(site):
    with pytest.raises(ActionError, match=r'^Cannot set both "page" and "before", please choose'):
        site.search({"format": "gen9ou", "page": "1", "before": "1"})


@pytest.mark.parametrize("sort", ["zzz", "Rating"])
def test_an_unknown_order_is_refused(site, sort):
    with pytest.raises(ActionError, match=r'^Sort must be "rating" or "date"$'):
        site.search({"sort": sort})


def test_by_rating_the_best_come_first_after_the_unrated(make):
    site = ReplaySite(make(n, n, rating=rating) for n, rating in enumerate([1000, None, 1500]))

    rows = site.search({"format": "gen9ou", "sort": "rating"})

    assert [row["rating"] for row in rows] == [None, 1500, 1000]


def test_by_date_is_how_a_search_sorts_anyway(site):
    assert site.search({"sort": "date"}) == site.search({})


@pytest.mark.parametrize("filters", [{"user": "a,b,c"}, {"user": "a,b", "user2": "c"}])
def test_more_than_two_users_are_refused(site, filters):
    with pytest.raises(ActionError, match=r"^Limit 2 usernames in a search$"):
        site.search(filters)


@pytest.mark.parametrize(
    "filters",
    [
        {"user": "a,b"},
        {"user": "B", "user2": "A"},
        {"username": "a", "username2": "b"},
        {"user": "a, B", "format": "[Gen 9] OU"},
    ],
    ids=str,
)
def test_two_users_find_the_battles_that_both_played(make, filters):
    site = ReplaySite([make(1, 1), make(2, 2, players=["A", "C"]), make(3, 3, players=["C", "B"])])

    assert [row["id"] for row in site.search(filters)] == ["gen9ou-1"]


@pytest.mark.parametrize("format", ["gen9ou", "[Gen 9] OU", "GEN9OU"])
def test_a_format_is_found_by_id_and_by_name(hundred, format):
    assert len(hundred.search({"format": format})) == 51


@pytest.mark.parametrize("filters", [{"format": "gen9nothing"}, {"user": "nobodyatall"}])
def test_nothing_found_is_an_empty_list(site, filters):
    assert site.search(filters) == []


@pytest.mark.parametrize("code", [1, 2, 3, 10])
@pytest.mark.parametrize(
    "filters", [{}, {"format": "gen9ou"}, {"user": "a"}, {"user": "a,b"}], ids=str
)
def test_a_private_battle_is_never_listed(make, code, filters):
    site = ReplaySite([make(1, 1, private=code)])

    assert site.search(filters) == []
    assert site.public_ids == set()


def test_a_battle_is_listed_once_for_each_of_its_players(make):
    site = ReplaySite([make(1, 1, players=["A", "B", "C", "D"])])

    assert {user: len(site.search({"user": user})) for user in "abcd"} == dict.fromkeys("abcd", 1)


def test_a_public_battle_answers_to_its_id(hundred):
    assert hundred.replay("gen9ou-7").id == "gen9ou-7"


@pytest.mark.parametrize(
    "name", ["gen9ou-999", "GEN9OU-7", "", "gen9ou-7-pw", "gen9ou-7-xpw", "pw"]
)
def test_any_other_name_is_unknown(hundred, name):
    assert hundred.replay(name) is None


@pytest.mark.parametrize("code", [2, 3, 10])
def test_a_private_battle_without_a_password_answers_to_who_guesses_its_id(make, code):
    site = ReplaySite([make(1, 1, private=code)])

    assert site.replay("gen9ou-1").private == code


def test_a_password_is_part_of_the_id(make):
    site = ReplaySite([make(1, 1, **LOCKED)])

    found = {
        name: site.replay(name) is not None
        for name in ("gen9ou-1", "gen9ou-1-secretpw", "gen9ou-1-wrongpw", "gen9ou-1-secret")
    }

    assert [name for name, is_found in found.items() if is_found] == ["gen9ou-1-secretpw"]


def test_a_replay_has_the_fields_of_the_real_one(make):
    replay = make(90001, 1700000900, players=["Secret A", "Ça ☕"], rating=1500)

    assert json.loads(replay.json()) == {
        "id": "gen9ou-90001",
        "format": "[Gen 9] OU",
        "players": ["Secret A", "Ça ☕"],
        "log": "|win|A\n",
        "inputlog": None,
        "uploadtime": 1700000900,
        "views": "0",
        "formatid": "gen9ou",
        "rating": 1500,
        "private": 0,
        "password": None,
    }


def test_views_count_up_as_a_string(make):
    replay = make(1, 1)

    assert [json.loads(replay.json())["views"] for _ in range(3)] == ["0", "1", "2"]


@pytest.mark.parametrize("hidden", [{"private": 2}, {"private": 1, "password": "secret"}])
def test_a_private_battle_made_public_is_listed_at_its_upload_time(make, hidden):
    site = ReplaySite([make(1, 1001, **hidden), make(2, 1002)])

    assert site.change("gen9ou-1", private=0, password=None)

    assert [row["id"] for row in site.search({})] == ["gen9ou-2", "gen9ou-1"]
    assert site.replay("gen9ou-1").uploaded == 1001
    assert site.public_ids == {"gen9ou-1", "gen9ou-2"}


def test_a_public_battle_made_public_is_listed_once(make):
    site = ReplaySite([make(1, 1001)])

    assert site.change("gen9ou-1", private=0, password=None)

    assert [row["id"] for row in site.search({})] == ["gen9ou-1"]


def test_what_there_is_not_cannot_be_made_public(make):
    assert not ReplaySite([make(1, 1001)]).change("gen9ou-2", private=0)


def test_a_battle_published_again_keeps_its_upload_time_and_is_listed_once(make):
    site = ReplaySite([make(1, 1), make(2, 2)])

    site.add(make(1, 9, rating=1500))

    rows = site.search({"format": "gen9ou"})
    assert [(row["id"], row["uploadtime"]) for row in rows] == [("gen9ou-2", 2), ("gen9ou-1", 1)]
    assert rows[1]["rating"] == 1500


def test_a_private_battle_made_public_appears_behind_newer_ones(make):
    hidden = make(1, 1, private=2)
    site = ReplaySite([hidden, make(2, 2)])

    site.add(replace(hidden, private=0))

    assert [row["id"] for row in site.search({})] == ["gen9ou-2", "gen9ou-1"]


def test_a_public_battle_made_private_is_no_longer_listed(make):
    site = ReplaySite([make(1, 1)])

    site.add(make(1, 1, private=2))

    assert site.search({"user": "a"}) == site.search({}) == []


def test_every_recorded_battle_is_public_and_has_a_second_of_its_own():
    site = ReplaySite.recorded()

    uploads = {site.replay(id).uploaded for id in site.public_ids}
    assert len(site.public_ids) == len(uploads) == 2000


def test_more_battles_than_were_recorded_come_under_new_ids():
    site = ReplaySite.recorded(Plan(battles=4500))

    uploads = {site.replay(id).uploaded for id in site.public_ids}
    assert len(site.public_ids) == len(uploads) == 4500


def test_copies_of_a_battle_keep_its_kind_of_id():
    site = ReplaySite.recorded(Plan(battles=4000))

    assert Counter(id.rstrip("0123456789") for id in site.public_ids)["ou-"] == 42


def test_fewer_battles_are_the_oldest():
    site = ReplaySite.recorded(Plan(battles=30))

    assert site.public_ids < ReplaySite.recorded().public_ids
    assert len(site.search({})) == 30


def test_ties_share_a_second():
    site = ReplaySite.recorded(Plan(battles=60, ties=7))

    uploads = Counter(site.replay(id).uploaded for id in site.public_ids)
    assert Counter(uploads.values()) == {7: 8, 4: 1}


def test_a_burst_shares_a_second_in_the_middle():
    site = ReplaySite.recorded(Plan(battles=400, burst=150))

    uploads = Counter(site.replay(id).uploaded for id in site.public_ids)
    assert uploads.most_common(1)[0][1] == 150
    assert len(uploads) == 251


def test_each_so_many_th_battle_is_private_in_one_way_or_another():
    every = ReplaySite.recorded(Plan(battles=400)).public_ids
    site = ReplaySite.recorded(Plan(battles=400, private_every=10))

    hidden = [site.replay(id) for id in every - site.public_ids]
    assert len(hidden) == 40
    assert Counter(replay and replay.private for replay in hidden) == {
        None: 10,
        2: 10,
        3: 10,
        10: 10,
    }


def test_equal_seconds_come_in_an_order_that_says_nothing(make):
    site = ReplaySite(make(n, 1) for n in range(30))

    ids = [row["id"] for row in site.search({})]

    assert ids not in (sorted(ids), sorted(ids, reverse=True))
    assert ids == [row["id"] for row in site.search({})]


@pytest.mark.parametrize(("name", "id"), [("[Gen 9] OU", "gen9ou"), ("Zoë", "zo"), ("☕", "")])
def test_names_are_compared_by_letters_and_digits(name, id):
    assert to_id(name) == id
