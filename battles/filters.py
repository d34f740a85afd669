"""The filters that searching and exporting share on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from battles.arguments import ArgumentError, read_count, read_time
from battles.index import Query
from battles.parsers.names import to_id

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_filters(parser: ArgumentParser) -> None:
    """Add the options."""
    group = parser.add_argument_group("Filters")
    group.add_argument("--format", metavar="F", help="as in gen9ou, or '[Gen 9] OU'")
    group.add_argument("--player", metavar="P", help="a player's name, on any side")
    group.add_argument("--min-rating", metavar="N", help="rated at least so high")
    group.add_argument("--since", metavar="D", help="uploaded then or later: 2026-11-01 (UTC)")
    group.add_argument("--until", metavar="D", help="uploaded before then")


def read_filters(options: Namespace) -> Query:
    """Build the query.

    Raises:
        ArgumentError: an option makes no sense.

    """
    since, until = read_time("--since", options.since), read_time("--until", options.until)
    if since is not None and until is not None and since >= until:
        raise ArgumentError("--since is not before --until: there is nothing between them")
    return Query(
        formatid=_name("--format", options.format),
        player=_name("--player", options.player),
        min_rating=read_count("--min-rating", options.min_rating),
        since=since,
        until=until,
    )


def _name(option: str, text: str | None) -> str | None:
    if text is None:
        return None
    # A name of nothing but emoji has no id, and is compared as it is.
    name = to_id(text) or (text.strip() if option == "--player" else "")
    if not name:
        raise ArgumentError(f"{option}={text!r}: give a name")
    return name
