"""Scrapy's own `runspider`, which checks the settings first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy.commands import runspider

from battles.console import begin, complain_briefly

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
