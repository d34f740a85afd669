"""Say which folder below SPOOL_DIR belongs to an archive and its index, and who left the others."""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from extensions.connection import identity
from extensions.segments import sync_folder
from extensions.spool import left_behind
from extensions.storage import is_bucket, storage_identity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrapy.settings import BaseSettings


@dataclass(frozen=True, slots=True)
class Left:
    """Segments that wait for a crawl with other settings."""

    count: int
    folder: Path
    archive: str
    index: str

    @property
    def is_orphaned(self) -> bool:
        """Whether its archive is a folder that is not there any more."""
        return "://" not in self.archive and not Path(self.archive).exists()


def spool_folder(settings: BaseSettings) -> Path:
    """Return where the segments of an archive and its index lie until they are stored.

    Settings:
        SPOOL_DIR (.scrapy/spool): holds a folder for each pair of archive and index.

    Raises:
        ValueError: the archive's address or that of Redis makes no sense.

    """
    names = "\n".join(_names(settings))
    return spool_root(settings) / blake2b(names.encode(), digest_size=8).hexdigest()


def spool_root(settings: BaseSettings) -> Path:
    """Return the folder of all spools of this machine."""
    return Path(settings.get("SPOOL_DIR") or ".scrapy/spool")


def waits_for_store(settings: BaseSettings) -> bool:
    """Tell whether a battle counts as archived only when its segment is in the store.

    Settings:
        ARCHIVE_DURABLE (store for a bucket, disk for a folder): where a battle must be before its
            request is acknowledged: in the store, or on this machine's disk.

    Raises:
        ValueError: it is neither.

    """
    default = "store" if is_bucket(settings) else "disk"
    given = (settings.get("ARCHIVE_DURABLE") or default).strip().lower()
    if given not in ("store", "disk"):
        raise ValueError(f"ARCHIVE_DURABLE is {given!r}: give store or disk")
    return given == "store"


def write_note(settings: BaseSettings) -> None:
    """Make a spool, durably, and note beside it what it belongs to, for those who look into it.

    Raises:
        OSError: nothing can be written there; the message names the setting.

    """
    folder = spool_folder(settings)
    try:
        _write_note(settings, folder)
    except OSError as error:
        why = f"{error.strerror}: {error.filename or folder}"
        raise OSError(f"nothing can be kept in {folder}: {why}; check SPOOL_DIR") from error


def _write_note(settings: BaseSettings, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    archive, index = _names(settings)
    text = json.dumps({"archive": archive, "index": index}) + "\n"
    note = folder.with_name(f"{folder.name}.json")
    with suppress(OSError):
        if note.read_text() == text:
            return
    # Of a name of its own: containers that share a disk have processes of the same number.
    partial = folder.with_name(f".{folder.name}-{secrets.token_hex(6)}.partial")
    partial.write_text(text)
    partial.replace(note)
    sync_folder(folder.parent)


def left_by_others(settings: BaseSettings) -> Iterator[Left]:
    """Yield the spools of other archives or indexes in which dead workers left segments."""
    own, root = spool_folder(settings), spool_root(settings)
    for note in sorted(root.glob("*.json")):
        folder = note.with_suffix("")
        # What is somebody else's, or not to be read, says nothing of a spool.
        with suppress(OSError, ValueError, KeyError, TypeError):
            about = json.loads(note.read_text())
            archive, index = about["archive"], about["index"]
            if folder != own and (paths := left_behind(folder)):
                yield Left(len(paths), folder, archive, index)


def _names(settings: BaseSettings) -> tuple[str, str]:
    namespace = settings.get("INDEX_NAMESPACE") or "battles"
    return storage_identity(settings), f"{namespace} in {identity(settings)}"
