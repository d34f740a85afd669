"""Run `scrapy` on a disk that is full while a file is there.

`python -m tests.integration.full_disk FILE …`. What is written comes as far as the file, and is
refused when it is to be on the disk. How often that was, is how many bytes the file has. The disk
is tried again at once, so that this is no matter of minutes.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from pathlib import Path

from scrapy.cmdline import execute

from battles.pipelines.archive import ArchivePipeline


def arm(flag: Path) -> None:
    """Have every `fsync` fail while the flag is there, and no pause be longer than a moment."""
    fsync = os.fsync

    def refuse_or_sync(file) -> None:
        if flag.exists():
            with flag.open("ab") as count:
                count.write(b".")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(file)

    async def pause(_pipeline, _seconds) -> None:
        await asyncio.sleep(0.01)

    os.fsync = refuse_or_sync
    ArchivePipeline._pause = pause


if __name__ == "__main__":
    arm(Path(sys.argv[1]))
    execute(["scrapy", *sys.argv[2:]])
