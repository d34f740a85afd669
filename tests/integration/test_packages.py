"""What we ship is installed from nothing and used: locks and wheel, on each Python there is."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from tests.integration.environments import Environment, locked, normal, pythons, run
from tests.integration.fleet import FAST, ROOT, public_ids, running_site

BATTLES = 60
LOCKS = sorted(path.stem for path in (ROOT / "requirements").glob("*.lock"))
TOMORROWS = ("attrs", "coverage")
"""Packages of which there are newer releases; of the second another one wants an extra."""
NOT_OURS = {"battles", "pip", "setuptools", "wheel"}
"""What is not of the lock: the project, and what a new virtual environment may hold already."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel that `WHEEL` names, or one built from a copy of what git tracks."""
    if given := os.environ.get("WHEEL"):
        return Path(given)
    folder = tmp_path_factory.mktemp("wheel")
    for name in run(["git", "ls-files"]).splitlines():
        if (ROOT / name).is_file():
            (folder / "project" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / "project" / name)
    words = ["--no-isolation", "--wheel", "--outdir", folder]
    run([sys.executable, "-m", "build", *words, folder / "project"])
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def newer(tmp_path_factory) -> str:
    """Where pip finds releases from tomorrow of packages that are locked, beside the usual."""
    folder = tmp_path_factory.mktemp("newer")
    for name in TOMORROWS:
        about = f"{name}-99.0.0.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0.0\nProvides-Extra: toml\n"
        with zipfile.ZipFile(folder / f"{name}-99.0.0-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{about}/METADATA", metadata)
            archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            archive.writestr(f"{about}/RECORD", "")
    return f"{folder} {os.environ.get('PIP_FIND_LINKS', '')}"


def test_the_wheel_holds_what_runs_inside_redis_and_says_that_it_is_typed(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        entry_points = archive.read(next(n for n in held if n.endswith("entry_points.txt")))

    for package in ("battles", "extensions"):
        ours = [
            path for kind in ("py", "lua", "typed") for path in (ROOT / package).rglob(f"*.{kind}")
        ]
        assert {str(path.relative_to(ROOT)) for path in ours} <= held
    assert b"[scrapy]\nsettings = battles.settings" in entry_points
    assert not {name.partition("/")[0] for name in held} & {"tests", "sandbox", "benchmarks"}


@pytest.mark.parametrize("python", pythons())
def test_the_lock_and_the_wheel_crawl_from_an_empty_folder(python, wheel, newer, tmp_path):
    environment = Environment(tmp_path / "venv", pythons()[python])
    environment.install_lock("main", PIP_FIND_LINKS=newer)
    environment.pip("install", "-q", "--no-deps", "--no-index", str(wheel))
    assert "No broken requirements" in environment.pip("check")
    ours = {pin for pin in environment.installed() if pin[0] not in NOT_OURS}
    assert len(ours) > 40
    assert ours <= locked("main")
    empty = tmp_path / "empty"
    empty.mkdir()

    with running_site(tmp_path, "--battles", str(BATTLES)) as site:
        places = {"SHOWDOWN_REPLAY_URL": site.address, "REDIS_URL": "", "ARCHIVE_URL": "data"}
        places["SCRAPY_SETTINGS_MODULE"] = "battles.settings"
        options = [part for pair in FAST.items() for part in ("-s", "=".join(pair))]
        scrapy = environment.bin / "scrapy"
        run([scrapy, "crawl", "replays", *options], cwd=empty, **places)
        run([scrapy, "export", "--to", "all.jsonl"], cwd=empty, **places)

    lines = (empty / "all.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["id"] for line in lines) == sorted(public_ids(battles=BATTLES))


@pytest.fixture(scope="module", params=["oldest", "newest"])
def pip(request, tmp_path_factory) -> Environment:
    """An environment with the pip that came with its Python, or with the newest."""
    environment = Environment(tmp_path_factory.mktemp(request.param) / "venv")
    if request.param == "newest":
        environment.pip("install", "-q", "--upgrade", "pip")
    return environment


@pytest.mark.parametrize("name", LOCKS)
def test_each_lock_is_taken_as_it_is(name, pip, newer):
    words = ["--dry-run", "--ignore-installed", "--report", "-"]
    report = pip.install_lock(name, *words, PIP_FIND_LINKS=newer)

    taken = {
        (normal(one["metadata"]["name"]), one["metadata"]["version"])
        for one in json.loads(report)["install"]
    }
    assert len(taken) > 10
    assert taken <= locked(name)
