"""Measure what hiccups cost: bad replies, a clock that is set, a limit that was slow for a moment.

`python -m benchmarks.hiccups`, on a machine that does nothing else. The crawler has one core, and
the site and Redis have the other.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.stepping import COMPILER, SteppedRedis
from extensions.embedded import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARES = (0.0, 0.01, 0.03, 0.08)
"""Of the requests, answered with 503."""
STEPS = (-3600, 3600)
"""Seconds by which Redis's clock is set."""
RATE = 40
"""Requests a second that are allowed while the clock is set."""
_BATTLES = 8000
_WARM = 0.2
"""Share of the battles after which speed is measured, and before the end of which it ends."""
_WATCHED = 15.0
"""Seconds."""
_CRAWLER_CORE, _OTHERS_CORE = "0", "1"


@dataclass(frozen=True, slots=True)
class Site:
    """A running sandbox site."""

    address: str
    log: Path

    def answered(self) -> list[float]:
        """Return when battles were served whole, in seconds since the epoch, in order."""
        # The last line may be half written.
        lines = self.log.read_text().split("\n")[:-1]
        entries = [json.loads(line) for line in lines]
        return sorted(
            entry["time"]
            for entry in entries
            if entry["status"] == 200 and not entry["path"].startswith(("/search", "/robots"))  # noqa: PLR2004 -- HTTP's own
        )


@contextmanager
def site_of(folder: Path, *options: str) -> Iterator[Site]:
    """Run a site, and give it."""
    log = folder / "site.log"
    command = ["taskset", "-c", _OTHERS_CORE, sys.executable, "-m", "sandbox", "--log", str(log)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as site:
        try:
            assert site.stdout is not None  # noqa: S101 -- piped above
            yield Site(site.stdout.readline().split()[0], log)
        finally:
            site.terminate()


@contextmanager
def crawl_of(site: Site, redis: str, folder: Path, rate: float) -> Iterator[dict[str, str]]:
    """Run one worker at so many requests a second (0: any number); give its environment."""
    environment = {
        **os.environ,
        "REDIS_URL": redis,
        "ARCHIVE_URL": str(folder / "data"),
        "SPOOL_DIR": str(folder / "spool"),
        "SHOWDOWN_REPLAY_URL": site.address,
        "CONTACT": "benchmark@example.org",
        "THROTTLE_RATE": str(rate),
    }
    command = ["taskset", "-c", _CRAWLER_CORE, sys.executable, "-m", "scrapy", "crawl", "replays"]
    options = ["-s", "AUTOTHROTTLE_ENABLED=0", "-L", "INFO"]
    with (folder / "crawl.log").open("wb") as log:
        crawl = subprocess.Popen([*command, *options], env=environment, stdout=log, stderr=log)
    try:
        yield environment
    finally:
        crawl.terminate()
        crawl.wait()


def speed(share: float) -> float:
    """Return the battles a second of a crawl of which this share is answered with 503."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        options = ("--battles", str(_BATTLES), "--refused", str(share), "--status", "503")
        site = stack.enter_context(site_of(folder, *options))
        redis = EmbeddedRedis(folder / "redis")
        stack.callback(redis.release)
        stack.enter_context(crawl_of(site, redis.start(), folder, 0.0))
        last = round(_BATTLES * (1 - _WARM))
        while len(times := site.answered()) < last:
            time.sleep(0.5)
        first = round(_BATTLES * _WARM)
        return (last - first) / (times[last - 1] - times[first - 1])


def pause_after_step(seconds: int) -> tuple[float, float]:
    """Set Redis's clock in mid-crawl; return the longest pause, and the requests a second after."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        site = stack.enter_context(site_of(folder, "--battles", str(_BATTLES)))
        redis = SteppedRedis(folder)
        stack.callback(redis.stop)
        stack.enter_context(crawl_of(site, redis.url, folder, RATE))
        _until(site, RATE)
        redis.step(seconds)
        stepped = time.time()
        time.sleep(_WATCHED)
        return _longest_pause(site, stepped)


def pause_after_slow_limit() -> tuple[float, float]:
    """Have the limit be slow for a moment; return the longest pause after it, and the speed."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        site = stack.enter_context(site_of(folder, "--battles", str(_BATTLES)))
        redis = EmbeddedRedis(folder / "redis")
        stack.callback(redis.release)
        environment = stack.enter_context(crawl_of(site, redis.start(), folder, RATE))
        _until(site, RATE)
        for rate in ("0.02", str(RATE)):
            words = ["throttle", site.address, rate]
            command = [sys.executable, "-m", "scrapy", *words]
            subprocess.run(command, env=environment, check=True, capture_output=True)
            changed = time.time()
            time.sleep(3.0)
        time.sleep(_WATCHED - 3.0)
        return _longest_pause(site, changed)


def _until(site: Site, battles: int) -> None:
    while len(site.answered()) < battles:
        time.sleep(0.1)


def _longest_pause(site: Site, since: float) -> tuple[float, float]:
    times = [since, *(at for at in site.answered() if at > since)]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    settled = [at for at in times if at > since + _WATCHED / 2]
    return max(pauses, default=_WATCHED), len(settled) / (_WATCHED / 2)


def main() -> None:
    """Measure and print."""
    alone = 0.0
    for share in SHARES:
        each = speed(share)
        alone = alone or each
        sys.stdout.write(f"{share:.0%} bad replies: {each:.0f} battles/s, {each / alone:.0%}\n")
        sys.stdout.flush()
    steps = STEPS if COMPILER else ()
    for seconds in steps:
        pause, after = pause_after_step(seconds)
        sys.stdout.write(f"clock set by {seconds:+} s: {pause:.2f} s pause, then {after:.1f}/s\n")
    pause, after = pause_after_slow_limit()
    sys.stdout.write(f"0.02/s for a moment: {pause:.2f} s pause, then {after:.1f}/s of {RATE}\n")


if __name__ == "__main__":
    main()
