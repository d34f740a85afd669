"""The whole project: what it names exists, and what it reads is documented."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import pytest
from scrapy import Request, Spider
from scrapy.crawler import Crawler
from scrapy.downloadermiddlewares.redirect import RedirectMiddleware
from scrapy.http import Response
from scrapy.settings import SETTINGS_PRIORITIES
from scrapy.spiderloader import SpiderLoader
from scrapy.utils.misc import load_object
from scrapy.utils.project import get_project_settings

from battles.arguments import purpose_of
from battles.validation import ROWS
from extensions.keys import lane_of
from extensions.setting_kinds import check_rows, table

ROOT = Path(__file__).parents[1]
PACKAGES = ("battles", "extensions")
COMPONENTS = (
    "SPIDER_MIDDLEWARES",
    "DOWNLOADER_MIDDLEWARES",
    "ITEM_PIPELINES",
    "EXTENSIONS",
    "ADDONS",
)
REFERENCE = ROOT / "docs" / "reference"
SETTINGS_TABLE = (REFERENCE / "settings.md").read_text(encoding="utf-8")
MAP = (REFERENCE / "map.md").read_text(encoding="utf-8")
SCRAPYS_OWN = {
    "CONCURRENT_REQUESTS",
    "DOWNLOADER_MIDDLEWARES",
    "DOWNLOAD_HANDLERS",
    "DOWNLOAD_MAXSIZE",
    "DOWNLOAD_TIMEOUT",
    "DOWNLOAD_VERIFY_CERTIFICATES",
    "RETRY_ENABLED",
    "RETRY_TIMES",
    "RETRY_HTTP_CODES",
    "RETRY_EXCEPTIONS",
    "HTTPERROR_ALLOWED_CODES",
    "HTTPERROR_ALLOW_ALL",
    "LOG_ENABLED",
    "LOG_FILE",
    "LOG_LEVEL",
    "TWISTED_REACTOR",
    "TWISTED_REACTOR_ENABLED",
    "USER_AGENT",
}


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]


def modules() -> list[str]:
    return [
        module.name
        for package in PACKAGES
        for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}.")
    ]


@pytest.mark.parametrize("name", modules())
def test_every_module_says_in_a_sentence_what_it_is_for(name):
    docstring = importlib.import_module(name).__doc__ or ""

    first = docstring.strip().splitlines()[0]

    assert re.fullmatch(r"[A-Z`].{10,98}[.,?:]", first)


@pytest.mark.parametrize("setting", COMPONENTS)
def test_every_component_that_the_settings_name_loads(setting):
    components = get_project_settings().getdict(setting)

    loaded = [load_object(path) for path, order in components.items() if order is not None]

    assert loaded


def classes_named() -> list[tuple[str, str]]:
    """Return every class that a setting of the project names by its path, and the setting."""
    project = vars(importlib.import_module("battles.settings"))
    texts = [
        (setting, text)
        for setting, value in project.items()
        if setting.isupper()
        for text in ([*value, *value.values()] if isinstance(value, dict) else [value])
    ]
    return [(setting, t) for setting, t in texts if re.fullmatch(r"(\w+\.)+[A-Z]\w*", str(t))]


@pytest.mark.parametrize(("setting", "path"), classes_named())
def test_every_class_that_the_settings_name_loads(setting, path):
    assert isinstance(load_object(path), type), setting


def test_the_settings_that_name_classes_are_known():
    assert {setting for setting, _ in classes_named()} == {
        *COMPONENTS,
        *("DOWNLOAD_HANDLERS", "LOG_FORMATTER", "REQUEST_FINGERPRINTER_CLASS", "SCHEDULER"),
        "WEBSOCKET_DIALOGUE",
    }


@pytest.mark.parametrize("setting", [*COMPONENTS, "DOWNLOAD_HANDLERS"])
def test_what_the_settings_switch_off_is_on_otherwise(setting):
    settings = get_project_settings()
    off = {name for name, order in settings.getdict(setting).items() if order is None}

    assert off <= settings.getdict(f"{setting}_BASE").keys()


@pytest.mark.parametrize("name", SpiderLoader(get_project_settings()).list())
def test_every_spider_starts_without_arguments(name):
    spider = SpiderLoader(get_project_settings()).load(name)()

    assert spider.name == name


@pytest.mark.parametrize("name", SpiderLoader(get_project_settings()).list())
def test_every_spider_says_what_it_is_for_and_what_it_takes(name):
    spider = SpiderLoader(get_project_settings()).load(name)

    assert re.fullmatch(r"[A-Z].{10,70}\.", purpose_of(spider))
    assert spider.arguments
    for argument in spider.arguments:
        assert argument.example
        assert argument.meaning
        assert spider(**{argument.name: argument.example}).name == name


def test_every_setting_that_is_read_is_in_the_table():
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources())
    read = set(re.findall(r'settings\.get\w*\(\s*"([A-Z_]+)"', text))
    read |= set(re.findall(r'settings\["([A-Z_]+)"\]', text))

    missing = {name for name in read - SCRAPYS_OWN if f"`{name}`" not in SETTINGS_TABLE}

    assert read
    assert not missing


def test_every_setting_in_the_table_is_read():
    documented = set(re.findall(r"`([A-Z][A-Z_]+)`", SETTINGS_TABLE))
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources())

    assert not {name for name in documented if f'"{name}"' not in text}


def test_the_table_is_that_of_the_checks():
    """Were it not: write `table(ROWS)` into docs/reference/settings.md."""
    assert table(ROWS) in SETTINGS_TABLE


def test_the_table_says_what_is_taken_from_the_environment():
    text = (ROOT / "battles" / "settings.py").read_text(encoding="utf-8")
    read = set(re.findall(r'= _environment\("([A-Z_]+)"', text))

    assert {row.name for row in ROWS if row.is_environment} == read


def test_each_default_in_the_table_is_its_readers():
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources())
    read = re.findall(
        r'settings\.get\w*\(\s*"([A-Z_]+)", (?:default=)?([\d._]+|True|False)\)', text
    )
    rows = {row.name: row.default for row in ROWS}
    project = get_project_settings()

    assert len(read) > 30
    for name, default in read:
        is_set = name in project and project.getpriority(name) == SETTINGS_PRIORITIES["project"]
        if name not in SCRAPYS_OWN and not is_set:
            assert rows[name] == ast.literal_eval(default), name


def test_every_setting_of_the_project_is_right():
    check_rows(get_project_settings(), ROWS)


def test_a_request_that_is_redirected_keeps_its_lane():
    settings = get_project_settings()
    settings.set("REDIRECT_ENABLED", value=True)
    redirect = RedirectMiddleware.from_crawler(Crawler(Spider, settings))
    asked = Request("https://a.example/x")
    moved = Response(asked.url, status=301, headers={"Location": "/y"})

    hop = redirect.process_response(asked, moved)

    assert hop.url == "https://a.example/y"
    assert lane_of(hop.priority) == lane_of(asked.priority)


def test_every_module_is_on_the_map():
    names = {path.name for path in sources() if path.parent.name in PACKAGES}

    missing = {name for name in names if name != "__init__.py" and f"`{name}`" not in MAP}

    assert not missing


def test_no_python_lies_where_scrapyd_would_be_shadowed():
    assert not list((ROOT / "scrapyd").rglob("*.py"))
