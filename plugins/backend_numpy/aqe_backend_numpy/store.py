"""The exact pattern store: one float32 matrix, scanned by BLAS."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_backend_numpy._keys import as_set, drop, find, is_ascending
from aqe_backend_numpy._rows import NO_ROWS, Rows, appended, compacted, empty, select, write
from aqe_backend_numpy._scan import nearest, row_offsets, score
from aqe_core import validate
from aqe_core.contracts.pattern_store import NO_KEY, Hits

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["NumpyPatternStore"]

_MAX_DIM = 65536
_DEAD_SHARE = 4  # when more than a quarter of the rows is dead, the rest is copied together
_GATHER_SHARE = 4  # up to a quarter of the rows are copied together for a filtered search


class NumpyPatternStore:
    """Exact nearest vectors by a scan in float32 and a refinement in float64. Fulfils `PatternStore`.

    Answers are exact: a score is computed in float64 from the query and the stored float32 row, and rounded to
    float32; rows come in descending order of it, equal scores in ascending order of key. One query alone and in a
    batch, and equal rows under different keys, get the same score, bit for bit. A score of ``dot`` or ``l2`` beyond
    the range of float32 is held at its largest finite value, so that -inf stands beside `NO_KEY` only.

    Parameters
    ----------
    dim : int
        Number of dimensions, 1 .. 65536.
    metric : str
        ``cosine``, ``dot`` or ``l2``. For ``cosine`` rows are brought to unit length and rounded to float32 when they
        are added (rows that have unit length keep their bits); the score divides by the length of the rounded row, and
        lies in -1 .. 1.

    Notes
    -----
    Thread-safe: a search works on an immutable snapshot, so that it never waits and never sees half an ``add``; writers
    take turns.

    A search costs O(n dim) for each query, plus O(c dim) for the few candidates; many exact ties at the k-th place
    are all refined. Memory is 4 dim + 8 bytes per row (4 more for ``dot`` and ``l2``) and a reserve of at most half of
    that (at least 1 MiB). Growth adds a block and moves no vector. A removed or replaced row takes its space until a
    quarter of the rows is dead; then the living ones are copied together, in order of key, and the rest is freed.

    Examples
    --------
    >>> store = NumpyPatternStore(dim=2)
    >>> store.add([7, 8], [[1.0, 0.0], [3.0, 4.0]])
    >>> store.search([1.0, 0.0], k=1)
    Hits(keys=array([7], dtype=uint64), scores=array([1.], dtype=float32))
    """

    def __init__(self, *, dim: int, metric: str = "cosine") -> None:
        self._dim = validate.as_dim(dim, _MAX_DIM)
        self._metric = validate.as_metric(metric)
        self._lock = threading.Lock()
        self._arrays, self._rows = empty(self._dim, self._metric)

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return self._dim

    @property
    def metric(self) -> str:
        """``cosine``, ``dot`` or ``l2``."""
        return self._metric

    def __len__(self) -> int:
        rows = self._rows
        return rows.keys.size - rows.dead.size

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dim={self._dim}, metric={self._metric!r})"

    def keys(self) -> NDArray[np.uint64]:
        """Return the stored keys in ascending order, as a copy, shape (n,). O(n log n)."""
        rows = self._rows
        return np.sort(drop(rows.keys, rows.dead))

    def add(self, keys: ArrayLike, vectors: ArrayLike) -> None:
        """Store vectors under keys; a key that is there already gets the new vector.

        O(n dim) for n new rows, amortized; keys that ascend from the largest stored one are the fastest.

        Parameters
        ----------
        keys : array of uint64, shape (n,)
            0 .. 2**64 - 2. Of equal keys the last row counts.
        vectors : array of float32, shape (n, dim)
            Finite; for ``cosine`` no row all zeros.

        Raises
        ------
        KeyRangeError, DimensionError, NonFiniteError, InputError
            Bad input; nothing was stored.
        """
        wanted = validate.as_keys(keys)
        matrix = validate.as_vectors(vectors, wanted.size, self._dim, self._metric, check=False)
        if not is_ascending(wanted):
            last = _last_of_each(wanted)
            if last.size < wanted.size:
                validate.refuse_bad_rows(matrix, self._metric, "vectors")
                wanted, matrix = wanted[last], matrix[last]
        if wanted.size:
            with self._lock:
                self._append(wanted, matrix)

    def remove(self, keys: ArrayLike) -> int:
        """Remove keys; unknown ones are passed over. Return how many were there. O(r log n), amortized O(r dim).

        Parameters
        ----------
        keys : array of uint64, shape (r,)

        Raises
        ------
        KeyRangeError, DimensionError
            Bad keys; nothing was removed.
        """
        wanted = as_set(validate.as_keys(keys))
        with self._lock:
            rows = self._rows
            found = find(rows.lookup, rows.keys, rows.dead, wanted)
            found = found[found >= 0]
            if found.size:
                dead = np.sort(np.concatenate((rows.dead, found)))
                if dead.size * _DEAD_SHARE > rows.keys.size:
                    self._arrays, self._rows = compacted(rows, dead)
                else:
                    self._rows = rows._replace(dead=dead)
        return found.size

    def search(self, queries: ArrayLike, k: int = 10, *, among: ArrayLike | None = None) -> Hits:
        """Find the ``k`` nearest rows of each query, exactly.

        Parameters
        ----------
        queries : array of float32, shape (dim,) or (m, dim)
            Finite; for ``cosine`` not all zeros. ``m`` may be 0.
        k : int
            At least 1; where there are fewer rows the rest is `NO_KEY` and ``-inf``.
        among : array of uint64, shape (a,), optional
            Only these keys may be returned; unknown ones are passed over.

        Returns
        -------
        Hits
            Arrays of shape (k,) for one query of shape (dim,), else (m, k).

        Raises
        ------
        DimensionError, NonFiniteError, InputError
            Bad input.
        """
        matrix, single = validate.as_queries(queries, self._dim, self._metric)
        k = validate.as_k(k)
        rows = self._rows
        if among is not None:
            rows = _filtered(rows, validate.as_keys(among))
        m = len(matrix)
        count = min(k, rows.keys.size - rows.dead.size)
        if m and count:
            found, scores = nearest(rows, matrix, count, self._metric)
        else:
            found, scores = np.empty((m, 0), np.uint64), np.empty((m, 0), np.float32)
        if found.shape[1] < k:
            found = _padded(found, k, NO_KEY)
            scores = _padded(scores, k, -np.inf)
        return Hits(found[0], scores[0]) if single else Hits(found, scores)

    def scores(self, query: ArrayLike, keys: NDArray[np.uint64]) -> NDArray[np.float32] | None:
        """Return the scores of stored keys for one query, in their order, as `search` does; None if one is not there.

        Raises
        ------
        DimensionError, NonFiniteError, InputError
            A bad query.
        """
        matrix, _ = validate.as_queries(query, self._dim, self._metric)
        rows = self._rows
        found = find(rows.lookup, rows.keys, rows.dead, keys)
        if found.min(initial=0) < 0:
            return None
        return score(rows, found, matrix, self._metric)

    def _append(self, keys: NDArray[np.uint64], vectors: NDArray[np.float32]) -> None:
        """Publish a snapshot with the new rows; keys are distinct. On bad rows raise, with nothing published."""
        arrays, rows = self._arrays, self._rows
        dead = rows.dead
        if not _follows(rows, keys):
            replaced = find(rows.lookup, rows.keys, rows.dead, keys)
            dead = np.sort(np.concatenate((dead, replaced[replaced >= 0])))
        if dead.size * _DEAD_SHARE > rows.keys.size + keys.size:
            arrays, rows = compacted(rows, dead)
            dead = NO_ROWS
        arrays, squares = write(arrays, rows.keys.size, vectors, self._metric)
        if not np.isfinite(squares).all() or (self._metric == "cosine" and not squares.all()):
            validate.refuse_bad_rows(vectors, self._metric, "vectors")
        offsets = row_offsets(self._metric, self._dim, squares)
        self._arrays, self._rows = appended(arrays, rows, dead, keys, offsets)


def _follows(rows: Rows, keys: NDArray[np.uint64]) -> bool:
    """Return whether new keys, ascending, start above all stored ones, as far as that is known at once."""
    if not rows.keys.size:
        return True
    ascending = rows.lookup.rows is None and rows.lookup.covered == rows.keys.size
    return ascending and bool(keys.min() > rows.keys[-1])


def _last_of_each(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the places of the last occurrence of each key, ascending."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    return np.sort(order[np.append(ordered[1:] != ordered[:-1], True)])


def _filtered(rows: Rows, keys: NDArray[np.uint64]) -> Rows:
    """Return the rows with these keys: copied together if few, else with the others marked dead."""
    found = find(rows.lookup, rows.keys, rows.dead, as_set(keys))
    found = found[found >= 0]
    if found.size * _GATHER_SHARE > rows.keys.size:
        others = np.ones(rows.keys.size, np.bool_)
        others[found] = False
        return rows._replace(dead=np.flatnonzero(others))
    return select(rows, found)


def _padded(array: NDArray[Any], k: int, value: float) -> NDArray[Any]:
    out = np.full((len(array), k), value, array.dtype)
    out[:, : array.shape[1]] = array
    return out
