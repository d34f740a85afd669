from __future__ import annotations

import pytest

from extensions.keys import LANES, SEEN_BUCKETS, QueueKeys

KEYS = QueueKeys("replays:queue")


def test_no_two_keys_share_a_name():
    assert len(set(KEYS.everything)) == len(KEYS.everything)


def test_every_key_begins_with_the_namespace():
    assert {key[: len("{replays}:queue:")] for key in KEYS.everything} == {"{replays}:queue:"}


def test_everything_is_the_lanes_and_the_buckets_and_ten_more():
    assert len(KEYS.everything) == len(LANES) + SEEN_BUCKETS + 10


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (KEYS.lanes[0], "{replays}:queue:lane:discovery"),
        (KEYS.lanes[1], "{replays}:queue:lane:downloads"),
        (KEYS.lanes[2], "{replays}:queue:lane:backfill"),
        (KEYS.delayed, "{replays}:queue:delayed"),
        (KEYS.counts, "{replays}:queue:counts"),
        (KEYS.watchers, "{replays}:queue:watchers"),
        (KEYS.dead_letters, "{replays}:queue:dead_letters"),
        (KEYS.state, "{replays}:queue:state"),
        (KEYS.seen(8191), "{replays}:queue:seen:8191"),
    ],
    ids=lambda value: value.rpartition(":")[-1],
)
def test_names_stay_as_they_are(key, name):
    # A fleet that is being upgraded has workers of both versions.
    assert key == name
