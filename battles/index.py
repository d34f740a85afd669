"""Say where each battle lies; answer by format, time, rating and player."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

from redis.cluster import RedisCluster

from battles.keys import IndexKeys
from battles.parsers.names import to_id
from extensions.connection import check, connect
from extensions.earlier import rename
from extensions.scripts import Script
from extensions.segments import Location
from extensions.versions import NewerVersionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from redis import Redis
    from redis.client import Pipeline
    from scrapy.settings import BaseSettings

    from battles.items import Battle

_T = TypeVar("_T")

_LOCKED = 60.0
"""Seconds after which one that died while it took over is no longer waited for."""
INDEX_VERSION = 2
"""Of the index's keys and rows; whoever meets a later one leaves them alone."""

_ROW = struct.Struct(">IIIHIIh")
_ROW_REST = struct.Struct(">IIHIIh")
"""A row without its segment number, which the script knows."""
_MONTH_ENTRY = struct.Struct(">8sIh")
_PLAYER_ENTRY = struct.Struct(">4s8s")
_TIME = struct.Struct(">I")
_PLAYER_BYTES = 4
_LENGTH_BYTES = 4
_UNRATED = -1
_UNFINISHED = 0
"""When a copy without an end was fetched: before any that has one, whenever that was."""
_HIGHEST_RATING = 32767
_PATIENCE = 120.0
"""Seconds that a crawl waits for a Redis that is away, before battles are fetched again."""
_AT_ONCE = 500
"""Rows asked for in one round trip."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index is told of one battle."""

    id: str
    formatid: str
    players: tuple[str, ...]
    rating: int | None
    time: int
    """When it was uploaded, or else when it began; seconds since the epoch."""
    fetched_at: int
    """Seconds since the epoch; the later copy of a battle is the visible one."""
    location: Location

    @classmethod
    def of(cls, battle: Battle, location: Location) -> Entry:
        """Build the entry of a stored battle."""
        return cls(
            id=battle.id,
            formatid=battle.formatid,
            players=tuple(
                name for player in battle.players for name in (player.name, *player.other_names)
            ),
            rating=battle.rating,
            time=battle.uploaded or battle.started or battle.fetched_at,
            fetched_at=battle.fetched_at if battle.ended else _UNFINISHED,
            location=location,
        )


@dataclass(frozen=True, slots=True)
class Row:
    """What the index knows of one battle."""

    id: str
    time: int
    """Seconds since the epoch."""
    rating: int | None
    fetched_at: int
    """Seconds since the epoch."""
    location: Location


@dataclass(frozen=True, slots=True)
class Query:
    """What a search asks for; the default asks for everything."""

    formatid: str | None = None
    player: str | None = None
    min_rating: int | None = None
    since: int | None = None
    """Seconds since the epoch, inclusive."""
    until: int | None = None
    """Seconds since the epoch, exclusive."""

    def takes(self, time: int, rating: int | None) -> bool:
        """Tell whether a battle of this time and rating is asked for."""
        return (
            (self.since is None or time >= self.since)
            and (self.until is None or time < self.until)
            and (self.min_rating is None or (rating is not None and rating >= self.min_rating))
        )

    def takes_month(self, month: str) -> bool:
        """Tell whether any time of the month (`YYYYMM`) can be asked for."""
        return (self.since is None or month >= _month(self.since)) and (
            self.until is None or month <= _month(self.until)
        )


