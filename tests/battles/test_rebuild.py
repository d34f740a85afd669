from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest

from battles.corpus import CorpusError
from battles.index import BattleIndex, Query
from battles.rebuild import Rebuild, RebuildError
from tests.battles.conftest import commit
from tests.battles.test_keys import ENTRY

ROOT = Path(__file__).parents[2]


def found(archive) -> set[str]:
    return {row.id for row in archive.index.search(Query())}


def ids(battles) -> set[str]:
    return {battle.id for battle in battles}


def entries(count: int, first: int = 0) -> list:
    """Build entries that lie in a segment each, of players and months of their own."""
    return [
        replace(
            ENTRY,
            id=f"gen9ou-{n}",
            players=(f"Ash{n}", "Misty"),
            time=ENTRY.time + n * 3600,
            location=replace(ENTRY.location, segment=f"raw/{n}"),
        )
        for n in range(first, first + count)
    ]


# --- Crawls that go on ----------------------------------------------------------------------------


def test_what_is_kept_during_the_rebuild_is_in_the_new_index(archive, battles):
    archive.keep(battles[:20], records=10)
    rebuilding = archive.corpus.rebuild_index()

    next(rebuilding)
    archive.keep(battles[20:30])
    spool = archive.spool()
    archive.tell(battles[30:35], commit(spool, battles[30:35]))
    list(rebuilding)

    assert found(archive) == ids(battles[:35])
    assert len(archive.index) == 35
    assert [archive.corpus.battle(battle.id) for battle in battles[:35]] == battles[:35]
    player = battles[22].players[0].name
    assert battles[22] in archive.corpus.search(Query(player=player))


def test_a_later_copy_that_comes_during_the_rebuild_stays_the_visible_one(archive, battles):
    archive.keep(battles[:5])
    later = replace(battles[0], fetched_at=battles[0].fetched_at + 60, log="|win|later")
    rebuilding = archive.corpus.rebuild_index()

    next(rebuilding)
    archive.keep([later])
    list(rebuilding)

    assert archive.corpus.battle(later.id) == later


def test_what_comes_between_the_last_look_and_the_swap_is_in_the_new_index(redis, monkeypatch):
    index = BattleIndex(redis)
    rebuild = Rebuild(index)
    rebuild.begin()
    catch_up, late = rebuild.catch_up, entries(3)

    def catch_up_too_soon() -> None:
        catch_up()
        index.add([late.pop()] if late else [])

    monkeypatch.setattr(rebuild, "catch_up", catch_up_too_soon)
    rebuild.finish()

    assert set(index.find(entry.id for entry in entries(3))) == ids(entries(3))


def test_a_month_that_begins_between_the_last_look_and_the_swap_is_kept(redis, monkeypatch):
    index = BattleIndex(redis)
    rebuild = Rebuild(index)
    rebuild.begin()
    list_pairs, late = rebuild._list_pairs, [replace(ENTRY, time=ENTRY.time + 90 * 86_400)]

    def list_pairs_too_soon() -> tuple[int, list[str]]:
        months = list_pairs()
        index.add([late.pop()] if late else [])
        return months

    monkeypatch.setattr(rebuild, "_list_pairs", list_pairs_too_soon)
    rebuild.finish()

    assert [row.id for row in index.search(Query())] == [ENTRY.id]
    assert not list(redis.scan_iter("{battles}:reindex:*"))


def test_a_writer_that_never_pauses_loses_nothing(redis):
    index, all_of_them = BattleIndex(redis), entries(400)

    def write() -> None:
        own = BattleIndex(redis)
        for entry in all_of_them:
            own.add([entry])

    writer = Thread(target=write)
    writer.start()
    while len(index) < 5:
        pass
    rebuild = Rebuild(index)
    rebuild.begin()
    rebuild.add(all_of_them[: len(index)])
    rebuild.finish()
    writer.join()

    assert {row.id for row in index.search(Query())} == ids(all_of_them)
    assert len(index) == 400


def test_nothing_is_noted_when_nobody_rebuilds(archive, battles, redis):
    archive.keep(battles[:5])
    list(archive.corpus.rebuild_index())
    archive.keep(battles[5:10])

    keys = archive.index.keys
    assert not redis.exists(keys.additions, keys.beside.additions)
    assert not list(redis.scan_iter("{battles}:reindex:*"))


