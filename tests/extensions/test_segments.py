from __future__ import annotations

import io
import json
import resource
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pandas as pd
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions.segments import (
    Frame,
    Location,
    SegmentError,
    SegmentWriter,
    is_at,
    read_frame,
    read_segment,
    salvage,
    trailer,
)
from extensions.versions import NewerVersionError

RECORDS = [{"id": f"battle-{n}", "log": f"|turn|{n}\n|é☆ ☃|" * n} for n in range(12)]
LINES = [json.dumps(record, ensure_ascii=False).encode() for record in RECORDS]

FRAMES = [LINES[:5], LINES[5:6], LINES[6:]]


def write(path: Path, frames: list[list[bytes]] = FRAMES) -> list[Location]:
    writer = SegmentWriter(path, "raw/key")
    locations = [location for lines in frames for location in writer.append(lines)]
    writer.seal()
    writer.close()
    return locations


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "segment.jsonl.zst"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    """The bytes of a whole segment."""
    path = tmp_path_factory.mktemp("segments") / "segment.jsonl.zst"
    write(path)
    return path.read_bytes()


@contextmanager
def disk_of(size: int):
    """Let no file grow beyond some bytes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def ids_in_duckdb(path: Path) -> list[str]:
    rows = duckdb.read_json(str(path)).select("id", "log").fetchall()
    assert [log for _, log in rows] == [record["log"] for record in RECORDS]
    return [id for id, _ in rows]


def ids_in_pandas(path: Path) -> list[str]:
    return list(pd.read_json(path, lines=True)["id"])


def ids_in_zstandard(path: Path) -> list[str]:
    with path.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        return [json.loads(line)["id"] for line in io.TextIOWrapper(reader, encoding="utf-8")]


def ids_in_zstdcat(path: Path) -> list[str]:
    if (program := shutil.which("zstdcat")) is None:
        pytest.skip("no zstdcat here")
    output = subprocess.run([program, path], capture_output=True, check=True).stdout
    return [json.loads(line)["id"] for line in output.splitlines()]


@pytest.mark.parametrize(
    "ids_in",
    [
        pytest.param(ids_in_duckdb, id="duckdb"),
        pytest.param(ids_in_pandas, id="pandas"),
        pytest.param(ids_in_zstandard, id="zstandard"),
        pytest.param(ids_in_zstdcat, id="zstdcat"),
    ],
)
def test_a_segment_is_plain_json_lines_for(path, ids_in):
    write(path)

    assert ids_in(path) == [record["id"] for record in RECORDS]


def test_any_line_is_read_from_the_bytes_of_its_frame_alone(path):
    locations = write(path)

    data = path.read_bytes()
    frames = [data[at.offset : at.offset + at.length] for at in locations]
    lines = [read_frame(frame)[at.line] for frame, at in zip(frames, locations, strict=True)]
    assert lines == LINES


def test_a_location_names_the_segment(path):
    assert {location.segment for location in write(path)} == {"raw/key"}


def test_a_segment_is_read_frame_by_frame(whole):
    frames = list(read_segment(whole))

    assert [frame.lines for frame in frames] == FRAMES
    assert sum(frame.length for frame in frames) == len(whole) - len(trailer(12))


def test_frames_larger_than_what_is_looked_at_in_one_go_are_read(path):
    noise = [zstandard.ZstdCompressor().compress(bytes([n % 251])).hex().encode() for n in range(9)]
    large = [json.dumps(list(range(n, 200_000 + n))).encode() for n in range(2)]
    write(path, [large, noise, large])

    assert [frame.lines for frame in read_segment(path.read_bytes())] == [large, noise, large]


def test_the_trailer_says_how_many_records_there_are(whole):
    assert whole.endswith(b'{"records": 12}')


def test_a_trailer_that_counts_other_records_is_noticed(whole):
    other = whole.removesuffix(trailer(12)) + trailer(13)

    with pytest.raises(SegmentError, match="12 records whole, the trailer counts 13"):
        list(read_segment(other))


def test_a_segment_without_trailer_is_noticed(whole):
    with pytest.raises(SegmentError, match="12 records whole, no trailer"):
        list(read_segment(whole.removesuffix(trailer(12))))


def test_a_frame_in_the_middle_that_is_missing_is_noticed(whole):
    first, second, *_ = read_segment(whole)
    without = whole[: first.length] + whole[second.offset + second.length :]

    with pytest.raises(SegmentError, match="11 records whole, the trailer counts 12"):
        list(read_segment(without))


def test_a_frame_with_bytes_behind_it_is_noticed(whole):
    first = read_segment(whole)[0]

    with pytest.raises(SegmentError, match=f"the frame ends after {first.length} of"):
        read_frame(whole[: first.length + 3])


def test_text_without_a_line_feed_is_no_frame():
    frame = zstandard.ZstdCompressor().compress(b"half a li")

    with pytest.raises(SegmentError, match="torn"):
        read_frame(frame)


@settings(deadline=None)
@given(st.data())
def test_a_flipped_bit_never_changes_what_is_read(whole, data):
    position = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))

    assert read_or_none(bytes(damaged)) in (None, LINES)


def test_a_flipped_byte_is_noticed_wherever_content_lies(whole):
    silent = []
    for frame in read_segment(whole):
        # Before that are the magic number and the header, of which one bit means nothing.
        for position in range(frame.offset + 6, frame.offset + frame.length):
            damaged = bytearray(whole)
            damaged[position] ^= 0xFF
            if read_or_none(bytes(damaged)) is not None:
                silent.append(position)

    assert silent == []


def test_a_cut_is_noticed_wherever_it_is(whole):
    silent = [cut for cut in range(len(whole)) if read_or_none(whole[:cut]) is not None]

    assert silent == []


@settings(deadline=None)
@given(rubbish=st.binary(max_size=200))
def test_rubbish_is_no_segment(rubbish):
    with pytest.raises(SegmentError):
        list(read_segment(rubbish))


@settings(deadline=None)
@given(st.data())
def test_a_damaged_frame_is_never_read_as_another(whole, data):
    first = read_segment(whole)[0]
    damaged = bytearray(whole[: first.length])
    damaged[data.draw(st.integers(0, first.length - 1))] ^= data.draw(st.integers(1, 255))

    try:
        lines = read_frame(bytes(damaged))
    except SegmentError:
        lines = first.lines
    assert lines == first.lines


def read_or_none(data: bytes) -> list[bytes] | None:
    try:
        return [line for frame in read_segment(data) for line in frame.lines]
    except SegmentError:
        return None


def test_whole_frames_are_those_before_the_damage(whole):
    frames = list(read_segment(whole))
    cut = frames[1].offset + frames[1].length + 5

    assert salvage(whole[:cut]).frames == frames[:2]


def test_whole_frames_end_at_the_trailer(whole):
    assert salvage(whole).frames == list(read_segment(whole))


def damaged_at(whole: bytes, frame: Frame, at: int = 8) -> bytes:
    """Flip a bit in a frame's content."""
    data = bytearray(whole)
    data[frame.offset + at] ^= 1
    return bytes(data)


