"""List stored battles."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING

from scrapy.exceptions import UsageError

from battles.arguments import read_count
from battles.console import ArchiveCommand, archive_of, fail, missing, print_json, usage_errors
from battles.filters import add_filters, read_filters
from battles.records import to_record
from battles.summary import line

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


class Command(ArchiveCommand):
    """`scrapy search`."""

    def syntax(self) -> str:
        return "[options]"

    def short_desc(self) -> str:
        return "List stored battles, newest first"

    def add_options(self, parser: ArgumentParser) -> None:
        super().add_options(parser)
        add_filters(parser)
        parser.add_argument(
            "--limit", default="50", metavar="N", help="the most to list; default 50"
        )
        parser.add_argument(
            "--json", action="store_true", help="a JSON object a line, without logs"
        )

    def run(self, args: list[str], opts: Namespace) -> None:
        if args:
            raise UsageError(f"{args[0]!r} is no option: `scrapy search --help` lists them")
        with usage_errors():
            query, limit = read_filters(opts), read_count("--limit", opts.limit)
        with archive_of(self) as corpus:
            found = 0
            for found, battle in enumerate(islice(corpus.search(query), limit), start=1):  # noqa: B007 -- counted
                if opts.json:
                    record = to_record(battle)
                    del record["log"]
                    print_json(record)
                else:
                    sys.stdout.write(line(battle) + "\n")
            if corpus.unreadable:
                fail(self, missing(corpus))
            elif not found:
                fail(self, corpus.why_nothing(query))
