"""Whose each key in Redis is, and what ends it."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from battles.keys import IndexKeys
from extensions.keys import HostKeys, QueueKeys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

OWN = "own:"
"""What a test keeps in Redis beside our keys begins with this."""
_NAMESPACES = re.compile(r"(?=(\{[^{}]+\}))(?=(\{[^{}]+\}:[^:]+)?)")
"""`{one}`, or `{one}:two`."""
_LEFT_WORD = re.compile(r"[^{}:]+(?::[^:]+)?:(?:about|version)")
"""By which workers of versions before the braces learn that a queue or an index is not theirs."""
_ANY = "any"


def orphans(redis: Redis) -> dict[str, str]:
    """Return the keys that none of our modules names, or that nothing will ever end, and why."""
    faults = {key.decode(): _fault(redis, key.decode()) for key in redis.scan_iter(count=10_000)}
    return {key: fault for key, fault in faults.items() if fault}


def _fault(redis: Redis, key: str) -> str:
    found = _NAMESPACES.match(key)
    if found is None:
        is_known = key.startswith(OWN) or _LEFT_WORD.fullmatch(key)
        return "" if is_known else "no namespace in braces"
    namespaces = [namespace for namespace in found.groups() if namespace]
    if any(
        key in _lasting(namespace) or key in _thrown_away(namespace) for namespace in namespaces
    ):
        return ""
    if any(key.startswith(_ending(namespace)) for namespace in namespaces):
        return "" if redis.ttl(key) >= 0 else "no end"
    for namespace in namespaces:
        for prefix, names in _named(namespace):
            if key.startswith(prefix):
                name = key.removeprefix(prefix)
                return "" if redis.sismember(names, name) else f"not named in {names}"
    return "no module names it"


@cache
def _lasting(namespace: str) -> frozenset[str]:
    """Name what is there once for good, and small."""
    queue, index, hosts = QueueKeys(namespace), IndexKeys(namespace), HostKeys(namespace)
    of_index = (index.version, index.withdrawn, index.gaps)
    return frozenset((queue.about, *of_index, hosts.gates, hosts.hosts))


@cache
def _thrown_away(namespace: str) -> frozenset[str]:
    """Name what goes with the queue or with the index."""
    index = IndexKeys(namespace)
    thrown_away = {*QueueKeys(namespace).everything, *index.fixed, *index.beside.fixed}
    return frozenset(thrown_away - {index.additions, index.beside.additions})


def _ending(namespace: str) -> tuple[str, ...]:
    """Name what ends by itself: locks, and what one worker says to itself or to a builder."""
    queue, index = QueueKeys(namespace), IndexKeys(namespace)
    locks = (queue.renounced, queue.taking_over, index.taking_over, index.recovering)
    return (*locks, index.additions, queue.batch(""))


def _named(namespace: str) -> Iterator[tuple[str, str]]:
    """Yield how names begin of which there is one for each member of a set, and the set."""
    queue, index, hosts = QueueKeys(namespace), IndexKeys(namespace), HostKeys(namespace)
    yield queue.family(""), queue.families
    yield hosts.host(""), hosts.hosts
    yield hosts.flight(""), hosts.hosts
    for one in (index, index.beside):
        yield one.month(_ANY, "").removesuffix(f"{_ANY}:"), one.months
