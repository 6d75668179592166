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
_EXACT = 2.0**24 / (_IMPACT_STEPS * _WEIGHT_STEPS)  # sums below it are exact in float32


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
    """The impacts of frequent terms by row: adding a row of numbers is faster than adding to every second row.

    Attributes
    ----------
    place : dict of int to int
        Where in ``impacts`` a term is, by its position in the segment's ``terms``.
    impacts : ndarray of float32, shape (f, n)
        0 where the term is not.
    """

    place: dict[int, int]
    impacts: NDArray[np.float32]


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
    frequent : Frequent
    """

    first: int
    n: int
    terms: NDArray[np.int32]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    tf: NDArray[np.uint16]
    impact: NDArray[np.float32] = np.empty(0, np.float32)
    unit: float = 0.0
    frequent: Frequent = Frequent({}, np.empty((0, 0), np.float32))


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
    return Segment(first, n, terms[begins], starts, raw.rows[order], raw.tf[order])


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
    often = np.flatnonzero(np.diff(segment.starts) * _DENSE_SHARE > max(segment.n, 1024))
    impacts = np.zeros((often.size, segment.n), np.float32)
    for place, i in enumerate(often.tolist()):
        part = slice(segment.starts[i], segment.starts[i + 1])
        impacts[place, segment.rows[part] - segment.first] = impact[part]
    frequent = Frequent({i: place for place, i in enumerate(often.tolist())}, impacts)
    return segment._replace(impact=impact, unit=unit, frequent=frequent)


def _scores(
    segments: list[Segment], n: int, terms: NDArray[np.int32], weights: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the sums over a query's terms for all rows.

    Nothing that is added is negative: where no sum has come to so much that float32 rounds it, none was rounded.
    """
    exact = np.maximum(np.rint(weights * _WEIGHT_STEPS), 1.0) / _WEIGHT_STEPS
    sums = _summed(segments, np.zeros(n, np.float32), terms, exact)
    if sums.size and sums.max() >= _EXACT:
        sums = _summed(segments, np.zeros(n, np.float64), terms, exact).astype(np.float32)
    return sums


def _summed(
    segments: list[Segment], sums: NDArray[Any], terms: NDArray[np.int32], weights: NDArray[np.float64]
) -> NDArray[Any]:
    """Add the impacts of some terms, times their weights, to the sums of the rows, in the type of the sums."""
    dtype = sums.dtype
    rows: list[NDArray[np.int32]] = []
    impact: list[NDArray[np.float32]] = []
    counts: list[int] = []
    factors: list[float] = []
    for segment in segments:
        if not segment.terms.size:
            continue
        at = np.minimum(segment.terms.searchsorted(terms), segment.terms.size - 1)
        found = (segment.terms[at] == terms).nonzero()[0]
        at = at[found]
        begins, ends = segment.starts[at].tolist(), segment.starts[at + 1].tolist()
        of_segment, product = sums[segment.first : segment.first + segment.n], np.empty(segment.n, dtype)
        place_of, by_row = segment.frequent
        for i, begin, end, weight in zip(at.tolist(), begins, ends, weights[found].tolist(), strict=True):
            if i in place_of:
                np.multiply(by_row[place_of[i]], weight, out=product, dtype=dtype)
                of_segment += product
            else:
                rows.append(segment.rows[begin:end])
                impact.append(segment.impact[begin:end])
                counts.append(end - begin)
                factors.append(weight)
    if rows:
        added = np.concatenate(impact, dtype=dtype)
        added *= np.repeat(np.array(factors, dtype), counts)
        np.add.at(sums, np.concatenate(rows, dtype=np.intp), added)
    return sums


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
    O(postings of rare terms + n * frequent terms). To leave out rows that frequent terms cannot help any more (Turtle
    and Flood, "Query evaluation: strategies and optimizations", IPM 31, 1995) takes longer here than adding them.
    """
    scores = _scores(segments, keys.size, terms, weights)
    scores[dead] = 0.0
    where = _high(scores, k) if among is None else among
    scores = scores.take(where)
    edge = np.float32(0.0)
    if where.size > 4 * k:  # else sorting all is as fast
        edge = np.partition(scores, where.size - k)[where.size - k]
    high = (scores >= edge if edge > 0 else scores > 0).nonzero()[0]
    if high.size < scores.size:
        where, scores = where.take(high), scores.take(high)
    found = keys.take(where)
    order = np.lexsort((found, -scores))[:k]
    return found.take(order), scores.take(order)


def _high(found: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return rows that hold the best k of those above 0.

    The k-th best of the maxima of columns is not above the k-th best of all.
    """
    columns = found.size // _FOLDS
    floor = np.float32(0.0)
    if columns > 2 * k:
        peaks = np.maximum.reduce(found[: columns * _FOLDS].reshape(_FOLDS, columns), axis=0)
        floor = np.partition(peaks, columns - k)[columns - k]
    where: NDArray[np.int64] = (found >= floor if floor > 0 else found).nonzero()[0]
    return where
