from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import ExitStack, suppress

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from scrapy.settings import Settings

from extensions import connection
from extensions.connection import (
    EvictionError,
    UnreachableError,
    check,
    check_memory,
    connect,
    evicted_keys,
    identity,
)
from extensions.embedded import EmbeddedRedis

NOBODY = "redis://127.0.0.1:1"
SECRET = "a-secret"  # noqa: S105 -- nobody's


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """Seconds that would have passed between tries."""
    waits: list[float] = []
    monkeypatch.setattr("redis.retry.sleep", waits.append)
    return waits


@pytest.fixture
def deaf_url():
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def swallowing_url():
    """The address of a host that answers no packet: its queue of connections is full."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0.0)
            with suppress(BlockingIOError):
                waiting.connect(server.getsockname())
        yield f"redis://127.0.0.1:{server.getsockname()[1]}"


def test_the_redis_of_the_settings_is_used(redis, redis_url):
    redis.set("own:key", "value")

    with connect(Settings({"REDIS_URL": redis_url})) as connected:
        assert connected.get("own:key") == b"value"


def test_parameters_are_handed_on(redis_url):
    settings = Settings({"REDIS_URL": redis_url, "REDIS_PARAMS": {"client_name": "ann"}})

    with connect(settings) as connected:
        assert connected.client_getname() == "ann"


@pytest.mark.parametrize("place", ["parameters", "address"])
def test_replies_stay_bytes_whatever_the_settings_of_scrapy_redis_say(redis, redis_url, place):
    redis.set("own:key", "value")
    parameters = {"decode_responses": True} if place == "parameters" else {}
    url = redis_url if place == "parameters" else f"{redis_url}&decode_responses=1"
    settings = Settings({"REDIS_URL": url, "REDIS_PARAMS": parameters})

    with connect(settings) as connected:
        assert connected.get("own:key") == b"value"


@pytest.mark.usefixtures("redis_url")
def test_without_a_url_a_server_of_our_own_is_started_once(tmp_path, monkeypatch):
    servers = {}
    monkeypatch.setattr(connection, "_embedded", servers)
    settings = Settings({"REDIS_URL": "", "EMBEDDED_REDIS_DIR": str(tmp_path / "redis")})

    with connect(settings) as first, connect(settings) as second:
        first.set("key", "value")
        assert second.get("key") == b"value"

    [server] = servers.values()
    server.release()
    assert (tmp_path / "redis").is_dir()


@pytest.mark.usefixtures("redis_url")
def test_a_server_of_our_own_that_was_killed_is_started_again(tmp_path, monkeypatch):
    servers = {}
    monkeypatch.setattr(connection, "_embedded", servers)
    settings = Settings({"REDIS_URL": "", "EMBEDDED_REDIS_DIR": str(tmp_path / "redis")})

    with connect(settings, patience=1.0) as first, connect(settings, patience=1.0) as second:
        first.set("key", "value")
        os.kill(first.info("server")["process_id"], signal.SIGKILL)

        assert second.get("key") == b"value"
        assert first.get("key") == b"value"

    [server] = servers.values()
    server.release()


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("127.0.0.1", id="no scheme"),
        pytest.param("http://127.0.0.1", id="another scheme"),
        pytest.param(f"redis://:pass/{SECRET}@host", id="a slash in the password"),
        pytest.param(f"redis://user:{SECRET}@[::1", id="half an address"),
        pytest.param("redis://host:99999", id="no port"),
        pytest.param("redis://host/?db=first", id="no database"),
    ],
)
def test_a_url_that_is_none_is_refused_in_one_line_without_secrets(url):
    with pytest.raises(ValueError, match=r"^REDIS_URL makes no sense: give redis://") as raised:
        connect(Settings({"REDIS_URL": url}))

    assert "\n" not in str(raised.value)
    assert not {"pass", SECRET} & set(str(raised.value).replace("'", " ").split())


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"REDIS_URL": "redis://host?timeout=1"}, id="in the URL"),
        pytest.param({"REDIS_URL": NOBODY, "REDIS_PARAMS": {"timeout": 1}}, id="beside it"),
    ],
)
def test_an_unknown_parameter_is_refused_at_once(settings):
    with pytest.raises(ValueError, match=r"^REDIS_URL or REDIS_PARAMS: .*'timeout'$"):
        connect(Settings(settings))


def test_a_redis_that_comes_back_is_waited_for(redis_url, waits, monkeypatch):
    connected = connect(Settings({"REDIS_URL": redis_url}))
    kind = connected.connection_pool.connection_class
    reach, failures = kind._connect, [ConnectionRefusedError()] * 5
    monkeypatch.setattr(kind, "_connect", lambda self: fail(failures) or reach(self))

    assert connected.ping()
    assert len(waits) == 5
    connected.close()


def fail(errors: list[Exception]) -> None:
    if errors:
        raise errors.pop()


def test_a_redis_that_stays_away_is_given_up_in_some_seconds(waits):
    connected = connect(Settings({"REDIS_URL": NOBODY}))

    with pytest.raises(RedisConnectionError):
        connected.ping()

    assert 5 < sum(waits) < 15


def test_a_redis_that_answers_passes(redis):
    check(redis)


def test_a_redis_that_is_away_is_said_so_at_once(waits):
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1.*; check REDIS_URL"):
        check(connect(Settings({"REDIS_URL": NOBODY})))

    assert 1 < sum(waits) < 2


@pytest.mark.timeout(8)
def test_a_redis_that_never_answers_is_asked_once_and_not_for_long(waits, deaf_url):
    with pytest.raises(UnreachableError, match="Timeout"):
        check(connect(Settings({"REDIS_URL": deaf_url})))

    assert waits == []


@pytest.mark.skipif(sys.platform != "linux", reason="others refuse what their queue cannot hold")
@pytest.mark.timeout(8)
def test_a_host_that_swallows_packets_is_not_waited_for(waits, swallowing_url):
    with pytest.raises(UnreachableError, match="Timeout connecting"):
        check(connect(Settings({"REDIS_URL": swallowing_url})))

    assert waits == []


def test_shorter_timeouts_of_ones_own_are_kept(deaf_url, monkeypatch):
    monkeypatch.setattr(connection, "_FIRST_TIMEOUT", 1e6)
    settings = {"REDIS_URL": deaf_url, "REDIS_PARAMS": {"socket_timeout": 0.05}}

    with pytest.raises(UnreachableError, match="Timeout"):
        check(connect(Settings(settings)))


def test_a_wrong_password_is_not_repeated_in_the_message(redis_url, waits):
    parameters = {"username": "nobody", "password": SECRET}

    with pytest.raises(UnreachableError, match="invalid username-password pair") as raised:
        check(connect(Settings({"REDIS_URL": redis_url, "REDIS_PARAMS": parameters})))

    assert SECRET not in str(raised.value)
    assert sum(waits) < 15


def test_a_look_does_not_change_how_patient_the_connection_is(redis_url):
    connected = connect(Settings({"REDIS_URL": redis_url}))
    before = connected.get_retry()

    check(connected)

    assert connected.get_retry() is before
    connected.close()


def test_a_connection_without_retries_can_be_looked_at(redis_url):
    connected = Redis.from_url(redis_url, retry=None)

    check(connected)

    connected.close()


def test_a_server_that_has_become_a_replica_is_looked_for_anew(redis_url, waits):
    with connect(Settings({"REDIS_URL": redis_url})) as connected:
        retry = connected.get_retry()
        answers = [ResponseError("ERR script: -READONLY You can't write against a replica."), 5]

        def do() -> object:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        disconnected: list[Exception] = []
        assert retry.call_with_retry(do, disconnected.append) == 5

    assert isinstance(disconnected[0], ReadOnlyError)
    assert len(waits) <= 1


def test_a_server_that_wants_another_password_is_not_asked_again(own_redis, waits):
    with connect(Settings({"REDIS_URL": own_redis.url})) as connected:
        connected.ping()
        admin = own_redis.client()
        admin.config_set("requirepass", "another")
        # Who is in stays in: only a new connection is asked for the password.
        admin.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(AuthenticationError):
            connected.get("own:key")

    assert len(waits) <= 1


def test_a_server_of_our_own_that_cannot_be_started_again_is_said_why(
    redis_url, waits, tmp_path, monkeypatch
):
    assert redis_url
    servers = {}
    monkeypatch.setattr(connection, "_embedded", servers)
    settings = Settings({"REDIS_URL": "", "EMBEDDED_REDIS_DIR": str(tmp_path / "redis")})

    with connect(settings, patience=1.0) as connected:
        [server] = servers.values()
        os.kill(connected.info("server")["process_id"], signal.SIGKILL)

        def fail() -> str:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(server, "start", fail)
        with pytest.raises(RedisConnectionError, match="No space left on device"):
            connected.get("own:key")

    assert waits
    server.release()


def test_what_else_a_server_refuses_is_not_repeated(redis_url, waits):
    with (
        connect(Settings({"REDIS_URL": redis_url})) as connected,
        pytest.raises(ResponseError, match="unknown command"),
    ):
        connected.execute_command("NOSUCH")

    assert waits == []


# --- What a server does when its memory is full ---------------------------------------------------


@pytest.fixture
def memory(tmp_path):
    """A server of the test's own, to set its memory."""
    server = EmbeddedRedis(tmp_path / "redis")
    redis = Redis.from_url(server.start())
    yield redis
    redis.close()
    server.release()


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
def test_a_server_that_throws_keys_away_is_refused(memory, policy):
    memory.config_set("maxmemory", "100mb")
    memory.config_set("maxmemory-policy", policy)

    with pytest.raises(EvictionError, match=f"{policy}.*noeviction") as raised:
        check_memory(memory)

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("limit", "policy"), [("0", "allkeys-lru"), ("100mb", "noeviction"), ("100mb", "volatile-lru")]
)
def test_a_server_that_keeps_what_has_no_end_is_taken(memory, limit, policy):
    memory.config_set("maxmemory", limit)
    memory.config_set("maxmemory-policy", policy)

    check_memory(memory)


