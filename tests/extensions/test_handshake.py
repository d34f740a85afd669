"""Servers that open no websocket, or none that is of use: what becomes of requests, and is said."""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from scrapy import Request, signals
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
)

from extensions.circuit_breaker import CircuitBreaker
from extensions.gated_download import NoConnectionError
from extensions.handshake import Handshakes
from extensions.hosts import Hosts
from extensions.keys import HostKeys
from extensions.outage import Failure
from extensions.own_network import is_own
from extensions.throttle import HeldError, Throttle
from extensions.websocket import WebSocketDownloadHandler
from tests.conftest import Clock
from tests.extensions.echo import REPLIES, Server, all_of, asks, handler_of, serving

EXTENSIONS = ("extensions.throttle.Throttle", "extensions.circuit_breaker.CircuitBreaker")


@dataclass
class Fleet:
    """A worker with throttle and breaker, its server, and what the fleet knows."""

    handler: WebSocketDownloadHandler
    server: Server
    hosts: Hosts

    @property
    def host(self) -> str:
        return urlsplit(self.server.url).netloc

    def stat(self, name: str) -> int:
        return self.handler.crawler.stats.get_value(name, 0)

    def reopen(self) -> None:
        """Let the gate be open before its time."""
        key = HostKeys().gates
        self.hosts._redis.hset(key, self.host, f"{int(time.time() * 1e6) - 1} 60000000")
        self.handler._throttle.close_gate(self.host, 1e-9)


@pytest.fixture
def play(redis, redis_url):
    """Have a scene with a server and a worker of a fleet played."""

    @asynccontextmanager
    async def stage(tls, clock, given) -> AsyncIterator[Fleet]:
        handler = handler_of(
            clock,
            REDIS_URL=redis_url,
            EXTENSIONS={name: n for n, name in enumerate(EXTENSIONS)},
            CIRCUIT_BREAKER_ERRORS=10,
            **given,
        )
        throttle = handler.crawler.get_extension(Throttle)
        handler.crawler.signals.disconnect(throttle.spider_opened, signals.spider_opened)
        handler.crawler.signals.send_catch_log(signals.spider_opened, spider=None)
        async with serving(tls=tls) as server:
            try:
                yield Fleet(handler, server, Hosts(redis, HostKeys().namespace))
            finally:
                await handler.close()

    def run(
        scene: Callable[[Fleet], Coroutine],
        *,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        **given: object,
    ) -> object:
        async def act() -> object:
            async with stage(tls, clock, given) as fleet:
                return await scene(fleet)

        return asyncio.run(act())

    return run


