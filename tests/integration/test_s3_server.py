"""The store on a real S3 server, which checks signatures as moto does not."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import boto3
import pytest
from scrapy.settings import Settings

from extensions.storage import MissingError, StorageError, storage_from_settings
from extensions.storage_s3 import S3Storage
from tests.extensions.storage_contract import KEY, StorageContract
from tests.integration.fleet import public_ids

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("swift_s3.sh")
PATIENCE = 60.0
"""Seconds for the server to start."""
SECRET = "testing"  # noqa: S105 -- the server's own

_numbers = count()


@pytest.fixture(scope="module")
def programs() -> str:
    """Return a PATH with Swift's programs on it."""
    path = f"{ROOT / '.venv-swift' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    if shutil.which("swift-proxy-server", path=path) is None:
        message = "no Swift: `make .venv-swift/done` installs it into .venv-swift"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="module")
def server(programs, tmp_path_factory):
    """The settings of an S3 server of the test run's own."""
    folder = tmp_path_factory.mktemp("swift")
    ports = free_ports(4)
    process = subprocess.Popen(
        [SCRIPT, folder, *map(str, ports)], env={**os.environ, "PATH": programs}
    )
    try:
        wait_for(process, ports, folder)
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports[0]}",
            "AWS_REGION_NAME": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test:tester",
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
    finally:
        process.terminate()
        process.wait()


def free_ports(how_many: int) -> list[int]:
    with ExitStack() as held:
        servers = [
            held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(how_many)
        ]
        return [server.getsockname()[1] for server in servers]


def wait_for(process: subprocess.Popen[bytes], ports: list[int], folder: Path) -> None:
    """Wait until something listens on each port."""
    deadline = time.monotonic() + PATIENCE
    while not all(map(is_open, ports)):
        if process.poll() is not None or time.monotonic() > deadline:
            logs = [path.read_text() for path in (folder / "log").glob("*.out")]
            pytest.fail("Swift does not start:\n" + "\n".join(logs))
        time.sleep(0.1)


def is_open(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def bucket(server) -> str:
    """A new bucket."""
    names = {name.lower(): value for name, value in server.items()}
    names["region_name"] = names.pop("aws_region_name")
    names["endpoint_url"] = names.pop("aws_endpoint_url")
    bucket = f"bucket-{next(_numbers)}"
    boto3.client("s3", **names).create_bucket(Bucket=bucket)
    return bucket


def opened(url: str, settings: dict[str, str]) -> S3Storage:
    return storage_from_settings(Settings({**settings, "ARCHIVE_URL": url}))


class TestS3Server(StorageContract):
    @pytest.fixture
    def storage(self, server, bucket) -> S3Storage:
        return opened(f"s3://{bucket}/archive", server)

    def test_a_wrong_secret_is_refused_and_not_said(self, server, bucket, tmp_path):
        (tmp_path / "segment").write_bytes(b"bytes")
        wrong = "not-the-secret"
        storage = opened(f"s3://{bucket}", {**server, "AWS_SECRET_ACCESS_KEY": wrong})

        with pytest.raises(StorageError, match=f"{bucket}/{KEY}: .*SignatureDoesNotMatch") as error:
            storage.put(tmp_path / "segment", KEY)

        assert wrong not in str(error.value)

    def test_a_missing_bucket_is_not_a_missing_file(self, server):
        storage = opened("s3://nobodys-bucket", server)

        with pytest.raises(StorageError, match="NoSuchBucket") as error:
            storage.read_all(KEY)

        assert not isinstance(error.value, MissingError)


def test_a_crawl_comes_back_out_of_a_real_s3_server(fleet_of, server, bucket):
    fleet = fleet_of("--battles", "300", "--ties", "3", SEGMENT_RECORDS="100")
    fleet.places = {**server, "ARCHIVE_URL": f"s3://{bucket}/archive"}

    fleet.crawl()

    assert sorted(fleet.exported()) == sorted(public_ids(battles=300))
