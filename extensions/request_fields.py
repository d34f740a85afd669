"""Write a request as readable fields, and read it back."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from scrapy import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scrapy import Spider

LARGEST = 1024 * 1024
"""Bytes of all fields of a request together; what is larger is refused in both directions."""

_PASSING = frozenset({"queue_lease", "delay", "watcher", "download_latency", "depth"})
"""Meta that says something of this process or this attempt only, or has a field of its own."""


class EncodeError(ValueError):
    """Raised when a request holds what no other worker could read."""


class DecodeError(ValueError):
    """Raised when an entry of the queue is no request."""


def encode(request: Request, spider: Spider) -> dict[str, str]:
    """Write what is not default: url, method, callback, errback, headers, body, meta, cb_kwargs, …

    Raises:
        EncodeError: meta or cb_kwargs hold more than JSON can, a callback is no method of the
            spider, or it is too large.
    """
    meta = {name: value for name, value in request.meta.items() if name not in _PASSING}
    fields = {
        "url": request.url,
        "method": "" if request.method == "GET" else request.method,
        "callback": _method_name(request.callback, spider),
        "errback": _method_name(request.errback, spider),
        "headers": _json(request.headers.to_unicode_dict()) if request.headers else "",
        "body": b64encode(request.body).decode() if request.body else "",
        "cookies": _json(request.cookies) if request.cookies else "",
        "meta": _json(meta) if meta else "",
        "cb_kwargs": _json(request.cb_kwargs) if request.cb_kwargs else "",
        "priority": str(request.priority) if request.priority else "",
        "dont_filter": "1" if request.dont_filter else "",
        "flags": _json(request.flags) if request.flags else "",
        "encoding": "" if request.encoding == "utf-8" else request.encoding,
        "watcher": str(request.meta.get("watcher", "")),
    }
    size = sum(len(value) for value in fields.values())
    if size > LARGEST:
        raise EncodeError(f"{request.url[:200]} takes {size} bytes; {LARGEST} are allowed")
    return {name: value for name, value in fields.items() if value}


def decode(fields: Mapping[bytes, bytes], spider: Spider) -> Request:
    """Read what `encode` wrote.

    Raises:
        DecodeError: it did not; the message says what is wrong.
    """
    size = sum(len(value) for value in fields.values())
    if size > LARGEST:
        raise DecodeError(f"the entry has {size} bytes; {LARGEST} are allowed")
    try:
        text = {name.decode(): value.decode() for name, value in fields.items()}
        return _request(text, spider)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise DecodeError(f"no request: {error}") from None


def _request(text: dict[str, str], spider: Spider) -> Request:
    meta = _load(text, "meta", dict)
    if watcher := text.get("watcher"):
        meta["watcher"] = watcher
    return Request(
        text["url"],
        method=text.get("method", "GET"),
        callback=_method(text.get("callback"), spider),
        errback=_method(text.get("errback"), spider),
        headers=_load(text, "headers", dict),
        body=b64decode(text.get("body", ""), validate=True),
        cookies=_load(text, "cookies", (dict, list)),
        meta=meta,
        cb_kwargs=_load(text, "cb_kwargs", dict),
        priority=int(text.get("priority", 0)),
        dont_filter="dont_filter" in text,
        flags=_load(text, "flags", list),
        encoding=text.get("encoding", "utf-8"),
    )


def _json(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise EncodeError(f"{str(value)[:100]} is not JSON: {error}") from None
    return text


def _load(text: dict[str, str], name: str, kind: type | tuple[type, ...]) -> Any:  # noqa: ANN401
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
    if getattr(spider, name, None) != method:
        raise EncodeError(f"{method!r} is no method of the spider {spider.name}")
    return name


def _method(name: str | None, spider: Spider) -> Callable[..., Any] | None:
    if name is None:
        return None
    method = None if name.startswith("_") else getattr(spider, name, None)
    if not callable(method):
        raise DecodeError(f"the spider {spider.name} has no callback {name[:100]!r}")
    return method  # type: ignore[no-any-return]
