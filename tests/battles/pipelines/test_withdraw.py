from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from scrapy.exceptions import DropItem
from scrapy.utils.test import get_crawler

from battles.index import Query
from battles.items import Withdrawn
from battles.pipelines.withdraw import WithdrawPipeline
from tests.battles.conftest import FETCHED_AT

AT = FETCHED_AT + 60


@pytest.fixture
def withdraw(places):
    """Have the pipeline withdraw a battle, and return its stats."""

    def process(battle, at: int = AT):
        pipeline = WithdrawPipeline.from_crawler(get_crawler(settings_dict=places))
        with pytest.raises(DropItem, match=f"{battle.id} was withdrawn: it is gone"):
            asyncio.run(pipeline.process_item(Withdrawn(battle.id, at, "it is gone")))
        return pipeline._stats

    return process


def found(archive) -> list[str]:
    return [battle.id for battle in archive.corpus.everything(Query())]


def ids(battles) -> list[str]:
    return [battle.id for battle in battles]


def test_a_withdrawn_battle_is_in_no_search_and_no_export(withdraw, archive, battles):
    archive.keep(battles[:3])

    stats = withdraw(battles[1])

    assert found(archive) == ids([battles[0], battles[2]])
    assert archive.corpus.battle(battles[1].id) is None
    assert (len(archive.index), archive.index.is_whole()) == (2, True)
    assert stats.get_value("archive/withdrawn") == 1


def test_a_tombstone_says_what_and_when_and_why(withdraw, archive, battles):
    withdraw(battles[0])

    [key] = archive.storage.keys("withdrawn/")
    assert json.loads(archive.storage.read_all(key)) == {
        "id": battles[0].id,
        "withdrawn_at": AT,
        "reason": "it is gone",
    }


def test_its_bytes_stay(withdraw, archive, battles):
    [location] = archive.keep(battles[:1])

    withdraw(battles[0])

    assert archive.segment(location).exists()


def test_an_index_that_is_made_anew_leaves_it_out(withdraw, archive, battles, redis):
    archive.keep(battles[:3])
    withdraw(battles[1])
    redis.flushdb()

    list(archive.corpus.rebuild_index())

    assert found(archive) == ids([battles[0], battles[2]])


def test_an_index_that_redis_lost_leaves_it_out(withdraw, archive, battles, redis):
    archive.keep(battles[:3])
    withdraw(battles[1])
    redis.flushdb()

    list(archive.corpus.reconcile(spooled=True))

    assert found(archive) == ids([battles[0], battles[2]])


def test_a_copy_that_arrives_late_does_not_bring_it_back(withdraw, archive, battles):
    withdraw(battles[0])

    archive.keep(battles[:1])

    assert found(archive) == []


def test_a_battle_that_is_made_public_again_is_back(withdraw, archive, battles, redis):
    archive.keep(battles[:1])
    withdraw(battles[0])

    archive.keep([replace(battles[0], fetched_at=AT + 1)])
    before = found(archive)
    redis.flushdb()
    list(archive.corpus.rebuild_index())

    assert before == found(archive) == ids(battles[:1])


def test_a_battle_withdrawn_twice_is_so_since_the_later_time(withdraw, archive, battles):
    withdraw(battles[0], AT + 100)
    withdraw(battles[0], AT)

    archive.keep([replace(battles[0], fetched_at=AT + 50)])

    assert archive.corpus.withdrawn() == {battles[0].id: AT + 100}
    assert found(archive) == []


def test_a_battle_withdrawn_while_the_index_is_rebuilt_is_in_neither(withdraw, archive, battles):
    archive.keep(battles[:3])
    rebuilding = archive.corpus.rebuild_index(may_shrink=True)
    next(rebuilding)

    withdraw(battles[1])
    list(rebuilding)

    assert found(archive) == ids([battles[0], battles[2]])


def test_all_else_goes_on(places, battles):
    pipeline = WithdrawPipeline.from_crawler(get_crawler(settings_dict=places))

    assert asyncio.run(pipeline.process_item(battles[0])) is battles[0]
