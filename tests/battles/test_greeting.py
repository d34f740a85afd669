from __future__ import annotations

import logging
import sys

import pytest
from scrapy.settings import Settings

from battles.greeting import _FILTER, _HIDDEN, greeting, hide_start, is_greeted


@pytest.fixture
def settings(redis, redis_url) -> Settings:  # noqa: ARG001 -- emptied before and after
    places = {"REDIS_URL": redis_url, "ARCHIVE_URL": "s3://bucket/prefix"}
    rooms = {"SERVER": "wss://me:word@sim.example:8000/socket", "REPLAY": "https://replay.example/"}
    return Settings({**places, **rooms, "CONTACT": "a@b.example", "THROTTLE_RATE": 2})


@pytest.fixture
def hidden(caplog):
    """Have the start hidden, until the test is over."""
    hide_start()
    with caplog.at_level(logging.DEBUG):
        yield caplog
    for name in _HIDDEN:
        logging.getLogger(name).removeFilter(_FILTER)


# --- What is said ---------------------------------------------------------------------------------


def test_each_site_is_named_with_its_rate_and_without_its_password(settings):
    settings.set("THROTTLE_HOSTS", {"replay.example": 0})

    lines = greeting(settings, "rooms", {"min_elo": "1500", "via": "socket"}, ["SERVER", "REPLAY"])

    assert lines.splitlines() == [
        "Crawling rooms, min_elo=1500, via=socket",
        (
            "from wss://sim.example:8000 (at most 2 requests a second), https://replay.example "
            "(any number of requests a second), as battles/0.2 (+a@b.example)"
        ),
        "into s3://bucket/prefix",
    ]


def test_a_spider_that_names_no_site_asks_where_its_requests_lead(settings):
    lines = greeting(settings, "other", {}, ())

    assert lines.splitlines()[:2] == [
        "Crawling other",
        "from wherever its requests lead, as battles/0.2 (+a@b.example)",
    ]


# --- To whom --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "is_terminal", "expected"),
    [
        pytest.param({}, True, True, id="somebody who watches"),
        pytest.param({}, False, False, id="a file"),
        pytest.param({"LOG_ENABLED": False}, True, False, id="who wants no log"),
        pytest.param({"LOG_FILE": "x.log"}, True, False, id="whose log goes elsewhere"),
        pytest.param({"LOG_JSON": True}, True, False, id="a program"),
        pytest.param({"LOG_LEVEL": "INFO"}, True, False, id="who names a level"),
    ],
)
def test_three_lines_are_for(monkeypatch, changes, is_terminal, expected):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    settings = Settings()
    settings.set("LOG_LEVEL", "INFO", priority="project")
    settings.setdict(changes, priority="cmdline")

    assert is_greeted(settings) is expected


# --- What is not said -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("logger", "message"),
    [
        ("scrapy.utils.log", "Versions: many"),
        ("scrapy.addons", "Enabled addons:\n%(addons)s"),
        ("scrapy.middleware", "Enabled %(componentname)ss"),
        ("scrapy.crawler", "Overridden settings:\n%(settings)s"),
        ("scrapy.core.engine", "Spider opened"),
        ("scrapy.extensions.logstats", "Crawled 0 pages"),
    ],
)
def test_what_scrapy_says_at_the_start_is_hidden(hidden, logger, message):
    logging.getLogger(logger).info(message)

    assert hidden.messages == []


@pytest.mark.parametrize(
    ("logger", "level", "message"),
    [
        ("scrapy.crawler", logging.INFO, "Received SIGINT, shutting down gracefully"),
        ("scrapy.core.engine", logging.INFO, "Closing spider (finished)"),
        ("scrapy.middleware", logging.WARNING, "Enabled, and soon gone"),
        ("battles.recovery", logging.INFO, "Enabled"),
    ],
)
def test_all_the_rest_is_said(hidden, logger, level, message):
    logging.getLogger(logger).log(level, message)

    assert hidden.messages == [message]
