"""Drop what is no usable, public battle; take out the chat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy.exceptions import DropItem

from battles.items import Battle, Unreadable
from battles.parsers.chat import without_chat
from extensions.dead_letters import DeadLetterError

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from scrapy.statscollectors import StatsCollector


_BROKEN = ("unreadable", "other_id")
"""What only a broken reply can be: its request becomes a dead letter."""


class ValidatePipeline:
    """Counts what it drops as `validate/dropped/REASON`; an item that is no battle goes on.

    Settings:
        KEEP_CHAT (False): keep what people said during the battle.
        KEEP_UNFINISHED (False): keep battles whose players left them without an end.
    """

    def __init__(
        self, stats: StatsCollector, *, keep_chat: bool, keep_unfinished: bool = False
    ) -> None:
        self._stats = stats
        self._keep_unfinished = keep_unfinished
        self._keep_chat = keep_chat

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> ValidatePipeline:
        assert crawler.stats is not None  # noqa: S101 -- Scrapy has set it by now
        return cls(
            crawler.stats,
            keep_chat=crawler.settings.getbool("KEEP_CHAT"),
            keep_unfinished=crawler.settings.getbool("KEEP_UNFINISHED"),
        )

    async def process_item(self, item: Any) -> Any:  # noqa: ANN401 -- a spider of somebody's
        if isinstance(item, Unreadable):
            raise self._drop("unreadable", item.asked, item.reason)
        return self._checked(item) if isinstance(item, Battle) else item

    def _checked(self, item: Battle) -> Battle:
        if (flaw := _flaw(item)) and not (flaw[0] == "no_end" and self._keep_unfinished):
            raise self._drop(flaw[0], item.asked, flaw[1])
        if item.has_chat and not self._keep_chat:
            item.log = without_chat(item.log)
        return item

    def _drop(self, reason: str, battle_id: str, detail: str) -> DropItem:
        self._stats.inc_value(f"validate/dropped/{reason}")
        kind = DeadLetterError if reason in _BROKEN else DropItem
        return kind(f"{battle_id}: {detail}")


def _flaw(battle: Battle) -> tuple[str, str] | None:
    """Name what makes a battle unfit to keep: the reason, and the detail."""
    if battle.id != battle.asked:
        return "other_id", f"the site sent {battle.id[:80]!r} instead"
    if battle.private != 0:
        return "private", f"it is marked private ({battle.private})"
    if not battle.log.strip():
        return "no_log", "it has no log"
    if battle.ended is None:
        return "no_end", "its log has no end, so it may still be running"
    return None
