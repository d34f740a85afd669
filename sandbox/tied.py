"""Run a program that ends with whoever started it, however that ends.

`python -P sandbox/tied.py MODULE ARGUMENTS` is `python -m MODULE ARGUMENTS`, which gets SIGTERM
when its standard input closes: a pipe that only the one who started it holds.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from pathlib import Path
from threading import Thread

_INPUT = 0
_CHUNK = 4096
"""Bytes; what comes is not for the program."""


def tied(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module so; give it `stdin=subprocess.PIPE`.

    `subprocess.run` closes the pipe when it begins to wait; `call` and `Popen.wait` keep it open.
    """
    # By its path, since it runs in other folders too, without this one among the modules.
    return [sys.executable, "-P", __file__, module, *arguments]


def _end_with_input() -> None:
    while os.read(_INPUT, _CHUNK):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run the module that the arguments name."""
    Thread(target=_end_with_input, daemon=True).start()
    del sys.argv[0]
    sys.path.insert(0, str(Path.cwd()))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
