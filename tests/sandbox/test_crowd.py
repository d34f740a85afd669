"""The crowd's server on the wire, and `python -m sandbox.crowd`."""

from __future__ import annotations

import asyncio
import io
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from scrapy import Request
from scrapy.settings import Settings

from battles.dialogue import ShowdownDialogue
from sandbox.crowd import Crowd, main
from sandbox.crowd_plan import Plan
from tests.conftest import ROOT, Clock

PATIENCE = 10.0
NOW = 1_800_000_000.0
QUIET = {"live": 300, "rate": 0.5, "hide": 0.0, "drop": 0.0, "seed": 1}


class Visit:
    """A crowd on loopback, of which the test moves the clock, and what can be said to it."""

    def __init__(self, session: aiohttp.ClientSession, **plan: object) -> None:
        self.clock = Clock(NOW)
        self.report = io.StringIO()
        self.crowd = Crowd(Plan(**QUIET | plan), self.report, clock=self.clock)
        self.session = session
        self.address = ""

    async def connect(self) -> aiohttp.ClientWebSocketResponse:
        url = f"ws{self.address.removeprefix('http')}/showdown/websocket"
        return await asyncio.wait_for(self.session.ws_connect(url), PATIENCE)

    async def counts(self) -> dict:
        async with self.session.get(f"{self.address}/counts") as response:
            return await response.json()

    async def misbehave(self, **faults: object) -> int:
        async with self.session.post(f"{self.address}/misbehave", json=faults) as response:
            return response.status

    def pass_(self, seconds: float) -> None:
        self.clock.now += seconds
        self.crowd.advance()


def visit(what: Callable[[Visit], Awaitable[object]], **plan: object) -> Visit:
    """Serve a crowd, and let the test visit it."""

    async def visited() -> Visit:
        async with aiohttp.ClientSession() as session:
            there = Visit(session, **plan)
            runner = web.AppRunner(there.crowd.app(), access_log=None, shutdown_timeout=1)
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                there.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
                await what(there)
            finally:
                await runner.cleanup()
            return there

    return asyncio.run(visited())


async def read_until(websocket: aiohttp.ClientWebSocketResponse, words: str) -> str:
    while words not in (frame := await websocket.receive_str(timeout=PATIENCE)):
        pass
    return frame


async def until(there: Visit, number: str, wanted: int) -> dict:
    """Ask for the counts until a number of connections is what it should be."""
    async with asyncio.timeout(PATIENCE):
        while (counts := await there.counts())["connections"][number] != wanted:  # noqa: ASYNC110 -- another's
            await asyncio.sleep(0.01)
    return counts


async def end_of(websocket: aiohttp.ClientWebSocketResponse) -> tuple[list[str], int | None]:
    """Read until the connection is closed, and return what was said and the code."""
    frames = []
    while (message := await websocket.receive(timeout=PATIENCE)).type is WSMsgType.TEXT:
        frames.append(message.data)
    return frames, websocket.close_code


def test_a_guest_sees_the_list_and_the_end_of_a_battle():
    async def look(there: Visit) -> None:
        websocket = await there.connect()
        await read_until(websocket, "|challstr|")
        await websocket.send_str("|/cmd roomlist ,,")
        answer = (await read_until(websocket, "|queryresponse|roomlist|")).split("|", 3)[3]
        name = next(iter(json.loads(answer)["rooms"]))
        await websocket.send_str(f"|/join {name}")
        await read_until(websocket, f">{name}\n|init|battle\n")
        there.pass_(3600.0)
        await read_until(websocket, "|win|")
        await read_until(websocket, f">{name}\n|expire|")

    there = visit(look, live=100, rate=0.2, life=60.0)

    assert len(there.report.getvalue().splitlines()) > 300


def test_what_ended_a_moment_ago_is_reported_when_the_server_ends():
    ids = []

    async def look(there: Visit) -> None:
        rooms = there.crowd._rooms._played.values()
        battle = next(room.battle for room in rooms if room.battle.min_elo is not None)
        ids.append(battle.id)
        there.pass_(battle.ended - there.clock.now)
        assert battle.id not in there.report.getvalue()

    there = visit(look)

    assert there.report.getvalue().count(f'"{ids[0]}"') == 1


def test_our_own_dialogue_lists_every_battle():
    found = []

    async def look(there: Visit) -> None:
        websocket = await there.connect()
        settings = Settings({"DOWNLOAD_TIMEOUT": PATIENCE, "ROOMS_MESSAGE_INTERVAL": 0.001})
        dialogue = ShowdownDialogue(websocket.send_str, settings)

        async def receive() -> None:
            async for message in websocket:
                dialogue.received(message.data)

        tasks = [asyncio.create_task(dialogue.run()), asyncio.create_task(receive())]
        answer = await dialogue.answer(Request("wss://server/?list&formats=gen9ou"))
        found.append(answer.json())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    there = visit(look, live=250)

    expected = there.crowd._rooms.listed("gen9ou")
    assert expected
    assert {f"battle-{id}" for id in found[0]["rooms"]} == expected.keys()


