"""Read a Containerfile: its stages, and what each is told to do."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field


@dataclass
class Stage:
    """One `FROM` and what follows it."""

    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)
    """Words, as `RUN`, and what stands behind them, in one line."""

    def all(self, word: str) -> list[str]:
        return [rest for found, rest in self.instructions if found == word]

    def last(self, word: str) -> str:
        return self.all(word)[-1]

    def words(self, word: str) -> list[str]:
        """Return the words of an instruction in its exec form, which is JSON."""
        return json.loads(self.last(word))

    def sources(self) -> list[str]:
        """Name what is copied from the repository."""
        copies = [rest.split() for rest in self.all("COPY") if not rest.startswith("--from=")]
        return [source for *sources, _target in copies for source in sources]


def read_stages(text: str) -> list[Stage]:
    """Return the stages in order; the last one is the image."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    stages: list[Stage] = []
    for line in re.sub(r"\s*\\\n\s*", " ", "\n".join(lines)).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stages.append(Stage(rest.partition(" AS ")[2]))
        elif word and stages:
            stages[-1].instructions.append((word, rest.strip()))
    return stages
