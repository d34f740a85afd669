from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from extensions import last_user
from extensions.embedded import EmbeddedRedis
from extensions.server_program import EmbeddedRedisError, find_server, version_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _needs_a_server(redis_url):
    """Skip, or fail on CI, where there is no redis-server."""


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "redis"


@pytest.fixture
def embedded_in():
    """Build servers and release them in the end."""
    built = []

    def build(folder: Path) -> EmbeddedRedis:
        built.append(EmbeddedRedis(folder))
        return built[-1]

    yield build
    for embedded in built:
        embedded.release()
    for embedded in built:
        embedded._bury()


@pytest.fixture
def embedded(embedded_in, folder) -> EmbeddedRedis:
    return embedded_in(folder)


@pytest.fixture
def user(folder):
    """Start another process that uses the server, and return it when it does."""
    users = []

    def start(folder: Path = folder, **environment: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.extensions.redis_user", folder],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        users.append(process)
        process.url = process.stdout.readline().decode().strip()
        return process

    yield start
    for process in users:
        process.communicate()


def client(url: str) -> Redis:
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0))


def number_of(url: str) -> int:
    """Return the server's process id."""
    with client(url) as redis:
        return redis.info("server")["process_id"]


def answers(url: str) -> bool:
    try:
        with client(url) as redis:
            return redis.ping()
    except RedisConnectionError:
        return False


def write(url: str, value: str) -> None:
    with client(url) as redis:
        redis.set("key", value)


def read(url: str) -> bytes | None:
    with client(url) as redis:
        return redis.get("key")


def kill_server(url: str) -> None:
    os.kill(number_of(url), signal.SIGKILL)
    while answers(url):
        pass


def leave(process: subprocess.Popen[bytes]) -> None:
    process.communicate()


def test_a_started_server_answers(embedded):
    assert answers(embedded.start())


def test_a_released_server_is_gone(embedded):
    url = embedded.start()

    embedded.release()

    assert not answers(url)


def test_starting_twice_starts_one_server(embedded):
    first = number_of(embedded.start())

    assert number_of(embedded.start()) == first


def test_releasing_what_was_not_started_does_nothing(embedded, folder):
    embedded.release()

    assert not folder.exists()


def test_two_processes_share_one_server(embedded, user):
    user()
    first = number_of(embedded.start())

    user()

    assert number_of(embedded.start()) == first


def test_what_one_process_writes_another_reads(embedded, embedded_in, folder, user):
    user()
    write(embedded.start(), "shared")

    assert read(embedded_in(folder).start()) == b"shared"


def test_the_server_stays_until_its_last_user_leaves(embedded, user):
    url = embedded.start()
    other = user()
    embedded.release()
    with_a_user = answers(url)

    leave(other)

    assert with_a_user
    assert not answers(url)


def test_the_server_outlives_the_process_that_launched_it(embedded, user):
    launcher = user()
    url = embedded.start()

    leave(launcher)

    assert answers(url)


def test_a_killed_user_does_not_take_the_server_along(embedded, user):
    launcher = user()
    url = embedded.start()
    write(url, "kept")

    launcher.kill()
    launcher.wait()

    assert read(url) == b"kept"


def test_a_killed_user_does_not_keep_the_server(embedded, user):
    launcher = user()
    url = embedded.start()
    launcher.kill()
    launcher.wait()

    embedded.release()

    assert not answers(url)


def comes(is_so: Callable[[], bool]) -> bool:
    """Tell whether something comes true by itself, within a minute at most."""
    for _ in range(600):
        if is_so():
            return True
        time.sleep(0.1)
    return False


def ends(url: str) -> bool:
    return comes(lambda: not answers(url))


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def test_a_server_ends_when_its_last_user_was_killed(embedded, user):
    process = user()
    write(process.url, "kept")

    kill(process)

    assert ends(process.url)
    assert read(embedded.start()) == b"kept"


def test_a_server_stays_while_one_of_its_users_lives(user):
    first, second = user(), user()
    server = number_of(first.url)

    kill(first)
    time.sleep(2 * last_user.EVERY)

    assert number_of(second.url) == server
    kill(second)
    assert ends(second.url)


LOADING = """
import os, signal, sys
from pathlib import Path
from extensions.embedded import EmbeddedRedis

class Dying(EmbeddedRedis):
    def _answers(self):
        if self._server is None:
            return False
        while not super()._answers():
            pass
        os.kill(os.getpid(), signal.SIGKILL)

Dying(Path(sys.argv[1])).start()
"""
"""A program that is killed while the server that it launched loads its data."""


def test_a_server_ends_whose_launcher_was_killed_while_it_loaded(folder):
    killed = subprocess.run([sys.executable, "-c", LOADING, folder], cwd=ROOT, check=False)

    assert killed.returncode == -signal.SIGKILL
    assert ends(f"unix://{folder}/redis.sock")


