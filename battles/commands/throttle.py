"""Show and set how much of each host the fleet uses, and which hosts are left alone."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from scrapy.exceptions import UsageError

from battles.console import QuietCommand, complaints, print_json
from battles.identity import user_agent
from extensions.connection import check, connect
from extensions.hosts import Hosts, HostStatus, host_of
from extensions.keys import HostKeys
from extensions.limits import limits_from_settings

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from extensions.hosts import Limit

_HOST = re.compile(r"([a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\.?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_WORDS = ("default", "open")
_SYNTAX = (
    "`scrapy throttle HOST RATE`, as in `scrapy throttle replay.example.org 0.5`; `default` or "
    "`open` stand in the place of the rate"
)


class Command(QuietCommand):
    """`scrapy throttle`."""

    def syntax(self) -> str:
        return "[options] [HOST [RATE|default|open]]"

    def short_desc(self) -> str:
        return "Show and set how much of each host the fleet uses"

    def long_desc(self) -> str:
        return (
            "Without a host: what each host's limit is, how much of it is used, and which hosts "
            "are held or left alone by the circuit breaker. RATE sets the requests a second for "
            "all workers, within a second; `default` goes back to the settings; `open` ends a hold."
        )

    def add_options(self, parser: ArgumentParser) -> None:
        super().add_options(parser)
        parser.add_argument("--json", action="store_true", help="print JSON")

    def run(self, args: list[str], opts: Namespace) -> None:
        host = read_host(args[0]) if args else None
        how, more = args[1:2], args[2:]
        if more:
            raise UsageError(f"{' '.join(more)!r} is too much: give a host and a rate")
        with complaints(self):
            assert self.settings is not None  # noqa: S101 -- Scrapy has set it by now
            redis = connect(self.settings)
            check(redis)
            hosts = Hosts(redis, HostKeys().namespace)
            if host and how:
                change(hosts, host, how[0])
            limits = limits_from_settings(self.settings)
            known = [one for one in hosts.status() if host in (None, one.name)]
            if opts.json:
                print_json([to_json(one, limits) for one in known])
            else:
                who = f"user agent: {user_agent(self.settings)}"
                sys.stdout.write("\n".join([who, *(line(one, limits) for one in known)]) + "\n")


def read_host(text: str) -> str:
    """Read a host with its port, or an address at it.

    Raises:
        UsageError: it is neither.

    """
    try:
        host = host_of(text if "://" in text else f"//{text}")
        is_host = bool(_HOST.fullmatch(host)) and urlsplit(f"//{host}").port != 0
    except ValueError:
        is_host = False
    if not is_host or host in _WORDS or _is_number(host):
        raise UsageError(f"{text!r} is no host: {_SYNTAX}")
    return host


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def change(hosts: Hosts, host: str, how: str) -> None:
    """Set a host's rate, take that back, or end its hold.

    Raises:
        UsageError: it is neither a rate nor one of the words.

    """
    if how == "open":
        hosts.reopen(host)
    elif how == "default":
        hosts.set_rate(host, None)
    else:
        try:
            rate = float(how)
        except ValueError:
            rate = -1.0
        if not 0 <= rate < float("inf"):
            raise UsageError(f"{how!r}: give requests a second (0: any), `default` or `open`")
        hosts.set_rate(host, rate)


def to_json(host: HostStatus, limits: Callable[[str], Limit]) -> dict[str, Any]:
    """Return a host as JSON shows it; seconds, and requests a second."""
    limit = limits(host.name)
    rate = limit.rate if host.set_rate is None else host.set_rate
    return asdict(host) | {
        "rate": rate,
        "burst": limit.burst,
        "concurrency": limit.concurrency,
        "used": round(host.begun / 60, 3),
    }


def line(host: HostStatus, limits: Callable[[str], Limit]) -> str:
    """Describe a host in a line."""
    facts = to_json(host, limits)
    rate = f"{facts['rate']:g} requests a second" if facts["rate"] else "any number of requests"
    origin = " (set)" if host.set_rate is not None else ""
    parts = [f"{host.name}: {rate}{origin}, {host.begun} in the last minute, {host.total} in all"]
    if host.crawl_delay:
        parts.append(f"robots.txt asks for {host.crawl_delay:g} s between two")
    if facts["concurrency"]:
        parts.append(f"{facts['concurrency']} at a time")
    if host.breaker != "closed":
        parts.append(f"breaker {host.breaker}")
    if host.held:
        parts.append(f"held for {host.held:.0f} s: {host.reason}")
    return "; ".join(parts)
