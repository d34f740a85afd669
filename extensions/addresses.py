"""Show addresses, and errors that quote them, without what nobody should read in them."""

from __future__ import annotations

import re

_CREDENTIALS = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s'\"<>]*@")
_SHOWN = 300
"""Characters of an error: some quote whole pages."""


def without_credentials(text: str) -> str:
    """Cut user and password from every address in a text.

    >>> without_credentials("<GET https://ann:secret@example.org/a@b> failed")
    '<GET https://example.org/a@b> failed'
    """
    return _CREDENTIALS.sub(r"\1", text)


def one_line(text: str, longest: int = _SHOWN) -> str:
    r"""Return a text as one short line that no terminal acts upon, without credentials.

    >>> one_line("HTTP 500:\n  \x1b[2J")
    'HTTP 500: ?[2J'
    """
    # Before it is cut, since a part of a password may be left.
    words = " ".join(without_credentials(text).split())
    return "".join(one if one.isprintable() else "?" for one in words[:longest])
