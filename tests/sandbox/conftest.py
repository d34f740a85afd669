"""The sandbox site in a thread of the test's own, and the real battle server."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack, contextmanager
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from sandbox.battle_server import BattleServer, BattleServerError, find_program, install
from sandbox.misbehave import Misbehaviour
from sandbox.server import Server
from sandbox.site import Plan, Replay, ReplaySite

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator
    from pathlib import Path


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
def serving(site: ReplaySite, wrong: Misbehaviour, log: io.StringIO | None = None) -> Iterator[str]:
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
            serving(site, Misbehaviour(**wrong), log)
        )


@pytest.fixture(scope="session")
def battle_server_package() -> Path:
    """The folder of the battle server's package; without Node.js, skip here and fail on CI."""
    try:
        find_program("node")
        return install()
    except BattleServerError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture
def own_battle_server(battle_server_package) -> Iterator[BattleServer]:
    """A battle server of the test's own, which does not run yet."""
    assert battle_server_package.is_dir()
    server = BattleServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def battle_server(battle_server_package) -> Iterator[str]:
    """A battle server that all tests share, by the address of its websocket."""
    assert battle_server_package.is_dir()
    server = BattleServer()
    yield server.start()
    server.stop()
