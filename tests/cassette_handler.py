"""A download handler that takes replies from a betamax cassette, for the whole Scrapy stack.

Betamax records `requests` sessions; so each download is one, in a thread.
"""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from betamax import Betamax
from scrapy.core.downloader.handlers.base import BaseDownloadHandler
from scrapy.http import Headers
from scrapy.responsetypes import responsetypes

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.http import Response

CASSETTES = Path(__file__).parent / "cassettes"
MATCH_ON = ["method", "path", "query"]
"""Not the host: the site that was recorded had whatever port was free."""


class CassetteHandler(BaseDownloadHandler):
    """Plays the cassette `CASSETTE`; without one it records, except on CI, where that fails."""

    lazy = False

    def __init__(self, crawler) -> None:
        super().__init__(crawler)
        self._session = requests.Session()
        self._session.trust_env = False
        self._lock = threading.Lock()
        mode = "none" if os.environ.get("CI") else "once"
        recorder = Betamax(self._session, cassette_library_dir=str(CASSETTES))
        self._tape = recorder.use_cassette(
            crawler.settings["CASSETTE"],
            match_requests_on=MATCH_ON,
            record=mode,
            allow_playback_repeats=True,
            preserve_exact_body_bytes=False,
        )
        self._tape.start()

    async def download_request(self, request: Request) -> Response:
        return await asyncio.to_thread(self._play, request)

    async def close(self) -> None:
        self._tape.stop()

    def _play(self, request: Request) -> Response:
        with self._lock:
            reply = self._session.request(
                request.method,
                request.url,
                headers=dict(request.headers.to_unicode_dict()),
                data=request.body,
                allow_redirects=False,
                timeout=30,
            )
        headers = Headers(dict(reply.headers))
        for coding in ("Content-Encoding", "Transfer-Encoding"):
            headers.pop(coding, None)
        kind = responsetypes.from_args(headers=headers, url=request.url, body=reply.content)
        return kind(request.url, status=reply.status_code, headers=headers, body=reply.content)
