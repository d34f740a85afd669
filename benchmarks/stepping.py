"""A Redis whose clock can be set while it runs; needs a C compiler."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from extensions.embedded import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOURCE = Path(__file__).with_name("step.c")
COMPILER = shutil.which("cc")


class SteppedRedis:
    """The server, and the file that says how far its clock is off."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "offset"
        self.step(0)
        library = folder / "step.so"
        assert COMPILER is not None  # noqa: S101 -- whoever calls has looked
        words = [COMPILER, "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl"]
        subprocess.run(words, check=True)
        self.redis = EmbeddedRedis(folder / "redis")
        with _environment(LD_PRELOAD=str(library), STEP_FILE=str(self._file)):
            self.url = self.redis.start()

    def step(self, seconds: int) -> None:
        """Have the clock be off by so many seconds from now on."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("q", seconds * 1_000_000))

    def stop(self) -> None:
        """Stop the server, by the right time: it goes by its clock while it ends."""
        self.step(0)
        self.redis.release()


@contextmanager
def _environment(**names: str) -> Iterator[None]:
    os.environ.update(names)
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]
