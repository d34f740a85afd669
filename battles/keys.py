"""Every name the index uses in Redis.

Each property or method names one key or family of keys; its docstring gives the type and content.
"""

from __future__ import annotations

from dataclasses import dataclass

_ROW_BUCKETS = 8192
"""At a million battles 122 rows a bucket: small enough for Redis's compact hashes (512)."""
_PLAYER_BUCKETS = 4096


@dataclass(frozen=True, slots=True)
class IndexKeys:
    """The keys of one index."""

    namespace: str

    @property
    def count(self) -> str:
        """String: the number of battles in the index."""
        return f"{self.namespace}:index:count"

    @property
    def segments(self) -> str:
        """Hash: segment name → its number in `segment_names`."""
        return f"{self.namespace}:index:segments"

    @property
    def segment_names(self) -> str:
        """List of segment names; rows hold a position in it instead of the name."""
        return f"{self.namespace}:index:segment_names"

    @property
    def months(self) -> str:
        """Set of `FORMATID:YYYYMM` for which there is a `month` key."""
        return f"{self.namespace}:index:months"

    def rows(self, fingerprint: bytes) -> str:
        """Hash: fingerprint of a battle's id (8 bytes) → its row, see `battles.index.Row`."""
        return f"{self.namespace}:index:rows:{int.from_bytes(fingerprint[:2]) % _ROW_BUCKETS}"

    def month(self, formatid: str, month: str) -> str:
        """String: 14 bytes a battle: fingerprint (8), time (4), rating (2), in order of arrival."""
        return f"{self.namespace}:index:month:{formatid}:{month}"

    def players(self, fingerprint: bytes) -> str:
        """String: 12 bytes a battle: the player's fingerprint (4), the battle's (8)."""
        return f"{self.namespace}:index:players:{int.from_bytes(fingerprint[:2]) % _PLAYER_BUCKETS}"

    @property
    def everything(self) -> str:
        """Pattern that every key of the index matches."""
        return f"{self.namespace}:index:*"
