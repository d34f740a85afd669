"""Send messages no faster than the battle server takes them, and again what it threw away."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_QUESTION = "/cmd "
_JOIN = "/join "
_AUTOJOIN = 16
"""Rooms that one message may join, on a connection that has joined none."""
_GATHER = 0.1
"""Seconds in which a fresh connection waits for rooms to join at once."""
_BACK_OFF = 3.0
"""Seconds of silence after the server threw a message away."""
_UNSURE = 10.0
"""Seconds for which a message may be found to have been thrown away."""


@dataclass(slots=True, eq=False)
class Message:
    """A line to send, and whether it still makes sense to."""

    text: str
    is_wanted: Callable[[], bool]
    sent_at: float = 0.0
    """On the connection's clock; 0 before it is sent."""


class Outbox:
    """What is to be sent over one connection, one message in so many seconds."""

    def __init__(
        self,
        send: Callable[[str], Awaitable[None]],
        *,
        interval: float,
        joins_at_once: bool,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._send = send
        self._interval = interval
        self._clock = clock
        self._sleep = sleep
        self._questions: deque[Message] = deque()
        self._others: deque[Message] = deque()
        self._has_asked, self._has_joined = False, not joins_at_once
        self._has_mail = asyncio.Event()
        self._sent: deque[tuple[float, Message]] = deque()
        self._silent_until = 0.0

    def __len__(self) -> int:
        return len(self._questions) + len(self._others)

    @property
    def seconds(self) -> float:
        """How long a message that is no question waits for its turn, at most."""
        # Every other message may be a question.
        return 2 * self._interval * len(self._others)

    def post(self, text: str, is_wanted: Callable[[], bool]) -> Message:
        """Have a message be sent, unless it is not wanted any more when its turn comes."""
        message = Message(text, is_wanted)
        self._box(message).append(message)
        self._has_mail.set()
        return message

    def send_again(self) -> None:
        """Repeat, after a while, what may have been thrown away and is still wanted."""
        now = self._clock()
        unsure = [message for at, message in self._sent if now - at < _UNSURE]
        self._sent.clear()
        for message in reversed(unsure):
            if message.is_wanted():
                message.sent_at = 0.0
                self._box(message).appendleft(message)
        self._has_mail.set()
        self._silent_until = now + _BACK_OFF

    async def run(self) -> None:
        """Send what is to be sent, until cancelled."""
        await self._sleep(_GATHER)
        while True:
            await self._has_mail.wait()
            if (pause := self._silent_until - self._clock()) > 0:
                await self._sleep(pause)
            elif (message := self._next()) is not None:
                self._note(message)
                await self._send(f"|{message.text}")
                # Counted from when it has left: a machine that stands still sends late.
                self._silent_until = max(self._silent_until, self._clock() + self._interval)

    def _note(self, message: Message) -> None:
        now = self._clock()
        self._silent_until = now + self._interval
        while self._sent and now - self._sent[0][0] > _UNSURE:
            self._sent.popleft()
        self._sent.append((now, message))
        message.sent_at = now

    def _box(self, message: Message) -> deque[Message]:
        return self._questions if message.text.startswith(_QUESTION) else self._others

    def _next(self) -> Message | None:
        """Take questions and all else in turn: neither must wait for the last of the other."""
        boxes = [self._questions, self._others]
        for box in reversed(boxes) if self._has_asked else boxes:
            while box and not box[0].is_wanted():
                box.popleft()
            if box:
                self._has_asked = box is self._questions
                return self._take(box)
        self._has_mail.clear()
        return None

    def _take(self, box: deque[Message]) -> Message:
        if not self._has_joined and box[0].text.startswith(_JOIN):
            return self._join_at_once()
        return box.popleft()

    def _join_at_once(self) -> Message:
        """Join the rooms that wait in one message, which the server allows once."""
        self._has_joined = True
        joins = [one for one in self._others if one.text.startswith(_JOIN)][:_AUTOJOIN]
        for join in joins:
            self._others.remove(join)
        if len(joins) == 1:
            return joins[0]
        for join in joins:
            # Each is sent again by itself, should the server throw this away.
            join.sent_at = self._clock()
            self._sent.append((join.sent_at, join))
        names = ",".join(join.text.removeprefix(_JOIN) for join in joins)
        return Message(f"/autojoin {names}", lambda: False)