def test_what_was_asked_is_counted():
    counts = []

    async def look(there: Visit) -> None:
        first, second = await there.connect(), await there.connect()
        await first.send_str("|/cmd roomlist ,,")
        await read_until(first, "|queryresponse|")
        await second.close()
        counts.append(await until(there, "open", 1))

    visit(look)

    assert counts[0]["connections"] == {"opened": 2, "open": 1, "most": 2, "refused": 0}
    assert counts[0]["messages"] == {"roomlist": 1}
    assert counts[0]["looks"] == [NOW]
    assert counts[0]["live"] == counts[0]["listed"] == 300
    assert [guest["messages"] for guest in counts[0]["guests"]] == [1, 0]


# --- Faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status"),
    [({"handshake": 403}, 403), ({"handshake": 503}, 503), ({"handshake": "html"}, 200)],
)
def test_a_refused_handshake_has_a_status_and_ends_what_is_open(fault, status):
    async def look(there: Visit) -> None:
        earlier = await there.connect()
        assert await there.misbehave(**fault) == 200
        assert (await end_of(earlier))[1] == 1001
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await there.connect()
        assert refused.value.status == status
        assert (await there.counts())["connections"]["refused"] == 1

        await there.misbehave(handshake=None)
        await read_until(await there.connect(), "|challstr|")

    visit(look)


def test_a_connection_is_told_something_and_closed():
    async def look(there: Visit) -> None:
        earlier = await there.connect()
        await read_until(earlier, "|challstr|")
        await there.misbehave(close="at once")
        for websocket in (earlier, await there.connect()):
            [popup], code = await end_of(websocket)
            assert popup.startswith("|popup|")
            assert code == 1008

    visit(look)


def test_frames_are_sent_as_bytes():
    async def look(there: Visit) -> None:
        await there.misbehave(binary=True)
        message = await (await there.connect()).receive(timeout=PATIENCE)
        assert message.type is WSMsgType.BINARY
        assert message.data.startswith(b"|updateuser|")

    visit(look)


def test_a_silent_server_answers_no_handshake_until_it_speaks_again():
    async def look(there: Visit) -> None:
        await there.misbehave(silent=True)
        waiting = asyncio.create_task(there.connect())
        await until(there, "refused", 1)
        assert not waiting.done()

        await there.misbehave(silent=False)
        with pytest.raises(aiohttp.ClientError):
            await waiting
        await read_until(await there.connect(), "|challstr|")

    visit(look)


def test_a_silent_server_can_be_stopped():
    waiting = []

    async def look(there: Visit) -> None:
        await there.misbehave(silent=True)
        waiting.append(asyncio.create_task(there.connect()))
        await until(there, "refused", 1)

    visit(look)

    assert isinstance(waiting[0].exception(), aiohttp.WSServerHandshakeError)


def test_a_fault_that_there_is_not_is_refused():
    async def look(there: Visit) -> None:
        assert await there.misbehave(nosuch=1) == 400

    visit(look)


# --- The program ----------------------------------------------------------------------------------


def test_the_program_says_its_address_reports_and_stops(tmp_path):
    report = tmp_path / "report"
    options = ["--live", "20", "--rate", "50", "--hide", "0.2", "--life", "5", "--seed", "1"]
    command = [sys.executable, "-m", "sandbox.crowd", *options, "--report", report]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as crowd:
        address = crowd.stdout.readline().strip()
        while not report.read_text().endswith("\n"):
            assert crowd.poll() is None
        crowd.send_signal(signal.SIGTERM)
        assert crowd.wait(PATIENCE) == 0

    assert re.fullmatch(r"ws://127\.0\.0\.1:\d+/showdown/websocket", address)
    told = [json.loads(line) for line in report.read_text().splitlines()]
    assert {"id", "started", "ended", "outcome", "log"} <= told[0].keys()


def test_a_plan_that_makes_no_sense_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--hide", "2"])

    assert "hide=2.0: give a share from 0 to 1" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_refused(tmp_path, capsys):
    assert main(["--report", str(tmp_path / "none" / "report")]) == 1
    assert "--report" in capsys.readouterr().err


def test_a_port_that_is_taken_is_refused(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["--live", "1", "--rate", "0.1", "--port", port]) == 1

    assert f"--port {port}: Address already in use" in capsys.readouterr().err
