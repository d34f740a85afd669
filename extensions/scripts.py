"""Load the Lua that runs inside Redis."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis import Redis


def load_script(redis: Redis, name: str) -> Any:  # noqa: ANN401 -- redis-py's Script, whose reply can be anything
    """Register `lua/NAME.lua` with a connection."""
    text = files("extensions").joinpath(f"lua/{name}.lua").read_text(encoding="utf-8")
    return redis.register_script(text)
