"""Look into a queue: which request is where, and how many are for each host."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from extensions.keys import LANES, QueueKeys
from extensions.queue import GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from redis import Redis

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """A request in the queue."""

    url: str
    where: str
    """`queued`, `leased`, `delayed` or `dead`."""
    lane: str
    detail: str
    """Who holds it, when it is due, or why it died."""


def find(redis: Redis, namespace: str, is_wanted: Callable[[str], bool]) -> list[Found]:
    """Find the requests whose address is wanted; reads the whole queue."""
    return [entry for entry in _entries(redis, QueueKeys(namespace)) if is_wanted(entry.url)]


def hosts(redis: Redis, namespace: str, *, limit: int = 100_000) -> dict[str, Counter[str]]:
    """Count requests by host and place, among the first `limit`."""
    counts: dict[str, Counter[str]] = {}
    for entry in islice(_entries(redis, QueueKeys(namespace)), limit):
        counts.setdefault(_host(entry.url), Counter())[entry.where] += 1
    return counts


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc or "?"
    except ValueError:
        return "?"


def _entries(redis: Redis, keys: QueueKeys) -> Iterator[Found]:
    for name, key in zip(LANES, keys.lanes, strict=True):
        yield from _in_lane(redis, name, key)
    for member, due in redis.zscan_iter(keys.delayed):
        _, lane, flat = json.loads(member)
        yield Found(_url(flat), "delayed", LANES[lane - 1], f"due at {due / 1000:.0f}")
    for number, text in redis.hscan_iter(keys.dead_letters):
        letter = json.loads(text)
        lane, url = LANES[letter["lane"] - 1], _url(letter["fields"])
        yield Found(url, "dead", lane, f"letter {number.decode()}: {letter['reason']}")


def _in_lane(redis: Any, lane: str, key: str) -> Iterator[Found]:  # noqa: ANN401 -- redis-py's types say less than Redis does
    start = "-"
    while entries := redis.xrange(key, start, count=_AT_ONCE):
        first, last = entries[0][0], entries[-1][0]
        held = {
            info["message_id"]: info
            for info in redis.xpending_range(key, GROUP, first, last, _AT_ONCE)
        }
        for id, fields in entries:
            url = fields.get(b"url", b"").decode(errors="replace")
            if info := held.get(id):
                detail = f"by {info['consumer'].decode()}, delivery {info['times_delivered']}"
                yield Found(url, "leased", lane, detail)
            else:
                yield Found(url, "queued", lane, f"since {int(id.split(b'-')[0]) / 1000:.0f}")
        start = f"({last.decode()}"


def _url(flat: Sequence[Any]) -> str:
    """Take the address from names and values in turn."""
    return str(dict(zip(flat[::2], flat[1::2], strict=False)).get("url", ""))
