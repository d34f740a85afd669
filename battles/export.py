"""Write battles as Parquet or JSON Lines, to one file or to a folder a format and month."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import zstandard

from battles.records import encode

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from battles.items import Battle

_BUFFERED = 1000
"""Battles written at once, some 10 MB of logs: a row group of Parquet."""
_OPEN_FILES = 100
"""Files written at one time; the one opened first is closed to make room for another."""
_SUFFIXES = {".parquet": "parquet", ".jsonl": "jsonl", ".jsonl.zst": "jsonl"}


class ExportError(Exception):
    """Raised when the export cannot be written as asked."""


class _File(Protocol):
    def write(self, battles: list[Battle]) -> None: ...

    def close(self) -> None: ...


def export(battles: Iterable[Battle], target: Path, form: str | None = None) -> int:
    """Write the battles and return how many there were.

    Args:
        battles: what to write, each once.
        target: a file if it ends in `.parquet`, `.jsonl` or `.jsonl.zst`, else a folder, which gets
            `formatid=…/month=…/part-….parquet`.
        form: `parquet` or `jsonl`; None takes what the file's ending says, and Parquet for folders.

    Raises:
        ExportError: the ending and the form disagree, or the folder holds something already.
        OSError: the disk refused; no file with its final name is incomplete.

    """
    implied = _implied_form(target)
    if implied and form not in (None, implied):
        raise ExportError(f"{target} would be {implied}, not {form}: change its ending or --as")
    if implied:
        return _export_file(battles, target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ExportError(f"{target} is there already: name a new folder, or empty it")
    return _export_folder(battles, target, form or "parquet")


def _implied_form(target: Path) -> str | None:
    endings = (form for suffix, form in _SUFFIXES.items() if target.name.endswith(suffix))
    return next(endings, None)


def _export_file(battles: Iterable[Battle], target: Path) -> int:
    part = _Part(target)
    try:
        for battle in battles:
            part.add(battle)
        part.close()
    finally:
        part.abandon()
    return part.count


def _export_folder(battles: Iterable[Battle], target: Path, form: str) -> int:
    suffix = ".parquet" if form == "parquet" else ".jsonl.zst"
    target.mkdir(parents=True, exist_ok=True)
    parts: dict[str, _Part] = {}
    count = written = 0
    try:
        for count, battle in enumerate(battles, start=1):  # noqa: B007 -- returned
            folder = f"formatid={battle.formatid}/month={_month(battle)}"
            if folder not in parts:
                if len(parts) >= _OPEN_FILES:
                    parts.pop(next(iter(parts))).close()
                parts[folder] = _Part(
                    target / folder / f"part-{written:04}{suffix}", is_in_folder=True
                )
                written += 1
            parts[folder].add(battle)
        for part in parts.values():
            part.close()
    finally:
        for part in parts.values():
            part.abandon()
    return count


class _Part:
    """One file: buffers battles, and takes its final name when it is complete."""

    def __init__(self, path: Path, *, is_in_folder: bool = False) -> None:
        self.count = 0
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: _File = (
            _parquet_file(self._partial, is_in_folder=is_in_folder)
            if path.suffix == ".parquet"
            else _JsonLinesFile(self._partial, compress=path.suffix == ".zst")
        )
        self._buffer: list[Battle] = []

    def add(self, battle: Battle) -> None:
        self.count += 1
        self._buffer.append(battle)
        if len(self._buffer) >= _BUFFERED:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._file.close()
        self._partial.replace(self._path)

    def abandon(self) -> None:
        """Remove what is not complete; nothing when it was closed."""
        if self._partial.exists():
            with suppress(OSError):
                self._file.close()
            self._partial.unlink()

    def _flush(self) -> None:
        self._file.write(self._buffer)
        self._buffer = []


def _parquet_file(path: Path, *, is_in_folder: bool) -> _File:
    try:
        # Only here: it is a large package, and JSON Lines do without it.
        from battles.parquet import ParquetFile  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pyarrow":
            raise
        raise ExportError(
            "Parquet is written by pyarrow: pip install 'battles[parquet]', or name a file that "
            "ends in .jsonl or .jsonl.zst"
        ) from None
    return ParquetFile(path, is_in_folder=is_in_folder)


class _JsonLinesFile:
    def __init__(self, path: Path, *, compress: bool) -> None:
        self._file: Any = zstandard.open(path, "wb") if compress else path.open("wb")

    def write(self, battles: list[Battle]) -> None:
        self._file.write(b"".join(encode(battle) + b"\n" for battle in battles))

    def close(self) -> None:
        self._file.close()


def _month(battle: Battle) -> str:
    time = battle.uploaded or battle.started or battle.fetched_at
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m")
