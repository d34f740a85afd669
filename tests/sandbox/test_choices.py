"""Random choices, but legal ones."""

from __future__ import annotations

from random import Random

import pytest

from sandbox.choices import choose


def pokemon(*, active: bool = False, fainted: bool = False, **more: object) -> dict:
    return {"active": active, "condition": "0 fnt" if fainted else "100/100"} | more


def move(target: str = "normal", *, disabled: bool = False) -> dict:
    return {"target": target, "disabled": disabled}


def side(*team: dict) -> dict:
    return {"side": {"pokemon": list(team)}}


def choices(request: dict) -> set[str | None]:
    return {choose(request, Random(seed)) for seed in range(300)}


@pytest.mark.parametrize("request_", [{"wait": True, **side()}, {}, {"active": []}], ids=str)
def test_nothing_is_chosen_when_there_is_nothing_to_decide(request_):
    assert choose(request_, Random(1)) is None


def test_a_team_preview_is_left_to_the_server():
    assert choose({"teamPreview": True, **side(pokemon())}, Random(1)) == "default"


def test_any_move_that_is_not_disabled_is_chosen():
    active = [{"moves": [move(), move(disabled=True), move()]}]

    assert choices({"active": active, **side(pokemon(active=True))}) == {"move 1", "move 3"}


def test_a_healthy_pokemon_may_be_sent_instead():
    team = side(pokemon(active=True), pokemon(fainted=True), pokemon())

    assert choices({"active": [{"moves": [move()]}], **team}) == {"move 1", "switch 3"}


@pytest.mark.parametrize("trap", ["trapped", "maybeTrapped"])
def test_a_trapped_pokemon_stays(trap):
    team = side(pokemon(active=True), pokemon())

    assert choices({"active": [{"moves": [move()], trap: True}], **team}) == {"move 1"}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("normal", {"move 1 1, pass", "move 1 2, pass"}),
        ("adjacentAlly", {"move 1 -2, pass"}),
        ("adjacentAllyOrSelf", {"move 1 -1, pass"}),
        ("self", {"move 1, pass"}),
    ],
)
def test_in_doubles_a_move_has_a_target(target, expected):
    team = side(pokemon(active=True), pokemon(active=True, fainted=True))

    assert choices({"active": [{"moves": [move(target)]}] * 2, **team}) == expected


def test_one_that_carries_another_passes():
    team = side(pokemon(active=True, commanding=True))

    assert choices({"active": [{"moves": [move()]}], **team}) == {"pass"}


def test_two_are_not_replaced_by_the_same():
    out = [pokemon(active=True, fainted=True)] * 2

    assert choices({"forceSwitch": [True, True], **side(*out, pokemon(), pokemon())}) == {
        "switch 3, switch 4",
        "switch 4, switch 3",
    }


def test_who_has_nobody_left_passes():
    out = [pokemon(active=True, fainted=True)] * 2

    assert choices({"forceSwitch": [True, True], **side(*out, pokemon())}) == {"switch 3, pass"}


def test_only_those_that_must_are_replaced():
    team = side(pokemon(active=True), pokemon(active=True, fainted=True), pokemon())

    assert choices({"forceSwitch": [False, True], **team}) == {"pass, switch 3"}


def test_a_revival_takes_a_fainted_one():
    team = side(pokemon(active=True, reviving=True), pokemon(), pokemon(fainted=True))

    assert choices({"forceSwitch": [True], **team}) == {"switch 3"}


def test_a_move_is_spared():
    moves = [move() | {"id": "explosion"}, move() | {"id": "charge"}, move() | {"id": "screech"}]
    request = {"active": [{"moves": moves}], **side(pokemon(active=True))}

    assert {choose(request, Random(n), "explosion") for n in range(99)} == {"move 2", "move 3"}
