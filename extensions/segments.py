"""Write and read segments: zstd frames of JSON Lines with a count at the end.

A segment is a file of independent zstd frames, each some dozens of lines, closed by a skippable
frame that says how many lines there are. Every zstd reader takes the file for plain JSON Lines, and
one frame is enough to read any one line.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zstandard

from extensions.versions import NewerVersionError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from io import FileIO
    from pathlib import Path
    from typing import BinaryIO

_SKIPPABLE = 0x184D2A5B
"""One of the sixteen magic numbers that tell zstd to skip a frame."""
_TRAILER_MAGIC = _SKIPPABLE.to_bytes(4, "little")
_TRAILER_HEAD = struct.Struct("<II")
_LEVEL = 3
_PIECE = 64 * 1024
"""Bytes looked at in one go to find the end of a frame."""


SEGMENT_VERSION = 1
"""Of what we write; a trailer that says nothing is of version 1."""


class SegmentError(ValueError):
    """Raised when a segment is not what its trailer says, or its bytes are damaged."""


class TornError(SegmentError):
    """Raised when the bytes end within a frame, as a crash in the middle of a write leaves them."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where one line lies."""

    segment: str
    """The key under which the segment is stored."""
    offset: int
    """First byte of its frame."""
    length: int
    """Bytes of its frame."""
    line: int
    """Position in its frame, from 0."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a segment."""

    offset: int
    length: int
    lines: list[bytes]


@dataclass(frozen=True, slots=True)
class Salvage:
    """What can be read of a segment, whatever happened to it."""

    frames: list[Frame]
    """The whole ones, wherever they lie."""
    damaged: int
    """Bytes that were whole once: between two frames, or before the trailer."""
    torn: int
    """Bytes at the end that a crash kept from becoming a frame or a trailer."""
    counted: int | None
    """Records that the trailer counts; None without one."""

    @property
    def records(self) -> int:
        """Records in the whole frames."""
        return sum(len(frame.lines) for frame in self.frames)

    @property
    def is_whole(self) -> bool:
        """Whether it is as its writer closed it."""
        return not self.damaged and self.counted == self.records

    @property
    def is_damaged(self) -> bool:
        """Whether records are missing that were durable."""
        return self.damaged > 0 or self.counted not in (None, self.records)

    def __str__(self) -> str:
        """Say in a few words what there is and what is wrong."""
        parts = [f"{self.records} records whole"]
        parts += [f"{self.damaged} bytes damaged"] if self.damaged else []
        parts += [f"{self.torn} bytes torn"] if self.torn else []
        is_known = self.counted is not None
        parts += [f"the trailer counts {self.counted}" if is_known else "no trailer"]
        return ", ".join(parts)


class SegmentWriter:
    """Appends frames to one new file, which it holds locked as long as it is open."""

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key
        self.records = 0
        self.size = 0
        """Bytes written, all of them durable."""
        self.text = 0
        """Bytes of the lines, before they were compressed."""
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        self._file = _create_locked(path)
        sync_folder(path.parent)

    def append(self, lines: Sequence[bytes]) -> list[Location]:
        """Write the lines as one frame; when this returns they are durable.

        Raises:
            OSError: the disk refused; the file is as it was before.
            ValueError: there is no line, or a line feed in one.

        """
        if not lines or any(b"\n" in line for line in lines):
            raise ValueError("a frame holds one line or more, each without a line feed")
        frame = self._compressor.compress(b"".join(line + b"\n" for line in lines))
        self._write(frame)
        offset, self.size = self.size, self.size + len(frame)
        self.records += len(lines)
        self.text += sum(map(len, lines))
        return [Location(self.key, offset, len(frame), n) for n in range(len(lines))]

    def seal(self) -> None:
        """Say at the end how many records there are; a later `append` takes that back.

        Raises:
            OSError: the disk refused; the file is as it was before.

        """
        self._write(trailer(self.records))

    def close(self) -> None:
        """Give up the file and its lock."""
        self._file.close()

    def _write(self, data: bytes) -> None:
        try:
            self._cut()
            rest = memoryview(data)
            while rest:
                # A full disk takes a part first, and says so at the second try.
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError:
            self._cut()
            raise

    def _cut(self) -> None:
        """Take back what does not count: a trailer, or what a full disk took of a frame."""
        self._file.truncate(self.size)
        self._file.seek(self.size)


def trailer(records: int) -> bytes:
    """Build the skippable frame that closes a segment."""
    text = json.dumps({"records": records}).encode()
    return _TRAILER_HEAD.pack(_SKIPPABLE, len(text)) + text


def read_frame(data: bytes) -> list[bytes]:
    """Decompress one frame into its lines.

    Raises:
        SegmentError: the frame is torn or damaged.

    """
    lines, used = _frame(data)
    if used != len(data):
        raise SegmentError(f"the frame ends after {used} of {len(data)} bytes")
    return lines


