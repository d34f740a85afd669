from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from threading import Thread

import pytest
from ulid import ULID

from extensions.segments import read_frame, read_segment, trailer
from extensions.spool import Spool, damaged_copies, key_of, left_behind, read_spooled, segment_files
from extensions.storage import FolderStorage, Storage, StorageError
from tests.extensions.dying_spool import LINES

ROOT = Path(__file__).parents[2]
TORN = "was torn by a crash"


class MoodyStorage(FolderStorage):
    """A store that refuses as long as it is told to."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.refuses = False
        self.puts: list[str] = []

    def put(self, path: Path, key: str) -> None:
        if self.refuses:
            raise StorageError(f"{key}: not now")
        super().put(path, key)
        self.puts.append(key)


@pytest.fixture
def storage(tmp_path) -> MoodyStorage:
    return MoodyStorage(tmp_path / "data")


@pytest.fixture
def spool_of(tmp_path, storage, clock):
    """Build spools on one folder."""
    built = []

    def build(worker: str = "worker", segment_records: int = 6) -> Spool:
        spool = Spool(
            tmp_path / "spool",
            storage,
            worker=worker,
            segment_records=segment_records,
            clock=clock,
        )
        built.append(spool)
        return spool

    yield build
    for spool in built:
        die(spool)


@pytest.fixture
def run():
    """Run a worker in a process of its own."""
    running = []

    def run(*arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.extensions.dying_spool", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def die(spool: Spool) -> None:
    """Give up a spool's locks, as the death of its process does."""
    for writer in [*spool._sealed, *([spool._current] if spool._current else [])]:
        writer.close()


def stored(storage: Storage) -> dict[str, list[bytes]]:
    """Read the lines of everything stored, by key."""
    return {
        key: [line for frame in read_segment(storage.read_all(key)) for line in frame.lines]
        for key in storage.keys("")
    }


def lines_of(storage: Storage) -> list[bytes]:
    return [line for lines in stored(storage).values() for line in lines]


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "spool").iterdir())


def test_a_commit_is_on_disk_at_once(spool_of, tmp_path):
    spool = spool_of()

    [_, second] = spool.commit(LINES[:2])

    frame = read_spooled(tmp_path / "spool", second.segment, second.offset, second.length)
    assert read_frame(frame)[second.line] == LINES[1]


def test_a_segment_is_closed_when_it_is_full(spool_of):
    spool = spool_of(segment_records=6)

    spool.commit(LINES[:5])
    before = spool.waiting
    spool.commit(LINES[5:7])

    assert (before, spool.waiting) == (0, 1)


def test_a_full_segment_is_followed_by_a_new_one(spool_of):
    spool = spool_of(segment_records=6)

    [first, *_] = spool.commit(LINES[:6])
    [second, *_] = spool.commit(LINES[6:])

    assert first.segment != second.segment
    assert second.offset == 0


def test_what_is_closed_is_stored_and_leaves_the_spool(spool_of, storage, tmp_path):
    spool = spool_of()
    spool.commit(LINES)

    count = spool.store()

    assert count == 1
    assert lines_of(storage) == LINES
    assert names(tmp_path) == []


def test_what_is_open_is_not_stored(spool_of, storage):
    spool = spool_of()
    spool.commit(LINES[:2])

    assert spool.store() == 0
    assert stored(storage) == {}


def test_an_open_segment_is_closed_on_demand(spool_of, storage):
    spool = spool_of()
    spool.commit(LINES[:2])

    spool.seal()

    assert spool.store() == 1
    assert lines_of(storage) == LINES[:2]


def test_only_the_segment_of_a_key_is_closed(spool_of):
    spool = spool_of()
    [location] = spool.commit(LINES[:1])

    spool.seal("raw/another")
    before = spool.open_key
    spool.seal(location.segment)

    assert (before, spool.open_key, spool.waiting) == (location.segment, None, 1)


def test_a_segment_is_held_until_it_is_stored(spool_of):
    spool = spool_of()
    [location] = spool.commit(LINES[:1])
    key = location.segment

    held = [spool.holds(key)]
    spool.seal()
    held.append(spool.holds(key))
    stored = spool.store_next()
    held.append(spool.holds(key))

    assert held == [True, True, False]
    assert (stored, spool.store_next()) == (key, None)


