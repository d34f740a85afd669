"""What a spectator makes of what it sees."""

from __future__ import annotations

import pytest

from sandbox.watched import STAY, Watched

ID = "battle-gen9ou-1"
INIT = ["|init|battle", "|title|Ann vs. Bob", "|player|p1|Ann|1|", "|", "|turn|1"]


@pytest.fixture
def watched() -> Watched:
    return Watched(ID, 1000.0)


def read(watched: Watched, *frames: list[str]) -> dict:
    """Take a frame each second, and return what is reported."""
    for second, frame in enumerate(frames, 1001):
        watched.read(frame, float(second))
    return watched.told_as_json()


def test_the_log_is_what_was_sent(watched):
    told = read(watched, INIT, ["|c|☆Ann|hi |popup|", "", "|turn|2"], ["|win|Ann", "|raw|rating"])

    log = ["|player|p1|Ann|1|", "|", "|turn|1", "|c|☆Ann|hi |popup|", "|turn|2", "|win|Ann"]
    assert told["log"].split("\n") == [*log, "|raw|rating"]
    assert (told["told"], told["joined"]) == (1000.0, 1001.0)
    assert not told["hidden"]


@pytest.mark.parametrize(
    ("line", "outcome", "winner", "ended"),
    [
        ("|win|Ann", "won", "Ann", 1002.0),
        ("|tie", "tie", None, 1002.0),
        ("|tier|[Gen 9] OU", "none", None, None),
    ],
)
def test_a_battle_ends(watched, line, outcome, winner, ended):
    told = read(watched, INIT, [line])

    assert (told["outcome"], told["winner"], told["ended"]) == (outcome, winner, ended)


def test_the_server_sends_guests_away_from_a_hidden_battle(watched):
    told = read(watched, INIT, ["|deinit"])

    assert told["hidden"]
    assert told["sent_away"] == [{"how": "deinit", "at": 1002.0}]
    assert told["outcome"] == "none"


@pytest.mark.parametrize("code", ["nonexistent", "rename", "joinfailed"])
def test_the_server_lets_nobody_into_a_hidden_battle(watched, code):
    told = read(watched, [f"|noinit|{code}|no"])

    assert told["hidden"]
    assert told["sent_away"] == [{"how": f"noinit|{code}", "at": 1001.0}]
    assert told["joined"] is None


def test_a_battle_that_is_shown_again_is_not_hidden(watched):
    told = read(watched, INIT, ["|deinit"], [*INIT, "|turn|2"], ["|win|Ann"])

    assert not told["hidden"]
    assert len(told["sent_away"]) == 1
    assert told["log"] == "|player|p1|Ann|1|\n|\n|turn|1\n|turn|2\n|win|Ann"
    assert told["joined"] == 1001.0


def test_a_room_that_is_closed_for_want_of_players_is_not_hidden(watched):
    assert not read(watched, INIT, ["|expire|"], ["|deinit"])["hidden"]


def test_a_battle_is_watched_for_a_while_after_its_end(watched):
    read(watched, INIT, ["|win|Ann"])

    assert not watched.is_settled(1002.0 + STAY - 0.1)
    assert watched.is_settled(1002.0 + STAY)