def test_the_number_of_a_killed_server_is_gone_before_the_next_is_watched(
    embedded, folder, monkeypatch
):
    kill_server(embedded.start())
    number = folder / "redis.pid"
    killed, seen = number.read_text(), []
    watched = embedded._have_it_watched
    monkeypatch.setattr(
        embedded,
        "_have_it_watched",
        lambda: seen.append(number.read_text() if number.exists() else None) or watched(),
    )

    embedded.start()

    assert seen
    assert killed not in seen


def test_who_joins_a_server_that_nobody_watches_has_it_watched(embedded, user):
    url = embedded.start()
    kill(embedded._watch)
    second = user()

    embedded._leave()
    kill(second)

    assert ends(url)


def is_alive(server: int) -> bool:
    try:
        os.kill(server, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_server_ends_whose_folder_was_removed(user, folder):
    process = user()
    server = number_of(process.url)
    time.sleep(2 * last_user.EVERY)

    shutil.rmtree(folder)
    kill(process)

    assert comes(lambda: not is_alive(server))


def is_being_stopped(folder: Path) -> bool:
    with (folder / "users.lock").open("ab") as users:
        try:
            fcntl.flock(users, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_who_starts_while_the_server_ends_gets_another(embedded, user, folder):
    process = user()
    write(process.url, "kept")
    server = number_of(process.url)
    os.kill(server, signal.SIGSTOP)
    kill(process)
    assert comes(lambda: is_being_stopped(folder))

    with ThreadPoolExecutor() as threads:
        url = threads.submit(embedded.start)
        os.kill(server, signal.SIGCONT)

    assert read(url.result()) == b"kept"
    assert number_of(url.result()) != server


def test_a_server_without_users_is_taken_over(embedded, user):
    launcher = user()
    launcher.kill()
    launcher.wait()

    url = embedded.start()

    assert answers(url)
    embedded.release()
    assert not answers(url)


def test_what_was_written_is_there_at_the_next_start(embedded):
    write(embedded.start(), "kept")
    embedded.release()

    assert read(embedded.start()) == b"kept"


def test_a_killed_server_keeps_its_data(embedded):
    url = embedded.start()
    write(url, "kept")
    kill_server(url)

    assert read(embedded.start()) == b"kept"


def test_a_killed_server_is_started_again_by_another_user(embedded, embedded_in, folder):
    url = embedded.start()
    write(url, "kept")
    kill_server(url)

    assert read(embedded_in(folder).start()) == b"kept"


def test_releasing_a_killed_server_does_nothing(embedded):
    url = embedded.start()
    kill_server(url)

    embedded.release()

    assert not answers(url)


def test_the_server_is_out_of_reach_of_ctrl_c(embedded):
    assert os.getsid(number_of(embedded.start())) != os.getsid(0)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("with space", id="a space"),
        pytest.param("50%20?a=b#c", id="signs of URLs"),
        pytest.param("ü", id="an umlaut"),
    ],
)
def test_a_folder_may_be_called(embedded_in, tmp_path, name):
    url = embedded_in(tmp_path / name).start()

    assert answers(url)
    assert (tmp_path / name / "redis.sock").exists()


