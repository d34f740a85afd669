"""Drop requests for battles that the archive already holds."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import scrapy
from scrapy.exceptions import IgnoreRequest

from battles.index import BattleIndex, as_kept
from battles.items import Battle
from battles.parsers.names import battle_of
from extensions.lease import NotStoredError, lease_of
from extensions.patience import Patience

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from scrapy.statscollectors import StatsCollector

    from battles.index import Row
    from extensions.lease import Lease


_AGAIN = {"retry_times", "put_off_times", "look_times"}
"""What meta says of a request that was sent before."""


_ONLY_IF_NEW = "only_if_new"
"""What meta says of a page that is read only if the one before held something new."""
_LISTED = "listed_rating"
"""What meta says of a battle as a search lists it now, to be compared with the archive's."""


class KnownBattlesMiddleware:
    """A spider middleware: the battles it lets through are not in the index.

    A request whose meta holds `listed_rating` goes on also when the archive holds the battle with
    another rating or without its end: it was saved again since. One whose meta holds `only_if_new`
    goes on only when a battle does.
    """

    def __init__(self, index: BattleIndex, stats: StatsCollector, patience: Patience) -> None:
        self._index = index
        self._stats = stats
        self._patience = patience

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> KnownBattlesMiddleware:
        assert crawler.stats is not None  # noqa: S101 -- Scrapy has set it by now
        index = BattleIndex.from_settings(crawler.settings)
        return cls(index, crawler.stats, Patience(crawler.signals))

    async def process_spider_output(
        self,
        response: Response,
        result: AsyncIterator[Any],
    ) -> AsyncIterator[Any]:
        # All of it before any of it goes on: should the crawl end, the whole page is another's.
        outputs = [(output, _battle_asked_for(output)) async for output in result]
        asked = {battle_id for _, battle_id in outputs if battle_id is not None}
        ratings = {
            battle_id: output.meta.pop(_LISTED)
            for output, battle_id in outputs
            if battle_id is not None and _LISTED in output.meta
        }
        known, again = await self._patience.until_taken(
            partial(asyncio.to_thread, self._look_up, asked, ratings)
        )
        self._stats.inc_value("known/skipped", len(known))
        self._stats.inc_value("known/again", len(again))
        has_news = bool(asked - known)
        for output, battle_id in outputs:
            if isinstance(output, Battle):
                output.lease = lease_of(response)
            elif _waits_for_news(output) and not has_news:
                continue
            if battle_id in again:
                # The queue has seen it, too, and would refuse it.
                output.dont_filter = True
            if battle_id not in known:
                yield output

    def _look_up(
        self, asked: set[str], ratings: Mapping[str, int | None]
    ) -> tuple[set[str], set[str]]:
        """Return what the archive holds, and what is to be fetched although it was before."""
        if not asked:
            return set(), set()
        known = self._index.known(asked)
        held = self._index.find(ratings)
        changed = {
            battle_id
            for battle_id, row in held.items()
            if battle_id not in known or row.rating != as_kept(ratings[battle_id])
        }
        back = self._index.withdrawn(ratings.keys() - held.keys())
        return known - changed, changed | back


def _waits_for_news(output: object) -> bool:
    return isinstance(output, scrapy.Request) and bool(output.meta.pop(_ONLY_IF_NEW, None))


class RedeliveredBattlesMiddleware:
    """A downloader middleware: what a dead worker archived before it could say so is not fetched.

    Whoever takes over its leases finds in the index what was archived since it was asked for; the
    segment may have been recovered meanwhile from the spool.
    """

    def __init__(self, index: BattleIndex, stats: StatsCollector, patience: Patience) -> None:
        self._index = index
        self._stats = stats
        self._patience = patience

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> RedeliveredBattlesMiddleware:
        assert crawler.stats is not None  # noqa: S101 -- Scrapy has set it by now
        index = BattleIndex.from_settings(crawler.settings)
        return cls(index, crawler.stats, Patience(crawler.signals))

    async def process_request(self, request: scrapy.Request) -> None:
        lease: Lease | None = request.meta.get("queue_lease")
        battle_id = battle_of(request.url)
        if lease is None or lease.leased.deliveries == 1 or battle_id is None:
            return
        row = await self._row(battle_id, lease, request)
        if row is not None and row.fetched_at >= lease.leased.queued_at:
            lease.items += 1
            # It has not failed, so nobody is told that it has.
            request.errback = None
            self._stats.inc_value("known/redelivered")
            raise IgnoreRequest(f"{battle_id} was archived before its request was settled")

    async def _row(self, battle_id: str, lease: Lease, request: scrapy.Request) -> Row | None:
        look_up = partial(asyncio.to_thread, self._index.find, [battle_id])
        try:
            return (await self._patience.until_taken(look_up)).get(battle_id)
        except NotStoredError:
            lease.is_unbegun, request.errback = True, None
            raise IgnoreRequest("the crawl is ending") from None


def _battle_asked_for(output: Any) -> str | None:  # noqa: ANN401 -- a request or any item
    """Return the battle that a request asks for, unless it asks again."""
    if not isinstance(output, scrapy.Request) or _AGAIN & output.meta.keys():
        return None
    return battle_of(output.url)
