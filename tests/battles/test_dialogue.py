"""What is said to the battle server, and what becomes of its answers.

Nothing waits: the loop's clock moves on whenever all would.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Coroutine
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scrapy import Request
from scrapy.exceptions import DownloadTimeoutError
from scrapy.http import Response
from scrapy.settings import Settings

from battles.dialogue import ShowdownDialogue
from battles.listing import Plan, Seen, read_look
from battles.parsers.frames import SHOWN, Room
from extensions.throttle import HeldError
from extensions.websocket import LostError, ServerRefusedError
from tests.conftest import examples

SITE = "wss://server/showdown/websocket"
NOTICE = '|raw|<strong class="message-throttle-notice">Your message was not sent.</strong>'
LOG = ["|player|p1|A|1|", "|player|p2|B|1|", "|turn|1"]
ROOMLIST = "|/cmd roomlist "
RATING = "|raw|A's rating: 1 &rarr; <strong>2"
FORMATS = "|formats|,1|S|[Gen 9] OU,e|[Gen 1] OU,e"
SAID = re.compile(r"\|/(?:(?:join|leave) battle-\S+|autojoin [^ ]+|cmd (?:rooms|roomlist \S*))")


class InstantLoop(asyncio.SelectorEventLoop):
    """A loop that does not wait: its clock moves to what comes next."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        select = self._selector.select

        def skip(seconds: float | None) -> list:
            assert seconds is not None, "it waits for what will never come"
            self.now += max(0.0, seconds)
            return select(0)

        self._selector.select = skip

    def time(self) -> float:
        return self.now


class Wire:
    """A connection, and at its other end what the test wants to be said."""

    def __init__(self, **given: object) -> None:
        self.loop = asyncio.get_running_loop()
        self.sent: list[str] = []
        self.times: list[float] = []
        self.has_left = asyncio.Event()
        """Set when a room was left."""
        self.answers = True
        """Whether the server says anything."""
        self.confirms = True
        """Whether it says that a room is left."""
        self.thrown_away = 0
        """How many of the next messages the server throws away."""
        self.log = LOG
        """What a room shows when it is joined."""
        self.live = {"battle-gen9ou-1": {"minElo": 1200, "p1": "Ann", "p2": "Bob"}}
        self.live_of: dict[str, dict] = {}
        """What is listed for a question in place of that."""
        self.total: int | None = None
        """Of all live battles; None for those that are listed."""
        self.end: list[str] | None = ["|win|A"]
        """What is said in a room one second after it is joined."""
        self.dialogue = ShowdownDialogue(
            self._send, Settings({"DOWNLOAD_TIMEOUT": 60.0, **given}), clock=self.loop.time
        )
        self._running = asyncio.create_task(self.dialogue.run())

    @property
    def joined(self) -> list[str]:
        return [name for text in self.sent for name in _rooms(text, "join", "autojoin")]

    @property
    def asked(self) -> list[str]:
        """The questions for the list, without the command."""
        return [text.removeprefix(ROOMLIST) for text in self.sent if text.startswith(ROOMLIST)]

    @property
    def left(self) -> list[str]:
        return [name for text in self.sent for name in _rooms(text, "leave")]

    def ask(self, question: str, **meta: object) -> asyncio.Task[Response]:
        request = Request(f"{SITE}?{question}", meta=meta)
        return asyncio.create_task(self.dialogue.answer(request))

    def look(self, *numbers: int) -> list[asyncio.Task[Response]]:
        return [self.ask(f"room=battle-gen9ou-{number}") for number in numbers]

    def say(self, *lines: str, room: str = "") -> None:
        self.dialogue.received("\n".join([f">{room}", *lines] if room else lines))

    def say_later(self, seconds: float, *lines: str, room: str = "") -> None:
        self.loop.call_later(seconds, lambda: self.say(*lines, room=room))

    async def _send(self, text: str) -> None:
        self.sent.append(text)
        self.times.append(self.loop.time())
        if self.left:
            self.has_left.set()
        if self.thrown_away:
            self.thrown_away -= 1
            self.say_later(0.01, NOTICE)
        elif self.answers:
            self._answer(text)

    def _answer(self, text: str) -> None:
        for room in _rooms(text, "join", "autojoin"):
            self.say_later(0.1, "|init|battle", *self.log, room=room)
            if self.end is not None:
                self.say_later(1.1, *self.end, room=room)
        for room in _rooms(text, "leave") if self.confirms else []:
            self.say_later(0.1, "|deinit", room=room)
        if text.startswith(ROOMLIST):
            rooms = self.live_of.get(text.removeprefix(ROOMLIST), self.live)
            self.say_later(0.2, f"|queryresponse|roomlist|{json.dumps({'rooms': rooms})}")
        if text == "|/cmd rooms":
            count = json.dumps({"battleCount": self.total or len(self.live)})
            self.say_later(0.2, f"|queryresponse|rooms|{count}")


