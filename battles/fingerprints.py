"""Tell searches apart that share an address and look for different things."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from scrapy.utils.request import RequestFingerprinter

if TYPE_CHECKING:
    from scrapy import Request


class WalkFingerprinter(RequestFingerprinter):
    """Scrapy's fingerprint, and for a search that of its walk: how far back it goes counts too."""

    def fingerprint(self, request: Request) -> bytes:
        plain = super().fingerprint(request)
        walk = request.cb_kwargs.get("walk")
        if walk is None:
            return plain
        return hashlib.sha1(plain + json.dumps(walk, sort_keys=True).encode()).digest()  # noqa: S324 -- as Scrapy's
