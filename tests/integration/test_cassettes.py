"""Recorded replies through the whole Scrapy stack: handler, middlewares, spider, pipelines."""

from __future__ import annotations

import json

from battles.index import Query
from tests.cassette_handler import CASSETTES
from tests.integration.fleet import public_ids

HANDLERS = json.dumps({"http": "tests.cassette_handler.CassetteHandler"})


def test_what_was_recorded_is_archived_as_it_was(fleet_of):
    fleet = fleet_of("--battles", "60", DOWNLOAD_HANDLERS=HANDLERS, CASSETTE="replays")

    fleet.crawl()

    battles = list(fleet.corpus().everything(Query()))
    assert sorted(battle.id for battle in battles) == sorted(public_ids(battles=60))
    assert len({battle.formatid for battle in battles}) >= 8
    assert fleet.site.fetched() == [], f"the site was asked: {CASSETTES} was recorded just now"
