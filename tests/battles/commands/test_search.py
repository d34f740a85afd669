from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from battles.records import to_record
from battles.summary import line


def newest_first(battles) -> list:
    return sorted(battles, key=lambda battle: battle.uploaded, reverse=True)


def test_battles_are_listed_newest_first(scrapy, archive, battles):
    archive.keep(battles)

    outcome = scrapy("search")

    assert outcome.status == 0
    assert outcome.lines == [line(battle) for battle in newest_first(battles)[:50]]


def test_a_limit_is_kept(scrapy, archive, battles):
    archive.keep(battles)

    outcome = scrapy("search", "--limit", "3")

    assert outcome.lines == [line(battle) for battle in newest_first(battles)[:3]]


def test_battles_are_printed_as_json_without_logs(scrapy, archive, battles):
    archive.keep(battles)

    outcome = scrapy("search", "--json", "--limit", "1000")

    printed = [json.loads(text) for text in outcome.lines]
    kept = [to_record(battle) for battle in newest_first(battles)]
    assert printed == [{k: v for k, v in record.items() if k != "log"} for record in kept]


def test_filters_are_obeyed_together(scrapy, archive, battles):
    archive.keep(battles)
    rated = [b for b in battles if b.formatid == "gen9ou" and (b.rating or 0) >= 1100]
    middle = newest_first(rated)[len(rated) // 2]

    outcome = scrapy(
        "search",
        "--json",
        "--format",
        "[Gen 9] OU",
        "--min-rating",
        "1100",
        "--since",
        datetime.fromtimestamp(middle.uploaded, UTC).isoformat(),
    )

    found = {json.loads(text)["id"] for text in outcome.lines}
    assert found == {battle.id for battle in rated if battle.uploaded >= middle.uploaded}


def test_a_player_is_found(scrapy, archive, battles):
    archive.keep(battles)

    outcome = scrapy("search", "--player", battles[7].players[1].name, "--json")

    assert battles[7].id in {json.loads(text)["id"] for text in outcome.lines}


def test_nothing_found_is_said_so(scrapy, archive, battles):
    archive.keep(battles[:5])

    outcome = scrapy("search", "--player", "Nobody At All")

    assert (outcome.status, outcome.output) == (1, "")
    assert outcome.complaint == "no battle of a player 'nobodyatall' among 5 battles"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param(["--limit", "0"], "--limit='0': give a whole number above zero", id="limit"),
        pytest.param(["--since", "soon"], "--since='soon' is no date", id="date"),
        pytest.param(["--player", " "], "--player=' ': give a name", id="name"),
        pytest.param(["--min-rating", "high"], "--min-rating='high': give a whole", id="rating"),
        pytest.param(["--formt", "gen9ou"], "'--formt' is no option", id="an unknown option"),
        pytest.param(["gen9ou"], "'gen9ou' is no option: `scrapy search --help`", id="a word"),
        pytest.param(
            ["--since", "2026-11-20", "--until", "2026-11-01"],
            "--since is not before --until",
            id="no time between",
        ),
    ],
)
def test_a_wrong_call_is_said_so_before_anything_is_opened(scrapy, arguments, complaint):
    outcome = scrapy("search", *arguments, REDIS_URL="redis://127.0.0.1:1")

    assert outcome.status == 2
    assert outcome.complaint.startswith(complaint)


def test_help_names_the_filters(scrapy):
    outcome = scrapy("search", "--help")

    assert outcome.status == 0
    assert {"--format", "--player", "--since", "--limit"} <= set(outcome.output.split())
    assert "List stored battles, newest first" in outcome.output


def test_an_empty_archive_is_said_to_be_empty(scrapy):
    outcome = scrapy("search")

    assert outcome.status == 1
    assert outcome.complaint == "the archive is empty: `scrapy crawl replays` fills it"


def test_an_unknown_format_is_answered_by_the_nearest(scrapy, archive, battles):
    archive.keep(battles)

    outcome = scrapy("search", "--format", "gen9uo")

    assert outcome.status == 1
    assert outcome.complaint == "no battle of format 'gen9uo': did you mean 'gen9ou'?"


def test_filters_that_leave_nothing_are_to_be_loosened(scrapy, archive, battles):
    archive.keep(battles[:5])

    outcome = scrapy("search", "--min-rating", "9000")

    assert outcome.complaint == "nothing found among 5 battles: loosen the filters"
