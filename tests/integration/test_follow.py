"""Following: a watch that puts itself back, and keeps nobody else from ending."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from sandbox.site import ReplaySite
from tests.integration.fleet import public_ids

if TYPE_CHECKING:
    from collections.abc import Callable


def searches(fleet) -> int:
    return sum(entry["path"].startswith("/search.json") for entry in fleet.site.requests())


def test_a_watch_goes_on_and_outlives_its_worker(fleet_of):
    fleet = fleet_of("--battles", "40", REPLAYS_INTERVAL="0.3")
    follower = fleet.start("follow=1")
    while searches(fleet) < 4:
        time.sleep(0.05)
    follower.send_signal(signal.SIGTERM)
    assert follower.wait(30) == 0
    assert fleet.status().watchers == 2
    seen = searches(fleet)

    fleet.start("follow=1")
    while searches(fleet) < seen + 3:
        time.sleep(0.05)
    fleet.run("queue", "drain")

    fleet.wait()
    assert fleet.status().watchers == 2
    assert fleet.stored() == sorted(public_ids(battles=40))
    assert fleet.status().imbalance() == 0


def test_a_battle_that_becomes_public_late_is_archived_once_whoever_sweeps(fleet_of):
    fleet = fleet_of(
        "--battles",
        "120",
        "--private-every",
        "10",
        REPLAYS_INTERVAL="0.3",
        REPLAYS_OVERLAP="1",
        REPLAYS_SWEEP="1",
        REPLAYS_SWEEP_DAYS="36500",
    )
    public = public_ids(battles=120, private_every=10)
    late = oldest_of(public_ids(battles=120) - public)
    follower = fleet.start("follow=1")
    fleet.start("follow=1")
    wait_until(lambda: public <= {*fleet.site.fetched()})
    follower.send_signal(signal.SIGTERM)
    assert follower.wait(30) == 0
    fleet.start("follow=1")

    fleet.site.save(late, private=0)

    wait_until(lambda: late in fleet.site.fetched())
    fleet.run("queue", "drain")
    fleet.wait()
    assert fleet.status().watchers == 2
    assert fleet.stored() == sorted({*public, late})
    assert sorted(fleet.site.fetched()) == sorted({*public, late})
    assert fleet.status().imbalance() == 0


def test_what_was_saved_again_or_taken_back_is_noticed_by_a_sweep(fleet_of):
    fleet = fleet_of("--battles", "120", REPLAYS_SWEEP="2", REPLAYS_SWEEP_DAYS="10000")
    public = sorted(public_ids(battles=120))
    deleted, hidden, rated, *_ = public
    fleet.start("follow=1")
    wait_until(lambda: len(fleet.corpus().index) == 120)

    fleet.site.delete(deleted)
    fleet.site.save(hidden, private=2)
    fleet.site.save(rated, rating=1999)

    wait_until(lambda: fleet.corpus().index.known([deleted, hidden]) == set())
    wait_until(lambda: fleet.corpus().battle(rated).rating == 1999)
    fleet.run("queue", "drain")
    fleet.wait()
    assert fleet.stored() == public[2:]
    fleet.run("reindex", "--yes")
    assert fleet.stored() == public[2:]
    assert sorted(fleet.site.fetched()) == sorted([*public, hidden, rated])


def test_a_look_ends_where_nothing_is_new_and_is_not_remembered(fleet_of):
    fleet = fleet_of("--battles", "400", REPLAYS_INTERVAL="0.2", REPLAYS_OVERLAP="100000000")
    fleet.start("follow=1")
    wait_until(lambda: len(fleet.corpus().index) == 400)
    wait_until(lambda: not fleet.status().left)
    remembered, asked, watched = seen(fleet), searches(fleet), time.monotonic()
    time.sleep(5.0)
    looks = (time.monotonic() - watched) / 0.2

    assert 1 < searches(fleet) - asked <= looks + 1
    assert seen(fleet) == remembered


def seen(fleet) -> int:
    redis = fleet.client()
    return sum(redis.scard(key) for key in redis.scan_iter("{replays}:queue:seen:*"))


def oldest_of(ids: set[str]) -> str:
    site = ReplaySite.recorded()
    return min(ids, key=lambda name: site.replay(name).uploaded)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.05)


def test_a_crawl_that_does_not_follow_ends_beside_a_watch(fleet_of):
    fleet = fleet_of("--battles", "40", REPLAYS_INTERVAL="30")
    follower = fleet.start("follow=1")
    while len(fleet.site.fetched()) < 40:
        time.sleep(0.05)

    fleet.crawl("formats=gen9randombattle")

    assert follower.poll() is None


def test_a_plain_crawl_after_a_stopped_watch_looks_for_itself(fleet_of):
    fleet = fleet_of("--battles", "40", REPLAYS_INTERVAL="300")
    follower = fleet.start("follow=1")
    while len(fleet.site.fetched()) < 40:
        time.sleep(0.05)
    follower.send_signal(signal.SIGTERM)
    assert follower.wait(30) == 0
    seen = searches(fleet)

    fleet.crawl()

    assert searches(fleet) > seen


def test_what_was_seen_keeps_no_crawl_from_beginning(fleet_of):
    fleet = fleet_of("--battles", "120", REPLAYS_INTERVAL="300", SCHEDULER_PERSIST="1")
    fleet.crawl()
    pages = searches(fleet)

    fleet.crawl()

    assert searches(fleet) == 2 * pages
    fleet.start("follow=1")
    while searches(fleet) < 3 * pages:
        time.sleep(0.05)
    fleet.run("queue", "drain")
    fleet.wait()
    assert len(fleet.site.fetched()) == 120


def test_workers_that_begin_together_look_once(fleet_of):
    fleet = fleet_of("--battles", "600", "--latency", "0.3")
    for _ in range(4):
        fleet.start()
    fleet.wait()
    together = searches(fleet)
    fleet.crawl()

    # One that comes when the search is over may begin another.
    assert together <= 2 * (searches(fleet) - together)
