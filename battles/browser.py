"""Look at the list and into rooms through the site's own web client, in a real browser.

The page is not read but listened to: the frames of its websocket say the same as the server does,
and answer the same questions as `dialogue`, so spider and parsers do not know the difference.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import Error as BrowserError
from playwright.async_api import TimeoutError as BrowserTimeoutError
from scrapy import Request
from scrapy.exceptions import DownloadFailedError, DownloadTimeoutError
from scrapy.http import TextResponse
from scrapy_playwright.handler import ScrapyPlaywrightDownloadHandler
from scrapy_playwright.page import PageMethod

from battles.dialogue import STATUS, Manners
from battles.listing import Look, Plan, Question, tops
from battles.parsers.frames import (
    RoomList,
    RoomReader,
    parse_formats,
    parse_query,
    parse_room_list,
    room_of,
    split_frame,
)
from battles.parsers.names import battle_of
from battles.parsers.reply import BadReplyError
from extensions.gated_download import GatedDownloadHandler
from extensions.hosts import host_of
from extensions.robots import RobotsTxtMiddleware
from extensions.signals import leaving
from extensions.throttle import HeldError

if TYPE_CHECKING:
    from playwright.async_api import Page, WebSocket
    from scrapy.crawler import Crawler
    from scrapy.http import Response

logger = logging.getLogger(__name__)

_LIST = "/battles"
_FAREWELL = 5.0
"""Seconds for a page, a context or the browser to close."""
_MARGIN = 30.0
"""Seconds for a page to open and close, beside what it is looked at for."""


class BrowserDownloadHandler(GatedDownloadHandler):
    """A download handler in the place of the websocket's: opens the web client's pages instead.

    The pages are asked for only if the client's robots.txt allows it.

    Settings:
        SHOWDOWN_CLIENT_URL: the web client.
        BROWSER_CONTEXT_PAGES (50): pages after which a browser context is thrown away: they leak.
        BROWSER_SCREENSHOTS (.scrapy/screenshots): where a picture is kept of a page that is not
            what was expected.
        PLAYWRIGHT_…: as in scrapy-playwright. ROOMS_…: as in `dialogue`.
    """

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        settings = crawler.settings
        self._client = settings["SHOWDOWN_CLIENT_URL"].rstrip("/")
        self._manners = Manners.from_settings(settings)
        self._context_pages = settings.getint("BROWSER_CONTEXT_PAGES", 50)
        self._screenshots = Path(settings.get("BROWSER_SCREENSHOTS", ".scrapy/screenshots"))
        self._browser = ScrapyPlaywrightDownloadHandler.from_crawler(crawler)
        self._opened = 0
        self._pages_open: Counter[str] = Counter()
        """By context: its pages."""
        self._is_leaving = asyncio.Event()
        crawler.signals.connect(self._leave, leaving)

    async def fetch(self, request: Request) -> Response:
        battle_id = battle_of(request.url)
        path = _LIST if battle_id is None else f"/{room_of(battle_id)}"
        page = Request(f"{self._client}{path}", headers=request.headers)
        robots = self.crawler.get_downloader_middleware(RobotsTxtMiddleware)
        if robots is not None:
            await robots.process_request(page)
        if battle_id is None:
            return await self._look(request, page, _ListPage(request, self._manners))
        view = _RoomPage(request, self._manners, self._is_leaving)
        return await self._look(request, page, view)

    async def close(self) -> None:
        with suppress(TimeoutError, BrowserError):
            await asyncio.wait_for(self._browser.close(), _FAREWELL)

    def _leave(self) -> None:
        self._is_leaving.set()

    async def _look(self, request: Request, page: Request, view: _View) -> Response:
        context = f"{self._opened // self._context_pages}"
        self._opened += 1
        self._pages_open[context] += 1
        page.meta.update(
            playwright=True,
            playwright_context=context,
            playwright_page_event_handlers={"websocket": view.listen},
            playwright_page_goto_kwargs={"wait_until": "domcontentloaded"},
            playwright_page_methods=[PageMethod(self._watch, view)],
        )
        began = time.monotonic()
        try:
            await self._open(page, view)
        except BrowserTimeoutError as error:
            raise DownloadTimeoutError(f"{page.url}: {_first_line(error)}") from error
        except BrowserError as error:
            raise DownloadFailedError(f"{page.url}: {_first_line(error)}") from error
        finally:
            await self._close_page(context)
        request.meta["download_latency"] = view.heard_at - began
        return TextResponse(request.url, status=view.status, body=view.body, encoding="utf-8")

    async def _open(self, page: Request, view: _View) -> None:
        """Open a page and look at it, but not for ever, and not when the crawl ends."""
        opened = asyncio.ensure_future(self._browser.download_request(page))
        left = asyncio.ensure_future(self._is_leaving.wait())
        await asyncio.wait(
            {opened, left}, timeout=view.seconds + _MARGIN, return_when=asyncio.FIRST_COMPLETED
        )
        left.cancel()
        if not opened.done() and self._is_leaving.is_set():
            # A room hands over what it has.
            await asyncio.wait({opened}, timeout=_FAREWELL)
        if opened.done():
            await opened
            return
        opened.cancel()
        await asyncio.gather(opened, return_exceptions=True)
        await view.close()
        if self._is_leaving.is_set():
            raise HeldError(host_of(page.url), 0.0, "the crawl is ending")
        raise DownloadTimeoutError(f"{page.url}: nothing in {view.seconds + _MARGIN:.0f} s")

    async def _watch(self, page: Page, view: _View) -> None:
        """Have the view look at its page; keep a picture of one that says nothing."""
        view.page = page
        try:
            await view.watch(page)
        except (TimeoutError, BrowserTimeoutError):
            name = re.sub(r"[^A-Za-z0-9-]+", "-", f"{time.time():.0f}{urlsplit(page.url).path}")
            path = self._screenshots / f"{name}.png"
            with suppress(BrowserError):
                await page.screenshot(path=path)
            logger.warning("%s is not what was expected: see %s", page.url, path)
            raise BrowserTimeoutError(f"it says nothing: see {path}") from None

    async def _close_page(self, context: str) -> None:
        """Throw a context away with its last page, once pages go to the next one."""
        self._pages_open[context] -= 1
        is_used_up = self._opened // self._context_pages > int(context)
        wrapper = self._browser.context_wrappers.get(context)
        if is_used_up and not self._pages_open[context] and wrapper is not None:
            with suppress(TimeoutError, BrowserError):
                await asyncio.wait_for(wrapper.context.close(), _FAREWELL)


class _View(ABC):
    """What one page is opened for; it listens to the page's websocket."""

    status = HTTPStatus.OK
    body = b""
    seconds = 60.0
    """That looking takes at most."""
    page: Page | None = None

    def __init__(self, request: Request, manners: Manners) -> None:
        self.heard_at = time.monotonic()
        """When the first answer came."""
        self._url = request.url
        self._manners = manners
        self._has_heard = False

    def listen(self, socket: WebSocket) -> None:
        socket.on("framereceived", self._receive)

    @abstractmethod
    async def watch(self, page: Page) -> None:
        """Look at the page until everything is known, and set status and body."""

    async def close(self) -> None:
        """Close the page, if it is still open."""
        if self.page is not None and not self.page.is_closed():
            with suppress(TimeoutError, BrowserError):
                await asyncio.wait_for(self.page.close(), _FAREWELL)

    @abstractmethod
    def hear(self, room: str, lines: list[str]) -> None:
        """Take a frame."""

    def _receive(self, frame: Any) -> None:  # noqa: ANN401 -- text or bytes
        if isinstance(frame, str):
            self.hear(*split_frame(frame))

    def _note_answer(self) -> None:
        if not self._has_heard:
            self._has_heard, self.heard_at = True, time.monotonic()


