"""A stand-in for the battle server with thousands of battles, which speaks as the real one does.

The real one plays each battle, and two cores play some hundred at once. Here a battle is a place in
a heap, and its log is made up when somebody reads it. What guests see is the same: the lists, the
logs, the frames, the budget of messages, the limit of rooms.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, fields
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeAlias

from aiohttp import WSCloseCode, WSMsgType, web

from sandbox.crowd_guest import Guest, Premises
from sandbox.crowd_plan import Plan
from sandbox.crowd_rooms import Rooms
from sandbox.misbehave import GARBAGE
from sandbox.options import OptionError, port, writing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_HOST = "127.0.0.1"
_PATH = "/showdown/websocket"
_PULSE = 0.05
"""Seconds between two looks at what has happened."""
_LARGEST = 100 * 1024
"""Bytes of a message."""
_BANNED = "|popup|You have been banned: your network has opened too many connections."
_PATIENCE = 2.0
"""Seconds for connections to end."""

Outgoing: TypeAlias = "asyncio.Queue[str | int]"
"""Frames, and the code that closes the connection."""


class Crowd:
    """The server. GET /counts tells what was asked of it, and POST /misbehave has it go wrong.

    A fault that keeps everybody out (`handshake`, `close`, `silent`) also ends what is open.
    """

    def __init__(
        self,
        plan: Plan,
        report: TextIO | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take where each battle is reported when it is over, and the seconds since the epoch."""
        self._rooms = Rooms(plan, clock(), report)
        self._premises = Premises(self._rooms, _call_later, clock)
        self._outgoing: set[Outgoing] = set()
        """One for each connection."""
        self._heard = asyncio.Event()
        """Set when those who wait for an answer shall wait no longer."""

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get(_PATH, self._connect),
                web.get("/counts", self._count),
                web.get("/misbehave", self._tell),
                web.post("/misbehave", self._misbehave),
            ]
        )
        app.cleanup_ctx.append(self._live)
        app.on_shutdown.append(self._end)
        return app

    def advance(self) -> None:
        """Have everything happen up to now."""
        self._rooms.advance(self._premises.clock())

    async def _live(self, _app: web.Application) -> AsyncIterator[None]:
        pulse = asyncio.create_task(self._beat())
        yield
        pulse.cancel()
        with suppress(asyncio.CancelledError):
            await pulse
        self.advance()
        self._rooms.close()

    async def _beat(self) -> None:
        while True:
            self.advance()
            await asyncio.sleep(_PULSE)

    async def _end(self, _app: web.Application) -> None:
        self._heard.set()
        self._close_all(WSCloseCode.GOING_AWAY)

    # --- Connections ------------------------------------------------------------------------------

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        faults = self._premises.faults
        if faults.silent or faults.handshake:
            self._premises.counts.refused += 1
            return await self._refuse()
        socket = web.WebSocketResponse(compress=False, max_msg_size=_LARGEST, timeout=_PATIENCE)
        await socket.prepare(request)
        outgoing: Outgoing = asyncio.Queue()
        guest = self._admit(outgoing)
        if faults.close:
            self._close(outgoing, WSCloseCode.POLICY_VIOLATION)
        else:
            guest.greet()
        listening = asyncio.create_task(_listen(socket, guest, outgoing))
        try:
            code = await self._write(socket, outgoing)
        finally:
            self._outgoing.discard(outgoing)
            guest.leave()
            listening.cancel()
            await asyncio.wait([listening])
        # Not while somebody listens, who would get the other side's answer.
        await socket.close(code=code)
        return socket

    def _admit(self, outgoing: Outgoing) -> Guest:
        counts = self._premises.counts
        guest = Guest(self._premises, outgoing.put_nowait)
        self._outgoing.add(outgoing)
        counts.guests.append(guest)
        counts.most = max(counts.most, len(self._outgoing))
        return guest

    async def _refuse(self) -> web.StreamResponse:
        if self._premises.faults.silent:
            await self._heard.wait()
        status = self._premises.faults.handshake or HTTPStatus.SERVICE_UNAVAILABLE
        if status == "html":
            return web.Response(body=GARBAGE, content_type="text/html")
        return web.Response(status=int(status), text="Not now.\n")

    async def _write(self, socket: web.WebSocketResponse, outgoing: Outgoing) -> int:
        """Send frames until there is a code with which to close the connection."""
        try:
            while isinstance(frame := await outgoing.get(), str):
                if self._premises.faults.binary:
                    await socket.send_bytes(frame.encode())
                else:
                    await socket.send_str(frame)
        except ConnectionError:
            return WSCloseCode.ABNORMAL_CLOSURE
        return frame

    def _close(self, outgoing: Outgoing, code: int) -> None:
        if code == WSCloseCode.POLICY_VIOLATION:
            outgoing.put_nowait(_BANNED)
        outgoing.put_nowait(code)

    def _close_all(self, code: int) -> None:
        for outgoing in self._outgoing:
            self._close(outgoing, code)

    # --- What tests ask ---------------------------------------------------------------------------

    async def _count(self, _request: web.Request) -> web.Response:
        self.advance()
        counts = self._premises.counts
        connections = {
            "opened": len(counts.guests),
            "open": counts.open,
            "most": counts.most,
            "refused": counts.refused,
        }
        return web.json_response(
            {
                **self._rooms.numbers(),
                "connections": connections,
                "messages": counts.messages,
                "looks": counts.looks,
                "guests": [guest.numbers() for guest in counts.guests],
            }
        )

    async def _tell(self, _request: web.Request) -> web.Response:
        return web.json_response(asdict(self._premises.faults))

    async def _misbehave(self, request: web.Request) -> web.Response:
        try:
            faults = self._premises.faults.changed(await request.json())
        except ValueError as error:
            return web.Response(status=400, text=f"{error}\n")
        self._premises.faults = faults
        if faults.silent:
            self._heard.clear()
        else:
            self._heard.set()
        if faults.is_shut:
            banned, away = WSCloseCode.POLICY_VIOLATION, WSCloseCode.GOING_AWAY
            self._close_all(banned if faults.close else away)
        return web.json_response(asdict(faults))


