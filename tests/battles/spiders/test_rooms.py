from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from inspect import isasyncgen
from math import ceil
from types import SimpleNamespace

import pytest
from scrapy import Request
from scrapy.http import Response
from scrapy.utils.test import get_crawler

from battles.arguments import ArgumentError
from battles.dialogue import STATUS
from battles.items import Battle, Unreadable
from battles.listing import Look, Plan, Question
from battles.parsers.frames import Room, RoomList
from battles.spiders.rooms import RoomsSpider
from extensions.lease import Lease
from extensions.queue import Add, Bury, Leased, RequestQueue, Return, RosterView, Sighting
from extensions.request_fields import decode, encode

SERVER = "wss://server.example/showdown/websocket"
CLIENT = "https://client.example"
REPLAYS = "https://replay.example"
NOW = 1_800_000_000
"""When the clock of a test begins."""
WATCHER = "rooms/*/*"
BROKEN = b"<!DOCTYPE html>Just a moment"
RUNNING = b"|player|p1|A|1|\n|player|p2|B|1|\n|tier|[Gen 9] OU\n|turn|1"
ENDED = RUNNING + b"\n|win|A"


@pytest.fixture(autouse=True)
def now(monkeypatch, clock):
    """The time, which the test sets."""
    monkeypatch.setattr("battles.spiders.rooms.time", SimpleNamespace(time=clock))
    return clock


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
    results = request.callback(response, **request.cb_kwargs)

    async def collect() -> list:
        return [result async for result in results]

    return asyncio.run(collect()) if isasyncgen(results) else list(results)


def listed(*battles: str, players: str = "ann bob", **facts: object) -> bytes:
    """Write what a look is that shows these battles, and no others are live.

    `facts` take the place of what it says.
    """
    look = Look([Question()], Plan())
    rooms = tuple(Room(id, None, tuple(players.split())) for id in battles)
    look.take(look.next(), RoomList(rooms, len(rooms)))
    return json.dumps({**json.loads(look.write()), **facts}).encode()


class NoRoster:
    """A queue that has an empty roster, and nothing else."""

    def roster(self, _name: str) -> RosterView:
        return RosterView({}, NOW, is_draining=False)


class Watch:
    """The watch of a spider in a real queue; its looks are handed out, and what they saw is kept.

    It has its queue's clock set to the time at which the next look is due.
    """

    def __init__(self, redis, clock, spider: RoomsSpider) -> None:
        self.clock, self.spider = clock, spider
        self.name: str = started(spider).meta["watcher"]
        self.queue = RequestQueue(redis, "test", worker="ann", clock=clock)
        self.queue.open()
        self.queue.commit([Add(1, encode(started(spider), spider))])
        self.lease = Lease(Leased(1, "0-0", {}))
        """Of the last look."""
        self.visits: list[Request] = []
        """To rooms that were due so far."""

    def look(self, body: bytes, age: float = 0.0) -> list[Request]:
        """Look at a list that has been in its lane for so many seconds; return what is yielded."""
        [leased] = self._due()
        # Lanes are timed by the server's clock: here, too, the test's is to hold.
        began = replace(leased, id=f"{(self.clock.now - age) * 1000:.0f}-0")
        request = decode(leased.fields, self.spider)
        self.lease = Lease(began, request, queue=self.queue)
        request.meta["queue_lease"] = self.lease
        yielded = called(request, body)
        delay = 0.0
        for again in yielded:
            if again.meta.get("watcher"):
                delay = again.meta["delay"]
                self.lease.replacement = Return(began, 1, encode(again, self.spider), delay)
        self.queue.commit([replace(self.lease.operation(), leased=leased)])
        self.clock.now += ceil(delay)
        return yielded

    def _due(self) -> list[Leased]:
        due = self.queue.lease(100)[1]
        visits = [one for one in due if b"roster" in one.fields]
        self.visits += [decode(one.fields, self.spider) for one in visits]
        return [one for one in due if b"watcher" in one.fields]

    @property
    def seen(self) -> Sighting:
        """What the last look has kept."""
        assert self.lease.sighting is not None
        return self.lease.sighting

    @property
    def new(self) -> dict[str, str]:
        """Battles that the last look saw for the first time, or by other names; their players."""
        return {battle_id: note for battle_id, note, *_ in self.seen.new}

    @property
    def known(self) -> dict[str, str]:
        """The battles of the roster and their players."""
        members = self.queue.roster(self.name).members
        return {battle_id: member.note for battle_id, member in members.items()}


