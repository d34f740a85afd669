"""The crawls ours is compared with: `python -m benchmarks.rivals NAME LIMIT`.

`plain` is Scrapy with its memory queue, and stores nothing. `one_object` is Scrapy with
scrapy-redis, and stores each battle as an object in S3 and a hash in Redis. Both list, fetch and
parse what ours does.
"""

from __future__ import annotations

import os
import sys
from typing import Any
from urllib.parse import urlencode

import boto3
import scrapy
from redis import Redis
from scrapy.crawler import CrawlerProcess

from battles.parsers.replay import parse_replay
from battles.parsers.search import parse_search
from battles.records import encode

_COMMON = {
    "CONCURRENT_REQUESTS": 16,
    "CONCURRENT_REQUESTS_PER_DOMAIN": 8,
    "COOKIES_ENABLED": False,
    "LOG_LEVEL": "INFO",
    "REMOTE_CONTROL_ENABLED": False,
    "ROBOTSTXT_OBEY": True,
    "TELNETCONSOLE_ENABLED": False,
}


class RivalSpider(scrapy.Spider):
    """Walks the unfiltered list, a page after another."""

    name = "rival"

    def __init__(self, site: str, limit: int) -> None:
        super().__init__()
        self._site = site
        self._limit = limit
        self._listed: set[str] = set()

    async def start(self) -> Any:  # noqa: ANN401 -- an async generator
        yield scrapy.Request(f"{self._site}/search.json", self.parse_search, priority=10)

    def parse_search(self, response: scrapy.http.Response) -> Any:  # noqa: ANN401
        page = parse_search(response.body)
        for row in page.rows:
            if row.id not in self._listed and len(self._listed) < self._limit:
                self._listed.add(row.id)
                yield scrapy.Request(f"{self._site}/{row.id}.json", self.parse_battle)
        if page.has_more and len(self._listed) < self._limit:
            query = urlencode({"before": page.oldest})
            url = f"{self._site}/search.json?{query}"
            yield scrapy.Request(url, self.parse_search, priority=10)

    def parse_battle(self, response: scrapy.http.Response) -> Any:  # noqa: ANN401
        yield parse_replay(response.body, asked="", url=response.url, fetched_at=0)


class OneObjectPipeline:
    """Stores each battle as an object in S3 and as a hash in Redis."""

    def open_spider(self) -> None:
        self._bucket = os.environ["BENCH_BUCKET"]
        self._s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
        self._redis = Redis.from_url(os.environ["REDIS_URL"])

    def process_item(self, item: Any) -> Any:  # noqa: ANN401 -- a Battle
        self._s3.put_object(Bucket=self._bucket, Key=f"{item.id}.json", Body=encode(item))
        names = " ".join(player.name for player in item.players)
        fields = {"uploaded": item.uploaded or 0, "rating": item.rating or 0, "players": names}
        self._redis.hset(f"battle:{item.id}", mapping=fields)
        return item


def main(name: str, limit: int) -> None:
    """Run one of the two crawls."""
    settings: dict[str, Any] = dict(_COMMON)
    if name == "one_object":
        settings |= {
            "SCHEDULER": "scrapy_redis.scheduler.Scheduler",
            "DUPEFILTER_CLASS": "scrapy_redis.dupefilter.RFPDupeFilter",
            "REDIS_URL": os.environ["REDIS_URL"],
            "ITEM_PIPELINES": {"benchmarks.rivals.OneObjectPipeline": 100},
        }
    process = CrawlerProcess(settings)
    process.crawl(RivalSpider, site=os.environ["SHOWDOWN_REPLAY_URL"], limit=limit)
    process.start()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