def test_what_lies_behind_damage_is_kept(whole):
    first, second, *others = read_segment(whole)

    found = salvage(damaged_at(whole, second))

    assert found.frames == [first, *others]
    assert (found.damaged, found.torn, found.counted) == (second.length, 0, 12)
    assert found.is_damaged


def test_a_damaged_frame_before_the_trailer_is_damage_and_no_torn_end(whole):
    last = read_segment(whole)[-1]

    found = salvage(damaged_at(whole, last))

    assert (found.damaged, found.torn, found.is_damaged) == (last.length, 0, True)


def test_a_cut_is_torn_wherever_it_is_and_no_damage(whole):
    wrong = [cut for cut in range(len(whole)) if salvage(whole[:cut]).is_damaged]

    assert wrong == []


def test_zeros_at_the_end_are_what_a_power_cut_leaves(whole):
    open_segment = whole.removesuffix(trailer(12))

    found = salvage(open_segment + bytes(100))

    assert (found.records, found.damaged, found.torn) == (12, 0, 100)


def test_a_damaged_frame_at_the_end_of_an_open_segment_is_damage(whole):
    open_segment = whole.removesuffix(trailer(12))
    last = read_segment(whole)[-1]

    assert salvage(damaged_at(open_segment, last)).is_damaged


def test_a_magic_number_by_chance_is_no_frame(whole):
    first, second, *others = read_segment(whole)
    data = bytearray(damaged_at(whole, second))
    data[second.offset + 10 : second.offset + 14] = zstandard.FRAME_HEADER

    assert salvage(bytes(data)).frames == [first, *others]


@settings(deadline=None)
@given(st.data())
def test_whatever_byte_is_damaged_every_other_frame_is_kept(whole, data):
    position = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[position] ^= data.draw(st.integers(1, 255))

    found = salvage(bytes(damaged))

    others = [f for f in read_segment(whole) if not f.offset <= position < f.offset + f.length]
    assert [frame for frame in found.frames if frame in others] == others


def test_nothing_holds_no_whole_frame():
    assert salvage(b"").frames == []


