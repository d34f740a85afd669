"""Questions over connections that stay open, to a server of the test's own."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine

import aiohttp
import pytest
from scrapy import Request
from scrapy.exceptions import DownloadFailedError
from scrapy.http import Response

from extensions.gated_download import NoConnectionError
from extensions.lines import Line
from extensions.signals import leaving
from extensions.throttle import HeldError
from extensions.websocket import WebSocketDownloadHandler
from tests.conftest import Clock
from tests.extensions.echo import Server, all_of, asks, handler_of, handling, serving
from tests.extensions.waiting import until


class Minutes:
    """A clock on which two minutes pass between any two looks."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        self._now += 120.0
        return self._now


@pytest.fixture
def play():
    """Have a scene with a server and a handler played."""

    def run(scene: Callable[..., Coroutine], **given: object) -> object:
        async def act() -> object:
            async with serving() as server, handling(**given) as handler:
                return await scene(server, handler)

        return asyncio.run(act())

    return run


# --- Settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [None, ""])
def test_without_a_dialogue_there_is_nothing_to_say(path):
    with pytest.raises(ValueError, match="WEBSOCKET_DIALOGUE is not set"):
        handler_of(WEBSOCKET_DIALOGUE=path)


def test_it_is_loaded_with_the_first_request_of_its_kind():
    assert WebSocketDownloadHandler.lazy is True


def test_a_crawl_that_asks_nothing_closes_nothing():
    async def scene() -> None:
        async with handling():
            pass

    asyncio.run(scene())


# --- Connections ----------------------------------------------------------------------------------


