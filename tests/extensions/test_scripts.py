"""Scripts run also where the server has never heard of them."""

from __future__ import annotations

import pytest

from extensions.scripts import Script


@pytest.fixture
def hold(redis) -> Script:
    return Script(redis, "extensions", "hold", after=("gate",))


def _call(host: str) -> tuple[list[str], list[object]]:
    keys = ["own:gates", f"own:host:{host}", "own:hosts"]
    return keys, [1_800_000_000_000_000, host, "asked", 0, 1_000_000, 60_000_000, "news", 0]


@pytest.mark.parametrize("count", [1, 3])
def test_a_server_that_forgot_its_scripts_is_told_again(redis, hold, count):
    redis.script_flush()

    replies = hold.run_each([_call(str(number)) for number in range(count)])

    assert len(replies) == count
    assert redis.hlen("own:gates") == count


def test_nothing_to_run_is_nothing_asked(hold):
    assert hold.run_each([]) == []
