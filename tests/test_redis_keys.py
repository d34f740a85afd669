"""What is left in Redis after a test is somebody's, and ends."""

from __future__ import annotations

import pytest

from battles.keys import IndexKeys
from extensions.keys import HostKeys, QueueKeys
from tests.redis_keys import orphans

QUEUE, INDEX, HOSTS = QueueKeys("some:queue"), IndexKeys("some"), HostKeys()


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("{some}:queue:unheard_of", "no module names it"),
        ("some:queue:counts", "no namespace in braces"),
        ("counts", "no namespace in braces"),
        (QUEUE.batch("ann"), "no end"),
        (QUEUE.taking_over, "no end"),
        (QUEUE.renounced, "no end"),
        (INDEX.recovering, "no end"),
        (INDEX.additions, "no end"),
        (QUEUE.family("walk"), f"not named in {QUEUE.families}"),
        (INDEX.month("gen9ou", "202601"), f"not named in {INDEX.months}"),
        (HOSTS.host("site.example"), f"not named in {HOSTS.hosts}"),
        (HOSTS.flight("site.example"), f"not named in {HOSTS.hosts}"),
    ],
)
def test_what_nobody_knows_or_ends_is_an_orphan(redis, key, why):
    redis.set(key, "value")

    found = orphans(redis)
    redis.delete(key)

    assert found == {key: why}


@pytest.mark.parametrize(
    "key",
    [
        *(QUEUE.about, QUEUE.lanes[0], QUEUE.seen(22_527), QUEUE.listed),
        *(INDEX.version, INDEX.gaps, INDEX.rows(b"12345678"), INDEX.beside.count),
        *(HOSTS.gates, "some:queue:about", "battles:version", "own:key"),
    ],
)
def test_what_stays_or_goes_with_the_rest_is_none(redis, key):
    redis.set(key, "value")

    assert orphans(redis) == {}


def test_what_ends_by_itself_or_is_named_is_none(redis):
    redis.set(QUEUE.batch("ann"), "value", ex=60)
    for names, name, key in [
        (QUEUE.families, "walk", QUEUE.family("walk")),
        (INDEX.months, "gen9ou:202601", INDEX.month("gen9ou", "202601")),
        (HOSTS.hosts, "site.example", HOSTS.flight("site.example")),
    ]:
        redis.sadd(names, name)
        redis.set(key, "value")

    assert orphans(redis) == {}
