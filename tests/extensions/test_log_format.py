from __future__ import annotations

import logging

import pytest
from redis.exceptions import RedisError
from scrapy import Request, Spider
from scrapy.exceptions import DownloadFailedError, DropItem
from scrapy.http import Response
from scrapy.utils.log import logformatter_adapter
from scrapy.utils.spider import DefaultSpider
from scrapy.utils.test import get_crawler
from twisted.python.failure import Failure

from extensions.dead_letters import DeadLetterError
from extensions.dead_letters import Failure as Letter
from extensions.lease import Lease, LeaseLostError, NotStoredError
from extensions.log_format import QuietLogFormatter
from extensions.queue import Leased
from extensions.storage import StorageError


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


REQUEST = Request("http://ann:secret@site/page")
ERRORS = [
    DownloadFailedError("no\nHTTP"),
    OSError("no space left"),
    RedisError("MISCONF"),
    StorageError("the bucket is full"),
]


@pytest.fixture
def formatter(clock) -> QuietLogFormatter:
    QuietLogFormatter.from_crawler(get_crawler())
    return QuietLogFormatter(is_debugging=False, clock=clock)


def logged(entry: dict, error: Exception) -> logging.LogRecord:
    """Log as Scrapy's scraper does, and return what comes to its handlers."""
    logger, heard = logging.getLogger("scrapy.core.scraper"), logging.Handler()
    records: list[logging.LogRecord] = []
    heard.emit = records.append
    logger.addHandler(heard)
    try:
        logger.log(*logformatter_adapter(entry), exc_info=(type(error), error, None))
    finally:
        logger.removeHandler(heard)
    return records[0]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_others_do_wrong_is_one_line_without_a_traceback_or_a_password(formatter, error):
    failure, spider = Failure(error), Spider("any")
    entries = [
        formatter.download_error(failure, REQUEST, spider),
        formatter.spider_error(failure, REQUEST, failure, spider),
        formatter.item_error("battle", error, failure, spider),
    ]

    records = [logged(entry, error) for entry in entries]

    said = f"{type(error).__name__}: {' '.join(str(error).split())}"
    assert [record.getMessage() for record in records] == [
        f"http://site/page could not be had: {said}",
        f"The spider could not read http://site/page: {said}",
        f"'battle' could not be stored: {said}",
    ]
    assert [record.exc_info for record in records] == [None] * 3
    assert [record.levelno for record in records] == [logging.ERROR] * 3


def test_what_is_wrong_in_the_code_keeps_its_traceback(formatter):
    error = ZeroDivisionError("a bug")
    entries = [
        formatter.download_error(Failure(error), REQUEST, Spider("any")),
        formatter.spider_error(Failure(error), REQUEST, Failure(error), Spider("any")),
        formatter.item_error("battle", error, None, Spider("any")),
    ]

    records = [logged(entry, error) for entry in entries]

    assert [record.exc_info[0] for record in records] == [ZeroDivisionError] * 3
    assert [record.levelno for record in records] == [logging.ERROR] * 3
    assert [record.getMessage() for record in records] == [
        "Error downloading <GET http://site/page>",
        "Spider error processing <GET http://site/page> (referer: None)",
        "Error processing battle",
    ]


def test_one_error_for_many_items_is_said_once_a_minute(formatter, clock):
    def level(error: Exception) -> int:
        return formatter.item_error("battle", error, None, Spider("any"))["level"]

    levels = [level(RedisError("away")), level(RedisError("away")), level(OSError("full"))]
    clock.now += 59.0
    levels.append(level(RedisError("away")))
    clock.now += 1.0

    assert [*levels, level(RedisError("away"))] == [40, 10, 40, 10, 40]


