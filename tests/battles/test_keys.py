from __future__ import annotations

from battles.index import BattleIndex, Entry
from battles.keys import IndexKeys
from extensions.segments import Location

ENTRY = Entry(
    id="gen9ou-1",
    formatid="gen9ou",
    players=("Ash", "Misty"),
    rating=1500,
    time=1_795_000_000,
    fetched_at=1_795_000_100,
    location=Location("raw/segment", 0, 100, 0),
)


def test_the_index_writes_no_other_keys(redis):
    BattleIndex(redis, "test").add([ENTRY])

    keys = IndexKeys("test")
    written = {key.decode() for key in redis.scan_iter()}
    assert written - set(keys.fixed) == {keys.month("gen9ou", "202611")}


def test_no_key_is_named_twice():
    keys = IndexKeys("test").fixed

    assert len(set(keys)) == len(keys)


def test_every_key_begins_with_the_namespace():
    assert {key.partition(":")[0] for key in IndexKeys("mine").fixed} == {"{mine}"}
