"""Take a battle out of the archive's answers that was withdrawn, and remember that it was."""

from __future__ import annotations

import asyncio
import json
import os
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, TypeVar

from scrapy.exceptions import DropItem

from battles.corpus import Corpus, tombstone_key
from battles.items import Withdrawn
from extensions.patience import Patience

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from scrapy.statscollectors import StatsCollector

_Item = TypeVar("_Item")


class WithdrawPipeline:
    """Leaves a tombstone in the store, takes the battle out of the index, and drops the item.

    The bytes stay where they are; no search, export or rebuilt index shows them.
    """

    def __init__(self, corpus: Corpus, stats: StatsCollector, patience: Patience) -> None:
        self._corpus = corpus
        self._patience = patience
        self._stats = stats

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> WithdrawPipeline:
        assert crawler.stats is not None  # noqa: S101 -- Scrapy has set it by now
        return cls(Corpus.from_settings(crawler.settings), crawler.stats, Patience(crawler.signals))

    async def process_item(self, item: _Item) -> _Item:
        if not isinstance(item, Withdrawn):
            return item
        await self._patience.until_taken(partial(asyncio.to_thread, self._withdraw, item))
        self._stats.inc_value("archive/withdrawn")
        raise DropItem(f"{item.id} was withdrawn: {item.reason}", log_level="INFO")

    def _withdraw(self, item: Withdrawn) -> None:
        # The tombstone first: with it, an index that is made anew leaves the battle out.
        _put(self._corpus, item)
        self._corpus.index.withdraw({item.id: item.at})


def _put(corpus: Corpus, item: Withdrawn) -> None:
    record: dict[str, Any] = {"id": item.id, "withdrawn_at": item.at, "reason": item.reason}
    with NamedTemporaryFile() as file:
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
        corpus.storage.put(Path(file.name), tombstone_key(item.id, item.at))
