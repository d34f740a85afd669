"""Describe settings in rows, of which checks and documentation are made."""

from __future__ import annotations

import difflib
import json
import logging
import math
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from scrapy.settings import SETTINGS_PRIORITIES, Settings

from extensions.credentials import shown, userinfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from scrapy.settings import BaseSettings


_HOST = re.compile(r"(?:[^\s/@?#:\[\]]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?")
_CLOSE = 0.87
"""How much alike names are of which one is the other misspelt; SCHEDULER_QUEUE_CLASS is none."""
_CMDLINE = SETTINGS_PRIORITIES["cmdline"]
_NONE = "\N{EN DASH}"
"""What the table shows where there is nothing."""


class Row(NamedTuple):
    """One setting."""

    name: str
    kind: Callable[[Any], str]
    """Says of a value what to give instead; nothing of one that is right."""
    default: object
    """What its reader takes when it is unset; text in brackets is a description."""
    unit: str
    meaning: str
    reader: str
    """The modules that read it."""
    is_environment: bool = False
    """Whether it is taken from the environment, too."""
    is_site: bool = False
    """Whether it is the address of a site that is asked."""


class SettingError(ValueError):
    """Raised for a setting that makes no sense; the message says which, why and what to give."""


def check_rows(settings: BaseSettings, rows: Iterable[Row]) -> None:
    """Check what the settings say of these rows; what is unset is right.

    Raises:
        SettingError: the first that makes no sense.

    """
    for row in rows:
        value = settings.get(row.name)
        if value is not None and (wrong := row.kind(value)):
            unit = f" ({row.unit})" if row.unit else ""
            raise SettingError(f"{row.name}={shown(row.name, value)}: {wrong}{unit}")


def check_names(settings: BaseSettings, rows: Iterable[Row]) -> None:
    """Check the names of what the command line sets; others may set what they like.

    Raises:
        SettingError: nobody knows one, and it is nearly that of a row.

    """
    ours = [row.name for row in rows]
    known = {*ours, *Settings()}
    for name in settings:
        is_given = (settings.getpriority(name) or 0) >= _CMDLINE
        if is_given and name not in known:
            close = difflib.get_close_matches(str(name), ours, n=1, cutoff=_CLOSE)
            if close:
                raise SettingError(f"{name} is no setting: did you mean {close[0]}?")


