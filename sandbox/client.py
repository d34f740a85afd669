"""A page that stands in for the web client: the list of battles, and a battle, in a browser."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from aiohttp import web

from sandbox.serving import serve

_PAGE = Path(__file__).with_name("client.html")


def client_app(server_url: str) -> web.Application:
    """Serve the page, which talks to the battle server with this websocket."""
    page = _PAGE.read_text(encoding="utf-8").replace("'{{server}}'", json.dumps(server_url))

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html")

    app = web.Application()
    app.add_routes([web.get("/battles", answer), web.get(r"/{room:battle-[a-z0-9-]+}", answer)])
    return app


def main(arguments: list[str] | None = None) -> None:
    """Serve the page as the arguments say, until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.client", description=__doc__)
    parser.add_argument("server", help="the battle server's websocket")
    parser.add_argument("--port", type=int, default=0, help="default: one that is free")
    options = parser.parse_args(arguments)
    asyncio.run(serve(client_app(options.server), options.port, scheme="http", path="/battles"))


if __name__ == "__main__":  # pragma: no cover -- as `python -m sandbox.client`
    main()
