"""The replay site over HTTP, on loopback."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, TextIO

from aiohttp import web

from sandbox.misbehave import GARBAGE, Misbehaviour
from sandbox.queries import ActionError, DatabaseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sandbox.site import ReplaySite

_ROBOTS = "User-agent: *\nAllow: /\n"
_PAUSE = "Crawl-delay: {}\n"
_CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true"}


class Server:
    """Serves a site, and misbehaves as told.

    Beside the site's own addresses there is `/_sandbox/misbehave`, to which a JSON object with
    fields of `Misbehaviour` can be PUT, and `/_sandbox/replay/{id}`: a JSON object that is PUT
    there changes the replay's `private` or `rating`, and DELETE has it be gone.
    """

    def __init__(
        self,
        site: ReplaySite,
        misbehaviour: Misbehaviour,
        log: TextIO | None = None,
        *,
        crawl_delay: float = 0.0,
    ) -> None:
        """Take the seconds between two requests that robots.txt asks for; 0 asks for none."""
        self._robots_txt = _ROBOTS + (_PAUSE.format(crawl_delay) if crawl_delay else "")
        self._site = site
        self._misbehaviour = misbehaviour
        self._log = log
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> str:
        """Listen on loopback and return the address."""
        app = web.Application(middlewares=[self._record, self._misbehave])
        app.add_routes(
            [
                web.get("/robots.txt", self._robots),
                web.get("/search.json", self._search),
                web.put("/_sandbox/misbehave", self._change),
                web.put("/_sandbox/replay/{id}", self._save),
                web.delete("/_sandbox/replay/{id}", self._delete),
                web.get(r"/{name:[^/]+}.json", self._json),
                web.get(r"/{name:[^/]+}.log", self._text),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _record(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Log each request as a line of JSON: when it came, what it asked, what it got."""
        came = time.time()
        try:
            response = await handler(request)
        except web.HTTPException as error:
            self._write(came, request, error.status)
            raise
        self._write(came, request, response.status)
        return response

    def _write(self, came: float, request: web.Request, status: int) -> None:
        if self._log is not None:
            entry = {"time": came, "path": request.path_qs, "status": status}
            self._log.write(json.dumps(entry) + "\n")

    @web.middleware
    async def _misbehave(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path.startswith(("/_sandbox", "/robots.txt")):
            return await handler(request)
        wrong = self._misbehaviour
        if wrong.latency:
            await asyncio.sleep(wrong.latency)
        if wrong.is_broken(request.path[1:].removesuffix(".json")):
            return web.Response(status=500, text="This one is broken.\n")
        match "refused" if wrong.is_too_much(time.monotonic()) else wrong.draw():
            case "refused":
                headers = {"Retry-After": wrong.retry_after} if wrong.retry_after else {}
                return web.Response(status=wrong.status, headers=headers, text="Not now.\n")
            case "garbage":
                return web.Response(body=GARBAGE, content_type="text/html")
            case "truncated":
                return _truncate(await handler(request))
            case _:
                return await handler(request)

    async def _robots(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._robots_txt)

    async def _search(self, request: web.Request) -> web.Response:
        try:
            # Of what is said twice, the last counts.
            rows = self._site.search(dict(request.query.items()))
        except ActionError as error:
            text = json.dumps({"actionerror": str(error)}, separators=(",", ":"))
            return web.Response(text=f"]{text}", headers=_CORS)
        except DatabaseError as error:
            return web.Response(status=500, text=f"{error}\n", headers=_CORS)
        body = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()
        return web.Response(body=body, content_type="application/json", headers=_CORS)

    async def _json(self, request: web.Request) -> web.Response:
        replay = self._site.replay(request.match_info["name"])
        if replay is None:
            return web.Response(status=404, text="", headers=_CORS)
        return web.Response(body=replay.json(), content_type="application/json", headers=_CORS)

    async def _text(self, request: web.Request) -> web.Response:
        replay = self._site.replay(request.match_info["name"])
        if replay is None:
            return web.Response(status=404, text="", headers=_CORS)
        return web.Response(text=json.loads(replay.log), headers=_CORS)

    async def _change(self, request: web.Request) -> web.Response:
        try:
            self._misbehaviour = self._misbehaviour.changed(await request.json())
        except (ValueError, TypeError) as error:
            return web.Response(status=400, text=f"{error}\n")
        return web.Response(text=f"{self._misbehaviour}\n")

    async def _save(self, request: web.Request) -> web.Response:
        battle_id, changes = request.match_info["id"], await request.json()
        if not changes.keys() <= {"private", "rating"}:
            return web.Response(status=400, text="Give private, rating, or both.\n")
        if not self._site.change(battle_id, password=None, **changes):
            return web.Response(status=404, text=f"There is no {battle_id}.\n")
        return web.Response(text=f"{battle_id} is changed.\n")

    async def _delete(self, request: web.Request) -> web.Response:
        battle_id = request.match_info["id"]
        if not self._site.delete(battle_id):
            return web.Response(status=404, text=f"There is no {battle_id}.\n")
        return web.Response(text=f"{battle_id} is gone.\n")


def _truncate(response: web.StreamResponse) -> web.StreamResponse:
    if isinstance(response, web.Response) and isinstance(response.body, bytes):
        response.body = response.body[: len(response.body) * 2 // 3]
    return response
