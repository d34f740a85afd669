"""Say where each battle lies; answer by format, time, rating and player."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

from battles.keys import IndexKeys
from battles.parsers.names import to_id
from extensions.connection import check, connect
from extensions.scripts import Script
from extensions.segments import Location

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from redis import Redis
    from redis.client import Pipeline
    from scrapy.settings import BaseSettings

    from battles.items import Battle

_T = TypeVar("_T")

_ROW = struct.Struct(">IIIHIIh")
_ROW_REST = struct.Struct(">IIHIIh")
"""A row without its segment number, which the script knows."""
_MONTH_ENTRY = struct.Struct(">8sIh")
_PLAYER_ENTRY = struct.Struct(">4s8s")
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
            players=tuple(player.name for player in battle.players),
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

    def __init__(self, redis: Redis, namespace: str = "battles") -> None:
        self._redis = redis
        self._keys = IndexKeys(namespace)
        self._add = Script(redis, "battles", "index_add")

    @classmethod
    def from_settings(cls, settings: BaseSettings) -> BattleIndex:
        return cls(
            connect(settings, patience=_PATIENCE), settings.get("INDEX_NAMESPACE", "battles")
        )

    def check(self) -> None:
        """Make sure that Redis answers.

        Raises:
            UnreachableError: it does not.

        """
        check(self._redis)

    def __len__(self) -> int:
        return int(self._redis.get(self._keys.count) or 0)

    def add(self, entries: Sequence[Entry]) -> list[int]:
        """Put battles into the index; safe to repeat.

        Returns:
            For each entry 1 when it is new, 2 when it replaced an earlier copy, 0 when it is itself
            the earlier copy.

        """
        outcomes = self._add.run_each([self._arguments(entry) for entry in entries])
        return [int(outcome) for outcome in outcomes]

    def find(self, ids: Iterable[str]) -> dict[str, Row]:
        """Look battles up by id; unknown ones are left out."""
        marks = [fingerprint(id) for id in ids]
        return {row.id: row for chunk in _chunks(marks) for row in self._rows(chunk).values()}

    def known(self, ids: Iterable[str]) -> set[str]:
        """Return those of the ids that the index holds with their end."""
        ids = list(ids)
        with self._redis.pipeline(transaction=False) as pipeline:
            for mark in map(fingerprint, ids):
                pipeline.hget(self._keys.rows(mark), cast("str", mark))
            rows = zip(ids, pipeline.execute(), strict=True)
            return {id for id, row in rows if row and _is_finished(row)}

    def search(self, query: Query) -> Iterator[Row]:
        """Yield what fits, newest first, each battle once.

        For a player this yields another player's battles now and then (fingerprints of 4 bytes),
        and it heeds no format: the caller, who reads the battles, can tell.
        """
        return self._of_player(query) if query.player else self._of_months(query)

    def clear(self) -> None:
        """Throw the index away, in one step: whoever adds meanwhile begins a new one."""

        def drop(pipeline: Pipeline) -> None:
            names = _texts(pipeline.smembers(self._keys.months))
            months = [self._keys.month(*_format_and_month(name)) for name in names]
            pipeline.multi()
            pipeline.unlink(*self._keys.fixed, *months)

        self._redis.transaction(drop, self._keys.months)

    def _arguments(self, entry: Entry) -> tuple[list[str], list[bytes | str]]:
        keys, mark, month = self._keys, fingerprint(entry.id), _month(entry.time)
        place = entry.location
        rating = _UNRATED if entry.rating is None else min(entry.rating, _HIGHEST_RATING)
        rest = _ROW_REST.pack(
            place.offset, place.length, place.line, entry.fetched_at, entry.time, rating
        )
        players = {_player_fingerprint(name) for name in entry.players}
        fixed = [keys.segments, keys.segment_names, keys.months, keys.count]
        return (
            [
                *fixed,
                keys.rows(mark),
                keys.month(entry.formatid, month),
                *(keys.players(player) for player in players),
            ],
            [
                mark,
                place.segment,
                rest + entry.id.encode(),
                f"{entry.formatid}:{month}",
                _MONTH_ENTRY.pack(mark, entry.time, rating),
                *(_PLAYER_ENTRY.pack(player, mark) for player in players),
            ],
        )

    def _of_months(self, query: Query) -> Iterator[Row]:
        names = _texts(self._redis.smembers(self._keys.months))
        wanted = [
            (month, formatid)
            for formatid, month in map(_format_and_month, names)
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
            data = self._string(self._keys.month(formatid, month))
            for mark, time, rating in _MONTH_ENTRY.iter_unpack(data):
                if query.takes(time, None if rating == _UNRATED else rating):
                    yield time, mark

    def _of_player(self, query: Query) -> Iterator[Row]:
        player = _player_fingerprint(query.player or "")
        data = self._string(self._keys.players(player))
        marks = {mark for owner, mark in _PLAYER_ENTRY.iter_unpack(data) if owner == player}
        rows = [row for chunk in _chunks(marks) for row in self._rows(chunk).values()]
        rows.sort(key=lambda row: row.time, reverse=True)
        return (row for row in rows if query.takes(row.time, row.rating))

    def _string(self, key: str) -> bytes:
        return cast("bytes | None", self._redis.get(key)) or b""

    def _rows(self, marks: Sequence[bytes]) -> dict[bytes, Row]:
        """Return the rows there are, by fingerprint; one whose segment has no name is none."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for mark in marks:
                pipeline.hget(self._keys.rows(mark), cast("str", mark))
            replies = zip(marks, pipeline.execute(), strict=True)
        found = {mark: data for mark, data in replies if data}
        names = self._segment_names({_segment_number(data) for data in found.values()})
        return {
            mark: _read_row(data, names[_segment_number(data)])
            for mark, data in found.items()
            if _segment_number(data) in names
        }

    def _segment_names(self, numbers: set[int]) -> dict[int, str]:
        ordered = sorted(numbers)
        with self._redis.pipeline(transaction=False) as pipeline:
            for number in ordered:
                pipeline.lindex(self._keys.segment_names, number)
            named = zip(ordered, pipeline.execute(), strict=True)
            return {number: name.decode() for number, name in named if name}


def fingerprint(battle_id: str) -> bytes:
    """Name a battle in 8 bytes; among a million, two share one with a chance of 1 in 37 million."""
    return blake2b(battle_id.encode(), digest_size=8).digest()


def _player_fingerprint(name: str) -> bytes:
    return blake2b((to_id(name) or name).encode(), digest_size=4).digest()


def _month(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y%m")


def _segment_number(row: bytes) -> int:
    return int.from_bytes(row[:4])


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
