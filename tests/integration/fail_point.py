"""Run `scrapy` and kill it at a given step: `python -m tests.integration.fail_point STEP N …`.

Dies just before or after the N-th call of one function.
"""

from __future__ import annotations

import os
import signal
import sys

from scrapy.cmdline import execute

from battles.index import BattleIndex
from extensions.queue import RequestQueue
from extensions.spool import Spool
from extensions.storage import FolderStorage

STEPS = {
    "bytes": (Spool, "commit"),
    "index": (BattleIndex, "add"),
    "queue": (RequestQueue, "commit"),
    "lease": (RequestQueue, "lease"),
    "seal": (Spool, "seal"),
    "store": (FolderStorage, "put"),
}
"""What a battle goes through, and the function that does it."""


def arm(step: str, call: int) -> None:
    """Have the process die at the given call: `before-…` or `after-…` it."""
    when, _, name = step.partition("-")
    owner, attribute = STEPS[name]
    original, calls = getattr(owner, attribute), iter(range(call - 1, -1, -1))

    def fatal(self, *arguments, **options):
        is_last = next(calls, None) == 0
        if is_last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(self, *arguments, **options)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, attribute, fatal)


if __name__ == "__main__":
    arm(sys.argv[1], int(sys.argv[2]))
    execute(["scrapy", *sys.argv[3:]])
