from __future__ import annotations

import gc

import pytest
from scrapy import Spider, signals
from scrapy.exceptions import NotConfigured
from scrapy.utils.test import get_crawler

from extensions.garbage import GarbageCollection


@pytest.fixture
def crawler():
    crawler = get_crawler(settings_dict={"GC_THRESHOLD": 12_345})
    crawler.spider = Spider("any")
    return crawler


@pytest.fixture
def before():
    """The thresholds of this process, which the test must leave as they were."""
    thresholds = gc.get_threshold()
    yield thresholds
    gc.set_threshold(*thresholds)


def test_a_crawl_looks_for_garbage_as_often_as_the_settings_say(crawler, before):
    extension = GarbageCollection.from_crawler(crawler)

    crawler.signals.send_catch_log(signals.spider_opened, spider=crawler.spider)

    assert extension
    assert gc.get_threshold()[0] == 12_345
    assert gc.get_threshold()[2] == before[2]


def test_the_thresholds_of_before_come_back_with_the_end(crawler, before):
    extension = GarbageCollection.from_crawler(crawler)
    crawler.signals.send_catch_log(signals.spider_opened, spider=crawler.spider)

    crawler.signals.send_catch_log(signals.spider_closed, spider=crawler.spider, reason="finished")

    assert extension
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_zero_leaves_pythons_own():
    with pytest.raises(NotConfigured):
        GarbageCollection.from_crawler(get_crawler(settings_dict={"GC_THRESHOLD": 0}))
