"""Redis answers, and does not do what it is asked: the crawl pauses or ends, and says why once."""

from __future__ import annotations

import re
import time

import pytest

from battles.keys import IndexKeys
from extensions.keys import QueueKeys
from tests.integration.fleet import public_ids, tail
from tests.own_redis import OwnRedis

BATTLES = 400
SITE = ("--battles", str(BATTLES), "--latency", "0.05")
KEYS = QueueKeys("replays:queue")
WARNED = re.compile(r"(?:WARNING|ERROR): (.*)")


@pytest.fixture
def fleet(fleet_of, own_redis):
    return fleet_of(*SITE, redis=own_redis, CONCURRENT_REQUESTS="4")


def begun(fleet) -> None:
    """Start two workers, and wait until they work."""
    for _ in range(2):
        fleet.start()
    while len(fleet.site.fetched()) < 20:
        time.sleep(0.02)


def log_of(worker) -> str:
    return worker.log.read_text()


def warnings_of(worker) -> list[str]:
    return WARNED.findall(log_of(worker))


def pauses(fleet) -> None:
    """Wait until every worker has paused, and sends nothing more."""
    while not all("The crawl pauses" in log_of(worker) for worker in fleet.workers):
        assert len(fleet.alive()) == 2, [tail(worker) for worker in fleet.workers]
        time.sleep(0.02)


def ends_refused(worker, line: str) -> None:
    """Make sure that a worker ends with status 1, having said why in one line."""
    assert worker.wait(60) == 1, tail(worker)
    [said] = warnings_of(worker)
    assert re.fullmatch(line, said)
    assert "Traceback" not in log_of(worker)


def is_whole(fleet) -> None:
    """Make sure that every battle was fetched and stored once, and that nobody failed."""
    fleet.wait()
    fetched = fleet.site.fetched()
    assert sorted(fleet.stored()) == sorted(public_ids(battles=BATTLES))
    assert sorted(fetched) == sorted(set(fetched))
    assert fleet.status().imbalance() == 0
    assert fleet.status().dead_letters == 0
    for worker in fleet.workers:
        assert "Traceback" not in log_of(worker)


def test_a_redis_without_memory_is_a_pause(fleet, own_redis):
    begun(fleet)
    own_redis.client().config_set("maxmemory", "1")
    pauses(fleet)
    # Longer than a lease: who does not renew them loses them.
    time.sleep(5.0)
    fetched = len(fleet.site.fetched())
    time.sleep(1.0)
    assert len(fleet.site.fetched()) == fetched

    own_redis.client().config_set("maxmemory", "0")

    is_whole(fleet)
    for worker in fleet.workers:
        pause, goes_on = warnings_of(worker)
        assert pause.startswith("The crawl pauses: Redis takes nothing: its memory is full")
        assert goes_on == "The crawl goes on"


def test_a_redis_whose_disk_is_full_is_a_pause(fleet, own_redis):
    begun(fleet)
    own_redis.break_disk()
    pauses(fleet)
    time.sleep(3.0)

    own_redis.mend_disk()

    is_whole(fleet)
    for worker in fleet.workers:
        pause, goes_on = warnings_of(worker)
        assert "Redis takes nothing: it cannot write to its disk" in pause
        assert goes_on == "The crawl goes on"


def forbid(redis: OwnRedis, *rules: str) -> None:
    redis.client().execute_command("ACL", "SETUSER", "default", *rules)


def spoil(redis: OwnRedis, key: str) -> None:
    client = redis.client()
    client.delete(key)
    client.set(key, "not ours")


@pytest.mark.parametrize(
    ("harm", "line"),
    [
        pytest.param(
            lambda redis: forbid(redis, "-evalsha"),
            r"Redis refuses: permit its user .* 'evalsha' command\); the crawl ends",
            id="command",
        ),
        pytest.param(
            lambda redis: forbid(redis, "-xpending"),
            r"Redis refuses: permit its user .* 'xpending' command.*\); the crawl ends",
            id="command in a script",
        ),
        pytest.param(
            lambda redis: forbid(redis, "resetkeys", "~{replays}*", "~{battles}*"),
            r"Redis refuses: permit its user .*\); the crawl ends",
            id="keys of the hosts",
        ),
        pytest.param(
            lambda redis: forbid(redis, "resetkeys", "~{replays}*", "~{throttle}*"),
            r"Redis refuses: permit its user .*\); the crawl ends",
            id="keys of the index",
        ),
        pytest.param(
            lambda redis: spoil(redis, KEYS.counts),
            r"Redis refuses: a key is of another kind .*\); the crawl ends",
            id="kind of key",
        ),
        pytest.param(
            lambda redis: spoil(redis, IndexKeys("battles").segments),
            r"Redis refuses: a key is of another kind .*\); the crawl ends",
            id="kind of key of the index",
        ),
    ],
)
def test_what_redis_refuses_in_mid_crawl_ends_it_in_one_line(fleet, own_redis, harm, line):
    begun(fleet)

    harm(own_redis)

    for worker in fleet.workers:
        ends_refused(worker, line)