class _ListPage(_View):
    """The list of battles, asked by the page's own controls."""

    def __init__(self, request: Request, manners: Manners) -> None:
        super().__init__(request, manners)
        # Each question is a click and an answer; a full list takes some hundred of them.
        self.seconds = 10 * manners.patience
        self._answers: asyncio.Queue[RoomList] = asyncio.Queue()
        self._plan = Plan.read(request.meta.get("plan"))
        self._formats: list[str] = []
        self._shown = Question()

    def hear(self, room: str, lines: list[str]) -> None:
        for line in [] if room else lines:
            if (formats := parse_formats(line)) is not None:
                self._formats = formats
            elif (response := parse_query(line)) is not None and response[0] == "roomlist":
                with suppress(BadReplyError):
                    self._answers.put_nowait(parse_room_list(response[1]))
                    self._note_answer()

    async def watch(self, page: Page) -> None:
        query = parse_qs(urlsplit(self._url).query)
        formats = [name for name in query.get("formats", [""])[0].split(",") if name]
        elo = query.get("min_elo", [""])[0]
        min_elo = int(elo) if elo else None
        look, began = Look(tops(formats, min_elo), self._plan), time.monotonic()
        # The page asks for all battles of itself.
        answer = await self._answer()
        while question := look.next():
            if question != self._shown:
                answer = await self._ask(page, question)
            look.take(question, answer)
        self.body = look.write(formats=self._formats, seconds=time.monotonic() - began)

    async def _ask(self, page: Page, question: Question) -> RoomList:
        """Set what is different, one control after the other: each of them asks anew."""
        answer = None
        if question.min_elo != self._shown.min_elo:
            await page.select_option("select[name=elofilter]", await _elo(page, question.min_elo))
            answer = await self._answer()
        if question.format != self._shown.format:
            await page.click("button.formatselect")
            await page.click(f"button[name=selectFormat][value='{question.format}']")
            answer = await self._answer()
        if question.prefix != self._shown.prefix or answer is None:
            await page.fill("input[name=prefixsearch]", question.prefix)
            await page.press("input[name=prefixsearch]", "Enter")
            answer = await self._answer()
        self._shown = question
        return answer

    async def _answer(self) -> RoomList:
        return await asyncio.wait_for(self._answers.get(), self._manners.patience)


