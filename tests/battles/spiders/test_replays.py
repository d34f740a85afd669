from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from scrapy import Request
from scrapy.http import Response
from scrapy.utils.test import get_crawler
from twisted.python.failure import Failure

from battles.arguments import ArgumentError
from battles.fingerprints import WalkFingerprinter
from battles.items import Battle, Covered, Gap, Unreadable, Withdrawn
from battles.paging import Walk
from battles.parsers.names import format_of
from battles.spiders.replays import ReplaysSpider
from extensions.queue import Leased
from extensions.request_fields import decode, encode
from extensions.scheduler import Lease
from extensions.seen import Seen
from sandbox.site import Plan, ReplaySite

SITE = "https://replay.example"
NOW = 1_790_000_000
REFUSED = b']{"actionerror":"Sort must be \\"rating\\" or \\"date\\""}'
BROKEN = b"<!DOCTYPE html>Just a moment"


@pytest.fixture
def spider_of():
    """Build the spider of a crawl with the given arguments."""

    def build(settings: dict | None = None, **arguments: str) -> ReplaysSpider:
        settings = {"SHOWDOWN_REPLAY_URL": SITE, "RETRY_TIMES": 2, **(settings or {})}
        crawler = get_crawler(ReplaysSpider, settings)
        crawler.spider = ReplaysSpider.from_crawler(crawler, **arguments)
        return crawler.spider

    return build


def all_started(spider: ReplaysSpider) -> list[Request]:
    async def collect() -> list[Request]:
        return [request async for request in spider.start()]

    return asyncio.run(collect())


def started(spider: ReplaysSpider) -> list[Request]:
    """Return what a spider asks for at once."""
    return [request for request in all_started(spider) if not request.meta.get("delay")]


def sweeps(spider: ReplaysSpider) -> list[Request]:
    """Return what a spider asks for at first, but later."""
    return [request for request in all_started(spider) if request.meta.get("delay")]


def respond(request: Request, body: bytes, status: int = 200) -> Response:
    return Response(request.url, status=status, body=body, request=request)


def yielded(request: Request, body: bytes, status: int = 200) -> list:
    """Return what the callback of a request yields for a reply."""
    return list(request.callback(respond(request, body, status), **request.cb_kwargs))


def called(request: Request, body: bytes, status: int = 200) -> list:
    """Return the same without what a page of a sweep covers, and without gaps."""
    outputs = yielded(request, body, status)
    return [output for output in outputs if not isinstance(output, Covered | Gap)]


def page(*uploaded: int, more: bool = False) -> bytes:
    """Write a search page of battles uploaded at these times, newest first."""
    rows = [{"id": f"gen9ou-{n}", "uploadtime": time} for n, time in enumerate(uploaded, start=1)]
    if more:
        rows += [{"id": f"gen9ou-{n}", "uploadtime": uploaded[-1]} for n in range(100, 151)]
    return json.dumps(rows).encode()


def leased(request: Request, tries: int = 0) -> Lease:
    """Have a request been handed out by the queue, for the so many-th time."""
    lease = Lease(Leased(1, "1-0", {}))
    request.meta.update({"queue_lease": lease, "retry_times": tries})
    return lease


def stat(spider: ReplaysSpider, name: str) -> int:
    return spider.crawler.stats.get_value(name, 0)


