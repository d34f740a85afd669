"""Measure the queue: operations a second of one client, and bytes in Redis per request."""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis import Redis
from scrapy import Request, Spider
from scrapy.core.scheduler import Scheduler as MemoryScheduler
from scrapy.utils.test import get_crawler
from scrapy_redis.scheduler import Scheduler as ScrapyRedisScheduler

from extensions.embedded import EmbeddedRedis
from extensions.keys import QueueKeys
from extensions.queue import Add, Done, RequestQueue
from extensions.request_fields import encode
from extensions.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrapy.crawler import Crawler

_REQUESTS = 30_000
_BATCH = 64


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of one queue."""

    name: str
    push: float
    """Requests put in, a second."""
    take: float
    """Requests taken out and, where there is such a thing, acknowledged, a second."""
    bytes_each: float | None
    """Bytes in Redis for a request seen and queued."""


class _Spider(Spider):
    name = "bench"

    def parse_battle(self) -> None:
        """Stand in for the callback that every queued battle names."""


def measure() -> list[Figures]:
    """Measure ours, scrapy-redis's and Scrapy's own, in this order."""
    with _redis() as redis:
        ours = _ours(redis)
    with _redis() as redis:
        settings = {
            "REDIS_URL": _url(redis),
            "SCHEDULER_PERSIST": True,
            "DUPEFILTER_CLASS": "scrapy_redis.dupefilter.RFPDupeFilter",
        }
        theirs = _other("scrapy-redis", ScrapyRedisScheduler, settings, redis)
    with _redis() as redis:
        # The default one wants a running engine.
        settings = {"SCHEDULER_PRIORITY_QUEUE": "scrapy.pqueues.ScrapyPriorityQueue"}
        memory = _other("Scrapy's memory queue", MemoryScheduler, settings, redis)
    return [ours, theirs, memory]


def seen_bytes(count: int) -> float:
    """Return the bytes in Redis for a request that was seen and is done, at so many of them."""
    seen, keys = Seen(_crawler({}).request_fingerprinter), QueueKeys("bench")
    with _redis() as redis:
        before = _memory_of(redis)
        for start in range(0, count, 1000):
            with redis.pipeline(transaction=False) as pipeline:
                for n in range(start, start + 1000):
                    bucket, mark = seen.place(_request(n))
                    pipeline.sadd(keys.seen(bucket), mark)
                pipeline.execute()
        return (_memory_of(redis) - before) / count


def _ours(redis: Redis) -> Figures:
    crawler = _crawler({})
    seen = Seen(crawler.request_fingerprinter)
    queue = RequestQueue(redis, "bench", worker="bench")
    queue.open()
    before, began = _memory_of(redis), time.perf_counter()
    for start in range(0, _REQUESTS, _BATCH):
        requests = map(_request, range(start, min(start + _BATCH, _REQUESTS)))
        queue.commit(
            [
                Add(
                    2,
                    encode(r.replace(callback=crawler.spider.parse_battle), crawler.spider),
                    seen.place(r),
                )
                for r in requests
            ]
        )
    pushed = time.perf_counter() - began
    each = (_memory_of(redis) - before) / _REQUESTS
    began = time.perf_counter()
    while leased := queue.lease(_BATCH)[1]:
        queue.commit([Done(entry, "archived") for entry in leased])
    return Figures("battles", _REQUESTS / pushed, _REQUESTS / (time.perf_counter() - began), each)


def _other(name: str, kind: Any, settings: dict[str, Any], redis: Redis) -> Figures:  # noqa: ANN401
    crawler = _crawler(settings)
    scheduler = kind.from_crawler(crawler)
    scheduler.open(crawler.spider)
    before, began = _memory_of(redis), time.perf_counter()
    for n in range(_REQUESTS):
        scheduler.enqueue_request(_request(n).replace(callback=crawler.spider.parse_battle))
    pushed = time.perf_counter() - began
    each = (_memory_of(redis) - before) / _REQUESTS or None
    began = time.perf_counter()
    while scheduler.next_request():
        pass
    return Figures(name, _REQUESTS / pushed, _REQUESTS / (time.perf_counter() - began), each)


def _request(n: int) -> Request:
    return Request(f"https://replay.pokemonshowdown.com/gen9ou-{2_390_000_000 + 7 * n}.json")


def _crawler(settings: dict[str, Any]) -> Crawler:
    crawler = get_crawler(_Spider, settings)
    crawler.spider = _Spider.from_crawler(crawler)
    return crawler


def _memory_of(redis: Redis) -> int:
    return int(redis.info("memory")["used_memory"])


def _url(redis: Redis) -> str:
    return f"unix://{redis.connection_pool.connection_kwargs['path']}"


@contextmanager
def _redis() -> Iterator[Redis]:
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedRedis(Path(folder))
        try:
            yield Redis.from_url(server.start())
        finally:
            server.release()
