"""Follow who sits where in a battle, and who of them won."""

from __future__ import annotations

from battles.parsers.names import to_id

SIDES = ("p1", "p2", "p3", "p4")
_ALLIES = (("p1", "p3"), ("p2", "p4"))
"""In a multi battle."""
_MOST_NAMES = 50
"""Of one seat; beyond it is rubbish, which would make a long search of every question."""


def comparable(name: str) -> str:
    """Reduce a name to its id; one without letters and digits is compared as it is."""
    return to_id(name) or name


class Seat:
    """Who sits there, and sat."""

    def __init__(self) -> None:
        self.name = ""
        """In force; an empty name only says that who sits here is not in the room."""
        self.names: dict[str, None] = {}
        """All since the battle began, in their order."""
        self.rating: int | None = None

    def other_names(self) -> list[str]:
        """Return those that are not in force."""
        return [name for name in self.names if name != self.name] if len(self.names) > 1 else []


class Seats:
    """The seats of a battle, by side; what counts as a name is decided when the battle begins."""

    def __init__(self) -> None:
        self._seats: dict[str, Seat] = {}
        self._has_begun = False

    def sit(self, side: str, name: str, rating: int | None) -> None:
        """Take a `|player|` line."""
        if side not in SIDES or not name:
            return
        seat = self._seats.setdefault(side, Seat())
        if self._has_begun:
            self._rename(seat, name)
        elif seat.rating is not None and comparable(seat.name) != comparable(name):
            # Whoever sat here left the lobby.
            seat.rating = None
        if seat.rating is None and not (self._has_begun and len(seat.names) > 1):
            seat.rating = rating
        seat.name = name

    def begin(self) -> None:
        """Forget who left before: they did not play."""
        if not self._has_begun:
            self._has_begun = True
            for seat in self._seats.values():
                seat.names = {seat.name: None}

    def _rename(self, seat: Seat, name: str) -> None:
        if len(seat.names) < _MOST_NAMES:
            seat.names[name] = None

    def taken(self) -> list[str]:
        """Return the sides somebody plays, in order."""
        return [side for side in SIDES if side in self._seats]

    def __getitem__(self, side: str) -> Seat:
        return self._seats[side]

    def side_of(self, name: str) -> str | None:
        """Return whose name it is, or was; None when it is nobody's."""
        for side, seat in self._seats.items():
            if seat.name == name:
                return side
        wanted = comparable(name)
        for side, seat in self._seats.items():
            if wanted in map(comparable, (seat.name, *seat.names)):
                return side
        return None

    def winners(self, text: str, *, are_allied: bool) -> list[str] | None:
        """Return the sides that `|win|` names; None when it names nobody who plays.

        Allies are named together, in either order, and a name may itself hold ` & `.
        """
        pairs = [pair for pair in _ALLIES if " & " in text and self._is_pair(text, pair)]
        if pairs and are_allied:
            return list(pairs[0])
        if side := self.side_of(text):
            return [side]
        return list(pairs[0]) if pairs else None

    def _is_pair(self, text: str, pair: tuple[str, str]) -> bool:
        if not all(side in self._seats for side in pair):
            return False
        first, second = (self._seats[side].name for side in pair)
        return text in (f"{first} & {second}", f"{second} & {first}")
