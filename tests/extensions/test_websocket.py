"""Questions over connections that stay open, to a server of the test's own."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from scrapy import Request
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
)
from scrapy.http import Response, TextResponse
from scrapy.settings import BaseSettings
from scrapy.utils.test import get_crawler

from extensions.signals import leaving
from extensions.websocket import LostError, WebSocketDownloadHandler
from tests.extensions.waiting import until


class EchoDialogue:
    """Sends a question's text, and takes the next frame that begins with it for the answer."""

    most = 2
    """Questions at a time."""

    def __init__(self, send: Callable[[str], Awaitable[None]], settings: BaseSettings) -> None:
        self.settings = settings
        self.counts = Counter(frames=0)
        self.is_leaving = self.is_lost = False
        self._send = send
        self._outbox: asyncio.Queue[str] = asyncio.Queue()
        self._asked: dict[str, asyncio.Future[str]] = {}

    def received(self, frame: str) -> None:
        self.counts["frames"] += 1
        for text, answer in self._asked.items():
            if frame.startswith(text) and not answer.done():
                answer.set_result(frame)

    def load(self) -> int:
        return len(self._asked)

    def accepts(self, request: Request) -> bool:  # noqa: ARG002 -- it takes any
        return not self.is_lost and len(self._asked) < self.most

    async def answer(self, request: Request) -> Response:
        text = request.url.partition("?")[2]
        answer = self._asked[text] = asyncio.get_running_loop().create_future()
        self._outbox.put_nowait(text)
        try:
            return TextResponse(request.url, body=(await answer).encode(), encoding="utf-8")
        finally:
            del self._asked[text]

    def leave(self) -> None:
        self.is_leaving = True
        for answer in self._asked.values():
            answer.set_result("partial")

    async def run(self) -> None:
        while True:
            await self._send(await self._outbox.get())

    def lost(self) -> None:
        self.is_lost = True
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(LostError())


class Server:
    """Answers `QUESTION` with `QUESTION!`, unless told otherwise."""

    def __init__(self) -> None:
        self.connections = 0
        self.open = 0
        self.heads: list[dict[str, str]] = []
        self.asked: list[str] = []
        self.closed: list[int | None] = []
        """The codes with which connections came to an end."""
        self.silent = self.is_deaf = self.is_rude = False
        self.hang_up_on: list[str] = []
        """Questions that are answered with the end of the connection, once each."""
        self.url = ""

    async def talk(self, request: web.Request) -> web.WebSocketResponse:
        if request.path == "/no":
            raise web.HTTPForbidden
        line = web.WebSocketResponse(autoping=not self.is_deaf, autoclose=not self.is_rude)
        await line.prepare(request)
        self.connections += 1
        self.open += 1
        self.heads.append(dict(request.headers))
        async for message in line:
            if message.type == aiohttp.WSMsgType.TEXT:
                await self._answer(line, message.data)
        if self.is_rude:
            await asyncio.sleep(9)
        self.open -= 1
        self.closed.append(line.close_code)
        return line

    async def _answer(self, line: web.WebSocketResponse, text: str) -> None:
        self.asked.append(text)
        if text in self.hang_up_on:
            self.hang_up_on.remove(text)
            await line.close()
        elif text == "bytes":
            await line.send_bytes(b"bytes")
            await line.send_str("bytes!")
        elif text == "large":
            await line.send_str("large" * 1000)
        elif not self.silent:
            await line.send_str(f"{text}!")


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    application = web.Application()
    application.router.add_get("/{path:.*}", server.talk)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    server.url = f"ws://127.0.0.1:{port}/socket"
    try:
        yield server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def handling(**given: object) -> AsyncIterator[WebSocketDownloadHandler]:
    handler = handler_of(**given)
    try:
        yield handler
    finally:
        await handler.close()


def handler_of(**given: object) -> WebSocketDownloadHandler:
    settings = {"WEBSOCKET_DIALOGUE": EchoDialogue, "EXTENSIONS_BASE": {}, **given}
    return WebSocketDownloadHandler.from_crawler(get_crawler(settings_dict=settings))


