"""Data of a later version are said in one line, and left as they are."""

from __future__ import annotations

import json

import pytest

from battles.index import BattleIndex
from extensions.segments import salvage, trailer
from extensions.versions import NewerVersionError


def of_later_version(path) -> None:
    """Have a stored segment be closed by a later version."""
    records = salvage(path.read_bytes()).records
    text = json.dumps({"records": records, "version": 2}).encode()
    whole = path.read_bytes().removesuffix(trailer(records))
    path.unlink()
    path.write_bytes(whole + trailer(records)[:4] + len(text).to_bytes(4, "little") + text)


@pytest.fixture
def newer_index(archive, battles, redis):
    archive.keep(battles[:3])
    redis.set(archive.index.keys.version, 3)


@pytest.fixture
def newer_queue(redis):
    redis.hset("{replays}:queue:about", mapping={"version": 3, "epoch": "later"})


def contents(redis) -> dict:
    return {key: redis.dump(key) for key in redis.scan_iter()}


@pytest.mark.usefixtures("newer_index")
@pytest.mark.parametrize(
    "words",
    [
        ["search"],
        ["verify", "--refetch"],
        ["reindex", "--yes"],
        ["export", "--to", "x.jsonl"],
        ["crawl", "replays"],
    ],
)
def test_an_index_of_a_later_version_stops_every_command(scrapy, redis, words):
    before = contents(redis)

    outcome = scrapy(*words, SHOWDOWN_REPLAY_URL="http://127.0.0.1:1")

    assert (outcome.status, outcome.output) == (1, "")
    assert outcome.complaint == (
        "the index battles is of version 3, and this worker knows up to 2: upgrade it"
    )
    assert contents(redis) == before


@pytest.mark.usefixtures("newer_queue")
@pytest.mark.parametrize("words", [["crawl", "replays"], ["queue"], ["deadletters"]])
def test_a_queue_of_a_later_version_stops_every_command(scrapy, redis, words):
    before = contents(redis)

    outcome = scrapy(*words, SHOWDOWN_REPLAY_URL="http://127.0.0.1:1")

    assert (outcome.status, outcome.output) == (1, "")
    assert outcome.complaint == (
        "the queue replays:queue is of version 3, and this worker knows up to 2: upgrade it"
    )
    assert contents(redis) == before


@pytest.mark.parametrize("words", [["verify"], ["reindex", "--yes"]])
def test_a_segment_of_a_later_version_stops_who_reads_all_of_them(scrapy, archive, battles, words):
    [location, *_] = archive.keep(battles[:3])
    of_later_version(archive.segment(location))

    outcome = scrapy(*words)

    assert outcome.status == 1
    assert outcome.complaint == (
        f"{location.segment}: a segment is of version 2, and this worker knows up to 1: upgrade it"
    )
    assert len(archive.index) == 3


def test_whoever_adds_says_of_which_version_the_index_is(redis):
    index = BattleIndex(redis)
    index.claim()

    assert redis.get(index.keys.version) == b"2"


def test_whoever_would_add_to_a_later_version_is_refused(redis):
    index = BattleIndex(redis)
    redis.set(index.keys.version, 3)

    with pytest.raises(NewerVersionError):
        index.claim()
    assert redis.get(index.keys.version) == b"3"


def test_a_rebuilt_index_keeps_its_version(archive, battles, redis):
    archive.index.claim()
    archive.keep(battles[:3])

    list(archive.corpus.rebuild_index())

    assert redis.get(archive.index.keys.version) == b"2"
