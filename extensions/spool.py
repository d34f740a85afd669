"""Keep segments on the local disk until they are stored."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import RLock
from typing import TYPE_CHECKING, BinaryIO

from ulid import ULID

from extensions.segments import (
    Frame,
    Location,
    SegmentWriter,
    is_at,
    mend,
    salvage,
    sync_folder,
)
from extensions.versions import NewerVersionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from extensions.storage import Storage

logger = logging.getLogger(__name__)

_OPEN = ".open"
"""Ending of a segment's name as long as it is written."""
_SUFFIX = ".jsonl.zst"
_DAMAGED = ".damaged"
"""Ending of the copy that is kept of a segment as it was found."""
_PAUSES = (0.02, 0.0)
"""Seconds between two tries to take a file's lock."""
_NAME = re.compile(r".+-([0-9A-HJKMNP-TV-Z]{26})\.jsonl\.zst(?:\.open)?")
"""What a segment's file is called; other files in the folder are somebody else's."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A segment that an earlier process left behind."""

    key: str
    frames: list[Frame]
    torn: int
    """Bytes cut from its end."""

    def lines(self) -> Iterator[tuple[bytes, Location]]:
        """Yield every line and where it lies."""
        for frame in self.frames:
            for n, line in enumerate(frame.lines):
                yield line, Location(self.key, frame.offset, frame.length, n)


