"""Check every segment and every battle of the index, and have fetched again what is lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from battles.index import Row, fingerprint
from battles.records import decode
from extensions.keys import lane_of
from extensions.queue import Add
from extensions.request_fields import encode
from extensions.segments import Location
from extensions.spool import damaged_copies

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

    from battles.corpus import Corpus
    from battles.spiders.replays import ReplaysSpider
    from extensions.queue import RequestQueue
    from extensions.segments import Salvage

_AT_ONCE = 500
"""Battles put back into the queue, or looked up, in one round trip."""


@dataclass(slots=True)
class Verification:
    """What was found."""

    segments: int = 0
    battles: int = 0
    """In the index, and read."""
    damaged: dict[str, str] = field(default_factory=dict)
    """Segments that are not as their writers closed them, and what is wrong."""
    missing: dict[str, str] = field(default_factory=dict)
    """Battles in the index that cannot be read, and why."""
    rows: list[Row] = field(default_factory=list)
    """The rows of those."""


def verify(corpus: Corpus, *, may_be_empty: bool = False) -> Generator[str, None, Verification]:
    """Read every segment, then every battle of the index that was in none of them.

    Yields:
        The key of each segment that was read.

    Raises:
        StorageError: the store does not answer.
        CorpusError: the store is empty and the index is not, unless that may be.

    """
    found = Verification()
    seen: set[bytes] = set()
    for key, salvaged, is_stored in corpus.segments():
        found.segments += 1
        if salvaged.is_damaged or (is_stored and not salvaged.is_whole):
            found.damaged[key] = str(salvaged)
        seen.update(_indexed(corpus, key, salvaged))
        yield key
    # What is archived meanwhile is in none of these segments, and can be read.
    others = (row for row in corpus.index.rows() if fingerprint(row.id) not in seen)
    found.battles = len(seen)
    while chunk := list(islice(others, _AT_ONCE)):
        found.battles += sum(1 for _ in corpus.read(chunk, may_be_empty=may_be_empty))
        found.rows += [row for row in chunk if row.id in corpus.unreadable]
    found.missing = {row.id: corpus.unreadable[row.id] for row in found.rows}
    return found


def refetch(corpus: Corpus, rows: Iterable[Row], queue: RequestQueue, spider: ReplaysSpider) -> int:
    """Put battles that cannot be read back into the queue, and forget that they were archived.

    Returns:
        How many.

    """
    iterator, count = iter(rows), 0
    while chunk := list(islice(iterator, _AT_ONCE)):
        # Into the queue first: whoever dies between the two steps has some fetched once more.
        queue.commit([_addition(spider, row.id) for row in chunk])
        corpus.index.forget(chunk)
        count += len(chunk)
    return count


def discard_copies(corpus: Corpus) -> list[Path]:
    """Remove what the spool keeps of damaged segments, when nothing is missing any more."""
    copies = damaged_copies(corpus.spool)
    for copy in copies:
        copy.unlink(missing_ok=True)
    return copies


def _indexed(corpus: Corpus, key: str, salvaged: Salvage) -> Iterator[bytes]:
    """Yield the fingerprints of the battles that the index finds in this segment."""
    places = dict(_places(key, salvaged))
    for id, row in corpus.index.find(places).items():
        if row.location == places[id]:
            yield fingerprint(id)


def _places(key: str, salvaged: Salvage) -> Iterator[tuple[str, Location]]:
    for frame in salvaged.frames:
        for n, line in enumerate(frame.lines):
            try:
                battle = decode(line)
            except ValueError:
                continue
            yield battle.id, Location(key, frame.offset, frame.length, n)


def _addition(spider: ReplaysSpider, battle_id: str) -> Add:
    request = spider.request_for(battle_id)
    return Add(lane_of(request.priority), encode(request, spider))
