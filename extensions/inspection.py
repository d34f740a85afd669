"""Look into a queue: which request is where, and how many are for each host."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from extensions.addresses import without_credentials
from extensions.keys import GROUP, LANES, QueueKeys
from extensions.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from redis import Redis

_AT_ONCE = 1000
_SHOWN = {"lanes": "queued"}
_ESCAPED = re.compile(r"[^A-Za-z0-9._:-]+")
"""What JSON may spell otherwise, or what stands for something else in a pattern of Redis's."""
_AUTHORITY = re.compile(r"[^:/]+://([^/?#]*)")
"""As host.lua takes it from an address."""


@dataclass(frozen=True, slots=True)
class Found:
    """A request in the queue."""

    url: str
    where: str
    """`queued`, `leased`, `delayed` or `dead`."""
    lane: str
    detail: str
    """Who holds it, when it is due, or why it died."""


def find(
    redis: Redis, namespace: str, is_wanted: Callable[[str], bool], *, containing: str
) -> list[Found]:
    """Find the requests whose address is wanted; each of these contains a text.

    Redis looks for the text, in parts that keep nobody waiting: only what it finds is read.
    """
    entries = _entries(redis, QueueKeys(namespace), containing)
    return [entry for entry in entries if containing in entry.url and is_wanted(entry.url)]


def hosts(redis: Redis, namespace: str) -> dict[str, Counter[str]]:
    """Count the requests for each host by place: `queued`, `leased`, `delayed` or `dead`."""
    keys = QueueKeys(namespace)
    counts: dict[str, Counter[str]] = {}
    for field, number in cast("dict[bytes, bytes]", redis.hgetall(keys.hosts)).items():
        where, _, host = field.decode(errors="replace").partition(" ")
        counts.setdefault(_shown(host), Counter())[_SHOWN.get(where, where)] += int(number)
    for host, held in _leased(redis, keys).items():
        places = counts.setdefault(_shown(host), Counter())
        places["leased"] += held
        places["queued"] -= held
    return {host: +places for host, places in counts.items() if +places}


def _leased(redis: Any, keys: QueueKeys) -> Counter[str]:  # noqa: ANN401 -- redis-py's types say less than Redis does
    """Count what is leased by host: never more than all workers hold."""
    counts: Counter[str] = Counter()
    for key in keys.lanes:
        start = "-"
        while pending := redis.xpending_range(key, GROUP, start, "+", _AT_ONCE):
            with redis.pipeline(transaction=False) as pipeline:
                for one in pending:
                    pipeline.xrange(key, one["message_id"], one["message_id"])
                entries = [entry for found in pipeline.execute() for entry in found]
            counts.update(_host(_text(fields.get(b"url", b""))) for _, fields in entries)
            start = f"({pending[-1]['message_id'].decode()}"
    return counts


def count_hosts(redis: Redis, keys: QueueKeys) -> Counter[str]:
    """Count the requests for each `WHERE HOST` as the scripts do; reads the whole queue."""
    where = {"queued": "lanes", "leased": "lanes"}
    entries = _entries(redis, keys)
    return Counter(f"{where.get(one.where, one.where)} {_host(one.url)}" for one in entries)


def _host(url: str) -> str:
    """Return the host that the scripts count a request for; `?` when they see none."""
    match = _AUTHORITY.match(url)
    return match[1].rpartition("@")[2].lower() if match else "?"


def _shown(host: str) -> str:
    """Keep from terminals what they would act upon."""
    return host if host.isprintable() else "?"


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _entries(redis: Redis, keys: QueueKeys, containing: str = "") -> Iterator[Found]:
    for name, key in zip(LANES, keys.lanes, strict=True):
        yield from _in_lane(redis, name, key, containing)
    pattern = f"*{_ESCAPED.sub('*', containing)}*" if containing else None
    for member, due in redis.zscan_iter(keys.delayed, pattern, _AT_ONCE):
        lane, url = _delayed(member)
        yield Found(url, "delayed", lane, f"due at {due / 1000:.0f}")
    for number, text in redis.hscan_iter(keys.dead_letters):
        letter = json.loads(text)
        lane, url = LANES[letter["lane"] - 1], _url(letter["fields"])
        said = without_credentials(letter["reason"])
        yield Found(url, "dead", lane, f"letter {number.decode()}: {said}")


def _delayed(member: bytes) -> tuple[str, str]:
    """Return lane and address; what is no request goes into the first lane, to be buried."""
    try:
        _, lane, flat = json.loads(member)
        return dict(enumerate(LANES, start=1))[lane], _url(flat)
    except (ValueError, TypeError, LookupError, RecursionError):
        return LANES[0], ""


def _in_lane(redis: Any, lane: str, key: str, containing: str) -> Iterator[Found]:  # noqa: ANN401 -- redis-py's types say less than Redis does
    start, look = "-", Script(redis, "extensions", "find")
    while True:
        last, entries = look([key], [start, _AT_ONCE, containing])
        if not last:
            return
        if entries:
            yield from _described(redis, lane, key, entries)
        start = f"({last.decode()}"


def _described(redis: Any, lane: str, key: str, entries: Sequence[Any]) -> Iterator[Found]:  # noqa: ANN401 -- as above
    ids = [id for id, _ in entries]
    pending = redis.xpending_range(key, GROUP, ids[0], ids[-1], _AT_ONCE)
    held = {info["message_id"]: info for info in pending}
    for id, flat in entries:
        fields = dict(zip(flat[::2], flat[1::2], strict=False))
        url = without_credentials(_text(fields.get(b"url", b"")))
        if info := held.get(id):
            detail = f"by {info['consumer'].decode()}, delivery {info['times_delivered']}"
            yield Found(url, "leased", lane, detail)
        else:
            yield Found(url, "queued", lane, f"since {int(id.split(b'-')[0]) / 1000:.0f}")


def _url(flat: Sequence[Any]) -> str:
    """Take the address from names and values in turn."""
    url = str(dict(zip(flat[::2], flat[1::2], strict=False)).get("url", ""))
    return without_credentials(url.encode(errors="replace").decode())
