"""A websocket proxy before the battle server, which counts what its clients say."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from sandbox.options import port
from sandbox.serving import serve

if TYPE_CHECKING:
    from collections.abc import Callable

_PATH = "/showdown/websocket"
KINDS = {
    "/cmd roomlist": "roomlist",
    "/cmd rooms": "rooms",
    "/join": "join",
    "/autojoin": "autojoin",
    "/leave": "leave",
    "/noreply /leave": "leave",
}
"""What the first words of a message make it."""
_THROTTLED = '|raw|<strong class="message-throttle-notice">'
"""At the beginning of a line: anybody may say the same in the middle of one."""
_MILLISECONDS = 1000.0


@dataclass(slots=True)
class Counted:
    """What was said over one connection."""

    kinds: Counter[str] = field(default_factory=Counter)
    smallest_gap: float | None = None
    """Seconds between two of the client's messages, as they arrived here; None before two."""
    throttled: int = 0
    """Notices of the server that it threw a message away."""
    open: bool = True
    _spoke: float | None = None

    def said(self, message: str, now: float) -> None:
        """Count a message of the client, at a time in seconds."""
        self.kinds[kind_of(message)] += 1
        if self._spoke is not None:
            gap = now - self._spoke
            self.smallest_gap = gap if self.smallest_gap is None else min(self.smallest_gap, gap)
        self._spoke = now

    def heard(self, frame: str) -> None:
        """Count what the server says."""
        self.throttled += sum(line.startswith(_THROTTLED) for line in frame.split("\n"))

    def told(self) -> dict[str, Any]:
        return {
            "messages": self.kinds.total(),
            "smallest_gap_ms": _milliseconds(self.smallest_gap),
            "kinds": dict(self.kinds),
            "throttled": self.throttled,
            "open": self.open,
        }


class Counts:
    """What was said over all connections."""

    def __init__(self) -> None:
        self._connections: list[Counted] = []
        self._most_open = 0

    def opened(self) -> Counted:
        self._connections.append(Counted())
        self._most_open = max(self._most_open, self._open())
        return self._connections[-1]

    def told(self) -> dict[str, Any]:
        """Sum up, as JSON has it; gaps are those within one connection."""
        gaps = [one.smallest_gap for one in self._connections if one.smallest_gap is not None]
        kinds = sum((one.kinds for one in self._connections), Counter[str]())
        return {
            "opened": len(self._connections),
            "open": self._open(),
            "most_open": self._most_open,
            "messages": kinds.total(),
            "smallest_gap_ms": _milliseconds(min(gaps, default=None)),
            "kinds": dict(kinds),
            "throttled": sum(one.throttled for one in self._connections),
            "connections": [one.told() for one in self._connections],
        }

    def _open(self) -> int:
        return sum(one.open for one in self._connections)


def kind_of(message: str) -> str:
    """Tell what a client wants with a message.

    >>> kind_of("|/cmd rooms"), kind_of("|/cmd roomlist gen9ou"), kind_of("|/join battle-gen9ou-9")
    ('rooms', 'roomlist', 'join')
    >>> kind_of("battle-gen9ou-9|/leave"), kind_of("|/autojoin a,b"), kind_of("|/joinx")
    ('leave', 'autojoin', 'other')
    """
    words = message.partition("|")[2]
    for begin, kind in KINDS.items():
        if words == begin or words.startswith((f"{begin} ", f"{begin}\n")):
            return kind
    return "other"


def proxy_app(server_url: str, clock: Callable[[], float] = time.monotonic) -> web.Application:
    """Pass on what clients and server say, and tell at `/counts` what it was."""
    counts = Counts()

    async def pass_on(request: web.Request) -> web.WebSocketResponse:
        client = web.WebSocketResponse(max_msg_size=0, compress=False)
        await client.prepare(request)
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(server_url, max_msg_size=0) as server,
        ):
            counted = counts.opened()
            try:
                await _both(client, server, counted, clock)
            finally:
                counted.open = False
                await client.close()
        return client

    async def tell(_request: web.Request) -> web.Response:
        return web.json_response(counts.told())

    app = web.Application()
    app.add_routes([web.get("/counts", tell), web.get(_PATH, pass_on)])
    return app


async def _both(
    client: web.WebSocketResponse,
    server: aiohttp.ClientWebSocketResponse,
    counted: Counted,
    clock: Callable[[], float],
) -> None:
    """Pass frames on both ways, until one side goes away."""

    async def ask() -> None:
        async for frame in client:
            if frame.type is aiohttp.WSMsgType.TEXT:
                counted.said(frame.data, clock())
                await server.send_str(frame.data)

    async def answer() -> None:
        async for frame in server:
            if frame.type is aiohttp.WSMsgType.TEXT:
                counted.heard(frame.data)
                await client.send_str(frame.data)

    ways = {asyncio.create_task(ask()), asyncio.create_task(answer())}
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        with suppress(aiohttp.ClientError, OSError):
            await asyncio.gather(*ways, return_exceptions=True)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * _MILLISECONDS, 1)


def main(arguments: list[str] | None = None) -> None:
    """Pass on as the arguments say, until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.proxy", description=__doc__)
    parser.add_argument("server", help="the battle server's websocket")
    parser.add_argument("--port", type=port, default=0, help="default: one that is free")
    options = parser.parse_args(arguments)
    asyncio.run(serve(proxy_app(options.server), options.port, scheme="ws", path=_PATH))


if __name__ == "__main__":  # pragma: no cover -- as `python -m sandbox.proxy`
    main()
