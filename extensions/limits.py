"""Read from the settings how much of each host the fleet may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from extensions.credentials import hidden
from extensions.hosts import Limit

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy.settings import BaseSettings


_LEAST = 0.0001
"""Requests a second: one in three hours. Below it a crawl only seems to run."""


def limits_from_settings(settings: BaseSettings) -> Callable[[str], Limit]:
    """Read the limit of each host.

    Settings:
        THROTTLE_RATE, THROTTLE_BURST, THROTTLE_CONCURRENCY, THROTTLE_HOSTS: see `Throttle`.

    Raises:
        ValueError: one of them makes no sense.

    """
    usual = _limit(
        "THROTTLE_RATE, THROTTLE_BURST or THROTTLE_CONCURRENCY",
        {
            "rate": settings.get("THROTTLE_RATE", 0.0),
            "burst": settings.get("THROTTLE_BURST", 1),
            "concurrency": settings.get("THROTTLE_CONCURRENCY", 0),
        },
    )
    hosts: dict[str, Limit] = {}
    try:
        given = settings.getdict("THROTTLE_HOSTS", {})
    except (TypeError, ValueError):
        raise ValueError("THROTTLE_HOSTS: give hosts and how much of each, as JSON") from None
    for host, own in given.items():
        fields = own if isinstance(own, dict) else {"rate": own}
        defaults = {"burst": usual.burst, "concurrency": usual.concurrency, "rate": usual.rate}
        hosts[str(host).lower()] = _limit(
            f"THROTTLE_HOSTS[{hidden(str(host))!r}]", {**defaults, **fields}
        )

    def limit(host: str) -> Limit:
        return hosts.get(host, usual)

    return limit


def _limit(what: str, fields: dict[str, Any]) -> Limit:
    try:
        limit = Limit(
            float(fields.pop("rate")), int(fields.pop("burst")), int(fields.pop("concurrency"))
        )
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{what}: give numbers") from None
    is_rate = limit.rate == 0 or _LEAST <= limit.rate < float("inf")
    if fields or not is_rate or limit.burst < 1 or limit.concurrency < 0:
        raise ValueError(
            f"{what}: give a rate of requests a second (0: any, or 0.0001 or more), a burst of 1 "
            f"or more, and a concurrency (0: any){''.join(f'; not {name}' for name in fields)}"
        )
    return limit
