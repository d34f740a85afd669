"""The filters of the command line."""

from __future__ import annotations

from argparse import ArgumentParser

import pytest

from battles.arguments import ArgumentError
from battles.filters import add_filters, read_filters
from battles.index import Query


def query(*arguments: str) -> Query:
    parser = ArgumentParser()
    add_filters(parser)
    return read_filters(parser.parse_args(arguments))


def test_no_filters_ask_for_everything():
    assert query() == Query()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--format", "[Gen 9] OU"], Query(formatid="gen9ou")),
        (["--player", "Zoë Müller"], Query(player="zomller")),
        (["--player", " ピカチュウ "], Query(player="ピカチュウ")),
        (["--min-rating", "1500"], Query(min_rating=1500)),
        (["--since", "2026-11-01"], Query(since=1793491200)),
        (["--until", "2026-11-01T00:00"], Query(until=1793491200)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_filter_narrows_the_query(arguments, expected):
    assert query(*arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "☕"], r"--format='☕': give a name"),
        (["--format", ""], r"--format='': give a name"),
        (["--player", "  "], r"--player='  ': give a name"),
        (["--min-rating", "high"], r"--min-rating='high': give a whole number"),
        (["--since", "soon"], r"--since='soon' is no date"),
        (["--until", "soon"], r"--until='soon' is no date"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_filter_that_makes_no_sense_says_which_it_is(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        query(*arguments)
