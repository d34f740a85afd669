from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from scrapy import Request
from scrapy.http import Response
from scrapy.utils.test import get_crawler

from battles.arguments import ArgumentError
from battles.items import Battle, Unreadable
from battles.spiders.rooms import RoomsSpider
from extensions.lease import Lease
from extensions.queue import Bury, Leased, Return
from extensions.request_fields import decode, encode

SERVER = "wss://server.example/showdown/websocket"
CLIENT = "https://client.example"
REPLAYS = "https://replay.example"
NOW = 1_790_000_000
BROKEN = b"<!DOCTYPE html>Just a moment"
RUNNING = b"|player|p1|A|1|\n|player|p2|B|1|\n|tier|[Gen 9] OU\n|turn|1"
ENDED = RUNNING + b"\n|win|A"


@pytest.fixture(autouse=True)
def now(monkeypatch) -> SimpleNamespace:
    """The time, which the test sets."""
    time = SimpleNamespace(now=NOW)
    monkeypatch.setattr("battles.spiders.rooms.time", SimpleNamespace(time=lambda: float(time.now)))
    return time


@pytest.fixture
def spider_of():
    """Build the spider of a crawl with the given arguments."""

    def build(settings: dict | None = None, **arguments: str) -> RoomsSpider:
        places = {
            "SHOWDOWN_SERVER_URL": SERVER,
            "SHOWDOWN_CLIENT_URL": CLIENT,
            "SHOWDOWN_REPLAY_URL": REPLAYS,
            "RETRY_TIMES": 2,
        }
        crawler = get_crawler(RoomsSpider, {**places, **(settings or {})})
        # In a crawl, the spider comes before its settings are settled.
        crawler.settings.frozen = False
        crawler.spider = RoomsSpider.from_crawler(crawler, **arguments)
        crawler.settings.freeze()
        return crawler.spider

    return build


@pytest.fixture
def spider(spider_of) -> RoomsSpider:
    return spider_of()


def started(spider: RoomsSpider) -> Request:
    async def collect() -> list[Request]:
        return [request async for request in spider.start()]

    [request] = asyncio.run(collect())
    return request


def called(request: Request, body: bytes, status: int = 200) -> list:
    """Return what the callback of a request yields for a reply."""
    response = Response(request.url, status=status, body=body, request=request)
    return list(request.callback(response, **request.cb_kwargs))


def listed(*battles: str, total: int | None = None, **facts: object) -> bytes:
    """Write what a list of these battles is."""
    return json.dumps({"rooms": dict.fromkeys(battles), "total": total, **facts}).encode()


def room(spider: RoomsSpider) -> Request:
    """Return the request for the room of a battle that is on the list."""
    return called(started(spider), listed("gen9ou-9"))[0]


def leased(request: Request, tries: int = 0) -> Lease:
    """Have a request been handed out by the queue, for the so many-th time."""
    lease = Lease(Leased(1, "1-0", {}))
    request.meta.update({"queue_lease": lease, "retry_times": tries})
    return lease


def stat(spider: RoomsSpider, name: str) -> int | None:
    return spider.crawler.stats.get_value(f"rooms/{name}")


