"""Postings packed by term, and the sum of their weights over a query."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Raw", "Segment", "best", "joined", "length_unit", "pack", "raw_of", "scores", "weighed"]

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
    dense : dict of int to ndarray of float32, shape (n,)
        The impacts of the most frequent terms by row, by position in ``terms``: adding a row of numbers is faster than
        adding to every second row. Of such a term a weight is small, so that these sums too are exact.
    """

    first: int
    n: int
    terms: NDArray[np.int32]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    tf: NDArray[np.uint16]
    impact: NDArray[np.float32]
    unit: float
    dense: dict[int, NDArray[np.float32]]


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
        dense[i] = np.zeros(segment.n, np.float32)
        dense[i][segment.rows[begin:end] - segment.first] = impact[begin:end]
    return segment._replace(impact=impact, unit=unit, dense=dense)


def scores(
    segments: list[Segment], n: int, terms: NDArray[np.int32], weights: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the score of each of ``n`` rows, term by term.

    Parameters
    ----------
    segments : list of Segment
    n : int
        Of all rows.
    terms : ndarray of int32, shape (q,)
        Distinct.
    weights : ndarray of float64, shape (q,)
    """
    exact = np.maximum(np.rint(weights * _WEIGHT_STEPS), 1.0) / _WEIGHT_STEPS
    rows: list[NDArray[np.int32]] = []
    impact: list[NDArray[np.float32]] = []
    counts: list[int] = []
    factors: list[float] = []
    common: NDArray[np.float32] | None = None
    product = np.empty(n, np.float32)
    for segment in segments:
        if not segment.terms.size:
            continue
        at = np.minimum(segment.terms.searchsorted(terms), segment.terms.size - 1)
        found = segment.terms[at] == terms
        at = at[found]
        begins, ends = segment.starts[at].tolist(), segment.starts[at + 1].tolist()
        for i, begin, end, weight in zip(at.tolist(), begins, ends, exact[found].tolist(), strict=True):
            if i in segment.dense:
                np.multiply(segment.dense[i], np.float32(weight), out=product[: segment.n])
                if common is None:
                    common = np.zeros(n, np.float32)
                common[segment.first : segment.first + segment.n] += product[: segment.n]
            else:
                rows.append(segment.rows[begin:end])
                impact.append(segment.impact[begin:end])
                counts.append(end - begin)
                factors.append(weight)
    if not rows:
        return np.zeros(n, np.float32) if common is None else common
    added = np.concatenate(impact, dtype=np.float64)
    added *= np.repeat(factors, counts)
    total = np.bincount(np.concatenate(rows, dtype=np.intp), added, n)
    if common is not None:
        total += common
    return total.astype(np.float32)


def best(found: NDArray[np.float32], k: int, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the rows of the k best scores above 0: best first, ties in ascending order of key. O(n + c log c)."""
    floor = np.float32(0.0)
    columns = found.size // _FOLDS
    if columns > 2 * k:
        # The k-th best of the columns' maxima is not above the k-th best of all.
        peaks = found[: columns * _FOLDS].reshape(_FOLDS, columns).max(axis=0)
        floor = np.partition(peaks, columns - k)[columns - k]
    rows = np.flatnonzero(found >= floor) if floor > 0 else np.flatnonzero(found)
    if rows.size > 4 * k:  # else sorting them is as fast
        edge = np.partition(found[rows], rows.size - k)[rows.size - k]
        rows = rows[found[rows] >= edge]
    return rows[np.lexsort((keys[rows], -found[rows]))[:k]]
