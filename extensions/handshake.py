"""Open a websocket, or say why there is none."""

from __future__ import annotations

import asyncio
import os
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
)
from scrapy.http import Response

from extensions.addresses import one_line
from extensions.credentials import Credentials
from extensions.gated_download import asked_pause
from extensions.outage import Failure

if TYPE_CHECKING:
    from types import SimpleNamespace

    from scrapy.settings import BaseSettings


class Handshakes:
    """Opens websockets as the settings say.

    Settings:
        WEBSOCKET_HEARTBEAT (20.0): seconds between two pings.
        DOWNLOAD_MAXSIZE, DOWNLOAD_TIMEOUT, DOWNLOAD_VERIFY_CERTIFICATES, USER_AGENT: as in Scrapy.
        SITE_CREDENTIALS: see `Credentials`.
    """

    def __init__(self, settings: BaseSettings) -> None:
        self._timeout = settings.getfloat("DOWNLOAD_TIMEOUT")
        self._heartbeat = settings.getfloat("WEBSOCKET_HEARTBEAT", 20.0)
        self._largest = settings.getint("DOWNLOAD_MAXSIZE")
        self._verify = settings.getbool("DOWNLOAD_VERIFY_CERTIFICATES")
        self._user_agent = settings["USER_AGENT"]
        self._credentials = Credentials.from_settings(settings)
        self._session: aiohttp.ClientSession | None = None

    async def open(self, address: str) -> aiohttp.ClientWebSocketResponse | Failure:
        """Return the connection, or what came in its place."""
        try:
            return await asyncio.wait_for(self._connect(address), self._timeout)
        except aiohttp.ClientResponseError as error:
            return _refusal(address, error)
        except TimeoutError as error:
            cause = f"no answer to the handshake within {self._timeout:g} s"
            return _unreachable(address, cause, error)
        except (aiohttp.ClientError, OSError) as error:
            return _unreachable(address, _trouble(error), error)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _connect(self, address: str) -> aiohttp.ClientWebSocketResponse:
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_request_redirect.append(_stay)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._verify),
                # `wait_for` counts the seconds.
                timeout=aiohttp.ClientTimeout(total=None),
                trace_configs=[trace],
            )
        known_as = self._credentials.header_for(address)
        return await self._session.ws_connect(
            address,
            heartbeat=self._heartbeat,
            max_msg_size=self._largest,
            headers={"User-Agent": self._user_agent, **known_as},
        )


async def _stay(
    _session: aiohttp.ClientSession,
    _context: SimpleNamespace,
    params: aiohttp.TraceRequestRedirectParams,
) -> None:
    """Follow no redirect: what redirects is a login or a challenge."""
    reply = params.response
    raise aiohttp.WSServerHandshakeError(
        reply.request_info, reply.history, status=reply.status, headers=reply.headers
    )


def _refusal(address: str, error: aiohttp.ClientResponseError) -> Failure:
    if not isinstance(error, aiohttp.WSServerHandshakeError):
        return Failure(f"its answer is no HTTP ({one_line(error.message)})")
    headers, detail = dict(error.headers or {}), ""
    if error.status == HTTPStatus.SWITCHING_PROTOCOLS:
        detail = error.message
    elif error.status < HTTPStatus.BAD_REQUEST:
        detail = headers.get("Content-Type", "")
    said = f"HTTP {error.status} instead of a websocket"
    asked = asked_pause(Response(address, status=error.status, headers=headers))
    return Failure(f"{said} ({one_line(detail)})" if detail else said, retry_after=asked)


def _unreachable(address: str, cause: str, error: Exception) -> Failure:
    """Name the error as Scrapy does, and keep it as the cause: it tells whose network failed."""
    kind: type[Exception] = DownloadFailedError
    if isinstance(error, TimeoutError):
        kind = DownloadTimeoutError
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        kind = CannotResolveHostError
    elif isinstance(error, aiohttp.ClientConnectorError):
        kind = DownloadConnectionRefusedError
    made = kind(f"{address}: {cause}")
    made.__cause__ = error
    return Failure(cause, made)


def _trouble(error: Exception) -> str:
    """Say in a few words why there is no connection."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        wrong = error.certificate_error
        said = getattr(wrong, "verify_message", "") or str(wrong)
        return f"its certificate is not trusted ({one_line(said)})"
    if not isinstance(error, aiohttp.ClientConnectorError):
        return one_line(str(error)) or type(error).__name__
    inner = error.os_error
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"its name is not found ({one_line(str(inner))})"
    if isinstance(inner, ssl.SSLError):
        return f"TLS fails ({one_line(inner.reason or str(inner))})"
    return os.strerror(inner.errno) if inner.errno else one_line(str(inner))
