"""Keep passwords out of addresses and logs, and send them to the one site they are for."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrapy.settings import BaseSettings

_USERINFO = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)([^/?#]*)@")
_PASSWORD = re.compile(r"([?&]password=)[^&#]*")
_WORDS = {"CREDENTIALS", "KEY", "PASS", "PASSWD", "PASSWORD", "SECRET", "TOKEN"}
_NO_SECRETS = {"SCHEDULER_QUEUE_KEY", "SCHEDULER_DUPEFILTER_KEY", "REDIS_START_URLS_KEY"}
"""Settings that hold a key of Redis, which is a name."""
_SECRETS = {"REDIS_PARAMS"}
"""Settings that may hold a password, whatever their names say."""
_ANY_USERINFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s\"']*@")
_LEFT = re.compile(r".*:(?!//).*@", re.DOTALL)
"""What may be a user and a password that no address has in the right place."""
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Secret(str):
    """A text that logs show as asterisks: Scrapy logs the `repr` of its settings."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr("***" if masked(self) == self else masked(self))


def shown(name: str, value: object) -> str:
    """Return a setting's value for people.

    >>> shown("PSEUDONYM_KEY", "abc"), shown("REDIS_URL", "redis://:abc@host/0")
    ("'***'", "'redis://***@host/0'")
    """
    is_hidden = bool(value) and _is_named_secret(name)
    if isinstance(value, str):
        return repr(Secret(value) if is_hidden else hidden(value))
    return repr("***") if is_hidden else hidden(repr(value))


def hidden(text: str) -> str:
    """Return a text without what may be a user and a password, be it an address or not.

    >>> hidden('{"http://user:word@host": 1}'), hidden("user:word@host"), hidden("user@host")
    ('{"http://***@host": 1}', '***@host', 'user@host')
    """
    return _LEFT.sub("***@", _ANY_USERINFO.sub(r"\1***@", masked(text)))


def is_secret(name: str, value: str) -> bool:
    """Tell whether a setting looks like one that nobody else should read."""
    return bool(value) and (_is_named_secret(name) or masked(value) != value)


def _is_named_secret(name: str) -> bool:
    words = name.split("_")
    return name in _SECRETS or (name not in _NO_SECRETS and not _WORDS.isdisjoint(words))


def masked(url: str) -> str:
    """Return an address with asterisks in the place of user and password."""
    return _PASSWORD.sub(r"\1***", _USERINFO.sub(r"\1***@", url))


def without_userinfo(url: str) -> str:
    """Return an address without user and password.

    >>> without_userinfo("http://user:word@example.org/a@b")
    'http://example.org/a@b'
    """
    return _USERINFO.sub(r"\1", url)


def userinfo(url: str) -> str | None:
    """Return user and password of an address, decoded and with a colon between them."""
    match = _USERINFO.match(url)
    if match is None:
        return None
    user, _, password = match[2].partition(":")
    return f"{unquote(user)}:{unquote(password)}"


def origin(url: str) -> str:
    """Return what credentials are for: scheme, host and port.

    >>> origin("https://Example.org/x"), origin("wss://user@example.org:8000")
    ('https://example.org:443', 'wss://example.org:8000')
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or _PORTS.get(parts.scheme)}"


class Credentials:
    """Who we are to single sites.

    Settings:
        SITE_CREDENTIALS ({}): `user:password` by `https://host`, for basic authentication.
    """

    def __init__(self, by_site: Mapping[str, str]) -> None:
        self._headers = {
            origin(site): f"Basic {b64encode(str(words).encode()).decode()}"
            for site, words in by_site.items()
        }

    @classmethod
    def from_settings(cls, settings: BaseSettings) -> Credentials:
        return cls(settings.getdict("SITE_CREDENTIALS", {}))

    def header_for(self, url: str) -> dict[str, str]:
        """Return the `Authorization` for an address; nothing for a site that is not named."""
        header = self._headers.get(origin(url)) if self._headers else None
        return {"Authorization": header} if header else {}
