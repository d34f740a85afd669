"""What the crowd's server hears from one connection, and what it answers."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sandbox.crowd_budget import Budget
from sandbox.crowd_faults import Faults
from sandbox.crowd_plan import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.crowd_rooms import Rooms

_MOST_LINES = 3
"""Of one message; each counts as one."""
_MOST_ROOMS = 50
_MOST_AUTOJOINS = 16
_LOBBY = "lobby"
_KINDS = {"join": "join", "j": "join", "autojoin": "autojoin", "leave": "leave", "part": "leave"}
_QUESTIONS = ("roomlist", "rooms", "roominfo")
_NOTICE = (
    '|raw|<strong class="message-throttle-notice">'
    "Your message was not sent because you've been typing too quickly.</strong>"
)
_NO_BAR = "|popup|Invalid message; messages should be in the format `ROOMID|MESSAGE`."
_TOO_MANY_LINES = (
    "|popup|You're sending too many lines at once. Try using a paste service like [[Pastebin]]."
)
_TOO_MANY_AUTOJOINS = (
    "|popup|To prevent DoS attacks, you can only use /autojoin for 16 or fewer rooms, when you"
    " haven't joined any rooms yet. Please use /join for each room separately."
)


@dataclass(slots=True)
class Counts:
    """What all connections did."""

    messages: Counter[str] = field(default_factory=Counter)
    """By kind."""
    looks: list[float] = field(default_factory=list)
    """When somebody began to list battles, in seconds since the epoch: with a question for all of
    them, or with the first question of a connection."""
    guests: list[Guest] = field(default_factory=list)
    """In the order of their coming, gone or not."""
    most: int = 0
    """Connections at once."""
    refused: int = 0
    """Handshakes that a fault kept from being one."""

    @property
    def open(self) -> int:
        return sum(guest.is_open for guest in self.guests)


@dataclass(slots=True)
class Premises:
    """What all guests share."""

    rooms: Rooms
    later: Callable[[float, Callable[[], None]], object]
    """Calls after some seconds."""
    clock: Callable[[], float] = time.time
    """Seconds since the epoch."""
    ticks: Callable[[], float] = time.monotonic
    """Seconds that messages are measured in."""
    faults: Faults = field(default_factory=Faults)
    counts: Counts = field(default_factory=Counts)


class Guest:
    """One connection: its user has no name."""

    def __init__(self, premises: Premises, send: Callable[[str], None]) -> None:
        self.rooms: set[str] = set()
        self.is_open = True
        self._premises = premises
        self._send = send
        self._budget = Budget(self._do, premises.ticks, premises.later)
        self._number = len(premises.counts.guests) + 1
        self._messages = self._over = self._thrown_away = self._lists = 0
        self._heard: float | None = None
        self._gap: float | None = None

    def greet(self) -> None:
        """Say what is said to everybody who comes."""
        formats = "".join(f"|{name},{'4f' if 'Random' in name else 'e'}" for name in FORMATS)
        self.hear(
            f'|updateuser| Guest {self._number}|0|1|{{"blockChallenges":false}}\n'
            f"|customgroups|[]\n|formats|,LL|,1|Singles{formats}"
        )
        self.hear(f"|challstr|4|{self._number:0256x}")

    def hear(self, frame: str) -> None:
        self._send(frame)

    def leave(self) -> None:
        """Be gone, from all rooms."""
        self.is_open = False
        self._budget.close()
        for name in self.rooms:
            self._premises.rooms.leave(name, self)
        self.rooms.clear()

    def numbers(self) -> dict[str, Any]:
        """Count the messages, and tell the smallest gap between two of them in milliseconds.

        Those over budget came before their turn: they waited, or were thrown away.
        """
        return {
            "is_open": self.is_open,
            "rooms": len(self.rooms),
            "messages": self._messages,
            "gap_ms": None if self._gap is None else round(1000 * self._gap, 1),
            "over_budget": self._over,
            "thrown_away": self._thrown_away,
        }

    # --- Messages ---------------------------------------------------------------------------------

    def receive(self, message: str) -> None:
        """Take what came over the wire: a room, `|`, and up to three lines."""
        if message.startswith("{"):
            return
        room, bar, text = message.partition("|")
        lines = text.removesuffix("\n").split("\n")
        if not bar:
            self.hear(_NO_BAR)
        elif len(lines) > _MOST_LINES:
            self.hear(_TOO_MANY_LINES)
        else:
            for line in lines:
                if not self._take(f"{line} {room}" if line in ("/leave", "/part") else line):
                    break

    def _take(self, line: str) -> bool:
        self._count(line)
        is_over = self._budget.is_used_up
        is_taken = self._budget.take(line)
        self._over += is_over
        if not is_taken:
            self._thrown_away += 1
            self.hear(_NOTICE)
        return is_taken

    def _count(self, line: str) -> None:
        now = self._premises.ticks()
        if self._heard is not None:
            gap = now - self._heard
            self._gap = gap if self._gap is None else min(gap, self._gap)
        self._heard = now
        self._messages += 1
        kind, target = _read(line)
        self._premises.counts.messages[kind] += 1
        if kind == "roomlist":
            self._lists += 1
            if self._lists == 1 or not target.strip(", "):
                self._premises.counts.looks.append(round(self._premises.clock(), 3))

    def _do(self, line: str) -> None:
        """Do what a message says, in its turn."""
        self._premises.rooms.advance(self._premises.clock())
        kind, target = _read(line)
        match kind:
            case "join":
                self._join(target)
            case "autojoin":
                self._autojoin([name for name in target.split(",") if name])
            case "leave":
                self._leave(target)
            case _ if line.startswith("/cmd "):
                self._answer(line)

    def _answer(self, line: str) -> None:
        question, _, target = line.removeprefix("/cmd ").partition(" ")
        rooms = self._premises.rooms
        answer: dict[str, Any] | None = None
        match question:
            case "roomlist" if self._premises.faults.list is None:
                answer = {"rooms": rooms.listed(target.strip())}
            case "rooms":
                users = self._premises.counts.open
                answer = {"chat": [], "sectionTitles": [], "userCount": users}
                answer["battleCount"] = rooms.battle_count
            case "roominfo":
                answer = self._describe(target)
        text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
        self.hear(f"|queryresponse|{question}|{text}")

    def _describe(self, name: str) -> dict[str, Any]:
        room = self._premises.rooms.find(name)
        if room is None or room.is_hidden:
            return {"id": name, "error": "not found or access denied"}
        users = [f"☆{player.name}" for player in room.battle.players]
        facts = {"title": room.battle.title, "type": "battle", "visibility": "public"}
        return {
            "id": name,
            "roomid": name,
            **facts,
            "auth": {"☆": [*room.player_ids]},
            "users": users,
        }

    # --- Rooms ------------------------------------------------------------------------------------

    def _join(self, name: str) -> None:
        if not name:
            self.hear("|pm|~|~|/text /join [roomname] - Attempt to join the room [roomname].")
        elif len(self.rooms) >= _MOST_ROOMS:
            self.hear(f">{name}\n|noinit||You can only join 50 rooms at a time.")
        elif not self._enter(name):
            reason = f"The room '{name}' does not exist or requires a login to join."
            self.hear(f">{name}\n|noinit|namerequired|{reason}")

    def _autojoin(self, names: list[str]) -> None:
        if len(names) > _MOST_AUTOJOINS or len(self.rooms) > 1:
            self.hear(_TOO_MANY_AUTOJOINS)
            return
        for name in (_LOBBY, *names):
            self._enter(name)

    def _enter(self, name: str) -> bool:
        """Enter a room or say why not; return False for one that needs a name, of which to tell."""
        rooms, now = self._premises.rooms, self._premises.clock()
        room = rooms.find(name)
        if name in self.rooms:
            return True
        if name == _LOBBY:
            self.rooms.add(name)
            self.hear(f">{name}\n|init|chat\n|title|Lobby\n|users|0\n|:|{int(now)}\n")
        elif self._premises.faults.join is not None:
            self.hear(f">{name}\n|noinit|joinfailed|{self._why_not(name)}")
        elif room is None:
            self.hear(f'>{name}\n|noinit|nonexistent|The room "{name}" does not exist.')
        elif room.is_hidden:
            return False
        else:
            self.rooms.add(name)
            rooms.enter(room, self, now)
        return True

    def _why_not(self, name: str) -> str:
        if self._premises.faults.join == "locked":
            return "You are locked and can't join battles."
        return f'The room "{name}" is invite-only, and you haven\'t been invited.'

    def _leave(self, name: str) -> None:
        if name in self.rooms:
            self.rooms.remove(name)
            self._premises.rooms.leave(name, self)
            self.hear(f">{name}\n|deinit")
        elif self._premises.rooms.find(name) is None:
            self.hear(f"|pm| Guest {self._number}|~|/error The room '{name}' does not exist.")


def _read(line: str) -> tuple[str, str]:
    """Read the kind of a message, and what it is about.

    >>> _read("/cmd roomlist gen9ou,,a"), _read("/j x"), _read("/trn A,0,")
    (('roomlist', 'gen9ou,,a'), ('join', 'x'), ('other', 'A,0,'))
    """
    command, _, target = line.partition(" ")
    if command == "/cmd":
        question, _, target = target.partition(" ")
        return (question if question in _QUESTIONS else "other"), target
    return _KINDS.get(command.removeprefix("/"), "other"), target.strip()
