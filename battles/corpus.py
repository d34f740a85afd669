"""Read stored battles back, by id or by search."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

from battles.arguments import nearest
from battles.index import BattleIndex, Entry, Query, Row
from battles.parsers.names import to_id
from battles.rebuild import Rebuild, RebuildError
from battles.records import decode
from extensions.segments import Location, SegmentError, read_frame, read_segment, whole_frames
from extensions.spool import key_of, read_spooled, segment_files
from extensions.storage import MissingError, Storage, storage_from_settings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from scrapy.settings import BaseSettings

    from battles.items import Battle
    from extensions.segments import Frame

_WORTH_ONE_READ = 256 * 1024
"""Bytes between two wanted frames that are read along rather than skipped with a second request."""
_SHRINKS_TO = 0.9
"""Of the battles that are indexed, so many must be in the segments, else something is wrong."""
_AHEAD = 64
"""Rows of a player whose battles are read at once, to see whether they are the player's."""


class CorpusError(Exception):
    """Raised when a battle that the index names cannot be read."""


class Corpus:
    """An archive: the segments and the index over them."""

    def __init__(self, index: BattleIndex, storage: Storage, spool: Path) -> None:
        self.index = index
        self.storage = storage
        self._spool = spool

    @classmethod
    def from_settings(cls, settings: BaseSettings) -> Corpus:
        return cls(
            BattleIndex.from_settings(settings),
            storage_from_settings(settings),
            Path(settings.get("SPOOL_DIR", ".scrapy/spool")),
        )

    def battle(self, battle_id: str) -> Battle | None:
        """Read one battle; None when the archive does not hold it."""
        row = self.index.find([battle_id]).get(battle_id)
        return None if row is None else next(self.read([row]))

    def search(self, query: Query) -> Iterator[Battle]:
        """Yield the battles that fit, newest first."""
        rows = self.index.search(query)
        while chunk := list(islice(rows, _AHEAD)):
            found = {battle.id: battle for battle in self.read(chunk)}
            for row in chunk:
                if _fits(found[row.id], query):
                    yield found[row.id]

    def everything(self, query: Query) -> Iterator[Battle]:
        """Yield the battles that fit, in the order in which they are cheapest to read."""
        rows = list(self.index.search(query))
        return (battle for battle in self.read(rows) if _fits(battle, query))

    def read(self, rows: Iterable[Row]) -> Iterator[Battle]:
        """Read battles, each frame once, in the order in which they are stored.

        Raises:
            CorpusError: the bytes are not where the index says, or are damaged.

        """
        places = sorted(_place(row) for row in rows)
        for segment, in_segment in groupby(places, key=lambda place: place[0]):
            for run in _runs(list(in_segment)):
                yield from self._read_run(segment, run)

    def why_nothing(self, query: Query) -> str:
        """Say in a line why a search found nothing."""
        held, formats = len(self.index), self.index.formats()
        if not held:
            return "the archive is empty: `scrapy crawl replays` fills it"
        if query.formatid and query.formatid not in formats:
            return f"no battle of format {query.formatid!r}: {nearest(query.formatid, formats)}"
        if query.player and not next(self.search(Query(player=query.player)), None):
            return f"no battle of a player {query.player!r} among {held} battles"
        return f"nothing found among {held} battles: loosen the filters"

    def rebuild_index(self, *, may_shrink: bool = False) -> Generator[tuple[str, int]]:
        """Build the index anew from the segments, those in this spool among them.

        The old one is in use until the new one is whole; what crawls add meanwhile is in both.

        Yields:
            Each segment and how many battles it holds.

        Raises:
            CorpusError: a segment is damaged, and the others are indexed; or the segments hold far
                less than the index, which then stays as it was unless it may shrink.

        """
        rebuild = Rebuild(self.index)
        # A store that does not answer costs nothing.
        next(self.storage.keys("raw/"), None)
        damaged: list[str] = []
        try:
            rebuild.begin()
            yield from self._read_into(rebuild, damaged)
            rebuild.catch_up()
            if not may_shrink:
                self._check_size(len(rebuild.index), damaged)
            rebuild.finish()
        except RebuildError as error:
            raise CorpusError(str(error)) from None
        finally:
            rebuild.abandon()
        if damaged:
            raise CorpusError(f"damaged and left out: {'; '.join(damaged)}")

    def _read_into(self, rebuild: Rebuild, damaged: list[str]) -> Iterator[tuple[str, int]]:
        done = set()
        for key, frames in chain(self._spooled(), self._stored()):
            try:
                entries = _entries(key, frames)
            except ValueError as error:
                damaged.append(f"{key}: {error}")
                continue
            rebuild.add(entries)
            if key not in done:
                yield key, len(entries)
            done.add(key)

    def _check_size(self, found: int, damaged: list[str]) -> None:
        indexed = len(self.index)
        if found >= _SHRINKS_TO * indexed and (found or not indexed):
            return
        why = f"{len(damaged)} are damaged, {damaged[0]}" if damaged else "check ARCHIVE_URL"
        raise CorpusError(
            f"the segments hold {found} battles, the index {indexed}, which stays as it was: {why}"
            "; `scrapy reindex --yes` replaces it all the same"
        )

    def _spooled(self) -> Iterator[tuple[str, Iterable[Frame]]]:
        """Yield what lies in the spool; first, since it may move to the store meanwhile."""
        for path in segment_files(self._spool):
            with suppress(FileNotFoundError):
                yield key_of(path), whole_frames(path.read_bytes())

    def _stored(self) -> Iterator[tuple[str, Iterable[Frame]]]:
        for key in self.storage.keys("raw/"):
            yield key, read_segment(self.storage.read_all(key))

    def _read_run(self, segment: str, run: list[_Place]) -> Iterator[Battle]:
        start = run[0][1]
        data = self._bytes(segment, start, max(end for _, _, end, _, _ in run) - start)
        for (offset, end), places in groupby(run, key=lambda place: place[1:3]):
            try:
                frame = read_frame(data[offset - start : end - start])
                battles = [_battle(frame, line, id) for _, _, _, line, id in places]
            except (SegmentError, ValueError) as error:
                raise CorpusError(
                    f"{segment} at {offset}: {error}. Restore it, then run `scrapy reindex`"
                ) from error
            yield from battles

    def _bytes(self, segment: str, offset: int, length: int) -> bytes:
        try:
            return self.storage.read(segment, offset, length)
        except MissingError:
            pass
        try:
            return read_spooled(self._spool, segment, offset, length)
        except FileNotFoundError:
            pass
        try:
            # It moved from the spool to the store between the two looks.
            return self.storage.read(segment, offset, length)
        except MissingError as error:
            if next(self.storage.keys("raw/"), None) is None:
                raise CorpusError(
                    f"the store is empty, while the index holds {len(self.index)} battles: check "
                    "ARCHIVE_URL"
                ) from None
            raise CorpusError(
                f"{error}, nor in the spool of this machine: it lies on the worker that wrote it, "
                "or was deleted (then run `scrapy reindex`)"
            ) from None


