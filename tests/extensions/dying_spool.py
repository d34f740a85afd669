"""A worker that is killed, or waits to be, at a point of its work with a spool; see test_spool."""

from __future__ import annotations

import os
import signal
import sys
from itertools import count
from pathlib import Path

from extensions import segments, spool
from extensions.storage import FolderStorage

LINES = [b'{"id": "battle-%d"}' % n for n in range(15)]
_PLACES = {
    "append": (segments.SegmentWriter, "append"),
    "fsync": (segments.os, "fsync"),
    "trailer": (segments.SegmentWriter, "seal"),
    "rename": (Path, "rename"),
    "put": (FolderStorage, "put"),
    "link": (os, "link"),
    "unlink": (Path, "unlink"),
}


def die(when: str, place: str, nth: int) -> None:
    """Have the process killed before or after the nth call of a function."""
    owner, name = _PLACES[place]
    original = getattr(owner, name)
    numbers = count(1)

    def deadly(*args, **kwargs):
        number = next(numbers)
        if number == nth and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if number == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


def work(folder: Path) -> spool.Spool:
    """Fill two segments and a half, and say what is durable."""
    storage = FolderStorage(folder / "data")
    worker = spool.Spool(folder / "spool", storage, worker="killed", segment_records=6)
    for first in range(0, len(LINES), 3):
        lines = LINES[first : first + 3]
        worker.commit(lines)
        sys.stdout.buffer.write(b"".join(line + b"\n" for line in lines))
        sys.stdout.flush()
        worker.store()
    return worker


def recover(folder: Path) -> spool.Spool:
    """Bring in what an earlier process left."""
    storage = FolderStorage(folder / "data")
    worker = spool.Spool(folder / "spool", storage, worker="second", segment_records=6)
    for _ in worker.recover():
        pass
    return worker


if __name__ == "__main__":
    task, path, *point = sys.argv[1:]
    if point:
        die(point[0], point[1], int(point[2]))
    # Held until the end: a spool that nobody holds gives up its lock.
    held = {"work": work, "recover": recover}[task](Path(path))
    sys.stdin.read()
