"""A Redis with a replica, and an address that leads to whichever of the two is the primary."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from redis import Redis

from extensions.server_program import find_server


class ReplicatedRedis:
    """Two servers on loopback; stands in for an `EmbeddedRedis` in a fleet.

    As with a managed Redis, a failover moves the address, and the old primary lives on as a
    replica.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._address = folder / "redis.sock"
        self._servers: list[subprocess.Popen] = []
        self._ports: list[int] = []

    def start(self) -> str:
        if not self._servers:
            for name in ("one", "two"):
                self._launch(name)
            self._point_to("one")
            self._client(1).replicaof("127.0.0.1", self._ports[0])
            while self._client(1).info("replication")["master_link_status"] != "up":
                time.sleep(0.02)
        return f"unix://{self._address}"

    def fail_over(self) -> None:
        """Make the replica the primary, with everything the primary has."""
        self._client(0).execute_command("FAILOVER", "TO", "127.0.0.1", self._ports[1])
        while self._client(1).info("replication")["role"] != "master":
            time.sleep(0.01)
        self._point_to("two")

    def release(self) -> None:
        for server in self._servers:
            server.terminate()
            server.wait()

    def _launch(self, name: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = {"bind": "127.0.0.1", "port": str(port), "save": "", "dir": str(self._folder)}
        options["unixsocket"] = str(self._folder / f"{name}.sock")
        words = [word for option, value in options.items() for word in (f"--{option}", value)]
        log = (self._folder / f"redis-{name}.log").open("wb")
        with log:
            self._servers.append(subprocess.Popen([find_server(), *words], stdout=log, stderr=log))
        self._ports.append(port)
        while not (self._folder / f"{name}.sock").exists():
            time.sleep(0.01)

    def _client(self, n: int) -> Redis:
        return Redis(port=self._ports[n])

    def _point_to(self, name: str) -> None:
        link = self._folder / "next.sock"
        link.symlink_to(self._folder / f"{name}.sock")
        link.replace(self._address)
