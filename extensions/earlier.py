"""Take over what an earlier version left in Redis under other names, and have it refuse to go on.

Before version 2 the names of keys had no tag, by which a cluster keeps together what belongs
together. All steps are safe to repeat, so that a death between two of them costs nothing.
"""

from __future__ import annotations

import logging
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, cast

from redis.cluster import RedisCluster

from extensions.hosts import MARGIN, Hosts
from extensions.inspection import count_hosts
from extensions.keys import EARLIER_SEEN_BUCKETS, SEEN_BUCKETS, HostKeys, QueueKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redis import Redis
    from redis.client import Pipeline

logger = logging.getLogger(__name__)

_AT_ONCE = 64
_LOCKED = 60.0
"""Seconds after which one that died while it took over is no longer waited for."""
_LONGEST_HOLD = 86_400.0
"""Seconds."""


def rename(
    redis: Redis,
    names: str,
    pairs_of: Callable[[set[str]], Iterable[tuple[str, str]]],
    mark: Callable[[Pipeline], object],
) -> None:
    """Give keys their new names, old before new, and mark that it is done, in one step.

    Some have a name that stands in the set `names`; an earlier worker may add one meanwhile, and
    then it is begun anew. What such a worker writes afterwards is its own: nobody looks again.
    """
    load = files("extensions").joinpath("lua/adopt.lua").read_text(encoding="utf-8")

    def act(pipeline: Pipeline) -> None:
        found = {name.decode() for name in cast("set[bytes]", pipeline.smembers(names))}
        keys = [key for pair in pairs_of(found) for key in pair]
        pipeline.multi()
        pipeline.eval(load, len(keys), *keys)
        mark(pipeline)

    redis.transaction(act, names)


def take_over(redis: Redis, namespace: str, version: int) -> None:
    """Take over a queue and what is known of hosts; leave word for workers of earlier versions.

    Those refuse the queue from then on, and lose nothing: what they held comes back by itself.
    """
    if isinstance(redis, RedisCluster):
        # No earlier version ran on one.
        return
    old, new = QueueKeys(namespace, is_tagged=False), QueueKeys(namespace)
    if int(redis.hget(old.about, "version") or 0) >= version:
        return
    with redis.lock(new.taking_over, timeout=_LOCKED, raise_on_release_error=False):
        if int(redis.hget(old.about, "version") or 0) >= version:
            return
        if redis.exists(*old.lanes):
            logger.warning("The queue %s is of an earlier version, and is taken over", namespace)
            _hosts(redis)
            _seen(redis, old, new)
            counts = count_hosts(redis, old)
            if redis.type(new.hosts) == b"set":
                # Whose names had a tag already has them still.
                redis.unlink(new.hosts)
            for field, number in counts.items():
                redis.hset(new.hosts, field, number)
        rename(
            redis,
            old.families,
            partial(_pairs, old, new),
            partial(_mark, old, new, version),
        )


def _mark(old: QueueKeys, new: QueueKeys, version: int, pipeline: Pipeline) -> None:
    pipeline.hset(old.about, "version", version)
    if old.hosts != new.hosts:
        # Counted anew; nobody reads the names any more.
        pipeline.unlink(old.hosts)


def _pairs(old: QueueKeys, new: QueueKeys, families: set[str]) -> list[tuple[str, str]]:
    named = [(old.delayed, new.delayed), (old.counts, new.counts), (old.watchers, new.watchers)]
    named += [(old.dead_letters, new.dead_letters), (old.state, new.state)]
    named += [(old.family(name), new.family(name)) for name in families]
    return [*named, (old.families, new.families), *zip(old.lanes, new.lanes, strict=True)]


def _seen(redis: Redis, old: QueueKeys, new: QueueKeys) -> None:
    """Spread what was seen over more buckets."""
    firsts = range(0, EARLIER_SEEN_BUCKETS, _AT_ONCE)
    chunks = ([old.seen(first + n) for n in range(_AT_ONCE)] for first in firsts)
    found = ((buckets, _marks(redis, buckets)) for buckets in chunks)
    # Under the same names, all is read before any of it is written, and what is left where it does
    # not belong any more does no harm.
    for buckets, marks in found if old.lanes != new.lanes else list(found):
        with redis.pipeline(transaction=True) as pipeline:
            if old.lanes != new.lanes:
                pipeline.unlink(*buckets)
            for mark in marks:
                # The first four bytes of the fingerprint, as `Seen` has it.
                number = (int(mark) >> 32) % 2**32 % SEEN_BUCKETS
                pipeline.sadd(new.seen(number), mark)
            pipeline.execute()


def _marks(redis: Redis, buckets: list[str]) -> list[bytes]:
    with redis.pipeline(transaction=False) as pipeline:
        for bucket in buckets:
            pipeline.smembers(bucket)
        return [mark for found in pipeline.execute() for mark in found]


def _hosts(redis: Redis) -> None:
    """Take over how fast hosts may be asked, and how long they want to be left alone.

    It is copied: earlier workers, also of other spiders, go on heeding what they know.
    """
    old, hosts = HostKeys(is_tagged=False), Hosts(redis, HostKeys().namespace)
    seconds, micros = redis.time()
    now = seconds + micros / 1e6
    for name, until in cast("dict[bytes, bytes]", redis.hgetall(old.gates)).items():
        left = int(until) / 1e6 - now
        if left > 0:
            reason = "an earlier version was asked to wait"
            hosts.hold(name.decode(), reason, asked=left, default=left, longest=_LONGEST_HOLD)
    for name in cast("set[bytes]", redis.smembers(old.hosts)):
        host = name.decode()
        rate, delay = redis.hmget(old.host(host), ["rate", "crawl_delay"])
        known = redis.hmget(hosts.keys.host(host), ["rate", "crawl_delay"])
        if rate is not None and known[0] is None:
            hosts.set_rate(host, float(rate) / MARGIN)
        if delay is not None and known[1] is None:
            hosts.set_crawl_delay(host, float(delay))
