from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scrapy.settings import Settings

from battles.index import BattleIndex, Entry, Query, Row
from battles.items import Battle, Player
from extensions.connection import UnreachableError, connect
from extensions.segments import Location
from tests.conftest import examples

NOVEMBER = 1_793_491_200
"""2026-11-01."""
DECEMBER = 1_796_083_200
DAY = 86_400

_numbers = count(1)


@pytest.fixture
def index(redis) -> BattleIndex:
    return BattleIndex(redis)


def entry(id: str = "gen9ou-1", **changes) -> Entry:
    """Build an entry that lies somewhere of its own."""
    built = Entry(
        id=id,
        formatid=id.partition("-")[0],
        players=("Ash", "Misty"),
        rating=1500,
        time=NOVEMBER,
        fetched_at=DECEMBER,
        location=Location("raw/segment", 100 * next(_numbers), 90, 3),
    )
    return replace(built, **changes)


def ids(index: BattleIndex, **query) -> list[str]:
    return [row.id for row in index.search(Query(**query))]


# --- One battle -----------------------------------------------------------------------------------


def test_a_battle_is_found_by_its_id(index):
    added = entry()
    index.add([added])

    assert index.find(["gen9ou-1", "gen9ou-2"]) == {
        "gen9ou-1": Row("gen9ou-1", NOVEMBER, 1500, DECEMBER, added.location)
    }


def test_known_names_those_that_are_there(index):
    index.add([entry("gen9ou-1"), entry("gen9ou-3")])

    assert index.known(f"gen9ou-{n}" for n in range(5)) == {"gen9ou-1", "gen9ou-3"}


def test_more_battles_than_fit_one_round_trip_are_found(index):
    many = [entry(f"gen9ou-{n}", time=NOVEMBER + n) for n in range(1203)]
    index.add(many)

    assert len(index.find(entry.id for entry in many)) == 1203


def test_nothing_is_found_in_an_empty_index(index):
    assert (index.find(["gen9ou-1"]), index.known(["gen9ou-1"]), ids(index)) == ({}, set(), [])


def test_adding_nothing_does_nothing(index):
    assert index.add([]) == []


def test_the_first_copy_is_new_and_a_repetition_is_not(index):
    added = entry()

    assert index.add([added, added]) == [1, 2]
    assert index.add([added]) == [2]
    assert len(index) == 1


def test_adding_twice_takes_no_more_memory(index, redis):
    index.add([entry(time=NOVEMBER), entry(time=NOVEMBER)])
    before = sizes(redis)

    index.add([entry(time=NOVEMBER)])

    assert sizes(redis) == before


def sizes(redis) -> dict[bytes, int]:
    return {key: redis.strlen(key) for key in redis.scan_iter() if redis.type(key) == b"string"}


def test_a_later_copy_replaces_an_earlier_one(index):
    index.add([entry(fetched_at=100)])
    later = entry(fetched_at=101, rating=1600)

    outcome = index.add([later])

    assert outcome == [2]
    assert index.find(["gen9ou-1"])["gen9ou-1"].location == later.location


def test_an_earlier_copy_is_refused(index):
    later = entry(fetched_at=101)
    index.add([later])

    outcome = index.add([entry(fetched_at=100, rating=1600)])

    assert outcome == [0]
    assert index.find(["gen9ou-1"])["gen9ou-1"].location == later.location


def test_a_time_that_does_not_fit_seven_bits_a_byte_is_compared_as_a_number(index):
    index.add([entry(fetched_at=0x7FFFFFFF)])

    assert index.add([entry(fetched_at=0x80000000)]) == [2]
    assert index.add([entry(fetched_at=0x7FFFFFFF)]) == [0]


@pytest.mark.parametrize(
    ("rating", "kept"),
    [
        pytest.param(None, None, id="none"),
        pytest.param(0, 0, id="zero"),
        pytest.param(32767, 32767, id="the highest"),
        pytest.param(2_000_000_000, 32767, id="rubbish"),
    ],
)
def test_a_rating_is_kept_as_far_as_it_fits(index, rating, kept):
    index.add([entry(rating=rating)])

    assert index.find(["gen9ou-1"])["gen9ou-1"].rating == kept


def test_places_beyond_two_gigabytes_are_kept(index):
    place = Location("raw/large", 4_000_000_000, 3_000_000_000, 60_000)

    index.add([entry(location=place)])

    assert index.find(["gen9ou-1"])["gen9ou-1"].location == place


