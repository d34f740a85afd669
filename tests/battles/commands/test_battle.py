from __future__ import annotations

import json

import pytest

from battles.records import to_record
from battles.summary import describe


def test_a_battle_is_described(scrapy, archive, battles):
    archive.keep(battles)

    outcome = scrapy("battle", battles[3].id)

    assert outcome.status == 0
    assert outcome.output == describe(battles[3]) + "\n"


def test_a_battle_is_printed_as_json(scrapy, archive, battles):
    archive.keep(battles)

    outcome = scrapy("battle", "--json", battles[3].id)

    assert [json.loads(line) for line in outcome.lines] == [to_record(battles[3])]


def test_the_log_is_printed_and_nothing_else(scrapy, archive, battles):
    archive.keep(battles)

    outcome = scrapy("battle", battles[3].id, "--log")

    assert outcome.output == battles[3].log.rstrip("\n") + "\n"


@pytest.mark.parametrize("option", [[], ["--log"], ["--json"]])
def test_a_battle_that_is_not_there_is_said_so(scrapy, archive, battles, option):
    archive.keep(battles[:5])

    outcome = scrapy("battle", "gen9ou-1", *option)

    assert (outcome.status, outcome.output) == (1, "")
    assert outcome.complaint == "gen9ou-1 is not in the archive, which holds 5 battles"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="no id"),
        pytest.param(["gen9ou-1", "gen9ou-2"], id="two ids"),
        pytest.param(["gen9ou-1", "--jsn"], id="an unknown option"),
    ],
)
def test_anything_but_one_id_is_a_wrong_call(scrapy, arguments):
    outcome = scrapy("battle", *arguments)

    assert outcome.status == 2
    assert outcome.complaint.startswith("give one battle's id, as in `scrapy battle gen9ou-")


def test_a_damaged_battle_is_said_so_in_one_line(scrapy, archive, battles):
    [location, *_] = archive.keep(battles[:5])
    archive.segment(location).write_bytes(b"\0" * 100_000)

    outcome = scrapy("battle", battles[0].id)

    assert outcome.status == 1
    assert outcome.complaint.startswith(
        f"{battles[0].id}: {location.segment} at 0: no frame begins with"
    )


def test_help_names_the_options(scrapy):
    outcome = scrapy("battle", "--help")

    assert outcome.status == 0
    assert {"--log", "--json"} <= set(outcome.output.split())
    assert "Show one stored battle" in outcome.output


@pytest.mark.parametrize(
    "address", ["https://replay.pokemonshowdown.com/{}.json?p2#x", "battle-{}"]
)
def test_a_pasted_address_shows_its_battle(scrapy, archive, battles, address):
    archive.keep(battles[:5])

    outcome = scrapy("battle", address.format(battles[3].id))

    assert outcome.output == describe(battles[3]) + "\n"


@pytest.mark.parametrize("option", [[], ["--explain"]])
def test_a_private_replay_is_said_to_be_one(scrapy, option):
    outcome = scrapy("battle", "https://psim.us/r/gen9ou-1-abcpw", *option)

    assert (outcome.status, outcome.output) == (1, "")
    assert outcome.complaint.startswith("gen9ou-1-abcpw is a private replay: those are neither")


def test_what_names_no_battle_is_a_wrong_call(scrapy):
    outcome = scrapy("battle", "https://example.org/")

    assert outcome.status == 2
    assert outcome.complaint.startswith("'https://example.org/' names no battle: give its id")


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_what_nobody_knows_is_explained_with_status_1(scrapy, option):
    outcome = scrapy("battle", "gen9ou-1", "--explain", *option)

    assert outcome.status == 1
    assert outcome.complaint.startswith("gen9ou-1: not archived, not in a queue, no dead letter")


def test_an_empty_archive_is_said_to_be_empty(scrapy):
    outcome = scrapy("battle", "gen9ou-1")

    assert outcome.status == 1
    assert outcome.complaint.startswith("gen9ou-1 is not in the archive, which is empty: `scrapy")


def test_a_store_that_is_empty_is_another_than_was_indexed(scrapy, archive, battles, tmp_path):
    archive.keep(battles[:5])

    outcome = scrapy("battle", battles[0].id, ARCHIVE_URL=str(tmp_path / "other"))

    assert outcome.status == 1
    assert outcome.complaint == (
        "the store is empty, while the index holds 5 battles: check ARCHIVE_URL"
    )
