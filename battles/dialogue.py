"""Talk with the battle server as an unnamed guest: look at its list, and into rooms.

One request is one question. `?list&formats=…&min_elo=…` asks for the live battles, and the answer
is JSON; `?room=battle-ID` looks into a room, and the answer is its log. What cannot be seen comes
with the status that HTTP has for it: 404 for a room that is gone, 403 for one that is hidden, 423
for one that is not open to us.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from scrapy.exceptions import DownloadTimeoutError
from scrapy.http import TextResponse

from battles.listing import Look, Plan, Question, tops
from battles.outbox import Message, Outbox
from battles.parsers.frames import (
    RoomReader,
    State,
    is_throttled,
    parse_battle_count,
    parse_formats,
    parse_notice,
    parse_query,
    parse_room_list,
    split_frame,
)
from battles.parsers.reply import BadReplyError
from extensions.addresses import one_line
from extensions.throttle import HeldError
from extensions.websocket import LostError, ServerRefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scrapy import Request
    from scrapy.settings import BaseSettings

logger = logging.getLogger(__name__)

STATUS: dict[State, HTTPStatus] = {
    "running": HTTPStatus.OK,
    "ended": HTTPStatus.OK,
    "expired": HTTPStatus.OK,
    "gone": HTTPStatus.NOT_FOUND,
    "hidden": HTTPStatus.FORBIDDEN,
    "refused": HTTPStatus.LOCKED,
}
_FULL = 30.0
"""Seconds until another try to join, when we are in as many rooms as the server allows."""
RUN = 3
"""Refusals in a row that are about us, and not about rooms."""
_AHEAD = 2
"""Messages that wait to be sent, from which on a connection takes no more visits."""
_LEFT = 5.0
"""Seconds after which a room is taken to be left, whether the server says so or not."""
_NOTICE = 200
"""Characters that are kept of what the server says of itself."""


@dataclass(frozen=True, slots=True)
class Manners:
    """What the server lets a guest do."""

    interval: float = 0.65
    """Seconds between two messages; the server takes one in 0.6, and some come early."""
    rooms: int = 49
    """At a time; with the lobby that makes fifty."""
    stay: float = 0.0
    """Seconds to wait in a room for the end of its battle; 0: a room is only visited."""
    settle: float = 10.0
    """Seconds to wait, where one stays, in a room whose battle has ended: for the new ratings, and
    for whoever hides it."""
    patience: float = 60.0
    """Seconds to wait for an answer."""

    @classmethod
    def from_settings(cls, settings: BaseSettings) -> Manners:
        """Read them.

        Settings:
            ROOMS_MESSAGE_INTERVAL (0.65), ROOMS_PER_CONNECTION (49), ROOMS_STAY (0.0),
            ROOMS_SETTLE (10.0), DOWNLOAD_TIMEOUT: see the fields.

        """
        return cls(
            interval=settings.getfloat("ROOMS_MESSAGE_INTERVAL", 0.65),
            rooms=settings.getint("ROOMS_PER_CONNECTION", 49),
            stay=settings.getfloat("ROOMS_STAY", 0.0),
            settle=settings.getfloat("ROOMS_SETTLE", 10.0),
            patience=settings.getfloat("DOWNLOAD_TIMEOUT"),
        )


@dataclass(slots=True)
class _Visit:
    """One room that we are in, or about to enter or to leave."""

    reader: RoomReader = field(default_factory=RoomReader)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    leave: Message | None = None
    """What makes us leave, whether it is sent or not."""
    watchers: int = 0
    """Requests that look into it; the last one leaves."""


class ShowdownDialogue:
    """Everything that is said over one connection."""

    def __init__(
        self,
        send: Callable[[str], Awaitable[None]],
        settings: BaseSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.counts: Counter[str] = Counter()
        """Frames that came, lines that made no sense, and messages that were thrown away."""
        self.notice = ""
        """What the server last said to us alone, such as that it locks us out."""
        self.latency = 0.0
        """Seconds that the last answer took; waiting for our own turn is not counted."""
        self._manners = Manners.from_settings(settings)
        self._clock = clock
        self._outbox = Outbox(
            send,
            interval=self._manners.interval,
            # It says nothing of rooms that are hidden.
            joins_at_once=self._manners.stay > 0,
            clock=clock,
            sleep=sleep,
        )
        self._visits: dict[str, _Visit] = {}
        self._formats: list[str] = []
        self._asking = asyncio.Lock()
        self._asked: tuple[str, asyncio.Future[Any]] | None = None
        """The kind of question that is on its way: answers do not say which they are for."""
        self._refusals, self._was_let_in = 0, False
        """Rooms in a row into which we were not let, and whether we were in any before."""
        self._is_lost = False
        self._leaving = asyncio.Event()

    # --- What the connection calls ----------------------------------------------------------------

    @classmethod
    def kind(cls, request: Request) -> str:
        return "list" if "list" in _question(request) else ""

    def received(self, frame: str) -> None:
        room, lines = split_frame(frame)
        self.counts["frames"] += 1
        if not room and is_throttled(lines):
            self.counts["thrown_away"] += 1
            self._outbox.send_again()
        elif visit := self._visits.get(room):
            self._see(room, visit, lines)
        else:
            for line in lines:
                self._hear(line)

    def load(self) -> int:
        return len(self._outbox)

    def accepts(self, request: Request) -> bool:
        if self._is_lost or "room" not in _question(request):
            return not self._is_lost
        # A visit is over in a moment: what would wait here for its turn, another connection takes.
        has_time = self._manners.stay > 0 or self.load() < _AHEAD
        return has_time and self._room_left() > 0

    async def answer(self, request: Request) -> TextResponse:
        question = _question(request)
        if "room" in question:
            status, body = await self._visit(question["room"][0], request.meta.get("alive"))
        else:
            status, body = HTTPStatus.OK, await self._list(request)
        # AutoThrottle goes by this.
        request.meta["download_latency"] = self.latency
        return TextResponse(request.url, status=status, body=body, encoding="utf-8")

    async def run(self) -> None:
        await self._outbox.run()

    def leave(self) -> None:
        self._leaving.set()
        if self._asked is not None and not self._asked[1].done():
            self._asked[1].set_exception(HeldError("the list", 0.0, "the crawl is ending"))
        for visit in self._visits.values():
            visit.news.set()

    def lost(self) -> None:
        self._is_lost = True
        if self._asked is not None and not self._asked[1].done():
            self._asked[1].set_exception(LostError())
        for visit in self._visits.values():
            visit.news.set()

    # --- The list ---------------------------------------------------------------------------------

    async def _list(self, request: Request) -> bytes:
        began, first = self._clock(), tops(request.url)
        look = Look(first, Plan.read(request.meta.get("plan")))
        while asked := look.next():
            answer = await self._ask("roomlist", asked.command)
            try:
                look.take(asked, parse_room_list(answer))
            except BadReplyError as error:
                raise ServerRefusedError(f"its list is none: {error}") from error
        total = None
        if look.is_short and first == [Question()]:
            total = parse_battle_count(await self._ask("rooms", "/cmd rooms"))
        return look.write(total=total, formats=self._formats, seconds=self._clock() - began)

    async def _ask(self, kind: str, command: str) -> Any:  # noqa: ANN401 -- what JSON holds
        async with self._asking:
            if self._is_lost:
                raise LostError
            if self._leaving.is_set():
                raise HeldError("the list", 0.0, "the crawl is ending")
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self._asked = kind, answer
            message = self._outbox.post(command, lambda: not answer.done())
            try:
                value = await asyncio.wait_for(answer, self._manners.patience)
            except TimeoutError as error:
                raise DownloadTimeoutError(f"{command}: no answer") from error
            finally:
                self._asked = None
            self.latency = self._clock() - message.sent_at
            return value

    def _hear(self, line: str) -> None:
        """Take a line that is for no room."""
        if (formats := parse_formats(line)) is not None:
            self._formats = formats
        elif (response := parse_query(line)) is not None:
            kind, value = response
            if self._asked is not None and self._asked[0] == kind and not self._asked[1].done():
                self._asked[1].set_result(value)
        elif (notice := parse_notice(line)) is not None:
            self.notice = one_line(notice, _NOTICE)
        elif not line.startswith("|"):
            self.counts["unknown"] += 1

    # --- Rooms ------------------------------------------------------------------------------------

    def _room_left(self) -> int:
        for room, visit in list(self._visits.items()):
            if visit.leave and self._is_overdue(visit.leave):
                self._forget(room, visit)
        return self._manners.rooms - len(self._visits)

    def _is_overdue(self, leave: Message) -> bool:
        return leave.sent_at > 0 and self._clock() - leave.sent_at > _LEFT

    async def _visit(self, room: str, alive: Callable[[], None] | None) -> tuple[HTTPStatus, bytes]:
        visit = await self._enter(room)
        if alive is not None:
            alive()
        reader = visit.reader
        try:
            if reader.state == "running" and self._manners.stay:
                await self._wait(visit, self._manners.stay)
            if reader.state == "ended" and self._manners.stay:
                await self._wait(visit, self._manners.settle)
        finally:
            self._go(room, visit)
        self._heed_refusal(reader)
        if reader.state == "full":
            # A room that we left still counts, or somebody else's do: later there may be room.
            raise HeldError(room, _FULL, "the server lets nobody into more rooms")
        return STATUS[reader.state], "\n".join(reader.lines).encode()

    def _heed_refusal(self, reader: RoomReader) -> None:
        """Tell a server that lets us in nowhere from a room that lets nobody in."""
        if reader.state != "refused":
            # "Full" and "waiting" say nothing of it.
            if reader.state in STATUS:
                self._refusals, self._was_let_in = 0, True
            return
        is_of_the_room = self._refusals == 0 and self._was_let_in
        self._refusals += 1
        if self._refusals >= RUN:
            raise ServerRefusedError(
                f"it lets us into no room: {one_line(reader.refusal, _NOTICE)}"
            )
        if not is_of_the_room:
            raise HeldError("a room", _FULL, "the server may let us in nowhere")

    async def _enter(self, room: str) -> _Visit:
        """Join a room; one that we have not left yet, we stay in."""
        if self._leaving.is_set():
            raise HeldError(room, 0.0, "the crawl is ending")
        await self._let_go(room)
        visit = self._visits.setdefault(room, _Visit())
        visit.watchers += 1
        is_in = visit.reader.state != "waiting"
        try:
            is_in = is_in or await self._join(room, visit)
        finally:
            if not is_in:
                self._go(room, visit)
        if not is_in and self._leaving.is_set():
            raise HeldError(room, 0.0, "the crawl is ending")
        if not is_in:
            raise DownloadTimeoutError(f"{room}: the server does not let us in")
        return visit

    async def _let_go(self, room: str) -> None:
        """Stay in a room that we were about to leave, or wait until we have left it."""
        while (old := self._visits.get(room)) and not self._leaving.is_set():
            if old.leave is None or not old.leave.sent_at:
                old.leave = None
                return
            if self._is_overdue(old.leave):
                self._forget(room, old)
            else:
                old.news.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(old.news.wait(), _LEFT)

    async def _join(self, room: str, visit: _Visit) -> bool:
        """Knock, and tell whether somebody answered, if only to send us away."""
        reader, in_turn = visit.reader, self._outbox.seconds
        join = self._outbox.post(
            f"/join {room}", lambda: reader.state == "waiting" and not self._is_lost
        )
        has_answer = await self._wait(visit, self._manners.patience + in_turn)
        if has_answer and join.sent_at:
            self.latency = self._clock() - join.sent_at
        return has_answer

    def _forget(self, room: str, visit: _Visit) -> None:
        if self._visits.get(room) is visit:
            del self._visits[room]
        visit.news.set()

    async def _wait(self, visit: _Visit, seconds: float) -> bool:
        """Wait until the state of a room changes, or nothing more will come of it."""
        reader, deadline, before = visit.reader, self._clock() + seconds, visit.reader.state
        while reader.state == before and not reader.is_complete:
            if self._is_lost:
                raise LostError
            left = deadline - self._clock()
            if left <= 0 or self._leaving.is_set():
                return False
            visit.news.clear()
            try:
                await asyncio.wait_for(visit.news.wait(), left)
            except TimeoutError:
                return False
        return True

    def _go(self, room: str, visit: _Visit) -> None:
        visit.watchers -= 1
        if visit.watchers:
            return
        if visit.reader.state in ("running", "ended", "waiting") and not self._is_lost:
            # Not when somebody is about to stay, or has joined again since.
            visit.leave = self._outbox.post(
                f"/leave {room}",
                lambda: visit.leave is not None and self._visits.get(room, visit) is visit,
            )
        else:
            self._forget(room, visit)

    def _see(self, room: str, visit: _Visit, lines: list[str]) -> None:
        visit.reader.feed(lines)
        visit.news.set()
        if visit.leave and any(line.startswith(("|deinit", "|noinit|")) for line in lines):
            visit.leave = None
            self._forget(room, visit)


def _question(request: Request) -> dict[str, list[str]]:
    return parse_qs(urlsplit(request.url).query, keep_blank_values=True)
