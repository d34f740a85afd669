from __future__ import annotations

import json

import pytest

from battles.commands.queue import Command, table
from extensions.keys import LANES, QueueKeys
from extensions.queue import Add, RequestQueue, Status

KEYS = QueueKeys("replays:queue")


@pytest.fixture
def queue(redis) -> RequestQueue:
    queue = RequestQueue(redis, "replays:queue", worker="ann")
    queue.open()
    return queue


def fill(queue: RequestQueue) -> None:
    """Put one search and three battles in, of which one is leased and one delayed."""
    url = "https://replay.example/{}.json".format
    queue.commit([Add(1, {"url": url("search")}), Add(2, {"url": url("a")})])
    queue.commit([Add(2, {"url": url("b")}, delay=60.0), Add(3, {"url": url("c")})])
    queue.commit([Add(1, {"url": url("search"), "watcher": "w"}, delay=60.0)])
    queue.lease(1)


@pytest.mark.parametrize("words", [["queue"], ["queue", "status"]], ids=["alone", "by name"])
def test_the_status_says_where_the_requests_are(scrapy, queue, words):
    fill(queue)

    outcome = scrapy(*words)

    assert outcome.status == 0
    assert [line.split() for line in outcome.lines] == [
        ["running:", "4", "left,", "1", "watchers"],
        ["discovered", "queued", "leased", "delayed"],
        ["discovery", "2", "0", "1", "1"],
        ["downloads", "2", "1", "0", "1"],
        ["backfill", "1", "1", "0", "0"],
        ["replay.example:", "2", "delayed,", "1", "leased,", "2", "queued"],
    ]


def test_the_status_of_a_queue_that_was_never_used_is_nothing(scrapy):
    outcome = scrapy("queue")

    assert outcome.lines[0] == "running: 0 left, 0 watchers"


def test_the_status_is_printed_as_json(scrapy, queue):
    fill(queue)

    outcome = scrapy("queue", "--json")

    assert json.loads(outcome.output) == {
        "state": "running",
        "is_flooded": False,
        "left": 4,
        "watchers": 1,
        "listed": 0,
        "dead_letters": 0,
        "lanes": {
            "discovery": {"discovered": 2, "queued": 0, "leased": 1, "delayed": 1},
            "downloads": {"discovered": 2, "queued": 1, "leased": 0, "delayed": 1},
            "backfill": {"discovered": 1, "queued": 1, "leased": 0},
        },
        "imbalance": 0,
        "hosts": {"replay.example": {"leased": 1, "queued": 2, "delayed": 2}},
        "blocked": {},
    }


def test_another_spiders_queue_can_be_asked_for(scrapy, redis):
    rooms = RequestQueue(redis, "rooms:queue", worker="ann")
    rooms.open()
    rooms.commit([Add(1, {"url": "https://rooms.example"})])

    outcome = scrapy("queue", "--spider", "rooms")

    assert outcome.lines[0] == "running: 1 left, 0 watchers"


@pytest.mark.parametrize(
    ("spider", "hint"),
    [("room", "did you mean 'rooms'?"), ("xyz", "there are replays, rooms"), ("", "there are")],
)
def test_an_unknown_spider_has_no_queue(scrapy, spider, hint):
    outcome = scrapy("queue", "--spider", spider)

    assert (outcome.status, outcome.output) == (2, "")
    assert outcome.complaint.startswith(f"there is no spider {spider!r}: {hint}")


def test_watching_shows_the_status_until_it_is_interrupted(scrapy, monkeypatch):
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("battles.commands.queue.time.sleep", sleep)

    outcome = scrapy("queue", "--watch")

    assert outcome.status == 0
    assert looks == [2.0] * 3
    assert outcome.output.count("0 left") == 3


@pytest.mark.parametrize(
    ("action", "state"), [("pause", "paused"), ("drain", "draining"), ("resume", "running")]
)
def test_every_worker_is_told_what_to_do(scrapy, queue, action, state):
    queue.set_state("paused")

    outcome = scrapy("queue", action)

    assert outcome.output == f"replays: {state}\n"
    assert queue.status().state == state


