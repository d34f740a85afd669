from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from scrapy import Request
from scrapy.exceptions import IgnoreRequest
from scrapy.http import Response
from scrapy.utils.test import get_crawler

from battles.known import KnownBattlesMiddleware, RedeliveredBattlesMiddleware
from extensions.lease import Lease, NotStoredError
from extensions.queue import Done, Leased
from tests.battles.conftest import FETCHED_AT

SITE = "https://replay.example"


def battle_request(battle_id: str, **meta) -> Request:
    return Request(f"{SITE}/{battle_id}.json", meta=meta)


@pytest.fixture
def middleware(archive, redis_url):
    """The middleware of a crawl; the archive is empty unless the test fills it."""
    assert len(archive.index) == 0
    return KnownBattlesMiddleware.from_crawler(get_crawler(settings_dict={"REDIS_URL": redis_url}))


def passed(middleware: KnownBattlesMiddleware, *outputs: object) -> list:
    """Return what the middleware lets through of what a callback yields."""

    async def yielded():
        for output in outputs:
            yield output

    async def collect() -> list:
        response = Response(SITE)
        return [output async for output in middleware.process_spider_output(response, yielded())]

    return asyncio.run(collect())


def test_battles_in_the_archive_are_not_asked_for(middleware, archive, battles):
    archive.keep(battles[:2])
    wanted = battle_request(battles[2].id)

    output = passed(
        middleware, battle_request(battles[0].id), wanted, battle_request(battles[1].id)
    )

    assert output == [wanted]


def test_rooms_of_battles_in_the_archive_are_not_looked_into(middleware, archive, battles):
    archive.keep(battles[:1])
    url = "wss://server.example/websocket?room=battle-"
    wanted = Request(f"{url}{battles[1].id}")

    assert passed(middleware, Request(f"{url}{battles[0].id}"), wanted) == [wanted]


def test_a_battle_that_is_in_the_archive_without_its_end_is_asked_for(middleware, archive, battles):
    archive.keep([replace(battles[0], ended=None)])
    wanted = battle_request(battles[0].id)

    assert passed(middleware, wanted) == [wanted]


@pytest.mark.parametrize(("asked", "goes_on"), [(2, False), (3, True), (0, False)])
def test_a_page_that_only_news_lead_to_is_read_only_if_there_are_any(
    middleware, archive, battles, asked, goes_on
):
    archive.keep(battles[:2])
    page = Request(f"{SITE}/search.json?before=1", meta={"only_if_new": True})
    another = Request(f"{SITE}/search.json")

    output = passed(middleware, *(battle_request(one.id) for one in battles[:asked]), page, another)

    assert ((page in output), (another in output)) == (goes_on, True)
    assert page.meta == {}


def test_what_was_skipped_is_counted(middleware, archive, battles):
    archive.keep(battles[:2])

    passed(middleware, *(battle_request(battle.id) for battle in battles[:5]))

    assert middleware._stats.get_value("known/skipped") == 2


def test_everything_else_goes_through_in_order(middleware, archive, battles):
    archive.keep(battles[:1])
    search, item = Request(f"{SITE}/search.json?format=gen9ou"), battles[0]

    output = passed(middleware, search, battle_request(battles[0].id), item)

    assert output == [search, item]


@pytest.mark.parametrize("times", ["retry_times", "put_off_times", "look_times"])
def test_a_battle_that_is_asked_for_again_goes_through(middleware, archive, battles, times):
    archive.keep(battles[:1])
    again = battle_request(battles[0].id, **{times: 1})

    output = passed(middleware, again)

    assert output == [again]


def test_an_output_without_battles_asks_the_index_nothing(middleware):
    middleware._index = None

    output = passed(middleware, Request(f"{SITE}/search.json"))

    assert len(output) == 1


def test_nothing_goes_on_when_the_index_cannot_be_asked(middleware, battles):
    def fail(_ids):
        raise RedisConnectionError("gone")

    middleware._index.known = fail
    search = Request(f"{SITE}/search.json")

    middleware._patience.leave()
    with pytest.raises(NotStoredError):
        passed(middleware, search, battle_request(battles[0].id))


