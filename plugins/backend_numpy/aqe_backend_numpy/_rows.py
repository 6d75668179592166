"""Where rows live: blocks of vectors that are appended to and never moved, published as immutable snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from aqe_backend_numpy._keys import KeyIndex, extend

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NO_ROWS", "Arrays", "Rows", "appended", "compacted", "empty", "select", "take", "write"]

_T = TypeVar("_T", np.uint64, np.float32)

NO_ROWS = np.empty(0, np.int64)

_MIN_BLOCK = 2**18  # float32 values of the smallest block (1 MiB, untouched until it is used)
_WRITE_CHUNK = 2**18  # float32 values written and normalized while they are in the cache (1 MiB)
_SMALL, _LARGE = 1e-20, 1e30  # squared norms that float32 sums well
_UNIT_SLACK = 2.0**-20  # a squared norm this near to 1 is 1 within the rounding of float32


class Arrays(NamedTuple):
    """Whole arrays, of which a snapshot shows the part in use. What lies beyond that part belongs to the writer."""

    blocks: tuple[NDArray[np.float32], ...]
    keys: NDArray[np.uint64]
    offsets: NDArray[np.float32] | None


class Rows(NamedTuple):
    """All that a search reads. Never changed once published: a search reads it once, a writer makes a new one.

    Attributes
    ----------
    blocks : tuple of ndarray of float32, shape (any, dim)
        At least one; together the n rows, in order. Of unit length for ``cosine``.
    keys : ndarray of uint64, shape (n,)
    offsets : ndarray of float32, shape (n,), or None
        What the scan subtracts (`aqe_backend_numpy._scan.row_offsets`); None for ``cosine``.
    dead : ndarray of int64, shape (d,)
        Rows that do not count any more, ascending.
    lookup : KeyIndex
    """

    blocks: tuple[NDArray[np.float32], ...]
    keys: NDArray[np.uint64]
    offsets: NDArray[np.float32] | None
    dead: NDArray[np.int64]
    lookup: KeyIndex


def empty(dim: int, metric: str) -> tuple[Arrays, Rows]:
    """Return arrays of no rows."""
    block, keys = np.empty((0, dim), np.float32), np.empty(0, np.uint64)
    offsets = None if metric == "cosine" else np.empty(0, np.float32)
    return Arrays((block,), keys, offsets), Rows((block,), keys, offsets, NO_ROWS, KeyIndex(keys, None, 0))


def take(blocks: tuple[NDArray[np.float32], ...], where: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return a copy of the rows at ``where``, shape (len(where), dim)."""
    if len(blocks) == 1:
        return blocks[0].take(where, axis=0)
    out = np.empty((where.size, blocks[0].shape[1]), np.float32)
    start = 0
    for block in blocks:
        stop = start + len(block)
        here = ((where >= start) & (where < stop)).nonzero()[0]
        out[here] = block.take(where[here] - start, axis=0)
        start = stop
    return out


def select(rows: Rows, where: NDArray[np.int64]) -> Rows:
    """Return a copy of the rows at ``where``, which are in ascending order of key."""
    keys = rows.keys[where]
    offsets = None if rows.offsets is None else rows.offsets[where]
    return Rows((take(rows.blocks, where),), keys, offsets, NO_ROWS, KeyIndex(keys, None, keys.size))


def compacted(rows: Rows, dead: NDArray[np.int64]) -> tuple[Arrays, Rows]:
    """Return a copy of the rows without the dead ones, in order of key, in one block without reserve."""
    living = np.delete(np.arange(rows.keys.size), dead)
    kept = select(rows, living[np.argsort(rows.keys[living])])
    return Arrays(kept.blocks, kept.keys, kept.offsets), kept


