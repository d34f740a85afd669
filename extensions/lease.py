"""Keep account of what becomes of a request from when the engine has it until it is settled."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from extensions.dead_letters import Failure, write_letter
from extensions.queue import Bury, Done, Leased, Operation, Return

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy import Request
    from scrapy.http import Response

    from extensions.queue import RequestQueue, Sighting

logger = logging.getLogger(__name__)


class LeaseLostError(Exception):
    """Raised for an item whose request is another worker's by now: that one stores it."""


class NotStoredError(Exception):
    """Raised when this worker will not store an item or settle a page any more: the crawl ends.

    The request has not failed.
    """


_DISCOVERY = 1
_WATCH_AGAIN = 60.0
"""Seconds after which a watch is repeated that had used up its retries."""


@dataclass(slots=True, eq=False)
class Lease:
    """What became of a request since the engine has it; travels in its meta as `queue_lease`."""

    leased: Leased
    request: Request | None = None
    items: int = 0
    """Items that came of it and are durable."""
    failure: Failure | None = None
    """Set when it will not succeed."""
    replacement: Return | None = None
    """Set when it goes back into the queue."""
    sighting: Sighting | None = None
    """What a watch saw of its roster; kept with its next look."""
    is_over: bool = False
    """Set when a watch ends with its spider's will."""
    queue: RequestQueue | None = None
    """Where it can be asked whether the lease still holds."""
    is_lost: bool = False
    """Set when another worker has it: that one settles it."""
    is_unbegun: bool = False
    """Set when it was taken from the engine before it was sent."""
    is_accounted: bool = False
    """Set when it is known what became of it: the spider has the reply, another request took its
    place, or a middleware refused it. What fails elsewhere fails unseen."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Lease:
        """Stay one lease, however often the request is copied."""
        return self

    def operation(self) -> Operation:
        """Return how to settle it."""
        if self.replacement is not None:
            if self.sighting is None:
                return self.replacement
            return replace(self.replacement, sighting=self.sighting)
        watcher = self.leased.fields.get(b"watcher")
        if watcher and self.request is not None and not self.is_over:
            # It failed, or forgot to put itself back: a watch ends with its spider's will only.
            logger.warning("The watch %s is repeated: %s", watcher.decode(), self.failure)
            return self.put_back(_WATCH_AGAIN)
        if self.failure is not None:
            return Bury(self.leased, self._letter(self.failure))
        if self.items:
            return Done(self.leased, "archived")
        return Done(self.leased, "followed" if self.leased.lane == _DISCOVERY else "gone")

    @property
    def watcher(self) -> str | None:
        """The name of the watch, if it is one."""
        return self.request.meta.get("watcher") if self.request else None

    def put_back(self, delay: float) -> Return:
        """Return how to have it again as it was, after so many seconds."""
        fields = {name.decode(): value.decode() for name, value in self.leased.fields.items()}
        return Return(self.leased, self.leased.lane, fields, delay)

    def _letter(self, failure: Failure) -> dict[str, Any]:
        tried = self.request.meta.get("retry_times", 0) if self.request else 0
        return write_letter(self.leased, failure, attempts=tried + 1, now=time.time())


def lease_of(response: Response | None) -> Lease | None:
    """Return the lease of the request that brought a response."""
    request = None if response is None else response.request
    return None if request is None else request.meta.get("queue_lease")


def still_held(leases: Sequence[Lease | None]) -> list[bool]:
    """Say which leases this worker still has; who has none needs none."""
    asked = [lease for lease in leases if lease is not None and lease.queue is not None]
    if not asked or asked[0].queue is None:
        return [True] * len(leases)
    held = asked[0].queue.holds([lease.leased for lease in asked])
    lost = {id(lease) for lease, is_held in zip(asked, held, strict=True) if not is_held}
    return [lease is None or not (lease.is_lost or id(lease) in lost) for lease in leases]


def end_watch(response: Response) -> None:
    """Have a watch not be repeated: this was its last look."""
    if lease := lease_of(response):
        lease.is_over = True
