"""Count the objects that a battle costs in S3, at a slow and at a fast pace."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.crawl import s3_server, site_of
from extensions.embedded import EmbeddedRedis

_PACES = ((2, 300), (500, 20_000))
"""Requests a second, and how many battles."""
_STORED = re.compile(r"'archive/segments_stored': (\d+)")


@dataclass(frozen=True, slots=True)
class Count:
    """What one crawl stored, by one worker with the usual settings."""

    rate: int
    battles: int
    seconds: float
    objects: int

    def __str__(self) -> str:
        """Say it in a line."""
        pace = f"{self.battles} battles at {self.battles / self.seconds:.0f}/s"
        each = f"{self.objects / self.battles:.4f} a battle"
        return f"asked for {self.rate}/s: {pace}, {self.objects} objects, {each}"


def measure(rate: int, battles: int) -> Count:
    """Crawl so many battles at so many requests a second into S3."""
    with ExitStack() as stack:
        site, s3 = stack.enter_context(site_of(battles)), stack.enter_context(s3_server())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        redis = EmbeddedRedis(Path(folder) / "redis")
        environment = {
            **os.environ,
            "REDIS_URL": redis.start(),
            "ARCHIVE_URL": f"s3://bench/{rate}",
            "SHOWDOWN_REPLAY_URL": site,
            "AWS_ENDPOINT_URL": s3,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_REGION_NAME": "us-east-1",
        }
        command = [sys.executable, "-m", "scrapy", "crawl", "replays", "-a", f"limit={battles}"]
        settings = {
            "THROTTLE_RATE": rate,
            "AUTOTHROTTLE_ENABLED": 0,
            "SPOOL_DIR": f"{folder}/spool",
        }
        options = [part for name, value in settings.items() for part in ("-s", f"{name}={value}")]
        started = time.monotonic()
        crawl = subprocess.run(
            [*command, *options], env=environment, capture_output=True, text=True, check=True
        )
        seconds = time.monotonic() - started
        redis.release()
    return Count(rate, battles, seconds, int(_STORED.findall(crawl.stderr)[-1]))


def main() -> None:
    """Measure each pace and print it."""
    for rate, battles in _PACES:
        sys.stdout.write(f"{measure(rate, battles)}\n")


if __name__ == "__main__":
    main()
