"""Battles of the crowd: their logs are such as the parsers read."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from statistics import mean

import pytest

from battles.items import Battle as Archived
from battles.parsers.frames import RoomReader
from battles.parsers.names import is_battle_id
from battles.parsers.room import parse_room
from sandbox.crowd_battle import Battle, Fate
from sandbox.crowd_plan import FORMATS, Plan

NOW = 1_800_000_000.0
PLAN = Plan(seed=1)


def battle(number: int, length: float = 500.0, **changes: object) -> Battle:
    return replace(PLAN.battle(number, NOW, length), **changes)


def read(battle: Battle) -> Archived:
    body = "\n".join(battle.log()).encode()
    return parse_room(body, asked=battle.id, url="wss://server/", fetched_at=1)


@pytest.mark.parametrize("number", range(20))
@pytest.mark.parametrize("length", [2.0, 40.0, 500.0])
def test_a_log_tells_the_parser_all_that_a_real_one_tells(number, length):
    played = battle(number, length, format=FORMATS[number])

    archived = read(played)

    assert is_battle_id(archived.id)
    assert (archived.format, archived.formatid) == (played.format, played.format_id)
    assert archived.generation == int(played.format[5])
    assert archived.started == int(NOW)
    assert [player.name for player in archived.players] == [p.name for p in played.players]
    assert archived.rating == played.min_elo
    assert archived.rated == (played.min_elo is not None)
    assert archived.winner in [p.name for p in played.players if p.gain > 0]
    assert archived.ended in ("normal", "forfeit")
    assert archived.turns >= 3
    assert not archived.has_chat


@pytest.mark.parametrize("number", range(20))
def test_the_new_ratings_are_told_of_rated_battles_alone(number):
    played = battle(number)

    for archived, player in zip(read(played).players, played.players, strict=True):
        after = None if player.rating is None else player.rating + player.gain
        assert archived.rating_after == after


def test_who_is_away_is_back_before_the_end():
    played = battle(1, fate=Fate(500.0, away=(100.0, 130.0)))
    frames = dict(played.frames())

    assert frames[NOW + 100][0] == f"|l|☆{played.players[0].name}"
    assert frames[NOW + 130][0] == f"|j|☆{played.players[0].name}"
    assert not [at for at in frames if NOW + 100 < at < NOW + 130]
    assert read(played).players[0].name == played.players[0].name


def test_frames_come_in_the_order_of_time():
    times = [at for at, _ in battle(1, fate=Fate(500.0, away=(1.0, 30.0), ratings=502.0)).frames()]

    assert times == sorted(times)
    assert times[0] == NOW
    assert times[-1] == NOW + 502


@pytest.mark.parametrize("seconds", [0.0, 0.5, 100.0, 499.9, 500.0, 600.0])
def test_what_was_said_and_what_is_to_come_are_the_log(seconds):
    played = battle(3)

    said, coming = played.until(NOW + seconds)

    assert said + [line for _, lines in coming for line in lines] == played.log()


def test_a_reader_of_rooms_knows_when_a_battle_has_ended():
    played = battle(3, fate=Fate(500.0, ratings=502.0))
    reader = RoomReader()
    reader.feed(["|init|battle", *played.until(played.ended)[0]])

    assert reader.state == "ended"


def test_a_battle_without_an_end_goes_on():
    frames = list(islice(battle(2, math.inf).frames(), 1000))

    assert frames[-1][1][-1] == "|turn|1000"
    assert not [line for _, lines in frames for line in lines if line.startswith("|win|")]


# --- What is drawn --------------------------------------------------------------------------------


def lengths(plan: Plan, count: int = 20_000) -> list[float]:
    chance = plan.chance("test")
    return [plan.length(chance) for _ in range(count)]


@pytest.mark.parametrize("short", [0.0, 0.3])
def test_battles_take_the_time_that_keeps_so_many_in_play(short):
    drawn = lengths(Plan(live=2000, rate=4.0, short=short, seed=1))

    assert mean(drawn) == pytest.approx(500, rel=0.03)
    assert mean(length < 15 for length in drawn) == pytest.approx(short, abs=0.02)


def test_long_battles_are_met_in_play_more_often():
    plan = Plan(live=4000, rate=8.0, seed=1)
    lengths = [length for _, length in plan.beginning(NOW)]

    # Of lengths x, the mean of x² over the mean of x.
    assert mean(lengths) == pytest.approx(735, rel=0.05)


def test_a_mean_of_ones_own_counts():
    assert mean(lengths(Plan(mean=50.0, seed=1))) == pytest.approx(50, rel=0.03)


def test_battles_are_hidden_in_the_middle_at_the_end_or_after_it():
    plan = Plan(hide=0.4, drop=0.2, seed=1)
    fates = [plan.battle(number, NOW, 500.0).fate for number in range(4000)]
    hidden = [fate.hidden for fate in fates if fate.hidden is not None]
    away = [fate.away[1] - fate.away[0] for fate in fates if fate.away]

    assert mean(fate.hidden is not None for fate in fates) == pytest.approx(0.4, abs=0.03)
    assert mean(at < 500 for at in hidden) == pytest.approx(0.5, abs=0.05)
    assert mean(at == 500 for at in hidden) == pytest.approx(0.25, abs=0.05)
    assert all(500.5 <= at <= 503 for at in hidden if at > 500)
    assert len(away) / len(fates) == pytest.approx(0.2, abs=0.03)
    assert 5 <= min(away) <= max(away) <= 40


def test_the_second_format_is_played_half_as_often_as_the_first():
    formats = [PLAN.battle(number, NOW, 500.0).format for number in range(8000)]

    assert len(set(formats)) == 20
    assert formats.count(FORMATS[1]) / formats.count(FORMATS[0]) == pytest.approx(0.5, abs=0.07)


def test_what_has_a_seed_is_drawn_again():
    assert battle(1) == battle(1)
    assert PLAN.beginning(NOW) == PLAN.beginning(NOW)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"hide": 1.1}, "hide=1.1: give a share from 0 to 1"),
        ({"hide": 0.6, "drop": 0.6}, "at most 1 in all"),
        ({"formats": 0}, "formats=0: there are 1 to"),
        ({"life": -1.0}, "give numbers from 0 on"),
        ({"live": 10, "short": 1.0}, "2.5 s on average"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(wrong, reason):
    with pytest.raises(ValueError, match=reason):
        Plan(**wrong)