def _rooms(text: str, *commands: str) -> list[str]:
    command, _, names = text.partition(" ")
    return names.split(",") if command.removeprefix("|/") in commands else []


def play(scene: Coroutine) -> object:
    with asyncio.Runner(loop_factory=InstantLoop) as runner:
        return runner.run(scene)


def battles(first: int, last: int) -> dict[str, dict]:
    """Return what a list holds of the battles of these numbers."""
    return {name: {"p1": "Ann", "p2": "Bob"} for name in names(first, last)}


def names(first: int, last: int) -> list[str]:
    return [f"battle-gen9ou-{number}" for number in range(first, last + 1)]


# --- Messages -------------------------------------------------------------------------------------


def test_two_messages_are_never_too_close():
    async def scene() -> Wire:
        wire = Wire()
        await asyncio.gather(*wire.look(*range(40)), *(wire.ask("list") for _ in range(10)))
        return wire

    wire = play(scene())

    assert len(wire.joined) == 40
    assert len(wire.sent) > 30
    assert min(b - a for a, b in pairwise(wire.times)) >= 0.65 - 1e-6


def test_the_pause_between_messages_can_be_set():
    async def scene() -> Wire:
        wire = Wire(ROOMS_MESSAGE_INTERVAL=2.5)
        await asyncio.gather(wire.ask("list"), *wire.look(1, 2))
        return wire

    wire = play(scene())

    assert min(b - a for a, b in pairwise(wire.times)) >= 2.5 - 1e-6


def test_a_fresh_connection_joins_sixteen_rooms_at_once_and_the_others_one_by_one():
    async def scene() -> Wire:
        wire = Wire(ROOMS_STAY=5.0)
        await asyncio.gather(*wire.look(*range(20)))
        await asyncio.gather(*wire.look(*range(100, 110)))
        return wire

    joins = [text for text in play(scene()).sent if "join" in text]

    assert joins[0] == f"|/autojoin {','.join(names(0, 15))}"
    assert joins[1:] == [f"|/join {room}" for room in [*names(16, 19), *names(100, 109)]]


def test_one_room_alone_is_joined_by_itself():
    async def scene() -> Wire:
        wire = Wire()
        await asyncio.gather(*wire.look(1))
        await asyncio.gather(*wire.look(2, 3))
        return wire

    assert play(scene()).sent[0] == "|/join battle-gen9ou-1"


def test_questions_and_rooms_take_turns():
    async def scene() -> Wire:
        wire = Wire(ROOMS_STAY=5.0)
        await asyncio.gather(*wire.look(1, 2), wire.ask("list"), wire.ask("list"))
        return wire

    said = [text.partition(" ")[0] for text in play(scene()).sent]

    assert said[:3] == ["|/cmd", "|/autojoin", "|/cmd"]


