"""Keep requests in Redis Streams: leased, acknowledged, delayed, never lost.

A request is an entry of one of three streams (lanes). A worker that reads it holds it as a pending
entry of the stream's consumer group, which is its lease: it is renewed while the worker lives,
taken over by others when it is not, and ends when the entry is acknowledged and deleted.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from math import ceil, inf
from typing import TYPE_CHECKING, Any, Literal, cast

from redis.exceptions import RedisError

from extensions.connection import evicted_keys
from extensions.earlier import take_over
from extensions.keys import GROUP, LANES, SEEN_BUCKETS, QueueKeys
from extensions.scripts import Script
from extensions.versions import NewerVersionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from redis import Redis

State = Literal["running", "paused", "draining"]
"""Paused: nothing is leased. Draining: workers end when nothing is left, also those that watch."""
_RECLAIM_AT_ONCE = 100
_SAID_FOR = 60.0
"""Seconds for which a worker that begins nothing new is believed."""
_FORGOTTEN = 3_600_000
"""Milliseconds after which a worker that holds nothing is forgotten."""
_RENOUNCED_FOR = 60
"""Seconds in which all workers notice what one has."""
_BATCH_KEPT = 600
"""Seconds for which a commit whose reply was lost is answered as the first time."""
_FAMILY_KEPT = 7 * 86_400
"""Seconds."""
VERSION = 2
"""Of the queue's keys and entries; whoever meets a later one leaves them alone."""


@dataclass(frozen=True, slots=True)
class Leased:
    """An entry of the queue that one worker holds."""

    lane: int
    """1 to 3: position in `LANES`, from 1."""
    id: str
    fields: Mapping[bytes, bytes]
    deliveries: int = 1
    """How many workers have held it, this one included."""

    @property
    def queued_at(self) -> float:
        """When it was put into its lane, by the clock of Redis; seconds since the epoch."""
        return int(self.id.partition("-")[0]) / 1000


@dataclass(frozen=True, slots=True)
class Add:
    """Put a request in, unless it was seen before or its watcher is there already."""

    lane: int
    fields: Mapping[str, str]
    seen: tuple[int | str, str] | None = None
    """Bucket, or name of a family, and fingerprint; None adds it whether it was seen or not."""
    delay: float = 0.0
    """Seconds."""
    is_start: bool = False
    """Whether its family begins anew with it, unless one of the family is in the queue."""


@dataclass(frozen=True, slots=True)
class Done:
    """Take a leased request out."""

    leased: Leased
    outcome: str
    """What came of it; the ledger counts it under this word."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a look at a list saw of its roster."""

    name: str
    """Of the roster; without spaces."""
    takes_new: bool
    """Whether members join that were never listed before."""
    settle: float
    """Seconds from when a member is missing until it is asked for."""
    new: tuple[tuple[str, str, int, Mapping[str, str]], ...] = ()
    """Member, note, lane and fields of the request that asks for it."""
    missing: tuple[tuple[str, bool], ...] = ()
    """Members to ask for, and whether they are given up while they are still listed."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a roster."""

    note: str
    age: float
    """Seconds since it was first listed."""


@dataclass(frozen=True, slots=True)
class RosterView:
    """A roster as it is now."""

    members: dict[str, Member]
    now: float
    """By the clock that entries of the queue are timed by; seconds since the epoch."""
    is_draining: bool


@dataclass(frozen=True, slots=True)
class Return:
    """Put a leased request back, possibly changed, for any worker to take."""

    leased: Leased
    lane: int
    fields: Mapping[str, str]
    delay: float = 0.0
    """Seconds."""
    sighting: Sighting | None = None
    """What a watch saw, to be kept in the same step."""


@dataclass(frozen=True, slots=True)
class Bury:
    """Take a leased request out and keep it as a dead letter."""

    leased: Leased
    letter: Mapping[str, Any]


Operation = Add | Done | Return | Bury


