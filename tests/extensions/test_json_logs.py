from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
from scrapy import Spider
from scrapy.exceptions import NotConfigured
from scrapy.utils.test import get_crawler

from extensions.json_logs import JsonLogs


@pytest.fixture
def output(monkeypatch) -> io.StringIO:
    """What the only log handler writes."""
    output = io.StringIO()
    monkeypatch.setattr(logging.root, "handlers", [logging.StreamHandler(output)])
    return output


@pytest.fixture
def _installed(output) -> None:  # noqa: ARG001 -- has to be there first
    JsonLogs.from_crawler(get_crawler(settings_dict={"LOG_JSON": True}))


def logged(output: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


@pytest.mark.usefixtures("_installed")
def test_a_record_is_one_object(output):
    logging.getLogger("battles.spool").warning("%d bytes cut", 9)

    [record] = logged(output)
    assert record.pop("time")
    assert record == {"level": "WARNING", "logger": "battles.spool", "message": "9 bytes cut"}


@pytest.mark.usefixtures("_installed")
def test_a_record_of_several_lines_is_one_line(output):
    logging.getLogger("test").warning("first\nsecond ☃")

    [record] = logged(output)
    assert record["message"] == "first\nsecond ☃"


@pytest.mark.usefixtures("_installed")
def test_a_traceback_is_in_the_object(output):
    try:
        Path("/nowhere/at/all").read_bytes()
    except OSError:
        logging.getLogger("test").exception("cannot read")

    [record] = logged(output)
    assert record["exc_info"].endswith("No such file or directory: '/nowhere/at/all'")


@pytest.mark.usefixtures("_installed")
def test_what_scrapy_attaches_is_left_out_and_the_rest_stays(output):
    extra = {"spider": Spider("test"), "crawler": object(), "host": "example.com"}
    logging.getLogger("test").warning("refused", extra=extra)

    [record] = logged(output)
    assert set(record) == {"time", "level", "logger", "message", "host"}


def test_logs_stay_text_unless_asked_for(output):
    with pytest.raises(NotConfigured):
        JsonLogs.from_crawler(get_crawler())

    logging.getLogger("test").warning("text")
    assert output.getvalue() == "text\n"
