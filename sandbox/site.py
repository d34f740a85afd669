"""The replay site over recorded battles: what a search answers, and a replay.

Behaves as the real one does: upload times in whole seconds, newest first and no order among equals;
51 rows a page; `before` exclusive with a format or a user and inclusive without; `page` and `sort`
only with one of them; `contains` the last hour only; errors with status 200.
"""

from __future__ import annotations

import io
import json
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Any

import zstandard

from sandbox.queries import read_query, to_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sandbox.queries import Query

PAGE_ROWS = 51
PAGE_STEP = 50
PAGE_LAST = 100
CONTAINS_ROWS = 50
_HOUR = 3600
_TERMS_LIMIT = 2
_PRIVATE_CODES = (1, 2, 3, 10)


@dataclass(slots=True)
class Replay:
    """One stored replay."""

    id: str
    format: str
    formatid: str
    players: list[str]
    uploaded: int
    """Seconds since the epoch."""
    rating: int | None
    private: int
    password: str | None
    log: bytes
    """As a JSON string, shared by the copies of a battle."""
    views: int = 0

    def row(self, *, recent: bool) -> dict[str, Any]:
        """Return what a search says of it; the list of all formats says less."""
        row: dict[str, Any] = {
            "uploadtime": self.uploaded,
            "id": self.id,
            "format": self.format,
            "players": self.players,
            "rating": self.rating,
        }
        return row if recent else row | {"private": self.private, "password": self.password}

    def json(self) -> bytes:
        """Return what `/{id}.json` answers."""
        views, self.views = self.views, self.views + 1
        head = {"id": self.id, "format": self.format, "players": self.players}
        tail = {
            "inputlog": None,
            "uploadtime": self.uploaded,
            # The real site sends this one number as a string.
            "views": str(views),
            "formatid": self.formatid,
            "rating": self.rating,
            "private": self.private,
            "password": self.password,
        }
        return b'%s,"log":%s,%s' % (_dump(head)[:-1], self.log, _dump(tail)[1:])


@dataclass(frozen=True, slots=True)
class Plan:
    """How the recorded battles are laid out."""

    battles: int | None = None
    """How many; more than were recorded come under new ids."""
    ties: int = 1
    """How many in a row share one second."""
    burst: int = 0
    """How many in the middle share one second."""
    private_every: int = 0
    """Each so many-th one is private."""


