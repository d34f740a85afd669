"""Players on the real battle server."""

from __future__ import annotations

import asyncio
import io
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from sandbox.players import Plan, Players, main

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0
QUICK = "gen9challengecup1v1"
"""A format of few turns."""
NO_SERVER = "ws://127.0.0.1:9/showdown/websocket"


class Guest:
    """An unnamed guest of the server."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        self._websocket = websocket

    async def read_until(self, words: str) -> str:
        """Read until a frame has the words, and return it."""
        while words not in (frame := await self._websocket.receive_str(timeout=PATIENCE)):
            pass
        return frame

    async def ask(self, command: str) -> dict:
        await self._websocket.send_str(f"|/cmd {command}")
        answer = await self.read_until("|queryresponse|")
        await asyncio.sleep(0.65)  # the server's throttle
        return json.loads(answer.split("|", 3)[3])

    async def say(self, message: str) -> None:
        await self._websocket.send_str(message)

    async def battles(self, format: str) -> dict:
        """Ask for the list of battles until there are some."""
        while not (rooms := (await self.ask(f"roomlist {format}"))["rooms"]):
            pass
        return rooms


def visit(address: str, what) -> object:
    """Let a guest do something."""

    async def visited() -> object:
        async with aiohttp.ClientSession() as session, session.ws_connect(address) as websocket:
            return await asyncio.wait_for(what(Guest(websocket)), PATIENCE)

    return asyncio.run(visited())


def play(address: str, **plan: object) -> list[dict]:
    """Let each pair play one battle, unless told otherwise, and return the report."""
    report = io.StringIO()

    async def played() -> None:
        players = Players(address, Plan(**{"seconds": 0.1, "think": 0.0} | plan), report)
        await asyncio.wait_for(players.run(asyncio.Event()), PATIENCE)

    asyncio.run(played())
    return [json.loads(line) for line in report.getvalue().splitlines()]


@pytest.mark.parametrize("rated", [0.0, 1.0], ids=["challenge", "search"])
def test_a_battle_is_played_to_its_end(battle_server, rated):
    (battle,) = play(battle_server, format=QUICK, rated=rated)

    assert battle["outcome"] in {"won", "tie"}
    assert battle["winner"] in {battle["p1"], battle["p2"], None}
    assert battle["id"].startswith(f"battle-{QUICK}-")
    assert battle["turns"] > 0
    assert battle["started"] < battle["ended"]


def test_pairs_play_doubles_among_themselves(battle_server):
    battles = play(battle_server, pairs=3, format="gen9randomdoublesbattle", forfeit=1.0, seed=1)

    assert {battle["outcome"] for battle in battles} <= {"forfeit", "won"}
    assert len({name for battle in battles for name in (battle["p1"], battle["p2"])}) == 6


def test_a_player_gives_up(battle_server):
    (battle,) = play(battle_server, forfeit=1.0, seed=1)

    assert battle["outcome"] == "forfeit"
    assert battle["winner"] in {battle["p1"], battle["p2"]}


def test_an_abandoned_battle_stays_on_the_list(battle_server):
    (battle,) = play(battle_server, abandon=1.0, seed=1, format="gen7randombattle")

    listed = visit(battle_server, lambda guest: guest.ask("roomlist gen7randombattle"))

    assert battle["outcome"] == "abandoned"
    assert list(listed["rooms"]) == [battle["id"]]


@pytest.fixture
def playing(battle_server, tmp_path):
    """Play in another process, and read its report when it was told to stop."""
    path = tmp_path / "report.jsonl"
    command = [sys.executable, "-m", "sandbox.players", battle_server, "--report", str(path)]
    processes = []

    def start(*arguments: str):
        processes.append(subprocess.Popen([*command, *arguments], cwd=ROOT))
        return stop

    def stop() -> list[dict]:
        processes[-1].send_signal(signal.SIGTERM)
        assert processes[-1].wait(PATIENCE) == 0
        return [json.loads(line) for line in path.read_text().splitlines()]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_a_battle_is_hidden_from_guests(battle_server, playing):
    stop = playing("--format", "gen6randombattle", "--hide", "1", "--think", "0.5", "--seed", "1")

    async def watch(guest: Guest) -> tuple[str, dict]:
        (id,) = await guest.battles("gen6randombattle")
        await guest.say(f"|/join {id}")
        await guest.read_until(f">{id}\n|deinit")
        return id, await guest.ask("roomlist gen6randombattle")

    id, listed = visit(battle_server, watch)
    (battle,) = stop()

    assert (battle["id"], battle["outcome"]) == (id, "hidden")
    assert listed["rooms"] == {}


def test_players_who_are_told_to_stop_report_what_they_had_begun(battle_server, playing):
    stop = playing("--format", "gen5randombattle", "--think", "1000")

    (id,) = visit(battle_server, lambda guest: guest.battles("gen5randombattle"))
    (battle,) = stop()

    assert (battle["id"], battle["outcome"], battle["ended"]) == (id, "unfinished", None)


def test_players_return_to_a_server_that_was_gone(own_battle_server):
    address = own_battle_server.start()
    report = io.StringIO()

    async def listed(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(address) as websocket:
            await Guest(websocket).battles("")

    async def played() -> None:
        stop = asyncio.Event()
        players = Players(address, Plan(think=1000), report)
        async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
            run = asyncio.create_task(players.run(stop))
            await listed(session)
            own_battle_server.kill()
            await asyncio.to_thread(own_battle_server.start, urlsplit(address).port)
            await listed(session)
            stop.set()
            await run

    asyncio.run(played())

    outcomes = [json.loads(line)["outcome"] for line in report.getvalue().splitlines()]
    assert outcomes == ["unfinished", "unfinished"]


def test_without_a_server_nothing_is_played(capsys):
    assert main([NO_SERVER, "--seconds", "0.1"]) == 1

    assert capsys.readouterr().err == "0 battles: does the server run?\n"


def test_deeds_have_their_shares():
    plan, chance = Plan(forfeit=0.1, abandon=0.2, hide=0.3), random.Random(1)

    counts = Counter(plan.deed(chance) for _ in range(2000))

    assert counts["forfeit"] == pytest.approx(200, abs=50)
    assert counts["abandon"] == pytest.approx(400, abs=70)
    assert counts["hide"] == pytest.approx(600, abs=80)


def test_shares_beyond_1_are_refused():
    with pytest.raises(ValueError, match="at most 1 in all"):
        Plan(forfeit=0.5, hide=0.6)


def test_the_same_seed_gives_each_pair_the_same_chance():
    one, again, another = (Plan(seed=7).chance(pair).random() for pair in (1, 1, 2))

    assert one == again != another
