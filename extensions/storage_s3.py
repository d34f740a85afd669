"""Store whole files and read parts of them in S3."""

from __future__ import annotations

import logging
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)

from extensions.storage import MissingError, RefusedError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef, ListObjectsV2RequestTypeDef
    from scrapy.settings import BaseSettings


_WRONG_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_STALE = _WRONG_CREDENTIALS | {"RequestExpired"}
"""What a server complains of when the credentials were replaced meanwhile, or ran out."""
_REFUSED = _WRONG_CREDENTIALS | {
    "403",
    "404",
    "AccessDenied",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "InvalidBucketName",
    "NoSuchBucket",
    "PermanentRedirect",
}
"""What a server complains of that only another setting, or another permission, mends."""
_NOT_ASKED = (NoCredentialsError, ParamValidationError, PartialCredentialsError)
"""What boto3 refuses itself."""
_ERRORS = (BotoCoreError, ClientError, OSError)

_PROBE = ".probe"
"""An empty object that shows whether any can be stored; to delete it may not be allowed."""

_TELL_CREDENTIALS = ("boto3", "botocore", "s3transfer", "urllib3")
"""Loggers whose debug messages quote requests with key, token and signature."""

_T = TypeVar("_T")


class S3Storage:
    """Stores files as objects below a prefix of a bucket.

    `connect` finds the credentials; when the server no longer takes them, it is called again.
    """

    def __init__(self, connect: Callable[[], S3Client], bucket: str, prefix: str) -> None:
        self._connect = connect
        self._client = connect()
        self._lock = Lock()
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/".lstrip("/")

    def check(self) -> None:
        key = self._prefix + _PROBE
        try:
            self._act(lambda client: client.put_object(Bucket=self._bucket, Key=key, Body=b""))
        except _ERRORS as error:
            kind = RefusedError if _is_refusal(error) else StorageError
            why = " ".join(str(error).split()).rstrip(".")
            raise kind(
                f"nothing can be stored in s3://{self._bucket}/{self._prefix}: {why}; "
                "check ARCHIVE_URL and the AWS settings"
            ) from error

    def put(self, path: Path, key: str) -> None:
        def put(client: S3Client) -> None:
            with path.open("rb") as file:
                client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=file)

        try:
            self._act(put)
        except _ERRORS as error:
            raise self._error(key, error) from error

    def read(self, key: str, offset: int, length: int) -> bytes:
        return self._get(key, f"bytes={offset}-{offset + length - 1}")

    def read_all(self, key: str) -> bytes:
        return self._get(key, "bytes=0-")

    def keys(self, prefix: str) -> Iterator[str]:
        wanted: ListObjectsV2RequestTypeDef = {
            "Bucket": self._bucket,
            "Prefix": self._prefix + prefix,
        }
        while True:
            page = self._list(prefix, wanted)
            keys = (entry["Key"].removeprefix(self._prefix) for entry in page.get("Contents", ()))
            yield from (key for key in keys if key.rpartition("/")[2] != _PROBE)
            if not page.get("IsTruncated"):
                return
            wanted["ContinuationToken"] = page["NextContinuationToken"]

    def _list(self, prefix: str, wanted: ListObjectsV2RequestTypeDef) -> ListObjectsV2OutputTypeDef:
        try:
            return self._act(lambda client: client.list_objects_v2(**wanted))
        except _ERRORS as error:
            raise self._error(prefix, error) from error

    def _get(self, key: str, part: str) -> bytes:
        def get(client: S3Client) -> bytes:
            reply = client.get_object(Bucket=self._bucket, Key=self._prefix + key, Range=part)
            return reply["Body"].read()

        try:
            return self._act(get)
        except _ERRORS as error:
            if _code(error) == "InvalidRange":
                return b""
            raise self._error(key, error) from error

    def _act(self, act: Callable[[S3Client], _T]) -> _T:
        """Ask the server; once more, with credentials read anew, when it does not take these."""
        client = self._client
        try:
            return act(client)
        except (ClientError, NoCredentialsError) as error:
            if isinstance(error, ClientError) and _code(error) not in _STALE:
                raise
            self._reconnect(client)
        return act(self._client)

    def _reconnect(self, stale: S3Client) -> None:
        """Replace a client, unless another thread has."""
        with self._lock:
            if self._client is stale:
                try:
                    self._client = self._connect()
                except ValueError as error:
                    raise StorageError(str(error)) from error

    def _error(self, key: str, error: Exception) -> StorageError:
        where = f"s3://{self._bucket}/{self._prefix}{key}"
        kind = MissingError if _code(error) == "NoSuchKey" else StorageError
        return kind(f"{where}: {error}")


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, _NOT_ASKED) or _code(error) in _REFUSED


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
    _keep_credentials_out_of_logs()
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
        # A session of its own finds what the environment and the files say now.
        return boto3.Session().client("s3", config=_CONFIG, **given)
    except BotoCoreError as error:
        raise ValueError(f"AWS settings: {error}") from None


def _keep_credentials_out_of_logs() -> None:
    for logger in map(logging.getLogger, _TELL_CREDENTIALS):
        logger.setLevel(max(logger.level, logging.INFO))


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
