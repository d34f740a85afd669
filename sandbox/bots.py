"""A player of battles: what it sees of one, what it says, and what it decides at random."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import aiohttp

from sandbox.choices import choose

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from random import Random

Outcome = Literal["won", "tie", "forfeit", "abandoned", "hidden", "unfinished"]
Deed = Literal["forfeit", "abandon", "hide"]

LOST = (aiohttp.ClientError, OSError)
"""What it looks like when the server goes away, or does not answer in time."""
CHALLENGES_APART = 10.5
"""Seconds between two challenges of one player; the server takes one in 10."""
_PACE = 0.65
"""Seconds between two messages of a player; the server takes one in 0.6."""


@dataclass(slots=True)
class Battle:
    """What its players saw of a battle."""

    id: str
    """As the room was first called: the id of a battle that is hidden later has more to it."""
    format: str
    p1: str = ""
    p2: str = ""
    outcome: Outcome = "unfinished"
    winner: str | None = None
    turns: int = 0
    started: float = field(default_factory=time.time)
    """Seconds since the epoch, as is `ended`."""
    ended: float | None = None

    def read(self, line: str) -> None:
        """Take note of what a line says; each line is read by both players."""
        kind, _, rest = line.removeprefix("|").partition("|")
        match kind:
            case "turn":
                self.turns = int(rest)
            case "player":
                self._seat(*rest.split("|")[:2])
            case "noinit" if rest.startswith("rename|"):
                self.outcome = "hidden"
            case "-message" if rest.endswith(" forfeited."):
                self._turn_out("forfeit")
            case "win":
                self._end("won", rest)
            case "tie" if line == "|tie":
                self._end("tie", None)

    def abandon(self) -> None:
        self._end("abandoned", None)

    def _seat(self, slot: str, name: str = "") -> None:
        """Give a player a place; the name is empty when one leaves."""
        if name and slot in ("p1", "p2"):
            setattr(self, slot, name)

    def _turn_out(self, outcome: Outcome) -> None:
        if self.outcome == "unfinished":
            self.outcome = outcome

    def _end(self, outcome: Outcome, winner: str | None) -> None:
        if self.ended is None:
            self._turn_out(outcome)
            self.winner, self.ended = winner, time.time()


class Bot:
    """A named user of the server, who speaks no faster than the server listens."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, name: str) -> None:
        self.name = name
        self.challenged = -CHALLENGES_APART
        self._socket = socket
        self._spoke = -_PACE
        self._speaking = asyncio.Lock()

    @classmethod
    async def enter(cls, session: aiohttp.ClientSession, url: str, name: str) -> Bot:
        bot = cls(await session.ws_connect(url, max_msg_size=0), name)
        await bot.say(f"|/trn {name},0,")
        async for _, line in bot.lines():
            if line.startswith(f"|updateuser| {name}|1|"):
                break
        return bot

    async def leave(self) -> None:
        await self._socket.close()

    async def rest(self) -> None:
        """Wait until the server would listen."""
        await asyncio.sleep(max(0.0, self._spoke + _PACE - time.monotonic()))

    async def say(self, message: str) -> None:
        async with self._speaking:
            await self.rest()
            await self._socket.send_str(message)
            self._spoke = time.monotonic()

    async def lines(self) -> AsyncIterator[tuple[str, str]]:
        """Read what the server says, as rooms and lines, until it goes away.

        Raises:
            ConnectionError: it went away.

        """
        while True:
            frame = await self._socket.receive()
            if frame.type is not aiohttp.WSMsgType.TEXT:
                raise ConnectionError("the server closed the connection")
            first, *rest = frame.data.split("\n")
            room = first.removeprefix(">") if first.startswith(">") else ""
            for line in rest if room else [first, *rest]:
                yield room, line

    async def wait_for(self, wanted: Callable[[str, str], bool]) -> str:
        """Read until a line is as wanted, and return its room."""
        async for room, line in self.lines():
            if wanted(room, line):
                return room
        raise AssertionError  # pragma: no cover -- there is always a next line


class Player:
    """A bot in a battle."""

    def __init__(self, bot: Bot, battle: Battle, think: float, chance: Random) -> None:
        self._bot = bot
        self._battle = battle
        self._room = battle.id
        self._think = think
        self._chance = chance
        self._thought: asyncio.Task[None] | None = None

    async def play(self, deed: Deed | None = None, turn: int = 0) -> None:
        """Play until the end, and do the deed when its turn comes."""
        try:
            async for room, line in self._bot.lines():
                if room == self._room:
                    self._read(line)
                    if line == f"|turn|{turn}" and deed is not None:
                        await self._do(deed)
                    if self._battle.ended is not None:
                        return
        finally:
            self._forget()

    async def go(self) -> None:
        """Leave the room."""
        await self._bot.say(f"{self._room}|/leave")

    def _read(self, line: str) -> None:
        self._battle.read(line)
        if line.startswith("|noinit|rename|"):
            self._room = line.split("|")[3]
        elif line.startswith("|request|{"):
            request = json.loads(line.removeprefix("|request|"))
            self._answer(choose(request, self._chance), request.get("rqid"))
        elif line.startswith("|error|[Invalid choice]"):
            self._answer("default", None)

    def _answer(self, choice: str | None, number: int | None) -> None:
        self._forget()
        if choice is not None:
            suffix = "" if number is None else f"|{number}"
            self._thought = asyncio.create_task(self._choose(f"/choose {choice}{suffix}"))

    async def _choose(self, command: str) -> None:
        await asyncio.sleep(self._think * self._chance.uniform(0.5, 1.5))
        with suppress(*LOST):  # who reads the lines notices as well
            await self._bot.say(f"{self._room}|{command}")

    def _forget(self) -> None:
        if self._thought is not None:
            self._thought.cancel()

    async def _do(self, deed: Deed) -> None:
        match deed:
            case "forfeit":
                await self._bot.say(f"{self._room}|/forfeit")
            case "hide":
                await self._bot.say(f"{self._room}|/hideroom")
            case "abandon":
                self._battle.abandon()
