from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from scrapy.exceptions import DropItem
from scrapy.utils.test import get_crawler

from battles.items import Unreadable
from battles.pipelines.validate import ValidatePipeline
from extensions.dead_letters import DeadLetterError


@pytest.fixture
def battle(battles):
    """A battle as the spider yields it."""
    return replace(battles[0], asked=battles[0].id)


@pytest.fixture
def pipeline_of():
    def build(**settings) -> ValidatePipeline:
        return ValidatePipeline.from_crawler(get_crawler(settings_dict=settings))

    return build


def process(pipeline: ValidatePipeline, item: object) -> object:
    return asyncio.run(pipeline.process_item(item))


def test_a_good_battle_goes_on(pipeline_of, battle):
    assert process(pipeline_of(), battle) is battle


def test_an_item_that_is_no_battle_goes_on_as_it_is(pipeline_of):
    item = {"title": "a page"}

    assert process(pipeline_of(), item) is item
    assert item == {"title": "a page"}


@pytest.mark.parametrize(
    ("changes", "reason", "message"),
    [
        ({"private": 1}, "private", "it is marked private (1)"),
        ({"private": -1}, "private", "it is marked private (-1)"),
        ({"log": ""}, "no_log", "it has no log"),
        ({"log": " \n "}, "no_log", "it has no log"),
        ({"ended": None}, "no_end", "its log has no end, so it may still be running"),
    ],
    ids=["private", "of an unknown kind", "no log", "an empty log", "no end"],
)
def test_a_battle_that_is_not_for_the_archive_is_dropped_and_counted(
    pipeline_of, battle, changes, reason, message
):
    pipeline = pipeline_of()

    with pytest.raises(DropItem) as dropped:
        process(pipeline, replace(battle, **changes))

    assert str(dropped.value) == f"{battle.id}: {message}"
    assert not isinstance(dropped.value, DeadLetterError)
    assert pipeline._stats.get_value(f"validate/dropped/{reason}") == 1


def test_a_battle_of_another_id_makes_a_dead_letter(pipeline_of, battle):
    other = replace(battle, id="gen9ou-1" + "0" * 100)

    with pytest.raises(DeadLetterError) as dropped:
        process(pipeline_of(), other)

    assert str(dropped.value) == f"{battle.id}: the site sent 'gen9ou-1{'0' * 72}' instead"


def test_a_private_battle_of_another_id_is_told_by_its_id(pipeline_of, battle):
    pipeline = pipeline_of()

    with pytest.raises(DeadLetterError, match="instead"):
        process(pipeline, replace(battle, id="gen9ou-1", private=1))

    assert pipeline._stats.get_value("validate/dropped/private") is None


def test_what_is_no_battle_makes_a_dead_letter(pipeline_of):
    pipeline = pipeline_of()
    item = Unreadable(asked="gen9ou-1", url="https://site/", reason="broken JSON")

    with pytest.raises(DeadLetterError, match="gen9ou-1: broken JSON"):
        process(pipeline, item)

    assert pipeline._stats.get_value("validate/dropped/unreadable") == 1


LOG = "|j|☆ann\n|c|☆ann|hello\n|move|p1a: A|Tackle|p2a: B\n|win|ann"


def test_what_people_said_is_taken_out(pipeline_of, battle):
    item = process(pipeline_of(), replace(battle, log=LOG, has_chat=True))

    assert "hello" not in item.log
    assert "|move|p1a: A|Tackle|p2a: B\n|win|ann" in item.log


@pytest.mark.parametrize("setting", [True, "1"])
def test_what_people_said_can_be_kept(pipeline_of, battle, setting):
    item = process(pipeline_of(KEEP_CHAT=setting), replace(battle, log=LOG, has_chat=True))

    assert item.log == LOG


@pytest.mark.parametrize("setting", [True, "1"])
def test_a_battle_without_an_end_can_be_kept(pipeline_of, battle, setting):
    unfinished = replace(battle, ended=None)

    assert process(pipeline_of(KEEP_UNFINISHED=setting), unfinished) is unfinished


@pytest.mark.parametrize("changes", [{"private": 1}, {"log": ""}], ids=["private", "no log"])
def test_a_battle_without_an_end_must_be_fit_otherwise(pipeline_of, battle, changes):
    with pytest.raises(DropItem, match=r"private|no log"):
        process(pipeline_of(KEEP_UNFINISHED=True), replace(battle, ended=None, **changes))