def test_each_battle_lies_in_its_own_segment(index):
    places = {f"gen9ou-{n}": Location(f"raw/{n % 3}", n, 1, 0) for n in range(9)}
    index.add([entry(id, location=place) for id, place in places.items()])

    rows = index.find(places)

    assert {id: row.location for id, row in rows.items()} == places


def test_a_row_whose_segment_has_no_name_is_no_row(index, redis):
    """A Redis that evicts keys loses some of an index and keeps others."""
    index.add([entry()])
    redis.delete("{battles}:index:segment_names")

    assert index.find(["gen9ou-1"]) == {}
    assert ids(index) == []


# --- Search ---------------------------------------------------------------------------------------


@pytest.fixture
def searchable(index) -> BattleIndex:
    index.add(
        [
            entry("gen9ou-1", time=NOVEMBER, rating=1500, players=("Ash", "Misty")),
            entry("gen9ou-2", time=NOVEMBER + DAY, rating=None, players=("Ash", "Brock")),
            entry("gen9ou-3", time=DECEMBER, rating=1700, players=("Misty", "Brock")),
            entry("gen1ou-4", time=NOVEMBER + 2 * DAY, rating=1600, players=("Gary", "Ash")),
            entry("gen1ou-5", time=DECEMBER + DAY, rating=1400, players=("A☆sh!", "É", "x", "y")),
        ]
    )
    return index


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        pytest.param({}, "53421", id="everything"),
        pytest.param({"formatid": "gen9ou"}, "321", id="format"),
        pytest.param({"formatid": "gen2ou"}, "", id="unknown format"),
        pytest.param({"min_rating": 1600}, "34", id="rating"),
        pytest.param({"since": NOVEMBER + DAY}, "5342", id="since, inclusive"),
        pytest.param({"until": DECEMBER}, "421", id="until, exclusive"),
        pytest.param({"since": NOVEMBER + DAY, "until": NOVEMBER + 2 * DAY}, "2", id="a day"),
        pytest.param({"since": DECEMBER + 40 * DAY}, "", id="the future"),
        pytest.param({"player": "Brock"}, "32", id="player"),
        pytest.param({"player": "ash"}, "5421", id="player by any spelling"),
        pytest.param({"player": "☆"}, "", id="player without letters"),
        pytest.param({"player": "Nobody"}, "", id="unknown player"),
        pytest.param({"player": "Y"}, "5", id="fourth player"),
        pytest.param({"player": "Ash", "min_rating": 1500}, "41", id="player and rating"),
        pytest.param({"player": "Ash", "until": DECEMBER}, "421", id="player and time"),
        pytest.param({"formatid": "gen9ou", "min_rating": 1600}, "3", id="format and rating"),
    ],
)
def test_a_search_finds_newest_first(searchable, query, numbers):
    assert "".join(id[-1] for id in ids(searchable, **query)) == numbers


def test_a_search_yields_what_find_knows(searchable):
    row, *_ = searchable.search(Query())

    assert searchable.find([row.id]) == {row.id: row}


