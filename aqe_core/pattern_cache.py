"""Patterns that were read lately, for as long as nobody has committed anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from aqe_core.caching import LruCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqe_core.caching import CacheStats
    from aqe_core.contracts.records import Pattern
    from aqe_core.contracts.storage import Storage

__all__ = ["PatternCache"]

_MAX_BYTES = 2**25
_ENTRY_BYTES = 1024  # of a pattern without its texts, roughly


class PatternCache:
    """Patterns of a namespace by key, read from storage where they are not at hand.

    Reading one from storage, with its checksum, takes as long as scoring hundreds. Bounded to about 32 MiB, the least
    recently used make room. Safe for use from several threads.
    """

    def __init__(self, storage: Storage, namespace: str) -> None:
        self._storage = storage
        self._namespace = namespace
        self._kept: LruCache[int, Pattern] = LruCache(_MAX_BYTES)

    def get(self, keys: Sequence[int], version: int) -> list[Pattern]:
        """Return patterns by key, in that order, as they were at that version of the truth or later.

        Parameters
        ----------
        keys : sequence of int
        version : int
            What `Storage.data_version` returned; what was read under another one is read again.

        Raises
        ------
        NotFoundError
            A key is unknown.
        """
        kept = self._kept.get_many(keys, version=version)
        if all(kept):  # a pattern is true
            return cast("list[Pattern]", kept)
        found = dict(zip(keys, kept, strict=True))
        missing = [key for key, pattern in found.items() if pattern is None]
        for key, read in zip(missing, self._storage.get_patterns(self._namespace, missing), strict=True):
            size = _ENTRY_BYTES + len(read.text) + len(read.docstring)
            self._kept.put(key, read, n_bytes=size, version=version)
            found[key] = read
        return [pattern for key in keys if (pattern := found[key]) is not None]

    def stats(self) -> CacheStats:
        """Return how often a pattern was at hand, and what is held."""
        return self._kept.stats()
