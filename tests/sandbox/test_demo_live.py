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
    said = tmp_path / "said"
    with said.open("wb") as file:
        # As the demo does it: the command ends when this pipe closes.
        pipes = {"stdin": subprocess.PIPE, "stdout": file, "stderr": file}
        status = subprocess.call(command, cwd=tmp_path, env=places, **pipes)

    # There is nothing to be found; 2 would say that something given makes no sense.
    assert status == 1, said.read_text()