class Spool:
    """The segments of one worker between its first line and their store.

    A file belongs to the process that holds its lock. What no process holds was left by a crash,
    and whoever starts next recovers it. Threads may use a spool together.
    """

    def __init__(
        self,
        folder: Path,
        storage: Storage,
        *,
        worker: str,
        segment_records: int,
        segment_bytes: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the most records of a segment, and the bytes of its lines; 0 takes any number.

        The worker's name goes into the segments' names.
        """
        self._folder = folder
        self._storage = storage
        self._worker = re.sub(r"[^A-Za-z0-9]+", "-", worker).strip("-") or "worker"
        self._segment_records = segment_records
        self._segment_bytes = segment_bytes
        self._clock = clock
        self._lock = RLock()
        self._current: SegmentWriter | None = None
        self._sealed: list[SegmentWriter] = []
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def waiting(self) -> int:
        """Sealed segments that are not stored yet."""
        return len(self._sealed)

    @property
    def size(self) -> int:
        """Bytes of the sealed segments that are not stored yet."""
        with self._lock:
            return sum(writer.size for writer in self._sealed)

    @property
    def open_key(self) -> str | None:
        """The key of the segment that is written to; None when there is none."""
        with self._lock:
            return self._current.key if self._current else None

    def holds(self, key: str) -> bool:
        """Tell whether a segment, open or sealed, is not stored yet."""
        with self._lock:
            writers = [self._current, *self._sealed] if self._current else self._sealed
            return any(writer.key == key for writer in writers)

    def commit(self, lines: Sequence[bytes]) -> list[Location]:
        """Append the lines to the current segment; when this returns they are durable.

        Raises:
            OSError: the disk refused; none of the lines is kept.

        """
        with self._lock:
            if self._current is None:
                self._current = self._create()
            locations = self._current.append(lines)
            if self._is_full(self._current):
                self._try_to_seal()
            return locations

    def seal(self, key: str | None = None) -> None:
        """Close the current segment, if there is one, so that it can be stored.

        Given a key, only the segment of that key is closed.

        Raises:
            OSError: the disk refused; the segment stays open.

        """
        with self._lock:
            if self._current is None or key not in (None, self._current.key):
                return
            self._current.seal()
            self._current.path = _rename(self._current.path)
            self._sealed.append(self._current)
            self._current = None

    def store_next(self) -> str | None:
        """Store the segment that was sealed first and return its key; None when there is none.

        Raises:
            StorageError: the store refused it; it stays in the spool.

        """
        if not self._sealed:
            return None
        # Not behind the lock: it can take a minute, and others are committed meanwhile.
        writer = self._sealed[0]
        self._storage.put(writer.path, writer.key)
        writer.path.unlink(missing_ok=True)
        writer.close()
        with self._lock:
            del self._sealed[0]
        return writer.key

    def store(self) -> int:
        """Store the sealed segments and return how many; those that fail stay.

        Raises:
            StorageError: the store refused one; it and those after it stay in the spool.

        """
        stored = 0
        while self.store_next() is not None:
            stored += 1
        return stored

    def recover(self) -> Iterator[Recovered]:
        """Cut, close and store what dead processes left, one segment at a time.

        Raises:
            StorageError: the store refused one; it stays for the next start.

        """
        for path in segment_files(self._folder):
            file = _open(path)
            if file is not None:
                with file:
                    if _is_ours(file, path):
                        yield from self._recover(path, file)

    def adopt(self, root: Path, is_ours: Callable[[str], bool]) -> list[Path]:
        """Take in what dead processes left in another folder; return what is not ours.

        Args:
            root: where to look.
            is_ours: told a segment's key, says whether it belongs here.

        """
        others = []
        for path in segment_files(root):
            if file := _open(path):
                with file:
                    if not _is_ours(file, path):
                        continue
                    if is_ours(key_of(path)):
                        path.rename(self._folder / path.name)
                    else:
                        others.append(path)
        return others

    def _recover(self, path: Path, file: BinaryIO) -> Iterator[Recovered]:
        data = file.read()
        try:
            found = salvage(data)
        except NewerVersionError as error:
            logger.error("%s is left alone: %s", path, error)  # noqa: TRY400 -- the line says it all
            return
        if found.is_damaged:
            copy = _keep_as_found(path)
            logger.error("%s is damaged: %s; it is kept as %s", path, found, copy)
        elif found.torn:
            logger.warning(
                "%s was torn by a crash: %d bytes cut, %d records kept",
                *(path, found.torn, found.records),
            )
        if not found.frames:
            path.unlink()
            return
        mended, frames = mend(data, found)
        with ExitStack() as stack:
            if found.is_damaged:
                stack.enter_context(_replace(path, mended))
            else:
                _close(file, frames, mended)
            path = _rename(path)
            key = _key(path.name)
            self._storage.put(path, key)
            # The caller indexes the lines: should it die meanwhile, the file is still here.
            yield Recovered(key, frames, found.torn)
            path.unlink()

    def _try_to_seal(self) -> None:
        """Close the current segment now or, if the disk refuses, with the next commit."""
        try:
            self.seal()
        except OSError as error:
            # The lines that made it full are durable: whoever waits for them must not hear this.
            logger.warning("A full segment stays open: %s", error)

    def _is_full(self, segment: SegmentWriter) -> bool:
        is_large = 0 < self._segment_bytes <= segment.text
        return is_large or segment.records >= self._segment_records

    def _create(self) -> SegmentWriter:
        name = f"{self._worker}-{ULID.from_timestamp(self._clock())}{_SUFFIX}"
        return SegmentWriter(self._folder / f"{name}{_OPEN}", _key(name))


def segment_files(folder: Path) -> list[Path]:
    """List the segments in a spool, of all workers, open or closed."""
    return sorted(path for path in folder.glob("*") if _NAME.fullmatch(path.name))


def left_behind(folder: Path) -> list[Path]:
    """List the segments in a spool that no process holds."""
    return [path for path in segment_files(folder) if not _is_held(path)]


def _is_held(path: Path) -> bool:
    """Tell whether a process has a segment's lock; whoever else looks is none."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return not is_at(file, path)
    return True


def key_of(path: Path) -> str:
    """Say under which key a segment in the spool is going to be stored."""
    return _key(path.name.removesuffix(_OPEN))


def damaged_copies(folder: Path) -> list[Path]:
    """List what is kept of damaged segments until all that was in them is accounted for."""
    return sorted(folder.glob(f"*{_SUFFIX}{_DAMAGED}"))


def read_spooled(folder: Path, key: str, offset: int, length: int) -> bytes:
    """Read a part of a segment that is not stored yet, of any worker that uses this spool.

    Raises:
        FileNotFoundError: the segment is not in the spool.

    """
    name = key.rsplit("/", 1)[-1]
    for path in (folder / f"{name}{_OPEN}", folder / name):
        with suppress(FileNotFoundError), path.open("rb") as file:
            file.seek(offset)
            return file.read(length)
    raise FileNotFoundError(f"{name} is not in {folder}")


def _key(name: str) -> str:
    """Derive the key from a segment's file name, whose ULID holds the day."""
    match = _NAME.fullmatch(name)
    assert match is not None  # noqa: S101 -- `_create` and `segment_files` see to it
    day = datetime.fromtimestamp(ULID.from_str(match[1]).timestamp, UTC)
    return f"raw/{day:%Y/%m/%d}/{name}"


def _rename(path: Path) -> Path:
    """Give a closed segment its final name."""
    return path.rename(path.with_name(path.name.removesuffix(_OPEN)))


def _close(file: BinaryIO, frames: list[Frame], mended: bytes) -> None:
    """Cut what a crash tore, and see to it that the rest is on the disk."""
    end = frames[-1].offset + frames[-1].length
    file.truncate(end)
    file.seek(end)
    file.write(mended[end:])
    file.flush()
    # Its writer may have died before it did this itself.
    os.fsync(file.fileno())


def _keep_as_found(path: Path) -> Path:
    """Give a file a second name, under which it stays; the first is about to be replaced."""
    copy = path.with_name(path.name.removesuffix(_OPEN) + _DAMAGED)
    # An earlier recovery, which died, may have kept it already.
    with suppress(FileExistsError):
        os.link(path, copy)
        sync_folder(path.parent)
    return copy


def _replace(path: Path, data: bytes) -> BinaryIO:
    """Put other bytes in the place of a file, in one step, and hold their lock."""
    partial = path.with_name(f".{path.name}.partial")
    file = partial.open("wb")
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)
    return file


def _open(path: Path) -> BinaryIO | None:
    """Open a file that another process may move or remove meanwhile."""
    try:
        return path.open("r+b")
    except FileNotFoundError:
        return None


def _is_ours(file: BinaryIO, path: Path) -> bool:
    """Take the file's lock; False when a living process has it, or had it and moved the file."""
    for pause in _PAUSES:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Somebody may only have looked whether it is held.
            time.sleep(pause)
        else:
            return is_at(file, path)
    return False
