"""Hear what the server says to a page of the web client, and use the page's controls to ask.

A page is not read: its markup is nobody's promise. The frames of its websocket are the server's
own words, and what the page sends tells which answer is to which question.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from battles.dialogue import STATUS
from battles.listing import Look, Plan, Question, tops
from battles.parsers.frames import (
    RoomList,
    RoomReader,
    is_throttled,
    parse_formats,
    parse_query,
    parse_room_list,
    room_of,
    split_frame,
)
from battles.parsers.names import battle_of, to_id
from battles.parsers.reply import BadReplyError
from extensions.throttle import HeldError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from http import HTTPStatus

    from playwright.async_api import Page, WebSocket
    from scrapy import Request

    from battles.dialogue import Manners

_ASKS = "|/cmd roomlist"
_JOINS = "|/join "
_FULL = 30.0
"""Seconds until another try to join, when the server lets nobody into more rooms."""


class PageError(Exception):
    """Raised when a page is not what was expected: the text says why, and names no address."""


class SilentPageError(PageError):
    """Raised when a page that may be well says nothing for too long."""


class ClientPage(ABC):
    """One page of the web client, and the websocket it speaks through."""

    def __init__(self, manners: Manners) -> None:
        self.page: Page | None = None
        self.latency = 0.0
        """Seconds that the server took for its last answer."""
        self._manners = manners
        self._reset()

    def _reset(self) -> None:
        self._open: set[WebSocket] = set()
        self._lost = ""
        """How the last websocket ended, if one did."""
        self._has_crashed = False
        self._asked_at = time.monotonic()
        self._news = asyncio.Event()

    async def attach(self, page: Page, _request: Request) -> None:
        """Listen to a page that is about to be loaded."""
        self._reset()
        self.page = page
        page.on("websocket", self._listen)
        page.on("crash", lambda _page: self._crash())
        page.on("close", lambda _page: self._news.set())

    @property
    def fault(self) -> str:
        """Why nothing more will come of the page; empty while it is well."""
        if self._has_crashed:
            return "it crashed"
        if self.page is None or self.page.is_closed():
            return "it is closed"
        return "" if self._open else self._lost

    async def wait(self, is_done: Callable[[], object], seconds: float) -> None:
        """Wait until the page has heard something.

        Raises:
            PageError: it will hear nothing more.
            SilentPageError: it heard nothing of the kind for so many seconds.

        """
        deadline = time.monotonic() + seconds
        while not is_done():
            if fault := self.fault:
                raise PageError(fault)
            left = deadline - time.monotonic()
            if left <= 0:
                what = "nothing of what was asked" if self._open else "no websocket"
                raise SilentPageError(f"{what} in {seconds:g} s")
            self._news.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), left)

    @abstractmethod
    def hear(self, room: str, lines: list[str]) -> None:
        """Take a frame."""

    @abstractmethod
    def say(self, text: str) -> None:
        """Take note of what the page sends."""

    def _listen(self, socket: WebSocket) -> None:
        self._open.add(socket)
        socket.on("framereceived", self._received)
        socket.on("framesent", lambda frame: self.say(frame) if isinstance(frame, str) else None)
        socket.on("socketerror", lambda error: self._lose(socket, f"its websocket failed: {error}"))
        socket.on("close", lambda _socket: self._lose(socket, "its websocket was closed"))

    def _received(self, frame: Any) -> None:  # noqa: ANN401 -- text or bytes
        if isinstance(frame, str):
            self.hear(*split_frame(frame))
            self._news.set()

    def _lose(self, socket: WebSocket, how: str) -> None:
        if socket in self._open:
            self._open.discard(socket)
            self._lost = how
        self._news.set()

    def _crash(self) -> None:
        self._has_crashed = True
        self._news.set()

    def _note_question(self) -> None:
        self._asked_at = time.monotonic()

    def _note_answer(self) -> None:
        self.latency = time.monotonic() - self._asked_at


class RoomPage(ClientPage):
    """A page that shows one battle."""

    def __init__(self, request: Request, manners: Manners) -> None:
        super().__init__(manners)
        self._request = request
        self._room = room_of(battle_of(request.url) or "")
        self._reader = RoomReader()

    @property
    def seconds(self) -> float:
        """How long it may have to be watched."""
        manners = self._manners
        return manners.patience + (manners.stay + manners.settle if manners.stay else 0.0)

    @property
    def has_answer(self) -> bool:
        return self._reader.state != "waiting"

    def hear(self, room: str, lines: list[str]) -> None:
        if room == self._room:
            was_waiting = not self.has_answer
            self._reader.feed(lines)
            if was_waiting and self.has_answer:
                self._note_answer()

    def say(self, text: str) -> None:
        if text.startswith(_JOINS):
            self._note_question()

    async def watch(self) -> None:
        """Wait for the room's answer; where rooms are stayed in, for the end of its battle, too."""
        await self.wait(lambda: self.has_answer, self._manners.patience)
        if alive := self._request.meta.get("alive"):
            alive()
        if self._manners.stay:
            await self._stay("running", self._manners.stay)
            await self._stay("ended", self._manners.settle)

    async def _stay(self, state: str, seconds: float) -> None:
        with suppress(SilentPageError):
            await self.wait(lambda: self._reader.state != state, seconds)

    def answer(self) -> tuple[HTTPStatus, bytes]:
        """Return what the room has said so far.

        Raises:
            HeldError: the server lets nobody into more rooms.

        """
        if self._reader.state == "full":
            raise HeldError(self._room, _FULL, "the server lets nobody into more rooms")
        return STATUS[self._reader.state], "\n".join(self._reader.lines).encode()


