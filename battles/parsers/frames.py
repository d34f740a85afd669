"""Read what the battle server says over its websocket."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from html import unescape
from itertools import islice
from typing import Any, Literal

from battles.parsers.names import is_battle_id, to_id
from battles.parsers.reply import BadReplyError

State = Literal["waiting", "running", "ended", "expired", "hidden", "gone", "refused", "full"]
"""Of a room: not joined yet, being played, over, closed for want of players, made private, not
there, not open to us, or not to be joined since we are in too many others."""
SHOWN = 100
"""Rooms that one list holds at most."""
_MOST_FORMATS = 20_000
"""Fields of a list of formats; a server has some hundreds."""
_LONGEST_NAME = 30
"""Characters of a player's id; the server allows 18."""
_MOST_ROOMS = 1000
"""Rows that are read of a list."""
_ROOM = "battle-"
_REFUSALS: dict[str, State] = {
    "nonexistent": "gone",
    "namerequired": "hidden",
    "joinfailed": "refused",
    "rename": "hidden",
    "": "full",
}
"""What the code of a `|noinit|` means."""
_NOT_LOGGED = ("|init|", "|title|", "|noinit|", "|queryresponse|", "|popup|", "|expire|")
_THROTTLED = '|raw|<strong class="message-throttle-notice">'
"""At the beginning of a line: anybody may say the same in the middle of one."""
_NOTICES = ("|popup|", "|bigerror|")
_MODES = ("|modal|", "|html|")
"""What may stand before the text of a popup."""
_TAG = re.compile(r"<[^<>]{0,2000}>")


@dataclass(frozen=True, slots=True)
class Room:
    """A live battle as the list shows it."""

    id: str
    """Of the battle: `gen9ou-9`."""
    min_elo: int | None
    """The lower of the players' ratings; `None` when it is not rated."""
    players: tuple[str, ...] = ()
    """Ids of the first two."""


@dataclass(frozen=True, slots=True)
class RoomList:
    """The answer to one question."""

    rooms: tuple[Room, ...]
    shown: int
    """Rows, usable or not."""

    @property
    def is_full(self) -> bool:
        """Whether there may be more than it shows."""
        return self.shown >= SHOWN


def split_frame(frame: str) -> tuple[str, list[str]]:
    r"""Return the room a frame is for, and its lines.

    >>> split_frame(">battle-gen9ou-9\n|turn|1\n|"), split_frame("|popup|no")
    (('battle-gen9ou-9', ['|turn|1', '|']), ('', ['|popup|no']))
    """
    first, _, rest = frame.partition("\n")
    if not first.startswith(">"):
        return "", frame.split("\n")
    return first[1:].strip(), rest.split("\n")


def parse_query(line: str) -> tuple[str, Any] | None:
    """Read `|queryresponse|KIND|JSON`; None when the line is none.

    >>> parse_query('|queryresponse|rooms|{"battleCount":3}'), parse_query("|turn|1")
    (('rooms', {'battleCount': 3}), None)
    """
    parts = line.split("|", 3)
    if len(parts) < 4 or parts[1] != "queryresponse":  # noqa: PLR2004 -- the three before the JSON
        return None
    try:
        return parts[2], json.loads(parts[3])
    except (ValueError, RecursionError):
        return parts[2], None


def parse_formats(line: str) -> list[str] | None:
    """Read the ids of all formats from `|formats|…`; None when the line is something else.

    >>> parse_formats("|formats|,LL|,1|S/V Singles|[Gen 9] OU,e|[Gen 9] UU,e|,2|Past|[Gen 1] OU,e")
    ['gen9ou', 'gen9uu', 'gen1ou']
    """
    if not line.startswith("|formats|"):
        return None
    # A section is `,COLUMN` and then its name; `,LL` says that there is a local ladder.
    parts = line.split("|", _MOST_FORMATS)[2:_MOST_FORMATS]
    names = [
        name.rpartition(",")[0]
        for before, name in zip(["", *parts], parts, strict=False)
        if not name.startswith(",") and not (before.startswith(",") and before != ",LL")
    ]
    return [format for format in map(to_id, names) if format]


