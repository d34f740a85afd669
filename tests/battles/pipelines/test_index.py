from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError
from scrapy.utils.test import get_crawler

from battles.pipelines.archive import Archived
from battles.pipelines.index import IndexPipeline
from extensions.lease import NotStoredError
from tests.battles.conftest import commit


@pytest.fixture
def pipeline(places) -> IndexPipeline:
    return IndexPipeline.from_crawler(get_crawler(settings_dict=places))


@pytest.fixture
def stored(archive, battles) -> list[Archived]:
    """Some battles whose bytes are durable; copies, since the pipeline marks them."""
    copies = [replace(battle) for battle in battles[:5]]
    locations = commit(archive.spool(), copies)
    return [Archived(*pair) for pair in zip(copies, locations, strict=True)]


def process(pipeline: IndexPipeline, items: list[Archived]) -> list:
    async def together() -> list:
        return await asyncio.gather(*map(pipeline.process_item, items), return_exceptions=True)

    return asyncio.run(together())


def test_a_battle_goes_on_when_the_index_knows_where_it_is(pipeline, archive, stored):
    returned = process(pipeline, stored)

    rows = archive.index.find([item.battle.id for item in stored])
    assert returned == [item.battle for item in stored]
    assert [rows[item.battle.id].location for item in stored] == [item.location for item in stored]


def test_an_item_that_is_no_battle_is_not_indexed(pipeline):
    item = {"title": "a page"}

    [returned] = process(pipeline, [item])

    assert returned is item


def test_battles_that_come_together_are_told_together(pipeline, stored, monkeypatch):
    calls = []
    add = pipeline._index.add
    monkeypatch.setattr(
        pipeline._index, "add", lambda entries: calls.append(entries) or add(entries)
    )

    process(pipeline, stored)

    assert [len(entries) for entries in calls] == [5]


def test_a_battle_that_is_told_twice_is_known_once(pipeline, archive, stored):
    process(pipeline, [*stored, *stored])

    assert len(archive.index) == 5


@pytest.fixture
def failures(pipeline, monkeypatch) -> list[Exception]:
    """What Redis answers next, before it does what it is asked."""
    monkeypatch.setattr("extensions.patience._AGAIN", 0.001)
    failures: list[Exception] = []
    add = pipeline._index.add

    def add_or_fail(entries):
        if failures:
            raise failures.pop()
        return add(entries)

    monkeypatch.setattr(pipeline._index, "add", add_or_fail)
    return failures


def test_a_battle_that_redis_does_not_take_waits_until_it_does(pipeline, archive, stored, failures):
    failures += [RedisConnectionError("gone"), OutOfMemoryError("full", status_code="OOM")]

    returned = process(pipeline, stored[:2])

    assert returned == [item.battle for item in stored[:2]]
    assert (len(archive.index), failures) == (2, [])


def test_a_battle_that_redis_does_not_take_until_the_crawl_ends_does_not_go_on(
    pipeline, stored, failures
):
    failures += [RedisConnectionError("gone")] * 2
    pipeline._patience.leave()

    returned = process(pipeline, stored[:1])

    assert [type(error) for error in returned] == [NotStoredError]
    assert not stored[0].battle.is_durable
