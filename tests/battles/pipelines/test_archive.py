from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
from scrapy.settings import Settings
from scrapy.utils.test import get_crawler

from battles.pipelines.archive import (
    Archived,
    ArchivePipeline,
    spool_from_settings,
)
from battles.records import encode
from battles.spools import waits_for_store
from extensions.lease import Lease, LeaseLostError, NotStoredError
from extensions.queue import Leased
from extensions.segments import read_frame
from extensions.shipping import Shipping
from extensions.signals import leaving, nothing_waits, work_blocked
from extensions.spool import Spool, read_spooled
from extensions.storage import FolderStorage, StorageError
from tests.extensions.waiting import until


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
    monkeypatch.setattr(Shipping, "_pause", pause)
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
    await until(lambda: pipeline._shipping._shipping is None)
    return archived


def test_a_battle_goes_on_when_its_bytes_are_on_the_disk(pipeline_of, archive, battles):
    pipeline = pipeline_of()

    [archived] = asyncio.run(together(pipeline, battles[:1]))

    place = archived.location
    data = read_spooled(archive.spools, place.segment, place.offset, place.length)
    assert read_frame(data)[place.line] == encode(battles[0])
    assert archived.battle is battles[0]


def test_an_item_that_is_no_battle_is_not_archived(pipeline_of, archive):
    item = {"title": "a page"}

    [returned] = asyncio.run(together(pipeline_of(), [item]))

    assert returned is item
    assert not list(archive.spools.rglob("*.zst"))


@pytest.mark.parametrize(("size", "frames"), [(32, 1), (2, 3), (1, 6)])
def test_battles_that_come_together_share_a_frame(pipeline_of, battles, size, frames):
    pipeline = pipeline_of(SEGMENT_FRAME_RECORDS=size)

    archived = asyncio.run(together(pipeline, battles[:6]))

    assert len({one.location.offset for one in archived}) == frames


def test_a_disk_that_stays_full_is_tried_until_the_crawl_ends(
    pipeline_of, battles, monkeypatch, pauses, reasons
):
    def refuse(_lines):
        raise OSError("no space left")

    pipeline = pipeline_of()
    monkeypatch.setattr(pipeline._spool, "commit", refuse)
    pauses.then(50, pipeline._is_leaving.set)

    [error] = asyncio.run(together(pipeline, battles[:1]))

    assert isinstance(error, NotStoredError)
    assert pauses.seconds == [1, 2, 4, 8, *[10] * 47]
    assert reasons == ["the disk refuses: no space left", ""]
    assert pipeline._stats.get_value("archive/disk_refused") == 1


def test_who_waits_for_room_on_the_disk_hears_at_once_that_the_crawl_ends(pipeline_of):
    pipeline = pipeline_of()

    async def scene() -> None:
        pause = asyncio.create_task(pipeline._pause(3600.0))
        await asyncio.sleep(0)
        pipeline.leave()
        await pause

    asyncio.run(scene())


def test_a_disk_that_lets_no_segment_be_closed_is_said_once(pipeline_of, monkeypatch, caplog):
    def refuse(_key=None):
        raise OSError("no space left")

    shipping = pipeline_of()._shipping

    async def scene() -> None:
        for _ in range(3):
            await shipping._seal("raw/x")
        monkeypatch.undo()
        await shipping._seal("raw/x")
        monkeypatch.setattr(shipping._spool, "seal", refuse)
        await shipping._seal("raw/x")

    monkeypatch.setattr(shipping._spool, "seal", refuse)
    asyncio.run(scene())

    said = [one for one in caplog.records if one.levelname == "WARNING"]
    assert [one.getMessage() for one in said] == ["A segment stays open: no space left"] * 2


def test_the_crawl_goes_on_when_the_disk_has_taken_every_battle(
    pipeline_of, battles, monkeypatch, pauses, reasons
):
    """One that has room for a few more is still as good as full."""
    pipeline = pipeline_of(SEGMENT_FRAME_RECORDS=1)
    commit = pipeline._spool.commit

    def refuse(lines):
        if len(pauses.seconds) < 9:
            raise OSError("no space left")
        return commit(lines)

    monkeypatch.setattr(pipeline._spool, "commit", refuse)

    archived = asyncio.run(together(pipeline, battles[:3]))

    assert [one.battle for one in archived] == battles[:3]
    assert reasons == ["the disk refuses: no space left"] * 3 + [""]


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
    assert reasons == ["the disk refuses: no space left", ""]


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
        is_storing = pipeline._shipping._shipping is not None
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
    assert caplog.text.count("1 segments wait in the spool: the bucket is full") == 1
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
    assert pipeline._stats.get_value("spool/segments_left") == 1


# --- Durable when it is in the store --------------------------------------------------------------

STORE = {"ARCHIVE_DURABLE": "store"}


async def working(pipeline: ArchivePipeline, battles) -> list[asyncio.Task]:
    """Have the pipeline work on battles until their bytes are on the disk."""
    tasks = [asyncio.create_task(pipeline.process_item(battle)) for battle in battles]
    await until(lambda: pipeline._shipping._waiting)
    return tasks


def test_a_battle_goes_on_when_its_segment_is_in_the_store(pipeline_of, archive, battles):
    pipeline = pipeline_of(SEGMENT_RECORDS=2, **STORE)

    async def crawl():
        first, *_ = await working(pipeline, battles[:1])
        waited = not first.done()
        await pipeline.process_item(battles[1])
        return waited, (await first).location.segment

    waited, key = asyncio.run(crawl())

    assert waited
    assert list(archive.storage.keys("raw/")) == [key]


