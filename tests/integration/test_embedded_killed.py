"""A server of our own that is killed is started again by the workers that use it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from extensions.embedded import EmbeddedRedis
from tests.integration.fleet import public_ids

BATTLES = 600
KILLS = 3


class Unnamed(EmbeddedRedis):
    """What a fleet starts is for its looks alone: no worker is told where it listens."""

    def start(self) -> str:
        return ""

    def release(self) -> None:
        """Leave the server to the workers."""


@pytest.fixture
def fleet(fleet_of, tmp_path: Path):
    places = {"REDIS_URL": "", "EMBEDDED_REDIS_DIR": str(tmp_path / "redis")}
    fleet = fleet_of(
        "--battles",
        str(BATTLES),
        "--latency",
        "0.05",
        redis=Unnamed(tmp_path / "redis"),
        CONCURRENT_REQUESTS="4",
    )
    fleet.places = places
    return fleet


def server_of(folder: Path) -> int:
    """Return the process that answers on the folder's socket."""
    with Redis(unix_socket_path=str(folder / "redis.sock")) as redis:
        while True:
            try:
                return redis.info("server")["process_id"]
            except RedisError:
                time.sleep(0.01)


def test_a_killed_server_is_started_again_and_nothing_is_lost(fleet, tmp_path):
    workers = [fleet.start(), fleet.start()]
    killed = set()
    for kill in range(KILLS):
        while len(fleet.site.fetched()) < 50 + 120 * kill:
            time.sleep(0.02)
        killed.add(server := server_of(tmp_path / "redis"))
        os.kill(server, signal.SIGKILL)

    fleet.wait()

    assert [worker.returncode for worker in workers] == [0, 0]
    assert len(killed) == KILLS
    fleet.redis = EmbeddedRedis(tmp_path / "redis")
    fleet.places = {}
    assert sorted(fleet.stored()) == sorted(public_ids(battles=BATTLES))
    assert (fleet.status().left, fleet.status().imbalance()) == (0, 0)
    for worker in workers:
        assert "Traceback" not in worker.log.read_text()
