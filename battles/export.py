"""Write battles as Parquet or JSON Lines, to one file or to a folder a format and month."""

from __future__ import annotations

import re
import shutil
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


class TargetError(ExportError, ValueError):
    """Raised when no export can have such a name, whatever is there."""


class _File(Protocol):
    def write(self, battles: list[Battle]) -> None: ...

    def close(self) -> None: ...


def export(
    battles: Iterable[Battle], target: Path, form: str | None = None, *, force: bool = False
) -> int:
    """Write the battles and return how many there were.

    Args:
        battles: what to write, each once.
        target: a file if it ends in `.parquet`, `.jsonl` or `.jsonl.zst`, else a folder, which gets
            `formatid=…/month=…/part-….parquet`.
        form: `parquet` or `jsonl`; None takes what the file's ending says, and Parquet for folders.
        force: replace an earlier export, once the new one is whole.

    Raises:
        ExportError: as `check_target` says.
        OSError: the disk refused; what was there is as it was.

    """
    check_target(target, form, force=force)
    if _implied_form(target):
        return _export_file(battles, target)
    return _export_folder(battles, target.resolve(), form or "parquet")


def check_target(target: Path, form: str | None, *, force: bool) -> None:
    """Refuse what no export can be written to.

    Raises:
        TargetError: as `check_name` says.
        ExportError: something is there that is not to be replaced.

    """
    check_name(target, form)
    if _is_free(target) or (force and _is_export(target)):
        return
    if not force and _is_export(target):
        raise ExportError(f"{target} is there already: name another, or replace it with --force")
    raise ExportError(
        f"{target} is there already, and is no export that could be replaced: name another"
    )


def check_name(target: Path, form: str | None) -> None:
    """Refuse a name that no export can have.

    Raises:
        TargetError: the ending is unknown or disagrees with the form, or it is no file's name.

    """
    implied = _implied_form(target)
    if implied and form not in (None, implied):
        raise TargetError(f"{target} would be {implied}, not {form}: change its ending or --as")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", str(target)):
        raise TargetError(f"{target} is an address: name a file or a folder of this machine")
    if str(target) == "-":
        raise TargetError("nothing is exported to standard output: name a file or a folder")
    if not implied and target.suffix and not target.is_dir():
        raise TargetError(
            f"{target} ends in {target.suffix}: give {', '.join(_SUFFIXES)}, or a folder's name "
            "without an ending"
        )


def _is_free(target: Path) -> bool:
    is_empty = not _implied_form(target) and target.is_dir() and not any(target.iterdir())
    return is_empty or not target.exists()


def _is_export(target: Path) -> bool:
    """Tell whether this is a file, or a folder that holds nothing but what an export writes."""
    if _implied_form(target):
        return target.is_file()
    return target.is_dir() and all(path.name.startswith("formatid=") for path in target.iterdir())


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
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        count = _fill(battles, partial, form)
        _put_in_place(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return count


def _put_in_place(partial: Path, target: Path) -> None:
    """Give a folder that is whole its name; what had the name goes, or stays if that fails."""
    if _is_free(target):
        partial.replace(target)
        return
    old = target.with_name(f".{target.name}.old")
    target.replace(old)
    try:
        partial.replace(target)
    except OSError:
        old.replace(target)
        raise
    shutil.rmtree(old)


def _fill(battles: Iterable[Battle], target: Path, form: str) -> int:
    suffix = ".parquet" if form == "parquet" else ".jsonl.zst"
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