@pytest.fixture
def watch_of(redis, clock, spider_of):
    """Build the watch of a spider with the given settings and arguments."""
    return lambda settings=None, **arguments: Watch(redis, clock, spider_of(settings, **arguments))


@pytest.fixture
def watch(watch_of) -> Watch:
    return watch_of()


def room(spider: RoomsSpider, **facts: str) -> Request:
    """Return the visit to a battle as it comes out of the queue, with more fields."""
    first = started(spider)
    lease = Lease(Leased(1, f"{NOW}000-0", {}), queue=NoRoster())
    first.meta["queue_lease"] = lease
    called(first, listed("gen9ou-9"))
    [(_id, _note, _lane, fields)] = lease.sighting.new
    fields = {**fields, **facts}
    return decode({name.encode(): text.encode() for name, text in fields.items()}, spider)


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


# --- Looks ----------------------------------------------------------------------------------------


def test_a_look_yields_the_next_one_and_no_room(watch):
    [again] = watch.look(listed("gen9ou-9", "gen1ou-8"))

    first = started(watch.spider)
    assert (again.url, again.priority, again.dont_filter) == (first.url, first.priority, True)
    assert again.callback == watch.spider.parse_list
    assert {*again.meta} == {"watcher", "download_slot", "plan", "delay"}
    assert again.meta["watcher"] == WATCHER


def test_a_look_keeps_what_it_saw(watch):
    watch.look(listed("gen9ou-9", "gen1ou-8"))

    assert (watch.seen.name, watch.seen.settle, watch.seen.takes_new) == (WATCHER, 10.0, True)
    assert watch.new == {"gen9ou-9": "ann bob", "gen1ou-8": "ann bob"}
    assert watch.seen.missing == ()
    assert watch.known == watch.new


def test_a_look_takes_the_plan_on(watch):
    watch.look(listed("gen9ou-9", left=["gen1ou,,"]))
    [again] = watch.look(listed("gen9ou-12", "gen9ou-9", left=["gen1ou,,"]))

    plan = Plan.read(again.meta["plan"])
    assert (plan.looks, plan.newest, plan.asked) == (2, {",,": 12}, {",,": 2})
    assert (plan.todo, plan.checks) == (["gen1ou,,"], [",,"])


@pytest.mark.parametrize(
    ("interval", "pause", "questions"), [(15.0, 0.6, 22), (30.0, 0.5, 54), (1.0, 0.6, 4)]
)
def test_a_look_may_ask_for_nine_tenths_of_the_interval(spider_of, interval, pause, questions):
    spider = spider_of({"ROOMS_INTERVAL": interval, "ROOMS_MESSAGE_INTERVAL": pause})
    first = started(spider)
    # What was set when the watch began does not hold for ever.
    first.meta["plan"]["room"] = 7
    [again] = called(first, listed())

    assert started(spider).meta["plan"]["room"] == questions
    assert again.meta["plan"]["room"] == questions


def test_a_battle_that_has_left_the_list_is_visited_when_it_has_settled(watch_of):
    watch = watch_of({"ROOMS_SETTLE": 20.0})
    watch.look(listed("gen9ou-9", "gen9ou-8"))
    watch.look(listed("gen9ou-8"))
    watch.look(listed("gen9ou-8"))
    early = list(watch.visits)
    watch.look(listed("gen9ou-8"))

    assert early == []
    [visit] = watch.visits
    assert visit.url == f"{SERVER}?room=battle-gen9ou-9"
    assert (visit.callback, visit.cb_kwargs) == (watch.spider.parse_room, {})
    assert visit.meta == {"roster": f"{WATCHER} gen9ou-9"}
    assert list(watch.known) == ["gen9ou-8"]
    assert stat(watch.spider, "missed") == 1


@pytest.mark.parametrize(
    ("complete", "missing"),
    [
        ([",,"], ["gen9ou-9", "gen1ou-7"]),
        (["gen1ou,,"], ["gen1ou-7"]),
        (["gen9ou,,a"], ["gen9ou-9"]),
        (["gen9ou,,x"], []),
        ([], []),
    ],
    ids=["all", "a format", "a name", "another name", "none"],
)
def test_only_what_a_complete_answer_would_show_is_missing(watch, complete, missing):
    watch.look(listed("gen9ou-9", "gen9ou-8", "gen1ou-7"))
    watch.look(listed("gen9ou-8", complete=complete))

    assert watch.seen.missing == tuple((battle_id, False) for battle_id in missing)
    assert {*watch.known} == {"gen9ou-9", "gen9ou-8", "gen1ou-7"}.difference(missing)
    assert stat(watch.spider, "missed") == len(missing)


