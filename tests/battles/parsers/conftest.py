"""Replies as the site's own code sent them, and the recorded battles once parsed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from battles.parsers.replay import parse_replay

if TYPE_CHECKING:
    from collections.abc import Callable

    from battles.items import Battle
    from sandbox.site import Replay

CASSETTES = Path(__file__).parents[2] / "cassettes"


@pytest.fixture(scope="session")
def captured() -> Callable[[str], bytes]:
    """Read the body of a captured reply; long ones were cut after 3,000 characters or so."""

    def read(name: str) -> bytes:
        text = (CASSETTES / f"{name}.txt").read_text(encoding="utf-8")
        if text.startswith("GET "):
            _request, _head, *body = text.split("\n\n", 2)
            text = "".join(body)
        return text.rstrip("\n").encode()

    return read


@pytest.fixture(scope="session")
def parsed(recorded) -> dict[str, list[tuple[Replay, Battle]]]:
    """Every recorded battle as the site sends it and as we read it, by format."""
    by_format: dict[str, list[tuple[Replay, Battle]]] = {}
    for replay in recorded:
        battle = parse_replay(
            replay.json(), asked=replay.id, url=f"https://replay/{replay.id}.json", fetched_at=1
        )
        by_format.setdefault(replay.formatid, []).append((replay, battle))
    return by_format
