from __future__ import annotations

import asyncio
import logging

import pytest
from scrapy import Spider, signals
from scrapy.utils.test import get_crawler

from battles.records import encode
from battles.recovery import SpoolRecovery
from extensions.storage import StorageError


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
