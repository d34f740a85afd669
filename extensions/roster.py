"""Remember what a watched page lists, and ask for each member once it is listed no more.

A watch whose page is a list of what goes on (rooms, auctions, matches) has a roster in Redis: the
members that it saw. What each look saw is committed together with the next look, so whichever
worker looks next goes on from there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from extensions.keys import lane_of
from extensions.lease import lease_of
from extensions.queue import Sighting
from extensions.request_fields import encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scrapy import Request, Spider
    from scrapy.http import Response

    from extensions.queue import RosterView


@dataclass(frozen=True, slots=True)
class Listed:
    """A member that a look saw for the first time, or with another note than before."""

    request: Request
    """Sent when the member is listed no more; it comes back with the meta `roster`, and `overdue`
    when the member was given up while it was still listed."""
    note: str = ""
    """Handed back by `read_roster`."""


async def read_roster(response: Response, name: str) -> RosterView | None:
    """Read a roster; None when the response does not come from the queue.

    Raises:
        redis.exceptions.RedisError: Redis does not answer.

    """
    lease = lease_of(response)
    if lease is None or lease.queue is None:
        return None
    return await asyncio.to_thread(lease.queue.roster, name)


def note_sighting(  # noqa: PLR0913 -- each is one fact of the look
    response: Response,
    spider: Spider,
    name: str,
    *,
    new: Mapping[str, Listed],
    missing: Iterable[str] = (),
    overdue: Iterable[str] = (),
    settle: float = 0.0,
    takes_new: bool = True,
) -> None:
    """Have what a look saw be committed with the watch's next look, which must be yielded.

    Members that are missing are asked for after `settle` seconds, unless a look sees them before;
    those that are overdue, at once. Without `takes_new`, and while the queue is draining, only
    members are taken that were there before.

    Raises:
        EncodeError: a request cannot be queued.

    """
    lease = lease_of(response)
    if lease is None:
        return
    members = []
    for member, listed in new.items():
        request = listed.request
        request.meta["roster"] = f"{name} {member}"
        fields = encode(request, spider)
        members.append((member, listed.note, lane_of(request.priority), fields))
    gone = [(member, False) for member in missing] + [(member, True) for member in overdue]
    lease.sighting = Sighting(name, takes_new, settle, tuple(members), tuple(gone))
