from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import pytest
from scrapy import Spider
from scrapy.exceptions import NotConfigured
from scrapy.utils.test import get_crawler

from extensions.json_logs import JsonLogs


@pytest.fixture
def output(tmp_path, monkeypatch) -> Path:
    """The file that is logged to; nothing else is."""
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    return tmp_path / "log"


@pytest.fixture
def _installed(output):
    """JSON logs as the settings ask for them, undone afterwards: they belong to the process."""
    settings = {"LOG_JSON": True, "LOG_FILE": str(output), "LOG_LEVEL": "INFO"}
    logs = JsonLogs.from_crawler(get_crawler(settings_dict=settings))
    yield
    logs._handler.close()


def logged(output: Path) -> list[dict]:
    return [json.loads(line) for line in output.read_text().splitlines()]


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


@dataclass
class Guarded:
    """What cannot be copied, as a battle whose request is leased."""

    lock: Lock = field(default_factory=Lock)

    def __str__(self) -> str:
        return "guarded"


@pytest.mark.usefixtures("_installed")
def test_an_item_that_cannot_be_copied_costs_no_line(output):
    item = Guarded()
    arguments = {"src": "a page", "item": item}
    extra = {"spider": Spider("test"), "item": item, "place": item}
    logging.getLogger("test").warning("Scraped from %(src)s: %(item)s", arguments, extra=extra)

    [record] = logged(output)
    assert record["message"] == "Scraped from a page: guarded"
    assert record["place"] == "guarded"
    assert "item" not in record


@pytest.mark.usefixtures("_installed")
def test_less_than_the_level_is_not_logged(output):
    logging.getLogger("test").debug("too little")

    assert logged(output) == []


def test_without_a_file_it_goes_to_standard_error(output, capsys):
    JsonLogs.from_crawler(get_crawler(settings_dict={"LOG_JSON": True, "LOG_LEVEL": "INFO"}))

    logging.getLogger("test").info("a line")

    assert json.loads(capsys.readouterr().err)["message"] == "a line"
    assert not output.exists()


def test_logs_stay_text_unless_asked_for(output):
    with pytest.raises(NotConfigured):
        JsonLogs.from_crawler(get_crawler())

    assert not output.exists()
