"""A crawl into S3 and back, on moto's server."""

from __future__ import annotations

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.integration.fleet import public_ids

BUCKET = "battles"


@pytest.fixture
def s3_places():
    """The environment that leads to a server of the test's own."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    address = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=address, region_name="us-east-1", **keys)
    client.create_bucket(Bucket=BUCKET)
    yield {
        "ARCHIVE_URL": f"s3://{BUCKET}/archive",
        "AWS_ENDPOINT_URL": address,
        "AWS_REGION_NAME": "us-east-1",
        **{name.upper(): value for name, value in keys.items()},
    }
    client.close()
    server.stop()


def test_a_crawl_comes_back_out_of_s3(fleet_of, s3_places):
    fleet = fleet_of("--ties", "3", "--burst", "120", "--private-every", "40")
    fleet.places = s3_places

    fleet.crawl()

    assert sorted(fleet.exported()) == sorted(public_ids(private_every=40))
    assert not list((fleet.folder / "spool").iterdir())
