"""Name requests by fingerprints, so that each is added once.

Exact: a filter that is right nearly always drops pages nearly always unnoticed. 64 bits of Scrapy's
fingerprint; among a million requests, two share one with a chance of 1 in 37 million.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from extensions.keys import SEEN_BUCKETS

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.utils.request import RequestFingerprinterProtocol


class Seen:
    """Says where the fingerprint of a request belongs; the queue's commit looks and adds."""

    def __init__(self, fingerprinter: RequestFingerprinterProtocol) -> None:
        self._fingerprinter = fingerprinter

    def place(self, request: Request) -> tuple[int | str, str]:
        """Return the bucket of a request, or its family, and the integer it has there."""
        mark = self._fingerprinter.fingerprint(request)[:8]
        bucket = request.meta.get("family") or int.from_bytes(mark[:4]) % SEEN_BUCKETS
        return bucket, str(int.from_bytes(mark, signed=True))
