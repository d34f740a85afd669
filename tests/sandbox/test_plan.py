"""What bots are to play and to do."""

from __future__ import annotations

import random

import pytest

from sandbox.bots import user_id
from sandbox.plan import DEEDS, Plan


@pytest.mark.parametrize("deed", DEEDS)
def test_each_deed_has_a_share(deed):
    assert Plan(**{deed: 1.0}).deed(random.Random(1)) == deed


def test_a_deed_may_need_a_format_of_its_own():
    plan, chance = Plan(format="gen9ou"), random.Random(1)

    assert plan.format_for("tie", chance) == "gen4ou"
    assert plan.format_for("hide", chance) == "gen9ou"
    assert plan.format_for(None, chance) == "gen9ou"


def test_a_tie_is_offered_when_the_server_takes_offers():
    assert Plan().turn("offertie", random.Random(1)) == 100
    assert 1 <= Plan().turn("hide", random.Random(1)) <= 6


@pytest.mark.parametrize(
    ("format", "deed", "searched"),
    [
        ("gen9randombattle", None, True),
        ("gen9freeforallrandombattle", None, True),
        ("gen9multirandombattle", None, False),
        ("gen9randombattle", "rename", False),
    ],
)
def test_what_the_server_does_not_allow_is_not_searched(format, deed, searched):
    assert Plan(rated=1.0).is_searched(format, deed, random.Random(1)) is searched


def test_names_begin_with_each_letter_in_turn():
    names = [Plan().name(number, 0xBEEF, random.Random(1)) for number in range(3)]

    assert names == ["a0xbeef", "b1xbeef", "c2xbeef"]


def test_odd_names_are_ones_that_the_server_takes():
    names = [Plan(odd=1.0).name(n, 0xBEEF, random.Random(1)) for n in range(9990, 10000)]

    assert len({user_id(name) for name in names}) == 10
    assert all(user_id(name)[:1] and len(name) <= 18 and "," not in name for name in names)
    assert {len(name) for name in names} >= {18}
    assert any(not name.isascii() for name in names)
    assert any(name[0].isdigit() for name in names)