@pytest.mark.parametrize("number", [1, 3, 8])
def test_what_the_server_throws_away_is_sent_again(number):
    async def scene() -> tuple[Wire, list]:
        wire = Wire()
        wire.thrown_away = number
        return wire, await asyncio.gather(*wire.look(*range(20)), wire.ask("list"))

    wire, answers = play(scene())

    assert [answer.status for answer in answers] == [200] * 21
    assert wire.dialogue.counts["thrown_away"] == number


def test_after_a_message_was_thrown_away_there_is_silence():
    async def scene() -> Wire:
        wire = Wire()
        wire.thrown_away = 1
        await asyncio.gather(wire.ask("list"))
        return wire

    wire = play(scene())

    assert wire.sent[:2] == ["|/cmd roomlist ,,"] * 2
    assert wire.times[1] - wire.times[0] >= 3.0


def test_what_was_answered_is_not_sent_again():
    async def scene() -> Wire:
        wire = Wire()
        await wire.ask("list")
        wire.say(NOTICE)
        await asyncio.sleep(30)
        return wire

    assert play(scene()).sent.count("|/cmd roomlist ,,") == 1


questions = st.lists(st.sampled_from(["list", "list&formats=gen9ou&min_elo=1000"]), max_size=3)


@settings(deadline=None, max_examples=examples(25))
@given(questions, st.lists(st.integers(0, 99), unique=True, max_size=49), st.integers(0, 5))
def test_nothing_is_said_but_what_a_guest_may_say(lists, rooms, thrown_away):
    async def scene() -> tuple[Wire, list]:
        wire = Wire()
        wire.thrown_away = thrown_away
        answers = await asyncio.gather(*wire.look(*rooms), *map(wire.ask, lists))
        await asyncio.sleep(60)
        return wire, answers

    wire, answers = play(scene())

    assert {answer.status for answer in answers} <= {200}
    assert all(SAID.fullmatch(text) for text in wire.sent)
    assert all(b - a >= 0.65 - 1e-6 for a, b in pairwise(wire.times))
    assert sum(text.startswith("|/autojoin") for text in wire.sent) <= 1
    assert set(wire.left) == set(wire.joined)


# --- Rooms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("log", [LOG, [*LOG, "|win|A"]], ids=["goes on", "has ended"])
def test_a_visit_reads_what_is_there_and_takes_two_messages(log):
    async def scene() -> tuple[Wire, Response, float]:
        wire = Wire(ROOMS_STAY=0.0)
        wire.log, wire.end = log, ["|win|too late"]
        begun = wire.loop.time()
        [answer] = await asyncio.gather(*wire.look(1))
        took = wire.loop.time() - begun
        await asyncio.sleep(5)
        return wire, answer, took

    wire, answer, took = play(scene())

    assert (answer.status, answer.text.splitlines()) == (200, log)
    assert wire.sent == ["|/join battle-gen9ou-1", "|/leave battle-gen9ou-1"]
    assert took < 1


def test_who_stays_reads_a_battle_to_its_end():
    async def scene() -> tuple[Wire, Response]:
        wire = Wire(ROOMS_STAY=120.0)
        [answer] = await asyncio.gather(*wire.look(1))
        await asyncio.sleep(5)
        return wire, answer

    wire, answer = play(scene())

    assert answer.status == 200
    assert answer.text.splitlines() == [*LOG, "|win|A"]
    assert wire.sent == ["|/join battle-gen9ou-1", "|/leave battle-gen9ou-1"]


@pytest.mark.parametrize("ratings", [2, 1, 0], ids=["both", "one", "none"])
def test_who_stays_waits_after_the_end_until_all_has_settled(ratings):
    async def scene() -> tuple[float, Response]:
        wire = Wire(ROOMS_STAY=120.0, ROOMS_SETTLE=8.0)
        wire.end = ["|rated|", "|win|A"]
        for _ in range(ratings):
            wire.say_later(2.2, RATING, room="battle-gen9ou-1")
        begun = wire.loop.time()
        [answer] = await asyncio.gather(*wire.look(1))
        return wire.loop.time() - begun, answer

    took, answer = play(scene())

    assert took == pytest.approx(9.1, abs=0.2)
    assert answer.text.count("rating: ") == ratings