# --- Arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"formats": ""}, "formats='': give one or more names, as in formats=a,b"),
        ({"formats": "gen9ou,,gen1ou"}, "formats='gen9ou,,gen1ou': give one or more names"),
        ({"min_elo": "high"}, "min_elo='high': give a whole number above zero"),
        ({"min_elo": "0"}, "min_elo='0': give a whole number above zero"),
        ({"minutes": "-1"}, "minutes='-1': give a whole number above zero"),
        ({"minutes": "1.5"}, "minutes='1.5': give a whole number above zero"),
        ({"via": "smoke"}, "via='smoke': give socket or browser"),
        ({"via": ""}, "via='': give socket or browser"),
        ({"format": "gen9ou"}, "unknown argument 'format': did you mean 'formats'"),
        ({"name": "replays"}, "unknown argument 'name'"),
        ({"xyz": "1"}, "unknown argument 'xyz': there are formats, min_elo, minutes, via"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_an_argument_that_makes_no_sense_is_refused_in_one_line(spider_of, arguments, message):
    with pytest.raises(ArgumentError) as refused:
        spider_of(**arguments)

    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_the_job_that_scrapyd_gives_is_no_argument(spider_of):
    assert spider_of(_job="6487ec79").name == "rooms"


@pytest.mark.parametrize(
    ("arguments", "query", "watcher"),
    [
        ({}, "list=&formats=&min_elo=", "rooms/*/*"),
        (
            {"formats": "[Gen 9] OU,gen1ou"},
            "list=&formats=gen9ou%2Cgen1ou&min_elo=",
            "rooms/gen9ou,gen1ou/*",
        ),
        ({"min_elo": "1500"}, "list=&formats=&min_elo=1500", "rooms/*/1500"),
        (
            {"formats": "gen9ou", "min_elo": "1500"},
            "list=&formats=gen9ou&min_elo=1500",
            "rooms/gen9ou/1500",
        ),
    ],
    ids=["all", "formats", "rated", "both"],
)
def test_the_first_request_is_for_the_list_that_the_arguments_ask_for(
    spider_of, arguments, query, watcher
):
    request = started(spider_of(**arguments))

    assert request.url == f"{SERVER}?{query}"
    assert request.meta["watcher"] == watcher
    assert request.dont_filter


def test_the_list_goes_before_the_rooms(spider):
    assert started(spider).priority > room(spider).priority == 0


# --- The list -------------------------------------------------------------------------------------


def test_every_battle_on_the_list_is_looked_into(spider):
    *rooms, _again = called(started(spider), listed("gen9ou-9", "gen1ou-8"))

    assert [request.url for request in rooms] == [
        f"{SERVER}?room=battle-gen9ou-9",
        f"{SERVER}?room=battle-gen1ou-8",
    ]
    assert {request.cb_kwargs["since"] for request in rooms} == {NOW}
    assert not any(request.dont_filter or request.meta for request in rooms)


def test_what_is_no_public_battle_is_not_asked_for(spider):
    requests = called(started(spider), listed("gen9ou-9-abcdefpw", "../x", "lobby"))

    assert [request.meta.get("watcher") for request in requests] == ["rooms/*/*"]


def test_the_list_is_looked_at_again_after_a_while(spider_of):
    first = started(spider_of({"ROOMS_INTERVAL": 7.5}))
    leased(first, tries=1)

    [again] = called(first, listed())

    assert again.url == first.url
    assert again.meta == {"watcher": "rooms/*/*", "delay": 7.5}
    assert again.dont_filter
    assert again.priority == first.priority


@pytest.mark.parametrize(("seconds", "is_over"), [(119, False), (120, True)])
def test_after_the_minutes_nobody_looks_for_new_battles(spider_of, now, seconds, is_over):
    first = started(spider_of(minutes="2"))
    lease = leased(first)
    now.now += seconds

    requests = called(first, listed("gen9ou-9"))

    assert len(requests) == (1 if is_over else 2)
    assert lease.is_over is is_over


def test_the_minutes_are_counted_from_the_first_look(spider_of, now):
    first = started(spider_of(minutes="2"))
    now.now += 60
    [second] = called(first, listed())
    now.now += 60

    assert called(second, listed()) == []


@pytest.mark.parametrize(
    "body",
    [BROKEN, b"", b"[]", b"null", b"1", b"{}", b'{"rooms":{}}', b'{"total":3}'],
    ids=["HTML", "nothing", "a list", "null", "a number", "an object", "no total", "no rooms"],
)
def test_a_bad_list_is_asked_for_again(spider, body):
    first = started(spider)
    leased(first)

    [again] = called(first, body)

    assert (again.url, again.meta["retry_times"]) == (first.url, 1)
    assert again.meta["watcher"] == "rooms/*/*"
    assert stat(spider, "looks") is None


def test_a_list_that_stays_bad_does_not_end_the_watch(spider):
    first = started(spider)
    lease = leased(first, tries=2)
    lease.request = first
    lease.leased.fields[b"watcher"] = b"rooms/*/*"

    assert called(first, BROKEN) == []
    assert lease.failure.reason.startswith("bad list: ")
    assert isinstance(lease.operation(), Return)


def test_a_list_says_how_well_it_went(spider):
    called(started(spider), listed("gen9ou-9", "gen1ou-8", total=5, questions=4))

    assert [stat(spider, name) for name in ("looks", "live", "questions", "missing", "cut")] == [
        *(1, 2, 4, 3),
        None,
    ]


@pytest.mark.parametrize(("total", "missing"), [(0, 0), (1, 0), (None, None)])
def test_battles_that_ended_meanwhile_are_not_missing(spider, total, missing):
    called(started(spider), listed("gen9ou-9", total=total))

    assert stat(spider, "missing") == missing


def test_a_list_that_cannot_be_had_whole_is_told(spider, caplog):
    called(started(spider), listed("gen9ou-9", is_cut=True))

    assert stat(spider, "cut") == 1
    assert "The server has more battles than it lists" in caplog.text


# --- Rooms ----------------------------------------------------------------------------------------


def test_a_battle_that_has_ended_is_kept(spider):
    [battle] = called(room(spider), ENDED)

    assert isinstance(battle, Battle)
    assert (battle.id, battle.asked, battle.source) == ("gen9ou-9", "gen9ou-9", "room")
    assert (battle.winner, battle.fetched_at) == ("A", NOW)


def test_a_battle_that_goes_on_is_looked_at_again(spider_of, now):
    spider = spider_of({"ROOMS_AGAIN": 42.0})
    request = room(spider)
    leased(request, tries=1)
    now.now += 100

    [again] = called(request, RUNNING)

    assert again.url == request.url
    assert (again.meta["look_times"], again.meta["delay"]) == (1, 42.0)
    assert "retry_times" not in again.meta
    assert again.cb_kwargs == {"since": NOW}
    assert stat(spider, "not_ended_yet") == 1


def test_a_battle_that_does_not_end_is_given_up(spider_of, now):
    spider = spider_of({"ROOMS_GIVE_UP": 600.0})
    request = room(spider)
    now.now += 599
    [request] = called(request, RUNNING)
    now.now += 1

    [battle] = called(request, RUNNING)

    assert (battle.id, battle.ended) == ("gen9ou-9", None)
    assert stat(spider, "abandoned") == 1


def test_a_hidden_room_is_left_alone(spider):
    assert called(room(spider), ENDED, status=403) == []
    assert stat(spider, "hidden") == 1


def test_for_a_room_that_is_gone_the_replay_site_is_asked(spider):
    [request] = called(room(spider), b"", status=404)

    assert request.url == f"{REPLAYS}/gen9ou-9.json"
    assert request.callback == spider.parse_replay
    assert stat(spider, "gone") == 1


def test_what_is_no_room_is_passed_over(spider):
    request = Request(f"{SERVER}?room=lobby", spider.parse_room)

    assert called(request, ENDED) == []


@pytest.mark.parametrize("kind", ["list", "room", "replay"])
def test_a_request_outlives_its_worker(spider, kind):
    made = {
        "list": lambda: started(spider),
        "room": lambda: room(spider),
        "replay": lambda: called(room(spider), b"", status=404)[0],
    }
    request = made[kind]()

    fields = {name.encode(): value.encode() for name, value in encode(request, spider).items()}
    read = decode(fields, spider)

    assert (read.url, read.callback, read.cb_kwargs) == (
        request.url,
        request.callback,
        request.cb_kwargs,
    )


# --- Replays --------------------------------------------------------------------------------------


@pytest.fixture
def replay(spider) -> Request:
    return called(room(spider), b"", status=404)[0]


def test_a_replay_that_somebody_saved_is_kept(replay, recorded):
    url = f"{REPLAYS}/{recorded[0].id}.json"

    [battle] = called(replay.replace(url=url), recorded[0].json())

    assert (battle.id, battle.source) == (recorded[0].id, "replay")


@pytest.mark.parametrize("status", [403, 404])
def test_a_battle_that_nobody_saved_is_lost(spider, replay, status):
    assert called(replay, b"", status=status) == []
    assert stat(spider, "lost") == 1


def test_a_replay_that_is_refused_becomes_a_dead_letter(replay):
    lease = leased(replay)

    assert called(replay, b']{"actionerror":"no"}') == []
    assert lease.failure.reason == "refused: no"
    assert isinstance(lease.operation(), Bury)


def test_a_replay_that_cannot_be_read_is_asked_for_again_until_it_is_given_up(replay):
    leased(replay)
    [again] = called(replay, BROKEN)
    leased(again, tries=2)

    [item] = called(again, BROKEN)

    assert again.url == replay.url
    assert isinstance(item, Unreadable)
    assert (item.asked, item.url) == ("gen9ou-9", replay.url)


# --- Another way ----------------------------------------------------------------------------------


def test_for_a_room_that_cannot_be_had_the_replay_site_is_asked(spider):
    instead = spider.fallback(room(spider), "TimeoutError")

    assert instead.url == f"{REPLAYS}/gen9ou-9.json"


def test_for_a_replay_or_a_list_there_is_no_other_way(spider, replay):
    assert spider.fallback(replay, "HTTP 500") is None
    assert spider.fallback(started(spider), "HTTP 500") is None


# --- The browser ----------------------------------------------------------------------------------


def handlers(spider: RoomsSpider) -> dict[str, str]:
    return spider.crawler.settings.getdict("DOWNLOAD_HANDLERS")


def test_the_queue_holds_the_same_requests_whichever_way_they_are_answered(spider_of):
    first = [started(spider_of(via=via)).url for via in ("socket", "browser")]
    rooms = [
        called(started(spider_of(via=via)), listed("gen9ou-9"))[0].url
        for via in ("socket", "browser")
    ]

    assert len({*first}) == len({*rooms}) == 1


@pytest.mark.parametrize(
    ("via", "handler"),
    [("browser", "battles.browser.BrowserDownloadHandler"), ("socket", "any.Handler")],
)
def test_the_browser_takes_the_place_of_the_handler_when_asked_for(spider_of, via, handler):
    spider = spider_of({"DOWNLOAD_HANDLERS": {"wss": "any.Handler", "https": "h.H"}}, via=via)

    assert handlers(spider)["wss"] == handler
    assert handlers(spider)["https"] == "h.H"


def test_the_list_and_a_visit_without_a_page_have_room_beside_the_pages(spider_of):
    settings = spider_of({"BROWSER_PAGES": 5}, via="browser").crawler.settings

    # A visit without a page makes way soon, so that the list never waits behind one.
    assert settings.getint("CONCURRENT_REQUESTS") == 6
    assert settings.getint("CONCURRENT_REQUESTS_PER_DOMAIN") == 6


def test_a_browser_that_is_not_installed_is_said_so(monkeypatch):
    monkeypatch.setattr("battles.spiders.rooms.find_spec", lambda _name: None)

    with pytest.raises(ArgumentError, match=r"pip install 'battles\[browser\]'"):
        RoomsSpider(via="browser")
