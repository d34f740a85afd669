"""Drop requests for battles that the archive already holds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import scrapy

from battles.index import BattleIndex
from battles.parsers.names import battle_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from scrapy.statscollectors import StatsCollector


class KnownBattlesMiddleware:
    """A spider middleware: the battles it lets through are not in the index."""

    def __init__(self, index: BattleIndex, stats: StatsCollector) -> None:
        self._index = index
        self._stats = stats

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> KnownBattlesMiddleware:
        assert crawler.stats is not None  # noqa: S101 -- Scrapy has set it by now
        return cls(BattleIndex.from_settings(crawler.settings), crawler.stats)

    async def process_spider_output(
        self,
        response: Response,  # noqa: ARG002 -- Scrapy passes it
        result: AsyncIterator[Any],
    ) -> AsyncIterator[Any]:
        fresh: dict[str, scrapy.Request] = {}
        async for output in result:
            battle_id = _battle_asked_for(output)
            if battle_id is None:
                yield output
            else:
                fresh[battle_id] = output
        known = await asyncio.to_thread(self._index.known, fresh) if fresh else set()
        self._stats.inc_value("known/skipped", len(known))
        self._stats.inc_value("known/new", len(fresh) - len(known))
        for battle_id, request in fresh.items():
            if battle_id not in known:
                yield request


def _battle_asked_for(output: Any) -> str | None:  # noqa: ANN401 -- a request or any item
    """Return the battle that a request asks for, unless it asks again after a failure."""
    if not isinstance(output, scrapy.Request) or "retry_times" in output.meta:
        return None
    return battle_of(output.url)
