"""Scrapy's own `crawl`, which checks what it is given first."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scrapy.commands import crawl
from scrapy.exceptions import UsageError
from scrapy.spiderloader import get_spider_loader

from battles.arguments import ArgumentError
from battles.console import archive_of
from extensions.connection import check, connect

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from scrapy import Spider
    from scrapy.crawler import Crawler
    from scrapy.settings import Settings

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_GOOD_ENDS = ("finished", "shutdown", "closespider")


class Command(crawl.Command):
    """`scrapy crawl`: a wrong argument, a missing contact or an absent Redis stops it at once.

    Settings:
        CONTACT (unset): an address at which the site's operators reach you; in the user agent.
    """

    def process_options(self, args: list[str], opts: Namespace) -> None:
        super().process_options(args, opts)
        if self.settings is not None and self.settings.getbool("LOG_JSON", default=False):
            self.settings.set("LOG_INSTALL_ROOT_HANDLER", value=False, priority="cmdline")

    def run(self, args: list[str], opts: Namespace) -> None:
        assert self.settings is not None  # noqa: S101 -- Scrapy has set it by now
        if len(args) == 1:
            for site in _check_spider(self.settings, args[0], opts.spargs):
                _check_contact(self.settings, site)
        with archive_of(self):
            check(connect(self.settings))
        super().run(args, opts)
        if not self._ended_well():
            self.exitcode = 1

    def _create_crawler(self, spidercls: type[Spider] | str) -> Crawler:
        self._crawler = super()._create_crawler(spidercls)
        return self._crawler

    def _ended_well(self) -> bool:
        """Tell whether the crawl ended of itself, by a limit of the user's, or by a signal."""
        stats = self._crawler.stats
        reason = stats.get_value("finish_reason", "") if stats else ""
        return reason.startswith(_GOOD_ENDS)


def _check_spider(settings: Settings, name: str, arguments: dict[str, str]) -> tuple[str, ...]:
    """Build the spider once; return the settings that name whom it asks."""
    try:
        spider = get_spider_loader(settings).load(name)(**arguments)
    except KeyError:
        raise UsageError(f"there is no spider {name!r}: `scrapy list` names them") from None
    except ArgumentError as error:
        raise UsageError(str(error)) from None
    return getattr(spider, "sites", ())


def _check_contact(settings: Settings, name: str) -> None:
    site = settings[name]
    schemes = ("ws", "wss") if name == "SHOWDOWN_SERVER_URL" else ("http", "https")
    host = _host(site, schemes)
    if host is None:
        raise UsageError(f"{name}={site!r}: give {schemes[0]}://HOST or {schemes[1]}://HOST")
    if host not in _LOOPBACK and not settings["CONTACT"]:
        raise UsageError(
            f"{host} must be able to reach you: set CONTACT to your e-mail address or web page"
        )


def _host(url: str, schemes: Sequence[str]) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.hostname if parts.scheme in schemes else None
