"""Read the options that the sandbox's programs share, and say what is wrong with them."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from pathlib import Path

_LAST_PORT = 65535


class OptionError(Exception):
    """Raised when an option asks for what cannot be had; the message says which and why."""


def port(text: str) -> int:
    """Read a port; 0 is one that is free.

    Raises:
        ArgumentTypeError: it is none.

    """
    if not (text.isascii() and text.isdecimal() and int(text) <= _LAST_PORT):
        raise ArgumentTypeError(f"{text!r}: give a number up to {_LAST_PORT}; 0: one that is free")
    return int(text)


def writing(option: str, path: Path, mode: str) -> TextIO:
    """Open a file for writing, line by line.

    Raises:
        OptionError: it cannot be written.

    """
    try:
        return cast("TextIO", path.open(mode, buffering=1, encoding="utf-8"))
    except OSError as error:
        reason = f"{error.strerror}; give a file in a folder that exists"
        raise OptionError(f"{option} {path}: {reason}") from None
