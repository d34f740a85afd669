"""A terminal of its own for a process, and what a person would have seen there."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_SIZE = struct.pack("HHHH", 40, 120, 0, 0)
"""Lines and columns."""


def run_on_terminal(command: Sequence[str], cwd: Path, **environment: str) -> tuple[int, str]:
    """Run a command to its end; return its exit status and all it wrote, errors too."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, _SIZE)
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    return process.wait(), written.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        # Linux says so when the last process has left the terminal.
        return b""