# --- Arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"formats": ""}, "formats='': give one or more names, as in formats=a,b"),
        ({"formats": "gen9ou,,gen1ou"}, "formats='gen9ou,,gen1ou': give one or more names"),
        ({"users": "!!!"}, "users='!!!': give one or more names, as in users=a,b"),
        ({"since": "yesterday"}, "since='yesterday' is no date"),
        ({"until": "2026-13-01"}, "until='2026-13-01' is no date"),
        ({"since": "1950-01-01"}, "since='1950-01-01' is before 1970"),
        ({"since": "2026-11-02", "until": "2026-11-02"}, "since is not before until"),
        ({"limit": "0"}, "limit='0': give a whole number above zero"),
        ({"limit": "ten"}, "limit='ten': give a whole number above zero"),
        ({"limit": "1.5"}, "limit='1.5': give a whole number above zero"),
        ({"follow": "maybe"}, "follow='maybe': give 1 or 0"),
        ({"follow": "1", "until": "2026-11-02"}, "follow=1 has no end, so it takes no until"),
        ({"follow": "1", "limit": "5"}, "follow=1 has no end, so it takes no limit"),
        ({"format": "gen9ou"}, "unknown argument 'format': did you mean 'formats'"),
        ({"name": "rooms"}, "unknown argument 'name'"),
        ({"xyz": "1"}, "unknown argument 'xyz': there are follow, formats"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_an_argument_that_makes_no_sense_is_refused_with_the_reason(spider_of, arguments, message):
    with pytest.raises(ArgumentError) as refused:
        spider_of(**arguments)

    assert str(refused.value).startswith(message)


def test_the_job_that_scrapyd_gives_is_no_argument(spider_of):
    assert spider_of(_job="6487ec79").name == "replays"


@pytest.mark.parametrize(
    ("arguments", "is_watching"),
    [({}, False), ({"follow": "0", "limit": "5"}, False), ({"follow": "1"}, True)],
)
def test_a_spider_that_follows_has_no_end(spider_of, arguments, is_watching):
    assert spider_of(**arguments).is_watching is is_watching


# --- Searches -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "urls"),
    [
        ({}, ["/search.json"]),
        ({"formats": "gen9ou"}, ["/search.json?format=gen9ou"]),
        ({"users": "Ann,B o b"}, ["/search.json?user=ann", "/search.json?user=bob"]),
        (
            {"formats": "[Gen 9] OU,gen1ou", "users": "ann"},
            ["/search.json?format=gen9ou&user=ann", "/search.json?format=gen1ou&user=ann"],
        ),
        (
            {"formats": "gen9ou", "until": "2026-11-01"},
            ["/search.json?format=gen9ou&before=1793491200"],
        ),
        ({"until": "2026-11-01"}, ["/search.json?before=1793491199"]),
    ],
    ids=["all", "a format", "users", "both", "until, exclusive", "until, inclusive"],
)
def test_the_first_searches_are_what_the_arguments_ask_for(spider_of, arguments, urls):
    requests = started(spider_of(**arguments))

    assert [request.url for request in requests] == [f"{SITE}{url}" for url in urls]


def test_searches_go_before_battles(spider_of):
    [search] = started(spider_of())

    battle, *_ = called(search, page(NOW))

    assert search.priority > battle.priority == 0


@pytest.mark.parametrize("address", ["http://127.0.0.1:8000", "http://127.0.0.1:8000/"])
def test_the_site_can_be_another(spider_of, address):
    [search] = started(spider_of({"SHOWDOWN_REPLAY_URL": address}))

    [battle] = called(search, page(NOW))

    assert battle.url == "http://127.0.0.1:8000/gen9ou-1.json"


def test_every_request_can_go_through_the_queue(spider_of):
    spider = spider_of(formats="gen9ou", follow="1")
    [search] = started(spider)

    requests = [search, *called(search, page(NOW, NOW - 1, more=True))]

    for request in requests:
        fields = {name.encode(): text.encode() for name, text in encode(request, spider).items()}
        back = decode(fields, spider)
        assert (back.url, back.callback, back.cb_kwargs) == (
            request.url,
            request.callback,
            request.cb_kwargs,
        )


def test_a_page_yields_its_battles_and_the_page_after_it(spider_of):
    [search] = started(spider_of(formats="gen9ou"))

    *battles, following = called(search, page(NOW, more=True))

    assert len(battles) == 52
    assert battles[0].url == f"{SITE}/gen9ou-1.json"
    assert following.url == f"{SITE}/search.json?format=gen9ou&before={NOW + 1}"


def test_a_page_beyond_the_time_asked_for_is_the_last(spider_of):
    [search] = started(spider_of(formats="gen9ou", since="2026-11-01"))

    requests = called(search, page(1793491200, 1793491199, more=True))

    assert [request.url for request in requests] == [f"{SITE}/gen9ou-1.json"]


