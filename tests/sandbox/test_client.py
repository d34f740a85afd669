"""The page that stands in for the web client."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from sandbox.battle_server import find_program

ROOT = Path(__file__).parents[2]
SERVER = "ws://127.0.0.1:9/showdown/websocket"


@pytest.fixture(scope="module")
def address():
    """The page, served by `python -m sandbox.client`."""
    command = [sys.executable, "-m", "sandbox.client", SERVER]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as client:
        yield client.stdout.readline().strip().removesuffix("/battles")
        client.send_signal(signal.SIGTERM)
        assert client.wait(10) == 0


def get(url: str) -> requests.Response:
    return requests.get(url, timeout=10)


@pytest.mark.parametrize("path", ["/battles", "/battle-gen9ou-1", "/battle-gen9ou-1-x0ypw"])
def test_the_list_and_each_battle_are_one_page(address, path):
    response = get(address + path)

    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert f'"{SERVER}"' in response.text
    assert "{{" not in response.text


def test_it_is_served_on_loopback(address):
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)


@pytest.mark.parametrize("path", ["/", "/lobby", "/battle-/x"])
def test_there_is_nothing_else(address, path):
    assert get(address + path).status_code == 404


@pytest.mark.usefixtures("battle_server_package")
def test_its_script_is_one_that_a_browser_can_read(address, tmp_path):
    script = tmp_path / "script.js"
    page = get(f"{address}/battles").text
    script.write_text(page.partition("<script>")[2].partition("</script>")[0], encoding="utf-8")

    words = [find_program("node"), "--check", script]
    checked = subprocess.run(words, capture_output=True, text=True, check=False)

    assert checked.stderr == ""
    assert checked.returncode == 0
