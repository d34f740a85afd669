"""Recorded battles, an archive to put them into, and commands to get them out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scrapy.cmdline import execute
from scrapy.settings import Settings

from battles.corpus import Corpus
from battles.index import BattleIndex, Entry
from battles.parsers.replay import parse_replay
from battles.records import encode
from battles.spools import spool_folder
from extensions.spool import Spool
from extensions.storage import FolderStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from redis import Redis

    from battles.items import Battle
    from extensions.segments import Location

ROOT = Path(__file__).parents[2]
FETCHED_AT = 1_800_000_000
_EVERY = 17
"""Of the recorded battles, so many make a test quick and still hold every format."""


@pytest.fixture(scope="session")
def battles(recorded) -> list[Battle]:
    """Some battles of every format, as the archive keeps them."""
    parsed = [
        parse_replay(
            replay.json(),
            asked=replay.id,
            url=f"https://example.com/{replay.id}.json",
            fetched_at=FETCHED_AT,
        )
        for replay in recorded[::_EVERY]
    ]
    return [replace(battle, asked="", has_chat=False) for battle in parsed]


@dataclass
class Archive:
    """Everything that holds battles, below one folder."""

    folder: Path
    redis: Redis
    clock: object
    redis_url: str

    def __post_init__(self) -> None:
        self.index = BattleIndex(self.redis)
        self.storage = FolderStorage(self.folder / "data")
        self.spools = spool_folder(Settings(self.places))
        self.corpus = Corpus(self.index, self.storage, self.spools)
        self._built: list[Spool] = []

    @property
    def places(self) -> dict[str, str]:
        """The settings that name it."""
        return {
            "REDIS_URL": self.redis_url,
            "ARCHIVE_URL": str(self.folder / "data"),
            "SPOOL_DIR": str(self.folder / "spool"),
        }

    def spool(self, records: int = 50) -> Spool:
        built = Spool(
            self.spools, self.storage, worker="test", segment_records=records, clock=self.clock
        )
        self._built.append(built)
        return built

    def close(self) -> None:
        """Store what is left."""
        for spool in self._built:
            spool.seal()
            spool.store()

    def keep(self, battles: Sequence[Battle], frame: int = 8, records: int = 50) -> list[Location]:
        """Store and index battles, and return where they lie."""
        spool = self.spool(records)
        locations = commit(spool, battles, frame)
        spool.seal()
        spool.store()
        self.tell(battles, locations)
        return locations

    def tell(self, battles: Sequence[Battle], locations: Sequence[Location]) -> None:
        """Put battles into the index."""
        self.index.add([Entry.of(*pair) for pair in zip(battles, locations, strict=True)])

    def segment(self, location: Location) -> Path:
        """Return the file of a stored segment."""
        return self.folder / "data" / location.segment


def commit(spool: Spool, battles: Sequence[Battle], frame: int = 8) -> list[Location]:
    """Commit battles in frames of so many."""
    return [
        location
        for first in range(0, len(battles), frame)
        for location in spool.commit([encode(battle) for battle in battles[first : first + frame]])
    ]


@pytest.fixture
def archive(tmp_path, redis, clock, redis_url) -> Iterator[Archive]:
    built = Archive(tmp_path, redis, clock, redis_url)
    yield built
    built.close()


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    status: int
    output: str
    errors: str

    @property
    def lines(self) -> list[str]:
        return self.output.splitlines()

    @property
    def complaint(self) -> str:
        """The one line of errors, without the program's name before it."""
        assert self.errors.endswith("\n")
        assert self.errors.count("\n") == 1, self.errors
        return self.errors.rpartition("error: ")[2].rstrip("\n")


@pytest.fixture
def places(archive) -> dict[str, str]:
    """The settings that name the test's archive."""
    return archive.places


@pytest.fixture
def _project(monkeypatch) -> None:
    """Have Scrapy find the project, and forget it afterwards."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SCRAPY_SETTINGS_MODULE", "battles.settings")


@pytest.fixture
def scrapy(_project, places, monkeypatch, capsys) -> Callable[..., Outcome]:
    """Run a command of Scrapy in this process."""
    monkeypatch.setattr("redis.retry.sleep", lambda _seconds: None)

    def run(*arguments: str, **settings: str) -> Outcome:
        given = {**places, **settings}
        options = [word for pair in given.items() for word in ("-s", "=".join(pair))]
        with pytest.raises(SystemExit) as ended:
            execute(["scrapy", *arguments, *options])
        output, errors = capsys.readouterr()
        return Outcome(ended.value.code, output, errors)

    return run
