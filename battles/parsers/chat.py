"""Take out of a log what people said."""

from __future__ import annotations

import re

_CHAT = re.compile(r"^\|(?:c|c:|chat|chat:)(?:\|.*)?(?:\n|\Z)", re.MULTILINE)


def without_chat(log: str) -> str:
    r"""Remove what people said; joins, ratings and the battle itself stay.

    >>> without_chat("|turn|1\n|c|☆A|hello\n|win|A")
    '|turn|1\n|win|A'
    """
    rest = _CHAT.sub("", log)
    # Without a line feed at its end before, a log has none afterwards.
    return rest if log.endswith("\n") else rest.removesuffix("\n")
