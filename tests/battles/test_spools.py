from __future__ import annotations

import fcntl
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from scrapy.settings import Settings

from battles.spools import Left, left_by_others, spool_folder, write_note
from extensions.spool import Spool, left_behind
from extensions.storage import FolderStorage

SAME = {"ARCHIVE_URL": "data", "REDIS_URL": "redis://host/0", "SPOOL_DIR": "spool"}


def folder_of(**settings) -> str:
    return spool_folder(Settings({**SAME, **settings})).name


@pytest.mark.parametrize(
    "settings",
    [
        {"ARCHIVE_URL": "other"},
        {"ARCHIVE_URL": "s3://bucket/prefix"},
        {"REDIS_URL": "redis://host/1"},
        {"REDIS_URL": "redis://other/0"},
        {"REDIS_URL": ""},
        {"INDEX_NAMESPACE": "others"},
    ],
)
def test_each_archive_and_index_has_a_spool_of_its_own(settings):
    assert folder_of(**settings) != folder_of()


@pytest.mark.parametrize(
    "settings",
    [
        {"ARCHIVE_URL": "./data/"},
        {"REDIS_URL": "redis://host"},
        {"REDIS_URL": "redis://host:6379/0"},
        {"REDIS_URL": "redis://user:secret@host:6379/0?socket_timeout=3"},
        {"REDIS_URL": "rediss://:secret@host"},
        {"INDEX_NAMESPACE": "battles"},
        {"THROTTLE_RATE": "5"},
    ],
)
def test_another_spelling_is_no_other_spool(settings):
    assert folder_of(**settings) == folder_of()


def test_buckets_at_two_servers_are_two():
    one = folder_of(ARCHIVE_URL="s3://bucket/p/", AWS_ENDPOINT_URL="http://127.0.0.1:1/")
    same = folder_of(ARCHIVE_URL="s3://bucket/p", AWS_ENDPOINT_URL="http://127.0.0.1:1")
    other = folder_of(ARCHIVE_URL="s3://bucket/p", AWS_ENDPOINT_URL="http://127.0.0.1:2")

    assert one == same != other


def settings_of(tmp_path, **changes) -> Settings:
    places = {"ARCHIVE_URL": str(tmp_path / "data"), "SPOOL_DIR": str(tmp_path / "spool")}
    redis = "redis://user:secret@host:6379/0"
    return Settings({**places, "REDIS_URL": redis, **changes})


def test_a_note_says_whose_a_spool_is_and_no_password(tmp_path):
    settings = settings_of(tmp_path)

    write_note(settings)

    [note] = (tmp_path / "spool").glob("*.json")
    assert note.name == f"{spool_folder(settings).name}.json"
    assert json.loads(note.read_text()) == {
        "archive": str(tmp_path / "data"),
        "index": "battles in host:6379/0",
    }


def leave(settings) -> Spool:
    """Leave a segment, as a worker does that is killed."""
    write_note(settings)
    spool = Spool(spool_folder(settings), FolderStorage(None), worker="dead", segment_records=9)
    spool.commit([b"{}"])
    return spool


def test_what_others_left_is_found_and_what_they_hold_is_not(tmp_path):
    ours, theirs = settings_of(tmp_path), settings_of(tmp_path, INDEX_NAMESPACE="theirs")
    leave(ours)._current.close()
    spool = leave(theirs)

    before = list(left_by_others(ours))
    spool._current.close()

    assert before == []
    assert list(left_by_others(ours)) == [
        Left(1, spool_folder(theirs), str(tmp_path / "data"), "theirs in host:6379/0")
    ]


def test_an_archive_has_one_spool_whatever_leads_to_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")

    ways = ["data", "link", "data/../data", str(tmp_path / "data")]
    assert len({folder_of(ARCHIVE_URL=way) for way in ways}) == 1


def test_no_password_of_the_store_is_noted(tmp_path):
    endpoint = "https://key:secret@s3.example"
    settings = settings_of(tmp_path, ARCHIVE_URL="s3://bucket/p", AWS_ENDPOINT_URL=endpoint)

    write_note(settings)

    [note] = (tmp_path / "spool").glob("*.json")
    assert json.loads(note.read_text())["archive"] == "s3://bucket/p at https://s3.example"


def test_workers_that_start_at_one_time_write_one_note(tmp_path):
    settings = settings_of(tmp_path)

    with ThreadPoolExecutor(8) as pool:
        for number in range(50):
            list(pool.map(write_note, [settings] * 8))
            if number % 2:
                next((tmp_path / "spool").glob("*.json")).unlink()

    assert sorted(path.suffix for path in (tmp_path / "spool").iterdir()) in (["", ".json"], [""])


def test_a_folder_with_a_notes_name_is_passed_over(tmp_path):
    (tmp_path / "spool" / "x.json").mkdir(parents=True)

    assert list(left_by_others(settings_of(tmp_path))) == []


def test_who_counts_what_others_left_does_not_keep_them_from_it(tmp_path):
    settings = settings_of(tmp_path)
    spool = leave(settings)
    spool._current.close()
    path = spool._current.path

    with path.open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        found = left_behind(path.parent)

    assert found == [path]


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_note_that_says_nothing_is_passed_over(tmp_path, text):
    theirs = settings_of(tmp_path, INDEX_NAMESPACE="theirs")
    leave(theirs)._current.close()
    spool_folder(theirs).with_suffix(".json").write_text(text)

    assert list(left_by_others(settings_of(tmp_path))) == []
