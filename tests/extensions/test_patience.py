from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import OutOfMemoryError
from scrapy.signalmanager import SignalManager

from extensions.lease import NotStoredError
from extensions.patience import Patience
from extensions.signals import leaving, redis_failed

FULL = OutOfMemoryError("no", status_code="OOM")


@pytest.fixture
def signals(monkeypatch) -> SignalManager:
    monkeypatch.setattr("extensions.patience._AGAIN", 0.001)
    return SignalManager()


def test_what_redis_does_not_take_is_repeated_and_told(signals):
    answers, told = [FULL, FULL, 5], []

    def hear(error: Exception) -> None:
        told.append(error)

    async def call() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    signals.connect(hear, redis_failed)

    assert asyncio.run(Patience(signals).until_taken(call)) == 5
    assert told == [FULL, FULL]


def test_what_else_goes_wrong_is_not_repeated(signals):
    async def call() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(Patience(signals).until_taken(call))


def test_a_crawl_that_ends_tries_once_more_and_gives_up(signals):
    tries = []

    async def call() -> None:
        tries.append(None)
        signals.send_catch_log(leaving)
        raise FULL

    with pytest.raises(NotStoredError):
        asyncio.run(Patience(signals).until_taken(call))

    assert len(tries) == 2
