"""Download over HTTP with aiohttp, for a fraction of the CPU that Scrapy's own handler takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import aiohttp
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
    ResponseDataLossError,
    UnsupportedURLSchemeError,
)
from scrapy.http import Headers
from scrapy.responsetypes import responsetypes

from extensions.addresses import one_line
from extensions.credentials import Credentials
from extensions.gated_download import GatedDownloadHandler
from extensions.keys import LANES, lane_of

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response


class HttpDownloadHandler(GatedDownloadHandler):
    """A download handler for `http` and `https`.

    Sends neither `headers_received` nor `bytes_received`, which stop downloads half way.

    Settings:
        CONCURRENT_REQUESTS, DOWNLOAD_TIMEOUT, DOWNLOAD_MAXSIZE, DOWNLOAD_VERIFY_CERTIFICATES: as in
            Scrapy.
        DOWNLOAD_TIMEOUTS ({}): other time-outs, in seconds, by lane: `discovery`, `downloads`,
            `backfill`.
        SITE_CREDENTIALS: see `Credentials`.
    """

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        settings = crawler.settings
        self._timeout = settings.getfloat("DOWNLOAD_TIMEOUT")
        self._timeouts = settings.getdict("DOWNLOAD_TIMEOUTS", {})
        self._largest = settings.getint("DOWNLOAD_MAXSIZE")
        self._verify = settings.getbool("DOWNLOAD_VERIFY_CERTIFICATES")
        self._connections = settings.getint("CONCURRENT_REQUESTS")
        self._credentials = Credentials.from_settings(settings)
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, request: Request) -> Response:
        of_lane = self._timeouts.get(LANES[lane_of(request.priority) - 1], self._timeout)
        timeout = float(request.meta.get("download_timeout") or of_lane)
        try:
            return await self._download(request, timeout)
        except TimeoutError as error:
            raise DownloadTimeoutError(f"nothing within {timeout} s") from error
        except (aiohttp.InvalidUrlClientError, aiohttp.NonHttpUrlClientError) as error:
            raise UnsupportedURLSchemeError(_said(error)) from error
        except aiohttp.ClientConnectorDNSError as error:
            raise CannotResolveHostError(_said(error)) from error
        except aiohttp.ClientConnectorError as error:
            raise DownloadConnectionRefusedError(_said(error)) from error
        except aiohttp.ClientPayloadError as error:
            raise ResponseDataLossError(_said(error)) from error
        except (aiohttp.ClientError, ValueError) as error:
            # A ValueError is what aiohttp leaves to Python of a head that makes no sense.
            raise DownloadFailedError(_said(error)) from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _download(self, request: Request, timeout: float) -> Response:  # noqa: ASYNC109 -- aiohttp's own
        began = time.monotonic()
        headers = request.headers.copy()
        # Only here: what is in the request itself is written into queue entries.
        for name, value in self._credentials.header_for(request.url).items():
            headers.setdefault(name, value)
        # For the proxy alone: within a tunnel, the site would read it. Without one, as before http,
        # the proxy reads the request's own headers.
        is_tunnelled = request.url.startswith("https:") or "proxy" not in request.meta
        secret = headers.pop(b"Proxy-Authorization", None) if is_tunnelled else None
        async with self._open().request(
            request.method,
            request.url,
            data=request.body or None,
            headers=headers.to_tuple_list(),
            timeout=aiohttp.ClientTimeout(total=timeout),
            allow_redirects=False,
            proxy=request.meta.get("proxy"),
            proxy_headers={"Proxy-Authorization": secret[0].decode()} if secret else None,
        ) as reply:
            # AutoThrottle goes by this.
            request.meta["download_latency"] = time.monotonic() - began
            body = await self._read(request, reply)
        # As they came: a site's headers may be no UTF-8.
        received = Headers(list(reply.raw_headers))
        kind = responsetypes.from_args(headers=received, url=request.url, body=body)
        return kind(request.url, status=reply.status, headers=received, body=body)

    async def _read(self, request: Request, reply: aiohttp.ClientResponse) -> bytes:
        largest = request.meta.get("download_maxsize", self._largest)
        chunks, size = [], reply.content_length or 0
        if not largest or size <= largest:
            size = 0
            async for chunk in reply.content.iter_any():
                chunks.append(chunk)
                size += len(chunk)
                if 0 < largest < size:
                    break
            else:
                return b"".join(chunks)
        raise DownloadCancelledError(f"the reply is too long: {largest} bytes are allowed")

    def _open(self) -> aiohttp.ClientSession:
        """Open the session within the running loop, once."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, ssl=self._verify),
                cookie_jar=aiohttp.DummyCookieJar(),
                # Scrapy's middlewares decompress, and set every header there is to be.
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            )
        return self._session


def _said(error: Exception) -> str:
    """Return what is wrong with a reply; of what aiohttp quotes of it, enough to recognise it."""
    said = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return one_line(said) or type(error).__name__
