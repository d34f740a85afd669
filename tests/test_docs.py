"""README and docs: short where they must be, and without a link that leads nowhere."""

from __future__ import annotations

import re

import pytest

from tests.pages import PAGES, ROOT, Page

README = Page(ROOT / "README.md")


def test_the_readme_is_read_in_two_minutes():
    assert len(README.text.splitlines()) <= 120
    assert README.text.count("![") == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    broken = []
    for link in page.links:
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = Page((page.path.parent / path).resolve()) if path else page
        if not target.path.exists() or (anchor and anchor not in target.anchors):
            broken.append(link)

    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_pages_fetch_nothing_from_elsewhere(page):
    assert not re.search(r"!\[[^\]]*\]\(\w+://", page.text)


def test_the_picture_fetches_nothing():
    picture = (ROOT / "docs" / "picture.svg").read_text(encoding="utf-8")

    assert not re.search(r"url\(\W?https?:|href=", picture)


def test_what_a_page_says_runs_elsewhere_is_there():
    excuses = [reason for page in PAGES for reason in page.excuses]

    named = {name for reason in excuses for name in re.findall(r"test_\w+\.py", reason)}

    assert named
    assert not {name for name in named if not list((ROOT / "tests").rglob(name))}