def test_rows_that_are_no_battles_are_counted(spider_of):
    spider = spider_of()
    [search] = started(spider)

    called(search, b'[{"id":"../x","uploadtime":1},{"id":"gen9ou-1","uploadtime":1}]')

    assert stat(spider, "replays/rows_unusable") == 1


def test_a_broken_page_is_asked_for_again(spider_of):
    spider = spider_of()
    [search] = started(spider)
    leased(search)

    [again] = called(search, BROKEN)

    assert (again.url, again.meta["retry_times"]) == (search.url, 1)
    assert stat(spider, "retry/reason_count/bad reply") == 1


def test_a_page_that_stays_broken_is_a_dead_letter_and_said_to_be_missing(spider_of, caplog):
    spider = spider_of(formats="gen9ou")
    [search] = started(spider)
    lease = leased(search, tries=2)

    requests = called(search, BROKEN)

    assert requests == []
    assert lease.failure.reason.startswith("bad reply: not JSON")
    assert lease.failure.body == BROKEN.decode()
    assert stat(spider, "replays/searches_lost") == 1
    assert "Battles are missing: the search {'format': 'gen9ou'} cannot be had" in caplog.text


def test_a_page_that_does_not_begin_where_it_was_asked_to_is_asked_for_again(spider_of):
    [search] = started(spider_of(formats="gen9ou", until="2026-11-01"))
    leased(search)

    [again] = called(search, page(1793491200))

    assert again.meta["retry_times"] == 1


def test_a_refused_search_is_not_asked_for_again(spider_of):
    spider = spider_of()
    [search] = started(spider)
    lease = leased(search)

    requests = called(search, REFUSED)

    assert requests == []
    assert lease.failure.reason == 'refused: Sort must be "rating" or "date"'
    assert stat(spider, "replays/searches_lost") == 1


def test_a_search_that_could_not_be_downloaded_is_said_to_be_missing(spider_of, caplog):
    spider = spider_of(formats="gen9ou")
    [search] = started(spider)
    failure = Failure(OSError("down"))
    failure.request = search

    search.errback(failure)

    assert stat(spider, "replays/searches_lost") == 1
    assert "(down). Run the crawl again for them." in caplog.text


def gaps_in(outputs: list) -> list[tuple]:
    gaps = [output for output in outputs if isinstance(output, Gap)]
    return [(gap.format, gap.user, gap.second) for gap in gaps]


@pytest.mark.parametrize("arguments", [{}, {"limit": "60"}], ids=["all", "limit"])
def test_a_second_of_all_formats_that_fills_a_page_is_a_gap_that_is_said_once(
    spider_of, caplog, arguments
):
    spider = spider_of(**arguments)
    [first] = started(spider)
    full = json.dumps([{"id": f"gen9ou-{n}", "uploadtime": NOW} for n in range(51)]).encode()

    [again] = [one for one in called(first, full) if one.priority > 0]
    outputs = yielded(again, full)
    following = [one for one in outputs if isinstance(one, Request) and one.priority > 0]
    outputs += [output for one in following for output in yielded(one, page(NOW - 9))]

    assert gaps_in(outputs) == [(None, None, NOW)]
    assert stat(spider, "replays/crowded_seconds") == 1
    [line] = [one for one in caplog.records if one.levelname == "WARNING"]
    assert f"share the second {NOW}" in line.getMessage()


def test_a_second_that_the_site_does_not_show_in_full_is_said(spider_of, caplog):
    spider = spider_of(formats="gen9ou")
    walk = Walk(format="gen9ou", second=NOW, page=100)
    request = spider._search(walk)

    outputs = yielded(request, page(NOW, NOW, more=True))

    assert gaps_in(outputs) == [("gen9ou", None, NOW)]
    assert stat(spider, "replays/suspect_seconds") == 1
    assert f"more battles of gen9ou in the second {NOW} than it shows" in caplog.text


# --- Watching -------------------------------------------------------------------------------------