def test_keys_that_a_server_throws_away_are_counted(memory):
    before = evicted_keys(memory)
    memory.config_set("maxmemory-policy", "allkeys-lru")
    memory.config_set("maxmemory", memory.info("memory")["used_memory"] + 200_000)
    for n in range(50):
        memory.set(f"key-{n}", "x" * 20_000)

    assert before == 0
    assert evicted_keys(memory) > 0


def test_who_may_not_ask_is_told_nothing(memory):
    memory.acl_setuser("narrow", enabled=True, nopass=True, keys=["*"], commands=["+ping"])
    kwargs = memory.connection_pool.connection_kwargs
    narrow = Redis(unix_socket_path=kwargs["path"], username="narrow", password="any")  # noqa: S106 -- none is asked for

    check_memory(narrow)

    assert evicted_keys(narrow) == 0
    narrow.close()


# --- What a database is called --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"REDIS_URL": "redis://host"}, "host:6379/0"),
        ({"REDIS_URL": f"rediss://user:{SECRET}@host:6380/2"}, "host:6380/2"),
        ({"REDIS_URL": "unix:///run/redis.sock?db=3"}, "/run/redis.sock/3"),
        ({"REDIS_URL": "redis://host", "REDIS_PARAMS": {"db": 4}}, "host:6379/4"),
        ({"REDIS_URL": "redis://host/1", "REDIS_PARAMS": {"db": 4}}, "host:6379/1"),
        ({"EMBEDDED_REDIS_DIR": "/var/lib/redis"}, "/var/lib/redis"),
    ],
)
def test_a_database_is_named_without_its_password(settings, name):
    assert identity(Settings(settings)) == name


def test_what_is_no_address_has_no_name():
    with pytest.raises(ValueError, match="REDIS_URL makes no sense") as raised:
        identity(Settings({"REDIS_URL": f"http://user:{SECRET}@host"}))

    assert SECRET not in str(raised.value)
