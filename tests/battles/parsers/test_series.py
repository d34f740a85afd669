"""What a log says of the rules, and of the series a battle belongs to."""

from __future__ import annotations

import pytest

from battles.parsers.log import parse_log

SERIES = (
    '|uhtml|bestof|<h2><strong>Game 2</strong> of <a href="/game-bestof3-gen9ou-7{}">'
    "a best-of-3</a></h2>"
)


@pytest.mark.parametrize("password", ["", f"-{'x' * 31}pw"])
def test_a_game_of_a_series_names_it(password):
    facts = parse_log(SERIES.format(password))

    assert (facts.match, facts.game, facts.best_of) == ("game-bestof3-gen9ou-7", 2, 3)


def test_most_battles_belong_to_no_series():
    facts = parse_log("|uhtml|next|Game 2")

    assert (facts.match, facts.game, facts.best_of) == (None, None, None)


def test_rules_are_kept_as_they_are_told():
    custom = '|raw|<div class="infobox"><details class="readmore" open><summary><strong>'
    custom += "2 custom rules:</strong></summary> -Moth, +Gible &amp; Co</details></div>"

    facts = parse_log(f"|rule|Sleep Clause Mod: Limit one\n|rule|A|b\n{custom}")

    assert facts.rules == ["Sleep Clause Mod: Limit one", "A|b"]
    assert facts.custom_rules == ["-Moth", "+Gible & Co"]


@pytest.mark.parametrize(
    ("line", "text"), [("|rated|Tournament battle", "Tournament battle"), ("|rated|", None)]
)
def test_the_text_of_an_official_battle_is_kept(line, text):
    assert parse_log(line).rated_text == text


@pytest.mark.parametrize(
    ("line", "timer"),
    [("|inactive|Battle timer is ON: x", True), ("|inactive|A also wants the timer", False)],
)
def test_the_timer_is_on_when_it_is_said(line, timer):
    assert parse_log(line).timer is timer