def test_a_watch_is_named_after_its_search(spider_of):
    requests = started(spider_of(formats="gen9ou,gen1ou", users="ann", follow="1"))

    watchers = [request.meta["watcher"] for request in requests]

    assert watchers == ["gen9ou/ann", "gen1ou/ann"]


def test_without_following_there_is_no_watch(spider_of):
    [search] = started(spider_of())

    requests = called(search, page(NOW))

    assert "watcher" not in search.meta
    assert len(requests) == 1


def test_a_watch_looks_again_after_its_interval_and_goes_back_a_little(spider_of):
    settings = {"REPLAYS_INTERVAL": 7.5, "REPLAYS_OVERLAP": 100}
    [search] = started(spider_of(settings, formats="gen9ou", follow="1"))

    _, again = called(search, page(NOW))

    assert again.meta == {"watcher": "gen9ou/*", "delay": 7.5}
    assert again.cb_kwargs["walk"]["since"] == NOW - 100
    assert again.cb_kwargs["watch"] is True


def test_a_watch_never_goes_back_beyond_what_was_asked_for(spider_of):
    [search] = started(spider_of(formats="gen9ou", since="2026-11-01", follow="1"))

    _, again = called(search, page(1793491205))

    assert again.cb_kwargs["walk"]["since"] == 1793491200


@pytest.mark.parametrize(
    ("arguments", "since"),
    [({}, None), ({"since": "2026-11-01"}, 1793491200)],
    ids=["all", "since"],
)
def test_a_watch_that_finds_nothing_looks_at_the_same_again(spider_of, arguments, since):
    [search] = started(spider_of(formats="gen9ou", follow="1", **arguments))

    [again] = called(search, b"[]")

    walk = Walk.of(again.cb_kwargs["walk"])
    assert (walk.since, walk.before, walk.format) == (since, None, "gen9ou")


def test_no_two_looks_of_a_watch_are_the_same_request(spider_of):
    spider = spider_of(formats="gen9ou", follow="1")
    [search] = started(spider)
    prints = WalkFingerprinter.from_crawler(spider.crawler)

    looks = [search]
    for _ in range(4):
        looks.append(called(looks[-1], page(NOW))[-1])

    assert len({prints.fingerprint(look) for look in looks}) == 5


def test_later_looks_read_on_only_where_something_is_new(spider_of):
    [first] = started(spider_of(formats="gen9ou", follow="1"))
    full = page(*range(NOW, NOW - 51, -1))

    *battles, further, again = called(first, full)
    *_, later, _ = called(again, full)
    *_, last = called(later, page(*range(NOW - 50, NOW - 101, -1)))

    assert len(battles) == 51
    assert ("only_if_new" in further.meta, further.dont_filter) == (False, False)
    assert [(one.meta["only_if_new"], one.dont_filter) for one in (later, last)] == 2 * [
        (True, True)
    ]


# --- Sweeps ---------------------------------------------------------------------------------------


@pytest.fixture
def now(clock, monkeypatch) -> int:
    monkeypatch.setattr("battles.spiders.replays.time", SimpleNamespace(time=clock))
    return int(clock.now)


def test_who_follows_sweeps_each_search_later_under_a_name_of_its_own(spider_of):
    requests = sweeps(spider_of(formats="gen9ou,gen1ou", users="ann", follow="1"))

    assert [request.meta["watcher"] for request in requests] == [
        "gen9ou/ann/sweep",
        "gen1ou/ann/sweep",
    ]
    assert {request.meta["delay"] for request in requests} == {21600.0}
    assert [request.url for request in requests] == [
        f"{SITE}/search.json?format=gen9ou&user=ann",
        f"{SITE}/search.json?format=gen1ou&user=ann",
    ]


@pytest.mark.parametrize(
    ("settings", "arguments"),
    [({}, {}), ({}, {"limit": "5"}), ({"REPLAYS_SWEEP": 0}, {"follow": "1"})],
    ids=["not following", "with a limit", "switched off"],
)
def test_nobody_else_sweeps(spider_of, settings, arguments):
    assert sweeps(spider_of(settings, **arguments)) == []


