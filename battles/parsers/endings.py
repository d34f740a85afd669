"""Read how a battle came to its end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from battles.items import Ending

_GIVEN_UP: tuple[tuple[Ending, str], ...] = (
    ("forfeit", " forfeited."),
    ("forfeit", " forfeited by changing their name."),
    ("forfeit", " lost by having an inappropriate name."),
    ("forfeit", " lost by being unavailable at the start of a game."),
    ("inactivity", " lost due to inactivity."),
    ("inactivity", " lost because of their inactivity."),
    ("inactivity", " lost the series due to inactivity."),
    ("inactivity", " lost by being offline too long."),
)
"""What follows the name of who gave up, or ran out of time."""
_ALL_INACTIVE = "All players are inactive."
_TURN_LIMIT = "You have hit the turn limit!"
_ENDLESS = (
    "Endless Battle Clause activated!",
    " means to perform restorative berry-cycling and thus loses.",
    " means to perform restorative berry-cycling.",
)
_PLAIN = re.compile(r"^(?:\|\|)?([^|\n][^\n]*)$", re.MULTILINE)
"""Text of the room: nobody's chat, which begins with a bar and its kind."""
_ACCEPTED = (
    " accepted the tie.",
    " aceptó el empate.",
    " aceitou o empate.",
    " ha accettato il pareggio.",
    " a accepté le match nul.",
    " hat das Unentschieden angenommen.",
    "が引き分けに同意しました。",
)
"""The server says it in the language of who accepts."""
_ALL_ACCEPTED = (
    "All players have accepted the tie.",
    "Todos los jugadores han aceptado el empate.",
    "Todos os jogadores aceitaram o empate.",
    "Tutti i giocatori hanno accettato il pareggio.",
    "Tous les joueurs ont accepté le match nul.",
    "Alle Spieler haben einem Unentschieden zugestimmt.",
    "全てのプレイヤーが引き分けに同意しました。",
)
_FORCED = re.compile(r".{1,64} forced a (?:tie\.|win for .{1,64}\.)")
_MESSAGE = re.compile(r"^\|-?message\|([^\n]*)$", re.MULTILINE)
_PLAYED = re.compile(r"^\|(?:move|faint)\|", re.MULTILINE)
_TWO = 2


def read_message(text: str) -> tuple[Ending, str] | None:
    """Read what a `|-message|` says of the end: how, and by whom; an empty name means all.

    >>> read_message("Ann forfeited."), read_message("Sleep Clause activated.")
    (('forfeit', 'Ann'), None)
    """
    for how, said in _GIVEN_UP:
        if text.endswith(said):
            return how, text.removesuffix(said)
    if text == _ALL_INACTIVE:
        return "inactivity", ""
    if text.endswith(_TURN_LIMIT):
        return "turn limit", ""
    if text.endswith(_ENDLESS):
        return "endless battle", ""
    return None


def read_notices(text: str, names: Collection[str], *, is_tie: bool) -> Ending | None:
    """Read from the lines before the end whether it was agreed on, or forced.

    Args:
        text: the log from its last turn to its end.
        names: of those who play.
        is_tie: whether nobody won: only then was a tie agreed on.

    """
    if not is_tie and " forced a " not in text:
        return None
    lines = _PLAIN.findall(text)
    if any(_FORCED.fullmatch(line) for line in lines):
        return "forced"
    if is_tie and any(_is_agreed(line, names) for line in lines):
        return "tie agreed"
    return None


def have_played_on(text: str) -> bool:
    """Tell whether others played on after who gave up.

    Args:
        text: the log from its last turn to its end.

    """
    said = [match.end() for match in _MESSAGE.finditer(text) if read_message(match[1])]
    if not said:
        # That was before this turn.
        return True
    # Who gave up faints at once; what is of a later time was played.
    later = text.find("\n|t:|", said[-1])
    return later >= 0 and _PLAYED.search(text, later) is not None


def _is_agreed(line: str, names: Collection[str]) -> bool:
    if line in _ALL_ACCEPTED:
        return True
    # Of more than two, one says yes and the others may not.
    return len(names) <= _TWO and any(
        line == f"{name}{said}" for said in _ACCEPTED for name in names
    )
