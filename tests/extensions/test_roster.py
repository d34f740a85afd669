"""A roster in a real Redis: who is on it, who is asked for, and who comes back."""

from __future__ import annotations

import asyncio

import pytest
from scrapy import Request, Spider
from scrapy.http import Response

from extensions.keys import QueueKeys
from extensions.lease import Lease
from extensions.queue import Add, Bury, Done, Leased, Member, RequestQueue, Return, Sighting
from extensions.roster import Listed, note_sighting, read_roster

SETTLE = 10.0
WATCH = {"url": "ws://site/?list", "watcher": "rooms"}


class Watched:
    """A queue with a watch, and what its looks see."""

    def __init__(self, redis, clock) -> None:
        self.clock = clock
        self.queue = RequestQueue(redis, "test", worker="ann", clock=clock)
        self.queue.open()
        self.queue.commit([Add(1, WATCH, None)])

    def look(
        self, *new: str, missing: str = "", overdue: str = "", takes_new=True, note=""
    ) -> None:
        """Look at the list, and commit what was seen with the next look."""
        [watch] = [one for one in self.lease() if b"watcher" in one.fields]
        listed = tuple((name, note, 2, visit(name)) for name in new)
        gone = [(name, False) for name in missing] + [(name, True) for name in overdue]
        sighting = Sighting("all", takes_new, SETTLE, listed, tuple(gone))
        assert self.queue.commit([Return(watch, 1, WATCH, sighting=sighting)]) == [True]

    def lease(self) -> list[Leased]:
        return self.queue.lease(100)[1]

    def visits(self) -> list[Leased]:
        """Lease what is due, and put the watch back."""
        leased = self.lease()
        self.queue.commit([Return(one, 1, WATCH) for one in leased if b"watcher" in one.fields])
        return [one for one in leased if b"roster" in one.fields]

    def on_it(self) -> set[str]:
        return set(self.queue.roster("all").members)

    def balances(self) -> bool:
        return self.queue.status().imbalance() == 0


def visit(name: str) -> dict[str, str]:
    return {"url": f"ws://site/?room={name}", "roster": f"all {name}"}


def names(leased: list[Leased]) -> list[str]:
    return [one.fields[b"url"].decode().partition("room=")[2] for one in leased]


def again(leased: Leased, delay: float = 0.0) -> Return:
    fields = {name.decode(): value.decode() for name, value in leased.fields.items()}
    return Return(leased, 2, fields, delay)


@pytest.fixture
def watched(redis, clock) -> Watched:
    return Watched(redis, clock)


def test_who_is_listed_is_on_the_roster_and_nothing_is_asked(watched):
    watched.look(*"abc")

    assert watched.on_it() == set("abc")
    assert watched.visits() == []
    assert (watched.queue.status().listed, watched.queue.status().left) == (3, 0)


def test_who_is_missing_is_asked_for_once_it_has_settled(watched):
    watched.look(*"ab")
    watched.look(missing="a")
    watched.clock.now += SETTLE - 1
    early = watched.visits()
    watched.clock.now += 2

    assert early == []
    assert names(watched.visits()) == ["a"]
    assert watched.on_it() == {"b"}
    assert watched.balances()


def test_who_comes_back_before_it_has_settled_is_not_asked_for(watched):
    watched.look("a")
    watched.look(missing="a")
    watched.look("a")
    watched.clock.now += SETTLE + 1

    assert watched.visits() == []
    assert watched.on_it() == {"a"}
    assert watched.queue.status().left == 0
    assert watched.balances()


def test_who_is_under_way_is_not_asked_for_a_second_time(watched):
    watched.look("a")
    watched.look(missing="a")
    watched.clock.now += SETTLE + 1
    [first] = watched.visits()
    watched.look("a")
    watched.look(missing="a")
    watched.clock.now += SETTLE + 1

    assert watched.visits() == []
    watched.queue.commit([Done(first, "archived")])
    assert watched.queue.status().left == 0
    assert watched.balances()


def test_after_its_visit_a_member_may_be_listed_and_asked_for_again(watched):
    for _ in range(2):
        watched.look("a")
        watched.look(missing="a")
        watched.clock.now += SETTLE + 1
        [asked] = watched.visits()
        watched.queue.commit([Done(asked, "gone")])

    assert watched.queue.status().total("gone") == 2
    assert watched.balances()


@pytest.mark.parametrize("is_listed", [True, False])
def test_what_goes_on_is_asked_for_later_unless_it_is_listed_again(watched, is_listed):
    watched.look("a")
    watched.look(missing="a")
    watched.clock.now += SETTLE + 1
    [asked] = watched.visits()
    if is_listed:
        watched.look("a")
    watched.queue.commit([again(asked, 60.0)])
    watched.clock.now += 61

    assert len(watched.visits()) == (not is_listed)
    assert watched.on_it() == ({"a"} if is_listed else set())
    assert watched.balances()


def test_who_waits_for_its_next_visit_and_is_listed_again_is_back_on_the_roster(watched):
    watched.look("a")
    watched.look(missing="a")
    watched.clock.now += SETTLE + 1
    [asked] = watched.visits()
    watched.queue.commit([again(asked, 60.0)])
    watched.look("a", takes_new=False)
    watched.clock.now += 61

    assert watched.visits() == []
    assert watched.on_it() == {"a"}
    assert watched.balances()


def test_who_is_given_up_is_asked_for_at_once_and_told_so(watched):
    watched.look("a")
    watched.look(overdue="a")

    [asked] = watched.visits()
    assert asked.fields[b"overdue"] == b"1"


