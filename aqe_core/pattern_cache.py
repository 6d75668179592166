"""Patterns that were read lately, for as long as nobody has committed anything."""

from __future__ import annotations

import threading
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, cast

from aqe_core.caching import CacheStats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqe_core.contracts.records import Pattern
    from aqe_core.contracts.storage import Storage

__all__ = ["PatternCache"]

_MAX_BYTES = 2**25
_ENTRY_BYTES = 1024  # of a pattern without its texts, roughly
_ROOM_SHARE = 16  # of the bytes, made free at once
_LATELY = 1024  # look-ups


class _Kept:
    """Patterns of one version of the truth, in the order in which they were read."""

    __slots__ = ("n_bytes", "patterns", "version")

    def __init__(self, version: int) -> None:
        self.version = version
        self.patterns: dict[int, Pattern] = {}
        self.n_bytes = 0


class PatternCache:
    """Patterns of a namespace by key, read from storage where they are not at hand.

    Reading one from storage, with its checksum, takes as long as scoring hundreds. Bounded to about 32 MiB: of those
    that the last 1,024 look-ups did not ask for, the ones read first make room. A look-up writes down what it asked
    for and nothing else; the lists of a least-recently-used order, of which each step is far from the last one in
    memory, took longer than all the rest of it. Safe for use from several threads.
    """

    def __init__(self, storage: Storage, namespace: str) -> None:
        self._storage = storage
        self._namespace = namespace
        self._kept = _Kept(-1)
        self._asked: deque[Sequence[int]] = deque(maxlen=_LATELY)
        self._lock = threading.Lock()
        self._n_asked = self._n_missing = self._n_stale = self._n_evicted = 0

    def __len__(self) -> int:
        """Return the number of patterns at hand."""
        return len(self._kept.patterns)

    @property
    def n_bytes(self) -> int:
        """Bytes held now, roughly."""
        return self._kept.n_bytes

    def get(self, keys: Sequence[int], version: int) -> list[Pattern]:
        """Return patterns by key, in that order, as they were at that version of the truth or later.

        Parameters
        ----------
        keys : sequence of int
            Not to be changed afterwards.
        version : int
            What `Storage.data_version` returned; what was read under another one is read again.

        Raises
        ------
        NotFoundError
            A key is unknown.
        """
        kept = self._kept
        if kept.version != version:
            self._n_stale += len(kept.patterns)
            kept = self._kept = _Kept(version)
        self._asked.append(keys)
        self._n_asked += len(keys)
        found = list(map(kept.patterns.get, keys))
        if all(found):  # a pattern is true
            return cast("list[Pattern]", found)
        known = dict(zip(keys, found, strict=True))
        missing = [key for key, pattern in known.items() if pattern is None]
        read = dict(zip(missing, self._storage.get_patterns(self._namespace, missing), strict=True))
        with self._lock:  # to those of the version that was asked for: a late thread must not bring back older ones
            new = read.keys() - kept.patterns.keys()
            self._n_missing += len(missing)
            kept.patterns.update(read)
            kept.n_bytes += sum(_size(read[key]) for key in new)
            if kept.n_bytes > _MAX_BYTES:
                self._make_room(kept)
        return [cast("Pattern", read.get(key) or known[key]) for key in keys]

    def _make_room(self, kept: _Kept) -> None:
        lately = set(chain.from_iterable(self._asked))
        order = sorted(kept.patterns, key=lately.__contains__)  # stable: those not asked for come first
        most = _MAX_BYTES - _MAX_BYTES // _ROOM_SHARE
        for key in order:
            if kept.n_bytes <= most:
                break
            kept.n_bytes -= _size(kept.patterns.pop(key))
            self._n_evicted += 1

    def stats(self) -> CacheStats:
        """Return how often a pattern was at hand, what became of those that were not, and what is held.

        Searches of several threads at the same moment may be counted as one. Stale are the patterns that were dropped
        because the truth had changed; one alone is never refused, and none expires.
        """
        return CacheStats(
            hits=self._n_asked - self._n_missing,
            misses=self._n_missing,
            stale=self._n_stale,
            expired=0,
            evicted=self._n_evicted,
            refused=0,
            entries=len(self),
            n_bytes=self.n_bytes,
            max_bytes=_MAX_BYTES,
        )


def _size(pattern: Pattern) -> int:
    return _ENTRY_BYTES + len(pattern.text) + len(pattern.docstring)
