from __future__ import annotations

import pytest

from extensions.dead_letters import Failure, write_letter
from extensions.inspection import Found, find, hosts
from extensions.keys import QueueKeys
from extensions.queue import Add, Bury, RequestQueue

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

    found = find(redis, "test", URL.__eq__)

    assert found == [Found(URL, "queued", "backfill", "since 1795294033")]


def test_a_leased_request_is_found_with_its_holder(queue, redis):
    queue.commit([add()])
    queue.lease(1)

    found = find(redis, "test", URL.__eq__)

    assert found == [Found(URL, "leased", "downloads", "by ann, delivery 1")]


def test_a_delayed_request_is_found_with_when_it_is_due(queue, redis, clock):
    clock.now = 1_800_000_000.0
    queue.commit([add(lane=1, delay=60.0)])

    found = find(redis, "test", URL.__eq__)

    assert found == [Found(URL, "delayed", "discovery", "due at 1800000060")]


def test_a_dead_request_is_found_with_why_it_died(queue, redis):
    bury(queue)

    found = find(redis, "test", URL.__eq__)

    assert found == [Found(URL, "dead", "discovery", "letter 1: HTTP 500")]


def test_only_requests_for_the_address_are_found(queue, redis):
    queue.commit([add(f"{URL}/other"), add(), add(f"{URL}/more")])

    found = find(redis, "test", URL.__eq__)

    assert [one.url for one in found] == [URL]


def test_nothing_is_found_in_a_queue_that_is_not_there(redis):
    assert find(redis, "nothing", URL.__eq__) == []


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


def test_counting_stops_at_its_limit(queue, redis):
    queue.commit([add(f"{URL}/{n}") for n in range(10)])

    counts = hosts(redis, "test", limit=4)

    assert counts == {"site": {"queued": 4}}


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize(
    "fields",
    [{"url": "http://[half"}, {"url": ""}, {"no": "url"}, {"url": b"\xff"}],
    ids=["an impossible one", "empty", "none", "no text"],
)
def test_an_entry_without_a_usable_address_is_counted_under_a_question_mark(redis, fields):
    redis.xadd(QueueKeys("test").lanes[0], fields)

    counts = hosts(redis, "test")

    assert counts == {"?": {"queued": 1}}


def test_a_letter_whose_request_cannot_be_read_is_counted_under_a_question_mark(queue, redis):
    bury(queue, fields=[])

    counts = hosts(redis, "test")

    assert counts == {"?": {"dead": 1}}