@dataclass(frozen=True, slots=True)
class Status:
    """Where every request of a queue is."""

    state: State
    left: int
    """Requests waiting, delayed or leased; watchers do not count."""
    watchers: int
    dead_letters: int
    lanes: dict[str, dict[str, int]]
    """For each lane its ledger: discovered, queued, leased, delayed, dead, and each outcome."""
    is_flooded: bool = False
    """Whether discovery waits for downloads."""
    listed: int = 0
    """Members of rosters: they are asked for when they are listed no more."""

    def total(self, what: str) -> int:
        return sum(lane.get(what, 0) for lane in self.lanes.values())

    def imbalance(self) -> int:
        """Return how many requests were discovered and are nowhere; 0 when the ledger balances."""
        return sum(
            abs(lane["discovered"] - sum(n for what, n in lane.items() if what != "discovered"))
            for lane in self.lanes.values()
        )


class RequestQueue:
    """One spider's queue, as one worker sees it; every method is safe to repeat."""

    def __init__(
        self,
        redis: Redis,
        namespace: str,
        *,
        worker: str = "",
        lease: float = 30.0,
        high_water: int = 0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Take the seconds of a lease, and a clock in seconds (None: that of the server).

        When more than `high_water` downloads wait, nothing is leased of the discovery lane until
        half of them are gone; 0 lets any number wait.
        """
        self._redis = redis
        self._keys = QueueKeys(namespace)
        self._worker = worker
        self._lease = round(lease * 1000)
        self._high_water = high_water
        self._clock = clock
        self._cursors = ["0-0"] * len(LANES)
        self._renewed_at = -inf
        """When every lease was renewed last, on the process's own clock."""
        self.epoch = ""
        """Another one as soon as Redis has lost the queue."""
        self._open = Script(redis, "extensions", "open")
        self._commit = Script(redis, "extensions", "commit", after=("host",))
        self._lease_script = Script(redis, "extensions", "lease", after=("host",))
        self._renew = Script(redis, "extensions", "renew")
        self._status = Script(redis, "extensions", "status")
        self._requeue = Script(redis, "extensions", "requeue", after=("host",))

    def open(self) -> None:
        """Create what is not there, and forget workers that are long gone and hold nothing.

        Raises:
            NewerVersionError: the queue is of a later version; nothing was changed.

        """
        self.check_version()
        take_over(self._redis, self._keys.namespace, VERSION)
        keys = [*self._keys.lanes, self._keys.about]
        version, epoch = self._open(keys, [GROUP, _FORGOTTEN, VERSION, secrets.token_hex(8)])
        if version > VERSION:
            raise NewerVersionError(f"the queue {self._keys.namespace}", version, VERSION)
        self.epoch = epoch.decode()

    def check_version(self) -> None:
        """Make sure that this worker knows the queue's version; changes nothing.

        Raises:
            NewerVersionError: it is a later one.

        """
        version = int(self._redis.hget(self._keys.about, "version") or VERSION)
        if version > VERSION:
            raise NewerVersionError(f"the queue {self._keys.namespace}", version, VERSION)

    def commit(self, operations: Sequence[Operation], number: str = "") -> list[bool]:
        """Do all of it or nothing, and say of each operation whether it took effect.

        The number of a batch, different for each of a worker's, makes it safe to send it again.
        """
        keys = self._keys
        named = [*keys.lanes, keys.delayed, keys.counts, keys.watchers, keys.dead_letters]
        named += [keys.hosts, keys.batch(self._worker), keys.families]
        named += [keys.state, keys.listed, keys.unlisted]
        encoded = [_encode(operation, named, keys) for operation in operations]
        text = json.dumps(encoded)
        effects = self._commit(named, [GROUP, self._now(), number, _BATCH_KEPT, _FAMILY_KEPT, text])
        return [effect == 1 for effect in effects]

    def lease(
        self, count: int, closed: Mapping[str, float] | None = None
    ) -> tuple[State, list[Leased]]:
        """Lease up to so many requests, the most urgent first.

        None for the hosts that are closed for so many seconds: those wait until then, or for a
        minute, and let others pass.
        """
        keys = self._keys
        named = [*keys.lanes, keys.delayed, keys.counts, keys.state, keys.hosts, keys.about]
        gates = [
            part for host, left in (closed or {}).items() for part in (host, ceil(left * 1000))
        ]
        arguments = [GROUP, self._worker, count, self._now(), self._high_water, *gates]
        state, entries, epoch = self._lease_script(named, arguments)
        self.epoch = epoch.decode() or self.epoch
        return _state(state), [_leased(lane, entry) for lane, entry in entries]

    def reclaim(self, count: int = _RECLAIM_AT_ONCE) -> list[Leased]:
        """Take over up to so many requests whose leases ran out."""
        claimed: list[Leased] = []
        for lane, key in enumerate(self._keys.lanes, start=1):
            if len(claimed) >= count:
                break
            cursor, entries, *_ = self._redis.xautoclaim(
                key,
                GROUP,
                self._worker,
                self._lease,
                self._cursors[lane - 1],
                count=count - len(claimed),
            )
            self._cursors[lane - 1] = cursor.decode() if isinstance(cursor, bytes) else cursor
            claimed += self._with_deliveries(lane, [entry for entry in entries if entry[0]])
        return claimed

    def renew(self, held: Sequence[Leased]) -> list[Leased]:
        """Hold leases for another while, and return those that others took over meanwhile."""
        started = _seconds()
        lost = self._set_idle(held, idle=0, deliveries=0)
        if held:
            self._renewed_at = started
        return lost

    def holds(self, held: Sequence[Leased]) -> list[bool]:
        """Say of each lease whether this worker still has it.

        Redis is asked only by a worker that stood still for longer than a lease lasts: until then
        nobody can have taken one. When Redis does not answer, they count as held.
        """
        if _seconds() - self._renewed_at < self._lease / 1000:
            return [True] * len(held)
        try:
            return self._are_pending(held)
        except (RedisError, OSError):
            return [True] * len(held)

    def _are_pending(self, held: Sequence[Leased]) -> list[bool]:
        with self._redis.pipeline(transaction=False) as pipeline:
            for leased in held:
                lane = self._keys.lanes[leased.lane - 1]
                pipeline.xpending_range(lane, GROUP, leased.id, leased.id, 1, self._worker)
            return [bool(found) for found in pipeline.execute()]

    def give_back(self, held: Sequence[Leased]) -> None:
        """End leases of requests that were not begun, so that any worker can take them at once."""
        self._set_idle(held, idle=self._lease + 1, deliveries=-1)

    def roster(self, name: str) -> RosterView:
        """Read the members of a roster."""
        prefix = f"{name} ".encode()
        listed = cast("dict[bytes, bytes]", self._redis.hgetall(self._keys.listed))
        now = self._time()
        members = {}
        for field, text in listed.items():
            if not field.startswith(prefix):
                continue
            try:
                since, note, *_ = json.loads(text)
                member = field.removeprefix(prefix).decode()
                members[member] = Member(str(note), max(0.0, now - since / 1000))
            except (ValueError, TypeError):
                # Nobody of ours wrote it, and it would stop every look.
                self._redis.hdel(self._keys.listed, field)
        state = cast("bytes | None", self._redis.get(self._keys.state))
        return RosterView(members, now, is_draining=state == b"draining")

    def status(self, *, forget_if_finished: bool = False) -> Status:
        """Say where every request is; on demand forget what was seen, once nothing is left."""
        keys = self._keys
        named = [*keys.lanes, keys.delayed, keys.counts, keys.watchers, keys.state]
        seen = [keys.seen(bucket) for bucket in range(SEEN_BUCKETS)] if forget_if_finished else []
        named += [keys.dead_letters, keys.listed]
        return _read_status(self._status([*named, *seen], [GROUP]))

    def evicted_keys(self) -> int:
        """Return how many keys Redis has thrown away for want of memory, of whoever's."""
        return evicted_keys(self._redis)

    def renounce(self) -> None:
        """Have all workers begin anew, once a minute at most: what is left cannot be trusted."""
        if self._redis.set(self._keys.renounced, self._worker, nx=True, ex=_RENOUNCED_FOR):
            self.purge()
            self._redis.hset(self._keys.about, "epoch", secrets.token_hex(8))

    def set_state(self, state: State) -> None:
        """Tell every worker to run, to pause or to drain."""
        if state == "running":
            self._redis.delete(self._keys.state)
        else:
            self._redis.set(self._keys.state, state)

    def block(self, reason: str) -> None:
        """Tell everybody that this worker begins nothing new, and why; empty: that it does."""
        if reason:
            said = json.dumps([reason, self._time()], ensure_ascii=False)
            self._redis.hset(self._keys.blocked, self._worker, said)
        else:
            self._redis.hdel(self._keys.blocked, self._worker)

    def blocked(self) -> dict[str, str]:
        """Return the workers that begin nothing new, and why."""
        said = cast("dict[bytes, bytes]", self._redis.hgetall(self._keys.blocked))
        notes = {worker.decode(): json.loads(text) for worker, text in said.items()}
        # A worker repeats itself with each renewal of its leases; the dead do not.
        oldest = self._time() - _SAID_FOR
        return {worker: reason for worker, (reason, at) in notes.items() if at > oldest}

    def purge(self) -> int:
        """Throw everything away, dead letters and what was seen too; return how many keys.

        Raises:
            NewerVersionError: the queue is of a later version; nothing was changed.

        """
        self.check_version()
        # In one step: what a worker commits meanwhile is thrown away as a whole, or not at all.
        families = cast("set[bytes]", self._redis.smembers(self._keys.families))
        named = [self._keys.family(name.decode()) for name in families]
        thrown_away = int(self._redis.unlink(*self._keys.everything, *named))
        self.open()
        return thrown_away

    def dead_letters(self) -> dict[str, dict[str, Any]]:
        """Return the dead letters by number, oldest first."""
        letters = cast("dict[bytes, bytes]", self._redis.hgetall(self._keys.dead_letters))
        by_number = sorted(letters.items(), key=lambda item: int(item[0]))
        return {number.decode(): json.loads(letter) for number, letter in by_number}

    def requeue(self, numbers: Sequence[str]) -> list[str]:
        """Put dead letters back into the queue; return the numbers of those that were there."""
        return self._settle("requeue", numbers)

    def drop(self, numbers: Sequence[str]) -> list[str]:
        """Forget dead letters; return the numbers of those that were there."""
        return self._settle("drop", numbers)

    def _settle(self, how: str, numbers: Sequence[str]) -> list[str]:
        names = self._keys
        keys = [*names.lanes, names.dead_letters, names.counts, names.watchers, names.hosts]
        settled: list[str] = []
        for start in range(0, len(numbers), 500):
            chunk = numbers[start : start + 500]
            settled += [number.decode() for number in self._requeue(keys, [how, *chunk])]
        return settled

    def _now(self) -> str:
        return "" if self._clock is None else str(round(self._clock() * 1000))

    def _time(self) -> float:
        if self._clock is not None:
            return self._clock()
        seconds, micros = self._redis.time()
        return seconds + micros / 1e6

    def _set_idle(self, held: Sequence[Leased], *, idle: int, deliveries: int) -> list[Leased]:
        """Return those that this worker does not have any more."""
        pairs = [part for leased in held for part in (str(leased.lane), leased.id)]
        if not pairs:
            return []
        lost = self._renew(self._keys.lanes, [GROUP, self._worker, idle, deliveries, *pairs])
        return [held[position] for position in lost]

    def _with_deliveries(self, lane: int, entries: list[Any]) -> list[Leased]:
        with self._redis.pipeline(transaction=False) as pipeline:
            for id, _ in entries:
                pipeline.xpending_range(self._keys.lanes[lane - 1], GROUP, id, id, 1)
            pending = pipeline.execute()
        return [
            Leased(lane, id.decode(), fields or {}, info[0]["times_delivered"] if info else 1)
            for (id, fields), info in zip(entries, pending, strict=True)
        ]


def _encode(operation: Operation, named: list[str], keys: QueueKeys) -> list[Any]:
    """Write an operation as commit.lua reads it; a seen bucket joins the named keys."""
    match operation:
        case Add(lane, fields, seen, delay, is_start):
            position, mark, family = 0, "", ""
            if seen is not None:
                where, mark = seen
                family = where if isinstance(where, str) else ""
                named.append(keys.family(where) if isinstance(where, str) else keys.seen(where))
                position = len(named)
            after = round(delay * 1000)
            watcher = fields.get("watcher", "")
            flat = _flat(fields)
            return ["add", lane, after, flat, watcher, position, mark, family, is_start]
        case Done(leased, outcome):
            _, member = _roster(_text(leased, b"roster"))
            return ["done", leased.lane, leased.id, outcome, _watcher(leased), member]
        case Return(leased, lane, fields, delay, sighting):
            roster, member = _roster(_text(leased, b"roster"))
            stays = bool(member) and _roster(fields.get("roster", "")) == (roster, member)
            back = ["return", leased.lane, leased.id, lane, round(delay * 1000), _flat(fields)]
            return [*back, roster, member, stays, _encode_sighting(sighting)]
        case Bury(leased, letter):
            text = json.dumps(letter, ensure_ascii=False)
            _, member = _roster(_text(leased, b"roster"))
            return ["dead", leased.lane, leased.id, text, _watcher(leased), member]


def _encode_sighting(sighting: Sighting | None) -> dict[str, Any] | None:
    if sighting is None:
        return None
    new = [[member, note, lane, _flat(fields)] for member, note, lane, fields in sighting.new]
    settle = round(sighting.settle * 1000)
    seen = {"name": sighting.name, "takes_new": sighting.takes_new, "settle": settle}
    return {**seen, "new": new, "missing": sighting.missing}


def _roster(text: str) -> tuple[str, str]:
    """Split the name of a roster and that of its member; both empty when there is none."""
    name, _, member = text.partition(" ")
    return (name, member) if member else ("", "")


def _watcher(leased: Leased) -> str:
    return _text(leased, b"watcher")


def _text(leased: Leased, name: bytes) -> str:
    return leased.fields.get(name, b"").decode(errors="replace")


def _flat(fields: Mapping[str, str]) -> list[str]:
    return [part for pair in fields.items() for part in pair]


def _leased(lane: int, entry: tuple[bytes, list[bytes]]) -> Leased:
    id, flat = entry
    return Leased(lane, id.decode(), dict(zip(flat[::2], flat[1::2], strict=False)))


def _state(text: bytes) -> State:
    states: dict[bytes, State] = {b"paused": "paused", b"draining": "draining"}
    return states.get(text, "running")


def _read_status(reply: Sequence[Any]) -> Status:
    state, left, watchers, dead_letters, lengths, pending, flat, listed = reply
    lanes: dict[str, dict[str, int]] = {
        name: {"discovered": 0, "queued": length - held, "leased": held}
        for name, length, held in zip(LANES, lengths, pending, strict=True)
    }
    for name, count in zip(flat[::2], flat[1::2], strict=True):
        what, _, lane = name.decode().partition(":")
        if lane:
            lanes[LANES[int(lane) - 1]][what] = int(count)
    is_flooded = b"flooded" in flat[::2]
    return Status(_state(state), left, watchers, dead_letters, lanes, is_flooded, listed)


def _seconds() -> float:
    """Return a clock of this machine that nobody sets; where it can, it also counts its sleep."""
    return time.clock_gettime(_AWAKE_OR_NOT)


_AWAKE_OR_NOT: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
