"""A fleet is to the site one polite client: the site's own log decides."""

from __future__ import annotations

import json
import os
import signal
import time
from bisect import bisect_right
from zlib import crc32

import pytest

from tests.integration.fleet import public_ids, tell

RATE = 40
SECONDS = float(os.environ.get("THROTTLE_SECONDS", "10"))
"""How long each crawl under a limit is watched; windows of 60 s want more than the usual."""
OUTAGE = SECONDS / 2
"""Seconds that each kind of outage lasts."""
RETURN = 2 * SECONDS
"""Seconds after its return until a site must be crawled at the speed of before."""
SETTLED = 4.0
"""Seconds after which workers that start together have all begun."""
LIMITED = {"THROTTLE_RATE": str(RATE), "CIRCUIT_BREAKER_ERRORS": "10"}


def most_within(times: list[float], window: float) -> int:
    """The most requests in any window of so many seconds."""
    return max(
        position - first
        for first, position in enumerate(bisect_right(times, time + window) for time in times)
    )


def arrivals(fleet) -> list[float]:
    return sorted(entry["time"] for entry in fleet.site.requests())


def watch(fleet, seconds: float) -> list[float]:
    """Let the fleet crawl for a while, and return when requests came in the settled part of it."""
    while not fleet.site.fetched():
        time.sleep(0.05)
    begin = time.time() + SETTLED
    time.sleep(SETTLED + seconds)
    return [time for time in arrivals(fleet) if begin <= time < begin + seconds]


@pytest.mark.quiet
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_workers_keeps_one_limit_and_uses_it(fleet_of, capsys, workers):
    fleet = fleet_of("--latency", "0.02", "--battles", "6000", **LIMITED)
    for _ in range(workers):
        fleet.start("follow=1")

    settled = watch(fleet, SECONDS)

    times = arrivals(fleet)
    used, second = len(settled) / (RATE * SECONDS), most_within(times, 1.0)
    tell(capsys, f"{workers} workers: {used:.1%} used, at most {second} in a second")
    assert second <= RATE + 1
    assert most_within(times, 60.0) <= RATE * 60
    assert used >= 0.95


@pytest.mark.quiet
def test_the_limit_holds_while_workers_die_and_come(fleet_of, capsys):
    fleet = fleet_of("--latency", "0.02", "--battles", "6000", **LIMITED)
    doomed = fleet.start("follow=1")
    fleet.start("follow=1")
    watch(fleet, 3.0)
    begin = time.time()
    fleet.kill(doomed)
    fleet.start("follow=1")
    time.sleep(SECONDS)

    times = arrivals(fleet)
    used = sum(begin <= time < begin + SECONDS for time in times) / (RATE * SECONDS)
    tell(capsys, f"{used:.1%} used, at most {most_within(times, 1.0)} in a second")
    assert most_within(times, 1.0) <= RATE + 1
    # What the killed worker had been permitted for the next moment, nobody uses.
    assert used >= 0.95 - 0.3 / SECONDS


@pytest.mark.quiet
def test_a_new_limit_reaches_a_running_worker_within_a_second(fleet_of):
    fleet = fleet_of("--latency", "0.02", "--battles", "6000", **LIMITED)
    fleet.start("follow=1")
    watch(fleet, 1.0)
    host = fleet.site.address.removeprefix("http://")

    fleet.run("throttle", host, "5")
    changed = time.time() + 1.0
    time.sleep(5.0)

    after = [time for time in arrivals(fleet) if changed <= time < changed + 4.0]
    [shown] = json.loads(fleet.run("throttle", "--json").stdout)
    assert 15 <= len(after) <= 20
    assert (shown["name"], shown["set_rate"], shown["rate"]) == (host, 5.0, 5.0)


def test_a_crawl_delay_is_kept_by_all_workers_together(fleet_of):
    fleet = fleet_of("--crawl-delay", "0.25", THROTTLE_RATE="0")
    for _ in range(2):
        fleet.start("limit=12")
    fleet.wait()

    pages = [entry for entry in fleet.site.requests() if entry["path"] != "/robots.txt"]
    times = sorted(entry["time"] for entry in pages)
    assert most_within(times, 0.9) <= 4
    assert len(fleet.stored()) == 12


def test_429_with_retry_after_stops_the_whole_fleet_and_uses_nothing_up(fleet_of):
    fleet = fleet_of(
        *("--most", "30", "--status", "429", "--retry-after", "5", "--battles", "90"),
        **{**LIMITED, "THROTTLE_RATE": "60"},
    )
    for _ in range(2):
        fleet.start()
    while not [entry for entry in fleet.site.requests() if entry["status"] == 429]:
        time.sleep(0.05)
    late = fleet.start()
    fleet.wait()

    log = sorted(fleet.site.requests(), key=lambda entry: entry["time"])
    refused = [entry["time"] for entry in log if entry["status"] == 429]
    # With 30 a second let through, and 91 to ask for, the site has to refuse.
    assert refused
    for first in _first_of_each_hold(refused):
        within = [entry["time"] for entry in log if first + 0.25 < entry["time"] < first + 4.9]
        assert within == [], f"{len(within)} requests came during the hold"
    assert fleet.stored() == sorted(public_ids(battles=90))
    assert fleet.status().dead_letters == 0
    assert "retry/count" not in "".join(worker.log.read_text() for worker in fleet.workers)
    assert "HTTP 429" not in late.log.read_text().partition("Spider opened")[2][:200]


