"""The rooms of the crowd, as time goes by."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field

import pytest

from sandbox.crowd_plan import Plan
from sandbox.crowd_rooms import Room, Rooms

NOW = 1_800_000_000.0
HOUR = 3600.0


@dataclass(eq=False)
class Ear:
    """Somebody who hears."""

    frames: list[str] = field(default_factory=list)
    rooms: set[str] = field(default_factory=set)

    def hear(self, frame: str) -> None:
        self.frames.append(frame)

    def log(self) -> list[str]:
        """Join the frames to a log, as whoever reads a room does."""
        first, *later = [frame.split("\n")[1:] for frame in self.frames]
        return [*first[2:-1], *(line for frame in later for line in frame)]


def open_rooms(**changes: object) -> Rooms:
    plan = {"live": 0, "rate": 1.0, "mean": 100.0, "hide": 0.0, "drop": 0.0, "seed": 1} | changes
    return Rooms(Plan(**plan), NOW)


def enter(rooms: Rooms, now: float, ear: Ear | None = None) -> tuple[Room, Ear]:
    """Enter the room of the newest battle."""
    ear = ear or Ear()
    room = rooms.find(next(iter(rooms.listed())))
    ear.rooms.add(room.id)
    rooms.enter(room, ear, now)
    return room, ear


def test_so_many_battles_are_in_play_from_the_beginning_and_later():
    rooms = Rooms(Plan(live=400, rate=4.0, seed=1), NOW)
    assert rooms.numbers()["live"] == 400

    for minute in range(1, 60):
        rooms.advance(NOW + 60 * minute)
        assert 320 < rooms.numbers()["live"] < 480

    assert rooms.numbers()["ended"] == pytest.approx(4 * 3600, rel=0.1)


def test_a_list_shows_the_newest_hundred():
    rooms = open_rooms(live=300, rate=3.0)

    numbers = [int(name.rpartition("-")[2]) for name in rooms.listed()]

    assert len(numbers) == 100
    assert numbers == sorted(numbers, reverse=True)
    assert len({int(number) for number in numbers}) == 100


def test_lists_are_split_by_format_rating_and_prefix():
    rooms = open_rooms(live=90, rate=0.9)
    everything = rooms.listed(",,")

    assert len(everything) == 90
    ou = rooms.listed("gen9ou")
    assert ou == {id: room for id, room in everything.items() if id.startswith("battle-gen9ou-")}
    high = rooms.listed(",1500,")
    assert high == {id: room for id, room in everything.items() if room.get("minElo", 0) >= 1500}
    mine = rooms.listed(",none,s")
    expected = {id for id, room in everything.items() if "S" in (room["p1"][0], room["p2"][0])}
    assert ou
    assert high
    assert mine.keys() == expected


def test_a_battle_that_is_over_is_not_listed_and_can_be_read():
    rooms = open_rooms(life=HOUR)
    rooms.advance(NOW + 60)
    room, _ = enter(rooms, NOW + 60)

    rooms.advance(NOW + HOUR)

    ear = Ear()
    rooms.enter(room, ear, NOW + HOUR)
    assert room.id not in rooms.listed()
    assert ear.log() == room.battle.log()


def test_what_a_guest_hears_is_the_log():
    rooms = open_rooms(life=HOUR)
    rooms.advance(NOW + 60)
    room, early = enter(rooms, NOW + 60)
    for second in range(61, 1000):
        rooms.advance(NOW + second)
        if second == 90:
            late = Ear()
            rooms.enter(room, late, NOW + second)

    assert early.log() == late.log() == room.battle.log()
    assert len(early.frames) > len(late.frames) > 1


def test_whoever_has_left_hears_nothing():
    rooms = open_rooms()
    rooms.advance(NOW + 60)
    room, ear = enter(rooms, NOW + 60)

    rooms.leave(room.id, ear)
    rooms.advance(NOW + HOUR)

    assert len(ear.frames) == 1


def test_a_room_of_which_all_had_left_speaks_again():
    rooms = open_rooms(life=HOUR)
    rooms.advance(NOW + 60)
    room, first = enter(rooms, NOW + 60)
    rooms.leave(room.id, first)
    rooms.advance(NOW + 75)
    ear = Ear()
    rooms.enter(room, ear, NOW + 75)

    rooms.advance(NOW + 1000)

    assert ear.log() == room.battle.log()


def test_a_room_expires():
    rooms = open_rooms(life=10.0)
    rooms.advance(NOW + 60)
    room, ear = enter(rooms, NOW + 60)

    rooms.advance(NOW + HOUR)

    assert ear.frames[-2:] == [f">{room.id}\n|expire|", f">{room.id}\n|deinit"]
    assert rooms.find(room.id) is None
    assert not ear.rooms


def test_a_hidden_room_puts_its_guests_out_and_has_another_name():
    rooms = open_rooms(hide=1.0)
    rooms.advance(NOW + 60)
    room, ear = enter(rooms, NOW + 60)
    name = room.id

    rooms.advance(NOW + HOUR / 6)

    assert ear.frames[-2] == f">{name}\n|deinit"
    assert ear.frames[-1].startswith(f"|popup|The room <<{name}>> has been made private;")
    assert rooms.find(name) is None
    assert rooms.find(room.id) is room
    assert room.id.startswith(f"{name}-")
    assert len(room.id) == len(name) + 34
    assert not ear.rooms


def test_what_is_hidden_in_the_step_that_ends_it_says_its_end_first():
    rooms = open_rooms(hide=1.0)
    checked = 0
    for second in range(300):
        rooms.advance(NOW + second)
        for name in rooms.listed():
            room = rooms.find(name)
            if room.battle.fate.hidden == room.battle.fate.length and not room.guests:
                rooms.enter(room, ear := Ear(), NOW + second)
                rooms.advance(room.battle.ended)
                kinds = [frame.split("\n")[-1].split("|")[1] for frame in ear.frames[-3:]]
                assert kinds == ["win", "deinit", "popup"]
                checked += 1
        if checked:
            return
    pytest.fail("no battle was hidden in the step that ended it")


def test_hidden_battles_count_as_live_and_are_not_listed():
    rooms = open_rooms(live=200, rate=2.0, hide=1.0)

    numbers = rooms.numbers()

    assert numbers["hidden"] > 20
    assert rooms.battle_count == numbers["live"] == 200
    assert numbers["listed"] == numbers["live"] - numbers["hidden"]
    assert not [name for name in rooms.listed() if name.endswith("pw")]


def test_a_battle_is_not_listed_while_a_player_is_away():
    rooms = open_rooms(drop=1.0)
    rooms.advance(NOW + 60)
    room = next(room for room in rooms._played.values() if room.battle.fate.away[0] > 60)
    left, came = (room.battle.started + seconds for seconds in room.battle.fate.away)
    seen = []
    for now in (left - 0.1, left + 0.1, came - 0.1, came + 0.1):
        rooms.advance(now)
        seen.append((room.id in rooms.listed(), room.is_active))

    assert seen == [(True, True), (False, False), (False, False), (True, True)]


def test_battles_without_an_end_stay():
    rooms = open_rooms(rate=0.0, endless=3)

    rooms.advance(NOW + 10 * HOUR)

    assert len(rooms.listed()) == 3


def test_each_battle_is_reported_when_it_is_over():
    report = io.StringIO()
    rooms = Rooms(Plan(live=50, rate=1.0, hide=0.3, seed=1), NOW, report)
    rooms.advance(NOW + HOUR)
    rooms.close()

    told = [json.loads(line) for line in report.getvalue().splitlines()]
    numbers = rooms.numbers()

    outcomes = [battle["outcome"] for battle in told]
    assert len({battle["id"] for battle in told}) == len(told) > 3000
    assert outcomes.count("won") == numbers["ended"]
    assert 0.25 < outcomes.count("hidden") / len(told) < 0.35
    assert all((battle["hidden"] is None) == (battle["outcome"] == "won") for battle in told)
    assert all(battle["started"] < battle["ended"] <= NOW + HOUR for battle in told)
    assert all("\n|win|" in battle["log"] for battle in told)


def test_what_ended_a_moment_ago_is_reported_at_the_end():
    report = io.StringIO()
    rooms = Rooms(Plan(live=0, rate=1.0, mean=10.0, hide=0.0, seed=1), NOW, report)
    rooms.advance(NOW + 60)
    battle = next(r.battle for r in rooms._played.values() if r.battle.min_elo is not None)
    rooms.advance(battle.ended)
    assert f'"{battle.id}"' not in report.getvalue()

    rooms.close()
    rooms.close()

    assert report.getvalue().count(f'"{battle.id}"') == 1
