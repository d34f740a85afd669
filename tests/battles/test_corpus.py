from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from scrapy.settings import Settings

from battles.corpus import Corpus, CorpusError
from battles.index import Query
from battles.parsers.names import to_id
from battles.records import encode
from extensions.segments import Location, SegmentWriter
from extensions.storage import MissingError, StorageError
from tests.battles.conftest import commit


def by_id(battles) -> dict[str, object]:
    return {battle.id: battle for battle in battles}


def newest_first(battles) -> list[int]:
    return sorted((battle.uploaded for battle in battles), reverse=True)


def damage(path) -> None:
    """Flip a byte in the middle, where a frame's content lies."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.unlink()
    path.write_bytes(data)


# --- One battle -----------------------------------------------------------------------------------


def test_a_battle_is_read_back_as_it_was_kept(archive, battles):
    archive.keep(battles)

    assert [archive.corpus.battle(battle.id) for battle in battles] == battles


def test_a_battle_that_is_not_there_is_none(archive, battles):
    archive.keep(battles[:1])

    assert archive.corpus.battle("gen9ou-1") is None


def test_of_two_copies_the_later_is_read(archive, battles):
    later = replace(battles[0], fetched_at=battles[0].fetched_at + 60, log="|win|later")
    archive.keep([battles[0]])
    archive.keep([later])

    assert archive.corpus.battle(battles[0].id) == later


def test_a_copy_that_arrives_late_stays_hidden(archive, battles):
    earlier = replace(battles[0], fetched_at=battles[0].fetched_at - 60, log="|win|earlier")
    archive.keep([battles[0]])
    archive.keep([earlier])

    assert archive.corpus.battle(battles[0].id) == battles[0]


# --- Many battles ---------------------------------------------------------------------------------


def test_everything_is_read_once(archive, battles):
    archive.keep(battles)

    read = list(archive.corpus.everything(Query()))

    assert len(read) == len(battles)
    assert by_id(read) == by_id(battles)


def test_a_search_reads_everything_newest_first(archive, battles):
    archive.keep(battles)

    found = list(archive.corpus.search(Query()))

    assert by_id(found) == by_id(battles)
    assert [battle.uploaded for battle in found] == newest_first(battles)


@pytest.mark.parametrize("count", [63, 64, 65, 66])
def test_a_search_loses_nothing_between_two_looks(archive, battles, count):
    archive.keep(battles[:count])

    assert len(list(archive.corpus.search(Query()))) == count


@pytest.mark.parametrize("read", ["search", "everything"])
def test_a_format_is_found(archive, battles, read):
    archive.keep(battles)

    found = list(getattr(archive.corpus, read)(Query(formatid="gen9ou")))

    assert by_id(found) == by_id(battle for battle in battles if battle.formatid == "gen9ou")


@pytest.mark.parametrize("read", ["search", "everything"])
def test_a_player_is_found_by_any_spelling_on_any_side(archive, battles, read):
    archive.keep(battles)
    last = next(battle for battle in battles if len(battle.players) == 4).players[3].name

    found = list(getattr(archive.corpus, read)(Query(player=last.upper())))

    assert found
    assert by_id(found) == by_id(
        battle
        for battle in battles
        if to_id(last) in {to_id(player.name) for player in battle.players}
    )


@pytest.mark.parametrize("read", ["search", "everything"])
def test_a_player_of_one_format_is_found_there_only(archive, battles, read):
    ours = [replace(battle, players=battles[0].players) for battle in battles]
    archive.keep(ours)
    query = Query(player=battles[0].players[0].name, formatid="gen7randombattle")

    found = list(getattr(archive.corpus, read)(query))

    assert by_id(found) == by_id(b for b in ours if b.formatid == "gen7randombattle")


@pytest.mark.parametrize("read", ["search", "everything"])
def test_players_who_share_a_fingerprint_are_told_apart(archive, battles, read, monkeypatch):
    monkeypatch.setattr("battles.index._player_fingerprint", lambda _name: b"same")
    archive.keep(battles)
    name = battles[0].players[0].name

    found = list(getattr(archive.corpus, read)(Query(player=name)))

    assert battles[0] in found
    assert all(name in {player.name for player in battle.players} for battle in found)


# --- How it reads ---------------------------------------------------------------------------------


def test_a_frame_is_read_once_for_all_its_battles(archive, battles, monkeypatch):
    archive.keep(battles[:50], frame=10)
    reads = count_reads(archive, monkeypatch)

    list(archive.corpus.everything(Query()))

    assert len(reads) == 1


def test_frames_far_apart_are_read_on_their_own(archive, battles, monkeypatch):
    monkeypatch.setattr("battles.corpus._WORTH_ONE_READ", 0)
    archive.keep(battles[:50], frame=10)
    wanted = {battles[3].id, battles[13].id, battles[44].id}
    rows = archive.index.find(wanted).values()
    reads = count_reads(archive, monkeypatch)

    found = [battle.id for battle in archive.corpus.read(rows)]

    assert found == [battles[n].id for n in (3, 13, 44)]
    assert len(reads) == 2


def count_reads(archive, monkeypatch) -> list[tuple[int, int]]:
    reads = []
    read = archive.storage.read

    def counting(key, offset, length):
        reads.append((offset, length))
        return read(key, offset, length)

    monkeypatch.setattr(archive.storage, "read", counting)
    return reads


# --- In the spool ---------------------------------------------------------------------------------


def test_a_battle_is_read_while_its_segment_is_open(archive, battles):
    archive.tell(battles[:5], commit(archive.spool(), battles[:5]))

    assert archive.corpus.battle(battles[2].id) == battles[2]


def test_a_battle_is_read_while_its_segment_waits_for_the_store(archive, battles):
    spool = archive.spool()
    archive.tell(battles[:5], commit(spool, battles[:5]))
    spool.seal()

    assert archive.corpus.battle(battles[2].id) == battles[2]


def test_a_battle_is_read_that_moves_to_the_store_meanwhile(archive, battles, monkeypatch):
    spool = archive.spool()
    archive.tell(battles[:5], commit(spool, battles[:5]))
    spool.seal()
    read = archive.storage.read

    def late(key, *_part):
        monkeypatch.setattr(archive.storage, "read", read)
        spool.store()
        raise MissingError(key)

    monkeypatch.setattr(archive.storage, "read", late)

    assert archive.corpus.battle(battles[2].id) == battles[2]


# --- What is not there, or damaged ----------------------------------------------------------------


def test_a_missing_segment_is_named_in_one_line(archive, battles):
    [location, *_] = archive.keep(battles[:5])
    archive.keep(battles[5:10])
    archive.segment(location).unlink()

    with pytest.raises(CorpusError, match=f"{location.segment}.*nor in the spool") as raised:
        archive.corpus.battle(battles[0].id)

    assert "\n" not in str(raised.value)


def test_a_damaged_segment_is_named_with_what_to_do(archive, battles):
    [location, *_] = archive.keep(battles[:5])
    damage(archive.segment(location))

    with pytest.raises(CorpusError, match=rf"{location.segment} at 0: .*scrapy verify --refetch"):
        archive.corpus.battle(battles[0].id)


def test_a_segment_that_was_cut_is_named(archive, battles):
    [location, *_] = archive.keep(battles[:5])
    with archive.segment(location).open("r+b") as file:
        file.truncate(location.length - 1)

    with pytest.raises(CorpusError, match=f"{location.segment} at 0: the frame is torn"):
        archive.corpus.battle(battles[0].id)


@pytest.mark.parametrize("read", ["search", "everything"])
def test_reading_goes_on_past_damage_and_notes_what_is_lost(archive, battles, read):
    [location, *_] = archive.keep(battles[:9], frame=3)
    damage(archive.segment(location))

    found = list(getattr(archive.corpus, read)(Query()))

    assert by_id(found) == by_id([*battles[:3], *battles[6:9]])
    assert archive.corpus.unreadable.keys() == by_id(battles[3:6]).keys()
    assert all(location.segment in why for why in archive.corpus.unreadable.values())


@pytest.mark.parametrize("read", ["search", "everything"])
def test_reading_goes_on_past_a_missing_segment(archive, battles, read):
    [location, *_] = archive.keep(battles[:5])
    archive.keep(battles[5:10])
    archive.segment(location).unlink()

    found = list(getattr(archive.corpus, read)(Query()))

    assert by_id(found) == by_id(battles[5:10])
    assert archive.corpus.unreadable.keys() == by_id(battles[:5]).keys()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param(1, "but gen1random", id="another battle"),
        pytest.param(5, "no line 5 in 5 lines", id="behind the end"),
    ],
)
def test_an_index_that_means_another_battle_is_noticed(archive, battles, line, message):
    [location, *_] = archive.keep(battles[:5])
    archive.tell(battles[:1], [replace(location, line=line)])

    with pytest.raises(CorpusError, match=f"{battles[0].id} is not there.*{message}"):
        archive.corpus.battle(battles[0].id)


def test_a_line_that_is_no_battle_is_named(archive, battles, tmp_path):
    location = keep_lines(archive, tmp_path, [b'{"id": "gen9ou-1"}'])
    archive.tell(battles[:1], [location])

    with pytest.raises(CorpusError, match=f"{location.segment} at 0: no battle but"):
        archive.corpus.battle(battles[0].id)


def keep_lines(archive, tmp_path, lines: list[bytes]) -> Location:
    """Store a segment of any lines, and return where the first lies."""
    key = "raw/2026/11/21/odd-01KAKAKAKAKAKAKAKAKAKAKAKA.jsonl.zst"
    path = tmp_path / "odd"
    writer = SegmentWriter(path, key)
    [location, *_] = writer.append(lines)
    writer.seal()
    writer.close()
    archive.storage.put(path, key)
    return location


# --- The index rebuilt ----------------------------------------------------------------------------


def test_a_rebuilt_index_finds_the_same(archive, battles):
    archive.keep(battles)
    before = {row.id: row for row in archive.index.search(Query())}
    archive.index.clear()

    list(archive.corpus.rebuild_index())

    assert {row.id: row for row in archive.index.search(Query())} == before


def test_a_rebuilt_index_finds_the_same_of_every_player(archive, battles):
    archive.keep(battles)
    names = {player.name for battle in battles for player in battle.players}
    before = {name: sorted(ids_of(archive, name)) for name in names}
    archive.index.clear()

    list(archive.corpus.rebuild_index())

    assert {name: sorted(ids_of(archive, name)) for name in names} == before


def ids_of(archive, player: str) -> list[str]:
    return [row.id for row in archive.index.search(Query(player=player))]


def test_rebuilding_names_each_segment_and_its_battles(archive, battles):
    locations = archive.keep(battles, records=40)
    expected = Counter(location.segment for location in locations)

    assert dict(archive.corpus.rebuild_index()) == expected


def test_rebuilding_forgets_what_has_no_segment(archive, battles):
    [location, *_] = archive.keep(battles[:5])
    archive.keep(battles[5:10])
    archive.segment(location).unlink()

    list(archive.corpus.rebuild_index(may_shrink=True))

    assert by_id(archive.corpus.everything(Query())) == by_id(battles[5:10])


def test_rebuilding_keeps_the_later_of_two_copies(archive, battles):
    later = replace(battles[0], fetched_at=battles[0].fetched_at + 60)
    archive.keep([later])
    archive.keep([battles[0]])

    list(archive.corpus.rebuild_index())

    assert archive.corpus.battle(battles[0].id) == later


def test_rebuilding_names_a_damaged_segment_and_indexes_what_is_whole(archive, battles):
    [location, *_] = archive.keep(battles[:9], frame=3)
    archive.keep(battles[9:12])
    damage(archive.segment(location))

    with pytest.raises(CorpusError, match=f"but 1 are damaged: {location.segment}: 6 records"):
        list(archive.corpus.rebuild_index(may_shrink=True))

    whole = [*battles[:3], *battles[6:12]]
    assert by_id(archive.corpus.everything(Query())) == by_id(whole)


def test_rebuilding_names_a_stored_segment_that_was_cut(archive, battles):
    [location, *_] = archive.keep(battles[:5])
    with archive.segment(location).open("r+b") as file:
        file.truncate(location.length)

    with pytest.raises(CorpusError, match=f"1 are damaged: {location.segment}: 5 .*no trailer"):
        list(archive.corpus.rebuild_index())

    assert by_id(archive.corpus.everything(Query())) == by_id(battles[:5])


def test_rebuilding_passes_over_a_line_of_something_else(archive, battles, tmp_path):
    archive.keep(battles[:5])
    location = keep_lines(archive, tmp_path, [encode(battles[6]), b"[]"])

    with pytest.raises(CorpusError, match=f"are damaged: {location.segment}: no battle but"):
        list(archive.corpus.rebuild_index())

    assert by_id(archive.corpus.everything(Query())) == by_id([*battles[:5], battles[6]])


def test_rebuilding_keeps_what_lies_in_the_spool(archive, battles):
    spool = archive.spool(records=5)
    archive.tell(battles[:8], commit(spool, battles[:8], frame=5))

    counted = dict(archive.corpus.rebuild_index())

    assert sorted(counted.values()) == [3, 5]
    assert by_id(archive.corpus.everything(Query())) == by_id(battles[:8])


def test_rebuilding_leaves_out_what_the_store_has_not_where_that_decides(archive, battles):
    archive.keep(battles[:3])
    commit(archive.spool(), battles[3:6])
    settings = Settings({**archive.places, "ARCHIVE_DURABLE": "store"})

    list(Corpus.from_settings(settings).rebuild_index())

    assert by_id(archive.corpus.everything(Query())) == by_id(battles[:3])


def test_rebuilding_meets_a_segment_that_moves_meanwhile_once(archive, battles):
    spool = archive.spool(records=5)
    archive.tell(battles[:5], commit(spool, battles[:5]))
    rebuilding = archive.corpus.rebuild_index()

    counted = [next(rebuilding)]
    spool.store()
    counted += rebuilding

    assert [count for _, count in counted] == [5]
    assert by_id(archive.corpus.everything(Query())) == by_id(battles[:5])


def test_a_store_that_is_away_does_not_cost_the_index(archive, battles, monkeypatch):
    archive.keep(battles[:5])
    monkeypatch.setattr(archive.storage, "keys", refuse)

    with pytest.raises(StorageError):
        list(archive.corpus.rebuild_index())

    assert len(archive.index) == 5


def refuse(_prefix):
    raise StorageError("not now")


def test_an_empty_archive_is_rebuilt_to_nothing(archive):
    assert list(archive.corpus.rebuild_index()) == []


# --- Where it comes from --------------------------------------------------------------------------


def test_an_archive_is_opened_as_the_settings_say(archive, battles, redis_url, tmp_path):
    archive.keep(battles[:5])
    archive.tell(battles[5:8], commit(archive.spool(), battles[5:8]))
    settings = {
        "REDIS_URL": redis_url,
        "ARCHIVE_URL": str(tmp_path / "data"),
        "SPOOL_DIR": str(tmp_path / "spool"),
    }

    corpus = Corpus.from_settings(Settings(settings))

    assert by_id(corpus.everything(Query())) == by_id(battles[:8])
