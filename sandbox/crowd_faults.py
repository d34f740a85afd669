"""What goes wrong with the crowd's server on request."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

_VALUES: dict[str, tuple[object, ...]] = {
    "handshake": (403, 404, 503, "html"),
    "join": ("joinfailed", "locked"),
    "close": ("at once",),
    "binary": (True,),
    "silent": (True,),
    "list": ("rubbish",),
}
"""What each fault may be, beside null and false, which end it."""


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults in force."""

    handshake: int | str | None = None
    """A status that answers each handshake, or a page: `html`."""
    join: str | None = None
    """Why nobody gets into a room."""
    close: str | None = None
    """`at once`: each connection is accepted, told something, and closed."""
    binary: bool | None = None
    """Whether each frame is sent as bytes."""
    silent: bool | None = None
    """Whether handshakes are never answered."""
    list: str | None = None
    """`rubbish`: the list of battles is none."""

    @property
    def is_shut(self) -> bool:
        """Whether nobody gets in."""
        return bool(self.handshake or self.close or self.silent)

    def changed(self, changes: object) -> Faults:
        """Return a copy with some of the faults changed.

        Raises:
            ValueError: there is no such fault, or not with that value.

        """
        if not isinstance(changes, dict):
            raise ValueError(f"not an object but {type(changes).__name__}")  # noqa: TRY004 -- one kind
        values: dict[str, Any] = {}
        for name, value in changes.items():
            if name not in _VALUES:
                raise ValueError(
                    f"unknown {name}: there are {[entry.name for entry in fields(self)]}"
                )
            if value not in (None, False, *_VALUES[name]):
                raise ValueError(f"{name}={value!r}: give one of {[*_VALUES[name], None]}")
            values[name] = value or None
        return replace(self, **values)