@pytest.mark.parametrize(("seconds", "status"), [(7.5, 403), (8.5, 200)], ids=["in time", "later"])
def test_whoever_hides_a_battle_until_it_has_settled_is_heeded(seconds, status):
    async def scene() -> Response:
        wire = Wire(ROOMS_STAY=120.0, ROOMS_SETTLE=8.0)
        wire.end = ["|rated|", "|win|A", RATING, RATING]
        wire.say_later(1.2 + seconds, "|deinit", room="battle-gen9ou-1")
        [answer] = await asyncio.gather(*wire.look(1))
        return answer

    assert play(scene()).status == status


def test_a_battle_that_goes_on_is_left_after_a_while():
    async def scene() -> tuple[float, Response]:
        wire = Wire(ROOMS_STAY=120.0)
        wire.end = None
        begun = wire.loop.time()
        [answer] = await asyncio.gather(*wire.look(1))
        return wire.loop.time() - begun, answer

    took, answer = play(scene())

    assert took == pytest.approx(120.2, abs=0.2)
    assert (answer.status, answer.text.splitlines()) == (200, LOG)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["|noinit|nonexistent|The room does not exist."], 404),
        (["|noinit|namerequired|The room requires a login."], 403),
        (["|noinit|joinfailed|The room is invite-only."], 423),
        (["|noinit|somethingnew|?"], 423),
        (["|init|battle", "|turn|1", "|noinit|rename|battle-gen9ou-1-xpw|A"], 403),
        (["|init|battle", "|turn|1", "|deinit"], 403),
        (["|init|battle", "|turn|1", "|expire|"], 200),
    ],
    ids=["gone", "a name wanted", "invited only", "unknown", "renamed", "hidden", "expired"],
)
def test_the_status_says_what_became_of_a_room(lines, status):
    async def scene() -> Response:
        wire = Wire()
        await asyncio.gather(*wire.look(2))
        wire.answers = False
        wire.say_later(1.0, *lines, room="battle-gen9ou-1")
        [answer] = await asyncio.gather(*wire.look(1))
        return answer

    assert play(scene()).status == status


def test_a_visitor_joins_rooms_one_by_one():
    async def scene() -> Wire:
        wire = Wire()
        await asyncio.gather(*wire.look(1, 2))
        return wire

    # The server says nothing of a hidden room that is joined together with others.
    assert [text for text in play(scene()).sent if "autojoin" in text] == []


def test_a_room_of_a_full_connection_waits_for_another_time():
    async def scene() -> None:
        wire = Wire()
        wire.answers = False
        wire.say_later(1.0, "|noinit||You can only join 50 rooms.", room="battle-gen9ou-1")
        await asyncio.gather(*wire.look(1))

    with pytest.raises(HeldError) as held:
        play(scene())

    assert held.value.seconds == 30.0


def test_the_latency_is_the_time_of_the_answer_without_our_own_turn():
    async def scene() -> list[float]:
        wire = Wire()
        requests = [Request(f"{SITE}?room={room}") for room in names(1, 20)]
        await asyncio.gather(*map(wire.dialogue.answer, requests))
        return [request.meta["download_latency"] for request in requests]

    assert play(scene()) == pytest.approx([0.1] * 20)


def test_a_connection_takes_as_many_rooms_as_it_may():
    room, listing = Request(f"{SITE}?room=battle-gen9ou-100"), Request(f"{SITE}?list")

    async def scene() -> list[bool]:
        wire = Wire(ROOMS_STAY=120.0)
        accepted = [wire.dialogue.accepts(room)]
        wire.look(*range(48))
        await asyncio.sleep(0)
        accepted.append(wire.dialogue.accepts(room))
        wire.look(48)
        await asyncio.sleep(0)
        return [*accepted, wire.dialogue.accepts(room), wire.dialogue.accepts(listing)]

    assert play(scene()) == [True, True, False, True]


