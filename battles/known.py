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


_AGAIN = {"retry_times", "put_off_times", "look_times"}
"""What meta says of a request that was sent before."""


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
        # All of it before any of it goes on: should the index fail, the whole page is tried again.
        outputs = [(output, _battle_asked_for(output)) async for output in result]
        asked = {battle_id for _, battle_id in outputs if battle_id is not None}
        known = await asyncio.to_thread(self._index.known, asked) if asked else set()
        self._stats.inc_value("known/skipped", len(known))
        for output, battle_id in outputs:
            if battle_id not in known:
                yield output


def _battle_asked_for(output: Any) -> str | None:  # noqa: ANN401 -- a request or any item
    """Return the battle that a request asks for, unless it asks again."""
    if not isinstance(output, scrapy.Request) or _AGAIN & output.meta.keys():
        return None
    return battle_of(output.url)
