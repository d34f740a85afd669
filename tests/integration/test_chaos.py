"""Workers and Redis are killed at random, and nothing is lost, doubled or miscounted."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from datetime import UTC, datetime

import pytest

from tests.conftest import PATIENCE
from tests.integration.fail_point import STEPS
from tests.integration.fleet import Blows, is_complete, public_ids, seeded, strike, tell
from tests.integration.replicated import ReplicatedRedis

KILLS = int(os.environ.get("CHAOS_KILLS", "20"))
"""On demand more, of more workers with more to do: CHAOS_KILLS=100 takes minutes."""
IS_LARGE = KILLS >= 100
BATTLES, WORKERS = (20_000, 8) if IS_LARGE else (5000, 4)
LONG = 1800 if IS_LARGE else PATIENCE
TOGETHER = 5.0
"""Seconds between the last request and the end of the last worker."""


SLOW = {"CONCURRENT_REQUESTS": "4", "SEGMENT_RECORDS": "100", "QUEUE_PREFETCH": "32"}
SITE = ("--battles", str(BATTLES), "--ties", "3", "--latency", "0.08")


@pytest.mark.timeout(LONG)
def test_nothing_is_lost_whoever_dies(fleet_of, capsys):
    chance = seeded(capsys)
    fleet = fleet_of(*SITE, **SLOW)
    restarts = chance.sample(range(2, KILLS), KILLS // 10)

    blows = Blows(KILLS, fleet.kill, dict.fromkeys(restarts, fleet.kill_redis))
    imbalances = strike(fleet, chance, blows, [fleet.start] * WORKERS)

    fetched = fleet.site.fetched()
    again = len(fetched) - len(set(fetched))
    tell(capsys, f"{KILLS} kills, {len(restarts)} of Redis; {again} fetched again")
    is_complete(fleet, BATTLES, imbalances)


@pytest.mark.timeout(LONG)
def test_nothing_is_lost_when_machines_vanish_and_redis_is_emptied(fleet_of, s3, capsys):
    chance = seeded(capsys)
    fleet = fleet_of(*SITE, SEGMENT_AGE="1", **SLOW)
    fleet.places, fleet.has_own_spools = s3.places, True
    blows = chance.sample(range(2, KILLS), KILLS // 5)
    half = len(blows) // 2
    at_once = dict.fromkeys(blows[:half], fleet.kill_redis)
    at_once |= dict.fromkeys(blows[half:], fleet.empty_redis)

    imbalances = strike(fleet, chance, Blows(KILLS, fleet.vanish, at_once), [fleet.start] * WORKERS)

    fetched, lines = fleet.site.fetched(), s3.lines()
    tell(
        capsys,
        f"{KILLS} machines with their disks, {half} restarts of Redis, {len(blows) - half} times "
        f"emptied; {len(fetched) - len(set(fetched))} fetched again, {len(lines) - BATTLES} lines "
        f"stand twice in {len(s3.keys())} segments",
    )
    is_complete(fleet, BATTLES, imbalances)


def test_a_worker_stopped_past_its_lease_does_no_harm(fleet_of):
    fleet = fleet_of("--battles", "600", "--latency", "0.05", CONCURRENT_REQUESTS="4")
    sleeper = fleet.start()
    while len(fleet.site.fetched()) < 40:
        time.sleep(0.02)
    sleeper.send_signal(signal.SIGSTOP)
    other = fleet.start()
    while "queue/reclaimed" not in other.log.read_text() and other.poll() is None:
        time.sleep(0.05)
    sleeper.send_signal(signal.SIGCONT)
    fleet.wait()

    assert fleet.stored() == sorted(public_ids(battles=600))
    assert fleet.status().imbalance() == 0


@pytest.mark.parametrize("durable", ["disk", "store"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_death_between_two_steps_loses_and_doubles_nothing(fleet_of, capsys, when, step, durable):
    fleet = fleet_of("--battles", "150", SEGMENT_RECORDS="40", ARCHIVE_DURABLE=durable)
    chance = seeded(capsys)
    call = 1 if step in ("seal", "store") else chance.randrange(1, 4)
    options = fleet.command("crawl", "replays", "-L", "INFO")[3:]
    dying = [sys.executable, "-m", "tests.integration.fail_point", f"{when}-{step}", str(call)]
    fleet.start_command([*dying, *options])
    assert fleet.workers[0].wait(60) == -signal.SIGKILL
    if durable == "store":
        # Its machine goes, too: what the index names lies in the store.
        shutil.rmtree(fleet.folder / "spool", ignore_errors=True)
    fleet.stored()

    fleet.crawl()

    assert fleet.stored() == sorted(public_ids(battles=150))
    assert fleet.status().imbalance() == 0


def test_a_fleet_of_eight_ends_together_and_not_before_the_end(fleet_of, capsys):
    fleet = fleet_of("--battles", "600", "--latency", "0.2")
    for _ in range(8):
        fleet.start()

    fleet.wait()

    last = max(entry["time"] for entry in fleet.site.requests())
    ends = [_closed_at(worker.log.read_text()) for worker in fleet.workers]
    tell(capsys, f"the last of 8 closed {max(ends) - last:.1f} s after the last request")
    # The log knows whole seconds only.
    assert min(ends) >= int(last)
    assert max(ends) - last <= TOGETHER
    assert fleet.stored() == sorted(public_ids(battles=600))


def _closed_at(log: str) -> float:
    text = re.search(r"(\S+ \S+) \[scrapy.core.engine\] INFO: Closing spider \(finished\)", log)[1]
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()


def test_a_failover_of_redis_is_a_pause(fleet_of, tmp_path):
    redis = ReplicatedRedis(tmp_path)
    fleet = fleet_of("--battles", "600", "--latency", "0.05", redis=redis, CONCURRENT_REQUESTS="4")
    for _ in range(2):
        fleet.start()
    while len(fleet.site.fetched()) < 100:
        time.sleep(0.02)

    redis.fail_over()
    fleet.wait()

    assert not [worker for worker in fleet.workers if "Traceback" in worker.log.read_text()]
    assert fleet.stored() == sorted(public_ids(battles=600))
    assert (fleet.status().imbalance(), fleet.status().dead_letters) == (0, 0)


def test_keys_that_redis_throws_away_are_made_good(fleet_of):
    fleet = fleet_of("--battles", "1500", "--latency", "0.05", CONCURRENT_REQUESTS="4")
    workers = [fleet.start() for _ in range(2)]
    while len(fleet.site.fetched()) < 400:
        time.sleep(0.02)

    redis = fleet.client()
    redis.config_set("maxmemory-policy", "allkeys-random")
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] - 300_000)
    while not redis.info("stats")["evicted_keys"]:
        redis.set("more", "x" * 50_000)
    redis.config_set("maxmemory", 0)
    fleet.wait()

    assert any("throws keys away" in worker.log.read_text() for worker in workers)
    assert fleet.stored() == sorted(public_ids(battles=1500))


def test_a_redis_that_may_throw_keys_away_is_refused(fleet_of):
    fleet = fleet_of("--battles", "10")
    redis = fleet.client()
    redis.config_set("maxmemory-policy", "allkeys-lru")
    redis.config_set("maxmemory", "100mb")

    told = fleet.run("crawl", "replays", check=False)

    assert (told.returncode, told.stderr.count("\n")) == (1, 1)
    assert "maxmemory-policy noeviction" in told.stderr
    assert fleet.site.fetched() == []


def test_redis_away_is_a_pause(fleet_of):
    fleet = fleet_of("--battles", "800", "--latency", "0.05", CONCURRENT_REQUESTS="4")
    worker = fleet.start()
    while len(fleet.site.fetched()) < 100:
        time.sleep(0.02)
    fleet.kill_redis()
    fleet.wait()

    log = worker.log.read_text()
    assert "Traceback" not in log
    assert fleet.stored() == sorted(public_ids(battles=800))
    assert fleet.status().imbalance() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "ctrl-C"])
def test_a_worker_told_to_leave_hands_everything_over(fleet_of, number):
    fleet = fleet_of("--battles", "600", "--latency", "0.05", CONCURRENT_REQUESTS="4")
    worker = fleet.start()
    while len(fleet.site.fetched()) < 60:
        time.sleep(0.02)

    worker.send_signal(number)

    assert worker.wait(30) == 0
    fleet.crawl()
    fetched = fleet.site.fetched()
    assert len(fetched) == len(set(fetched))
    assert fleet.stored() == sorted(public_ids(battles=600))


def test_a_second_signal_leaves_at_once_and_loses_nothing(fleet_of):
    fleet = fleet_of("--battles", "300", "--latency", "0.3", CONCURRENT_REQUESTS="4")
    worker = fleet.start()
    while len(fleet.site.fetched()) < 20:
        time.sleep(0.02)

    worker.send_signal(signal.SIGINT)
    time.sleep(0.1)
    worker.send_signal(signal.SIGINT)
    worker.wait(30)

    fleet.crawl()
    assert fleet.stored() == sorted(public_ids(battles=300))
    assert fleet.status().imbalance() == 0


HOSTILE = {
    "wrong types": {"url": "5", "meta": "[1]"},
    "unknown callback": {"url": "http://127.0.0.1:9/x", "callback": "no_such"},
    "private callback": {"url": "http://127.0.0.1:9/x", "callback": "__init__"},
    "10 MB": {"url": "http://127.0.0.1:9/" + "x" * 10_000_000},
    "no UTF-8": {"url": b"\xff\xfe"},
    "empty": {"nothing": ""},
    "a local file": {"url": "file:///etc/hostname"},
}


def test_hostile_entries_become_dead_letters_and_the_crawl_goes_on(fleet_of):
    fleet = fleet_of("--battles", "100")
    fleet.queue()
    for entry in HOSTILE.values():
        fleet.client().xadd("{replays}:queue:lane:discovery", entry)

    fleet.crawl()

    letters = fleet.queue().dead_letters()
    assert len(letters) == len(HOSTILE)
    assert all(letter["reason"] for letter in letters.values())
    assert fleet.stored() == sorted(public_ids(battles=100))


def test_pause_and_resume_reach_a_running_worker(fleet_of):
    fleet = fleet_of("--battles", "400", "--latency", "0.05", CONCURRENT_REQUESTS="4")
    worker = fleet.start()
    while len(fleet.site.fetched()) < 40:
        time.sleep(0.02)
    fleet.run("queue", "pause")
    time.sleep(1.0)
    paused_at = len(fleet.site.fetched())
    time.sleep(1.0)

    assert len(fleet.site.fetched()) == paused_at
    assert worker.poll() is None
    fleet.run("queue", "resume")
    fleet.wait()
    assert fleet.stored() == sorted(public_ids(battles=400))
