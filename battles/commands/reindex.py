"""Rebuild the index from the segments."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING

from scrapy.exceptions import UsageError
from tqdm import tqdm

from battles.console import ArchiveCommand, archive_of, print_json

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


class Command(ArchiveCommand):
    """`scrapy reindex`."""

    def syntax(self) -> str:
        return "[options]"

    def short_desc(self) -> str:
        return "Rebuild the index from the segments"

    def long_desc(self) -> str:
        return (
            "Build the index in Redis anew from the stored segments. The old one is in use until "
            "the new one is whole, and crawls may go on. Safe to repeat, and to break off."
        )

    def add_options(self, parser: ArgumentParser) -> None:
        super().add_options(parser)
        words = "replace the index also by an empty one, or one much smaller"
        parser.add_argument("--yes", action="store_true", help=words)
        parser.add_argument("--json", action="store_true", help="print the outcome as JSON")

    def run(self, args: list[str], opts: Namespace) -> None:
        if args:
            raise UsageError("`scrapy reindex` takes no arguments")
        with archive_of(self) as corpus:
            segments = 0
            with closing(corpus.rebuild_index(may_shrink=opts.yes)) as rebuilding:
                for _ in tqdm(rebuilding, unit=" segments", disable=None):
                    segments += 1
            if opts.json:
                print_json({"battles": len(corpus.index), "segments": segments})
            else:
                sys.stdout.write(f"{len(corpus.index)} battles in {segments} segments\n")
