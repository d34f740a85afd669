"""Write a request as readable fields, and read it back."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from inspect import isfunction
from math import isfinite
from typing import TYPE_CHECKING, Any

from scrapy import Request, Spider
from scrapy.spiders import CrawlSpider

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scrapy.http.headers import Headers

LARGEST = 1024 * 1024
"""Bytes of all fields of a request together; what is larger is refused in both directions."""

ENTRY_VERSION = 2
"""The latest that `decode` reads. An entry that says nothing of its version, in a field `v`, is of
1; those of rosters are of 2, since earlier workers would forget their member."""

_PASSING = frozenset(
    {
        *("queue_lease", "delay", "watcher", "family", "roster", "overdue"),
        *("download_latency", "alive"),
    }
)
"""Meta that says something of this process or this attempt only, or has a field of its own."""
_KINDS: dict[str, Any] = {
    "retry_times": int,
    "redirect_times": int,
    "put_off_times": int,
    "look_times": int,
    "max_retry_times": int | None,
    "delay": int | float,
    "watcher": str | None,
    "family": str | None,
    "roster": str | None,
}
"""Meta that the queue and its retries calculate with."""
_RULES = frozenset({"_callback", "_errback"})
"""What a CrawlSpider, private or not, has called back for the links that its rules follow."""
_HOOKS = (frozenset(dir(Spider)) | {"closed", "start_requests"}) - {"parse"}
"""What Scrapy calls of its own accord; as a callback it could do harm."""
_HIGHEST = 2**63
"""Priorities beyond this, above or below zero, are no priorities."""
_SHOWN = 300
"""Characters of what is wrong with an entry."""


class EncodeError(ValueError):
    """Raised when a request holds what no other worker could read."""


class DecodeError(ValueError):
    """Raised when an entry of the queue is no request."""


class NewerEntryError(Exception):
    """Raised when an entry is of a later version: it may be more than this one can read in it."""


def encode(request: Request, spider: Spider) -> dict[str, str]:
    """Write what is not default of url, method, callback, headers, body, meta, cb_kwargs and so on.

    Raises:
        EncodeError: meta or cb_kwargs hold more than JSON can, a callback is no method of the
            spider, or it is too large.

    """
    try:
        fields = {name: value for name, value in _fields(request, spider).items() if value}
        size = sum(len(name) + len(value.encode()) for name, value in fields.items())
    except (ValueError, TypeError, RecursionError) as error:
        raise EncodeError(f"{request.url[:200]}: {_one_line(error)}") from None
    if size > LARGEST:
        raise EncodeError(f"{request.url[:200]} takes {size} bytes; {LARGEST} are allowed")
    return fields


def decode(fields: Mapping[bytes, bytes], spider: Spider) -> Request:
    """Read what `encode` wrote.

    Raises:
        DecodeError: it did not; the message says in one line what is wrong.
        NewerEntryError: a later version did.

    """
    version = fields.get(b"v", b"")
    if version.isdigit() and int(version[:9]) > ENTRY_VERSION:
        raise NewerEntryError(f"a request in the queue is of version {int(version[:9])}")
    size = sum(len(name) + len(value) for name, value in fields.items())
    if size > LARGEST:
        raise DecodeError(f"the entry has {size} bytes; {LARGEST} are allowed")
    try:
        text = {name.decode(): value.decode() for name, value in fields.items()}
        return _request(text, spider)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise DecodeError(f"no request: {_one_line(error)}") from None


def _fields(request: Request, spider: Spider) -> dict[str, str]:
    meta, headers = _lasting(request.meta), _readable(request.headers)
    _check(request.meta)
    return {
        "url": request.url,
        "method": "" if request.method == "GET" else request.method,
        "callback": _method_name(request.callback, spider),
        "errback": _method_name(request.errback, spider),
        "headers": _json(headers) if headers else "",
        "body": b64encode(request.body).decode() if request.body else "",
        "cookies": _json(request.cookies) if request.cookies else "",
        "meta": _json(meta) if meta else "",
        "cb_kwargs": _json(request.cb_kwargs) if request.cb_kwargs else "",
        "priority": str(_priority(request.priority)) if request.priority else "",
        "dont_filter": "1" if request.dont_filter else "",
        "flags": _json(request.flags) if request.flags else "",
        "encoding": "" if request.encoding == "utf-8" else request.encoding,
        "watcher": request.meta.get("watcher") or "",
        "family": request.meta.get("family") or "",
        "roster": request.meta.get("roster") or "",
        "overdue": "1" if request.meta.get("overdue") else "",
        "v": str(ENTRY_VERSION) if request.meta.get("roster") else "",
    }


def _request(text: dict[str, str], spider: Spider) -> Request:
    meta = _lasting(_load(text, "meta", dict))
    for name in ("watcher", "family", "roster"):
        if text.get(name):
            meta[name] = text[name]
    if "overdue" in text:
        meta["overdue"] = True
    _check(meta)
    if not text.get("url"):
        raise ValueError("it has no url")
    encoding = text.get("encoding", "utf-8")
    # An encoding that is none would show only later, or never.
    text["url"].encode(encoding)
    return Request(
        text["url"],
        method=text.get("method", "GET"),
        callback=_method(text.get("callback"), spider),
        errback=_method(text.get("errback"), spider),
        headers=_raw(_load(text, "headers", dict)),
        body=b64decode(text.get("body", ""), validate=True),
        cookies=_load(text, "cookies", (dict, list)),
        meta=meta,
        cb_kwargs=_load(text, "cb_kwargs", dict),
        priority=_priority(int(text.get("priority", 0))),
        dont_filter="dont_filter" in text,
        flags=_load(text, "flags", list),
        encoding=encoding,
    )


def _lasting(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in meta.items() if name not in _PASSING}


def _check(meta: Mapping[str, Any]) -> None:
    for name, kind in _KINDS.items():
        if name in meta and not isinstance(meta[name], kind):
            raise TypeError(f"{name} is {type(meta[name]).__name__}")
    if not 0 <= meta.get("retry_times", 0) <= _HIGHEST:
        raise ValueError(f"retry_times is {meta['retry_times']!r:.30}")
    if not isfinite(meta.get("delay", 0.0)):
        raise ValueError(f"delay is {meta['delay']}")


def _priority(priority: object) -> int:
    if not isinstance(priority, int) or abs(priority) > _HIGHEST:
        raise ValueError(f"priority is {priority!r:.30}")
    return int(priority)


def _readable(headers: Headers) -> dict[str, str | list[str]]:
    """Return headers as text; any bytes are some text in Latin-1."""
    texts = {
        name.decode("latin-1"): [value.decode("latin-1") for value in values]
        for name, values in headers.items()
    }
    return {name: one[0] if len(one) == 1 else one for name, one in texts.items()}


def _raw(headers: dict[str, Any]) -> dict[bytes, list[bytes]]:
    """Return what `_readable` was given."""
    lists = {name: one if isinstance(one, list) else [one] for name, one in headers.items()}
    return {
        name.encode("latin-1"): [value.encode("latin-1") for value in values]
        for name, values in lists.items()
    }


def _json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EncodeError(f"{str(value)[:100]} is not JSON: {error}") from None


def _load(text: dict[str, str], name: str, kind: type | tuple[type, ...]) -> Any:  # noqa: ANN401 -- what JSON holds
    if name not in text:
        return kind() if isinstance(kind, type) else {}
    value = json.loads(text[name])
    if not isinstance(value, kind):
        raise DecodeError(f"{name} is {type(value).__name__}")
    return value


def _method_name(method: Callable[..., Any] | None, spider: Spider) -> str:
    if method is None:
        return ""
    name = getattr(method, "__name__", "")
    if _callback(name, spider) != method:
        raise EncodeError(f"{method!r} is no callback of the spider {spider.name}")
    return name


def _method(name: str | None, spider: Spider) -> Callable[..., Any] | None:
    if name is None:
        return None
    method = _callback(name, spider)
    if method is None:
        raise DecodeError(f"the spider {spider.name} has no callback {name[:100]!r}")
    return method


def _callback(name: str, spider: Spider) -> Callable[..., Any] | None:
    """Return the spider's method of that name, unless it is private or Scrapy's to call."""
    is_rule = name in _RULES and isinstance(spider, CrawlSpider)
    if (name.startswith("_") or name in _HOOKS) and not is_rule:
        return None
    if not isfunction(getattr(type(spider), name, None)):
        return None
    method: Callable[..., Any] = getattr(spider, name)
    return method


def _one_line(error: Exception) -> str:
    text = str(error)[:_SHOWN]
    return "".join(character if character.isprintable() else "?" for character in text)