def test_a_question_has_its_answer(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> Response:
        return await asks(handler, server.url, "a")[0]

    response = play(scene)

    assert (response.status, response.text) == (200, "a!")


def test_requests_share_a_connection_until_it_is_full(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        await all_of(asks(handler, server.url, "a", "b"))
        await all_of(asks(handler, server.url, "c"))
        shared = server.connections
        await all_of(asks(handler, server.url, "d", "e", "f"))
        return [shared, server.connections]

    assert play(scene) == [1, 2]


def test_there_are_no_more_connections_than_allowed(play):
    questions = "abcdefghij"

    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        answers = await all_of(asks(handler, server.url, *questions))
        return [server.connections, *(answer.text for answer in answers)]

    connections, *answers = play(scene, WEBSOCKET_CONNECTIONS=2)

    assert connections == 2
    assert answers == [f"{question}!" for question in questions]


def test_each_address_has_connections_of_its_own(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> int:
        await all_of([*asks(handler, server.url, "a"), *asks(handler, f"{server.url}/2", "a")])
        return server.connections

    assert play(scene, WEBSOCKET_CONNECTIONS=1) == 2


def test_a_connection_says_who_asks(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> dict[str, str]:
        await all_of(asks(handler, server.url, "a"))
        return server.heads[0]

    assert play(scene, USER_AGENT="battles (+me)")["User-Agent"] == "battles (+me)"


def test_a_connection_tells_its_own_site_the_password_for_it(play):
    async def scene(server: Server, _handler: WebSocketDownloadHandler) -> list[str | None]:
        for site in (server.url, "ws://other.example"):
            async with handling(SITE_CREDENTIALS={site: "ann:word"}) as handler:
                await all_of(asks(handler, server.url, "a"))
        return [head.get("Authorization") for head in server.heads]

    assert play(scene) == ["Basic YW5uOndvcmQ=", None]


@pytest.mark.parametrize("question", ["stay", "refuse"])
def test_what_is_told_of_life_stays_in_no_request(play, question):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> dict:
        request = Request(f"{server.url}?{question}")
        await all_of([asyncio.ensure_future(handler.download_request(request))])
        return request.meta

    assert "alive" not in play(scene)


def test_the_first_sign_of_life_is_handed_on(play):
    signs = []

    async def scene(server: Server, handler: WebSocketDownloadHandler) -> None:
        request = Request(f"{server.url}?stay", meta={"alive": lambda: signs.append("alive")})
        await handler.fetch(request)
        request.meta["alive"]()

    play(scene)

    assert signs == ["alive"] * 2


# --- Connections that end -------------------------------------------------------------------------


def test_what_was_not_answered_is_asked_again_over_a_new_connection(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        server.hang_up_on = ["b"]
        answers = await all_of(asks(handler, server.url, "a", "b"))
        return [[answer.text for answer in answers], server.asked, server.connections]

    answers, asked, connections = play(scene)

    assert answers == ["a!", "b!"]
    assert asked == ["a", "b", "b"]
    assert connections == 2


def test_a_connection_that_ended_meanwhile_is_not_used(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        await all_of(asks(handler, server.url, "a"))
        await server.lines[0].close()
        await all_of(asks(handler, server.url, "b"))
        return server.asked_over

    assert play(scene) == [["a"], ["b"]]


def test_connections_that_answer_and_do_not_last_are_opened_ever_more_slowly(play, without_pauses):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> None:
        for n in range(5):
            await all_of(asks(handler, server.url, f"a{n}"))
            await server.lines[n].close()

    play(scene)

    assert [most for _, most in without_pauses] == [0.5, 1, 2, 4]


def test_a_request_is_not_asked_for_ever(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        server.hang_up_on = ["stay"] * 9
        return [*await all_of(asks(handler, server.url, "stay")), server.connections]

    error, connections = play(scene)

    assert isinstance(error, DownloadFailedError)
    assert str(error).endswith("/socket?stay: 3 connections ended before the answer")
    assert connections == 3


def test_what_was_asked_for_long_is_not_why_a_connection_ended(play):
    async def scene(server: Server, _handler: WebSocketDownloadHandler) -> list:
        async with handling(clock=Minutes()) as handler:
            server.hang_up_on = ["stay"] * 5
            [answer] = await all_of(asks(handler, server.url, "stay"))
            return [answer.text, server.connections]

    assert play(scene) == ["stay!", 6]


def test_a_server_that_does_not_answer_pings_is_given_up(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        server.is_deaf = server.silent = True
        return [*await all_of(asks(handler, server.url, "a")), server.connections]

    error, connections = play(scene, WEBSOCKET_HEARTBEAT=0.04)

    assert isinstance(error, NoConnectionError)
    assert "No PONG received" in str(error)
    assert connections == 1


def test_a_connection_that_takes_no_more_is_given_up(play, monkeypatch):
    async def fail(*_arguments: object) -> None:
        raise aiohttp.ClientConnectionResetError("it is closing")

    monkeypatch.setattr(aiohttp.ClientWebSocketResponse, "send_str", fail)

    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        outcomes = await all_of(asks(handler, server.url, "a"))
        await until(lambda: server.open == 0)
        return [*outcomes, server.connections]

    error, connections = play(scene)

    assert isinstance(error, NoConnectionError)
    assert str(error).endswith("it ends connections at once (it is closing)")
    assert connections == 1


@pytest.mark.parametrize(
    ("age", "is_refusal"), [(4.9, True), (5.1, False)], ids=["at once", "later"]
)
def test_what_ends_without_an_answer_was_refused_or_not_reached(play, age, is_refusal):
    clock = Clock()

    async def scene(server: Server, _handler: WebSocketDownloadHandler) -> HeldError:
        async with handling(clock=clock) as handler:
            server.silent = True
            asked = asks(handler, server.url, "a")
            await until(lambda: server.asked)
            clock.now += age
            await server.lines[0].close()
            return (await all_of(asked))[0]

    error = play(scene)

    assert isinstance(error, NoConnectionError)
    assert error.failure.is_refusal is is_refusal
    assert "close code 1000" in str(error)


# --- Kinds of requests ----------------------------------------------------------------------------


def test_kinds_of_requests_share_no_connection(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        await all_of(asks(handler, server.url, "a"))
        await all_of(asks(handler, server.url, "list"))
        await all_of(asks(handler, server.url, "b"))
        return [server.connections, server.asked_over]

    assert play(scene) == [2, [["a", "b"], ["list"]]]


def test_a_kind_with_a_name_has_one_connection(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        answers = await all_of(asks(handler, server.url, *(f"list{n}" for n in range(9))))
        return [server.connections, len(answers)]

    assert play(scene) == [1, 9]


# --- Connections that do not come about -----------------------------------------------------------


def test_who_waits_for_the_same_connection_shares_its_fate(refused, without_pauses):
    async def scene() -> list:
        async with handling() as handler:
            return await all_of(asks(handler, refused, *"abcde", "list"))

    errors = asyncio.run(scene())

    assert {type(error) for error in errors} == {NoConnectionError}
    assert len({id(error.failure) for error in errors}) == 1
    assert len(without_pauses) == 1


def test_the_pause_before_the_next_try_doubles_up_to_a_limit(refused, without_pauses):
    async def scene() -> None:
        async with handling() as handler:
            for _ in range(9):
                await all_of(asks(handler, refused, "a"))

    asyncio.run(scene())

    assert [most for _, most in without_pauses] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert all(least == most / 2 for least, most in without_pauses)


def test_the_next_try_comes_after_the_pause(refused, monkeypatch):
    monkeypatch.setattr("extensions.outage.random.uniform", lambda _least, _most: 0.05)

    async def scene() -> float:
        async with handling() as handler:
            await all_of(asks(handler, refused, "a"))
            begun = asyncio.get_running_loop().time()
            await all_of(asks(handler, refused, "a"))
            return asyncio.get_running_loop().time() - begun

    assert asyncio.run(scene()) >= 0.04


def test_an_answer_ends_the_outage_and_says_for_how_long_it_was(play, without_pauses, caplog):
    caplog.set_level(logging.INFO, "extensions.outage")
    clock = Clock()

    async def scene(server: Server, _handler: WebSocketDownloadHandler) -> list:
        async with handling(clock=clock) as handler:
            server.is_hasty = True
            for _ in range(3):
                await all_of(asks(handler, server.url, "a"))
                clock.now += 400.0
            server.is_hasty = False
            [answer] = await all_of(asks(handler, server.url, "a"))
            server.is_hasty = True
            [error] = await all_of(asks(handler, f"{server.url}", "list"))
            return [answer.text, error.failure.seconds]

    assert play(scene) == ["a!", 5.0]
    assert [most for _, most in without_pauses] == [0.5, 1.0, 2.0, 0.5]
    assert [text.partition(" ")[2] for text in caplog.messages] == [
        "refuses us: it ends connections at once (close code 1008, banned)",
        "answers again after 1200 s, 4 attempts",
        "refuses us: it ends connections at once (close code 1008, banned)",
    ]


def test_an_answer_over_an_older_connection_proves_nothing_of_new_ones(play, caplog):
    caplog.set_level(logging.INFO, "extensions.outage")
    clock = Clock()

    async def scene(server: Server, _handler: WebSocketDownloadHandler) -> list:
        async with handling(clock=clock) as handler:
            await all_of(asks(handler, server.url, "a"))
            clock.now += 1.0
            server.is_hasty = True
            await all_of(asks(handler, server.url, "list"))
            clock.now += 1.0
            [answer] = await all_of(asks(handler, server.url, "b"))
            return answer.text

    assert play(scene) == "b!"
    assert ["again" in text for text in caplog.messages] == [False]


def test_the_servers_last_notice_is_said_with_the_refusal(play, caplog):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> None:
        server.is_hasty, server.notice = True, "You are\x1b[2J\nbanned. " + "x" * 300
        await all_of(asks(handler, server.url, "a", "b"))

    play(scene)

    [text] = caplog.messages
    assert "(close code 1008, banned); it says: You are?[2J banned. xxx" in text
    assert len(text.partition("it says: ")[2]) == 200


def test_a_dialogue_may_find_that_the_server_refuses(play, caplog):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        errors = await all_of(asks(handler, server.url, "refuse1", "refuse2"))
        [answer] = await all_of(asks(handler, server.url, "a"))
        return [*errors, answer, server.connections]

    *errors, answer, connections = play(scene)

    assert [(type(error), error.failure.is_refusal) for error in errors] == [
        (NoConnectionError, True)
    ] * 2
    assert [round(error.seconds) for error in errors] == [5, 5]
    assert (answer.text, connections) == ("a!", 1)
    assert [text.partition(" ")[2] for text in caplog.messages] == ["refuses us: it lets nobody in"]


def test_an_answer_of_another_kind_does_not_end_a_refusal(play, caplog):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> None:
        for _ in range(3):
            await all_of(asks(handler, server.url, "refuse"))
            await all_of(asks(handler, server.url, "list"))
        await all_of(asks(handler, server.url, "a"))

    with caplog.at_level("INFO", "extensions.outage"):
        play(scene)

    said = [record.getMessage().partition(" ")[2] for record in caplog.records]
    assert [text.partition(":")[0].partition(" after")[0] for text in said] == [
        "refuses us",
        "answers again",
    ]


def test_how_connections_fail_is_counted(play, refused):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> dict:
        await all_of(asks(handler, refused, "a", "b"))
        server.is_hasty = True
        await all_of(asks(handler, server.url, "a", "b"))
        return dict(handler.crawler.stats.get_stats())

    stats = play(scene)

    assert [stats[f"websocket/{name}"] for name in ("refused", "unreachable", "connections")] == [
        1,
        1,
        1,
    ]


# --- The end of the crawl -------------------------------------------------------------------------


def test_connections_are_closed_in_order():
    async def scene() -> list:
        async with serving() as server:
            async with handling() as handler:
                await all_of(asks(handler, server.url, "a", "b", "c"))
            await until(lambda: len(server.closed) == server.connections)
            return server.closed

    assert asyncio.run(scene()) == [aiohttp.WSCloseCode.OK] * 2


def test_a_server_that_does_not_say_goodbye_is_not_waited_for(play, monkeypatch):
    monkeypatch.setattr("extensions.lines._FAREWELL", 0.01)

    async def scene(server: Server, handler: WebSocketDownloadHandler) -> bool:
        server.is_rude = True
        await all_of(asks(handler, server.url, "a"))
        [line] = handler._lines[server.url]._all()
        await handler.close()
        return line._task.done()

    assert play(scene) is True


def test_connections_are_closed_at_the_same_time(play, monkeypatch):
    all_at_it = asyncio.Barrier(3)
    goodbye = Line._say_goodbye

    async def say_goodbye(line: Line) -> None:
        await asyncio.wait_for(all_at_it.wait(), 5.0)
        await goodbye(line)

    async def scene(server: Server, handler: WebSocketDownloadHandler) -> None:
        await all_of(asks(handler, server.url, "a", "b", "c", "list"))
        monkeypatch.setattr(Line, "_say_goodbye", say_goodbye)
        await handler.close()

    play(scene)


def test_what_came_is_counted_when_connections_end():
    async def scene() -> dict:
        async with serving() as server, handling() as handler:
            server.hang_up_on = ["c"]
            await all_of(asks(handler, server.url, "a", "b"))
            await all_of(asks(handler, server.url, "c"))
            await handler.close()
            return dict(handler.crawler.stats.get_stats())

    stats = asyncio.run(scene())

    assert (stats["websocket/connections"], stats["websocket/frames"]) == (2, 3)


def test_nothing_is_left_running():
    async def scene() -> set:
        async with serving() as server:
            async with handling() as handler:
                await all_of(asks(handler, server.url, "a", "b", "c"))
            await until(lambda: server.open == 0)
        gc.collect()
        return {task.get_name() for task in asyncio.all_tasks()} - {
            asyncio.current_task().get_name()
        }

    assert asyncio.run(scene()) == set()


def test_when_the_crawl_leaves_every_dialogue_does(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        server.silent = True
        asked = asks(handler, server.url, "a", "b", "c")
        await until(lambda: len(server.asked) == 3)
        handler.crawler.signals.send_catch_log(leaving)
        return [answer.text for answer in await all_of(asked)]

    assert play(scene) == ["partial"] * 3


def test_when_the_crawl_leaves_a_handshake_is_given_up(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        asked = asks(handler, server.url.replace("/socket", "/silent"), "a", "b", "list")
        await until(lambda: server.handshakes == 1)
        handler.crawler.signals.send_catch_log(leaving)
        # A small part of DOWNLOAD_TIMEOUT.
        async with asyncio.timeout(10.0):
            outcomes = await all_of(asked)
            await handler.close()
        return outcomes

    outcomes = play(scene)

    assert [type(outcome) for outcome in outcomes] == [HeldError] * 3
    assert all(str(outcome).endswith("the crawl is ending") for outcome in outcomes)


def test_when_the_crawl_leaves_nobody_waits_for_the_next_try(refused, monkeypatch):
    monkeypatch.setattr("extensions.outage.random.uniform", lambda _least, _most: 3600.0)

    async def scene() -> list:
        async with handling() as handler:
            await all_of(asks(handler, refused, "a"))
            asked = asks(handler, refused, "b", "c")
            await until(lambda: handler._lines[refused]._attempt is not None)
            handler.leave()
            async with asyncio.timeout(10.0):
                return await all_of(asked)

    assert [type(outcome) for outcome in asyncio.run(scene())] == [HeldError] * 2


def test_when_the_crawl_leaves_nobody_waits_for_a_place(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        server.silent = True
        asked = asks(handler, server.url, "a", "b", "c")
        await until(lambda: len(server.asked) == 2)
        handler.leave()
        async with asyncio.timeout(10.0):
            return await all_of(asked)

    *partial, left = play(scene, WEBSOCKET_CONNECTIONS=1)

    assert [answer.text for answer in partial] == ["partial"] * 2
    assert isinstance(left, HeldError)


def test_after_the_crawl_has_left_no_connection_is_opened(play):
    async def scene(server: Server, handler: WebSocketDownloadHandler) -> list:
        handler.leave()
        return [*await all_of(asks(handler, server.url, "a")), server.handshakes]

    error, handshakes = play(scene)

    assert (type(error), handshakes) == (HeldError, 0)


def test_a_connection_that_ended_leaves_no_task_behind():
    async def scene() -> bool:
        async with serving() as server, handling() as handler:
            await all_of(asks(handler, server.url, "a"))
            [line] = handler._lines[server.url]._all()
            server.hang_up_on = ["b"]
            await all_of(asks(handler, server.url, "b"))
            await until(line._task.done)
            return line.judge() is None

    assert asyncio.run(scene()) is True
