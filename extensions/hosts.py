"""Share what the fleet knows of each host: its limit, its gate, and how requests to it went.

All of it lies in Redis and goes by the server's clock, so that workers on many machines are to a
site what one would be. Nothing here waits; `throttle` and `circuit_breaker` do.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast
from urllib.parse import urlsplit

from extensions.keys import HostKeys
from extensions.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from redis import Redis

_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([A-Za-z0-9.:-]+)(?:[/?#]|$)")
MARGIN = 0.975
"""Share of a limit that is used: what arrives a little late or early must not break it."""
_MICRO = 1_000_000
_PROBED = 2
"""What acquire.lua calls a host that somebody probes."""
_SHOWN_SECONDS = 60
_BUCKET = 10
"""Seconds in which begun requests are counted together; acquire.lua knows it, too."""
_RING = 7
"""So many of these are kept; acquire.lua knows it, too."""
TOLD_AFTER = 1.0
"""Seconds after which workers tell of what went well."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How much of a host the whole fleet may use; 0 means any."""

    rate: float = 0.0
    """Requests a second."""
    burst: int = 1
    """Requests that may follow one another at once after a pause."""
    concurrency: int = 0
    """Requests at a time."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a host's gate answers."""

    now: float
    """The server's clock, in seconds since the epoch."""
    held: float = 0.0
    """Seconds until the gate opens; 0 when it is open."""
    is_probe: bool = False
    """Whether this one request decides if the host is well again."""
    is_probed: bool = False
    """Whether another request is about to decide it."""
    permits: tuple[tuple[int, float], ...] = ()
    """A number for each request, and when it may be sent by the server's clock."""
    wait: float = 0.0
    """Seconds until asking again makes sense, when nothing was granted."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When a circuit breaker trips, and for how long."""

    errors: int = 10
    """That many within the window, or in a row without a success between them; 0: any number."""
    floor: float = 0.2
    """Errors within the window count only from this share of what was asked."""
    window: float = 60.0
    """Seconds."""
    share: float = 0.5
    """Failures among all requests of the window; 0 for any share."""
    minimum: int = 20
    """Requests in the window before the share says anything."""
    hold: float = 60.0
    """Seconds until a probe; doubles with each probe that fails."""
    hold_max: float = 1800.0
    """Seconds; where doubling stops."""


Change = Literal["tripped", "closed", "alone", "unsure", ""]
"""What a report changed. `alone`: only the worker that told it fails, and it should look to itself.
`unsure`: it should wait a moment until the others have told how they do."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the fleet makes of a report."""

    held: float
    """Seconds until the host's gate opens."""
    change: Change
    calls: int = 0
    """Requests of all workers within the window."""
    failures: int = 0


@dataclass(frozen=True, slots=True)
class HostStatus:
    """What the fleet knows of a host."""

    name: str
    held: float
    """Seconds until the gate opens; 0 when it is open."""
    breaker: str
    """`closed`, `open` or `half-open`."""
    reason: str
    """Why the gate was closed last."""
    begun: int
    """Requests in the last minute."""
    total: int
    """Requests ever."""
    set_rate: float | None
    """Requests a second, if they were set while the crawl ran."""
    crawl_delay: float
    """Seconds between two requests that robots.txt asks for; 0 if it asks for none."""