def test_a_battle_whose_players_are_the_same_is_kept_as_it_is(watch):
    watch.look(listed("gen9ou-9"))
    watch.look(listed("gen9ou-9"))

    assert watch.new == {}


def test_a_player_who_has_another_name_is_known_by_it(watch):
    watch.look(listed("gen9ou-9"))
    watch.look(listed("gen9ou-9", players="ann bill"))

    assert watch.new == watch.known == {"gen9ou-9": "ann bill"}


def test_what_is_no_public_battle_is_not_kept(watch):
    watch.look(listed("gen9ou-9-abcdefpw", "../x", "lobby"))

    assert watch.known == {}


@pytest.mark.parametrize(
    ("age", "delay"), [(0.0, 15.0), (4.0, 11.0), (15.0, 0.0), (40.0, 0.0), (-5.0, 15.0)]
)
def test_the_next_look_waits_for_what_is_left_of_the_interval(watch, age, delay):
    [again] = watch.look(listed(), age=age)

    assert again.meta["delay"] == pytest.approx(delay)


def test_without_a_queue_the_interval_is_waited_for(spider_of):
    first = started(spider_of({"ROOMS_INTERVAL": 7.5}))

    [again] = called(first, listed("gen9ou-9"))

    assert again.meta["delay"] == 7.5


def test_late_looks_are_told_once_until_one_comes_in_time(watch, caplog):
    told = []
    for age in (14.0, 16.0, 50.0, 14.0, 22.0):
        watch.look(listed(seconds=1.0), age=age + 1.0)
        told.append([record.message for record in caplog.records])
        caplog.clear()

    assert [len(messages) for messages in told] == [0, 1, 0, 0, 1]
    assert told[1][0].startswith("The list of battles was looked at 16 s late")
    assert "ROOMS_INTERVAL is 15 s" in told[1][0]
    assert stat(watch.spider, "late") == 3


def test_a_look_that_takes_long_does_not_come_late(watch, caplog):
    watch.look(listed(seconds=60.0), age=70.0)

    assert caplog.records == []
    assert stat(watch.spider, "late") is None


# --- The end of a watch ---------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "is_over"), [(119, False), (120, True)])
def test_after_the_minutes_no_new_battles_are_taken(watch_of, now, seconds, is_over):
    watch = watch_of(minutes="2")
    watch.look(listed("gen9ou-9"))
    now.now = NOW + seconds
    watch.look(listed("gen9ou-10", "gen9ou-9"))

    assert watch.seen.takes_new is not is_over
    assert ("gen9ou-10" in watch.known) is not is_over
    assert "gen9ou-9" in watch.known


def test_the_watch_ends_when_the_last_battle_has_left_the_list(watch_of):
    watch = watch_of(minutes="1")
    watch.look(listed("gen9ou-9"))
    watch.clock.now = NOW + 60
    [goes_on] = watch.look(listed("gen9ou-10", "gen9ou-9"))
    [empties] = watch.look(listed("gen9ou-10"))
    last = watch.look(listed("gen9ou-10"))

    assert {goes_on.meta["watcher"], empties.meta["watcher"]} == {WATCHER}
    assert last == []
    assert watch.lease.is_over
    assert watch.queue.status().total("discovered") == 2
    assert [visit.url for visit in watch.visits] == [f"{SERVER}?room=battle-gen9ou-9"]


@pytest.mark.parametrize(
    ("seconds", "missing"), [(599, ()), (600, (("gen9ou-9", True),))], ids=["not yet", "now"]
)
def test_after_the_minutes_what_is_listed_for_too_long_is_given_up(watch_of, now, seconds, missing):
    watch = watch_of({"ROOMS_GIVE_UP": 600.0}, minutes="1")
    watch.look(listed("gen9ou-9"))
    now.now = NOW + seconds
    watch.look(listed("gen9ou-9"))

    assert watch.seen.missing == missing
    assert ("gen9ou-9" in watch.known) is not bool(missing)


def test_what_is_given_up_is_visited_at_once_and_the_watch_ends(watch_of, now):
    watch = watch_of({"ROOMS_GIVE_UP": 600.0}, minutes="1")
    watch.look(listed("gen9ou-9"))
    now.now = NOW + 600
    watch.look(listed("gen9ou-9"))
    last = watch.look(listed("gen9ou-9"))

    assert last == []
    assert [visit.meta["overdue"] for visit in watch.visits] == [True]


