"""Scrapy's commands that ask a site themselves, as a shell runs them, beside a queue that waits."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest
import requests

from extensions.queue import Add, RequestQueue
from tests.conftest import ROOT
from tests.integration.fleet import FAST, Site, running_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

WAITING = 5
PUBLIC = "https://replay.example/gen9ou-1.json"
SPIDER = """
import scrapy

class CheckedSpider(scrapy.Spider):
    name = "checked"

    def parse(self, response):
        '''Have a contract.

        @url {url}
        @returns items 1 1
        '''
        yield {{"id": response.json()["id"]}}
"""


class Project:
    """The project, in whose queue requests wait for workers."""

    def __init__(self, site: Site, places: dict[str, str], redis: Redis, folder: Path) -> None:
        self.site = site
        self.folder = folder
        self.environment: dict[str, str] = {}
        self._places = places
        self._redis = redis
        queue = RequestQueue(redis, "replays:queue", worker="other")
        queue.open()
        waiting = [{"url": f"{site.address}/gen9ou-{n}.json"} for n in range(WAITING)]
        assert all(queue.commit([Add(2, fields) for fields in waiting]))
        rows = requests.get(f"{site.address}/search.json", timeout=10).json()
        self.battle = rows[0]["id"]
        self.url = f"{site.address}/{self.battle}.json"
        self._before = self._shared()
        self._asked_before = len(site.requests())

    def run(self, *words: str, **settings: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*words, **settings),
            cwd=ROOT,
            env={**os.environ, "CONTACT": "", **self.environment},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def command(self, *words: str, **settings: str) -> list[str]:
        given = {**self._places, **FAST, "SHOWDOWN_REPLAY_URL": self.site.address, **settings}
        options = [word for pair in given.items() for word in ("-s", "=".join(pair))]
        return [sys.executable, "-m", "scrapy", *words, *options]

    def asked(self) -> list[str]:
        """Return what the site was asked for since."""
        return [entry["path"] for entry in self.site.requests()[self._asked_before :]]

    def is_untouched(self) -> bool:
        """Tell whether queue, index and archive are as they were; the throttle's keys are not."""
        is_kept = not any((self.folder / name).exists() for name in ("data", "spool"))
        return is_kept and self._shared() == self._before

    def _shared(self) -> dict[bytes, bytes | None]:
        keys = [key for key in self._redis.scan_iter() if not key.startswith(b"throttle:")]
        return {key: self._redis.dump(key) for key in keys}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Site:
    with running_site(tmp_path_factory.mktemp("site"), "--battles", "12") as site:
        yield site


@pytest.fixture
def project(site, places, redis, tmp_path) -> Project:
    return Project(site, places, redis, tmp_path)


@pytest.fixture
def forbidding_site(tmp_path) -> Iterator[str]:
    """The address of a site whose robots.txt forbids everything."""
    folder = tmp_path / "forbidding"
    folder.mkdir()
    (folder / "robots.txt").write_text("User-agent: *\nDisallow: /\n")
    (folder / "gen9ou-1.json").write_text("{}")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_fetch_prints_what_the_address_holds_and_leaves_the_queue_alone(project):
    done = project.run("fetch", project.url, "--nolog")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["id"] == project.battle
    assert project.asked() == ["/robots.txt", f"/{project.battle}.json"]
    assert project.is_untouched()


def test_fetch_of_what_cannot_be_had_says_so(project):
    url = "http://127.0.0.1:1/x"

    done = project.run("fetch", url)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"nothing was fetched from {url}\n")


@pytest.mark.parametrize("options", [[], ["--headers"]], ids=["body", "headers"])
def test_fetch_of_an_error_says_so_after_what_came(project, options):
    url = f"{project.site.address}/gen9ou-404.json"

    done = project.run("fetch", url, "--nolog", *options)

    assert (done.returncode, done.stderr) == (1, f"{url} answered with status 404\n")
    assert ("< Date: " in done.stdout) == bool(options)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        pytest.param(
            ["fetch", "http://127.0.0.1:99999/x"],
            "http://127.0.0.1:99999/x is no address: Port out of range 0-65535",
            id="port",
        ),
        pytest.param(
            ["shell", "http://[::1/x"], "http://[::1/x is no address: Invalid IPv6 URL", id="IPv6"
        ),
        pytest.param(
            ["fetch", "file:///etc/passwd"],
            "file:///etc/passwd is not fetched: give an address of http, https, ws, wss",
            id="file",
        ),
        pytest.param(
            ["parse", "file:///etc/passwd", "-c", "parse_battle"],
            "file:///etc/passwd is not fetched: give an address of http, https, ws, wss",
            id="parse a file",
        ),
        pytest.param(
            ["parse", "-c", "nope", "http://127.0.0.1:1/x"],
            "replays has no callback 'nope'",
            id="callback",
        ),
        pytest.param(["check", "nope"], "there is no spider 'nope': there are ", id="check"),
        pytest.param(
            ["fetch", "--spider", "nope", "http://127.0.0.1:1/x"],
            "there is no spider 'nope': there are ",
            id="spider",
        ),
    ],
)
def test_a_wrong_call_is_one_line(scrapy, words, complaint):
    outcome = scrapy(*words)

    assert outcome.status == 2
    assert outcome.complaint.startswith(complaint)


