"""Workers of an earlier version and of this one share a Redis and an archive, and are killed."""

from __future__ import annotations

import site
import sys
import tarfile
from functools import partial
from pathlib import Path

import pytest

from extensions.segments import trailer
from tests.integration.environments import Environment, run
from tests.integration.fleet import PATIENCE, Blows, is_complete, seeded, strike, tell

EARLIER = "9e89bdf0e5b4812fd0b6f8205dbef0fb6c434892"
BATTLES, KILLS = 3000, 10
SLOW = {"CONCURRENT_REQUESTS": "4", "SEGMENT_RECORDS": "100", "QUEUE_PREFETCH": "32"}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory) -> Path:
    """The `scrapy` of an environment with the wheel of an earlier commit."""
    try:
        run(["git", "cat-file", "-e", f"{EARLIER}^{{commit}}"])
    except AssertionError:
        pytest.skip(f"this checkout does not know the commit {EARLIER[:7]}: it has no history")
    folder = tmp_path_factory.mktemp("earlier")
    run(["git", "archive", "-o", folder / "project.tar", EARLIER])
    with tarfile.open(folder / "project.tar") as archive:
        archive.extractall(folder / "project", filter="data")
    words = ["--no-isolation", "--wheel", "--outdir", folder]
    run([sys.executable, "-m", "build", *words, folder / "project"])
    [wheel] = folder.glob("*.whl")
    environment = Environment(folder / "venv")
    environment.pip("install", "-q", "--no-deps", "--no-index", str(wheel))
    # All else it has from here: what is locked is the same for both.
    [own] = (folder / "venv").glob("lib/python*/site-packages")
    (own / "others.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return environment.bin / "python"


def test_two_versions_work_together_and_lose_nothing(fleet_of, earlier, capsys):
    chance = seeded(capsys)
    fleet = fleet_of("--battles", str(BATTLES), "--ties", "3", "--latency", "0.08", **SLOW)
    program, *words = fleet.command("crawl", "replays", "-L", "INFO")
    starts = [
        partial(fleet.start_command, [program, *words]),
        # From elsewhere: Python takes what lies in its folder first.
        partial(fleet.start_command, [str(earlier), *words], folder=fleet.folder),
    ]

    imbalances = strike(fleet, chance, Blows(KILLS, fleet.kill), 2 * starts)

    logs = [worker.log.read_text() for worker in fleet.workers]
    begun = [log for log in logs if "Enabled downloader middlewares" in log]
    ours = [log for log in begun if "RedeliveredBattlesMiddleware" in log]
    tell(capsys, f"{KILLS} kills; {len(ours)} of {len(begun)} workers were of this version")
    assert 0 < len(ours) < len(begun)
    is_complete(fleet, BATTLES, imbalances)


def test_a_segment_of_a_later_version_that_the_index_lacks_ends_a_crawl(fleet_of):
    fleet = fleet_of("--battles", "40")
    fleet.crawl()
    [path] = (fleet.folder / "data").rglob("*.zst")
    text = b'{"records": 40, "version": 2}'
    whole = path.read_bytes().removesuffix(trailer(40))
    path.write_bytes(whole + trailer(40)[:4] + len(text).to_bytes(4, "little") + text)
    fleet.client().flushall()
    asked = len(fleet.site.requests())

    worker = fleet.start()

    assert worker.wait(PATIENCE) == 1
    log = worker.log.read_text()
    assert "a segment is of version 2, and this worker knows up to 1: upgrade it" in log
    assert "Traceback" not in log
    assert len(fleet.site.requests()) == asked
