"""Scrapy's own `list`, which tells people what each spider is for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from scrapy.commands import list as scrapy_list
from scrapy.spiderloader import get_spider_loader

from battles.arguments import purpose_of
from battles.console import complain_briefly, print_what_can_be_shown

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


class Command(scrapy_list.Command):
    """`scrapy list`: names alone for programs, since scrapyd takes each line for a spider."""

    def short_desc(self) -> str:
        return "List the spiders, and what each is for"

    def add_options(self, parser: ArgumentParser) -> None:
        super().add_options(parser)
        complain_briefly(parser)

    def process_options(self, args: list[str], opts: Namespace) -> None:
        super().process_options(args, opts)
        print_what_can_be_shown()

    def run(self, args: list[str], opts: Namespace) -> None:
        if not sys.stdout.isatty():
            super().run(args, opts)
            return
        assert self.settings is not None  # noqa: S101 -- Scrapy has set it by now
        loader = get_spider_loader(self.settings)
        for name in sorted(loader.list()):
            sys.stdout.write(f"{name:12} {purpose_of(loader.load(name))}\n")
        sys.stdout.write("`scrapy crawl --help` names their arguments\n")
