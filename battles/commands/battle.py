"""Show one stored battle."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from scrapy.exceptions import UsageError
from scrapy.spiderloader import get_spider_loader

from battles.console import ArchiveCommand, archive_of, fail, print_json
from battles.explain import NOBODY_KNOWS, explain
from battles.parsers.names import is_private_id, pasted_battle
from battles.records import to_record
from battles.summary import describe
from extensions.connection import connect
from extensions.scheduler import namespace_of

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from battles.corpus import Corpus


class Command(ArchiveCommand):
    """`scrapy battle ID`."""

    def syntax(self) -> str:
        return "[options] ID|URL"

    def short_desc(self) -> str:
        return "Show one stored battle"

    def add_options(self, parser: ArgumentParser) -> None:
        super().add_options(parser)
        parser.add_argument("--log", action="store_true", help="print its log and nothing else")
        parser.add_argument("--json", action="store_true", help="print it as JSON")
        parser.add_argument("--explain", action="store_true", help="tell where it is on its way")

    def run(self, args: list[str], opts: Namespace) -> None:
        if len(args) != 1:
            raise UsageError("give one battle's id, as in `scrapy battle gen9ou-2390483321`")
        battle_id = pasted_battle(args[0])
        if battle_id is None:
            raise UsageError(f"{args[0]!r} names no battle: give its id or its address")
        if is_private_id(battle_id):
            fail(self, f"{battle_id} is a private replay: those are neither fetched nor kept")
            return
        with archive_of(self) as corpus:
            if opts.explain:
                self._explain(corpus, battle_id, as_json=opts.json)
            else:
                self._show(corpus, battle_id, opts)

    def _show(self, corpus: Corpus, battle_id: str, opts: Namespace) -> None:
        battle = corpus.battle(battle_id)
        if battle is None:
            held = len(corpus.index)
            holds = f"holds {held} battles" if held else "is empty: `scrapy crawl replays` fills it"
            fail(self, f"{battle_id} is not in the archive, which {holds}")
        elif opts.log:
            sys.stdout.write(battle.log.rstrip("\n") + "\n")
        elif opts.json:
            print_json(to_record(battle))
        else:
            sys.stdout.write(describe(battle) + "\n")

    def _explain(self, corpus: Corpus, battle_id: str, *, as_json: bool) -> None:
        settings = self.settings
        assert settings is not None  # noqa: S101 -- Scrapy has set it by now
        queues = [namespace_of(settings, spider) for spider in get_spider_loader(settings).list()]
        lines = explain(connect(settings), corpus.index, battle_id, queues)
        if as_json:
            print_json({"id": battle_id, "known": lines})
        elif lines:
            sys.stdout.write("\n".join(lines) + "\n")
        if not lines:
            fail(self, f"{battle_id}: {NOBODY_KNOWS}")