@pytest.mark.parametrize(
    ("stay", "accepted"),
    [(0.0, [True, True, False, True]), (120.0, [True, True, True, True])],
    ids=["visits", "stays"],
)
def test_a_connection_with_two_messages_to_send_takes_no_more_visits(stay, accepted):
    room, listing = Request(f"{SITE}?room=battle-gen9ou-100"), Request(f"{SITE}?list")

    async def scene() -> list[bool]:
        wire, accepted = Wire(ROOMS_STAY=stay), []
        for number in range(3):
            accepted.append(wire.dialogue.accepts(room))
            wire.look(number)
            await asyncio.sleep(0)
        return [*accepted, wire.dialogue.accepts(listing)]

    assert play(scene()) == accepted


def test_a_connection_whose_visits_are_over_takes_others():
    async def scene() -> bool:
        wire = Wire()
        await asyncio.gather(*wire.look(1, 2, 3))
        await asyncio.sleep(5)
        return wire.dialogue.accepts(Request(f"{SITE}?room=battle-gen9ou-100"))

    assert play(scene())


@pytest.mark.parametrize(
    ("is_confirmed", "seconds", "has_room"),
    [(True, 0.0, False), (True, 1.0, True), (False, 4.9, False), (False, 6.0, True)],
    ids=["not left yet", "left", "not confirmed", "overdue"],
)
def test_a_room_keeps_its_place_until_it_is_left(is_confirmed, seconds, has_room):
    async def scene() -> bool:
        wire = Wire(ROOMS_PER_CONNECTION=1)
        wire.confirms = is_confirmed
        await asyncio.gather(*wire.look(1))
        await asyncio.sleep(seconds)
        return wire.dialogue.accepts(Request(f"{SITE}?room=battle-gen9ou-2"))

    assert play(scene()) is has_room


@pytest.mark.parametrize(
    ("pause", "is_confirmed", "joins"),
    [(0.0, True, 1), (0.05, True, 2), (3.0, False, 2)],
    ids=["before it is left", "while it is left", "when the server does not say so"],
)
def test_a_room_can_be_looked_into_again(pause, is_confirmed, joins):
    async def scene() -> tuple[Wire, Response]:
        wire = Wire(ROOMS_STAY=0.45)
        wire.end, wire.confirms = None, is_confirmed
        await asyncio.gather(*wire.look(1))
        if pause:
            await wire.has_left.wait()
            await asyncio.sleep(pause)
        [answer] = await asyncio.gather(*wire.look(1))
        return wire, answer

    wire, answer = play(scene())

    assert (answer.status, answer.text.splitlines()) == (200, LOG)
    assert len(wire.joined) == joins


# --- The list -------------------------------------------------------------------------------------


def seen(answer: Response) -> Seen:
    return read_look(answer.body)


def test_a_list_names_the_rooms_with_their_ratings_and_players():
    async def scene() -> Response:
        return await Wire().ask("list&formats=&min_elo=")

    look = seen(play(scene()))

    assert look.rooms == {"gen9ou-1": Room("gen9ou-1", 1200, ("ann", "bob"))}
    assert (look.asked, look.left, look.total, look.is_cut) == ([",,"], [], None, False)
    assert look.seconds == pytest.approx(0.3, abs=0.1)


def test_a_list_is_of_the_formats_and_ratings_asked_for():
    async def scene() -> tuple[Wire, Response]:
        wire = Wire()
        return wire, await wire.ask("list&formats=gen9ou,gen1ou&min_elo=1500")

    wire, answer = play(scene())

    assert wire.asked == ["gen9ou,1500,", "gen1ou,1500,"]
    assert seen(answer).asked == wire.asked


