"""Watch the list of live battles, and look into every room until its battle ends."""

from __future__ import annotations

import json
import time
from http import HTTPStatus
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import scrapy

from battles.arguments import Argument, ArgumentError, read_count, read_names, reject_unknown
from battles.items import Battle, Unreadable
from battles.parsers.frames import room_of
from battles.parsers.names import battle_of, is_battle_id
from battles.parsers.replay import parse_replay
from battles.parsers.reply import BadReplyError, RefusedError
from battles.parsers.room import parse_room
from extensions.addresses import without_credentials
from extensions.lease import end_watch
from extensions.retry import give_up, look_again, retry_later

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from scrapy.settings import Settings

_LIST_PRIORITY = 10
"""Discovery before downloads."""


class RoomsSpider(scrapy.Spider):
    """Archives live battles: nobody saves most of them.

    What it may be given stands in `arguments`.

    Settings:
        SHOWDOWN_SERVER_URL, SHOWDOWN_CLIENT_URL, SHOWDOWN_REPLAY_URL: the server's websocket, the
            web client, and the replay site, which is asked for battles whose rooms are gone.
        ROOMS_INTERVAL (15.0): seconds between two looks at the list.
        ROOMS_AGAIN (60.0): seconds until the next look into a room whose battle goes on.
        ROOMS_GIVE_UP (3600.0): seconds after which a battle without an end is given up.
        BROWSER_PAGES (8): pages that are open at the same time, with `via=browser`.

    """

    name = "rooms"
    arguments = (
        Argument("formats", "gen9ou,gen1ou", "names of formats; default all"),
        Argument("min_elo", "1500", "only battles whose players are both rated that high"),
        Argument(
            "via",
            "browser",
            "socket, the default, speaks to the server as an unnamed guest; browser reads what the "
            "site's own web client hears, in a real browser",
        ),
        Argument(
            "minutes",
            "60",
            "how long to look for new battles, which are followed to their end; default for ever",
        ),
    )
    is_watching = True
    sites = ("SHOWDOWN_SERVER_URL", "SHOWDOWN_CLIENT_URL", "SHOWDOWN_REPLAY_URL")
    """The settings that name whom it asks."""
    handle_httpstatus_list = [HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN]
    custom_settings = {
        # A request stays in its room until the battle ends, which costs next to nothing.
        "CONCURRENT_REQUESTS": 200,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 200,
    }

    def __init__(self, name: str | None = None, **arguments: str) -> None:
        super().__init__(name)
        reject_unknown(arguments if name is None else {"name", *arguments}, self.arguments)
        self._formats = read_names("formats", arguments.get("formats"))
        self._min_elo = read_count("min_elo", arguments.get("min_elo"))
        minutes = read_count("minutes", arguments.get("minutes"))
        self._until = None if minutes is None else time.time() + 60 * minutes
        self._via = arguments.get("via", "socket")
        if self._via not in ("socket", "browser"):
            raise ArgumentError(f"via={self._via!r}: give socket or browser")
        if self._via == "browser" and find_spec("scrapy_playwright") is None:
            raise ArgumentError(
                "via=browser wants scrapy-playwright: pip install 'battles[browser]'"
            )

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> RoomsSpider:  # noqa: ANN401 -- Scrapy's own
        spider = super().from_crawler(crawler, *args, **kwargs)
        if spider._via == "browser":  # noqa: SLF001 -- it is our own
            _open_browser(crawler.settings)
        return spider

    async def start(self) -> AsyncIterator[scrapy.Request]:
        yield self._list()

    def parse_list(self, response: Response) -> Iterator[scrapy.Request]:
        """Yield a request for each battle on the list, and the next look at it."""
        try:
            found = json.loads(response.body)
            rooms, total = found["rooms"], found["total"]
        except (ValueError, TypeError, LookupError) as error:
            if response.request and (
                again := retry_later(response.request, self, f"bad list: {error}")
            ):
                yield again
            return
        self._report(found)
        yield from (self._room(battle_id) for battle_id in rooms if is_battle_id(battle_id))
        if total is not None:
            self._set("rooms/missing", max(0, total - len(rooms)))
        if response.request is None or (self._until is not None and time.time() >= self._until):
            end_watch(response)
            return
        interval = self.settings.getfloat("ROOMS_INTERVAL", 15.0)
        watcher = response.request.meta.get("watcher")
        yield response.request.replace(
            meta={"watcher": watcher, "delay": interval}, dont_filter=True
        )

    def parse_room(
        self, response: Response, *, since: int = 0
    ) -> Iterator[Battle | scrapy.Request]:
        """Yield the battle of a room, found at `since`, or the next look into it."""
        battle_id = battle_of(response.url)
        if response.request is None or battle_id is None:
            return
        if response.status == HTTPStatus.FORBIDDEN:
            self._count("rooms/hidden")
        elif response.status == HTTPStatus.NOT_FOUND:
            self._count("rooms/gone")
            yield self._replay(battle_id)
        else:
            now = int(time.time())
            url = without_credentials(response.url)
            battle = parse_room(response.body, asked=battle_id, url=url, fetched_at=now)
            yield from self._keep_or_wait(battle, response.request, since)

    def parse_replay(self, response: Response) -> Iterator[Battle | Unreadable | scrapy.Request]:
        """Yield the battle of a replay that somebody saved before its room was gone."""
        if response.status != HTTPStatus.OK:
            self._count("rooms/lost")
            return
        url, now = without_credentials(response.url), int(time.time())
        battle_id = battle_of(url) or ""
        try:
            yield parse_replay(response.body, asked=battle_id, url=url, fetched_at=now)
        except RefusedError as error:
            if response.request is not None:
                give_up(response.request, f"refused: {error}", response)
        except BadReplyError as error:
            again = response.request and retry_later(response.request, self, f"bad reply: {error}")
            yield again or Unreadable(asked=battle_id, url=url, reason=str(error))

    def fallback(self, request: scrapy.Request, reason: str) -> scrapy.Request | None:
        """Ask the replay site for a battle whose room cannot be had."""
        battle_id = battle_of(request.url)
        if battle_id is None or request.callback == self.parse_replay:
            return None
        self.logger.info("%s: %s; the replay site is asked instead", battle_id, reason)
        return self._replay(battle_id)

    def _keep_or_wait(
        self, battle: Battle, request: scrapy.Request, since: int
    ) -> Iterator[Battle | scrapy.Request]:
        known_for = battle.fetched_at - since
        if battle.ended is None and known_for < self.settings.getfloat("ROOMS_GIVE_UP", 3600.0):
            self._count("rooms/not_ended_yet")
            yield look_again(request, self.settings.getfloat("ROOMS_AGAIN", 60.0))
            return
        if battle.ended is None:
            self._count("rooms/abandoned")
        yield battle

    def _list(self) -> scrapy.Request:
        min_elo = "" if self._min_elo is None else self._min_elo
        asked = {"formats": ",".join(self._formats), "min_elo": min_elo}
        return scrapy.Request(
            f"{self._server}?{urlencode({'list': '', **asked})}",
            self.parse_list,
            meta={"watcher": f"rooms/{asked['formats'] or '*'}/{min_elo or '*'}"},
            priority=_LIST_PRIORITY,
            dont_filter=True,
        )

    def _room(self, battle_id: str) -> scrapy.Request:
        # The same whatever `via` is: another worker, or a later crawl, may do it the other way.
        url = f"{self._server}?room={room_of(battle_id)}"
        return scrapy.Request(url, self.parse_room, cb_kwargs={"since": int(time.time())})

    def _replay(self, battle_id: str) -> scrapy.Request:
        site = self.settings["SHOWDOWN_REPLAY_URL"].rstrip("/")
        return scrapy.Request(f"{site}/{battle_id}.json", self.parse_replay)

    @property
    def _server(self) -> str:
        url: str = self.settings["SHOWDOWN_SERVER_URL"]
        return url

    def _report(self, found: dict[str, Any]) -> None:
        self._count("rooms/looks")
        self._set("rooms/live", len(found["rooms"]))
        self._set("rooms/questions", found.get("questions", 0))
        if found.get("is_cut"):
            self._count("rooms/cut")
            self.logger.warning("The server has more battles than it lists, however it is asked")

    def _set(self, name: str, value: int) -> None:
        if self.crawler.stats:
            self.crawler.stats.set_value(name, value)

    def _count(self, name: str) -> None:
        if self.crawler.stats:
            self.crawler.stats.inc_value(name)


def _open_browser(settings: Settings) -> None:
    """Have the web client's pages opened in place of its websocket, and not too many of them."""
    scheme = urlsplit(settings["SHOWDOWN_SERVER_URL"]).scheme
    handlers = settings.getdict("DOWNLOAD_HANDLERS")
    handlers[scheme] = "battles.browser.BrowserDownloadHandler"
    settings.set("DOWNLOAD_HANDLERS", handlers, priority="cmdline")
    pages = settings.getint("BROWSER_PAGES", 8)
    for name in ("CONCURRENT_REQUESTS", "CONCURRENT_REQUESTS_PER_DOMAIN"):
        settings.set(name, pages, priority="cmdline")
