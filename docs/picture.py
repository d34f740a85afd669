"""Draw the README's picture from commands that are really run.

`PYTHONPATH=. .venv/bin/python docs/picture.py` writes `docs/picture.svg`.
"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

from sandbox.demo import running_site

_COMMANDS = (
    "scrapy crawl replays -a formats=gen9ou -a limit=300",
    "scrapy search --format gen9ou --min-rating 1400 --limit 4",
    "scrapy battle gen9ou-2480314112",
    "scrapy export --to battles.parquet --format gen9ou",
)
_COLUMNS = 124
_STATS = (" '", "{'")
# Rich's own template fetches its font from a public host.
_TEMPLATE = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace;
 font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}"
 height="{terminal_height}" /></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


def main() -> None:
    """Run the commands on the sandbox site, and draw what they print."""
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        tempfile.TemporaryDirectory() as folder,
        running_site("--ties", "3", "--latency", "0.05") as (address, _),
    ):
        console = Console(record=True, width=_COLUMNS, file=nowhere)
        environment = {
            **os.environ,  # noqa: TID251 -- the commands' own
            "SHOWDOWN_REPLAY_URL": address,
            "CONTACT": "you@example.org",
            "THROTTLE_RATE": "100",
            "COLUMNS": str(_COLUMNS),
        }
        for command in _COMMANDS:
            console.print(Text(f"$ {command}", style="bold"))
            console.print(Text.from_ansi(_run(command, Path(folder), environment)), soft_wrap=False)
        picture = console.export_svg(
            title="battles", theme=DIMMED_MONOKAI, code_format=_TEMPLATE, unique_id="battles"
        )
    Path(__file__).with_name("picture.svg").write_text(picture, encoding="utf-8")


def _run(command: str, folder: Path, environment: dict[str, str]) -> str:
    """Run a command on a terminal, and return what stays on it when it ends."""
    ours, its = pty.openpty()
    words = [sys.executable, "-m", *command.split()]
    environment = {**environment, "SCRAPY_SETTINGS_MODULE": "battles.settings"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    process = subprocess.Popen(words, cwd=folder, env=environment, stdout=its, stderr=its)  # noqa: S603 -- our own
    os.close(its)
    text = bytearray()
    try:
        while piece := os.read(ours, 65536):
            text += piece
    except OSError:
        pass  # Linux says so when the other side is closed.
    process.wait()
    os.close(ours)
    lines = [line.rpartition("\r")[2] for line in text.decode().replace("\r\n", "\n").split("\n")]
    kept = [line for line in lines if line and not line.startswith(_STATS)]
    return "\n".join(kept)


if __name__ == "__main__":
    main()
