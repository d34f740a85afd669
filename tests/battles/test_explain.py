from __future__ import annotations

import pytest

from battles.explain import explain
from extensions.dead_letters import Failure, write_letter
from extensions.queue import Add, Bury, RequestQueue

SITE = "https://replay.example"


@pytest.fixture
def queue(redis, clock) -> RequestQueue:
    queue = RequestQueue(redis, "replays:queue", worker="ann", clock=clock)
    queue.open()
    return queue


@pytest.fixture
def told(archive, redis):
    """Explain a battle, with the replays' queue and another."""

    def tell(battle_id: str) -> list[str]:
        return explain(redis, archive.index, battle_id, ["replays:queue", "rooms:queue"])

    return tell


def test_a_stored_battle_is_told_with_where_its_bytes_are(told, archive, battles):
    [place] = archive.keep(battles[:1])

    lines = told(battles[0].id)

    assert lines == [
        (
            f"archived: {place.segment}, bytes 0-{place.length - 1}, line 0; "
            f"fetched at {battles[0].fetched_at}"
        )
    ]


@pytest.mark.parametrize(
    "url",
    [f"{SITE}/gen9ou-1.json", "wss://server.example/showdown/websocket?room=battle-gen9ou-1"],
    ids=["replay", "room"],
)
def test_a_battle_on_its_way_is_told_with_where_it_is(told, queue, clock, url):
    clock.now = 1_800_000_000.0
    queue.commit([Add(2, {"url": url}, delay=60.0)])

    lines = told("gen9ou-1")

    assert lines == ["delayed in replays:queue, downloads: due at 1800000060"]


def test_a_stored_battle_that_also_died_is_told_twice(told, queue, archive, battles):
    archive.keep(battles[:1])
    queue.commit([Add(2, {"url": f"{SITE}/{battles[0].id}.json"})])
    _, [leased] = queue.lease(1)
    letter = write_letter(leased, Failure("HTTP 500"), attempts=9, now=2.0)
    queue.commit([Bury(leased, letter)])

    stored, dead = told(battles[0].id)

    assert stored.startswith("archived: raw/")
    assert dead == "dead in replays:queue, downloads: letter 1: HTTP 500"


def test_of_a_battle_that_is_nowhere_nothing_is_told(told):
    assert told("gen9ou-404") == []