def test_a_segment_is_closed_when_its_lines_have_so_many_bytes(tmp_path, storage, clock):
    spool = Spool(
        tmp_path / "spool",
        storage,
        worker="worker",
        segment_records=100,
        segment_bytes=100,
        clock=clock,
    )

    spool.commit([b"x" * 99])
    before = spool.waiting
    spool.commit([b"x"])

    assert (before, spool.waiting) == (0, 1)
    spool.store()


def test_lines_are_committed_while_a_segment_is_being_stored(spool_of, storage, monkeypatch):
    spool = spool_of(segment_records=3)
    spool.commit(LINES[:3])
    put, meanwhile = storage.put, []

    def slow_put(path, key):
        thread = Thread(target=lambda: meanwhile.append(spool.commit(LINES[3:4])))
        thread.start()
        thread.join(10)
        put(path, key)

    monkeypatch.setattr(storage, "put", slow_put)
    spool.store_next()

    assert len(meanwhile) == 1


def test_what_is_left_behind_is_what_nobody_holds(spool_of):
    path = leave_behind(spool_of)
    spool = spool_of()
    spool.commit(LINES[:1])

    assert left_behind(path.parent) == [path]


def test_what_dead_processes_left_elsewhere_is_taken_in_if_it_is_ours(spool_of, tmp_path, storage):
    ours, theirs = leave_behind(spool_of, LINES[:3]), leave_behind(spool_of, LINES[3:])
    held = spool_of()
    held.commit(LINES[:1])
    spool = Spool(tmp_path / "own", storage, worker="worker", segment_records=6)

    others = spool.adopt(ours.parent, lambda key: key == key_of(ours))

    assert others == [theirs]
    assert segment_files(tmp_path / "own") == [tmp_path / "own" / ours.name]
    assert held._current.path.exists()


def test_closing_nothing_does_nothing(spool_of):
    spool = spool_of()

    spool.seal()

    assert spool.waiting == 0


def test_a_line_lies_in_the_store_where_it_lay_in_the_spool(spool_of, storage):
    spool = spool_of()
    locations = spool.commit(LINES)

    spool.store()

    frames = [storage.read(at.segment, at.offset, at.length) for at in locations]
    assert [read_frame(f)[at.line] for f, at in zip(frames, locations, strict=True)] == LINES


@pytest.mark.parametrize(
    ("worker", "name"),
    [
        pytest.param("host-1", "host-1", id="plain"),
        pytest.param("a.b_c/../d", "a-b-c-d", id="with signs"),
        pytest.param("ü/☃", "worker", id="of nothing else"),
    ],
)
def test_a_key_holds_day_worker_and_ulid(spool_of, clock, worker, name):
    spool = spool_of(worker)
    clock.now = 1_795_219_199.0  # 2026-11-20 23:59:59

    [location] = spool.commit([b"{}"])

    folder, _, file = location.segment.rpartition("/")
    assert folder == "raw/2026/11/20"
    assert file.removesuffix(".jsonl.zst")[:-27] == name
    ulid = ULID.from_str(file.removesuffix(".jsonl.zst")[-26:])
    assert ulid.timestamp == clock.now


def test_a_segment_keeps_the_day_on_which_it_was_begun(spool_of, storage, clock):
    spool = spool_of()
    clock.now = 1_795_219_199.0
    spool.commit(LINES)
    clock.now += 2 * 86_400

    spool.store()

    assert [key[:14] for key in stored(storage)] == ["raw/2026/11/20"]


def test_a_refused_segment_stays_and_is_stored_later(spool_of, storage):
    spool = spool_of()
    spool.commit(LINES)
    storage.refuses = True
    with pytest.raises(StorageError, match="not now"):
        spool.store()

    storage.refuses = False
    count = spool.store()

    assert count == 1
    assert lines_of(storage) == LINES


def test_a_refusal_keeps_the_segments_behind_it(spool_of, storage):
    spool = spool_of()
    spool.commit(LINES[:6])
    spool.commit(LINES[6:])
    storage.refuses = True

    with pytest.raises(StorageError):
        spool.store()

    assert spool.waiting == 2


def test_a_segment_in_a_spool_that_refuses_is_read_there(spool_of, storage, tmp_path):
    spool = spool_of()
    [location, *_] = spool.commit(LINES)
    storage.refuses = True
    with pytest.raises(StorageError):
        spool.store()

    data = read_spooled(tmp_path / "spool", location.segment, location.offset, location.length)

    assert read_frame(data) == LINES


