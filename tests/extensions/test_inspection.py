from __future__ import annotations

import pytest

from extensions.dead_letters import Failure, write_letter
from extensions.inspection import Found, find, hosts
from extensions.keys import QueueKeys
from extensions.queue import Add, Bury, Done, RequestQueue, Return

URL = "http://site/page"


def add(url: str = URL, lane: int = 2, delay: float = 0.0) -> Add:
    return Add(lane, {"url": url}, delay=delay)


@pytest.fixture
def queue(redis, clock) -> RequestQueue:
    queue = RequestQueue(redis, "test", worker="ann", clock=clock)
    queue.open()
    return queue


def bury(queue: RequestQueue, url: str = URL, **changes) -> None:
    queue.commit([add(url, 1)])
    _, [leased] = queue.lease(1)
    letter = write_letter(leased, Failure("HTTP 500"), attempts=1, now=2.0)
    queue.commit([Bury(leased, letter | changes)])


@pytest.mark.usefixtures("queue")
def test_a_waiting_request_is_found_with_when_it_came(redis):
    redis.xadd(QueueKeys("test").lanes[2], {"url": URL}, id="1795294032999-0")

    found = find(redis, "test", URL.__eq__, containing="site/page")

    assert found == [Found(URL, "queued", "backfill", "since 1795294033")]


def test_a_leased_request_is_found_with_its_holder(queue, redis):
    queue.commit([add()])
    queue.lease(1)

    found = find(redis, "test", URL.__eq__, containing="site/page")

    assert found == [Found(URL, "leased", "downloads", "by ann, delivery 1")]


def test_a_delayed_request_is_found_with_when_it_is_due(queue, redis, clock):
    clock.now = 1_800_000_000.0
    queue.commit([add(lane=1, delay=60.0)])

    found = find(redis, "test", URL.__eq__, containing="site/page")

    assert found == [Found(URL, "delayed", "discovery", "due at 1800000060")]


def test_a_dead_request_is_found_with_why_it_died(queue, redis):
    bury(queue)

    found = find(redis, "test", URL.__eq__, containing="site/page")

    assert found == [Found(URL, "dead", "discovery", "letter 1: HTTP 500")]


def test_only_requests_for_the_address_are_found(queue, redis):
    queue.commit([add(f"{URL}/other"), add(), add(f"{URL}/more")])

    found = find(redis, "test", URL.__eq__, containing="site/page")

    assert [one.url for one in found] == [URL]


def test_nothing_is_found_in_a_queue_that_is_not_there(redis):
    assert find(redis, "nothing", URL.__eq__, containing=URL) == []


def test_what_stands_for_something_else_in_a_pattern_stands_for_itself(queue, redis):
    url = "http://site/[a]*?\\"
    queue.commit([add(url, delay=5.0), add("http://site/a", delay=5.0), add(url)])

    found = find(redis, "test", lambda _: True, containing="[a]*?")

    assert [(one.url, one.where) for one in found] == [(url, "queued"), (url, "delayed")]


def test_of_a_long_lane_only_what_is_found_is_sent(queue, redis, monkeypatch):
    monkeypatch.setattr("extensions.inspection._AT_ONCE", 10)
    queue.commit([add(f"{URL}/{n}") for n in range(100)])
    sent = []
    execute = type(redis).execute_command

    def note(self, *words, **options):
        sent.append((words[0], reply := execute(self, *words, **options)))
        return reply

    monkeypatch.setattr(type(redis), "execute_command", note)
    found = find(redis, "test", f"{URL}/77".__eq__, containing="/77")

    assert [one.url for one in found] == [f"{URL}/77"]
    assert sum(len(reply[1]) for name, reply in sent if name == "EVALSHA") == 1


def test_a_long_lane_is_read_in_parts(queue, redis, monkeypatch):
    monkeypatch.setattr("extensions.inspection._AT_ONCE", 3)
    queue.commit([add(f"{URL}/{n}") for n in range(10)])
    queue.lease(5)

    counts = hosts(redis, "test")

    assert counts == {"site": {"leased": 5, "queued": 5}}


