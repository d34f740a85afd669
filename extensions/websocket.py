"""Download over websockets: many questions share a few connections, which stay open."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from scrapy.exceptions import DownloadFailedError
from scrapy.utils.misc import load_object

from extensions.gated_download import GatedDownloadHandler, NoConnectionError
from extensions.handshake import Handshakes
from extensions.lines import Dialogue, Lines, LostError, ServerRefusedError
from extensions.signals import leaving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from scrapy.settings import BaseSettings

    from extensions.lines import Line

__all__ = ["Dialogue", "LostError", "ServerRefusedError", "WebSocketDownloadHandler"]

_TRIES = 3
"""Connections that one request may be seen to end before it has failed."""
_BLAMED = 60.0
"""Seconds: what was asked for longer is not why a connection ended."""


class WebSocketDownloadHandler(GatedDownloadHandler):
    """A download handler for `ws` and `wss`: an address's query is the question.

    It is loaded with the first such request. What it returns is a dialogue's answer, never the
    server's reply to a handshake: a connection that does not come about is no request's failure.

    Settings:
        WEBSOCKET_DIALOGUE (required): path of the `Dialogue`, built as `Dialogue(send, settings)`.
        WEBSOCKET_CONNECTIONS (6): to one address, at the same time, for requests of the kind "".
        WEBSOCKET_HEARTBEAT (20.0): seconds between two pings; one that is not answered in half that
            time ends the connection.
        DOWNLOAD_MAXSIZE, DOWNLOAD_TIMEOUT, DOWNLOAD_VERIFY_CERTIFICATES, USER_AGENT: as in Scrapy.
    """

    lazy = True

    def __init__(self, crawler: Crawler, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(crawler)
        settings = crawler.settings
        path = settings.get("WEBSOCKET_DIALOGUE")
        if not path:
            raise ValueError("WEBSOCKET_DIALOGUE is not set: what is said over a websocket?")
        self._dialogue: type[Dialogue] = load_object(path)
        self._settings: BaseSettings = settings
        self._most = settings.getint("WEBSOCKET_CONNECTIONS", 6)
        self._clock = clock
        self._handshakes = Handshakes(settings)
        self._lines: dict[str, Lines] = {}
        self._is_leaving = False
        crawler.signals.connect(self.leave, leaving)

    async def fetch(self, request: Request) -> Response:
        lines = self._lines_to(request.url.partition("?")[0])
        blamed = 0
        while blamed < _TRIES:
            line = await lines.free(request, self._dialogue.kind(request))
            asked_at = self._clock()
            try:
                return await self._ask(lines, line, request)
            except LostError:
                lines.check()
                if failure := line.judge():
                    raise NoConnectionError(lines.host, failure) from None
                blamed += self._clock() - asked_at < _BLAMED
        raise DownloadFailedError(f"{request.url}: {_TRIES} connections ended before the answer")

    def leave(self) -> None:
        """Have every wait and every dialogue come to an end."""
        self._is_leaving = True
        for lines in self._lines.values():
            lines.leave()

    async def close(self) -> None:
        await asyncio.gather(*(lines.close() for lines in self._lines.values()))
        await self._handshakes.close()

    async def _ask(self, lines: Lines, line: Line, request: Request) -> Response:
        """Return the answer, and take note of the first sign of life on the way to it."""
        asked_at, told = self._clock(), request.meta.get("alive")

        def is_alive() -> None:
            lines.answered(line, asked_at)
            if told is not None:
                told()

        request.meta["alive"] = is_alive
        try:
            response = await line.dialogue.answer(request)
        except ServerRefusedError as error:
            raise NoConnectionError(lines.host, lines.refused(line, error.reason)) from error
        finally:
            # It stays in no request: one that is asked again is written into the queue.
            request.meta.pop("alive")
            if told is not None:
                request.meta["alive"] = told
        lines.answered(line, asked_at)
        return response

    def _lines_to(self, address: str) -> Lines:
        if address not in self._lines:
            self._lines[address] = Lines(
                address,
                self._handshakes,
                self._build,
                self._count,
                most=self._most,
                clock=self._clock,
            )
            if self._is_leaving:
                self._lines[address].leave()
        return self._lines[address]

    def _build(self, send: Callable[[str], Awaitable[None]]) -> Dialogue:
        # A protocol says nothing of how it is built.
        dialogue: Dialogue = self._dialogue(send, self._settings)  # type: ignore[call-arg]
        return dialogue

    def _count(self, name: str, count: int = 1) -> None:
        if self.crawler.stats:
            self.crawler.stats.inc_value(f"websocket/{name}", count)
