"""An S3 server on loopback, by moto."""

from __future__ import annotations

from itertools import count

import boto3
from moto.server import ThreadedMotoServer

from extensions.segments import read_segment

_numbers = count()


class S3:
    """A server of the test's own; what it holds outlives its being away."""

    def __init__(self) -> None:
        self.port = 0
        # What the servers of one process hold, they share.
        self.bucket = f"battles-{next(_numbers)}"
        self.start()
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        address = f"http://127.0.0.1:{self.port}"
        self.client = boto3.client("s3", endpoint_url=address, region_name="us-east-1", **keys)
        self.client.create_bucket(Bucket=self.bucket)
        self.places = {
            "ARCHIVE_URL": f"s3://{self.bucket}/archive",
            "AWS_ENDPOINT_URL": address,
            "AWS_REGION_NAME": "us-east-1",
            **{name.upper(): value for name, value in keys.items()},
        }

    def keys(self) -> list[str]:
        """List the objects."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def lines(self) -> list[bytes]:
        """Read every line of every segment."""
        segments = (key for key in self.keys() if key.endswith(".zst"))
        bodies = (self.client.get_object(Bucket=self.bucket, Key=key)["Body"] for key in segments)
        found = (read_segment(body.read()) for body in bodies)
        return [line for frames in found for frame in frames for line in frame.lines]

    def start(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]

    def stop(self) -> None:
        self._server.stop()
