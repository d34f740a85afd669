from __future__ import annotations

import os
import sys
from errno import EDQUOT, ENOSPC, EROFS
from pathlib import Path

import pytest
from scrapy.settings import Settings

from extensions import storage as storage_module
from extensions.storage import (
    FolderStorage,
    MissingError,
    RefusedError,
    StorageError,
    storage_from_settings,
)
from extensions.storage_s3 import S3Storage
from tests.extensions.conftest import SECRET
from tests.extensions.storage_contract import KEY, StorageContract

NOWHERE = "http://127.0.0.1:1"


class TestFolderStorage(StorageContract):
    @pytest.fixture
    def storage(self, folder) -> FolderStorage:
        return folder


class TestS3Storage(StorageContract):
    @pytest.fixture
    def storage(self, s3_with, s3_bucket) -> S3Storage:
        return s3_with(f"s3://{s3_bucket}/archive")


# --- What the settings open -----------------------------------------------------------------------


def test_a_scheme_in_capitals_is_told_to_be_small():
    with pytest.raises(ValueError, match=r"^ARCHIVE_URL is 'S3://b': .+/prefix, in lower case$"):
        storage_from_settings(Settings({"ARCHIVE_URL": "S3://b"}))


def test_blanks_and_line_ends_around_a_folder_do_not_count(tmp_path, segment):
    url = f" {tmp_path / 'data'}\r\n"

    storage_from_settings(Settings({"ARCHIVE_URL": url})).put(segment, KEY)

    assert (tmp_path / "data" / KEY).read_bytes() == b"bytes"


def test_a_folder_with_a_colon_is_opened_by_its_path(tmp_path, segment, monkeypatch):
    monkeypatch.chdir(tmp_path)

    storage_from_settings(Settings({"ARCHIVE_URL": "./s3:bucket"})).put(segment, KEY)

    assert (tmp_path / "s3:bucket" / KEY).exists()


def test_a_folder_is_opened_by_its_path(tmp_path, segment):
    storage = storage_from_settings(Settings({"ARCHIVE_URL": str(tmp_path / "data")}))

    storage.put(segment, KEY)

    assert (tmp_path / "data" / KEY).read_bytes() == b"bytes"


@pytest.mark.parametrize(
    ("path", "key"),
    [
        pytest.param("", KEY, id="none"),
        pytest.param("/", KEY, id="a slash"),
        pytest.param("/archive", f"archive/{KEY}", id="one folder"),
        pytest.param("/archive/showdown/", f"archive/showdown/{KEY}", id="two folders"),
    ],
)
def test_a_bucket_is_opened_with_a_prefix_of(s3_with, s3_bucket, segment, path, key):
    s3_with(f"s3://{s3_bucket}{path}").put(segment, KEY)

    assert list(s3_with(f"s3://{s3_bucket}").keys("")) == [key]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        pytest.param("", "''", id="empty"),
        pytest.param(None, "''", id="unset"),
        pytest.param("s3://", "'s3://'", id="no bucket"),
        pytest.param("s3:///prefix", "'s3:///prefix'", id="a prefix without bucket"),
        pytest.param("s3://[bucket/prefix", r"'s3://\[bucket/prefix'", id="no name"),
        pytest.param("gs://bucket", "'gs://bucket'", id="another scheme"),
        pytest.param("https://host/bucket", "'https://host/bucket'", id="a page"),
        pytest.param("s3:bucket", "'s3:bucket'", id="no slashes"),
        pytest.param("s3:/bucket", "'s3:/bucket'", id="one slash"),
        pytest.param("file:///data", "'file:///data'", id="a file"),
        pytest.param(f"s3:key:{SECRET}@b", r"'s3:\*\*\*@b'", id="a secret without slashes"),
        pytest.param(f"https://h?k={SECRET}", r"'https://h\?\*\*\*'", id="a signed page"),
        pytest.param("da\0ta", r"'da\\x00ta'", id="a NUL"),
        pytest.param(f"s3://key:{SECRET}@bucket", r"'s3://\*\*\*@bucket'", id="with a secret"),
        pytest.param(f"https://u:/{SECRET}@h", r"'https://\*\*\*@h'", id="a page with a secret"),
    ],
)
def test_an_address_that_is_none_is_refused_in_one_line(url, shown):
    with pytest.raises(ValueError, match=f"^ARCHIVE_URL is {shown}: give a folder or") as raised:
        storage_from_settings(Settings({"ARCHIVE_URL": url}))

    assert "\n" not in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "scheme"),
    [
        pytest.param({}, "https", id="unset"),
        pytest.param({"AWS_ENDPOINT_URL": ""}, "https", id="empty"),
        pytest.param({"AWS_USE_SSL": True}, "https", id="on"),
        pytest.param({"AWS_USE_SSL": "False"}, "http", id="off on the command line"),
    ],
)
def test_the_connection_to_aws_is_encrypted_unless_told_otherwise(settings, scheme):
    given = {"ARCHIVE_URL": "s3://bucket", "AWS_REGION_NAME": "eu-west-1", **settings}

    storage = storage_from_settings(Settings(given))

    assert storage._client.meta.endpoint_url.partition("://")[0] == scheme


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"AWS_ENDPOINT_URL": "no address"}, id="endpoint"),
        pytest.param({"AWS_REGION_NAME": "no region"}, id="region"),
        pytest.param({"AWS_ACCESS_KEY_ID": "half a key"}, id="half a key"),
    ],
)
def test_aws_settings_that_make_no_sense_are_refused_at_once(settings):
    given = {"ARCHIVE_URL": "s3://bucket", "AWS_REGION_NAME": "eu-west-1", **settings}

    with pytest.raises(ValueError, match=r"^(?!ARCHIVE_URL).+$"):
        storage_from_settings(Settings(given))


