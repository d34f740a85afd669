"""Connect to Redis as the settings say."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from redis import ConnectionPool, Redis
from redis.backoff import ExponentialBackoff
from redis.cluster import RedisCluster
from redis.connection import parse_url
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from extensions.cluster import PatientCluster
from extensions.embedded import EmbeddedRedis
from extensions.redis_errors import is_read_only, trouble_of
from extensions.redis_settings import redis_parameters, redis_url
from extensions.server_program import EmbeddedRedisError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scrapy.settings import BaseSettings

_BACKOFF = {"cap": 2.0, "base": 0.05}
"""Seconds between two tries."""
_RETRIES = 8
"""With the backoff above, 9 seconds in all; each further one adds 2."""
_FIRST_TRIES = 4
"""Repeats of the first contact; with the backoff above, 1.5 seconds in all."""
_FIRST_TIMEOUT = 2.0
"""Seconds that the first contact waits for a host that swallows packets, and for an answer."""
_NO_URL = (
    "REDIS_URL makes no sense: give redis://HOST:PORT/DB, rediss://… or unix://PATH, and "
    "percent-encode what is neither letter nor digit in a password"
)
_Result = TypeVar("_Result")
_embedded: dict[Path, EmbeddedRedis] = {}
"""The servers this process uses, by folder: they run until it ends."""


class UnreachableError(ValueError):
    """Raised when the Redis that the settings name does not answer."""


class EvictionError(Exception):
    """Raised when Redis may throw away keys that nobody wrote down elsewhere."""


class _Patience(Retry):
    """Tries again, over a new connection, also when the server has become a replica.

    After a failover the address leads to the new primary; the old connection leads to the old one.
    A server of our own that somebody killed is started again.
    """

    def __init__(self, patience: float, revive: Callable[[], object] | None = None) -> None:
        """Take the seconds for which a command is repeated, and how to start a server of ours."""
        errors = (RedisConnectionError, RedisTimeoutError, ReadOnlyError)
        retries = _RETRIES + round((patience - 9.0) / 2.0)
        super().__init__(ExponentialBackoff(**_BACKOFF), retries, errors)
        self._patience = patience
        self._revive = revive

    def call_with_retry(
        self,
        do: Callable[[], _Result],
        fail: Callable[..., Any],
        *args: Any,  # noqa: ANN401 -- redis-py's own, handed on
        **options: Any,  # noqa: ANN401 -- as above
    ) -> _Result:
        def attempt() -> _Result:
            try:
                return do()
            except RedisConnectionError as error:
                if _is_worth_another_try(error):
                    self._start_again(error)
                raise
            except ResponseError as error:
                # Of a script a server says so in the middle of a longer message.
                if is_read_only(error):
                    raise ReadOnlyError(str(error)) from error
                raise

        if not args:
            options.setdefault("is_retryable", _is_worth_another_try)
        return super().call_with_retry(attempt, self._until_the_end(fail), *args, **options)

    def _until_the_end(self, fail: Callable[..., Any]) -> Callable[..., None]:
        """Try no more when the time is over: each try may last, when packets are swallowed."""
        deadline = time.monotonic() + self._patience

        def failed(error: Exception, *more: int) -> None:
            fail(error, *more)
            if time.monotonic() > deadline:
                raise error

        return failed

    def _start_again(self, error: RedisConnectionError) -> None:
        """Start a server of our own; should that fail, say why beside what was wrong before."""
        if self._revive is None:
            return
        try:
            self._revive()
        except (EmbeddedRedisError, OSError) as failure:
            raise RedisConnectionError(f"{failure} ({error})") from error


def _is_worth_another_try(error: Exception) -> bool:
    """Tell a server that is away from one that wants another password, as redis-py does not."""
    return not isinstance(error, (AuthenticationError, AuthorizationError))


def connect(settings: BaseSettings, *, patience: float = 9.0) -> Redis:
    """Connect to the Redis that the settings name, or start one of our own.

    Every call on it is repeated while Redis is away, for as many seconds as the patience lasts; the
    last try may take another `socket_timeout` (30 s).

    Settings:
        REDIS_URL (unset): `redis://`, `rediss://` or `unix://`. Unset: a server of our own.
        REDIS_CLUSTER (False): whether the URL is that of a node of a cluster.
        REDIS_PARAMS ({}): further arguments of `redis.Redis.from_url`, as in scrapy-redis.
        REDIS_HOST, REDIS_PORT, REDIS_DB: see `redis_settings`.
        EMBEDDED_REDIS_DIR (.scrapy/redis): where a server of our own keeps its data.

    Raises:
        ValueError: the URL is none, or a parameter is unknown.
        UnreachableError: no node of the cluster answers, or it is none.
        EmbeddedRedisError: no server is named, and none can be run.

    """
    if settings.getbool("REDIS_CLUSTER"):
        return _connect_to_cluster(settings, patience)
    url, revive = redis_url(settings), None
    if not url:
        revive = _starter(settings.get("EMBEDDED_REDIS_DIR", ".scrapy/redis"))
        url = revive()
    parameters = {
        "retry": _Patience(patience, revive),
        "socket_connect_timeout": 10.0,
        "socket_timeout": 30.0,
        **redis_parameters(settings),
    }
    try:
        redis = Redis.from_url(url, **parameters)
        # Also when the address says otherwise: all that reads here wants bytes.
        redis.connection_pool.connection_kwargs.update(decode_responses=False, encoding="utf-8")
        # Made and thrown away unconnected: an unknown parameter shows here, and not later.
        redis.connection_pool.connection_class(**redis.connection_pool.connection_kwargs)
    except TypeError as error:
        raise ValueError(f"REDIS_URL or REDIS_PARAMS: {error}") from None
    except ValueError:
        # What urllib says of an odd password quotes it.
        raise ValueError(_NO_URL) from None
    return redis


def _connect_to_cluster(settings: BaseSettings, patience: float) -> Redis:
    url = redis_url(settings)
    if not url or url.startswith("unix:"):
        raise ValueError("REDIS_CLUSTER is set: give the address of a node of it as REDIS_URL")
    parameters = {
        "socket_connect_timeout": 10.0,
        "socket_timeout": 30.0,
        **redis_parameters(settings),
        # Also when the address says otherwise: all that reads here wants bytes.
        "decode_responses": False,
        "encoding": "utf-8",
    }
    try:
        cluster = cast(
            "PatientCluster", PatientCluster.from_url(_without_decoding(url), **parameters)
        )
    except RedisClusterException as error:
        said = str(error).strip().splitlines()[0]
        raise UnreachableError(f"The cluster at REDIS_URL cannot be used: {said}") from None
    except TypeError as error:
        raise ValueError(f"REDIS_URL or REDIS_PARAMS: {error}") from None
    except ValueError:
        raise ValueError(_NO_URL) from None
    cluster.patience = patience
    # To all who use it here, it does what a client of one server does.
    return cast("Redis", cluster)


def _without_decoding(url: str) -> str:
    parts = urlsplit(url)
    ours = ("decode_responses", "encoding")
    kept = [pair for pair in parse_qsl(parts.query) if pair[0] not in ours]
    return urlunsplit(parts._replace(query=urlencode(kept)))


def identity(settings: BaseSettings) -> str:
    """Name the database of the settings, without user and password.

    Raises:
        ValueError: the URL is none.

    """
    url = redis_url(settings)
    if not url:
        return str(Path(settings.get("EMBEDDED_REDIS_DIR") or ".scrapy/redis").resolve())
    try:
        named = parse_url(url)  # type: ignore[no-untyped-call]  # redis-py has no types for it
        # As redis-py does it: what the URL says, it says.
        place = {**settings.getdict("REDIS_PARAMS", {}), **named}
    except ValueError:
        raise ValueError(_NO_URL) from None
    database = place.get("db") or 0
    if path := place.get("path") or place.get("unix_socket_path"):
        return f"{path}/{database}"
    return f"{place.get('host') or 'localhost'}:{place.get('port') or 6379}/{database}"


def check(redis: Redis) -> None:
    """Make sure that the server answers, within some 2 seconds: somebody waits for the first line.

    Raises:
        UnreachableError: it does not.

    """
    if isinstance(redis, RedisCluster):
        # Its nodes were asked when it was connected to.
        return
    pool, given = redis.connection_pool, redis.connection_pool.connection_kwargs
    names = ("socket_connect_timeout", "socket_timeout")
    short = {name: min(given.get(name) or _FIRST_TIMEOUT, _FIRST_TIMEOUT) for name in names}
    # A timeout is not repeated: each would cost as much again.
    retry = Retry(ExponentialBackoff(**_BACKOFF), _FIRST_TRIES, (RedisConnectionError,))
    parameters = {**given, **short, "retry": retry}
    hasty = Redis.from_pool(ConnectionPool(pool.connection_class, **parameters))
    try:
        hasty.ping()
        _check_alone(hasty)
    except RedisError as error:
        raise UnreachableError(str(trouble_of(error))) from None
    finally:
        hasty.close()


def _check_alone(redis: Redis) -> None:
    with suppress(ResponseError):
        # Not everybody may ask.
        if redis.info("cluster").get("cluster_enabled"):
            raise UnreachableError("REDIS_URL names a node of a cluster: set REDIS_CLUSTER=1")


def check_memory(redis: Redis) -> None:
    """Make sure that the server does not throw away keys when its memory is full.

    Raises:
        EvictionError: it may.

    """
    for memory in _infos(redis, "memory"):
        _check_memory(memory)


def _check_memory(memory: Mapping[str, Any]) -> None:
    policy = str(memory.get("maxmemory_policy", ""))
    if memory.get("maxmemory") and policy.startswith("allkeys"):
        raise EvictionError(
            f"Redis throws keys away when its memory is full (maxmemory-policy {policy}), and with "
            "them requests and battles: CONFIG SET maxmemory-policy noeviction, and in its "
            "configuration file"
        )


def evicted_keys(redis: Redis) -> int:
    """Return how many keys the server has thrown away since it started, as far as it says."""
    return sum(int(stats.get("evicted_keys", 0)) for stats in _infos(redis, "stats"))


def _infos(redis: Redis, section: str) -> list[dict[str, Any]]:
    """Ask every server that keeps data; none when not everybody may ask."""
    try:
        if isinstance(redis, RedisCluster):
            by_node = redis.info(section, target_nodes=RedisCluster.PRIMARIES)
            # Of a single node it says it without the node's name.
            return list(by_node.values()) if len(redis.get_primaries()) > 1 else [by_node]
        return [redis.info(section)]
    except ResponseError:
        return []


def _starter(folder: str) -> Callable[[], str]:
    """Return what starts the server of a folder, unless it runs, and tells its URL."""
    path = Path(folder).absolute()
    embedded = _embedded.setdefault(path, EmbeddedRedis(path))

    def start() -> str:
        # A function, since redis-py copies what tries again, and a server cannot be copied.
        return embedded.start()

    return start
