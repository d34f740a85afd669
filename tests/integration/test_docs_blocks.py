"""Every shell block of the README and the docs that can be run, pasted into a shell."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.integration.fleet import PATIENCE, ROOT, running_site
from tests.pages import PAGES

_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "_build")
_MADE = {"data", "demo", "demo-live", "dist", "build"}
"""What commands leave in the project's folder."""
_PAGES = [page for page in PAGES if page.shell]


@pytest.fixture
def clone(tmp_path):
    """A copy of the project, set up, with the commands it keeps for itself."""
    folder = tmp_path / "battles"
    shutil.copytree(ROOT, folder, ignore=_left_out, symlinks=True)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    for lock in (folder / "requirements").glob("*.lock"):
        os.utime(lock, (0, 0))  # or make would install into the environment that runs this test
    return folder


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_can_be_pasted(page, clone, tmp_path):
    with running_site(tmp_path) as site:
        environment = {
            **os.environ,
            "SHOWDOWN_REPLAY_URL": site.address,
            "THROTTLE_RATE": "0",
            "HOME": str(tmp_path),
        }
        if "make demo" not in page.text:
            _crawl(clone, environment)
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", "\n".join(page.shell)],
            cwd=clone,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def _left_out(path, names):
    made = _MADE if path == str(ROOT) else set()
    return {*_LEFT_OUT(path, names), *made}


def _crawl(folder, environment):
    """Have something in the archive for the page to speak of."""
    words = ["scrapy", "crawl", "replays", "-a", "formats=gen9ou", "-L", "WARNING"]
    subprocess.run(
        [folder / ".venv" / "bin" / words[0], *words[1:]],
        cwd=folder,
        env={**environment, "CONTACT": "you@example.org"},
        timeout=PATIENCE,
        check=True,
    )
