"""Tell what Redis means by an error: that it is away, full, or refuses; and say what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

Kind = Literal["away", "full", "refused", "doubtful"]
"""Away: it comes back, and is waited for. Full: it answers and takes nothing, until somebody mends
it. Refused: no waiting helps. Doubtful: it may be a failover, or it stays so."""

_SHOWN = 200
"""Characters of what Redis said."""
_PIPELINE = re.compile(r"^Command # \d+ .* of pipeline caused error: ", re.DOTALL)
_CODE = re.compile(r"^-?([A-Z]{3,})\b")
_CODE_IN_SCRIPT = re.compile(r"script\b.*: -([A-Z]{3,})\b", re.DOTALL)
"""Servers before 7 put the error of a script's command into a longer one."""
_CLASSES: tuple[tuple[type[Exception], str], ...] = (
    (AuthenticationError, "NOAUTH"),
    (AuthorizationError, "NOPERM"),
    (NoPermissionError, "NOPERM"),
    (NoScriptError, "NOSCRIPT"),
    (OutOfMemoryError, "OOM"),
    (ReadOnlyError, "READONLY"),
)
_PHRASES = {
    "ACL failure in script": "NOPERM",
    "The user executing the script can't": "NOPERM",
    "unknown command": "UNKNOWN",
    "Unknown Redis command": "UNKNOWN",
}
"""What has no code of its own."""
_CLUSTER = "REDIS_URL names a node of a cluster: set REDIS_CLUSTER=1"
_USER = "another user or password is wanted: mend REDIS_URL"
_KINDS: dict[str, tuple[Kind, str]] = {
    "OOM": ("full", "its memory is full: free some, or raise its maxmemory"),
    "MISCONF": ("full", "it cannot write to its disk: its log says why"),
    "NOREPLICAS": ("full", "its replicas are away: bring them back, or set min-replicas-to-write"),
    "NOAUTH": ("refused", _USER),
    "WRONGPASS": ("refused", _USER),
    "NOPERM": ("refused", "permit its user (ACL SETUSER) the command, key or channel"),
    "CROSSSLOT": ("refused", _CLUSTER),
    "MOVED": ("refused", _CLUSTER),
    "ASK": ("refused", _CLUSTER),
    "WRONGTYPE": (
        "refused",
        "a key is of another kind than ours: name another database in REDIS_URL, or delete it",
    ),
    "UNKNOWN": ("refused", "it is too old, or has commands renamed: run Redis 6.2 or later"),
    "READONLY": ("doubtful", "it is a replica: have REDIS_URL name the primary"),
    "NOSCRIPT": ("doubtful", "it forgets scripts at once: name one server, and no proxy"),
    # It answers, and will do more in a moment.
    "LOADING": ("away", ""),
    "CLUSTERDOWN": ("away", ""),
    "BUSY": ("away", ""),
    "MASTERDOWN": ("away", ""),
    "TRYAGAIN": ("away", ""),
    "NOGROUP": ("away", ""),
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """What an error means to whoever runs the crawl."""

    kind: Kind
    said: str
    """What Redis said, on one line."""
    remedy: str = ""

    def __str__(self) -> str:
        """Say in one line what is wrong and what to do."""
        if self.kind == "away":
            return f"Redis does not answer: {self.said}; check REDIS_URL"
        what = "takes nothing" if self.kind == "full" else "refuses"
        return f"Redis {what}: {self.remedy or 'see its log'} ({self.said})"


def trouble_of(error: BaseException) -> Trouble:
    """Say what an error of redis-py's means, also one from within a script or a pipeline."""
    text = _PIPELINE.sub("", str(error))
    code = _code_of(error, text)
    kind, remedy = _KINDS.get(code, ("doubtful", ""))
    if not code and isinstance(error, (RedisConnectionError, RedisTimeoutError, OSError)):
        kind = "away"
    return Trouble(kind, _one_line(code, text), remedy)


def is_read_only(error: BaseException) -> bool:
    """Tell whether a server is a replica that takes no writes."""
    return _code_of(error, _PIPELINE.sub("", str(error))) == "READONLY"


def _code_of(error: BaseException, text: str) -> str:
    """Return the word by which Redis names an error; none when it did not answer."""
    given = str(getattr(error, "status_code", None) or "")
    if given in _KINDS:
        return given
    found = _CODE_IN_SCRIPT.search(text) or _CODE.match(text)
    if found and found[1] in _KINDS:
        return found[1]
    by_phrase = (code for phrase, code in _PHRASES.items() if phrase in text)
    by_class = (code for kind, code in _CLASSES if isinstance(error, kind))
    return next(by_phrase, "") or next(by_class, "")


def _one_line(code: str, text: str) -> str:
    """Put the code before a text from which redis-py took it, and cut what is too long."""
    line = " ".join(text.split())
    # What has no code of Redis's has one of ours, which would tell nobody anything.
    is_told = not code or code == "UNKNOWN" or code in line
    whole = line if is_told else f"{code} {line}"
    return whole if len(whole) <= _SHOWN else f"{whole[:_SHOWN]}…"
