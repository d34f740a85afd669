"""Scrapy's own `check`, which takes nothing from the queue that all workers share."""

from __future__ import annotations

from scrapy.commands import check

from battles.one_off import OneOffCommand


class Command(OneOffCommand, check.Command):
    """`scrapy check`."""
