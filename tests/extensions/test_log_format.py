from __future__ import annotations

import logging

import pytest
from scrapy import Request, Spider
from scrapy.http import Response
from twisted.python.failure import Failure

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


def test_a_page_that_is_left_to_the_next_crawl_is_no_error():
    formatter = QuietLogFormatter(is_debugging=False)
    failure = Failure(NotStoredError("the crawl ends"))

    entry = formatter.spider_error(
        failure, Request("http://site"), Response("http://site"), Spider("any")
    )

    assert entry["level"] == logging.DEBUG
