"""Every name the index uses in Redis.

Each property or method names one key or family of keys; its docstring gives the type and content.
"""

from __future__ import annotations

from dataclasses import dataclass

from extensions.keys import tagged

_ROW_BUCKETS = 8192
"""At a million battles 122 rows a bucket: small enough for Redis's compact hashes (512)."""
_PLAYER_BUCKETS = 4096


@dataclass(frozen=True, slots=True)
class IndexKeys:
    """The keys of one index."""

    namespace: str
    part: str = "index"
    """What stands between the namespace and the noun."""
    is_tagged: bool = True
    """Whether the names tell a cluster to keep them together; before version 2 they did not."""

    @property
    def _prefix(self) -> str:
        return tagged(self.namespace) if self.is_tagged else self.namespace

    @property
    def beside(self) -> IndexKeys:
        """The keys of the index that is built to take this one's place: `…:reindex:…`."""
        return IndexKeys(self.namespace, "reindex")

    @property
    def count(self) -> str:
        """String: the number of battles in the index."""
        return f"{self._prefix}:{self.part}:count"

    @property
    def segments(self) -> str:
        """Hash: segment name → its number in `segment_names`."""
        return f"{self._prefix}:{self.part}:segments"

    @property
    def segment_names(self) -> str:
        """List of segment names; rows hold a position in it instead of the name."""
        return f"{self._prefix}:{self.part}:segment_names"

    @property
    def months(self) -> str:
        """Set of `FORMATID:YYYYMM` for which there is a `month` key."""
        return f"{self._prefix}:{self.part}:months"

    @property
    def version(self) -> str:
        """String: the version of the index's keys; where there is none, it is 1."""
        return f"{self._prefix}:version"

    @property
    def withdrawn(self) -> str:
        """Hash: fingerprint of a battle's id → when it was withdrawn (4 bytes, big-endian)."""
        return f"{self._prefix}:withdrawn"

    @property
    def gaps(self) -> str:
        """Hash: JSON `[format or null, user or null, second]` of a gap → when it was noticed.

        In that second the site has, or may have, battles that its search does not show: of a
        format (null: of those that the crawl saw nowhere) and of a user (null: of any).
        """
        return f"{self._prefix}:gaps"

    @property
    def recovering(self) -> str:
        """Lock: held by the worker that makes the index whole."""
        return f"{self._prefix}:{self.part}:recovering"

    @property
    def taking_over(self) -> str:
        """Lock: held by the worker that takes over what an earlier version left."""
        return f"{self._prefix}:{self.part}:taking_over"

    @property
    def additions(self) -> str:
        """List, there only while an index is built beside this one: who builds it, then additions.

        It ends by itself when its builder is silent for ten minutes.
        """
        return f"{self._prefix}:{self.part}:additions"

    def rows(self, fingerprint: bytes) -> str:
        """Name a hash: fingerprint of a battle's id (8 bytes) → its row, see `index_add.lua`."""
        return self._rows(int.from_bytes(fingerprint[:2]) % _ROW_BUCKETS)

    def month(self, formatid: str, month: str) -> str:
        """Name a string: 14 bytes a battle: fingerprint (8), time (4), rating (2)."""
        return f"{self._prefix}:{self.part}:month:{formatid}:{month}"

    def players(self, fingerprint: bytes) -> str:
        """Name a string: 12 bytes a battle: the player's fingerprint (4), the battle's (8)."""
        return self._players(int.from_bytes(fingerprint[:2]) % _PLAYER_BUCKETS)

    @property
    def all_rows(self) -> list[str]:
        """Every hash of rows."""
        return [self._rows(bucket) for bucket in range(_ROW_BUCKETS)]

    @property
    def fixed(self) -> list[str]:
        """Every key there can be, but for those of the months."""
        return [
            self.count,
            self.segments,
            self.segment_names,
            self.months,
            self.additions,
            *self.all_rows,
            *map(self._players, range(_PLAYER_BUCKETS)),
        ]

    def _rows(self, bucket: int) -> str:
        return f"{self._prefix}:{self.part}:rows:{bucket}"

    def _players(self, bucket: int) -> str:
        return f"{self._prefix}:{self.part}:players:{bucket}"
