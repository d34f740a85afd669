"""Fleets of real workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from extensions.embedded import EmbeddedRedis
from tests.integration.fleet import Fleet, running_site
from tests.integration.s3 import S3


@pytest.fixture
def s3():
    """An S3 server of the test's own, with a bucket."""
    server = S3()
    yield server
    server.client.close()
    server.stop()


@pytest.fixture
def fleet_of(tmp_path: Path):
    """Build a fleet over a site started with the given options."""
    with_site: list = []

    def build(*site_options: str, redis=None, folder=tmp_path, **settings: str) -> Fleet:
        site = running_site(folder, *site_options)
        redis = redis or EmbeddedRedis(folder / "redis")
        fleet = Fleet(folder, site.__enter__(), redis, settings)
        with_site.append((fleet, site))
        return fleet

    yield build
    for fleet, site in with_site:
        fleet.stop()
        site.__exit__(None, None, None)