def test_a_sweep_goes_back_some_days_from_when_it_is_due(spider_of, now):
    settings = {"REPLAYS_SWEEP": 1000, "REPLAYS_SWEEP_DAYS": 2.5}
    [sweep] = sweeps(spider_of(settings, follow="1"))

    walk = Walk.of(sweep.cb_kwargs["walk"])

    assert (walk.since, walk.before) == (now + 1000 - 216_000, None)


@pytest.mark.parametrize("days", [0.5, 100_000], ids=["a day ago", "before there were any"])
def test_a_sweep_never_goes_back_beyond_what_was_asked_for(spider_of, now, days):
    spider = spider_of({"REPLAYS_SWEEP": 0.5, "REPLAYS_SWEEP_DAYS": days}, follow="1")
    spider._since = now - 100

    [sweep] = sweeps(spider)
    [again] = called(sweep, b"[]")

    assert sweep.cb_kwargs["walk"]["since"] == again.cb_kwargs["walk"]["since"] == now - 100


def test_a_sweep_without_a_since_does_not_go_back_beyond_all_time(spider_of):
    [sweep] = sweeps(spider_of({"REPLAYS_SWEEP_DAYS": 100_000}, follow="1"))

    assert sweep.cb_kwargs["walk"]["since"] == 0


def test_a_sweep_puts_itself_back_and_the_days_move_on(spider_of, now, clock):
    spider = spider_of({"REPLAYS_SWEEP": 1000}, formats="gen9ou", follow="1")
    [sweep] = sweeps(spider)
    clock.now += 1000

    *_, again = called(sweep, page(now))

    assert again.meta == {"watcher": "gen9ou/*/sweep", "delay": 1000.0}
    assert again.url == sweep.url
    assert again.cb_kwargs["walk"]["since"] == sweep.cb_kwargs["walk"]["since"] + 1000
    assert again.cb_kwargs["watch"] == "sweep"
    assert stat(spider, "replays/sweeps") == 1


def test_a_sweep_is_discovery(spider_of):
    spider = spider_of(follow="1")

    assert sweeps(spider)[0].priority == started(spider)[0].priority > 0


def test_a_sweep_that_is_not_wanted_any_more_ends(spider_of, now):
    [sweep] = sweeps(spider_of(formats="gen9ou", follow="1"))
    lease = leased(sweep)
    sweep.callback = spider_of({"REPLAYS_SWEEP": 0}, formats="gen9ou", follow="1").parse_search

    requests = called(sweep, page(now))

    assert [request.url for request in requests] == [f"{SITE}/gen9ou-1.json"]
    assert lease.is_over


def test_every_request_of_a_sweep_can_go_through_the_queue(spider_of):
    spider = spider_of(formats="gen9ou", follow="1")
    [sweep] = sweeps(spider)

    for request in [sweep, *called(sweep, page(NOW, more=True))]:
        fields = {name.encode(): text.encode() for name, text in encode(request, spider).items()}
        back = decode(fields, spider)
        assert (back.url, back.callback, back.cb_kwargs) == (
            request.url,
            request.callback,
            request.cb_kwargs,
        )


def pages_of(look: Request, site: ReplaySite) -> list[Request]:
    """Return the searches that follow from a look, to its end, and its own next look."""
    waiting, pages = [look], []
    while waiting:
        request = waiting.pop()
        query = dict(pair.split("=") for pair in request.url.partition("?")[2].split("&") if pair)
        found = called(request, json.dumps(site.search(query)).encode())
        searches = [one for one in found if one.callback == look.callback]
        pages += searches
        waiting += [one for one in searches if "watcher" not in one.meta]
    return pages


@pytest.mark.usefixtures("now")
@pytest.mark.parametrize("since", [None, 5], ids=["all", "since"])
def test_no_page_of_a_sweep_was_seen_by_another_look(spider_of, site, since):
    settings = {"REPLAYS_SWEEP": 0.5, "REPLAYS_SWEEP_DAYS": 100_000, "REPLAYS_OVERLAP": 10**10}
    spider = spider_of(settings, follow="1")
    spider._since = since
    place = Seen(WalkFingerprinter.from_crawler(spider.crawler)).place

    looks = [*started(spider), *sweeps(spider)]
    for _ in range(3):
        looks += [
            one for look in looks[-2:] for one in pages_of(look, site) if "watcher" in one.meta
        ]
    pages = [one for look in looks for one in pages_of(look, site) if "watcher" not in one.meta]

    assert len(looks) == 8
    assert len(pages) > 80
    assert len({place(one) for one in pages}) == len(pages)


