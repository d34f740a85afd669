"""The README and the pages of `docs/`: their links, headings and shell blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Page:
    """One page."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def links(self) -> list[str]:
        """Targets of the links outside of blocks."""
        return re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", self.text))

    @property
    def anchors(self) -> set[str]:
        headings = re.findall(r"^#+ (.+)$", _BLOCK.sub("", self.text), re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", one).strip().lower().replace(" ", "-") for one in headings}

    @property
    def shell(self) -> list[str]:
        """Its shell blocks that are to be run, in order."""
        return [one["text"] for one in self._shell_blocks if not one["reason"]]

    @property
    def excuses(self) -> list[str]:
        """Why its other shell blocks are not run."""
        return [one["reason"] for one in self._shell_blocks if one["reason"]]

    @property
    def _shell_blocks(self) -> list[re.Match[str]]:
        blocks = _BLOCK.finditer(self.text)
        return [one for one in blocks if one["language"] in ("sh", "bash", "shell", "console")]


PAGES = [
    Page(path)
    for path in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
    if "_build" not in path.parts
]