@pytest.fixture
def temporary_folder(monkeypatch):
    """A temporary folder of the test's own, not as deep as pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture
def deep_folder(tmp_path, temporary_folder) -> Path:
    """A folder whose sockets the kernel would refuse."""
    assert temporary_folder.is_dir()
    return tmp_path / ("deep" * 25)


def test_a_socket_path_that_is_too_long_moves_to_the_temporary_folder(
    deep_folder, embedded_in, temporary_folder
):
    url = embedded_in(deep_folder).start()

    assert answers(url)
    assert url.startswith(f"unix://{temporary_folder}/redis-{os.getuid()}-")


def test_processes_agree_on_the_socket_of_a_deep_folder(deep_folder, embedded_in):
    assert embedded_in(deep_folder).start() == embedded_in(deep_folder).start()


def test_processes_with_temporary_folders_of_their_own_share_one_server(
    deep_folder, embedded_in, user
):
    with tempfile.TemporaryDirectory(dir="/tmp") as elsewhere:
        other = user(deep_folder, TMPDIR=elsewhere)
        embedded = embedded_in(deep_folder)

        url = embedded.start()

        assert url == other.url
        assert answers(url)
        leave(other)
        # Its socket goes with the folder, and then nobody could stop it.
        embedded.release()


def test_a_temporary_folder_that_is_too_deep_is_said_so(deep_folder, embedded_in, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(deep_folder))

    with pytest.raises(EmbeddedRedisError, match="too long a path for a socket: set TMPDIR to"):
        embedded_in(deep_folder).start()


def test_a_server_that_cannot_be_reached_is_not_joined_by_a_second(
    embedded, embedded_in, folder, monkeypatch
):
    embedded.start()
    socket = folder / "redis.sock"
    hidden = socket.rename(folder / "hidden.sock")
    monkeypatch.setattr("extensions.embedded._PATIENCE", 0.1)

    with pytest.raises(EmbeddedRedisError, match=f"listens on {socket}, which this process does"):
        embedded_in(folder).start()

    hidden.rename(socket)


def test_a_copied_folder_has_a_server_of_its_own(embedded, embedded_in, folder, tmp_path):
    url = embedded.start()
    write(url, "first")
    shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("*.sock"))

    copy = embedded_in(tmp_path / "copy").start()
    write(copy, "second")

    assert (read(url), read(copy)) == (b"first", b"second")


def note(folder: Path) -> dict[str, str]:
    return json.loads((folder / "server.json").read_text())


def test_the_folder_says_which_server_wrote_it(embedded, folder):
    embedded.start()

    assert note(folder)["server"] == str(version_of(find_server()))


@pytest.mark.parametrize("written", ["Valkey 99.1.0", "Redis 8.2.1"])
def test_what_a_newer_server_wrote_is_refused_by_name(embedded, embedded_in, folder, written):
    write(embedded.start(), "kept")
    embedded.release()
    told = note(folder)
    (folder / "server.json").write_text(json.dumps({**told, "server": written}))

    with pytest.raises(EmbeddedRedisError, match=rf"was written by {written}, which Valkey \d"):
        embedded_in(folder).start()

    (folder / "server.json").write_text(json.dumps(told))
    assert read(embedded_in(folder).start()) == b"kept"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"socket": 1, "server": 2}'])
def test_a_note_that_makes_no_sense_is_no_note(embedded, folder, text):
    write(embedded.start(), "kept")
    embedded.release()
    (folder / "server.json").write_text(text)

    assert read(embedded.start()) == b"kept"


def test_nobody_else_may_enter_the_folder_of_a_moved_socket(
    deep_folder, embedded_in, temporary_folder
):
    embedded_in(deep_folder).start()

    [folder] = temporary_folder.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_moved_socket_in_a_folder_of_somebody_else_is_refused(
    deep_folder, embedded_in, monkeypatch
):
    monkeypatch.setattr("extensions.embedded.os.getuid", lambda: os.geteuid() + 1)

    with pytest.raises(EmbeddedRedisError, match="belongs to somebody else"):
        embedded_in(deep_folder).start()


def test_a_start_that_failed_can_be_repeated(embedded, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("extensions.embedded.find_server", refuse)
        with pytest.raises(EmbeddedRedisError):
            embedded.start()

    assert answers(embedded.start())


def test_a_start_that_failed_holds_no_server(embedded, embedded_in, folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("extensions.embedded.find_server", refuse)
        with pytest.raises(EmbeddedRedisError):
            embedded.start()
    other = embedded_in(folder)
    url = other.start()

    other.release()

    assert not answers(url)


def refuse() -> str:
    raise EmbeddedRedisError("none")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("echo no >&2; exit 1", id="ends at once"),
        pytest.param("exec sleep 60", id="never answers"),
    ],
)
def test_a_server_that_does_not_start_is_named_with_its_log(
    embedded, folder, tmp_path, monkeypatch, script
):
    program = tmp_path / "redis-server"
    version = "Valkey server v=9.1.2 sha=0"
    program.write_text(f"#!/bin/sh\n[ $1 = --version ] && echo {version} && exit\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr("extensions.embedded.find_server", lambda: str(program))
    monkeypatch.setattr("extensions.embedded._PATIENCE", 0.2)

    with pytest.raises(EmbeddedRedisError, match=rf"\({program}\) does not answer: see {folder}"):
        embedded.start()


def test_a_server_that_hangs_is_not_joined_by_a_second(embedded, embedded_in, folder, monkeypatch):
    number = number_of(embedded.start())
    os.kill(number, signal.SIGSTOP)
    monkeypatch.setattr("extensions.embedded._PATIENCE", 0.1)

    try:
        with pytest.raises(EmbeddedRedisError, match="hangs: see"):
            embedded_in(folder).start()
    finally:
        os.kill(number, signal.SIGCONT)


def test_a_server_that_loads_its_data_is_waited_for(embedded, embedded_in, folder, monkeypatch):
    number = number_of(embedded.start())
    replies = [BusyLoadingError(), BusyLoadingError()]
    ping = Redis.ping
    monkeypatch.setattr(Redis, "ping", lambda redis: fail(replies) or ping(redis))

    url = embedded_in(folder).start()

    assert replies == []
    assert number_of(url) == number


def test_a_server_that_never_ends_loading_is_not_joined_by_a_second(
    embedded, embedded_in, folder, monkeypatch
):
    embedded.start()
    monkeypatch.setattr("extensions.embedded._PATIENCE", 0.05)
    monkeypatch.setattr(Redis, "ping", lambda _redis: fail([BusyLoadingError()]))

    with pytest.raises(EmbeddedRedisError, match="still loads its data: see"):
        embedded_in(folder).start()


def fail(errors: list[Exception]) -> None:
    if errors:
        raise errors.pop(0)


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    folder = tmp_path / "file" / "redis"

    with pytest.raises(EmbeddedRedisError, match=f"nothing can be kept in {folder}: Not a dir"):
        EmbeddedRedis(folder).start()