def test_what_has_ended_after_too_long_is_not_given_up(watch_of, now):
    watch = watch_of({"ROOMS_GIVE_UP": 600.0}, minutes="1")
    watch.look(listed("gen9ou-9"))
    now.now = NOW + 600
    watch.look(listed())

    assert watch.seen.missing == (("gen9ou-9", False),)


def test_while_new_battles_are_taken_none_is_given_up(watch, now):
    watch.look(listed("gen9ou-9"))
    now.now = NOW + 100_000
    watch.look(listed("gen9ou-9"))

    assert watch.seen.missing == ()


def test_a_queue_that_drains_takes_no_new_battles_and_gives_up_old_ones(watch, now):
    watch.look(listed("gen9ou-9"))
    watch.queue.set_state("draining")
    watch.look(listed("gen9ou-10", "gen9ou-9"))
    before = watch.known
    now.now = NOW + 3600
    [again] = watch.look(listed("gen9ou-10", "gen9ou-9"))

    assert not watch.seen.takes_new
    assert list(before) == ["gen9ou-9"]
    assert watch.seen.missing == (("gen9ou-9", True),)
    assert again.meta["watcher"] == WATCHER
    assert watch.known == {}


# --- Watches of others ----------------------------------------------------------------------------


def test_a_watch_keeps_its_roster_whoever_looks(watch_of, spider_of):
    watch = watch_of(formats="gen9ou")
    watch.look(listed("gen9ou-9"))
    watch.spider = spider_of(formats="gen1ou")
    watch.look(listed("gen9ou-10"))

    assert watch.seen.name == watch.name == "rooms/gen9ou/*"
    assert list(watch.known) == ["gen9ou-10"]
    assert watch.queue.roster("rooms/gen1ou/*").members == {}


def test_a_watch_keeps_its_questions_whoever_looks(watch_of, spider_of):
    watch = watch_of(formats="gen9ou")
    watch.spider = spider_of(formats="gen1ou")
    [again] = watch.look(listed("gen9ou-9"))

    assert again.meta["plan"]["checks"] == ["gen9ou,,"]


# --- What a look says -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [BROKEN, b"", b"[]", b"null", b"1", b"{}", b'{"rooms":{}}', b'{"rooms":[],"complete":[]}'],
    ids=["HTML", "nothing", "a list", "null", "a number", "an object", "half", "no rooms"],
)
def test_a_bad_list_is_asked_for_again(spider, body):
    first = started(spider)
    lease = leased(first)

    [again] = called(first, body)

    assert (again.url, again.meta["retry_times"]) == (first.url, 1)
    assert (again.meta["watcher"], again.meta["plan"]) == (WATCHER, first.meta["plan"])
    assert lease.sighting is None
    assert stat(spider, "looks") is None


def test_a_list_that_stays_bad_does_not_end_the_watch(spider):
    first = started(spider)
    lease = leased(first, tries=2)
    lease.request = first
    lease.leased.fields[b"watcher"] = WATCHER.encode()

    assert called(first, BROKEN) == []
    assert lease.failure.reason.startswith("no list of battles: ")
    assert isinstance(lease.operation(), Return)


def test_a_look_says_how_well_it_went(watch):
    facts = {"asked": [",,", "gen9ou,,", "gen1ou,,"], "left": ["gen1uu,,"], "is_full": True}
    watch.look(listed("gen9ou-9", "gen1ou-8", total=5, complete=[], **facts))

    names = ("looks", "live", "questions", "missing", "cut")
    assert [stat(watch.spider, name) for name in names] == [1, 2, 4, 3, None]


@pytest.mark.parametrize(
    ("left", "total", "missing"),
    [(["gen1ou,,"], 5, 4), (["gen1ou,,"], 0, 0), (["gen1ou,,"], None, 0), ([], 2, 0)],
    ids=["some", "they ended meanwhile", "nobody knows", "they are hidden"],
)
def test_battles_are_missing_as_long_as_there_is_somewhere_to_look(watch, left, total, missing):
    watch.look(listed("gen9ou-9", total=total, left=left, is_full=True))

    assert stat(watch.spider, "missing") == missing