def read_segment(data: bytes) -> list[Frame]:
    """Return the frames of a whole segment.

    Raises:
        SegmentError: a frame is damaged, the trailer is missing, or it counts other records.

    """
    found = salvage(data)
    if not found.is_whole:
        raise SegmentError(str(found))
    return found.frames


def salvage(data: bytes) -> Salvage:
    """Read what is whole in a segment, also behind what is damaged.

    Raises:
        NewerVersionError: a later version wrote it.

    """
    frames: list[Frame] = []
    damaged = offset = 0
    while offset < len(data):
        try:
            lines, used = _frame(data, offset)
        except SegmentError as error:
            following = _next_frame(data, offset + 1)
            if following is None:
                return _end(data[offset:], error, frames, damaged)
            damaged, offset = damaged + following - offset, following
        else:
            frames.append(Frame(offset, used, lines))
            offset += used
    return Salvage(frames, damaged, 0, None)


def mend(data: bytes, found: Salvage) -> tuple[bytes, list[Frame]]:
    """Build a segment of the whole frames of one, and say where they lie in it."""
    parts, frames, offset = [], [], 0
    for frame in found.frames:
        parts.append(data[frame.offset : frame.offset + frame.length])
        frames.append(Frame(offset, frame.length, frame.lines))
        offset += frame.length
    return b"".join((*parts, trailer(found.records))), frames


def _next_frame(data: bytes, start: int) -> int | None:
    """Find the next whole frame by its magic number, which damaged bytes may hold by chance."""
    while (start := data.find(zstandard.FRAME_HEADER, start)) >= 0:
        try:
            _frame(data, start)
        except SegmentError:
            start += 1
        else:
            return start
    return None


def _end(rest: bytes, error: SegmentError, frames: list[Frame], damaged: int) -> Salvage:
    """Tell what lies behind the last whole frame: a trailer, what a crash tore, or damage."""
    start, counted = _find_trailer(rest)
    before = rest[:start]
    if counted is None and _is_torn(before, error):
        return Salvage(frames, damaged, len(before), None)
    return Salvage(frames, damaged + len(before), 0, counted)


def _is_torn(rest: bytes, error: SegmentError) -> bool:
    """Tell what a crash tore from damage: a power cut leaves zeros where a write was under way."""
    if rest.startswith(_TRAILER_MAGIC):
        return len(rest) < _TRAILER_HEAD.size + int.from_bytes(rest[4:8], "little")
    is_short = isinstance(error, TornError) or _TRAILER_MAGIC.startswith(rest)
    return is_short or not rest.strip(b"\0")


def _find_trailer(rest: bytes) -> tuple[int, int | None]:
    """Return where the trailer begins that ends the bytes, and what it counts.

    Raises:
        NewerVersionError: a later version wrote it.

    """
    start = rest.rfind(_TRAILER_MAGIC)
    text = rest[start + _TRAILER_HEAD.size :]
    if start < 0 or rest[start + 4 : start + _TRAILER_HEAD.size] != len(text).to_bytes(4, "little"):
        return len(rest), None
    try:
        about = json.loads(text)
        counted, version = about["records"], about.get("version", SEGMENT_VERSION)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return len(rest), None
    if not (isinstance(counted, int) and isinstance(version, int)):
        return len(rest), None
    if version > SEGMENT_VERSION:
        raise NewerVersionError("a segment", version, SEGMENT_VERSION)
    return start, counted


def sync_folder(folder: Path) -> None:
    """Make durable which files the folder holds."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_at(file: BinaryIO | FileIO, path: Path) -> bool:
    """Tell whether the open file is still the one the path names."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _create_locked(path: Path) -> FileIO:
    """Create the file and take its lock."""
    while True:
        file = path.open("xb", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX)
        if is_at(file, path):
            return file
        # Who looked for what crashes left took it, before it was locked, for an empty remnant.
        file.close()


def _frame(data: bytes, offset: int = 0) -> tuple[list[bytes], int]:
    """Decompress the frame at the offset; return its lines and its length in bytes."""
    start = data[offset : offset + 4]
    if zstandard.FRAME_HEADER.startswith(start) and start != zstandard.FRAME_HEADER:
        raise TornError(f"the frame is torn after {len(start)} bytes")
    if start != zstandard.FRAME_HEADER:
        raise SegmentError(f"no frame begins with {start!r}")
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    view, end = memoryview(data), offset
    text = bytearray()
    try:
        while end < len(data) and not decompressor.eof:
            piece = view[end : end + _PIECE]
            text += decompressor.decompress(piece)
            end += len(piece)
    except zstandard.ZstdError as error:
        raise SegmentError(f"damaged frame: {error}") from None
    if not decompressor.eof or text[-1:] != b"\n":
        raise TornError(f"the frame is torn after {len(data) - offset} bytes")
    lines = bytes(text[:-1]).split(b"\n")
    return lines, end - offset - len(decompressor.unused_data)
