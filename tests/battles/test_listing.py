from __future__ import annotations

import random
from dataclasses import dataclass, field
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from battles.listing import Look, Plan, Question, read_look, tops
from battles.parsers.frames import SHOWN, Room, RoomList
from battles.parsers.names import format_of
from battles.parsers.reply import BadReplyError
from tests.conftest import examples

FORMATS = ["gen9ou", "gen9uu", "gen1ou", "gen9randombattle"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass
class Server:
    """Answers as the real one does: at most a hundred, the newest first."""

    live: dict[str, Room] = field(default_factory=dict)
    hidden: int = 0
    asked: list[Question] = field(default_factory=list)
    number: int = 0

    def begin(self, count: int = 1, format: str = "gen9ou", name: str = "", elo=None) -> None:
        for _ in range(count):
            self.number += 1
            letter = LETTERS[self.number % len(LETTERS)]
            players = (f"{name or letter}{self.number}a", f"{name or letter}{self.number}b")
            id = f"{format}-{self.number}"
            self.live[id] = Room(id, elo, players)

    def answer(self, question: Question) -> RoomList:
        self.asked.append(question)
        least = question.min_elo or 0
        fitting = [
            room
            for room in reversed(self.live.values())
            if question.fits(room.id, room.players) and (room.min_elo or 0) >= least
        ]
        rooms = tuple(fitting[:SHOWN])
        return RoomList(rooms, len(rooms))


@dataclass
class Watch:
    """Looks at a server again and again, and keeps a roster as the spider does."""

    server: Server
    formats: tuple[str, ...] = ()
    min_elo: int | None = None
    room: int = 20
    known: dict[str, tuple[str, ...]] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    plan: Plan = field(default_factory=Plan)

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self._look()

    def _look(self) -> None:
        self.server.asked.clear()
        wanted = {"formats": ",".join(self.formats), "min_elo": self.min_elo or ""}
        first = tops(f"ws://server/?{urlencode(wanted)}")
        look = Look(first, Plan.read({**self.plan.write(), "room": self.room}))
        while question := look.next():
            look.take(question, self.server.answer(question))
        total = len(self.server.live) + self.server.hidden if look.is_short else None
        seen = read_look(look.write(total=total, formats=FORMATS))
        for battle_id in seen.missing(self.known):
            self.gone.append(battle_id)
            del self.known[battle_id]
        self.known |= {room.id: room.players for room in seen.rooms.values()}
        self.plan.learn(seen, first, self.known)
        self.seen = seen


def test_one_question_is_enough_for_less_than_a_hundred():
    server = Server()
    server.begin(99)
    watch = Watch(server)
    watch.look(3)

    assert server.asked == [Question()]
    assert watch.known.keys() == server.live.keys()


def test_what_has_ended_is_missing_in_the_next_complete_look():
    server = Server()
    server.begin(50)
    watch = Watch(server)
    watch.look()
    del server.live["gen9ou-7"]
    watch.look()

    assert watch.gone == ["gen9ou-7"]


def test_what_a_full_answer_does_not_show_is_not_missing():
    server = Server()
    server.begin(150, "gen9ou")
    watch = Watch(server, room=1)
    watch.look()
    server.begin(50, "gen9uu")
    watch.look()

    assert watch.gone == []


def test_more_than_a_hundred_are_found_by_format_and_by_name():
    server = Server()
    server.begin(340, "gen9randombattle")
    server.begin(30, "gen1ou")
    watch = Watch(server)
    watch.look(3)

    assert watch.known.keys() == server.live.keys()


def test_a_look_asks_no_more_than_there_is_room_for():
    server = Server()
    server.begin(1000, "gen9randombattle")
    watch = Watch(server, room=7)
    for _ in range(20):
        watch.look()
        assert len(server.asked) <= 7

    assert watch.known.keys() == server.live.keys()


def test_a_format_whose_battles_are_all_old_is_found_by_the_sum():
    server = Server()
    server.begin(3, "gen1ou")
    server.begin(120, "gen9ou")
    watch = Watch(server)
    watch.look(4)

    assert {"gen1ou-1", "gen1ou-2", "gen1ou-3"} <= watch.known.keys()


def test_hidden_battles_in_the_sum_are_not_looked_for_for_ever():
    server = Server(hidden=200)
    server.begin(120, "gen9ou")
    watch = Watch(server)
    watch.look(8)
    watch.look()

    assert Question("gen1ou") not in server.asked
    assert watch.plan.todo == []


def test_known_battles_are_asked_after_in_turn():
    server = Server()
    server.begin(600, "gen9randombattle")
    watch = Watch(server, room=6)
    watch.look(30)
    ended = [id for n, id in enumerate(list(server.live)) if n % 3 == 0]
    for battle_id in ended:
        del server.live[battle_id]
    watch.look(14)

    assert sorted(watch.gone) == sorted(ended)
    assert watch.known.keys() == server.live.keys()


def test_what_begins_is_seen_at_once_however_many_there_are():
    server = Server()
    server.begin(800, "gen9randombattle")
    watch = Watch(server, room=5)
    watch.look(40)
    server.begin(60, "gen1ou")
    watch.look()

    assert watch.known.keys() == server.live.keys()


def test_more_new_ones_than_an_answer_shows_are_found_by_format():
    server = Server()
    server.begin(120, "gen9ou")
    watch = Watch(server)
    watch.look(3)
    server.begin(90, "gen9uu")
    server.begin(90, "gen1ou")
    watch.look()

    assert watch.known.keys() == server.live.keys()


def test_what_began_while_nobody_looked_is_found_whatever_its_format():
    server = Server()
    server.begin(120, "gen9ou")
    server.begin(3, "gen1ou")
    watch = Watch(server)
    watch.look(6)
    server.begin(2, "gen1ou")
    server.begin(120, "gen9uu")
    watch.look()

    assert watch.known.keys() >= {id for id in server.live if id.startswith("gen1ou")}


def test_a_full_answer_tells_of_what_is_newer_than_all_it_shows():
    server = Server()
    server.begin(150)
    watch = Watch(server, room=1)
    watch.look()
    del server.live["gen9ou-145"]
    watch.look()

    assert watch.gone == ["gen9ou-145"]


def test_a_battle_that_is_public_again_hides_no_other():
    server = Server()
    server.begin(150)
    watch = Watch(server, room=1)
    watch.look()
    # It stands among the newest then, with its old number.
    server.live["gen9ou-1"] = server.live.pop("gen9ou-1")
    watch.look()

    assert watch.gone == []


def test_what_began_in_a_pause_is_found_wherever_it_is():
    chance, server = random.Random(5), Server()
    for _ in range(600):
        server.begin(1, chance.choice(FORMATS[:2]))
    watch = Watch(server, room=18)
    watch.look(20)
    for _ in range(300):
        server.begin(1, chance.choice(FORMATS[:2]))
    watch.look(12)

    assert watch.known.keys() == server.live.keys()


def test_only_the_wanted_formats_and_ratings_are_asked_for():
    server = Server()
    server.begin(120, "gen9ou", elo=1600)
    server.begin(5, "gen9uu", elo=1700)
    server.begin(5, "gen1ou", elo=1700)
    watch = Watch(server, ("gen9ou", "gen9uu"), 1500)
    watch.look(4)

    assert {question.format for question in server.asked} == {"gen9ou", "gen9uu"}
    assert {question.min_elo for question in server.asked} == {1500}
    assert len(watch.known) == 125


def test_a_list_that_can_be_read_to_its_end_is_not_cut():
    server = Server()
    server.begin(150, "gen9ou")
    watch = Watch(server, room=60)

    watch.look(4)

    assert watch.known.keys() == server.live.keys()
    assert not watch.seen.is_cut


def test_names_that_begin_alike_are_split_further_and_in_the_end_not():
    server = Server()
    server.begin(150, "gen9ou", name="ash")
    watch = Watch(server, room=60)
    cut = []
    for _ in range(6):
        watch.look()
        cut.append(watch.seen.is_cut)

    assert any(cut)
    assert watch.gone == []


def test_a_format_that_the_server_lacks_is_told_with_the_one_most_like_it():
    look = Look(tops("ws://server/?list=&formats=gen9rndombattle,gen1ou"), Plan())

    seen = read_look(look.write(formats=FORMATS))

    assert seen.unknown == {"gen9rndombattle": "gen9randombattle"}


def test_a_plan_stays_what_it_is_in_the_queue():
    server = Server()
    server.begin(300)
    watch = Watch(server)
    watch.look(2)

    assert Plan.read(watch.plan.write()) == watch.plan


@pytest.mark.parametrize(
    "value",
    [None, [], {"room": "x", "todo": 5, "asked": []}, {"todo": ["gen9ou|/logout"], "looks": -1}],
)
def test_a_plan_of_somebody_elses_is_a_new_plan(value):
    assert Plan.read(value) == Plan()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"rooms": []}', b'{"rooms": {}, "complete": ["x"]}']
)
def test_what_is_no_list_says_so(body):
    with pytest.raises(BadReplyError):
        read_look(body)


