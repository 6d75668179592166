"""One way to cache: least recently used first out, within a budget of bytes, and never an answer of another version."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from aqe_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

__all__ = ["CacheStats", "LruCache"]

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")


@attrs.frozen
class CacheStats:
    """What became of a cache since it was made.

    Attributes
    ----------
    hits, misses : int
        Look-ups that found something, and that did not. The next two are among the misses.
    stale : int
        Look-ups that found an entry of another version, which is gone now.
    expired : int
        Look-ups that found an entry older than ``ttl_s``, which is gone now.
    evicted : int
        Entries that had to make room.
    refused : int
        Entries that are larger than the whole budget, and were not kept.
    entries, n_bytes, max_bytes : int
        Held now, and at most.
    """

    hits: int
    misses: int
    stale: int
    expired: int
    evicted: int
    refused: int
    entries: int
    n_bytes: int
    max_bytes: int


@attrs.define
class _Entry(Generic[V]):
    value: V
    n_bytes: int
    version: Hashable
    put_s: float


class LruCache(Generic[K, V]):
    """Values under keys, for as long as there is room, time, and nothing was written.

    A value is put under the version of the truth that it was computed from (`aqe_core.contracts.Storage.data_version`,
    say) and found under that version only: after a write there is no stale answer, whoever wrote. Ask for the version
    *before* computing; a write in between then makes the value one of the past, not a wrong one of the present.

    Parameters
    ----------
    max_bytes : int
        Of all values, by their stated sizes. 0 keeps nothing.
    ttl_s : float, optional
        An entry older than that is not found. By default age does not matter.
    clock : callable, optional
        Seconds, never going back.

    Notes
    -----
    Thread-safe. A look-up and a put are O(1), a put more for what it evicts. An entry that is stale or expired takes
    its room until it is looked up or evicted.

    Examples
    --------
    >>> from aqe_core.caching import LruCache
    >>> cache = LruCache(max_bytes=100)
    >>> cache.put("a", [1, 2], n_bytes=60, version=1)
    >>> cache.get("a", version=1), cache.get("a", version=2), cache.get("a", version=1)
    ([1, 2], None, None)
    >>> stats = cache.stats()
    >>> stats.hits, stats.misses, stats.stale
    (1, 2, 1)
    """

    def __init__(
        self, max_bytes: int, *, ttl_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if max_bytes < 0 or (ttl_s is not None and not ttl_s > 0):
            raise InputError(
                f"max_bytes is {max_bytes} and ttl_s {ttl_s}, but neither may be negative, nor ttl_s 0.",
                fix="keep nothing with max_bytes=0, and everything with ttl_s=None.",
            )
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._n_bytes = 0
        self._hits = self._misses = self._stale = self._expired = self._evicted = self._refused = 0

    def __len__(self) -> int:
        """Return the number of entries, those included that would not be found any more."""
        return len(self._entries)

    @property
    def n_bytes(self) -> int:
        """Bytes held now."""
        return self._n_bytes

    def get(self, key: K, *, version: Hashable = 0) -> V | None:
        """Return the value of a key under a version; None if there is none."""
        return self.get_many((key,), version=version)[0]

    def get_many(self, keys: Iterable[K], *, version: Hashable = 0) -> list[V | None]:
        """Return what `get` returns for each key, looked up together."""
        found: list[V | None] = []
        with self._lock:
            entries, ageless = self._entries, self._ttl_s is None
            for key in keys:
                entry = entries.get(key)
                if ageless and entry is not None and entry.version == version:  # nearly always; a call takes longer
                    self._hits += 1
                    entries.move_to_end(key)
                    found.append(entry.value)
                else:
                    found.append(self._found(key, version))
        return found

    def _found(self, key: K, version: Hashable) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            self._misses += 1
            return None
        if entry.version != version:
            self._stale += 1
        elif self._ttl_s is not None and self._clock() - entry.put_s > self._ttl_s:
            self._expired += 1
        else:
            self._hits += 1
            self._entries.move_to_end(key)
            return entry.value
        self._misses += 1
        self._drop(key)
        return None

    def put(self, key: K, value: V, *, n_bytes: int, version: Hashable = 0) -> None:
        """Keep a value in place of the one that the key had; the least recently used make room for it.

        Parameters
        ----------
        key : hashable
        value : object
            Shared with whoever gets it: not to be changed.
        n_bytes : int
            Its size, as far as the budget is concerned.
        version : hashable
            Of what it was computed from.
        """
        with self._lock:
            if key in self._entries:
                self._drop(key)
            if n_bytes > self._max_bytes:
                self._refused += 1
                return
            while self._n_bytes + n_bytes > self._max_bytes:
                self._drop(next(iter(self._entries)))
                self._evicted += 1
            self._entries[key] = _Entry(value, n_bytes, version, self._clock())
            self._n_bytes += n_bytes

    def items(self) -> list[tuple[K, V]]:
        """Return all entries, the least recently used first, as a copy; none of them counts as looked up."""
        with self._lock:
            return [(key, entry.value) for key, entry in self._entries.items()]

    def clear(self) -> None:
        """Forget all entries; the counts go on."""
        with self._lock:
            self._entries.clear()
            self._n_bytes = 0

    def stats(self) -> CacheStats:
        """Return the counts, of one moment."""
        with self._lock:
            return CacheStats(
                hits=self._hits,
                misses=self._misses,
                stale=self._stale,
                expired=self._expired,
                evicted=self._evicted,
                refused=self._refused,
                entries=len(self._entries),
                n_bytes=self._n_bytes,
                max_bytes=self._max_bytes,
            )

    def _drop(self, key: K) -> None:
        self._n_bytes -= self._entries.pop(key).n_bytes
