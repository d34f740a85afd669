"""Serve an application on loopback until somebody says that it is enough."""

from __future__ import annotations

import asyncio
import signal
import sys

from aiohttp import web

_HOST = "127.0.0.1"
_PATIENCE = 0.5
"""Seconds for connections to end."""


async def serve(app: web.Application, port: int, *, scheme: str, path: str) -> None:
    """Serve until SIGTERM or SIGINT; print the address at which it listens, and its path."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_PATIENCE)
    await runner.setup()
    await web.TCPSite(runner, _HOST, port).start()
    host, taken = runner.addresses[0][:2]
    sys.stdout.write(f"{scheme}://{host}:{taken}{path}\n")
    sys.stdout.flush()
    await stop.wait()
    await runner.cleanup()
