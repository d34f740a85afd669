"""`python -m sandbox`."""

from __future__ import annotations

import json
import os
import signal
import sys
from threading import Thread

import pytest
import requests

from sandbox.__main__ import main


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
        main(list(arguments))
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
