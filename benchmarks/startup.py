"""Measure how long a command takes to start, and which imports take how much of it."""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from extensions.embedded import EmbeddedRedis

_ROOT = Path(__file__).parents[1]
_COMMANDS = ("queue status", "deadletters", "throttle", "search", "list", "crawl --help")
_GOAL = 1.0
"""Seconds of CPU."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command costs in seconds, at best."""

    command: str
    cpu: float
    wall: float


def measure(repeats: int) -> list[Cost]:
    """Run each command so many times over an empty archive."""
    with TemporaryDirectory() as folder:
        redis = EmbeddedRedis(Path(folder) / "redis")
        environment = _environment(folder, redis.start())
        try:
            return [
                min(
                    (_run(command, environment) for _ in range(repeats)),
                    key=lambda cost: cost.cpu,
                )
                for command in _COMMANDS
            ]
        finally:
            redis.release()


def slowest_imports(count: int) -> list[str]:
    """Return the modules whose own code takes the longest, with the milliseconds."""
    words = [sys.executable, "-X", "importtime", "-m", "scrapy", "queue", "--help"]
    said = subprocess.run(words, cwd=_ROOT, capture_output=True, text=True, check=True).stderr
    rows = [line.removeprefix("import time:").split("|") for line in said.splitlines()[1:]]
    timed = [(int(row[0]), row[2].strip()) for row in rows if row[0].strip().isdecimal()]
    return [
        f"{micro / 1000:6.1f} ms  {name}" for micro, name in sorted(timed, reverse=True)[:count]
    ]


def main() -> int:
    """Measure and print; return 1 when a command misses the goal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="the best of so many counts")
    parser.add_argument("--imports", type=int, default=15, help="how many modules to name")
    options = parser.parse_args()
    costs = measure(options.repeats)
    lines = [f"{'command':14}{'CPU s':>8}{'wall s':>8}"]
    lines += [f"{cost.command:14}{cost.cpu:8.2f}{cost.wall:8.2f}" for cost in costs]
    lines += ["", *slowest_imports(options.imports)]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(any(cost.cpu > _GOAL for cost in costs))


def _run(command: str, environment: dict[str, str]) -> Cost:
    words = [sys.executable, "-m", "scrapy", *command.split()]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    # A search finds nothing here, which is its status 1.
    subprocess.run(words, cwd=_ROOT, env=environment, capture_output=True, check=False)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(command, cpu, wall)


def _environment(folder: str, redis_url: str) -> dict[str, str]:
    places = {
        "REDIS_URL": redis_url,
        "ARCHIVE_URL": f"{folder}/data",
        "SPOOL_DIR": f"{folder}/spool",
    }
    return {**os.environ, **places, "SCRAPY_SETTINGS_MODULE": "battles.settings"}


if __name__ == "__main__":
    sys.exit(main())
