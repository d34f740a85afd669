"""Store whole files and read parts of them in S3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from extensions.storage import MissingError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client
    from scrapy.settings import BaseSettings


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


def _code(error: Exception) -> str | None:
    """Name what an S3 server complains of."""
    return error.response["Error"].get("Code") if isinstance(error, ClientError) else None


def s3_client(settings: BaseSettings) -> S3Client:
    """Open a connection to the S3 server of the settings.

    Settings:
        AWS_ENDPOINT_URL, AWS_REGION_NAME, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
        AWS_SESSION_TOKEN, AWS_USE_SSL, AWS_VERIFY: as in Scrapy; unset ones are left to boto3.

    Raises:
        ValueError: boto3 does not take them.

    """
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
