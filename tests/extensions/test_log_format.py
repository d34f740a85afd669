from __future__ import annotations

import logging

import pytest
from scrapy import Spider
from scrapy.http import Response

from extensions.lease import LeaseLostError, NotStoredError
from extensions.log_format import QuietLogFormatter


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (LeaseLostError("another's"), logging.DEBUG),
        (NotStoredError("the crawl ends"), logging.DEBUG),
        (ValueError("no"), logging.ERROR),
    ],
)
def test_an_item_that_is_left_to_another_worker_is_no_error(error, level):
    formatter = QuietLogFormatter(is_debugging=False)

    entry = formatter.item_error("battle", error, Response("http://site"), Spider("any"))

    assert entry["level"] == level
