from __future__ import annotations

import io
import logging
import re
import sys

import pytest
from scrapy import Spider, signals
from scrapy.exceptions import NotConfigured
from scrapy.utils.test import get_crawler

from extensions.progress import ProgressBar


class Terminal(io.StringIO):
    """What a person sees."""

    def isatty(self) -> bool:
        return True

    @property
    def last(self) -> str:
        """The bar as it was drawn last."""
        return self.getvalue().rpartition("\r")[2]


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
def crawl(terminal, monkeypatch):
    """Begin a crawl on the terminal, with a log handler that writes there and one that does not."""
    begun = []

    def begin(**settings):
        # Not earlier: between its phases pytest puts streams of its own in place.
        monkeypatch.setattr(sys, "stderr", terminal)
        handlers = [logging.StreamHandler(), logging.StreamHandler(io.StringIO())]
        monkeypatch.setattr(logging.root, "handlers", handlers)
        mine = {"PROGRESS_UNIT": "battles", "EXTENSIONS_BASE": {}, **settings}
        crawler = get_crawler(settings_dict=mine)
        crawler.spider = Spider("test")
        begun.append((crawler, ProgressBar.from_crawler(crawler)))
        assert terminal.getvalue() == ""
        send(crawler, signals.spider_opened)
        return crawler

    yield begin
    for _, bar in begun:
        bar.spider_closed()


def send(crawler, signal) -> None:
    results = crawler.signals.send_catch_log(signal, spider=crawler.spider, item={}, reason="")
    assert {result for _, result in results} == {None}


def test_each_item_moves_the_bar(crawl, terminal):
    crawler = crawl()

    for _ in range(3):
        send(crawler, signals.item_scraped)

    send(crawler, signals.spider_closed)
    assert "3 battles [" in terminal.last


def test_what_is_left_makes_a_percentage_and_the_time_left(crawl, terminal):
    crawler = crawl()
    send(crawler, signals.item_scraped)
    crawler.stats.set_value("queue/left", 3)

    send(crawler, signals.item_scraped)

    send(crawler, signals.spider_closed)
    assert re.search(r" 50%\|.*\| 2/4 \[00:00<00:00, ", terminal.last)


def test_what_others_did_is_not_left_any_more(crawl, terminal):
    crawler = crawl()
    crawler.stats.set_value("queue/left", 100)
    send(crawler, signals.item_scraped)
    crawler.stats.set_value("queue/left", 0)

    send(crawler, signals.spider_closed)

    assert "100%|" in terminal.last
    assert " 1/1 [" in terminal.last


def test_as_long_as_more_is_discovered_the_bar_says_how_much_was_found(crawl, terminal):
    crawler = crawl()
    crawler.stats.set_value("queue/added/downloads", 7)

    send(crawler, signals.response_received)

    send(crawler, signals.spider_closed)
    assert "0 battles [" in terminal.last
    assert "7 found, 0 errors" in terminal.last


def test_before_anything_is_done_nothing_left_is_no_total(crawl, terminal):
    crawler = crawl()
    crawler.stats.set_value("queue/left", 0)

    send(crawler, signals.response_received)

    send(crawler, signals.spider_closed)
    assert "0 battles [" in terminal.last
    assert "0 found, 0 errors" in terminal.last


def test_the_total_goes_when_discovery_goes_on(crawl, terminal):
    crawler = crawl()
    crawler.stats.set_value("queue/left", 3)
    send(crawler, signals.item_scraped)
    crawler.stats.set_value("queue/left", None)

    send(crawler, signals.item_scraped)

    send(crawler, signals.spider_closed)
    assert "2 battles [" in terminal.last


def test_errors_are_counted_beside_the_bar(crawl, terminal):
    crawler = crawl()
    for name in ("log_count/ERROR", "retry/count", "item_dropped_count"):
        crawler.stats.set_value(name, 2)

    send(crawler, signals.item_scraped)

    send(crawler, signals.spider_closed)
    assert "6 errors" in terminal.last


def test_log_lines_stand_above_the_bar(crawl, terminal):
    crawler = crawl()
    send(crawler, signals.item_scraped)

    logging.getLogger("test").warning("a line")

    above, _, bar = terminal.getvalue().rpartition("a line\n")
    assert above.endswith("\r")
    assert "1 battles [" in bar


def test_other_logs_are_left_alone(crawl):
    crawl()

    logging.getLogger("test").warning("a line")

    assert logging.root.handlers[1].stream.getvalue() == "a line\n"


def test_after_the_crawl_logs_go_to_the_terminal_again(crawl, terminal):
    crawler = crawl()

    send(crawler, signals.spider_closed)

    assert logging.root.handlers[0].stream is terminal


def test_a_crawl_that_never_opened_shows_nothing(terminal, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal)
    crawler = get_crawler(settings_dict={"EXTENSIONS_BASE": {}})
    crawler.spider = Spider("test")
    bar = ProgressBar.from_crawler(crawler)

    send(crawler, signals.spider_closed)

    assert bar
    assert terminal.getvalue() == ""


def test_there_is_no_bar_when_it_is_switched_off(crawl):
    with pytest.raises(NotConfigured):
        crawl(PROGRESS_BAR=False)


def test_there_is_no_bar_where_there_is_no_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())

    with pytest.raises(NotConfigured):
        ProgressBar.from_crawler(get_crawler())