def table(rows: Iterable[Row]) -> str:
    """Return the documentation of settings, as a table in Markdown."""
    lines = ["| name | default | unit | meaning | read by |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        name = f"`{row.name}`{' E' if row.is_environment else ''}"
        cells = (name, _default(row.default), row.unit or _NONE, row.meaning, row.reader)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _default(value: object) -> str:
    if value is None:
        return _NONE
    if isinstance(value, str):
        return value[1:-1] if value.startswith("[") else f"`{value}`"
    return f"`{json.dumps(value)}`" if isinstance(value, dict) else str(value)


# --- Kinds ----------------------------------------------------------------------------------------


def text(value: Any) -> str:  # noqa: ANN401 -- whatever the settings hold
    """Take one line of text."""
    return "" if str(value).isprintable() else "give one line of text"


def filled(value: Any) -> str:  # noqa: ANN401 -- as above
    """Take one line of text that says something."""
    return text(value) if str(value) else "give one line of text, or leave it out"


def host_names(value: Any) -> str:  # noqa: ANN401 -- as above
    """Take hosts, in a list or with commas between them."""
    parts = value if isinstance(value, (list, tuple)) else str(value).split(",")
    given = [str(part).strip() for part in parts]
    is_right = all(_HOST.fullmatch(host) for host in given if host)
    return "" if is_right else "give hosts as NAME or NAME:PORT, with commas between them"


def class_path(value: Any) -> str:  # noqa: ANN401 -- as above
    """Take a class, or its path within a module that there is."""
    if not isinstance(value, str) or not value:
        return ""
    try:
        # Not imported: that takes longer than many a command.
        is_right = find_spec(value.rpartition(".")[0]) is not None
    except (ImportError, ValueError):
        is_right = False
    return "" if is_right else "give the path of a class, as in package.module.Class"


def name_pattern(value: Any) -> str:  # noqa: ANN401 -- as above
    """Take a name in which `%(spider)s` may stand."""
    try:
        str(value) % {"spider": "x"}
    except (ValueError, TypeError, KeyError):
        return "give a name; %(spider)s stands for the spider's, and %% for a percent sign"
    return filled(value)


def switch(value: Any) -> str:  # noqa: ANN401 -- as above
    """Take what Scrapy takes for true or false."""
    known = ("0", "1", "true", "false", "True", "False")
    return "" if str(value) in known else "give 1 or 0"


def mapping(value: Any) -> str:  # noqa: ANN401 -- as above
    """Take a dictionary, or one in JSON."""
    try:
        dict(_parsed(value))
    except (ValueError, TypeError):
        return 'give an object in JSON, as in {"name": 1}'
    return ""


def optional(kind: Callable[[Any], str]) -> Callable[[Any], str]:
    """Take nothing, too: an empty variable of the environment is one that is unset."""
    return lambda value: "" if value == "" else kind(value)


def redis_address(value: Any) -> str:  # noqa: ANN401 -- as above
    """Take what redis-py takes; it would take a path that is no number for database 0."""
    try:
        parts = urlsplit(str(value))
        _ = parts.port
    except ValueError:
        # Whoever connects says what is wrong, without the password that it may be.
        return text(value)
    database = parts.path.replace("/", "")
    is_number = database.isascii() and database.isdecimal()
    is_wrong = parts.scheme in {"redis", "rediss"} and database and not is_number
    return _REDIS_ADDRESS if is_wrong else text(value)


def redis_parameters(value: Any) -> str:  # noqa: ANN401 -- as above
    """Take a dictionary whose numbers redis-py can use."""
    if wrong := mapping(value):
        return wrong
    for name, given in dict(_parsed(value)).items():
        kind = _REDIS_NUMBERS.get(name)
        if given is not None and kind and (wrong := kind(given)):
            return f"{name}: {wrong}"
    return ""


def choice(*words: str) -> Callable[[Any], str]:
    """Take one of some words."""
    return lambda value: "" if value in words else f"give {' or '.join(words)}"


def log_level(value: Any) -> str:  # noqa: ANN401 -- as above
    """Take the name of a level, or its number where it is not text."""
    is_right = isinstance(value, int) or value in logging.getLevelNamesMapping()
    return "" if is_right else "give CRITICAL or ERROR or WARNING or INFO or DEBUG"


def count(low: int = 0) -> Callable[[Any], str]:
    """Take a whole number."""

    def check(value: Any) -> str:  # noqa: ANN401 -- as above
        try:
            is_right = int(value) >= low
        except (ValueError, TypeError, OverflowError):
            is_right = False
        return "" if is_right else f"give a whole number of {low} or more"

    return check


def number(
    low: float = 0.0, *, above: bool = False, high: float = math.inf
) -> Callable[[Any], str]:
    """Take a number, `low` itself only unless it must be above that."""
    least = f"above {low:g}" if above else f"of {low:g} or more"
    words = f"from {low:g} to {high:g}" if high < math.inf else least

    def check(value: Any) -> str:  # noqa: ANN401 -- as above
        try:
            given = float(value)
        except (ValueError, TypeError, OverflowError):
            given = math.nan
        is_right = math.isfinite(given) and low <= given <= high and not (above and given == low)
        return "" if is_right else f"give a number {words}, as in {0.5 if low < 1 else low:g}"

    return check


def address(*schemes: str, takes_user: bool = True) -> Callable[[Any], str]:
    """Take an address with one of these schemes."""
    words = " or ".join(f"{scheme}://HOST" for scheme in schemes)

    def check(value: Any) -> str:  # noqa: ANN401 -- as above
        host = host_in(str(value), schemes)
        if host is None:
            return f"give {words}"
        is_refused = not takes_user and userinfo(str(value)) is not None
        return "give it without user and password" if is_refused else ""

    return check


def _seconds(value: Any) -> str:  # noqa: ANN401 -- as above
    """Take a number that is no text: a socket takes no other."""
    return number(above=True)(math.nan if isinstance(value, str) else value)


_REDIS_ADDRESS = (
    "give redis://HOST:PORT/DB, where DB is a number, and percent-encode what is neither letter "
    "nor digit in a password"
)
_REDIS_NUMBERS = {
    "socket_timeout": _seconds,
    "socket_connect_timeout": _seconds,
    "port": count(1),
    "db": count(),
}


def host_in(url: str, schemes: Iterable[str]) -> str | None:
    """Return the host of an address with one of these schemes; None when it is none."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in tuple(schemes) and parts.port != 0
    except ValueError:
        return None
    has_blanks = not url.isprintable() or " " in url
    return parts.hostname if is_address and not has_blanks else None


def _parsed(value: Any) -> Mapping[Any, Any]:  # noqa: ANN401 -- as above
    parsed: Mapping[Any, Any] = json.loads(value) if isinstance(value, str) else value
    return parsed