def appended(
    arrays: Arrays,
    rows: Rows,
    dead: NDArray[np.int64],
    keys: NDArray[np.uint64],
    offsets: NDArray[np.float32] | None,
) -> tuple[Arrays, Rows]:
    """Return the rows with those that `write` put behind them, and with ``dead`` ones."""
    n, total = rows.keys.size, rows.keys.size + keys.size
    all_keys = _grown(arrays.keys, n, total)
    all_keys[n:total] = keys
    all_offsets = None
    if arrays.offsets is not None and offsets is not None:
        all_offsets = _grown(arrays.offsets, n, total)
        all_offsets[n:total] = offsets
    parts, start = [], 0
    for block in arrays.blocks:
        parts.append(block[: total - start])
        start += len(block)
    shown = Rows(
        tuple(parts),
        all_keys[:total],
        None if all_offsets is None else all_offsets[:total],
        dead,
        extend(rows.lookup, all_keys[:total], dead),
    )
    return arrays._replace(keys=all_keys, offsets=all_offsets), shown


def _grown(array: NDArray[_T], n: int, total: int) -> NDArray[_T]:
    """Return the array itself if it has room for ``total`` items, else a larger one with the first ``n`` copied."""
    if total <= array.size:
        return array
    larger = np.empty(max(total, n + n // 2), array.dtype)
    larger[:n] = array[:n]
    return larger


def write(arrays: Arrays, n: int, vectors: NDArray[np.float32], metric: str) -> tuple[Arrays, NDArray[np.float64]]:
    """Write vectors behind the first ``n`` rows, into a new block where there is no room.

    Returns the arrays and the squared norms that the vectors came with: not finite where a row is not, 0 where it is
    all zeros.
    """
    total, dim = n + len(vectors), vectors.shape[1]
    room = sum(map(len, arrays.blocks))
    if total > room:
        block = np.empty((max(total - room, n // 2, _MIN_BLOCK // dim), dim), np.float32)
        arrays = arrays._replace(blocks=(*(old for old in arrays.blocks if len(old)), block))
    squares = np.empty(len(vectors), np.float64)
    start = 0
    for block in arrays.blocks:
        first, last = max(n, start), min(total, start + len(block))
        if first < last:
            part = slice(first - n, last - n)
            squares[part] = _write_block(block[first - start : last - start], vectors[part], metric)
        start += len(block)
    return arrays, squares


def _write_block(out: NDArray[np.float32], vectors: NDArray[np.float32], metric: str) -> NDArray[np.float64]:
    """Write vectors as they are stored; return the squared norms they came with."""
    squares = np.empty(len(vectors), np.float64)
    chunk = max(1, _WRITE_CHUNK // vectors.shape[1])
    with np.errstate(all="ignore"):  # bad rows are the caller's to refuse
        for start in range(0, len(vectors), chunk):
            part = slice(start, start + chunk)
            rows = out[part]
            rows[...] = vectors[part]
            squares[part] = _squares(rows)
            if metric == "cosine":
                _normalize(rows, squares[part])
    return squares


def _squares(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return squared norms, summed in float32 where it neither overflows nor loses digits, else in float64.

    In float64 no finite float32 row overflows or vanishes.
    """
    squares: NDArray[np.float64] = np.matmul(rows[:, None, :], rows[:, :, None])[:, 0, 0].astype(np.float64)
    odd = ~((squares > _SMALL) & (squares < _LARGE))
    if odd.any():
        exact = rows[odd].astype(np.float64)
        squares[odd] = np.einsum("ij,ij->i", exact, exact)
    return squares


def _normalize(rows: NDArray[np.float32], squares: NDArray[np.float64]) -> None:
    """Bring rows to unit length in place; rows that have it already keep their bits."""
    factors = 1.0 / np.sqrt(squares)
    factors[np.abs(squares - 1.0) <= _UNIT_SLACK] = 1.0
    changed = factors != 1.0
    if not changed.any():
        return
    odd = ~((squares > _SMALL) & (squares < _LARGE))
    if odd.any():
        rows[odd] = rows[odd].astype(np.float64) * factors[odd, None]
        factors[odd] = 1.0
    rows *= factors.astype(np.float32)[:, None]