def test_what_was_listed_before_and_is_not_gone_counts_as_live(watch):
    watch.look(listed("gen9ou-9", "gen9ou-8"))
    watch.look(listed("gen9ou-10", complete=[]))
    before = stat(watch.spider, "live")
    watch.look(listed("gen9ou-10"))

    assert (before, stat(watch.spider, "live")) == (3, 1)


def test_a_list_that_cannot_be_had_whole_is_told_once(watch, caplog):
    for _ in range(2):
        watch.look(listed("gen9ou-9", is_cut=True))

    assert stat(watch.spider, "cut") == 2
    assert caplog.text.count("The server has more battles than it lists") == 1


@pytest.mark.parametrize(
    ("nearest", "message"),
    [
        ("gen9ou", "The server has no format 'gen9o': did you mean 'gen9ou'?"),
        ("", "The server has no format 'gen9o'"),
    ],
)
def test_a_format_that_the_server_lacks_is_told_once(watch, caplog, nearest, message):
    for _ in range(2):
        watch.look(listed(unknown={"gen9o": nearest}))

    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.message for record in told] == [message]


# --- Visits ---------------------------------------------------------------------------------------


def test_a_battle_that_has_ended_is_kept(spider):
    [battle] = called(room(spider), ENDED)

    assert isinstance(battle, Battle)
    assert (battle.id, battle.asked, battle.source) == ("gen9ou-9", "gen9ou-9", "room")
    assert (battle.winner, battle.fetched_at) == ("A", NOW)


def test_a_battle_that_goes_on_is_visited_again(spider_of, now):
    spider = spider_of({"ROOMS_AGAIN": 42.0})
    request = room(spider)
    leased(request, tries=1)
    now.now += 100

    [again] = called(request, RUNNING)

    assert again.url == request.url
    assert (again.meta["look_times"], again.meta["delay"]) == (1, 42.0)
    assert again.meta["roster"] == request.meta["roster"]
    assert "retry_times" not in again.meta
    assert again.cb_kwargs == {"since": NOW + 100}
    assert stat(spider, "not_ended_yet") == 1


@pytest.mark.parametrize(
    ("first", "delays"),
    [(60.0, [60.0, 120.0, 240.0, 480.0, 540.0, 540.0]), (1000.0, [1000.0, 1000.0])],
)
def test_visits_come_less_and_less_often_but_while_the_room_is_there(spider_of, first, delays):
    request, seen = room(spider_of({"ROOMS_AGAIN": first})), []
    for _ in delays:
        [request] = called(request, RUNNING)
        seen.append(request.meta["delay"])

    assert seen == delays


def test_a_battle_that_does_not_end_is_given_up(spider_of, now):
    spider = spider_of({"ROOMS_GIVE_UP": 600.0})
    request = room(spider)
    for seconds in (5000, 5599):
        now.now = NOW + seconds
        [request] = called(request, RUNNING)
    now.now = NOW + 5600

    [battle] = called(request, RUNNING)

    assert (battle.id, battle.ended) == ("gen9ou-9", None)
    assert stat(spider, "abandoned") == 1


def test_a_battle_that_was_given_up_while_it_was_listed_is_visited_once(spider):
    [battle] = called(room(spider, overdue="1"), RUNNING)

    assert (battle.id, battle.ended) == ("gen9ou-9", None)
    assert (stat(spider, "abandoned"), stat(spider, "not_ended_yet")) == (1, None)


def test_a_battle_that_has_ended_by_the_time_it_is_given_up_is_kept(spider):
    [again] = called(room(spider, overdue="1"), ENDED)
    [battle] = called(again, ENDED)

    assert again.meta["delay"] == 10.0
    assert battle.winner == "A"
    assert stat(spider, "abandoned") is None


def test_what_ended_after_a_visit_is_kept_once_it_has_settled(spider):
    [later] = called(room(spider), RUNNING)
    [again] = called(later, ENDED)
    hidden = called(again, b"", status=403)
    [battle] = called(again, ENDED)

    assert again.meta["delay"] == 10.0
    assert hidden == []
    assert battle.winner == "A"


def test_who_is_let_in_nowhere_comes_again_twice(spider):
    first = room(spider)

    [second] = called(first, b"", status=423)
    [third] = called(second, b"", status=423)
    before = stat(spider, "hidden")
    last = called(third, b"", status=423)

    assert [second.meta["delay"], third.meta["delay"]] == [60.0, 120.0]
    assert {second.url, third.url} == {first.url}
    assert last == []
    assert (before, stat(spider, "hidden"), stat(spider, "refused")) == (None, 1, 2)


