"""Real processes: the sandbox site, workers that share a Redis, and what they leave behind."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests
from redis import Redis
from redis.exceptions import RedisError
from scrapy.settings import Settings

from battles.corpus import Corpus
from battles.index import BattleIndex, Query
from battles.spools import spool_folder
from extensions.embedded import EmbeddedRedis
from extensions.queue import RequestQueue, Status
from extensions.storage import FolderStorage
from sandbox.site import Plan, ReplaySite

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0
"""Seconds until a process that should end is given up on."""
FAST = {
    "THROTTLE_RATE": "0",
    "CIRCUIT_BREAKER_ERRORS": "0",
    "AUTOTHROTTLE_ENABLED": "0",
    "RETRY_BACKOFF": "0.2",
    "QUEUE_LEASE": "2",
    "SEGMENT_COMMIT_DELAY": "0.1",
}
"""The site is ours, and a test has no time to be polite."""


@dataclass
class Site:
    """A running sandbox site."""

    address: str
    log: Path
    process: subprocess.Popen
    command: list[str]

    def stop(self) -> None:
        """Have the site refuse connections."""
        with self.process:
            self.process.terminate()

    def start_again(self, *options: str) -> None:
        """Have the site come back where it was."""
        port = self.address.rpartition(":")[2]
        command = [*self.command, "--port", port, *options]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()

    def change(self, **misbehaviour) -> None:
        reply = requests.put(f"{self.address}/_sandbox/misbehave", json=misbehaviour, timeout=10)
        assert reply.status_code == 200, reply.text

    def save(self, battle_id: str, **changes) -> None:
        """Have a replay saved again with another rating or privacy; it keeps its upload time."""
        address = f"{self.address}/_sandbox/replay/{battle_id}"
        reply = requests.put(address, json=changes, timeout=10)
        assert reply.status_code == 200, reply.text

    def delete(self, battle_id: str) -> None:
        reply = requests.delete(f"{self.address}/_sandbox/replay/{battle_id}", timeout=10)
        assert reply.status_code == 200, reply.text

    def requests(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def fetched(self) -> list[str]:
        """Ids of the battles served whole, in order, with repeats."""
        paths = [entry["path"] for entry in self.requests() if entry["status"] == 200]
        names = [path[1:] for path in paths if path.endswith(".json")]
        return [name.removesuffix(".json") for name in names if name != "search.json"]


@contextmanager
def running_site(folder: Path, *options: str):
    """Run the sandbox site in a process of its own."""
    log = folder / "site.log"
    command = [sys.executable, "-m", "sandbox", "--log", str(log), *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    site = Site(process.stdout.readline().split()[0], log, process, command)
    try:
        yield site
    finally:
        site.stop()


@dataclass
class Fleet:
    """Workers that share a Redis and an archive."""

    folder: Path
    site: Site
    redis: EmbeddedRedis
    settings: dict[str, str] = field(default_factory=dict)
    spider: str = "replays"
    places: dict[str, str] = field(default_factory=dict)
    """Environment variables that say where things are, beside the usual."""
    workers: list[subprocess.Popen] = field(default_factory=list)
    has_own_spools: bool = False
    """Whether each worker has a spool of its own, as on a machine of its own."""

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "REDIS_URL": self.redis.start(),
            "ARCHIVE_URL": str(self.folder / "data"),
            "SHOWDOWN_REPLAY_URL": self.site.address,
            "SCRAPY_SETTINGS_MODULE": "battles.settings",
            "PYTHONPATH": "",
            **self.places,
        }

    def command(self, *words: str) -> list[str]:
        settings = {**FAST, "SPOOL_DIR": str(self.folder / "spool"), **self.settings}
        options = [part for name, value in settings.items() for part in ("-s", f"{name}={value}")]
        return [sys.executable, "-m", "scrapy", *words, *options]

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start one more worker."""
        words = [part for argument in arguments for part in ("-a", argument)]
        spool = self.folder / f"spool-{len(self.workers)}"
        own = ["-s", f"SPOOL_DIR={spool}"] if self.has_own_spools else []
        command = self.command("crawl", self.spider, *words, "-L", "INFO")
        worker = self.start_command([*command, *own])
        worker.spool = spool
        return worker

    def start_command(self, command: list[str], folder: Path = ROOT) -> subprocess.Popen:
        """Start one more process; its log goes to a file of its own."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        with log.open("wb") as file:
            worker = subprocess.Popen(
                command, cwd=folder, env=self.environment(), stdout=file, stderr=file
            )
        worker.log = log
        self.workers.append(worker)
        return worker

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess:
        """Run one command to its end."""
        return subprocess.run(
            self.command(*words),
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=check,
            timeout=PATIENCE,
        )

    def crawl(self, *arguments: str) -> str:
        """Run one worker to its end, and return its log."""
        worker = self.start(*arguments)
        assert worker.wait(PATIENCE) == 0, tail(worker)
        return worker.log.read_text()

    def wait(self) -> None:
        """Wait until every living worker has ended well."""
        for worker in self.workers:
            if worker.poll() != -signal.SIGKILL:
                assert worker.wait(PATIENCE) == 0, tail(worker)

    def status(self) -> Status:
        return self.queue().status()

    def queue(self) -> RequestQueue:
        queue = RequestQueue(self.client(), f"{self.spider}:queue", worker="test")
        queue.open()
        return queue

    def corpus(self) -> Corpus:
        storage = FolderStorage(self.folder / "data")
        places = {**self.environment(), "SPOOL_DIR": str(self.folder / "spool")}
        spool = spool_folder(Settings({**places, **self.settings}))
        return Corpus(BattleIndex(self.client()), storage, spool)

    def stored(self) -> list[str]:
        """Read every battle back and return the ids; they must be the ones that a search finds."""
        read = sorted(battle.id for battle in self.corpus().everything(Query()))
        found = sorted(battle.id for battle in self.corpus().search(Query()))
        assert read == found
        return read

    def exported(self) -> list[str]:
        """Export everything and return the ids, with repeats if there are any."""
        target = self.folder / f"export-{time.monotonic_ns()}.jsonl"
        self.run("export", "--to", str(target), check=False)  # status 1 says that there is none
        return [json.loads(line)["id"] for line in target.read_text().splitlines()]

    def searched(self) -> list[str]:
        reply = self.run("search", "--json", "--limit", "1000000")
        return [json.loads(line)["id"] for line in reply.stdout.splitlines()]

    def spooled(self, which: str = "*.open") -> list[Path]:
        """Files in the spool; segments that are still being written, unless told otherwise."""
        return list((self.folder / "spool").glob(f"*/{which}"))

    def kill(self, worker: subprocess.Popen) -> None:
        """Kill a worker without warning."""
        worker.kill()
        worker.wait()

    def vanish(self, worker: subprocess.Popen) -> None:
        """Have a worker's machine go away, and its disk with it."""
        self.kill(worker)
        shutil.rmtree(worker.spool, ignore_errors=True)

    def alive(self) -> list[subprocess.Popen]:
        return [worker for worker in self.workers if worker.poll() is None]

    def kill_redis(self) -> None:
        """Kill the server without warning, and start it again over its data."""
        self.redis._server.kill()
        self.redis._server.wait()
        self.redis.start()

    def empty_redis(self) -> None:
        """Kill the server, and start it again without its data."""
        self.redis._server.kill()
        self.redis._server.wait()
        for path in (self.folder / "redis").iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.suffix in (".rdb", ".aof"):
                path.unlink()
        self.redis.start()

    def client(self) -> Redis:
        return Redis.from_url(self.redis.start())

    def stop(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
        self.redis.release()


def tail(worker: subprocess.Popen) -> str:
    """The end of a worker's log, for a test that failed."""
    return f"exit status {worker.poll()}\n" + worker.log.read_text()[-4000:]


def public_ids(*, battles: int | None = None, private_every: int = 0) -> set[str]:
    """The ids that a site started with these options offers."""
    return ReplaySite.recorded(Plan(battles=battles, private_every=private_every)).public_ids


def seeded(capsys) -> random.Random:
    """Draw a seed, print it, and return what it seeds; `SEED` in the environment repeats a run."""
    seed = int(os.environ.get("SEED", random.SystemRandom().randrange(10**6)))
    tell(capsys, f"SEED={seed}")
    return random.Random(seed)


def tell(capsys, text: str) -> None:
    """Print something that is to be read also when the test passes."""
    with capsys.disabled():
        # Standard output is not what it seems in a process of pytest-xdist's.
        print(f"\n{text}", file=sys.stderr)


@dataclass(frozen=True)
class Blows:
    """What a fleet has to bear."""

    kills: int
    kill: Callable[[subprocess.Popen], None]
    """How a worker dies."""
    at_once: dict[int, Callable] = field(default_factory=dict)
    """What else happens with some of the kills, by their number."""


def strike(
    fleet: Fleet, chance: random.Random, blows: Blows, starts: list[Callable]
) -> list[int | None]:
    """Kill workers one after the other and start others; return the ledger's faults meanwhile."""
    imbalances = []
    for start in starts:
        start()
    while not all("Spider opened" in worker.log.read_text() for worker in fleet.workers):
        time.sleep(0.05)
    for number in range(blows.kills):
        until = time.monotonic() + chance.uniform(0.6, 1.8)
        while time.monotonic() < until:
            imbalances.append(_imbalance(fleet))
            time.sleep(0.05)
        blows.kill(chance.choice(fleet.alive()))
        blows.at_once.get(number, int)()
        chance.choice(starts)()
    fleet.wait()
    return imbalances


def _imbalance(fleet: Fleet) -> int | None:
    try:
        return fleet.status().imbalance()
    except RedisError:
        return None


def is_complete(fleet: Fleet, battles: int, imbalances: list[int | None]) -> None:
    """Make sure that every battle is there once, and that nothing is left to do."""
    status, exported = fleet.status(), fleet.exported()
    assert sorted(exported) == sorted(public_ids(battles=battles))
    assert sorted(fleet.searched()) == sorted(exported)
    assert (status.left, status.dead_letters, status.total("leased")) == (0, 0, 0)
    assert set(imbalances) <= {0, None}
    assert status.imbalance() == 0
