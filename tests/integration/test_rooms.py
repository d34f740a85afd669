"""Live rooms of the real battle server, through the socket and through a browser."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time

import pytest

from tests.integration.fleet import ROOT, seeded, tell
from tests.integration.live import LOOKS, playing

SECONDS = int(os.environ.get("ROOMS_SECONDS", "120" if os.environ.get("CI") else "60"))
"""How long the bots play while two crawls watch; a laptop has less time than CI."""


@pytest.fixture
def watchers_of(fleet_of, tmp_path):
    """Build a fleet that watches a battle server, with an archive and a queue of its own."""

    def build(address: str, name: str, *, client: str = "http://127.0.0.1:9", **settings: str):
        folder = tmp_path / name
        folder.mkdir()
        fleet = fleet_of("--battles", "1", folder=folder, **{**LOOKS, **settings})
        fleet.spider = "rooms"
        fleet.places = {"SHOWDOWN_SERVER_URL": address, "SHOWDOWN_CLIENT_URL": client}
        return fleet

    return build


@pytest.fixture
def client(battle_server, chromium):
    """The page that stands in for the web client."""
    assert chromium
    command = [sys.executable, "-m", "sandbox.client", battle_server]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip().removesuffix("/battles")
        process.terminate()


def archived(fleet) -> dict[str, dict]:
    """Everything that an export holds, by id; nothing is in it twice."""
    target = fleet.folder / "export.jsonl"
    fleet.run("export", "--to", str(target), check=False)
    battles = [json.loads(line) for line in target.read_text().splitlines()]
    held = {battle["id"]: battle for battle in battles}
    assert len(held) == len(battles)
    return held


def assert_whole(held: dict[str, dict], seen: dict[str, dict]) -> None:
    """Hold the archive against what the bots saw."""
    assert seen
    assert sorted(seen.keys() - held.keys()) == []
    for id, battle in seen.items():
        kept = held[id]
        assert (kept["winner"], kept["turns"]) == (battle["winner"], battle["turns"]), id
        assert re.search(r"^\|(?:win\|.*|tie)$", kept["log"], re.MULTILINE), id


def when_open(*fleets) -> float:
    """Wait until a worker of each fleet is at work, and return when that was."""
    for fleet in fleets:
        while "Spider opened" not in fleet.workers[0].log.read_text():
            time.sleep(0.1)
    return time.time()


def finish(*fleets) -> None:
    """Have fleets end when every room they know is done with."""
    for fleet in fleets:
        fleet.run("queue", "drain", "--spider", "rooms")
    for fleet in fleets:
        fleet.wait()


def stat(fleet, name: str) -> int:
    """The sum of a stat over all workers that ended."""
    logs = "".join(worker.log.read_text() for worker in fleet.workers)
    return sum(int(number) for number in re.findall(rf"'{name}': (\d+)", logs))


def test_what_ends_in_public_is_archived_once_by_socket_and_browser_alike(
    watchers_of, battle_server, client, tmp_path, capsys
):
    chance = seeded(capsys)
    socket = watchers_of(battle_server, "socket")
    pages = {"BROWSER_PAGES": "8", "ROOMS_INTERVAL": "3"}
    browser = watchers_of(battle_server, "browser", client=client, **pages)
    for _ in range(2):
        socket.start()
    browser.start("via=browser")
    since = when_open(socket, browser) + 5.0

    deeds = {"forfeit": 0.1, "abandon": 0.05, "hidereplay": 0.1, "hidelate": 0.1, "hide": 0.05}
    deeds |= {"hideshow": 0.05, "drop": 0.1, "seed": chance.randrange(10**6)}
    with playing(battle_server, tmp_path, pairs=12, seconds=SECONDS, think=0.4, **deeds) as bots:
        bots.wait()
        finish(socket, browser)

    seen = bots.ended(since=since, until=since + SECONDS)
    outcomes = {battle["outcome"] for battle in bots.played().values()}
    hidden = {id for id, battle in bots.played().items() if not battle["public"]}
    by_socket, by_browser = archived(socket), archived(browser)
    tell(
        capsys,
        f"{len(bots.played())} battles, {len(seen)} public and watched; {len(by_socket)} by "
        f"socket, {len(by_browser)} by browser; {len(hidden)} hidden; "
        f"{stat(socket, 'rooms/abandoned')} abandoned",
    )
    assert_whole(by_socket, seen)
    assert_whole(by_browser, seen)
    # The list is looked at every 3 s, whatever the pages of rooms do; a laptop may miss some.
    assert stat(browser, "rooms/looks") >= SECONDS / 6
    assert not hidden & (by_socket.keys() | by_browser.keys())
    if "abandoned" in outcomes:
        assert stat(socket, "rooms/abandoned") > 0
    assert socket.status().imbalance() == 0


@pytest.mark.usefixtures("chromium")
def test_a_page_that_loads_for_ever_does_not_keep_a_crawl_from_ending(watchers_of, capsys):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        fleet = watchers_of(
            f"ws://{address}", "end", client=f"http://{address}", ROBOTSTXT_OBEY="0"
        )
        worker = fleet.start("via=browser")
        line, _ = silent.accept()
        with line:
            assert line.recv(100).startswith(b"GET /battles ")
            began = time.monotonic()
            worker.terminate()
            worker.wait()
    seconds = time.monotonic() - began

    tell(capsys, f"{seconds:.1f} s to the end")
    # Not the 30 s that a page may take to load.
    assert seconds < 10


def test_a_killed_server_and_a_killed_worker_lose_no_room_that_is_left(
    watchers_of, own_battle_server, tmp_path
):
    address = own_battle_server.start()
    fleet = watchers_of(address, "socket", CIRCUIT_BREAKER_HOLD="2", CIRCUIT_BREAKER_ERRORS="10")
    doomed, _ = [fleet.start() for _ in range(2)]
    with playing(address, tmp_path, pairs=6, seconds=60, think=0.3) as bots:
        time.sleep(15.0)
        own_battle_server.kill()
        time.sleep(1.0)
        own_battle_server.start(int(address.split(":")[2].partition("/")[0]))
        back = time.time() + 12.0
        time.sleep(12.0)
        fleet.kill(doomed)
        fleet.start()
        bots.wait()
        until = time.time()
        finish(fleet)

    assert_whole(archived(fleet), bots.ended(since=back, until=until))
    assert fleet.status().imbalance() == 0
