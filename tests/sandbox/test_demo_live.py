"""What the live demo sets is what its commands take; the demo itself runs for two minutes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sandbox import demo_live

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("site", [demo_live._NOBODY, "http://127.0.0.1:8000"])
@pytest.mark.usefixtures("redis_url")
def test_its_commands_take_its_settings(tmp_path, site):
    shutil.copy(ROOT / "scrapy.cfg", tmp_path)
    command = demo_live._scrapy("search")
    places = demo_live._environment(demo_live._NO_SERVER, site) | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=places, capture_output=True, text=True, check=False
    )

    # There is nothing to be found; 2 would say that something given makes no sense.
    assert done.returncode == 1, done.stderr
