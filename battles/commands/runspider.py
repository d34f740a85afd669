"""Scrapy's own `runspider`, which checks the settings first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy.commands import runspider

from battles.console import begin, complain_briefly, complaints
from battles.spools import write_note

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


class Command(runspider.Command):
    """`scrapy runspider FILE`: on the queue that all workers share, as `crawl`."""

    def add_options(self, parser: ArgumentParser) -> None:
        super().add_options(parser)
        complain_briefly(parser)

    def process_options(self, args: list[str], opts: Namespace) -> None:
        super().process_options(args, opts)
        begin(self)
        assert self.settings is not None  # noqa: S101 -- Scrapy has set it by now
        with complaints(self):
            write_note(self.settings)
