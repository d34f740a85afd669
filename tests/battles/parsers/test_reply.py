"""What only claims to be JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from battles.parsers.reply import BadReplyError, RefusedError, parse_json


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("search/bad_page", "Invalid page number: 0"),
        ("search/bad_page2", "Invalid page number: x"),
        ("search/bad_sort", 'Sort must be "rating" or "date"'),
        ("search/contains_more", "Contains can't be combined with other things."),
        ("search/three_users", "Limit 2 usernames in a search"),
        (
            "search/page_before",
            'Cannot set both "page" and "before", please choose one method of pagination',
        ),
    ],
)
def test_an_error_with_status_200_says_what_the_site_says(captured, name, message):
    with pytest.raises(RefusedError) as caught:
        parse_json(captured(name))

    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["search/search_notjson", "replays/batch"])
def test_a_reply_behind_a_bracket_is_refused(captured, name):
    with pytest.raises(RefusedError, match=r"unknown error b'\]\["):
        parse_json(captured(name))


@pytest.mark.parametrize("name", ["search/unknown_action", "replays/get_404_json"])
def test_plain_text_is_no_json(captured, name):
    with pytest.raises(BadReplyError, match="not JSON"):
        parse_json(captured(name))


@pytest.mark.parametrize("name", ["search/format", "search/recent", "replays/get_json"])
def test_a_reply_that_breaks_off_is_bad(captured, name):
    with pytest.raises(BadReplyError, match=r"broken JSON of 3\d{3} bytes"):
        parse_json(captured(name))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<!DOCTYPE html><title>Just a moment...</title>", id="a challenge page"),
        pytest.param(b" []", id="a space"),
        pytest.param(b"\xef\xbb\xbf[]", id="a byte order mark"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[\xff]", id="no UTF-8"),
        pytest.param(b"[" * 100_000, id="too deep"),
        pytest.param(b"[" + b"9" * 5000 + b"]", id="a number without end"),
    ],
)
def test_what_is_no_json_is_bad(body):
    with pytest.raises(BadReplyError):
        parse_json(body)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"]", id="a bracket alone"),
        pytest.param(b"]{}", id="no error in it"),
        pytest.param(b"]null", id="null"),
        pytest.param(b'{"actionerror":"', id="no bracket"),
        pytest.param(b']{"actionerror":[1]}', id="an error that is no text"),
        pytest.param(b"]" + b'{"actionerror":' * 100_000, id="too deep"),
    ],
)
def test_an_error_that_cannot_be_read_is_an_error(body):
    with pytest.raises((RefusedError, BadReplyError), match=r"unknown error|broken JSON"):
        parse_json(body)


def test_an_error_can_be_written_down_whatever_the_site_puts_into_it():
    with pytest.raises(RefusedError) as caught:
        parse_json(b']{"actionerror":"\\ud800' + b"x" * 10_000 + b'"}')

    assert str(caught.value).encode() == b"?" + b"x" * 199


@settings(deadline=None)
@given(st.binary() | st.binary().map(b"[".__add__) | st.binary().map(b"]".__add__))
@example(b"[1]")
def test_any_bytes_are_json_or_a_known_error(body):
    try:
        reply = parse_json(body)
    except (BadReplyError, RefusedError) as error:
        reply = str(error)

    assert json.dumps(reply)
