"""Deeds in battles on the real battle server, and what a spectator sees of them."""

from __future__ import annotations

import asyncio
import io
import json
import random

import pytest

from sandbox import plan as plans
from sandbox.bots import Battle
from sandbox.deeds import Player, _is_due
from sandbox.plan import Plan
from sandbox.players import Players
from sandbox.spectator import Spectator

SHORT = "gen9randomdoublesbattle"
"""A format of some twenty turns."""
PLAYED = {
    "hide": {"hide": 1.0},
    "hidereplay": {"hidereplay": 1.0},
    "hidelate": {"hidelate": 1.0},
    "hideshow": {"hideshow": 1.0, "think": 0.3},
    "drop": {"drop": 1.0},
    "rename": {"rename": 1.0, "rated": 1.0},
    "tie": {"tie": 1.0, "rated": 1.0, "think": 0.8},
    "timer": {"timer": 1.0},
    "multi": {"abandon": 1.0, "format": "gen9multirandombattle", "think": 0.5, "odd": 1.0},
    "searched": {"abandon": 1.0, "format": "gen9freeforallrandombattle", "rated": 1.0},
    "invited": {"abandon": 1.0, "format": "gen9freeforallrandombattle", "rated": 0.0},
}
PATIENCE = 200.0
pytestmark = pytest.mark.timeout(PATIENCE + 100)


async def _play(address: str, begun: io.StringIO, **plan: object) -> dict:
    report = io.StringIO()
    options = {"seconds": 0.1, "think": 0.0, "format": SHORT, "seed": 1, "rated": 0.0} | plan
    await Players(address, Plan(**options), report, begun).run(asyncio.Event())
    (battle,) = map(json.loads, report.getvalue().splitlines())
    return battle


async def _watch(address: str, begun_file) -> tuple[dict, dict]:
    """Play all at once, and return each battle as its players saw it, and what a guest saw."""
    report, stop = io.StringIO(), asyncio.Event()
    with begun_file.open("w") as begun, begun_file.open() as told:
        watching = asyncio.create_task(Spectator(address, report).run(stop, told))
        playing = [_play(address, begun, **plan) for plan in PLAYED.values()]
        async with asyncio.timeout(PATIENCE):
            battles = await asyncio.gather(*playing)
        await asyncio.sleep(1.0)  # what was said last is on its way
        stop.set()
        await watching
    seen = {told["id"]: told for told in map(json.loads, report.getvalue().splitlines())}
    return dict(zip(PLAYED, battles, strict=True)), seen


@pytest.fixture(scope="module")
def done(battle_server, tmp_path_factory):
    """Each battle by its deed: what its players reported, and what the spectator saw."""
    begun = tmp_path_factory.mktemp("players") / "begun.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "_LAST_TURN_FOR_DEEDS", 2)
        battles, seen = asyncio.run(_watch(battle_server, begun))
    return {deed: (battle, seen[battle["id"]]) for deed, battle in battles.items()}


@pytest.mark.parametrize("deed", list(PLAYED)[:8])
def test_a_deed_is_reported(done, deed):
    battle, _ = done[deed]

    assert battle["deed"] == deed
    assert battle["started"] < battle["done"] < battle["ended"] + 5.0


@pytest.mark.parametrize("deed", list(PLAYED))
def test_the_spectator_sees_whether_a_battle_is_public_in_the_end(done, deed):
    battle, seen = done[deed]

    assert battle["public"] is (deed not in {"hide", "hidereplay", "hidelate"})
    assert seen["hidden"] is not battle["public"]


@pytest.mark.parametrize(
    "deed", ["hidereplay", "hidelate", "hideshow", "drop", "rename", "tie", "timer"]
)
def test_the_spectator_sees_the_whole_battle(done, deed):
    battle, seen = done[deed]

    assert seen["outcome"] == ("tie" if deed == "tie" else "won")
    assert seen["winner"] == battle["winner"]
    turns = [line for line in seen["log"].split("\n") if line.startswith("|turn|")]
    assert turns == [f"|turn|{turn}" for turn in range(1, battle["turns"] + 1)]


def test_a_hidden_battle_goes_on_unseen(done):
    battle, seen = done["hide"]

    assert battle["outcome"] == "hidden"
    assert battle["winner"]
    assert seen["outcome"] == "none"


@pytest.mark.parametrize("deed", ["hidereplay", "hidelate"])
def test_a_battle_is_hidden_with_its_end_or_after_it(done, deed):
    battle, seen = done[deed]

    (away,) = seen["sent_away"]
    assert battle["outcome"] == "hidden"
    assert away["how"] == "deinit"
    assert away["at"] >= seen["ended"]
    assert (away["at"] - seen["ended"] >= 0.4) is (deed == "hidelate")


def test_a_battle_that_is_shown_again_was_hidden(done):
    battle, seen = done["hideshow"]

    assert [away["how"] for away in seen["sent_away"]] == ["deinit"]
    assert seen["sent_away"][0]["at"] < seen["ended"]
    assert battle["outcome"] == "won"
    assert "made this room public" in seen["log"]


