"""The real battle server on loopback, from its npm package."""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Event

from sandbox.options import port

_HOST = "127.0.0.1"
_OURS = Path(__file__).parent / "showdown"
_FOLDER = Path(__file__).parents[1] / ".showdown"
_PACKAGE = Path("node_modules/pokemon-showdown")
_NPM_CI = ["ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"]
_MISSING = [
    *("logs/repl", "logs/chat", "logs/modlog"),
    *("config/chat-plugins", "config/ladders", "config/avatars"),
]
"""Folders that the server wants and the package lacks."""
_PATIENCE = 30.0
"""Seconds for the server to listen, or to end."""
_MOMENT = 2.0
"""Seconds for a killed server to let go of its port."""
_POLL = 0.02
"""Seconds between two looks."""


class BattleServerError(RuntimeError):
    """Raised when the server cannot be installed or does not run."""


def install(folder: Path = _FOLDER) -> Path:
    """Install what the lock file names, unless it is there, and return the package's folder.

    Raises:
        BattleServerError: there is no npm, or it fails.

    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    package, done, wanted = folder / _PACKAGE, folder / "installed", _digest()
    with (folder / "install.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() or done.read_text(encoding="ascii") != wanted:
            done.unlink(missing_ok=True)
            _npm_ci(folder)
            for missing in _MISSING:
                (package / missing).mkdir(parents=True, exist_ok=True)
            shutil.copy(_OURS / "config.js", package / "config")
            done.write_text(wanted, encoding="ascii")
    return package


class BattleServer:
    """The server in processes of its own, which end with ours.

    It keeps the numbers of its battles and the ratings in the folder it is installed in, as
    servers in one folder share them. What it says goes to `server.log` there.
    """

    def __init__(self, folder: Path = _FOLDER) -> None:
        self._folder = folder.absolute()
        self._server: subprocess.Popen[bytes] | None = None

    def start(self, port: int = 0) -> str:
        """Install the server if need be, start it, and return the address of its websocket.

        Raises:
            BattleServerError: it cannot be installed, or does not listen.

        """
        if self._server is not None:
            raise BattleServerError("the battle server runs already")
        node, package = find_program("node"), install(self._folder)
        port = _free(port)
        with (self._folder / "server.log").open("ab") as log:
            self._server = subprocess.Popen(  # noqa: S603 -- the program found above, no shell
                [node, "--require", _OURS / "loopback.cjs", *_start(port)],
                cwd=package,
                # The server ends when this pipe closes: see loopback.cjs.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._await(port)
        return f"ws://{_HOST}:{port}/showdown/websocket"

    def stop(self) -> None:
        """Ask the server to end, and see to it that all of it does."""
        if self._server is not None:
            self._server.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._server.wait(_PATIENCE)
        self.kill()

    def kill(self) -> None:
        """End all of the server at once, in the middle of whatever it does."""
        if self._server is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._server.pid, signal.SIGKILL)
        self._server.communicate()
        self._server = None

    def runs(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def _await(self, port: int) -> None:
        assert self._server is not None  # noqa: S101 -- launched above
        deadline = time.monotonic() + _PATIENCE
        while not _accepts(port):
            status = self._server.poll()
            if status is not None or time.monotonic() > deadline:
                self.kill()
                what = "does not listen" if status is None else f"ended with status {status}"
                log = self._folder / "server.log"
                raise BattleServerError(f"the battle server on port {port} {what}: see {log}")
            time.sleep(_POLL)


def _start(port: int) -> list[str]:
    return ["pokemon-showdown", "start", "--skip-build", str(port)]


def _digest() -> str:
    """Sum up what an installation is made of."""
    names = ["package.json", "package-lock.json", "config.js"]
    return hashlib.sha256(b"".join((_OURS / name).read_bytes() for name in names)).hexdigest()


def _npm_ci(folder: Path) -> None:
    npm = find_program("npm")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_OURS / name, folder)
    log = folder / "npm.log"
    with log.open("wb") as said:
        status = subprocess.call([npm, *_NPM_CI], cwd=folder, stdout=said, stderr=said)  # noqa: S603 -- found above
    if status != 0:
        raise BattleServerError(f"npm cannot install the battle server: see {log}")


def find_program(program: str) -> str:
    """Find a program on PATH.

    Raises:
        BattleServerError: there is none.

    """
    if found := shutil.which(program):
        return found
    raise BattleServerError(f"{program} is not installed: the battle server needs Node.js with npm")


def _free(port: int) -> int:
    """Return the port when it is free, or one that is for 0."""
    deadline = time.monotonic() + _MOMENT
    while True:
        try:
            return _bind(port)
        except OSError as error:
            if time.monotonic() > deadline:
                raise BattleServerError(f"port {port} is not free: {error.strerror}") from None
        time.sleep(_POLL)


def _bind(port: int) -> int:
    with socket.socket() as trial:
        # As node does it, so that connections that just ended are no hindrance.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind((_HOST, port))
        return int(trial.getsockname()[1])


def _accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection((_HOST, port), timeout=1):
        return True
    return False


def main(arguments: list[str] | None = None) -> int:
    """Run the server until SIGTERM, SIGINT or its own end, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.battle_server", description=__doc__)
    parser.add_argument("--port", type=port, default=0, help="default: one that is free")
    options = parser.parse_args(arguments)
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    server = BattleServer()
    try:
        sys.stdout.write(f"{server.start(options.port)}\n")
        sys.stdout.flush()
        while server.runs() and not stop.wait(_MOMENT):
            pass
        return 0 if stop.is_set() else 1
    except BattleServerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