def test_fetch_says_what_robots_txt_forbids(project, forbidding_site):
    url = f"{forbidding_site}/gen9ou-1.json"

    done = project.run("fetch", url)

    assert (done.returncode, done.stdout) == (1, "")
    assert f"<GET {url}> is not fetched: Forbidden by robots.txt" in done.stderr


def test_parse_shows_the_battle_of_the_address_and_keeps_nothing(project):
    done = project.run("parse", project.url, "--nocolour", "--pipelines")

    assert done.returncode == 0, done.stderr
    assert f"'id': '{project.battle}'" in done.stdout
    assert project.asked() == ["/robots.txt", f"/{project.battle}.json"]
    assert project.is_untouched()


def test_an_item_that_parse_hands_on_is_not_archived(project):
    file = project.folder / "items.jsonl"

    done = project.run("parse", project.url, "--noitems", "-o", str(file))

    assert done.returncode == 0, done.stderr
    assert json.loads(file.read_text())["id"] == project.battle
    assert project.is_untouched()


def test_parse_without_a_callback_says_that_it_needs_one(project):
    done = project.run("parse", f"{project.site.address}/search.json")

    assert done.returncode == 2
    assert "replays has no parse: give the callback, as in -c parse_battle" in done.stderr


def test_shell_fetches_the_address_and_ends(project):
    done = project.run("shell", project.url, "-c", "response.json()['id']", "--nolog")

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == project.battle
    assert project.asked() == ["/robots.txt", f"/{project.battle}.json"]
    assert project.is_untouched()


def test_shell_reads_a_file_that_is_named(project):
    page = project.folder / "page.html"
    page.write_text("<title>a page</title>")

    done = project.run("shell", str(page), "-c", "response.css('title::text').get()", "--nolog")

    assert done.stdout.strip() == "a page", done.stderr


def test_ctrl_c_ends_a_shell_that_waits_for_a_site(project):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with subprocess.Popen(project.command("shell", url, "--nolog"), cwd=ROOT) as shell:
            asked, _ = silent.accept()
            shell.send_signal(signal.SIGINT)
            try:
                status = shell.wait(10)
            finally:
                shell.kill()
                asked.close()

    assert status == 130


def test_view_shows_the_address_in_a_browser(project):
    seen = project.folder / "seen"
    browser = project.folder / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}\n')
    browser.chmod(0o700)
    project.environment["BROWSER"] = str(browser)

    done = project.run("view", project.url)

    assert done.returncode == 0, done.stderr
    assert seen.read_text().startswith("file://")
    assert project.asked() == ["/robots.txt", f"/{project.battle}.json"]
    assert project.is_untouched()


def test_check_tries_the_contracts_of_a_spider(project):
    (project.folder / "checked_spiders.py").write_text(SPIDER.format(url=project.url))
    project.environment["PYTHONPATH"] = str(project.folder)

    done = project.run("check", "checked", SPIDER_MODULES="checked_spiders")

    assert done.returncode == 0, done.stderr
    assert "Ran 1 contract" in done.stderr
    assert project.asked() == ["/robots.txt", f"/{project.battle}.json"]
    assert project.is_untouched()


class Echo(BaseHTTPRequestHandler):
    """A site, or a proxy before every site, that tells what it was told."""

    def do_GET(self) -> None:
        told = [self.path, self.headers["Proxy-Authorization"], self.headers["Authorization"]]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(told).encode())

    def log_message(self, *_words: object) -> None:
        """Be silent."""


def test_a_proxy_before_a_plain_site_is_told_who_asks(project):
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://ann:word@127.0.0.1:{server.server_port}"
        project.environment.update(http_proxy=address, no_proxy="")
        done = project.run("fetch", "http://127.0.0.1:1/x", "--nolog", ROBOTSTXT_OBEY="0")
        server.shutdown()

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["http://127.0.0.1:1/x", "Basic YW5uOndvcmQ=", None]


def test_a_password_in_an_address_reaches_its_site_and_no_log(project):
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://ann:word@127.0.0.1:{server.server_port}/x"
        done = project.run("fetch", address, "-L", "DEBUG", ROBOTSTXT_OBEY="0")
        server.shutdown()

    assert json.loads(done.stdout) == ["/x", None, "Basic YW5uOndvcmQ="]
    assert "Crawled (200)" in done.stderr
    assert "ann:word" not in done.stderr


@pytest.mark.parametrize("command", ["fetch", "parse", "shell", "view"])
def test_whoever_is_asked_must_be_able_to_reach_us(scrapy, command):
    outcome = scrapy(command, PUBLIC, CONTACT="")

    assert outcome.status == 2
    assert outcome.complaint == (
        "replay.example must be able to reach you: set CONTACT to your e-mail address or web page"
    )


def test_what_is_asked_for_later_needs_a_contact_as_well(project):
    done = project.run("shell", "-c", f"fetch({PUBLIC!r})")

    assert "replay.example must be able to reach you: set CONTACT" in done.stderr
    assert project.is_untouched()


def test_a_redis_that_is_away_is_said_so_before_anything_is_asked(scrapy):
    outcome = scrapy("fetch", "http://127.0.0.1:1/x", REDIS_URL="redis://127.0.0.1:1")

    assert outcome.status == 1
    assert outcome.complaint.startswith("Redis does not answer: ")