class BattleIndex:
    """The index of one archive, in Redis; `battles.keys` describes its layout.

    Settings:
        INDEX_NAMESPACE (battles): prefix of the index's keys in Redis.
    """

    def __init__(
        self, redis: Redis, namespace: str = "battles", *, keys: IndexKeys | None = None
    ) -> None:
        self.redis = redis
        self.keys = keys or IndexKeys(namespace)
        self._add = Script(redis, "battles", "index_add")
        self._look_up = Script(redis, "battles", "index_rows")
        self._withdraw = Script(redis, "battles", "index_withdraw")
        self._forget = Script(redis, "battles", "index_forget")

    @classmethod
    def from_settings(cls, settings: BaseSettings) -> BattleIndex:
        return cls(
            connect(settings, patience=_PATIENCE), settings.get("INDEX_NAMESPACE", "battles")
        )

    def check(self) -> None:
        """Make sure that Redis answers, and that this program knows the index's version.

        Raises:
            UnreachableError: it does not answer.
            NewerVersionError: the index is of a later version.

        """
        check(self.redis)
        version = int(self.redis.get(self.keys.version) or INDEX_VERSION)
        if version > INDEX_VERSION:
            raise NewerVersionError(f"the index {self.keys.namespace}", version, INDEX_VERSION)
        if not self.redis.exists(self.keys.version) and self._is_earlier():
            # Until somebody takes it over, it is read under the names that it has.
            self.keys = self._earlier_keys

    def claim(self) -> None:
        """Say of which version the index is, unless somebody has.

        Raises:
            UnreachableError: as `check` says.
            NewerVersionError: as `check` says.

        """
        self.check()
        self.keys = IndexKeys(self.keys.namespace)
        self._take_over()
        self.redis.set(self.keys.version, INDEX_VERSION, nx=True)
        if not isinstance(self.redis, RedisCluster):
            # Workers of earlier versions, which know it by another name, leave it alone.
            self.redis.set(self._earlier_keys.version, INDEX_VERSION)

    @property
    def _earlier_keys(self) -> IndexKeys:
        return IndexKeys(self.keys.namespace, is_tagged=False)

    def _is_earlier(self) -> bool:
        if isinstance(self.redis, RedisCluster):
            # No earlier version ran on one.
            return False
        old = self._earlier_keys
        # At first it did not say of which version it was.
        version = int(self.redis.get(old.version) or 1)
        return version < INDEX_VERSION and bool(self.redis.exists(old.count))

    def _take_over(self) -> None:
        """Take over an index of an earlier version, whose keys had other names.

        After the queue: what is done there by an earlier worker is in the index by then.
        """
        if not self._is_earlier():
            return
        with self.redis.lock(self.keys.taking_over, timeout=_LOCKED, raise_on_release_error=False):
            if self._is_earlier():
                self._rename_all()

    def _rename_all(self) -> None:
        old = self._earlier_keys
        named = list(zip(old.fixed, self.keys.fixed, strict=True))
        named.append((old.withdrawn, self.keys.withdrawn))

        def pairs(names: set[str]) -> list[tuple[str, str]]:
            months = map(_format_and_month, names)
            return [*named, *((old.month(*month), self.keys.month(*month)) for month in months)]

        # Workers of earlier versions that start from now on leave it alone.
        rename(
            self.redis, old.months, pairs, lambda pipeline: pipeline.set(old.version, INDEX_VERSION)
        )

    def __len__(self) -> int:
        return int(self.redis.get(self.keys.count) or 0)

    def add(self, entries: Sequence[Entry]) -> list[int]:
        """Put battles into the index; safe to repeat.

        Returns:
            For each entry 1 when it is new, 2 when it replaced an earlier copy, 0 when it is itself
            the earlier copy.

        """
        return self._run(_arguments(entry) for entry in entries)

    def repeat(self, additions: Iterable[bytes]) -> None:
        """Put in what was added to another index, as its list of additions has it."""
        self._run(map(_read_addition, additions))

    def months(self) -> list[tuple[str, str]]:
        """Return each format and month (`YYYYMM`) of which there are battles."""
        return [_format_and_month(name) for name in _texts(self.redis.smembers(self.keys.months))]

    def formats(self) -> set[str]:
        """Return the formats of which there are battles."""
        return {formatid for formatid, _ in self.months()}

    def find(self, ids: Iterable[str]) -> dict[str, Row]:
        """Look battles up by id; unknown ones are left out."""
        marks = [fingerprint(id) for id in ids]
        return {row.id: row for chunk in _chunks(marks) for row in self._rows(chunk).values()}

    def known(self, ids: Iterable[str]) -> set[str]:
        """Return those of the ids that the index holds with their end."""
        ids = list(ids)
        with self.redis.pipeline(transaction=False) as pipeline:
            for mark in map(fingerprint, ids):
                pipeline.hget(self.keys.rows(mark), cast("str", mark))
            rows = zip(ids, pipeline.execute(), strict=True)
            return {id for id, row in rows if row and _is_finished(row)}

    def is_whole(self) -> bool:
        """Tell whether there are as many rows as battles were counted: no key of it was lost."""
        with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.get(self.keys.count)
            for bucket in self.keys.all_rows:
                pipeline.hlen(bucket)
            count, *sizes = pipeline.execute()
        return int(count or 0) == sum(map(int, sizes))

    def lacks(self, segments: Iterable[str]) -> Iterator[str]:
        """Yield the segments of which it knows no battle."""
        for chunk in _chunks(segments):
            numbers = cast("list[bytes | None]", self.redis.hmget(self.keys.segments, chunk))
            yield from (name for name, number in zip(chunk, numbers, strict=True) if not number)

    def times(self, query: Query) -> list[tuple[int, bytes]]:
        """Return times and fingerprints of what fits, the oldest first; some may be out of date."""
        if query.player:
            return sorted((row.time, fingerprint(row.id)) for row in self._of_player(query))
        entries = (
            self._month_entries(month, [formatid], query)
            for formatid, month in self.months()
            if query.formatid in (None, formatid) and query.takes_month(month)
        )
        return sorted({entry for found in entries for entry in found})

    def rows_of(self, marks: Sequence[bytes]) -> list[Row]:
        """Return the rows of battles by their fingerprints; unknown ones are left out."""
        return [row for chunk in _chunks(marks) for row in self._rows(chunk).values()]

    def withdraw(self, withdrawn: Mapping[str, int]) -> None:
        """Take battles out that were withdrawn, by id with the time; earlier copies stay out."""
        for chunk in _chunks(withdrawn.items()):
            # An index that is built beside this one may hold them by now.
            for keys in (self.keys, self.keys.beside):
                calls = []
                for battle_id, at in chunk:
                    mark = fingerprint(battle_id)
                    named = [keys.withdrawn, keys.count, keys.rows(mark)]
                    calls.append((named, [mark, _TIME.pack(at)]))
                self._withdraw.run_each(calls)

    def withdrawn(self, ids: Iterable[str]) -> set[str]:
        """Return those of the ids that were withdrawn."""
        ids = list(ids)
        if not ids:
            return set()
        times = self.redis.hmget(self.keys.withdrawn, [fingerprint(id) for id in ids])
        return {id for id, time in zip(ids, cast("list[Any]", times), strict=True) if time}

    def withdrawals(self) -> int:
        """Return how many battles it knows to be withdrawn."""
        return int(self.redis.hlen(self.keys.withdrawn))

    def rows(self) -> Iterator[Row]:
        """Yield every row, in no order."""
        for buckets in _chunks(self.keys.all_rows):
            with self.redis.pipeline(transaction=False) as pipeline:
                for bucket in buckets:
                    pipeline.hkeys(bucket)
                marks = [mark for found in pipeline.execute() for mark in found]
            for chunk in _chunks(marks):
                yield from self._rows(chunk).values()

    def forget(self, rows: Sequence[Row]) -> list[bool]:
        """Take battles out, and say of each whether it was still where its row says."""
        calls = []
        for row in rows:
            mark, at = fingerprint(row.id), row.location
            keys = [self.keys.segment_names, self.keys.count, self.keys.rows(mark)]
            calls.append((keys, [mark, at.segment, at.offset, at.line]))
        return [outcome == 1 for outcome in self._forget.run_each(calls)]

    def search(self, query: Query) -> Iterator[Row]:
        """Yield what fits, newest first, each battle once.

        For a player this yields another player's battles now and then (fingerprints of 4 bytes),
        and it heeds no format: the caller, who reads the battles, can tell.
        """
        return self._of_player(query) if query.player else self._of_months(query)

    def clear(self) -> None:
        """Throw the index away, in one step: whoever adds meanwhile begins a new one."""

        def drop(pipeline: Pipeline) -> None:
            names = _texts(pipeline.smembers(self.keys.months))
            months = [self.keys.month(*_format_and_month(name)) for name in names]
            pipeline.multi()
            pipeline.unlink(*self.keys.fixed, *months)

        self.redis.transaction(drop, self.keys.months)

    def _run(self, calls: Iterable[list[bytes]]) -> list[int]:
        outcomes = self._add.run_each([(self._keys_of(call), call) for call in calls])
        return [int(outcome) for outcome in outcomes]

    def _keys_of(self, arguments: list[bytes]) -> list[str]:
        keys, (mark, _, _, name, _, *players) = self.keys, arguments
        return [
            *(keys.segments, keys.segment_names, keys.months, keys.count, keys.additions),
            keys.withdrawn,
            keys.rows(mark),
            keys.month(*_format_and_month(name.decode())),
            *(keys.players(player[:_PLAYER_BYTES]) for player in players),
        ]

    def _of_months(self, query: Query) -> Iterator[Row]:
        wanted = [
            (month, formatid)
            for formatid, month in self.months()
            if query.formatid in (None, formatid) and query.takes_month(month)
        ]
        for month in sorted({month for month, _ in wanted}, reverse=True):
            formats = [formatid for other, formatid in wanted if other == month]
            entries = sorted(set(self._month_entries(month, formats, query)), reverse=True)
            for chunk in _chunks(entries):
                rows = self._rows([mark for _, mark in chunk])
                for time, mark in chunk:
                    row = rows.get(mark)
                    # A battle whose time changed has an entry for each, and its row knows which.
                    if row and row.time == time and query.takes(row.time, row.rating):
                        yield row

    def _month_entries(
        self, month: str, formats: list[str], query: Query
    ) -> Iterator[tuple[int, bytes]]:
        for formatid in formats:
            data = self._string(self.keys.month(formatid, month))
            for mark, time, rating in _MONTH_ENTRY.iter_unpack(data):
                if query.takes(time, None if rating == _UNRATED else rating):
                    yield time, mark

    def _of_player(self, query: Query) -> Iterator[Row]:
        player = _player_fingerprint(query.player or "")
        data = self._string(self.keys.players(player))
        marks = {mark for owner, mark in _PLAYER_ENTRY.iter_unpack(data) if owner == player}
        rows = [row for chunk in _chunks(marks) for row in self._rows(chunk).values()]
        rows.sort(key=lambda row: row.time, reverse=True)
        return (row for row in rows if query.takes(row.time, row.rating))

    def _string(self, key: str) -> bytes:
        return cast("bytes | None", self.redis.get(key)) or b""

    def _rows(self, marks: Sequence[bytes]) -> dict[bytes, Row]:
        """Return the rows there are, by fingerprint; one whose segment has no name is none."""
        keys = [self.keys.segment_names, *map(self.keys.rows, marks)]
        found = zip(marks, self._look_up(keys, marks), strict=True)
        return {mark: _read_row(reply[0], reply[1].decode()) for mark, reply in found if reply}


