"""Download over websockets: many questions share a few connections, which stay open."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import aiohttp
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
)
from scrapy.http import Response
from scrapy.utils.misc import load_object

from extensions.credentials import Credentials
from extensions.gated_download import GatedDownloadHandler
from extensions.hosts import host_of
from extensions.signals import leaving
from extensions.throttle import HeldError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable

    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.settings import BaseSettings

logger = logging.getLogger(__name__)

_TRIES = 3
"""Connections on which one request is asked before it has failed."""
_BACKOFF, _BACKOFF_MAX = 0.5, 30.0
"""Seconds between two tries to connect to a host that refuses; they double, and are drawn."""
_LOOK = 0.05
"""Seconds between two looks for a connection with room."""
_FAREWELL = 2.0
"""Seconds for a connection to close in order."""


class LostError(Exception):
    """Raised by a dialogue when its connection ended before the answer came."""


class Dialogue(Protocol):
    """What is said over one connection: which frames ask, and which answer."""

    counts: Counter[str]
    """What came and what became of it; added to the stats when the connection ends."""

    def received(self, frame: str) -> None:
        """Take a frame; nothing that it holds may raise."""

    def accepts(self, request: Request) -> bool:
        """Tell whether there is room for one more request."""

    def load(self) -> int:
        """Return how much waits to be sent: of several, the one with the least is asked."""

    async def answer(self, request: Request) -> Response:
        """Ask, and return the answer.

        Raises:
            LostError: the connection ended.
            DownloadTimeoutError: no answer came.

        """

    def leave(self) -> None:
        """Come to an end: the crawl does."""

    async def run(self) -> None:
        """Send what is to be sent, until cancelled."""

    def lost(self) -> None:
        """Have whoever waits for an answer know that none will come."""


class WebSocketDownloadHandler(GatedDownloadHandler):
    """A download handler for `ws` and `wss`: an address's query is the question.

    It is loaded with the first such request.

    Settings:
        WEBSOCKET_DIALOGUE (required): path of the `Dialogue`, built as `Dialogue(send, settings)`.
        WEBSOCKET_CONNECTIONS (4): to one address, at the same time.
        WEBSOCKET_HEARTBEAT (20.0): seconds between two pings; one that is not answered in half that
            time ends the connection.
        DOWNLOAD_MAXSIZE, DOWNLOAD_TIMEOUT, DOWNLOAD_VERIFY_CERTIFICATES, USER_AGENT: as in Scrapy.
    """

    lazy = True

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        settings = crawler.settings
        path = settings.get("WEBSOCKET_DIALOGUE")
        if not path:
            raise ValueError("WEBSOCKET_DIALOGUE is not set: what is said over a websocket?")
        self._dialogue: type = load_object(path)
        self._settings: BaseSettings = settings
        self._most = settings.getint("WEBSOCKET_CONNECTIONS", 4)
        self._lines: dict[str, _Lines] = {}
        self._session: aiohttp.ClientSession | None = None
        crawler.signals.connect(self.leave, leaving)

    async def fetch(self, request: Request) -> Response:
        lines = self._lines_to(request.url.partition("?")[0])
        for _ in range(_TRIES):
            try:
                dialogue = await lines.free(request)
            except _RefusedError as error:
                # As any other reply: the throttle heeds it.
                return Response(request.url, status=error.status, headers=error.headers)
            try:
                return await dialogue.answer(request)
            except LostError:
                continue
        raise DownloadFailedError(f"{request.url}: {_TRIES} connections ended before the answer")

    def leave(self) -> None:
        """Have every dialogue come to an end."""
        for lines in self._lines.values():
            lines.leave()

    async def close(self) -> None:
        for lines in self._lines.values():
            await lines.close()
        if self._session is not None:
            await self._session.close()

    def _lines_to(self, address: str) -> _Lines:
        if address not in self._lines:
            self._lines[address] = _Lines(
                lambda: self._connect(address), self._build, self._count, self._most
            )
        return self._lines[address]

    def _build(self, send: Callable[[str], Awaitable[None]]) -> Dialogue:
        dialogue: Dialogue = self._dialogue(send, self._settings)
        return dialogue

    def _count(self, name: str, count: int = 1) -> None:
        if self.crawler.stats:
            self.crawler.stats.inc_value(f"websocket/{name}", count)

    async def _connect(self, address: str) -> aiohttp.ClientWebSocketResponse:
        timeout = self._settings.getfloat("DOWNLOAD_TIMEOUT")
        known_as = Credentials.from_settings(self._settings).header_for(address)
        if self._session is None:
            verify = self._settings.getbool("DOWNLOAD_VERIFY_CERTIFICATES")
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=verify))
        try:
            return await asyncio.wait_for(
                self._session.ws_connect(
                    address,
                    heartbeat=self._settings.getfloat("WEBSOCKET_HEARTBEAT", 20.0),
                    max_msg_size=self._settings.getint("DOWNLOAD_MAXSIZE"),
                    headers={"User-Agent": self._settings["USER_AGENT"], **known_as},
                ),
                timeout,
            )
        except TimeoutError as error:
            raise DownloadTimeoutError(f"{address}: no connection in {timeout} s") from error
        except aiohttp.ClientConnectorDNSError as error:
            raise CannotResolveHostError(str(error)) from error
        except aiohttp.ClientConnectorError as error:
            raise DownloadConnectionRefusedError(str(error)) from error
        except aiohttp.WSServerHandshakeError as error:
            raise _RefusedError(error.status, dict(error.headers or {})) from error
        except (aiohttp.ClientError, OSError) as error:
            raise DownloadFailedError(f"{address}: {error}") from error


class _RefusedError(Exception):
    """Raised when a server answers as to a page, and opens no websocket."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.headers = headers


