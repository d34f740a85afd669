from __future__ import annotations

from collections import Counter

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, OutOfMemoryError, ReadOnlyError, ResponseError

from extensions.redis_health import RedisHealth
from tests.conftest import Clock

AWAY = RedisConnectionError("gone")
FULL = OutOfMemoryError("no", status_code="OOM")
REFUSED = NoPermissionError("no", status_code="NOPERM")
REPLICA = ReadOnlyError("no", status_code="READONLY")


class Rig:
    """How Redis is, and who is told of it."""

    def __init__(self, clock: Clock) -> None:
        self.health = RedisHealth(self, clock=clock)
        self.counts: Counter[str] = Counter()
        self.full: list[bool] = []
        self.refusals: list[str] = []

    def count(self, name: str, count: int = 1) -> None:
        self.counts[name] += count

    def redis_full(self, reason: str) -> None:
        self.full.append(bool(reason))

    def redis_refused(self, reason: str) -> None:
        self.refusals.append(reason)


@pytest.fixture
def rig(clock) -> Rig:
    return Rig(clock)


def test_what_is_away_is_said_once_and_once_more_when_it_is_back(rig, caplog):
    for _ in range(3):
        rig.health.failed(AWAY)
    rig.health.worked()

    assert caplog.messages == [
        "Redis is away, waiting for it: gone",
        "Redis is back after 3 tries",
    ]
    assert (rig.full, rig.refusals, rig.counts) == ([], [], {"queue/redis_away": 1})


def test_what_is_full_is_told_once_whoever_meets_it(rig, caplog):
    rig.health.failed(FULL)
    rig.health.heard(FULL)
    rig.health.failed(FULL)

    assert (rig.full, rig.refusals, caplog.messages) == ([True], [], [])
    assert not rig.health.is_away


def test_what_is_full_has_to_take_everything_for_a_while(rig, clock):
    rig.health.failed(FULL)
    rig.health.worked()
    clock.now += 4.0
    rig.health.heard(FULL)
    rig.health.worked()
    clock.now += 4.0
    rig.health.worked()
    assert rig.full == [True]

    clock.now += 1.0
    rig.health.worked()

    assert rig.full == [True, False]


@pytest.mark.parametrize("tell", [RedisHealth.failed, RedisHealth.heard])
def test_what_is_refused_is_told_once(rig, tell, caplog):
    tell(rig.health, REFUSED)
    tell(rig.health, REFUSED)

    assert len(rig.refusals) == 1
    assert caplog.messages == []


@pytest.mark.parametrize("error", [REPLICA, ResponseError("ERR never heard of")])
def test_what_may_be_a_failover_is_waited_for_and_ends_the_crawl_when_it_stays(rig, clock, error):
    for _ in range(12):
        rig.health.failed(error)
        clock.now += 5.0
    assert rig.refusals == []

    rig.health.failed(error)

    assert len(rig.refusals) == 1


def test_two_failovers_are_not_one_that_stays(rig, clock):
    rig.health.failed(REPLICA)
    rig.health.worked()
    clock.now += 3600.0
    rig.health.failed(REPLICA)

    assert rig.refusals == []