def test_more_battles_than_fit_one_round_trip_come_once_and_in_order(index):
    index.add([entry(f"gen9ou-{n}", time=NOVEMBER + n // 3) for n in range(1203)])

    rows = list(index.search(Query()))

    assert len({row.id for row in rows}) == len(rows) == 1203
    assert [row.time for row in rows] == sorted((row.time for row in rows), reverse=True)


@pytest.mark.parametrize(
    "time",
    [
        pytest.param(NOVEMBER + 3 * DAY, id="later that month"),
        pytest.param(NOVEMBER, id="earlier that month"),
        pytest.param(NOVEMBER - DAY, id="an earlier month"),
        pytest.param(DECEMBER + DAY, id="a later month"),
    ],
)
def test_a_battle_whose_time_changed_comes_once_at_its_new_time(index, time):
    old, between = NOVEMBER + 2 * DAY, NOVEMBER + DAY
    index.add([entry("gen9ou-1", time=old), entry("gen9ou-2", time=between)])

    index.add([entry("gen9ou-1", time=time, fetched_at=DECEMBER + 1)])

    newest_first = sorted([(time, "gen9ou-1"), (between, "gen9ou-2")], reverse=True)
    assert ids(index) == [id for _, id in newest_first]
    assert "gen9ou-1" not in ids(index, since=old, until=old + 1)


def test_a_battle_whose_time_changed_back_comes_once(index):
    for fetched_at, time in enumerate([NOVEMBER, DECEMBER, NOVEMBER]):
        index.add([entry(time=time, fetched_at=fetched_at)])

    assert ids(index) == ["gen9ou-1"]


def test_a_battle_whose_rating_changed_is_found_by_the_new_one_only(index):
    index.add([entry(rating=1700)])

    index.add([entry(rating=1200, fetched_at=DECEMBER + 1)])

    assert ids(index, min_rating=1100) == ["gen9ou-1"]
    assert ids(index, min_rating=1600) == []


def test_a_battle_whose_rating_rose_is_found(index):
    index.add([entry(rating=None)])

    index.add([entry(rating=1700, fetched_at=DECEMBER + 1)])

    assert ids(index, min_rating=1600) == ["gen9ou-1"]


def test_a_player_who_came_later_is_found(index):
    """A battle fetched while it ran may have had one player, and no end."""
    index.add([entry(players=("Ash",))])

    index.add([entry(players=("Ash", "Brock"), fetched_at=DECEMBER + 1)])

    assert (ids(index, player="Brock"), ids(index, player="Ash")) == (["gen9ou-1"], ["gen9ou-1"])


def test_formats_are_told_apart_whatever_they_contain(index):
    index.add([entry("x-1", formatid="odd:one"), entry("x-2", formatid="odd")])

    assert (ids(index, formatid="odd:one"), ids(index, formatid="odd")) == (["x-1"], ["x-2"])


# --- The index against a model --------------------------------------------------------------------

_ENTRIES = st.builds(
    entry,
    id=st.sampled_from(["gen9ou-1", "gen9ou-2", "gen9ou-3", "gen1ou-1", "gen1ou-2"]),
    players=st.sets(st.sampled_from(["Ash", "Misty", "Brock", "Gary", "É"]), max_size=4).map(tuple),
    rating=st.none() | st.integers(1000, 1010),
    time=st.sampled_from([NOVEMBER - 1, *range(NOVEMBER, NOVEMBER + 4), DECEMBER - 1, DECEMBER]),
    fetched_at=st.integers(1, 4),
)
_QUERIES = st.builds(
    Query,
    formatid=st.sampled_from([None, "gen9ou", "gen1ou", "gen2ou"]),
    min_rating=st.none() | st.integers(1000, 1011),
    since=st.none() | st.integers(NOVEMBER - 2, NOVEMBER + 2) | st.just(DECEMBER),
    until=st.none() | st.integers(NOVEMBER - 2, NOVEMBER + 2) | st.just(DECEMBER),
)
_REAL_REDIS = settings(
    deadline=None,
    max_examples=examples(60),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Model:
    """What the index should do, in plain Python."""

    def __init__(self) -> None:
        self.held: dict[str, Entry] = {}
        self.ever: dict[str, set[str]] = defaultdict(set)

    def add(self, entry: Entry) -> int:
        old = self.held.get(entry.id)
        if old and old.fetched_at > entry.fetched_at:
            return 0
        self.held[entry.id] = entry
        for player in entry.players:
            self.ever[player].add(entry.id)
        return 2 if old else 1

    def search(self, query: Query) -> list[Entry]:
        return [
            entry
            for entry in self.held.values()
            if query.formatid in (None, entry.formatid) and query.takes(entry.time, entry.rating)
        ]


@_REAL_REDIS
@given(batches=st.lists(st.lists(_ENTRIES, max_size=4), max_size=4), query=_QUERIES)
def test_the_index_holds_what_a_dictionary_would(index, batches, query):
    index.clear()
    model = Model()

    outcomes = [outcome for batch in batches for outcome in index.add(batch)]
    found = list(index.search(query))

    assert outcomes == [model.add(entry) for batch in batches for entry in batch]
    assert len(index) == len(model.held)
    assert sorted(row.id for row in found) == sorted(entry.id for entry in model.search(query))
    assert [row.time for row in found] == sorted((row.time for row in found), reverse=True)
    assert {row.id: row.location for row in found}.items() <= {
        id: entry.location for id, entry in model.held.items()
    }.items()


@_REAL_REDIS
@given(
    batches=st.lists(st.lists(_ENTRIES, max_size=4), max_size=4),
    query=_QUERIES,
    player=st.sampled_from(["Ash", "Misty", "Brock", "Gary", "É", "Nobody"]),
)
def test_the_index_finds_every_battle_of_a_player(index, batches, query, player):
    index.clear()
    model = Model()
    for batch in batches:
        index.add(batch)
        for added in batch:
            model.add(added)

    found = [row.id for row in index.search(replace(query, player=player, formatid=None))]

    fitting = model.search(replace(query, formatid=None))
    assert len(found) == len(set(found))
    assert {entry.id for entry in fitting if player in entry.players} <= set(found)
    assert set(found) <= {entry.id for entry in fitting} & model.ever[player]


# --- Throwing it away -----------------------------------------------------------------------------


def test_a_cleared_index_is_empty(index, redis):
    index.add([entry(f"gen{n % 9}ou-{n}", time=NOVEMBER + n * DAY) for n in range(100)])

    index.clear()

    assert len(index) == 0
    assert redis.dbsize() == 0


@pytest.mark.parametrize("namespace", ["other", "battles2", "battle?", "*"])
def test_clearing_spares_the_index_of(redis, index, namespace):
    other = BattleIndex(redis, namespace)
    other.add([entry()])
    index.add([entry()])

    index.clear()

    assert ids(other) == ["gen9ou-1"]


@pytest.mark.parametrize("namespace", ["team[1]", "*", "a:b"])
def test_an_index_is_cleared_whatever_it_is_called(redis, namespace):
    index = BattleIndex(redis, namespace)
    index.add([entry()])

    index.clear()

    assert redis.dbsize() == 0


def test_what_is_added_after_clearing_is_found(index):
    index.add([entry("gen9ou-1", location=Location("raw/old", 1, 1, 0))])
    index.clear()

    index.add([entry("gen9ou-2", location=Location("raw/new", 2, 2, 0))])

    [row] = index.search(Query())
    assert row.location == Location("raw/new", 2, 2, 0)


# --- Where it comes from --------------------------------------------------------------------------


def test_an_index_is_opened_as_the_settings_say(redis, redis_url):
    settings = Settings({"REDIS_URL": redis_url, "INDEX_NAMESPACE": "mine"})

    BattleIndex.from_settings(settings).add([entry()])

    assert redis.exists("{mine}:index:count")


def test_an_index_without_redis_says_so(monkeypatch):
    monkeypatch.setattr("redis.retry.sleep", lambda _seconds: None)
    index = BattleIndex(connect(Settings({"REDIS_URL": "redis://127.0.0.1:1"})))

    with pytest.raises(UnreachableError, match="does not answer"):
        index.check()


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        pytest.param((3, 2, 1), 3, id="uploaded"),
        pytest.param((None, 2, 1), 2, id="begun"),
        pytest.param((None, None, 1), 1, id="fetched"),
    ],
)
def test_an_entry_has_the_time_when_a_battle_was(battles, times, expected):
    uploaded, started, fetched_at = times
    battle = replace(battles[0], uploaded=uploaded, started=started, fetched_at=fetched_at)

    assert Entry.of(battle, Location("raw/1", 0, 1, 0)).time == expected


def test_an_entry_names_all_players_of_a_battle_of_four(battles):
    battle: Battle = replace(battles[0], players=[Player(f"p{n}", f"Player {n}") for n in range(4)])

    built = Entry.of(battle, Location("raw/1", 0, 1, 0))

    assert built.players == ("Player 0", "Player 1", "Player 2", "Player 3")


# --- Battles without an end -----------------------------------------------------------------------


@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
def test_a_copy_without_an_end_never_hides_one_that_has_it(index, battles, is_first):
    place, other = Location("raw/1", 0, 1, 0), Location("raw/2", 0, 1, 0)
    finished = Entry.of(replace(battles[0], fetched_at=DECEMBER), place)
    later = replace(battles[0], ended=None, fetched_at=DECEMBER + DAY)
    copies = [Entry.of(later, other), finished]

    for copy in copies if is_first else reversed(copies):
        index.add([copy])

    assert index.find([finished.id])[finished.id].location == place
    assert len(index) == 1


def test_a_battle_without_an_end_is_found_and_not_known(index, battles):
    unfinished = Entry.of(replace(battles[0], ended=None), Location("raw/1", 0, 1, 0))

    index.add([unfinished, entry("gen1ou-1")])

    assert set(index.find([unfinished.id])) == {unfinished.id}
    assert index.known([unfinished.id, "gen1ou-1"]) == {"gen1ou-1"}


def test_a_battle_is_known_once_it_has_its_end(index, battles):
    places = Location("raw/1", 0, 1, 0), Location("raw/2", 0, 1, 0)

    index.add([Entry.of(replace(battles[0], ended=None), places[0])])
    index.add([Entry.of(battles[0], places[1])])

    assert index.known([battles[0].id]) == {battles[0].id}
