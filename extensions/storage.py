"""Store whole files and read parts of them, in a folder or in S3."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from extensions.segments import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client
    from scrapy.settings import BaseSettings

_BUCKET = re.compile(r"s3://([A-Za-z0-9][A-Za-z0-9._-]+)(?:/(.*))?")


class StorageError(Exception):
    """Raised when the store cannot be reached or refuses; asking again later may help."""


class MissingError(StorageError):
    """Raised when the store holds no such file."""


class Storage(Protocol):
    """Where segments lie for good; every method raises StorageError when the store refuses."""

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
        ARCHIVE_URL (data): a folder, or `s3://bucket/prefix`.
        AWS_ENDPOINT_URL, AWS_REGION_NAME, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
        AWS_SESSION_TOKEN, AWS_USE_SSL, AWS_VERIFY: as in Scrapy; unset ones are left to boto3.

    Raises:
        ValueError: the URL names neither a folder nor a bucket, or boto3 does not take the rest.

    """
    url = settings.get("ARCHIVE_URL") or ""
    if match := _BUCKET.fullmatch(url):
        return S3Storage(_s3_client(settings), match[1], match[2] or "")
    if url and "://" not in url and "\0" not in url:
        return FolderStorage(Path(url))
    shown = re.sub(r"(?<=://).*@", "***@", url)
    raise ValueError(f"ARCHIVE_URL is {shown!r}: give a folder or s3://bucket/prefix")


class FolderStorage:
    """Stores files below a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

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


class S3Storage:
    """Stores files as objects below a prefix of a bucket."""

    def __init__(self, client: S3Client, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/".lstrip("/")

    def put(self, path: Path, key: str) -> None:
        try:
            with path.open("rb") as file:
                self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=file)
        except (BotoCoreError, ClientError, OSError) as error:
            raise self._error(key, error) from error

    def read(self, key: str, offset: int, length: int) -> bytes:
        return self._get(key, f"bytes={offset}-{offset + length - 1}")

    def read_all(self, key: str) -> bytes:
        return self._get(key, "bytes=0-")

    def keys(self, prefix: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        try:
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield entry["Key"].removeprefix(self._prefix)
        except (BotoCoreError, ClientError) as error:
            raise self._error(prefix, error) from error

    def _get(self, key: str, part: str) -> bytes:
        try:
            reply = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key, Range=part)
            return reply["Body"].read()
        except (BotoCoreError, ClientError) as error:
            if _code(error) == "InvalidRange":
                return b""
            raise self._error(key, error) from error

    def _error(self, key: str, error: Exception) -> StorageError:
        where = f"s3://{self._bucket}/{self._prefix}{key}"
        kind = MissingError if _code(error) == "NoSuchKey" else StorageError
        return kind(f"{where}: {error}")


def _make_folder(folder: Path) -> None:
    """Create a folder and what leads to it, durably."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def _code(error: Exception) -> str | None:
    """Name what an S3 server complains of."""
    return error.response["Error"].get("Code") if isinstance(error, ClientError) else None


def _s3_client(settings: BaseSettings) -> S3Client:
    options: dict[str, Any] = {
        "aws_access_key_id": settings.get("AWS_ACCESS_KEY_ID"),
        "aws_secret_access_key": settings.get("AWS_SECRET_ACCESS_KEY"),
        "aws_session_token": settings.get("AWS_SESSION_TOKEN"),
        "endpoint_url": settings.get("AWS_ENDPOINT_URL"),
        "region_name": settings.get("AWS_REGION_NAME"),
        "use_ssl": _switch(settings.get("AWS_USE_SSL")),
        "verify": _switch(settings.get("AWS_VERIFY")),
    }
    # Told `use_ssl=None`, boto3 takes it for False and speaks plain HTTP.
    given = {name: value for name, value in options.items() if value not in (None, "")}
    try:
        return boto3.client("s3", config=_CONFIG, **given)
    except BotoCoreError as error:
        raise ValueError(f"AWS settings: {error}") from None


def _switch(value: Any) -> Any:  # noqa: ANN401 -- AWS_VERIFY may be a path as well
    """Take what the command line can say, which knows only text."""
    words = {"0": False, "false": False, "1": True, "true": True}
    return words.get(str(value).lower(), value)


_CONFIG = Config(
    retries={"mode": "standard", "max_attempts": 4},
    connect_timeout=10,
    read_timeout=60,
    # Not every S3 server knows the newer checksums.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
