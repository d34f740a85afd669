from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from itertools import chain, repeat

import pytest
from scrapy import Spider, signals
from scrapy.exceptions import CloseSpider
from scrapy.settings import Settings
from scrapy.utils.test import get_crawler

from battles.index import BattleIndex, Query
from battles.records import encode
from battles.recovery import IndexRecovery, SpoolRecovery
from battles.spools import write_note
from extensions.segments import Location
from extensions.signals import data_lost
from extensions.spool import Spool, segment_files
from extensions.storage import FolderStorage, StorageError
from tests.battles.conftest import commit


@pytest.fixture
def crawler(places):
    return get_crawler(settings_dict=places)


@pytest.fixture
def start(crawler):
    """Open a spider, with the recovery connected."""

    def open_spider() -> SpoolRecovery:
        recovery = SpoolRecovery.from_crawler(crawler)
        spider = Spider("any")
        asyncio.run(crawler.signals.send_catch_log_async(signals.spider_opened, spider=spider))
        return recovery

    return open_spider


def leave(archive, battles) -> None:
    """Leave a segment in the spool, as a process does that dies."""
    spool = archive.spool()
    spool.commit([encode(battle) for battle in battles])
    spool._current.close()
    archive._built.remove(spool)


def test_what_a_crash_left_is_stored_and_indexed_before_the_crawl(start, archive, battles):
    leave(archive, battles[:3])

    start()

    assert archive.index.known([battle.id for battle in battles]) == {b.id for b in battles[:3]}
    assert encode(archive.corpus.battle(battles[1].id)) == encode(battles[1])
    assert len(list(archive.storage.keys("raw/"))) == 1


def test_what_was_recovered_is_counted(start, crawler, archive, battles):
    leave(archive, battles[:2])
    leave(archive, battles[2:3])

    start()

    assert crawler.stats.get_value("spool/segments_recovered") == 2


def test_an_empty_spool_is_left_alone(start, crawler):
    start()

    assert crawler.stats.get_value("spool/segments_recovered") is None


def test_a_line_that_is_no_battle_keeps_no_other_from_being_found(start, archive, battles, caplog):
    spool = archive.spool()
    spool.commit([b'{"from":"a version to come"}', encode(battles[0])])
    spool._current.close()
    archive._built.remove(spool)

    start()

    assert archive.corpus.battle(battles[0].id).id == battles[0].id
    assert 'no battle but b\'{"from":"a version to come"}\'' in caplog.text


def test_a_store_that_refuses_is_told_and_tried_again_at_the_next_start(
    start, archive, battles, monkeypatch, caplog
):
    leave(archive, battles[:1])
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr("extensions.storage.FolderStorage.put", refuse)
        start()
    first = list(archive.storage.keys("raw/"))

    start()

    assert first == []
    assert "What a crash left stays in the spool: the bucket is gone" in caplog.text
    assert len(list(archive.storage.keys("raw/"))) == 1


@pytest.fixture
def end(crawler):
    """Close the spider."""
    spider = Spider("any")

    def close_spider() -> None:
        asyncio.run(
            crawler.signals.send_catch_log_async(
                signals.spider_closed, spider=spider, reason="finished"
            )
        )

    return close_spider


def test_what_the_store_refused_at_the_start_is_tried_again_at_the_end(
    start, end, crawler, archive, battles, monkeypatch
):
    leave(archive, battles[:2])
    with monkeypatch.context() as patch:
        patch.setattr("extensions.storage.FolderStorage.put", refuse)
        start()

    end()

    assert len(archive.index) == 2
    assert crawler.stats.get_value("spool/segments_left") is None


def test_what_stays_in_the_spool_is_counted(start, end, crawler, archive, battles, monkeypatch):
    leave(archive, battles[:2])
    leave(archive, battles[2:3])
    monkeypatch.setattr("extensions.storage.FolderStorage.put", refuse)
    start()

    end()

    assert crawler.stats.get_value("spool/segments_left") == 2


def test_battles_are_indexed_when_their_segment_is_in_the_store(
    start, archive, battles, monkeypatch
):
    leave(archive, battles[:2])
    monkeypatch.setattr("extensions.storage.FolderStorage.put", refuse)

    start()

    assert len(archive.index) == 0


def refuse(*_arguments):
    raise StorageError("the bucket is gone")


# --- Whose a spool is -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other", [{"ARCHIVE_URL": "{folder}/other"}, {"INDEX_NAMESPACE": "other"}], ids=str
)
def test_what_belongs_elsewhere_is_left_alone_and_said(
    archive, battles, places, other, tmp_path, caplog
):
    write_note(Settings(places))
    leave(archive, battles[:3])
    changes = {name: value.format(folder=tmp_path) for name, value in other.items()}
    crawler = get_crawler(settings_dict={**places, **changes})

    recovery = SpoolRecovery.from_crawler(crawler)
    asyncio.run(recovery.spider_opened())

    assert len(list(archive.spools.iterdir())) == 1
    assert len(BattleIndex.from_settings(crawler.settings)) == 0
    [record] = caplog.records
    assert record.getMessage().startswith(f"1 segments in {archive.spools} are left alone: ")
    assert f"the archive {tmp_path / 'data'} and the index battles in " in record.getMessage()


def test_what_belongs_here_is_brought_in_without_a_word(start, archive, battles, caplog):
    leave(archive, battles[:3])

    start()

    assert len(archive.index) == 3
    assert caplog.text == ""


def leave_as_earlier_versions_do(archive, battles) -> list[Location]:
    """Leave a segment in the folder of all spools; return where its battles lie."""
    spool = Spool(archive.spools.parent, archive.storage, worker="old", segment_records=50)
    locations = commit(spool, battles)
    spool._current.close()
    return locations


