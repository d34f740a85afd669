"""Connect to Redis as the settings say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from extensions.embedded import EmbeddedRedis

if TYPE_CHECKING:
    from scrapy.settings import BaseSettings

_embedded: dict[Path, EmbeddedRedis] = {}
"""The servers this process uses, by folder: they run until it ends."""


def connect(settings: BaseSettings) -> Redis:
    """Connect to the Redis that the settings name, or start one of our own.

    Settings:
        REDIS_URL (unset): `redis://`, `rediss://` or `unix://`. Unset: a server of our own.
        REDIS_PARAMS ({}): further arguments of `redis.Redis.from_url`, as in scrapy-redis.
        EMBEDDED_REDIS_DIR (.scrapy/redis): where a server of our own keeps its data.

    Raises:
        ValueError: the URL is none.
        EmbeddedRedisError: no server is named, and none can be run.

    """
    url = settings.get("REDIS_URL") or _start(settings.get("EMBEDDED_REDIS_DIR", ".scrapy/redis"))
    parameters = {
        "retry": Retry(ExponentialBackoff(cap=2.0, base=0.05), retries=8),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError],
        "socket_connect_timeout": 10.0,
        "socket_timeout": 30.0,
        **settings.getdict("REDIS_PARAMS", {}),
    }
    try:
        return Redis.from_url(url, **parameters)
    except ValueError as error:
        raise ValueError(f"REDIS_URL: {error}") from None


def check(redis: Redis) -> None:
    """Make sure that the server answers.

    Raises:
        ValueError: it does not.

    """
    try:
        redis.ping()
    except RedisError as error:
        raise ValueError(f"Redis does not answer: {error}; check REDIS_URL") from None


def _start(folder: str) -> str:
    path = Path(folder).absolute()
    return _embedded.setdefault(path, EmbeddedRedis(path)).start()