@pytest.mark.parametrize(
    ("question", "shown", "total"),
    [
        ("list", SHOWN - 1, None),
        ("list", SHOWN, 150),
        ("list&min_elo=1500", SHOWN, None),
        ("list&formats=gen9ou", SHOWN, None),
    ],
    ids=["all are shown", "there may be more", "of a rating", "of a format"],
)
def test_how_many_there_are_is_asked_only_when_all_were_asked_for_and_not_shown(
    question, shown, total
):
    async def scene() -> tuple[Wire, Response]:
        wire = Wire()
        wire.live, wire.total = battles(1, shown), 150
        return wire, await wire.ask(question, plan=Plan(room=1).write())

    wire, answer = play(scene())

    assert seen(answer).total == total
    assert ("|/cmd rooms" in wire.sent) is (total is not None)
    assert len(seen(answer).rooms) == shown


def full(wire: Wire, **facts: object) -> asyncio.Task[Response]:
    """Ask for a list that shows no more than a hundred, all of them known, by a plan."""
    wire.live_of = {",,": battles(1, SHOWN)}
    plan = Plan(newest={",,": SHOWN}, asked={",,": 1}, **facts)
    return wire.ask("list", plan=plan.write())


def test_questions_come_in_the_order_of_the_plan():
    async def scene() -> Wire:
        wire = Wire()
        await full(wire, todo=["gen3ou,,", "gen4ou,,"], checks=["gen2ou,,", "gen1ou,,"])
        return wire

    assert play(scene()).asked == [",,", "gen3ou,,", "gen2ou,,", "gen4ou,,", "gen1ou,,"]


def test_the_formats_that_were_not_asked_for_the_longest_come_first():
    async def scene() -> Wire:
        wire = Wire()
        plan = Plan(asked={"gen9ou,,": 2, "gen1ou,,": 1})
        await wire.ask("list&formats=gen9ou,gen1ou", plan=plan.write())
        return wire

    assert play(scene()).asked == ["gen1ou,,", "gen9ou,,"]


def test_no_more_is_asked_than_the_plan_has_room_for():
    async def scene() -> tuple[Wire, Response]:
        wire = Wire()
        return wire, await full(wire, room=2, todo=["gen3ou,,", "gen4ou,,"], checks=["gen1ou,,"])

    wire, answer = play(scene())

    assert wire.sent == ["|/cmd roomlist ,,", "|/cmd roomlist gen3ou,,", "|/cmd rooms"]
    assert (seen(answer).asked, seen(answer).left) == ([",,", "gen3ou,,"], ["gen4ou,,"])


def test_a_list_that_shows_only_new_ones_is_split():
    async def scene() -> tuple[Wire, Response]:
        wire = Wire()
        wire.live = battles(2, SHOWN)
        wire.live_of = {",,": battles(1, SHOWN)}
        return wire, await wire.ask("list")

    wire, answer = play(scene())

    assert wire.asked == [",,", "gen9ou,,"]
    assert len(seen(answer).rooms) == SHOWN


@pytest.mark.parametrize(
    ("shown", "formats"), [(SHOWN, ["gen9ou", "gen1ou"]), (SHOWN - 1, [])], ids=["full", "all"]
)
def test_a_list_that_may_lack_some_names_all_formats(shown, formats):
    async def scene() -> Response:
        wire = Wire()
        wire.say(FORMATS)
        wire.live = battles(1, shown)
        return await wire.ask("list", plan=Plan(room=1).write())

    assert seen(play(scene())).formats == formats


def test_formats_that_the_server_lacks_are_told():
    async def scene() -> Response:
        wire = Wire()
        wire.say(FORMATS)
        return await wire.ask("list&formats=gen9o,gen1ou")

    assert seen(play(scene())).unknown == {"gen9o": "gen9ou"}


def test_a_late_or_strange_answer_is_nobodys():
    async def scene() -> Response:
        wire = Wire()
        wire.say('|queryresponse|roomlist|{"rooms":{}}', "|queryresponse|userdetails|{}", "x")
        return await wire.ask("list")

    assert list(seen(play(scene())).rooms) == ["gen9ou-1"]


