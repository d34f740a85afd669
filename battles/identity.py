"""Tell the sites who crawls: the user agent, with the contact in it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from scrapy.settings import BaseSettings

_PROGRAM = "battles/0.2"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Identity:
    """An add-on: makes the user agent of the contact, wherever that comes from.

    A USER_AGENT that somebody sets stays theirs: what an add-on sets gives way to the settings of
    project, spider, job and command line.

    Settings:
        CONTACT (unset): an address at which the site's operators reach you.
    """

    def update_settings(self, settings: BaseSettings) -> None:
        contact = (settings["CONTACT"] or "").strip() or "no contact"
        settings.set("USER_AGENT", f"{_PROGRAM} (+{contact})", priority="addon")


def user_agent(settings: BaseSettings) -> str:
    """Return what a crawl with these settings calls itself."""
    settings = settings.copy()
    Identity().update_settings(settings)
    return str(settings["USER_AGENT"])


def needs_contact(settings: BaseSettings, url: str) -> str:
    """Say that whoever runs a site must be able to reach us, if so; nothing when they are."""
    host = urlsplit(url).hostname
    if host is None or host in _LOOPBACK or (settings["CONTACT"] or "").strip():
        return ""
    return f"{host} must be able to reach you: set CONTACT to your e-mail address or web page"
