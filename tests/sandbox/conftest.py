"""The sandbox site in a thread of the test's own."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, asynccontextmanager, contextmanager
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from sandbox.misbehave import Misbehaviour
from sandbox.server import Server
from sandbox.site import Plan, Replay, ReplaySite

if TYPE_CHECKING:
    import io
    from collections.abc import AsyncIterator, Callable, Iterator


def make_replay(n: int, uploaded: int, **changes: object) -> Replay:
    fields = {
        "id": f"gen9ou-{n}",
        "format": "[Gen 9] OU",
        "formatid": "gen9ou",
        "players": ["A", "B"],
        "uploaded": uploaded,
        "rating": None,
        "private": 0,
        "password": None,
        "log": b'"|win|A\\n"',
    }
    return Replay(**fields | changes)


@pytest.fixture(scope="session")
def make() -> Callable[..., Replay]:
    """Make a replay, by its number and upload time."""
    return make_replay


@pytest.fixture(scope="session")
def site() -> ReplaySite:
    """The recorded battles, some of them private."""
    return ReplaySite.recorded(Plan(private_every=20))


@contextmanager
def _serving(
    site: ReplaySite, wrong: Misbehaviour, log: io.StringIO | None = None
) -> Iterator[str]:
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    server = Server(site, wrong, log)
    try:
        yield asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def serve(site) -> Iterator[Callable[..., str]]:
    """Serve the site until the test ends, and return its address."""
    with ExitStack() as stack:
        yield lambda site=site, log=None, **wrong: stack.enter_context(
            _serving(site, Misbehaviour(**wrong), log)
        )


@pytest.fixture
def serving() -> Callable[..., object]:
    """Serve an application in the test's own event loop, at the address that is yielded."""

    @asynccontextmanager
    async def served(app: web.Application) -> AsyncIterator[str]:
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield "{}:{}".format(*runner.addresses[0])
        finally:
            await runner.cleanup()

    return served
