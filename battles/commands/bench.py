"""Scrapy's own `bench`, which takes nothing from the queue that all workers share."""

from __future__ import annotations

from scrapy.commands import bench

from battles.one_off import OneOffCommand


class Command(OneOffCommand, bench.Command):
    """`scrapy bench`."""