def test_a_segment_that_is_old_enough_is_stored_though_it_is_not_full(
    pipeline_of, archive, battles
):
    pipeline = pipeline_of(SEGMENT_AGE=0.01, **STORE)

    archived = asyncio.run(together(pipeline, battles[:3]))

    assert list(archive.storage.keys("raw/")) == [archived[0].location.segment]


def test_a_segment_of_many_bytes_is_stored_though_it_holds_few_battles(
    pipeline_of, archive, battles
):
    pipeline = pipeline_of(SEGMENT_BYTES=1, SEGMENT_FRAME_RECORDS=2, **STORE)

    asyncio.run(together(pipeline, battles[:6]))

    assert len(list(archive.storage.keys("raw/"))) == 3


@pytest.mark.parametrize(("is_watching", "is_stored"), [(False, True), (True, False)])
def test_what_the_end_waits_for_is_stored_at_once_unless_there_is_none(
    pipeline_of, battles, is_watching, is_stored
):
    pipeline = pipeline_of(**STORE)
    pipeline._crawler.spider = SimpleNamespace(is_watching=is_watching)

    async def crawl():
        [task] = await working(pipeline, battles[:1])
        pipeline._crawler.signals.send_catch_log(nothing_waits)
        if is_stored:
            await until(task.done)
        await asyncio.sleep(0.1)
        was_stored = task.done()
        pipeline._crawler.signals.send_catch_log(leaving)
        await task
        return was_stored

    assert asyncio.run(crawl()) == is_stored


def test_a_crawl_that_is_told_to_end_stores_what_it_has(pipeline_of, archive, battles):
    pipeline = pipeline_of(**STORE)

    async def crawl():
        tasks = await working(pipeline, battles[:3])
        pipeline._crawler.signals.send_catch_log(leaving)
        await asyncio.gather(*tasks)
        await pipeline.close_spider()

    asyncio.run(crawl())

    assert len(list(archive.storage.keys("raw/"))) == 1
    assert pipeline._stats.get_value("spool/segments_left") is None


@pytest.mark.usefixtures("store")
def test_a_crawl_that_ends_while_the_store_is_away_leaves_its_battles_to_others(
    pipeline_of, archive, battles
):
    pipeline = pipeline_of(**STORE)

    async def crawl():
        tasks = await working(pipeline, battles[:2])
        pipeline._crawler.signals.send_catch_log(leaving)
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        late = await asyncio.gather(pipeline.process_item(battles[2]), return_exceptions=True)
        await pipeline.close_spider()
        return errors + late

    errors = asyncio.run(crawl())

    assert [type(error) for error in errors] == [NotStoredError] * 3
    assert len(list(archive.spools.iterdir())) == 2
    assert pipeline._stats.get_value("spool/segments_left") == 2


def test_a_store_that_is_away_for_a_while_costs_no_battle(
    pipeline_of, archive, battles, store, pauses
):
    pipeline = pipeline_of(SEGMENT_AGE=0.01, **STORE)
    pauses.then(3, lambda: setattr(store, "refuses", False))

    archived = asyncio.run(together(pipeline, battles[:2]))

    assert [one.battle for one in archived] == battles[:2]
    assert len(list(archive.storage.keys("raw/"))) == 1


@pytest.mark.parametrize(
    ("settings", "waits"),
    [
        ({"ARCHIVE_URL": "data"}, False),
        ({"ARCHIVE_URL": "s3://bucket/prefix"}, True),
        ({"ARCHIVE_URL": "s3://bucket", "ARCHIVE_DURABLE": "disk"}, False),
        ({"ARCHIVE_URL": "data", "ARCHIVE_DURABLE": "store"}, True),
    ],
)
def test_a_bucket_is_waited_for_unless_told_otherwise(settings, waits):
    assert waits_for_store(Settings(settings)) is waits


def test_anything_else_than_store_or_disk_is_refused():
    with pytest.raises(ValueError, match="ARCHIVE_DURABLE is 'tape': give store or disk"):
        waits_for_store(Settings({"ARCHIVE_URL": "data", "ARCHIVE_DURABLE": "tape"}))


# --- What is another worker's by now --------------------------------------------------------------


def test_a_battle_whose_lease_is_lost_is_not_written(pipeline_of, battles, archive):
    pipeline = pipeline_of()
    lost = Lease(Leased(2, "1-0", {}), queue=SimpleNamespace(holds=lambda held: [True] * len(held)))
    lost.is_lost = True
    items = [replace(battles[0], lease=lost), battles[1]]

    error, archived = asyncio.run(together(pipeline, items))

    assert isinstance(error, LeaseLostError)
    place = archived.location
    data = read_spooled(archive.spools, place.segment, place.offset, place.length)
    assert read_frame(data) == [encode(battles[1])]


def test_a_frame_of_which_nothing_is_ours_is_not_begun(pipeline_of, battles, archive):
    pipeline = pipeline_of()
    lost = Lease(Leased(2, "1-0", {}), queue=SimpleNamespace(holds=lambda _held: [False]))

    [error] = asyncio.run(together(pipeline, [replace(battles[0], lease=lost)]))

    assert isinstance(error, LeaseLostError)
    assert list(archive.spools.iterdir()) == []


# --- Where it lies --------------------------------------------------------------------------------


def test_an_archive_that_makes_no_sense_stops_the_crawl_before_it_begins(pipeline_of):
    with pytest.raises(ValueError, match="ARCHIVE_URL"):
        pipeline_of(ARCHIVE_URL="ftp://somewhere")


def test_a_spool_lies_where_the_settings_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    spool_from_settings(Settings({"ARCHIVE_URL": "data"}))

    assert (tmp_path / ".scrapy/spool").is_dir()