# --- What goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "message"),
    [("list", "no answer"), ("room=battle-gen9ou-1", "the server does not let us in")],
)
def test_a_server_that_says_nothing_times_out(question, message):
    async def scene() -> None:
        wire = Wire(DOWNLOAD_TIMEOUT=30.0)
        wire.answers = False
        await wire.ask(question)

    with pytest.raises(DownloadTimeoutError, match=message):
        play(scene())


def test_after_a_time_out_the_next_question_is_asked():
    async def scene() -> list:
        wire = Wire()
        wire.answers = False
        first, second = wire.ask("list"), wire.ask("list")
        wire.loop.call_later(50, lambda: setattr(wire, "answers", True))
        return await asyncio.gather(first, second, return_exceptions=True)

    first, second = play(scene())

    assert isinstance(first, DownloadTimeoutError)
    assert second.status == 200


def test_whoever_waits_on_a_lost_connection_is_told():
    async def scene() -> tuple[list, bool]:
        wire = Wire(ROOMS_STAY=120.0)
        wire.end = None
        watched = wire.look(1, 2)
        await asyncio.sleep(5)
        wire.answers = False
        waiting = [*watched, *wire.look(3), wire.ask("list"), wire.ask("list")]
        wire.loop.call_later(10, wire.dialogue.lost)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        return outcomes, wire.dialogue.accepts(Request(f"{SITE}?list"))

    outcomes, accepts = play(scene())

    assert [type(outcome) for outcome in outcomes] == [LostError] * 5
    assert not accepts


def test_a_lost_connection_takes_no_questions():
    async def scene() -> list:
        wire = Wire()
        wire.dialogue.lost()
        return await asyncio.gather(wire.ask("list"), *wire.look(1), return_exceptions=True)

    assert [type(outcome) for outcome in play(scene())] == [LostError, LostError]


def test_leaving_takes_what_there_is_and_puts_off_the_rest():
    async def scene() -> list:
        wire = Wire(ROOMS_STAY=120.0)
        wire.end = None
        watched = wire.look(1)
        await asyncio.sleep(5)
        wire.answers = False
        watched += wire.look(2)
        wire.loop.call_later(1, wire.dialogue.leave)
        begun = wire.loop.time()
        outcomes = await asyncio.gather(*watched, return_exceptions=True)
        return [*outcomes, wire.loop.time() - begun]

    watched, waiting, took = play(scene())

    assert (watched.status, watched.text.splitlines()) == (200, LOG)
    assert isinstance(waiting, HeldError)
    assert took < 2


def test_whatever_is_said_changes_nothing_for_others():
    async def scene() -> tuple[Wire, Response]:
        wire = Wire()
        asked = wire.ask("list")
        for frame in ["", ">", ">x", "\n\n", "|", ">battle-gen9ou-9\n|win|A", "x" * 10_000_000]:
            wire.dialogue.received(frame)
        return wire, await asked

    wire, answer = play(scene())

    assert answer.status == 200
    assert wire.dialogue.counts["unknown"] > 0


# --- What went wrong once -------------------------------------------------------------------------


def test_who_asks_for_a_room_that_is_being_joined_waits_for_it():
    async def scene():
        wire = Wire()
        return await asyncio.gather(*wire.look(1, 1))

    assert [a.status for a in play(scene())] == [200, 200]


def test_a_room_whose_joining_timed_out_can_be_asked_for_again():
    async def scene():
        wire = Wire(DOWNLOAD_TIMEOUT=1.0)
        wire.thrown_away = 1
        await asyncio.gather(*wire.look(1), return_exceptions=True)
        [second] = await asyncio.gather(*wire.look(1), return_exceptions=True)
        return second

    second = play(scene())
    assert not isinstance(second, KeyError), repr(second)


