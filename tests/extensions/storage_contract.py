"""What every store must do; a test class inherits it and brings a `storage` fixture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from extensions.storage import MissingError, Storage, StorageError

if TYPE_CHECKING:
    from pathlib import Path

KEY = "raw/2026/11/21/worker-1.jsonl.zst"


class StorageContract:
    @pytest.fixture
    def put(self, storage: Storage, tmp_path: Path):
        """Store some bytes."""

        def put(data: bytes, key: str = KEY) -> None:
            path = tmp_path / "segment"
            path.write_bytes(data)
            storage.put(path, key)
            path.unlink()

        return put

    def test_a_file_is_read_as_it_was_put(self, storage, put):
        put(b"\0one\ntwo\xff")

        assert storage.read_all(KEY) == b"\0one\ntwo\xff"

    def test_a_file_of_some_megabytes_is_read_as_it_was_put(self, storage, put):
        put(bytes(range(256)) * 20_000)

        assert storage.read_all(KEY) == bytes(range(256)) * 20_000

    def test_an_empty_file_is_read_as_it_was_put(self, storage, put):
        put(b"")

        assert storage.read_all(KEY) == b""

    @pytest.mark.parametrize(
        ("offset", "length", "part"),
        [
            pytest.param(0, 3, b"012", id="from the start"),
            pytest.param(4, 2, b"45", id="from the middle"),
            pytest.param(9, 1, b"9", id="the last byte"),
            pytest.param(8, 5, b"89", id="across the end"),
            pytest.param(10, 5, b"", id="behind the end"),
        ],
    )
    def test_a_part_is_read_by_its_place(self, storage, put, offset, length, part):
        put(b"0123456789")

        assert storage.read(KEY, offset, length) == part

    def test_the_last_put_counts(self, storage, put):
        put(b"first and longer")

        put(b"second")

        assert storage.read_all(KEY) == b"second"

    def test_a_local_file_outlives_its_store(self, storage, tmp_path):
        path = tmp_path / "segment"
        path.write_bytes(b"kept")

        storage.put(path, KEY)

        assert path.read_bytes() == b"kept"

    @pytest.mark.parametrize(
        "read",
        [
            pytest.param(lambda storage: storage.read_all(KEY), id="whole"),
            pytest.param(lambda storage: storage.read(KEY, 0, 10), id="a part"),
        ],
    )
    def test_a_missing_file_is_named(self, storage, read):
        with pytest.raises(MissingError, match=KEY):
            read(storage)

    def test_keys_come_in_the_order_of_their_letters(self, storage, put):
        for key in ("raw/b/1", "raw/a/2", "raw/a-c/3", "raw/a/1"):
            put(b"x", key)

        assert list(storage.keys("raw/")) == ["raw/a-c/3", "raw/a/1", "raw/a/2", "raw/b/1"]

    @pytest.mark.parametrize(
        ("prefix", "found"),
        [
            pytest.param("", ["other/1", "raw/1", "raw/20", "raw/21"], id="no prefix"),
            pytest.param("raw/", ["raw/1", "raw/20", "raw/21"], id="a folder"),
            pytest.param("raw/2", ["raw/20", "raw/21"], id="the start of a name"),
            pytest.param("raw/[2]", [], id="a pattern"),
            pytest.param("nowhere/", [], id="nothing"),
        ],
    )
    def test_only_keys_with_the_prefix_are_listed(self, storage, put, prefix, found):
        for key in ("other/1", "raw/1", "raw/20", "raw/21"):
            put(b"x", key)

        assert list(storage.keys(prefix)) == found

    def test_an_empty_store_has_no_keys(self, storage):
        assert list(storage.keys("raw/")) == []

    def test_a_store_that_takes_files_is_checked_as_often_as_one_likes(self, storage):
        storage.check()
        storage.check()

        assert list(storage.keys("")) == []

    def test_a_local_file_that_is_gone_cannot_be_stored(self, storage, tmp_path):
        with pytest.raises(StorageError, match=KEY):
            storage.put(tmp_path / "gone", KEY)
