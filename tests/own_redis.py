"""A Redis of one test's own, which it may break: options, users, disk and data are its alone."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from extensions.server_program import find_server


class OwnRedis:
    """A server on a socket in a folder; stands in for an `EmbeddedRedis` in a fleet."""

    def __init__(self, folder: Path, **options: str) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._options = options
        self._server: subprocess.Popen | None = None
        self.url = f"unix://{folder / 'redis.sock'}"

    def start(self) -> str:
        """Start the server unless it runs, and return its URL."""
        if self._server is None:
            self._data.mkdir(parents=True, exist_ok=True)
            self._launch()
        return self.url

    def client(self) -> Redis:
        return Redis.from_url(self.url)

    def break_disk(self) -> None:
        """Have the server take no more writes, since it cannot save its data."""
        self._data.rmdir()
        client = self.client()
        client.config_set("save", "3600 1000000")
        client.bgsave()
        while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
            time.sleep(0.01)

    def mend_disk(self) -> None:
        self._data.mkdir()
        client = self.client()
        client.config_set("dir", str(self._data))
        client.bgsave()
        while client.info("persistence")["rdb_last_bgsave_status"] != "ok":
            time.sleep(0.01)

    def release(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.wait()

    def _launch(self) -> None:
        options = {"port": "0", "unixsocket": str(self._folder / "redis.sock"), "save": ""}
        options |= {"dir": str(self._data), "enable-protected-configs": "yes"}
        # A value of several words is several words.
        given = (options | self._options).items()
        words = [word for name, value in given for word in (f"--{name}", *(value.split() or [""]))]
        with (self._folder / "server.log").open("wb") as log:
            self._server = subprocess.Popen([find_server(), *words], stdout=log, stderr=log)
        while not self._answers():
            assert self._server.poll() is None, (self._folder / "server.log").read_text()
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except RedisError:
            return False
