"""Postings packed by term, and the sum of their weights over a query."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Raw", "Segment", "joined", "length_unit", "pack", "raw_of", "search", "weighed"]

_IMPACT_STEPS = 2.0**8
_WEIGHT_STEPS = 2.0**7
_LENGTH_STEPS = 16
_DENSE_SHARE = 8
_FOLDS = 16


class Raw(NamedTuple):
    """Postings as they come: how often a term occurs in a row. Three arrays of one length.

    Attributes
    ----------
    rows, terms : ndarray of int32
    tf : ndarray of uint16
    """

    rows: NDArray[np.int32]
    terms: NDArray[np.int32]
    tf: NDArray[np.uint16]


class Frequent(NamedTuple):
    """The impacts of a frequent term by row.

    Attributes
    ----------
    first : int
        The first row.
    impacts : ndarray of float32
        0 where the term is not. Of such a term a weight is small, so that sums in float32 are exact too.
    largest : float
        Of the impacts.
    """

    first: int
    impacts: NDArray[np.float32]
    largest: float


class Segment(NamedTuple):
    """Postings of the rows ``first .. first + n - 1``, sorted by term, then by row.

    Attributes
    ----------
    first, n : int
    terms : ndarray of int32, shape (t,)
        Ascending; only terms that have postings.
    starts : ndarray of int64, shape (t + 1,)
        The postings of ``terms[i]`` are ``starts[i] .. starts[i + 1] - 1``.
    rows : ndarray of int32, shape (p,)
    tf : ndarray of uint16, shape (p,)
    impact : ndarray of float32, shape (p,)
        What a posting adds to a score, before the weight of its term.
    unit : float
        The mean length that the impacts stand for; 0 before `weighed`.
    dense : dict of int to Frequent
        The most frequent terms, by position in ``terms``: adding a row of numbers is faster than adding to every second
        row.
    """

    first: int
    n: int
    terms: NDArray[np.int32]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    tf: NDArray[np.uint16]
    impact: NDArray[np.float32]
    unit: float
    dense: dict[int, Frequent]


def joined(parts: list[Raw]) -> Raw:
    """Return the postings of all parts together."""
    none = Raw(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.uint16))
    return Raw(*map(np.concatenate, zip(none, *parts, strict=True)))


def pack(raw: Raw, first: int, n: int) -> Segment:
    """Sort postings into a segment without impacts (see `weighed`). O(p log p)."""
    order = np.argsort(raw.terms.astype(np.int64) * (first + n) + raw.rows)
    terms = raw.terms[order]
    begins = np.flatnonzero(np.append(True, terms[1:] != terms[:-1])) if terms.size else np.empty(0, np.int64)
    starts = np.append(begins, terms.size).astype(np.int64)
    return Segment(first, n, terms[begins], starts, raw.rows[order], raw.tf[order], np.empty(0, np.float32), 0.0, {})


def raw_of(segment: Segment) -> Raw:
    """Return the postings of a segment."""
    return Raw(segment.rows, np.repeat(segment.terms, np.diff(segment.starts)), segment.tf)


def length_unit(total: int, n: int) -> float:
    """Return the mean length, rounded to one of sixteen steps an octave.

    The impacts of all postings depend on it. As a step, it is a function of what is stored, and yet seldom changes
    with what is added.
    """
    return 2.0 ** (round(math.log2(total / n) * _LENGTH_STEPS) / _LENGTH_STEPS) if total else 1.0


def _impacts(
    tf: NDArray[np.uint16], lengths: NDArray[np.int64], unit: float, k1: float, b: float
) -> NDArray[np.float32]:
    """Return BM25's saturated term frequency: ``tf (k1 + 1) / (tf + k1 (1 - b + b length / unit))``.

    Rounded to 1/256, as term weights are rounded to 1/128: their products and sums are exact, in whatever order they
    are added.
    """
    damping = k1 * (1.0 - b) + (k1 * b / unit) * lengths
    out = tf * (k1 + 1.0) / (tf + damping)
    out *= _IMPACT_STEPS
    np.maximum(np.rint(out, out=out), 1.0, out=out)  # a shared word tells something, however common
    out /= _IMPACT_STEPS
    return out.astype(np.float32)


def weighed(segment: Segment, lengths: NDArray[np.int64], unit: float, k1: float, b: float) -> Segment:
    """Return a segment with impacts for a mean length, itself if it has them. O(p)."""
    if segment.unit == unit:
        return segment
    impact = _impacts(segment.tf, lengths[segment.rows], unit, k1, b)
    dense = {}
    for i in np.flatnonzero(np.diff(segment.starts) * _DENSE_SHARE > max(segment.n, 1024)).tolist():
        begin, end = segment.starts[i], segment.starts[i + 1]
        impacts = np.zeros(segment.n, np.float32)
        impacts[segment.rows[begin:end] - segment.first] = impact[begin:end]
        dense[i] = Frequent(segment.first, impacts, float(impact[begin:end].max()))
    return segment._replace(impact=impact, unit=unit, dense=dense)


class _Sums(NamedTuple):
    """The sum over a query's rare terms, and what its frequent ones would add.

    Attributes
    ----------
    rare : ndarray of float64, shape (n,)
    frequent : list of (Frequent, float)
        With the weights.
    """

    rare: NDArray[np.float64]
    frequent: list[tuple[Frequent, float]]

    def at(self, where: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the scores of some rows."""
        total = self.rare[where]
        for (first, impacts, _), weight in self.frequent:
            if impacts.size == self.rare.size:
                total += impacts[where] * np.float32(weight)
            else:
                inside = (where >= first) & (where < first + impacts.size)
                total[inside] += impacts[where[inside] - first] * np.float32(weight)
        return total.astype(np.float32)

    def all(self) -> NDArray[np.float32]:
        """Return the scores of all rows."""
        if not self.frequent:
            return self.rare.astype(np.float32)
        common, product = np.zeros(self.rare.size, np.float32), np.empty(self.rare.size, np.float32)
        for (first, impacts, _), weight in self.frequent:
            np.multiply(impacts, np.float32(weight), out=product[: impacts.size])
            common[first : first + impacts.size] += product[: impacts.size]
        return (self.rare + common).astype(np.float32)