async def _listen(socket: web.WebSocketResponse, guest: Guest, outgoing: Outgoing) -> None:
    try:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                guest.receive(message.data)
    finally:
        outgoing.put_nowait(WSCloseCode.OK)


def _call_later(seconds: float, call: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(seconds, call)


async def _serve(crowd: Crowd, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(crowd.app(), access_log=None, shutdown_timeout=_PATIENCE)
    await runner.setup()
    try:
        await web.TCPSite(runner, _HOST, port).start()
        sys.stdout.write(f"ws://{_HOST}:{runner.addresses[0][1]}{_PATH}\n")
        sys.stdout.flush()
        await stop.wait()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise OptionError(
            f"--port {port}: {reason}; without it one is taken that is free"
        ) from None
    finally:
        await runner.cleanup()


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit status: 1 when it cannot be done."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    try:
        plan = Plan(**{option.name: options[option.name] for option in fields(Plan)})
    except ValueError as error:
        parser.error(str(error))
    with ExitStack() as stack:
        path = options["report"]
        try:
            report = stack.enter_context(writing("--report", path, "w")) if path else None
            asyncio.run(_run(plan, report, options["port"]))
        except OptionError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


async def _run(plan: Plan, report: TextIO | None, port: int) -> None:
    await _serve(Crowd(plan, report), port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox.crowd", description=__doc__)
    add = parser.add_argument
    add("--port", type=port, default=0, help="default: one that is free")
    add("--live", type=int, default=2000, help="battles in play, on average")
    add("--rate", type=float, default=4.0, help="new battles a second")
    add("--formats", type=int, default=20, help="how many, the first ones played most")
    add("--hide", type=float, default=0.05, help="share that is made private")
    add("--drop", type=float, default=0.05, help="share that is unlisted for a while")
    add("--short", type=float, default=0.0, help="share of battles shorter than 15 s")
    add("--life", type=float, default=600.0, help="seconds that a finished battle can be read")
    add("--endless", type=int, default=0, help="battles that never end, beside the others")
    add("--mean", type=float, help="seconds that a battle takes; default: live / rate")
    add("--seed", type=int, help="of what is drawn; default: another each time")
    add("--report", type=Path, help="write each battle to this file when it is over")
    return parser


if __name__ == "__main__":
    sys.exit(main())
