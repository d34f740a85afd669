"""Every name the queue uses in Redis."""

from __future__ import annotations

from dataclasses import dataclass

SEEN_BUCKETS = 8192
"""At a million requests 122 a bucket: Redis keeps sets of up to 512 integers as plain arrays."""


@dataclass(frozen=True, slots=True)
class QueueKeys:
    """The keys of one spider's queue."""

    namespace: str

    @property
    def lanes(self) -> list[str]:
        """Streams of requests, the most urgent first; their group's pending entries are leased."""
        return [f"{self.namespace}:lane:{name}" for name in LANES]

    @property
    def delayed(self) -> str:
        """Sorted set of requests as JSON `[serial, lane, fields]`, scored by when they are due."""
        return f"{self.namespace}:delayed"

    @property
    def counts(self) -> str:
        """Hash of `WHAT:LANE` → how many: the ledger, and the serial number of delayed requests."""
        return f"{self.namespace}:counts"

    @property
    def watchers(self) -> str:
        """Hash of the names of requests that put themselves back → their lane."""
        return f"{self.namespace}:watchers"

    @property
    def dead_letters(self) -> str:
        """Hash of a letter's number → the letter as JSON."""
        return f"{self.namespace}:dead_letters"

    @property
    def state(self) -> str:
        """String: `paused` or `draining`; absent while the queue runs."""
        return f"{self.namespace}:state"

    def seen(self, bucket: int) -> str:
        """Set of fingerprints (64-bit integers) of the requests that were ever added."""
        return f"{self.namespace}:seen:{bucket}"

    @property
    def everything(self) -> list[str]:
        """All of the above."""
        named = [self.delayed, self.counts, self.watchers, self.dead_letters, self.state]
        return [*self.lanes, *named, *map(self.seen, range(SEEN_BUCKETS))]


LANES = ("discovery", "downloads", "backfill")
"""Requests of an earlier lane go first; priority picks the lane: above, at or below zero."""
