"""Tell JSON from what only claims to be."""

from __future__ import annotations

import json
from typing import Any

_SHOWN = 60
"""Bytes of a reply that an error quotes."""
_LONGEST_ERROR = 200
"""Characters of the site's own error that are kept."""


class BadReplyError(ValueError):
    """Raised when a reply is not what it claims to be; asking again may help."""


class RefusedError(ValueError):
    """Raised when the site answers that the question is wrong; asking again never helps."""


def parse_json(body: bytes) -> Any:  # noqa: ANN401 -- JSON can be anything
    """Decode a reply of the site; its status says nothing, as errors and challenge pages are 200.

    Raises:
        RefusedError: the site's own `]{"actionerror": …}`.
        BadReplyError: HTML, a truncated reply, or anything else that is no JSON.

    """
    if body[:1] == b"]":
        raise RefusedError(_action_error(body))
    if body[:1] not in (b"[", b"{"):
        raise BadReplyError(f"not JSON: it begins with {body[:_SHOWN]!r}")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadReplyError(f"broken JSON of {len(body)} bytes: {error}") from None


def _action_error(body: bytes) -> str:
    try:
        error = json.loads(body[1:])["actionerror"]
    except (ValueError, RecursionError, KeyError, TypeError):
        error = None
    if not isinstance(error, str):
        return f"unknown error {body[:_SHOWN]!r}"
    # JSON may carry half a surrogate pair, which no log file can hold.
    return error[:_LONGEST_ERROR].encode("utf-8", "replace").decode()
