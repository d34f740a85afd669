"""What a spectator saw of battles: the log of each, its end, and whether it was hidden."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

STAY = 15.0
"""Seconds for which a battle is watched after its end."""
_NOT_LOGGED = ("|title|", "|queryresponse|", "|popup|")


@dataclass(slots=True)
class Watched:
    """One battle; times are seconds since the epoch."""

    id: str
    """As the room is called while it is public."""
    told: float
    """When we learned of it."""
    joined: float | None = None
    """When its log came for the first time."""
    log: list[str] = field(default_factory=list)
    """Its lines as they were sent: those of the last entry, and what came after."""
    outcome: Literal["won", "tie", "none"] = "none"
    winner: str | None = None
    ended: float | None = None
    state: Literal["asked", "inside", "outside", "expired"] = "asked"
    """Whether we wait to be let in, watch, were sent away, or it was closed for want of players."""
    sent_away: list[dict[str, Any]] = field(default_factory=list)
    """Each time the server did not let us in or on: how it said so (`deinit`, or the code of its
    `noinit`), and when."""
    lost: int = 0
    """How often our connection ended while we watched; then a part may have been missed."""

    def read(self, lines: list[str], now: float) -> None:
        """Take the lines of one frame."""
        for line in lines:
            kind, _, rest = line.removeprefix("|").partition("|")
            match kind:
                case "init" if line.startswith("|init|"):
                    self._enter(now)
                case "noinit":
                    self._leave(f"noinit|{rest.partition('|')[0]}", now)
                case "deinit":
                    self._leave("deinit", now)
                case "expire":
                    self.state = "expired"
                case _ if line and not line.startswith(_NOT_LOGGED):
                    self._note(line, now)

    def is_settled(self, now: float) -> bool:
        """Tell whether enough time went by since the end."""
        return self.ended is not None and now >= self.ended + STAY

    def told_as_json(self) -> dict[str, Any]:
        """Return what is reported."""
        return {
            "id": self.id,
            "told": self.told,
            "joined": self.joined,
            "outcome": self.outcome,
            "winner": self.winner,
            "ended": self.ended,
            "hidden": self.state == "outside",
            "sent_away": self.sent_away,
            "lost": self.lost,
            "log": "\n".join(self.log),
        }

    def _enter(self, now: float) -> None:
        """Begin anew: the whole log follows, also when the room is entered a second time."""
        self.joined = now if self.joined is None else self.joined
        self.state, self.log = "inside", []

    def _leave(self, how: str, now: float) -> None:
        if self.state != "expired":
            self.state = "outside"
            self.sent_away.append({"how": how, "at": now})

    def _note(self, line: str, now: float) -> None:
        self.log.append(line)
        if self.ended is None and (line.startswith("|win|") or line == "|tie"):
            self.ended = now
            self.outcome = "tie" if line == "|tie" else "won"
            self.winner = line.removeprefix("|win|") if self.outcome == "won" else None


def split_frame(frame: str) -> tuple[str, list[str]]:
    r"""Return the room a frame is for, empty for none, and its lines.

    >>> split_frame(">battle-gen9ou-9\n|turn|1\n|"), split_frame("|popup|no")
    (('battle-gen9ou-9', ['|turn|1', '|']), ('', ['|popup|no']))
    """
    lines = frame.split("\n")
    return (lines[0][1:], lines[1:]) if frame.startswith(">") else ("", lines)
