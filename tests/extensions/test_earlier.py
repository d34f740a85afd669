"""What an earlier version left under other names is taken over, and that version ends."""

from __future__ import annotations

import time

import pytest

from battles.index import BattleIndex
from battles.keys import IndexKeys
from extensions.hosts import MARGIN, Hosts
from extensions.inspection import hosts
from extensions.keys import EARLIER_SEEN_BUCKETS, GROUP, SEEN_BUCKETS, HostKeys, QueueKeys
from extensions.queue import VERSION, Add, Done, RequestQueue
from tests.battles.test_keys import ENTRY

OLD, NEW = QueueKeys("test:queue", is_tagged=False), QueueKeys("test:queue")
TAGGED = "{mine}:queue"
"""A namespace whose names stay as they were."""
MARKS = [-(2**63), -1, 0, 1, 2**63 - 1, 0x0102030405060708, -0x0102030405060708]


@pytest.fixture(autouse=True)
def _hosts_of_others(redis):
    """Take away what stays for earlier workers of other spiders."""
    yield
    names = HostKeys(is_tagged=False)
    redis.delete(names.hosts, names.gates, names.host("a"))


@pytest.fixture
def earlier(redis):
    """What workers of the first version leave that were killed in the middle of a crawl."""
    leave(redis, OLD)


def leave(redis, OLD: QueueKeys) -> None:  # noqa: N803 -- as everywhere here
    redis.sadd(OLD.hosts, "a", "b")
    redis.hset(OLD.about, mapping={"version": 1, "epoch": "theirs"})
    for lane in OLD.lanes:
        redis.xgroup_create(lane, GROUP, "0", mkstream=True)
    redis.xadd(OLD.lanes[1], {"url": "http://a/1"})
    redis.xadd(OLD.lanes[1], {"url": "http://a/2", "family": "walk"})
    redis.xreadgroup(GROUP, "dead", {OLD.lanes[1]: ">"}, count=1)
    redis.zadd(OLD.delayed, {'[1,1,["url","http://b/","watcher","w"]]': 4e12})
    redis.hset(OLD.watchers, "w", "1")
    redis.hset(
        OLD.counts, mapping={"discovered:2": 2, "discovered:1": 1, "delayed:1": 1, "serial": 1}
    )
    for mark in MARKS:
        bucket = int.from_bytes(mark.to_bytes(8, signed=True)[:2]) % EARLIER_SEEN_BUCKETS
        redis.sadd(OLD.seen(bucket), mark)
    redis.sadd(OLD.families, "walk")
    redis.sadd(OLD.family("walk"), 5)
    names = HostKeys(is_tagged=False)
    redis.sadd(names.hosts, "a")
    redis.hset(names.gates, mapping={"a": round((time.time() + 60.0) * 1e6), "b": 1})
    redis.hset(names.host("a"), mapping={"rate": str(2.5 * MARGIN), "crawl_delay": "1.5"})


@pytest.mark.usefixtures("earlier")
def test_a_queue_of_an_earlier_version_is_taken_over(redis, caplog):
    queue = RequestQueue(redis, "test:queue", worker="new")
    queue.open()
    status = queue.status()

    assert caplog.messages == ["The queue test:queue is of an earlier version, and is taken over"]
    assert (status.left, status.watchers, status.imbalance()) == (2, 1, 0)
    assert hosts(redis, "test:queue") == {"a": {"queued": 1, "leased": 1}, "b": {"delayed": 1}}
    assert [one.fields[b"url"] for one in queue.lease(5)[1]] == [b"http://a/2"]
    assert redis.xpending(NEW.lanes[1], GROUP)["pending"] == 2


@pytest.mark.usefixtures("earlier")
def test_what_was_seen_by_an_earlier_version_is_not_added_again(redis):
    queue = RequestQueue(redis, "test:queue", worker="new")
    queue.open()
    adds = []
    for mark in MARKS:
        bucket = int.from_bytes(mark.to_bytes(8, signed=True)[:4]) % SEEN_BUCKETS
        adds.append(Add(2, {"url": "http://a/"}, (bucket, str(mark))))

    assert queue.commit([*adds, Add(2, {"url": "http://a/"}, ("walk", "5"))]) == [False] * 8