def test_what_is_not_in_the_spool_is_named(spool_of, tmp_path):
    spool_of()

    with pytest.raises(FileNotFoundError, match=r"gone\.jsonl\.zst is not in"):
        read_spooled(tmp_path / "spool", "raw/2026/11/21/gone.jsonl.zst", 0, 1)


def test_lines_are_acknowledged_although_their_full_segment_cannot_be_closed(
    spool_of, storage, monkeypatch, caplog
):
    spool = spool_of(segment_records=6)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        locations = spool.commit(LINES[:6])

    spool.commit(LINES[6:])

    spool.store()
    assert len(locations) == 6
    assert lines_of(storage) == LINES
    assert "stays open: [Errno 28]" in caplog.text


def test_a_refused_commit_leaves_no_line(spool_of, storage, monkeypatch):
    spool = spool_of()
    spool.commit(LINES[:3])
    with monkeypatch.context() as patch:
        patch.setattr("extensions.segments.os.fsync", refuse)
        with pytest.raises(OSError, match="No space left"):
            spool.commit(LINES[3:6])

    spool.commit(LINES[6:])

    spool.store()
    assert lines_of(storage) == LINES[:3] + LINES[6:]


def refuse(*_args):
    raise OSError(28, "No space left on device")


def leave_behind(spool_of, lines: list[bytes] = LINES) -> Path:
    """Die with an open segment of frames of three lines, and return its path."""
    spool = spool_of("dead", segment_records=100)
    for first in range(0, len(lines), 3):
        spool.commit(lines[first : first + 3])
    die(spool)
    return spool._current.path


def test_an_open_segment_of_a_dead_process_is_closed_and_stored(spool_of, storage, tmp_path):
    leave_behind(spool_of)

    [recovered] = spool_of().recover()

    assert list(stored(storage)) == [recovered.key]
    assert lines_of(storage) == LINES
    assert names(tmp_path) == []


def test_a_recovered_segment_says_where_its_lines_lie(spool_of, storage):
    leave_behind(spool_of)

    [recovered] = spool_of().recover()

    lines, locations = zip(*recovered.lines(), strict=True)
    frames = [storage.read(at.segment, at.offset, at.length) for at in locations]
    assert list(lines) == LINES
    assert [read_frame(f)[at.line] for f, at in zip(frames, locations, strict=True)] == LINES


def test_a_recovered_segment_is_still_in_the_spool_when_it_is_indexed(spool_of, tmp_path):
    leave_behind(spool_of)

    for recovered in spool_of().recover():
        assert [key_of(path) for path in segment_files(tmp_path / "spool")] == [recovered.key]


def test_a_closed_segment_of_a_dead_process_is_stored_under_its_key(spool_of, storage):
    spool = spool_of("dead")
    [location, *_] = spool.commit(LINES)
    die(spool)

    [recovered] = spool_of().recover()

    assert recovered.key == location.segment
    assert stored(storage) == {location.segment: LINES}


def test_a_whole_segment_is_recovered_without_a_word(spool_of, caplog):
    leave_behind(spool_of)

    [recovered] = spool_of().recover()

    assert recovered.torn == 0
    assert caplog.text == ""


def test_a_spool_torn_anywhere_keeps_its_whole_frames(spool_of, tmp_path, storage):
    path = leave_behind(spool_of, LINES[:9])
    data = path.read_bytes() + trailer(9)
    ends = frame_ends(data)
    wrong = []

    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        recovered = list(spool_of().recover())
        kept = LINES[: 3 * sum(end <= size for end in ends)]
        if (lines_of(storage), len(recovered)) != (kept, bool(kept)) or names(tmp_path):
            wrong.append(size)
        shutil.rmtree(tmp_path / "data", ignore_errors=True)

    assert wrong == []


def test_a_torn_spool_is_said_so_wherever_it_is_torn(spool_of, caplog):
    path = leave_behind(spool_of, LINES[:9])
    data = path.read_bytes() + trailer(9)
    said = set()

    for size in range(1, len(data) + 1):
        path.write_bytes(data[:size])
        caplog.clear()
        list(spool_of().recover())
        if [record.levelno for record in caplog.records] == [logging.WARNING]:
            said.add(size)

    clean = {*frame_ends(data), len(data)}
    assert said == set(range(1, len(data) + 1)) - clean


