"""The rooms of the crowd: which battles are played, listed, hidden and gone at any time."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count, islice
from string import ascii_lowercase, digits
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from sandbox.queries import number, to_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandbox.crowd_battle import Battle, Frame
    from sandbox.crowd_plan import Plan

_SHOWN = 100
"""Battles that one list holds at most."""
_PASSWORD = 31
_FIRST = 2_000_000_000
_NUMBERS_A_SECOND = 50
"""Numbers kept for each second, so that a crowd never uses those of an earlier one."""
_SPOKEN, _STEP = 0, 1
"""What is said at a time comes before what becomes of the battle then."""


class Listener(Protocol):
    """Somebody in a room."""

    rooms: set[str]

    def hear(self, frame: str) -> None: ...


@dataclass(slots=True, eq=False)
class Room:
    """The room of one battle."""

    battle: Battle
    id: str
    players: dict[str, Any]
    """As the list shows them."""
    player_ids: tuple[str, ...]
    is_active: bool = True
    """Whether it is played, and both players are there."""
    is_hidden: bool = False
    is_told: bool = False
    """Whether its battle is in the report."""
    hidden: float | None = None
    """When it was hidden: seconds since the epoch."""
    guests: list[Listener] = field(default_factory=list)
    coming: Iterator[Frame] | None = None
    """What will be said; None while nobody listens."""

    def say(self, *lines: str) -> None:
        frame = "\n".join([f">{self.id}", *lines])
        for guest in self.guests:
            guest.hear(frame)

    def fits(self, format: str, least: float, prefix: str) -> bool:
        """Tell whether a list shows it; 0 as the least rating, and empty texts, take any."""
        battle = self.battle
        if format and battle.format_id != format:
            return False
        if least and (battle.min_elo or 0) < least:
            return False
        return not prefix or any(name.startswith(prefix) for name in self.player_ids)


class Rooms:
    """All rooms, and one heap of what will happen to them; no task, and no clock of its own."""

    def __init__(self, plan: Plan, now: float, report: TextIO | None = None) -> None:
        self.hidden = 0
        """Battles that were hidden so far."""
        self.public = 0
        """Battles that ended so far and stayed public."""
        self._plan = plan
        self._report = report
        self._chance = plan.chance("crowd")
        self._numbers = count(_FIRST + int(now) % 10**8 * _NUMBERS_A_SECOND)
        self._order = count()
        self._events: list[tuple[float, int, int, Callable[[], None]]] = []
        self._rooms: dict[str, Room] = {}
        self._played: dict[int, Room] = {}
        """By the number of the battle, the oldest first."""
        for started, length in plan.beginning(now):
            self._open(started, length)
        self._open_later(now)
        self.advance(now)

    # --- What happens -----------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Have everything happen up to a time in seconds since the epoch."""
        while self._events and self._events[0][0] <= now:
            heappop(self._events)[3]()

    def close(self) -> None:
        """Report what has ended and still might have changed."""
        for room in self._rooms.values():
            if room.battle.number not in self._played:
                self._tell(room)

    def _at(self, when: float, kind: int, happen: Callable[[], None]) -> None:
        if not math.isinf(when):
            heappush(self._events, (when, kind, next(self._order), happen))

    def _open_later(self, now: float) -> None:
        if self._plan.rate:
            started = now + self._chance.expovariate(self._plan.rate)
            self._at(started, _STEP, lambda: self._open_next(started))

    def _open_next(self, started: float) -> None:
        self._open(started, self._plan.length(self._chance))
        self._open_later(started)

    def _open(self, started: float, length: float) -> None:
        battle = self._plan.battle(next(self._numbers), started, length)
        room = _room(battle)
        self._rooms[room.id] = self._played[battle.number] = room
        steps: list[tuple[float | None, Callable[[Room], None]]] = [
            (length, self._end),
            (battle.fate.hidden, self._hide),
            *zip(battle.fate.away or (), (_lose, _regain), strict=False),
            (battle.settled - started, self._tell),
            (length + self._plan.life, self._expire),
        ]
        for after, step in steps:
            if after is not None:
                # The same sum as in the frames of the battle.
                self._at(started + after, _STEP, partial(step, room))

    def _end(self, room: Room) -> None:
        del self._played[room.battle.number]
        room.is_active = False

    def _hide(self, room: Room) -> None:
        """Rename a room, and put out all who are in: they are guests."""
        del self._rooms[room.id]
        room.say("|deinit")
        reason = "has been made private; you must log in to be in private rooms."
        for guest in room.guests:
            guest.rooms.discard(room.id)
            guest.hear(f"|popup|The room <<{room.id}>> {reason}")
        room.guests.clear()
        password = "".join(self._chance.choices(ascii_lowercase + digits, k=_PASSWORD))
        room.id = f"{room.id}-{password}pw"
        room.is_hidden, room.hidden = True, room.battle.started + (room.battle.fate.hidden or 0.0)
        self._rooms[room.id] = room
        self.hidden += 1

    def _tell(self, room: Room) -> None:
        if room.is_told:
            return
        room.is_told = True
        self.public += not room.is_hidden
        if self._report is None:
            return
        battle = room.battle
        facts = {
            "id": battle.id,
            "started": battle.started,
            "ended": battle.ended,
            "outcome": "hidden" if room.is_hidden else "won",
            "hidden": room.hidden,
            "log": "\n".join(battle.log()),
        }
        self._report.write(f"{json.dumps(facts, ensure_ascii=False)}\n")

    def _expire(self, room: Room) -> None:
        del self._rooms[room.id]
        room.say("|expire|")
        room.say("|deinit")
        for guest in room.guests:
            guest.rooms.discard(room.id)
        room.guests.clear()

    # --- Guests -----------------------------------------------------------------------------------

    def find(self, name: str) -> Room | None:
        """Find a room by what it is called now."""
        return self._rooms.get(name)

    def enter(self, room: Room, guest: Listener, now: float) -> None:
        """Tell a guest the log so far, and from now on what is said."""
        said, coming = room.battle.until(now)
        head = [f">{room.id}", "|init|battle", f"|title|{room.battle.title}"]
        guest.hear("\n".join([*head, *said, ""]))
        room.guests.append(guest)
        if room.coming is None:
            room.coming = coming
            self._listen(room)

    def leave(self, name: str, guest: Listener) -> None:
        if room := self._rooms.get(name):
            room.guests.remove(guest)

    def _listen(self, room: Room) -> None:
        frame = next(room.coming, None) if room.coming else None
        if frame is not None:
            self._at(frame[0], _SPOKEN, lambda: self._speak(room, frame[1]))

    def _speak(self, room: Room, lines: list[str]) -> None:
        if room.guests:
            room.say(*lines)
            self._listen(room)
        else:
            room.coming = None

    # --- Lists ------------------------------------------------------------------------------------

    def listed(self, question: str = "") -> dict[str, dict[str, Any]]:
        """Answer `/cmd roomlist FORMAT,MINELO,PREFIX`: the newest that fit, a hundred at most."""
        format, elo, prefix, *_ = *question.split(","), "", ""
        least = number(elo)
        least = 0.0 if math.isnan(least) else least
        rooms = (room for room in reversed(self._played.values()) if room.is_active)
        fitting = (
            room for room in rooms if not room.is_hidden and room.fits(format, least, prefix)
        )
        return {room.id: room.players for room in islice(fitting, _SHOWN)}

    @property
    def battle_count(self) -> int:
        """Battles in play with both players there, hidden ones among them."""
        return sum(room.is_active for room in self._played.values())

    def numbers(self) -> dict[str, int]:
        """Count the battles in play, those of them that a list may show, and what ended."""
        return {
            "live": len(self._played),
            "listed": sum(r.is_active and not r.is_hidden for r in self._played.values()),
            "ended": self.public,
            "hidden": self.hidden,
        }


def _lose(room: Room) -> None:
    room.is_active = False


def _regain(room: Room) -> None:
    room.is_active = True


def _room(battle: Battle) -> Room:
    names = [player.name for player in battle.players]
    players: dict[str, Any] = dict(zip(("p1", "p2"), names, strict=True))
    if battle.min_elo is not None:
        players["minElo"] = battle.min_elo
    return Room(battle, f"battle-{battle.id}", players, tuple(map(to_id, names)))