class Hosts:
    """What the fleet shares; every method may be called from any thread."""

    def __init__(
        self,
        redis: Redis,
        namespace: str,
        *,
        worker: str = "",
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Take the worker's name, and a clock in seconds (None: that of the server)."""
        self.keys = HostKeys(namespace)
        self.news = self.keys.news(database_of(redis))
        """The channel on which all changes are told."""
        self._redis = redis
        self._worker = worker
        self._clock = clock
        self._acquire = Script(redis, "extensions", "acquire", after=("gate",))
        self._gates = Script(redis, "extensions", "gates", after=("gate",))
        self._hold = Script(redis, "extensions", "hold", after=("gate",))
        self._report = Script(redis, "extensions", "report", after=("gate",))

    def acquire(
        self,
        host: str,
        wanted: int,
        limit: Limit,
        *,
        ahead: float,
        longest: float,
        done: Sequence[int] = (),
    ) -> Grant:
        """Ask for permits to send so many requests.

        Permits reach at most `ahead` seconds into the future; a request takes at most `longest`
        seconds; `done` are the numbers of permits that were used.
        """
        names = self.keys
        numbers = [limit.rate * MARGIN, limit.burst, limit.concurrency]
        spans = [_micro(ahead), _micro(longest), _micro(longest)]
        now, held, probe, first, times, wait = self._acquire(
            [names.gates, names.host(host), names.flight(host), names.hosts],
            [self._now(), host, wanted, *numbers, *spans, *done],
        )
        return Grant(
            now / _MICRO,
            held / _MICRO,
            probe == 1,
            probe == _PROBED,
            tuple((first + n, int(time) / _MICRO) for n, time in enumerate(times)),
            wait / _MICRO,
        )

    def hold(
        self,
        host: str,
        reason: str,
        *,
        asked: float | None,
        default: float,
        longest: float,
        is_probe: bool = False,
    ) -> float:
        """Close a host's gate for as long as it asked, or else for `default` seconds.

        The default doubles while the host goes on refusing. Returns the seconds until it opens.
        """
        asked_for = "" if asked is None else _micro(asked)
        names, spans = self.keys, [_micro(default), _micro(longest)]
        _, held = self._hold(
            [names.gates, names.host(host), names.hosts],
            [self._now(), host, reason, asked_for, *spans, self.news, int(is_probe)],
        )
        return float(held / _MICRO)

    def report(  # noqa: PLR0913 -- each is counted by itself
        self,
        host: str,
        policy: Policy,
        *,
        successes: int = 0,
        failures: int = 0,
        took: float = 0.0,
        is_probe: bool = False,
        reason: str = "",
    ) -> Verdict:
        """Tell how requests went, and that what failed took so many seconds to fail."""
        names = self.keys
        counts = [successes, failures, _micro(took), int(is_probe)]
        rules = [policy.errors, policy.floor, _micro(policy.window), policy.share, policy.minimum]
        spans = [_micro(policy.hold), _micro(policy.hold_max), _micro(TOLD_AFTER * 1.1)]
        _, held, change, calls, errors = self._report(
            [names.gates, names.host(host), names.hosts],
            [self._now(), host, self.news, self._worker, *counts, reason, *rules, *spans],
        )
        return Verdict(held / _MICRO, cast("Change", change.decode()), calls, errors)

    def gates(self) -> dict[str, float]:
        """Return the seconds until each gate opens; 0 for one whose time is over."""
        flat = self._gates([self.keys.gates], [self._now()])
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return {host.decode(): micros / _MICRO for host, micros in pairs}

    def is_broken(self, host: str) -> bool:
        """Tell whether the breaker of a host is open, or half-open."""
        return bool(self._redis.hexists(self.keys.host(host), "breaker"))

    def changed(self) -> set[str]:
        """Name the hosts whose limit is not only in the settings."""
        known = self.status()
        return {host.name for host in known if host.set_rate is not None or host.crawl_delay}

    def set_rate(self, host: str, rate: float | None) -> None:
        """Set the requests a second while the crawl runs; None goes back to the settings."""
        key = self.keys.host(host)
        if rate is None:
            self._redis.hdel(key, "rate")
        else:
            self._redis.hset(key, "rate", str(rate * MARGIN))
        self._announce(host, None)

    def set_crawl_delay(self, host: str, seconds: float) -> None:
        """Keep the pause between two requests that robots.txt asks for; 0 for none."""
        key = self.keys.host(host)
        if seconds:
            self._redis.hset(key, "crawl_delay", str(seconds))
        else:
            self._redis.hdel(key, "crawl_delay")
        self._announce(host, None)

    def reopen(self, host: str) -> None:
        """Open a host's gate and close its breaker, as if it had never refused."""
        key = self.keys.host(host)
        with self._redis.pipeline() as pipeline:
            pipeline.hdel(self.keys.gates, host)
            pipeline.hdel(key, "breaker", "trips", "refusals", "calls", "wished")
            pipeline.execute()
        self._announce(host, 0)

    def status(self) -> list[HostStatus]:
        """Return what is known of each host, by name."""
        known = cast("set[bytes]", self._redis.smembers(self.keys.hosts))
        names = sorted(name.decode() for name in known)
        held, now = self.gates(), self._time()
        return [self._status(name, held.get(name, 0.0), now) for name in names]

    def _status(self, name: str, held: float, now: float) -> HostStatus:
        found = cast("dict[bytes, bytes]", self._redis.hgetall(self.keys.host(name)))
        fields = {field.decode(): value.decode(errors="replace") for field, value in found.items()}
        rate = float(fields["rate"]) / MARGIN if "rate" in fields else None
        return HostStatus(
            name,
            held,
            fields.get("breaker", "closed"),
            fields.get("reason", ""),
            _begun(fields, now),
            int(fields.get("begun", 0)),
            rate,
            float(fields.get("crawl_delay", 0.0)),
        )

    def _announce(self, host: str, held: int | None) -> None:
        """Tell all workers the microseconds until a gate opens; None: its limit changed.

        Whoever does not hear of it looks every few seconds.
        """
        self._redis.sadd(self.keys.hosts, host)
        self._redis.publish(self.news, json.dumps([host, held]))

    def _now(self) -> str:
        return "" if self._clock is None else str(_micro(self._clock()))

    def _time(self) -> float:
        if self._clock is not None:
            return self._clock()
        seconds, micros = self._redis.time()
        return seconds + micros / _MICRO


def database_of(redis: Redis) -> int:
    """Return the number of the database that a client uses; a cluster has one."""
    pool = getattr(redis, "connection_pool", None)
    return 0 if pool is None else int(pool.connection_kwargs.get("db") or 0)


def host_of(url: str) -> str:
    """Return what a limit is for: name and port, as the address has them.

    >>> host_of("https://user:word@Example.org:8443/x"), host_of("wss://example.org/")
    ('example.org:8443', 'example.org')
    """
    # By hand, since every request asks: an address has its host between `//` and what ends it.
    if match := _HOST.match(url):
        return match[1].lower()
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def _begun(fields: Mapping[str, str], now: float) -> int:
    """Count the requests of the last minute, to the nearest bucket."""
    first = int((now - _SHOWN_SECONDS) // _BUCKET) + 1
    counted = (fields.get(f"begun:{slot}", "").split(" ") for slot in range(_RING))
    numbers = {int(one[0]): int(one[1]) for one in counted if len(one) > 1}
    return sum(numbers.get(bucket, 0) for bucket in range(first, first + _RING - 1))


def _micro(seconds: float) -> int:
    return round(seconds * _MICRO)
