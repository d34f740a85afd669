from __future__ import annotations

import json

import pytest
from scrapy.exceptions import DropItem
from scrapy.http import Response
from twisted.python.failure import Failure as TwistedFailure

from extensions.dead_letters import DeadLetterError, Failure, write_letter
from extensions.queue import Leased

LEASED = Leased(2, "10400-0", {b"url": b"http://site/", b"meta": "é".encode()}, 3)


def letter_of(leased: Leased = LEASED, failure: Failure = Failure("why")) -> dict:  # noqa: B008 -- frozen
    return write_letter(leased, failure, attempts=2, now=20.6)


def test_a_letter_holds_what_is_needed_to_understand_and_to_repeat():
    letter = letter_of(failure=Failure("HTTP 403", 403, "no"))

    assert letter == {
        "lane": 2,
        "fields": ["url", "http://site/", "meta", "é"],
        "reason": "HTTP 403",
        "status": 403,
        "body": "no",
        "attempts": 2,
        "deliveries": 3,
        "queued_at": 10,
        "died_at": 21,
    }


def test_a_failure_keeps_the_first_500_bytes_of_the_reply():
    response = Response("http://site/", status=500, body=b"x" * 499 + "é".encode() + b"y" * 100)

    failure = Failure.of("HTTP 500", response)

    assert failure == Failure("HTTP 500", 500, "x" * 499 + "\N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize(
    "response", [None, TwistedFailure(OSError("down"))], ids=["nothing", "a failure"]
)
def test_without_a_reply_there_is_only_the_reason(response):
    assert Failure.of("down", response) == Failure("down")


@pytest.mark.parametrize(
    "fields",
    [
        {b"url": b"\xff"},
        {b"\xff": b"x"},
        {b"url": b"x" * (64 * 1024)},
        {str(n).encode(): b"x" for n in range(51)},
    ],
    ids=["no text", "no name", "too long", "too many"],
)
def test_a_request_that_cannot_be_put_back_is_not_kept(fields):
    letter = letter_of(Leased(1, "1-0", fields))

    assert letter["fields"] == []


def test_a_reason_that_quotes_a_page_is_cut():
    letter = letter_of(failure=Failure("x" * 1_000_000))

    assert letter["reason"] == "x" * 2000


def test_a_reason_with_half_a_surrogate_pair_is_still_text():
    letter = letter_of(failure=Failure("bad name: \ud800"))

    assert json.dumps(letter, ensure_ascii=False).encode()
    assert letter["reason"] == "bad name: ?"


def test_an_item_dropped_for_a_dead_letter_is_dropped():
    assert issubclass(DeadLetterError, DropItem)


def test_a_letter_holds_no_password_of_an_address():
    url = "http://ann:secret@site/page"
    leased = Leased(2, "1-0", {b"url": url.encode(), b"meta": b'{"proxy":"http://a:secret@p/"}'})

    letter = write_letter(leased, Failure(f"{url}: no"), attempts=1, now=2.0)

    assert "secret" not in str(letter)
    assert letter["fields"][:2] == ["url", "http://site/page"]