def test_a_player_who_is_cut_off_comes_back(done):
    battle, seen = done["drop"]
    log = seen["log"].split("\n")

    gone = next(log.index(line) for line in ("|player|p1|", "|player|p2|") if line in log)
    slot = log[gone].split("|")[2]
    assert f"|player|{slot}|{battle[slot]}|" in "\n".join(log[gone + 1 :])


def test_a_player_takes_another_name(done):
    battle, seen = done["rename"]

    (new,) = (name for name in (battle["p1"], battle["p2"]) if name.endswith("r"))
    assert f"|{new.removesuffix('r')}|" in seen["log"]
    assert f"|{new}|" in seen["log"]


def test_a_rated_battle_may_be_tied(done):
    battle, seen = done["tie"]

    assert (battle["format"], battle["winner"]) == ("gen4ou", None)
    assert "|rated|" in seen["log"]


def test_who_does_not_move_runs_out_of_time(done):
    _, seen = done["timer"]

    assert "lost due to inactivity." in seen["log"]


@pytest.mark.parametrize("how", ["multi", "searched", "invited"])
def test_four_play(done, how):
    battle, seen = done[how]

    names = [battle[slot] for slot in ("p1", "p2", "p3", "p4")]
    assert len(set(names)) == 4
    assert all(f"|player|{slot}|{battle[slot]}|" in seen["log"] for slot in ("p1", "p2", "p3"))


class Scripted:
    """A bot that hears what the test has it hear, and keeps what it says."""

    name = "Ann"

    def __init__(self, *frames: tuple[str, str]) -> None:
        self.said: list[str] = []
        self._frames = frames

    async def lines(self):
        for frame in self._frames:
            yield frame
            for _ in range(9):  # whatever it makes the player say
                await asyncio.sleep(0)

    async def say(self, message) -> None:
        self.said.append(message if isinstance(message, str) else message())


ROOM = "battle-gen9ou-1"
REQUEST = json.dumps(
    {
        "active": [{"moves": [{"id": "tackle"}]}],
        "side": {"pokemon": [{"active": True, "condition": "1/1"}]},
        "rqid": 3,
    }
)


def hear(*lines: tuple[str, str], **options: object) -> list[str]:
    """Return what a player says who hears this, and then the end."""
    bot, battle = Scripted(*lines), Battle(ROOM, "gen9ou")
    asyncio.run(Player(bot, battle, 0.0, random.Random(1)).play(**options))
    return bot.said


def test_what_is_said_while_a_battle_moves_is_said_again():
    said = hear(
        (ROOM, f"|request|{REQUEST}"), (ROOM, f"|noinit|rename|{ROOM}-xpw|"), (f"{ROOM}-xpw", "|")
    )

    assert said == [f"{ROOM}|/choose move 1|3", f"{ROOM}-xpw|/choose move 1|3"]


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("Can't move: You can't do that", [f"{ROOM}|/choose default"]),
        ("Sorry, too late to make a different move", []),
        ("There's nothing to choose", []),
        ("Can't undo: it would tell too much", []),
    ],
)
def test_another_choice_is_made_only_when_one_is_wanted(why, said):
    assert hear((ROOM, f"|error|[Invalid choice] {why}"), (ROOM, "|")) == said


def test_an_offered_tie_is_taken():
    assert hear((ROOM, "|uhtml|offertie|<button>"), (ROOM, "|")) == [f"{ROOM}|/accepttie"]


def test_who_offers_a_tie_makes_no_move():
    said = hear((ROOM, f"|request|{REQUEST}"), deed="offertie", turn=100)
    offered = hear((ROOM, f"|request|{REQUEST}"), (ROOM, "|turn|100"), deed="offertie", turn=100)

    assert said == [f"{ROOM}|/choose move 1|3"]
    assert offered[-1] == f"{ROOM}|/offertie"


def test_who_lets_the_time_run_out_makes_no_move():
    said = hear((ROOM, "|turn|1"), (ROOM, f"|request|{REQUEST}"), deed="timer", turn=1)

    assert said == [f"{ROOM}|/timer on"]


@pytest.mark.parametrize(
    ("line", "done", "is_due"),
    [
        ("|turn|99", None, False),
        ("|turn|100", None, True),
        ("|turn|101", "offertie", True),
    ],
)
def test_an_offer_is_made_until_it_is_taken(line, done, is_due):
    battle = Battle(ROOM, "gen9ou", deed=done)

    assert _is_due(line, "offertie", 100, battle) is is_due


def test_another_deed_is_done_once_though_its_turn_is_read_again():
    assert _is_due("|turn|3", "drop", 3, Battle(ROOM, "gen9ou"))
    assert not _is_due("|turn|3", "drop", 3, Battle(ROOM, "gen9ou", deed="drop"))
