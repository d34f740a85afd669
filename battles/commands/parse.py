"""Scrapy's own `parse`, which takes nothing from the queue that all workers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy.commands import parse
from scrapy.exceptions import UsageError
from scrapy.spiderloader import get_spider_loader

from battles.console import check_spider, fail
from battles.one_off import OneOffCommand, check_scheme
from battles.parsers.names import battle_of

if TYPE_CHECKING:
    from argparse import Namespace

_SPIDER = "replays"
_CALLBACK = "parse_battle"


class Command(OneOffCommand, parse.Command):
    """`scrapy parse URL`: of a replay, its address is enough; status 1 when nothing came."""

    def process_options(self, args: list[str], opts: Namespace) -> None:
        super().process_options(args, opts)
        assert self.settings is not None  # noqa: S101 -- Scrapy has set it by now
        check_scheme(self.settings, args)
        if args and opts.spider is None:
            opts.spider = _SPIDER
        if args and opts.spider == _SPIDER and not opts.callback and battle_of(args[0]):
            opts.callback = _CALLBACK
        check_spider(self.settings, opts.spider or _SPIDER)
        spider = get_spider_loader(self.settings).load(opts.spider or _SPIDER)
        if not (opts.callback or opts.rules or "parse" in vars(spider)):
            raise UsageError(f"{spider.name} has no parse: give the callback, as in -c {_CALLBACK}")

        if opts.callback and not callable(getattr(spider, opts.callback, None)):
            raise UsageError(f"{spider.name} has no callback {opts.callback!r}")

    def run(self, args: list[str], opts: Namespace) -> None:
        super().run(args, opts)
        if self.first_response is None:
            fail(self, f"nothing was fetched from {args[0]}")
