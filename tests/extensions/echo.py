"""A server of websockets that answers questions with themselves, and a handler that asks it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from scrapy import Request
from scrapy.http import Response, TextResponse
from scrapy.settings import BaseSettings
from scrapy.utils.test import get_crawler

from extensions.websocket import LostError, ServerRefusedError, WebSocketDownloadHandler


class EchoDialogue:
    """Sends a question's text, and takes the next frame that begins with it for the answer."""

    most = 2
    """Questions at a time."""

    def __init__(self, send: Callable[[str], Awaitable[None]], settings: BaseSettings) -> None:
        self.settings = settings
        self.counts = Counter(frames=0)
        self.notice = ""
        self.is_leaving = self.is_lost = False
        self._send = send
        self._outbox: asyncio.Queue[str] = asyncio.Queue()
        self._asked: dict[str, asyncio.Future[str]] = {}

    @classmethod
    def kind(cls, request: Request) -> str:
        return "list" if "?list" in request.url else ""

    def received(self, frame: str) -> None:
        self.counts["frames"] += 1
        if frame.startswith("notice:"):
            self.notice = frame.removeprefix("notice:")
        for text, answer in self._asked.items():
            if frame.startswith(text) and not answer.done():
                answer.set_result(frame)

    def load(self) -> int:
        return len(self._asked)

    def accepts(self, request: Request) -> bool:  # noqa: ARG002 -- it takes any
        return not self.is_lost and len(self._asked) < self.most

    async def answer(self, request: Request) -> Response:
        text = request.url.partition("?")[2]
        if text.startswith("refuse"):
            raise ServerRefusedError("it lets nobody in")
        if text.startswith("stay"):
            request.meta["alive"]()
        answer = self._asked[text] = asyncio.get_running_loop().create_future()
        self._outbox.put_nowait(text)
        try:
            return TextResponse(request.url, body=(await answer).encode(), encoding="utf-8")
        finally:
            del self._asked[text]

    def leave(self) -> None:
        self.is_leaving = True
        for answer in self._asked.values():
            if not answer.done():
                answer.set_result("partial")

    async def run(self) -> None:
        while True:
            await self._send(await self._outbox.get())

    def lost(self) -> None:
        self.is_lost = True
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(LostError())


REPLIES: dict[str, Callable[[], web.Response]] = {
    "/302": lambda: web.Response(status=302, headers={"Location": "/socket"}),
    "/401": lambda: web.Response(status=401),
    "/403": lambda: web.Response(status=403),
    "/404": lambda: web.Response(status=404),
    "/429": lambda: web.Response(status=429, headers={"Retry-After": "70"}),
    "/503": lambda: web.Response(status=503),
    "/html": lambda: web.Response(text="<h1>Prove it</h1>", content_type="text/html"),
}
"""What is answered instead of a websocket, by path."""


class Server:
    """Answers `QUESTION` with `QUESTION!`, unless told otherwise."""

    def __init__(self) -> None:
        self.connections = 0
        self.open = 0
        self.heads: list[dict[str, str]] = []
        self.asked: list[str] = []
        self.asked_over: list[list[str]] = []
        """The same, by connection."""
        self.lines: list[web.WebSocketResponse] = []
        self.closed: list[int | None] = []
        """The codes with which connections came to an end."""
        self.handshakes = 0
        """Begun, whatever became of them."""
        self.silent = self.is_deaf = self.is_rude = False
        self.is_hasty = False
        """Whether it ends each connection before it has answered anything."""
        self.notice = ""
        """Said on each connection before anything else."""
        self.hang_up_on: list[str] = []
        """Questions that are answered with the end of the connection, once each."""
        self.url = ""

    async def talk(self, request: web.Request) -> web.StreamResponse:
        self.handshakes += 1
        if request.path in REPLIES:
            return REPLIES[request.path]()
        if request.path == "/silent":
            await asyncio.sleep(3600)
        line = web.WebSocketResponse(autoping=not self.is_deaf, autoclose=not self.is_rude)
        await line.prepare(request)
        self.connections += 1
        self.open += 1
        self.heads.append(dict(request.headers))
        self.lines.append(line)
        self.asked_over.append(asked := [])
        if self.notice:
            await line.send_str(f"notice:{self.notice}")
        if self.is_hasty:
            await line.close(code=1008, message=b"banned")
        async for message in line:
            if message.type == aiohttp.WSMsgType.TEXT:
                asked.append(message.data)
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
        elif text == "large":
            await line.send_str("large" * 1000)
        elif not self.silent:
            await line.send_str(f"{text}!")


@asynccontextmanager
async def serving(port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()
    application = web.Application()
    application.router.add_get("/{path:.*}", server.talk)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    server.url = f"{'wss' if tls else 'ws'}://127.0.0.1:{port}/socket"
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


def handler_of(
    clock: Callable[[], float] = time.monotonic, **given: object
) -> WebSocketDownloadHandler:
    settings = {"WEBSOCKET_DIALOGUE": EchoDialogue, "EXTENSIONS_BASE": {}, **given}
    return WebSocketDownloadHandler(get_crawler(settings_dict=settings), clock=clock)


def asks(handler: WebSocketDownloadHandler, url: str, *questions: str) -> list[asyncio.Task]:
    requests = [Request(f"{url}?{question}") for question in questions]
    return [asyncio.create_task(handler.download_request(request)) for request in requests]


async def all_of(tasks: list[asyncio.Task]) -> list:
    return await asyncio.gather(*tasks, return_exceptions=True)