@pytest.fixture
def self_signed(tmp_path) -> ssl.SSLContext:
    """What a server needs to speak TLS with a certificate that nobody trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(encoding))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


# --- The server refuses us ------------------------------------------------------------------------

REFUSALS = {
    "/302": "HTTP 302 instead of a websocket",
    "/401": "HTTP 401 instead of a websocket",
    "/403": "HTTP 403 instead of a websocket",
    "/404": "HTTP 404 instead of a websocket",
    "/429": "HTTP 429 instead of a websocket",
    "/503": "HTTP 503 instead of a websocket",
    "/html": "HTTP 200 instead of a websocket (text/html; charset=utf-8)",
    "hasty": "it ends connections at once (close code 1008, banned)",
    "bytes": "it sends a frame that is no text",
    "large": "it sends a frame larger than DOWNLOAD_MAXSIZE (close code 1009)",
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_server_that_refuses_is_held_for_the_fleet_and_no_request_has_failed(play, caplog, case):
    async def scene(fleet: Fleet) -> tuple:
        fleet.server.is_hasty = case == "hasty"
        url = fleet.server.url.replace("/socket", case) if case in REPLIES else fleet.server.url
        outcomes = await all_of(asks(fleet.handler, url, *[case if case in "bytes large" else "a"]))
        outcomes += await all_of(asks(fleet.handler, url, "b"))
        handshakes, [host] = fleet.server.handshakes, fleet.hosts.status()
        return outcomes, handshakes, host, fleet.stat("websocket/refused"), fleet.host

    (first, later), handshakes, host, counted, name = play(scene, DOWNLOAD_MAXSIZE=1000)

    seconds = 70.0 if case == "/429" else 5.0
    assert (type(first), type(later)) == (NoConnectionError, HeldError)
    assert first.seconds == pytest.approx(seconds, abs=1.0)
    assert (handshakes, counted) == (1, 1)
    assert (host.held, host.breaker) == (pytest.approx(seconds, abs=1.0), "closed")
    assert host.reason == REFUSALS[case]
    assert caplog.messages == [f"{name} refuses us: {REFUSALS[case]}"]
    assert caplog.records[0].levelno == logging.WARNING


def test_all_who_waited_for_a_connection_that_is_refused_hold_its_host_once(play, caplog):
    async def scene(fleet: Fleet) -> list:
        url = fleet.server.url.replace("/socket", "/403")
        outcomes = await all_of(asks(fleet.handler, url, *"abcdefgh", "list"))
        [host] = fleet.hosts.status()
        return [*{type(one) for one in outcomes}, fleet.server.handshakes, round(host.held)]

    assert play(scene) == [NoConnectionError, 1, 5]
    assert len(caplog.messages) == 1


def test_the_hold_doubles_up_to_a_limit_and_its_cause_is_said_once(play, caplog, without_pauses):
    clock = Clock()

    async def scene(fleet: Fleet) -> list:
        url, held = fleet.server.url.replace("/socket", "/403"), []
        for _ in range(8):
            [error] = await all_of(asks(fleet.handler, url, "a"))
            held.append((round(error.seconds), round(fleet.hosts.gates()[fleet.host])))
            clock.now += 301.0
            fleet.reopen()
        return held

    held = play(scene, clock=clock)

    assert [first for first, _ in held] == [5, 10, 20, 40, 80, 160, 300, 300]
    assert all(first == second for first, second in held)
    assert len(without_pauses) == 8
    assert len(caplog.messages) == 1


@pytest.mark.usefixtures("without_pauses")
def test_a_probe_that_is_refused_is_told_as_one(play):
    async def scene(fleet: Fleet) -> list:
        throttle, url = fleet.handler._throttle, fleet.server.url
        breaker = fleet.handler.crawler.get_extension(CircuitBreaker)
        turn = await throttle.turn(url)
        for _ in range(10):
            await breaker.failed(turn, Request(url), "HTTP 500", is_said=True)
        fleet.reopen()
        outcomes = await all_of(asks(fleet.handler, url.replace("/socket", "/403"), "a"))
        [host] = fleet.hosts.status()
        return [type(outcomes[0]), host.breaker, host.reason, round(host.held)]

    assert play(scene) == [NoConnectionError, "open", REFUSALS["/403"], 5]


# --- We do not get there --------------------------------------------------------------------------


def test_a_certificate_that_nobody_trusts_is_an_outage(play, caplog, self_signed):
    async def scene(fleet: Fleet) -> list:
        outcomes = await all_of(asks(fleet.handler, fleet.server.url, *"abc"))
        return [*outcomes, fleet.stat("circuit_breaker/errors"), fleet.host]

    *outcomes, errors, name = play(scene, tls=self_signed, DOWNLOAD_VERIFY_CERTIFICATES=True)

    assert {type(outcome) for outcome in outcomes} == {NoConnectionError}
    assert errors == 1
    [text] = caplog.messages
    assert text.startswith(f"{name} cannot be reached: its certificate is not trusted (self")
    assert text.endswith("signed certificate)")


def test_a_server_that_speaks_no_tls_is_an_outage(play, caplog):
    async def scene(fleet: Fleet) -> list:
        url = fleet.server.url.replace("ws:", "wss:")
        outcomes = await all_of(asks(fleet.handler, url, *"abc"))
        return [*outcomes, fleet.stat("circuit_breaker/errors")]

    *outcomes, errors = play(scene)

    assert {type(outcome) for outcome in outcomes} == {NoConnectionError}
    assert errors == 1
    assert ["cannot be reached: TLS fails (" in text for text in caplog.messages] == [True]


def test_a_refused_connection_is_told_once_however_many_waited(play, caplog, refused):
    async def scene(fleet: Fleet) -> list:
        outcomes = await all_of(asks(fleet.handler, refused, *"abcdefgh", "list"))
        counts = [fleet.stat(f"{name}") for name in ("circuit_breaker/errors", "websocket/refused")]
        return [*outcomes, *counts, fleet.stat("websocket/unreachable"), fleet.hosts.gates()]

    *outcomes, errors, refusals, unreachable, gates = play(scene)

    assert {type(outcome) for outcome in outcomes} == {NoConnectionError}
    assert (errors, refusals, unreachable, gates) == (1, 0, 1, {})
    [text] = caplog.messages
    assert text.endswith(" cannot be reached: Connection refused")


def test_a_handshake_that_is_never_answered_is_an_outage(play, caplog):
    async def scene(fleet: Fleet) -> list:
        url = fleet.server.url.replace("/socket", "/silent")
        outcomes = await all_of(asks(fleet.handler, url, *"abc"))
        return [*outcomes, fleet.stat("circuit_breaker/errors"), fleet.server.handshakes]

    *outcomes, errors, handshakes = play(scene, DOWNLOAD_TIMEOUT=0.2)

    assert {type(outcome) for outcome in outcomes} == {NoConnectionError}
    assert (errors, handshakes) == (1, 1)
    assert [text.partition(" ")[2] for text in caplog.messages] == [
        "cannot be reached: no answer to the handshake within 0.2 s"
    ]


def test_a_worker_whose_network_is_broken_pauses_alone(play, caplog, without_pauses, monkeypatch):
    failure = aiohttp.ClientConnectorDNSError(None, OSError(None, "no such host"))

    async def fail(*_arguments: object, **_options: object) -> None:
        raise failure

    monkeypatch.setattr(aiohttp.ClientSession, "ws_connect", fail)
    monkeypatch.setattr(aiohttp.ClientConnectorDNSError, "__str__", lambda _self: "no such host")

    async def scene(fleet: Fleet) -> list:
        attempts = 0
        while fleet.handler._throttle.held(fleet.server.url) is None:
            await all_of(asks(fleet.handler, fleet.server.url, *"abc"))
            attempts += 1
        return [attempts, fleet.hosts.gates(), len(without_pauses)]

    # Each of ten attempts counts once, and nobody else is told to stay away.
    assert play(scene) == [10, {}, 10]
    assert len(caplog.messages) == 1


@pytest.mark.usefixtures("without_pauses")
def test_a_server_that_is_dead_for_eight_minutes_is_some_ten_lines(play, caplog, refused):
    caplog.set_level(logging.INFO)
    clock, attempts = Clock(), 16

    async def scene(fleet: Fleet) -> None:
        port = urlsplit(refused).port
        fleet.server.url = refused
        for _ in range(attempts):
            await all_of(asks(fleet.handler, refused, *"abcdefgh"))
            clock.now += 30.0
            fleet.reopen()
        async with serving(port):
            [answer] = await all_of(asks(fleet.handler, refused, "a"))
        assert answer.text == "a!"

    play(scene, clock=clock)

    said = [record for record in caplog.records if record.name.startswith("extensions")]
    assert [record.exc_info for record in said] == [None] * len(said)
    assert len(said) <= 10
    texts = [record.getMessage().partition(" ")[2] for record in said]
    assert texts.count("cannot be reached: Connection refused") == 1
    assert "answers again after 480 s, 17 attempts" in texts


# --- What a handshake comes to --------------------------------------------------------------------

KEY = aiohttp.client_reqrep.ConnectionKey("server", 1, False, True, None, None, None)  # noqa: FBT003


@pytest.mark.parametrize(
    ("raised", "kind", "is_ours", "cause"),
    [
        (TimeoutError(), DownloadTimeoutError, False, "no answer to the handshake within 180 s"),
        (OSError("odd"), DownloadFailedError, False, "odd"),
        (aiohttp.ServerDisconnectedError(), DownloadFailedError, False, "Server disconnected"),
        (
            aiohttp.ClientConnectorDNSError(KEY, OSError(None, "no such host")),
            CannotResolveHostError,
            True,
            "its name is not found ([Errno None] no such host)",
        ),
        (
            aiohttp.ClientConnectorError(KEY, OSError(errno.ENETUNREACH, "x")),
            DownloadConnectionRefusedError,
            True,
            "Network is unreachable",
        ),
        (
            aiohttp.ClientConnectorError(KEY, OSError("several")),
            DownloadConnectionRefusedError,
            False,
            "several",
        ),
    ],
    ids=["a time-out", "an error", "an end", "an unknown name", "no route", "several"],
)
def test_what_fails_is_named_as_scrapy_does_and_tells_whose_network_it_was(
    monkeypatch, raised, kind, is_ours, cause
):
    async def fail(*_arguments: object, **_options: object) -> None:
        raise raised

    monkeypatch.setattr(aiohttp.ClientSession, "ws_connect", fail)

    async def scene() -> Failure:
        handshakes = Handshakes(handler_of().crawler.settings)
        try:
            return await handshakes.open("ws://server/")
        finally:
            await handshakes.close()

    failure = asyncio.run(scene())

    assert isinstance(failure, Failure)
    assert (type(failure.error), failure.cause) == (kind, cause)
    assert is_own(failure.error) is is_ours


def test_what_answers_without_http_refuses_us():
    async def mumble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        await writer.drain()
        writer.close()

    async def scene() -> Failure:
        async with await asyncio.start_server(mumble, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            handshakes = Handshakes(handler_of().crawler.settings)
            try:
                return await handshakes.open(f"ws://127.0.0.1:{port}/")
            finally:
                await handshakes.close()

    failure = asyncio.run(scene())

    assert failure.is_refusal
    assert failure.cause.startswith("its answer is no HTTP (")
