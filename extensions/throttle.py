"""Send no more to a host than it bears, counted over all workers together."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError
from scrapy import signals
from scrapy.exceptions import IgnoreRequest

from extensions.batch import Batcher
from extensions.connection import connect
from extensions.hosts import Hosts, Limit, host_of
from extensions.limits import limits_from_settings
from extensions.news import Listener
from extensions.signals import leaving, redis_failed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis import Redis
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.robotstxt import RobotParser

    from extensions.hosts import Grant

logger = logging.getLogger(__name__)

_AHEAD = 0.3
"""Seconds: what a killed worker had been permitted for longer would be missing."""
_LATE = 0.015
"""Seconds after which a permit is given up for another: two at once would break the limit."""
_FLUSH = 0.05
"""Seconds that turns wait to be given back with a question."""
_AT_ONCE = 64
"""Permits asked for in one call."""
_PROBED = 2.0
"""Seconds between two looks at a host that another request probes."""
_LOOK = 1.0
"""Seconds at most until a request that waits hears of another limit."""
_AGAIN = 0.5
"""Seconds between two tries to reach a Redis that is away."""
_CLOCK_KEPT = 30.0
"""Seconds for which a good comparison of clocks is better than a new, worse one."""
_DRIFT = 0.005
"""Seconds by which two clocks drift apart meanwhile at most; beyond that, one was set."""
_LONGEST_HOLD = 86_400.0
"""Seconds; whatever a site asks for, it is asked again a day later."""
_LONGEST_CRAWL_DELAY = 3600.0
"""Seconds."""


class HeldError(IgnoreRequest):
    """Raised for a request that must not be sent now; it has not failed."""

    def __init__(self, host: str, seconds: float, reason: str) -> None:
        super().__init__(f"{host} is held for {seconds:.1f} s: {reason}")
        self.seconds = seconds
        """Until it makes sense to try again."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to send one request to a host."""

    host: str
    is_probe: bool = False
    """Whether it decides if the host is well again."""
    number: int = 0
    """Given back when the request is done; 0 when nobody counts."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one of several waiting requests is told."""

    grant: Grant
    asked_at: float
    """On the local clock, like the next."""
    answered_at: float
    number: int = 0
    time: float | None = None
    """When to send it, on the server's clock; None: not yet."""


@dataclass(frozen=True, slots=True)
class _Gate:
    """A host's closed gate, as this worker knows it, on the local clock."""

    until: float
    """If that is over, Redis is asked."""
    since: float
    """What was asked before does not open it."""