@pytest.mark.parametrize("words", [[], ["pause"], ["purge", "--yes"]], ids=str)
def test_a_queue_is_steered_whatever_is_wrong_with_the_archive(scrapy, words):
    outcome = scrapy("queue", *words, ARCHIVE_URL="s3:nonsense")

    assert (outcome.status, outcome.errors) == (0, "")


def test_nothing_is_thrown_away_without_a_yes(scrapy, queue):
    fill(queue)

    outcome = scrapy("queue", "purge")

    assert outcome.status == 2
    assert outcome.complaint == (
        "this would throw away 4 requests and 0 dead letters: repeat it with --yes"
    )
    assert queue.status().left == 4


def test_a_queue_is_thrown_away_and_the_battles_stay(scrapy, queue, archive, battles):
    fill(queue)
    archive.keep(battles[:2])

    outcome = scrapy("queue", "purge", "--yes")

    assert outcome.output == "4 requests and 0 dead letters thrown away\n"
    assert (queue.status().left, len(archive.index)) == (0, 2)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["stop"], "'stop': give one of status, pause, resume, drain, purge"),
        (["pause", "now"], "'pause now': give one of status, pause, resume, drain, purge"),
    ],
    ids=["unknown", "too many"],
)
def test_what_makes_no_sense_is_said_in_one_line(scrapy, words, complaint):
    outcome = scrapy("queue", *words)

    assert (outcome.status, outcome.complaint) == (2, complaint)


def test_a_redis_that_is_away_is_said_in_one_line(scrapy, tmp_path):
    outcome = scrapy("queue", REDIS_URL=f"unix://{tmp_path}/nothing")

    assert outcome.status == 1
    assert outcome.complaint.startswith("Redis does not answer: ")


def test_a_hostile_entry_does_not_hide_the_others(scrapy, queue, redis):
    fill(queue)
    redis.xadd(KEYS.lanes[0], {"url": "http://[half"})

    outcome = scrapy("queue")

    assert outcome.status == 0
    assert outcome.lines[-2:] == [
        "replay.example: 2 delayed, 1 leased, 2 queued",
        "the ledger is off by 1: please report this",
    ]


@pytest.mark.parametrize(
    "member", ["{", "5", "[1,9,[]]", '[1,"2",{"url":"u"}]', '["x",[1],null]', "[" * 9999, "\xff"]
)
def test_a_hostile_member_of_the_delayed_does_not_hide_the_others(scrapy, queue, redis, member):
    fill(queue)
    redis.zadd(KEYS.delayed, {member.encode("latin-1"): 1.0})
    queue.lease(1)

    outcome = scrapy("queue")

    assert outcome.status == 0
    assert "?: 1 leased" in outcome.lines
    assert not [line for line in outcome.lines if "the ledger is off" in line]


def test_a_password_in_an_address_is_not_shown(scrapy, queue):
    queue.commit([Add(2, {"url": "http://ann:secret@site/"})])

    outcome = scrapy("queue", "--json")

    assert json.loads(outcome.output)["hosts"] == {"site": {"queued": 1}}
    assert "secret" not in outcome.output


def test_a_table_has_a_column_for_each_outcome():
    lanes = {name: {"discovered": 0, "queued": 0, "leased": 0} for name in LANES}
    lanes["downloads"] |= {"discovered": 8, "archived": 5, "gone": 3}

    text = table(Status("draining", 0, 0, 0, lanes), {})

    _, head, _, downloads, _ = text.splitlines()
    assert head.split() == ["discovered", "queued", "leased", "delayed", "archived", "gone"]
    assert downloads.split() == ["downloads", "8", "0", "0", "0", "5", "3"]


def test_help_names_what_can_be_done(scrapy):
    outcome = scrapy("queue", "--help")

    assert outcome.status == 0
    assert "[status|pause|resume|drain|purge]" in outcome.output
    assert "stored battles stay" in " ".join(outcome.output.split())


def test_the_list_of_commands_says_what_this_one_does():
    assert Command().short_desc() == "Show and steer the queue that all workers share"
