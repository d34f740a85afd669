"""Carry requests between one worker and the queue: in batches, and off the event loop.

Whatever Redis does, the crawl goes on with what it has: an exchange that fails is repeated until it
succeeds, and every part of one is safe to repeat. Leases are renewed first: a commit that Redis
does not take must not cost them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

from redis.exceptions import RedisError

from extensions.keys import LANES
from extensions.queue import Add
from extensions.redis_health import RedisHealth

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from extensions.queue import Leased, Operation, RequestQueue, State, Status

logger = logging.getLogger(__name__)

_TURN = 0.1
"""Seconds between two exchanges: what comes together meanwhile travels together."""
_LOOK = 0.5
"""Seconds between two looks at the state of the queue, and at whether anything is left in it."""
_LOOK_ALONG = 2.0
"""Seconds between two looks at what is left while there is work here."""
_WATCH = 5.0
"""Seconds between two looks whether Redis throws keys away."""
_PATIENCE_MAX = 2.0
"""Seconds at most between two tries to reach a Redis that is away."""
_DOUBLINGS = 10
"""How often the pause between two tries doubles; an hour's doublings no float could hold."""
_FAREWELL = 15.0
"""Seconds that a leaving worker tries to hand over what it has."""


@dataclass(slots=True)
class _Parcel:
    """What one exchange takes to Redis."""

    operations: list[Operation]
    number: str
    """Of the batch, whose reply may be lost."""
    wanted: int
    held: list[Leased]
    """Leases to renew; none when it is not time yet."""
    reclaim: bool
    look: bool
    watch: bool = False
    is_idle: bool = False
    """Whether there is nothing to do here, so that what is left decides if the crawl goes on."""
    blocked: str | None = None
    """To tell why nothing new is begun, or with an empty text that it is; None: nothing to tell."""
    unbegun: list[Leased] = field(default_factory=list)
    """Leases to end: others are to take these."""
    closed: Mapping[str, float] = field(default_factory=dict)
    """Hosts that are not to be asked now, and for how many seconds."""


@dataclass(slots=True)
class _Reply:
    """What one exchange brings back."""

    state: State = "running"
    leased: list[Leased] = field(default_factory=list)
    reclaimed: int = 0
    lost: list[Leased] = field(default_factory=list)
    """Leases that others took over while this worker stood still."""
    status: Status | None = None


class _Outbox:
    """What waits to be committed; a batch stays one until it is known to have arrived."""

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._batch = self._number = 0

    def __bool__(self) -> bool:
        return bool(self._operations)

    def put(self, *operations: Operation) -> None:
        self._operations += operations

    def batch(self) -> tuple[list[Operation], str]:
        """Return what travels next, and the batch's number."""
        if not self._batch and self._operations:
            self._batch = len(self._operations)
            self._number += 1
        return self._operations[: self._batch], str(self._number)

    def leases(self) -> list[Leased]:
        """Return what is held until the operations that end it have arrived."""
        return [one.leased for one in self._operations if not isinstance(one, Add)]

    def arrived(self) -> None:
        """Forget the batch that `batch` returned last."""
        del self._operations[: self._batch]
        self._batch = 0


class _Evictions:
    """Notices that Redis throws keys away; once, since that goes on until somebody mends it."""

    def __init__(self) -> None:
        self._before: int | None = None
        self._is_told = False

    def are_news(self, evicted: int) -> bool:
        """Take how many keys it has thrown away by now."""
        before, self._before = self._before, evicted
        if self._is_told or before is None or evicted <= before:
            return False
        self._is_told = True
        return True


class EngineSide(Protocol):
    """Whom an exchange serves."""

    def collect(self) -> Sequence[Operation]:
        """Return what is finished since the last call."""

    def held(self) -> Sequence[Leased]:
        """Return what the engine works on."""

    def closed_hosts(self) -> Mapping[str, float]:
        """Return the hosts that must not be asked now, and for how many seconds."""

    def wake(self) -> None:
        """Have the engine look for work now."""

    def count(self, name: str, count: int = 1) -> None:
        """Add to a stat."""

    def look(self, status: Status) -> None:
        """Take note of how far all workers together are."""

    def lost(self) -> None:
        """Take note that Redis has lost the queue."""

    def lost_leases(self, lost: Sequence[Leased]) -> None:
        """Take note that others have these by now."""

    def redis_full(self, reason: str) -> None:
        """Take note that Redis takes nothing, or with an empty text that it does again."""

    def redis_refused(self, reason: str) -> None:
        """Take note that no waiting helps."""


