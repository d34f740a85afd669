"""Read stored battles back, by id or by search."""

from __future__ import annotations

import logging
from contextlib import suppress
from itertools import groupby, islice
from typing import TYPE_CHECKING

from battles.arguments import nearest
from battles.index import BattleIndex, Entry, Query, Row
from battles.parsers.names import to_id
from battles.rebuild import Rebuild, RebuildError
from battles.records import decode
from battles.spools import spool_folder, waits_for_store
from extensions.segments import Location, SegmentError, read_frame, salvage
from extensions.spool import key_of, read_spooled, segment_files
from extensions.storage import MissingError, Storage, storage_from_settings
from extensions.versions import NewerVersionError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

    from scrapy.settings import BaseSettings

    from battles.items import Battle
    from extensions.segments import Frame, Salvage

logger = logging.getLogger(__name__)

_TOMBSTONES = "withdrawn/"
"""Prefix of what the store keeps of battles that were withdrawn."""
_WORTH_ONE_READ = 256 * 1024
"""Bytes between two wanted frames that are read along rather than skipped with a second request."""
_SHRINKS_TO = 0.9
"""Of the battles that are indexed, so many must be in the segments, else something is wrong."""
_NAMED = 10
"""Damaged segments that one line names."""
_AHEAD = 64
"""Rows of a player whose battles are read at once, to see whether they are the player's."""


class CorpusError(Exception):
    """Raised when the archive is not what its index says."""


class NewerSegmentError(CorpusError):
    """Raised when a segment is of a later version than this program's."""


class Corpus:
    """An archive: the segments and the index over them."""

    def __init__(
        self, index: BattleIndex, storage: Storage, spool: Path, *, spooled: bool = True
    ) -> None:
        """Say whether what lies in the spool counts as archived, or only what the store has."""
        self._spooled = spooled
        self.index = index
        self.storage = storage
        self.spool = spool
        self.unreadable: dict[str, str] = {}
        """Battles that reading passed over, by id, and why: their bytes are damaged or gone."""

    @classmethod
    def from_settings(cls, settings: BaseSettings) -> Corpus:
        return cls(
            BattleIndex.from_settings(settings),
            storage_from_settings(settings),
            spool_folder(settings),
            spooled=not waits_for_store(settings),
        )

    def battle(self, battle_id: str) -> Battle | None:
        """Read one battle; None when the archive does not hold it.

        Raises:
            CorpusError: its bytes are not where the index says, or are damaged.

        """
        row = self.index.find([battle_id]).get(battle_id)
        if row is None:
            return None
        for battle in self.read([row]):
            return battle
        raise CorpusError(
            f"{battle_id}: {self.unreadable[battle_id]}; `scrapy verify --refetch` has what cannot "
            "be read fetched again"
        )

    def search(self, query: Query) -> Iterator[Battle]:
        """Yield the battles that fit, newest first."""
        rows = self.index.search(query)
        while chunk := list(islice(rows, _AHEAD)):
            found = {battle.id: battle for battle in self.read(chunk)}
            for row in chunk:
                if row.id in found and fits(found[row.id], query):
                    yield found[row.id]

    def everything(self, query: Query) -> Iterator[Battle]:
        """Yield the battles that fit, in the order in which they are cheapest to read."""
        rows = list(self.index.search(query))
        return (battle for battle in self.read(rows) if fits(battle, query))

    def read(self, rows: Iterable[Row], *, may_be_empty: bool = False) -> Iterator[Battle]:
        """Read battles, each frame once, in the order in which they are stored.

        What cannot be read is passed over, and added to `unreadable`.

        Raises:
            CorpusError: the store holds nothing at all, and that is not to be expected.

        """
        places = sorted(_place(row) for row in rows)
        for segment, in_segment in groupby(places, key=lambda place: place[0]):
            for run in _runs(list(in_segment)):
                yield from self._read_run(segment, run, may_be_empty=may_be_empty)

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
            CorpusError: a segment is damaged, and what is whole is indexed; or the segments hold
                far less than the index, which then stays as it was unless it may shrink.

        """
        rebuild = Rebuild(self.index)
        # A store that does not answer costs nothing.
        next(self.storage.keys("raw/"), None)
        damaged: list[str] = []
        self.heed_withdrawals()
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
            raise CorpusError(
                f"what is whole is indexed, but {len(damaged)} are damaged: "
                + "; ".join(damaged[:_NAMED])
            )

    def withdrawn(self) -> dict[str, int]:
        """Return the battles that were withdrawn, by id with the time, as the store has it."""
        found: dict[str, int] = {}
        for key in self.storage.keys(_TOMBSTONES):
            battle_id, _, at = key.removeprefix(_TOMBSTONES).removesuffix(".json").rpartition("@")
            if at.isdecimal():
                found[battle_id] = max(int(at), found.get(battle_id, 0))
        return found

    def heed_withdrawals(self) -> None:
        """Have the index know what was withdrawn, should it not."""
        withdrawn = self.withdrawn()
        if self.index.withdrawals() < len(withdrawn):
            self.index.withdraw(withdrawn)

    def reconcile(self, *, spooled: bool) -> Iterator[tuple[str, int]]:
        """Index the stored segments of which the index knows no battle.

        Args:
            spooled: also what lies in the spool of this machine, and was indexed before.

        Yields:
            Each segment and how many battles it holds.

        Raises:
            StorageError: the store does not answer; what was indexed by then stays so.

        """
        self.heed_withdrawals()
        here = segment_files(self.spool) if spooled and self._spooled else []
        for path in here:
            with suppress(FileNotFoundError):
                yield self._index_segment(key_of(path), path.read_bytes())
        for key in self.index.lacks(self.storage.keys("raw/")):
            yield self._index_segment(key, self.storage.read_all(key))

    def _index_segment(self, key: str, data: bytes) -> tuple[str, int]:
        entries, strange = entries_of(key, _salvage(key, data).frames)
        for error in strange:
            logger.error("%s: %s", key, error)
        self.index.add(entries)
        return key, len(entries)

    def _read_into(self, rebuild: Rebuild, damaged: list[str]) -> Iterator[tuple[str, int]]:
        done = set()
        for key, found, is_stored in self.segments():
            entries, strange = entries_of(key, found.frames)
            if found.is_damaged or (is_stored and not found.is_whole):
                damaged.append(f"{key}: {found}")
            damaged += [f"{key}: {error}" for error in strange]
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

    def segments(self) -> Iterator[tuple[str, Salvage, bool]]:
        """Yield each segment, what is whole in it, and whether it is stored or in the spool.

        Those in the spool come first: one that moves to the store meanwhile comes twice.
        """
        for path in segment_files(self.spool) if self._spooled else ():
            with suppress(FileNotFoundError):
                yield key_of(path), _salvage(key_of(path), path.read_bytes()), False
        for key in self.storage.keys("raw/"):
            yield key, _salvage(key, self.storage.read_all(key)), True

    def _read_run(self, segment: str, run: list[_Place], *, may_be_empty: bool) -> Iterator[Battle]:
        start = run[0][1]
        try:
            data = self._bytes(segment, start, max(end for _, _, end, _, _ in run) - start)
        except MissingError as error:
            if not may_be_empty:
                self._check_store()
            self.unreadable.update((id, str(error)) for *_, id in run)
            return
        for (offset, end), places in groupby(run, key=lambda place: place[1:3]):
            try:
                frame: list[bytes] | SegmentError = read_frame(data[offset - start : end - start])
            except SegmentError as error:
                frame = error
            for _, _, _, line, id in places:
                try:
                    yield _battle(frame, line, id)
                except ValueError as error:
                    self.unreadable[id] = f"{segment} at {offset}: {error}"

    def _check_store(self) -> None:
        """Refuse to take battles for lost when it is the store's address that is wrong."""
        if next(self.storage.keys("raw/"), None) is None:
            raise CorpusError(
                f"the store is empty, while the index holds {len(self.index)} battles: check "
                "ARCHIVE_URL"
            )

    def _bytes(self, segment: str, offset: int, length: int) -> bytes:
        try:
            return self.storage.read(segment, offset, length)
        except MissingError:
            pass
        # Workers of earlier versions write to the folder above.
        for folder in (self.spool, self.spool.parent):
            with suppress(FileNotFoundError):
                return read_spooled(folder, segment, offset, length)
        try:
            # It moved from the spool to the store between the two looks.
            return self.storage.read(segment, offset, length)
        except MissingError as error:
            raise MissingError(
                f"{error}, nor in the spool of this machine: it lies on the worker that wrote it, "
                "or is gone"
            ) from None


