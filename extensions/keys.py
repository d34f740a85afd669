"""Every name in Redis: of the queue, and of what the fleet knows of hosts."""

from __future__ import annotations

import re
from dataclasses import dataclass

SEEN_BUCKETS = 22_528
"""Redis keeps sets of up to 512 integers as plain arrays: these are 44 a bucket at a million
requests, and 444 at ten millions. More buckets cost more at first, fewer later."""
EARLIER_SEEN_BUCKETS = 8192
"""Before version 2 of the queue."""


GROUP = "workers"
"""The consumer group of every lane."""


def tagged(namespace: str) -> str:
    """Put the first part of a namespace into braces: a cluster keeps its keys together then.

    >>> tagged("replays:queue"), tagged("{mine}:queue")
    ('{replays}:queue', '{mine}:queue')
    """
    if re.search(r"\{[^}]+\}", namespace):
        return namespace
    first, colon, rest = namespace.partition(":")
    return f"{{{first}}}{colon}{rest}"


@dataclass(frozen=True, slots=True)
class QueueKeys:
    """The keys of one spider's queue."""

    namespace: str
    is_tagged: bool = True
    """Whether the names tell a cluster to keep them together; before version 2 they did not."""

    @property
    def _prefix(self) -> str:
        return tagged(self.namespace) if self.is_tagged else self.namespace

    @property
    def lanes(self) -> list[str]:
        """Streams of requests, the most urgent first; their group's pending entries are leased."""
        return [f"{self._prefix}:lane:{name}" for name in LANES]

    @property
    def delayed(self) -> str:
        """Sorted set of requests as JSON `[serial, lane, fields]`, scored by when they are due."""
        return f"{self._prefix}:delayed"

    @property
    def counts(self) -> str:
        """Hash of `WHAT:LANE` → how many: the ledger, and the serial number of delayed requests."""
        return f"{self._prefix}:counts"

    @property
    def watchers(self) -> str:
        """Hash of the names of requests that put themselves back → their lane."""
        return f"{self._prefix}:watchers"

    @property
    def dead_letters(self) -> str:
        """Hash of a letter's number → the letter as JSON."""
        return f"{self._prefix}:dead_letters"

    @property
    def state(self) -> str:
        """String: `paused` or `draining`; absent while the queue runs."""
        return f"{self._prefix}:state"

    def seen(self, bucket: int) -> str:
        """Set of fingerprints (64-bit integers) of the requests that were ever added."""
        return f"{self._prefix}:seen:{bucket}"

    @property
    def hosts(self) -> str:
        """Hash of `WHERE HOST` → how many requests are in `lanes`, `delayed` or `dead`."""
        return f"{self._prefix}:hosts"

    @property
    def listed(self) -> str:
        """Hash of `ROSTER MEMBER` → JSON `[ms since 1970 when first seen, note, lane, fields]`."""
        return f"{self._prefix}:listed"

    @property
    def unlisted(self) -> str:
        """Hash of a member that is asked for → its entry in `delayed`, or empty if it has none."""
        return f"{self._prefix}:unlisted"

    @property
    def blocked(self) -> str:
        """Hash of a worker that begins nothing new → JSON `[why, when it last said so]`."""
        return f"{self._prefix}:blocked"

    @property
    def about(self) -> str:
        """Hash: `version`, and `epoch`, a name that is another when the data were lost."""
        return f"{self._prefix}:about"

    @property
    def renounced(self) -> str:
        """String: the worker that has thrown the queue away, for a minute, since keys were lost."""
        return f"{self._prefix}:renounced"

    @property
    def taking_over(self) -> str:
        """Lock: held by the worker that takes over what an earlier version left."""
        return f"{self._prefix}:taking_over"

    @property
    def families(self) -> str:
        """Set of the names of all families."""
        return f"{self._prefix}:families"

    def family(self, name: str) -> str:
        """Set of fingerprints that a family has seen; gone a week after its last."""
        return f"{self._prefix}:family:{name}"

    def batch(self, worker: str) -> str:
        """Hash of a worker's last commit: its `number` and JSON `effects`; gone after minutes."""
        return f"{self._prefix}:batch:{worker}"

    @property
    def everything(self) -> list[str]:
        """All of the above but for `about`, `renounced`, `taking_over`, batches and families."""
        named = [self.delayed, self.counts, self.watchers, self.dead_letters, self.state]
        named += [self.hosts, self.blocked, self.families, self.listed, self.unlisted]
        return [*self.lanes, *named, *map(self.seen, range(SEEN_BUCKETS))]


@dataclass(frozen=True, slots=True)
class HostKeys:
    """The keys of what the fleet knows of hosts, whatever spider asks them."""

    namespace: str = "throttle"
    is_tagged: bool = True
    """As for a queue's keys."""

    @property
    def _prefix(self) -> str:
        return tagged(self.namespace) if self.is_tagged else self.namespace

    @property
    def gates(self) -> str:
        """Hash of a host → until when it is closed, and for how long: microseconds, since 1970."""
        return f"{self._prefix}:gates"

    @property
    def hosts(self) -> str:
        """Set of the names of all hosts."""
        return f"{self._prefix}:hosts"

    def news(self, database: int) -> str:
        """Name a channel of JSON `[host, microseconds until its gate opens or null, what changed]`.

        Channels know no databases: without its number, one would hear of the others'.
        """
        return f"{self._prefix}:news:{database}"

    def host(self, name: str) -> str:
        """Hash: when the next request is due, limits, breaker, refusals, requests begun."""
        return f"{self._prefix}:host:{name}"

    def flight(self, name: str) -> str:
        """Sorted set of the numbers of requests on their way, scored by when to give them up."""
        return f"{self._prefix}:flight:{name}"


LANES = ("discovery", "downloads", "backfill")
"""Requests of an earlier lane go first; priority picks the lane: above, at or below zero."""


def lane_of(priority: int) -> int:
    """Return the position, from 1, of the lane for requests of a priority.

    >>> lane_of(10), lane_of(0), lane_of(-1)
    (1, 2, 3)
    """
    return 2 - (priority > 0) + (priority < 0)
