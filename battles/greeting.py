"""Say in three lines what a crawl is about to do, in place of Scrapy's settings and versions."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scrapy.settings import SETTINGS_PRIORITIES

from battles.identity import user_agent
from extensions.connection import connect
from extensions.hosts import Hosts, host_of
from extensions.keys import HostKeys
from extensions.limits import limits_from_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scrapy.settings import BaseSettings

_HIDDEN = {
    "scrapy.addons": "Enabled",
    "scrapy.core.engine": "Spider opened",
    "scrapy.crawler": "Overridden settings",
    # The progress bar says it all the time.
    "scrapy.extensions.logstats": "",
    "scrapy.middleware": "Enabled",
    "scrapy.utils.log": "",
}
"""How that begins what the loggers say at the start, and nobody reads who watches."""


class _StartFilter(logging.Filter):
    """Lets pass what is more than information, or comes later."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or not str(record.msg).startswith(_HIDDEN[record.name])


_FILTER = _StartFilter()


def is_greeted(settings: BaseSettings) -> bool:
    """Tell whether somebody watches on a terminal who asked for neither more nor less."""
    is_plain = settings.getbool("LOG_ENABLED") and not settings.getbool("LOG_JSON", default=False)
    is_asked = (settings.getpriority("LOG_LEVEL") or 0) >= SETTINGS_PRIORITIES["cmdline"]
    return sys.stderr.isatty() and is_plain and not settings["LOG_FILE"] and not is_asked


def hide_start() -> None:
    """Keep out of the log what Scrapy says at the start; a logger's level would not stay."""
    for name in _HIDDEN:
        logging.getLogger(name).addFilter(_FILTER)


def greeting(
    settings: BaseSettings, spider: str, arguments: Mapping[str, str], sites: Iterable[str]
) -> str:
    """Say what is crawled, from whom and how fast, and where it goes, in a line each.

    Raises:
        ValueError: a setting of the throttle makes no sense.

    """
    given = [f"{name}={value}" for name, value in arguments.items()]
    rates = _rates(settings, [settings[site] for site in sites])
    asked = [f"{site} ({rate})" for site, rate in rates.items()] or ["wherever its requests lead"]
    return (
        f"Crawling {', '.join([spider, *given])}\n"
        f"from {', '.join(asked)}, as {user_agent(settings)}\n"
        f"into {settings['ARCHIVE_URL']}\n"
    )


def _rates(settings: BaseSettings, urls: Iterable[str]) -> dict[str, str]:
    """Say of each site how much all workers together ask of it."""
    limits = limits_from_settings(settings)
    hosts = Hosts(connect(settings), HostKeys().namespace)
    set_rates = {one.name: one.set_rate for one in hosts.status()}
    rates = {}
    for url in urls:
        host = host_of(url)
        rate = set_rates.get(host)
        rate = limits(host).rate if rate is None else rate
        words = f"at most {rate:g} requests a second" if rate else "any number of requests a second"
        rates[f"{urlsplit(url).scheme}://{host}"] = words
    return rates