class ListPage(ClientPage):
    """The page that shows the list of battles, and stays open from look to look."""

    def __init__(self, manners: Manners) -> None:
        super().__init__(manners)
        self.looks = 0
        """For which it has been used."""
        self._formats: list[str] = []
        self._shown = Question()
        self._asked: deque[str] = deque()
        """What the page has asked and was not answered yet."""
        self._answers: dict[str, RoomList] = {}
        self._count = 0
        """Of answers so far."""
        self._is_throttled = False

    @property
    def fault(self) -> str:
        return "the server threw its question away" if self._is_throttled else super().fault

    def hear(self, room: str, lines: list[str]) -> None:
        if room:
            return
        self._is_throttled = self._is_throttled or is_throttled(lines)
        for line in lines:
            if (formats := parse_formats(line)) is not None:
                self._formats = formats
            elif (response := parse_query(line)) is not None and response[0] == "roomlist":
                self._take(response[1])

    def say(self, text: str) -> None:
        if text.startswith(_ASKS):
            self._asked.append(_key(text.removeprefix(_ASKS)))
            self._note_question()

    def _take(self, value: object) -> None:
        if self._asked:
            self._note_answer()
            with suppress(BadReplyError):
                self._answers[self._asked[0]] = parse_room_list(value)
            self._asked.popleft()
            self._count += 1

    async def look(self, request: Request, began: float) -> bytes:
        """Look at the list; `began`, on the monotonic clock, is when that was begun.

        Raises:
            PageError: the page does not say what was asked.

        """
        plan = Plan.read(request.meta.get("plan"))
        look = Look(tops(request.url), plan)
        if self.looks:
            self._answers.clear()
        else:
            # It asks for all battles of itself.
            await self.wait(lambda: self._count, self._manners.patience)
        self.looks += 1
        until, is_first = began + plan.room * self._manners.interval, True
        # One question may take several messages, so they are limited by their time.
        while (is_first or time.monotonic() < until) and (question := look.next()):
            if self._offers(question):
                look.take(question, await self._ask(question))
            is_first = False
        return look.write(formats=self._formats, seconds=time.monotonic() - began)

    def _offers(self, question: Question) -> bool:
        return not question.format or not self._formats or question.format in self._formats

    async def _ask(self, question: Question) -> RoomList:
        """Set what is different; each control but the prefix asks anew."""
        assert self.page is not None  # noqa: S101 -- it is open
        page, shown = self.page, self._shown
        elo = await _elo(page, question.min_elo)
        wanted = _key(f"{question.format},{elo},{question.prefix}")
        if question.prefix != shown.prefix:
            await page.fill("input[name=prefixsearch]", question.prefix)
        if question.min_elo != shown.min_elo:
            await self._use(page.select_option("select[name=elofilter]", elo))
        if question.format != shown.format:
            await page.click("button.formatselect")
            choice = f"button[name=selectFormat][value='{question.format}']"
            await self._use(page.click(choice))
        if wanted not in self._answers:
            await self._use(page.press("input[name=prefixsearch]", "Enter"))
        self._shown = question
        answer = self._answers.get(wanted)
        self._answers.clear()
        if answer is None:
            raise PageError(f"it does not ask for {wanted!r}")
        # The choice of ratings on offer may be a wider one.
        rooms = (room for room in answer.rooms if (room.min_elo or 0) >= (question.min_elo or 0))
        return RoomList(tuple(rooms), answer.shown)

    async def _use(self, step: Awaitable[object]) -> None:
        """Use a control, and wait for the answer to what it asks."""
        before = self._count
        await step
        await self.wait(lambda: self._count > before, self._manners.patience)


async def _elo(page: Page, min_elo: int | None) -> str:
    """Choose the highest minimum on offer that excludes none of the wanted battles."""
    if min_elo is None:
        return "none"
    offered: list[str] = await page.eval_on_selector_all(
        "select[name=elofilter] option", "options => options.map(option => option.value)"
    )
    fitting = [int(value) for value in offered if value.isdigit() and int(value) <= min_elo]
    return str(max(fitting)) if fitting else "none"


def _key(text: str) -> str:
    """Write a question as a page or we put it: `gen9ou,1500,ab`.

    >>> _key(" gen9ou,none,"), _key(""), _key(" ,1500,A B")
    ('gen9ou,,', ',,', ',1500,ab')
    """
    format, elo, prefix = (*text.strip().split(","), "", "", "")[:3]
    return f"{to_id(format)},{elo if elo.isdigit() else ''},{to_id(prefix)}"
