from __future__ import annotations

import json
import time

import pytest

from extensions.dead_letters import Failure, write_letter
from extensions.queue import Add, Bury, RequestQueue

URL = "https://replay.example/{}.json"


@pytest.fixture
def queue(redis) -> RequestQueue:
    queue = RequestQueue(redis, "replays:queue", worker="ann")
    queue.open()
    return queue


def bury(queue: RequestQueue, name: str, failure: Failure, **changes) -> None:
    queue.commit([Add(2, {"url": URL.format(name), "priority": "-1"})])
    _, [leased] = queue.lease(1)
    letter = write_letter(leased, failure, attempts=3, now=2.0)
    queue.commit([Bury(leased, letter | changes)])


@pytest.fixture
def letters(queue) -> RequestQueue:
    """A queue with two letters, 1 and 2."""
    bury(queue, "a", Failure("HTTP 403", 403, "nö"))
    bury(queue, "b", Failure("OSError: down"))
    return queue


@pytest.mark.parametrize("words", [[], ["list"]], ids=["alone", "by name"])
@pytest.mark.usefixtures("letters")
def test_letters_are_listed_with_their_causes(scrapy, words):
    outcome = scrapy("deadletters", *words)

    assert outcome.status == 0
    assert outcome.lines == [
        "     1   403  https://replay.example/a.json  HTTP 403",
        "     2     -  https://replay.example/b.json  OSError: down",
    ]


def test_that_there_are_none_is_said(scrapy):
    outcome = scrapy("deadletters")

    assert (outcome.status, outcome.output) == (0, "no dead letters\n")


def test_none_are_no_lines_of_json(scrapy):
    outcome = scrapy("deadletters", "--json")

    assert (outcome.status, outcome.output) == (0, "")


@pytest.mark.usefixtures("letters")
def test_letters_are_listed_as_json(scrapy):
    outcome = scrapy("deadletters", "list", "--json")

    listed = [json.loads(line) for line in outcome.lines]
    assert [letter["id"] for letter in listed] == ["1", "2"]
    assert abs(time.time() - listed[0].pop("queued_at")) < 60
    assert listed[0] == {
        "id": "1",
        "url": "https://replay.example/a.json",
        "lane": 2,
        "reason": "HTTP 403",
        "status": 403,
        "body": "nö",
        "attempts": 3,
        "deliveries": 1,
        "died_at": 2,
        "request": {"url": "https://replay.example/a.json", "priority": "-1"},
    }


def test_a_letter_is_one_line_whatever_its_reason_says(scrapy, queue):
    bury(queue, "a", Failure("two\nlines \x1b[31mred"))

    outcome = scrapy("deadletters")

    assert outcome.output.endswith("two lines  [31mred\n")


def test_a_letter_whose_request_cannot_be_read_is_listed(scrapy, queue):
    bury(queue, "a", Failure("no request"), fields=[])

    outcome = scrapy("deadletters")

    assert outcome.lines == ["     1     -  ?  no request"]


@pytest.mark.usefixtures("letters")
def test_a_letter_is_shown_in_full(scrapy):
    outcome = scrapy("deadletters", "show", "1")

    shown = json.loads(outcome.output)
    assert outcome.status == 0
    assert (shown["body"], shown["request"]["priority"]) == ("nö", "-1")


@pytest.mark.usefixtures("letters")
def test_a_letter_that_is_not_there_is_said_and_the_others_are_shown(scrapy):
    outcome = scrapy("deadletters", "show", "7", "2")

    assert outcome.status == 1
    assert outcome.complaint == "there is no letter 7: `scrapy deadletters` lists them"
    assert json.loads(outcome.output)["url"] == URL.format("b")


def test_letters_are_put_back_into_the_queue(scrapy, letters):
    outcome = scrapy("deadletters", "requeue", "2")

    assert (outcome.status, outcome.output) == (0, "1 put back into the queue\n")
    assert list(letters.dead_letters()) == ["1"]
    assert letters.lease(5)[1][0].fields[b"url"] == URL.format("b").encode()


def test_all_letters_are_put_back_at_once(scrapy, letters):
    outcome = scrapy("deadletters", "requeue", "--all")

    assert outcome.output == "2 put back into the queue\n"
    assert (letters.status().left, letters.status().imbalance()) == (2, 0)


def test_with_no_letters_all_of_them_are_none(scrapy):
    outcome = scrapy("deadletters", "requeue", "--all")

    assert (outcome.status, outcome.output) == (0, "0 put back into the queue\n")


def test_letters_are_dropped(scrapy, letters):
    outcome = scrapy("deadletters", "drop", "1", "2")

    assert (outcome.status, outcome.output) == (0, "2 dropped\n")
    assert letters.status().total("dropped") == 2


def test_all_letters_are_dropped_at_once(scrapy, letters):
    outcome = scrapy("deadletters", "drop", "--all")

    assert (outcome.status, outcome.output) == (0, "2 dropped\n")
    assert letters.dead_letters() == {}


def test_what_could_not_be_put_back_is_named(scrapy, letters):
    bury(letters, "c", Failure("no request"), fields=[])

    outcome = scrapy("deadletters", "requeue", "1", "3", "9")

    assert (outcome.status, outcome.output) == (1, "1 put back into the queue\n")
    assert outcome.complaint == "not there, or too broken to put back: 3, 9"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["bury"], "'bury': give one of list, show, requeue, drop"),
        (["list", "1"], "list takes no letter's number"),
        (["show"], "show takes a letter's number"),
        (["requeue"], "requeue takes a letter's number, or --all for every letter"),
        (["drop"], "drop takes a letter's number, or --all for every letter"),
        (["show", "--all"], "--all goes with requeue or drop, and takes no letter's number"),
        (["list", "--all"], "--all goes with requeue or drop, and takes no letter's number"),
        (["drop", "1", "--all"], "--all goes with requeue or drop, and takes no letter's number"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_what_makes_no_sense_is_said_and_changes_nothing(scrapy, letters, words, complaint):
    outcome = scrapy("deadletters", *words)

    assert (outcome.status, outcome.complaint) == (2, complaint)
    assert len(letters.dead_letters()) == 2


def test_another_spiders_letters_can_be_asked_for(scrapy, letters):
    outcome = scrapy("deadletters", "--spider", "rooms")

    assert outcome.output == "no dead letters\n"
    assert len(letters.dead_letters()) == 2


def test_an_unknown_spiders_letters_are_nobodys(scrapy):
    outcome = scrapy("deadletters", "--spider", "replay")

    assert outcome.status == 2
    assert outcome.complaint == "there is no spider 'replay': did you mean 'replays'?"


@pytest.mark.usefixtures("letters")
def test_letters_are_settled_whatever_is_wrong_with_the_archive(scrapy):
    outcome = scrapy("deadletters", "requeue", "--all", ARCHIVE_URL="s3:nonsense")

    assert (outcome.status, outcome.output) == (0, "2 put back into the queue\n")


def test_help_names_what_can_be_done(scrapy):
    outcome = scrapy("deadletters", "--help")

    assert outcome.status == 0
    assert "[list | show ID | requeue ID…|--all | drop ID…|--all]" in outcome.output