def _sums(segments: list[Segment], n: int, terms: NDArray[np.int32], weights: NDArray[np.float64]) -> _Sums:
    exact = np.maximum(np.rint(weights * _WEIGHT_STEPS), 1.0) / _WEIGHT_STEPS
    rows: list[NDArray[np.int32]] = []
    impact: list[NDArray[np.float32]] = []
    counts: list[int] = []
    factors: list[float] = []
    frequent: list[tuple[Frequent, float]] = []
    for segment in segments:
        if not segment.terms.size:
            continue
        at = np.minimum(segment.terms.searchsorted(terms), segment.terms.size - 1)
        found = segment.terms[at] == terms
        at = at[found]
        begins, ends = segment.starts[at].tolist(), segment.starts[at + 1].tolist()
        for i, begin, end, weight in zip(at.tolist(), begins, ends, exact[found].tolist(), strict=True):
            if i in segment.dense:
                frequent.append((segment.dense[i], weight))
            else:
                rows.append(segment.rows[begin:end])
                impact.append(segment.impact[begin:end])
                counts.append(end - begin)
                factors.append(weight)
    if not rows:
        return _Sums(np.zeros(n), frequent)
    added = np.concatenate(impact, dtype=np.float64)
    added *= np.repeat(factors, counts)
    rare: NDArray[Any] = np.bincount(np.concatenate(rows, dtype=np.intp), added, n)  # float64, having weights
    return _Sums(rare, frequent)


def search(
    segments: list[Segment],
    terms: NDArray[np.int32],
    weights: NDArray[np.float64],
    k: int,
    keys: NDArray[np.uint64],
    *,
    dead: NDArray[np.int64],
    among: NDArray[np.int64] | None,
) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Return keys and scores of the best k rows above 0, best first, ties in ascending order of key.

    Parameters
    ----------
    segments : list of Segment
    terms : ndarray of int32, shape (q,)
        Distinct.
    weights : ndarray of float64, shape (q,)
    k : int
    keys : ndarray of uint64, shape (n,)
        Of all rows.
    dead : ndarray of int64
        Rows that are not found.
    among : ndarray of int64, optional
        Only these rows are.

    Notes
    -----
    O(postings of rare terms + n). Frequent terms weigh little: with floor the k-th best of the sums over rare ones, a
    row whose sum is below it by more than all frequent terms could add is not looked at any more (Turtle and Flood,
    "Query evaluation: strategies and optimizations", IPM 31, 1995).
    """
    sums = _sums(segments, keys.size, terms, weights)
    sums.rare[dead] = 0.0
    chosen = _promising(sums, k) if among is None else among
    if chosen is None:
        scores = sums.all()
        scores[dead] = 0.0
        where = _high(scores, k)
        scores = scores[where]
    else:
        where, scores = chosen, sums.at(chosen)
    above = scores > 0
    if not above.all():
        where, scores = where[above], scores[above]
    if where.size > 4 * k:  # else sorting all is as fast
        edge = np.partition(scores, where.size - k)[where.size - k]
        where, scores = where[scores >= edge], scores[scores >= edge]
    found = keys[where]
    order = np.lexsort((found, -scores))[:k]
    return found[order], scores[order]


def _promising(sums: _Sums, k: int) -> NDArray[np.int64] | None:
    """Return rows that hold the best k, ascending; None if that leaves out too few to be worth the look."""
    n = sums.rare.size
    if not sums.frequent:
        return None
    floor = _floor(sums.rare, k) - sum(term.largest * weight for term, weight in sums.frequent)
    if floor <= 0:
        return None
    where: NDArray[np.int64] = np.flatnonzero(sums.rare >= floor)
    return where if where.size * _DENSE_SHARE < n else None


def _floor(found: NDArray[Any], k: int) -> float:
    """Return a number that the k-th best is not below: the k-th best of the maxima of columns; 0 if that is no help."""
    columns = found.size // _FOLDS
    if columns <= 2 * k:
        return 0.0
    peaks = found[: columns * _FOLDS].reshape(_FOLDS, columns).max(axis=0)
    return float(np.partition(peaks, columns - k)[columns - k])


def _high(found: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return rows that hold the best k of those above 0."""
    floor = np.float32(_floor(found, k))
    return np.flatnonzero(found >= floor) if floor > 0 else np.flatnonzero(found)
