"""Walking the search without losing a battle, over sites of every layout."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from battles.paging import Step, Walk, advance, begin
from battles.parsers.names import to_id
from battles.parsers.reply import BadReplyError
from battles.parsers.search import PAGE_FULL, Row, SearchPage, parse_search
from sandbox.site import Replay, ReplaySite
from tests.conftest import examples

EPOCH = 1_795_000_000
FORMATS = ("gen9ou", "gen1randombattle", "ou", "gen9vgc2026regmbbo3")
PREFIXES = {"gen9ou": "smogtours-gen9ou"}
"""Some battles of these formats come from another server."""
USERS = ("A", "B b", "Ça ☕", "d")


def replay(n: int, uploaded: int, format: str, players: list[str], private: int = 0) -> Replay:
    prefix = PREFIXES.get(format, format) if n % 3 == 0 else format
    return Replay(
        id=f"{prefix}-{n}",
        format=f"[{format}]",
        formatid=format,
        players=players,
        uploaded=uploaded,
        rating=None,
        private=private,
        password=None,
        log=b'""',
    )


@dataclass
class Walked:
    """What came of a walk."""

    taken: list[str] = field(default_factory=list)
    """In order, with repeats if there are any."""
    formats: set[str] = field(default_factory=set)
    """Formats that the list of all formats showed."""
    suspects: list[int] = field(default_factory=list)
    requests: int = 0
    longest: int = 0
    """Characters of the longest walk, as a queue would have it."""

    @property
    def found(self) -> set[str]:
        return set(self.taken)


def walk_through(site: ReplaySite, walk: Walk, most: int = 1000) -> Walked:
    """Follow a walk to its end, through JSON as a queue would have it."""
    walked, open_walks = Walked(), [walk.fields()]
    while open_walks:
        stored = json.dumps(open_walks.pop())
        walked.longest = max(walked.longest, len(stored))
        walk = Walk.of(json.loads(stored))
        rows = site.search(walk.parameters())
        step = advance(walk, parse_search(json.dumps(rows).encode()))
        walked.requests += 1
        assert walked.requests <= most, "too many requests"
        walked.taken += [row.id for row in step.rows]
        if not walk.is_filtered:
            walked.formats |= {row["id"].split("-")[-2] for row in rows}
        if step.suspect is not None:
            walked.suspects.append(step.suspect)
        open_walks += [following.fields() for following in step.walks]
    return walked


def most_requests(listed: list[Replay], formats: int) -> int:
    """Bound the requests for these battles: two a page, and more for crowded seconds."""
    times = Counter(replay.uploaded for replay in listed)
    crowded = [count for count in times.values() if count >= PAGE_FULL]
    inside = sum(12 + count // 25 for count in crowded) * formats
    return 3 + len(listed) // 25 + len(crowded) + inside


@st.composite
def seconds(draw) -> list[Replay]:
    """The battles of some seconds: few in most, many in others."""
    sizes = (
        st.integers(0, 4)
        | st.integers(5, 120)
        | st.sampled_from([49, 50, 51, 52, 100, 101, 102, 150, 151, 152, 300])
    )
    groups = st.tuples(
        st.integers(1, 3),
        sizes,
        st.lists(st.sampled_from(FORMATS), min_size=1, max_size=4),
        st.lists(st.sampled_from(USERS), min_size=2, max_size=5),
        st.sampled_from([0, 0, 2, 7]),
    )
    time, replays = EPOCH, []
    for gap, size, formats, users, private_every in draw(st.lists(groups, max_size=9)):
        time += gap
        for n in range(size):
            players = [users[n % len(users)], users[(n + 1) % len(users)]]
            is_private = private_every and n % private_every == 1
            replays.append(
                replay(
                    len(replays), time, formats[n % len(formats)], players, 2 if is_private else 0
                )
            )
    return replays


windows = st.tuples(
    st.none() | st.integers(EPOCH, EPOCH + 30), st.none() | st.integers(EPOCH, EPOCH + 30)
)


def inside(replays: list[Replay], since: int | None, until: int | None) -> list[Replay]:
    return [
        replay
        for replay in replays
        if replay.private == 0
        and (since is None or replay.uploaded >= since)
        and (until is None or replay.uploaded < until)
    ]


@pytest.mark.parametrize(
    ("format", "user"),
    [("gen9ou", None), (None, "bb"), ("gen9ou", "bb"), (None, "a")],
    ids=["of a format", "of a user", "of a user in a format", "of another user"],
)
@given(replays=seconds(), window=windows)
@settings(deadline=None, max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
def test_a_filtered_walk_finds_every_battle_of_its_window(replays, window, format, user):
    since, until = window
    listed = [
        replay
        for replay in inside(replays, None, None)
        if (format is None or replay.formatid == format)
        and (user is None or user in {to_id(name) for name in replay.players})
    ]

    walked = walk_through(
        ReplaySite(replays),
        begin(Walk(format, user, since=since), until=until),
        most=most_requests(listed, formats=1),
    )

    assert walked.found == {replay.id for replay in inside(listed, since, until)}
    assert walked.suspects == []


@given(replays=seconds(), window=windows)
@settings(deadline=None, max_examples=examples(100), suppress_health_check=[HealthCheck.too_slow])
def test_a_walk_over_all_formats_finds_all_but_those_no_page_shows(replays, window):
    wanted = inside(replays, *window)
    crowded = {
        second
        for second, count in Counter(replay.uploaded for replay in wanted).items()
        if count > PAGE_FULL
    }

    walked = walk_through(
        ReplaySite(replays),
        begin(Walk(None, None, since=window[0]), until=window[1]),
        most=most_requests(inside(replays, None, None), len(FORMATS)),
    )

    assert walked.found == {
        replay.id
        for replay in wanted
        if replay.uploaded not in crowded or replay.formatid in walked.formats
    }
    assert walked.suspects == []


@pytest.mark.parametrize("limit", [None, 1000], ids=["all wanted", "a limit beyond all"])
def test_a_format_that_only_a_crowded_second_has_is_found_once_a_page_shows_it(limit):
    battles = [replay(n, EPOCH, "gen9ou", ["A", "B"]) for n in range(200)]
    others = [replay(n, EPOCH, "ou", ["A", "B"]) for n in range(200, 400)]
    shown = {row["id"] for row in ReplaySite([*battles, *others]).search({})}
    hidden = [one for one in others if one.id not in shown][:20]
    older = [replay(n, EPOCH - 5, "gen8ou", ["A", "B"]) for n in range(500, 560)]
    site = ReplaySite([*battles, *hidden, *older, replay(600, EPOCH - 9, "ou", ["A", "B"])])

    walked = walk_through(site, Walk(left=limit))

    assert walked.found == site.public_ids


# --- With a limit ---------------------------------------------------------------------------------


limits = st.integers(1, 120) | st.integers(1, 1100)


def times_of(site: ReplaySite, ids: list[str]) -> list[int]:
    return sorted((site.replay(id).uploaded for id in ids), reverse=True)


@pytest.mark.parametrize(
    ("format", "user"), [("gen9ou", None), (None, "bb")], ids=["of a format", "of a user"]
)
@given(replays=seconds(), limit=limits, window=windows)
@settings(deadline=None, max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
def test_a_filtered_walk_takes_as_many_as_its_limit_and_the_newest(
    replays, limit, window, format, user
):
    site, (since, until) = ReplaySite(replays), window
    everything = walk_through(site, begin(Walk(format, user, since=since), until=until)).found

    walked = walk_through(site, begin(Walk(format, user, since=since, left=limit), until=until))

    assert len(walked.found) == len(walked.taken)
    assert times_of(site, walked.taken) == times_of(site, everything)[:limit]


@given(replays=seconds(), limit=limits, window=windows)
@settings(deadline=None, max_examples=examples(100), suppress_health_check=[HealthCheck.too_slow])
def test_a_walk_over_all_formats_takes_as_many_as_its_limit(replays, limit, window):
    site, (since, until) = ReplaySite(replays), window
    everything = walk_through(site, begin(Walk(since=since), until=until)).found

    walked = walk_through(
        site,
        begin(Walk(since=since, left=limit), until=until),
        most=most_requests(inside(replays, None, None), len(FORMATS)),
    )

    assert len(walked.found) == len(walked.taken) == min(limit, len(everything))
    assert walked.longest < 15_000


@given(replays=seconds(), limit=limits)
@settings(
    deadline=None,
    max_examples=examples(60),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def test_a_walk_over_all_formats_takes_the_newest_where_no_format_shows_late(replays, limit):
    site = ReplaySite(replays)
    shown = {(row["uploadtime"], row["id"].split("-")[-2]) for row in pages_by_second(site)}
    assume(shown == {(replay.uploaded, replay.formatid) for replay in inside(replays, None, None)})

    walked = walk_through(site, Walk(left=limit))

    assert times_of(site, walked.taken) == times_of(site, list(site.public_ids))[:limit]


def pages_by_second(site: ReplaySite) -> list[dict]:
    """What the list of all formats shows of each second at most."""
    times = times_of(site, list(site.public_ids))
    return [
        row
        for time in set(times)
        for row in site.search({"before": str(time)})
        if row["uploadtime"] == time
    ]


def test_a_limit_is_reached_in_spite_of_a_crowded_second():
    newer = [replay(n, EPOCH + n, "gen9ou", ["A", "B"]) for n in range(1, 15)]
    crowded = [replay(n, EPOCH, "gen9ou", ["A", "B"]) for n in range(20, 80)]
    older = [replay(n, EPOCH - n, "gen9ou", ["A", "B"]) for n in range(100, 120)]
    site = ReplaySite([*newer, *crowded, *older])

    walked = walk_through(site, Walk("gen9ou", left=95))

    assert len(walked.taken) == len(walked.found) == 94


class Growing:
    """A site to which so many newer battles come between any two requests."""

    def __init__(self, replays: list[Replay], new: int) -> None:
        self._site = ReplaySite(replays)
        self._new = new
        self._count = 0

    def search(self, parameters: dict[str, str]) -> list[dict]:
        rows = self._site.search(parameters)
        for _ in range(self._new):
            self._count += 1
            self._site.add(
                replay(90_000 + self._count, EPOCH + 1 + self._count, "gen9ou", ["A", "B"])
            )
        return rows


@pytest.mark.parametrize("new", [0, 1, 20, 40])
@pytest.mark.parametrize("limit", [60, 260, 315, 400])
def test_a_row_that_uploads_shift_to_the_next_page_counts_once(new, limit):
    crowded = [replay(n, EPOCH, "gen9ou", ["A", "B"]) for n in range(300)]
    older = [replay(n, EPOCH - 1, "gen9ou", ["A", "B"]) for n in range(400, 420)]
    site = Growing([*crowded, *older], new)

    walked = walk_through(site, begin(Walk("gen9ou", left=limit), until=EPOCH + 1))

    assert len(walked.taken) == len(walked.found) == min(limit, 320)


class Shuffled:
    """A site that orders the battles of a second by `page` otherwise than by `before`."""

    def __init__(self, replays: list[Replay]) -> None:
        self._site = ReplaySite(replays)
        self._other = ReplaySite([replace(one, id=one.id[::-1]) for one in replays])

    def search(self, parameters: dict[str, str]) -> list[dict]:
        if "page" not in parameters:
            return self._site.search(parameters)
        return [row | {"id": row["id"][::-1]} for row in self._other.search(parameters)]


def test_what_was_taken_before_a_second_is_walked_counts_once_on_whichever_page_it_comes():
    crowded = [replay(n, EPOCH, "gen9ou", ["A", "B"]) for n in range(800)]
    older = [replay(n, EPOCH - 1, "gen9ou", ["A", "B"]) for n in range(1000, 1020)]
    site = Shuffled([*crowded, *older])

    walked = walk_through(site, Walk("gen9ou", left=815))

    assert len(walked.taken) == len(walked.found) == 815


def test_a_walk_stays_small_in_a_second_however_crowded():
    crowded = [replay(n, EPOCH, "gen9ou", ["A", "B"]) for n in range(4000)]

    walked = walk_through(ReplaySite(crowded), Walk("gen9ou", left=5000))

    assert len(walked.taken) == len(walked.found) == 4000
    assert walked.longest < 10_000


def test_a_list_of_all_formats_that_an_earlier_version_left_is_walked_to_its_end():
    battles = [replay(n, EPOCH, FORMATS[n % 2], ["A", "B"]) for n in range(200)]
    site = ReplaySite([*battles, replay(250, EPOCH - 5, "ou", ["A", "B"])])
    left = {"before": EPOCH - 1, "crowded": [EPOCH], "formats": sorted(FORMATS[:2]), "left": 149}

    walked = walk_through(site, Walk.of(left))

    assert len(walked.taken) == len(walked.found) == 149


# --- Sites that misbehave -------------------------------------------------------------------------


def test_a_crowded_second_costs_few_requests():
    newer = [replay(n, EPOCH + n, "gen9ou", ["A", "B"]) for n in range(1, 2001)]
    crowded = [replay(n, EPOCH, "gen9ou", ["A", "B"]) for n in range(5000, 5300)]
    site = ReplaySite([*newer, *crowded])

    walked = walk_through(site, begin(Walk("gen9ou", None, since=EPOCH), until=EPOCH + 1))

    assert walked.found == {replay.id for replay in crowded}
    assert walked.requests <= 18


def test_a_second_too_deep_for_the_sites_pages_is_suspect_and_the_walk_goes_on():
    newer = [replay(n, EPOCH + n, "gen9ou", ["A", "B"]) for n in range(1, 5000)]
    crowded = [replay(n, EPOCH, "gen9ou", ["A", "B"]) for n in range(5000, 5100)]
    older = [replay(n, EPOCH - n, "gen9ou", ["A", "B"]) for n in range(6000, 6100)]
    site = ReplaySite([*newer, *crowded, *older])

    walked = walk_through(site, begin(Walk("gen9ou", None, since=None), until=None))

    assert walked.suspects == [EPOCH]
    assert {replay.id for replay in (*newer, *older)} <= walked.found
    assert len(walked.found) > len(newer) + len(older) + 50


def test_a_crowded_second_at_the_very_end_of_the_sites_pages_is_complete():
    newer = [replay(n, EPOCH + n, "gen9ou", ["A", "B"]) for n in range(1, 4921)]
    crowded = [replay(n, EPOCH, "gen9ou", ["A", "B"]) for n in range(5000, 5080)]
    site = ReplaySite([*newer, *crowded])

    walked = walk_through(site, begin(Walk("gen9ou", None, since=None), until=None))

    assert walked.suspects == []
    assert walked.found == site.public_ids


class Deaf:
    """A site that does not listen to `before`."""

    def __init__(self, count: int) -> None:
        battles = [replay(n, EPOCH + n, "gen9ou", ["A", "B"]) for n in range(count)]
        self._site = ReplaySite(battles)

    def search(self, parameters: dict[str, str]) -> list[dict]:
        return self._site.search(parameters | {"before": ""})


@pytest.mark.parametrize("format", [None, "gen9ou"], ids=["all formats", "one format"])
@pytest.mark.parametrize(
    ("until", "count"),
    [(None, 300), (EPOCH + 10, 300), (EPOCH + 10, 30)],
    ids=["many pages", "many pages before a time", "one page before a time"],
)
def test_a_site_that_ignores_before_is_bad(format, until, count):
    walk = begin(Walk(format, None, since=None), until=until)

    with pytest.raises(BadReplyError, match=r"before=\d+ is answered with battles of \d+"):
        walk_through(Deaf(count), walk)


class SameAgain:
    """A site that answers every page with the first."""

    def __init__(self, rows: list[dict]) -> None:
        self._rows = rows

    def search(self, _parameters: dict[str, str]) -> list[dict]:
        return self._rows


def test_a_site_that_ignores_page_does_not_keep_the_walk_for_ever():
    rows = [{"id": f"gen9ou-{n}", "uploadtime": EPOCH} for n in range(PAGE_FULL)]

    walked = walk_through(
        SameAgain(rows),
        Walk(format="gen9ou", second=EPOCH, before=EPOCH + 1),
        most=150,
    )

    assert walked.suspects == [EPOCH]


@pytest.mark.parametrize(
    ("format", "before"), [("gen9ou", 100), (None, 99)], ids=["exclusive", "inclusive"]
)
def test_a_walk_begins_before_the_end_of_its_window(format, before):
    assert begin(Walk(format, None, since=None), until=100).before == before


def page(*times: int, has_more: bool = True) -> SearchPage:
    rows = tuple(Row(f"gen9ou-{n}", time) for n, time in enumerate(times))
    return SearchPage(
        rows, max(times, default=None), min(times, default=None), has_more, unusable=0
    )


@pytest.mark.parametrize(
    ("walk", "time"),
    [(Walk(format="gen9ou", before=9), 9), (Walk(user="a", before=9), 9), (Walk(before=9), 10)],
    ids=["of a format", "of a user", "of all formats"],
)
def test_a_page_that_begins_a_second_too_late_is_bad(walk, time):
    with pytest.raises(BadReplyError, match=f"before=9 is answered with battles of {time}"):
        advance(walk, page(time, 1, has_more=False))


@pytest.mark.parametrize(
    ("walk", "time"),
    [(Walk(format="gen9ou", before=9), 8), (Walk(before=9), 9)],
    ids=["of a format", "of all formats"],
)
def test_a_page_may_begin_with_the_last_second_that_was_asked_for(walk, time):
    step = advance(walk, page(time, 1, has_more=False))

    assert [row.uploaded for row in step.rows] == [time, 1]


def test_the_last_second_of_a_page_is_asked_for_again():
    step = advance(Walk(format="gen9ou"), page(9, 8, 7))

    assert [walk.before for walk in step.walks] == [8]


def test_the_last_second_of_a_page_of_all_formats_is_asked_for_again():
    step = advance(Walk(), page(9, 8, 7))

    assert [walk.before for walk in step.walks] == [7]


@pytest.mark.parametrize(
    "last_page",
    [
        pytest.param(page(has_more=False), id="nothing"),
        pytest.param(page(9, 8, has_more=False), id="no more"),
        pytest.param(page(9, 4), id="older than wanted"),
    ],
)
def test_a_walk_ends_with_its_last_page(last_page):
    assert advance(Walk(format="gen9ou", since=5), last_page).walks == []


def test_battles_before_the_window_are_left_out():
    step = advance(Walk(format="gen9ou", since=8), page(9, 8, 7))

    assert [row.uploaded for row in step.rows] == [9, 8]


def test_a_page_of_a_second_gives_battles_of_that_second():
    step = advance(Walk(format="gen9ou", second=8, page=3), page(9, 8, 8, 7))

    assert step == Step([Row("gen9ou-1", 8), Row("gen9ou-2", 8)])


numbers = st.none() | st.integers(0, 2**31)
names = st.none() | st.text()
several = st.lists(st.integers(0, 2**31)).map(tuple)
walks = st.builds(
    Walk,
    format=names,
    user=names,
    since=numbers,
    before=numbers,
    second=numbers,
    page=numbers,
    between=several,
    formats=st.lists(st.text()).map(tuple),
    crowded=several,
    asked=several,
)


@settings(deadline=None)
@given(walks)
def test_a_walk_outlives_a_queue(walk):
    stored = json.dumps(walk.fields())

    assert Walk.of(json.loads(stored)) == walk


def test_what_a_later_version_says_of_a_walk_is_left_out():
    assert Walk.of({"format": "ou", "of_tomorrow": [1]}) == Walk(format="ou")


def test_a_new_walk_has_nothing_to_store():
    assert Walk().fields() == {}


@pytest.mark.parametrize(
    ("walk", "parameters"),
    [
        (Walk(), {}),
        (Walk(before=9), {"before": "9"}),
        (Walk(format="ou", user="a", page=2), {"format": "ou", "user": "a", "page": "2"}),
    ],
)
def test_a_walk_asks_for_what_it_is_about(walk, parameters):
    assert walk.parameters() == parameters
