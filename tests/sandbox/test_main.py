"""`python -m sandbox`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from threading import Thread

import pytest
import requests

from sandbox.__main__ import main
from tests.conftest import ROOT


class Visitor:
    """Stands in for standard output: once the site says its address, visits and stops it."""

    def __init__(self, *paths: str) -> None:
        self.said = ""
        self.answers: list[requests.Response] = []
        self._paths = paths
        self._visit = Thread(target=self._run)

    def write(self, text: str) -> None:
        self.said += text

    def flush(self) -> None:
        self._visit.start()

    def _run(self) -> None:
        address = self.said.split()[0]
        try:
            self.answers = [requests.get(address + path, timeout=10) for path in self._paths]
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def join(self) -> None:
        self._visit.join()


@pytest.fixture
def run(monkeypatch):
    """Run the command until the visitor has seen enough."""

    def run(visitor: Visitor, *arguments: str) -> Visitor:
        monkeypatch.setattr(sys, "stdout", visitor)
        assert main(list(arguments)) == 0
        visitor.join()
        return visitor

    return run


def test_the_site_says_its_address_and_how_much_it_offers(run):
    visitor = run(Visitor("/search.json"), "--battles", "40", "--private-every", "4")

    assert visitor.said.startswith("http://127.0.0.1:")
    assert visitor.said.endswith(" offers 30 public battles\n")
    assert len(visitor.answers[0].json()) == 30


def test_the_site_misbehaves_as_told(run):
    visitor = run(
        Visitor("/search.json"),
        *("--refused", "1", "--status", "429", "--retry-after", "30"),
    )

    assert visitor.answers[0].status_code == 429
    assert visitor.answers[0].headers["Retry-After"] == "30"


def test_the_site_writes_its_log_behind_what_is_there(run, tmp_path):
    log = tmp_path / "requests.jsonl"
    log.write_text("{}\n")

    run(Visitor("/robots.txt"), "--battles", "1", "--log", str(log))

    first, second = map(json.loads, log.read_text().splitlines())
    assert first == {}
    assert second["path"] == "/robots.txt"


# --- Mistakes: one line --------------------------------------------------------------------------


def ask(program: str, *arguments: str) -> tuple[int, str, str]:
    """Run a program of the sandbox as a shell does."""
    command = [sys.executable, "-m", program, *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout, ended.stderr


def test_a_port_that_is_taken_is_said_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        outcome = ask("sandbox", "--port", str(port), "--battles", "1")

    complaint = f"--port {port}: Address already in use; without it one is taken that is free\n"
    assert outcome == (1, "", complaint)


@pytest.mark.parametrize(
    ("program", "option", "rest"),
    [
        ("sandbox", "--log", ["--battles", "1"]),
        ("sandbox.players", "--report", ["ws://127.0.0.1:1"]),
    ],
)
def test_a_file_in_a_folder_that_is_not_there_is_said_in_one_line(tmp_path, program, option, rest):
    path = tmp_path / "nowhere" / "file"

    outcome = ask(program, option, str(path), *rest)

    reason = "No such file or directory; give a file in a folder that exists"
    assert outcome == (1, "", f"{option} {path}: {reason}\n")


@pytest.mark.parametrize("program", ["sandbox", "sandbox.battle_server"])
@pytest.mark.parametrize("port", ["99999", "-1", "http"])
def test_what_is_no_port_is_refused(program, port):
    status, _, errors = ask(program, f"--port={port}")

    assert status == 2
    assert errors.endswith(
        f"error: argument --port: {port!r}: give a number up to 65535; 0: one that is free\n"
    )
