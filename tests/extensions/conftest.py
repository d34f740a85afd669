"""Stores to put segments into, a folder and an S3 server in memory; servers that are not there."""

from __future__ import annotations

import socket
from itertools import count
from typing import TYPE_CHECKING

import boto3
import pytest
from moto.server import ThreadedMotoServer
from scrapy.settings import Settings

from extensions.storage import FolderStorage, Storage, storage_from_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest.register_assert_rewrite("tests.extensions.storage_contract")

SECRET = "a-secret-that-nobody-may-read"  # noqa: S105 -- moto takes any
_numbers = count()


@pytest.fixture
def folder(tmp_path: Path) -> FolderStorage:
    return FolderStorage(tmp_path / "data")


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    """A file to store."""
    path = tmp_path / "segment"
    path.write_bytes(b"bytes")
    return path


@pytest.fixture(scope="session")
def s3_settings() -> Iterator[dict[str, str]]:
    """The settings of an S3 server of the test run's own."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_REGION_NAME": "us-east-1",
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }
    server.stop()


@pytest.fixture
def s3_bucket(s3_settings) -> str:
    """A new bucket."""
    bucket = f"bucket-{next(_numbers)}"
    client = boto3.client(
        "s3",
        endpoint_url=s3_settings["AWS_ENDPOINT_URL"],
        region_name=s3_settings["AWS_REGION_NAME"],
        aws_access_key_id=s3_settings["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=s3_settings["AWS_SECRET_ACCESS_KEY"],
    )
    client.create_bucket(Bucket=bucket)
    return bucket


@pytest.fixture
def s3_with(s3_settings) -> Callable[..., Storage]:
    """Open the store of some settings on the server."""

    def build(url: str, **settings) -> Storage:
        return storage_from_settings(Settings({**s3_settings, "ARCHIVE_URL": url, **settings}))

    return build


@pytest.fixture
def without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let boto3 try again at once."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)


@pytest.fixture
def without_pauses(monkeypatch) -> list[float]:
    """Have nobody wait before the next try to connect; the pauses are kept."""
    drawn = []

    def draw(least: float, most: float) -> float:
        drawn.append((least, most))
        return 0.0

    monkeypatch.setattr("extensions.outage.random.uniform", draw)
    return drawn


@pytest.fixture
def refused() -> str:
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    return f"ws://127.0.0.1:{port}/"
