"""A fleet is upgraded in mid-crawl; whoever meets data of a later version leaves them alone."""

from __future__ import annotations

import site
import sys
import tarfile
import time
from pathlib import Path

import pytest

from extensions.segments import trailer
from tests.integration.environments import Environment, run
from tests.integration.fleet import PATIENCE, is_complete, seeded, tail, tell

EARLIER = "9e89bdf0e5b4812fd0b6f8205dbef0fb6c434892"
BATTLES = 2000
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


def test_an_upgrade_in_mid_crawl_loses_nothing(fleet_of, earlier, capsys):
    """Workers of an earlier version are killed one by one while this one's take over."""
    chance = seeded(capsys)
    fleet = fleet_of("--battles", str(BATTLES), "--ties", "3", "--latency", "0.08", **SLOW)
    _, *words = fleet.command("crawl", "replays", "-L", "INFO")
    for _ in range(3):
        # From elsewhere: Python takes what lies in its folder first.
        fleet.start_command([str(earlier), *words], folder=fleet.folder)
    old = list(fleet.workers)
    while len(fleet.site.fetched()) < BATTLES // 4:
        time.sleep(0.1)
    # The earlier version knows nothing of the one that takes over until it is next refused.
    new = [fleet.start(), fleet.start()]
    for worker in old:
        time.sleep(chance.uniform(0.5, 3.0))
        fleet.kill(worker)

    for worker in new:
        assert worker.wait(PATIENCE) == 0, tail(worker)

    tell(capsys, f"{len(fleet.site.fetched()) - BATTLES} of {BATTLES} battles fetched again")
    assert "is of an earlier version, and is taken over" in "".join(
        worker.log.read_text() for worker in new
    )
    # As ever, what the dead left in their spools is brought in by the next that starts here.
    fleet.crawl("limit=1")
    is_complete(fleet, BATTLES, [fleet.status().imbalance()])


def test_an_earlier_version_refuses_what_this_one_has_taken_over(fleet_of, earlier):
    fleet = fleet_of("--battles", "40")
    fleet.crawl("limit=10")
    asked = len(fleet.site.requests())
    _, *words = fleet.command("crawl", "replays", "-L", "INFO")

    worker = fleet.start_command([str(earlier), *words], folder=fleet.folder)

    assert worker.wait(PATIENCE) == 1
    assert "is of version 2, and this worker knows up to 1: upgrade it" in worker.log.read_text()
    assert len(fleet.site.requests()) == asked


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
