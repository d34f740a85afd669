"""Redis's clock is set in mid-crawl: a pause of a moment, and nothing lost."""

from __future__ import annotations

import itertools
import time

import pytest

from benchmarks.stepping import COMPILER, SteppedRedis
from tests.integration.fleet import public_ids, tell

RATE = 20
MOST = 5.0
"""Seconds of a pause; a step that is waited for, or slept for, takes an hour."""


@pytest.fixture
def stepped(tmp_path):
    if COMPILER is None:
        pytest.skip("there is no C compiler to build what sets a server's clock")
    (tmp_path / "stepped").mkdir()
    redis = SteppedRedis(tmp_path / "stepped")
    yield redis
    redis.stop()


@pytest.mark.parametrize("step", [-3600, 3600])
def test_a_clock_that_is_set_is_a_pause_of_a_moment(fleet_of, stepped, capsys, step):
    fleet = fleet_of("--battles", "300", "--refused", "0.05", THROTTLE_RATE=str(RATE))
    fleet.places = {"REDIS_URL": stepped.url}
    doomed = fleet.start()
    fleet.start()
    while len(fleet.site.fetched()) < 2 * RATE:
        time.sleep(0.05)
    # What it holds, and what waits for another try, must not wait for an hour.
    fleet.kill(doomed)

    stepped.step(step)
    stepped_at = time.time()
    fleet.wait()

    times = [stepped_at, *(one["time"] for one in fleet.site.requests())]
    times = sorted(one for one in times if one >= stepped_at)
    longest = max(later - earlier for earlier, later in itertools.pairwise(times))
    tell(capsys, f"clock set by {step:+} s: the longest pause was {longest:.2f} s")
    assert longest < MOST
    assert sorted(fleet.searched()) == sorted(public_ids(battles=300))
