"""scrapyd, as `make scrapyd` runs it: deploy, schedule, cancel, and read the archive back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import requests

from extensions.embedded import EmbeddedRedis
from tests.integration.environments import run
from tests.integration.fleet import FAST, PATIENCE, ROOT, Fleet, public_ids, running_site

PROGRAMS = ROOT / ".venv-scrapyd" / "bin"
BATTLES = 400
USER, PASSWORD = "operator", "a-password"


class Scrapyd:
    """A running scrapyd over a copy of the project."""

    def __init__(self, project: Path, port: int, environment: dict[str, str]) -> None:
        self.project = project
        self.address = f"http://127.0.0.1:{port}"
        self._environment = environment
        with (project / "scrapyd.log").open("wb") as log:
            self.process = subprocess.Popen(
                [shutil.which("make"), "-o", ".venv-scrapyd/done", "scrapyd"],
                cwd=project,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ask(self, endpoint: str, **fields) -> dict:
        address, login = f"{self.address}/{endpoint}.json", (USER, PASSWORD)
        if endpoint in ("schedule", "cancel"):
            reply = requests.post(address, data=fields, auth=login, timeout=10)
        else:
            reply = requests.get(address, params=fields, auth=login, timeout=10)
        assert reply.json()["status"] == "ok", reply.text
        return reply.json()

    def wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                assert self.ask("daemonstatus")["status"] == "ok"
            except requests.ConnectionError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError((self.project / "scrapyd.log").read_text()[-2000:])

    def deploy(self) -> str:
        return run([PROGRAMS / "scrapyd-deploy"], cwd=self.project)

    def schedule(self, **fields) -> str:
        return self.ask("schedule", project="battles", spider="replays", **fields)["jobid"]

    def jobs(self, state: str) -> list[str]:
        return [job["id"] for job in self.ask("listjobs", project="battles")[state]]

    def log(self, job: str) -> str:
        path = self.project / ".scrapy/scrapyd/logs/battles/replays" / f"{job}.log"
        return path.read_text() if path.exists() else ""

    def wait_for(self, *jobs: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not set(jobs) <= set(self.jobs("finished")):
            assert time.monotonic() < deadline, "\n".join(self.log(job)[-2000:] for job in jobs)
            time.sleep(0.2)

    def stop(self) -> None:
        # The whole session: make, scrapyd, and jobs that a failed test left.
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()


@pytest.fixture
def project(tmp_path) -> Path:
    """A copy of what git tracks: deploying builds within it."""
    if not (PROGRAMS / "scrapyd-deploy").exists():
        message = "no scrapyd: `make .venv-scrapyd/done` installs it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path / "project"
    for name in run(
        ["git", "ls-files", "battles", "extensions", "scrapyd", "*.*", "Makefile", "LICENSE"]
    ).splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    (folder / ".venv-scrapyd").symlink_to(PROGRAMS.parent)
    return folder


@pytest.fixture
def fleet(tmp_path):
    """The site, the Redis and the archive that the jobs share."""
    with running_site(tmp_path, "--battles", str(BATTLES), "--latency", "0.1") as site:
        fleet = Fleet(tmp_path, site, EmbeddedRedis(tmp_path / "redis"))
        yield fleet
        fleet.stop()


@pytest.fixture
def scrapyd(project, fleet, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    conf, cfg = project / "scrapyd" / "scrapyd.conf", project / "scrapy.cfg"
    text = conf.read_text().replace("http_port = 6800", f"http_port = {port}")
    text = text.replace("# username =", f"username = {USER}")
    conf.write_text(text.replace("# password =", f"password = {PASSWORD}"))
    login = f"username = {USER}\npassword = {PASSWORD}\n"
    cfg.write_text(cfg.read_text().replace(":6800/\n", f":{port}/\n{login}"))
    places = {**fleet.environment(), "SPOOL_DIR": str(tmp_path / "spool")}
    # The project is what was deployed, and nothing else.
    del places["SCRAPY_SETTINGS_MODULE"]
    server = Scrapyd(project, port, {**places, "PYTHONPATH": ""})
    server.wait_until_it_answers()
    yield server
    server.stop()


def test_jobs_are_deployed_scheduled_cancelled_and_lose_nothing(scrapyd, fleet):
    refused = requests.get(f"{scrapyd.address}/daemonstatus.json", timeout=10)
    assert refused.status_code == 401

    deployed = scrapyd.deploy()
    assert '"status": "ok"' in deployed
    assert scrapyd.ask("listspiders", project="battles")["spiders"] == [
        "replays",
        "rooms",
    ]

    settings = [f"{name}={value}" for name, value in FAST.items()]
    plain = scrapyd.schedule(setting=settings)
    formats = scrapyd.schedule(setting=settings, formats="gen9ou,gen1ou", since="2020-01-01")
    as_json = scrapyd.schedule(setting=[*settings, "LOG_JSON=1"])
    while len(fleet.site.fetched()) < BATTLES / 4:
        time.sleep(0.05)
    scrapyd.ask("cancel", project="battles", job=plain, signal="INT")
    scrapyd.wait_for(plain)
    scrapyd.wait_for(formats, as_json)

    assert "Spider closed (shutdown)" in scrapyd.log(plain)
    assert all("Traceback" not in scrapyd.log(job) for job in (plain, formats, as_json))
    assert {"time", "level", "message"} <= json.loads(scrapyd.log(as_json).splitlines()[-1]).keys()
    assert fleet.stored() == sorted(public_ids(battles=BATTLES))
    assert len(fleet.site.fetched()) == BATTLES
    status = fleet.status()
    assert (status.left, status.imbalance(), status.dead_letters) == (0, 0, 0)
