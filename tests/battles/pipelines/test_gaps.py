from __future__ import annotations

import asyncio

import pytest
from scrapy.exceptions import DropItem
from scrapy.utils.test import get_crawler

from battles.items import Gap, Unreadable
from battles.keys import IndexKeys
from battles.pipelines.gaps import GapsPipeline


@pytest.fixture
def pipeline(places) -> GapsPipeline:
    return GapsPipeline.from_crawler(get_crawler(settings_dict=places))


def test_a_gap_stays_in_redis_and_is_noted_once(pipeline, redis):
    for at in (2000, 3000):
        with pytest.raises(DropItem, match="a gap in the second 1000"):
            asyncio.run(pipeline.process_item(Gap("gen9ou", None, 1000, at)))

    keys = pipeline._index.keys
    assert redis.hgetall(keys.gaps) == {b'["gen9ou", null, 1000]': b"3000"}
    assert keys.gaps not in keys.fixed


def test_a_gap_is_in_the_indexs_namespace():
    assert IndexKeys("battles").gaps == "{battles}:gaps"


def test_everything_else_goes_on(pipeline):
    item = Unreadable("gen9ou-1", "https://site/gen9ou-1.json", "no")

    assert asyncio.run(pipeline.process_item(item)) is item