def asks(handler: WebSocketDownloadHandler, url: str, *questions: str) -> list[asyncio.Task]:
    requests = [Request(f"{url}?{question}") for question in questions]
    return [asyncio.create_task(handler.download_request(request)) for request in requests]


async def all_of(tasks: list[asyncio.Task]) -> list:
    return await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def play():
    """Have a scene with a server and a handler played."""

    def run(scene: Callable[..., Coroutine], **given: object) -> object:
        async def act() -> object:
            async with serving() as server, handling(**given) as handler:
                return await scene(server, handler)

        return asyncio.run(act())

    return run


@pytest.fixture
def without_pauses(monkeypatch) -> list[float]:
    """Have nobody wait before the next try to connect; the pauses are kept."""
    drawn = []

    def draw(least: float, most: float) -> float:
        drawn.append((least, most))
        return 0.0

    monkeypatch.setattr("extensions.websocket.random.uniform", draw)
    return drawn


@pytest.fixture
def refused() -> str:
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    return f"ws://127.0.0.1:{port}/"


# --- Settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [None, ""])
def test_without_a_dialogue_there_is_nothing_to_say(path):
    with pytest.raises(ValueError, match="WEBSOCKET_DIALOGUE is not set"):
        handler_of(WEBSOCKET_DIALOGUE=path)


def test_it_is_loaded_with_the_first_request_of_its_kind():
    assert WebSocketDownloadHandler.lazy is True


def test_a_crawl_that_asks_nothing_closes_nothing():
    async def scene() -> None:
        async with handling():
            pass

    asyncio.run(scene())


# --- Connections ----------------------------------------------------------------------------------


