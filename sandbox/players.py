"""Players who keep a battle server busy, and report what became of each battle."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import asdict, fields
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import aiohttp

from sandbox.bots import LOST, Battle, Bot
from sandbox.deeds import Player
from sandbox.meeting import challenge, search
from sandbox.options import OptionError, writing
from sandbox.plan import Deed, Plan, players_of

if TYPE_CHECKING:
    from random import Random

_GRACE = 90.0
"""Seconds for the battles that run when no more are begun."""
_PATIENCE = 45.0
"""Seconds for the players to get into a battle."""
_BACKOFF = 1.0
"""Seconds before a lost server is tried again."""
_RUNS = count(int(time.time()))
"""What the names of a run have in common."""
_NAMES_USED_UP: tuple[Deed, ...] = ("drop", "rename")
"""Deeds after which a pair comes back under new names: the server gives few in two minutes."""


class Players:
    """All the pairs, each of which plays one battle after another."""

    def __init__(self, url: str, plan: Plan, report: TextIO, begun: TextIO | None = None) -> None:
        self.outcomes: Counter[str] = Counter()
        self._begun = begun
        self._url = url
        self._plan = plan
        self._report = report
        self._numbers = count(1)
        self._run = next(_RUNS) % 0x10000
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

    async def _pair(self, chance: Random, until: float) -> None:
        """Come and play until the time is over, again and again: under new names each time."""
        while time.monotonic() < until:
            try:
                async with AsyncExitStack() as stack:
                    await self._play_on(stack, chance, until)
            except LOST:
                await asyncio.sleep(_BACKOFF)

    async def _play_on(self, stack: AsyncExitStack, chance: Random, until: float) -> None:
        """Play at least one battle, until the names are used up or the time is over."""
        session = await stack.enter_async_context(aiohttp.ClientSession())
        bots: list[Bot] = []
        while True:
            deed = self._plan.deed(chance)
            format = self._plan.format_for(deed, chance)
            while len(bots) < players_of(format):
                bots.append(await Bot.enter(session, self._url, self._name(chance)))
                stack.push_async_callback(bots[-1].leave)
            chance.shuffle(bots)
            battle = await self._begin(bots[: players_of(format)], format, deed, chance)
            try:
                await self._play(bots[: players_of(format)], battle, deed, chance)
            finally:
                self._tell(battle)
            is_over = battle.outcome == "abandoned" or battle.deed in _NAMES_USED_UP
            if is_over or time.monotonic() > until:
                return

    def _name(self, chance: Random) -> str:
        """Make up a name that nobody had: an old one would bring the old battles back."""
        return self._plan.name(next(self._numbers), self._run, chance)

    async def _begin(
        self, bots: list[Bot], format: str, deed: Deed | None, chance: Random
    ) -> Battle:
        for bot in bots:
            await bot.rest()
        async with asyncio.timeout(_PATIENCE):
            if self._plan.is_searched(format, deed, chance):
                async with self._searching:
                    room = await search(bots, format)
            else:
                room = await challenge(bots, format)
        battle = Battle(room, format)
        self._show(battle)
        return battle

    async def _play(
        self, bots: list[Bot], battle: Battle, deed: Deed | None, chance: Random
    ) -> None:
        """Play until one of them has seen the end."""
        think = self._plan.think
        players = [Player(bot, battle, think, chance, self._show) for bot in bots]
        first, *others = players
        tasks = {asyncio.create_task(player.play()) for player in others}
        tasks.add(asyncio.create_task(first.play(deed, self._plan.turn(deed, chance))))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        if battle.outcome != "abandoned":
            await first.finish()
            await asyncio.gather(*(player.go(first.room) for player in players))

    def _show(self, battle: Battle) -> None:
        """Tell whoever listens that guests may see a battle from now on."""
        if self._begun is not None:
            told = {"id": battle.id, "started": battle.started}
            self._begun.write(f"{json.dumps(told)}\n")
            self._begun.flush()

    def _tell(self, battle: Battle) -> None:
        self.outcomes[battle.outcome] += 1
        self._report.write(f"{json.dumps(asdict(battle))}\n")
        self._report.flush()


async def _run(url: str, plan: Plan, report: TextIO, begun: TextIO | None) -> Counter[str]:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    players = Players(url, plan, report, begun)
    await players.run(stop)
    return players.outcomes


def main(arguments: list[str] | None = None) -> int:
    """Play as the arguments say, and return the exit status: 1 when there was no battle."""
    options = vars(_parser().parse_args(arguments))
    plan = Plan(**{option.name: options[option.name] for option in fields(Plan)})
    with ExitStack() as stack:
        try:
            report = _file(stack, options, "report") or sys.stdout
            begun = _file(stack, options, "begun")
        except OptionError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        outcomes = asyncio.run(_run(options["server"], plan, report, begun))
    told = ", ".join(f"{number} {outcome}" for outcome, number in sorted(outcomes.items()))
    sys.stderr.write(f"{outcomes.total()} battles: {told or 'does the server run?'}\n")
    return 0 if outcomes else 1


def _file(stack: ExitStack, options: dict[str, Any], option: str) -> TextIO | None:
    path: Path | None = options[option]
    return stack.enter_context(writing(f"--{option}", path, "w")) if path else None


_SHARES = {
    "forfeit": "share in which a player gives up",
    "abandon": "share that both players walk out of",
    "hide": "share that a player makes private",
    "hidereplay": "share that gets private in the step that ends it",
    "hidelate": "share that a player makes private 0.5 s after the end",
    "hideshow": "share that a player makes private, and public again 4 s later",
    "drop": "share in which a player's connection ends, and comes back 3 s later",
    "rename": "share in which a player takes another name",
    "tie": "share in which the last ones faint together",
    "offertie": "share in which a tie is offered and taken, after 100 turns",
    "timer": "share in which a player moves no more, and loses 15 s later",
    "odd": "share of the players who have odd names",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox.players", description=__doc__)
    add = parser.add_argument
    add("server", help="address of its websocket, as `python -m sandbox.battle_server` prints it")
    add("--pairs", type=int, default=1)
    add("--seconds", type=float, default=60.0, help="for how long battles are begun")
    add("--think", type=float, default=0.5, help="seconds for a choice, on average")
    for share, help_ in _SHARES.items():
        add(f"--{share}", type=float, default=0.0, help=help_)
    add("--rated", type=float, default=0.5, help="share that is rated")
    add("--format", default="gen9randombattle", help="one or more, with commas")
    add("--seed", type=int, help="of who does what; default: another each time")
    add("--report", type=Path, help="write each battle to this file, not to standard output")
    add("--begun", type=Path, help="write to this file which battles begin, or are shown again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
