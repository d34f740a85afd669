"""Run `scrapy` on a disk that is full for a while.

`python -m tests.integration.full_disk FILE TIMES …`. When the first battles are safe, what is to be
on the disk is refused so many times, and from then on taken again. How often it was refused, is how
many bytes the file has. The disk is tried again at once, so that this is no matter of minutes.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from pathlib import Path

from scrapy.cmdline import execute

from battles.pipelines.archive import ArchivePipeline


def arm(refused: Path, times: int) -> None:
    """Have so many calls of `fsync` fail after the first commit, and no pause last."""
    fsync, commit = os.fsync, ArchivePipeline._commit
    is_full, left = False, times

    def commit_and_fill(pipeline, battles):
        nonlocal is_full
        done = commit(pipeline, battles)
        is_full = True
        return done

    def refuse_or_sync(file) -> None:
        nonlocal left
        if is_full and left:
            left -= 1
            with refused.open("ab") as count:
                count.write(b".")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(file)

    async def pause(_pipeline, _seconds) -> None:
        await asyncio.sleep(0.01)

    os.fsync = refuse_or_sync
    ArchivePipeline._commit = commit_and_fill
    ArchivePipeline._pause = pause


if __name__ == "__main__":
    arm(Path(sys.argv[1]), int(sys.argv[2]))
    execute(["scrapy", *sys.argv[3:]])
