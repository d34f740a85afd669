"""Log one JSON object a line."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pythonjsonlogger.json import JsonFormatter
from scrapy.exceptions import NotConfigured

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

_FIELDS = "{asctime}{levelname}{name}{message}"


class JsonLogs:
    """An extension: gives every log handler a JSON formatter.

    Settings:
        LOG_JSON (False): log JSON instead of text.
    """

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> JsonLogs:
        if not crawler.settings.getbool("LOG_JSON", default=False):
            raise NotConfigured
        formatter = JsonFormatter(
            _FIELDS,
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            # Scrapy attaches its own objects to records; they say nothing outside the process.
            reserved_attrs=[*logging.makeLogRecord({}).__dict__, "spider", "crawler"],
        )
        for handler in logging.root.handlers:
            handler.setFormatter(formatter)
        return cls()
