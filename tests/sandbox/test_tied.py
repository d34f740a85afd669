from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox.tied import tied

ROOT = Path(__file__).parents[2]
STARTER = """
import subprocess, sys, time
from sandbox.demo import running_site

with running_site("--battles", "1") as (address, _):
    print(address, flush=True)
    time.sleep(3600)
"""


def accepts(address: str) -> bool:
    host, port = address.removeprefix("http://").split(":")
    try:
        with socket.create_connection((host, int(port)), timeout=10):
            return True
    except OSError:
        return False


def test_a_site_ends_when_who_started_it_was_killed():
    command = [sys.executable, "-c", STARTER]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as starter:
        address = starter.stdout.readline().strip()
        accepted = accepts(address)
        starter.kill()

    assert accepted
    for _ in range(600):
        if not accepts(address):
            return
        time.sleep(0.1)
    pytest.fail(f"the site at {address} is still there")


def test_a_tied_program_runs_like_any_other(tmp_path):
    (tmp_path / "program.py").write_text(
        "import sys\nprint(__name__, sys.argv[1:], 'sandbox' in sys.modules)\nsys.exit(3)\n"
    )

    command, pipe = tied("program", "--one", "2"), subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdin=pipe, stdout=pipe) as program:
        assert program.stdout.read() == b"__main__ ['--one', '2'] False\n"
        assert program.wait() == 3


def test_what_is_written_to_a_tied_program_does_not_end_it():
    command, pipe = tied("sandbox", "--battles", "1"), subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe) as site:
        address = site.stdout.readline().decode().split()[0]
        site.stdin.write(b"anything\n")
        site.stdin.flush()
        accepted = accepts(address)

        site.stdin.close()

        assert accepted
        assert site.wait(60) == 0


def test_a_tied_program_that_does_not_listen_to_signals_ends_too(tmp_path):
    (tmp_path / "program.py").write_text("import time\nprint(flush=True)\ntime.sleep(3600)\n")
    pipe = subprocess.PIPE
    with subprocess.Popen(tied("program"), cwd=tmp_path, stdin=pipe, stdout=pipe) as program:
        program.stdout.readline()
        program.stdin.close()

        assert program.wait(60) == -signal.SIGTERM
