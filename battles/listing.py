"""Decide what to ask of the list of live battles: one answer shows a hundred at most.

The newest battles come first, so one question shows all that has begun since the last look. Whether
an older one is still there, takes a question that it falls under: of its format, or of the letters
that its players' names begin with where a format has more battles than an answer shows. Looks take
turns with these questions, so that none of them lasts longer than the interval between two.
"""

from __future__ import annotations

import difflib
import json
import re
import string
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from battles.parsers.frames import Room
from battles.parsers.names import format_of, is_battle_id
from battles.parsers.reply import BadReplyError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from battles.parsers.frames import RoomList

    Players = Mapping[str, tuple[str, ...]]
    """Battles, and the ids of their players."""

_LETTERS = string.ascii_lowercase + string.digits
_LONGEST_PREFIX = 3
"""Letters; more than a hundred players whose names begin with the same three are not split."""
_SPLIT = 90
"""Battles from which a question is split: a few more may begin until it is asked."""
_HIDDEN = 0.02
"""Share of all battles that may begin or end while one asks, or are counted and hidden."""
_REMEMBERED = 100
"""Looks for which it is known when a question was asked."""
_KEY = re.compile(r"[a-z0-9]{0,60},[0-9]{0,5},[a-z0-9]{0,3}")
_MOST = 5000
"""Questions that a plan may hold; what has more is no plan of ours."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which battles to list."""

    format: str = ""
    """Empty for all."""
    min_elo: int | None = None
    prefix: str = ""
    """Of a player's id."""

    @classmethod
    def read(cls, key: str) -> Question:
        """Read what `key` wrote."""
        format, elo, prefix = key.split(",")
        return cls(format, int(elo) if elo else None, prefix)

    @property
    def key(self) -> str:
        """The question as text: format, lowest rating, prefix."""
        elo = "" if self.min_elo is None else self.min_elo
        return f"{self.format},{elo},{self.prefix}"

    @property
    def command(self) -> str:
        """The question as the server reads it."""
        return f"/cmd roomlist {self.key}"

    def fits(self, battle_id: str, players: Iterable[str]) -> bool:
        """Tell whether a battle falls under it; all that are known are rated high enough."""
        if self.format and format_of(battle_id) != self.format:
            return False
        return not self.prefix or any(player.startswith(self.prefix) for player in players)

    def holds(self, other: Question) -> bool:
        """Tell whether whatever falls under another question falls under this one, too."""
        return self.format in ("", other.format) and other.prefix.startswith(self.prefix)

    def split(self, formats: Iterable[str]) -> list[Question]:
        """Return the questions that make up this one; none when it cannot be split."""
        if not self.format:
            return [Question(format, self.min_elo) for format in sorted(formats)]
        if len(self.prefix) == _LONGEST_PREFIX:
            return []
        return [Question(self.format, self.min_elo, self.prefix + letter) for letter in _LETTERS]


@dataclass(slots=True)
class Plan:
    """What the next look asks, and what the looks before have learned; travels with the watch."""

    room: int = 20
    """Questions that a look may ask."""
    looks: int = 0
    newest: dict[str, int] = field(default_factory=dict)
    """The highest number of a battle that was known when a question was last asked; the server
    numbers them as they begin."""
    todo: list[str] = field(default_factory=list)
    """Questions that may show battles which began before the first look."""
    checks: list[str] = field(default_factory=list)
    """Questions that show whether known battles are still there, the longest not asked first."""
    asked: dict[str, int] = field(default_factory=dict)
    """The look that last asked a question."""

    @classmethod
    def read(cls, value: object) -> Plan:
        """Read what `write` wrote; a new plan when it is something else."""
        plan = cls()
        if not isinstance(value, dict):
            return plan
        for name in ("room", "looks"):
            if isinstance(number := value.get(name), int) and 0 <= number < 2**53:
                setattr(plan, name, number)
        plan.todo, plan.checks = (_keys(value.get(name)) for name in ("todo", "checks"))
        plan.asked, plan.newest = (_numbers(value.get(name)) for name in ("asked", "newest"))
        return plan

    def write(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self)

    def learn(self, seen: Seen, tops: Iterable[Question], live: Players) -> None:
        """Take note of a look, and choose what the next one asks about live battles."""
        self.looks += 1
        newest = max(map(_number, [*seen.rooms, *live]), default=0)
        self.newest |= dict.fromkeys(seen.asked, newest)
        self.asked |= dict.fromkeys(seen.asked, self.looks)
        self.todo = list(seen.left)
        if seen.is_short_of(len(live)):
            known = {*self.asked, *self.todo}
            every = [Question(format, top.min_elo).key for top in tops for format in seen.formats]
            self.todo += [key for key in every if key not in known]
        checks = {one.key for top in tops for one in _checks(top, live)}
        self.checks = sorted(checks, key=lambda key: (self.asked.get(key, 0), key))
        # Formats as a whole stay: those without battles need not be asked again. Prefixes come and
        # go; one that seemed never asked would go before all others each time.
        latest = self.looks - _REMEMBERED
        self.asked = {key: n for key, n in self.asked.items() if n > latest or key[-1] == ","}
        self.newest = {key: n for key, n in self.newest.items() if key in self.asked}


