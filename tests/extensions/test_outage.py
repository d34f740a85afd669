"""What is said while a server does not answer, and how long it is left alone."""

from __future__ import annotations

import logging

import pytest

from extensions.outage import Backoff, Failure, Outage

HOST = "site.example"
REFUSED = Failure("HTTP 503")
UNREACHABLE = Failure("Connection refused", OSError())


@pytest.fixture
def outage(clock, caplog) -> Outage:
    caplog.set_level(logging.INFO)
    return Outage(HOST, clock)


@pytest.fixture
def backoff(clock) -> Backoff:
    return Backoff(5.0, 300.0, clock)


# --- The log --------------------------------------------------------------------------------------


def test_each_cause_is_said_once_until_it_changes(outage, caplog):
    for failure in (REFUSED, REFUSED, UNREACHABLE, UNREACHABLE, REFUSED):
        outage.failed(failure)

    assert caplog.messages == [
        f"{HOST} refuses us: HTTP 503",
        f"{HOST} cannot be reached: Connection refused",
        f"{HOST} refuses us: HTTP 503",
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_what_the_server_says_of_itself_is_news(outage, caplog):
    outage.failed(REFUSED)
    outage.failed(REFUSED, "You are\nlocked.")
    outage.failed(REFUSED, "You are locked.")

    assert caplog.messages == [
        f"{HOST} refuses us: HTTP 503",
        f"{HOST} refuses us: HTTP 503; it says: You are locked.",
    ]


def test_the_end_is_said_once_with_its_length(outage, caplog, clock):
    outage.answered()
    for _ in range(3):
        outage.failed(REFUSED)
        clock.now += 100.0
    outage.answered()
    outage.answered()

    assert caplog.messages[1:] == [f"{HOST} answers again after 300 s, 4 attempts"]


def test_after_the_end_the_same_cause_is_news(outage, caplog):
    outage.failed(REFUSED)
    outage.answered()
    outage.failed(REFUSED)

    assert caplog.messages[0] == caplog.messages[2]


# --- The pauses -----------------------------------------------------------------------------------


def test_pauses_double_up_to_a_limit(backoff, clock):
    pauses = []
    for _ in range(8):
        pauses.append(backoff.failed())
        clock.now += pauses[-1]

    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300]


def test_failures_of_one_moment_count_once(backoff, clock):
    assert [backoff.failed(), backoff.failed()] == [5.0, 5.0]
    clock.now += 2.0
    assert backoff.failed() == 3.0


def test_what_the_server_asks_for_is_heeded(backoff, clock):
    assert backoff.failed(70.0) == 70.0
    clock.now += 70.0
    assert backoff.failed() == 10.0


def test_after_a_reset_pauses_are_short_again(backoff):
    backoff.failed()
    backoff.reset()

    assert (backoff.left, backoff.failed()) == (0.0, 5.0)
