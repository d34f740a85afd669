"""A site that sends rubbish, and a disk that is full: a real crawl says so in a line each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from extensions.embedded import EmbeddedRedis
from sandbox.site import ReplaySite
from tests.integration.fleet import FAST, PATIENCE, ROOT, tail
from tests.integration.hostile import KINDS, LARGEST, HostileSite

REASONS = {
    "truncated": "ResponseDataLossError: ",
    "wordy-length": "DownloadFailedError: Invalid character in Content-Length",
    "announced-too-long": "DownloadCancelledError: the reply is too long",
    "too-long": "DownloadCancelledError: the reply is too long",
    "no-chunks": "DownloadFailedError: Invalid character in chunk size",
    "no-http": "DownloadFailedError: Bad status line",
    "unended-head": "DownloadTimeoutError: nothing within 3.0 s",
    "status-of-zero": "HTTP 0",
    "switching-protocols": "HTTP 101",
    "status-999": "HTTP 999",
    "redirect-to-nowhere": "HTTP 302",
    "unknown-encoding": "unknown content encoding b'rot13'",
    "no-gzip": "it cannot be unpacked: BadGzipFile",
    "no-zstd": "it cannot be unpacked: ZstdError",
    "gzip-bomb": "too many bytes when it is unpacked",
    "deflate-bomb": "too many bytes when it is unpacked",
    "zstd-bomb": "too many bytes when it is unpacked",
    "html": "gen9ou-60: not JSON",
    "null": "gen9ou-74: not JSON",
}
SETTINGS = {
    **FAST,
    "CIRCUIT_BREAKER_SHARE": "0",
    "DOWNLOAD_MAXSIZE": str(LARGEST),
    "DOWNLOAD_TIMEOUT": "3",
    "RETRY_TIMES": "1",
}
"""A breaker would leave such a site alone, as it should."""


def eventually(condition: Callable[[], object]) -> None:
    """Look at another process until something is the case, for a minute at most."""
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came about")


@dataclass
class Crawled:
    """What came of a crawl over all kinds of rubbish."""

    log: str
    letters: dict[str, dict]
    """By the kind that was sent for it."""
    archived: int
    kinds: dict[str, str]


@pytest.fixture(scope="module")
def crawled(tmp_path_factory) -> Crawled:
    folder, site = tmp_path_factory.mktemp("hostile"), ReplaySite.recorded()
    redis = EmbeddedRedis(folder / "redis")
    hostile = HostileSite({id: site.replay(id).json() for id in sorted(site.public_ids)[:5]})
    options = [part for pair in SETTINGS.items() for part in ("-s", "=".join(pair))]
    with hostile as address:
        environment = {
            **os.environ,
            "REDIS_URL": redis.start(),
            "ARCHIVE_URL": str(folder / "data"),
            "SPOOL_DIR": str(folder / "spool"),
            "SHOWDOWN_REPLAY_URL": address.replace("//", "//ann:secret@"),
            "SCRAPY_SETTINGS_MODULE": "battles.settings",
        }

        def scrapy(*words: str) -> subprocess.CompletedProcess:
            return subprocess.run(
                [sys.executable, "-m", "scrapy", *words, *options],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                check=True,
                timeout=PATIENCE,
            )

        log = scrapy("crawl", "replays").stderr
        listed = scrapy("deadletters", "list", "--json").stdout.splitlines()
        archived = len(scrapy("search", "--json").stdout.splitlines())
    redis.release()
    letters = {Path(one["url"]).stem: one for one in map(json.loads, listed)}
    by_kind = {hostile.kinds.get(id, id): letter for id, letter in letters.items()}
    return Crawled(log, by_kind, archived, hostile.kinds)


def test_every_kind_of_rubbish_is_a_dead_letter_with_a_reason(crawled):
    assert set(crawled.letters) == set(KINDS)
    assert all(letter["reason"] for letter in crawled.letters.values())
    assert not [one for one in crawled.letters.values() if "worker's log" in one["reason"]]


def test_the_rest_is_archived(crawled):
    assert crawled.archived == 5


@pytest.mark.parametrize(("kind", "reason"), REASONS.items(), ids=REASONS)
def test_the_reason_says_what_was_wrong(crawled, kind, reason):
    assert crawled.letters[kind]["reason"].startswith(reason)


def test_the_log_holds_no_traceback_and_a_few_lines_for_each(crawled):
    assert "Traceback" not in crawled.log
    assert crawled.kinds
    for id, kind in crawled.kinds.items():
        lines = re.findall(rf".*\b{id}(?:\.json|:).*", crawled.log)
        said = [line for line in lines if "is given up: " in line or "Dropped: " in line]
        assert len(said) == 1, (kind, lines)


def test_nothing_of_the_rubbish_reaches_the_terminal_and_no_password_the_log(crawled):
    assert crawled.log.isascii() or "\x1b" not in crawled.log
    assert "secret" not in crawled.log
    assert "secret" not in json.dumps(list(crawled.letters.values()))


def test_a_disk_that_is_full_is_a_pause_and_costs_no_battle(fleet_of, tmp_path):
    fleet, refused = fleet_of("--battles", "600", "--latency", "0.02"), tmp_path / "refused"
    # However few battles are in work, they are refused more often than any request has tries.
    words = fleet.command("crawl", "replays", "-L", "INFO", "-s", "SEGMENT_COMMIT_DELAY=0.05")[3:]
    program = [sys.executable, "-m", "tests.integration.full_disk", str(refused), "200", *words]
    worker = fleet.start_command(program)
    assert worker.wait(PATIENCE) == 0, tail(worker)

    assert refused.stat().st_size == 200
    log = worker.log.read_text()
    assert "Traceback" not in log
    assert log.count("The crawl pauses: ") == log.count("The crawl goes on") == 1
    status = fleet.status()
    assert (status.left, status.dead_letters, status.imbalance()) == (0, 0, 0)
    assert len(fleet.stored()) == status.total("discovered") - status.total("followed")
