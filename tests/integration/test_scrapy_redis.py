"""A project that uses scrapy-redis runs with only its `SCHEDULER` changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from extensions.embedded import EmbeddedRedis
from tests.integration.fleet import PATIENCE, ROOT, running_site

SCHEDULERS = ["scrapy_redis.scheduler.Scheduler", "extensions.scheduler.Scheduler"]
SETTINGS = """
SPIDER_MODULES = ["shop.spiders"]
SCHEDULER = "{scheduler}"
DUPEFILTER_CLASS = "scrapy_redis.dupefilter.RFPDupeFilter"
SCHEDULER_PERSIST = True
ITEM_PIPELINES = {{"scrapy_redis.pipelines.RedisPipeline": 300}}
REDIS_URL = "{redis}"
MAX_IDLE_TIME_BEFORE_CLOSE = 1
"""
SPIDER = """
from scrapy import Request
from scrapy_redis.spiders import RedisSpider


class ShopSpider(RedisSpider):
    name = "shop"

    def parse(self, response):
        for row in response.json():
            url = response.urljoin(f"/{row['id']}.json")
            yield Request(url, self.parse_one, meta={"rating": row["rating"]})

    def parse_one(self, response):
        yield {"id": response.json()["id"], "rating": response.meta["rating"]}
"""


@pytest.fixture
def project(tmp_path: Path):
    """Write the project into a folder; the scheduler and Redis are filled in by the test."""

    def write(scheduler: str, redis: str) -> Path:
        spiders = tmp_path / "shop" / "spiders"
        spiders.mkdir(parents=True)
        (tmp_path / "scrapy.cfg").write_text("[settings]\ndefault = shop.settings\n")
        (tmp_path / "shop" / "__init__.py").touch()
        text = SETTINGS.format(scheduler=scheduler, redis=redis)
        (tmp_path / "shop" / "settings.py").write_text(text)
        (spiders / "__init__.py").touch()
        (spiders / "shop.py").write_text(SPIDER)
        return tmp_path

    return write


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=["theirs", "ours"])
def test_a_redis_spider_crawls_what_it_is_given(project, tmp_path, scheduler):
    server = EmbeddedRedis(tmp_path / "redis")
    redis = Redis.from_url(server.start())
    with running_site(tmp_path, "--battles", "60") as site:
        folder = project(scheduler, server.start())
        redis.lpush("shop:start_urls", f"{site.address}/search.json?format=gen9randombattle")

        crawl = subprocess.run(
            [sys.executable, "-m", "scrapy", "crawl", "shop"],
            check=False,
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "SCRAPY_SETTINGS_MODULE": "shop.settings",
            },
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

        fetched = site.fetched()
    items = [json.loads(item) for item in redis.lrange("shop:items", 0, -1)]
    redis.close()
    server.release()
    assert crawl.returncode == 0, crawl.stderr[-3000:]
    assert sorted(item["id"] for item in items) == sorted(fetched)
    assert len(items) == len(set(fetched)) > 10
