"""Scrapy's own `fetch`, which takes nothing from the queue that all workers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy.commands import fetch

from battles.console import fail
from battles.one_off import OneOffCommand

if TYPE_CHECKING:
    from argparse import Namespace

    from scrapy.http import Response


class Command(OneOffCommand, fetch.Command):
    """`scrapy fetch URL`: ends with status 1 when nothing came."""

    has_answer = False

    def run(self, args: list[str], opts: Namespace) -> None:
        super().run(args, opts)
        if not self.has_answer:
            fail(self, f"nothing was fetched from {args[0]}")

    def _print_response(self, response: Response, opts: Namespace) -> None:
        self.has_answer = True
        super()._print_response(response, opts)