def _first_of_each_hold(refused: list[float]) -> list[float]:
    firsts: list[float] = []
    for time_ in refused:
        if not firsts or time_ - firsts[-1] > 4.0:
            firsts.append(time_)
    return firsts


@pytest.mark.quiet
def test_an_outage_costs_probes_and_not_the_queue(fleet_of, capsys):
    holds = {"CIRCUIT_BREAKER_HOLD": "2", "CIRCUIT_BREAKER_HOLD_MAX": "4", "RETRY_BACKOFF": "1"}
    fleet = fleet_of("--latency", "0.02", "--battles", "2500", **LIMITED, **holds)
    for _ in range(2):
        fleet.start()
    before = len(watch(fleet, 4.0)) / 4.0

    fleet.site.stop()
    time.sleep(OUTAGE)
    fleet.site.start_again("--refused", "1", "--status", "500")
    time.sleep(OUTAGE)
    fleet.site.change(refused=0.0, garbage=1.0)
    time.sleep(OUTAGE)
    fleet.site.change(garbage=0.0)
    back = time.time()
    time.sleep(RETURN)

    probes = [time for time in arrivals(fleet) if back - 2 * OUTAGE < time < back]
    after = sum(back + RETURN - 5.0 <= time < back + RETURN for time in arrivals(fleet)) / 5.0
    tell(capsys, f"{len(probes)} probes; {before:.0f} a second before, {after:.0f} after")
    assert len(probes) <= 2 * OUTAGE / 2 + 1
    assert after >= 0.95 * before
    fleet.run("throttle", fleet.site.address, "0")
    fleet.wait()
    assert fleet.stored() == sorted(public_ids(battles=2500))
    assert (fleet.status().dead_letters, fleet.status().imbalance()) == (0, 0)


def test_what_is_broken_for_good_becomes_dead_letters_and_comes_in_when_repaired(fleet_of):
    fleet = fleet_of("--broken-every", "40", "--battles", "400", RETRY_TIMES="3")
    fleet.crawl()

    broken = {id for id in public_ids(battles=400) if crc32(id.encode()) % 40 == 0}
    letters = fleet.queue().dead_letters().values()
    assert broken
    assert {letter["fields"][1].rpartition("/")[2] for letter in letters} == {
        f"{id}.json" for id in broken
    }
    assert {(letter["reason"], letter["status"]) for letter in letters} == {("HTTP 500", 500)}
    assert set(fleet.stored()) == public_ids(battles=400) - broken

    fleet.site.change(broken_every=0)
    fleet.run("deadletters", "requeue", "--all")
    fleet.crawl()

    assert fleet.stored() == sorted(public_ids(battles=400))
    assert fleet.status().dead_letters == 0


def test_a_breaker_that_closes_ends_the_crawl_with_the_reason(fleet_of):
    fleet = fleet_of(
        *("--refused", "1", "--status", "500"),
        CIRCUIT_BREAKER_ERRORS="5",
        CIRCUIT_BREAKER_ACTION="close",
    )
    worker = fleet.start("formats=gen9ou,gen1ou,gen8ou,gen4ou,gen5ou,gen6ou,gen7ou")

    worker.wait(60)

    assert "Closing spider (circuit breaker: 127.0.0.1:" in worker.log.read_text()
    assert fleet.status().left > 0
    assert worker.returncode != -signal.SIGKILL


def test_discovery_waits_while_downloads_pile_up(fleet_of):
    options = {"QUEUE_HIGH_WATER": "100", "CONCURRENT_REQUESTS": "1", "QUEUE_PREFETCH": "8"}
    fleet = fleet_of("--latency", "0.02", "--battles", "500", **options)
    worker = fleet.start()
    most = 0
    while worker.poll() is None:
        most = max(most, fleet.status().lanes["downloads"]["queued"])
        time.sleep(0.05)

    # Searches that were on their way when the mark was reached bring a page each.
    assert 50 < most <= 100 + 3 * 51
    assert fleet.stored() == sorted(public_ids(battles=500))


def test_a_worker_with_a_broken_network_stops_nobody_else(fleet_of):
    fleet = fleet_of("--latency", "0.02", "--battles", "400", CIRCUIT_BREAKER_ERRORS="5")
    fleet.places = {"http_proxy": "http://ann:secret@127.0.0.1:1"}
    broken = fleet.start("follow=1")
    while not (blocked := fleet.queue().blocked()):
        time.sleep(0.1)
    fleet.places = {}
    fleet.start()

    while len(fleet.site.fetched()) < 400:
        time.sleep(0.1)
    broken.terminate()

    assert broken.wait(30) == 0
    fleet.wait()
    host = fleet.site.address.removeprefix("http://")
    assert list(blocked.values()) == [
        (
            f"this worker cannot reach {host}, by DownloadConnectionRefusedError: "
            "see its network and proxy"
        )
    ]
    known = json.loads(fleet.run("throttle", "--json").stdout)
    assert {one["breaker"] for one in known} == {"closed"}
    log = broken.log.read_text()
    assert "secret" not in log
    assert "Traceback" not in log
    assert fleet.status().dead_letters == 0
    assert fleet.stored() == sorted(public_ids(battles=400))