def test_what_was_given_up_already_is_not_said_again(formatter):
    lease = Lease(Leased(2, "1-0", {}), failure=Letter("HTTP 500"))
    request = Request("http://site/page", meta={"queue_lease": lease})
    response = Response("http://site/page", request=request)
    spider = DefaultSpider.from_crawler(get_crawler())

    levels = [
        formatter.download_error(Failure(DownloadFailedError("no")), request, spider)["level"],
        formatter.dropped("item", DeadLetterError("no"), response, spider)["level"],
        formatter.dropped("item", DropItem("private"), response, spider)["level"],
        formatter.dropped("item", DeadLetterError("no"), None, spider)["level"],
    ]

    assert levels == [logging.DEBUG, logging.DEBUG, logging.WARNING, logging.WARNING]


def test_what_has_not_been_given_up_is_said(formatter):
    request = Request("http://site/page", meta={"queue_lease": Lease(Leased(2, "1-0", {}))})
    response = Response("http://site/page", request=request)
    spider = DefaultSpider.from_crawler(get_crawler())

    levels = [
        formatter.download_error(Failure(DownloadFailedError("no")), request, spider)["level"],
        formatter.dropped("item", DeadLetterError("no"), response, spider)["level"],
    ]

    assert levels == [logging.ERROR, logging.WARNING]


def test_what_goes_well_is_said_when_the_log_takes_debug_messages_only():
    spider, response = Spider("any"), Response("http://site/page", request=REQUEST)

    said = [
        (formatter.crawled(REQUEST, response, spider), formatter.scraped("it", response, spider))
        for formatter in (QuietLogFormatter(is_debugging=on) for on in (True, False))
    ]

    crawled, scraped = said[0]
    assert said[1] == (None, None)
    assert [crawled["level"], scraped["level"]] == [logging.DEBUG] * 2
    assert (crawled["msg"] % crawled["args"]).startswith("Crawled (200) <GET http://ann:")
    assert (scraped["msg"] % scraped["args"]).endswith("it")


@pytest.mark.parametrize(
    ("level", "says"),
    [("DEBUG", True), ("debug", True), ("of my own", True), ("INFO", False), ("error", False)],
)
def test_how_much_is_said_follows_the_level_of_the_log(level, says):
    formatter = QuietLogFormatter.from_crawler(get_crawler(settings_dict={"LOG_LEVEL": level}))

    said = formatter.crawled(REQUEST, Response("http://site/page"), Spider("any"))

    assert (said is not None) is says


@pytest.mark.parametrize(
    "name",
    [
        *("scrapy.core.engine", "scrapy.core.scraper", "scrapy.spidermiddlewares.httperror"),
        *("scrapy.downloadermiddlewares.httpcompression", "scrapy.downloadermiddlewares.redirect"),
        *("scrapy.downloadermiddlewares.retry", "scrapy.downloadermiddlewares.robotstxt"),
        *("extensions.circuit_breaker", "extensions.robots", "extensions.scheduler", "pages"),
    ],
)
def test_no_logger_of_addresses_tells_a_password(name, caplog):
    class Pages(Spider):
        name = "pages"

    QuietLogFormatter.from_crawler(get_crawler(Pages))

    logging.getLogger(name).error("%s is away", REQUEST.url)

    assert "site/page is away" in caplog.text
    assert "secret" not in caplog.text


def test_of_a_large_item_and_a_long_error_the_beginning_is_shown(formatter):
    entry = formatter.item_error("x" * 999, OSError("y" * 999), None, Spider("any"))

    said = entry["msg"] % entry["args"]
    assert said.startswith(f"'{'x' * 199} could not be stored: OSError: yyy")
    assert len(said) == 600


def test_of_an_item_that_is_dropped_only_the_reason_is_shown(formatter):
    spider = DefaultSpider.from_crawler(get_crawler())

    entry = formatter.dropped({"log": "x" * 999}, DropItem("it is\x1b[2J\nprivate"), None, spider)

    assert entry["msg"] % entry["args"] == "Dropped: it is?[2J private"


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (LeaseLostError("another's"), logging.DEBUG),
        (NotStoredError("the crawl ends"), logging.DEBUG),
        (ValueError("no"), logging.ERROR),
    ],
)
def test_a_page_that_is_left_to_others_is_no_error(formatter, error, level):
    entry = formatter.spider_error(
        Failure(error), Request("http://site"), Response("http://site"), Spider("any")
    )

    assert entry["level"] == level
