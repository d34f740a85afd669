"""How bots get into a battle with each other: by searching, by a challenge, by an invitation."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from sandbox.bots import CHALLENGES_APART, Bot, user_id
from sandbox.plan import TEAMS

if TYPE_CHECKING:
    from collections.abc import Sequence

_SEATS = ("p3", "p4")


async def search(bots: Sequence[Bot], format: str) -> str:
    """Have all of them search, and return the room; nobody else may search for this format."""
    await _take_teams(bots, format)
    for bot in bots:
        await bot.say(f"|/search {format}")
    return (await _rooms(bots))[0]


async def challenge(bots: Sequence[Bot], format: str) -> str:
    """Have the first challenge the second and invite the others, and return the room."""
    one, other, *more = bots
    await _take_teams(bots, format)
    await asyncio.sleep(max(0.0, one.challenged + CHALLENGES_APART - time.monotonic()))
    await one.say(f"|/challenge {other.name}, {format}")
    one.challenged = time.monotonic()
    await _asked(other, one)
    await other.say(f"|/accept {one.name}")
    room = (await _rooms([one, other]))[0]
    for bot, seat in zip(more, _SEATS, strict=False):
        await one.say(f"{room}|/invitebattle {bot.name}, {seat}")
        await _asked(bot, one)
        await bot.say(f"|/acceptbattle {user_id(one.name)}")
        await _rooms([bot])
    return room


async def _asked(bot: Bot, by: Bot) -> None:
    """Wait until one was challenged, or invited, by another."""
    said = f"|pm| {by.name}| {bot.name}|/challenge "
    await bot.wait_for(lambda _, line: line.startswith(said))


async def _rooms(bots: Sequence[Bot]) -> list[str]:
    """Wait until each bot is in a battle."""
    return [await bot.wait_for(lambda _, line: line == "|init|battle") for bot in bots]


async def _take_teams(bots: Sequence[Bot], format: str) -> None:
    """Tell the server whom they bring, to formats that bring nobody themselves."""
    if format in TEAMS:
        await asyncio.gather(*(bot.say(f"|/utm {TEAMS[format]}") for bot in bots))
