from __future__ import annotations

import json

import pytest

from battles.index import Query


def test_the_index_is_rebuilt(scrapy, archive, battles):
    archive.keep(battles[:40], records=20)
    archive.index.clear()

    outcome = scrapy("reindex")

    assert (outcome.status, outcome.lines) == (0, ["40 battles in 2 segments"])
    assert len(list(archive.index.search(Query()))) == 40


def test_the_outcome_is_printed_as_json(scrapy, archive, battles):
    archive.keep(battles[:40], records=20)

    outcome = scrapy("reindex", "--json")

    assert [json.loads(line) for line in outcome.lines] == [{"battles": 40, "segments": 2}]


def test_a_damaged_segment_is_named_and_the_others_are_indexed(scrapy, archive, battles):
    [location, *_] = archive.keep(battles[:5])
    archive.keep(battles[5:10])
    archive.segment(location).write_bytes(b"damaged")

    outcome = scrapy("reindex", "--yes")

    assert outcome.status == 1
    assert outcome.complaint == (
        f"what is whole is indexed, but 1 are damaged: {location.segment}: 0 records whole, "
        "7 bytes damaged, no trailer"
    )
    assert len(archive.index) == 5


def test_an_archive_that_is_away_keeps_its_index(scrapy, archive, battles, tmp_path):
    archive.keep(battles[:5])

    outcome = scrapy("reindex", ARCHIVE_URL="s3://", SPOOL_DIR=str(tmp_path / "spool"))

    assert outcome.status == 2
    assert len(archive.index) == 5


def lose(archive, battles, *, left: int, of: int) -> None:
    """Have the store lose all battles but some, which the index does not know."""
    archive.keep(battles[:left])
    lost = {location.segment: location for location in archive.keep(battles[left:of])}
    for location in lost.values():
        archive.segment(location).unlink()


@pytest.mark.parametrize("left", [0, 1, 8])
def test_an_index_that_would_shrink_stays_as_it_was(scrapy, archive, battles, redis, left):
    lose(archive, battles, left=left, of=10)

    outcome = scrapy("reindex")

    assert (outcome.status, outcome.output) == (1, "")
    assert outcome.complaint == (
        f"the segments hold {left} battles, the index 10, which stays as it was: check ARCHIVE_URL;"
        " `scrapy reindex --yes` replaces it all the same"
    )
    assert len(archive.index) == len(list(archive.index.search(Query()))) == 10
    assert not list(redis.scan_iter("{battles}:reindex:*"))


def test_an_index_of_one_battle_is_not_emptied(scrapy, archive, battles):
    lose(archive, battles, left=0, of=1)

    assert scrapy("reindex").status == 1
    assert len(archive.index) == 1


def test_an_index_that_shrinks_a_little_is_replaced(scrapy, archive, battles):
    lose(archive, battles, left=9, of=10)

    outcome = scrapy("reindex")

    assert (outcome.status, outcome.lines) == (0, ["9 battles in 1 segments"])


@pytest.mark.parametrize("left", [0, 1])
def test_an_index_that_may_shrink_is_replaced(scrapy, archive, battles, left):
    lose(archive, battles, left=left, of=10)

    outcome = scrapy("reindex", "--yes")

    assert (outcome.status, outcome.lines) == (0, [f"{left} battles in {left} segments"])
    assert len(list(archive.index.search(Query()))) == left


def test_damage_that_would_shrink_the_index_is_named(scrapy, archive, battles):
    [location, *_] = archive.keep(battles[:5])
    archive.keep(battles[5:10])
    archive.segment(location).write_bytes(b"damaged")

    outcome = scrapy("reindex")

    assert outcome.status == 1
    assert f"stays as it was: 1 are damaged, {location.segment}: 0 records" in outcome.complaint
    assert len(archive.index) == 10


def test_an_empty_archive_gives_an_empty_index(scrapy):
    outcome = scrapy("reindex")

    assert (outcome.status, outcome.lines) == (0, ["0 battles in 0 segments"])


def test_an_argument_is_a_wrong_call(scrapy):
    outcome = scrapy("reindex", "everything")

    assert outcome.status == 2
    assert outcome.complaint == "`scrapy reindex` takes no arguments"


def test_help_says_what_it_does(scrapy):
    outcome = scrapy("reindex", "--help")

    assert outcome.status == 0
    assert "Build the index in Redis anew from the stored segments" in outcome.output
    assert {"--yes", "--json"} <= set(outcome.output.split())
