from __future__ import annotations

import pytest

from extensions.addresses import one_line, without_credentials


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ann:secret@site/page", "http://site/page"),
        ("http://ann@site:80/", "http://site:80/"),
        ("http://ann:se@cret@site/", "http://site/"),
        ("wss://:@site?x", "wss://site?x"),
        (
            "<GET http://a:b@one/> and <GET http://c:d@two/>",
            "<GET http://one/> and <GET http://two/>",
        ),
        ('["http://a:b@proxy/","x@y"]', '["http://proxy/","x@y"]'),
        ("http://site/ann@home and a@b.c", "http://site/ann@home and a@b.c"),
        ("http://site?mail=a@b", "http://site?mail=a@b"),
    ],
)
def test_credentials_are_cut_from_addresses_and_nothing_else_is(text, shown):
    assert without_credentials(text) == shown


def test_a_line_holds_no_half_of_a_password_that_was_cut():
    assert one_line("x http://ann:secret@site/", 12) == "x http://sit"


def test_what_a_terminal_would_act_upon_is_not_shown():
    assert one_line("a\x1b[2J\x07\r\nERROR \u202e") == "a?[2J? ERROR ?"