# --- What a store refuses -------------------------------------------------------------------------


@pytest.fixture
def refusing(request, tmp_path, s3_with):
    """A store that refuses everything, for one of several reasons."""
    (tmp_path / "file").write_bytes(b"")
    wrong = {"AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ACCESS_KEY_ID": "AKIAKNOWN"}
    return {
        "a file instead of a folder": lambda: FolderStorage(tmp_path / "file"),
        "no such bucket": lambda: s3_with("s3://nobodys-bucket/archive"),
        "a bad bucket name": lambda: s3_with("s3://Bad.._name/archive"),
        "nobody listens": lambda: s3_with("s3://bucket", **wrong, AWS_ENDPOINT_URL=NOWHERE),
    }[request.param]()


REFUSING = pytest.mark.parametrize(
    "refusing",
    [
        "a file instead of a folder",
        "no such bucket",
        "a bad bucket name",
        "nobody listens",
    ],
    indirect=True,
)
ACTS = pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda storage, path: storage.put(path, KEY), id="put"),
        pytest.param(lambda storage, _: storage.read(KEY, 0, 1), id="read"),
        pytest.param(lambda storage, _: storage.read_all(KEY), id="read_all"),
    ],
)


@pytest.mark.usefixtures("without_waits")
@REFUSING
@ACTS
def test_a_refusal_names_the_key_and_no_secret(refusing, segment, act):
    with pytest.raises(StorageError, match=KEY) as raised:
        act(refusing, segment)

    assert not isinstance(raised.value, MissingError)
    assert SECRET not in str(raised.value)


@pytest.mark.usefixtures("without_waits")
@pytest.mark.parametrize("refusing", ["no such bucket", "nobody listens"], indirect=True)
def test_a_refused_listing_names_the_prefix(refusing):
    with pytest.raises(StorageError, match="raw/"):
        list(refusing.keys("raw/"))


@pytest.mark.parametrize(
    "refusing",
    ["a file instead of a folder", "no such bucket", "a bad bucket name"],
    indirect=True,
)
def test_a_store_that_waiting_does_not_mend_is_refused_in_one_line(refusing):
    with pytest.raises(RefusedError, match=r"^nothing can be stored in .+; check ARCHIVE_URL"):
        refusing.check()


