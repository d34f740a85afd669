"""The checks before a crawl and the exit status after it; whole crawls are integration tests."""

from __future__ import annotations

import re
import subprocess
import sys
from argparse import ArgumentParser

import pytest
from scrapy.utils.project import get_project_settings
from scrapy.utils.test import get_crawler

from battles.commands.crawl import Command
from battles.spiders.replays import ReplaysSpider
from battles.spiders.rooms import RoomsSpider
from extensions.hosts import Hosts
from extensions.keys import HostKeys
from extensions.storage import FolderStorage, StorageError
from tests.conftest import ROOT
from tests.integration.fleet import FAST, running_site
from tests.terminal import run_on_terminal

SITE = "http://127.0.0.1:8000"


class StubProcess:
    """Runs no crawl, and says that it ended as the test wants it to."""

    def __init__(self, reason: str | None, **stats: int) -> None:
        self.reason = reason
        self.stats = stats
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
        for name, value in self.stats.items():
            self.crawler.stats.set_value(name, value)


@pytest.fixture
def crawl(places):
    """Run the command as far as the crawl itself."""

    def run(reason: str | None = "finished", left: int = 0, **settings: str) -> Command:
        command = Command()
        command.settings = get_project_settings()
        command.settings.setdict({**places, "SHOWDOWN_REPLAY_URL": SITE, **settings})
        parser = ArgumentParser()
        command.add_options(parser)
        options, words = parser.parse_known_args(
            ["replays", "-a", "formats=gen9ou", "-a", "limit=5"]
        )
        command.process_options(words, options)
        command.crawler_process = StubProcess(reason, **{"spool/segments_left": left})
        command.run(words, options)
        return command

    return run


def test_a_crawl_is_run_with_its_arguments(crawl):
    command = crawl()

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
    assert crawl(reason).exitcode == status


def test_a_crawl_that_leaves_segments_behind_says_how_many_and_where(crawl, archive, capsys):
    assert crawl(left=2).exitcode == 1

    assert capsys.readouterr().err == (
        f"2 segments could not be stored and stay in {archive.spools}: the next crawl of this "
        "archive that starts here stores them\n"
    )


@pytest.mark.parametrize(
    "site", ["http://127.0.0.1:8000", "http://localhost", "http://[::1]:80", "HTTP://LOCALHOST"]
)
def test_a_site_of_ones_own_needs_no_contact(crawl, site):
    assert crawl(SHOWDOWN_REPLAY_URL=site, CONTACT="").exitcode == 0


def test_with_a_contact_any_site_can_be_crawled(crawl):
    assert crawl(SHOWDOWN_REPLAY_URL="https://replay.example", CONTACT="a@b.example").exitcode == 0


def test_logs_in_json_are_left_to_their_own_handler(crawl):
    command = crawl(LOG_JSON="1")

    assert command.settings.getbool("LOG_INSTALL_ROOT_HANDLER") is False


