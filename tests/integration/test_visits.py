"""Live rooms of a server with hundreds of battles, and of one that goes wrong: a real crawl."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from battles.index import BattleIndex
from tests.integration.fleet import PATIENCE, ROOT, tail, tell

QUICK = {
    "ROOMS_INTERVAL": "2",
    "ROOMS_SETTLE": "2",
    "ROOMS_AGAIN": "2",
    "ROOMS_GIVE_UP": "60",
    "CIRCUIT_BREAKER_ERRORS": "10",
    "CIRCUIT_BREAKER_HOLD": "2",
}
FAULTS = {
    "403": ({"handshake": 403}, "HTTP 403"),
    "404": ({"handshake": 404}, "HTTP 404"),
    "html": ({"handshake": "html"}, "HTTP 200"),
    "locked": ({"join": "locked"}, "it lets us into no room"),
    "closed": ({"close": "at once"}, "it ends connections at once (close code 1008)"),
    "binary": ({"binary": True}, "no text"),
    "rubbish": ({"list": "rubbish"}, "its list is none"),
}
LISTED = 6.0
"""Seconds; a shorter battle may begin and end between two looks."""
LONG = 12.0
"""Seconds for which a server goes wrong: several battles end meanwhile."""


class Crowd:
    """A stand-in for the battle server, in a process of its own."""

    def __init__(self, address: str, report: Path) -> None:
        self.address = address
        self._report = report
        self._web = address.replace("ws://", "http://").partition("/showdown")[0]

    def counts(self) -> dict:
        return requests.get(f"{self._web}/counts", timeout=10).json()

    def misbehave(self, **faults) -> None:
        reply = requests.post(f"{self._web}/misbehave", json=faults, timeout=10)
        assert reply.status_code == 200, reply.text

    def ended(self, *, since: float, until: float, listed: float = 0.0) -> dict[str, dict]:
        """What ended in that time, by id, and was on the list for some seconds.

        With `listed`, it was there at that time. The last line may be half written.
        """
        lines = self._report.read_text().split("\n")[:-1]
        battles = {one["id"].removeprefix("battle-"): one for one in map(json.loads, lines)}
        return {
            id: one
            for id, one in battles.items()
            if since < one["ended"] <= until
            and one["started"] < one["ended"] - LISTED
            and (not listed or one["started"] < listed)
        }


@contextmanager
def crowded(folder: Path, *options: str):
    report = folder / "truth.jsonl"
    command = [sys.executable, "-m", "sandbox.crowd", "--report", str(report), *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Crowd(process.stdout.readline().strip(), report)
        finally:
            process.terminate()


@pytest.fixture
def watchers_of(fleet_of, tmp_path):
    """Build a fleet that watches a crowd."""

    def build(crowd: Crowd, **settings: str):
        fleet = fleet_of("--battles", "1", folder=tmp_path, **{**QUICK, **settings})
        fleet.spider = "rooms"
        nobody = "http://127.0.0.1:9"
        fleet.places = {"SHOWDOWN_SERVER_URL": crowd.address, "SHOWDOWN_CLIENT_URL": nobody}
        return fleet

    return build


def eventually(condition: Callable[[], object]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came about")


def end(fleet) -> None:
    """End the crawl; what goes on is not waited for."""
    for worker in fleet.alive():
        worker.terminate()
        assert worker.wait(PATIENCE) == 0, tail(worker)


def test_hundreds_of_battles_are_watched_and_each_that_ends_is_visited_once(
    watchers_of, tmp_path, capsys
):
    options = ["--live", "60", "--endless", "150", "--rate", "1", "--drop", "0.1", "--hide", "0.2"]
    with crowded(tmp_path, *options, "--formats", "8") as crowd:
        fleet = watchers_of(crowd)
        doomed, still, _ = [fleet.start() for _ in range(3)]
        eventually(lambda: fleet.status().listed > 190)
        since = time.time()
        time.sleep(5.0)
        fleet.kill(doomed)
        still.send_signal(signal.SIGSTOP)
        time.sleep(10.0)
        still.send_signal(signal.SIGCONT)
        time.sleep(15.0)
        until = time.time()
        # Some are reported a while after their end: when nobody can hide them any more.
        time.sleep(5.0)
        ended = crowd.ended(since=since, until=until)
        await_public(fleet, ended)
        end(fleet)
        counts = crowd.counts()

    tell(capsys, f"{len(ended)} ended; messages {counts['messages']}")
    assert_right(fleet.exported(), ended)
    assert sum(guest["thrown_away"] for guest in counts["guests"]) == 0
    assert fleet.status().imbalance() == 0


def await_public(fleet, ended: dict[str, dict]) -> None:
    """Wait until all that ended in public is archived, or as long as nobody should have to."""
    index = BattleIndex(fleet.client())
    public = {id for id, battle in ended.items() if battle["outcome"] == "won"}
    deadline = time.monotonic() + 120.0
    while index.known(public) != public and time.monotonic() < deadline:
        time.sleep(0.5)


def assert_right(held: list[str], ended: dict[str, dict]) -> None:
    """Hold an archive against what ended: all that is public, once, and nothing that is hidden."""
    public = {id for id, battle in ended.items() if battle["outcome"] == "won"}
    assert public
    assert sorted(public.difference(held)) == []
    assert len(held) == len(set(held))
    assert sorted((ended.keys() - public).intersection(held)) == []


@pytest.mark.parametrize(("fault", "cause"), FAULTS.values(), ids=FAULTS)
def test_a_server_that_goes_wrong_costs_no_battle_and_a_line(watchers_of, tmp_path, fault, cause):
    with crowded(tmp_path, "--live", "40", "--rate", "2", "--hide", "0", "--drop", "0") as crowd:
        fleet = watchers_of(crowd)
        worker = fleet.start()
        eventually(lambda: fleet.status().listed > 30)
        since = time.time()
        crowd.misbehave(**fault)
        time.sleep(LONG)
        until = time.time()
        crowd.misbehave(**dict.fromkeys(fault))
        eventually(lambda: "answers again" in worker.log.read_text())
        # Whatever begins while nobody can look is listed later, or never.
        ended = crowd.ended(since=since, until=until, listed=since - LISTED)
        await_public(fleet, ended)
        end(fleet)

    log = worker.log.read_text()
    said = re.findall(r"] (?:WARNING|ERROR): .*", log)
    assert ended
    assert sorted(ended.keys() - set(fleet.exported())) == []
    assert "Traceback" not in log
    assert [line for line in said if cause in line], said
    assert len(said) <= 3, said


@pytest.mark.parametrize(
    "fault",
    [{"silent": True}, {"handshake": 403}, {"join": "locked"}, {"close": "at once"}],
    ids=["silent", "403", "locked", "closed"],
)
def test_a_crawl_ends_soon_whatever_its_server_does(watchers_of, tmp_path, capsys, fault):
    with crowded(tmp_path, "--live", "40", "--rate", "2") as crowd:
        fleet = watchers_of(crowd)
        worker = fleet.start()
        eventually(lambda: fleet.status().listed > 30)
        crowd.misbehave(**fault)
        time.sleep(5.0)
        began = time.monotonic()
        worker.terminate()
        assert worker.wait(PATIENCE) == 0, tail(worker)
        seconds = time.monotonic() - began

    tell(capsys, f"{seconds:.1f} s to the end")
    # Not the 60 s that an answer may take.
    assert seconds < 20