def _entries(key: str, frames: Iterable[Frame]) -> list[Entry]:
    """Build the index entries of a segment's battles."""
    return [
        Entry.of(decode(line), Location(key, frame.offset, frame.length, n))
        for frame in frames
        for n, line in enumerate(frame.lines)
    ]


_Place = tuple[str, int, int, int, str]
"""Segment, first byte of the frame, byte after it, line, id."""


def _place(row: Row) -> _Place:
    at = row.location
    return at.segment, at.offset, at.offset + at.length, at.line, row.id


def _runs(places: list[_Place]) -> Iterator[list[_Place]]:
    """Split the places of one segment where skipping saves more than a request costs."""
    run: list[_Place] = []
    for place in places:
        if run and place[1] - run[-1][2] > _WORTH_ONE_READ:
            yield run
            run = []
        run.append(place)
    if run:
        yield run


def _battle(frame: list[bytes], line: int, battle_id: str) -> Battle:
    """Read one battle of a frame; an index that is out of date may mean another."""
    if line >= len(frame):
        raise ValueError(f"{battle_id} is not there: no line {line} in {len(frame)} lines")
    battle = decode(frame[line])
    if battle.id != battle_id:
        raise ValueError(f"{battle_id} is not there, but {battle.id}")
    return battle


def _fits(battle: Battle, query: Query) -> bool:
    """Check what the index cannot tell for sure."""
    players = {to_id(player.name) for player in battle.players}
    return (query.formatid in (None, battle.formatid)) and (
        query.player is None or to_id(query.player) in players
    )