class Throttle:
    """An extension: one limit for each host, over all workers that share a Redis.

    Download handlers ask it for a turn. Scrapy's AutoThrottle may be on, and is heeded first.

    Settings:
        THROTTLE_RATE (0): requests a second to each host, for the whole fleet; 0: any number.
        THROTTLE_BURST (1): requests that may follow one another at once after a pause.
        THROTTLE_CONCURRENCY (0): requests at a time to each host, for the whole fleet; 0: any.
        THROTTLE_HOSTS ({}): other limits for single hosts, as requests a second or as
            `{"rate": …, "burst": …, "concurrency": …}`.
        THROTTLE_HOLD (1800.0): seconds to leave a host alone that answers 429 without saying for
            how long; doubles while it goes on.
        DOWNLOAD_TIMEOUT, ROBOTSTXT_USER_AGENT, USER_AGENT: as in Scrapy.
    """

    def __init__(  # noqa: PLR0913 -- each is one setting
        self,
        redis: Redis,
        limits: Callable[[str], Limit],
        *,
        hold: float = 1800.0,
        longest: float = 180.0,
        user_agent: str = "*",
        namespace: str = "throttle",
        worker: str = "",
        clock: Callable[[], float] = time.monotonic,
        server_clock: Callable[[], float] | None = None,
    ) -> None:
        """Take seconds: of a hold without a header, and that a request may take."""
        self.hosts = Hosts(redis, namespace, worker=worker, clock=server_clock)
        self.on_change: Callable[[str, str], None] | None = None
        """Told of a host whose breaker `tripped` or `closed`, whichever worker made it."""
        self.on_failure: Callable[[Exception], object] = lambda _error: None
        """Told what Redis answered when it did not do what was asked."""
        self._limits, self._clock, self._user_agent = limits, clock, user_agent
        self._hold, self._longest = hold, longest
        self._gates: dict[str, _Gate] = {}
        self._paused: dict[str, tuple[float, str]] = {}
        """Hosts that this worker leaves to the others: until when, on the local clock, and why."""
        self._changed: set[str] = set()
        """Hosts whose limit is not only in the settings."""
        self._untold: dict[str, str] = {}
        """Hosts that asked to be left alone while Redis was away, and what they said."""
        self._done = _Numbers()
        """Of turns that are over, to give back with the next question."""
        self._clocks = _Clocks()
        self._confirming: set[asyncio.Task[None]] = set()
        self._batch = Batcher(self._ask, size=_AT_ONCE, delay=0.0)
        self._urgent: Counter[str] = Counter()
        """By host: urgent requests that wait for their turns."""
        self._leaving = asyncio.Event()
        self._flushing: asyncio.Task[None] | None = None
        self._news = Listener(redis, self.hosts.news, hear=self.hear, catch_up=self._learn)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Throttle:
        settings = crawler.settings
        throttle = cls(
            connect(settings, patience=1.0),
            limits_from_settings(settings),
            hold=settings.getfloat("THROTTLE_HOLD", 1800.0),
            longest=settings.getfloat("DOWNLOAD_TIMEOUT") + _AHEAD,
            # The one that robots.txt was read for.
            user_agent=settings["ROBOTSTXT_USER_AGENT"] or settings["USER_AGENT"],
            worker=secrets.token_hex(4),
        )
        tell = partial(crawler.signals.send_catch_log, redis_failed)
        throttle.on_failure = throttle._news.on_failure = lambda error: tell(error=error)
        crawler.signals.connect(throttle.spider_opened, signals.spider_opened)
        crawler.signals.connect(throttle.robots_parsed, signals.robots_parsed)
        crawler.signals.connect(throttle.engine_stopped, signals.engine_stopped)
        crawler.signals.connect(throttle.leave, leaving)
        return throttle

    def spider_opened(self) -> None:
        self._news.start()

    def engine_stopped(self) -> None:
        self._news.stop()

    async def robots_parsed(self, robotparser: RobotParser, request: Request) -> None:
        """Keep the pause that robots.txt asks for, before anything else is sent."""
        host = host_of(request.url)
        seconds = robotparser.crawl_delay(self._user_agent) or 0.0
        if seconds or host in self._changed:
            seconds = max(0.0, min(seconds, _LONGEST_CRAWL_DELAY))
            self._changed.add(host)
            await self._tell(self.hosts.set_crawl_delay, host, seconds)

    def leave(self) -> None:
        """Have what waits for its turn go back to the queue: the crawl is ending."""
        self._leaving.set()

    async def turn(self, url: str, *, may_pass: bool = False, is_urgent: bool = False) -> Turn:
        """Wait until a request may be sent; one that may pass is sent also by a worker that pauses.

        One that is urgent goes before this worker's others to the same host.

        Raises:
            HeldError: the host is held, this worker leaves it alone, or the crawl is ending.

        """
        host = host_of(url)
        self._urgent[host] += is_urgent
        try:
            return await self._turn(host, may_pass=may_pass, is_urgent=is_urgent)
        finally:
            self._urgent[host] -= is_urgent

    async def _turn(self, host: str, *, may_pass: bool, is_urgent: bool) -> Turn:
        may_give_up = True
        while True:
            self._check(host, may_pass=may_pass)
            if self._urgent[host] and not is_urgent and self._is_limited(host):
                await self._sleep(_FLUSH)
                continue
            if not self._is_limited(host):
                return Turn(host)
            answer = await self._submit(host)
            if answer is None:
                await self._sleep(_AGAIN)
            elif answer.time is None:
                self._heed(host, answer)
                await self._sleep(min(answer.grant.wait, _LOOK))
            else:
                turn = Turn(host, is_probe=answer.grant.is_probe, number=answer.number)
                if await self._comes(turn, self._local(answer), may_give_up, may_pass):
                    return turn
                may_give_up = False

    def done(self, turn: Turn) -> None:
        """Give a turn back when its request is done."""
        if not turn.number or not self._limits(turn.host).concurrency:
            return
        self._done.add(turn.host, turn.number)
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())

    def held(self, url: str) -> float | None:
        """Return the seconds until a host may be asked again; None when it may be asked now.

        As far as this worker knows. 0 for a host that others can ask, and this worker cannot.
        """
        host = host_of(url)
        if self._is_paused(host):
            return self._pause_left(host)
        return self._held(host) or None

    def closed(self) -> dict[str, float]:
        """Return the hosts whose gates are closed, and for how many seconds."""
        left = {host: self._held(host) for host in self._gates}
        return {host: seconds for host, seconds in left.items() if seconds > 0}

    def close_gate(self, host: str, seconds: float) -> None:
        """Close a gate for this worker; 0 opens it."""
        if seconds > 0:
            now = self._clock()
            self._gates[host] = _Gate(now + seconds, now)
        else:
            self._gates.pop(host, None)

    def pause(self, host: str, reason: str, seconds: float = inf) -> None:
        """Send nothing to a host from here, until `resume`; what was to be sent goes to others."""
        until = self._clock() + seconds
        if host not in self._paused or until > self._paused[host][0]:
            self._paused[host] = (until, reason)

    def resume(self, host: str) -> None:
        """Send again what `pause` kept back."""
        self._paused.pop(host, None)

    async def hold(
        self,
        host: str,
        reason: str,
        asked: float | None,
        *,
        is_probe: bool = False,
        is_said: bool = False,
    ) -> None:
        """Close a host's gate for everybody, for the seconds it asked for, if it said so.

        The log is told, unless whoever asks has said so already.
        """
        if not is_said and self._held(host) == 0.0:
            logger.warning("%s is held: %s", host, reason)
        self.close_gate(host, self._hold if asked is None else min(asked, _LONGEST_HOLD))
        held = await self._tell(
            self.hosts.hold,
            host,
            reason,
            asked=asked,
            default=self._hold,
            longest=_LONGEST_HOLD,
            is_probe=is_probe,
        )
        if held is not None:
            self.close_gate(host, held)
        else:
            self._untold[host] = reason

    def hear(self, news: Any) -> None:  # noqa: ANN401 -- whatever came over the channel
        """Take note of what any worker says that it learned; Redis is looked at afterwards.

        A gate closes at once. That one opened, and what a breaker did, is not taken on trust.
        """
        host, micros, *change = news
        if micros is None:
            self._changed.add(host)
        elif micros > 0:
            self.close_gate(host, micros / 1e6)
        if change and self.on_change is not None:
            self._confirming.add(task := asyncio.create_task(self._confirm(host, *change)))
            task.add_done_callback(self._confirming.discard)

    async def _confirm(self, host: str, change: str) -> None:
        try:
            is_broken = await asyncio.to_thread(self.hosts.is_broken, host)
        except (RedisError, OSError):
            return
        if is_broken == (change == "tripped") and self.on_change is not None:
            self.on_change(host, change)

    async def _flush(self) -> None:
        """Give back turns that no question took along."""
        while hosts := self._done.hosts():
            await asyncio.sleep(_FLUSH)
            for host in hosts:
                try:
                    await asyncio.to_thread(self._grant, host, 0)
                except (RedisError, OSError):
                    await asyncio.sleep(_AGAIN)
        self._flushing = None

    def _learn(self) -> Callable[[], None]:
        """Run in a thread: tell what could not be told, and read what others told meanwhile."""
        self._tell_late()
        asked_at = self._clock()
        gates, changed = self.hosts.gates(), self.hosts.changed()

        def heed() -> None:
            self._changed |= changed
            for host, gate in list(self._gates.items()):
                # Somebody opened it. One that Redis says is over stays: its clock may have been
                # set, and ours says how long it was to be.
                if host not in gates and asked_at > gate.since and gate.until > self._clock():
                    del self._gates[host]
            for host, seconds in gates.items():
                known = self._gates.get(host)
                if seconds > 0 and (known is None or asked_at > known.since):
                    self._gates[host] = _Gate(self._clock() + seconds, asked_at)

        return heed

    def _tell_late(self) -> None:
        for host, reason in list(self._untold.items()):
            left = self._held(host)
            if left > 0:
                self.hosts.hold(host, reason, asked=left, default=left, longest=_LONGEST_HOLD)
            del self._untold[host]

    def _held(self, host: str) -> float:
        gate = self._gates.get(host)
        return 0.0 if gate is None else max(0.0, gate.until - self._clock())

    def _is_paused(self, host: str) -> bool:
        if host in self._paused and self._paused[host][0] <= self._clock():
            del self._paused[host]
        return host in self._paused

    def _pause_left(self, host: str) -> float:
        until, _ = self._paused[host]
        return max(0.0, until - self._clock()) if isfinite(until) else 0.0

    def _check(self, host: str, *, may_pass: bool) -> None:
        if self._leaving.is_set() and self._is_limited(host):
            raise HeldError(host, 0.0, "the crawl is ending")
        if self._is_paused(host) and not may_pass:
            raise HeldError(host, self._pause_left(host), self._paused[host][1])
        if (seconds := self._held(host)) > 0:
            raise HeldError(host, seconds, "its gate is closed")

    async def _comes(self, turn: Turn, at: float, may_give_up: bool, may_pass: bool) -> bool:  # noqa: FBT001 -- only `turn` calls it
        """Wait for a turn; one that is not used is given back."""
        is_used = False
        try:
            await self._sleep(at - self._clock())
            if not turn.is_probe:
                self._check(turn.host, may_pass=may_pass)
            is_used = turn.is_probe or not may_give_up or self._clock() - at <= _LATE
        finally:
            if not is_used:
                self.done(turn)
        return is_used

    def _local(self, answer: _Answer) -> float:
        """Return when to send a request on the local clock: never later than permits reach."""
        assert answer.time is not None  # noqa: S101 -- there is a permit
        return min(self._clocks.local(answer.time), answer.answered_at + _AHEAD)

    def _is_limited(self, host: str) -> bool:
        limit = self._limits(host)
        is_known = bool(limit.rate or limit.concurrency or host in self._changed)
        return is_known or host in self._gates

    def _heed(self, host: str, answer: _Answer) -> None:
        """Take note of a closed gate."""
        grant = answer.grant
        if grant.held:
            self._gates[host] = _Gate(self._clock() + grant.held, answer.asked_at)
            seconds = min(grant.held, _PROBED) if grant.is_probed else grant.held
            raise HeldError(host, seconds, "its gate is closed")

    async def _submit(self, host: str) -> _Answer | None:
        try:
            answer = await self._batch.submit(host)
        except (RedisError, OSError) as error:
            # Nothing is sent unasked. The scheduler says what is wrong with Redis.
            self.on_failure(error)
            return None
        self._clocks.compare(answer.asked_at, answer.answered_at, answer.grant.now)
        gate = self._gates.get(host)
        is_open = not answer.grant.held and not answer.grant.is_probe
        # It may have closed after the question.
        if gate is not None and is_open and answer.asked_at > gate.since:
            del self._gates[host]
        return answer

    def _ask(self, hosts: Sequence[str]) -> list[_Answer]:
        """Run in a thread: ask for the turns of several requests, one call for each host."""
        answers = {host: iter(self._grant(host, n)) for host, n in Counter(hosts).items()}
        return [next(answers[host]) for host in hosts]

    def _grant(self, host: str, wanted: int) -> list[_Answer]:
        """Run in a thread: it touches nothing that the event loop changes."""
        done = self._done.take(host)
        asked_at = self._clock()
        try:
            grant = self.hosts.acquire(
                host,
                wanted,
                self._limits(host),
                ahead=_AHEAD,
                longest=self._longest,
                done=done,
            )
        except (RedisError, OSError):
            self._done.add(host, *done)
            raise
        times = (asked_at, self._clock())
        permits = [_Answer(grant, *times, number, time) for number, time in grant.permits]
        return permits + [_Answer(grant, *times)] * (wanted - len(permits))

    async def _tell(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:  # noqa: ANN401 -- handed on
        """Tell all workers through Redis; if it is away, this one goes by what it knows."""
        try:
            return await asyncio.to_thread(call, *args, **options)
        except (RedisError, OSError) as error:
            logger.debug("The other workers could not be told: %s", error)
            self.on_failure(error)
            return None

    async def _sleep(self, seconds: float) -> None:
        """Wait, unless the crawl ends meanwhile."""
        if seconds > 0:
            try:
                await asyncio.wait_for(self._leaving.wait(), seconds)
            except TimeoutError:
                return


class _Clocks:
    """Keeps how far the server's clock is from ours, by the quickest of the latest answers."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._error = inf
        self._since = -inf

    def compare(self, asked_at: float, answered_at: float, server: float) -> None:
        """Take note of an answer; its time lies between question and answer."""
        offset, error = server - (asked_at + answered_at) / 2, (answered_at - asked_at) / 2
        # One of the clocks was set, or this machine slept: what was known is wrong.
        was_set = abs(offset - self._offset) > error + self._error + _DRIFT
        if error <= self._error or answered_at - self._since > _CLOCK_KEPT or was_set:
            self._offset, self._error, self._since = offset, error, answered_at

    def local(self, server: float) -> float:
        """Return a time of the server's on our clock."""
        return server - self._offset


class _Numbers:
    """Numbers of turns by host; any thread may add to them and take from them."""

    def __init__(self) -> None:
        self._by_host: dict[str, list[int]] = {}
        self._lock = threading.Lock()

    def add(self, host: str, *numbers: int) -> None:
        if numbers:
            with self._lock:
                self._by_host.setdefault(host, []).extend(numbers)

    def take(self, host: str) -> list[int]:
        with self._lock:
            return self._by_host.pop(host, [])

    def hosts(self) -> list[str]:
        with self._lock:
            return list(self._by_host)