def test_requests_are_counted_by_host_and_place(queue, redis):
    bury(queue, "http://b/1")
    queue.commit([add("http://a/1"), add("http://a/2", delay=5.0), add("https://b:81/1")])

    counts = hosts(redis, "test")

    assert counts == {"a": {"queued": 1, "delayed": 1}, "b:81": {"queued": 1}, "b": {"dead": 1}}


@pytest.mark.parametrize(
    "fields", [{"url": ""}, {"url": "nonsense"}, {"no": "url"}], ids=["empty", "no address", "none"]
)
def test_an_entry_without_a_usable_address_is_counted_under_a_question_mark(queue, redis, fields):
    queue.commit([Add(1, fields)])

    counts = hosts(redis, "test")

    assert counts == {"?": {"queued": 1}}


def counted(redis) -> dict[str, dict[str, int]]:
    return {host: dict(places) for host, places in hosts(redis, "test").items()}


def test_counts_of_hosts_go_along_with_what_is_delayed_and_held(queue, redis, clock):
    queue.commit([add("http://u:p@A/1"), add("http://a/2", delay=5.0), add("http://b/")])
    at_first = counted(redis)
    clock.now += 6.0
    queue.lease(0)
    due = counted(redis)
    queue.lease(3, {"a": 9.0})
    held = counted(redis)
    clock.now += 10.0
    queue.lease(2)

    assert at_first == {"a": {"queued": 1, "delayed": 1}, "b": {"queued": 1}}
    assert due == {"a": {"queued": 2}, "b": {"queued": 1}}
    assert held == {"a": {"delayed": 2}, "b": {"leased": 1}}
    assert counted(redis) == {"a": {"leased": 2}, "b": {"leased": 1}}


def test_counts_of_hosts_go_along_with_what_is_settled(queue, redis):
    bury(queue, "http://a/")
    buried = counted(redis)
    queue.requeue(["1"])
    put_back = counted(redis)
    _, [leased] = queue.lease(1)
    queue.commit([Return(leased, 3, {"url": "http://b/"})])
    returned = counted(redis)
    _, [leased] = queue.lease(1)
    queue.commit([Done(leased, "archived")])
    bury(queue, "http://c/")
    queue.drop(["2"])

    assert buried == {"a": {"dead": 1}}
    assert put_back == {"a": {"queued": 1}}
    assert returned == {"b": {"queued": 1}}
    assert redis.hgetall(QueueKeys("test").hosts) == {}


def test_a_letter_whose_request_cannot_be_read_is_counted_under_a_question_mark(queue, redis):
    bury(queue, fields=[])

    counts = hosts(redis, "test")

    assert counts == {"?": {"dead": 1}}


@pytest.mark.parametrize("delay", [0.0, 60.0], ids=["queued", "delayed"])
def test_an_address_is_found_without_its_password(queue, redis, delay):
    queue.commit([add("http://ann:secret@site/page", delay=delay)])

    [found] = find(redis, "test", URL.__eq__, containing="site/page")

    assert found.url == URL
    assert set(hosts(redis, "test")) == {"site"}


def test_a_dead_request_is_found_without_its_password(queue, redis):
    bury(queue, "http://ann:secret@site/page", reason="http://ann:secret@site/page: HTTP 500")

    [found] = find(redis, "test", URL.__eq__, containing="site/page")

    assert (found.url, found.detail) == (URL, "letter 1: http://site/page: HTTP 500")


@pytest.mark.usefixtures("queue")
def test_a_delayed_request_that_is_none_has_no_address(redis):
    redis.zadd(QueueKeys("test").delayed, {"[1,9,[]]": float("inf")})

    assert find(redis, "test", "".__eq__, containing="") == [
        Found("", "delayed", "discovery", "due at inf")
    ]


def test_a_host_that_a_terminal_would_act_upon_is_not_shown(queue, redis):
    queue.commit([add("http://a\x1b[2Jb/")])

    assert set(hosts(redis, "test")) == {"?"}