class Look:
    """One look at the list: takes answers, and says what to ask next."""

    def __init__(self, tops: Collection[Question], plan: Plan) -> None:
        self.is_short = False
        """Whether some question that comes first showed no more than the newest battles."""
        self._plan = plan
        self._are_tops = set(tops)
        self._tops = deque(sorted(tops, key=lambda top: plan.asked.get(top.key, 0)))
        self._checks = deque(map(Question.read, plan.checks))
        self._todo = deque(map(Question.read, plan.todo))
        self._found: dict[str, Room] = {}
        self._asked: list[Question] = []
        self._complete: list[Question] = []
        self._oldest: dict[str, int] = {}
        """Of questions with full answers: the number from which on all battles were shown."""
        self._is_cut = False

    def next(self) -> Question | None:
        """Return what to ask next; None when that is enough for a look."""
        if len(self._asked) >= self._plan.room:
            return None
        turns = [self._todo, self._checks] if len(self._asked) % 2 else [self._checks, self._todo]
        for waiting in (self._tops, *turns):
            while waiting:
                question = waiting.popleft()
                if not self._is_known(question):
                    return question
        return None

    def take(self, question: Question, answer: RoomList) -> None:
        """Take note of an answer."""
        self._asked.append(question)
        self._found |= {room.id: room for room in answer.rooms}
        if not answer.is_full:
            self._complete.append(question)
            return
        self.is_short = self.is_short or question in self._are_tops
        oldest = self._oldest[question.key] = _oldest(room.id for room in answer.rooms)
        if oldest <= self._plan.newest.get(question.key, 0):
            # It reaches back to what is known already.
            return
        # Of the formats that are played some may be older than all that it shows.
        played = {check.format for check in map(Question.read, self._plan.checks)}
        parts = question.split({format_of(room.id) for room in answer.rooms} | (played - {""}))
        self._is_cut = self._is_cut or not parts
        if question in self._are_tops:
            self._todo.extendleft(reversed(parts))
        else:
            self._todo.extend(parts)

    def write(
        self, *, total: int | None = None, formats: Iterable[str] = (), seconds: float = 0.0
    ) -> bytes:
        """Write what was seen as `read_look` reads it."""
        formats, wanted = list(formats), {top.format for top in self._are_tops} - {""}
        seen = {
            "rooms": {room.id: [room.min_elo, *room.players] for room in self._found.values()},
            "asked": [question.key for question in self._asked],
            "complete": [question.key for question in self._complete],
            "oldest": self._oldest,
            "left": [question.key for question in self._todo if not self._is_known(question)],
            "total": total,
            "is_full": self.is_short,
            "is_cut": self._is_cut,
            "formats": formats if self.is_short and not wanted else [],
            "unknown": {name: _nearest(name, formats) for name in wanted.difference(formats)}
            if formats
            else {},
            "seconds": seconds,
        }
        return json.dumps(seen).encode()

    def _is_known(self, question: Question) -> bool:
        return question in self._asked or any(one.holds(question) for one in self._complete)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look saw."""

    rooms: dict[str, Room]
    asked: list[str]
    complete: list[Question]
    """Questions whose answers showed all that falls under them."""
    oldest: dict[Question, int]
    """Questions whose answers were full: the number from which on they showed all."""
    left: list[str]
    """What there was no time to ask."""
    total: int | None
    """Of all live battles, also those that are hidden; None when it was not asked for."""
    is_full: bool
    is_cut: bool
    """Whether some battles cannot be told apart by any question."""
    formats: list[str]
    """All that the server has, if they may be wanted."""
    unknown: dict[str, str]
    """Formats that were asked for and the server lacks, and the one it has that is most like it."""
    seconds: float
    """That the look took."""

    def missing(self, known: Players) -> list[str]:
        """Return the battles that are listed no more, as far as the look can tell."""
        of_format: dict[str, list[tuple[Question, int]]] = {}
        shown = {**dict.fromkeys(self.complete, 0), **self.oldest}
        for question, oldest in shown.items():
            of_format.setdefault(question.format, []).append((question, oldest))
        of_all = of_format.get("", [])
        return [
            id
            for id, players in known.items()
            if id not in self.rooms
            and any(
                _number(id) > oldest and question.fits(id, players)
                for question, oldest in of_format.get(format_of(id), []) + of_all
            )
        ]

    def is_short_of(self, live: int) -> bool:
        """Tell whether there are battles that no look has seen, when so many are known."""
        if not self.is_full:
            return False
        return self.total is None or self.total - live > 1 + _HIDDEN * self.total


def read_look(body: bytes) -> Seen:
    """Read what `Look.write` wrote.

    Raises:
        BadReplyError: it did not.

    """
    try:
        value = json.loads(body)
        rooms = {
            id: Room(id, elo, tuple(players))
            for id, (elo, *players) in value.pop("rooms").items()
            if is_battle_id(id)
        }
        complete = [Question.read(key) for key in value.pop("complete")]
        oldest = {Question.read(key): int(n) for key, n in value.pop("oldest").items()}
        return Seen(rooms, complete=complete, oldest=oldest, **value)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise BadReplyError(f"no list of battles: {error}") from None


def tops(url: str) -> list[Question]:
    """Return what every look at a list asks first: all battles, or those of each wanted format.

    >>> tops("wss://example.org/?list=&formats=gen9ou%2Cgen1ou&min_elo=1500")[1].key
    'gen1ou,1500,'
    """
    query = parse_qs(urlsplit(url).query)
    elo = query.get("min_elo", [""])[0]
    min_elo = int(elo) if elo.isascii() and elo.isdigit() else None
    formats = filter(None, query.get("formats", [""])[0].split(","))
    return [Question(format, min_elo) for format in formats] or [Question(min_elo=min_elo)]


def _checks(question: Question, live: Players) -> Iterator[Question]:
    """Yield few questions under each of which fewer battles fall than an answer shows.

    Every battle that falls under the given question falls under one of them.
    """
    below = {id: players for id, players in live.items() if question.fits(id, players)}
    if len(below) < _SPLIT or len(question.prefix) == _LONGEST_PREFIX:
        if below:
            yield question
    elif question.format:
        for prefix in _cover(question.prefix, below):
            yield from _checks(Question(question.format, question.min_elo, prefix), below)
    else:
        of_format: dict[str, dict[str, tuple[str, ...]]] = {}
        for id, players in below.items():
            of_format.setdefault(format_of(id), {})[id] = players
        for format, group in of_format.items():
            yield from _checks(Question(format, question.min_elo), group)


def _cover(prefix: str, below: Players) -> list[str]:
    """Choose longer prefixes so that each battle has a player whose name begins with one."""
    size = len(prefix) + 1
    names = {
        id: {player[:size] for player in players if player.startswith(prefix)}
        for id, players in below.items()
    }
    counts = Counter(one for prefixes in names.values() for one in prefixes)
    chosen: set[str] = set()
    for one, _ in counts.most_common():
        if len(one) == size and any(one in had and not had & chosen for had in names.values()):
            chosen.add(one)
    return sorted(chosen)


def _oldest(battle_ids: Iterable[str]) -> int:
    """Return the number from which on a full answer shows every battle.

    A battle that was hidden and is public again stands among the newest, with an old number: a
    tenth of them is not counted.
    """
    numbers = sorted(map(_number, battle_ids))
    return numbers[len(numbers) // 10] if numbers else 0


def _number(battle_id: str) -> int:
    digits = re.search(r"[0-9]{1,15}$", battle_id)
    return int(digits[0]) if digits else 0


def _nearest(name: str, formats: Collection[str]) -> str:
    return next(iter(difflib.get_close_matches(name, formats, 1)), "")


def _keys(value: object) -> list[str]:
    if not isinstance(value, list) or len(value) > _MOST:
        return []
    return [key for key in value if _is_key(key)]


def _numbers(value: object) -> dict[str, int]:
    known = value if isinstance(value, dict) and len(value) <= _MOST else {}
    return {key: n for key, n in known.items() if _is_key(key) and isinstance(n, int)}


def _is_key(key: object) -> bool:
    return isinstance(key, str) and _KEY.fullmatch(key) is not None
