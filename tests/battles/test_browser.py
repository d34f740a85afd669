"""Lists and rooms through pages in a real Chromium, of a client and a server of the test's own."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from scrapy import Request, signals
from scrapy.core.downloader.handlers.http11 import HTTP11DownloadHandler
from scrapy.exceptions import DownloadFailedError, DownloadTimeoutError
from scrapy.http import Response
from scrapy.utils.test import get_crawler

from battles.browser import BrowserDownloadHandler
from battles.listing import Plan, read_look
from extensions.signals import leaving
from extensions.throttle import HeldError
from sandbox import client as sandbox_client

ROOM = "battle-gen9ou-1"
LOG = "|init|battle\n|player|p1|A|1|\n|turn|1\n|win|A"
SITE = "ws://server/showdown/websocket"
LIST = f"{SITE}?list&formats=&min_elo="
PLAIN = "<!DOCTYPE html><title>Just a moment...</title><p>Checking your browser"


class Site:
    """A web client and its battle server, which do what the test wants."""

    def __init__(self) -> None:
        self.rooms = {ROOM: LOG}
        """By name: what a room says; one that says nothing keeps the guest waiting."""
        self.asked: list[str] = []
        self.pages: Counter[str] = Counter()
        self.lines: set[web.WebSocketResponse] = set()
        self.status = 200
        self.headers: dict[str, str] = {}
        self.text = ""
        """Of a page that is none of the client's."""
        self.is_closed = False
        """Whether the server takes no websocket."""
        self.hangs = asyncio.Event()
        self.hangs.set()
        """While it is not set, pages load for ever."""
        self.url = ""

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/socket", self._talk), web.get("/{path}", self._page)])
        return app

    async def _page(self, request: web.Request) -> web.Response:
        self.pages[request.path] += 1
        await self.hangs.wait()
        socket = f"{self.url.replace('http', 'ws')}/socket"
        html = sandbox_client._PAGE.read_text(encoding="utf-8")
        text = self.text or html.replace("'{{server}}'", json.dumps(socket))
        return web.Response(
            text=text, content_type="text/html", status=self.status, headers=self.headers
        )

    async def _talk(self, request: web.Request) -> web.WebSocketResponse:
        if self.is_closed:
            raise web.HTTPForbidden
        line = web.WebSocketResponse()
        await line.prepare(request)
        self.lines.add(line)
        await line.send_str("|formats|,1|S/V Singles|[Gen 9] OU,e|[Gen 1] OU,e")
        async for message in line:
            await self._answer(line, message.data)
        self.lines.discard(line)
        return line

    async def _answer(self, line: web.WebSocketResponse, text: str) -> None:
        self.asked.append(text)
        command, _, room = text.removeprefix("|/").partition(" ")
        if command == "cmd":
            format = room.removeprefix("roomlist ").split(",")[0]
            rooms = {
                id: {"p1": "A", "p2": "B", "minElo": 1200}
                for id in self.rooms
                if id.startswith(f"battle-{format}")
            }
            await line.send_str(f"|queryresponse|roomlist|{json.dumps({'rooms': rooms})}")
        elif said := self.rooms.get(room, "|noinit|nonexistent|gone"):
            await line.send_str(f">{room}\n{said}")