@pytest.mark.usefixtures("earlier")
def test_what_hosts_asked_an_earlier_version_for_is_kept(redis):
    RequestQueue(redis, "test:queue", worker="new").open()

    [a] = [host for host in Hosts(redis, "throttle").status() if host.name == "a"]
    assert (a.held, a.set_rate, a.crawl_delay) == (pytest.approx(60.0, abs=5.0), 2.5, 1.5)


@pytest.mark.usefixtures("earlier")
def test_an_earlier_version_refuses_the_queue_from_then_on_and_what_it_does_is_undone(redis):
    queue = RequestQueue(redis, "test:queue", worker="new")
    queue.open()
    # One that had not noticed commits what it still held.
    redis.xadd(OLD.lanes[1], {"url": "http://a/of-a-page-that-is-fetched-again"})
    queue.open()
    again = RequestQueue(redis, "test:queue", worker="other")
    again.open()

    assert redis.hget(OLD.about, "version") == str(VERSION).encode()
    assert queue.status().left == 2
    assert redis.delete(OLD.lanes[1]) == 1


def test_a_queue_whose_names_had_a_tag_already_is_taken_over(redis):
    leave(redis, QueueKeys(TAGGED, is_tagged=False))

    queue = RequestQueue(redis, TAGGED, worker="new")
    queue.open()
    adds = []
    for mark in MARKS:
        bucket = int.from_bytes(mark.to_bytes(8, signed=True)[:4]) % SEEN_BUCKETS
        adds.append(Add(2, {"url": "http://a/"}, (bucket, str(mark))))

    assert queue.status().left == 2
    assert hosts(redis, TAGGED) == {"a": {"queued": 1, "leased": 1}, "b": {"delayed": 1}}
    assert queue.commit(adds) == [False] * len(MARKS)
    assert redis.hget(QueueKeys(TAGGED).about, "version") == str(VERSION).encode()


@pytest.mark.usefixtures("earlier")
def test_earlier_workers_of_other_spiders_go_on_heeding_what_they_know(redis):
    RequestQueue(redis, "test:queue", worker="new").open()

    names = HostKeys(is_tagged=False)
    assert redis.hexists(names.gates, "a")
    assert redis.hget(names.host("a"), "crawl_delay") == b"1.5"


def test_a_new_queue_is_refused_by_earlier_versions(redis):
    RequestQueue(redis, "test:queue").open()

    assert redis.hget(OLD.about, "version") == str(VERSION).encode()


@pytest.mark.usefixtures("earlier")
@pytest.mark.parametrize("steps", range(14))
def test_a_death_while_it_is_taken_over_loses_nothing(redis, monkeypatch, steps):
    """Each step is cut off once, and another worker repeats it."""
    monkeypatch.setattr("extensions.earlier._LOCKED", 0.05)
    execute, left = type(redis).execute_command, iter(range(steps))

    def cut_off(self, *words, **options):
        if words[0] != "GET" and next(left, None) is None:
            raise ZeroDivisionError
        return execute(self, *words, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(redis), "execute_command", cut_off)
        with pytest.raises(ZeroDivisionError):
            RequestQueue(redis, "test:queue", worker="killed").open()
    queue = RequestQueue(redis, "test:queue", worker="new")
    queue.open()

    assert queue.status().left == 2
    assert sum(redis.scard(key) for key in redis.scan_iter("{test}:queue:seen:*")) == len(MARKS)
    [leased] = queue.lease(5)[1]
    assert queue.commit([Done(leased, "archived")]) == [True]
    assert hosts(redis, "test:queue") == {"a": {"leased": 1}, "b": {"delayed": 1}}


@pytest.mark.parametrize("version", [1, None])
def test_an_index_of_an_earlier_version_is_taken_over(redis, version):
    index = BattleIndex(redis, "mine")
    index.add([ENTRY])
    index.withdraw({"gen9ou-2": 5})
    before = {key.decode() for key in redis.scan_iter()}
    for key in before:
        redis.rename(key, key.replace("{mine}", "mine"))
    old = IndexKeys("mine", is_tagged=False)
    if version is not None:
        redis.set(old.version, version)
    index.check()
    read_before = index.known([ENTRY.id])

    index.claim()

    assert {key.decode() for key in redis.scan_iter()} == before | {old.version, index.keys.version}
    assert read_before == index.known([ENTRY.id]) == {ENTRY.id}
    assert index.withdrawn(["gen9ou-2"]) == {"gen9ou-2"}
    assert redis.get(old.version) == redis.get(index.keys.version) == b"2"
