"""Walk the search of the replay site and fetch every replay it lists."""

from __future__ import annotations

import json
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import scrapy

from battles.arguments import (
    Argument,
    ArgumentError,
    read_count,
    read_flag,
    read_names,
    read_time,
    reject_unknown,
)
from battles.items import Battle, Covered, Gap, Unreadable, Withdrawn
from battles.paging import Step, Walk, advance, begin
from battles.parsers.names import battle_of
from battles.parsers.replay import parse_replay
from battles.parsers.reply import BadReplyError, RefusedError
from battles.parsers.search import parse_search
from extensions.addresses import without_credentials
from extensions.lease import end_watch
from extensions.retry import give_up, look_again, retry_later

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from scrapy.http import Response
    from twisted.python.failure import Failure

    from battles.parsers.search import Row, SearchPage

_LOOKS = 6
"""At a replay that was saved in mid-battle; the longest battles last an hour."""
_SEARCH_PRIORITY = 10
"""Discovery before downloads."""
_SWEEP = "sweep"
"""What `watch` is for a sweep; workers of earlier versions take it for true."""
_DAY = 86400
_WEEK = 7 * _DAY


class ReplaysSpider(scrapy.Spider):
    """Archives the replays of the given formats and users, or all of them.

    What it may be given stands in `arguments`.

    Settings:
        SHOWDOWN_REPLAY_URL (https://replay.pokemonshowdown.com): the replay site.
        REPLAYS_INTERVAL (60.0): seconds between two looks for new replays, with `follow`.
        REPLAYS_AGAIN (600.0): seconds until the next look at a replay that was saved in mid-battle,
            with `follow`.
        REPLAYS_OVERLAP (3600): seconds each look goes back beyond the one before, at most: replays
            become public late. It ends at the first page that holds nothing new.
        REPLAYS_SWEEP (21600.0): seconds between two sweeps, with `follow`: looks for replays that
            became public later than that; 0: none.
        REPLAYS_SWEEP_DAYS (7.0): days each sweep goes back, but never beyond `since`.

    """

    name = "replays"
    arguments = (
        Argument("formats", "gen9ou,gen1ou", "names of formats; default all"),
        Argument("users", "ann,bob", "names of players; with formats, these users in these"),
        Argument("since", "2026-11-01", "uploaded then or later; a date or a time, in UTC"),
        Argument("until", "2026-11-02", "uploaded before then"),
        Argument(
            "limit",
            "100",
            "the most battles of each format or user, newest first; those already archived count",
        ),
        Argument("follow", "1", "go on looking for new replays until stopped"),
    )
    sites = ("SHOWDOWN_REPLAY_URL",)
    """The settings that name whom it asks."""
    # A spider's attribute and not a request's: it would cost bytes in each entry of the queue.
    handle_httpstatus_list = [HTTPStatus.NOT_FOUND]

    def __init__(self, name: str | None = None, **arguments: str) -> None:
        super().__init__(name)
        # Scrapy takes a name for another one of the spider, whose queue would be nobody's.
        reject_unknown(arguments if name is None else {"name", *arguments}, self.arguments)
        formats: list[str | None] = [*read_names("formats", arguments.get("formats"))]
        users: list[str | None] = [*read_names("users", arguments.get("users"))]
        self._searches = [(name, user) for name in formats or [None] for user in users or [None]]
        self._since = read_time("since", arguments.get("since"))
        self._until = read_time("until", arguments.get("until"))
        self._limit = read_count("limit", arguments.get("limit"))
        self.is_watching = read_flag("follow", arguments.get("follow"))
        if self._until is not None and self._since is not None and self._since >= self._until:
            raise ArgumentError("since is not before until: there is nothing between them")
        if self._until is not None and self.is_watching:
            raise ArgumentError("follow=1 has no end, so it takes no until")
        if self._limit is not None and self.is_watching:
            raise ArgumentError("follow=1 has no end, so it takes no limit")

    def request_for(self, battle_id: str) -> scrapy.Request:
        """Return the request that fetches one battle."""
        return scrapy.Request(f"{self._site}/{battle_id}.json", self.parse_battle)

    def request_to_check(self, battle_id: str) -> scrapy.Request:
        """Return the request that finds out whether an archived battle is still public."""
        url = f"{self._site}/{battle_id}.json"
        return scrapy.Request(url, self.parse_check, dont_filter=True)

    async def start(self) -> AsyncIterator[scrapy.Request]:
        for format, user in self._searches:
            walk = Walk(format=format, user=user, since=self._since, left=self._limit)
            first = begin(walk, until=self._until)
            if self.is_watching:
                yield self._search(first, watch=True)
                if sweep := self._sweep(walk):
                    yield sweep
            else:
                yield self._search(first, family=self._family(walk), is_start=True)

    def parse_search(
        self, response: Response, walk: dict[str, Any], *, watch: bool | str = False
    ) -> Iterator[scrapy.Request | Covered | Gap]:
        """Yield a request for each battle of a search page, and the searches that follow."""
        here = Walk.of(walk)
        try:
            page = parse_search(response.body)
            step = advance(here, page)
        except (BadReplyError, RefusedError) as error:
            if again := self._again(response, error):
                yield again
            else:
                self._lose(here, str(error))
            return
        self._count("replays/rows_unusable", page.unusable)
        yield from self._gaps(here, step)
        family = _sweep_family(here) if watch == _SWEEP else response.meta.get("family")
        # A watch looks so often that it would ask again and again for what stays different.
        yield from (self._listed(row, compare=bool(family)) for row in step.rows)
        if (covered := _covered(here, page)) and family == _sweep_family(here):
            yield covered
        # What a watch saw at its first look, it reads no further than to the first page of it.
        is_look = here.look is not None and family is None
        for following in step.walks:
            yield self._search(following, family=family, is_look=is_look)
        if watch == _SWEEP:
            yield from self._sweep_again(response, here)
        elif watch:
            yield self._watch(here, page.newest)

    def parse_battle(self, response: Response) -> Iterator[Battle | Unreadable | scrapy.Request]:
        """Yield the battle of a replay."""
        if response.status == HTTPStatus.NOT_FOUND:
            self._count("replays/gone")
            return
        url, now = without_credentials(response.url), int(time.time())
        battle_id = battle_of(response.request.url) if response.request else None
        try:
            battle = parse_replay(response.body, asked=battle_id or "", url=url, fetched_at=now)
            yield self._later(response.request, battle) or battle
        except (BadReplyError, RefusedError) as error:
            again = self._again(response, error)
            yield again or Unreadable(asked=battle_id or "", url=url, reason=str(error))

    def parse_check(self, response: Response) -> Iterator[Withdrawn | scrapy.Request]:
        """Yield that a battle was withdrawn, when it is no longer public."""
        battle_id = (battle_of(response.request.url) if response.request else None) or ""
        now, url = int(time.time()), without_credentials(response.url)
        if response.status == HTTPStatus.NOT_FOUND:
            yield Withdrawn(battle_id, now, "it is not there any more")
            return
        try:
            battle = parse_replay(response.body, asked=battle_id, url=url, fetched_at=now)
        except (BadReplyError, RefusedError) as error:
            if again := self._again(response, error):
                yield again
            return
        if battle.id == battle_id and battle.private != 0:
            yield Withdrawn(battle_id, now, f"it is marked private ({battle.private})")
        else:
            self._count("replays/still_public")

    def _later(self, request: scrapy.Request | None, battle: Battle) -> scrapy.Request | None:
        """Return the next look at a replay that was saved in mid-battle, for those who wait."""
        is_whole = battle.ended is not None or not battle.log
        if request is None or is_whole or not self.is_watching:
            return None
        if request.meta.get("look_times", 0) >= _LOOKS:
            return None
        self._count("replays/not_ended_yet")
        return look_again(request, self.settings.getfloat("REPLAYS_AGAIN", 600.0))

    def search_failed(self, failure: Failure) -> None:
        """Say which battles stay unknown because a search page cannot be had."""
        request: scrapy.Request = failure.request  # type: ignore[attr-defined]
        self._lose(Walk.of(request.cb_kwargs["walk"]), failure.getErrorMessage())

    @property
    def _site(self) -> str:
        url: str = self.settings.get("SHOWDOWN_REPLAY_URL", "https://replay.pokemonshowdown.com")
        return url.rstrip("/")

    def _family(self, walk: Walk) -> str:
        """Name what a crawl looks for; while it is looked for, another start adds nothing."""
        return json.dumps([walk.format, walk.user, walk.since, self._until, walk.left])

    def _search(
        self,
        walk: Walk,
        *,
        watch: bool | str = False,
        delay: float = 0.0,
        family: str | None = None,
        is_start: bool = False,
        is_look: bool = False,
    ) -> scrapy.Request:
        meta: dict[str, Any] = {"delay": delay, "watcher": _watcher(walk, watch)} if watch else {}
        if family:
            meta["family"] = family
        if is_start:
            meta["is_start_request"] = True
        if is_look:
            meta["only_if_new"] = True
        return scrapy.Request(
            f"{self._site}/search.json?{urlencode(walk.parameters())}".rstrip("?"),
            self.parse_search,
            errback=self.search_failed,
            cb_kwargs={"walk": walk.fields(), **({"watch": watch} if watch else {})},
            meta=meta,
            priority=_SEARCH_PRIORITY,
            # There is one watch of a name, whatever was seen; and its looks have no end, so what
            # they ask for must not be remembered.
            dont_filter=bool(watch) or is_look,
        )

    def _watch(self, walk: Walk, newest: int | None) -> scrapy.Request:
        """Look again later, going back a little beyond the newest battle of now."""
        seen = newest if newest is not None else walk.since
        overlap = self.settings.getint("REPLAYS_OVERLAP", 3600)
        since = None if seen is None else max(seen - overlap, walk.since or 0)
        again = Walk(walk.format, walk.user, since=since, look=(walk.look or 0) + 1)
        interval = self.settings.getfloat("REPLAYS_INTERVAL", 60.0)
        return self._search(again, watch=True, delay=interval)

    def _sweep(self, walk: Walk) -> scrapy.Request | None:
        """Go through the last days once more, some hours from now; None when nobody wants that."""
        interval = self.settings.getfloat("REPLAYS_SWEEP", 21600.0)
        if interval <= 0:
            return None
        due = int(time.time() + interval)
        oldest = due - int(_DAY * self.settings.getfloat("REPLAYS_SWEEP_DAYS", 7.0))
        # By its time a sweep is told from all others, also after a start from nothing.
        look = max(due, (walk.look or 0) + 1)
        again = Walk(walk.format, walk.user, since=max(oldest, walk.since or 0), look=look)
        return self._search(again, watch=_SWEEP, delay=interval)

    def _sweep_again(self, response: Response, walk: Walk) -> Iterator[scrapy.Request]:
        self._count("replays/sweeps")
        if again := self._sweep(walk):
            yield again
        else:
            end_watch(response)

    def _listed(self, row: Row, *, compare: bool) -> scrapy.Request:
        """Return the request for a listed battle, on demand to be compared with the archive's."""
        request = self.request_for(row.id)
        if compare:
            request.meta["listed_rating"] = row.rating
        return request

    def _again(self, response: Response, error: Exception) -> scrapy.Request | None:
        """Ask again for what came broken; None when it makes no sense, or no more."""
        if response.request is None:
            return None
        if isinstance(error, RefusedError):
            give_up(response.request, f"refused: {error}", response)
            return None
        return retry_later(response.request, self, f"bad reply: {error}", response=response)

    def _lose(self, walk: Walk, reason: str) -> None:
        self._count("replays/searches_lost")
        self.logger.error(
            "Battles are missing: the search %s cannot be had (%s). Run the crawl again for them.",
            walk.fields(),
            reason,
        )

    def _gaps(self, walk: Walk, step: Step) -> Iterator[Gap]:
        """Say of which seconds the site may have more battles than it shows."""
        now = int(time.time())
        for second in step.crowded:
            self._count("replays/crowded_seconds")
            self.logger.warning(
                "More battles than a page holds share the second %d: they are asked for format by "
                "format, and one of a format that this crawl lists nowhere would be missing",
                second,
            )
            yield Gap(walk.format, walk.user, second, now)
        if step.suspect is not None:
            self._count("replays/suspect_seconds")
            self.logger.warning(
                "The site lists more battles of %s in the second %d than it shows: some may be "
                "missing",
                walk.format or walk.user,
                step.suspect,
            )
            yield Gap(walk.format, walk.user, step.suspect, now)

    def _count(self, name: str, count: int = 1) -> None:
        if count and self.crawler.stats:
            self.crawler.stats.inc_value(name, count)


def _watcher(walk: Walk, watch: bool | str) -> str:  # noqa: FBT001 -- it is no switch
    """Name the watch over one search."""
    name = f"{walk.format or '*'}/{walk.user or '*'}"
    return f"{name}/{_SWEEP}" if watch == _SWEEP else name


def _sweep_family(walk: Walk) -> str:
    """Name what the sweeps of a week have seen: a family without an end is never forgotten."""
    return json.dumps([_SWEEP, walk.format, walk.user, (walk.look or 0) // _WEEK])


def _covered(walk: Walk, page: SearchPage) -> Covered | None:
    """Say what a page would have listed; None for one within a single second."""
    if walk.page is not None or page.oldest is None or page.newest is None:
        return None
    # Of the last second the rest may be on the next page, which begins with it again.
    since = page.oldest + 1 if page.has_more else (walk.since or 0)
    # What was uploaded before the sweep was due would be on its first page, were it still public.
    until = max(page.newest + 1, walk.look or 0)
    if walk.before is not None:
        until = walk.before + (0 if walk.is_filtered else 1)
    ids, oldest = frozenset(row.id for row in page.rows), walk.since or 0
    since = max(since, oldest)
    return Covered(walk.format, walk.user, walk.look or 0, oldest, since, until, ids)
