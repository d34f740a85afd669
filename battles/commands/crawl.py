"""Scrapy's own `crawl`, which checks what it is given first."""

from __future__ import annotations

import sys
from argparse import RawDescriptionHelpFormatter
from textwrap import TextWrapper
from typing import TYPE_CHECKING

from scrapy.commands import ScrapyHelpFormatter, crawl
from scrapy.exceptions import UsageError
from scrapy.spiderloader import get_spider_loader

from battles.arguments import ArgumentError, purpose_of
from battles.console import archive_of, begin, check_spider, complain_briefly, fail
from battles.greeting import greeting, hide_start, is_greeted
from battles.identity import needs_contact
from battles.spools import spool_folder, write_note
from extensions.connection import check_memory
from extensions.scheduler import queue_from_settings
from extensions.storage import RefusedError, StorageError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from scrapy import Spider
    from scrapy.crawler import Crawler
    from scrapy.settings import Settings

    from extensions.storage import Storage

_GOOD_ENDS = ("finished", "shutdown", "closespider")
_INDENT = 28
"""Columns before what an argument means."""


class _HelpFormatter(RawDescriptionHelpFormatter, ScrapyHelpFormatter):
    """Keeps the lines in which the spiders are described."""


class Command(crawl.Command):
    """`scrapy crawl`: a wrong argument, no contact, Redis or archive stops it at once.

    Settings:
        CONTACT (unset): an address at which the site's operators reach you; in the user agent.
    """

    def syntax(self) -> str:
        return "[options] SPIDER [-a NAME=VALUE]…"

    def add_options(self, parser: ArgumentParser) -> None:
        super().add_options(parser)
        assert self.settings is not None  # noqa: S101 -- Scrapy has set it by now
        loader = get_spider_loader(self.settings)
        spiders = [loader.load(name) for name in sorted(loader.list())]
        complain_briefly(parser)
        parser.formatter_class = _HelpFormatter
        parser.epilog = "\n\n".join(_describe(spider) for spider in spiders)

    def process_options(self, args: list[str], opts: Namespace) -> None:
        """Check everything before Scrapy starts its log, so that a mistake is one line."""
        super().process_options(args, opts)
        begin(self)
        assert self.settings is not None  # noqa: S101 -- Scrapy has set it by now
        if self.settings.getbool("LOG_JSON", default=False):
            self.settings.set("LOG_INSTALL_ROOT_HANDLER", value=False, priority="cmdline")
        name = _spider_name(self.settings, args)
        sites = _check_spider(self.settings, name, opts.spargs)
        for site in sites:
            if complaint := needs_contact(self.settings, self.settings[site]):
                raise UsageError(complaint)
        with archive_of(self) as corpus:
            write_note(self.settings)
            check_memory(corpus.index.redis)
            # As the crawl does it a moment later: what Redis refuses shows here, in one line.
            queue_from_settings(self.settings, name).open()
            _check_storage(corpus.storage)
            text = greeting(self.settings, name, opts.spargs, sites)
        if is_greeted(self.settings):
            hide_start()
            sys.stderr.write(text)

    def run(self, args: list[str], opts: Namespace) -> None:
        super().run(args, opts)
        if not self._ended_well():
            self.exitcode = 1
        if left := self._segments_left():
            assert self.settings is not None  # noqa: S101 -- Scrapy has set it by now
            folder = spool_folder(self.settings)
            fail(
                self,
                f"{left} segments could not be stored and stay in {folder}: the next crawl of this "
                "archive that starts here stores them",
            )

    def _segments_left(self) -> int:
        stats = self._crawler.stats
        return int(stats.get_value("spool/segments_left", 0)) if stats else 0

    def _create_crawler(self, spidercls: type[Spider] | str) -> Crawler:
        self._crawler = super()._create_crawler(spidercls)
        return self._crawler

    def _ended_well(self) -> bool:
        """Tell whether the crawl ended of itself, by a limit of the user's, or by a signal."""
        stats = self._crawler.stats
        reason = stats.get_value("finish_reason", "") if stats else ""
        return reason.startswith(_GOOD_ENDS)


def _spider_name(settings: Settings, args: Sequence[str]) -> str:
    if not args:
        names = ", ".join(sorted(get_spider_loader(settings).list()))
        raise UsageError(f"give a spider, as in `scrapy crawl replays`: there are {names}")
    name, *rest = args
    if rest and rest[0].startswith("-"):
        raise UsageError(f"{rest[0]!r} is no option: `scrapy crawl --help` lists them")
    if rest:
        raise UsageError(
            f"{rest[0]!r} is too much: give one spider, and its arguments with -a, as in "
            "`scrapy crawl replays -a limit=100`"
        )
    check_spider(settings, name)
    return name


def _check_spider(settings: Settings, name: str, arguments: dict[str, str]) -> tuple[str, ...]:
    """Build the spider once; return the settings that name whom it asks."""
    try:
        spider = get_spider_loader(settings).load(name)(**arguments)
    except ArgumentError as error:
        raise UsageError(str(error)) from None
    return getattr(spider, "sites", ())


def _check_storage(storage: Storage) -> None:
    """Refuse a store that waiting does not mend; the crawl itself waits for one that is away."""
    try:
        storage.check()
    except RefusedError:
        raise
    except StorageError:
        pass


def _describe(spider: type[Spider]) -> str:
    """Say what a spider is for and what it takes, in the lines of a help."""
    lines = [f"{spider.name}: {purpose_of(spider)}"]
    for argument in getattr(spider, "arguments", ()):
        given = f"  -a {argument.name}={argument.example}"
        wrapper = TextWrapper(80, given.ljust(_INDENT), " " * _INDENT)
        lines += wrapper.wrap(argument.meaning)
    return "\n".join(lines)
