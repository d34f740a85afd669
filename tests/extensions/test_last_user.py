from __future__ import annotations

import fcntl
import signal
from pathlib import Path

import pytest

from extensions import last_user

NUMBER = 4711


class Folder:
    """The locks of a server and of its users, and what a watch does to them."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        self.now = 0.0
        self.killed: list[tuple[int, int]] = []
        self.let_in_while_killing: list[bool] = []
        self.obeys = True
        self.users = (path / "users.lock").open("ab")
        self.server = (path / "server.lock").open("ab")
        fcntl.flock(self.users, fcntl.LOCK_SH)
        fcntl.flock(self.server, fcntl.LOCK_EX)
        self.tell(NUMBER)

    def tell(self, number: int) -> None:
        (self.path / "redis.pid").write_text(f"{number}\n")

    def watch(self, *deeds) -> None:
        """Watch, and do one of the deeds before each look after the first."""
        self.deeds = list(deeds)
        last_user.main(self.path)
        assert not self.deeds

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self.now < 1000, "it waits for ever"
        if seconds == last_user.EVERY:
            self.deeds.pop(0)()

    def kill(self, number: int, sent: int) -> None:
        self.killed.append((number, sent))
        self.let_in_while_killing.append(self.lets_in())
        if self.obeys:
            self.server.close()

    def lets_in(self) -> bool:
        """Tell whether a process could begin to use the server."""
        with (self.path / "users.lock").open("ab") as users:
            try:
                fcntl.flock(users, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True


def nothing() -> None:
    """Let a second pass."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = Folder(tmp_path / "redis")
    monkeypatch.setattr(last_user.time, "sleep", folder.sleep)
    monkeypatch.setattr(last_user.time, "monotonic", lambda: folder.now)
    monkeypatch.setattr(last_user.os, "kill", folder.kill)
    yield folder
    folder.users.close()
    folder.server.close()


def test_a_server_with_a_user_is_left_alone(folder):
    folder.watch(nothing, nothing, folder.server.close)

    assert folder.killed == []


def test_a_server_without_users_is_stopped_once(folder):
    folder.watch(nothing, folder.users.close, nothing)

    assert folder.killed == [(NUMBER, signal.SIGTERM)]


def test_nobody_is_let_in_while_the_server_ends(folder):
    let_in = []

    folder.watch(folder.users.close, lambda: let_in.append(folder.lets_in()))

    assert folder.let_in_while_killing == [False]
    assert let_in == [True]


def test_a_server_that_does_not_end_keeps_nobody_out_for_good(folder):
    folder.obeys = False
    seen = []

    folder.watch(
        folder.users.close,
        lambda: seen.append((folder.now, folder.lets_in())),
        lambda: seen.append((folder.now, folder.lets_in())) or folder.server.close(),
    )

    assert all(lets_in for _, lets_in in seen)
    assert seen[0][0] == pytest.approx(2 * last_user.EVERY + last_user.PATIENCE, abs=0.1)
    assert len(folder.killed) == 2


def test_a_server_that_has_not_told_its_number_is_stopped_later(folder):
    (folder.path / "redis.pid").unlink()

    folder.watch(folder.users.close, lambda: folder.tell(NUMBER + 1), nothing)

    assert folder.killed == [(NUMBER + 1, signal.SIGTERM)]


def test_the_number_is_that_of_the_server_that_runs_now(folder):
    folder.watch(lambda: folder.tell(NUMBER + 1), folder.users.close, nothing)

    assert folder.killed == [(NUMBER + 1, signal.SIGTERM)]


def test_another_server_in_a_folder_of_that_name_is_not_stopped(folder):
    def replace() -> None:
        folder.path.rename(folder.path.with_name("removed"))
        folder.path.mkdir()
        (folder.path / "server.lock").touch()
        folder.tell(NUMBER + 1)
        folder.users.close()

    folder.watch(replace, nothing)

    assert folder.killed == [(NUMBER, signal.SIGTERM)]


def test_a_second_watch_leaves_it_to_the_first(folder):
    with (folder.path / "watch.lock").open("ab") as watch:
        fcntl.flock(watch, fcntl.LOCK_EX)
        folder.users.close()

        folder.watch()

    assert folder.killed == []


def test_a_server_that_is_gone_needs_no_watch(folder):
    folder.server.close()

    folder.watch()

    assert folder.killed == []


def test_a_server_that_is_started_as_the_watch_leaves_is_watched(folder, monkeypatch):
    held = last_user._is_held
    # Running, then dead to the watch's next look; by the one after it there is another.
    looks = [True, False]
    monkeypatch.setattr(last_user, "_is_held", lambda file: looks.pop(0) if looks else held(file))

    folder.watch(folder.users.close, nothing)

    assert folder.killed == [(NUMBER, signal.SIGTERM)]
