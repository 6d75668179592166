"""Patterns that were read lately, for as long as nobody has committed anything."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqe_core.contracts.records import Pattern
    from aqe_core.contracts.storage import Storage

__all__ = ["PatternCache"]

_MAX_BYTES = 2**25
_ENTRY_BYTES = 1024  # of a pattern without its texts, roughly


class PatternCache:
    """Patterns of a namespace by key, read from storage where they are not at hand.

    Reading one from storage, with its checksum, takes as long as scoring hundreds. Bounded to about 32 MiB, those that
    were read first make room. Safe for use from several threads.

    Notes
    -----
    No `aqe_core.caching.LruCache`: a search finds patterns all over memory and waits for each line of it, and to keep
    of each when it was last used, and under which version it was put, doubles the lines.
    """

    def __init__(self, storage: Storage, namespace: str) -> None:
        self._storage = storage
        self._namespace = namespace
        self._lock = threading.Lock()  # for what is changed; nobody waits to look something up
        self._n_bytes = 0
        # A version, and the patterns read under it. Those of another one are put elsewhere, not in their place.
        self._kept: tuple[int | None, dict[int, Pattern]] = (None, {})

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
        known, kept = self._kept
        if known != version:
            kept = self._begin(version)
        found = [*map(kept.get, keys)]
        if all(found):  # a pattern is true
            return cast("list[Pattern]", found)
        read = dict(zip(keys, found, strict=True))
        missing = [key for key, pattern in read.items() if pattern is None]
        new = dict(zip(missing, self._storage.get_patterns(self._namespace, missing), strict=True))
        self._keep(kept, new)
        return [read[key] or new[key] for key in keys]

    def _begin(self, version: int) -> dict[int, Pattern]:
        with self._lock:
            if self._kept[0] != version:
                self._kept = version, {}
                self._n_bytes = 0
            return self._kept[1]

    def _keep(self, kept: dict[int, Pattern], new: dict[int, Pattern]) -> None:
        with self._lock:
            if kept is not self._kept[1]:
                return  # of another version by now
            for key, pattern in new.items():
                if key not in kept:  # another thread may have read it
                    kept[key] = pattern
                    self._n_bytes += _size(pattern)
            while self._n_bytes > _MAX_BYTES:
                self._n_bytes -= _size(kept.pop(next(iter(kept))))


def _size(pattern: Pattern) -> int:
    return _ENTRY_BYTES + len(pattern.text) + len(pattern.docstring)
