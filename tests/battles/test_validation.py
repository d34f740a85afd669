"""What a crawl tells of its settings: to its site, in its log, in Redis and in the archive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from scrapy.settings import Settings

from battles.validation import ROWS, Validation
from extensions.setting_kinds import SettingError
from sandbox.site import ReplaySite
from tests.conftest import ROOT
from tests.integration.fleet import FAST

if TYPE_CHECKING:
    from collections.abc import Iterator

WORD = "pa55-w0rd"
SECRET = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 -- a name
KNOWN_AS = "Basic YW5uOnBhNTUtdzByZA=="
BATTLES = 4


class GuardedSite(ThreadingHTTPServer):
    """A replay site that answers those alone who say who they are; one of its battles is broken."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visitor)
        replays = list(_some())
        self.rows = [replay.row(recent=True) for replay in replays]
        self.replays = {f"/{replay.id}.json": replay.json() for replay in replays}
        self.broken = f"/{replays[0].id}.json"
        self.told: set[str | None] = set()

    @property
    def address(self) -> str:
        return f"http://ann:{WORD}@127.0.0.1:{self.server_port}"


class Visitor(BaseHTTPRequestHandler):
    server: GuardedSite

    def do_GET(self) -> None:
        told, path = self.headers["Authorization"], urlsplit(self.path).path
        self.server.told.add(told)
        self.send_response(401 if told != KNOWN_AS else 500 if path == self.server.broken else 200)
        self.end_headers()
        if path == "/search.json":
            self.wfile.write(json.dumps(self.server.rows).encode())
        else:
            self.wfile.write(self.server.replays.get(path, b""))

    def log_message(self, *_words: object) -> None:
        """Be silent."""


def _some() -> Iterator:
    site = ReplaySite.recorded()
    rows = site.search({})[:BATTLES]
    yield from (site.replay(row["id"]) for row in rows)


@pytest.fixture
def site() -> Iterator[GuardedSite]:
    with GuardedSite() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def everything(redis) -> bytes:
    """All that Redis holds, as it stores it and as it hands it out."""
    found = []
    for key in redis.scan_iter():
        kind = redis.type(key)
        found.append(key)
        if kind == b"stream":
            found.append(repr(redis.xrange(key)).encode())
        elif kind == b"hash":
            found.append(repr(redis.hgetall(key)).encode())
        else:
            found.append(redis.dump(key) or b"")
    return b"\n".join(found)


def test_a_password_goes_to_the_site_and_nowhere_else(site, places, redis, archive):
    given = {**places, **FAST, "SHOWDOWN_REPLAY_URL": site.address, SECRET: WORD}
    given |= {"RETRY_TIMES": "1", "MINE_URL": f"http://ann:{WORD}@127.0.0.1:1"}
    options = [word for pair in given.items() for word in ("-s", "=".join(pair))]
    command = [sys.executable, "-m", "scrapy", "crawl", "replays", "-a", "limit=4", "-L", "DEBUG"]

    done = subprocess.run(
        [*command, *options], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert site.told == {KNOWN_AS}
    assert len(archive.index) == BATTLES - 1
    assert "Overridden settings" in done.stderr
    assert f"'{SECRET}': '***'" in done.stderr
    for place in (done.stdout + done.stderr).encode(), everything(redis):
        assert WORD.encode() not in place
        assert b"ann:" not in place
        assert KNOWN_AS.encode() not in place
    battles = [archive.corpus.battle(path[1:-5]) for path in site.replays if path != site.broken]
    assert [urlsplit(battle.url).netloc for battle in battles] == [
        f"127.0.0.1:{site.server_port}"
    ] * (BATTLES - 1)


def test_the_web_client_takes_no_password():
    settings = Settings({"SHOWDOWN_CLIENT_URL": f"https://ann:{WORD}@play.example"})

    with pytest.raises(SettingError, match="give it without user and password") as refused:
        Validation().update_settings(settings)
    assert WORD not in str(refused.value)


@pytest.mark.parametrize("name", ["SPOOL_DIR", "INDEX_NAMESPACE"])
def test_a_place_without_a_name_is_refused(name):
    with pytest.raises(SettingError, match=f"^{name}='': give one line of text"):
        Validation().update_settings(Settings({name: ""}))


def test_every_site_is_one_whose_password_is_kept():
    sites = {row.name for row in ROWS if row.is_site}

    assert sites == {"SHOWDOWN_REPLAY_URL", "SHOWDOWN_SERVER_URL", "SHOWDOWN_CLIENT_URL"}