def test_a_battle_knows_the_lease_of_its_request(middleware, battles):
    lease = Lease(Leased(2, "1-0", {}))
    request = battle_request(battles[0].id, queue_lease=lease)

    async def collect() -> list:
        response = Response(SITE, request=request)

        async def yielded():
            yield battles[0]

        return [output async for output in middleware.process_spider_output(response, yielded())]

    [battle] = asyncio.run(collect())

    assert battle.lease is lease
    battle.lease = None


# --- What was saved again since ------------------------------------------------------------------


def listed(battle, rating: int | None) -> Request:
    return battle_request(battle.id, listed_rating=rating)


def test_a_battle_that_is_listed_as_it_is_kept_is_not_asked_for(middleware, archive, battles):
    archive.keep(battles[:1])

    assert passed(middleware, listed(battles[0], battles[0].rating)) == []


@pytest.mark.parametrize(("kept", "now"), [(None, 1500), (1500, 1510), (1500, None)])
def test_a_battle_with_another_rating_is_asked_for_whatever_was_seen(
    middleware, archive, battles, kept, now
):
    archive.keep([replace(battles[0], rating=kept)])

    [request] = passed(middleware, listed(battles[0], now))

    assert request.dont_filter
    assert "listed_rating" not in request.meta
    assert middleware._stats.get_value("known/again") == 1


def test_a_rating_beyond_what_rows_hold_is_no_other(middleware, archive, battles):
    archive.keep([replace(battles[0], rating=40_000)])

    assert passed(middleware, listed(battles[0], 40_001)) == []


def test_a_listed_battle_without_its_end_is_asked_for_whatever_was_seen(
    middleware, archive, battles
):
    archive.keep([replace(battles[0], ended=None)])

    [request] = passed(middleware, listed(battles[0], battles[0].rating))

    assert request.dont_filter


def test_a_battle_that_is_new_is_filtered_as_ever(middleware, battles):
    [request] = passed(middleware, listed(battles[0], 1500))

    assert not request.dont_filter


def test_a_withdrawn_battle_that_is_listed_again_is_asked_for(middleware, archive, battles):
    archive.keep(battles[:1])
    archive.index.withdraw({battles[0].id: FETCHED_AT})

    [request] = passed(middleware, listed(battles[0], battles[0].rating))

    assert request.dont_filter


# --- What is delivered again ----------------------------------------------------------------------


@pytest.fixture
def redelivered(redis_url):
    crawler = get_crawler(settings_dict={"REDIS_URL": redis_url})
    return RedeliveredBattlesMiddleware.from_crawler(crawler)


def delivered(battle_id: str, *, deliveries: int = 2, queued_at: int = FETCHED_AT) -> Request:
    lease = Lease(Leased(2, f"{queued_at * 1000}-0", {}, deliveries))
    lease.request = battle_request(battle_id, queue_lease=lease)
    return lease.request


def test_what_a_dead_worker_archived_is_not_fetched_and_counts_as_archived(
    redelivered, archive, battles
):
    archive.keep(battles[:1])
    request = delivered(battles[0].id)

    with pytest.raises(IgnoreRequest):
        asyncio.run(redelivered.process_request(request))

    lease = request.meta["queue_lease"]
    assert lease.operation() == Done(lease.leased, "archived")


@pytest.mark.parametrize(
    "request_of",
    [
        pytest.param(lambda battle_id: delivered(battle_id, deliveries=1), id="delivered once"),
        pytest.param(
            lambda battle_id: delivered(battle_id, queued_at=FETCHED_AT + 1), id="asked for anew"
        ),
        pytest.param(battle_request, id="not from the queue"),
    ],
)
def test_all_else_is_fetched(redelivered, archive, battles, request_of):
    archive.keep(battles[:1])

    assert asyncio.run(redelivered.process_request(request_of(battles[0].id))) is None


def test_what_is_not_archived_is_fetched_however_often_it_is_delivered(redelivered, battles):
    assert asyncio.run(redelivered.process_request(delivered(battles[0].id))) is None


def test_a_battle_without_an_end_is_fetched(redelivered, archive, battles):
    archive.keep([replace(battles[0], ended=None)])

    assert asyncio.run(redelivered.process_request(delivered(battles[0].id))) is None
