"""Keep requests of the queue to the hosts that the settings name."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scrapy import Request

from extensions.hosts import host_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrapy import Spider
    from scrapy.settings import BaseSettings

_OWN_NETWORK = ("localhost", "local", "internal")
"""What the names of machines of one's own end with."""
_SHOWN = 100
"""Characters of a host that is refused."""


class AllowedHosts:
    """The hosts that requests may be for; whoever can write into the queue may write any.

    A spider may name settings with the addresses that it asks, as `sites`.

    Settings:
        QUEUE_HOSTS ([]): more hosts, as `name` or `name:port`. Where this is empty and the spider
            names none, any host is allowed.
        REDIRECT_ENABLED: as in Scrapy; a redirect of an allowed host may lead to another, but to
            no address of a private network.
    """

    def __init__(self, hosts: Iterable[str], *, may_redirect: bool = False) -> None:
        """Take hosts as addresses have them; none allows any."""
        self._hosts = frozenset(host.strip().lower() for host in hosts if host.strip())
        self._may_redirect = may_redirect

    @classmethod
    def of(cls, spider: Spider, settings: BaseSettings) -> AllowedHosts:
        sites = [settings.get(name) for name in getattr(spider, "sites", ())]
        # As requests have them: in lower case, and a name of other letters in ASCII.
        named = [host_of(Request(site).url) for site in sites if site]
        return cls(
            [*named, *settings.getlist("QUEUE_HOSTS", [])],
            may_redirect=settings.getbool("REDIRECT_ENABLED"),
        )

    def objection(self, request: Request) -> str | None:
        """Say why a request must not be sent; None when it may."""
        if not self._hosts or self._is_named(request.url):
            return None
        if self._may_redirect and self._is_redirect(request):
            return None
        return f"{host_of(request.url)[:_SHOWN]} is no host of this crawl's settings"

    def _is_named(self, url: str) -> bool:
        # Read in two ways: what they do not agree on was made to deceive one of them.
        return {host_of(url), urlsplit(url).netloc.rpartition("@")[2].lower()} <= self._hosts

    def _is_redirect(self, request: Request) -> bool:
        origins = request.meta.get("redirect_urls")
        if not isinstance(origins, list) or not origins or not isinstance(origins[0], str):
            return False
        return self._is_named(origins[0]) and may_lead(origins[0], request.url)


def may_lead(origin: str, target: str) -> bool:
    """Tell whether a redirect may be followed: from the internet, none into a private network.

    >>> may_lead("https://example.org/", "http://169.254.169.254/latest/meta-data")
    False
    """
    return _is_private(origin) or not _is_private(target)


def _is_private(url: str) -> bool:
    name = urlsplit(url).hostname or ""
    try:
        return not ip_address(name).is_global
    except ValueError:
        # A name has a dot at least, or is this network's own; numbers alone are an old address.
        parts = name.rstrip(".").split(".")
        is_number = all(part.isdigit() or part.startswith("0x") for part in parts)
        return is_number or len(parts) == 1 or parts[-1] in _OWN_NETWORK
