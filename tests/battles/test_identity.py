from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tomllib

import pytest
from aiohttp import web
from scrapy.settings import Settings

from battles.identity import user_agent
from tests.conftest import ROOT
from tests.integration.fleet import FAST


class Site:
    """A site that has nothing, and remembers who asked."""

    def __init__(self) -> None:
        self.visitors: set[str] = set()

    async def answer(self, request: web.Request) -> web.Response:
        self.visitors.add(request.headers["User-Agent"])
        return web.Response(text="" if request.path == "/robots.txt" else "[]")


async def visit(places: dict[str, str], *options: str, **environment: str) -> set[str]:
    """Crawl a site of the test's own, and return what it took the crawl for."""
    site, app = Site(), web.Application()
    app.router.add_get("/{path:.*}", site.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    settings = {**places, **FAST, "SHOWDOWN_REPLAY_URL": f"http://{host}:{port}"}
    given = [word for pair in settings.items() for word in ("-s", "=".join(pair))]
    command = [sys.executable, "-m", "scrapy", "crawl", "replays", *given, *options]
    clean = {name: value for name, value in os.environ.items() if name != "CONTACT"}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env={**clean, **environment}, stderr=subprocess.DEVNULL
    )
    assert await process.wait() == 0
    await runner.cleanup()
    return site.visitors


@pytest.mark.parametrize(
    ("options", "environment", "seen"),
    [
        ([], {"CONTACT": "a@b.example"}, "battles/0.2 (+a@b.example)"),
        (["-s", "CONTACT=a@b.example"], {}, "battles/0.2 (+a@b.example)"),
        (["-s", "CONTACT=a@b.example"], {"CONTACT": "old"}, "battles/0.2 (+a@b.example)"),
        ([], {}, "battles/0.2 (+no contact)"),
        (["-s", "CONTACT=a@b.example", "-s", "USER_AGENT=mine/1"], {}, "mine/1"),
    ],
    ids=["environment", "option", "both", "neither", "an agent of ones own"],
)
@pytest.mark.usefixtures("redis")
def test_the_site_sees_the_contact_wherever_it_comes_from(places, options, environment, seen):
    visitors = asyncio.run(visit(places, *options, **environment))

    assert visitors == {seen}


def test_the_user_agent_of_a_projects_own_settings_stays():
    settings = Settings({"CONTACT": "a@b.example"})
    settings.set("USER_AGENT", "mine/1", priority="project")

    assert user_agent(settings) == "mine/1"


def test_asking_for_the_user_agent_changes_no_setting():
    settings = Settings({"CONTACT": "a@b.example"})
    before = settings["USER_AGENT"]

    user_agent(settings)

    assert settings["USER_AGENT"] == before


def test_the_version_is_the_packages_own():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    agent = user_agent(Settings())

    assert agent.startswith(f"battles/{version.rpartition('.')[0]} ")
