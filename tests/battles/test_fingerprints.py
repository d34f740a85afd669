from __future__ import annotations

import pytest
from scrapy import Request
from scrapy.utils.request import RequestFingerprinter
from scrapy.utils.test import get_crawler

from battles.fingerprints import WalkFingerprinter
from battles.paging import Walk

SEARCH = "https://replay.example/search.json?format=gen9ou"


@pytest.fixture
def fingerprint():
    return WalkFingerprinter.from_crawler(get_crawler()).fingerprint


def search(walk: dict | None) -> Request:
    return Request(SEARCH, cb_kwargs={} if walk is None else {"walk": walk})


def test_a_request_without_a_walk_has_scrapys_fingerprint(fingerprint):
    request = search(None)

    assert fingerprint(request) == RequestFingerprinter().fingerprint(request)


def test_the_same_search_for_the_same_walk_is_the_same(fingerprint):
    walk = {"format": "gen9ou", "since": 5}

    prints = {fingerprint(search(walk)), fingerprint(search({"since": 5, "format": "gen9ou"}))}

    assert len(prints) == 1


@pytest.mark.parametrize(
    "walk",
    [{"format": "gen9ou"}, {"format": "gen9ou", "since": 6}, {"format": "gen9ou", "second": 5}],
    ids=["to the end", "less far", "one second"],
)
def test_the_same_search_for_another_walk_is_another(fingerprint, walk):
    assert fingerprint(search(walk)) != fingerprint(search({"format": "gen9ou", "since": 5}))


def test_another_address_is_another_whatever_the_walk(fingerprint):
    walk = {"format": "gen9ou"}
    elsewhere = Request(f"{SEARCH}&before=9", cb_kwargs={"walk": walk})

    assert fingerprint(elsewhere) != fingerprint(search(walk))


def test_a_walk_that_went_through_the_queue_is_the_same(fingerprint):
    walk = Walk(format="gen9ou", crowded=(3, 5), formats=("gen1ou",))
    there = Walk.of(walk.fields())

    assert fingerprint(search(walk.fields())) == fingerprint(search(there.fields()))