def frame_ends(data: bytes) -> list[int]:
    return [frame.offset + frame.length for frame in read_segment(data)]


def test_the_warning_counts_what_was_cut_and_kept(spool_of, caplog):
    path = leave_behind(spool_of, LINES[:6])
    with path.open("ab") as file:
        file.write(path.read_bytes()[:30])

    [recovered] = spool_of().recover()

    assert recovered.torn == 30
    assert f"{path} was torn by a crash: 30 bytes cut, 6 records kept" in caplog.text


def damage(path: Path, at: int) -> bytes:
    """Flip one bit, and return what the file holds now."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    return bytes(data)


def test_one_damaged_byte_costs_no_battle_behind_it(spool_of, storage):
    path = leave_behind(spool_of)
    damage(path, at=10)

    [recovered] = spool_of().recover()

    assert [line for line, _ in recovered.lines()] == LINES[3:]
    assert stored(storage) == {recovered.key: LINES[3:]}


def test_what_is_kept_of_a_damaged_segment_is_found_where_it_is_said_to_lie(spool_of, storage):
    damage(leave_behind(spool_of), at=10)

    [recovered] = spool_of().recover()

    lines, locations = zip(*recovered.lines(), strict=True)
    frames = [storage.read(at.segment, at.offset, at.length) for at in locations]
    assert [read_frame(f)[at.line] for f, at in zip(frames, locations, strict=True)] == list(lines)


def test_a_damaged_segment_stays_as_it_was_found_and_is_told(spool_of, tmp_path, caplog):
    path = leave_behind(spool_of)
    found = damage(path, at=10)

    list(spool_of().recover())

    [copy] = damaged_copies(tmp_path / "spool")
    assert copy.name == path.name.removesuffix(".open") + ".damaged"
    assert copy.read_bytes() == found
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert f"kept as {copy}" in record.getMessage()


def test_a_damaged_closed_segment_without_a_whole_frame_stays(spool_of, storage, tmp_path):
    spool = spool_of("dead", segment_records=3)
    spool.commit(LINES[:3])
    die(spool)
    [path] = segment_files(tmp_path / "spool")
    found = damage(path, at=10)

    assert list(spool_of().recover()) == []

    assert stored(storage) == {}
    assert [copy.read_bytes() for copy in damaged_copies(tmp_path / "spool")] == [found]


def test_the_copy_of_a_damaged_segment_is_no_segment(spool_of):
    damage(leave_behind(spool_of), at=10)
    list(spool_of().recover())

    assert list(spool_of().recover()) == []


def test_a_spool_without_a_whole_record_is_thrown_away_with_a_word(spool_of, tmp_path, caplog):
    path = leave_behind(spool_of, LINES[:3])
    path.write_bytes(path.read_bytes()[:10])

    assert list(spool_of().recover()) == []

    assert names(tmp_path) == []
    assert f"{path} was torn by a crash: 10 bytes cut, 0 records kept" in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("notes.txt", id="a note"),
        pytest.param("backup.jsonl.zst", id="a file without ULID"),
        pytest.param(f"worker-{ULID()}.jsonl.zst.bak", id="a copy"),
    ],
)
def test_the_files_of_others_are_left_alone(spool_of, tmp_path, name):
    spool = spool_of()
    (tmp_path / "spool" / name).write_bytes(b"precious")

    assert list(spool.recover()) == []
    assert (tmp_path / "spool" / name).read_bytes() == b"precious"


def test_what_the_store_refuses_stays_for_the_next_start(spool_of, storage):
    leave_behind(spool_of)
    storage.refuses = True
    with pytest.raises(StorageError, match="not now"):
        list(spool_of().recover())

    storage.refuses = False
    list(spool_of().recover())

    assert lines_of(storage) == LINES


def test_a_spool_in_use_is_left_alone_in_the_same_process(spool_of, storage):
    spool = spool_of()
    spool.commit(LINES[:3])

    assert list(spool_of("other").recover()) == []

    spool.commit(LINES[3:])
    spool.store()
    assert lines_of(storage) == LINES


def test_a_file_that_another_process_moves_meanwhile_is_left_to_it(spool_of, monkeypatch):
    path = leave_behind(spool_of)
    listed = segment_files(path.parent)
    path.rename(path.with_suffix(""))
    monkeypatch.setattr("extensions.spool.segment_files", lambda _folder: listed)

    assert list(spool_of().recover()) == []


def test_a_file_that_another_process_stores_meanwhile_is_left_to_it(spool_of, monkeypatch):
    path = leave_behind(spool_of)
    monkeypatch.setattr("extensions.spool.is_at", lambda _file, _path: False)

    assert list(spool_of().recover()) == []
    assert path.exists()


def test_a_living_process_keeps_its_spool_and_a_dead_one_does_not(spool_of, run, tmp_path):
    process = run("work", str(tmp_path))
    printed = [process.stdout.readline().rstrip(b"\n") for _ in LINES]
    [open_file] = names(tmp_path)

    while_it_lives = list(spool_of("next").recover())
    process.send_signal(signal.SIGKILL)
    process.wait()
    [recovered] = spool_of("next").recover()

    assert printed == LINES
    assert while_it_lives == []
    assert open_file == f"{Path(recovered.key).name}.open"


POINTS = [
    pytest.param(("before", "append", "1"), id="an empty file"),
    pytest.param(("before", "append", "2"), id="a frame"),
    pytest.param(("before", "fsync", "2"), id="a frame not synced"),
    pytest.param(("before", "trailer", "1"), id="full without trailer"),
    pytest.param(("after", "trailer", "1"), id="trailer not renamed"),
    pytest.param(("after", "rename", "1"), id="renamed not stored"),
    pytest.param(("before", "put", "2"), id="second before its store"),
    pytest.param(("after", "link", "1"), id="half stored"),
    pytest.param(("after", "put", "1"), id="stored not unlinked"),
    pytest.param(("after", "unlink", "2"), id="unlinked"),
]


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_anywhere_loses_nothing_and_stores_nothing_twice(
    spool_of, run, storage, tmp_path, point
):
    process = run("work", str(tmp_path), *point)
    durable = process.communicate()[0].splitlines()

    list(spool_of("next").recover())

    assert process.returncode == -signal.SIGKILL
    kept = Counter(lines_of(storage))
    assert kept.keys() >= set(durable)
    assert kept == Counter(LINES[: len(kept)])
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(("before", "fsync", "1"), id="closed not synced"),
        pytest.param(("before", "rename", "1"), id="closed not renamed"),
        pytest.param(("before", "put", "1"), id="before the store"),
        pytest.param(("after", "put", "1"), id="stored not unlinked"),
    ],
)
def test_a_recovery_killed_anywhere_is_finished_by_the_next(
    spool_of, run, storage, tmp_path, point
):
    leave_behind(spool_of)
    process = run("recover", str(tmp_path), *point)
    process.communicate()

    list(spool_of("next").recover())

    assert process.returncode == -signal.SIGKILL
    assert list(stored(storage).values()) == [LINES]
    assert names(tmp_path) == []


def test_two_spools_that_start_at_one_time_have_files_of_their_own(spool_of):
    first, second = spool_of(), spool_of()

    [one] = first.commit([b"1"])
    [two] = second.commit([b"2"])

    assert one.segment != two.segment


def test_no_segment_continues_one_that_is_there(spool_of, monkeypatch, clock):
    fixed = ULID.from_timestamp(clock.now)
    monkeypatch.setattr("extensions.spool.ULID.from_timestamp", lambda _time: fixed)
    spool_of().commit([b"1"])

    with pytest.raises(FileExistsError):
        spool_of().commit([b"2"])


def test_a_segment_of_a_later_version_is_left_alone_and_the_others_are_recovered(
    spool_of, storage, caplog
):
    newer = leave_behind(spool_of, LINES[:3])
    text = b'{"records": 3, "version": 2}'
    with newer.open("ab") as file:
        file.write(trailer(3)[:4] + len(text).to_bytes(4, "little") + text)
    found = newer.read_bytes()
    leave_behind(spool_of, LINES[3:])

    list(spool_of().recover())

    assert newer.read_bytes() == found
    assert lines_of(storage) == LINES[3:]
    [record] = caplog.records
    assert record.getMessage() == (
        f"{newer} is left alone: a segment is of version 2, and this worker knows up to 1: "
        "upgrade it"
    )