def test_a_question_has_its_answer(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> Response:
        return await asks(handler, server.url, "a")[0]

    response = play(scene)

    assert (response.status, response.text) == (200, "a!")


def test_requests_share_a_connection_until_it_is_full(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        await all_of(asks(handler, server.url, "a", "b"))
        await all_of(asks(handler, server.url, "c"))
        shared = server.connections
        await all_of(asks(handler, server.url, "d", "e", "f"))
        return [shared, server.connections]

    assert play(scene) == [1, 2]


def test_there_are_no_more_connections_than_allowed(play):
    questions = "abcdefghij"

    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        answers = await all_of(asks(handler, server.url, *questions))
        return [server.connections, *(answer.text for answer in answers)]

    connections, *answers = play(scene, WEBSOCKET_CONNECTIONS=2)

    assert connections == 2
    assert answers == [f"{question}!" for question in questions]


def test_each_address_has_connections_of_its_own(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> int:
        await all_of([*asks(handler, server.url, "a"), *asks(handler, f"{server.url}/2", "a")])
        return server.connections

    assert play(scene, WEBSOCKET_CONNECTIONS=1) == 2


def test_a_connection_says_who_asks(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> dict[str, str]:
        await all_of(asks(handler, server.url, "a"))
        return server.heads[0]

    assert play(scene, USER_AGENT="battles (+me)")["User-Agent"] == "battles (+me)"


def test_a_connection_tells_its_own_site_the_password_for_it(play):
    async def scene(server: Server, _handler: WebSocketDownloadHandler) -> list[str | None]:
        for site in (server.url, "ws://other.example"):
            async with handling(SITE_CREDENTIALS={site: "ann:word"}) as handler:
                await all_of(asks(handler, server.url, "a"))
        return [head.get("Authorization") for head in server.heads]

    assert play(scene) == ["Basic YW5uOndvcmQ=", None]


def test_what_is_no_text_is_passed_over(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> Response:
        return await asks(handler, server.url, "bytes")[0]

    assert play(scene).text == "bytes!"


# --- Connections that end -------------------------------------------------------------------------


def test_what_was_not_answered_is_asked_again_over_a_new_connection(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        server.hang_up_on = ["b"]
        answers = await all_of(asks(handler, server.url, "a", "b"))
        return [[answer.text for answer in answers], server.asked, server.connections]

    answers, asked, connections = play(scene)

    assert answers == ["a!", "b!"]
    assert asked == ["a", "b", "b"]
    assert connections == 2


def test_a_connection_that_ended_meanwhile_is_not_used(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        server.hang_up_on = ["a"]
        await all_of(asks(handler, server.url, "a"))
        server.hang_up_on = ["b"]
        await all_of(asks(handler, server.url, "b"))
        return server.asked

    assert play(scene) == ["a", "a", "b", "b"]


def test_a_request_is_not_asked_for_ever(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        server.hang_up_on = ["a"] * 9
        return [*await all_of(asks(handler, server.url, "a")), server.connections]

    error, connections = play(scene)

    assert isinstance(error, DownloadFailedError)
    assert str(error).endswith("/socket?a: 3 connections ended before the answer")
    assert connections == 3


def test_a_frame_that_is_too_large_ends_its_connection(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        outcomes = await all_of(asks(handler, server.url, "large"))
        await until(lambda: len(server.closed) == 3)
        return [*outcomes, server.closed]

    error, codes = play(scene, DOWNLOAD_MAXSIZE=1000)

    assert isinstance(error, DownloadFailedError)
    assert codes == [aiohttp.WSCloseCode.MESSAGE_TOO_BIG] * 3


def test_a_server_that_does_not_answer_pings_is_given_up(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        server.is_deaf = server.silent = True
        return [*await all_of(asks(handler, server.url, "a")), server.connections]

    error, connections = play(scene, WEBSOCKET_HEARTBEAT=0.04)

    assert isinstance(error, DownloadFailedError)
    assert connections == 3


def test_a_connection_that_takes_no_more_is_given_up(play, monkeypatch):
    async def fail(*_arguments: object) -> None:
        raise aiohttp.ClientConnectionResetError("it is closing")

    monkeypatch.setattr(aiohttp.ClientWebSocketResponse, "send_str", fail)

    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        return [*await all_of(asks(handler, server.url, "a")), server.connections]

    error, connections = play(scene)

    assert isinstance(error, DownloadFailedError)
    assert connections == 3


# --- Connections that do not come about -----------------------------------------------------------


def test_a_refused_connection_is_a_download_error(refused):
    async def scene() -> list:
        async with handling() as handler:
            return await all_of(asks(handler, refused, "a"))

    [error] = asyncio.run(scene())

    assert isinstance(error, DownloadConnectionRefusedError)


def test_who_waits_for_the_same_connection_shares_its_fate(refused, without_pauses):
    async def scene() -> list:
        async with handling() as handler:
            return await all_of(asks(handler, refused, *"abcde"))

    errors = asyncio.run(scene())

    assert len(set(map(id, errors))) == 1
    assert len(without_pauses) == 1


def test_the_pause_before_the_next_try_doubles_up_to_a_limit(refused, without_pauses):
    async def scene() -> None:
        async with handling() as handler:
            for _ in range(9):
                await all_of(asks(handler, refused, "a"))

    asyncio.run(scene())

    assert [most for _, most in without_pauses] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert all(least == most / 2 for least, most in without_pauses)


def test_the_next_try_comes_after_the_pause(refused, monkeypatch):
    monkeypatch.setattr("extensions.websocket.random.uniform", lambda _least, _most: 0.05)

    async def scene() -> float:
        async with handling() as handler:
            await all_of(asks(handler, refused, "a"))
            begun = asyncio.get_running_loop().time()
            await all_of(asks(handler, refused, "a"))
            return asyncio.get_running_loop().time() - begun

    assert asyncio.run(scene()) >= 0.04


def test_a_pause_ends_with_a_connection(play, refused, without_pauses, monkeypatch):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        connect = handler._connect
        monkeypatch.setattr(handler, "_connect", lambda _address: connect(refused))
        await all_of(asks(handler, server.url, "a"))
        monkeypatch.setattr(handler, "_connect", connect)
        [answer] = await all_of(asks(handler, server.url, "a"))
        return [answer.text, handler._lines[server.url]._failures]

    assert play(scene) == ["a!", 0]
    assert len(without_pauses) == 1


def test_a_server_that_wants_no_websocket_answers_as_to_a_page(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        return await all_of(asks(handler, server.url.replace("/socket", "/no"), "a"))

    [reply] = play(scene)

    assert reply.status == 403


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (TimeoutError(), DownloadTimeoutError),
        (OSError("no route"), DownloadFailedError),
        (aiohttp.ClientConnectorDNSError(None, OSError("no such host")), CannotResolveHostError),
    ],
    ids=["a time-out", "no route", "an unknown name"],
)
def test_what_fails_is_one_of_scrapys_download_errors(play, monkeypatch, failure, expected):
    async def fail(*_arguments: object, **_options: object) -> None:
        raise failure

    monkeypatch.setattr(aiohttp.ClientSession, "ws_connect", fail)
    monkeypatch.setattr(aiohttp.ClientConnectorDNSError, "__str__", lambda _self: "no such host")

    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        return await all_of(asks(handler, server.url, "a"))

    [error] = play(scene)

    assert isinstance(error, expected)


# --- The end of the crawl -------------------------------------------------------------------------


def test_connections_are_closed_in_order():
    async def scene() -> list:
        async with serving() as server:
            async with handling() as handler:
                await all_of(asks(handler, server.url, "a", "b", "c"))
            await until(lambda: len(server.closed) == server.connections)
            return server.closed

    assert asyncio.run(scene()) == [aiohttp.WSCloseCode.OK] * 2


def test_a_server_that_does_not_say_goodbye_is_not_waited_for(play, monkeypatch):
    monkeypatch.setattr("extensions.websocket._FAREWELL", 0.01)

    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list[bool]:
        server.is_rude = True
        await all_of(asks(handler, server.url, "a"))
        [line] = handler._lines[server.url]._lines
        await handler.close()
        return [task.done() for task in line._tasks]

    assert play(scene) == [True, True]


def test_what_came_is_counted_when_connections_end():
    async def scene() -> dict:
        async with serving() as server, handling() as handler:
            server.hang_up_on = ["c"]
            await all_of(asks(handler, server.url, "a", "b"))
            await all_of(asks(handler, server.url, "c"))
            await handler.close()
            return dict(handler.crawler.stats.get_stats())

    stats = asyncio.run(scene())

    assert (stats["websocket/connections"], stats["websocket/frames"]) == (2, 3)


def test_nothing_is_left_running():
    async def scene() -> set:
        async with serving() as server:
            async with handling() as handler:
                await all_of(asks(handler, server.url, "a", "b", "c"))
            await until(lambda: server.open == 0)
        gc.collect()
        return {task.get_name() for task in asyncio.all_tasks()} - {
            asyncio.current_task().get_name()
        }

    assert asyncio.run(scene()) == set()


def test_when_the_crawl_leaves_every_dialogue_does(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        server.silent = True
        asked = asks(handler, server.url, "a", "b", "c")
        await until(lambda: len(server.asked) == 3)
        handler.crawler.signals.send_catch_log(leaving)
        return [answer.text for answer in await all_of(asked)]

    assert play(scene) == ["partial"] * 3


def test_a_connection_that_comes_too_late_leaves_at_once(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> bool:
        await all_of(asks(handler, server.url, "a"))
        handler.crawler.signals.send_catch_log(leaving)
        await all_of(asks(handler, server.url, "b", "c", "d"))
        return all(line.dialogue.is_leaving for line in handler._lines[server.url]._lines)

    assert play(scene) is True


def test_a_connection_that_ended_leaves_no_task_behind():
    async def scene():
        async with serving() as server, handling() as handler:
            await all_of(asks(handler, server.url, "a"))
            [line] = handler._lines[server.url]._lines
            server.hang_up_on = ["b"]
            await all_of(asks(handler, server.url, "b"))
            await asyncio.sleep(0.05)
            return [task.done() for task in line._tasks]

    assert asyncio.run(scene()) == [True, True]
