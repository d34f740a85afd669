"""The checks before a crawl and the exit status after it; whole crawls are integration tests."""

from __future__ import annotations

from argparse import Namespace

import pytest
from scrapy.exceptions import UsageError
from scrapy.settings import Settings
from scrapy.utils.test import get_crawler

from battles.commands.crawl import Command

SITE = "http://127.0.0.1:8000"


class StubProcess:
    """Runs no crawl, and says that it ended as the test wants it to."""

    def __init__(self, reason: str | None) -> None:
        self.reason = reason
        self.bootstrap_failed = False
        self.crawled: list[tuple[object, dict[str, str]]] = []

    def create_crawler(self, spider: object):
        self.crawler = get_crawler()
        self.spider = spider
        return self.crawler

    def crawl(self, _crawler: object, **arguments: str) -> None:
        self.crawled.append((self.spider, arguments))

    def start(self) -> None:
        if self.reason is not None:
            self.crawler.stats.set_value("finish_reason", self.reason)


@pytest.fixture
def crawl(places, monkeypatch):
    """Run the command as far as the crawl itself."""
    monkeypatch.setattr("redis.retry.sleep", lambda _seconds: None)

    def run(*words: str, reason: str | None = "finished", settings=None, **arguments) -> Command:
        command = Command()
        command.settings = Settings()
        command.settings.setmodule("battles.settings")
        command.settings.setdict({**places, "SHOWDOWN_REPLAY_URL": SITE, **(settings or {})})
        command.crawler_process = StubProcess(reason)
        command.run(list(words), Namespace(spargs=arguments))
        return command

    return run


def test_a_crawl_is_run_with_its_arguments(crawl):
    command = crawl("replays", formats="gen9ou", limit="5")

    assert command.crawler_process.crawled == [("replays", {"formats": "gen9ou", "limit": "5"})]
    assert command.exitcode == 0


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("finished", 0),
        ("shutdown", 0),
        ("closespider_itemcount", 0),
        ("start_error", 1),
        ("cancelled", 1),
        ("memusage_exceeded", 1),
        (None, 1),
    ],
)
def test_the_exit_status_says_whether_the_crawl_ended_well(crawl, reason, status):
    assert crawl("replays", reason=reason).exitcode == status


def test_a_wrong_argument_stops_the_crawl_before_it_begins(crawl):
    with pytest.raises(UsageError, match="unknown argument 'format': did you mean 'formats'"):
        crawl("replays", format="gen9ou")


def test_an_unknown_spider_is_named(crawl):
    with pytest.raises(UsageError, match="there is no spider 'replay': `scrapy list` names them"):
        crawl("replay")


@pytest.mark.parametrize("words", [[], ["replays", "rooms"]], ids=["none", "two"])
def test_a_crawl_has_one_spider(crawl, words):
    with pytest.raises(UsageError):
        crawl(*words)


@pytest.mark.parametrize(
    "site", ["http://127.0.0.1:8000", "http://localhost", "http://[::1]:80", "HTTP://LOCALHOST"]
)
def test_a_site_of_ones_own_needs_no_contact(crawl, site):
    settings = {"SHOWDOWN_REPLAY_URL": site, "CONTACT": ""}

    assert crawl("replays", settings=settings).exitcode == 0


def test_any_other_site_must_be_able_to_reach_whoever_crawls(crawl):
    settings = {"SHOWDOWN_REPLAY_URL": "https://replay.example", "CONTACT": ""}

    with pytest.raises(UsageError, match=r"replay\.example must be able to reach you: set CONTACT"):
        crawl("replays", settings=settings)


def test_with_a_contact_any_site_can_be_crawled(crawl):
    settings = {"SHOWDOWN_REPLAY_URL": "https://replay.example", "CONTACT": "a@example.org"}

    assert crawl("replays", settings=settings).exitcode == 0


@pytest.mark.parametrize(
    "site", ["replay.example", "localhost:8000", "ftp://replay.example", "http://[half", ""]
)
def test_an_address_that_is_none_is_said_to_be_none(crawl, site):
    settings = {"SHOWDOWN_REPLAY_URL": site, "CONTACT": "a@example.org"}

    with pytest.raises(UsageError) as refused:
        crawl("replays", settings=settings)

    assert str(refused.value) == (f"SHOWDOWN_REPLAY_URL={site!r}: give http://HOST or https://HOST")


def test_a_redis_that_is_away_stops_the_crawl_before_it_begins(crawl, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        crawl("replays", settings={"REDIS_URL": f"unix://{tmp_path}/nothing"})

    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("Redis does not answer: ")


def test_logs_in_json_are_left_to_their_own_handler():
    command = Command()
    command.settings = Settings({"LOG_JSON": True})
    options = Namespace(set=[], spargs=[], logfile=None, loglevel=None, nolog=None, pidfile=None)
    options.__dict__.update(pdb=None, output=None, overwrite_output=None)

    command.process_options([], options)

    assert command.settings.getbool("LOG_INSTALL_ROOT_HANDLER") is False
