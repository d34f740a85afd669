"""Refuse data of a later version than this worker's, before anything is changed."""

from __future__ import annotations


class NewerVersionError(Exception):
    """Raised when data are of a later version than this worker's."""

    def __init__(self, what: str, version: int, known: int) -> None:
        super().__init__(
            f"{what} is of version {version}, and this worker knows up to {known}: upgrade it"
        )
