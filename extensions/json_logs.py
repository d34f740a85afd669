"""Log one JSON object a line."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pythonjsonlogger.json import JsonFormatter
from scrapy.exceptions import NotConfigured

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

_FIELDS = "{asctime}{levelname}{name}{message}"
_SCRAPYS = ("crawler", "item", "spider")


class JsonLogs:
    """An extension: logs JSON to where Scrapy's own handler would log text.

    Scrapy renews its handler during the start, so it must have none: set
    `LOG_INSTALL_ROOT_HANDLER = False`, as `scrapy crawl` does here when `LOG_JSON` is on.

    Settings:
        LOG_JSON (False): log JSON instead of text.
    """

    def __init__(self, *, level: str, path: str | None) -> None:
        """Take the least level to log, and the file to log to (None: standard error)."""
        self._handler = logging.FileHandler(path) if path else logging.StreamHandler()
        self._handler.setLevel(level)
        self._handler.setFormatter(
            JsonFormatter(
                _FIELDS,
                style="{",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
                # Scrapy attaches its own objects to records; they say nothing elsewhere.
                reserved_attrs=[*logging.makeLogRecord({}).__dict__, *_SCRAPYS],
                # The formatter's own would copy what a dataclass holds, and not all can be copied.
                json_default=str,
            )
        )
        logging.root.setLevel(level)
        logging.root.addHandler(self._handler)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> JsonLogs:
        settings = crawler.settings
        if not settings.getbool("LOG_JSON", default=False):
            raise NotConfigured
        return cls(level=settings["LOG_LEVEL"], path=settings["LOG_FILE"])
