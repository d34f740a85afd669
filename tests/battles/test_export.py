from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime

import duckdb
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet
import pytest
import zstandard

from battles import export as export_module
from battles.export import ExportError, export
from battles.items import Player
from battles.parquet import SCHEMA
from battles.records import to_record

FILES = pytest.mark.parametrize("name", ["x.parquet", "x.jsonl", "x.jsonl.zst"])
FORMS = pytest.mark.parametrize("form", ["parquet", "jsonl"])


def ids_of(battles) -> list[str]:
    return sorted(battle.id for battle in battles)


def files_in(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def in_duckdb(path) -> list[tuple[str, str]]:
    """Read ids and formats from a file, or from a folder of files."""
    names = files_in(path) if path.is_dir() else [path.name]
    kind = "parquet" if names[0].endswith(".parquet") else "json"
    pattern = f"{path}/**/part-*" if path.is_dir() else str(path)
    query = {
        "parquet": "SELECT id, formatid FROM read_parquet(?)",
        "json": "SELECT id, formatid FROM read_json(?)",
    }[kind]
    return sorted(duckdb.execute(query, [pattern]).fetchall())


def in_pandas(path) -> pd.DataFrame:
    if path.is_dir() or path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_json(path, lines=True)


# --- Files ----------------------------------------------------------------------------------------


@FILES
def test_duckdb_reads_every_battle_of(battles, tmp_path, name):
    count = export(battles, tmp_path / name)

    assert count == len(battles)
    assert in_duckdb(tmp_path / name) == sorted((b.id, b.formatid) for b in battles)


@FILES
def test_pandas_reads_every_battle_of(battles, tmp_path, name):
    export(battles, tmp_path / name)

    frame = in_pandas(tmp_path / name)
    assert sorted(frame["id"]) == ids_of(battles)
    assert dict(zip(frame["id"], frame["log"], strict=True)) == {b.id: b.log for b in battles}


def test_parquet_has_the_columns_of_a_record(battles, tmp_path):
    export(battles[:1], tmp_path / "x.parquet")

    names = pyarrow.parquet.read_schema(tmp_path / "x.parquet").names
    assert names == SCHEMA.names == list(to_record(battles[0]))


def test_parquet_holds_what_a_record_holds(battles, tmp_path):
    export(battles, tmp_path / "x.parquet")

    rows = pyarrow.parquet.read_table(tmp_path / "x.parquet").to_pylist()
    assert [{**row, **seconds(row)} for row in rows] == [to_record(b) for b in battles]


def seconds(row) -> dict[str, int | None]:
    """Turn a row's times back into seconds."""
    times = {name: row[name] for name in ("started", "uploaded", "fetched_at")}
    return {name: int(time.timestamp()) if time else None for name, time in times.items()}


def test_times_in_parquet_are_utc(battles, tmp_path):
    export(battles[:1], tmp_path / "x.parquet")

    [row] = pyarrow.parquet.read_table(tmp_path / "x.parquet").to_pylist()
    assert row["uploaded"] == datetime.fromtimestamp(battles[0].uploaded, UTC)


def test_numbers_that_no_log_should_hold_are_exported(battles, tmp_path):
    large = 2**31 - 1
    odd = replace(
        battles[0],
        generation=large,
        turns=large,
        rating=large,
        uploaded=large,
        players=[Player("p1", "A", rating_before=large, rating_after=large)],
    )

    export([odd], tmp_path / "x.parquet")

    [row] = pyarrow.parquet.read_table(tmp_path / "x.parquet").to_pylist()
    assert (row["generation"], row["turns"], row["rating"]) == (large, large, large)


def test_a_line_of_json_holds_what_a_record_holds(battles, tmp_path):
    export(battles, tmp_path / "x.jsonl")

    lines = (tmp_path / "x.jsonl").read_bytes().splitlines()
    assert [json.loads(line) for line in lines] == [to_record(battle) for battle in battles]


def test_compressed_lines_are_the_same_lines(battles, tmp_path):
    export(battles, tmp_path / "x.jsonl")
    export(battles, tmp_path / "x.jsonl.zst")

    with zstandard.open(tmp_path / "x.jsonl.zst", "rb") as file:
        assert file.read() == (tmp_path / "x.jsonl").read_bytes()


@FILES
def test_more_battles_than_are_written_at_once_are_all_written(
    battles, tmp_path, monkeypatch, name
):
    monkeypatch.setattr(export_module, "_BUFFERED", 10)

    export(battles, tmp_path / name)

    assert sorted(in_pandas(tmp_path / name)["id"]) == ids_of(battles)


@FILES
def test_folders_that_lead_to_a_file_are_made(battles, tmp_path, name):
    export(battles[:1], tmp_path / "new" / "folder" / name)

    assert files_in(tmp_path) == [f"new/folder/{name}"]


@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl.zst"])
def test_no_battles_make_an_empty_file(tmp_path, name):
    assert export([], tmp_path / name) == 0

    assert files_in(tmp_path) == [name]


def failing(battles):
    yield from battles
    raise RuntimeError("the archive is gone")


# --- Folders --------------------------------------------------------------------------------------


@FORMS
def test_duckdb_reads_every_battle_of_a_folder_of(battles, tmp_path, form):
    count = export(battles, tmp_path / "out", form)

    assert count == len(battles)
    assert in_duckdb(tmp_path / "out") == sorted((b.id, b.formatid) for b in battles)


def test_pandas_reads_every_battle_of_a_folder(battles, tmp_path):
    export(battles, tmp_path / "out")

    frame = in_pandas(tmp_path / "out")
    assert sorted(zip(frame["id"], frame["formatid"], strict=True)) == sorted(
        (battle.id, battle.formatid) for battle in battles
    )


def test_arrow_reads_every_battle_of_a_folder(battles, tmp_path):
    export(battles, tmp_path / "out")

    table = pyarrow.dataset.dataset(tmp_path / "out", partitioning="hive").to_table()
    assert sorted(table["id"].to_pylist()) == ids_of(battles)


def test_a_reader_of_one_format_opens_its_folder_only(battles, tmp_path):
    export(battles, tmp_path / "out")

    frame = in_pandas(tmp_path / "out" / "formatid=gen9ou")
    assert sorted(frame["id"]) == ids_of(b for b in battles if b.formatid == "gen9ou")


@pytest.mark.parametrize(
    ("form", "suffix"), [(None, "parquet"), ("parquet", "parquet"), ("jsonl", "jsonl.zst")]
)
def test_a_folder_has_a_folder_for_each_format_and_month(battles, tmp_path, form, suffix):
    old = replace(battles[0], id="gen1ou-1", formatid="gen1ou", uploaded=1_767_225_599)
    new = replace(battles[0], id="gen1ou-2", formatid="gen1ou", uploaded=1_767_225_600)
    other = replace(battles[0], id="gen9ou-1", formatid="gen9ou", uploaded=1_767_225_600)

    export([old, new, other], tmp_path, form)

    assert files_in(tmp_path) == [
        f"formatid=gen1ou/month=2025-12/part-0000.{suffix}",
        f"formatid=gen1ou/month=2026-01/part-0001.{suffix}",
        f"formatid=gen9ou/month=2026-01/part-0002.{suffix}",
    ]


@pytest.mark.parametrize(
    ("times", "month"),
    [
        pytest.param((1_793_491_200, 0, 0), "2026-11", id="uploaded"),
        pytest.param((None, 1_793_491_200, 0), "2026-11", id="begun"),
        pytest.param((None, None, 1_793_491_200), "2026-11", id="fetched"),
    ],
)
def test_the_month_is_that_in_which_a_battle_was(battles, tmp_path, times, month):
    uploaded, started, fetched_at = times
    battle = replace(battles[0], uploaded=uploaded, started=started, fetched_at=fetched_at)

    export([battle], tmp_path / "out")

    assert next((tmp_path / "out").glob("*/*")).name == f"month={month}"


def test_no_more_files_are_open_than_allowed(battles, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "_OPEN_FILES", 2)
    formats = len({battle.formatid for battle in battles})

    export(battles, tmp_path / "out")

    assert len(files_in(tmp_path / "out")) > formats > 2
    assert sorted(in_pandas(tmp_path / "out")["id"]) == ids_of(battles)


@FORMS
def test_an_export_to_a_folder_that_fails_leaves_no_incomplete_file(battles, tmp_path, form):
    with pytest.raises(RuntimeError):
        export(failing(battles), tmp_path / "out", form)

    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    "occupy",
    [
        pytest.param(lambda path: (path.mkdir(), (path / "note").touch()), id="a full folder"),
        pytest.param(lambda path: path.write_text("note"), id="a file"),
    ],
)
def test_what_is_there_already_is_refused(battles, tmp_path, occupy):
    occupy(tmp_path / "out")

    with pytest.raises(ExportError, match=f"{tmp_path}/out is there already"):
        export(battles, tmp_path / "out")


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl.gz", "x.PARQUET", "x.zst"])
def test_an_unknown_ending_is_refused(battles, tmp_path, name):
    with pytest.raises(ExportError, match=r"give \.parquet, \.jsonl, \.jsonl\.zst, or a folder"):
        export(battles, tmp_path / name)

    assert not list(tmp_path.iterdir())


