from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, OutOfMemoryError, ResponseError

from extensions.exchange import Exchange, _Reply
from extensions.keys import LANES
from extensions.queue import Add, Done, Leased, Operation, State, Status
from tests.conftest import Clock
from tests.extensions.waiting import until

LEASE = 30.0
FULL = OutOfMemoryError("no", status_code="OOM")


class StubQueue:
    """A queue in memory whose Redis can be away."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.commits: list[list[Operation]] = []
        self.numbers: list[str] = []
        self.epoch = "first"
        self.renewed: list[list[str]] = []
        self.given_back: list[str] = []
        self.waiting: deque[Leased] = deque()
        self.overdue: list[Leased] = []
        self.wanted: list[int] = []
        self.state: State = "running"
        self.left = 0
        self.watchers = 0
        self.effect = True
        self.opened = 0
        self.evicted = 7
        self.taken: set[str] = set()
        """Leases that another worker has taken over."""
        self.errors: list[Exception] = []
        """What the next calls raise."""

    def call(self, name: str) -> None:
        self.calls.append(name)
        if self.errors:
            raise self.errors.pop(0)

    def commit(self, operations: list[Operation], number: str) -> list[bool]:
        self.numbers.append(number)
        self.call("commit")
        self.commits.append(list(operations))
        return [self.effect] * len(operations)

    def renew(self, held: list[Leased]) -> list[Leased]:
        self.call("renew")
        if held:
            self.renewed.append([one.id for one in held])
        return [one for one in held if one.id in self.taken]

    def lease(self, count: int, closed: dict[str, float]) -> tuple[State, list[Leased]]:
        self.call("lease")
        self.wanted.append(count)
        self.closed = closed
        available = 0 if self.state == "paused" else min(count, len(self.waiting))
        return self.state, [self.waiting.popleft() for _ in range(available)]

    def open(self) -> None:
        self.opened += 1

    def reclaim(self, count: int) -> list[Leased]:
        self.call("reclaim")
        overdue, self.overdue = self.overdue[:count], self.overdue[count:]
        return overdue

    def evicted_keys(self) -> int:
        return self.evicted

    def block(self, _reason: str) -> None:
        self.call("block")

    def renounce(self) -> None:
        self.epoch += " and another"

    def give_back(self, held: list[Leased]) -> None:
        self.call("give_back")
        self.given_back += [one.id for one in held]

    def status(self) -> Status:
        self.call("status")
        return Status(self.state, self.left, self.watchers, 0, {name: {} for name in LANES})


class StubEngine:
    """An engine that the test plays."""

    def __init__(self) -> None:
        self.finished: list[Operation] = []
        self.working: list[Leased] = []
        self.counts: Counter[str] = Counter()
        self.looks: list[int] = []
        self.losses = 0
        self.lost_ids: list[str] = []
        self.full: list[str] = []
        """Why Redis takes nothing; empty when it does again."""
        self.refusals: list[str] = []
        self.wakes = 0

    def collect(self) -> list[Operation]:
        finished, self.finished = self.finished, []
        return finished

    def held(self) -> list[Leased]:
        return self.working

    def closed_hosts(self) -> dict[str, float]:
        return {"site.example": 5.0}

    def wake(self) -> None:
        self.wakes += 1

    def count(self, name: str, count: int = 1) -> None:
        self.counts[name] += count

    def look(self, status: Status) -> None:
        self.looks.append(status.left)

    def lost(self) -> None:
        self.losses += 1

    def lost_leases(self, lost: list[Leased]) -> None:
        self.lost_ids += [one.id for one in lost]

    def redis_full(self, reason: str) -> None:
        self.full.append(reason)

    def redis_refused(self, reason: str) -> None:
        self.refusals.append(reason)


class Rig:
    """An exchange between the two, and what a test needs to drive it."""

    def __init__(self, clock: Clock, prefetch: int) -> None:
        self.clock = clock
        self.queue = StubQueue()
        self.engine = StubEngine()
        self.exchange = Exchange(
            self.queue, self.engine, lease=LEASE, prefetch=prefetch, clock=clock
        )

    async def turn(self, count: int = 1) -> None:
        """Wait for so many whole exchanges."""
        seen = len(self.queue.wanted)
        await until(lambda: len(self.queue.wanted) >= seen + count + 1)

    def take(self, count: int) -> list[str]:
        taken = (self.exchange.take() for _ in range(count))
        return [one.id for one in taken if one]


def entry(id: str, lane: int = 2) -> Leased:
    return Leased(lane, id, {})


def entries(count: int) -> list[Leased]:
    return [entry(str(n)) for n in range(count)]


def add(url: str = "u") -> Add:
    return Add(2, {"url": url})


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, clock: Clock):
    """Play a scene with a running exchange, which is stopped in the end."""
    monkeypatch.setattr("extensions.exchange._TURN", 0.001)
    monkeypatch.setattr("extensions.exchange._LOOK", 0.002)
    monkeypatch.setattr("extensions.exchange._PATIENCE_MAX", 0.001)

    def play(scene, *, prefetch: int = 64, prepare: Callable | None = None) -> Rig:
        async def act() -> Rig:
            rig = Rig(clock, prefetch)
            if prepare:
                prepare(rig)
            rig.exchange.start()
            await scene(rig)
            await rig.exchange.stop()
            return rig

        return asyncio.run(act())

    return play


def test_operations_that_come_together_travel_together(run):
    operations = [add("a"), add("b"), Done(entry("1"), "archived")]

    async def scene(rig):
        rig.engine.finished = operations[2:]
        for operation in operations[:2]:
            rig.exchange.send(operation)
        await rig.turn()

    rig = run(scene)

    assert rig.queue.commits == [operations]


def test_what_finds_more_overtakes_downloads_that_were_leased_earlier(run):
    taken = []

    async def scene(rig):
        rig.queue.waiting.extend([entry("a"), entry("b")])
        await rig.turn()
        rig.queue.waiting.append(entry("page", lane=1))
        await rig.turn()
        taken.extend(rig.take(3))

    run(scene)

    assert taken == ["page", "a", "b"]


def test_what_took_effect_and_what_was_refused_is_counted(run):
    async def scene(rig):
        rig.exchange.send(add())
        await rig.turn()
        rig.queue.effect = False
        rig.exchange.send(add())
        rig.exchange.send(add())
        await rig.turn()

    rig = run(scene)

    assert (rig.engine.counts["queue/committed"], rig.engine.counts["queue/refused"]) == (1, 2)


@pytest.mark.parametrize(
    "error", [RedisConnectionError("gone"), ResponseError("LOADING"), ConnectionResetError()]
)
def test_what_redis_does_not_take_is_kept_until_it_does(run, error):
    async def scene(rig):
        rig.queue.errors = [error] * 3
        rig.exchange.send(add("a"))
        await until(lambda: len(rig.queue.errors) < 3)
        rig.exchange.send(add("b"))
        await until(lambda: rig.exchange.is_empty)

    rig = run(scene)

    # What may have arrived goes alone, under its number, before anything else.
    assert rig.queue.commits == [[add("a")], [add("b")]]
    assert rig.queue.numbers == ["1", "1", "1", "1", "2"][-len(rig.queue.numbers) :]


def test_a_redis_that_is_away_is_one_warning_and_another_when_it_is_back(run, caplog):
    async def scene(rig):
        rig.queue.errors = [RedisConnectionError("gone")] * 4
        await until(lambda: not rig.queue.errors)
        await rig.turn()

    with caplog.at_level(logging.WARNING):
        rig = run(scene)

    assert [record.getMessage() for record in caplog.records] == [
        "Redis is away, waiting for it: gone",
        "Redis is back after 4 tries",
    ]
    assert rig.engine.counts["queue/redis_away"] == 1


def test_leases_are_renewed_though_redis_takes_no_commit(run):
    async def scene(rig):
        rig.queue.commit = _take_nothing
        rig.engine.working = [entry("1")]
        rig.engine.finished = [Done(entry("2"), "archived")]
        rig.exchange.send(add())
        await until(lambda: len(rig.queue.renewed) >= 3)
        del rig.queue.commit
        rig.clock.now += 6.0

    rig = run(scene)

    # What is finished is held as well, until Redis knows that it is.
    assert rig.queue.renewed[-1] == ["1", "2"]
    assert sum(map(len, rig.queue.commits)) == 2
    assert "memory is full" in rig.engine.full[0]


def test_a_redis_that_is_full_is_asked_for_nothing_until_it_takes_a_word(run):
    async def scene(rig):
        await rig.turn()
        rig.exchange.blocked = "Redis is full"
        rig.exchange.heed(FULL)
        rig.queue.block = _take_nothing
        rig.queue.wanted.clear()
        rig.clock.now += 60.0
        await until(lambda: rig.exchange._health.failures > 3)
        assert rig.queue.wanted == []
        assert len(rig.engine.full) == 1
        rig.queue.block = lambda _reason: None
        await rig.turn()
        rig.clock.now += 60.0
        await until(lambda: rig.engine.full[1:])

    assert run(scene).engine.full[1:] == [""]


def test_a_worker_that_redis_refuses_leaves_at_once(run, caplog):
    async def scene(rig):
        rig.queue.renew = _forbid
        rig.exchange.send(add())
        await until(lambda: rig.engine.refusals)

    rig = run(scene)

    assert len(rig.engine.refusals) == 1
    assert caplog.messages == []


def _take_nothing(*_: object) -> None:
    raise FULL


def _forbid(*_: object) -> None:
    raise NoPermissionError("no", status_code="NOPERM")


def test_a_redis_that_is_away_for_days_is_still_waited_for(run):
    async def scene(rig):
        rig.exchange._health.failures = 100_000
        rig.queue.errors = [RedisConnectionError("gone")] * 2
        rig.exchange.send(add())
        await until(lambda: rig.exchange.is_empty)

    rig = run(scene)

    assert rig.queue.commits == [[add()]]


def test_a_commit_whose_reply_was_lost_is_sent_again(run):
    async def scene(rig):
        def lose_the_reply(operations, number):
            del rig.queue.commit
            rig.queue.commit(operations, number)
            raise RedisConnectionError("lost")

        rig.queue.commit = lose_the_reply
        rig.exchange.send(add())
        await until(lambda: rig.exchange.is_empty)

    rig = run(scene)

    assert rig.queue.commits == [[add()], [add()]]
    assert rig.queue.numbers == ["1", "1"]


@pytest.mark.parametrize("failure", [[], [RedisConnectionError("gone")]])
def test_a_redis_that_lost_the_queue_is_noticed_once(run, failure):
    async def scene(rig):
        await rig.turn()
        rig.queue.errors = failure
        rig.queue.epoch = "second"
        await until(lambda: rig.engine.losses)
        await rig.turn(2)

    assert run(scene).engine.losses == 1


@pytest.mark.parametrize("call", ["renew", "lease", "reclaim", "status"])
def test_a_commit_that_arrived_is_not_sent_again_when_something_else_fails(run, call):
    async def scene(rig):
        def fail(*_arguments):
            delattr(rig.queue, call)
            raise RedisConnectionError("gone")

        await rig.turn()
        setattr(rig.queue, call, fail)
        rig.exchange.send(add())
        await until(lambda: rig.exchange.is_empty)
        rig.clock.now += 60.0
        await until(lambda: call not in rig.queue.__dict__)
        await rig.turn()

    rig = run(scene)

    assert rig.queue.commits == [[add()]]


@pytest.mark.parametrize("sent", [[], [add()]], ids=["idle", "with a request"])
def test_a_server_that_lost_its_data_is_set_up_again(run, sent):
    async def scene(rig):
        rig.queue.errors = [ResponseError("NOGROUP")]
        for operation in sent:
            rig.exchange.send(operation)
        await until(lambda: not rig.queue.errors)
        await rig.turn()

    rig = run(scene)

    assert rig.queue.opened >= 1


def test_an_exchange_that_fails_for_another_reason_is_logged_and_repeated(run, caplog):
    async def scene(rig):
        await rig.turn()
        rig.queue.errors = [ZeroDivisionError("a bug")]
        rig.exchange.send(add())
        await until(lambda: rig.exchange.is_empty)

    rig = run(scene)

    assert rig.queue.commits == [[add()]]
    assert "The exchange with the queue failed, and is tried again" in caplog.text
    assert "ZeroDivisionError: a bug" in caplog.text


def test_leases_are_renewed_three_times_in_a_lease(run):
    async def scene(rig):
        rig.engine.working = [entry("working")]
        rig.queue.waiting.append(entry("waiting"))
        await rig.turn()
        rig.queue.renewed.clear()
        rig.clock.now += 9.9
        await rig.turn(2)
        early = list(rig.queue.renewed)
        rig.clock.now += 0.2
        await rig.turn(2)
        assert (early, rig.queue.renewed) == ([], [["working", "waiting"]])

    run(scene)


def test_leases_that_another_worker_took_over_are_left_to_it(run):
    async def scene(rig):
        rig.engine.working = [entry("working")]
        rig.queue.waiting.extend([entry("waiting"), entry("other")])
        await rig.turn(2)
        rig.queue.taken = {"working", "waiting"}
        rig.clock.now += LEASE
        await rig.turn(2)
        assert rig.engine.lost_ids[:1] == ["working"]
        assert rig.take(3) == ["other"]

    run(scene)


def test_what_nobody_has_any_more_since_redis_lost_it_goes_on_here(run):
    async def scene(rig):
        rig.engine.working = [entry("working")]
        await rig.turn(2)
        rig.queue.taken, rig.queue.epoch = {"working"}, "second"
        rig.clock.now += LEASE
        await rig.turn(2)
        assert rig.engine.losses == 1
        assert rig.engine.lost_ids == []
        rig.queue.taken = set()

    run(scene)


def test_a_redis_that_throws_keys_away_has_lost_data_once(run):
    async def scene(rig):
        await rig.turn(2)
        for evicted in (7, 8, 9):
            rig.queue.evicted = evicted
            rig.clock.now += 31.0
            await rig.turn(2)
        assert rig.engine.losses == 1

    run(scene)


def test_keys_that_were_thrown_away_before_the_crawl_are_no_news(run):
    async def scene(rig):
        for _ in range(2):
            rig.clock.now += 31.0
            await rig.turn(2)
        assert rig.engine.losses == 0

    run(scene)


def test_leases_that_could_not_be_renewed_are_renewed_as_soon_as_redis_is_back(run):
    async def scene(rig):
        rig.engine.working = [entry("1")]
        await rig.turn()
        rig.queue.renewed.clear()
        rig.queue.errors = [RedisConnectionError("gone")] * 5
        rig.clock.now += 60.0
        await until(lambda: not rig.queue.errors)
        await rig.turn()

    rig = run(scene)

    assert rig.queue.renewed == [["1"]]


def test_a_worker_renews_its_own_leases_before_it_takes_over_others(run):
    async def scene(rig):
        rig.engine.working = [entry("1")]
        await rig.turn()
        rig.queue.errors = [RedisConnectionError("gone")]
        rig.clock.now += 60.0
        await until(lambda: not rig.queue.errors)
        rig.queue.calls.clear()
        rig.queue.renewed.clear()
        await until(lambda: "reclaim" in rig.queue.calls or len(rig.queue.wanted) > 20)

    rig = run(scene)

    assert rig.queue.renewed[0] == ["1"]


def test_requests_are_handed_out_in_the_order_of_their_lease(run):
    async def scene(rig):
        rig.queue.waiting.extend(entries(3))
        await rig.turn()
        assert rig.take(5) == ["0", "1", "2"]

    rig = run(scene)

    assert rig.engine.counts["queue/leased"] == 3


def test_no_more_is_taken_over_than_is_wanted(run):
    async def scene(rig):
        await rig.turn()
        assert len(rig.exchange.inbox) == 16

    run(scene, prepare=lambda rig: rig.queue.overdue.extend(entries(100)))


def test_requests_that_came_are_counted_by_lane(run):
    async def scene(rig):
        rig.exchange.send(Add(1, {"url": "search"}))
        rig.exchange.send(Done(entry("1"), "archived"))
        await rig.turn()

    rig = run(scene)

    added = {name: n for name, n in rig.engine.counts.items() if name.startswith("queue/added")}
    assert added == {"queue/added/discovery": 1}


def test_what_dead_workers_held_goes_first_and_is_counted(run):
    def prepare(rig):
        rig.queue.waiting.append(entry("new"))
        rig.queue.overdue.append(entry("old"))

    async def scene(rig):
        await rig.turn()
        assert rig.take(2) == ["old", "new"]

    rig = run(scene, prepare=prepare)

    assert rig.engine.counts["queue/reclaimed"] == 1


def test_the_engine_is_woken_when_requests_have_come_and_not_otherwise(run):
    async def scene(rig):
        await rig.turn(2)
        before = rig.engine.wakes
        await rig.turn(2)
        idle = rig.engine.wakes
        rig.queue.waiting.append(entry("1"))
        await until(lambda: rig.exchange.inbox)
        assert (idle - before, rig.engine.wakes - idle) == (0, 1)

    run(scene)


@pytest.mark.parametrize(("prefetch", "ahead"), [(64, 16), (4, 1), (3, 1), (1, 1), (0, 1)])
def test_a_worker_that_does_nothing_leases_a_quarter_ahead_and_at_least_one(run, prefetch, ahead):
    async def scene(rig):
        rig.queue.waiting.extend(entries(200))
        await rig.turn(2)
        assert len(rig.exchange.inbox) == ahead

    run(scene, prefetch=prefetch)


@pytest.mark.parametrize(("handed", "ahead"), [(40, 40), (100, 64)], ids=["some", "many"])
def test_a_worker_leases_ahead_what_it_handed_out_in_the_last_second(run, handed, ahead):
    async def scene(rig):
        rig.queue.waiting.extend(entries(500))
        taken: list[str] = []
        while len(taken) < handed:
            taken += rig.take(handed - len(taken))
            await asyncio.sleep(0)
            await rig.turn()
        await rig.turn(2)
        fast = len(rig.exchange.inbox)
        rig.clock.now += 1.0
        rig.take(fast)
        rig.clock.now += 1.0
        await rig.turn(2)
        assert (fast, len(rig.exchange.inbox)) == (ahead, 16)

    run(scene)


def test_a_paused_queue_hands_out_nothing_of_what_was_leased_before(run):
    async def scene(rig):
        rig.queue.waiting.extend(entries(3))
        await until(lambda: rig.exchange.inbox)
        rig.queue.state = "paused"
        await until(lambda: rig.exchange.state == "paused")
        paused = rig.take(3)
        wakes = rig.engine.wakes
        rig.queue.state = "running"
        await until(lambda: rig.exchange.state == "running")
        assert (paused, rig.take(3)) == ([], ["0", "1", "2"])
        assert rig.engine.wakes == wakes + 1

    run(scene)


def test_a_paused_queue_takes_over_nothing(run):
    async def scene(rig):
        rig.queue.overdue.append(entry("1"))
        await rig.turn(3)

    rig = run(scene, prepare=lambda rig: setattr(rig.queue, "state", "paused"))

    assert "reclaim" not in rig.queue.calls


def test_a_draining_queue_hands_out_what_there_is(run):
    async def scene(rig):
        rig.queue.state = "draining"
        rig.queue.waiting.append(entry("1"))
        await until(lambda: rig.exchange.inbox)
        assert rig.take(1) == ["1"]
        assert rig.exchange.state == "draining"

    run(scene)


def test_what_is_left_is_looked_up_when_nothing_is_left_here(run):
    async def scene(rig):
        rig.queue.left, rig.queue.watchers = 3, 1
        rig.clock.now += 1.0
        await until(lambda: rig.exchange.left is not None)
        assert (rig.exchange.left, rig.exchange.watchers) == (3, 1)

    run(scene)


def test_what_is_left_is_looked_up_seldom_while_anything_is_worked_on(run):
    async def scene(rig):
        for _ in range(10):
            rig.clock.now += 1.0
            await rig.turn()

    rig = run(scene, prepare=lambda rig: setattr(rig.engine, "working", [entry("1")]))

    assert 4 <= len(rig.engine.looks) <= 6


def test_what_is_left_decides_nothing_while_anything_is_worked_on(run):
    async def scene(rig):
        rig.clock.now += 10.0
        await until(lambda: rig.engine.looks)
        assert rig.exchange.left is None

    run(scene, prepare=lambda rig: setattr(rig.engine, "working", [entry("1")]))


def test_what_is_left_is_not_believed_while_something_is_about_to_be_added(run):
    async def scene(rig):
        await rig.turn()
        rig.engine.looks.clear()
        rig.queue.errors = [RedisConnectionError("away")] * 3
        rig.exchange.send(add())
        rig.clock.now += 10.0
        await until(lambda: not rig.queue.errors)
        assert rig.engine.looks == []

    run(scene)


@pytest.mark.parametrize(
    "news",
    [
        lambda rig: rig.exchange.send(add()),
        lambda rig: rig.queue.waiting.append(entry("1")),
    ],
    ids=["a new request", "a leased one"],
)
def test_what_was_left_is_forgotten_when_there_is_news(run, news):
    async def scene(rig):
        rig.clock.now += 1.0
        await until(lambda: rig.exchange.left == 0)
        news(rig)
        await until(lambda: rig.exchange.left is None)

    run(scene)


def test_what_was_left_is_still_so_when_a_watcher_came(run):
    async def scene(rig):
        rig.clock.now += 1.0
        await until(lambda: rig.exchange.left == 0)
        rig.queue.waiting.append(Leased(1, "1", {b"watcher": b"w"}))
        await until(lambda: rig.exchange.inbox)
        assert rig.exchange.left == 0

    run(scene)


def test_what_comes_while_a_worker_gives_back_goes_back_too(run):
    async def scene(rig):
        rig.queue.waiting.extend(entries(2))
        await until(lambda: rig.exchange.inbox)
        rig.exchange.blocked = "no network"
        rig.exchange.give_back()
        # As a lease brings it that was on its way.
        rig.exchange._receive(_Reply(leased=[entry("9")]), is_idle=False)
        await until(lambda: len(rig.queue.given_back) == 3)
        assert not rig.exchange.inbox
        rig.exchange.blocked = ""
        rig.queue.waiting.append(entry("10"))
        await until(lambda: rig.exchange.inbox)

    rig = run(scene)

    assert rig.queue.given_back[:3] == ["0", "1", "9"]


def test_a_leaving_worker_commits_what_is_finished_and_gives_back_what_was_not_begun(run):
    async def scene(rig):
        rig.queue.waiting.extend(entries(3))
        await until(lambda: rig.exchange.inbox)
        rig.take(1)
        rig.engine.finished = [Done(entry("0"), "archived")]

    rig = run(scene)

    assert rig.queue.commits == [[Done(entry("0"), "archived")]]
    assert rig.queue.given_back == ["1", "2"]


def test_a_leaving_worker_hands_out_and_leases_nothing_more(run):
    async def scene(rig):
        rig.queue.waiting.extend(entries(100))
        await until(lambda: rig.exchange.inbox)
        await rig.exchange.stop()
        rig.queue.calls.clear()

    rig = run(scene)

    assert rig.take(1) == []
    assert "lease" not in rig.queue.calls


def test_a_leaving_worker_waits_for_a_redis_that_is_away(run):
    async def scene(rig):
        rig.exchange.send(add())
        rig.queue.errors = [RedisConnectionError("gone")] * 5

    rig = run(scene)

    assert rig.queue.commits == [[add()]]


def test_a_leaving_worker_says_so_when_it_has_waited_long_enough(run, caplog):
    async def scene(rig):
        def fail(_held):
            rig.clock.now += 4.0
            raise RedisConnectionError("gone")

        rig.queue.waiting.extend(entries(2))
        await until(lambda: rig.exchange.inbox)
        rig.queue.renew = fail

    rig = run(scene)

    assert rig.queue.given_back == []
    assert caplog.messages[-1] == "Redis is away: 2 leases are left to run out"


def test_leases_that_cannot_be_given_back_are_left_to_run_out(run):
    async def scene(rig):
        rig.queue.waiting.append(entry("1"))
        await until(lambda: rig.exchange.inbox)
        rig.exchange.send(add())
        rig.queue.give_back = _refuse

    rig = run(scene)

    assert rig.queue.commits == [[add()]]


def _refuse(_held: list[Leased]) -> None:
    raise RedisConnectionError("gone")


def test_an_exchange_that_was_never_started_can_be_stopped(clock):
    rig = Rig(clock, 64)
    rig.exchange.send(add())

    asyncio.run(rig.exchange.stop())

    assert rig.queue.commits == [[add()]]
