"""Say in Redis where the battle lies."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from battles.index import BattleIndex, Entry
from battles.pipelines.archive import Archived
from extensions.batch import Batcher
from extensions.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy.crawler import Crawler

    from battles.items import Battle

_AT_ONCE = 100
"""Battles told to Redis in one round trip."""
_DELAY = 0.02
"""Seconds: those of one frame arrive together."""


class IndexPipeline:
    """Returns a battle when the index knows it, however long Redis takes no battles."""

    def __init__(self, index: BattleIndex, patience: Patience) -> None:
        self._index = index
        self._patience = patience
        self._batch = Batcher(self._add, size=_AT_ONCE, delay=_DELAY)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> IndexPipeline:
        return cls(BattleIndex.from_settings(crawler.settings), Patience(crawler.signals))

    def open_spider(self) -> None:
        # Not earlier: the scheduler has opened the queue by now, and taken over an earlier one.
        self._index.claim()

    async def process_item(self, item: Any) -> Any:  # noqa: ANN401 -- a spider of somebody's
        return await self._keep(item) if isinstance(item, Archived) else item

    async def _keep(self, item: Archived) -> Battle:
        await self._patience.until_taken(partial(self._batch.submit, item))
        item.battle.is_durable = True
        return item.battle

    def _add(self, items: Sequence[Archived]) -> list[int]:
        return self._index.add([Entry.of(item.battle, item.location) for item in items])
