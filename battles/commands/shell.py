"""Scrapy's own `shell`, which takes nothing from the queue that all workers share."""

from __future__ import annotations

from scrapy.commands import shell

from battles.one_off import OneOffCommand


class Command(OneOffCommand, shell.Command):
    """`scrapy shell`."""
