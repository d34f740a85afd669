"""A spectator, at a server that is made for it."""

from __future__ import annotations

import asyncio
import io
import json

import pytest
from aiohttp import web

from sandbox.spectator import Spectator
from sandbox.watched import STAY

LOG = "|init|battle\n|title|Ann vs. Bob\n|turn|1"


class Rooms:
    """A server that lets guests in, and takes note of what each says."""

    def __init__(self) -> None:
        self.guests: list[web.WebSocketResponse] = []
        self.said: list[tuple[int, str]] = []
        self.listed: list[str] = []

    async def answer(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        number = len(self.guests)
        self.guests.append(socket)
        async for frame in socket:
            self.said.append((number, frame.data))
            command, _, room = frame.data.removeprefix("|").partition(" ")
            if command == "/join":
                await socket.send_str(f">{room}\n{LOG}")
            elif command == "/cmd":
                rooms = json.dumps({"rooms": {id: {} for id in self.listed}})
                await socket.send_str(f"|queryresponse|roomlist|{rooms}")
        return socket

    async def until(self, number: int, words: str) -> None:
        """Wait until something was said so many times."""
        while sum(words in said for _, said in self.said) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    def joined(self) -> list[int]:
        return [guest for guest, said in self.said if said.startswith("|/join ")]


@pytest.fixture
def watch(serving, clock):
    """Let a spectator watch while something happens, and return its report."""

    def watched(happens, begun: io.StringIO | None = None) -> list[dict]:
        report = io.StringIO()

        async def run() -> None:
            rooms, stop = Rooms(), asyncio.Event()
            app = web.Application()
            app.add_routes([web.get("/", rooms.answer)])
            async with asyncio.timeout(30), serving(app) as server:
                spectator = Spectator(f"ws://{server}/", report, clock)
                running = asyncio.create_task(spectator.run(stop, begun))
                await happens(spectator, rooms)
                stop.set()
                await running

        asyncio.run(run())
        return [json.loads(line) for line in report.getvalue().splitlines()]

    return watched


def test_battles_on_the_list_are_entered(watch):
    async def happens(_, rooms: Rooms) -> None:
        rooms.listed = ["battle-gen9ou-1"]
        await rooms.until(1, "/join battle-gen9ou-1")
        await asyncio.sleep(0.05)

    (told,) = watch(happens)

    assert (told["id"], told["log"], told["outcome"]) == ("battle-gen9ou-1", "|turn|1", "none")


def test_battles_that_the_players_tell_of_are_entered_once(watch):
    begun = io.StringIO('{"id": "battle-gen9ou-1", "started": 1}\n' * 2 + '{"id": "battle-gen')

    async def happens(_, rooms: Rooms) -> None:
        await rooms.until(1, "/join")
        begun.write('9ou-2", "started": 2}\n')
        begun.seek(begun.tell() - len('9ou-2", "started": 2}\n'))
        await rooms.until(2, "/join")

    assert len(watch(happens, begun)) == 2


def test_each_battle_is_entered_at_once_by_a_guest_with_time(watch):
    joined = []

    async def happens(spectator: Spectator, rooms: Rooms) -> None:
        for number in range(3):
            spectator.learn(f"battle-gen9ou-{number}")
        await rooms.until(3, "/join")
        joined.extend(rooms.joined())

    watch(happens, io.StringIO())

    assert sorted(joined) == [0, 1, 2]


def test_a_battle_is_left_and_reported_a_while_after_its_end(watch, clock):
    async def happens(spectator: Spectator, rooms: Rooms) -> None:
        spectator.learn("battle-gen9ou-1")
        await rooms.until(1, "/join")
        await rooms.guests[0].send_str(">battle-gen9ou-1\n|win|Ann")
        while not spectator.reported:
            clock.now += STAY
            await asyncio.sleep(0.05)
        await rooms.until(1, "/leave battle-gen9ou-1")
        spectator.learn("battle-gen9ou-1")

    (told,) = watch(happens, io.StringIO())

    assert (told["outcome"], told["winner"]) == ("won", "Ann")


def test_a_battle_that_is_shown_again_is_entered_again(watch):
    async def happens(spectator: Spectator, rooms: Rooms) -> None:
        spectator.learn("battle-gen9ou-1")
        await rooms.until(1, "/join")
        await rooms.guests[0].send_str(">battle-gen9ou-1\n|deinit")
        while len(rooms.joined()) == 1:
            spectator.learn("battle-gen9ou-1")
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)

    (told,) = watch(happens, io.StringIO())

    assert [away["how"] for away in told["sent_away"]] == ["deinit"]
    assert not told["hidden"]


def test_another_guest_enters_when_one_is_lost(watch):
    async def happens(spectator: Spectator, rooms: Rooms) -> None:
        spectator.learn("battle-gen9ou-1")
        await rooms.until(1, "/join")
        await rooms.guests[0].close()
        await rooms.until(2, "/join")

    (told,) = watch(happens, io.StringIO())

    assert told["lost"] == 1
