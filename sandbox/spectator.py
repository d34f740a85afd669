"""A spectator of a battle server who misses nothing: what a crawl is held against.

It has as many guests as it needs to enter each battle at once. It learns of battles from what
`python -m sandbox.players --begun FILE` writes, or else asks for the list each second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import aiohttp

from sandbox.options import OptionError, writing
from sandbox.watched import Watched, split_frame

if TYPE_CHECKING:
    from collections.abc import Callable

_PACE = 0.65
"""Seconds between two messages of a guest; the server takes one in 0.6."""
_ROOMS = 50
"""That a guest is in at a time."""
_ASK = 1.0
"""Seconds between two questions for the list."""
_LOOK = 0.1
"""Seconds between two looks at what the players wrote, and at what is settled."""
_BACKOFF = 1.0
"""Seconds before a lost server is tried again."""
_LOST = (aiohttp.ClientError, OSError)
_LIST = "|queryresponse|roomlist|"
_SOON, _SOMETIME = 0, 1
"""Joining is urgent, leaving is not."""


class Guest:
    """One connection, unnamed, which says no more than the server takes."""

    def __init__(self, url: str, heard: Callable[[str], None]) -> None:
        self.rooms: set[str] = set()
        """Those it is in, or about to enter."""
        self._url = url
        self._heard = heard
        self._is_idle = True
        self._numbers = count()
        self._messages: asyncio.PriorityQueue[tuple[int, int, str]] = asyncio.PriorityQueue()

    def has_time(self) -> bool:
        """Tell whether it can enter one more room at once."""
        return self._is_idle and self._messages.empty() and len(self.rooms) < _ROOMS

    def join(self, room: str) -> None:
        self.rooms.add(room)
        self.say(f"|/join {room}")

    def leave(self, room: str) -> None:
        self.rooms.discard(room)
        self.say(f"|/leave {room}", _SOMETIME)

    def say(self, message: str, urgency: int = _SOON) -> None:
        self._messages.put_nowait((urgency, next(self._numbers), message))

    async def run(self) -> None:
        """Speak and listen until the connection ends."""
        with suppress(*_LOST):
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(self._url, max_msg_size=0) as socket,
            ):
                speaking = asyncio.create_task(self._speak(socket))
                try:
                    async for frame in socket:
                        if frame.type is aiohttp.WSMsgType.TEXT:
                            self._heard(frame.data)
                finally:
                    speaking.cancel()

    async def _speak(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        with suppress(*_LOST):  # who listens notices as well
            while True:
                message = (await self._messages.get())[2]
                self._is_idle = False
                await socket.send_str(message)
                await asyncio.sleep(_PACE)
                self._is_idle = True


class Spectator:
    """All the guests, and what they saw."""

    def __init__(self, url: str, report: TextIO, clock: Callable[[], float] = time.time) -> None:
        self._url = url
        self._report = report
        self._clock = clock
        self._watched: dict[str, Watched] = {}
        self._done: set[str] = set()
        self._guests: dict[Guest, asyncio.Task[None]] = {}

    @property
    def reported(self) -> int:
        """How many battles were reported."""
        return len(self._done)

    async def run(self, stop: asyncio.Event, begun: TextIO | None = None) -> None:
        """Watch until told to stop; then report also what is not over."""
        learning = asyncio.create_task(self._follow(begun) if begun else self._ask())
        try:
            while not stop.is_set():
                self._sweep()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _LOOK)
        finally:
            tasks = [learning, *self._guests.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for id in list(self._watched):
                self._tell(id)

    def learn(self, id: str) -> None:
        """Have a guest enter a battle, unless one is there or waits to be let in."""
        watched = self._watched.get(id)
        if id in self._done or (watched and watched.state in ("asked", "inside")):
            return
        if watched is None:
            self._watched[id] = Watched(id, self._clock())
        else:
            watched.state = "asked"
        self._enter(id)

    def heard(self, frame: str) -> None:
        """Take what the server said to a guest."""
        room, lines = split_frame(frame)
        if room in self._watched:
            self._watched[room].read(lines, self._clock())
        elif not room and lines[0].startswith(_LIST):
            for id in json.loads(lines[0].removeprefix(_LIST))["rooms"]:
                self.learn(id)

    def _enter(self, id: str) -> None:
        for guest in self._guests:
            guest.rooms.discard(id)
        ready = next((guest for guest in self._guests if guest.has_time()), None)
        (ready or self._come()).join(id)

    def _come(self) -> Guest:
        """Have one more guest."""
        guest = Guest(self._url, self.heard)
        self._guests[guest] = asyncio.create_task(self._stay(guest))
        return guest

    async def _stay(self, guest: Guest) -> None:
        """Be there until the connection ends; then another guest enters the rooms."""
        await guest.run()
        await asyncio.sleep(_BACKOFF)
        del self._guests[guest]
        for id in guest.rooms & self._watched.keys():
            watched = self._watched[id]
            if watched.state in ("asked", "inside"):
                watched.lost += 1
                watched.state = "asked"
                self._enter(id)

    def _sweep(self) -> None:
        """Report and leave what is settled."""
        now = self._clock()
        for id in [id for id, watched in self._watched.items() if watched.is_settled(now)]:
            for guest in self._guests:
                if id in guest.rooms:
                    guest.leave(id)
            self._tell(id)

    def _tell(self, id: str) -> None:
        self._done.add(id)
        told = self._watched.pop(id).told_as_json()
        self._report.write(f"{json.dumps(told)}\n")
        self._report.flush()

    async def _follow(self, begun: TextIO) -> None:
        """Learn of the battles that the players write into a file, while they write."""
        rest = ""
        while True:
            *lines, rest = (rest + begun.read()).split("\n")
            for line in lines:
                self.learn(json.loads(line)["id"])
            await asyncio.sleep(_LOOK)

    async def _ask(self) -> None:
        """Learn of the battles on the server's list, which shows a hundred."""
        while True:
            asker = Guest(self._url, self.heard)
            asking = asyncio.create_task(self._repeat(asker))
            try:
                await asker.run()
            finally:
                asking.cancel()
            await asyncio.sleep(_BACKOFF)

    async def _repeat(self, asker: Guest) -> None:
        while True:
            asker.say("|/cmd roomlist ")
            await asyncio.sleep(_ASK)


async def _run(url: str, report: TextIO, begun: TextIO | None, seconds: float | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if seconds is not None:
        loop.call_later(seconds, stop.set)
    spectator = Spectator(url, report)
    await spectator.run(stop, begun)
    return spectator.reported


def main(arguments: list[str] | None = None) -> int:
    """Watch as the arguments say, and return the exit status: 1 when nothing was seen."""
    options = _parser().parse_args(arguments)
    with ExitStack() as stack:
        try:
            report = stack.enter_context(writing("--report", options.report, "w"))
            begun = options.begun and stack.enter_context(writing("--begun", options.begun, "a+"))
        except OptionError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        if begun:
            begun.seek(0)
        reported = asyncio.run(_run(options.server, report, begun, options.seconds))
    sys.stderr.write(f"{reported} battles watched\n")
    return 0 if reported else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox.spectator", description=__doc__)
    add = parser.add_argument
    add("server", help="address of its websocket, as `python -m sandbox.battle_server` prints it")
    add("--report", type=Path, required=True, help="write each battle to this file")
    add("--begun", type=Path, help="what the players write; default: ask for the server's list")
    add("--seconds", type=float, help="for how long; default: until told to stop")
    return parser


if __name__ == "__main__":
    sys.exit(main())