def test_what_the_sweeps_of_long_ago_have_seen_is_forgotten(spider_of, now, clock):
    settings = {"REPLAYS_SWEEP": 1000, "REPLAYS_SWEEP_DAYS": 100_000}
    [sweep] = sweeps(spider_of(settings, follow="1"))
    clock.now += 7 * 86400

    *_, page_then, later = called(sweep, page(now, more=True))
    *_, page_now, _ = called(later, page(now, more=True))

    assert page_then.meta["family"] != page_now.meta["family"]


def test_the_pages_of_a_sweep_are_of_its_family_to_the_end(spider_of, site):
    [sweep] = sweeps(spider_of({"REPLAYS_SWEEP_DAYS": 100_000}, follow="1"))

    *pages, again = sorted(pages_of(sweep, site), key=lambda one: "watcher" in one.meta)

    assert len({one.meta["family"] for one in pages}) == 1
    assert "family" not in again.meta


# --- Battles --------------------------------------------------------------------------------------


def battle_request(spider: ReplaysSpider, battle_id: str) -> Request:
    return spider.request_for(battle_id)


def test_a_reply_is_the_battle_that_was_asked_for(spider_of, recorded, monkeypatch, clock):
    monkeypatch.setattr("battles.spiders.replays.time", SimpleNamespace(time=clock))
    clock.now, replay = 1234.9, recorded[0]
    request = battle_request(spider_of(), replay.id)

    [battle] = called(request, replay.json())

    assert isinstance(battle, Battle)
    assert battle.id == battle.asked == replay.id
    assert battle.url == f"{SITE}/{replay.id}.json"
    assert battle.fetched_at == 1234


def test_a_battle_that_is_not_there_is_gone(spider_of):
    spider = spider_of()

    output = called(battle_request(spider, "gen9ou-1"), b"", 404)

    assert output == []
    assert stat(spider, "replays/gone") == 1


def test_a_missing_page_reaches_the_spider(spider_of):
    assert 404 in spider_of().handle_httpstatus_list


@pytest.mark.parametrize("body", [BROKEN, b'{"id":', b"[]", b""], ids=["HTML", "torn", "list", ""])
def test_a_broken_battle_is_asked_for_again(spider_of, body):
    request = battle_request(spider_of(), "gen9ou-1")
    leased(request)

    [again] = called(request, body)

    assert (again.url, again.meta["retry_times"]) == (request.url, 1)


def test_a_battle_that_stays_broken_is_unreadable(spider_of):
    request = battle_request(spider_of(), "gen9ou-1")
    leased(request, tries=2)

    [item] = called(request, b'{"id":')

    assert isinstance(item, Unreadable)
    assert (item.asked, item.url) == ("gen9ou-1", request.url)
    assert item.reason.startswith("broken JSON of 6 bytes")


def test_a_refused_battle_is_unreadable_at_once(spider_of):
    request = battle_request(spider_of(), "gen9ou-1")
    lease = leased(request)

    [item] = called(request, REFUSED)

    assert item.reason == 'Sort must be "rating" or "date"'
    assert lease.failure.reason.startswith("refused: ")


def test_a_reply_that_belongs_to_no_request_is_asked_for_no_more(spider_of):
    response = Response(f"{SITE}/gen9ou-1.json", body=BROKEN)

    [item] = spider_of().parse_battle(response)

    assert isinstance(item, Unreadable)


# --- Whole walks ----------------------------------------------------------------------------------


