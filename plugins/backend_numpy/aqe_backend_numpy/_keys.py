"""Keys to rows: a sorted index that grows by a short unsorted tail."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KeyIndex", "as_set", "drop", "extend", "find", "is_ascending", "is_member"]

_MAX_TAIL = 1024


class KeyIndex(NamedTuple):
    """Index of the rows ``0 .. covered - 1``; later rows are looked through one by one. Immutable.

    Attributes
    ----------
    keys : ndarray of uint64, shape (i,)
        Ascending. Rows that were dead when the index was built are left out.
    rows : ndarray of int64, shape (i,), or None
        Row of each key; None when it is 0, 1, 2 ...
    covered : int
    """

    keys: NDArray[np.uint64]
    rows: NDArray[np.int64] | None
    covered: int


def is_ascending(keys: NDArray[np.uint64]) -> bool:
    """Return whether each key is larger than the one before."""
    return bool((keys[1:] > keys[:-1]).all())


def as_set(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the distinct keys in ascending order: the array itself if they are. Else O(n log n)."""
    return keys if is_ascending(keys) else np.unique(keys)


def is_member(rows: NDArray[np.int64], of: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows are in the ascending array ``of``. O(len(rows) log len(of))."""
    if not of.size:
        return np.zeros(rows.shape, np.bool_)
    member: NDArray[np.bool_] = of[np.minimum(of.searchsorted(rows), of.size - 1)] == rows
    return member


def drop(array: NDArray[np.uint64], dead: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the array without its dead rows (the array itself if there are none)."""
    return np.delete(array, dead) if dead.size else array


def extend(index: KeyIndex, keys: NDArray[np.uint64], dead: NDArray[np.int64]) -> KeyIndex:
    """Return an index that leaves at most a short tail of ``keys`` uncovered.

    O(new) for keys that ascend from the last one, O(1) while the tail is short, else O(n log n).
    """
    n, covered = keys.size, index.covered
    if index.rows is None and is_ascending(keys[max(covered - 1, 0) :]):
        return KeyIndex(keys, None, n)
    if n - covered <= _MAX_TAIL:
        return index
    rows = np.delete(np.arange(n), dead)
    rows = rows[np.argsort(keys[rows])]
    return KeyIndex(keys[rows], rows, n)


def find(
    index: KeyIndex, keys: NDArray[np.uint64], dead: NDArray[np.int64], wanted: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Return the living row of each wanted key, -1 where there is none. O(w log n)."""
    if index.rows is None and index.covered == keys.size and not dead.size and keys.size:  # nearly always
        place = np.minimum(index.keys.searchsorted(wanted), keys.size - 1)
        if (index.keys.take(place) == wanted).all():
            return place
    found = np.full(wanted.shape, -1, np.int64)
    _look_up(found, wanted, index.keys, index.rows)
    found[is_member(found, dead)] = -1
    if index.covered < keys.size:
        tail = np.arange(index.covered, keys.size)
        tail = tail[~is_member(tail, dead)]
        tail = tail[np.argsort(keys[tail])]
        _look_up(found, wanted, keys[tail], tail)
    return found


def _look_up(
    found: NDArray[np.int64],
    wanted: NDArray[np.uint64],
    ascending: NDArray[np.uint64],
    rows: NDArray[np.int64] | None,
) -> None:
    if not ascending.size:
        return
    place = np.minimum(ascending.searchsorted(wanted), ascending.size - 1)
    hit = ascending[place] == wanted
    found[hit] = place[hit] if rows is None else rows[place[hit]]
