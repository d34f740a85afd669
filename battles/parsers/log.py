"""Read the log of one battle."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import blake2b
from html import unescape
from itertools import groupby
from typing import TYPE_CHECKING, Any

from battles.items import Ending, Player
from battles.parsers.endings import have_played_on, read_message, read_notices
from battles.parsers.numbers import number
from battles.parsers.seats import SIDES, Seats
from battles.parsers.sheets import parse_sheet
from battles.parsers.team import Shown, Team

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from battles.items import Sheet

_RATING = re.compile(r"(.{1,128})'s rating: ([0-9]{1,6}) &rarr; <strong>([0-9]{1,6})</strong>")
_CUSTOM_RULES = re.compile(r"[^\n]{1,100} custom rules?:</strong></summary> ([^\n]*?)</details>")
_MOST_RULES = 1000
_MOST_QUESTIONS = 100
"""How often it is asked whose name something is; a battle has some four such lines."""
_SERIES = re.compile(
    r"<h2><strong>Game ([0-9]{1,4})</strong> of"
    r' <a href="/(game-[a-z0-9-]{1,120}?)(?:-[a-z0-9]{31}pw)?">a best-of-([0-9]{1,4})</a>'
)
"""The password of a hidden series is left out."""
_PLACES = frozenset(f"{side}{place}" for side in SIDES for place in "abcdef")
_LAST_GENERATION = 99
"""Beyond it is rubbish, and would not fit an export."""
_CHUNK = 2**18
"""Characters whose lines are held at once: of a log of short lines they take thirty times that."""


@dataclass(slots=True)
class LogFacts:
    """What a log says of its battle; everything may be missing."""

    players: dict[str, Player] = field(default_factory=dict)
    """By side, in the order of the sides."""
    format: str = ""
    generation: int | None = None
    gametype: str | None = None
    started: int | None = None
    """Seconds since the epoch."""
    rated: bool = False
    rated_text: str | None = None
    open_team_sheets: bool = False
    turns: int = 0
    winner: str | None = None
    winner_side: list[str] | None = None
    tie: bool = False
    ended: Ending | None = None
    rules: list[str] = field(default_factory=list)
    custom_rules: list[str] = field(default_factory=list)
    timer: bool = False
    match: str | None = None
    game: int | None = None
    best_of: int | None = None

    def of_battle(self) -> dict[str, Any]:
        """Return what a battle takes as it is, by the names of its fields.

        Players and format are not among it: a replay says them beside its log, too.
        """
        return {name: getattr(self, name) for name in _OF_BATTLE}


_OF_BATTLE = tuple(LogFacts.__dataclass_fields__.keys() - {"players", "format"})


def parse_log(log: str) -> LogFacts:
    """Read what a log says; a line that makes no sense is passed over.

    What follows the end does not count, but for the new ratings.
    """
    # One character is found much faster than two.
    text = "\n" + (log.replace("\r\n", "\n") if "\r" in log else log)
    reader = _LogReader()
    active = reader.active
    for chunk in _chunks(text):
        for kind, rest in _LINE.findall(chunk):
            if kind == "move":
                # A third of the lines, most of them moves that are known by then.
                if (shown := active.get(rest[:3])) is not None:
                    move, _, about = rest.partition("|")[2].partition("|")
                    if move not in shown.moves:
                        shown.use(move, about)
            else:
                reader.readers[kind](reader, rest)
    return reader.facts(text)


def _chunks(text: str) -> Iterator[str]:
    """Cut before line feeds, so that each chunk begins with one."""
    at = 0
    while at < len(text):
        end = text.find("\n", at + _CHUNK)
        end = len(text) if end < 0 else end
        yield text[at:end]
        at = end


def content_hash(log: str) -> str:
    """Name the content of a log without chat."""
    return blake2b(log.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class _LogReader:
    """Collects the facts line by line; one method a line type, which takes what follows the type.

    Where a line is about a Pokémon, that begins with where it stands: `p1a: Nickname`.
    """

    def __init__(self) -> None:
        self.readers = _READERS
        self.active: dict[str, Shown] = {}
        """Who stands where: `p1a`."""
        self._facts = LogFacts()
        self._seats = Seats()
        self._teams: dict[str, Team] = {}
        self._sheets: dict[str, list[Sheet]] = {}
        self._gave_up: dict[str, Ending] = {}
        self._ratings: list[tuple[str, int, int]] = []
        self._has_begun = False
        self._wins = 0
        self._stopped: Ending = "normal"
        self._stopper: str | None = None
        self._stops = 0

    def facts(self, text: str) -> LogFacts:
        self._begin()
        facts, seats = self._facts, self._seats
        facts.players = {side: self._player(side) for side in seats.taken()}
        for name, before, after in self._ratings:
            self._rate(name, before, after)
        has_ended = facts.tie or facts.winner is not None
        end = self._end_in(text) if has_ended else len(text)
        facts.turns, last_turn = _last_turn(text, end)
        facts.started = _first_time(text, end)
        if facts.winner is not None:
            are_allied = facts.gametype == "multi"
            facts.winner_side = seats.winners(facts.winner, are_allied=are_allied)
        if has_ended:
            facts.ended = self._ending(text[last_turn:end])
        return facts

    def _player(self, side: str) -> Player:
        seat = self._seats[side]
        team = self._teams.get(side)
        pokemon = team.listed if team else []
        gave_up = self._gave_up.get(side)
        return Player(
            side=side,
            name=seat.name,
            rating_before=seat.rating,
            team=[one.species for one in pokemon],
            other_names=seat.other_names(),
            gave_up=gave_up if gave_up in ("forfeit", "inactivity") else None,
            pokemon=pokemon,
            sheet=self._sheets.get(side, []),
        )

    def _rate(self, name: str, before: int, after: int) -> None:
        if side := self._seats.side_of(name):
            player = self._facts.players[side]
            player.rating_after = after
            if player.rating_before is None:
                player.rating_before = before

    def _end_in(self, text: str) -> int:
        """Return where the line of the end begins."""
        if self._facts.tie:
            return match.start() if (match := _TIE.search(text)) else len(text)
        # The only one is found much faster from the back.
        return text.rfind("\n|win|") if self._wins == 1 else text.find("\n|win|")

    def _ending(self, last_turn: str) -> Ending:
        if self._stopped == "normal":
            names = [player.name for player in self._facts.players.values()]
            return read_notices(last_turn, names, is_tie=self._facts.tie) or "normal"
        # Between two, the lines of a turn may come after who gave up, and it is over all the same.
        if self._facts.gametype == "freeforall" and have_played_on(last_turn):
            return "normal"
        # Who gives up may have won by then: the server says it before the simulator knows.
        has_won = self._stopper is not None and self._stopper in (self._facts.winner_side or ())
        return "normal" if has_won else self._stopped

    def tie(self, _rest: str) -> None:
        self._facts.tie = True
        self._end()

    def win(self, rest: str) -> None:
        self._facts.winner = _first(rest)
        self._wins = 1
        self._end()

    def win_again(self, _rest: str) -> None:
        """Take another that follows the end."""
        self._wins += 1

    def _end(self) -> None:
        self.readers = _AFTER_END
        self.active.clear()

    def message(self, rest: str) -> None:
        said = read_message(_joined(rest))
        if said and self._stops < _MOST_QUESTIONS:
            self._stops += 1
            self._stopped, name = said
            self._stopper = self._seats.side_of(name) if name else None
            sides = [self._stopper] if self._stopper else []
            for side in sides if name else self._seats.taken():
                self._gave_up.setdefault(side, self._stopped)

    def player(self, rest: str) -> None:
        side, name, _, rating = [*rest.split("|", 4), "", "", ""][:4]
        self._seats.sit(side, name, number(rating))

    def start(self, _rest: str) -> None:
        self._begin()

    def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._seats.begin()

    def preview(self, rest: str) -> None:
        side, _, details = rest.partition("|")
        if side in SIDES and not self._has_begun:
            self._team(side).preview(_first(details))

    def clear_preview(self, _rest: str) -> None:
        if not self._has_begun:
            for team in self._teams.values():
                team.clear()

    def team_size(self, rest: str) -> None:
        side, _, size = rest.partition("|")
        if side in SIDES:
            self._team(side).size = number(_first(size))

    def appear(self, rest: str) -> None:
        place = rest[:3]
        if place in _PLACES:
            if not self._has_begun:
                self._begin()
            who, _, details = rest.partition("|")
            team = self._teams.get(place[:2]) or self._team(place[:2])
            team.appear(place, who[5:], details.partition("|")[0])

    def replace(self, rest: str) -> None:
        if rest[:3] in _PLACES:
            self._begin()
            who, _, details = rest.partition("|")
            self._team(who[:2]).unmask(who[:3], who[5:], _first(details))

    def change(self, rest: str) -> None:
        if rest[:3] in self.active:
            who, _, details = rest.partition("|")
            self._team(who[:2]).change(who[:3], who[5:], _first(details))

    def _team(self, side: str) -> Team:
        team = self._teams.get(side)
        if team is None:
            team = self._teams[side] = Team(self.active)
        return team

    def swap(self, rest: str) -> None:
        place, where = rest[:3], number(_second(rest))
        if place in _PLACES and where is not None and where < len("abc"):
            self._team(place[:2]).swap(place, f"{place[:2]}{'abc'[where]}")

    def faint(self, rest: str) -> None:
        if shown := self.active.get(rest[:3]):
            shown.has_fainted = True

    def terastallize(self, rest: str) -> None:
        if shown := self.active.get(rest[:3]):
            shown.facts.tera = shown.facts.tera or _second(rest) or None

    def transform(self, rest: str) -> None:
        self.hint(rest)
        if shown := self.active.get(rest[:3]):
            shown.is_transformed = True

    def item(self, rest: str) -> None:
        name, _, about = rest.partition("|")[2].partition("|")
        is_seen = "[from] " not in about or "ability: Frisk" in about or "[identify]" in about
        if shown := self.active.get(rest[:3]):
            if is_seen:
                shown.hold(name)
            else:
                # It got this one, so that what it had before is not to be known any more.
                shown.has_own_item = False
        if "[from] ability: " in about:
            (self.hint if is_seen else self.hint_of_itself)(rest)

    def end_item(self, rest: str) -> None:
        if shown := self.active.get(rest[:3]):
            shown.hold(_second(rest))

    def ability(self, rest: str) -> None:
        shown = self.active.get(rest[:3])
        name, _, about = rest.partition("|")[2].partition("|")
        if "[from] ability: Trace" in about:
            if other := self.active.get(about.partition("[of] ")[2][:3]):
                other.have(name)
            name, about = "Trace", ""
        if shown is not None:
            if "[from] " not in about:
                shown.have(name)
            shown.has_own_ability = False

    def mega(self, rest: str) -> None:
        # `|-mega|p2a: Latios|Latios|Latiosite`, `|-primal|p2a: Groudon|Red Orb`
        if shown := self.active.get(rest[:3]):
            shown.hold(rest.partition("|")[2].split("|", 2)[:2][-1])

    def activate(self, rest: str) -> None:
        if shown := self.active.get(rest[:3]):
            what, _, name = _second(rest).partition(": ")
            (shown.hold if what == "item" else shown.have)(name)

    def hint(self, rest: str) -> None:
        """Take the item or ability behind what happens, of whom `[of]` names."""
        self._take_hint(rest.partition("[of] ")[2] or rest, rest)

    def hint_of_itself(self, rest: str) -> None:
        """Take the item or ability behind what happens, of whom it happens to."""
        is_others = "ability: Hospitality" in rest
        self._take_hint(rest.partition("[of] ")[2] if is_others else rest, rest)

    def heal(self, rest: str) -> None:
        # Most say once more that somebody has Leftovers.
        shown = self.active.get(rest[:3])
        if shown is None or shown.facts.item is None or "[from] item: " not in rest:
            self.hint_of_itself(rest)

    def _take_hint(self, holder: str, rest: str) -> None:
        if shown := self.active.get(holder[:3]):
            # The first mark tells what is behind it; others say more of that.
            what, _, name = _first(rest.partition("|[")[2]).partition(": ")
            if what == "from] item":
                shown.hold(name)
            elif what == "from] ability":
                shown.have(name)

    def gametype(self, rest: str) -> None:
        self._facts.gametype = _first(rest) or None

    def generation(self, rest: str) -> None:
        generation = number(_first(rest))
        if generation is not None and generation <= _LAST_GENERATION:
            self._facts.generation = generation

    def tier(self, rest: str) -> None:
        self._facts.format = _first(rest)

    def rated(self, rest: str) -> None:
        # With a message it says that the battle is official, as of a tournament, and not rated.
        self._facts.rated_text = _first(rest) or None
        self._facts.rated = self._facts.rated_text is None

    def rule(self, rest: str) -> None:
        if len(self._facts.rules) < _MOST_RULES:
            self._facts.rules.append(_joined(rest))
        if rest.startswith("Open Team Sheets"):
            self._facts.open_team_sheets = True

    def team_sheet(self, rest: str) -> None:
        self._facts.open_team_sheets = True
        side, _, sheet = rest.partition("|")
        if side in SIDES and side not in self._sheets:
            self._sheets[side] = parse_sheet(sheet)

    def timer(self, rest: str) -> None:
        if rest.startswith("Battle timer is ON"):
            self._facts.timer = True

    def series(self, rest: str) -> None:
        name, _, html = rest.partition("|")
        if name == "bestof" and self._facts.match is None and (match := _SERIES.match(html)):
            self._facts.match = match[2]
            self._facts.game, self._facts.best_of = int(match[1]), int(match[3])

    def raw(self, rest: str) -> None:
        if (match := _RATING.match(rest)) and len(self._ratings) < _MOST_QUESTIONS:
            name, before, after = match.groups()
            self._ratings.append((unescape(name), int(before), int(after)))
        elif match := _CUSTOM_RULES.match(rest):
            rules = match[1].split(", ", _MOST_RULES)[:_MOST_RULES]
            self._facts.custom_rules = [unescape(rule) for rule in rules]

    def pass_over(self, _rest: str) -> None:
        """Take a line that follows the end."""


def _first(rest: str) -> str:
    return rest.partition("|")[0]


def _second(rest: str) -> str:
    return rest.partition("|")[2].partition("|")[0]


def _joined(rest: str) -> str:
    """Take all that follows as one text, without a bar behind it."""
    text, _, more = rest.partition("|")
    return rest if more else text


def _last_turn(text: str, end: int) -> tuple[int, int]:
    """Return the number of the last turn, and where it begins; 0 and 0 without any."""
    at = end
    while (at := text.rfind("\n|turn|", 0, at)) >= 0:
        turn = _number_at(text, at + len("\n|turn|"))
        if turn is not None:
            return turn, at
    return 0, 0


def _first_time(text: str, end: int) -> int | None:
    at = text.find("\n|t:|", 0, end)
    return None if at < 0 else _number_at(text, at + len("\n|t:|"))


def _number_at(text: str, at: int) -> int | None:
    # No number is as long as this.
    return number(_first(text[at : at + 16].partition("\n")[0]))


def _any_of(kinds: Iterable[str]) -> str:
    """Write a pattern that looks at each letter once: `t(?:ie|urn)`, not `tie|turn`."""
    groups = groupby(sorted(kinds), key=lambda kind: kind[:1])
    parts = (first and first + _any_of(kind[1:] for kind in group) for first, group in groups)
    return f"(?:{'|'.join(parts)})"


def _minor(kinds: Iterable[str]) -> str:
    return _any_of(kind[1:] for kind in kinds if kind.startswith("-"))


def _major(kinds: Iterable[str]) -> str:
    return _any_of(kind for kind in kinds if not kind.startswith("-"))


_TIE = re.compile(r"\n\|tie(?![^\n|])")
_READERS: dict[str, Callable[[_LogReader, str], None]] = {
    "switch": _LogReader.appear,
    "drag": _LogReader.appear,
    "replace": _LogReader.replace,
    "faint": _LogReader.faint,
    "detailschange": _LogReader.change,
    "swap": _LogReader.swap,
    "-terastallize": _LogReader.terastallize,
    "-item": _LogReader.item,
    "-enditem": _LogReader.end_item,
    "-ability": _LogReader.ability,
    "-mega": _LogReader.mega,
    "-primal": _LogReader.mega,
    "-burst": _LogReader.mega,
    "-transform": _LogReader.transform,
    "tie": _LogReader.tie,
    "win": _LogReader.win,
    "-message": _LogReader.message,
    "message": _LogReader.message,
    "player": _LogReader.player,
    "poke": _LogReader.preview,
    "clearpoke": _LogReader.clear_preview,
    "teamsize": _LogReader.team_size,
    "start": _LogReader.start,
    "gametype": _LogReader.gametype,
    "gen": _LogReader.generation,
    "tier": _LogReader.tier,
    "rated": _LogReader.rated,
    "rule": _LogReader.rule,
    "showteam": _LogReader.team_sheet,
    "inactive": _LogReader.timer,
    "uhtml": _LogReader.series,
    "uhtmlchange": _LogReader.series,
    "raw": _LogReader.raw,
}
_HINTS: dict[str, Callable[[_LogReader, str], None]] = {
    "-heal": _LogReader.heal,
    "-immune": _LogReader.hint_of_itself,
    "-curestatus": _LogReader.hint_of_itself,
    "-damage": _LogReader.hint,
    "-weather": _LogReader.hint,
    "-fieldstart": _LogReader.hint,
    "-status": _LogReader.hint,
    "-start": _LogReader.hint,
    "-boost": _LogReader.hint,
    "-unboost": _LogReader.hint,
    "-setboost": _LogReader.hint,
    "-fail": _LogReader.hint,
    "-formechange": _LogReader.hint,
    "cant": _LogReader.hint,
}
"""Of these only lines that name an item or an ability."""
_ENDED = r"(?![^|\n])"
_HINTED = r"(?=\|.*\[from\] (?:item|ability): )"
_LINE = re.compile(
    rf"\n\|(-(?:{_minor(_HINTS)}{_HINTED}|{_minor(_READERS)}{_ENDED}"
    r"|activate(?=\|[^|\n]*+\|(?:item|ability): ))"
    rf"|{_major(['move', *_READERS])}{_ENDED}|{_major(_HINTS)}{_HINTED})\|?(.*)"
)
"""A line that says something: its kind, and what follows."""
_READERS |= _HINTS | {"-activate": _LogReader.activate}
_AFTER_END: dict[str, Callable[[_LogReader, str], None]]
_AFTER_END = dict.fromkeys(_READERS, _LogReader.pass_over) | {
    "raw": _LogReader.raw,
    "win": _LogReader.win_again,
}