def parse_room_list(value: object) -> RoomList:
    """Read the answer to `/cmd roomlist`.

    Raises:
        BadReplyError: it is none.

    """
    rooms = value.get("rooms") if isinstance(value, dict) else None
    if not isinstance(rooms, dict):
        raise BadReplyError(f"not a list of rooms but {type(value).__name__}")
    usable = [
        Room(name.removeprefix(_ROOM), _elo(facts), _players(facts))
        for name, facts in islice(rooms.items(), _MOST_ROOMS)
        if name.startswith(_ROOM) and is_battle_id(name.removeprefix(_ROOM))
    ]
    return RoomList(tuple(usable), len(rooms))


def parse_battle_count(value: object) -> int | None:
    """Read how many battles are live from the answer to `/cmd rooms`; None when it does not say."""
    count = value.get("battleCount") if isinstance(value, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None


def parse_notice(line: str) -> str | None:
    """Read what the server says to us alone, without its markup; None when the line is none.

    Of a lock, a ban or its load it tells in a popup.

    >>> parse_notice("|popup||html|You are <b>locked</b>.||Appeal &amp; wait"), parse_notice("|J|")
    ('You are locked. Appeal & wait', None)
    """
    kind = next((kind for kind in _NOTICES if line.startswith(kind)), None)
    if kind is None:
        return None
    text = line.removeprefix(kind)
    while mode := next((mode for mode in _MODES if text.startswith(mode)), None):
        text = text.removeprefix(mode)
    return " ".join(unescape(_TAG.sub("", text.replace("||", "\n"))).split())


def is_throttled(lines: list[str]) -> bool:
    """Tell whether the server says that it threw a message away."""
    return any(line.startswith(_THROTTLED) for line in lines)


def room_of(battle_id: str) -> str:
    """Return the room of a battle."""
    return f"{_ROOM}{battle_id}"


@dataclass(slots=True)
class RoomReader:
    """Follows one room, from joining it to its end."""

    state: State = "waiting"
    lines: list[str] = field(default_factory=list)
    """Its log so far."""
    is_expired: bool = False
    """Whether the server closed it because nobody was left."""
    refusal: str = ""
    """What the server said that did not let us in."""

    def feed(self, lines: list[str]) -> None:
        """Take the lines of one frame."""
        for line in lines:
            self._take(line)

    @property
    def is_complete(self) -> bool:
        """Whether nothing more will come that matters."""
        return self.state not in ("waiting", "running", "ended")

    def _take(self, line: str) -> None:
        if line.startswith("|init|"):
            # The whole log follows, also when the room is joined a second time.
            self.state, self.lines = "running", []
        elif line.startswith("|noinit|"):
            _, _, code, *text = line.split("|", 3)
            self.state, self.refusal = _REFUSALS.get(code, "refused"), "".join(text)
        elif line.startswith("|expire|"):
            self.is_expired = True
            self.state = "expired" if self.state == "running" else self.state
        elif line == "|deinit" or line.startswith("|deinit|"):
            self._leave()
        elif line and self.state in ("running", "ended") and not line.startswith(_NOT_LOGGED):
            # A frame may end with an empty line, which is not of the log.
            self._log(line)

    def _leave(self) -> None:
        if self.state in ("running", "ended") and not self.is_expired:
            # Nobody sends a guest away from a public battle, also when it is over.
            self.state = "hidden"

    def _log(self, line: str) -> None:
        self.lines.append(line)
        if line.startswith("|win|") or line == "|tie":
            self.state = "ended"


def _players(facts: object) -> tuple[str, ...]:
    names = [facts.get(seat) for seat in ("p1", "p2")] if isinstance(facts, dict) else []
    return tuple(to_id(name)[:_LONGEST_NAME] for name in names if isinstance(name, str))


def _elo(facts: object) -> int | None:
    elo = facts.get("minElo") if isinstance(facts, dict) else None
    return elo if isinstance(elo, int) and not isinstance(elo, bool) else None
