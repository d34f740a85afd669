"""Rebuild the index from the segments."""

from __future__ import annotations

import sys
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
            "Throw the index in Redis away and build it from the stored segments. Safe to repeat."
        )

    def add_options(self, parser: ArgumentParser) -> None:
        super().add_options(parser)
        parser.add_argument("--json", action="store_true", help="print the outcome as JSON")

    def run(self, args: list[str], opts: Namespace) -> None:
        if args:
            raise UsageError("`scrapy reindex` takes no arguments")
        with archive_of(self) as corpus:
            segments = 0
            for _ in tqdm(corpus.rebuild_index(), unit=" segments", disable=None):
                segments += 1
            if opts.json:
                print_json({"battles": len(corpus.index), "segments": segments})
            else:
                sys.stdout.write(f"{len(corpus.index)} battles in {segments} segments\n")
