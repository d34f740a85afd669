"""Players who keep a battle server busy, and report what became of each battle."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import asdict, dataclass, fields
from itertools import count
from pathlib import Path
from typing import Any, TextIO

import aiohttp

from sandbox.bots import CHALLENGES_APART, LOST, Battle, Bot, Deed, Player
from sandbox.options import OptionError, writing

_GRACE = 90.0
"""Seconds for the battles that run when no more are begun."""
_PATIENCE = 30.0
"""Seconds for two players to get into a battle."""
_BACKOFF = 1.0
"""Seconds before a lost server is tried again."""
_LAST_TURN_FOR_DEEDS = 6
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
"""What names begin with, so that a list of battles can be split by it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is played, and how; shares are from 0 to 1."""

    pairs: int = 1
    seconds: float = 60.0
    """For how long battles are begun."""
    think: float = 0.5
    """Seconds for a choice, on average."""
    forfeit: float = 0.0
    """Share of the battles in which a player gives up."""
    abandon: float = 0.0
    """Share that both players walk out of."""
    hide: float = 0.0
    """Share that a player makes private."""
    rated: float = 0.5
    """Share found by `/search`; the others are challenges."""
    format: str = "gen9randombattle"
    """One or more, with commas; only those that need no team."""
    seed: int | None = None
    """Of who does what; None for another each time."""

    def __post_init__(self) -> None:
        if not 0 <= self.forfeit + self.abandon + self.hide <= 1:
            raise ValueError("forfeit, abandon and hide: give shares of at most 1 in all")

    def deed(self, chance: random.Random) -> Deed | None:
        """Draw what happens in a battle."""
        shares = (self.forfeit, self.abandon, self.hide)
        deeds: tuple[Deed | None, ...] = ("forfeit", "abandon", "hide", None)
        return chance.choices(deeds, [*shares, 1 - sum(shares)])[0]

    def chance(self, pair: int) -> random.Random:
        """Return what a pair's decisions are drawn from."""
        return random.Random(None if self.seed is None else f"{self.seed} {pair}")  # noqa: S311 -- play


