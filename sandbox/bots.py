"""A named user of the battle server, and what it sees of a battle."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sandbox.plan import Deed

Outcome = Literal["won", "tie", "forfeit", "abandoned", "hidden", "unfinished"]

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
    p3: str = ""
    p4: str = ""
    outcome: Outcome = "unfinished"
    """`hidden` as long as it is private, however it ended."""
    winner: str | None = None
    turns: int = 0
    started: float = field(default_factory=time.time)
    """Seconds since the epoch, as are `ended` and `done`."""
    ended: float | None = None
    deed: Deed | None = None
    """What a player did; None also when the battle was over before that."""
    done: float | None = None
    """When the deed was done; of a battle that was public again, when it was hidden."""
    public: bool = True
    """Whether guests may see it in the end."""

    def read(self, line: str) -> None:
        """Take note of what a line says; each line is read by every player."""
        kind, _, rest = line.removeprefix("|").partition("|")
        match kind:
            case "turn":
                self.turns = int(rest)
            case "player":
                self._seat(*rest.split("|")[:2])
            case "noinit" if rest.startswith("rename|"):
                self._move(rest.split("|")[1])
            case "-message" if rest.endswith(" forfeited."):
                self._turn_out("forfeit")
            case "win":
                self._end("won", rest)
            case "tie" if line == "|tie":
                self._end("tie", None)

    def abandon(self) -> None:
        self._end("abandoned", None)

    def did(self, deed: Deed) -> None:
        self.deed, self.done = deed, time.time()

    def _seat(self, slot: str, name: str = "") -> None:
        """Give a player a place; the name is empty when one leaves."""
        if name and slot in ("p1", "p2", "p3", "p4"):
            setattr(self, slot, name)

    def _move(self, room: str) -> None:
        """Go into another room: a private one has a longer name, and loses it when shown again."""
        self.public = room == self.id
        if not self.public:
            self.outcome = "hidden"
        elif self.outcome == "hidden":
            ended: Outcome = "tie" if self.winner is None else "won"
            self.outcome = "unfinished" if self.ended is None else ended

    def _turn_out(self, outcome: Outcome) -> None:
        if self.outcome == "unfinished":
            self.outcome = outcome

    def _end(self, outcome: Outcome, winner: str | None) -> None:
        if self.ended is None:
            self._turn_out(outcome)
            self.winner, self.ended = winner, time.time()


class Bot:
    """A named user of the server, who speaks no faster than the server listens."""

    def __init__(self, session: aiohttp.ClientSession, url: str, name: str) -> None:
        self.name = name
        """As the server writes it."""
        self.challenged = -CHALLENGES_APART
        self._session = session
        self._url = url
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._spoke = -_PACE
        self._speaking = asyncio.Lock()

    @classmethod
    async def enter(cls, session: aiohttp.ClientSession, url: str, name: str) -> Bot:
        """Come under a name that nobody has.

        Raises:
            ConnectionError: there is no server, or somebody has the name.

        """
        bot = cls(session, url, name)
        await bot._connect()
        return bot

    async def leave(self) -> None:
        if self._socket is not None:
            await self._socket.close()

    async def drop(self, seconds: float) -> None:
        """Lose the connection, and come back under the same name: the server knows its battles."""
        await self.leave()
        await asyncio.sleep(seconds)
        await self._connect()

    async def rest(self) -> None:
        """Wait until the server would listen."""
        await asyncio.sleep(max(0.0, self._spoke + _PACE - time.monotonic()))

    async def say(self, message: str | Callable[[], str]) -> None:
        """Say something, or what it is by then, when the server listens."""
        async with self._speaking:
            await self.rest()
            if self._socket is not None:
                await self._socket.send_str(message if isinstance(message, str) else message())
            self._spoke = time.monotonic()

    async def lines(self) -> AsyncIterator[tuple[str, str]]:
        """Read what the server says, as rooms and lines, until it goes away.

        Raises:
            ConnectionError: it went away.

        """
        while self._socket is not None:
            frame = await self._socket.receive()
            if frame.type is not aiohttp.WSMsgType.TEXT:
                raise ConnectionError("the server closed the connection")
            first, *rest = frame.data.split("\n")
            room = first.removeprefix(">") if first.startswith(">") else ""
            for line in rest if room else [first, *rest]:
                if _is_own_name(line):
                    self.name = line.split("|")[2][1:]
                yield room, line

    async def wait_for(self, wanted: Callable[[str, str], bool]) -> str:
        """Read until a line is as wanted, and return its room."""
        async for room, line in self.lines():
            if wanted(room, line):
                return room
        raise AssertionError  # pragma: no cover -- there is always a next line

    async def _connect(self) -> None:
        self._socket = await self._session.ws_connect(self._url, max_msg_size=0)
        await self.say(f"|/trn {self.name},0,")
        async for _, line in self.lines():
            if _is_own_name(line):
                return
            if line.startswith("|nametaken|"):
                raise ConnectionError(f"{self.name}: the server does not give the name")


def _is_own_name(line: str) -> bool:
    """Tell whether the server says which name we have; a guest's has a 0 behind it."""
    parts = line.split("|", 4)
    return line.startswith("|updateuser|") and parts[3:4] == ["1"]


def user_id(name: str) -> str:
    """Return what the server knows a name by.

    >>> user_id("Dr. K한국 7")
    'drk7'
    """
    return "".join(letter for letter in name.lower() if letter.isascii() and letter.isalnum())