def walk(spider: ReplaysSpider, site: ReplaySite) -> list[str]:
    """Play the crawl without an engine; return the battles asked for, in order."""
    prints = WalkFingerprinter.from_crawler(spider.crawler)
    waiting, seen, battles = started(spider), set(), []
    while waiting:
        request = waiting.pop(0)
        mark = prints.fingerprint(request)
        if mark in seen:
            continue
        seen.add(mark)
        if request.callback == spider.parse_battle:
            battles.append(request.url.rpartition("/")[2].removesuffix(".json"))
            continue
        query = dict(pair.split("=") for pair in request.url.partition("?")[2].split("&") if pair)
        waiting += called(request, json.dumps(site.search(query)).encode())
    return battles


@pytest.fixture(scope="module")
def site() -> ReplaySite:
    return ReplaySite.recorded(Plan(battles=800, ties=3, burst=120, private_every=13))


def test_every_public_battle_is_asked_for_once(spider_of, site):
    battles = walk(spider_of(), site)

    assert sorted(battles) == sorted(site.public_ids)


def test_every_battle_of_a_format_is_asked_for_once(spider_of, site):
    battles = walk(spider_of(formats="gen9ou"), site)

    assert sorted(battles) == sorted(id for id in site.public_ids if format_of(id) == "gen9ou")


@pytest.mark.parametrize("limit", [1, 51, 60, 400])
def test_a_limit_is_the_number_of_battles(spider_of, site, limit):
    battles = walk(spider_of(limit=str(limit)), site)

    assert len(set(battles)) == len(battles) == limit


def test_a_limit_beyond_what_there_is_ends_with_all_there_is(spider_of, site):
    battles = walk(spider_of(limit="100000"), site)

    assert len(battles) == len(site.public_ids)


def test_a_limit_takes_the_newest(spider_of):
    site = ReplaySite.recorded(Plan(battles=300))
    newest = [row["id"] for row in site.search({})]

    battles = walk(spider_of(limit="20"), site)

    assert sorted(battles) == sorted(newest[:20])


def test_a_time_span_is_from_since_to_before_until(spider_of):
    site = ReplaySite.recorded(Plan(battles=300))
    times = {id: site.replay(id).uploaded for id in site.public_ids}
    ordered = sorted(times.values())
    since, until = ordered[100], ordered[200]
    spider = spider_of(formats="gen9ou")
    spider._since, spider._until = since, until

    battles = walk(spider, site)

    ours = {id for id, time in times.items() if since <= time < until and format_of(id) == "gen9ou"}
    assert set(battles) == ours


def test_a_battle_published_again_is_asked_for_once(spider_of):
    site = ReplaySite.recorded(Plan(battles=60))
    again = site.replay(min(site.public_ids))
    site.add(replace(again))

    battles = walk(spider_of(), site)

    assert sorted(battles) == sorted(site.public_ids)


UNFINISHED = json.dumps({"id": "gen9ou-1", "log": "|turn|1", "private": 0}).encode()


@pytest.mark.parametrize(("looks", "is_last"), [(0, False), (5, False), (6, True)])
def test_who_follows_looks_again_at_a_replay_saved_in_mid_battle(spider_of, looks, is_last):
    spider = spider_of({"REPLAYS_AGAIN": 300}, follow="1")
    request = Request(f"{SITE}/gen9ou-1.json", spider.parse_battle, meta={"look_times": looks})

    [output] = called(request, UNFINISHED)

    if is_last:
        assert isinstance(output, Battle)
    else:
        assert output.url == request.url
        assert (output.meta["look_times"], output.meta["delay"]) == (looks + 1, 300.0)


def test_who_does_not_follow_does_not_wait_for_the_end_of_a_battle(spider_of):
    request = Request(f"{SITE}/gen9ou-1.json", spider_of().parse_battle)

    [output] = called(request, UNFINISHED)

    assert isinstance(output, Battle)


# --- What was saved again, or withdrawn -----------------------------------------------------------


def listing(*rows: tuple[str, int, int | None], more: bool = False) -> bytes:
    """Write a search page of ids, upload times and ratings."""
    entries = [
        {"id": id, "uploadtime": time, "rating": rating, "private": 0} for id, time, rating in rows
    ]
    entries += [entries[-1] | {"id": f"gen1ou-{n}"} for n in range(51 if more else 0)]
    return json.dumps(entries).encode()