@asynccontextmanager
async def serving() -> AsyncIterator[Site]:
    site = Site()
    runner = web.AppRunner(site.app(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield site
    finally:
        site.hangs.set()
        await runner.cleanup()


class Scene:
    """A handler with a browser, and the site it looks at."""

    def __init__(self, site: Site, handler: BrowserDownloadHandler) -> None:
        self.site = site
        self._handler = handler

    async def look(self, *todo: str) -> list[str]:
        request = Request(LIST, meta={"plan": Plan(todo=[*todo]).write()})
        return [*read_look((await self._handler.download_request(request)).body).rooms]

    async def visit(self, room: str = ROOM, **meta: object) -> Response:
        return await self._handler.download_request(Request(f"{SITE}?room={room}", meta=meta))

    def leave(self) -> None:
        self._handler.crawler.signals.send_catch_log(leaving)

    async def until(self, condition: Callable[[], object]) -> None:
        """Let others work until something is the case; a test that waits for ever fails instead."""
        for _ in range(3000):
            if condition():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it never came about")


@pytest.fixture
def play(chromium, monkeypatch, tmp_path):
    """Have a scene played in a browser."""

    async def rest(_handler: object) -> None:
        """Do nothing: nothing is downloaded without the browser."""

    # They want a reactor, which asyncio's loop is without.
    monkeypatch.setattr("scrapy_playwright.handler.verify_installed_reactor", lambda _path: None)
    monkeypatch.setattr(
        HTTP11DownloadHandler, "__init__", lambda self, crawler: vars(self).update(_crawler=crawler)
    )
    monkeypatch.setattr(HTTP11DownloadHandler, "close", rest)
    sandbox = [] if os.geteuid() else ["--no-sandbox"]

    def run(scene: Callable[[Scene], Coroutine], **given: object) -> object:
        settings = {
            "EXTENSIONS_BASE": {},
            "BROWSER_SCREENSHOTS": str(tmp_path / "pictures"),
            "DOWNLOAD_TIMEOUT": 20.0,
            "PLAYWRIGHT_LAUNCH_OPTIONS": {"executable_path": chromium, "args": sandbox},
            "PLAYWRIGHT_DEFAULT_NAVIGATION_TIMEOUT": 20_000,
            **given,
        }

        async def act() -> object:
            async with serving() as site:
                crawler = get_crawler(settings_dict={"SHOWDOWN_CLIENT_URL": site.url, **settings})
                crawler.get_downloader_middleware = lambda _class: None
                handler = BrowserDownloadHandler.from_crawler(crawler)
                await crawler.signals.send_catch_log_async(signals.engine_started)
                try:
                    return await scene(Scene(site, handler))
                finally:
                    await handler.close()

        return asyncio.run(act())

    return run


@pytest.fixture
def refused() -> str:
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


# --- The list -------------------------------------------------------------------------------------


def test_the_list_has_a_page_that_stays_open_and_is_asked_by_its_controls(play):
    async def scene(at: Scene) -> None:
        at.site.rooms["battle-gen1ou-2"] = LOG
        first = await at.look("gen9ou,,", "gen1ou,,b")
        at.site.rooms = {"battle-gen9ou-3": LOG}
        second = await at.look()

        assert sorted(first) == ["gen1ou-2", "gen9ou-1"]
        assert second == ["gen9ou-3"]
        assert at.site.pages == {"/battles": 1}
        assert len(at.site.lines) == 1

    play(scene)


def test_the_list_is_asked_by_format_rating_and_name(play):
    async def scene(at: Scene) -> list[str]:
        plan = Plan(checks=["gen1ou,1300,a"]).write()
        request = Request(f"{SITE}?list&formats=gen9ou&min_elo=1300", meta={"plan": plan})
        await at._handler.download_request(request)
        # A format that shows all of its battles answers for each name, so another one is asked.
        return at.site.asked

    assert play(scene) == [
        "|/cmd roomlist ,,",
        "|/cmd roomlist ,1300,",
        "|/cmd roomlist gen9ou,1300,",
        "|/cmd roomlist gen1ou,1300,a",
    ]


def test_the_page_of_the_list_is_opened_anew_after_so_many_looks(play):
    async def scene(at: Scene) -> None:
        for _ in range(5):
            assert await at.look() == ["gen9ou-1"]

        assert at.site.pages == {"/battles": 3}
        await at.until(lambda: len(at.site.lines) == 1)

    play(scene, BROWSER_CONTEXT_PAGES=2)


def test_the_page_of_the_list_is_opened_anew_when_its_websocket_has_ended(play):
    async def scene(at: Scene) -> None:
        await at.look()
        for line in [*at.site.lines]:
            await line.close()
        await at.until(lambda: at._handler._list.fault)

        assert await at.look() == ["gen9ou-1"]
        assert at.site.pages == {"/battles": 2}

    play(scene)


def test_a_browser_that_died_is_started_again(play):
    async def scene(at: Scene) -> None:
        await at.look()
        await at._handler._browser.browser.close()

        assert await at.look() == ["gen9ou-1"]
        assert (await at.visit()).status == 200

    play(scene)


def test_the_list_does_not_wait_for_rooms_and_rooms_make_way(play):
    async def scene(at: Scene) -> None:
        at.site.rooms[ROOM] = ""
        visit = asyncio.create_task(at.visit())
        await at.until(lambda: f"|/join {ROOM}" in at.site.asked)

        with pytest.raises(HeldError, match="all pages are in use"):
            await at.visit("battle-gen9ou-2")
        assert await at.look() == ["gen9ou-1"]
        assert not visit.done()
        assert at.site.pages == {"/battles": 1, f"/{ROOM}": 1}
        at.leave()
        await asyncio.gather(visit, return_exceptions=True)

    play(scene, BROWSER_PAGES=1)


# --- Rooms ----------------------------------------------------------------------------------------


def test_a_visit_takes_the_log_and_closes_its_page_at_once(play):
    async def scene(at: Scene) -> Response:
        response = await at.visit()
        await at.until(lambda: not at.site.lines)
        return response

    response = play(scene)

    assert response.status == 200
    assert response.text == "\n".join(LOG.splitlines()[1:])


def test_a_page_is_free_again_after_a_visit(play):
    async def scene(at: Scene) -> list[int]:
        refusals = {"gone": "nonexistent", "hid": "namerequired", "shut": "joinfailed", "odd": "x"}
        for id, code in refusals.items():
            at.site.rooms[f"battle-{id}-1"] = f"|noinit|{code}|no"
        return [(await at.visit(f"battle-{id}-1")).status for id in refusals]

    assert play(scene, BROWSER_PAGES=1, BROWSER_CONTEXT_PAGES=2) == [404, 403, 423, 423]


def test_rooms_that_are_stayed_in_hand_over_what_they_have_when_the_crawl_ends(play):
    async def scene(at: Scene) -> Response:
        at.site.rooms[ROOM] = LOG.removesuffix("\n|win|A")
        is_in = asyncio.Event()
        visit = asyncio.create_task(at.visit(alive=is_in.set))
        await is_in.wait()
        at.leave()
        return await visit

    assert play(scene, ROOMS_STAY=600.0).text.endswith("|turn|1")


# --- What is no answer ----------------------------------------------------------------------------


def warnings(caplog) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


def broken(site: Site) -> None:
    site.status = 500


def missing(site: Site) -> None:
    site.status = 404


def shut(site: Site) -> None:
    site.is_closed = True


def other(site: Site) -> None:
    site.text = PLAIN


def hanging(site: Site) -> None:
    site.hangs.clear()


def away(site: Site) -> None:
    site.rooms[ROOM] = ""


IMPATIENT = {"DOWNLOAD_TIMEOUT": 1.0}


@pytest.mark.parametrize(
    ("happens", "given", "what"),
    [
        (broken, {}, (DownloadFailedError, "HTTP 500")),
        (missing, {}, (DownloadFailedError, "HTTP 404")),
        (shut, {}, (DownloadFailedError, "its websocket failed: .*403")),
        (other, IMPATIENT, (DownloadTimeoutError, "no websocket in 1 s")),
        (away, IMPATIENT, (DownloadTimeoutError, "nothing of what was asked in 1 s")),
    ],
)
def test_what_goes_wrong_with_a_page_is_no_answer_of_a_room_and_said_once(
    play, caplog, tmp_path, happens, given, what
):
    async def scene(at: Scene) -> None:
        happens(at.site)
        error, cause = what
        for _ in range(2):
            with pytest.raises(error, match=cause):
                await at.visit()

    play(scene, **given)

    [said] = warnings(caplog)
    [picture] = (tmp_path / "pictures").iterdir()
    assert said.startswith("The page of a room: ")
    assert said.endswith(f"; see {picture}")


def test_a_page_that_does_not_load_is_no_answer_and_has_no_picture(play, caplog):
    async def scene(at: Scene) -> None:
        hanging(at.site)
        with pytest.raises(DownloadTimeoutError):
            await at.visit()

    play(scene, PLAYWRIGHT_DEFAULT_NAVIGATION_TIMEOUT=1000)

    assert warnings(caplog) == ["The page of a room: Page.goto: Timeout 1000ms exceeded."]


def test_another_cause_is_said_and_so_is_the_same_after_a_page_that_was_well(play, caplog):
    async def scene(at: Scene) -> None:
        for status in (500, 502, 502, 200, 502):
            at.site.status = status
            await asyncio.gather(at.visit(), return_exceptions=True)

    play(scene)

    said = [text.split(";")[0].split(": ")[1] for text in warnings(caplog)]
    assert said == ["HTTP 500", "HTTP 502", "HTTP 502"]


def test_the_list_is_looked_at_through_another_page_after_one_that_was_no_list(play, caplog):
    async def scene(at: Scene) -> None:
        caplog.set_level(logging.INFO)
        other(at.site)
        with pytest.raises(DownloadTimeoutError, match="the page of the list: no websocket"):
            await at.look()
        at.site.text = ""
        assert await at.look() == ["gen9ou-1"]

    play(scene, DOWNLOAD_TIMEOUT=1.0)

    assert "The page of the list is well again" in caplog.text


def test_a_page_that_cannot_be_reached_is_a_download_error(play, refused):
    async def scene(at: Scene) -> None:
        with pytest.raises(DownloadFailedError, match=r"ERR_CONNECTION_REFUSED$"):
            await at.visit()

    play(scene, SHOWDOWN_CLIENT_URL=refused)


def test_a_site_that_asks_to_be_left_alone_is_heeded(play):
    async def scene(at: Scene) -> list[Response]:
        at.site.status, at.site.headers = 429, {"Retry-After": "7"}
        return [await at.visit(), await at._handler.download_request(Request(LIST))]

    for response in play(scene):
        assert (response.status, response.headers[b"Retry-After"]) == (429, b"7")


# --- The end --------------------------------------------------------------------------------------


def test_pages_that_load_for_ever_do_not_keep_the_crawl_from_ending(play):
    async def scene(at: Scene) -> list:
        hanging(at.site)
        rooms = [f"battle-gen9ou-{number}" for number in range(3)]
        begun = [asyncio.create_task(work) for work in (at.look(), *map(at.visit, rooms))]
        await at.until(lambda: at.site.pages.total() == 3)
        at.leave()
        return await asyncio.gather(*begun, return_exceptions=True)

    ended = play(scene, BROWSER_PAGES=2, PLAYWRIGHT_DEFAULT_NAVIGATION_TIMEOUT=10**7)

    assert {type(one) for one in ended} == {HeldError}
