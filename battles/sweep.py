"""Find what the archive holds and a sweep did not list any more, and have it looked at."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from battles.corpus import Corpus, CorpusError, fits
from battles.index import Query, fingerprint
from battles.items import Covered
from extensions.patience import Patience
from extensions.storage import StorageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from scrapy.statscollectors import StatsCollector


logger = logging.getLogger(__name__)


class SweepMiddleware:
    """A spider middleware: asks for battles that are archived and no longer listed.

    Nothing else is ever asked for: what comes of it decides whether they are withdrawn.
    """

    def __init__(self, corpus: Corpus, crawler: Crawler, stats: StatsCollector) -> None:
        self._corpus = corpus
        self._crawler = crawler
        self._stats = stats
        self._patience = Patience(crawler.signals)
        self._window: tuple[Any, list[tuple[int, bytes]]] = (None, [])
        """Of the sweep that was looked at last: its name, and times and fingerprints by time."""

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> SweepMiddleware:
        assert crawler.stats is not None  # noqa: S101 -- Scrapy has set it by now
        return cls(Corpus.from_settings(crawler.settings), crawler, crawler.stats)

    async def process_spider_output(
        self,
        response: Response,
        result: AsyncIterator[Any],
    ) -> AsyncIterator[Any]:
        async for output in result:
            if not isinstance(output, Covered):
                yield output
                continue
            spider: Any = self._crawler.spider
            # Without a password, as a battle's address is kept.
            host = urlsplit(response.url).netloc.rpartition("@")[2]
            look = partial(asyncio.to_thread, self._unlisted, output, host)
            for battle_id in await self._patience.until_taken(look):
                self._stats.inc_value("replays/unlisted")
                yield spider.request_to_check(battle_id)

    def _unlisted(self, covered: Covered, host: str) -> list[str]:
        """Return the replays of this site that are archived, and should have been listed."""
        window = self._times(covered)
        first = bisect_left(window, (covered.since, b""))
        last = bisect_left(window, (covered.until, b""))
        listed = {fingerprint(battle_id) for battle_id in covered.ids}
        marks = [mark for _, mark in window[first:last] if mark not in listed]
        rows = self._corpus.index.rows_of(marks)
        # Live battles that nobody saved were never listed, and other sites list other replays. Of a
        # player the index knows more than what fits.
        query = Query(covered.format, covered.user)
        try:
            return [
                battle.id
                for battle in self._corpus.read(rows)
                if battle.source == "replay"
                and urlsplit(battle.url).netloc == host
                and fits(battle, query)
            ]
        except (StorageError, CorpusError) as error:
            logger.warning("What was taken back is looked for in the next sweep: %s", error)
            return []

    def _times(self, covered: Covered) -> list[tuple[int, bytes]]:
        """Return what the archive holds of a sweep's time, read once for all its pages."""
        name, window = (covered.format, covered.user, covered.sweep), self._window
        if window[0] != name:
            query = Query(covered.format, covered.user, since=covered.oldest)
            # Another page's thread may put its own there meanwhile.
            window = self._window = (name, self._corpus.index.times(query))
        return window[1]