def test_a_room_that_was_left_is_not_left_again_when_it_is_joined_again():
    async def scene():
        wire = Wire(ROOMS_STAY=1.0)
        wire.end = None
        await asyncio.gather(*wire.look(1))
        await asyncio.sleep(2)
        asked = wire.look(1)
        wire.say_later(0.7, NOTICE)
        await asyncio.gather(*asked)
        await asyncio.sleep(10)
        return wire

    wire = play(scene())
    assert wire.left == ["battle-gen9ou-1"] * 2


def test_what_a_spectator_says_is_no_notice():
    async def scene():
        wire = Wire(ROOMS_STAY=120.0)
        wire.say_later(0.5, "|c|Z|message-throttle-notice", room="battle-gen9ou-1")
        [a] = await asyncio.gather(*wire.look(1))
        return wire, a

    wire, answer = play(scene())
    assert wire.dialogue.counts["thrown_away"] == 0
    assert "|c|Z|message-throttle-notice" in answer.text


def test_a_list_that_is_none_is_a_refusal_of_the_server():
    async def scene():
        wire = Wire()
        wire.answers = False
        wire.say_later(1.0, "|queryresponse|roomlist|null")
        return (await asyncio.gather(wire.ask("list"), return_exceptions=True))[0]

    assert isinstance(play(scene()), ServerRefusedError)


@pytest.mark.parametrize(
    "line", ["|noinit|joinfailed|You are locked.", "|noinit|odd|You are locked."]
)
def test_a_server_that_lets_us_in_nowhere_refuses_us(line):
    async def scene() -> tuple[list, list]:
        wire = Wire()
        await asyncio.gather(*wire.look(9))
        wire.answers = False
        tasks = wire.look(1, 2, 3, 4)
        for number in range(1, 5):
            wire.say_later(3.0 + number, line, room=f"battle-gen9ou-{number}")
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        wire.answers = True
        [after] = await asyncio.gather(*wire.look(5))
        wire.answers = False
        wire.say_later(2.0, line, room="battle-gen9ou-6")
        [single] = await asyncio.gather(*wire.look(6))
        return answers, [after.status, single.status]

    answers, later = play(scene())

    # The second may be about us, the third is.
    assert answers[0].status == 423
    assert isinstance(answers[1], HeldError)
    assert [str(answer) for answer in answers[2:]] == [
        "it lets us into no room: You are locked."
    ] * 2
    assert all(isinstance(answer, ServerRefusedError) for answer in answers[2:])
    assert later == [200, 423]


def test_a_join_that_was_never_sent_is_no_latency():
    async def scene():
        wire = Wire(DOWNLOAD_TIMEOUT=5.0)
        wire.dialogue._outbox._silent_until = wire.loop.time() + 60
        await asyncio.gather(*wire.look(1), return_exceptions=True)
        return wire.dialogue.latency

    assert play(scene()) < 10


def test_a_room_that_two_watch_is_left_by_the_last():
    async def scene():
        wire = Wire(ROOMS_STAY=20.0)
        wire.end = None
        first = wire.look(1)
        await asyncio.sleep(10)
        second = wire.look(1)
        return await asyncio.gather(*first, *second)

    assert [a.status for a in play(scene())] == [200, 200]


# --- What the connection asks ---------------------------------------------------------------------


def test_the_list_is_a_kind_of_its_own():
    kinds = [
        ShowdownDialogue.kind(Request(f"{SITE}?{question}"))
        for question in ("list=&formats=gen9ou", "list", "room=battle-gen9ou-1", "room=list")
    ]

    assert kinds == ["list", "list", "", ""]


def test_the_last_notice_is_kept_as_one_short_line():
    async def scene() -> list[str]:
        wire = Wire()
        notices = [wire.dialogue.notice]
        wire.say("|popup|You are locked.||Wait.")
        notices.append(wire.dialogue.notice)
        wire.say("|bigerror|\x1b[2J" + "x" * 900)
        notices.append(wire.dialogue.notice)
        return notices

    first, second, third = play(scene())

    assert (first, second) == ("", "You are locked. Wait.")
    assert (third[:5], len(third)) == ("?[2Jx", 200)
