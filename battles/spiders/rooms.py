"""Watch the list of live battles, and visit each room once, after its battle has left the list.

A battle that ends leaves the list, and its room stays for at least ten minutes. Visited then, it
shows the whole log in one frame, the new ratings too, and whoever hid it says so himself.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import scrapy

from battles.arguments import Argument, ArgumentError, read_count, read_names, reject_unknown
from battles.items import Battle, Unreadable
from battles.listing import Plan, read_look, tops
from battles.parsers.frames import room_of
from battles.parsers.names import battle_of
from battles.parsers.replay import parse_replay
from battles.parsers.reply import BadReplyError, RefusedError
from battles.parsers.room import parse_room
from extensions.addresses import without_credentials
from extensions.lease import end_watch
from extensions.retry import give_up, look_again, retry_later
from extensions.roster import Listed, note_sighting, read_roster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from scrapy.settings import Settings

    from battles.listing import Seen
    from extensions.queue import RosterView

_LIST_PRIORITY = 10
"""Discovery before downloads."""
_SLOT = "list of battles"
"""The downloader's slot of the list: it never waits for rooms."""
_SHARE = 0.9
"""Part of the time between two looks that one may take for its questions."""
_FEWEST = 4
"""Questions that a look may ask however short the time is."""
_LONGEST_PAUSE = 540.0
"""Seconds between two visits to a room: a minute less than one is there after its battle ended."""
_REFUSALS = 3
"""Visits on which the server lets nobody in until a battle counts as hidden."""


