"""Keep requests that will not succeed, with what is needed to understand and repeat them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrapy.exceptions import DropItem
from scrapy.http import Response

from extensions.addresses import without_credentials

if TYPE_CHECKING:
    from extensions.queue import Leased

_BODY_SHOWN = 500
"""Bytes of a reply that a letter keeps."""
_FIELDS_KEPT = 64 * 1024
"""Bytes of a request that a letter keeps; a larger one cannot be put back."""
_PARTS_KEPT = 100
"""Names and values that a letter keeps: some three times what a request has."""
_REASON_KEPT = 2000
"""Characters of a reason that a letter keeps: exceptions can quote whole pages."""


class DeadLetterError(DropItem):
    """Raised by a pipeline to put the item's request among the dead letters."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request will not succeed."""

    reason: str
    status: int | None = None
    """Of the last reply, if there was one."""
    body: str = ""
    """The first 500 bytes of the last reply."""

    @classmethod
    def of(cls, reason: str, response: object = None) -> Failure:
        """Take status and body from a reply; what an errback was given is none."""
        if not isinstance(response, Response):
            return cls(reason)
        return cls(reason, response.status, response.body[:_BODY_SHOWN].decode(errors="replace"))


def write_letter(leased: Leased, failure: Failure, *, attempts: int, now: float) -> dict[str, Any]:
    """Build the letter of a leased request; now is in seconds since the epoch."""
    return {
        "lane": leased.lane,
        "fields": _fields(leased),
        # JSON may carry half a surrogate pair, which Redis's own JSON does not read.
        "reason": _reason(failure.reason),
        "status": failure.status,
        "body": failure.body,
        "attempts": attempts,
        "deliveries": leased.deliveries,
        "queued_at": round(leased.queued_at),
        "died_at": round(now),
    }


def _reason(reason: str) -> str:
    text = without_credentials(reason)[:_REASON_KEPT]
    return text.encode("utf-8", "replace").decode()


def _fields(leased: Leased) -> list[str]:
    """Return names and values in turn; none when they are no text or too long to keep."""
    flat = [part for pair in leased.fields.items() for part in pair]
    if len(flat) > _PARTS_KEPT or sum(map(len, flat)) > _FIELDS_KEPT:
        return []
    try:
        # Letters are shown and passed on: one that is put back goes without its password.
        return [without_credentials(part.decode()) for part in flat]
    except UnicodeDecodeError:
        return []
