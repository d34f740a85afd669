"""One connection to the crowd's server: what it may say, and what it is answered."""

from __future__ import annotations

import json
from dataclasses import replace
from heapq import heappop, heappush
from itertools import count

import pytest

from battles.parsers.frames import parse_formats, parse_query, split_frame
from battles.parsers.names import to_id
from sandbox.crowd_budget import Budget
from sandbox.crowd_faults import Faults
from sandbox.crowd_guest import Guest, Premises
from sandbox.crowd_plan import FORMATS, Plan
from sandbox.crowd_rooms import Rooms
from tests.conftest import Clock

NOW = 1_800_000_000.0
NOTICE = '|raw|<strong class="message-throttle-notice">'


class Timers:
    """What is to be called later, when the test moves the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: list = []
        self._order = count()

    def later(self, seconds: float, call) -> None:
        heappush(self._calls, (self._clock.now + seconds, next(self._order), call))

    def move(self, seconds: float) -> None:
        until = self._clock.now + seconds
        while self._calls and self._calls[0][0] <= until:
            self._clock.now, _, call = heappop(self._calls)
            call()
        self._clock.now = until


class Visit:
    """A guest, and what it heard; each message but those of a burst waits for its turn."""

    def __init__(self, **plan: object) -> None:
        given = {"live": 400, "rate": 4.0, "hide": 0.0, "drop": 0.0, "seed": 1} | plan
        self.clock = Clock(NOW)
        self.timers = Timers(self.clock)
        self.rooms = Rooms(Plan(**given), NOW)
        self.premises = Premises(self.rooms, self.timers.later, self.clock, self.clock)
        self.heard: list[str] = []
        self.guest = Guest(self.premises, self.heard.append)

    def say(self, message: str) -> list[str]:
        """Say something and return what it is answered at once."""
        self.timers.move(0.65)
        before = len(self.heard)
        self.guest.receive(message)
        return self.heard[before:]

    def ask(self, question: str) -> object:
        [answer] = self.say(f"|/cmd {question}")
        return parse_query(answer)[1]

    def listed(self, question: str = "") -> list[str]:
        return list(self.ask(f"roomlist {question}")["rooms"])


@pytest.fixture
def visit() -> Visit:
    return Visit()


# --- Budget ---------------------------------------------------------------------------------------


@pytest.fixture
def handled():
    """Times at which a budget let messages through, with the messages."""
    return []


@pytest.fixture
def timers(clock) -> Timers:
    return Timers(clock)


@pytest.fixture
def budget(clock, timers, handled) -> Budget:
    start = clock.now
    return Budget(lambda message: handled.append((clock.now - start, message)), clock, timers.later)


def test_one_message_goes_through_and_five_wait(budget, timers, handled):
    taken = [budget.take(message) for message in "abcdefgh"]
    timers.move(10.0)

    assert taken == [True] * 6 + [False] * 2
    assert [message for _, message in handled] == list("abcdef")
    assert [at for at, _ in handled] == pytest.approx([0.0, 0.6, 1.2, 1.8, 2.4, 3.0])


def test_messages_in_their_turn_go_through_at_once(budget, timers, handled):
    for message in "abcdefghij":
        budget.take(message)
        timers.move(0.61)

    assert [message for _, message in handled] == list("abcdefghij")


def test_a_message_that_comes_early_goes_through_in_its_turn(budget, timers, handled):
    budget.take("a")
    timers.move(0.5)
    budget.take("b")
    assert len(handled) == 1

    timers.move(0.11)

    assert handled[-1] == (pytest.approx(0.6), "b")


# --- What is said to everybody --------------------------------------------------------------------


def test_the_greeting_names_the_formats(visit):
    visit.guest.greet()

    lines = [line for frame in visit.heard for line in split_frame(frame)[1]]
    assert lines[0].startswith("|updateuser| Guest 1|0|")
    formats = [formats for line in lines if (formats := parse_formats(line))]
    assert formats == [[to_id(name) for name in FORMATS]]
    assert lines[-1].startswith("|challstr|4|")


# --- Questions ------------------------------------------------------------------------------------


def test_a_list_is_answered(visit):
    answer = visit.ask("roomlist gen9ou,,")

    assert answer == {"rooms": visit.rooms.listed("gen9ou")}
    assert answer["rooms"]


def test_the_count_of_battles_is_answered():
    visit = Visit(hide=0.5)

    count = visit.ask("rooms")["battleCount"]

    assert count == visit.rooms.numbers()["live"] > visit.rooms.numbers()["listed"]


def test_what_a_room_is_is_answered(visit):
    name = visit.listed()[0]

    assert visit.ask(f"roominfo {name}")["title"] == visit.rooms.find(name).battle.title
    none = {"id": "battle-gen9ou-1", "error": "not found or access denied"}
    assert visit.ask("roominfo battle-gen9ou-1") == none


def test_another_question_is_answered_with_nothing(visit):
    assert visit.say("|/cmd nosuch x") == ["|queryresponse|nosuch|null"]


# --- Rooms ----------------------------------------------------------------------------------------


def test_a_guest_joins_and_leaves(visit):
    name = visit.listed()[0]

    [frame] = visit.say(f"|/join {name}")

    room, lines = split_frame(frame)
    assert room == name
    assert lines[:2] == ["|init|battle", f"|title|{visit.rooms.find(name).battle.title}"]
    assert visit.say(f"|/join {name}") == []
    assert visit.say(f"{name}|/leave") == [f">{name}\n|deinit"]
    assert visit.guest.rooms == set()
    assert not visit.rooms.find(name).guests


def test_a_room_that_is_not_there_is_not_joined(visit):
    reason = 'The room "battle-gen9ou-1" does not exist.'
    expected = f">battle-gen9ou-1\n|noinit|nonexistent|{reason}"

    assert visit.say("|/join battle-gen9ou-1") == [expected]
    [error] = visit.say("|/leave battle-gen9ou-1")
    assert error.endswith("|/error The room 'battle-gen9ou-1' does not exist.")


def test_a_hidden_room_needs_a_name(visit):
    name = visit.listed()[0]
    room = visit.rooms.find(name)

    visit.rooms._hide(room)

    assert visit.say(f"|/join {name}")[0].split("\n")[1].startswith("|noinit|nonexistent|")
    assert visit.ask(f"roominfo {room.id}")["error"] == "not found or access denied"
    assert visit.say(f"|/join {room.id}")[0].split("\n")[1].startswith("|noinit|namerequired|")


def test_a_guest_is_in_fifty_rooms_at_most_and_the_lobby_is_one(visit):
    names = visit.listed()
    inits = visit.say(f"|/autojoin {','.join(names[:16])}")
    for name in names[16:49]:
        inits += visit.say(f"|/join {name}")

    refused = visit.say(f"|/join {names[49]}")

    lines = [line for frame in inits for line in frame.split("\n") if line.startswith("|init|")]
    assert lines == ["|init|chat"] + ["|init|battle"] * 49
    assert refused[-1] == f">{names[49]}\n|noinit||You can only join 50 rooms at a time."


@pytest.mark.parametrize(("rooms", "before"), [(17, 0), (1, 2)])
def test_many_rooms_are_joined_at_once_only_at_first(visit, rooms, before):
    names = visit.listed()
    for name in names[:before]:
        visit.say(f"|/join {name}")

    [popup] = visit.say(f"|/autojoin {','.join(names[-rooms:])}")

    assert popup.startswith("|popup|To prevent DoS attacks, you can only use /autojoin for 16")


@pytest.mark.parametrize("fault", ["joinfailed", "locked"])
def test_nobody_gets_in_while_there_is_a_fault(visit, fault):
    name = visit.listed()[0]
    visit.premises.faults = Faults(join=fault)

    [frame] = visit.say(f"|/join {name}")

    assert frame.startswith(f">{name}\n|noinit|joinfailed|")
    assert ("locked" in frame) == (fault == "locked")


def test_a_list_is_rubbish_while_there_is_a_fault(visit):
    visit.premises.faults = Faults(list="rubbish")

    assert visit.ask("roomlist ,,") is None


def test_whoever_is_gone_hears_nothing(visit):
    visit.say(f"|/join {visit.listed()[0]}")
    visit.guest.receive("|/cmd rooms")
    before = len(visit.heard)

    visit.guest.leave()
    visit.timers.move(600.0)
    visit.rooms.advance(visit.clock())

    assert len(visit.heard) == before
    assert visit.guest.numbers()["is_open"] is False


# --- Messages -------------------------------------------------------------------------------------


def test_what_is_over_budget_is_thrown_away_with_a_notice(visit):
    for _ in range(8):
        visit.guest.receive("|/cmd rooms")

    assert [frame.startswith(NOTICE) for frame in visit.heard] == [False, True, True]
    visit.timers.move(10.0)
    assert sum(frame.startswith("|queryresponse|rooms|") for frame in visit.heard) == 6


def test_lines_of_one_message_count_each(visit):
    visit.guest.receive("|/cmd rooms\n/cmd rooms\n/cmd rooms\n")
    visit.timers.move(10.0)

    assert len(visit.heard) == 3
    assert visit.guest.numbers()["messages"] == 3


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("|a\nb\nc\nd", ["|popup|You're sending too many lines at once."]),
        ("hello", ["|popup|Invalid message"]),
        ('{"a":1}|x', []),
        ("|/trn Somebody,0,", []),
        ("|/join", ["|pm|~|~|/text /join [roomname]"]),
    ],
)
def test_messages_that_make_no_sense(visit, message, answer):
    heard = visit.say(message)

    assert len(heard) == len(answer)
    assert all(frame.startswith(start) for frame, start in zip(heard, answer, strict=True))


def test_messages_and_their_gaps_are_counted(visit):
    visit.say("|/cmd rooms")
    visit.timers.move(0.5)
    visit.guest.receive("|/cmd rooms")
    for _ in range(6):
        visit.guest.receive("|/j lobby")
    visit.timers.move(60.0)
    visit.say("|/part lobby")
    visit.say("|/autojoin lobby")

    numbers = visit.guest.numbers()

    assert numbers["messages"] == 10
    assert numbers["gap_ms"] == 0.0
    assert (numbers["over_budget"], numbers["thrown_away"]) == (7, 2)
    assert visit.premises.counts.messages == {"rooms": 2, "join": 6, "leave": 1, "autojoin": 1}


def test_the_smallest_gap_is_told_in_milliseconds(visit):
    for seconds in (0.0, 0.7, 0.6004, 2.0):
        visit.timers.move(seconds)
        visit.guest.receive("|/cmd rooms")

    assert visit.guest.numbers()["gap_ms"] == 600.4


def test_looks_are_counted_by_their_first_question(visit):
    for question in ("gen9ou,,", "gen9uu,,", ",,", "", ",,a"):
        visit.ask(f"roomlist {question}")

    assert len(visit.premises.counts.looks) == 3


# --- Faults ---------------------------------------------------------------------------------------


def test_faults_begin_and_end():
    faults = Faults().changed({"handshake": 403, "binary": True})

    assert faults == Faults(handshake=403, binary=True)
    assert faults.is_shut
    assert faults.changed({"handshake": None, "binary": False}) == Faults()


@pytest.mark.parametrize("name", ["handshake", "close", "silent"])
def test_some_faults_keep_everybody_out(name):
    values = {"handshake": 503, "close": "at once", "silent": True}

    assert replace(Faults(), **{name: values[name]}).is_shut
    assert not Faults(join="locked", binary=True, list="rubbish").is_shut


@pytest.mark.parametrize("wrong", [{"handshake": 200}, {"nosuch": 1}, [], {"list": "good"}])
def test_faults_that_there_are_not_are_refused(wrong):
    with pytest.raises(ValueError, match=r"handshake=200|unknown nosuch|not an object|list='good'"):
        Faults().changed(wrong)


def test_answers_are_compact_json(visit):
    [answer] = visit.say("|/cmd roominfo ü")

    assert answer == (
        "|queryresponse|roominfo|"
        + json.dumps(
            {"id": "ü", "error": "not found or access denied"},
            ensure_ascii=False,
            separators=(",", ":"),
        )
    )
