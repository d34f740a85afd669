"""Show one stored battle."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from scrapy.commands import ScrapyCommand
from scrapy.exceptions import UsageError

from battles.console import archive_of, fail, print_json
from battles.records import to_record
from battles.summary import describe

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


class Command(ScrapyCommand):
    """`scrapy battle ID`."""

    requires_project = True
    requires_crawler_process = False
    default_settings = {"LOG_ENABLED": False}

    def syntax(self) -> str:
        return "[options] ID"

    def short_desc(self) -> str:
        return "Show one stored battle"

    def add_options(self, parser: ArgumentParser) -> None:
        super().add_options(parser)
        parser.add_argument("--log", action="store_true", help="print its log and nothing else")
        parser.add_argument("--json", action="store_true", help="print it as JSON")

    def run(self, args: list[str], opts: Namespace) -> None:
        if len(args) != 1:
            raise UsageError("give one battle's id, as in `scrapy battle gen9ou-2390483321`")
        with archive_of(self) as corpus:
            battle = corpus.battle(args[0])
            if battle is None:
                held = len(corpus.index)
                fail(self, f"{args[0]} is not in the archive, which holds {held} battles")
            elif opts.log:
                sys.stdout.write(battle.log.rstrip("\n") + "\n")
            elif opts.json:
                print_json(to_record(battle))
            else:
                sys.stdout.write(describe(battle) + "\n")
