"""Look at the list and into rooms through the site's own web client, in a real browser.

One page stays at the list, and each visit to a room is a page of its own. They answer the same
questions as `dialogue`, so spider and parsers do not know the difference.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from playwright.async_api import Error as BrowserError
from playwright.async_api import TimeoutError as BrowserTimeoutError
from scrapy import Request
from scrapy.exceptions import DownloadFailedError, DownloadTimeoutError
from scrapy.http import Response, TextResponse
from scrapy_playwright.handler import ScrapyPlaywrightDownloadHandler

from battles.client_pages import ListPage, PageError, RoomPage, SilentPageError
from battles.dialogue import RUN, Manners
from battles.parsers.frames import room_of
from battles.parsers.names import battle_of
from extensions.gated_download import GatedDownloadHandler, NoConnectionError, is_refusal
from extensions.hosts import host_of
from extensions.outage import Backoff, Failure, Outage
from extensions.robots import RobotsTxtMiddleware
from extensions.signals import leaving
from extensions.throttle import HeldError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from scrapy.crawler import Crawler

    from battles.client_pages import ClientPage

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LIST = "/battles"
_FAREWELL = 2.0
"""Seconds for a page, a context or the browser to close."""
_MARGIN = 30.0
"""Seconds for the browser to start and a page to load, beside what it is looked at for."""
_HELD, _HELD_MAX = 5.0, 300.0
"""Seconds to leave a server alone that lets us into no room; they double."""
_FREE = 2.0
"""Seconds that a visit waits for a page; then it makes way, so that the list never waits longer."""


class BrowserDownloadHandler(GatedDownloadHandler):
    """A download handler in the place of the websocket's: opens the web client's pages instead.

    The pages are asked for only if the client's robots.txt allows it.

    Settings:
        SHOWDOWN_CLIENT_URL: the web client.
        BROWSER_PAGES (8): rooms that are visited at the same time; the list's page does not count.
        BROWSER_CONTEXT_PAGES (50): visits after which a browser context is thrown away, since they
            leak; and looks after which the list's page is opened anew.
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
        self._free = asyncio.Semaphore(settings.getint("BROWSER_PAGES", 8))
        self._opened = 0
        self._pages_open: Counter[str] = Counter()
        """By context: its pages."""
        self._list: ListPage | None = None
        self._lists = 0
        """Pages of the list that were opened so far."""
        self._looking = asyncio.Lock()
        self._told: dict[str, str] = {}
        """What is wrong with the pages of a kind, as it was said."""
        self._refusals = 0
        """Rooms in a row into which we were not let."""
        self._backoff = Backoff(_HELD, _HELD_MAX, time.monotonic)
        self._outage = Outage(host_of(settings.get("SHOWDOWN_SERVER_URL", "")))
        self._is_leaving = asyncio.Event()
        crawler.signals.connect(self._leave, leaving)

    async def download_request(self, request: Request) -> Response:
        if battle_of(request.url) is None:
            return await super().download_request(request)
        host = host_of(request.url)
        try:
            await self._unless_leaving(host, asyncio.wait_for(self._free.acquire(), _FREE))
        except TimeoutError:
            raise HeldError(host, _FREE, "all pages are in use") from None
        try:
            return await super().download_request(request)
        finally:
            self._free.release()

    async def fetch(self, request: Request) -> Response:
        answer = self._look if battle_of(request.url) is None else self._visit
        try:
            return await self._unless_leaving(host_of(request.url), answer(request))
        except _RefusedError as error:
            # As any other reply: the throttle heeds it.
            refusal = error.response
            return Response(request.url, status=refusal.status, headers=refusal.headers)

    async def close(self) -> None:
        await _quietly(self._browser.close())

    def _leave(self) -> None:
        self._is_leaving.set()

    async def _unless_leaving(self, host: str, work: Awaitable[T]) -> T:
        """Wait for some work, and break it off when the crawl ends."""
        task = asyncio.ensure_future(work)
        left = asyncio.ensure_future(self._is_leaving.wait())
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        left.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_FAREWELL)
        if task.done() and not task.cancelled():
            return task.result()
        raise HeldError(host, 0.0, "the crawl is ending")

    # --- The list ---------------------------------------------------------------------------------

    async def _look(self, request: Request) -> Response:
        async with self._looking:
            began = time.monotonic()
            view = await self._list_page()
            try:
                async with self._saying("the list", view):
                    if view.page is None:
                        async with asyncio.timeout(self._manners.patience + _MARGIN):
                            await self._open(request, _LIST, view, f"list {self._lists}")
                    body = await view.look(request, began)
            except Exception:
                await self._close_list()
                raise
        request.meta["download_latency"] = view.latency
        return TextResponse(request.url, body=body, encoding="utf-8")

    async def _list_page(self) -> ListPage:
        """Return the page that was looked at before, or a new one if that is of no use any more."""
        if self._list is not None:
            if not self._list.fault and self._list.looks < self._context_pages:
                return self._list
            await self._close_list()
        self._list, self._lists = ListPage(self._manners), self._lists + 1
        return self._list

    async def _close_list(self) -> None:
        self._list = None
        await self._close_context(f"list {self._lists}")

    # --- Rooms ------------------------------------------------------------------------------------

    async def _visit(self, request: Request) -> Response:
        view = RoomPage(request, self._manners)
        context = f"{self._opened // self._context_pages}"
        self._opened += 1
        self._pages_open[context] += 1
        try:
            async with self._saying("a room", view), asyncio.timeout(view.seconds + _MARGIN):
                path = f"/{room_of(battle_of(request.url) or '')}"
                await self._open(request, path, view, context)
                await view.watch()
        except asyncio.CancelledError:
            # A room that is stayed in hands over what it has.
            if not view.has_answer:
                raise
        finally:
            await self._close_page(view, context)
        status, body = view.answer()
        self._heed_refusal(host_of(request.url), status)
        # AutoThrottle goes by this.
        request.meta["download_latency"] = view.latency
        return TextResponse(request.url, status=status, body=body, encoding="utf-8")

    def _heed_refusal(self, host: str, status: int) -> None:
        """Tell a server that lets us in nowhere from a room that lets nobody in."""
        if status != HTTPStatus.LOCKED:
            self._refusals = 0
            self._backoff.reset()
            self._outage.answered()
            return
        self._refusals += 1
        if self._refusals >= RUN:
            failure = Failure("it lets us into no room", seconds=self._backoff.failed())
            self._outage.failed(failure)
            raise NoConnectionError(host, failure)

    async def _close_page(self, view: RoomPage, context: str) -> None:
        """Close a page; throw a context away with its last, once pages go to the next one."""
        self._pages_open[context] -= 1
        if self._is_leaving.is_set():
            # The browser closes with all that is in it.
            return
        if view.page is not None and not view.page.is_closed():
            await _quietly(view.page.close())
        is_used_up = self._opened // self._context_pages > int(context)
        if is_used_up and not self._pages_open[context]:
            await self._close_context(context)

    # --- Pages ------------------------------------------------------------------------------------

    async def _open(self, request: Request, path: str, view: ClientPage, context: str) -> None:
        """Load a page of the client, with a view that listens to it from the start."""
        page = Request(f"{self._client}{path}", headers=request.headers)
        robots = self.crawler.get_downloader_middleware(RobotsTxtMiddleware)
        if robots is not None:
            await robots.process_request(page)
        page.meta.update(
            playwright=True,
            playwright_context=context,
            playwright_include_page=True,
            playwright_page_init_callback=view.attach,
            playwright_page_goto_kwargs={"wait_until": "domcontentloaded"},
        )
        response = await self._browser.download_request(page)
        if is_refusal(response):
            raise _RefusedError(response)
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise PageError(f"HTTP {response.status}")

    async def _close_context(self, context: str) -> None:
        wrapper = self._browser.context_wrappers.get(context)
        if wrapper is not None:
            await _quietly(wrapper.context.close())

    @asynccontextmanager
    async def _saying(self, what: str, view: ClientPage) -> AsyncIterator[None]:
        """Turn what goes wrong with a page into a download error, and say it when it is news."""
        try:
            yield
        except (PageError, BrowserError, TimeoutError) as error:
            cause = _cause(error)
            if self._told.get(what) != cause:
                self._told[what] = cause
                logger.warning("The page of %s: %s%s", what, cause, await self._keep_picture(view))
            is_late = isinstance(error, SilentPageError | BrowserTimeoutError | TimeoutError)
            failed = DownloadTimeoutError if is_late else DownloadFailedError
            raise failed(f"the page of {what}: {cause}") from error
        if self._told.pop(what, ""):
            logger.info("The page of %s is well again", what)

    async def _keep_picture(self, view: ClientPage) -> str:
        """Keep a picture of a page, and return words that say where; none when there is none."""
        if view.page is None:
            return ""
        shown = view.page.url.rpartition("/")[2]
        name = re.sub(r"[^A-Za-z0-9-]+", "-", f"{time.time():.0f} {shown}")
        path = self._screenshots / f"{name}.png"
        try:
            await view.page.screenshot(path=path, timeout=1000 * _FAREWELL)
        except BrowserError:
            return ""
        return f"; see {path}"


class _RefusedError(Exception):
    """Raised when the client's site asks to be left alone."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"HTTP {response.status}")
        self.response = response


async def _quietly(closing: Awaitable[object]) -> None:
    with suppress(TimeoutError, BrowserError):
        await asyncio.wait_for(closing, _FAREWELL)


def _cause(error: Exception) -> str:
    """Tell what went wrong with a page, the same for each page with which it does."""
    text = (str(error) or "it takes too long").partition("\n")[0]
    return re.sub(r" at \S+://\S+", "", text)
