from __future__ import annotations

import socket

import pytest
from redis import Redis
from redis.exceptions import (
    BusyLoadingError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from extensions.keys import QueueKeys
from extensions.queue import Add, RequestQueue
from extensions.redis_errors import Trouble, is_read_only, trouble_of
from tests.own_redis import OwnRedis

FULL = "Redis takes nothing: its memory is full: free some, or raise its maxmemory"
FORBIDDEN = "Redis refuses: permit its user (ACL SETUSER) the command, key or channel"


def queue_of(redis: Redis) -> RequestQueue:
    return RequestQueue(redis, "test", worker="ann")


def error_of(call, *args) -> Exception:
    with pytest.raises((RedisError, OSError)) as raised:
        call(*args)
    return raised.value


def met(call, *args) -> Trouble:
    return trouble_of(error_of(call, *args))


@pytest.mark.parametrize(
    ("error", "kind", "line"),
    [
        (
            RedisConnectionError("gone"),
            "away",
            "Redis does not answer: gone; check REDIS_URL",
        ),
        (RedisTimeoutError("Timeout"), "away", None),
        (ConnectionResetError("reset"), "away", None),
        (BusyLoadingError("it loads", status_code="LOADING"), "away", None),
        (ResponseError("NOGROUP No such key"), "away", None),
        (ResponseError("MASTERDOWN Link is down"), "away", None),
        (
            # As servers before 7 say it.
            ResponseError("Error running script (call to f_1): @user_script:3: -OOM no"),
            "full",
            f"{FULL} (Error running script (call to f_1): @user_script:3: -OOM no)",
        ),
        (
            ResponseError("The user executing the script can't run this command"),
            "refused",
            f"{FORBIDDEN} (NOPERM The user executing the script can't run this command)",
        ),
        (ResponseError("NOREPLICAS Not enough good replicas"), "full", None),
        (ResponseError("MOVED 1 127.0.0.1:1"), "refused", None),
        (ResponseError("unknown command 'XAUTOCLAIM'"), "refused", None),
        (
            ResponseError("something else\nin two lines"),
            "doubtful",
            "Redis refuses: see its log (something else in two lines)",
        ),
    ],
)
def test_an_error_is_one_of_four_kinds(error, kind, line):
    trouble = trouble_of(error)

    assert trouble.kind == kind
    assert line in (None, str(trouble))


def test_what_a_command_holds_is_not_taken_for_what_redis_says():
    text = "Command # 2 (SET key OOM of it) of pipeline caused error: WRONGTYPE Operation"

    assert trouble_of(ResponseError(text)).kind == "refused"
    assert trouble_of(ResponseError(text)).said == "WRONGTYPE Operation"


def test_a_long_answer_is_cut():
    assert len(str(trouble_of(OutOfMemoryError("x" * 5000)))) < 300


def test_a_full_memory_is_known_from_commands_scripts_and_pipelines(own_redis):
    redis = own_redis.client()
    queue = queue_of(redis)
    queue.open()
    redis.config_set("maxmemory", "1")

    with redis.pipeline() as pipeline:
        calls = [
            (redis.set, "key", 1),
            (queue.commit, [Add(1, {"url": "u"})], "1"),
            (pipeline.set("key", 1).execute,),
        ]
        assert [met(*call).kind for call in calls] == ["full"] * 3


def test_a_disk_that_is_full_is_known(own_redis):
    queue = queue_of(own_redis.client())
    queue.open()
    own_redis.break_disk()

    assert met(queue.commit, [Add(1, {"url": "u"})], "1").kind == "full"
    assert "cannot write to its disk" in str(met(queue.open))


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(["~*", "+@all", "-evalsha"], id="command"),
        pytest.param(["~other:*", "+@all"], id="keys"),
        pytest.param(["~*", "+@all", "-xgroup|create"], id="command in a script"),
    ],
)
def test_what_a_user_may_not_is_known(own_redis, rules):
    own_redis.client().execute_command("ACL", "SETUSER", "ann", "on", ">secret", *rules)
    redis = Redis.from_url(own_redis.url, username="ann", password="secret")  # noqa: S106

    trouble = met(queue_of(redis).open)

    assert trouble.kind == "refused"
    assert str(trouble).startswith("Redis refuses: permit its user (ACL SETUSER)")


def test_another_password_is_known(own_redis):
    own_redis.client().config_set("requirepass", "another")

    troubles = [
        met(Redis.from_url(own_redis.url).ping),
        met(Redis.from_url(own_redis.url, password="secret").ping),  # noqa: S106
    ]

    assert [trouble.kind for trouble in troubles] == ["refused"] * 2
    assert "mend REDIS_URL (NOAUTH" in str(troubles[0])


def test_a_key_of_another_kind_is_known(own_redis):
    redis = own_redis.client()
    queue = queue_of(redis)
    queue.open()
    redis.set(QueueKeys("test").counts, "not ours")

    assert met(queue.status).kind == "refused"


def test_a_replica_may_be_a_failover(own_redis):
    redis = own_redis.client()
    queue = queue_of(redis)
    redis.replicaof("127.0.0.1", "1")

    error = error_of(queue.open)

    assert (trouble_of(error).kind, is_read_only(error)) == ("doubtful", True)
    assert "have REDIS_URL name the primary" in str(trouble_of(error))


def free_port() -> str:
    """Return a port that leaves room for the cluster's own, 10,000 above it."""
    for port in range(20_000, 30_000):
        try:
            for number in (port, port + 10_000):
                socket.create_server(("127.0.0.1", number)).close()
        except OSError:
            continue
        return str(port)
    raise AssertionError("no port is free")


@pytest.mark.usefixtures("own_redis")
def test_a_cluster_that_is_taken_for_one_server_is_known(tmp_path):
    cluster = OwnRedis(tmp_path / "cluster", **{"cluster-enabled": "yes", "port": free_port()})
    cluster.start()
    try:
        assert "set REDIS_CLUSTER=1 (CROSSSLOT" in str(met(cluster.client().mget, "one", "two"))
    finally:
        cluster.release()
