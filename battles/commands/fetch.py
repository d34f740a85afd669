"""Scrapy's own `fetch`, which takes nothing from the queue that all workers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy.commands import fetch

from battles.console import check_spider, fail
from battles.one_off import OneOffCommand, check_scheme

if TYPE_CHECKING:
    from argparse import Namespace

    from scrapy.http import Response

_ERROR = 400
"""The least status of a reply that is an error."""


class Command(OneOffCommand, fetch.Command):
    """`scrapy fetch URL`: ends with status 1 when nothing came, or an error."""

    has_answer = False

    def process_options(self, args: list[str], opts: Namespace) -> None:
        super().process_options(args, opts)
        assert self.settings is not None  # noqa: S101 -- Scrapy has set it by now
        check_scheme(self.settings, args)
        if opts.spider is not None:
            check_spider(self.settings, opts.spider)

    def run(self, args: list[str], opts: Namespace) -> None:
        super().run(args, opts)
        if not self.has_answer:
            fail(self, f"nothing was fetched from {args[0]}")

    def _print_response(self, response: Response, opts: Namespace) -> None:
        self.has_answer = True
        super()._print_response(response, opts)
        if response.status >= _ERROR:
            fail(self, f"{response.url} answered with status {response.status}")