def as_kept(rating: int | None) -> int | None:
    """Return a rating as rows hold it."""
    return None if rating is None else min(rating, _HIGHEST_RATING)


def fingerprint(battle_id: str) -> bytes:
    """Name a battle in 8 bytes; among a million, two share one with a chance of 1 in 37 million."""
    return blake2b(battle_id.encode(), digest_size=8).digest()


def _arguments(entry: Entry) -> list[bytes]:
    """Build the arguments of `index_add.lua`, which tell also the keys that it needs."""
    mark, month, place = fingerprint(entry.id), _month(entry.time), entry.location
    rating = _UNRATED if entry.rating is None else as_kept(entry.rating)
    rest = _ROW_REST.pack(
        place.offset, place.length, place.line, entry.fetched_at, entry.time, rating
    )
    players = {_player_fingerprint(name) for name in entry.players}
    return [
        mark,
        place.segment.encode(),
        rest + entry.id.encode(),
        f"{entry.formatid}:{month}".encode(),
        _MONTH_ENTRY.pack(mark, entry.time, rating),
        *(_PLAYER_ENTRY.pack(player, mark) for player in players),
    ]


def _read_addition(data: bytes) -> list[bytes]:
    """Take the arguments apart again; before each stands its length."""
    arguments, at = [], 0
    while at < len(data):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(data[at:start])
        arguments.append(data[start:at])
    return arguments


def _player_fingerprint(name: str) -> bytes:
    return blake2b((to_id(name) or name).encode(), digest_size=4).digest()


def _month(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y%m")


def _is_finished(row: bytes) -> bool:
    fetched_at: int = _ROW.unpack_from(row)[4]
    return fetched_at != _UNFINISHED


def _read_row(data: bytes, segment: str) -> Row:
    _, offset, length, line, fetched_at, time, rating = _ROW.unpack_from(data)
    return Row(
        id=data[_ROW.size :].decode(),
        time=time,
        rating=None if rating == _UNRATED else rating,
        fetched_at=fetched_at,
        location=Location(segment, offset, length, line),
    )


def _format_and_month(name: str) -> tuple[str, str]:
    formatid, _, month = name.rpartition(":")
    return formatid, month


def _texts(reply: Any) -> list[str]:  # noqa: ANN401 -- redis-py's types say less than Redis does
    return [text.decode() for text in reply]


def _chunks(values: Iterable[_T]) -> Iterator[list[_T]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, _AT_ONCE)):
        yield chunk