NAMES = pytest.mark.parametrize("name", ["x.parquet", "x.jsonl", "x.jsonl.zst", "out"])


@NAMES
def test_an_export_is_not_replaced_without_force(battles, tmp_path, name):
    export(battles, tmp_path / name)

    with pytest.raises(ExportError, match="is there already: name another, or replace it with"):
        export(battles[:1], tmp_path / name)

    assert sorted(in_pandas(tmp_path / name)["id"]) == ids_of(battles)


@NAMES
def test_an_export_is_replaced_with_force(battles, tmp_path, name):
    export(battles, tmp_path / name)

    export(battles[:1], tmp_path / name, force=True)

    assert list(in_pandas(tmp_path / name)["id"]) == [battles[0].id]
    assert [path.name for path in tmp_path.iterdir()] == [name]


@NAMES
def test_an_export_that_fails_leaves_what_it_would_replace(battles, tmp_path, name):
    export(battles, tmp_path / name)

    with pytest.raises(RuntimeError):
        export(failing(battles), tmp_path / name, force=True)

    assert sorted(in_pandas(tmp_path / name)["id"]) == ids_of(battles)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_of_something_else_is_not_replaced_by_force(battles, tmp_path):
    (tmp_path / "note").touch()

    with pytest.raises(ExportError, match="no export that could be replaced"):
        export(battles, tmp_path, force=True)

    assert (tmp_path / "note").exists()


