from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from scrapy.settings import Settings
from scrapy.utils.test import get_crawler

from battles.pipelines.archive import Archived, ArchivePipeline, spool_from_settings
from battles.records import encode
from extensions.segments import read_frame
from extensions.signals import work_blocked
from extensions.spool import Spool, read_spooled
from extensions.storage import FolderStorage, StorageError


@pytest.fixture
def pipeline_of(places, reasons):
    """Build the pipeline of a crawl whose battles wait hardly at all for others."""

    def build(**settings) -> ArchivePipeline:
        crawler = get_crawler(settings_dict={**places, "SEGMENT_COMMIT_DELAY": 0.01, **settings})
        pipeline = ArchivePipeline.from_crawler(crawler)
        crawler.signals.connect(hear, work_blocked, weak=False)
        spools.append(pipeline._spool)
        return pipeline

    def hear(reason):
        reasons.append(reason)

    spools: list[Spool] = []
    yield build
    for spool in spools:
        for writer in [spool._current, *spool._sealed]:
            if writer is not None:
                writer.close()


@pytest.fixture
def reasons() -> list[str]:
    """What the pipeline said of why nothing new should be begun."""
    return []


@pytest.fixture
def pauses(monkeypatch):
    """The pauses the pipeline would make; after so many of them something can happen."""

    class Pauses:
        seconds: list[float] = []
        events: dict[int, Callable] = {}

        def then(self, count: int, event: Callable) -> None:
            self.events[count] = event

    pauses = Pauses()
    pauses.seconds, pauses.events = [], {}

    async def pause(_self, seconds):
        pauses.seconds.append(seconds)
        pauses.events.get(len(pauses.seconds), int)()
        await asyncio.sleep(0)

    monkeypatch.setattr(ArchivePipeline, "_pause", pause)
    return pauses


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


def test_a_disk_that_stays_full_is_every_waiting_battles_error(
    pipeline_of, battles, monkeypatch, pauses, reasons
):
    def refuse(_lines):
        raise OSError("no space left")

    pipeline = pipeline_of()
    monkeypatch.setattr(pipeline._spool, "commit", refuse)

    errors = asyncio.run(together(pipeline, battles[:1]))

    assert [str(error) for error in errors] == ["no space left"]
    assert pauses.seconds == [1, 2, 4, 8, 16]
    assert set(reasons) == {"the disk refuses: no space left"}


def test_a_disk_that_has_room_again_gets_the_battle(
    pipeline_of, battles, monkeypatch, pauses, reasons
):
    pipeline = pipeline_of()
    commit = pipeline._spool.commit

    def refuse(_lines):
        raise OSError("no space left")

    monkeypatch.setattr(pipeline._spool, "commit", refuse)
    pauses.then(2, lambda: monkeypatch.setattr(pipeline._spool, "commit", commit))

    [archived] = asyncio.run(together(pipeline, battles[:1]))

    assert archived.battle is battles[0]
    assert reasons == ["the disk refuses: no space left"] * 2 + [""]


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


def test_a_store_that_refuses_is_asked_again_after_pauses_that_double(
    pipeline_of, archive, battles, store, pauses, caplog
):
    pipeline = pipeline_of(SEGMENT_RECORDS=2)
    pauses.then(8, lambda: setattr(store, "refuses", False))

    archived = asyncio.run(together(pipeline, battles[:2]))

    assert [one.battle for one in archived] == battles[:2]
    assert pauses.seconds == [1, 2, 4, 8, 16, 32, 60, 60]
    assert pipeline._stats.get_value("archive/store_failed") == 8
    assert "1 segments wait in the spool: the bucket is full" in caplog.text
    assert len(list(archive.storage.keys("raw/"))) == 1


def test_a_spool_that_is_full_stops_new_work_until_the_store_is_back(
    pipeline_of, battles, store, pauses, reasons
):
    pipeline = pipeline_of(SEGMENT_RECORDS=2, SPOOL_LIMIT=1)
    pauses.then(2, lambda: setattr(store, "refuses", False))

    asyncio.run(together(pipeline, battles[:2]))

    assert "the store is away" in reasons[0]
    assert reasons[-1] == ""


def test_a_spool_with_room_lets_the_crawl_go_on(pipeline_of, battles, store, pauses, reasons):
    pipeline = pipeline_of(SEGMENT_RECORDS=2)
    pauses.then(2, lambda: setattr(store, "refuses", False))

    asyncio.run(together(pipeline, battles[:2]))

    assert set(reasons) <= {""}


@pytest.mark.usefixtures("store")
def test_a_crawl_that_ends_while_the_store_is_away_leaves_segments_in_the_spool(
    pipeline_of, archive, battles
):
    pipeline = pipeline_of(SEGMENT_RECORDS=2)

    async def crawl() -> None:
        await asyncio.gather(*map(pipeline.process_item, battles[:2]))
        await pipeline.close_spider()

    asyncio.run(crawl())

    assert len(list(archive.spools.iterdir())) == 1


def test_an_archive_that_makes_no_sense_stops_the_crawl_before_it_begins(pipeline_of):
    with pytest.raises(ValueError, match="ARCHIVE_URL"):
        pipeline_of(ARCHIVE_URL="ftp://somewhere")


def test_a_spool_lies_where_the_settings_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    spool_from_settings(Settings({"ARCHIVE_URL": "data"}))

    assert (tmp_path / ".scrapy/spool").is_dir()
