"""Virtual environments of a test's own, made as a newcomer's machine would make them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "requirements"
PATIENCE = 600.0
"""Seconds for an installation."""
INSTALL = ("--no-deps", "--require-hashes", "--only-binary=:all:")
"""How `make` installs a lock."""


def pythons() -> dict[str, str]:
    """Every interpreter of this machine that the project runs on, by version."""
    found = {}
    for minor in range(11, 15):
        for program in _candidates(f"python3.{minor}"):
            told = subprocess.run(
                [program, "--version"], capture_output=True, text=True, check=False
            )
            if told.returncode == 0:
                found.setdefault(f"3.{minor}", program)
    return found


def _candidates(name: str) -> Iterator[str]:
    if path := shutil.which(name):
        yield path
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from map(str, sorted(versions.glob(f"*/bin/{name}")))


class Environment:
    """A virtual environment with nothing in it but its Python's own pip."""

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        run([python, "-m", "venv", str(folder)])
        self.bin = folder / "bin"

    def pip(self, *words: str, **environment: str) -> str:
        command = [self.bin / "python", "-m", "pip", "--disable-pip-version-check", *words]
        return run(command, **environment)

    def install_lock(self, name: str, *words: str, **environment: str) -> str:
        lock = str(LOCKS / f"{name}.lock")
        return self.pip("install", "-q", *INSTALL, *words, "-r", lock, **environment)

    def installed(self) -> set[tuple[str, str]]:
        """Names and versions, those of a lock and what the venv began with."""
        packages = json.loads(self.pip("list", "--format", "json"))
        return {(normal(package["name"]), package["version"]) for package in packages}


def locked(name: str) -> set[tuple[str, str]]:
    """Names and versions, as a lock has them for all machines together."""
    text = (LOCKS / f"{name}.lock").read_text()
    pins = re.findall(r"^([A-Za-z0-9_.-]+)(?:\[.*\])?==(\S+)", text, re.MULTILINE)
    return {(normal(package), version) for package, version in pins}


def normal(name: str) -> str:
    """A package's name as the index of packages compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def run(command: list, *, cwd: Path = ROOT, **environment: str) -> str:
    """Run a command to its end and return what it prints; a failure shows what it said."""
    told = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": "", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert told.returncode == 0, (
        f"{command}: exit status {told.returncode}\n{told.stdout[-2000:]}\n{told.stderr[-4000:]}"
    )
    return told.stdout
