"""What goes wrong, as often as told and the same way each time."""

from __future__ import annotations

from collections import Counter

import pytest

from sandbox.misbehave import Misbehaviour


def draws(wrong: Misbehaviour, count: int = 2000) -> list[str | None]:
    return [wrong.draw() for _ in range(count)]


def test_nothing_goes_wrong_unless_told():
    assert set(draws(Misbehaviour())) == {None}


@pytest.mark.parametrize("fault", ["garbage", "truncated", "refused"])
def test_a_share_of_1_is_every_request(fault):
    assert set(draws(Misbehaviour(**{fault: 1.0}))) == {fault}


def test_shares_are_kept_more_or_less():
    counts = Counter(draws(Misbehaviour(garbage=0.1, truncated=0.2, refused=0.3)))

    assert counts["garbage"] == pytest.approx(200, abs=50)
    assert counts["truncated"] == pytest.approx(400, abs=70)
    assert counts["refused"] == pytest.approx(600, abs=80)


def test_the_same_seed_goes_wrong_the_same_way():
    assert draws(Misbehaviour(garbage=0.5, seed=7)) == draws(Misbehaviour(garbage=0.5, seed=7))


def test_another_seed_goes_wrong_another_way():
    assert draws(Misbehaviour(garbage=0.5, seed=7)) != draws(Misbehaviour(garbage=0.5, seed=8))


def test_a_change_leaves_the_rest_as_it_was():
    wrong = Misbehaviour(garbage=0.5, latency=0.1, seed=7)

    changed = wrong.changed({"garbage": 0.25})

    assert changed == Misbehaviour(garbage=0.25, latency=0.1, seed=7)


def test_a_change_begins_the_seed_anew():
    wrong = Misbehaviour(garbage=0.5)
    before = draws(wrong)

    assert draws(wrong.changed({})) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": 1},
        {"_random": 1},
        {"garbage": 1.5},
        {"truncated": -0.1},
        {"refused": "often"},
        {"latency": -1},
        {"status": 99},
        {"status": "503"},
        {"retry_after": 30},
        {"seed": [1]},
        ["garbage"],
        None,
    ],
    ids=str,
)
def test_a_change_that_makes_no_sense_is_refused(changes):
    with pytest.raises((ValueError, TypeError)):
        Misbehaviour().changed(changes)
