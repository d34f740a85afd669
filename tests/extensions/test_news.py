from __future__ import annotations

import asyncio
import threading

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from extensions.news import Listener
from tests.extensions.waiting import until

CHANNEL = "test:news"


def is_listening() -> bool:
    return any(thread.name == "news" for thread in threading.enumerate())


class Ear:
    """Notes what a listener hands on, and in which thread."""

    def __init__(self) -> None:
        self.heard: list = []
        self.caught_up = 0
        self.errors: list[Exception] = []
        """What catching up raises, in turn."""
        self.threads: set[int] = set()

    def hear(self, news) -> None:
        self.threads.add(threading.get_ident())
        self.heard.append(news["value"])

    def catch_up(self):
        if self.errors:
            raise self.errors.pop(0)

        def heed() -> None:
            self.threads.add(threading.get_ident())
            self.caught_up += 1

        return heed


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def play(redis, ear, monkeypatch):
    """Play a scene with a listener, which is stopped in the end."""
    monkeypatch.setattr("extensions.news._LOOK", 0.01)
    monkeypatch.setattr("extensions.news._AGAIN", 0.01)

    def run(scene) -> None:
        async def act() -> None:
            listener = Listener(redis, CHANNEL, hear=ear.hear, catch_up=ear.catch_up)
            listener.start()
            try:
                await until(lambda: ear.caught_up)
                await scene(listener)
            finally:
                listener.stop()
                await until(lambda: not is_listening())

        asyncio.run(act())

    return run


def test_what_is_published_is_heard_in_the_event_loop(play, ear, redis):
    async def scene(_):
        redis.publish(CHANNEL, '{"value": 1}')
        redis.publish("test:others", '{"value": 2}')
        redis.publish(CHANNEL, '{"value": 3}')
        await until(lambda: ear.heard == [1, 3])

    play(scene)

    assert ear.threads == {threading.get_ident()}


def test_after_a_broken_connection_it_catches_up_and_hears_again(play, ear, redis):
    async def scene(_):
        for client in redis.client_list(_type="pubsub"):
            redis.client_kill(client["addr"])
        await until(lambda: ear.caught_up == 2)
        redis.publish(CHANNEL, '{"value": 1}')
        await until(lambda: ear.heard == [1])

    play(scene)


def test_catching_up_is_tried_until_it_succeeds(play, ear):
    ear.errors = [RedisConnectionError("away"), OSError("away")]

    async def scene(_):
        assert (ear.caught_up, ear.errors) == (1, [])

    play(scene)


def test_what_keeps_it_from_hearing_is_told_in_the_event_loop(play, ear, redis):
    threads: list[int] = []

    async def scene(listener):
        listener.on_failure = lambda _error: threads.append(threading.get_ident())
        ear.errors = [RedisConnectionError("away")]
        for client in redis.client_list(_type="pubsub"):
            redis.client_kill(client["addr"])
        await until(lambda: threads)

    play(scene)

    assert set(threads) == {threading.get_ident()}


@pytest.mark.parametrize("nonsense", ["{", "5", "{}", b"\xff", "[" * 9])
def test_nonsense_is_told_of_and_what_follows_is_heard(play, ear, redis, caplog, nonsense):
    async def scene(_):
        redis.publish(CHANNEL, nonsense)
        redis.publish(CHANNEL, '{"value": 1}')
        await until(lambda: ear.heard == [1])

    play(scene)

    [message] = caplog.messages
    assert message.startswith("News of test:news makes no sense: ")


def test_a_listener_that_is_stopped_hears_no_more(play, ear, redis):
    async def scene(listener):
        listener.stop()
        await until(lambda: not is_listening())
        assert redis.publish(CHANNEL, '{"value": 1}') == 0

    play(scene)

    assert ear.heard == []


def test_a_listener_whose_loop_has_ended_ends(redis, ear, monkeypatch):
    monkeypatch.setattr("extensions.news._LOOK", 0.01)

    async def scene() -> Listener:
        listener = Listener(redis, CHANNEL, hear=ear.hear, catch_up=ear.catch_up)
        listener.start()
        await until(lambda: ear.caught_up)
        return listener

    asyncio.run(scene())
    redis.publish(CHANNEL, '{"value": 1}')
    asyncio.run(until(lambda: not is_listening()))

    assert ear.heard == []