def test_who_watches_is_greeted_before_the_crawl(crawl, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    hidden = []
    monkeypatch.setattr("battles.commands.crawl.hide_start", lambda: hidden.append(True))

    crawl()

    assert capsys.readouterr().err.startswith(
        "Crawling replays, formats=gen9ou, limit=5\nfrom http"
    )
    assert hidden == [True]


# --- Mistakes: one line, and nothing before it ----------------------------------------------------


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["replays", "-a", "format=gen9ou"], "unknown argument 'format': did you mean 'formats'?"),
        (["replays", "-a", "limit=0"], "limit='0': give a whole number above zero"),
        (["replays", "-a", "limit"], "Invalid -a value, use -a NAME=VALUE"),
        (["replay"], "there is no spider 'replay': did you mean 'replays'?"),
        ([], "give a spider, as in `scrapy crawl replays`: there are replays, rooms"),
        (["replays", "--lmit"], "'--lmit' is no option: `scrapy crawl --help` lists them"),
        (
            ["replays", "limit=5"],
            (
                "'limit=5' is too much: give one spider, and its arguments with -a, as in "
                "`scrapy crawl replays -a limit=100`"
            ),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_makes_no_sense_is_said_in_one_line(scrapy, words, complaint):
    outcome = scrapy("crawl", *words, SHOWDOWN_REPLAY_URL=SITE)

    assert (outcome.status, outcome.output) == (2, "")
    assert outcome.complaint == complaint


@pytest.mark.parametrize("contact", ["", "  "])
def test_any_other_site_must_be_able_to_reach_whoever_crawls(scrapy, contact):
    site = "https://replay.example"

    outcome = scrapy("crawl", "replays", SHOWDOWN_REPLAY_URL=site, CONTACT=contact)

    assert outcome.status == 2
    assert outcome.complaint == (
        "replay.example must be able to reach you: set CONTACT to your e-mail address or web page"
    )


@pytest.mark.parametrize("contact", ["ann@b\u00fccher.example", "a@b.example\r\nX: y"])
def test_a_contact_that_no_header_holds_is_refused(scrapy, contact):
    outcome = scrapy("crawl", "replays", SHOWDOWN_REPLAY_URL=SITE, CONTACT=contact)

    assert outcome.status == 2
    assert outcome.complaint == f"CONTACT={contact!r}: a header takes ASCII only, and one line"


@pytest.mark.parametrize(
    "site",
    [
        *("replay.example", "localhost:8000", "ftp://replay.example", "http://[half", ""),
        *("http://replay.example:http", "http://replay.example:99999", "http://:80"),
    ],
)
def test_an_address_that_is_none_is_said_to_be_none(scrapy, site):
    outcome = scrapy("crawl", "replays", SHOWDOWN_REPLAY_URL=site, CONTACT="a@b.example")

    assert outcome.status == 2
    assert outcome.complaint == f"SHOWDOWN_REPLAY_URL={site!r}: give http://HOST or https://HOST"


def test_a_battle_server_has_an_address_of_its_own_kind(scrapy):
    outcome = scrapy("crawl", "rooms", SHOWDOWN_SERVER_URL="https://sim.example")

    assert outcome.status == 2
    assert outcome.complaint == (
        "SHOWDOWN_SERVER_URL='https://sim.example': give ws://HOST or wss://HOST"
    )


def test_a_rate_that_is_none_is_said_so(scrapy):
    outcome = scrapy("crawl", "replays", SHOWDOWN_REPLAY_URL=SITE, THROTTLE_RATE="fast")

    assert outcome.status == 2
    assert outcome.complaint.startswith("THROTTLE_RATE='fast': give a number of 0 or more")


def test_a_redis_that_is_away_stops_the_crawl_before_it_begins(scrapy, tmp_path):
    settings = {"SHOWDOWN_REPLAY_URL": SITE, "REDIS_URL": f"unix://{tmp_path}/nothing"}

    outcome = scrapy("crawl", "replays", **settings)

    assert outcome.status == 1
    assert outcome.complaint.startswith("Redis does not answer: ")


def test_an_archive_where_nothing_can_be_stored_stops_the_crawl_before_it_begins(scrapy, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    url = f"{tmp_path}/file/data"

    outcome = scrapy("crawl", "replays", SHOWDOWN_REPLAY_URL=SITE, ARCHIVE_URL=url)

    assert (outcome.status, outcome.output) == (1, "")
    assert outcome.complaint.startswith(f"nothing can be stored in {url}: ")
    assert outcome.complaint.endswith("; check ARCHIVE_URL")


@pytest.mark.parametrize("command", [["crawl", "replays"], ["runspider", "any.py"]], ids=" ".join)
def test_a_spool_that_cannot_be_written_stops_the_crawl_before_it_begins(scrapy, tmp_path, command):
    (tmp_path / "file").write_bytes(b"")
    folder = f"{tmp_path}/file/spool"

    outcome = scrapy(*command, SHOWDOWN_REPLAY_URL=SITE, SPOOL_DIR=folder)

    assert (outcome.status, outcome.output) == (1, "")
    assert outcome.complaint.startswith(f"nothing can be kept in {folder}/")
    assert outcome.complaint.endswith("; check SPOOL_DIR")


def test_an_archive_that_is_away_is_left_to_the_crawl(crawl, monkeypatch):
    def check(_storage: FolderStorage) -> None:
        raise StorageError("away")

    monkeypatch.setattr(FolderStorage, "check", check)

    assert crawl().exitcode == 0


# --- Help -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spider", [ReplaysSpider, RoomsSpider], ids=["replays", "rooms"])
def test_help_names_each_argument_of_a_spider_with_what_it_means(scrapy, spider):
    outcome = scrapy("crawl", "--help")

    text = " ".join(outcome.output.split())
    assert outcome.status == 0
    assert f"{spider.name}: {spider.__doc__.splitlines()[0]}" in text
    for argument in spider.arguments:
        assert f"-a {argument.name}={argument.example} {argument.meaning}" in text


# --- On a terminal, and elsewhere -----------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> str:
    with running_site(tmp_path_factory.mktemp("site"), "--battles", "12") as site:
        yield site


@pytest.fixture
def command(places, site) -> list[str]:
    """A whole crawl, as a shell runs it."""
    settings = {**places, **FAST, "SHOWDOWN_REPLAY_URL": site.address, "CONTACT": "a@b.example"}
    options = [word for pair in settings.items() for word in ("-s", "=".join(pair))]
    return [sys.executable, "-m", "scrapy", "crawl", "replays", *options]


@pytest.mark.usefixtures("redis")
def test_on_a_terminal_a_crawl_begins_with_three_lines(command, site, places):
    words = [*command, "-a", "limit=9", "-s", "THROTTLE_RATE=40"]

    status, seen = run_on_terminal(words, ROOT)

    begin, _, rest = seen.partition("\r")
    assert status == 0, seen
    assert begin == (
        "Crawling replays, limit=9\n"
        f"from {site.address} (at most 40 requests a second), as battles/0.2 (+a@b.example)\n"
        f"into {places['ARCHIVE_URL']}\n"
    )
    assert rest.partition("Closing spider (finished)")[0].count("INFO: ") == 1
    assert "INFO: Spider closed (finished)" in rest


@pytest.mark.usefixtures("redis")
def test_a_terminal_shows_how_much_of_all_there_is_is_done_and_the_time_left(command):
    # Slow enough for some looks at what is left.
    _, seen = run_on_terminal([*command, "-s", "THROTTLE_RATE=3"], ROOT)

    bars = re.findall(r"\b(\d+)%\|[^|]*\| (\d+)/12 \[\d\d:\d\d<(\d\d:\d\d),", seen)
    assert bars[-1] == ("100", "12", "00:00")
    assert any(0 < int(done) < 12 and left != "00:00" for _, done, left in bars)
    assert "found, 0 errors" in seen


def test_a_rate_that_was_set_for_the_fleet_is_the_one_that_is_said(command, site, redis):
    Hosts(redis, HostKeys().namespace).set_rate(site.address.removeprefix("http://"), 25.0)

    _, seen = run_on_terminal(command, ROOT)

    assert f"from {site.address} (at most 25 requests a second), as" in seen


@pytest.mark.usefixtures("redis")
def test_who_asks_for_more_gets_all_of_it(command):
    _, seen = run_on_terminal([*command, "-L", "DEBUG"], ROOT)

    assert "Crawling" not in seen
    assert "INFO: Overridden settings" in seen
    assert "INFO: Versions" in seen


@pytest.mark.usefixtures("redis")
def test_where_nobody_watches_the_log_is_whole(command):
    crawl = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert crawl.stderr.partition("\n")[0].endswith("started (bot: battles)")
    assert "INFO: Overridden settings" in crawl.stderr
    assert "Crawling replays" not in crawl.stderr