def test_what_an_earlier_version_left_is_brought_in_if_the_index_knows_it(start, archive, battles):
    locations = leave_as_earlier_versions_do(archive, battles[:3])
    archive.tell(battles[:1], locations[:1])

    start()

    assert len(archive.index) == 3
    assert segment_files(archive.spools.parent) == []


def test_what_an_earlier_version_left_of_another_archive_is_left_alone_and_said(
    start, archive, battles, caplog
):
    leave_as_earlier_versions_do(archive, battles[:3])

    start()

    assert len(archive.index) == 0
    assert len(segment_files(archive.spools.parent)) == 1
    root = archive.spools.parent
    assert f"1 segments in {root} are left alone, since this index knows none" in caplog.text


# --- The index ------------------------------------------------------------------------------------


@pytest.fixture
def begin(places):
    """Open a spider with the recovery of the index connected, and return its crawler."""

    def open_spider(**settings):
        crawler = get_crawler(settings_dict={**places, **settings})
        crawlers[crawler] = IndexRecovery.from_crawler(crawler)
        spider = Spider("any")
        asyncio.run(crawler.signals.send_catch_log_async(signals.spider_opened, spider=spider))
        return crawler

    # Signals hold their receivers weakly.
    crawlers: dict[object, IndexRecovery] = {}

    return open_spider


def lose_data(crawler) -> None:
    asyncio.run(crawler.signals.send_catch_log_async(data_lost))


def found(archive) -> set[str]:
    return {battle.id for battle in archive.corpus.search(Query())}


def ids(battles) -> set[str]:
    return {battle.id for battle in battles}


def test_an_index_that_redis_has_lost_is_made_anew_when_a_crawl_begins(
    begin, archive, battles, redis, caplog
):
    archive.keep(battles[:10], records=5)
    redis.flushdb()

    crawler = begin()

    assert found(archive) == ids(battles[:10])
    assert crawler.stats.get_value("index/recovered") == 10
    assert "10 battles of the archive were brought back into the index" in caplog.text


def test_segments_that_the_index_lacks_are_brought_in_and_no_other_is_read(
    begin, archive, battles, redis, monkeypatch
):
    archive.keep(battles[:5])
    redis.flushdb()
    archive.keep(battles[5:10])
    read, keys = FolderStorage.read_all, []
    monkeypatch.setattr(FolderStorage, "read_all", lambda *at: keys.append(at[1]) or read(*at))

    begin()

    assert found(archive) == ids(battles[:10])
    assert len(keys) == 1


def test_an_index_that_lost_some_of_its_keys_is_made_anew(begin, archive, battles, redis, caplog):
    archive.keep(battles[:10])
    redis.delete(next(redis.scan_iter("{battles}:index:rows:*")))
    assert len(found(archive)) < 10

    begin()

    assert found(archive) == ids(battles[:10])
    assert "The index has lost keys" in caplog.text


def test_an_index_that_is_whole_is_left_as_it_is(begin, archive, battles, caplog):
    archive.keep(battles[:10])

    crawler = begin()

    assert crawler.stats.get_value("index/recovered") is None
    assert caplog.text == ""


def test_a_segment_whose_battles_have_later_copies_is_read_once(begin, archive, battles, redis):
    archive.keep(battles[:3])
    redis.flushdb()
    archive.keep([replace(battle, fetched_at=battle.fetched_at + 60) for battle in battles[:3]])
    begin()

    assert begin().stats.get_value("index/recovered") is None


def test_what_lies_in_the_spool_is_brought_back_where_it_counts_as_archived(
    begin, archive, battles, redis
):
    crawler = begin()
    archive.tell(battles[:5], commit(archive.spool(), battles[:5]))
    redis.flushdb()

    lose_data(crawler)

    assert found(archive) == ids(battles[:5])


def test_what_lies_in_the_spool_is_not_archived_where_the_store_decides(
    begin, archive, battles, redis
):
    crawler = begin(ARCHIVE_DURABLE="store")
    commit(archive.spool(), battles[:5])
    redis.flushdb()

    lose_data(crawler)

    assert found(archive) == set()


def test_a_store_that_is_away_when_the_data_are_lost_is_asked_again(
    begin, archive, battles, redis, monkeypatch
):
    crawler = begin()
    archive.keep(battles[:5])
    redis.flushdb()
    answers = chain([refuse, refuse], repeat(FolderStorage.keys))

    def keys(*arguments):
        return next(answers)(*arguments)

    monkeypatch.setattr(FolderStorage, "keys", keys)
    monkeypatch.setattr("battles.recovery._PAUSE", 0.0)

    lose_data(crawler)
    monkeypatch.undo()

    assert found(archive) == ids(battles[:5])


def test_workers_make_the_index_whole_one_after_the_other(begin, archive, battles, redis):
    archive.keep(battles[:10])
    redis.flushdb()
    redis.lock("{battles}:index:recovering", timeout=0.2).acquire()

    begin()

    assert not redis.exists("{battles}:index:recovering")
    assert found(archive) == ids(battles[:10])


def test_an_index_that_redis_refuses_is_one_line_and_the_end(crawler, archive, redis, caplog):
    keys = archive.index.keys
    for key in (keys.segments, keys.segment_names, keys.count):
        redis.rpush(key, "not ours")
    recovery = IndexRecovery.from_crawler(crawler)

    with pytest.raises(CloseSpider) as ended:
        asyncio.run(recovery.spider_opened())

    assert ended.value.reason == "redis_refused"
    [line] = caplog.messages
    assert line.startswith("Redis refuses: a key is of another kind")
