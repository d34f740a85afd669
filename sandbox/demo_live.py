"""Have bots play on a real battle server, archive what they play, and show what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.battle_server import BattleServer, BattleServerError
from sandbox.demo import running_site, say
from sandbox.tied import tied

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER = Path("demo-live")
_NOBODY = "http://127.0.0.1:9"
_NO_SERVER = "ws://127.0.0.1:9"
"""What is not needed here."""
_LISTED = 6.0
"""Seconds; a shorter battle may begin and end between two looks at the list."""
_PLAYERS = ("--pairs", "12", "--seconds", "45", "--think", "0.3")
_DEEDS = ("--forfeit", "0.1", "--abandon", "0.05", "--hide", "0.1")
_SETTINGS = {
    "THROTTLE_RATE": "0",
    "ROOMS_INTERVAL": "2",
    "ROOMS_SETTLE": "3",
    "ROOMS_AGAIN": "5",
    "ROOMS_GIVE_UP": "80",
}
"""The server is our own, and a demonstration has no hour to wait for who has left."""


def main() -> int:
    """Run the demo and return its exit status."""
    _FOLDER.mkdir(exist_ok=True)
    server = BattleServer()
    try:
        address = server.start()
    except BattleServerError as error:
        say(str(error))
        return 1
    try:
        say(f"The battle server at {address} is open; twelve pairs of bots begin to play.")
        with running_site("--battles", "1") as (site, _), _players(address) as report:
            began = time.monotonic()
            status = _crawl(address, site)
            seconds = time.monotonic() - began
    finally:
        server.stop()
    return status or _compare(report, seconds)


def _crawl(address: str, site: str) -> int:
    command = _scrapy("crawl", "rooms", "-a", "minutes=1")
    pipe, environment = subprocess.PIPE, _environment(address, site)
    return subprocess.call(command, cwd=_FOLDER, env=environment, stdin=pipe)  # noqa: S603 -- our own


def _compare(report: Path, seconds: float) -> int:
    """Hold what the bots saw against what the archive holds."""
    played = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    held = {battle["id"]: battle for battle in _held()}
    outcomes = Counter(battle["outcome"] for battle in played)
    say(f"\nThe bots played {len(played)}: " + ", ".join(f"{n} {o}" for o, n in outcomes.items()))
    public = [battle for battle in played if battle["outcome"] in ("won", "tie", "forfeit")]
    seen = [one for one in public if one["ended"] - one["started"] > _LISTED]
    whole = [battle for battle in seen if _agrees(battle, held.get(_id(battle)))]
    say(
        f"{len(whole)} of the {len(seen)} public ones that ended, and lasted longer than "
        f"{_LISTED:.0f} s, are archived; {seconds:.0f} s."
    )
    leaked = [one for one in played if one["outcome"] == "hidden" and _id(one) in held]
    say(f"{outcomes['hidden']} were hidden by a player: {len(leaked)} of them are archived.")
    say(f"They lie in {_FOLDER}/data/raw. Now try:\n\n  cd {_FOLDER}")
    if whole:
        say(f"  ../.venv/bin/scrapy battle {_id(whole[0])} --log")
    return 0 if whole and len(whole) == len(seen) and not leaked else 1


def _id(battle: dict[str, Any]) -> str:
    name: str = battle["id"]
    return name.removeprefix("battle-")


def _agrees(seen: dict[str, Any], held: dict[str, Any] | None) -> bool:
    facts = ("winner", "turns")
    return held is not None and all(held[fact] == seen[fact] for fact in facts)


@contextmanager
def _players(address: str) -> Iterator[Path]:
    """Run the bots in a process of their own, and wait until the last has played to the end."""
    report = _FOLDER / f"played-{int(time.time())}.jsonl"
    command = tied("sandbox.players", address, *_PLAYERS, *_DEEDS, "--report", str(report))
    with (
        (_FOLDER / "players.log").open("wb") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log) as players,  # noqa: S603 -- our own
    ):
        try:
            yield report
        finally:
            players.terminate()


def _scrapy(*words: str) -> list[str]:
    settings = [part for pair in _SETTINGS.items() for part in ("-s", "=".join(pair))]
    return tied("scrapy", *words, *settings, "--loglevel", "WARNING")


def _held() -> list[dict[str, Any]]:
    target = Path("battles.jsonl")
    subprocess.check_call(  # noqa: S603 -- our own
        _scrapy("export", "--to", str(target)),
        cwd=_FOLDER,
        env=_environment(_NO_SERVER, _NOBODY),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    lines = (_FOLDER / target).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _environment(address: str, site: str) -> dict[str, str]:
    """Leave out what would send the demo's battles elsewhere."""
    ours = {"REDIS_URL": "", "ARCHIVE_URL": "data", "SHOWDOWN_SERVER_URL": address}
    ours |= {"SHOWDOWN_REPLAY_URL": site, "SHOWDOWN_CLIENT_URL": _NOBODY}
    return {**os.environ, **ours}  # noqa: TID251 -- passed on, not read


if __name__ == "__main__":
    sys.exit(main())
