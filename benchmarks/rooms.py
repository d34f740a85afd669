"""Hold a crawl of live rooms against what was really played.

`python -m benchmarks.rooms real`: bots on the real battle server, a spectator who misses nothing,
and a proxy that counts what the crawl says. `python -m benchmarks.rooms crowd`: thousands of
battles on a stand-in, one worker or several, of which one is killed and one stands still.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from battles.parsers.chat import without_chat
from extensions.embedded import EmbeddedRedis
from sandbox.battle_server import BattleServer

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEEDS = {
    "forfeit": 0.05,
    "hide": 0.05,
    "hidereplay": 0.08,
    "hidelate": 0.08,
    "hideshow": 0.05,
    "drop": 0.08,
    "rename": 0.05,
    "tie": 0.06,
    "timer": 0.03,
    "odd": 0.2,
}
_FORMATS = (
    "gen9randombattle,gen9randomdoublesbattle,gen9multirandombattle,gen9freeforallrandombattle"
)
_STOPPED = 40.0
"""Seconds for which a worker stands still."""
_NOBODY = "http://127.0.0.1:9"
_END = re.compile(r"^\|(?:win\|.*|tie)$", re.MULTILINE)


class Crawl:
    """Workers that share a Redis and an archive."""

    def __init__(
        self, folder: Path, redis: str, server: str, site: str, settings: list[str]
    ) -> None:
        self.workers: list[subprocess.Popen[bytes]] = []
        self._folder = folder
        self._settings = [word for one in settings for word in ("-s", one)]
        self._environment = {
            **os.environ,
            "REDIS_URL": redis,
            "ARCHIVE_URL": str(folder / "data"),
            "SHOWDOWN_SERVER_URL": server,
            "SHOWDOWN_REPLAY_URL": site,
            "SHOWDOWN_CLIENT_URL": _NOBODY,
            "CONTACT": "benchmark@example.org",
            "THROTTLE_RATE": "0",
        }

    def start(self, machine: int) -> subprocess.Popen[bytes]:
        """Start a worker with a log of its own, and the spool of a machine."""
        number = len(self.workers)
        environment = {**self._environment, "SPOOL_DIR": str(self._folder / f"spool-{machine}")}
        words = ["crawl", "rooms", "-L", "INFO", *self._settings]
        with self._log(number).open("wb") as log:
            worker = subprocess.Popen(
                self._command(*words), env=environment, stdout=log, stderr=log
            )
        self.workers.append(worker)
        return worker

    def drain(self) -> None:
        """Have the workers end when every battle they know is done with, and wait for it."""
        self.run("queue", "drain", "--spider", "rooms")
        for worker in self.workers:
            worker.wait()

    def run(self, *words: str) -> str:
        """Run a command, and return what it prints."""
        done = subprocess.run(
            self._command(*words), env=self._environment, check=True, capture_output=True, text=True
        )
        return done.stdout

    def archived(self) -> list[dict[str, Any]]:
        target = self._folder / "export.jsonl"
        self.run("export", "--to", str(target))
        return [json.loads(line) for line in target.read_text().splitlines()]

    def stat(self, name: str) -> int:
        """Sum up a stat of the workers that ended in order."""
        logs = "".join(self._log(number).read_text() for number in range(len(self.workers)))
        return sum(int(found) for found in re.findall(rf"'{name}': (\d+)", logs))

    def lines(self, level: str) -> list[str]:
        """Return what the workers said at a level."""
        logs = "".join(self._log(number).read_text() for number in range(len(self.workers)))
        return [line for line in logs.splitlines() if f"] {level}: " in line]

    def _log(self, number: int) -> Path:
        return self._folder / f"crawl-{number}.log"

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "scrapy", *words]


@contextmanager
def serving(module: str, *words: str) -> Iterator[str]:
    """Run a server of the sandbox's, and give the address that it prints."""
    command = [sys.executable, "-m", module, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None  # noqa: S101 -- piped above
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def counts_of(address: str) -> dict[str, Any]:
    """Ask a server of the sandbox's what it counted."""
    url = address.replace("ws://", "http://").partition("/showdown")[0] + "/counts"
    with urllib.request.urlopen(url) as reply:  # noqa: S310 -- on loopback
        found: dict[str, Any] = json.load(reply)
    return found


def real(options: argparse.Namespace, folder: Path, stack: ExitStack) -> None:
    """Have bots play on the real server, and compare the archive with what a spectator saw."""
    server = BattleServer()
    address = server.start()
    stack.callback(server.stop)
    proxy = stack.enter_context(serving("sandbox.proxy", address))
    begun, seen, played = folder / "begun", folder / "seen", folder / "played"
    begun.touch()
    watch = [address, "--report", str(seen), "--begun", str(begun)]
    spectator = subprocess.Popen([sys.executable, "-m", "sandbox.spectator", *watch])
    crawl = crawl_of(options, folder, stack, proxy)
    crawl.start(0)
    time.sleep(5.0)
    deeds = [word for deed, share in _DEEDS.items() for word in (f"--{deed}", str(share))]
    plan = ["--pairs", str(options.pairs), "--seconds", str(options.seconds), "--think", "1.0"]
    places = ["--report", str(played), "--begun", str(begun), "--format", _FORMATS]
    subprocess.run(
        [sys.executable, "-m", "sandbox.players", address, *plan, *deeds, *places], check=True
    )
    time.sleep(20.0)
    crawl.drain()
    spectator.terminate()
    spectator.wait()
    tell_real(crawl, proxy, seen, played)


def tell_real(crawl: Crawl, proxy: str, seen: Path, played: Path) -> None:
    """Say what of the battles that were played is archived, and what that took."""
    interval = 15.0
    watched = [json.loads(line) for line in seen.read_text().splitlines()]
    known = {one["id"].removeprefix("battle-"): one for one in watched}
    bots = {
        one["id"].removeprefix("battle-"): one
        for one in map(json.loads, played.read_text().splitlines())
    }
    held = {one["id"]: one for one in crawl.archived()}
    public = {id for id, one in bots.items() if one["public"] and one["ended"] is not None}
    wanted = {id for id in public if bots[id]["ended"] - bots[id]["started"] > interval}
    ended = {id for id in wanted if known.get(id, {}).get("outcome") in ("won", "tie")}
    hidden = {id for id, one in bots.items() if not one["public"]}
    different = sorted(id for id in ended & held.keys() if not alike(held[id], known[id]))
    kinds = counts_of(proxy)["kinds"]
    visits = sum(count for kind, count in kinds.items() if kind not in ("roomlist", "rooms"))
    told = {
        "battles": len(bots),
        "public, longer than the interval": len(ended),
        "archived of these": len(ended & held.keys()),
        "missing": sorted(ended - held.keys()),
        "different": different,
        "hidden": len(hidden),
        "hidden and archived": sorted(hidden & held.keys()),
        "messages": kinds,
        "messages a battle, beside the list's": round(visits / max(1, len(bots)), 2),
        "smallest gap in ms": counts_of(proxy)["smallest_gap_ms"],
        "throttled": counts_of(proxy)["throttled"],
        "looks": crawl.stat("rooms/looks"),
        "warnings": crawl.lines("WARNING"),
    }
    say(told)


def alike(kept: dict[str, Any], seen: dict[str, Any]) -> bool:
    """Compare two logs up to the end of the battle, and the ratings after it."""
    return parts(without_chat(kept["log"])) == parts(without_chat(seen["log"]))


def parts(log: str) -> tuple[str, list[str]]:
    """Split a log into what comes up to its end, and the ratings that come after."""
    end = _END.search(log)
    if end is None:
        return log, []
    after = log[end.end() :].splitlines()
    # Who goes is told to those inside, and no longer stands in the log when he has come back.
    left = {f"|player|p{seat}|" for seat in range(1, 5)}
    lines = [line for line in log[: end.end()].splitlines() if line and line not in left]
    return "\n".join(lines), sorted(line for line in after if "rating: " in line)


def crowd(options: argparse.Namespace, folder: Path, stack: ExitStack) -> None:
    """Crawl a stand-in for some minutes, then drain, and compare with its own report."""
    report = folder / "truth"
    plan = ["--live", str(options.live), "--rate", str(options.rate), "--report", str(report)]
    plan += ["--endless", str(options.endless)]
    address = stack.enter_context(serving("sandbox.crowd", *plan))
    crawl = crawl_of(options, folder, stack, address)
    began = time.time()
    workers = [crawl.start(machine) for machine in range(options.workers)]
    time.sleep(options.seconds / 3)
    if options.workers > 1:
        workers[0].kill()
        workers[1].send_signal(signal.SIGSTOP)
        time.sleep(_STOPPED)
        workers[1].send_signal(signal.SIGCONT)
        # What the killed one had in its spool is stored by the next one on its machine.
        workers.append(crawl.start(0))
    time.sleep(max(0.0, began + options.seconds - time.time()))
    until = time.time()
    counts = counts_of(address)
    # What ends by now is on the roster; what goes on is not waited for.
    time.sleep(options.settle)
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.wait()
    tell_crowd(crawl, report, counts, began, until)


def tell_crowd(
    crawl: Crawl, report: Path, counts: dict[str, Any], began: float, until: float
) -> None:
    """Say what of the battles that ended is archived, and what that took."""
    ended = [json.loads(line) for line in report.read_text().split("\n")[:-1]]
    # A battle must be listed in one look at least, and the first looks need a while to see all.
    warm = began + 180.0
    public = {
        one["id"] for one in ended if one["outcome"] == "won" and warm < one["ended"] <= until
    }
    hidden = {one["id"] for one in ended if one["outcome"] != "won"}
    held = [one["id"].removeprefix("battle-") for one in crawl.archived()]
    public = {id.removeprefix("battle-") for id in public}
    hidden = {id.removeprefix("battle-") for id in hidden}
    guests = counts["guests"]
    gaps = [guest["gap_ms"] for guest in guests if guest["gap_ms"] is not None]
    looks = counts["looks"]
    apart = [later - earlier for earlier, later in itertools.pairwise(looks)]
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    say(
        {
            "public that ended": len(public),
            "archived of these": len(public.intersection(held)),
            "missing": sorted(public.difference(held))[:20],
            "all archived": len(held),
            "twice": len(held) - len(set(held)),
            "hidden and archived": sorted(hidden.intersection(held)),
            "connections": counts["connections"],
            "messages": counts["messages"],
            "thrown away": sum(guest["thrown_away"] for guest in guests),
            "smallest gap in ms": min(gaps, default=None),
            "seconds between looks": [round(seconds, 1) for seconds in apart],
            "CPU of all in s": round(usage.ru_utime + usage.ru_stime, 1),
            "most memory of one in MB": round(usage.ru_maxrss / 1024),
            "warnings": crawl.lines("WARNING"),
        }
    )


def crawl_of(options: argparse.Namespace, folder: Path, stack: ExitStack, server: str) -> Crawl:
    """Prepare a crawl of a server, with a Redis of its own."""
    redis = EmbeddedRedis(folder / "redis")
    stack.callback(redis.release)
    site = stack.enter_context(serving("sandbox", "--battles", "1")).split()[0]
    return Crawl(folder, redis.start(), server, site, options.settings)


def say(told: dict[str, Any]) -> None:
    """Print a line for each."""
    for name, value in told.items():
        sys.stdout.write(f"{name}: {json.dumps(value)}\n")


def main() -> None:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rooms", description=__doc__)
    add = parser.add_argument
    add("against", choices=("real", "crowd"))
    add("--seconds", type=float, default=300.0)
    add("--pairs", type=int, default=20)
    add("--live", type=int, default=2000)
    add("--rate", type=float, default=4.0, help="new battles a second")
    add("--endless", type=int, default=0)
    add("--workers", type=int, default=1)
    add("--settle", type=float, default=240.0, help="seconds until the last must be archived")
    add("-s", dest="settings", action="append", default=[], help="a setting of the crawl")
    add("--folder", type=Path, help="where everything is kept; default: nowhere")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        (real if options.against == "real" else crowd)(options, folder, stack)


if __name__ == "__main__":
    main()