# --- Folders --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("../outside", id="up"),
        pytest.param("raw/../../outside", id="down and up"),
        pytest.param("/etc/hostname", id="absolute"),
        pytest.param("raw/a\0b", id="a NUL"),
    ],
)
@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda folder, key, path: folder.put(path, key), id="put"),
        pytest.param(lambda folder, key, _: folder.read(key, 0, 1), id="read"),
        pytest.param(lambda folder, key, _: folder.read_all(key), id="read_all"),
        pytest.param(lambda folder, key, _: list(folder.keys(f"{key}/")), id="keys"),
    ],
)
def test_a_key_that_leads_out_of_the_folder_is_refused(folder, segment, key, act):
    with pytest.raises(StorageError, match="leads out of"):
        act(folder, key, segment)


def test_a_file_on_the_same_disk_is_not_copied(folder, segment, tmp_path):
    folder.put(segment, KEY)

    assert (tmp_path / "data" / KEY).samefile(segment)


def test_a_file_on_another_disk_is_copied_and_synced(folder, segment, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))

    folder.put(segment, KEY)

    target = tmp_path / "data" / KEY
    assert target.read_bytes() == b"bytes"
    assert not target.samefile(segment)
    assert target.stat().st_ino in synced


def refuse(*_args):
    raise OSError(18, "Invalid cross-device link")


def test_every_new_folder_is_synced_into_its_parent(folder, segment, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(storage_module, "sync_folder", synced.append)

    folder.put(segment, "raw/2026/1")

    data = tmp_path / "data"
    assert synced == [tmp_path, data, data / "raw", data / "raw" / "2026"]


def test_a_file_that_is_not_complete_is_no_key(folder, segment, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        with pytest.raises(StorageError, match="cannot be stored"):
            folder.put(segment, KEY)

    assert list(folder.keys("")) == []
    assert any((tmp_path / "data").rglob("*.partial"))


def test_a_put_that_broke_off_is_repeated(folder, segment, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        with pytest.raises(StorageError):
            folder.put(segment, KEY)

    folder.put(segment, KEY)

    assert folder.read_all(KEY) == b"bytes"


def test_a_check_leaves_nothing_but_the_folder(folder, tmp_path):
    folder.check()

    assert list((tmp_path / "data").iterdir()) == []


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(RefusedError, match=f"^nothing can be stored in {tmp_path}/file/data: .+"):
        FolderStorage(tmp_path / "file" / "data").check()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)

    with pytest.raises(RefusedError, match="Permission denied"):
        FolderStorage(tmp_path).check()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        pytest.param(ENOSPC, StorageError, id="full"),
        pytest.param(EDQUOT, StorageError, id="a quota"),
        pytest.param(EROFS, RefusedError, id="read-only"),
    ],
)
def test_a_disk_that_may_get_room_is_not_refused(folder, tmp_path, monkeypatch, number, kind):
    def write(path: Path, _data: bytes) -> None:
        path.touch()
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", write)

    with pytest.raises(StorageError, match=os.strerror(number)) as raised:
        folder.check()

    assert type(raised.value) is kind
    assert list((tmp_path / "data").iterdir()) == []


# --- S3 -------------------------------------------------------------------------------------------


def test_more_keys_than_a_page_are_all_listed(s3_with, s3_bucket, segment):
    storage = s3_with(f"s3://{s3_bucket}")
    storage._client.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **_: {**params, "MaxKeys": 2}
    )
    keys = [f"raw/{n}" for n in range(5)]
    for key in keys:
        storage.put(segment, key)

    assert list(storage.keys("raw/")) == keys


def test_a_prefix_hides_what_lies_beside_it(s3_with, s3_bucket, segment):
    s3_with(f"s3://{s3_bucket}/other").put(segment, KEY)

    assert list(s3_with(f"s3://{s3_bucket}/archive").keys("")) == []


def test_a_bucket_without_boto3_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "extensions.storage_s3")
    monkeypatch.setitem(sys.modules, "boto3", None)

    with pytest.raises(ValueError, match=r"pip install 'battles\[s3\]'"):
        storage_from_settings(Settings({"ARCHIVE_URL": "s3://bucket"}))


def test_a_folder_does_without_boto3(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "boto3", None)

    assert storage_from_settings(Settings({"ARCHIVE_URL": str(tmp_path)}))