class RoomsSpider(scrapy.Spider):
    """Archives live battles: nobody saves most of them.

    What it may be given stands in `arguments`.

    Settings:
        SHOWDOWN_SERVER_URL, SHOWDOWN_CLIENT_URL, SHOWDOWN_REPLAY_URL: the server's websocket, the
            web client, and the replay site, which is asked for battles whose rooms are gone.
        ROOMS_INTERVAL (15.0): seconds between two looks at the list.
        ROOMS_SETTLE (10.0): seconds from when a battle is listed no more until its room is visited.
        ROOMS_STAY (0.0): above zero, rooms are joined as soon as they are listed, and for so many
            seconds; for servers whose rooms do not outlive their battles by minutes.
        ROOMS_AGAIN (60.0): seconds until the next visit to a room whose battle goes on although it
            is not listed; they double with each, up to nine minutes.
        ROOMS_GIVE_UP (3600.0): seconds after which a battle without an end is given up: since the
            first such visit or, when no new ones are looked for, since it was first listed.
        ROOMS_MESSAGE_INTERVAL (0.65): seconds between two messages.
        BROWSER_PAGES (8): rooms that are visited at the same time, with `via=browser`.

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
    handle_httpstatus_list = [HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN, HTTPStatus.LOCKED]

    def __init__(self, name: str | None = None, **arguments: str) -> None:
        super().__init__(name)
        reject_unknown(arguments if name is None else {"name", *arguments}, self.arguments)
        self._formats = read_names("formats", arguments.get("formats"))
        self._min_elo = read_count("min_elo", arguments.get("min_elo"))
        self._told: set[str] = set()
        """What was said once: formats that the server lacks, and that looks come late."""
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
        elif crawler.settings.getfloat("ROOMS_STAY", 0.0) > 0:
            # A request stays in its room until the battle ends, which costs next to nothing.
            for name in ("CONCURRENT_REQUESTS", "CONCURRENT_REQUESTS_PER_DOMAIN"):
                crawler.settings.set(name, 200, priority="spider")
        return spider

    async def start(self) -> AsyncIterator[scrapy.Request]:
        yield self._list()

    async def parse_list(self, response: Response) -> AsyncIterator[scrapy.Request]:
        """Take note of the battles on the list, and yield the next look at it."""
        request = response.request
        if request is None:
            return
        try:
            seen = read_look(response.body)
        except BadReplyError as error:
            if again := retry_later(request, self, str(error)):
                yield again
            return
        self._report(seen)
        roster = await read_roster(response, str(request.meta.get("watcher")))
        plan = Plan.read(request.meta.get("plan"))
        for battle_id in seen.rooms if self._stays else ():
            yield self._room(battle_id)
        live = {room.id: room.players for room in seen.rooms.values()}
        if roster is not None and (roster.members or not self._stays):
            live |= self._keep_roster(response, seen, roster)
        plan.room = self._questions
        plan.learn(seen, tops(request.url), live)
        self._count_missing(seen, plan, len(live))
        if self._is_over and not (roster and roster.members):
            end_watch(response)
            return
        yield self._next_look(request, plan, self._wait(request, seen, roster))

    def parse_room(
        self, response: Response, *, since: int = 0, refusals: int = 0, has_settled: bool = False
    ) -> Iterator[Battle | scrapy.Request]:
        """Yield the battle of a room, or the next visit to it.

        `since` is when it was found, in seconds since the epoch; `refusals`: how often nobody was
        let in; `has_settled`: whether a visit has seen its end before.
        """
        battle_id = battle_of(response.url)
        if response.request is None or battle_id is None:
            return
        if response.status == HTTPStatus.LOCKED:
            yield from self._knock_again(response.request, refusals + 1)
        elif response.status == HTTPStatus.FORBIDDEN:
            self._count("rooms/hidden")
        elif response.status == HTTPStatus.NOT_FOUND:
            self._count("rooms/gone")
            yield self._replay(battle_id)
        else:
            now = int(time.time())
            url = without_credentials(response.url)
            battle = parse_room(response.body, asked=battle_id, url=url, fetched_at=now)
            if (
                battle.ended is not None
                and not has_settled
                and self._may_be_fresh(response.request)
            ):
                yield self._settle(response.request)
            else:
                yield from self._keep_or_wait(battle, response.request, since or now)

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

    def _keep_roster(
        self, response: Response, seen: Seen, roster: RosterView
    ) -> dict[str, tuple[str, ...]]:
        """Have what a look saw be kept, and return the known battles that are live."""
        known = {id: tuple(member.note.split()) for id, member in roster.members.items()}
        takes_new = not (self._is_over or roster.is_draining or self._stays)
        missing = seen.missing(known)
        given_up = set() if takes_new else self._overdue(roster).difference(missing)
        self._count("rooms/missed", len(missing))
        note_sighting(
            response,
            self,
            str(response.meta.get("watcher")),
            new={
                room.id: Listed(self._room(room.id), " ".join(room.players))
                for room in seen.rooms.values()
                if known.get(room.id) != room.players
            },
            missing=missing,
            overdue=given_up,
            settle=self.settings.getfloat("ROOMS_SETTLE", 10.0),
            takes_new=takes_new,
        )
        gone = given_up.union(missing)
        return {id: players for id, players in known.items() if id not in gone}

    def _overdue(self, roster: RosterView) -> set[str]:
        """Return the battles that are listed for longer than anybody waits."""
        longest = self.settings.getfloat("ROOMS_GIVE_UP", 3600.0)
        return {id for id, member in roster.members.items() if member.age >= longest}

    def _wait(self, request: scrapy.Request, seen: Seen, roster: RosterView | None) -> float:
        """Return the seconds until the next look is due, and say when this one came late."""
        interval: float = self.settings.getfloat("ROOMS_INTERVAL", 15.0)
        lease = request.meta.get("queue_lease")
        if lease is None or roster is None:
            return interval
        took = roster.now - lease.leased.queued_at
        if took - seen.seconds > interval:
            self._count("rooms/late")
            self._say_once(
                "late",
                f"The list of battles was looked at {took - seen.seconds:.0f} s late "
                f"(ROOMS_INTERVAL is {interval:g} s): see THROTTLE_RATE, and whether this "
                "machine or the server is slow",
            )
        else:
            self._told.discard("late")
        return float(max(0.0, min(interval, interval - took)))

    def _knock_again(self, request: scrapy.Request, refusals: int) -> Iterator[scrapy.Request]:
        """Yield another visit to a room that lets nobody in; in the end it counts as hidden."""
        if refusals >= _REFUSALS:
            self._count("rooms/hidden")
            return
        self._count("rooms/refused")
        again = look_again(request, self._pause(request))
        again.cb_kwargs["refusals"] = refusals
        yield again

    def _keep_or_wait(
        self, battle: Battle, request: scrapy.Request, since: int
    ) -> Iterator[Battle | scrapy.Request]:
        known_for = battle.fetched_at - since
        is_given_up = known_for >= self.settings.getfloat("ROOMS_GIVE_UP", 3600.0)
        is_given_up = is_given_up or bool(request.meta.get("overdue"))
        if battle.ended is None and not is_given_up:
            self._count("rooms/not_ended_yet")
            again = look_again(request, self._pause(request))
            again.cb_kwargs["since"] = since
            yield again
            return
        if battle.ended is None:
            self._count("rooms/abandoned")
        yield battle

    def _may_be_fresh(self, request: scrapy.Request) -> bool:
        """Tell whether a battle may have ended a moment ago, so that it may still be hidden.

        What was missing on the list for a while has settled, unless it went on after that.
        """
        was_running = bool(request.cb_kwargs.get("since") or request.meta.get("overdue"))
        return was_running and not self._stays

    def _settle(self, request: scrapy.Request) -> scrapy.Request:
        again = look_again(request, self.settings.getfloat("ROOMS_SETTLE", 10.0))
        again.cb_kwargs["has_settled"] = True
        return again

    def _pause(self, request: scrapy.Request) -> float:
        """Return the seconds until a room is visited once more."""
        first = self.settings.getfloat("ROOMS_AGAIN", 60.0)
        doublings = min(request.meta.get("look_times", 0), 10)
        return float(min(first * 2.0**doublings, max(first, _LONGEST_PAUSE)))

    def _list(self) -> scrapy.Request:
        min_elo = "" if self._min_elo is None else self._min_elo
        asked = {"formats": ",".join(self._formats), "min_elo": min_elo}
        return scrapy.Request(
            f"{self._server}?{urlencode({'list': '', **asked})}",
            self.parse_list,
            meta={
                "watcher": self._watcher,
                "download_slot": _SLOT,
                "plan": Plan(room=self._questions).write(),
            },
            priority=_LIST_PRIORITY,
            dont_filter=True,
        )

    def _next_look(self, request: scrapy.Request, plan: Plan, delay: float) -> scrapy.Request:
        meta = {"watcher": request.meta.get("watcher"), "download_slot": _SLOT, "delay": delay}
        return request.replace(meta={**meta, "plan": plan.write()}, dont_filter=True)

    def _room(self, battle_id: str) -> scrapy.Request:
        # The same whatever `via` is: another worker, or a later crawl, may do it the other way.
        url = f"{self._server}?room={room_of(battle_id)}"
        since = {"since": int(time.time())} if self._stays else {}
        return scrapy.Request(url, self.parse_room, cb_kwargs=since)

    def _replay(self, battle_id: str) -> scrapy.Request:
        site = self.settings["SHOWDOWN_REPLAY_URL"].rstrip("/")
        return scrapy.Request(f"{site}/{battle_id}.json", self.parse_replay)

    @property
    def _server(self) -> str:
        url: str = self.settings["SHOWDOWN_SERVER_URL"]
        return url

    @property
    def _watcher(self) -> str:
        """The name of the watch and of its roster."""
        return f"rooms/{','.join(self._formats) or '*'}/{self._min_elo or '*'}"

    @property
    def _stays(self) -> bool:
        return self.settings.getfloat("ROOMS_STAY", 0.0) > 0

    @property
    def _is_over(self) -> bool:
        return self._until is not None and time.time() >= self._until

    @property
    def _questions(self) -> int:
        """How many questions a look has time for."""
        seconds = _SHARE * self.settings.getfloat("ROOMS_INTERVAL", 15.0)
        return max(_FEWEST, int(seconds / self.settings.getfloat("ROOMS_MESSAGE_INTERVAL", 0.65)))

    def _report(self, seen: Seen) -> None:
        self._count("rooms/looks")
        self._count("rooms/questions", len(seen.asked) + (seen.total is not None))
        if seen.is_cut:
            self._count("rooms/cut")
            self._say_once("cut", "The server has more battles than it lists, however it is asked")
        for name, nearest in seen.unknown.items():
            meant = f": did you mean {nearest!r}?" if nearest else ""
            self._say_once(name, f"The server has no format {name!r}{meant}")

    def _count_missing(self, seen: Seen, plan: Plan, live: int) -> None:
        """Keep as stats how many battles are live, and how many of them no look has shown yet."""
        self._set("rooms/live", live)
        is_looking = bool(plan.todo) or seen.is_cut
        missing = max(0, (seen.total or 0) - live) if is_looking else 0
        self._set("rooms/missing", missing)

    def _say_once(self, what: str, text: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self.logger.warning("%s", text)

    def _set(self, name: str, value: int) -> None:
        if self.crawler.stats:
            self.crawler.stats.set_value(name, value)

    def _count(self, name: str, count: int = 1) -> None:
        if self.crawler.stats:
            self.crawler.stats.inc_value(name, count)


def _open_browser(settings: Settings) -> None:
    """Have the web client's pages opened in place of its websocket, and not too many of them."""
    scheme = urlsplit(settings["SHOWDOWN_SERVER_URL"]).scheme
    handlers = settings.getdict("DOWNLOAD_HANDLERS")
    handlers[scheme] = "battles.browser.BrowserDownloadHandler"
    settings.set("DOWNLOAD_HANDLERS", handlers, priority="cmdline")
    # One more, so that a visit without a page waits where it makes way for the list.
    pages = settings.getint("BROWSER_PAGES", 8) + 1
    for name in ("CONCURRENT_REQUESTS", "CONCURRENT_REQUESTS_PER_DOMAIN"):
        settings.set(name, pages, priority="cmdline")
