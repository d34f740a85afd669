"""A bot in a battle: what it decides at random, and the deed that it does there."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING

from sandbox.bots import LOST, Battle, Bot, user_id
from sandbox.choices import choose
from sandbox.plan import LAST_STAND, TEAMS, Deed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from random import Random
    from typing import Any

_AWAY = 3.0
"""Seconds that a player whose connection ended stays away."""
_HIDDEN = 4.0
"""Seconds that a battle is hidden before it is shown again."""
_LATE = 0.5
"""Seconds after the end when a battle is hidden late."""
_SOON = 15.0
"""Seconds for the server to do what a player asked for."""
_SAID: dict[Deed, str] = {
    "forfeit": "/forfeit",
    "hide": "/hideroom",
    "hidereplay": "/hidereplay",
    "hideshow": "/hideroom",
    "timer": "/timer on",
    "offertie": "/offertie",
}
_HIDING = ("hidereplay", "hidelate", "hideshow")
"""Deeds of which the last comes when the battle may be over."""


class Player:
    """A bot in a battle."""

    def __init__(
        self,
        bot: Bot,
        battle: Battle,
        think: float,
        chance: Random,
        shown: Callable[[Battle], None] = lambda _: None,
    ) -> None:
        self._bot = bot
        self._battle = battle
        self._room = battle.id
        self._think = think
        self._chance = chance
        self._shown = shown
        self._deed: Deed | None = None
        self._spare = LAST_STAND if battle.format in TEAMS else ""
        self._stalls = self._ends = False
        self._thought: asyncio.Task[None] | None = None
        self._chosen = ""
        self._errands: set[asyncio.Task[None]] = set()

    @property
    def room(self) -> str:
        """Where the battle is by now."""
        return self._room

    async def play(self, deed: Deed | None = None, turn: int = 0) -> None:
        """Play until the end, and do the deed when its turn comes."""
        self._deed = deed
        try:
            async for room, line in self._bot.lines():
                if room == self._room:
                    self._read(line)
                    if deed is not None and _is_due(line, deed, turn, self._battle):
                        await self._do(deed)
                if self._battle.ended is not None:
                    return
        finally:
            self._forget()

    async def finish(self) -> None:
        """Do what a deed has to do after the end, and wait until it has come about."""
        deed = self._deed if self._deed == "hidelate" else self._battle.deed
        if deed == "hidelate":
            await asyncio.sleep(_LATE)
            await self._bot.say(f"{self._room}|/hideroom")
            self._battle.did(deed)
        if deed in _HIDING:
            async with asyncio.timeout(_SOON):
                await self._see(public=deed == "hideshow")

    async def go(self, room: str) -> None:
        """Leave the room."""
        for errand in self._errands:
            errand.cancel()
        await self._bot.say(f"{room}|/leave")

    async def _see(self, *, public: bool) -> None:
        """Read until guests may see the battle, or may not."""
        if self._battle.public != public:
            async for room, line in self._bot.lines():
                if room == self._room:
                    self._read(line)
                if self._battle.public == public:
                    return

    def _read(self, line: str) -> None:
        self._battle.read(line)
        if line.startswith("|noinit|rename|"):
            self._move(line.split("|")[3])
        elif line.startswith("|request|{"):
            request = json.loads(line.removeprefix("|request|"))
            choice = choose(request, self._chance, self._spare)
            if self._ends and choice is not None:
                choice = f"move {LAST_STAND}"
            self._answer(choice, request.get("rqid"))
        elif line.startswith("|error|[Invalid choice]") and not _is_settled(line):
            self._answer("default", None)
        elif line.startswith("|uhtml|offertie|"):
            self._run(self._say("/accepttie"))

    def _move(self, room: str) -> None:
        """Go on in another room; what was said on the way may have been lost."""
        self._room = room
        if self._chosen and not self._stalls:
            self._run(self._say(self._chosen))
        if self._battle.public:
            self._shown(self._battle)

    def _answer(self, choice: str | None, number: int | None) -> None:
        self._forget()
        self._chosen = ""
        if choice is not None and not self._stalls:
            suffix = "" if number is None else f"|{number}"
            self._thought = asyncio.create_task(self._choose(f"/choose {choice}{suffix}"))

    async def _choose(self, command: str) -> None:
        await asyncio.sleep(self._think * self._chance.uniform(0.5, 1.5))
        self._chosen = command
        await self._say(command)

    async def _say(self, command: str) -> None:
        with suppress(*LOST):  # who reads the lines notices as well
            await self._bot.say(lambda: f"{self._room}|{command}")

    async def _show(self) -> None:
        await asyncio.sleep(_HIDDEN)
        await self._say("/publicroom")

    def _forget(self) -> None:
        if self._thought is not None:
            self._thought.cancel()

    def _run(self, errand: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _do(self, deed: Deed) -> None:
        self._battle.did(deed)
        match deed:
            case "abandon":
                self._battle.abandon()
            case "drop":
                self._forget()
                await self._bot.drop(_AWAY)
            case "rename":
                await self._bot.say(f"|/trn {another_name(self._bot.name)},0,")
            case "tie":
                self._ends = True
            case "timer" | "offertie":
                # Who moved on would take the offer back.
                self._stalls = deed == "timer"
                self._forget()
                await self._bot.say(f"{self._room}|{_SAID[deed]}")
            case _:
                await self._bot.say(f"{self._room}|{_SAID[deed]}")
        if deed == "hideshow":
            self._run(self._show())


def _is_settled(error: str) -> bool:
    """Tell whether a choice was refused because there is one, or need be none."""
    return any(words in error for words in ("too late", "nothing to choose", "Can't undo"))


def _is_due(line: str, deed: Deed, turn: int, battle: Battle) -> bool:
    """Tell whether a deed is to be done with this line; an offer is made until it is taken."""
    if deed == "hidelate" or not line.startswith("|turn|"):
        return False
    again = deed == "offertie" and int(line.split("|")[2]) >= turn
    return again or (battle.deed is None and line == f"|turn|{turn}")


def another_name(name: str) -> str:
    """Make another name of one that nobody else has.

    >>> another_name("Dr. 7x03e8"), another_name("a9x03e8zzzzzzzzzzz")
    ('dr7x03e8r', 'a9x03e8zzzzzzzzzzr')
    """
    return f"{user_id(name)[:17]}r"
