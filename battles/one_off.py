"""Let Scrapy's commands ask a site for something themselves, past queue, archive and index."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from scrapy import Request
from scrapy.commands import ScrapyCommand
from scrapy.exceptions import IgnoreRequest, UsageError

from battles.console import begin, complain_briefly, complaints
from battles.identity import needs_contact
from extensions.addresses import without_credentials
from extensions.connection import check, connect
from extensions.credentials import origin, userinfo, without_userinfo

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from scrapy.crawler import Crawler
    from scrapy.settings import BaseSettings

logger = logging.getLogger(__name__)

_COMPONENTS = ("SPIDER_MIDDLEWARES", "DOWNLOADER_MIDDLEWARES", "ITEM_PIPELINES", "EXTENSIONS")
_STAY = ("battles.pipelines.validate.ValidatePipeline",)
"""What of ours looks at one item alone: `parse --pipelines` says what is wrong with it."""
_LEAVE = ("battles.", "extensions.progress.")
"""How those begin that read or write the archive, the index or the queue, or show a crawl."""


class OneOffCommand(ScrapyCommand):
    """A command that asks a site for something and keeps nothing of it.

    It goes past the fleet's throttle and robots.txt like any crawl, and wants a contact like one.
    Its scheduler is Scrapy's, in memory: nothing of it is seen by the workers.
    """

    def add_options(self, parser: ArgumentParser) -> None:
        super().add_options(parser)
        complain_briefly(parser)

    def process_options(self, args: list[str], opts: Namespace) -> None:
        super().process_options(args, opts)
        begin(self)
        settings = self.settings
        assert settings is not None  # noqa: S101 -- Scrapy has set it by now
        for url in args:
            _check_address(url)
        _keep_passwords(settings, args)
        for url in args:
            if urlsplit(url).scheme and (complaint := needs_contact(settings, url)):
                raise UsageError(complaint)
        stand_alone(settings)
        with complaints(self):
            # The throttle waits for a Redis that is away, as a crawl does; here somebody waits.
            check(connect(settings))


class OneOffMiddleware:
    """A downloader middleware: says what is refused, and refuses whom nobody could complain to."""

    def __init__(self, settings: BaseSettings) -> None:
        self._settings = settings

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> OneOffMiddleware:
        return cls(crawler.settings)

    def process_request(self, request: Request) -> None:
        if complaint := needs_contact(self._settings, request.url):
            raise IgnoreRequest(complaint)

    def process_exception(self, request: Request, exception: Exception) -> None:
        # Scrapy itself says so of everything else.
        if isinstance(exception, IgnoreRequest):
            logger.error("%s is not fetched: %s", request, exception)


def stand_alone(settings: BaseSettings) -> None:
    """Take out of the settings what shares a queue, an archive or an index with others."""
    for name in _COMPONENTS:
        given = settings.getdict(name)
        kept = {path: None if _leaves(path) else order for path, order in given.items()}
        settings.set(name, kept, priority="cmdline")
    middlewares = settings.getdict("DOWNLOADER_MIDDLEWARES")
    # Nearest to the engine: it hears of whatever any other refuses.
    middlewares["battles.one_off.OneOffMiddleware"] = 1
    settings.set("DOWNLOADER_MIDDLEWARES", middlewares, priority="cmdline")
    settings.set("SCHEDULER", "scrapy.core.scheduler.Scheduler", priority="cmdline")


def check_scheme(settings: BaseSettings, addresses: list[str]) -> None:
    """Refuse addresses for which the settings have no download handler, as those of files.

    Raises:
        UsageError: one is such.

    """
    handlers = settings.getwithbase("DOWNLOAD_HANDLERS")
    known = sorted(scheme for scheme, handler in handlers.items() if handler is not None)
    for url in addresses:
        scheme = urlsplit(url).scheme
        if scheme and scheme not in known:
            shown = without_credentials(url)
            raise UsageError(f"{shown} is not fetched: give an address of {', '.join(known)}")


def _check_address(url: str) -> None:
    """Refuse what looks like an address and is none; names of files and spiders are neither.

    Raises:
        UsageError: so it is.

    """
    if "://" not in url:
        return
    try:
        Request(url)
    except ValueError as error:
        raise UsageError(f"{without_credentials(url)} is no address: {error}") from None


def _keep_passwords(settings: BaseSettings, addresses: list[str]) -> None:
    """Have addresses of the command line hold no password either, in place: they are logged."""
    known = settings.getdict("SITE_CREDENTIALS", {})
    for n, url in enumerate(addresses):
        if (words := userinfo(url)) is not None:
            addresses[n] = without_userinfo(url)
            known[origin(url)] = words
    settings.set("SITE_CREDENTIALS", known, priority="cmdline")


def _leaves(path: Any) -> bool:  # noqa: ANN401 -- a path, or a class of somebody's
    return isinstance(path, str) and path.startswith(_LEAVE) and path not in _STAY
