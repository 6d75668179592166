"""Exact nearest rows: a float32 scan by BLAS, an error bound, a float64 refinement of what the bound leaves.

The scan computes ``s`` with ``|s - e| <= a + b`` for the exact value ``e``, where ``a`` depends on the query and ``b``
on the row: a dot product of ``dim`` terms, in whatever order BLAS sums them, is off by at most
``gamma * |q| |v|`` with ``gamma = dim u / (1 - dim u)``, ``u = 2**-24`` (Higham 2002, section 3.1). If ``low = s - b``
and ``t`` is the k-th largest ``low``, then every row among the best k has ``low + 2 b >= t - 2 a``. Instead of the k-th
largest ``low``, a smaller and cheaper bound serves: the k-th largest of the maxima of disjoint groups of rows.

The rows that are left get their score from a float64 sum over the stored float32 row, always in the same order, so
the score of a row depends on nothing but the query and that row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aqe_backend_numpy._rows import take

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from aqe_backend_numpy._rows import Rows

__all__ = ["nearest", "row_offsets", "score"]

_LARGEST = float(np.finfo(np.float32).max)  # scores beyond it are held there
_SAFE = 1e38  # scan values and their partial sums below this cannot overflow float32
_UNIT = 2.0**-24  # unit roundoff of float32
_SPARE = 16  # further roundings, counted as terms of the sum: norms, offsets, thresholds, the final float32
_QUERY_BLOCK = 256  # below it BLAS spends its time on copying the rows
_FEW_QUERIES = 4  # below it one scan for each is faster than a matrix product
_TILE = 2**23  # scores held at once (32 MiB)
_GROUP = 32  # rows per group, at most
_REFINE_CHUNK = 2**18  # float64 values held at once (2 MiB)
_MAX_PAIRS = 2**21  # candidates held at once for more than one query


def _gamma(dim: int) -> float:
    terms = (dim + _SPARE) * _UNIT
    return terms / (1.0 - terms)


def row_offsets(metric: str, dim: int, squares: NDArray[np.float64]) -> NDArray[np.float32] | None:
    """Return what is subtracted from each row's dot product to get ``low``.

    For ``dot`` (scanned with the unit query) that is ``b = 2 gamma |v|``; for ``l2`` (scanned as
    ``q.v - |v|**2 / 2``, which orders like the distance) it is ``|v|**2 / 2 + b`` with ``b = 2 gamma |v|**2``. One
    gamma is for the scan, one for the norm, which may have been summed in float32 too.
    """
    if metric == "cosine":
        return None
    gamma = _gamma(dim)
    with np.errstate(over="ignore"):  # then the scan is not used, see _scannable
        if metric == "dot":
            return (2.0 * gamma * np.sqrt(squares)).astype(np.float32)
        return ((0.5 + 2.0 * gamma) * squares).astype(np.float32)


def _slack_per_offset(metric: str, dim: int) -> np.float32:
    """Return 2 b / offset, rounded up."""
    gamma = _gamma(dim)
    ratio = 2.0 if metric == "dot" else 4.0 * gamma / (0.5 + 2.0 * gamma)
    return np.float32(ratio * (1.0 + 2.0**-20))


def nearest(
    rows: Rows, queries: NDArray[np.float32], k: int, metric: str
) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Return keys and scores of the best ``k`` living rows of each query, by descending score, then ascending key.

    Parameters
    ----------
    rows : Rows
    queries : ndarray of float32, shape (m, dim)
        Validated; ``m`` at least 1.
    k : int
        At least 1 and at most the number of living rows.
    metric : str

    Returns
    -------
    keys : ndarray of uint64, shape (m, k)
    scores : ndarray of float32, shape (m, k)
    """
    m = len(queries)
    if m == 1:
        keys, scores = _one(rows, queries, k, metric)
        return keys[None, :], scores[None, :]
    if m < _FEW_QUERIES:
        parts = [_one(rows, queries[i : i + 1], k, metric) for i in range(m)]
        return np.stack([keys for keys, _ in parts]), np.stack([scores for _, scores in parts])
    found = np.empty((m, k), np.uint64)
    values = np.empty((m, k), np.float32)
    blocks = -(-m // _QUERY_BLOCK)
    for block in range(blocks):
        part = slice(m * block // blocks, m * (block + 1) // blocks)
        if not _many(rows, queries[part], k, metric, found[part], values[part]):
            for i in range(part.start, part.stop):
                found[i], values[i] = _one(rows, queries[i : i + 1], k, metric)
    return found, values


def _prepare(
    queries: NDArray[np.float32], metric: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32], NDArray[np.float64]]:
    """Return queries in float64, their norms, what BLAS multiplies, and ``2 a``."""
    exact = queries.astype(np.float64)
    # One BLAS dot product for each row: the same bits alone and in a batch.
    squares = _dots(exact, exact)
    norms = np.sqrt(squares)
    gamma = _gamma(queries.shape[1])
    tiny = 2.0 * (queries.shape[1] + _SPARE) * 2.0**-148  # results below the normal numbers
    if metric == "l2":
        return exact, norms, queries, 2.0 * gamma * squares + tiny
    if metric == "cosine":  # one gamma for the scan, one for the length of the stored row
        return exact, norms, queries, 4.0 * gamma * norms + tiny
    norms[norms == 0.0] = 1.0
    return exact, norms, (exact / norms[:, None]).astype(np.float32), np.full(len(queries), tiny)


def _scannable(rows: Rows, largest_norm: float, metric: str) -> bool:
    """Return whether no partial sum of the scan can overflow, nor a score reach the largest, where ties begin."""
    if rows.offsets is None:
        return largest_norm < _SAFE
    largest = float(rows.offsets.max())
    if metric == "dot":
        gamma = _gamma(rows.blocks[0].shape[1])
        return largest < 2.0 * gamma * _SAFE and largest * largest_norm < gamma * _LARGEST
    return 2.0 * largest + largest_norm * largest_norm < _SAFE


def score(rows: Rows, where: NDArray[np.int64], query: NDArray[np.float32], metric: str) -> NDArray[np.float32]:
    """Return the scores of the rows at ``where`` for one query, shape (1, dim)."""
    exact = query.astype(np.float64)
    return _score(take(rows.blocks, where), exact, float(np.sqrt(_dots(exact, exact)[0])), metric)


def _one(
    rows: Rows, queries: NDArray[np.float32], k: int, metric: str
) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Answer a single query, shape (1, dim), with as few NumPy calls as possible."""
    exact, norms, scan, slack = _prepare(queries, metric)
    norm = float(norms[0])
    # Where all rows are wanted there is nothing to leave out.
    if k < rows.keys.size - rows.dead.size and _scannable(rows, norm, metric):
        where = _candidates(rows, scan[0], k, float(slack[0]), metric)
    elif not rows.dead.size and rows.blocks[0].size <= _REFINE_CHUNK and len(rows.blocks) == 1:
        scores = _score(rows.blocks[0], exact, norm, metric)
        order = np.lexsort((rows.keys, -scores))[:k]
        return rows.keys[order], scores[order]
    else:
        where = np.arange(rows.keys.size)
        if rows.dead.size:
            where = np.delete(where, rows.dead)
    chunk = max(1, _REFINE_CHUNK // queries.shape[1])
    parts = [_score(take(rows.blocks, where[i : i + chunk]), exact, norm, metric) for i in range(0, where.size, chunk)]
    scores = parts[0] if len(parts) == 1 else np.concatenate(parts)
    keys = rows.keys[where]
    order = np.lexsort((keys, -scores))[:k]
    return keys[order], scores[order]


def _candidates(rows: Rows, query: NDArray[np.float32], k: int, slack: float, metric: str) -> NDArray[np.int64]:
    """Return rows that hold all that can be among the best ``k`` of one query."""
    if len(rows.blocks) == 1:
        lows = np.dot(rows.blocks[0], query)
    else:
        lows = np.concatenate([np.dot(block, query) for block in rows.blocks])
    if rows.offsets is not None:
        lows -= rows.offsets
    if rows.dead.size:
        lows[rows.dead] = -np.inf
    members = _members(lows.size, k)
    peaks = lows
    if members > 1:
        groups = lows.size // members
        peaks = np.maximum.reduce(lows[: groups * members].reshape(members, groups), axis=0)
    kth = peaks.size - k
    floor = np.float32(max(float(np.partition(peaks, kth)[kth]) - slack, -_LARGEST))
    if rows.offsets is not None:
        lows += rows.offsets * _slack_per_offset(metric, query.size)
    where: NDArray[np.int64] = (lows >= floor).nonzero()[0]
    return where


def _members(n: int, k: int) -> int:
    """Return how many rows make a group: many save work, few keep the bound near the k-th best."""
    return max(1, min(_GROUP, n // (8 * k)))


def _many(
    rows: Rows,
    queries: NDArray[np.float32],
    k: int,
    metric: str,
    keys_out: NDArray[np.uint64],
    scores_out: NDArray[np.float32],
) -> bool:
    """Answer a block of queries; return False, with nothing written, if that needs too much memory or overflows."""
    exact, norms, scan, slack = _prepare(queries, metric)
    pairs = None
    if _scannable(rows, float(norms.max()), metric):
        pairs = _candidate_pairs(rows, scan, k, slack, metric)
    if pairs is None:
        return False
    which, where = pairs
    scores = np.empty(which.size, np.float32)
    chunk = max(1, _REFINE_CHUNK // queries.shape[1])
    for start in range(0, which.size, chunk):
        part = slice(start, start + chunk)
        query = which[part]
        taken = take(rows.blocks, where[part])
        scores[part] = _score(taken, exact[query], norms[query], metric)
    keys = rows.keys[where]
    order = np.lexsort((keys, -scores, which))
    counts = np.bincount(which, minlength=len(queries))
    best = order[(counts.cumsum() - counts)[:, None] + np.arange(k)]
    keys_out[...], scores_out[...] = keys[best], scores[best]
    return True


def _candidate_pairs(
    rows: Rows, queries: NDArray[np.float32], k: int, slack: NDArray[np.float64], metric: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return pairs (query, row) that hold all that can be among the best ``k``; None if they are too many."""
    width = max(_TILE // len(queries), k)
    best: NDArray[np.float32] | None = None  # the k largest group maxima so far
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []
    total = 0
    for start, vectors in _tiles(rows, width):
        lows = _scan_tile(rows, start, vectors, queries, k)
        peaks = lows.max(axis=1)
        pool = peaks if best is None else np.concatenate((best, peaks), axis=1)
        if pool.shape[1] >= k:
            pool = np.partition(pool, pool.shape[1] - k, axis=1)[:, -k:]
        best = pool
        kth = best[:, 0] if best.shape[1] == k else np.full(len(best), -np.inf, np.float32)
        floor = np.maximum(kth - slack, -_LARGEST).astype(np.float32)
        above = None
        if rows.offsets is not None:
            above = np.zeros(lows.shape[1:], np.float32)
            tile = rows.offsets[start : start + len(vectors)]
            above.reshape(-1)[: tile.size] = tile * _slack_per_offset(metric, queries.shape[1])
            peaks += above.max(axis=0)
        # Only groups whose maximum is high enough are looked into.
        which, group = np.nonzero(peaks >= floor[:, None])
        total += which.size * lows.shape[1]
        if total > _MAX_PAIRS:
            return None
        inside = lows[which, :, group]
        if above is not None:
            inside += above[:, group].T
        pair, place = np.nonzero(inside >= floor[which, None])
        found.append((which[pair], start + place * lows.shape[2] + group[pair], inside[pair, place]))
    which, where, high = (np.concatenate(column) for column in zip(*found, strict=True))
    keep = high >= floor[which]
    return which[keep], where[keep]


def _tiles(rows: Rows, width: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    first = 0
    for block in rows.blocks:
        for start in range(0, len(block), width):
            yield first + start, block[start : start + width]
        first += len(block)


def _scan_tile(
    rows: Rows, start: int, vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int
) -> NDArray[np.float32]:
    """Return ``low`` of a range of rows, shape (m, members, groups): row ``start + member * groups + group``.

    What stands for no living row is -inf.
    """
    n = len(vectors)
    members = _members(n, k)
    groups = -(-n // members)
    lows = np.empty((len(queries), members * groups), np.float32)
    np.matmul(queries, vectors.T, out=lows[:, :n])
    lows[:, n:] = -np.inf
    if rows.offsets is not None:
        lows[:, :n] -= rows.offsets[start : start + n]
    if rows.dead.size:
        first, last = rows.dead.searchsorted((start, start + n))
        lows[:, rows.dead[first:last] - start] = -np.inf
    return lows.reshape(len(queries), members, groups)


def _score(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float64],
    norms: float | NDArray[np.float64],
    metric: str,
) -> NDArray[np.float32]:
    """Return the score of each row with its query (or the one query), summed in float64.

    One BLAS dot product for each row: the order of a sum does not depend on how many rows there are.
    """
    exact = vectors.astype(np.float64)
    bound = _LARGEST
    if metric == "l2":
        exact -= queries
        scores = -_dots(exact, exact)
    else:
        scores = _dots(exact, queries)
    if metric == "cosine":
        bound = 1.0
        scores /= np.sqrt(_dots(exact, exact)) * norms
    held: NDArray[np.float32] = np.maximum(np.minimum(scores, bound), -bound).astype(np.float32)
    return held


def _dots(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the dot product of each row of ``left`` with its row of ``right``, or with the one row."""
    products: NDArray[np.float64] = np.matmul(left[:, None, :], right[:, :, None])
    return products[:, 0, 0]
