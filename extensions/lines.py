"""Keep a few connections to an address open, and have many questions share them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
from scrapy.exceptions import DownloadFailedError

from extensions.addresses import one_line
from extensions.gated_download import NoConnectionError
from extensions.hosts import host_of
from extensions.outage import Backoff, Failure, Outage
from extensions.throttle import HeldError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable

    from scrapy import Request
    from scrapy.http import Response

    from extensions.handshake import Handshakes

logger = logging.getLogger(__name__)

_BACKOFF, _BACKOFF_MAX = 0.5, 30.0
"""Seconds between two tries of this worker to connect; they double, and are drawn."""
_HOLD, _HOLD_MAX = 5.0, 300.0
"""Seconds for which the whole fleet leaves a server alone that refuses; they double."""
_AT_ONCE = 5.0
"""Seconds: who ends a connection so soon, and has answered nothing, refuses it."""
_SHORT = 30.0
"""Seconds: after a connection that ended so soon, whatever it answered, the next one waits."""
_LOOK = 0.05
"""Seconds between two looks for a connection with room."""
_FAREWELL = 2.0
"""Seconds for a connection to close in order."""


class LostError(Exception):
    """Raised by a dialogue when its connection ended before the answer came."""


class ServerRefusedError(Exception):
    """Raised by a dialogue when the server, and not one request, is what is wrong."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Dialogue(Protocol):
    """What is said over one connection: which frames ask, and which answer."""

    counts: Counter[str]
    """What came and what became of it; added to the stats when the connection ends."""
    notice: str
    """What the server last said of itself, such as that it locks us out; one line of at most 200
    characters, without markup. Empty when it has said nothing."""

    @classmethod
    def kind(cls, request: Request) -> str:
        """Name the kind of a request: different kinds share no connection.

        Of the kind "" several connections may be open, of any other one.
        """

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
            ServerRefusedError: the server answers nobody, or not as it should.
            DownloadTimeoutError: no answer came.

        """

    def leave(self) -> None:
        """Come to an end: the crawl does."""

    async def run(self) -> None:
        """Send what is to be sent, until cancelled."""

    def lost(self) -> None:
        """Have whoever waits for an answer know that none will come."""


class Line:
    """One connection, its dialogue, and the task that serves them."""

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        dialogue: Dialogue,
        on_failure: Callable[[Failure, str], None],
        clock: Callable[[], float],
    ) -> None:
        self.dialogue = dialogue
        self.opened_at = self._ended_at = clock()
        """On the given clock."""
        self.has_answered = False
        self._socket = socket
        self._on_failure = on_failure
        self._clock = clock
        self._is_over = self._is_closing = self._is_judged = False
        self._last: aiohttp.WSMessage | str = "an error of ours"
        """What ended it."""
        self._failure: Failure | None = None
        self._task = asyncio.create_task(self._serve())

    @property
    def age(self) -> float:
        """Seconds from its opening to its end."""
        return self._ended_at - self.opened_at

    @property
    def is_open(self) -> bool:
        return not self._is_over

    async def close(self) -> None:
        self._is_closing = True
        await self._say_goodbye()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def judge(self) -> Failure | None:
        """Return why the connection ended; None when it was of use, and may be opened again.

        It is asked by who was not answered, so that who was has said so before.
        """
        if self._is_over and not self._is_judged:
            self._is_judged = True
            self._failure = self._meaning()
            if self._failure is not None:
                self._on_failure(self._failure, self.dialogue.notice)
        return self._failure

    async def _serve(self) -> None:
        reading = asyncio.create_task(self._read())
        writing = asyncio.create_task(self._write())
        try:
            await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
            # What the server says counts for more than that it takes nothing.
            self._last = reading.result() if reading.done() else writing.result()
        finally:
            self._is_over, self._ended_at = True, self._clock()
            self.dialogue.lost()
            reading.cancel()
            writing.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)
        await self._say_goodbye()
        self.judge()

    async def _read(self) -> aiohttp.WSMessage:
        while True:
            message = await self._socket.receive()
            if message.type != aiohttp.WSMsgType.TEXT:
                return message
            self.dialogue.received(message.data)

    async def _write(self) -> str:
        try:
            await self.dialogue.run()
        except (aiohttp.ClientError, ConnectionError, RuntimeError) as error:
            return one_line(str(error))
        return "nothing more is said"

    def _meaning(self) -> Failure | None:
        """Say what the last message means, or that nothing can be sent."""
        last = self._last
        if isinstance(last, str):
            return self._cut(last)
        if last.type == aiohttp.WSMsgType.BINARY:
            return Failure("it sends a frame that is no text")
        code, said = self._socket.close_code, ""
        if last.type == aiohttp.WSMsgType.ERROR:
            code, said = getattr(last.data, "code", code), str(last.data)
            if code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
                # Its size would be another one each time.
                return Failure(f"it sends a frame larger than DOWNLOAD_MAXSIZE (close code {code})")
        elif last.type == aiohttp.WSMsgType.CLOSE:
            code, said = last.data, last.extra or ""
        return self._cut(f"close code {code}, {one_line(said)}" if said else f"close code {code}")

    def _cut(self, how: str) -> Failure | None:
        """Say what the end of the connection means."""
        if self._is_closing or self.has_answered:
            return None
        if self.age < _AT_ONCE:
            return Failure(f"it ends connections at once ({how})", took=self.age)
        cause = f"the connection ended without an answer ({how})"
        return Failure(cause, DownloadFailedError(cause), took=self.age)

    async def _say_goodbye(self) -> None:
        try:
            await asyncio.wait_for(self._socket.close(), _FAREWELL)
        except TimeoutError:
            logger.debug("A websocket did not close in order")


class Lines:
    """The connections to one address, and what is known of its server."""

    def __init__(
        self,
        address: str,
        handshakes: Handshakes,
        build: Callable[[Callable[[str], Awaitable[None]]], Dialogue],
        count: Callable[[str, int], None],
        *,
        most: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.host = host_of(address)
        self._address = address
        self._handshakes = handshakes
        self._build = build
        self._count = count
        self._most = most
        self._clock = clock
        self._pools: defaultdict[str, list[Line]] = defaultdict(list)
        """By kind of request."""
        self._attempt: asyncio.Task[Line | Failure] | None = None
        """The one try to connect that is under way, whichever kind it is for."""
        self._backoff = Backoff(_BACKOFF, _BACKOFF_MAX, clock, is_drawn=True)
        self._hold = Backoff(_HOLD, _HOLD_MAX, clock)
        self._outage = Outage(self.host, clock)
        self._failed_at: float | None = None
        """On the clock; None when all is well."""
        self._refused: str | None = None
        """The kind of request that a dialogue found to be refused."""
        self._is_cut_off = False
        """Whether it was a connection that failed, so that an older one proves nothing."""
        self._left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the crawl ends."""

    async def free(self, request: Request, kind: str) -> Line:
        """Return a connection with room for the request; open another one if need be.

        Raises:
            NoConnectionError: the connection that it waited for came to nothing.
            HeldError: the crawl is ending.

        """
        most = 1 if kind else self._most
        while True:
            self.check()
            if line := self._with_room(request, kind):
                return line
            if len(self._pools[kind]) < most:
                await self._connect(kind)
            else:
                await asyncio.wait({self._left}, timeout=_LOOK)

    def check(self) -> None:
        """Raise HeldError if the crawl is ending."""
        if self._left.done():
            raise HeldError(self.host, 0.0, "the crawl is ending")

    def answered(self, line: Line, asked_at: float) -> None:
        """Take note of an answer to what was asked at a time of the clock."""
        line.has_answered = True
        if self._refused is not None and line not in self._pools[self._refused]:
            # What is refused is another kind of request.
            return
        since = line.opened_at if self._is_cut_off else asked_at
        if self._failed_at is not None and since >= self._failed_at:
            self._failed_at = self._refused = None
            self._backoff.reset()
            self._hold.reset()
            self._outage.answered()

    def refused(self, line: Line, reason: str) -> Failure:
        """Take note of what a dialogue calls a refusal; its connection stays open."""
        self._note(failure := Failure(one_line(reason)), line.dialogue.notice)
        self._is_cut_off = False
        self._refused = next((kind for kind, pool in self._pools.items() if line in pool), None)
        return failure

    def leave(self) -> None:
        """Have whoever waits for a connection wait no more, and every dialogue end."""
        if not self._left.done():
            self._left.set_result(None)
        if self._attempt is not None:
            self._attempt.cancel()
        for line in self._all():
            line.dialogue.leave()

    async def close(self) -> None:
        self.leave()
        if self._attempt is not None:
            await asyncio.gather(self._attempt, return_exceptions=True)
        lines = self._all()
        await asyncio.gather(*(line.close() for line in lines))
        for line in lines:
            self._account(line)
        self._pools.clear()

    def _all(self) -> list[Line]:
        return [line for pool in self._pools.values() for line in pool]

    def _account(self, line: Line) -> None:
        for name, count in line.dialogue.counts.items():
            self._count(name, count)

    def _with_room(self, request: Request, kind: str) -> Line | None:
        pool = self._pools[kind]
        for line in pool:
            if not line.is_open:
                self._account(line)
                self._slow_down(line)
        pool[:] = [line for line in pool if line.is_open]
        with_room = [line for line in pool if line.dialogue.accepts(request)]
        return min(with_room, key=lambda line: line.dialogue.load(), default=None)

    def _slow_down(self, line: Line) -> None:
        """Have the next try wait when connections that are of use do not last."""
        if line.has_answered and line.age < _SHORT:
            self._backoff.failed()
        elif line.has_answered and self._failed_at is None:
            self._backoff.reset()

    async def _connect(self, kind: str) -> None:
        """Have one more connection opened; who asks meanwhile shares the fate of the try."""
        if self._attempt is None or self._attempt.done():
            self._attempt = asyncio.create_task(self._try(kind))
        attempt = self._attempt
        either: set[asyncio.Future[Any]] = {attempt, self._left}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        self.check()
        outcome = attempt.result()
        # It may have ended before anybody could ask.
        if failure := outcome.judge() if isinstance(outcome, Line) else outcome:
            raise NoConnectionError(self.host, failure)

    async def _try(self, kind: str) -> Line | Failure:
        if (seconds := self._backoff.left) > 0:
            await asyncio.sleep(seconds)
        began = self._clock()
        outcome = await self._handshakes.open(self._address)
        if isinstance(outcome, Failure):
            outcome.took = self._clock() - began
            self._note(outcome)
            return outcome
        self._count("connections", 1)
        line = Line(outcome, self._build(outcome.send_str), self._note, self._clock)
        self._pools[kind].append(line)
        if self._left.done():
            line.dialogue.leave()
        return line

    def _note(self, failure: Failure, notice: str = "") -> None:
        """Count a failure, say it if that is news, and set the seconds until the next try."""
        self._count("refused" if failure.is_refusal else "unreachable", 1)
        pause = self._backoff.failed()
        failure.seconds = self._hold.failed(failure.retry_after) if failure.is_refusal else pause
        self._failed_at, self._is_cut_off, self._refused = self._clock(), True, None
        self._outage.failed(failure, notice)
