from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest
from scrapy import Request
from scrapy.http import Response
from scrapy.utils.test import get_crawler

from battles.items import Covered
from battles.sweep import SweepMiddleware
from extensions.storage import StorageError

HOST = "https://example.com"


def request_to_check(battle_id: str) -> Request:
    return Request(f"{HOST}/{battle_id}.json")


@pytest.fixture
def middleware(places):
    crawler = get_crawler(settings_dict=places)
    crawler.spider = SimpleNamespace(request_to_check=request_to_check)
    return SweepMiddleware.from_crawler(crawler)


def checked(middleware, *outputs, url: str = HOST) -> set[str]:
    """Return the ids of the battles that are looked at."""

    async def yielded():
        for output in outputs:
            yield output

    async def collect() -> list:
        response = Response(f"{url}/search.json")
        return [output async for output in middleware.process_spider_output(response, yielded())]

    return {output.url.rpartition("/")[2] for output in asyncio.run(collect())}


def names(battles) -> set[str]:
    return {f"{battle.id}.json" for battle in battles}


@pytest.fixture
def kept(archive, battles):
    """Three battles of a format, a minute apart, the newest last."""
    [first, *_] = battles
    kept = [replace(first, id=f"gen1ou-{n}", uploaded=1000 + 60 * n) for n in range(3)]
    archive.keep(kept)
    return kept


def covered(kept, listed, **changes) -> Covered:
    ids = frozenset(battle.id for battle in listed)
    page = Covered(kept[0].formatid, None, 1, 0, 0, 10_000, ids)
    return replace(page, **changes)


def test_what_is_archived_and_not_listed_is_looked_at(middleware, kept):
    assert checked(middleware, covered(kept, kept[:1])) == names(kept[1:])


def test_of_a_player_only_what_fits_is_looked_at(middleware, archive, battles):
    [first, *_] = battles
    kept = [
        replace(first, id=f"{name}-1", formatid=name, uploaded=1000)
        for name in ("gen1ou", "gen2ou")
    ]
    archive.keep(kept)
    player = first.players[0].name

    assert checked(middleware, covered(kept, [], format="gen1ou", user=player)) == names(kept[:1])


def test_a_store_that_is_away_is_left_to_the_next_sweep(middleware, kept, monkeypatch, caplog):
    def away(_rows):
        raise StorageError("the bucket is away")

    monkeypatch.setattr(middleware._corpus, "read", away)

    assert checked(middleware, covered(kept, [])) == set()
    assert "looked for in the next sweep: the bucket is away" in caplog.text


def test_what_is_listed_is_left_alone(middleware, kept):
    assert checked(middleware, covered(kept, kept)) == set()


@pytest.mark.parametrize(
    ("changes", "looked_at"),
    [
        ({"since": 1060}, [1, 2]),
        ({"since": 1061}, [2]),
        ({"until": 1060}, [0]),
        ({"until": 1061}, [0, 1]),
    ],
)
def test_what_the_page_does_not_cover_is_left_alone(middleware, kept, changes, looked_at):
    found = checked(middleware, covered(kept, [], **changes))

    assert found == names(kept[n] for n in looked_at)


def test_another_format_is_left_alone_and_all_formats_are_not(middleware, kept):
    assert checked(middleware, covered(kept, [], format="gen9ou")) == set()
    assert checked(middleware, covered(kept, [], format=None)) == names(kept)


def test_the_battles_of_a_player_are_looked_at(middleware, kept):
    name = kept[0].players[0].name

    assert checked(middleware, covered(kept, [], format=None, user=name)) == names(kept)
    assert checked(middleware, covered(kept, [], format=None, user="nobody")) == set()


def test_a_live_battle_that_nobody_saved_was_never_listed(middleware, archive, kept):
    archive.keep([replace(battle, source="room", fetched_at=2_000_000_000) for battle in kept])

    assert checked(middleware, covered(kept, [])) == set()


def test_the_replays_of_another_site_are_not_asked_of_this_one(middleware, kept):
    assert checked(middleware, covered(kept, []), url="https://other.example") == set()


def test_each_sweep_looks_at_what_is_archived_by_then(middleware, archive, kept):
    checked(middleware, covered(kept, []))
    later = replace(kept[0], id="gen1ou-9")
    archive.keep([later])

    found = checked(middleware, covered(kept, kept, sweep=2))

    assert found == names([later])


def test_what_is_older_than_a_sweep_is_not_even_looked_up(middleware, kept, monkeypatch):
    looked_up = []
    times = middleware._corpus.index.times
    monkeypatch.setattr(
        middleware._corpus.index, "times", lambda query: looked_up.extend(times(query)) or looked_up
    )

    checked(middleware, covered(kept, [], oldest=1060))

    assert [time for time, _ in looked_up] == [1060, 1120]


def test_all_else_goes_on(middleware):
    assert checked(middleware, Request(f"{HOST}/other.json")) == {"other.json"}
