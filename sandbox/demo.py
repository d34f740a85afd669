"""Crawl the sandbox site and show what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.tied import tied

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER = Path("demo")
_SITE = ["--ties", "3", "--burst", "120", "--private-every", "40"]
"""What makes the site hard to read: see `python -m sandbox --help`."""
_OUR_OWN_SITE = {"THROTTLE_RATE": "0", "AUTOTHROTTLE_ENABLED": "0"}
"""Politeness is for other people's servers."""


def main() -> int:
    """Run the demo and return its exit status."""
    _FOLDER.mkdir(exist_ok=True)
    with running_site(*_SITE) as (address, offered):
        say(f"The sandbox site at {address} offers {offered} public battles.")
        began = time.monotonic()
        status = subprocess.call(  # noqa: S603 -- our own
            _scrapy("crawl", "replays"),
            cwd=_FOLDER,
            env=_environment(address),
            stdin=subprocess.PIPE,
        )
        seconds = time.monotonic() - began
    if status != 0:
        return status
    held = _held()
    say(f"\n{len(held)} battles in the archive, {offered} on the site; {seconds:.0f} s.")
    say(f"They lie in {_FOLDER}/data/raw, as JSON Lines in zstd. Now try:\n")
    say(f"  cd {_FOLDER}")
    for words in ("search --min-rating 1500", f"battle {held[0]}", "export --to battles.parquet"):
        say(f"  ../.venv/bin/scrapy {words}")
    return 0 if len(set(held)) == len(held) == offered else 1


@contextmanager
def running_site(*options: str) -> Iterator[tuple[str, int]]:
    """Run the site in a process of its own, and stop it; yield its address and what it offers."""
    command, pipe = tied("sandbox", *options), subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as site:  # noqa: S603 -- our own
        try:
            assert site.stdout is not None  # noqa: S101 -- piped above
            address, _, rest = site.stdout.readline().partition(" offers ")
            yield address, int(rest.split()[0])
        finally:
            site.terminate()


def _scrapy(*words: str) -> list[str]:
    settings = [part for pair in _OUR_OWN_SITE.items() for part in ("-s", "=".join(pair))]
    return tied("scrapy", *words, *settings, "--loglevel", "WARNING")


def _held() -> list[str]:
    """Ask the archive itself for the ids it can read back."""
    target = Path("battles.jsonl")
    subprocess.check_call(  # noqa: S603 -- our own
        _scrapy("export", "--to", str(target)),
        cwd=_FOLDER,
        env=_environment(""),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    lines = (_FOLDER / target).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["id"] for line in lines]


def _environment(address: str) -> dict[str, str]:
    """Leave out what would send the demo's battles elsewhere."""
    ours = {"REDIS_URL": "", "ARCHIVE_URL": "data", "SHOWDOWN_REPLAY_URL": address}
    given = {**os.environ, **ours}  # noqa: TID251 -- passed on, not read
    return {name: value for name, value in given.items() if value}


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
