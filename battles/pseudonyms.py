"""Replace the names of players by keyed pseudonyms."""

from __future__ import annotations

import hmac
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from battles.parsers.chat import without_chat
from battles.parsers.names import to_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from battles.items import Battle, Player

_PRESENCE = ("|j|", "|J|", "|join|", "|l|", "|L|", "|leave|", "|n|", "|N|", "|name|")
"""Lines that tell who watches, or who is called otherwise now."""
_NAMELESS = re.compile(
    r"-(?!message$|hint$).*|cant|clearpoke|detailschange|drag|faint|gametype|gen|move|poke|rated"
    r"|replace|rule|showteam|start|swap|switch|t:|teampreview|teamsize|tie|tier|turn|upkeep"
)
"""Kinds of lines that tell the battle itself; only a few places in them hold a name."""
POKEMON = re.compile(r"((?:\[of\] )?p[1-4][a-d]?: |\[wisher\] )")
"""What stands before a nickname, or before the name of a side's player."""
_REQUESTED = re.compile(r"^\|inactive\|.*\(requested by (.+)\)$", re.MULTILINE)
"""Who had the clock started; staff can, too."""
_WORDS = """
    a accepted all also and are automatically battle because by confirm disconnected due for
    forfeited game has have if in inactive inactivity is left lose losing lost minute minutes no
    now of off offering on open player players rating ready reconnect reconnected rejected
    requested sec seconds series sheets staff start still team that the this tie time timer to
    total turn tying up wants will winning with won you
    align amp apos b best blue br broadcast button center circle class color details div em fa
    font gt h2 height href html https i id img left li lt name nbsp p pokemon psicon quot rarr red
    right size small span src strong style summary table td th title tr type u ul value width
"""
"""What the server's sentences and its HTML are made of."""
_ESCAPES = {
    "&": ("&amp;",),
    "<": ("&lt;",),
    ">": ("&gt;",),
    '"': ("&quot;", "&#34;"),
    "'": ("&apos;", "&#39;", "&#x27;"),
    "/": ("&#x2f;", "&#47;"),
}
"""How HTML may spell a character."""


class Pseudonyms:
    """Gives each player the same pseudonym everywhere, which only the key's owner can make again.

    The id of a battle stays: whoever can look it up on the site learns the names there.
    """

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def of(self, name: str) -> str:
        """Return a player's pseudonym: 40 bits of an HMAC, so a million players share few."""
        digest = hmac.digest(self._key, (to_id(name) or name).encode(), "sha256")
        return f"player-{digest[:5].hex()}"

    def replace_in(self, battle: Battle) -> Battle:
        """Return a copy without names; chat, avatars and who came and went are left out."""
        log = _without_presence(battle.log)
        text = _Text(self._aliases(names_of(battle)))
        return replace(
            battle,
            players=[self._without_names(player, text) for player in battle.players],
            winner=None if battle.winner is None else text.all_of(battle.winner),
            log="\n".join(text.line(line) for line in log.split("\n")),
        )

    def _without_names(self, player: Player, text: _Text) -> Player:
        """Replace a player's names, and whom nicknames are made of, as the log's lines are."""
        return replace(
            player,
            name=self.of(player.name),
            other_names=[self.of(name) for name in player.other_names],
            pokemon=[
                replace(one, nickname=one.nickname and text.all_of(one.nickname))
                for one in player.pokemon
            ],
            sheet=[
                replace(one, nickname=one.nickname and text.all_of(one.nickname))
                for one in player.sheet
            ],
        )

    def _aliases(self, names: set[str]) -> dict[str, str]:
        # Whose name is spelled like somebody's id is the one who is meant by it.
        by_id = {userid: self.of(name) for name in names if (userid := telling_id(name))}
        return by_id | {name: self.of(name) for name in names}


def names_of(battle: Battle) -> set[str]:
    """Find everybody whom a battle names, also who took another's seat during it."""
    seats = {name for player in battle.players for name in (player.name, *player.other_names)}
    names = seats | _names_in(battle.log)
    # Two that win together are called `A & B`.
    if battle.winner and not names.issuperset(battle.winner.split(" & ")):
        names.add(battle.winner)
    return names - {""}


def telling_id(name: str) -> str:
    """Return a player's id, or nothing when it would be found where nobody is meant.

    >>> telling_id("OU mods rfags!"), telling_id("The..."), telling_id("-007-")
    ('oumodsrfags', '', '')
    """
    userid = to_id(name)
    return "" if userid.isdigit() or userid in _WORDS.split() else userid


def standing_alone(spellings: Iterable[str]) -> re.Pattern[str]:
    """Make the pattern that finds any of them as a word, a group each, in the order given."""
    pattern = "|".join(f"({_spellings(name)})" for name in spellings)
    # Without any it must match nothing.
    return re.compile(rf"(?<!\w)(?:{pattern})(?!\w)" if pattern else r"(?!)")


class _Text:
    """Replaces names where they stand alone, and leaves alone what only looks like a name.

    Somebody may be called `win`, `0` or `Iron Moth`.
    """

    def __init__(self, aliases: dict[str, str]) -> None:
        longest_first = sorted(aliases, key=len, reverse=True)
        self._aliases = [aliases[name] for name in longest_first]
        self._names = standing_alone(longest_first)

    def all_of(self, text: str) -> str:
        return self._names.sub(self._alias, text)

    def line(self, line: str) -> str:
        if not self._names.search(line):
            return line
        if not line.startswith("|"):
            return self.all_of(line)
        kind, separator, rest = line[1:].partition("|")
        return f"|{kind}{separator}{self._arguments(kind, rest)}"

    def _arguments(self, kind: str, rest: str) -> str:
        if kind == "player":
            side, _, about = rest.partition("|")
            name, _, others = about.partition("|")
            # Some have an avatar of their own, which tells who they are.
            rating = others.partition("|")[2]
            return f"{side}|{self.all_of(name)}||{rating}"
        if is_nameless(kind):
            return "|".join(self._argument(argument) for argument in rest.split("|"))
        return self.all_of(rest)

    def _argument(self, argument: str) -> str:
        match = POKEMON.match(argument)
        return match[0] + self.all_of(argument[match.end() :]) if match else argument

    def _alias(self, match: re.Match[str]) -> str:
        return self._aliases[(match.lastindex or 1) - 1]


def _spellings(name: str) -> str:
    """Make the pattern of a name, as it is or as HTML has it."""
    return "".join(
        f"(?:{'|'.join(map(re.escape, (*_ESCAPES.get(character, ()), character)))})"
        for character in name
    )


def is_nameless(kind: str) -> bool:
    """Tell whether lines of a kind tell the battle itself: names stand in them after `p1: `."""
    return _NAMELESS.fullmatch(kind) is not None


def _names_in(log: str) -> set[str]:
    """Find all that a log says to have played, and who had the clock started."""
    lines = (line.split("|") for line in log.split("\n") if line.startswith("|player|"))
    players = {fields[3] for fields in lines if len(fields) > 3}  # noqa: PLR2004 -- ||side|name
    return players | set(_REQUESTED.findall(log))


def _without_presence(log: str) -> str:
    lines = without_chat(log).split("\n")
    return "\n".join(line for line in lines if not line.startswith(_PRESENCE))
