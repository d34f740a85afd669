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
_POLL = 0.01
"""Seconds between two looks at a server that is ending."""


def main(folder: Path) -> None:
    """Wait until nobody uses the server of a folder, and stop it; end with it in any case."""
    with (folder / "watch.lock").open("ab") as watch:
        if not _locks(watch.fileno()):
            return
        while _is_running(folder):
            with (folder / "users.lock").open("ab") as users:
                if _locks(users.fileno()):
                    # Held until it is dead: who comes meanwhile waits, and starts another.
                    _stop(folder)
                    return
            time.sleep(EVERY)


def _is_running(folder: Path) -> bool:
    with (folder / "server.lock").open("ab") as server:
        return not _locks(server.fileno())


def _stop(folder: Path) -> None:
    with suppress(OSError, ValueError):
        os.kill(int((folder / "redis.pid").read_text(encoding="ascii")), signal.SIGTERM)
        while _is_running(folder):
            time.sleep(_POLL)


def _locks(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]))
