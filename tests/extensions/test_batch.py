from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from extensions.batch import Batcher
from tests.conftest import Clock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

AT_ONCE = 0.0
NEVER = 3600.0
"""Seconds that no test waits."""


class Handler:
    """Doubles numbers, and remembers its batches; it works when it may."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.errors: list[Exception | None] = []
        self.most_at_once = 0
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Semaphore(1000)
        self._at_once = 0

    def __call__(self, numbers: list[int]) -> list[int]:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        self.batches.append(numbers)
        self.begun.release()
        self.may_end.acquire()
        self._at_once -= 1
        if self.errors and (error := self.errors.pop(0)):
            raise error
        return [2 * number for number in numbers]

    def hold(self) -> None:
        """Make each batch wait for `may_end.release()`."""
        self.may_end = threading.Semaphore(0)


@pytest.fixture
def handler() -> Handler:
    return Handler()


async def gather(batcher: Batcher[int, int], numbers: range) -> list[int | BaseException]:
    return await asyncio.gather(*map(batcher.submit, numbers), return_exceptions=True)


async def begins(handler: Handler) -> None:
    """Wait until a batch is being handled."""
    await asyncio.to_thread(handler.begun.acquire)


async def turns() -> None:
    """Let everything happen that waits for no time to pass."""
    for _ in range(10):
        await asyncio.sleep(0)


def run(test: Callable[[], Awaitable]):
    return asyncio.run(asyncio.wait_for(test(), 60))


def test_every_entry_gets_its_own_result(handler):
    batcher = Batcher(handler, size=3, delay=AT_ONCE)

    results = run(lambda: gather(batcher, range(7)))

    assert results == [0, 2, 4, 6, 8, 10, 12]


def test_no_batch_is_larger_than_its_size(handler):
    batcher = Batcher(handler, size=3, delay=AT_ONCE)

    run(lambda: gather(batcher, range(7)))

    assert handler.batches == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_full_batch_does_not_wait(handler):
    batcher = Batcher(handler, size=3, delay=NEVER)

    run(lambda: gather(batcher, range(6)))

    assert handler.batches == [[0, 1, 2], [3, 4, 5]]


def test_a_batch_that_fills_up_does_not_wait_any_longer(handler):
    batcher = Batcher(handler, size=2, delay=NEVER)

    async def one_by_one():
        first = asyncio.create_task(batcher.submit(1))
        await asyncio.sleep(0)
        second = asyncio.create_task(batcher.submit(2))
        await asyncio.gather(first, second)

    run(one_by_one)

    assert handler.batches == [[1, 2]]


def test_an_entry_alone_is_handled_after_the_delay(handler):
    batcher = Batcher(handler, size=100, delay=0.01)

    assert run(lambda: gather(batcher, range(1))) == [0]


def test_what_comes_within_the_delay_shares_a_batch(handler):
    batcher = Batcher(handler, size=4, delay=0.5)

    async def just_within():
        clock = Clock(asyncio.get_running_loop().time())
        asyncio.get_running_loop().time = clock
        tasks = []
        for number, pause in enumerate((0.0, 0.49, 0.02)):
            tasks.append(asyncio.create_task(batcher.submit(number)))
            await turns()
            clock.now += pause
        await asyncio.gather(*tasks)

    run(just_within)

    assert handler.batches == [[0, 1, 2]]


def test_one_batch_is_handled_at_a_time(handler):
    batcher = Batcher(handler, size=1, delay=AT_ONCE)

    run(lambda: gather(batcher, range(20)))

    assert handler.most_at_once == 1
    assert len(handler.batches) == 20


def test_what_arrives_while_a_batch_is_handled_makes_the_next(handler):
    batcher = Batcher(handler, size=10, delay=AT_ONCE)
    handler.hold()

    async def in_two_waves():
        first = asyncio.create_task(gather(batcher, range(2)))
        await begins(handler)
        second = asyncio.create_task(gather(batcher, range(2, 5)))
        await asyncio.sleep(0)
        handler.may_end.release(2)
        await asyncio.gather(first, second)

    run(in_two_waves)

    assert handler.batches == [[0, 1], [2, 3, 4]]


def test_who_waited_during_a_batch_does_not_wait_the_whole_delay_again(handler):
    delay = 20.0
    batcher = Batcher(handler, size=2, delay=delay)
    handler.hold()

    async def waits_long_before():
        loop = asyncio.get_running_loop()
        begun = loop.time()
        first = asyncio.create_task(gather(batcher, range(2)))
        await begins(handler)
        second = asyncio.create_task(batcher.submit(2))
        await asyncio.sleep(0)
        time = loop.time
        loop.time = lambda: time() + delay
        handler.may_end.release(2)
        await asyncio.gather(first, second)
        return loop.time() - begun

    waited = run(waits_long_before)

    assert waited < 2 * delay
    assert handler.batches == [[0, 1], [2]]


def test_a_batcher_works_again_after_a_rest(handler):
    batcher = Batcher(handler, size=10, delay=AT_ONCE)

    async def twice():
        await batcher.submit(1)
        return await batcher.submit(2)

    assert run(twice) == 4
    assert handler.batches == [[1], [2]]


def test_an_error_reaches_everybody_of_its_batch_and_nobody_else(handler):
    batcher = Batcher(handler, size=2, delay=AT_ONCE)
    error = OSError("the disk is full")
    handler.errors = [None, error, None]

    results = run(lambda: gather(batcher, range(6)))

    assert results == [0, 2, error, error, 8, 10]


@pytest.mark.parametrize(
    "handle",
    [
        pytest.param(lambda numbers: numbers[1:], id="too few"),
        pytest.param(lambda numbers: [*numbers, 0], id="too many"),
    ],
)
def test_results_of_another_number_are_an_error_for_everybody(handle):
    batcher = Batcher(handle, size=3, delay=AT_ONCE)

    results = run(lambda: gather(batcher, range(3)))

    assert [type(result) for result in results] == [ValueError] * 3


@pytest.mark.parametrize(
    "errors", [pytest.param([], id="success"), pytest.param([OSError()], id="failure")]
)
def test_who_leaves_does_not_disturb_the_others(handler, errors):
    batcher = Batcher(handler, size=3, delay=NEVER)
    handler.hold()
    handler.errors = list(errors)

    async def one_leaves():
        tasks = [asyncio.create_task(batcher.submit(number)) for number in range(3)]
        await begins(handler)
        tasks[1].cancel()
        handler.may_end.release()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, left, last = run(one_leaves)

    assert isinstance(left, asyncio.CancelledError)
    assert [first, last] == (errors * 2 or [0, 4])


def test_the_entry_of_who_leaves_is_handled_nevertheless(handler):
    batcher = Batcher(handler, size=2, delay=NEVER)

    async def leaves_before():
        task = asyncio.create_task(batcher.submit(1))
        await asyncio.sleep(0)
        task.cancel()
        return await batcher.submit(2)

    assert run(leaves_before) == 4
    assert handler.batches == [[1, 2]]


def test_the_event_loop_runs_on_while_a_batch_is_handled(handler):
    batcher = Batcher(handler, size=1, delay=AT_ONCE)
    handler.hold()

    async def meanwhile():
        task = asyncio.create_task(batcher.submit(1))
        await begins(handler)
        is_done = task.done()
        handler.may_end.release()
        return is_done, await task

    assert run(meanwhile) == (False, 2)
