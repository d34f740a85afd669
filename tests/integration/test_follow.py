"""Following: a watch that puts itself back, and keeps nobody else from ending."""

from __future__ import annotations

import signal
import time

from tests.integration.fleet import public_ids


def searches(fleet) -> int:
    return sum(entry["path"].startswith("/search.json") for entry in fleet.site.requests())


def test_a_watch_goes_on_and_outlives_its_worker(fleet_of):
    fleet = fleet_of("--battles", "40", REPLAYS_INTERVAL="0.3")
    follower = fleet.start("follow=1")
    while searches(fleet) < 4:
        time.sleep(0.05)
    follower.send_signal(signal.SIGTERM)
    assert follower.wait(30) == 0
    assert fleet.status().watchers == 1
    seen = searches(fleet)

    fleet.start("follow=1")
    while searches(fleet) < seen + 3:
        time.sleep(0.05)
    fleet.run("queue", "drain")

    fleet.wait()
    assert fleet.status().watchers == 1
    assert fleet.stored() == sorted(public_ids(battles=40))
    assert fleet.status().imbalance() == 0


def test_a_crawl_that_does_not_follow_ends_beside_a_watch(fleet_of):
    fleet = fleet_of("--battles", "40", REPLAYS_INTERVAL="30")
    follower = fleet.start("follow=1")
    while len(fleet.site.fetched()) < 40:
        time.sleep(0.05)

    fleet.crawl("formats=gen9randombattle")

    assert follower.poll() is None
