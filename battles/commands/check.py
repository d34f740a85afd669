"""Scrapy's own `check`, which takes nothing from the queue that all workers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy.commands import check

from battles.console import check_spider
from battles.one_off import OneOffCommand

if TYPE_CHECKING:
    from argparse import Namespace


class Command(OneOffCommand, check.Command):
    """`scrapy check`."""

    def process_options(self, args: list[str], opts: Namespace) -> None:
        super().process_options(args, opts)
        assert self.settings is not None  # noqa: S101 -- Scrapy has set it by now
        for name in args:
            check_spider(self.settings, name)
