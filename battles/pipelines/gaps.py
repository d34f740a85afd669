"""Keep in Redis in which seconds battles may be missing that no search shows."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, TypeVar

from scrapy.exceptions import DropItem

from battles.index import BattleIndex
from battles.items import Gap

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

_Item = TypeVar("_Item")


class GapsPipeline:
    """Notes gaps beside the index, before their search counts as done, and drops the items."""

    def __init__(self, index: BattleIndex) -> None:
        self._index = index

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> GapsPipeline:
        return cls(BattleIndex.from_settings(crawler.settings))

    async def process_item(self, item: _Item) -> _Item:
        if not isinstance(item, Gap):
            return item
        await asyncio.to_thread(self._note, item)
        raise DropItem(f"a gap in the second {item.second}", log_level="DEBUG")

    def _note(self, gap: Gap) -> None:
        where = json.dumps([gap.format, gap.user, gap.second])
        self._index.redis.hset(self._index.keys.gaps, where, gap.at)
