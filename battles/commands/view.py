"""Scrapy's own `view`, which takes nothing from the queue that all workers share."""

from __future__ import annotations

from scrapy.commands import view

from battles.commands import fetch


class Command(fetch.Command, view.Command):
    """`scrapy view URL`: ends with status 1 when nothing came, or an error."""
