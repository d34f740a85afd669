"""Read numbers as the site writes them."""

from __future__ import annotations

_LARGEST = 2**31
"""Numbers from here on are rubbish, and would not fit the index."""
_DIGITS = 10
"""As many as the largest number has."""


def number(text: object) -> int | None:
    """Read a whole number the site wrote as a number or as text, or return None.

    >>> number("1500"), number(1500), number(""), number(True), number("9" * 20)
    (1500, 1500, None, None, None)
    """
    if isinstance(text, bool) or not isinstance(text, (int, str)):
        return None
    if isinstance(text, str) and not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        return None
    value = int(text)
    return value if 0 <= value < _LARGEST else None