class _Line:
    """One connection, its dialogue, and the tasks that serve them."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, dialogue: Dialogue) -> None:
        self.dialogue = dialogue
        self._socket = socket
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]

    @property
    def is_open(self) -> bool:
        return not (self._socket.closed or any(task.done() for task in self._tasks))

    async def close(self) -> None:
        try:
            await asyncio.wait_for(self._socket.close(), _FAREWELL)
        except TimeoutError:
            logger.debug("A websocket did not close in order")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                if message.type == aiohttp.WSMsgType.TEXT:
                    self.dialogue.received(message.data)
        finally:
            self.dialogue.lost()
            self._tasks[1].cancel()

    async def _write(self) -> None:
        try:
            await self.dialogue.run()
        except (aiohttp.ClientError, ConnectionError, RuntimeError) as error:
            logger.debug("A websocket took no more: %s", error)
            self.dialogue.lost()


class _Lines:
    """The connections to one address."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[aiohttp.ClientWebSocketResponse]],
        build: Callable[[Callable[[str], Awaitable[None]]], Dialogue],
        count: Callable[[str, int], None],
        most: int,
    ) -> None:
        self._connect = connect
        self._build = build
        self._count = count
        self._most = most
        self._lines: list[_Line] = []
        self._connecting = asyncio.Lock()
        self._failures = 0
        self._error: Exception | None = None
        self._failed_at = 0.0
        self._not_before = 0.0
        self._left = asyncio.Event()

    async def free(self, request: Request) -> Dialogue:
        """Return a dialogue with room for the request; open another connection if need be."""
        since = time.monotonic()
        while True:
            if self._left.is_set():
                raise HeldError(host_of(request.url), 0.0, "the crawl is ending")
            if dialogue := self._with_room(request):
                return dialogue
            async with self._connecting:
                if self._error is not None and self._failed_at > since:
                    # Who waited for the same try shares its fate.
                    raise self._error
                if self._with_room(request) is None and len(self._lines) < self._most:
                    await self._open()
                    continue
            if self._with_room(request) is None:
                await asyncio.sleep(_LOOK)

    def leave(self) -> None:
        self._left.set()
        for line in self._lines:
            line.dialogue.leave()

    async def close(self) -> None:
        for line in self._lines:
            await line.close()
            self._account(line)

    def _account(self, line: _Line) -> None:
        for name, count in line.dialogue.counts.items():
            self._count(name, count)

    def _with_room(self, request: Request) -> Dialogue | None:
        for line in self._lines:
            if not line.is_open:
                self._account(line)
        self._lines = [line for line in self._lines if line.is_open]
        rooms = [line.dialogue for line in self._lines if line.dialogue.accepts(request)]
        return min(rooms, key=lambda dialogue: dialogue.load(), default=None)

    async def _open(self) -> None:
        now = time.monotonic()
        if self._failures and now < self._not_before:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._left.wait(), self._not_before - now)
                return
        try:
            socket = await self._connect()
        except Exception as error:
            self._error, self._failed_at = error, time.monotonic()
            pause = min(_BACKOFF_MAX, _BACKOFF * 2.0 ** min(self._failures, 10))
            self._not_before = time.monotonic() + random.uniform(pause / 2, pause)  # noqa: S311 -- no secret
            self._failures += 1
            raise
        self._failures, self._error = 0, None
        self._count("connections", 1)
        self._lines.append(_Line(socket, self._build(socket.send_str)))
        if self._left.is_set():
            self._lines[-1].dialogue.leave()
