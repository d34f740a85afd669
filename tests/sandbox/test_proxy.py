"""A proxy that counts what a client says."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web

from sandbox.proxy import Counts, proxy_app

NOTICE = '|raw|<strong class="message-throttle-notice">Your message was not sent</strong>'


def test_messages_are_counted_by_kind():
    counts = Counts()
    one, other = counts.opened(), counts.opened()
    for message in ("|/cmd roomlist ", "|/join battle-gen9ou-1", "|/join battle-gen9ou-2"):
        one.said(message, 0.0)
    other.said("battle-gen9ou-1|/leave", 0.0)

    told = counts.told()

    assert told["kinds"] == {"roomlist": 1, "join": 2, "leave": 1}
    assert [each["messages"] for each in told["connections"]] == [3, 1]
    assert told["messages"] == 4


def test_the_smallest_gap_is_one_of_a_connection():
    counts = Counts()
    one, other = counts.opened(), counts.opened()
    for now in (10.0, 10.65, 11.65):
        one.said("|/join battle-gen9ou-1", now)
    other.said("|/join battle-gen9ou-2", 11.66)

    told = counts.told()

    assert told["smallest_gap_ms"] == 650.0
    assert [each["smallest_gap_ms"] for each in told["connections"]] == [650.0, None]


def test_notices_of_the_throttle_are_counted():
    counts = Counts()
    counts.opened().heard(f">battle-gen9ou-1\n{NOTICE}\n|c|☆Ann|{NOTICE}")

    assert counts.told()["throttled"] == 1


def test_the_most_that_were_open_at_once_are_told():
    counts = Counts()
    counts.opened().open = False
    counts.opened()
    counts.opened()

    told = counts.told()

    assert (told["opened"], told["open"], told["most_open"]) == (3, 2, 2)


async def _echo(request: web.Request) -> web.WebSocketResponse:
    """Say everything twice, and leave when told to."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for frame in socket:
        if frame.data == "|leave":
            break
        await socket.send_str(f"{frame.data}{frame.data}")
    return socket


def test_frames_are_passed_on_both_ways(serving, clock):
    async def talk(session: aiohttp.ClientSession, proxy: str) -> tuple[str, bool]:
        async with session.ws_connect(f"ws://{proxy}/showdown/websocket") as socket:
            await socket.send_str("|/cmd rooms")
            answer = await socket.receive_str(timeout=10)
            clock.now += 0.7
            await socket.send_str("|leave")
            return answer, (await socket.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE

    async def run() -> tuple[tuple[str, bool], dict]:
        echo = web.Application()
        echo.add_routes([web.get("/", _echo)])
        async with (
            serving(echo) as server,
            serving(proxy_app(f"ws://{server}/", clock)) as proxy,
            aiohttp.ClientSession() as session,
        ):
            talked = await talk(session, proxy)
            async with session.get(f"http://{proxy}/counts") as response:
                return talked, await response.json()

    (answer, is_over), counts = asyncio.run(run())

    assert answer == "|/cmd rooms|/cmd rooms"
    assert is_over
    assert counts["kinds"] == {"rooms": 1, "other": 1}
    assert counts["smallest_gap_ms"] == 700.0
    assert (counts["open"], counts["most_open"]) == (0, 1)
