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

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import FileIO
    from pathlib import Path
    from typing import BinaryIO

_SKIPPABLE = 0x184D2A5B
"""One of the sixteen magic numbers that tell zstd to skip a frame."""
_TRAILER_HEAD = struct.Struct("<II")
_LEVEL = 3
_PIECE = 64 * 1024
"""Bytes looked at in one go to find the end of a frame."""


class SegmentError(ValueError):
    """Raised when a segment is not what its trailer says, or its bytes are damaged."""


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


class SegmentWriter:
    """Appends frames to one new file, which it holds locked as long as it is open."""

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key
        self.records = 0
        self.size = 0
        """Bytes written, all of them durable."""
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


def read_segment(data: bytes) -> Iterator[Frame]:
    """Yield the frames of a whole segment.

    Raises:
        SegmentError: a frame is damaged, the trailer is missing, or it counts other records.

    """
    seen, offset = 0, 0
    while data[offset : offset + 4] != _SKIPPABLE.to_bytes(4, "little"):
        lines, used = _frame(data, offset)
        yield Frame(offset, used, lines)
        seen, offset = seen + len(lines), offset + used
    if data[offset:] != trailer(seen):
        raise SegmentError(f"the trailer {data[offset + 8 :]!r} does not count {seen} records")


def whole_frames(data: bytes) -> list[Frame]:
    """Return the undamaged frames from the start; behind the last one it is torn or a trailer."""
    frames: list[Frame] = []
    offset = 0
    while True:
        try:
            lines, used = _frame(data, offset)
        except SegmentError:
            return frames
        frames.append(Frame(offset, used, lines))
        offset += used


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
        raise SegmentError(f"the frame is torn after {len(data) - offset} bytes")
    lines = bytes(text[:-1]).split(b"\n")
    return lines, end - offset - len(decompressor.unused_data)
