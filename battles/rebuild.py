"""Build an index beside the one in use, and put it in its place in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from uuid import uuid4

from battles.index import BattleIndex
from extensions.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from battles.index import Entry

_SILENCE = 600
"""Seconds after which a builder that does nothing is given up, and crawls note nothing for it."""
_AT_ONCE = 500
"""Additions repeated in one round trip."""
_SWAPPED, _MORE = 1, 0
"""What the script says; all else means that somebody else builds."""


class RebuildError(Exception):
    """Raised when an index cannot be finished because another builder has begun."""


class Rebuild:
    """A new index for the archive of an old one, which is read and added to until the swap.

    What is added to the old one meanwhile is noted by the script that adds, and repeated here
    before the swap. Of two builders the later goes on.
    """

    def __init__(self, old: BattleIndex) -> None:
        self.index = BattleIndex(old.redis, keys=old.keys.beside)
        self._old = old
        self._redis = old.redis
        self._swap = Script(old.redis, "battles", "index_swap")
        self._builder = uuid4().hex.encode()
        self._repeated = 1
        """Entries of the list that are done with: the first names the builder."""

    def begin(self) -> None:
        """Throw away what a builder left that died, and have additions noted from now on."""
        additions = self._old.keys.additions
        with self._redis.pipeline() as pipeline:
            pipeline.delete(additions)
            pipeline.rpush(additions, self._builder)
            pipeline.expire(additions, _SILENCE)
            pipeline.execute()
        self.index.clear()

    def add(self, entries: Sequence[Entry]) -> None:
        """Put battles into the new index.

        Raises:
            RebuildError: somebody else builds.

        """
        self._check()
        self.index.add(entries)

    def catch_up(self) -> None:
        """Repeat what was added to the old index meanwhile.

        Raises:
            RebuildError: somebody else builds.

        """
        while noted := self._noted():
            self.index.repeat(noted)
            self._repeated += len(noted)

    def finish(self) -> None:
        """Put the new index in the place of the old one, with all that was added to that.

        Raises:
            RebuildError: somebody else builds.

        """
        keys = [self._old.keys.additions, self.index.keys.months]
        outcome = _MORE
        while outcome == _MORE:
            months, pairs = self._list_pairs()
            # Nothing slow behind this: where much is added, the swap would always come too late.
            self.catch_up()
            outcome = self._swap([*keys, *pairs], [self._builder, self._repeated, months])
        if outcome != _SWAPPED:
            raise self._error()

    def abandon(self) -> None:
        """Leave the old index as it is; nothing when the new one is in its place."""
        if self._is_ours():
            self._redis.delete(self._old.keys.additions)
            self.index.clear()

    def _noted(self) -> list[bytes]:
        self._check()
        additions, first = self._old.keys.additions, self._repeated
        return cast("list[bytes]", self._redis.lrange(additions, first, first + _AT_ONCE - 1))

    def _list_pairs(self) -> tuple[int, list[str]]:
        """Return how many months the new index has, and which key takes the place of which."""
        new, old = self.index, self._old
        months = new.months()
        pairs = [
            *zip(new.keys.fixed, old.keys.fixed, strict=True),
            *((new.keys.month(*m), old.keys.month(*m)) for m in {*months, *old.months()}),
        ]
        return len(months), [key for pair in pairs for key in pair]

    def _check(self) -> None:
        if not self._is_ours():
            raise self._error()
        self._redis.expire(self._old.keys.additions, _SILENCE)

    def _is_ours(self) -> bool:
        return bool(self._redis.lindex(self._old.keys.additions, 0) == self._builder)

    @staticmethod
    def _error() -> RebuildError:
        return RebuildError(
            "another `scrapy reindex` has begun, or this one stood still for too long; the index "
            "in use is whole: wait for the other, or repeat this one"
        )
