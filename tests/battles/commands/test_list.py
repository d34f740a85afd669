from __future__ import annotations

import subprocess
import sys

from battles.spiders.replays import ReplaysSpider
from battles.spiders.rooms import RoomsSpider
from tests.conftest import ROOT
from tests.terminal import run_on_terminal

# As scrapyd's SpiderList asks, which takes each line for a spider.
COMMAND = [sys.executable, "-m", "scrapy", "list", "-s", "LOG_STDOUT=0"]


def test_a_program_gets_nothing_but_names():
    listed = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True, check=True)

    assert (listed.stdout.splitlines(), listed.stderr) == (["replays", "rooms"], "")


def test_what_is_no_terminal_gets_nothing_but_names(scrapy):
    outcome = scrapy("list")

    assert (outcome.status, outcome.lines) == (0, ["replays", "rooms"])


def test_a_terminal_gets_a_sentence_with_each_name(scrapy, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    outcome = scrapy("list")

    assert outcome.status == 0
    assert [line.split()[0] for line in outcome.lines[:2]] == ["replays", "rooms"]
    assert ReplaysSpider.__doc__.splitlines()[0] in outcome.lines[0]


def test_people_are_told_what_each_spider_is_for():
    status, seen = run_on_terminal(COMMAND, ROOT)

    assert status == 0
    assert seen.splitlines() == [
        f"replays      {ReplaysSpider.__doc__.splitlines()[0]}",
        f"rooms        {RoomsSpider.__doc__.splitlines()[0]}",
        "`scrapy crawl --help` names their arguments",
    ]


def test_a_mistake_is_told_in_one_line(scrapy):
    outcome = scrapy("list", "-s", "nonsense")

    assert (outcome.status, outcome.complaint) == (2, "Invalid -s value, use -s NAME=VALUE")
