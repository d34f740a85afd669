"""A crawl into S3 and back, on moto's server."""

from __future__ import annotations

import os
import time

from tests.integration.fleet import public_ids, tell

SMALL = {"SPOOL_LIMIT": "100000", "SEGMENT_RECORDS": "20", "CONCURRENT_REQUESTS": "4"}
AWAY = float(os.environ.get("S3_AWAY", "6"))
"""Seconds that S3 stays away once the crawl pauses."""


def test_a_crawl_comes_back_out_of_s3(fleet_of, s3):
    fleet = fleet_of("--ties", "3", "--burst", "120", "--private-every", "40")
    fleet.places = s3.places

    fleet.crawl()

    assert sorted(fleet.exported()) == sorted(public_ids(private_every=40))
    assert not fleet.spooled("*")


def test_s3_away_is_a_pause_that_shows_and_loses_nothing(fleet_of, s3, capsys):
    fleet = fleet_of("--battles", "600", "--latency", "0.05", **SMALL)
    fleet.places = s3.places
    worker = fleet.start()
    while len(fleet.site.fetched()) < 60:
        time.sleep(0.02)

    s3.stop()
    while not fleet.queue().blocked():
        assert worker.poll() is None
        time.sleep(0.1)
    paused_at = len(fleet.site.fetched())
    time.sleep(AWAY)
    during = len(fleet.site.fetched()) - paused_at
    shown = fleet.run("queue").stdout
    assert fleet.status().total("leased") > 0
    s3.start()
    fleet.wait()

    fetched = fleet.site.fetched()
    tell(capsys, f"S3 away for {AWAY:.0f} s: {during} battles fetched meanwhile")
    assert "pauses: the store is away and" in shown
    assert during <= 16
    assert len(fetched) == len(set(fetched))
    assert sorted(fleet.exported()) == sorted(public_ids(battles=600))
    assert (fleet.status().dead_letters, fleet.queue().blocked()) == (0, {})
