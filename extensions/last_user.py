"""Stop a server of our own when its last user is gone, however that went.

A program of its own, with nothing but the standard library: `python -c SOURCE FOLDER`. Users hold a
shared lock and the server one that excludes others; the kernel takes both from whoever is killed.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

EVERY = 1.0
"""Seconds between two looks."""
PATIENCE = 30.0
"""Seconds for a server to end; then others may try to use it, until the next look."""
_POLL = 0.01
"""Seconds between two looks at a server that is ending."""


def main(folder: Path) -> None:
    """Wait until nobody uses the server of a folder, and stop it; end with it in any case."""
    # Held open from now on: a folder that is removed takes the names of the locks along.
    with (
        (folder / "watch.lock").open("ab") as watch,
        (folder / "users.lock").open("ab") as users,
        (folder / "server.lock").open("ab") as server,
    ):
        # Asked again afterwards: who came to watch a next server meanwhile has left it to us.
        while _is_held(server.fileno()) and _locks(watch.fileno()):
            _attend(folder, users.fileno(), server.fileno())
            fcntl.flock(watch, fcntl.LOCK_UN)


def _attend(folder: Path, users: int, server: int) -> None:
    number = None
    while _is_held(server):
        if _is_ours(folder, server):
            number = _number(folder)
        if _locks(users):
            # Held until it is dead: who comes meanwhile waits, and starts another.
            _stop(number, server)
            fcntl.flock(users, fcntl.LOCK_UN)
        time.sleep(EVERY)


def _stop(number: int | None, server: int) -> None:
    """Stop the server with this number, if it is known yet, and wait until it is dead."""
    if number is None:
        return
    with suppress(OSError):
        os.kill(number, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while _is_held(server) and time.monotonic() < deadline:
        time.sleep(_POLL)


def _is_ours(folder: Path, server: int) -> bool:
    """Tell whether what the folder says is about the server whose lock is open."""
    with suppress(OSError):
        return os.path.samestat((folder / "server.lock").stat(), os.fstat(server))
    return False


def _number(folder: Path) -> int | None:
    """Read the process id of the server; None until it has written it."""
    with suppress(OSError, ValueError):
        return int((folder / "redis.pid").read_text(encoding="ascii"))
    return None


def _is_held(file: int) -> bool:
    if not _locks(file):
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def _locks(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]))
