from __future__ import annotations

import json
import shutil

import pytest

from battles.index import Query
from battles.recovery import entries
from extensions.queue import RequestQueue
from extensions.spool import damaged_copies
from tests.battles.conftest import commit
from tests.battles.test_corpus import damage


@pytest.fixture
def queue(redis):
    queue = RequestQueue(redis, "replays:queue", worker="test")
    queue.open()
    return queue


def ids(battles) -> set[str]:
    return {battle.id for battle in battles}


def test_an_archive_that_is_whole_is_said_so(scrapy, archive, battles):
    archive.keep(battles[:40], records=20)

    outcome = scrapy("verify")

    assert (outcome.status, outcome.lines) == (0, ["40 battles in 2 segments can be read"])


@pytest.mark.parametrize("harm", ["damaged", "cut", "emptied", "gone"])
def test_battles_that_cannot_be_read_are_found(scrapy, archive, battles, harm):
    archive.keep(battles[9:12])
    [location, *_] = archive.keep(battles[:9], frame=3)
    path = archive.segment(location)
    lost = battles[:9]
    match harm:
        case "damaged":
            damage(path)
            lost = battles[3:6]
        case "cut":
            with path.open("r+b") as file:
                file.truncate(location.length + 1)
            lost = battles[3:9]
        case "emptied":
            path.write_bytes(b"")
        case "gone":
            path.unlink()

    outcome = scrapy("verify", "--json")

    assert outcome.status == 1
    report = json.loads(outcome.output)
    assert report["missing"].keys() == ids(lost)
    assert report["battles"] == 12 - len(lost)
    assert list(report["damaged"]) == ([] if harm == "gone" else [location.segment])
    assert outcome.complaint == (
        f"{len(lost)} battles cannot be read: `scrapy verify --refetch` has them fetched again"
    )


def test_what_is_lost_is_listed(scrapy, archive, battles):
    [location, *_] = archive.keep(battles[:9], frame=3)
    damage(archive.segment(location))

    lines = scrapy("verify").lines

    assert lines[0] == "1 segments are damaged:"
    assert lines[1].startswith(f"  {location.segment}: 6 records whole, ")
    assert lines[2] == "3 battles cannot be read:"
    assert {line.split(":")[0].strip() for line in lines[3:6]} == ids(battles[3:6])
    assert lines[6] == "6 battles in 1 segments can be read"


def test_what_cannot_be_read_is_put_back_into_the_queue(scrapy, archive, battles, queue):
    [location, *_] = archive.keep(battles[:9], frame=3)
    damage(archive.segment(location))

    outcome = scrapy("verify", "--refetch")

    assert outcome.status == 0
    assert "3 are back in the queue: `scrapy crawl replays` fetches them" in outcome.lines
    _, leased = queue.lease(10)
    asked = {entry.fields[b"url"].decode().rpartition("/")[2] for entry in leased}
    assert asked == {f"{battle.id}.json" for battle in battles[3:6]}
    assert archive.index.known(ids(battles[:9])) == ids([*battles[:3], *battles[6:9]])


def test_what_was_put_back_is_not_put_back_twice(scrapy, archive, battles, queue):
    [location, *_] = archive.keep(battles[:9], frame=3)
    damage(archive.segment(location))
    scrapy("verify", "--refetch")

    outcome = scrapy("verify", "--refetch")

    assert outcome.status == 0
    assert queue.status().left == 3


def test_a_battle_that_another_copy_holds_is_not_missing(scrapy, archive, battles):
    [location, *_] = archive.keep(battles[:3])
    archive.keep(battles[:3])
    damage(archive.segment(location))

    assert scrapy("verify").status == 0


def test_what_lies_in_the_spool_is_read_there(scrapy, archive, battles):
    spool = archive.spool()
    archive.tell(battles[:5], commit(spool, battles[:5]))

    outcome = scrapy("verify")

    assert (outcome.status, outcome.lines) == (0, ["5 battles in 1 segments can be read"])


def leave_damaged(archive, battles) -> None:
    """Recover a segment of a dead process of which one frame is damaged."""
    spool = archive.spool()
    archive.tell(battles, commit(spool, battles, 3))
    path = spool._current.path
    spool._current.close()
    archive._built.remove(spool)
    damage(path)
    for recovered in archive.spool().recover():
        archive.index.add(entries(recovered))


def test_a_damaged_copy_stays_until_all_of_it_is_accounted_for(scrapy, archive, battles):
    leave_damaged(archive, battles[:9])
    [copy] = damaged_copies(archive.spools)

    before = scrapy("verify")
    stays = copy.exists()
    after = scrapy("verify", "--refetch")

    assert (before.status, stays) == (1, True)
    assert (after.status, copy.exists()) == (0, False)
    assert f"{copy}: all of it is accounted for; removed" in after.lines


def test_a_crawl_that_archives_meanwhile_loses_nothing(archive, battles):
    archive.keep(battles[:3])
    [row, *_] = archive.index.search(Query())
    archive.keep(battles[:3])

    assert archive.index.forget([row]) == [False]
    assert len(archive.index) == 3


def test_a_store_that_is_empty_is_taken_for_a_wrong_address(scrapy, archive, battles, tmp_path):
    archive.keep(battles[:3])

    outcome = scrapy("verify", "--refetch", ARCHIVE_URL=str(tmp_path / "elsewhere"))

    assert outcome.status == 1
    assert "check ARCHIVE_URL" in outcome.complaint
    assert len(archive.index) == 3


def test_a_store_that_is_known_to_be_empty_has_lost_everything(scrapy, archive, battles, queue):
    spool = archive.spool()
    archive.tell(battles[:3], commit(spool, battles[:3]))
    spool._current.close()
    archive._built.remove(spool)
    shutil.rmtree(archive.spools)

    outcome = scrapy("verify", "--refetch", "--yes")

    assert outcome.status == 0
    assert (len(archive.index), queue.status().left) == (0, 3)


def test_an_argument_is_a_wrong_call(scrapy):
    outcome = scrapy("verify", "everything")

    assert (outcome.status, outcome.complaint) == (2, "`scrapy verify` takes no arguments")
