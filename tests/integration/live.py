"""Bots on a real battle server, and what they say of their battles."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from tests.integration.fleet import ROOT

LISTED = 6.0
"""Seconds; a shorter battle may begin and end between two looks at the list."""
LOOKS = {
    "ROOMS_INTERVAL": "1.5",
    "ROOMS_SETTLE": "3",
    "ROOMS_AGAIN": "3",
    "ROOMS_GIVE_UP": "100",
    "RETRY_TIMES": "20",
}


class Players:
    """A crowd of bots in a process of its own."""

    def __init__(self, process: subprocess.Popen, report: Path) -> None:
        self.process = process
        self._report = report

    def wait(self) -> None:
        """Wait until the last battle is over."""
        assert self.process.wait(300) == 0

    def played(self) -> dict[str, dict]:
        """What the bots saw of each battle, by its id."""
        lines = map(json.loads, self._report.read_text().splitlines())
        return {battle["id"].removeprefix("battle-"): battle for battle in lines}

    def ended(self, *, since: float, until: float) -> dict[str, dict]:
        """The public battles that ended and began in that time.

        They were long enough to be listed, and not so long that they were given up.
        """
        return {
            id: battle
            for id, battle in self.played().items()
            if battle["outcome"] in ("won", "tie", "forfeit")
            and battle["public"]
            and since <= battle["started"] <= until
            and LISTED < battle["ended"] - battle["started"] < float(LOOKS["ROOMS_GIVE_UP"]) - 5.0
        }


@contextmanager
def playing(address: str, folder: Path, **options: object):
    """Have bots play on a server."""
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    report = folder / f"played-{time.monotonic_ns()}.jsonl"
    command = [sys.executable, "-m", "sandbox.players", address, *words, "--report", str(report)]
    with (folder / "players.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    players = Players(process, report)
    try:
        yield players
    finally:
        process.terminate()
        process.wait()
