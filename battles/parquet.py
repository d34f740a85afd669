"""Write battles to a Parquet file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from battles.records import to_record

if TYPE_CHECKING:
    from pathlib import Path

    from battles.items import Battle

_POKEMON = pa.struct(
    [
        ("species", pa.string()),
        ("nickname", pa.string()),
        ("level", pa.int32()),
        ("gender", pa.string()),
        ("shiny", pa.bool_()),
        ("lead", pa.bool_()),
        ("brought", pa.bool_()),
        ("tera", pa.string()),
        ("item", pa.string()),
        ("ability", pa.string()),
        ("moves", pa.list_(pa.string())),
    ]
)
_SHEET = pa.struct(
    [
        ("species", pa.string()),
        ("nickname", pa.string()),
        ("item", pa.string()),
        ("ability", pa.string()),
        ("moves", pa.list_(pa.string())),
        ("nature", pa.string()),
        ("gender", pa.string()),
        ("level", pa.int32()),
        ("shiny", pa.bool_()),
        ("tera", pa.string()),
        ("hidden_power", pa.string()),
        ("gigantamax", pa.bool_()),
        ("evs", pa.list_(pa.int32())),
        ("ivs", pa.list_(pa.int32())),
    ]
)
_PLAYER = pa.struct(
    [
        ("side", pa.string()),
        ("name", pa.string()),
        ("rating_before", pa.int32()),
        ("rating_after", pa.int32()),
        ("team", pa.list_(pa.string())),
        ("other_names", pa.list_(pa.string())),
        ("gave_up", pa.string()),
        ("pokemon", pa.list_(_POKEMON)),
        ("sheet", pa.list_(_SHEET)),
    ]
)
_TIME = pa.timestamp("s", tz="UTC")
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("formatid", pa.string()),
        ("format", pa.string()),
        ("generation", pa.int32()),
        ("gametype", pa.string()),
        ("players", pa.list_(_PLAYER)),
        ("winner", pa.string()),
        ("tie", pa.bool_()),
        ("ended", pa.string()),
        ("turns", pa.int32()),
        ("started", _TIME),
        ("uploaded", _TIME),
        ("rating", pa.int32()),
        ("rated", pa.bool_()),
        ("open_team_sheets", pa.bool_()),
        ("log", pa.large_string()),
        ("source", pa.string()),
        ("url", pa.string()),
        ("fetched_at", _TIME),
        ("content_hash", pa.string()),
        ("winner_side", pa.list_(pa.string())),
        ("rated_text", pa.string()),
        ("rules", pa.list_(pa.string())),
        ("custom_rules", pa.list_(pa.string())),
        ("timer", pa.bool_()),
        ("match", pa.string()),
        ("game", pa.int32()),
        ("best_of", pa.int32()),
        ("schema", pa.int32()),
    ]
)
"""The columns of an export; times are UTC."""
_IN_FOLDER = SCHEMA.remove(SCHEMA.get_field_index("formatid"))
"""Readers add what the folders' names say, and Arrow refuses to read it twice."""


class ParquetFile:
    """One file, which is whole when it is closed."""

    def __init__(self, path: Path, *, is_in_folder: bool) -> None:
        """Take whether the file lies in a folder whose name says the format."""
        self._schema = _IN_FOLDER if is_in_folder else SCHEMA
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, battles: list[Battle]) -> None:
        if battles:
            records = [to_record(battle) for battle in battles]
            self._writer.write_table(pa.Table.from_pylist(records, schema=self._schema))

    def close(self) -> None:
        self._writer.close()