def test_what_is_appended_can_be_read_at_once(path):
    writer = SegmentWriter(path, "raw/key")

    writer.append(FRAMES[0])

    assert salvage(path.read_bytes()).frames == [Frame(0, writer.size, FRAMES[0])]
    writer.close()


def test_a_frame_that_the_disk_refuses_leaves_the_file_as_it_was(path):
    writer = SegmentWriter(path, "raw/key")
    writer.append(LINES[:5])
    before = path.read_bytes()

    with disk_of(len(before) + 20), pytest.raises(OSError, match="File too large"):
        writer.append(LINES[5:])

    assert path.read_bytes() == before
    writer.close()


def test_after_a_refusal_the_next_frame_follows_the_last_whole_one(path):
    writer = SegmentWriter(path, "raw/key")
    writer.append(LINES[:5])
    with disk_of(writer.size + 20), pytest.raises(OSError, match="File too large"):
        writer.append(LINES[5:])

    location, *_ = writer.append(LINES[5:])

    writer.seal()
    writer.close()
    assert [frame.lines for frame in read_segment(path.read_bytes())] == [LINES[:5], LINES[5:]]
    assert (location.offset, location.line) == (writer.size - location.length, 0)


def test_a_trailer_that_the_disk_refuses_leaves_the_file_as_it_was(path):
    writer = SegmentWriter(path, "raw/key")
    writer.append(LINES)
    before = path.read_bytes()

    with disk_of(len(before) + 3), pytest.raises(OSError, match="File too large"):
        writer.seal()

    assert path.read_bytes() == before
    writer.close()


def test_a_segment_can_be_appended_to_after_its_trailer(path):
    writer = SegmentWriter(path, "raw/key")
    writer.append(FRAMES[0])
    writer.seal()

    writer.append([b"{}"])

    writer.seal()
    writer.close()
    assert [frame.lines for frame in read_segment(path.read_bytes())] == [FRAMES[0], [b"{}"]]


@pytest.mark.parametrize(
    "lines", [pytest.param([], id="no line"), pytest.param([b"a\nb"], id="a line feed")]
)
def test_what_could_not_be_read_again_is_refused(path, lines):
    writer = SegmentWriter(path, "raw/key")

    with pytest.raises(ValueError, match="one line or more, each without a line feed"):
        writer.append(lines)

    assert path.read_bytes() == b""
    writer.close()


def test_a_segment_never_continues_a_file_that_is_there(path):
    path.write_bytes(b"something")

    with pytest.raises(FileExistsError):
        SegmentWriter(path, "raw/key")


def test_a_file_that_was_taken_before_it_was_locked_is_made_again(path, monkeypatch):
    """Whoever recovers the spool may find the new file in between, and throw it away."""
    taken = []

    def flock(file, _operation):
        if not taken:
            path.unlink()
            taken.append(file)

    monkeypatch.setattr("extensions.segments.fcntl.flock", flock)
    writer = SegmentWriter(path, "raw/key")

    writer.append(LINES)

    assert salvage(path.read_bytes()).frames[0].lines == LINES
    writer.close()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(Path.stat, True, id="untouched"),
        pytest.param(Path.unlink, False, id="removed"),
        pytest.param(lambda path: path.rename(path.with_name("other")), False, id="moved"),
        pytest.param(lambda path: (path.unlink(), path.write_bytes(b"")), False, id="made again"),
    ],
)
def test_a_path_names_an_open_file_until_it_is(path, change, expected):
    with path.open("xb") as file:
        change(path)

        assert is_at(file, path) is expected


def closed_by(version: int, whole: bytes) -> bytes:
    """Close a segment as another version would."""
    text = json.dumps({"records": 12, "version": version, "more": "of it"}).encode()
    head = trailer(12)[:4] + len(text).to_bytes(4, "little")
    return whole.removesuffix(trailer(12)) + head + text


def test_a_trailer_that_names_our_version_is_read(whole):
    assert read_segment(closed_by(1, whole)) == read_segment(whole)


def test_a_segment_of_a_later_version_is_refused(whole):
    with pytest.raises(NewerVersionError, match=r"a segment is of version 2.*up to 1: upgrade it"):
        salvage(closed_by(2, whole))


@pytest.mark.parametrize(
    "text",
    [b"[]", b'{"records": "12"}', b'{"records": 12, "version": "x"}', b"{", b"[" * 100_000],
    ids=["a list", "text", "another version", "torn", "deep"],
)
def test_a_trailer_of_something_else_is_none(whole, text):
    head = trailer(12)[:4] + len(text).to_bytes(4, "little")

    assert salvage(whole.removesuffix(trailer(12)) + head + text).counted is None
