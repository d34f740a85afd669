"""The exchange over a real queue, while Redis does not do what it is asked."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from extensions.exchange import Exchange
from extensions.keys import QueueKeys
from extensions.queue import Add, Done, RequestQueue
from tests.conftest import Clock
from tests.extensions.test_exchange import StubEngine
from tests.extensions.waiting import until

LEASE = 0.3
"""Seconds: by the server's own clock, which no test can move."""


class Rig:
    """A worker that holds one request of two, and another that would take it over."""

    def __init__(self, redis: Redis, clock: Clock) -> None:
        self.redis, self.clock = redis, clock
        self.engine = StubEngine()
        self.queue = RequestQueue(redis, "test", worker="ann", lease=LEASE)
        self.other = RequestQueue(redis, "test", worker="bob", lease=LEASE)
        self.exchange = Exchange(self.queue, self.engine, lease=LEASE, prefetch=1, clock=clock)
        self.queue.open()
        self.queue.commit([Add(2, {"url": "http://site/1"}), Add(2, {"url": "http://site/2"})], "0")

    async def begin(self) -> None:
        self.exchange.start()
        await until(lambda: self.exchange.inbox)
        self.engine.working = [self.exchange.take()]

    def finish(self) -> None:
        """Have the engine be through with its request, of which another came."""
        [done], self.engine.working = self.engine.working, []
        self.engine.finished += [Add(2, {"url": "http://site/3"}), Done(done, "archived")]

    async def stays_ours(self) -> None:
        """Watch for longer than a lease that nobody else can take anything over."""
        until_then = time.monotonic() + 3 * LEASE
        while time.monotonic() < until_then:
            self.clock.now += LEASE / 3
            assert self.other.reclaim() == []
            await asyncio.sleep(LEASE / 10)

    async def goes_on(self) -> None:
        """Wait until everything is committed, and new work is begun again."""
        while not (self.exchange.is_empty or self.exchange.inbox) or not self.is_settled():
            self.clock.now += 1.0
            await asyncio.sleep(0.01)

    def is_settled(self) -> bool:
        return self.queue.status().lanes["downloads"].get("archived") == 1


@pytest.fixture
def play(own_redis, clock, monkeypatch):
    """Play a scene with a running exchange, which is stopped in the end."""
    monkeypatch.setattr("extensions.exchange._TURN", 0.005)
    monkeypatch.setattr("extensions.exchange._LOOK", 0.01)

    def act(scene) -> Rig:
        # Without the repeats of redis-py, so that no test waits for them.
        redis = Redis.from_url(own_redis.url, retry=Retry(NoBackoff(), 0))
        rig = Rig(redis, clock)

        async def whole() -> None:
            await rig.begin()
            await scene(rig)
            await rig.exchange.stop()

        asyncio.run(whole())
        return rig

    return act


def test_a_full_memory_costs_no_lease_and_loses_nothing(play):
    async def scene(rig):
        rig.redis.config_set("maxmemory", "1")
        rig.finish()
        await until(lambda: rig.engine.full)
        await rig.stays_ours()
        rig.redis.config_set("maxmemory", "0")
        await rig.goes_on()
        await until(lambda: rig.engine.full[1:] or setattr(rig.clock, "now", rig.clock.now + 1.0))

    rig = play(scene)

    assert "its memory is full" in rig.engine.full[0]
    assert rig.engine.full[1:] == [""]
    assert (rig.engine.lost_ids, rig.engine.refusals) == ([], [])
    assert (rig.queue.status().left, rig.queue.status().imbalance()) == (2, 0)


def test_a_full_disk_is_told_and_loses_nothing(play, own_redis):
    async def scene(rig):
        own_redis.break_disk()
        rig.finish()
        await until(lambda: rig.engine.full)
        own_redis.mend_disk()
        await rig.goes_on()

    rig = play(scene)

    assert "it cannot write to its disk" in rig.engine.full[0]
    assert (rig.queue.status().left, rig.queue.status().imbalance()) == (2, 0)


def forbid(redis: Redis) -> None:
    redis.execute_command("ACL", "SETUSER", "default", "-evalsha")


def spoil(redis: Redis) -> None:
    key = QueueKeys("test").counts
    redis.delete(key)
    redis.set(key, "not ours")


def lock(redis: Redis) -> None:
    redis.config_set("requirepass", "another")
    # Who is in stays in: only a new connection is asked for the password.
    redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (forbid, "'evalsha'"),
        (spoil, "WRONGTYPE"),
        (lock, "NOAUTH"),
    ],
)
def test_what_is_refused_is_told_once(play, own_redis, harm, said):
    async def scene(rig):
        harm(own_redis.client())
        rig.finish()
        await until(lambda: rig.engine.refusals)

    rig = play(scene)

    [refusal] = rig.engine.refusals
    assert refusal.startswith("Redis refuses: ")
    assert said in refusal


def test_a_server_that_stays_a_replica_ends_the_crawl_after_a_minute(play):
    async def scene(rig):
        rig.redis.replicaof("127.0.0.1", "1")
        rig.finish()
        while not rig.engine.refusals:
            assert rig.exchange._health.failures < 100
            rig.clock.now += 1.0
            await asyncio.sleep(0.05)

    rig = play(scene)

    assert "have REDIS_URL name the primary" in rig.engine.refusals[0]


def test_a_failover_is_waited_for(play):
    async def scene(rig):
        rig.redis.replicaof("127.0.0.1", "1")
        rig.finish()
        await until(lambda: rig.exchange._health.failures > 1)
        rig.redis.replicaof("NO", "ONE")
        await rig.goes_on()

    assert play(scene).engine.refusals == []


def test_scripts_that_a_server_forgot_are_loaded_again(play):
    async def scene(rig):
        rig.redis.script_flush()
        rig.finish()
        await rig.goes_on()

    rig = play(scene)

    assert (rig.engine.refusals, rig.engine.full) == ([], [])
    assert rig.engine.counts["queue/redis_away"] == 0