class ReplaySite:
    """The replays, and what a search for them answers."""

    def __init__(self, replays: Iterable[Replay]) -> None:
        self._by_id: dict[str, Replay] = {}
        self._lists: dict[tuple[str, str], list[Replay]] = defaultdict(list)
        """Public replays by what can be searched for, oldest first."""
        for replay in sorted(replays, key=_order):
            self.add(replay)

    @classmethod
    def recorded(cls, plan: Plan = Plan()) -> ReplaySite:
        return cls(_lay_out(plan))

    @property
    def public_ids(self) -> set[str]:
        return {replay.id for replay in self._lists["", ""]}

    def add(self, new: Replay) -> None:
        """Publish a replay; one that is published again keeps its first upload time."""
        if earlier := self._by_id.get(new.id):
            new = replace(new, uploaded=earlier.uploaded)
            for key in _search_keys(earlier):
                self._lists[key] = [row for row in self._lists[key] if row is not earlier]
        self._by_id[new.id] = new
        if new.private == 0:
            for key in _search_keys(new):
                rows = self._lists[key]
                rows.insert(bisect_left(rows, _order(new), key=_order), new)

    def change(self, battle_id: str, **changes: Any) -> bool:  # noqa: ANN401 -- any field's
        """Have a replay be saved again, which keeps its upload time; False when there is none."""
        replay = self._by_id.get(battle_id)
        if replay is not None:
            self.add(replace(replay, **changes))
        return replay is not None

    def delete(self, battle_id: str) -> bool:
        """Have a replay be gone; False when there is none."""
        replay = self._by_id.pop(battle_id, None)
        if replay is not None:
            for key in _search_keys(replay):
                self._lists[key] = [row for row in self._lists[key] if row is not replay]
        return replay is not None

    def replay(self, name: str) -> Replay | None:
        """Find what `/{name}.json` asks for; private ones may need their password."""
        battle_id, _, password = name.removesuffix("pw").rpartition("-")
        replay = self._by_id.get(name)
        if replay is None and name.endswith("pw"):
            replay = self._by_id.get(battle_id)
            return replay if replay and replay.password == password else None
        return replay if replay and replay.password is None else None

    def search(self, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
        """Answer `/search.json`.

        Raises:
            ActionError: the parameters make no sense.
            DatabaseError: the real site would ask its database in vain.

        """
        query = read_query(parameters)
        if query.contains:
            return self._containing(query.contains)
        if query.page > PAGE_LAST:
            return []
        rows = self._listed(query)
        if not query.users and not query.format_id:
            return [row.row(recent=True) for row in rows[:PAGE_ROWS]]
        if query.by_rating:
            rows.sort(key=lambda row: (row.rating is not None, -(row.rating or 0)))
        start = PAGE_STEP * (int(query.page) - 1)
        return [row.row(recent=False) for row in rows[start : start + PAGE_ROWS]]

    def _listed(self, query: Query) -> list[Replay]:
        """Find what fits, newest first."""
        rows = self._lists[_list_key(query.format_id, query.users)][::-1]
        if len(query.users) > 1:
            wanted = set(query.users)
            rows = [row for row in rows if wanted <= {to_id(name) for name in row.players}]
        limit = query.limit()
        if limit is None:
            return rows
        if not query.users and not query.format_id:
            limit += 1
        return [row for row in rows if row.uploaded < limit]

    def _containing(self, contains: str) -> list[dict[str, Any]]:
        """Find words in the logs of the last hour, which ends with the newest replay."""
        terms, rows = contains.split(","), self._lists["", ""][::-1]
        if not rows or len(terms) > _TERMS_LIMIT:
            return []
        recent = (row for row in rows if row.uploaded > rows[0].uploaded - _HOUR)
        found = (row for row in recent if all(term in json.loads(row.log) for term in terms))
        return [row.row(recent=True) for row in islice(found, CONTAINS_ROWS)]


def _order(replay: Replay) -> tuple[int, bytes]:
    """Sort by time; among equals in an order that says nothing, as a database does."""
    return replay.uploaded, blake2b(replay.id.encode(), digest_size=8).digest()


def _search_keys(replay: Replay) -> set[tuple[str, str]]:
    formats = ("", replay.formatid)
    users = ("", *(to_id(name) for name in replay.players))
    return {(format_id, user) for format_id in formats for user in users}


def _list_key(format_id: str, users: list[str]) -> tuple[str, str]:
    return format_id, users[0] if users else ""


def _lay_out(plan: Plan) -> list[Replay]:
    recorded = _recorded()
    count = plan.battles or len(recorded)
    span = recorded[-1]["uploadtime"] - recorded[0]["uploadtime"] + 60
    replays = []
    for n in range(count):
        turn, which = divmod(n, len(recorded))
        replays.append(_replay(recorded[which], turn=turn, later=turn * span))
    for n, replay in enumerate(replays):
        replay.uploaded = replays[n - n % max(plan.ties, 1)].uploaded
        if plan.private_every and n % plan.private_every == plan.private_every - 1:
            replay.private = _PRIVATE_CODES[n // plan.private_every % len(_PRIVATE_CODES)]
            replay.password = "p" * 31 if replay.private == 1 else None
    middle = count // 2
    for replay in replays[middle : middle + plan.burst]:
        replay.uploaded = replays[middle].uploaded
    return replays


def _replay(record: dict[str, Any], *, turn: int, later: int) -> Replay:
    prefix = record["id"].rstrip("0123456789")
    number = int(record["id"].removeprefix(prefix))
    return Replay(
        id=f"{prefix}{number + turn * 10_000_000}",
        format=record["format"],
        formatid=record["formatid"],
        players=record["players"],
        uploaded=record["uploadtime"] + later,
        rating=record["rating"],
        private=0,
        password=None,
        log=record["log"],
    )


@cache
def _recorded() -> list[dict[str, Any]]:
    data = files("sandbox").joinpath("replays.jsonl.zst").read_bytes()
    with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
        records = [json.loads(line) for line in io.TextIOWrapper(reader, encoding="utf-8")]
    return [record | {"log": _dump(record["log"])} for record in records]


def _dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