def test_a_refusal_after_visits_on_which_the_battle_went_on_is_the_first(spider):
    request = room(spider)
    for _ in range(2):
        [request] = called(request, RUNNING)

    [again] = called(request, b"", status=423)

    assert again.url == request.url


def test_who_is_let_in_the_second_time_reads_the_battle(spider):
    [second] = called(room(spider), b"", status=423)

    [battle] = called(second, ENDED)

    assert battle.winner == "A"


def test_a_hidden_room_is_left_alone(spider):
    assert called(room(spider), ENDED, status=403) == []
    assert stat(spider, "hidden") == 1


def test_for_a_room_that_is_gone_the_replay_site_is_asked(spider):
    [request] = called(room(spider), b"", status=404)

    assert request.url == f"{REPLAYS}/gen9ou-9.json"
    assert request.callback == spider.parse_replay
    assert not request.meta
    assert stat(spider, "gone") == 1


def test_all_that_a_room_may_answer_reaches_the_spider(spider):
    assert {*STATUS.values()} == {200, *spider.handle_httpstatus_list}


def test_what_is_no_room_is_passed_over(spider):
    request = Request(f"{SERVER}?room=lobby", spider.parse_room)

    assert called(request, ENDED) == []


@pytest.mark.parametrize("kind", ["list", "room", "again", "replay"])
def test_a_request_outlives_its_worker(spider, kind):
    made = {
        "list": lambda: started(spider),
        "room": lambda: room(spider),
        "again": lambda: called(room(spider), RUNNING)[0],
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


# --- Staying in rooms -----------------------------------------------------------------------------


@pytest.fixture
def staying(watch_of) -> Watch:
    """The watch of a spider that joins rooms as soon as they are listed."""
    return watch_of({"ROOMS_STAY": 120.0}, minutes="2")


def test_who_stays_looks_into_every_battle_on_the_list(staying):
    *rooms, again = staying.look(listed("gen9ou-9", "gen1ou-8"))

    assert [request.url for request in rooms] == [
        f"{SERVER}?room=battle-gen9ou-9",
        f"{SERVER}?room=battle-gen1ou-8",
    ]
    assert {request.cb_kwargs["since"] for request in rooms} == {NOW}
    assert not any(request.dont_filter or request.meta for request in rooms)
    assert (again.meta["watcher"], again.meta["delay"]) == (WATCHER, 15.0)
    assert (staying.lease.sighting, staying.known) == (None, {})


def test_who_stays_is_late_like_anybody(staying):
    [again] = staying.look(listed(), age=20.0)

    assert again.meta["delay"] == 0.0
    assert stat(staying.spider, "late") == 1


def test_the_watch_of_who_stays_ends_with_the_minutes(staying):
    staying.clock.now += 120

    [request] = staying.look(listed("gen9ou-9"))

    assert request.url == f"{SERVER}?room=battle-gen9ou-9"
    assert staying.lease.is_over


def test_who_stays_gives_a_battle_up_by_when_it_was_found(spider_of, now):
    spider = spider_of({"ROOMS_STAY": 120.0, "ROOMS_GIVE_UP": 600.0})
    request = called(started(spider), listed("gen9ou-9"))[0]
    now.now += 600

    [battle] = called(request, RUNNING)

    assert battle.ended is None


def test_who_stays_asks_for_what_was_listed_before_and_is_gone(watch, spider_of):
    watch.look(listed("gen9ou-9"))
    watch.spider = spider_of({"ROOMS_STAY": 120.0})
    watch.look(listed())

    assert watch.known == {}


@pytest.mark.parametrize(
    ("stay", "arguments", "requests"),
    [(0.0, {}, 16), (120.0, {}, 200), (120.0, {"via": "browser"}, 4)],
    ids=["visits", "stays", "pages and the list"],
)
def test_who_stays_is_in_many_rooms_at_a_time(spider_of, stay, arguments, requests):
    limits = {"CONCURRENT_REQUESTS": 16, "CONCURRENT_REQUESTS_PER_DOMAIN": 16, "BROWSER_PAGES": 3}
    spider = spider_of({**limits, "ROOMS_STAY": stay}, **arguments)

    settings = spider.crawler.settings
    assert settings.getint("CONCURRENT_REQUESTS") == requests
    assert settings.getint("CONCURRENT_REQUESTS_PER_DOMAIN") == requests


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
    rooms = [room(spider_of(via=via)).url for via in ("socket", "browser")]

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
