"""Read which Redis the settings name, also in the words of scrapy-redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from scrapy.settings import BaseSettings

_PLACE = ("host", "port", "db", "unix_socket_path", "decode_responses", "encoding", "redis_cls")
"""Parameters that say where the server is, which the URL says, and those that are not for us."""


def redis_url(settings: BaseSettings) -> str | None:
    """Return the address of the Redis that the settings name; None when they name none.

    Settings:
        REDIS_HOST (unset), REDIS_PORT (6379), REDIS_DB (0): as in scrapy-redis, when REDIS_URL is
            unset. So are `host`, `port`, `db` and `unix_socket_path` in REDIS_PARAMS.
    """
    if url := settings.get("REDIS_URL"):
        return str(url)
    given = settings.getdict("REDIS_PARAMS", {})
    host = settings.get("REDIS_HOST") or given.get("host")
    port = settings.get("REDIS_PORT") or given.get("port")
    database = settings.get("REDIS_DB") or given.get("db")
    if path := given.get("unix_socket_path"):
        return f"unix://{quote(str(path))}?db={database or 0}"
    if not (host or port or database):
        return None
    name = str(host or "localhost")
    name = f"[{name}]" if ":" in name else name
    return f"redis://{name}:{port or 6379}/{database or 0}"


def redis_parameters(settings: BaseSettings) -> dict[str, Any]:
    """Return the other arguments of REDIS_PARAMS, without those that the address says.

    What is in Redis here is bytes and UTF-8, so `decode_responses` and `encoding` are left to the
    parts of scrapy-redis that read them; the connections of those are their own.
    """
    given = settings.getdict("REDIS_PARAMS", {})
    return {name: value for name, value in given.items() if name not in _PLACE}
