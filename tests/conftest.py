"""What several test modules share: a real Redis, a clock that moves on demand, recorded battles."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from redis import Redis

from extensions.embedded import EmbeddedRedis
from extensions.server_program import EmbeddedRedisError
from sandbox.battle_server import BattleServer, BattleServerError, find_program, install
from sandbox.site import ReplaySite
from tests.own_redis import OwnRedis
from tests.redis_keys import orphans

ROOT = Path(__file__).parent.parent
DATABASE = 15
TIERS = ("pure", "services", "integration")
SERVERS = ("redis_url", "own_redis", "s3_settings")
"""Fixtures behind which a server of another's making runs."""
SLOW_SERVERS = ("battle_server_package", "chromium")
PATIENCE = 420
"""Seconds for a test of real processes, and for any on CI, where hypothesis tries more; the others
have pytest's `timeout`."""

_SHORT = 8
"""Characters of a temporary folder; below a longer one, the paths of sockets get too long."""

if len(tempfile.gettempdir()) > _SHORT:
    os.environ["TMPDIR"] = tempfile.tempdir = "/tmp"  # noqa: S108

settings.register_profile("laptop", deadline=None, print_blob=True)
settings.register_profile("ci", max_examples=400, deadline=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "laptop")


def examples(count: int) -> int:
    """Return how many examples to try where 100, the usual, would take too long or prove little."""
    return max(1, settings().max_examples * count // 100)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put each test in its tier, unless it says itself which one is its own."""
    for item in items:
        tier = next((tier for tier in TIERS if item.get_closest_marker(tier)), None) or _tier(item)
        item.add_marker(tier)
        is_long = tier == "integration" or "CI" in os.environ
        if is_long and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(PATIENCE))


def _tier(item: pytest.Item) -> str:
    fixtures = getattr(item, "fixturenames", ())
    is_slow = any(name in fixtures for name in SLOW_SERVERS)
    if is_slow or ROOT / "tests" / "integration" in item.path.parents:
        return "integration"
    return "services" if any(name in fixtures for name in SERVERS) else "pure"


class Clock:
    """A clock that the test moves."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory):
    """A Redis server of the test run's own, or the one that `TEST_REDIS_URL` names."""
    if given := os.environ.get("TEST_REDIS_URL"):
        yield f"{given}?db={DATABASE}"
        return
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
    try:
        url = server.start()
    except EmbeddedRedisError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    yield f"{url}?db={DATABASE}"
    server.release()


@pytest.fixture
def redis(redis_url: str):
    """The server's test database, empty before and after; at the end all keys are known."""
    client = Redis.from_url(redis_url)
    client.flushdb()
    yield client
    left = orphans(client)
    client.flushdb()
    client.close()
    assert left == {}


@pytest.fixture
def own_redis(tmp_path: Path):
    """A Redis server that the test may break."""
    server = OwnRedis(tmp_path)
    try:
        server.start()
    except EmbeddedRedisError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    yield server
    server.release()


@pytest.fixture(scope="session")
def recorded() -> list[dict]:
    """Every battle that the sandbox ships."""
    site = ReplaySite.recorded()
    return [site.replay(id) for id in sorted(site.public_ids)]


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


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path; without one, skip here and fail on CI."""
    if path := shutil.which("chromium"):
        return path
    if os.environ.get("CI"):
        pytest.fail("there is no chromium on PATH")
    pytest.skip("there is no chromium on PATH")


@pytest.fixture
def own_battle_server(battle_server_package):
    """A battle server of the test's own, which does not run yet."""
    assert battle_server_package.is_dir()
    server = BattleServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def battle_server(battle_server_package):
    """A battle server that all tests share, by the address of its websocket."""
    assert battle_server_package.is_dir()
    server = BattleServer()
    yield server.start()
    server.stop()