@pytest.mark.timeout(300)
@settings(deadline=None, max_examples=examples(3))
@given(st.integers(0, 10**6), st.integers(3, 25), st.sampled_from([30, 150, 500]))
def test_who_watches_long_enough_misses_nobody_and_invents_no_end(seed, room, size):
    chance = random.Random(seed)
    server = Server()
    for _ in range(size):
        server.begin(1, chance.choice(FORMATS))
    watch = Watch(server, room=room)
    ended: set[str] = set()
    for _ in range(40):
        watch.look()
        assert set(watch.gone) <= ended
        for battle_id in chance.sample(list(server.live), min(5, len(server.live))):
            del server.live[battle_id]
            ended.add(battle_id)
        for _ in range(5):
            server.begin(1, chance.choice(FORMATS))
    watch.look(80)

    assert watch.known.keys() == server.live.keys()
    assert len(watch.gone) == len(set(watch.gone))
    assert {format_of(id) for id in watch.gone} <= set(FORMATS)


def test_a_question_that_comes_back_is_not_taken_for_one_that_was_never_asked():
    first, plan = tops("ws://server/?list="), Plan(asked={"gen9ou,,b": 1, "gen9ou,,a": 2})
    nothing = read_look(Look(first, plan).write())

    # Nobody's name begins like that for a while.
    plan.learn(nothing, first, {"gen9ou-1": ("cleo",)})

    assert plan.asked == {"gen9ou,,b": 1, "gen9ou,,a": 2}
