"""The real battle server: installed, started, stopped, killed."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from sandbox.battle_server import BattleServer, BattleServerError, install

ROOT = Path(__file__).parents[2]
OURS = ROOT / "sandbox" / "showdown"


@pytest.fixture
def path(tmp_path, monkeypatch) -> Path:
    """The only folder in which programs are found."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    return programs


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def port_of(address: str) -> int:
    return urlsplit(address).port


def accepts(address: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port_of(address)), timeout=1).close()
    except OSError:
        return False
    return True


def greeting(address: str) -> str:
    async def greeted() -> str:
        async with aiohttp.ClientSession() as session, session.ws_connect(address) as websocket:
            return await websocket.receive_str(timeout=10)

    return asyncio.run(greeted())


def test_the_server_greets_a_guest(battle_server):
    assert greeting(battle_server).startswith("|updateuser| Guest ")


def test_the_server_listens_on_loopback_only(battle_server):
    with socket.socket() as trial:
        trial.bind(("127.0.0.2", port_of(battle_server)))


def test_a_stopped_server_listens_no_more(own_battle_server):
    address = own_battle_server.start()

    own_battle_server.stop()

    assert not own_battle_server.runs()
    assert not accepts(address)


def test_a_killed_server_can_come_back_at_its_port(own_battle_server):
    address = own_battle_server.start()
    own_battle_server.kill()

    assert own_battle_server.start(port_of(address)) == address
    assert greeting(address).startswith("|updateuser| Guest ")


def test_a_server_is_started_once(own_battle_server):
    own_battle_server.start()

    with pytest.raises(BattleServerError, match="runs already"):
        own_battle_server.start()


def test_a_port_that_is_taken_is_refused(own_battle_server, battle_server, monkeypatch):
    monkeypatch.setattr("sandbox.battle_server._MOMENT", 0.0)
    port = port_of(battle_server)

    with pytest.raises(BattleServerError, match=f"port {port} is not free: Address already in use"):
        own_battle_server.start(port)


def test_what_never_started_can_be_stopped():
    BattleServer().stop()


@pytest.fixture
def command(battle_server_package):
    """`python -m sandbox.battle_server`, and the address it says."""
    assert battle_server_package.is_dir()
    words = [sys.executable, "-m", "sandbox.battle_server"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as command:
        try:
            yield command, command.stdout.readline().strip()
        finally:
            command.kill()


def test_the_command_says_its_address_and_runs_until_it_is_told_to_stop(command):
    process, address = command
    assert accepts(address)

    process.send_signal(signal.SIGTERM)

    assert process.wait(30) == 0
    assert not accepts(address)


def test_the_server_ends_with_whoever_started_it(command):
    process, address = command

    process.kill()

    deadline = time.monotonic() + 30
    while accepts(address) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not accepts(address)


@pytest.mark.usefixtures("path")
def test_without_node_the_command_says_what_is_missing():
    words = [sys.executable, "-m", "sandbox.battle_server"]

    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)

    error = "node is not installed: the battle server needs Node.js with npm\n"
    assert (ended.returncode, ended.stderr) == (1, error)


@pytest.mark.usefixtures("path")
def test_without_npm_nothing_is_installed(tmp_path):
    with pytest.raises(BattleServerError, match="npm is not installed"):
        install(tmp_path / "showdown")


def test_what_npm_said_can_be_read_when_it_fails(path, tmp_path):
    program(path / "npm", "echo cause >&2; exit 1")
    log = tmp_path / "npm.log"

    with pytest.raises(BattleServerError, match=f"^npm cannot install .* server: see {log}$"):
        install(tmp_path)

    assert log.read_text() == "cause\n"


def test_what_is_installed_is_not_installed_again(path, tmp_path):
    folder = tmp_path / "deep" / "showdown"
    program(path / "npm", 'echo "$@" >> calls')

    packages = {install(folder), install(folder)}

    assert packages == {folder / "node_modules" / "pokemon-showdown"}
    arguments = "ci --omit=optional --ignore-scripts --no-audit --no-fund\n"
    assert (folder / "calls").read_text() == arguments


def test_another_lock_is_installed_anew(path, tmp_path):
    program(path / "npm", "echo installed >> calls")
    install(tmp_path)
    (tmp_path / "installed").write_text("by another lock")

    install(tmp_path)

    assert (tmp_path / "calls").read_text() == "installed\n" * 2


def test_a_server_that_ends_at_once_is_an_error(path, tmp_path):
    program(path / "npm", "")
    program(path / "node", "exit 3")

    with pytest.raises(BattleServerError, match=r"ended with status 3: see .*/server\.log"):
        BattleServer(tmp_path).start()


def test_the_lock_has_a_hash_for_each_package_and_no_address():
    lock = json.loads((OURS / "package-lock.json").read_text())
    packages = [package for name, package in lock["packages"].items() if name]

    assert [package for package in packages if "integrity" not in package] == []
    assert [package for package in packages if "resolved" in package] == []


@pytest.mark.usefixtures("battle_server_package")
@pytest.mark.parametrize("question", ["lookup", "resolve4", "promises.lookup", "promises.reverse"])
def test_names_are_looked_up_on_loopback_only(question):
    say = "error => console.log(error.message)"
    asked = f"'example.invalid').catch({say})" if "." in question else f"'example.invalid', {say})"
    words = ["node", "--require", OURS / "loopback.cjs", "-e", f"dns.{question}({asked}"]

    answer = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)

    assert answer.stdout == "example.invalid is not on loopback\n"