def test_who_was_given_up_stays_so_while_nobody_new_is_taken(watched):
    watched.look("a")
    watched.look(overdue="a")
    [asked] = watched.visits()
    watched.queue.commit([again(asked, 60.0)])
    watched.look("a", takes_new=False)

    assert watched.on_it() == set()
    watched.clock.now += 61
    assert names(watched.visits()) == ["a"]


def test_what_nobody_can_read_on_a_roster_is_thrown_away(watched, redis):
    watched.look("a")
    listed = QueueKeys("test").listed
    redis.hset(listed, "all b", "rubbish")
    redis.hset(listed, "all c", "[1]")
    redis.hset(QueueKeys("test").unlisted, "d", "rubbish")
    watched.look("d", missing="b")

    assert watched.on_it() == {"a", "d"}
    assert redis.hlen(listed) == 2
    assert watched.balances()


@pytest.mark.parametrize("how", ["closed", "draining"])
def test_nobody_new_joins_when_none_are_taken(watched, how):
    watched.look("a")
    if how == "draining":
        watched.queue.set_state("draining")
    watched.look(*"ab", takes_new=how == "draining")

    assert watched.on_it() == {"a"}


def test_a_look_that_is_committed_twice_counts_once(watched):
    watched.look("a")
    [watch] = watched.lease()
    missed = Sighting("all", takes_new=True, settle=SETTLE, missing=(("a", False),))
    seen = Return(watch, 1, WATCH, sighting=missed)
    watched.queue.commit([seen])
    new = (("b", "", 2, visit("b")),)
    late = Sighting("all", takes_new=True, settle=SETTLE, new=new)

    assert watched.queue.commit([Return(watch, 1, WATCH, sighting=late)]) == [False]
    assert watched.on_it() == set()


def test_what_takes_the_place_of_a_visit_leaves_the_member_free(watched, redis):
    watched.look("a")
    watched.look(missing="a")
    watched.clock.now += SETTLE + 1
    [asked] = watched.visits()
    watched.queue.commit([Return(asked, 2, {"url": "https://replays/a.json"})])

    assert redis.hlen(QueueKeys("test").unlisted) == 0


def test_a_dead_letter_leaves_the_member_free(watched, redis):
    watched.look("a")
    watched.look(missing="a")
    watched.clock.now += SETTLE + 1
    [asked] = watched.visits()
    watched.queue.commit([Bury(asked, {"lane": 2, "fields": [], "reason": "why"})])

    assert redis.hlen(QueueKeys("test").unlisted) == 0
    assert watched.balances()


def test_a_note_is_kept_and_brought_up_to_date(watched):
    watched.look("a", note="ann bob")
    watched.clock.now += 5
    watched.look("a", note="ann bill")

    member = watched.queue.roster("all").members["a"]
    assert (member.note, member.age) == ("ann bill", 5.0)


@pytest.mark.parametrize("state", ["running", "paused", "draining"])
def test_a_roster_tells_whether_the_queue_is_draining(watched, state):
    watched.queue.set_state(state)

    assert watched.queue.roster("all").is_draining is (state == "draining")


def test_another_watch_has_another_roster(watched):
    watched.look("a")

    assert watched.queue.roster("others").members == {}


def test_a_purge_forgets_the_roster(watched):
    watched.look(*"ab")
    watched.look(missing="a")
    watched.queue.purge()

    assert watched.queue.status().listed == 0


# --- What a spider says and reads -----------------------------------------------------------------

SPIDER = Spider("any")


def reply(lease: Lease | None) -> Response:
    meta = {} if lease is None else {"queue_lease": lease}
    return Response("ws://site/", request=Request("ws://site/?list", meta=meta))


def test_what_a_look_saw_is_kept_for_the_next_one():
    lease = Lease(Leased(1, "1-0", {}))
    new = {
        "a": Listed(Request("ws://site/?room=a", priority=1), "a note"),
        "b": Listed(Request("ws://site/?room=b")),
    }

    note_sighting(
        reply(lease),
        SPIDER,
        "all",
        new=new,
        missing=["c"],
        overdue=["d"],
        settle=5.0,
        takes_new=False,
    )

    fields = {
        name: {"url": f"ws://site/?room={name}", "roster": f"all {name}", "v": "2"} for name in "ab"
    }
    fields["a"]["priority"] = "1"
    members = (("a", "a note", 1, fields["a"]), ("b", "", 2, fields["b"]))
    assert lease.sighting == Sighting("all", False, 5.0, members, (("c", False), ("d", True)))  # noqa: FBT003


def test_without_another_word_new_members_are_taken_and_nobody_is_missing():
    lease = Lease(Leased(1, "1-0", {}))

    note_sighting(reply(lease), SPIDER, "all", new={})

    assert lease.sighting == Sighting("all", takes_new=True, settle=0.0)


def test_a_look_that_is_not_from_the_queue_notes_nothing():
    visit = Request("ws://site/?room=a")

    note_sighting(reply(None), SPIDER, "all", new={"a": Listed(visit)})

    assert visit.meta == {}


def test_a_look_reads_its_roster(watched, clock):
    watched.look("a", note="a note")
    clock.now += 5.0
    response = reply(Lease(Leased(1, "1-0", {}), queue=watched.queue))

    view = asyncio.run(read_roster(response, "all"))

    assert view.members == {"a": Member("a note", 5.0)}


@pytest.mark.parametrize("lease", [None, Lease(Leased(1, "1-0", {}))], ids=["request", "lease"])
def test_what_does_not_come_from_a_queue_has_no_roster(lease):
    assert asyncio.run(read_roster(reply(lease), "all")) is None