def test_an_empty_folder_is_filled(battles, tmp_path):
    (tmp_path / "out").mkdir()

    assert export(battles, tmp_path / "out") == len(battles)


@pytest.mark.parametrize(
    ("name", "form"), [("x.parquet", "jsonl"), ("x.jsonl", "parquet"), ("x.jsonl.zst", "parquet")]
)
def test_an_ending_that_says_otherwise_is_refused(battles, tmp_path, name, form):
    with pytest.raises(ExportError, match=rf"{name} would be \w+, not {form}: change its ending"):
        export(battles, tmp_path / name, form)

    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "form"), [("x.parquet", "parquet"), ("x.jsonl", "jsonl"), ("x.jsonl.zst", "jsonl")]
)
def test_an_ending_may_be_said_twice(battles, tmp_path, name, form):
    export(battles[:1], tmp_path / name, form)

    assert files_in(tmp_path) == [name]


def test_parquet_without_pyarrow_says_what_to_install(battles, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "battles.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(ExportError, match=r"pip install 'battles\[parquet\]'"):
        export(battles, tmp_path / "x.parquet")

    assert export(battles, tmp_path / "x.jsonl") == len(battles)


def test_an_address_is_no_target(battles, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ExportError, match="is an address: name a file or a folder"):
        export(battles, type(tmp_path)("s3://bucket/x.parquet"))