class _RoomPage(_View):
    """A battle, until it ends or we have waited long enough."""

    def __init__(self, request: Request, manners: Manners, is_leaving: asyncio.Event) -> None:
        super().__init__(request, manners)
        self.seconds = manners.patience + manners.stay + manners.settle
        self._room = room_of(battle_of(request.url) or "")
        self._reader = RoomReader()
        self._news = asyncio.Event()
        self._is_leaving = is_leaving

    def hear(self, room: str, lines: list[str]) -> None:
        if room == self._room:
            self._reader.feed(lines)
            self._note_answer()
            self._news.set()

    async def watch(self, page: Page) -> None:
        reader = self._reader
        if not await self._wait("waiting", self._manners.patience):
            raise TimeoutError(f"{page.url} joins no room")
        if self._manners.stay:
            await self._wait("running", self._manners.stay)
            await self._wait("ended", self._manners.settle)
        self.status = STATUS.get(reader.state, HTTPStatus.NOT_FOUND)
        self.body = "\n".join(reader.lines).encode()

    async def _wait(self, state: str, seconds: float) -> bool:
        """Wait as long as the room is in a state; tell whether it is in another."""
        deadline = time.monotonic() + seconds
        while self._reader.state == state and not self._reader.is_complete:
            left = deadline - time.monotonic()
            if left <= 0 or (self._is_leaving.is_set() and state != "waiting"):
                return False
            self._news.clear()
            with suppress(TimeoutError):
                # Short, so that the end of the crawl is noticed.
                await asyncio.wait_for(self._news.wait(), min(left, 1.0))
        return True


async def _elo(page: Page, min_elo: int | None) -> str:
    """Choose the highest minimum on offer that excludes none of the wanted battles."""
    offered: list[str] = await page.eval_on_selector_all(
        "select[name=elofilter] option", "options => options.map(option => option.value)"
    )
    fitting = [int(value) for value in offered if value.isdigit() and int(value) <= (min_elo or 0)]
    return str(max(fitting)) if fitting else "none"


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]