# --- Readers --------------------------------------------------------------------------------------


def test_the_old_index_is_read_until_the_new_one_is_whole(archive, battles):
    archive.keep(battles[:40], records=20)

    seen = [found(archive) for _ in archive.corpus.rebuild_index()]

    assert len(seen) > 1
    assert {frozenset(one) for one in seen} == {frozenset(ids(battles[:40]))}


def test_a_search_that_began_before_the_swap_goes_on_behind_it(archive, battles):
    archive.keep(battles, frame=2, records=10)
    archive.corpus.spool.mkdir(exist_ok=True)
    rows = archive.index.search(Query())
    first = next(rows)

    list(archive.corpus.rebuild_index())

    assert {first.id, *(row.id for row in rows)} == ids(battles)


def test_a_reader_never_meets_the_row_of_one_index_and_the_segment_of_another(redis):
    index, done, wrong = BattleIndex(redis), Event(), []
    places = {entry.id: entry.location for entry in entries(20)}
    index.add(entries(20))

    def read() -> None:
        own = BattleIndex(redis)
        while not done.is_set():
            rows = own.find(places)
            if {row.id: row.location for row in rows.values()} != places:
                wrong.append(rows)

    reader = Thread(target=read)
    reader.start()
    try:
        for n in range(30):
            rebuild = Rebuild(index)
            rebuild.begin()
            rebuild.add(entries(20)[:: 1 if n % 2 else -1])
            rebuild.finish()
    finally:
        done.set()
        reader.join()

    assert wrong == []


# --- Builders that die ----------------------------------------------------------------------------

_HALF = """
import sys
from scrapy.settings import Settings
from battles.corpus import Corpus
rebuilding = Corpus.from_settings(Settings(eval(sys.argv[1]))).rebuild_index(may_shrink=True)
next(rebuilding)
print("half", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def killed(archive, battles, places) -> None:
    """An archive over which a rebuild was killed half-way."""
    archive.keep(battles[:40], records=20)
    process = subprocess.Popen(
        [sys.executable, "-c", _HALF, repr(places)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"half\n"
    process.kill()
    process.communicate()


@pytest.mark.usefixtures("killed")
def test_a_rebuild_that_is_killed_leaves_the_old_index(archive, battles, redis):
    assert redis.exists("{battles}:reindex:count")
    assert found(archive) == ids(battles[:40])
    assert len(archive.index) == 40


@pytest.mark.usefixtures("killed")
def test_what_a_killed_rebuild_left_is_not_in_the_next(archive, battles):
    for path in (archive.folder / "data").rglob("*.zst"):
        path.unlink()
    archive.keep(battles[40:45])

    list(archive.corpus.rebuild_index(may_shrink=True))

    assert found(archive) == ids(battles[40:45])


@pytest.mark.usefixtures("killed")
def test_nothing_is_noted_for_ever_for_a_rebuild_that_was_killed(archive, redis):
    assert 0 < redis.ttl(archive.index.keys.additions) <= 600


def test_a_rebuild_that_is_broken_off_leaves_nothing_behind(archive, battles, redis):
    archive.keep(battles[:40], records=20)
    keys = set(redis.scan_iter())

    rebuilding = archive.corpus.rebuild_index()
    next(rebuilding)
    rebuilding.close()

    assert set(redis.scan_iter()) == keys


def test_of_two_rebuilds_the_later_goes_on(archive, battles):
    archive.keep(battles[:40], records=20)
    earlier = archive.corpus.rebuild_index()
    next(earlier)
    later = archive.corpus.rebuild_index()
    next(later)

    with pytest.raises(CorpusError, match="another `scrapy reindex` has begun"):
        list(earlier)
    list(later)

    assert found(archive) == ids(battles[:40])


def test_a_rebuild_that_was_overtaken_is_not_put_in_place(redis, monkeypatch):
    index = BattleIndex(redis)
    index.add(entries(5))
    earlier = Rebuild(index)
    earlier.begin()
    # Somebody begins right between the last look and the swap.
    monkeypatch.setattr(earlier, "catch_up", lambda: Rebuild(index).begin())

    with pytest.raises(RebuildError, match="another"):
        earlier.finish()

    assert len(index) == 5
