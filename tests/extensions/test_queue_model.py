"""The queue's scripts over a real Redis, step by step beside a model in plain Python."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from extensions.dead_letters import Failure, write_letter
from extensions.keys import GROUP, LANES, QueueKeys
from extensions.queue import Add, Bury, Done, Leased, Operation, RequestQueue, Return
from tests.conftest import Clock, examples

if TYPE_CHECKING:
    from redis import Redis

LEASE = 30.0
AGES = 3_600_000
"""Milliseconds after which any lease has run out."""

lanes = st.integers(1, 3)
delays = st.sampled_from([0.0, 0.0, 0.0, 5.0, 60.0])
names = st.sampled_from(["", "", "w1", "w2"])
workers = st.sampled_from(["ann", "bob", "cleo"])
endings = st.sampled_from(["archived", "followed", "returned", "buried", "buried for good"])
times = st.sampled_from([1, 1, 2])
"""How often a commit arrives: twice when its first reply was lost."""
picks = st.integers(0, 10_000)


@st.composite
def adds(draw: st.DrawFn) -> Add:
    number, watcher = draw(st.integers(0, 9)), draw(names)
    fields = {"url": f"u{number}", **({"watcher": watcher} if watcher else {})}
    seen = draw(st.sampled_from([None, (number % 3, str(number // 3))]))
    return Add(draw(lanes), fields, seen, draw(delays))


@dataclass(eq=False)
class Entry:
    """A request as the model has it."""

    url: str
    lane: int
    watcher: str = ""
    due: float | None = None
    """Delayed until then."""
    holder: str = ""
    is_overdue: bool = False
    """The lease has run out."""
    deliveries: int = 0

    @property
    def place(self) -> str:
        if self.due is not None:
            return "delayed"
        return "leased" if self.holder else "queued"


@dataclass
class Model:
    """What a queue is: a list of entries, a set of what was seen, and counts."""

    clock: Clock
    state: str = "running"
    entries: list[Entry] = field(default_factory=list)
    letters: dict[str, tuple[Entry, bool]] = field(default_factory=dict)
    """By number: the entry, and whether its letter can be put back."""
    seen: set[str] = field(default_factory=set)
    counts: Counter = field(default_factory=Counter)
    held: dict[tuple[int, str], Entry] = field(default_factory=dict)
    """Leased entries by lane and id: two lanes may have entries of one id."""
    letter_count: int = 0

    @property
    def watchers(self) -> set[str]:
        return {entry.watcher for entry in self.entries if entry.watcher}

    def apply(self, operation: Operation) -> bool:
        match operation:
            case Add(lane, fields, seen, delay):
                return self.add(Entry(fields["url"], lane, fields.get("watcher", "")), seen, delay)
            case Done(leased, outcome):
                return self.take(leased, outcome) is not None
            case Return(leased, lane, fields, delay):
                return self.give(
                    leased, Entry(fields["url"], lane, fields.get("watcher", "")), delay
                )
            case Bury(leased, letter):
                return self.bury(leased, can_return=bool(letter["fields"]))

    def add(self, entry: Entry, seen: tuple[int, str] | None, delay: float) -> bool:
        if entry.watcher in self.watchers:
            return False
        if seen is not None and entry.url in self.seen:
            return False
        if seen is not None:
            self.seen.add(entry.url)
        self.put(entry, delay)
        self.counts["discovered", entry.lane] += 1
        return True

    def put(self, entry: Entry, delay: float = 0.0) -> None:
        entry.due = self.clock.now + delay if delay else None
        self.entries.append(entry)

    def take(self, leased: Leased, outcome: str) -> Entry | None:
        entry = self.held.pop(place_of(leased), None)
        if entry is not None:
            self.entries.remove(entry)
            self.counts[outcome, entry.lane] += 1
        return entry

    def give(self, leased: Leased, new: Entry, delay: float) -> bool:
        entry = self.take(leased, "discovered")
        if entry is None:
            return False
        self.counts["discovered", entry.lane] -= 2
        self.counts["discovered", new.lane] += 1
        self.put(new, delay)
        return True

    def bury(self, leased: Leased, *, can_return: bool) -> bool:
        entry = self.take(leased, "dead")
        if entry is None:
            return False
        self.letter_count += 1
        self.letters[str(self.letter_count)] = entry, can_return
        return True

    def settle(self, number: str, *, drop: bool) -> bool:
        entry, can_return = self.letters.get(number, (None, False))
        if entry is None or not (drop or can_return):
            return False
        del self.letters[number]
        self.counts["dead", entry.lane] -= 1
        if drop or entry.watcher in self.watchers:
            self.counts["dropped", entry.lane] += 1
        else:
            self.put(Entry(entry.url, entry.lane, entry.watcher))
        return True

    def wake_delayed(self) -> None:
        for entry in self.entries:
            if entry.due is not None and entry.due <= self.clock.now:
                entry.due = None

    def hand_over(self, leased: Leased, worker: str) -> None:
        """Give a queued entry to a worker; any of those that look the same."""
        url, watcher = (leased.fields.get(name, b"").decode() for name in (b"url", b"watcher"))
        looks = ("queued", url, watcher, leased.lane)
        entry = next(e for e in self.entries if (e.place, e.url, e.watcher, e.lane) == looks)
        entry.holder, entry.deliveries, entry.is_overdue = worker, 1, False
        self.held[place_of(leased)] = entry

    def ledger(self) -> dict[str, dict[str, int]]:
        """Count as `Status.lanes` does; what is zero is left out."""
        counts = self.counts + Counter((entry.place, entry.lane) for entry in self.entries)
        return {
            name: {what: n for (what, lane), n in counts.items() if lane == number and n}
            for number, name in enumerate(LANES, start=1)
        }


def place_of(leased: Leased) -> tuple[int, str]:
    return leased.lane, leased.id


class QueueMachine(RuleBasedStateMachine):
    """Does whatever workers and people can do to a queue, in any order."""

    redis: Redis

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushdb()
        self.clock = Clock()
        self.model = Model(self.clock)
        self.handed: list[Leased] = []
        """Whatever any worker was ever given."""
        self.queues = {
            worker: RequestQueue(self.redis, "test", worker=worker, lease=LEASE, clock=self.clock)
            for worker in ("ann", "bob", "cleo")
        }

    @initialize(added=st.lists(adds(), min_size=5, max_size=10))
    def open(self, added):
        for queue in self.queues.values():
            queue.open()
        self.commit(added, often=1)

    def commit(self, operations: list[Operation], often: int) -> None:
        """Commit as often as given; the effects must be the model's each time."""
        for _ in range(often):
            effects = self.queues["ann"].commit(operations)

            assert effects == [self.model.apply(operation) for operation in operations]

    def pick(self, number: int) -> Leased:
        """Choose a leased request or, one time in five, any that ever was."""
        leased = [one for one in self.handed if place_of(one) in self.model.held]
        ever = self.handed if number % 5 == 0 or not leased else leased
        return ever[number % len(ever)]

    def holder(self, leased: Leased) -> str | None:
        entry = self.model.held.get(place_of(leased))
        return entry and entry.holder

    # Few rules, each of which does many things: hypothesis leaves some rules out of each run.

    @rule(added=st.lists(adds(), min_size=1, max_size=3), often=times)
    def add(self, added, often):
        self.commit(added, often)

    @rule(
        worker=workers,
        count=st.sampled_from([4, 2, 1, 0]),
        seconds=st.sampled_from([0.0, 4.0, 5.0, 60.0]),
    )
    def lease(self, worker, count, seconds):
        self.clock.now += seconds

        state, leased = self.queues[worker].lease(count)

        self.model.wake_delayed()
        assert state == self.model.state
        queued = [entry for entry in self.model.entries if entry.place == "queued"]
        expected = 0 if state == "paused" else min(count, len(queued))
        urgent = sorted(entry.lane for entry in queued)[:expected]
        assert [one.lane for one in leased] == urgent
        for one in leased:
            self.model.hand_over(one, worker)
        self.handed += leased

    @precondition(lambda self: self.model.entries)
    @rule(number=picks, how=endings, added=adds(), often=times)
    def settle(self, number, how, added, often):
        if not self.handed:
            self.lease("ann", 4, 0.0)
            return
        leased = self.pick(number)
        fields = {name.decode(): value.decode() for name, value in leased.fields.items()}
        letter = write_letter(leased, Failure("why"), attempts=1, now=2.0)
        endings: dict[str, list[Operation]] = {
            "archived": [Done(leased, "archived")],
            "followed": [added, Done(leased, "followed"), added],
            "returned": [Return(leased, added.lane, fields, added.delay)],
            "buried": [Bury(leased, letter)],
            "buried for good": [Bury(leased, letter | {"fields": []})],
        }
        self.commit(endings[how], often)

    @precondition(lambda self: self.model.held)
    @rule(number=picks, other=workers, how=st.sampled_from(["silent", "renews", "leaves"]))
    def hold(self, number, other, how):
        """One worker falls silent, renews or leaves; then another takes over what it can."""
        holders = sorted({entry.holder for entry in self.model.held.values()})
        worker = holders[number % len(holders)]
        held = {place_of(one): one for one in self.handed if self.holder(one) == worker}.values()
        if how == "silent":
            for leased in held:
                lane = QueueKeys("test").lanes[leased.lane - 1]
                self.redis.xclaim(lane, GROUP, worker, 0, [leased.id], idle=AGES, justid=True)
        elif how == "renews":
            # All that it ever had: what is over, or others took over, is left alone.
            self.queues[worker].renew(self.handed)
        else:
            self.queues[worker].give_back(held)
        for entry in self.model.held.values():
            if entry.holder == worker:
                entry.is_overdue = how != "renews"
                entry.deliveries = max(0, entry.deliveries - (how == "leaves"))
        if number % 3:
            self.reclaim(other)

    def reclaim(self, worker: str) -> None:
        overdue = {at: entry for at, entry in self.model.held.items() if entry.is_overdue}

        reclaimed = self.queues[worker].reclaim()

        for entry in overdue.values():
            entry.holder, entry.is_overdue = worker, False
            entry.deliveries += 1
        assert {place_of(one): one.deliveries for one in reclaimed} == {
            at: entry.deliveries for at, entry in overdue.items()
        }
        self.handed += reclaimed

    @precondition(lambda self: self.model.letters)
    @rule(
        picked=st.lists(picks, min_size=1, max_size=4), drop=st.sampled_from([True, False, False])
    )
    def settle_letters(self, picked, drop):
        queue, known = self.queues["bob"], [*self.model.letters, "999"]
        numbers = [known[number % len(known)] for number in picked]

        settled = queue.drop(numbers) if drop else queue.requeue(numbers)

        assert settled == [n for n in numbers if self.model.settle(n, drop=drop)]

    @rule(
        how=st.sampled_from(
            ["forget", "forget", "resume", "resume", "resume", "pause", "drain", "purge"]
        )
    )
    def steer(self, how):
        queue = self.queues["cleo"]
        states = {"pause": "paused", "drain": "draining", "resume": "running"}
        if how == "forget":
            if queue.status(forget_if_finished=True).left == 0:
                self.model.seen.clear()
        elif how == "purge":
            queue.purge()
            self.model = Model(self.clock)
        else:
            queue.set_state(states[how])
            self.model.state = states[how]

    @invariant()
    def the_status_is_the_models(self):
        status = self.queues["ann"].status()

        model = self.model
        lanes = {
            name: {what: n for what, n in lane.items() if n} for name, lane in status.lanes.items()
        }
        watchers = len(model.watchers)
        assert lanes == model.ledger()
        assert status.imbalance() == 0
        assert (status.state, status.watchers) == (model.state, watchers)
        assert status.left == len(model.entries) - watchers
        assert status.dead_letters == len(model.letters)

    @invariant()
    def every_request_and_every_lease_is_where_it_should_be(self):
        with self.redis.pipeline(transaction=False) as pipeline:
            for lane in QueueKeys("test").lanes:
                pipeline.xrange(lane)
                pipeline.xpending_range(lane, GROUP, "-", "+", 1000)
            replies = pipeline.execute()

        urls = Counter(fields[b"url"].decode() for lane in replies[::2] for _, fields in lane)
        holders = {
            (number, pending["message_id"].decode()): pending["consumer"].decode()
            for number, lane in enumerate(replies[1::2], start=1)
            for pending in lane
        }
        assert urls == Counter(entry.url for entry in self.model.entries if entry.due is None)
        assert holders == {at: entry.holder for at, entry in self.model.held.items()}

    @invariant()
    def there_is_one_watcher_of_a_name(self):
        names = [entry.watcher for entry in self.model.entries if entry.watcher]

        assert len(names) == len(set(names))


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
def test_the_queue_does_what_its_model_does(redis):
    class Machine(QueueMachine):
        pass

    Machine.redis = redis

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples(60), stateful_step_count=40, deadline=None, print_blob=True
        ),
    )
