from __future__ import annotations

import json

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

    outcome = scrapy("reindex")

    assert outcome.status == 1
    assert outcome.complaint.startswith(f"damaged and left out: {location.segment}: no frame")
    assert len(archive.index) == 5


def test_an_archive_that_is_away_keeps_its_index(scrapy, archive, battles, tmp_path):
    archive.keep(battles[:5])

    outcome = scrapy("reindex", ARCHIVE_URL="s3://", SPOOL_DIR=str(tmp_path / "spool"))

    assert outcome.status == 2
    assert len(archive.index) == 5


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
    assert "Throw the index in Redis away and build it from the stored segments" in outcome.output
