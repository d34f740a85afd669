"""What `deploy/` says is done with no container: built below a folder, run, and told to leave."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from extensions.embedded import EmbeddedRedis
from tests.containerfile import Stage, read_stages
from tests.integration.environments import PATIENCE, run
from tests.integration.fleet import FAST, ROOT, public_ids, running_site, tail

DEPLOY = ROOT / "deploy"
BATTLES = 60
ABSOLUTE = re.compile(r"(?<![\w./])/(?:build|opt/battles|var/lib/battles)\b")
"""What the Containerfile makes, wherever it is named; the interpreter and its tools are not."""


class Image:
    """What the instructions make, below a folder that stands for `/`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._build, self.stage = read_stages((DEPLOY / "Containerfile").read_text())
        self.environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def at(self, text: str) -> str:
        """Move every path to below the folder."""
        return ABSOLUTE.sub(lambda found: f"{self._folder}{found[0]}", text)

    def build(self) -> None:
        """Do what the first stage says; of the second, all but making a user."""
        folder = self._work_in(self._build)
        for word, rest in self._build.instructions:
            if word == "RUN":
                run(["sh", "-c", self.at(rest)], cwd=folder, **self.environment)
            elif word == "COPY":
                self._copy(rest.split(), folder)
            elif word == "ENV":
                self._set(rest)
        self.environment = {"PATH": os.environ["PATH"]}
        self._set(self.stage.last("ENV"))
        self.folder = self._work_in(self.stage)

    def words(self, *words: str) -> list[str]:
        return [self.at(word) for word in words]

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess:
        """Run a program of the image with its environment, and nothing of ours."""
        return subprocess.run(
            self.words(*words),
            cwd=self.folder,
            env=self._with(environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    @contextmanager
    def running(self, *words: str, **environment: str):
        """Run the image as a container would, until it ends or the test does."""
        log = self._folder / "worker.log"
        with log.open("wb") as file:
            command = [*self.stage.words("ENTRYPOINT"), *words]
            worker = subprocess.Popen(
                self.words(*command),
                cwd=self.folder,
                env=self._with(environment),
                stdout=file,
                stderr=file,
            )
        worker.log = log
        try:
            yield worker
        finally:
            worker.kill()
            worker.wait()

    def _with(self, environment: dict[str, str]) -> dict[str, str]:
        return {**self.environment, "HOME": str(self.folder), **environment}

    def _work_in(self, stage: Stage) -> Path:
        folder = Path(self.at(stage.last("WORKDIR")))
        folder.mkdir(parents=True)
        return folder

    def _set(self, rest: str) -> None:
        for pair in rest.split():
            name, _, value = self.at(pair).partition("=")
            path = self.environment["PATH"]
            self.environment[name] = value.replace("$PATH", path)

    def _copy(self, words: list[str], folder: Path) -> None:
        """Copy what git tracks, which is what a builder of a fresh clone would have."""
        *sources, target = words
        for name in run(["git", "ls-files", *sources]).splitlines():
            is_folder = target == sources[0]
            goal = folder / name if is_folder else folder / target / Path(name).name
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, goal)


class Owned(BaseHTTPRequestHandler):
    """A store that has the bucket; moto's takes a second one of the same name for made."""

    def do_PUT(self) -> None:
        body = b"<Error><Code>BucketAlreadyOwnedByYou</Code></Error>"
        self.send_response(409)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Image:
    image = Image(tmp_path_factory.mktemp("image"))
    image.build()
    return image


def test_a_worker_of_the_image_crawls_and_ends_when_it_is_told_to(image, tmp_path):
    options = [part for pair in FAST.items() for part in ("-s", "=".join(pair))]
    words = [*image.stage.words("CMD"), *options]
    with running_site(tmp_path, "--battles", str(BATTLES)) as site:
        places = {"SHOWDOWN_REPLAY_URL": site.address}
        with image.running(*words, **places) as worker:
            while len(site.fetched()) < BATTLES:
                assert worker.poll() is None, tail(worker)
                time.sleep(0.05)
            worker.send_signal(getattr(signal, image.stage.last("STOPSIGNAL")))
            assert worker.wait(30) == 0, tail(worker)

        exported = image.run("scrapy", "export", "--to", "all.jsonl", **places)

    assert exported.returncode == 0, exported.stderr
    lines = (image.folder / "all.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in lines} == public_ids(battles=BATTLES)
    assert len(lines) == BATTLES
    assert not list((image.folder / ".scrapy" / "spool").glob("*/*"))


def test_the_image_has_no_pip_and_no_sources(image):
    installed = Path(image.at("/opt/battles"))

    assert not list(installed.glob("bin/pip*"))
    assert not list(installed.rglob("setuptools"))
    assert not list(image.folder.rglob("*.whl"))


def test_the_readiness_probe_tells_whether_redis_answers(image, tmp_path):
    [*_, workers] = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    [container] = workers["spec"]["template"]["spec"]["containers"]
    probe = container["readinessProbe"]["exec"]["command"]
    redis = EmbeddedRedis(tmp_path / "redis")

    there = image.run(*probe, REDIS_URL=redis.start())
    redis.release()
    away = image.run(*probe, REDIS_URL="redis://127.0.0.1:1/0")

    assert there.returncode == 0, there.stderr
    assert away.returncode == 1
    assert "Redis does not answer" in away.stderr


def test_compose_makes_the_bucket(image):
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["bucket"]
    command = [*service["entrypoint"], *service["command"]]
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    places = {**service["environment"], **keys, "AWS_ENDPOINT_URL": address}

    told = image.run(*command, **places)
    client = boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1", **{k.lower(): keys[k] for k in keys}
    )
    buckets = [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]
    client.close()
    server.stop()

    assert told.returncode == 0, told.stderr
    assert [f"s3://{bucket}" for bucket in buckets] == [service["environment"]["ARCHIVE_URL"]]


def test_a_bucket_that_is_there_is_none_to_make(image):
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["bucket"]
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    with HTTPServer(("127.0.0.1", 0), Owned) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        places = {**service["environment"], **keys, "AWS_ENDPOINT_URL": address}
        told = image.run(*service["entrypoint"], *service["command"], **places)
        server.shutdown()

    assert told.returncode == 0, told.stderr


def test_what_a_lost_spool_held_is_fetched_again(fleet_of):
    fleet = fleet_of("--battles", "120", "--latency", "0.02")
    worker = fleet.start("follow=1")
    while len(fleet.site.fetched()) < 60:
        time.sleep(0.02)
    fleet.kill(worker)
    lost = fleet.searched()
    shutil.rmtree(fleet.folder / "spool")

    fleet.run("verify", "--refetch", "--yes")
    fleet.crawl()

    assert lost
    assert fleet.stored() == sorted(public_ids(battles=120))


def test_systemd_takes_the_unit(image, tmp_path):
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze on PATH")
    unit = tmp_path / "battles-worker@.service"
    unit.write_text(image.at((DEPLOY / unit.name).read_text()))

    told = subprocess.run(
        [program, "verify", str(unit)], capture_output=True, text=True, check=False
    )

    assert (told.returncode, told.stderr) == (0, "")
