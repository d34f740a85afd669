"""Show and steer the queue that all workers share."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from scrapy.exceptions import UsageError

from battles.console import QueueCommand, print_json
from extensions.connection import connect
from extensions.inspection import hosts
from extensions.scheduler import namespace_of

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from extensions.queue import RequestQueue, Status

_ACTIONS = ("status", "pause", "resume", "drain", "purge")
_EVERY = 2.0
"""Seconds between two looks with --watch."""


class Command(QueueCommand):
    """`scrapy queue`."""

    def syntax(self) -> str:
        return "[options] [status|pause|resume|drain|purge]"

    def short_desc(self) -> str:
        return "Show and steer the queue that all workers share"

    def long_desc(self) -> str:
        return (
            "status: what waits, is delayed, leased, dead. pause: every worker stops taking "
            "requests, within a second; resume ends that. drain: workers end when nothing is left, "
            "also those that follow. purge: throw away requests, dead letters and what was seen; "
            "stored battles stay."
        )

    def add_options(self, parser: ArgumentParser) -> None:
        super().add_options(parser)
        add = parser.add_argument
        add("--watch", action="store_true", help="show the status again every 2 s")
        add("--yes", action="store_true", help="purge without asking")
        add("--json", action="store_true", help="print the status as JSON")

    def run(self, args: list[str], opts: Namespace) -> None:
        action = args[0] if args else "status"
        if len(args) > 1 or action not in _ACTIONS:
            raise UsageError(f"{' '.join(args)!r}: give one of {', '.join(_ACTIONS)}")
        with self.queue_of(opts.spider) as queue:
            if action == "status":
                self._show(queue, opts)
            elif action == "purge":
                self._purge(queue, sure=opts.yes)
            else:
                steer(queue, action)
                sys.stdout.write(f"{opts.spider}: {queue.status().state}\n")

    def _show(self, queue: RequestQueue, opts: Namespace) -> None:
        assert self.settings is not None  # noqa: S101 -- Scrapy has set it by now
        redis, namespace = connect(self.settings), namespace_of(self.settings, opts.spider)
        # Ctrl-C is how watching ends.
        with suppress(KeyboardInterrupt):
            while True:
                status, by_host = queue.status(), hosts(redis, namespace)
                blocked = queue.blocked()
                if opts.json:
                    print_json(to_json(status) | {"hosts": by_host, "blocked": blocked})
                else:
                    lines = [table(status, by_host)]
                    lines += [f"{name} pauses: {why}" for name, why in blocked.items()]
                    sys.stdout.write("\n".join(lines) + "\n")
                if not opts.watch:
                    return
                time.sleep(_EVERY)

    def _purge(self, queue: RequestQueue, *, sure: bool) -> None:
        status = queue.status()
        doomed = f"{status.left} requests and {status.dead_letters} dead letters"
        if not sure:
            raise UsageError(f"this would throw away {doomed}: repeat it with --yes")
        queue.purge()
        sys.stdout.write(f"{doomed} thrown away\n")


def steer(queue: RequestQueue, action: str) -> None:
    """Pause, resume or drain."""
    states: dict[str, Any] = {"pause": "paused", "resume": "running", "drain": "draining"}
    queue.set_state(states[action])


def to_json(status: Status) -> dict[str, Any]:
    """Return a status as JSON shows it."""
    return {
        "state": status.state,
        "is_flooded": status.is_flooded,
        "left": status.left,
        "watchers": status.watchers,
        "listed": status.listed,
        "dead_letters": status.dead_letters,
        "lanes": status.lanes,
        "imbalance": status.imbalance(),
    }


def table(status: Status, by_host: dict[str, Any]) -> str:
    """Lay a status out for people."""
    columns = sorted({what for lane in status.lanes.values() for what in lane} - _FIRST, key=str)
    columns = ["discovered", "queued", "leased", "delayed", *columns]
    width = max(len(column) for column in columns) + 2
    listed = f", {status.listed} listed" if status.listed else ""
    rows = [f"{status.state}: {status.left} left, {status.watchers} watchers{listed}"]
    rows.append(" " * 12 + "".join(f"{column:>{width}}" for column in columns))
    for name, lane in status.lanes.items():
        rows.append(f"{name:12}" + "".join(f"{lane.get(c, 0):>{width}}" for c in columns))
    for host, places in by_host.items():
        rows.append(f"{host}: " + ", ".join(f"{n} {where}" for where, n in sorted(places.items())))
    if status.is_flooded:
        rows.append("discovery waits until half of QUEUE_HIGH_WATER downloads are done")
    if status.imbalance():
        rows.append(f"the ledger is off by {status.imbalance()}: please report this")
    return "\n".join(rows)


_FIRST = {"discovered", "queued", "leased", "delayed"}
