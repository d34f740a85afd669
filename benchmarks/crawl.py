"""Measure the CPU that a battle costs the crawler, beyond what starting costs.

The crawler has one core, and the site, S3 and Redis have the other. A battle's cost is what a crawl
of many takes more than one of few, divided by the difference.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import BotoCoreError

from extensions.embedded import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator

CRAWLS = ("battles", "one_object", "plain")
_BUCKET = "bench"
_CRAWLER_CORE, _OTHERS_CORE = "0", "1"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a battle costs in one kind of crawl."""

    name: str
    milliseconds: float
    """CPU of the crawler, user and system."""


def measure(few: int, many: int) -> list[Cost]:
    """Crawl few and many battles each way, one after the other."""
    with ExitStack() as stack:
        site = stack.enter_context(site_of(many))
        s3 = stack.enter_context(s3_server())
        return [
            Cost(
                name, (_cpu(name, many, site, s3) - _cpu(name, few, site, s3)) / (many - few) * 1e3
            )
            for name in CRAWLS
        ]


def _cpu(name: str, limit: int, site: str, s3: str) -> float:
    """Run one crawl and return the seconds of CPU it took."""
    with tempfile.TemporaryDirectory() as folder:
        redis = EmbeddedRedis(Path(folder) / "redis")
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path.cwd()),
            "REDIS_URL": redis.start(),
            "ARCHIVE_URL": f"s3://{_BUCKET}/{name}-{limit}",
            "BENCH_BUCKET": _BUCKET,
            "SHOWDOWN_REPLAY_URL": site,
            "AWS_ENDPOINT_URL": s3,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_REGION_NAME": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        log = Path(folder) / "log"
        with log.open("wb") as file:
            command = ["taskset", "-c", _CRAWLER_CORE, *_command(name, limit, folder)]
            crawl = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
            _, status, usage = os.wait4(crawl.pid, 0)
        crawl.returncode = os.waitstatus_to_exitcode(status)
        redis.release()
        if crawl.returncode or f"'item_scraped_count': {limit}," not in log.read_text():
            raise RuntimeError(f"{name} did not crawl {limit} battles:\n{log.read_text()[-2000:]}")
        return usage.ru_utime + usage.ru_stime


def _command(name: str, limit: int, folder: str) -> list[str]:
    if name != "battles":
        return [sys.executable, "-m", "benchmarks.rivals", name, str(limit)]
    settings = {"THROTTLE_RATE": "0", "AUTOTHROTTLE_ENABLED": "0", "SPOOL_DIR": f"{folder}/spool"}
    options = [part for pair in settings.items() for part in ("-s", "=".join(pair))]
    return [sys.executable, "-m", "scrapy", "crawl", "replays", "-a", f"limit={limit}", *options]


@contextmanager
def site_of(battles: int) -> Iterator[str]:
    """Run a site of so many battles, and give its address."""
    command = ["taskset", "-c", _OTHERS_CORE, sys.executable, "-m", "sandbox"]
    command += ["--battles", str(battles)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as site:
        try:
            assert site.stdout is not None  # noqa: S101 -- piped above
            yield site.stdout.readline().split()[0]
        finally:
            site.terminate()


@contextmanager
def s3_server() -> Iterator[str]:
    """Run an S3 server with a bucket `bench`, and give its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["taskset", "-c", _OTHERS_CORE, sys.executable, "-m", "moto.server"]
    command += ["-H", "127.0.0.1", "-p", str(port)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as server:
        try:
            _make_bucket(f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _make_bucket(address: str) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id="bench",
        aws_secret_access_key="bench",  # noqa: S106 -- moto takes any
    )
    for _ in range(100):
        try:
            client.create_bucket(Bucket=_BUCKET)
        except BotoCoreError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError("the S3 server does not start")
