"""A Redis cluster of three nodes on this machine, each with a third of the slots."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from extensions.server_program import find_server

SLOTS = 16_384
NODES = 3
_HIGHEST_PORT = 55_000
"""A node's bus listens 10,000 above its port."""


def programs() -> dict[str, str]:
    """Return the servers to try by name: the one that we ship, and those of the machine."""
    found = {"ours": find_server()}
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            found[name] = path
    return found


class Cluster:
    """Three processes; each can be killed and come back with its data."""

    def __init__(self, folder: Path, program: str) -> None:
        self._folder = folder
        self._program = program
        self.ports: list[int] = []
        self.nodes: list[subprocess.Popen] = []

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.ports[0]}"

    def start(self) -> None:
        self.ports = [_free_port() for _ in range(NODES)]
        self.nodes = [self._run(position) for position in range(NODES)]
        clients = [Redis(port=port) for port in self.ports]
        share = SLOTS // NODES + 1
        for position, client in enumerate(clients):
            _until(client.ping)
            last = min(SLOTS, (position + 1) * share) - 1
            client.execute_command("CLUSTER ADDSLOTSRANGE", position * share, last)
        for port in self.ports[1:]:
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", port)
        self.until_whole()

    def until_whole(self) -> None:
        """Wait until every node sees all of them."""
        for port in self.ports:
            client = Redis(port=port)
            _until(lambda client=client: client.cluster("INFO").get("cluster_state") == "ok")

    def restart(self, position: int) -> None:
        """Kill a node without warning, and start it again over its data."""
        self.nodes[position].kill()
        self.nodes[position].wait()
        self.nodes[position] = self._run(position)
        self.until_whole()

    def restart_all(self) -> None:
        """Start all nodes again over their data."""
        self.nodes = [self._run(position) for position in range(NODES)]
        self.until_whole()

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()
            node.wait()

    def _run(self, position: int) -> subprocess.Popen:
        folder = self._folder / f"node-{position}"
        folder.mkdir(parents=True, exist_ok=True)
        words = ["--port", str(self.ports[position]), "--bind", "127.0.0.1", "--dir", str(folder)]
        words += ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]
        words += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
        with (folder / "log").open("ab") as log:
            return subprocess.Popen([self._program, *words], stdout=log, stderr=log)


@contextmanager
def running_cluster(folder: Path, program: str):
    cluster = Cluster(folder, program)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _free_port() -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port < _HIGHEST_PORT:
            return port


def _until(condition) -> None:
    for _ in range(600):
        try:
            if condition():
                return
        except RedisError:
            pass
        time.sleep(0.05)
    raise AssertionError("the cluster did not come up")