class Exchange:
    """One worker's traffic with the queue."""

    def __init__(
        self,
        queue: RequestQueue,
        engine: EngineSide,
        *,
        lease: float,
        prefetch: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the seconds of a lease, and the most requests to lease ahead."""
        self.inbox: deque[Leased] = deque()
        """Leased, and not yet handed to the engine."""
        self.state: State = "running"
        self.left: int | None = None
        """What was left in the queue when last looked, while nothing was left here."""
        self.watchers = self.listed = 0
        """Watches, and members of their rosters, when last looked."""
        self.blocked = ""
        """Why nothing new is handed to the engine; without `give_back`, leases are kept."""
        self._told = ""
        """What the others were told of this."""
        self._queue, self._engine, self._clock = queue, engine, clock
        self._renew_every = lease / 3
        self._prefetch = prefetch
        self._outbox = _Outbox()
        self._unbegun: list[Leased] = []
        self._epoch = ""
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._evictions = _Evictions()
        self._renewed_at = self._looked_at = self._reclaimed_at = self._watched_at = 0.0
        self._handed: deque[float] = deque(maxlen=prefetch)
        self._health = RedisHealth(engine, clock=clock)
        self._is_leaving = self._gives_back = False

    def start(self) -> None:
        self._epoch = self._queue.epoch
        self._task = asyncio.create_task(self._run())

    def send(self, operation: Operation) -> None:
        """Have an operation committed soon, together with others."""
        self._outbox.put(operation)
        self.left = None

    def take(self) -> Leased | None:
        """Return the most urgent request that was leased, unless the queue is paused."""
        if self.state == "paused" or self.blocked or self._is_leaving or not self.inbox:
            self._news.set()
            return None
        self._handed.append(self._clock())
        if len(self.inbox) <= self._wanted_ahead() // 2:
            self._news.set()
        return self.inbox.popleft()

    def give_back(self) -> None:
        """Have others take what was leased and not begun."""
        self._gives_back = True
        self._unbegun += self.inbox
        self.inbox.clear()
        self._news.set()

    def heed(self, error: BaseException) -> None:
        """Take note of what Redis answered to others of this worker."""
        self._health.heard(error)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits here, in either direction."""
        return not self.inbox and not self._outbox

    async def stop(self) -> None:
        """Hand over everything: what is finished, and what was not begun."""
        self._is_leaving = True
        self._news.set()
        if self._task is not None:
            await self._task
        deadline = self._clock() + _FAREWELL
        while not await self._try(self._last_parcel()) or self._outbox:
            await self._pause()  # pragma: no cover -- it runs, unseen by 3.11's tracing
            if self._health.is_refused:
                return
            if self._clock() >= deadline:
                logger.error("Redis is away: %d leases are left to run out", len(self.inbox))
                return
        # Only now: what the engine gave back last came in with what is finished.
        unbegun, self.inbox = [*self._unbegun, *self.inbox], deque()
        await asyncio.to_thread(self._give_back, unbegun)

    def _give_back(self, unbegun: list[Leased]) -> None:
        # If Redis is away now, they run out.
        with suppress(RedisError, OSError):
            self._queue.give_back(unbegun)

    async def _run(self) -> None:
        while not self._is_leaving:
            try:
                await self._try(self._parcel())
            except Exception:
                # Ended here, it would leave a worker that neither works nor ends.
                logger.exception("The exchange with the queue failed, and is tried again")
                self._health.failures += 1
            await self._pause()

    async def _pause(self) -> None:
        """Wait a moment, longer when Redis is away or when nobody needs anything."""
        if self._health.failures:
            doublings = min(self._health.failures, _DOUBLINGS)
            # A Redis that is only full still takes renewals, and wants them in time.
            longest = min(_PATIENCE_MAX, self._renew_every)
            await asyncio.sleep(min(longest, 0.05 * 2.0**doublings))
            return
        self._news.clear()
        await asyncio.sleep(_TURN)
        if self.is_empty and not self._engine.held():
            try:
                await asyncio.wait_for(self._news.wait(), _LOOK - _TURN)
            except TimeoutError:
                return

    def _parcel(self) -> _Parcel:
        (operations, number), now = self._outgoing(), self._clock()
        held = [*self._engine.held(), *self.inbox]
        is_idle = not held and not operations
        look = self._is_due("_looked_at", _LOOK if is_idle else _LOOK_ALONG, now)
        is_renewal = self._is_due("_renewed_at", self._renew_every, now)
        is_news = self.blocked != self._told or (is_renewal and self.blocked)
        # To a full Redis it is what shows whether it takes anything again.
        is_news = is_news or self._health.is_full
        unbegun, self._unbegun = self._unbegun, []
        return _Parcel(
            operations=operations,
            number=number,
            wanted=0 if self.blocked else max(0, self._wanted_ahead() - len(self.inbox)),
            held=[*held, *self._outbox.leases()] if is_renewal else [],
            blocked=self.blocked if is_news else None,
            reclaim=self._is_due("_reclaimed_at", 1.0 if is_idle else self._renew_every, now),
            look=look,
            watch=self._is_due("_watched_at", _WATCH, now),
            is_idle=is_idle,
            unbegun=unbegun,
            closed=self._engine.closed_hosts(),
        )

    def _last_parcel(self) -> _Parcel:
        return _Parcel(*self._outgoing(), 0, [], reclaim=False, look=False)

    def _outgoing(self) -> tuple[list[Operation], str]:
        self._outbox.put(*self._engine.collect())
        return self._outbox.batch()

    def _is_due(self, name: str, every: float, now: float) -> bool:
        if now - getattr(self, name) < every:
            return False
        setattr(self, name, now)
        return True

    def _wanted_ahead(self) -> int:
        """Lease what the coming second needs, so that no slow worker sits on the others' work."""
        second_ago = self._clock() - 1.0
        recent = sum(1 for handed in self._handed if handed > second_ago)
        return max(1, min(self._prefetch, max(self._prefetch // 4, recent)))

    async def _try(self, parcel: _Parcel) -> bool:
        try:
            lost = await asyncio.to_thread(self._keep, parcel)
            if parcel.operations:
                # Apart from the rest: what is committed must not be sent again if that fails.
                effects = await asyncio.to_thread(
                    self._queue.commit, parcel.operations, parcel.number
                )
                self._outbox.arrived()
                self._count_effects(parcel.operations, effects)
            reply = await asyncio.to_thread(self._exchange, parcel)
        except (RedisError, OSError) as error:
            # Leases may have run out meanwhile, everybody's: each worker renews its own before
            # anybody takes over another's.
            self._renewed_at, self._reclaimed_at = -inf, self._clock()
            self._health.failed(error)
            return False
        self._health.worked()
        reply.lost = lost
        if self._is_anew():
            # Nobody has what is gone from everywhere: what is in work here goes on.
            reply.lost = []
            self.left = None
            self._engine.lost()
        self._receive(reply, is_idle=parcel.is_idle)
        return True

    def _is_anew(self) -> bool:
        """Tell whether Redis has lost the queue since the last exchange."""
        before, self._epoch = self._epoch, self._queue.epoch
        return bool(before) and before != self._epoch

    def _keep(self, parcel: _Parcel) -> list[Leased]:
        """Run in a thread: renew leases, and return those that others took over."""
        if self._health.is_away:
            # A server that lost its data has lost the group, too.
            self._queue.open()
        lost = self._queue.renew(parcel.held)
        if parcel.unbegun:
            self._queue.give_back(parcel.unbegun)
        return lost

    def _exchange(self, parcel: _Parcel) -> _Reply:
        """Run in a thread: everything else that waits for Redis."""
        reply = _Reply()
        if parcel.watch and self._evictions.are_news(self._queue.evicted_keys()):
            self._queue.renounce()
        if parcel.blocked is not None:
            self._queue.block(parcel.blocked)
            self._told = parcel.blocked
        if self._is_leaving:
            return reply
        reply.state, reply.leased = self._queue.lease(parcel.wanted, parcel.closed)
        if parcel.reclaim and reply.state != "paused":
            reclaimed = self._queue.reclaim(parcel.wanted)
            reply.reclaimed = len(reclaimed)
            reply.leased = reclaimed + reply.leased
        if parcel.look:
            reply.status = self._queue.status()
        return reply

    def _count_effects(self, operations: Sequence[Operation], effects: Sequence[bool]) -> None:
        refused = effects.count(False)
        self._engine.count("queue/committed", len(effects) - refused)
        self._engine.count("queue/refused", refused)
        for operation, effect in zip(operations, effects, strict=True):
            if effect and isinstance(operation, Add):
                self._engine.count(f"queue/added/{LANES[operation.lane - 1]}")

    def _receive(self, reply: _Reply, *, is_idle: bool) -> None:
        if reply.lost:
            self.inbox = deque(leased for leased in self.inbox if leased not in reply.lost)
            self._engine.lost_leases(reply.lost)
        if self._gives_back and self.blocked:
            # It was on its way when this worker began to pause.
            self._unbegun += reply.leased
            reply.leased = []
        self._gives_back = self._gives_back and bool(self.blocked)
        # What finds more comes before what was leased earlier: a page that waits behind downloads
        # finds new ones only when they are done, and then the site's limit is not used.
        self.inbox = deque(sorted((*self.inbox, *reply.leased), key=attrgetter("lane")))
        # A watcher changes nothing: it does not count, and may be due at every look.
        if not all(b"watcher" in leased.fields for leased in reply.leased):
            self.left = None
        is_news = bool(reply.leased) or reply.state != self.state
        self.state = reply.state
        if reply.status is not None:
            self.listed = reply.status.listed
        if reply.status is not None and not self._outbox:
            self._engine.look(reply.status)
            if is_idle:
                is_news = is_news or reply.status.left != self.left
                self.left, self.watchers = reply.status.left, reply.status.watchers
        self._engine.count("queue/leased", len(reply.leased))
        self._engine.count("queue/reclaimed", reply.reclaimed)
        if is_news:
            self._engine.wake()