def swept(spider: ReplaysSpider, body: bytes) -> list:
    [sweep] = sweeps(spider)
    return yielded(sweep, body)


def test_a_sweep_has_each_battle_compared_with_its_rating_of_now(spider_of, now):
    rows = [("gen9ou-2", now, 1500), ("gen9ou-1", now - 5, None)]

    first, second, *_ = swept(spider_of(formats="gen9ou", follow="1"), listing(*rows))

    assert [first.meta["listed_rating"], second.meta["listed_rating"]] == [1500, None]


def test_a_plain_crawl_compares_too_and_a_watch_does_not(spider_of):
    body = listing(("gen9ou-1", 1000, 1500))
    plain, watch = spider_of(), spider_of(follow="1")

    compared = [
        "listed_rating" in called(started(spider)[0], body)[0].meta for spider in (plain, watch)
    ]

    assert compared == [True, False]


def covered_by(outputs: list) -> list[Covered]:
    return [output for output in outputs if isinstance(output, Covered)]


def test_the_last_page_of_a_sweep_covers_everything_back_to_its_beginning(spider_of, now):
    spider = spider_of(formats="gen9ou", follow="1")
    [sweep] = sweeps(spider)
    since, look = sweep.cb_kwargs["walk"]["since"], sweep.cb_kwargs["walk"]["look"]

    [covered] = covered_by(yielded(sweep, listing(("gen9ou-1", now, 1500))))

    ids = frozenset({"gen9ou-1"})
    assert covered == Covered("gen9ou", None, look, since, since, look, ids)


def test_a_page_of_a_sweep_with_a_successor_covers_what_is_later_than_its_last_second(
    spider_of, now
):
    spider = spider_of(formats="gen9ou", follow="1")
    body = listing(("gen9ou-2", now, None), ("gen9ou-1", now - 60, None), more=True)

    outputs = swept(spider, body)
    [following] = [output for output in outputs if getattr(output, "meta", {}).get("family")]
    [next_one] = covered_by(yielded(following, listing(("gen9ou-1", now - 60, None))))

    assert [(one.since, one.until) for one in covered_by(outputs)] == [
        (now - 59, sweeps(spider)[0].cb_kwargs["walk"]["look"])
    ]
    assert next_one.until == now - 59


@pytest.mark.parametrize("arguments", [{}, {"follow": "1"}], ids=["a crawl", "a watch"])
def test_only_sweeps_look_for_what_is_listed_no_more(spider_of, arguments):
    [request] = started(spider_of(**arguments))

    assert covered_by(yielded(request, listing(("gen9ou-1", 1000, None)))) == []


def checked(spider: ReplaysSpider, body: bytes, status: int = 200) -> list:
    return called(spider.request_to_check("gen9ou-1"), body, status)


def test_a_battle_that_is_not_there_any_more_is_withdrawn(spider_of, now):
    [withdrawn] = checked(spider_of(), b"", status=404)

    assert withdrawn == Withdrawn("gen9ou-1", now, "it is not there any more")


def test_a_battle_that_was_made_private_is_withdrawn(spider_of):
    [withdrawn] = checked(spider_of(), json.dumps({"id": "gen9ou-1", "private": 2}).encode())

    assert (withdrawn.id, withdrawn.reason) == ("gen9ou-1", "it is marked private (2)")


@pytest.mark.parametrize(
    "reply", [{"id": "gen9ou-1", "private": 0}, {"id": "gen9ou-2", "private": 2}]
)
def test_a_battle_that_is_still_public_stays(spider_of, reply):
    spider = spider_of()

    assert checked(spider, json.dumps(reply).encode()) == []
    assert stat(spider, "replays/still_public") == 1


def test_a_broken_reply_withdraws_nothing_and_is_asked_for_again(spider_of):
    spider = spider_of()
    request = spider.request_to_check("gen9ou-1")
    leased(request)

    [again] = called(request, b"<html>")

    assert (again.url, again.meta["retry_times"]) == (request.url, 1)
