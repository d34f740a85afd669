"""Store whole files and read parts of them, in a folder or in S3."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from errno import EDQUOT, EIO, ENOSPC, ESTALE, ETIMEDOUT
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from extensions.segments import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrapy.settings import BaseSettings

_BUCKET = re.compile(r"s3://([A-Za-z0-9][A-Za-z0-9._-]+)(?:/(.*))?")

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
"""How a URL begins; a folder of such a name is given as `./name`."""

_MAY_PASS = (EDQUOT, EIO, ENOSPC, ESTALE, ETIMEDOUT)
"""What a disk complains of that is full, or a server of files that is away."""


class StorageError(Exception):
    """Raised when the store cannot be reached or refuses; asking again later may help."""


class MissingError(StorageError):
    """Raised when the store holds no such file."""


class RefusedError(StorageError):
    """Raised when the store refuses for a reason that waiting does not mend."""


class Storage(Protocol):
    """Where segments lie for good; every method raises StorageError when the store refuses."""

    def check(self) -> None:
        """Make sure that files can be stored; no key is added.

        Raises:
            RefusedError: surely not.
            StorageError: the store does not answer.

        """

    def put(self, path: Path, key: str) -> None:
        """Store a local file under the key; when this returns it is durable."""

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Read a part of a stored file, shorter where the file ends.

        Raises:
            MissingError: there is no such file.

        """

    def read_all(self, key: str) -> bytes:
        """Read a stored file.

        Raises:
            MissingError: there is no such file.

        """

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with the prefix, in the order of their letters."""


def storage_from_settings(settings: BaseSettings) -> Storage:
    """Open the store the settings name.

    Settings:
        ARCHIVE_URL (data): a folder, or `s3://bucket/prefix`, whose settings `storage_s3` reads.

    Raises:
        ValueError: the URL names neither a folder nor a bucket, boto3 is not installed, or does
            not take the rest.

    """
    # A file of settings that Windows wrote leaves a CR behind.
    url = (settings.get("ARCHIVE_URL") or "").strip()
    if match := _BUCKET.fullmatch(url):
        return _open_bucket(settings, match[1], match[2] or "")
    return FolderStorage(_folder(url))


def _folder(url: str) -> Path:
    if url and "://" not in url and "\0" not in url and not _SCHEME.match(url):
        return Path(url)
    shown = re.sub(r"\?.*", "?***", re.sub(r":(/*).*@", r":\1***@", url, count=1))
    hint = ", in lower case" if url.startswith("S3:") else ""
    raise ValueError(f"ARCHIVE_URL is {shown!r}: give a folder or s3://bucket/prefix{hint}")


def storage_identity(settings: BaseSettings) -> str:
    """Name the store of the settings, without a password: what has another name, is another.

    Raises:
        ValueError: as `storage_from_settings` says.

    """
    url = (settings.get("ARCHIVE_URL") or "").strip()
    if match := _BUCKET.fullmatch(url):
        endpoint = (settings.get("AWS_ENDPOINT_URL") or "").rstrip("/")
        endpoint = re.sub(r"(//)[^/]*@", r"\1", endpoint)
        bucket = f"s3://{match[1]}/{(match[2] or '').strip('/')}".rstrip("/")
        return f"{bucket} at {endpoint}" if endpoint else bucket
    return str(_folder(url).resolve())


def is_bucket(settings: BaseSettings) -> bool:
    """Tell whether the archive lies in a bucket, so that nothing of it lies on this machine."""
    return _BUCKET.fullmatch((settings.get("ARCHIVE_URL") or "").strip()) is not None


def _open_bucket(settings: BaseSettings, bucket: str, prefix: str) -> Storage:
    try:
        # Only here: it takes a third of a second to import, and a folder does without it.
        from extensions.storage_s3 import S3Storage, s3_client  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("boto3", "botocore"):
            raise
        raise ValueError(
            "ARCHIVE_URL names a bucket, for which boto3 is needed: pip install 'battles[s3]'"
        ) from None
    return S3Storage(partial(s3_client, settings), bucket, prefix)


class FolderStorage:
    """Stores files below a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def check(self) -> None:
        probe = self._root / f".probe-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            _make_folder(self._root)
            _write_and_remove(probe)
        except OSError as error:
            kind = StorageError if error.errno in _MAY_PASS else RefusedError
            why = f"{error.strerror}: {error.filename or probe}"
            raise kind(
                f"nothing can be stored in {self._root}: {why}; check ARCHIVE_URL"
            ) from error

    def put(self, path: Path, key: str) -> None:
        target = self._path(key)
        partial = target.with_name(f".{target.name}.partial")
        try:
            _make_folder(target.parent)
            self._bring(path, partial)
            partial.replace(target)
            sync_folder(target.parent)
        except OSError as error:
            raise StorageError(f"{key} cannot be stored in {self._root}: {error}") from error

    def read(self, key: str, offset: int, length: int) -> bytes:
        try:
            with self._path(key).open("rb") as file:
                file.seek(offset)
                return file.read(length)
        except FileNotFoundError:
            raise MissingError(f"{key} is not in {self._root}") from None
        except OSError as error:
            raise StorageError(f"{key} cannot be read from {self._root}: {error}") from error

    def read_all(self, key: str) -> bytes:
        return self.read(key, 0, -1)

    def keys(self, prefix: str) -> Iterator[str]:
        folder = self._path(prefix.rpartition("/")[0])
        files = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
        keys = (path.relative_to(self._root).as_posix() for path in files)
        yield from sorted(key for key in keys if key.startswith(prefix))

    @staticmethod
    def _bring(path: Path, partial: Path) -> None:
        """Link when both lie on one disk, else copy."""
        partial.unlink(missing_ok=True)
        try:
            os.link(path, partial)
        except OSError:
            shutil.copyfile(path, partial)
            with partial.open("rb") as file:
                os.fsync(file.fileno())

    def _path(self, key: str) -> Path:
        path = PurePosixPath(key)
        if path.is_absolute() or ".." in path.parts or "\0" in key:
            raise StorageError(f"{key!r} leads out of {self._root}")
        return self._root / key


def _write_and_remove(probe: Path) -> None:
    try:
        probe.write_bytes(b"probe")
    finally:
        probe.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """Create a folder and what leads to it, durably."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