class Players:
    """All the pairs, each of which plays one battle after another."""

    def __init__(self, url: str, plan: Plan, report: TextIO) -> None:
        self.outcomes: Counter[str] = Counter()
        self._url = url
        self._plan = plan
        self._report = report
        self._numbers = count(1)
        self._run = int(time.time()) % 0x10000
        # One pair at a time searches, so that it finds itself.
        self._searching = asyncio.Lock()

    async def run(self, stop: asyncio.Event) -> None:
        """Play as planned, or until told to stop."""
        until = time.monotonic() + self._plan.seconds
        chances = map(self._plan.chance, range(self._plan.pairs))
        everyone = asyncio.gather(*(self._pair(chance, until) for chance in chances))
        told = asyncio.create_task(stop.wait())
        waiting: set[asyncio.Future[Any]] = {everyone, told}
        limit = self._plan.seconds + _GRACE
        await asyncio.wait(waiting, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        everyone.cancel()
        with suppress(asyncio.CancelledError):
            await everyone

    async def _pair(self, chance: random.Random, until: float) -> None:
        """Come and play until the time is over, again and again: under new names each time."""
        while time.monotonic() < until:
            try:
                async with AsyncExitStack() as stack:
                    await self._play_on(stack, chance, until)
            except LOST:
                await asyncio.sleep(_BACKOFF)

    async def _play_on(self, stack: AsyncExitStack, chance: random.Random, until: float) -> None:
        """Play at least one battle, until one is abandoned or the time is over."""
        session = await stack.enter_async_context(aiohttp.ClientSession())
        bots = []
        for _ in "12":
            bots.append(await Bot.enter(session, self._url, self._name()))
            stack.push_async_callback(bots[-1].leave)
        while True:
            chance.shuffle(bots)
            battle = await self._begin(bots, chance)
            try:
                await self._play(bots, battle, chance)
            finally:
                self._tell(battle)
            if battle.outcome == "abandoned" or time.monotonic() > until:
                return

    def _name(self) -> str:
        """Make up a name that nobody had: an old one would bring the old battles back."""
        number = next(self._numbers)
        return f"{_LETTERS[number % len(_LETTERS)]}{number}x{self._run:04x}"

    async def _begin(self, bots: list[Bot], chance: random.Random) -> Battle:
        format = chance.choice(self._plan.format.split(","))
        for bot in bots:
            await bot.rest()
        async with asyncio.timeout(_PATIENCE):
            if chance.random() < self._plan.rated:
                rooms = await self._search(bots, format)
            else:
                rooms = await _challenge(bots, format)
        return Battle(rooms[0], format)

    async def _search(self, bots: list[Bot], format: str) -> list[str]:
        async with self._searching:
            for bot in bots:
                await bot.say(f"|/search {format}")
            return await _rooms(bots)

    async def _play(self, bots: list[Bot], battle: Battle, chance: random.Random) -> None:
        """Play until one of the two has seen the end."""
        players = [Player(bot, battle, self._plan.think, chance) for bot in bots]
        deed, turn = self._plan.deed(chance), chance.randint(1, _LAST_TURN_FOR_DEEDS)
        tasks = {
            asyncio.create_task(players[0].play(deed, turn)),
            asyncio.create_task(players[1].play()),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        if battle.outcome != "abandoned":
            await asyncio.gather(*(player.go() for player in players))

    def _tell(self, battle: Battle) -> None:
        self.outcomes[battle.outcome] += 1
        self._report.write(f"{json.dumps(asdict(battle))}\n")
        self._report.flush()


async def _challenge(bots: list[Bot], format: str) -> list[str]:
    one, other = bots
    await asyncio.sleep(max(0.0, one.challenged + CHALLENGES_APART - time.monotonic()))
    await one.say(f"|/challenge {other.name}, {format}")
    one.challenged = time.monotonic()
    await other.wait_for(lambda _, line: line.startswith(f"|pm| {one.name}| {other.name}|/chal"))
    await other.say(f"|/accept {one.name}")
    return await _rooms(bots)


async def _rooms(bots: list[Bot]) -> list[str]:
    """Wait until each bot is in a battle."""
    return [await bot.wait_for(lambda _, line: line == "|init|battle") for bot in bots]


async def _run(url: str, plan: Plan, report: TextIO) -> Counter[str]:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    players = Players(url, plan, report)
    await players.run(stop)
    return players.outcomes


def main(arguments: list[str] | None = None) -> int:
    """Play as the arguments say, and return the exit status: 1 when there was no battle."""
    options = vars(_parser().parse_args(arguments))
    plan = Plan(**{option.name: options[option.name] for option in fields(Plan)})
    with ExitStack() as stack:
        path = options["report"]
        try:
            report = stack.enter_context(writing("--report", path, "w")) if path else sys.stdout
        except OptionError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        outcomes = asyncio.run(_run(options["server"], plan, report))
    told = ", ".join(f"{number} {outcome}" for outcome, number in sorted(outcomes.items()))
    sys.stderr.write(f"{outcomes.total()} battles: {told or 'does the server run?'}\n")
    return 0 if outcomes else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox.players", description=__doc__)
    add = parser.add_argument
    add("server", help="address of its websocket, as `python -m sandbox.battle_server` prints it")
    add("--pairs", type=int, default=1)
    add("--seconds", type=float, default=60.0, help="for how long battles are begun")
    add("--think", type=float, default=0.5, help="seconds for a choice, on average")
    add("--forfeit", type=float, default=0.0, help="share in which a player gives up")
    add("--abandon", type=float, default=0.0, help="share that both players walk out of")
    add("--hide", type=float, default=0.0, help="share that a player makes private")
    add("--rated", type=float, default=0.5, help="share that is rated")
    add("--format", default="gen9randombattle", help="one or more, with commas")
    add("--seed", type=int, help="of who does what; default: another each time")
    add("--report", type=Path, help="write each battle to this file, not to standard output")
    return parser


if __name__ == "__main__":
    sys.exit(main())