def _salvage(key: str, data: bytes) -> Salvage:
    """Read what is whole in a segment.

    Raises:
        NewerSegmentError: a later version wrote it.

    """
    try:
        return salvage(data)
    except NewerVersionError as error:
        raise NewerSegmentError(f"{key}: {error}") from None


def tombstone_key(battle_id: str, at: int) -> str:
    """Say under which key it is kept that a battle was withdrawn; at: seconds since the epoch."""
    return f"{_TOMBSTONES}{battle_id}@{at}.json"


def entries_of(key: str, frames: Iterable[Frame]) -> tuple[list[Entry], list[ValueError]]:
    """Build the index entries of a segment's battles; say which lines are none."""
    entries, strange = [], []
    for frame in frames:
        for n, line in enumerate(frame.lines):
            try:
                location = Location(key, frame.offset, frame.length, n)
                entries.append(Entry.of(decode(line), location))
            except ValueError as error:
                strange.append(error)
    return entries, strange


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


def _battle(frame: list[bytes] | SegmentError, line: int, battle_id: str) -> Battle:
    """Read one battle of a frame; an index that is out of date may mean another.

    Raises:
        ValueError: it is not there, or the frame is damaged.

    """
    if isinstance(frame, SegmentError):
        raise frame
    if line >= len(frame):
        raise ValueError(f"{battle_id} is not there: no line {line} in {len(frame)} lines")
    battle = decode(frame[line])
    if battle.id != battle_id:
        raise ValueError(f"{battle_id} is not there, but {battle.id}")
    return battle


def fits(battle: Battle, query: Query) -> bool:
    """Check what the index cannot tell for sure."""
    players = {to_id(player.name) for player in battle.players}
    return (query.formatid in (None, battle.formatid)) and (
        query.player is None or to_id(query.player) in players
    )
