from __future__ import annotations

import asyncio

import pytest
from scrapy.settings import Settings
from scrapy.utils.test import get_crawler

from battles.pipelines.archive import Archived, ArchivePipeline, spool_from_settings
from battles.records import encode
from extensions.segments import read_frame
from extensions.spool import Spool, read_spooled
from extensions.storage import FolderStorage, StorageError


@pytest.fixture
def pipeline_of(places, clock):
    """Build the pipeline of a crawl whose battles wait hardly at all for others."""

    def build(**settings) -> ArchivePipeline:
        crawler = get_crawler(settings_dict={**places, "SEGMENT_COMMIT_DELAY": 0.01, **settings})
        pipeline = ArchivePipeline.from_crawler(crawler)
        pipeline._clock = clock
        spools.append(pipeline._spool)
        return pipeline

    spools: list[Spool] = []
    yield build
    for spool in spools:
        for writer in [spool._current, *spool._sealed]:
            if writer is not None:
                writer.close()


@pytest.fixture
def store(monkeypatch):
    """A store that refuses while its `refuses` is set."""

    class Store:
        refuses = True
        asked = 0

    accept = FolderStorage.put

    def put(self, path, key):
        Store.asked += 1
        if Store.refuses:
            raise StorageError("the bucket is full")
        accept(self, path, key)

    monkeypatch.setattr(FolderStorage, "put", put)
    return Store


async def together(pipeline: ArchivePipeline, battles) -> list[Archived]:
    archived = await asyncio.gather(*map(pipeline.process_item, battles), return_exceptions=True)
    if pipeline._storing is not None:
        await pipeline._storing
    return archived


def test_a_battle_goes_on_when_its_bytes_are_on_the_disk(pipeline_of, archive, battles):
    pipeline = pipeline_of()

    [archived] = asyncio.run(together(pipeline, battles[:1]))

    place = archived.location
    data = read_spooled(archive.spools, place.segment, place.offset, place.length)
    assert read_frame(data)[place.line] == encode(battles[0])
    assert archived.battle is battles[0]


@pytest.mark.parametrize(("size", "frames"), [(32, 1), (2, 3), (1, 6)])
def test_battles_that_come_together_share_a_frame(pipeline_of, battles, size, frames):
    pipeline = pipeline_of(SEGMENT_FRAME_RECORDS=size)

    archived = asyncio.run(together(pipeline, battles[:6]))

    assert len({one.location.offset for one in archived}) == frames


def test_a_disk_that_refuses_is_every_waiting_battles_error(pipeline_of, battles, monkeypatch):
    def refuse(_lines):
        raise OSError("no space left")

    pipeline = pipeline_of()
    monkeypatch.setattr(pipeline._spool, "commit", refuse)

    errors = asyncio.run(together(pipeline, battles[:3]))

    assert [str(error) for error in errors] == ["no space left"] * 3


def test_a_full_segment_is_stored_while_the_crawl_goes_on(pipeline_of, archive, battles):
    pipeline = pipeline_of(SEGMENT_RECORDS=2)

    archived = asyncio.run(together(pipeline, battles[:2]))

    assert list(archive.storage.keys("raw/")) == [archived[0].location.segment]
    assert pipeline._stats.get_value("archive/segments_stored") == 1


def test_the_rest_is_stored_when_the_crawl_ends(pipeline_of, archive, battles):
    pipeline = pipeline_of()

    async def crawl():
        await together(pipeline, battles[:3])
        before = list(archive.storage.keys("raw/"))
        await pipeline.close_spider()
        return before

    before = asyncio.run(crawl())

    assert (before, len(list(archive.storage.keys("raw/")))) == ([], 1)


def test_the_end_of_the_crawl_waits_for_what_is_being_stored(pipeline_of, archive, battles):
    pipeline = pipeline_of(SEGMENT_RECORDS=2)

    async def crawl():
        await asyncio.gather(*map(pipeline.process_item, battles[:2]))
        is_storing = pipeline._storing is not None
        await pipeline.close_spider()
        return is_storing

    is_storing = asyncio.run(crawl())

    assert is_storing
    assert len(list(archive.storage.keys("raw/"))) == 1
    assert list(archive.spools.iterdir()) == []


@pytest.mark.usefixtures("store")
def test_a_store_that_refuses_costs_no_battle(pipeline_of, archive, battles, caplog):
    pipeline = pipeline_of(SEGMENT_RECORDS=2)

    archived = asyncio.run(together(pipeline, battles[:2]))

    assert [one.battle for one in archived] == battles[:2]
    assert len(list(archive.spools.iterdir())) == 1
    assert pipeline._stats.get_value("archive/store_failed") == 1
    assert "1 segments wait in the spool: the bucket is full" in caplog.text


def test_a_store_that_refused_is_asked_again_after_half_a_minute(
    pipeline_of, archive, battles, store, clock
):
    pipeline = pipeline_of(SEGMENT_RECORDS=2)

    async def crawl() -> list[int]:
        asked = []
        for first, later in ((0, 29.9), (1, 0.1), (2, 0.0)):
            await together(pipeline, battles[2 * first : 2 * first + 2])
            asked.append(store.asked)
            store.refuses = False
            clock.now += later
        return asked

    asked = asyncio.run(crawl())

    assert asked == [1, 1, 4]
    assert len(list(archive.storage.keys("raw/"))) == 3


def test_an_archive_that_makes_no_sense_stops_the_crawl_before_it_begins(pipeline_of):
    with pytest.raises(ValueError, match="ARCHIVE_URL"):
        pipeline_of(ARCHIVE_URL="ftp://somewhere")


def test_a_spool_lies_where_the_settings_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    spool_from_settings(Settings({"ARCHIVE_URL": "data"}))

    assert (tmp_path / ".scrapy/spool").is_dir()
