"""What the terms of a query add to the scores of documents, and the documents with the best sums."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from numpy.typing import NDArray

    from aqe_backend_numpy._postings import Segment

__all__ = ["Sums", "Weighed", "best", "length_unit"]

_IMPACT_STEPS = 2.0**8
_WEIGHT_STEPS = 2.0**7
_LENGTH_STEPS = 16
_DENSE_SHARE = 8
_MIN_DENSE = 1024  # rows
_COLUMNS = 4  # groups of rows whose maxima are taken, for each of the k wanted
_EXACT = 2.0**24 / (_IMPACT_STEPS * _WEIGHT_STEPS)  # sums below it are exact in float32
_MIN_HELD = 2**22  # postings kept with their weight (16 MiB) at least, and half as many numbers of lines


def length_unit(total: int, n: int) -> float:
    """Return the mean length, rounded to one of sixteen steps an octave.

    The impacts of all postings depend on it. As a step, it is a function of what is stored, and yet seldom changes
    with what is added.
    """
    return 2.0 ** (round(math.log2(total / n) * _LENGTH_STEPS) / _LENGTH_STEPS) if total else 1.0


class _Impacts(NamedTuple):
    """What a posting of a term adds to a score, before the weight of the term; by row instead if it is frequent."""

    rows: NDArray[np.intp]
    impact: NDArray[np.float32]
    line: NDArray[np.float32] | None = None  # 0 where the term is not


_NOWHERE = _Impacts(np.empty(0, np.intp), np.empty(0, np.float32))


class Weighed:
    """A segment whose postings are weighed by a mean length.

    The impact of a posting is BM25's saturated term frequency, ``tf (k1 + 1) / (tf + k1 (1 - b + b length / unit))``,
    rounded to 1/256, as term weights are rounded to 1/128: their products and sums are exact, in whatever order they
    are added. It is computed when its term is first asked for, and kept.

    Parameters
    ----------
    segment : Segment
    lengths : ndarray of int64
        Of all rows.
    unit, k1, b : float
        ``unit`` is the mean length.
    by_row : bool
        Keep the impacts of frequent terms for all rows: to add a row of numbers is faster than to add to every second
        row.
    """

    def __init__(
        self, segment: Segment, lengths: NDArray[np.int64], unit: float, k1: float, b: float, *, by_row: bool
    ) -> None:
        self.segment = segment
        self.unit = unit
        self.largest = k1 + 1.0 + 1.0 / _IMPACT_STEPS  # no impact is above it
        self._k1 = k1
        self._damping = k1 * (1.0 - b) + (k1 * b / unit) * lengths[segment.first : segment.first + segment.n]
        self._frequent = max(segment.n, _MIN_DENSE) // _DENSE_SHARE if by_row else segment.n
        self._kept: dict[int, _Impacts] = {}

    def of(self, term: int) -> _Impacts:
        """Return the impacts of a term."""
        found = self._kept.get(term)
        if found is None:
            found = self._kept[term] = self._impacts(term)
        return found

    def _impacts(self, term: int) -> _Impacts:
        segment = self.segment
        place = int(segment.terms.searchsorted(np.int32(term)))  # an int would have all terms converted
        if place == segment.terms.size or segment.terms[place] != term:
            return _NOWHERE
        part = slice(segment.starts[place], segment.starts[place + 1])
        rows, tf = segment.rows[part].astype(np.intp), segment.tf[part]
        out = tf * (self._k1 + 1.0) / (tf + self._damping[rows - segment.first])
        out *= _IMPACT_STEPS
        np.maximum(np.rint(out, out=out), 1.0, out=out)  # a shared word tells something, however common
        out /= _IMPACT_STEPS
        if rows.size <= self._frequent:
            return _Impacts(rows, out.astype(np.float32))
        line = np.zeros(segment.n, np.float32)
        line[rows - segment.first] = out
        return _NOWHERE._replace(line=line)


class _Added(NamedTuple):
    """What a term adds: ``added`` to ``rows``, and ``weight`` times ``line`` to all rows of the base."""

    rows: NDArray[np.intp]
    added: NDArray[np.float32]
    line: NDArray[np.float32] | None
    weight: np.float32 | None  # None for 1
    most: float  # no row gets more


class Sums(dict[tuple[int, int], _Added]):
    """What a term adds to scores, by its number and how often a query has it; found out when it is first asked for.

    For as long as what is stored stays as it is.

    Parameters
    ----------
    base, tail : Weighed
        Together the rows 0 .. n - 1; ``base`` in ascending order of key, and alone with ``by_row``.
    weight : callable
        Weight of a term in a query that has it so many times.
    """

    def __init__(self, base: Weighed, tail: Weighed, weight: Callable[[int, int], float]) -> None:
        super().__init__()
        self.base = base
        self.tail = tail
        self.n = base.segment.n + tail.segment.n
        self._weight = weight
        self._room = max(_MIN_HELD, base.segment.rows.size)
        self._held = 0  # postings
        self._lines = 0  # numbers in lines

    def __missing__(self, asked: tuple[int, int]) -> _Added:
        exact = self._exact_weight(asked)
        weight = np.float32(exact)
        (rows, impact, line), late = self.base.of(asked[0]), self.tail.of(asked[0])
        if late.rows.size:
            rows, impact = np.concatenate((rows, late.rows)), np.concatenate((impact, late.impact))
        added = impact * weight
        self._held += rows.size
        if self._held > self._room:
            self.clear()
            self._held = self._lines = 0
        if line is not None and self._lines + line.size <= self._room // 2:
            self._lines += line.size
            found = _Added(rows, added, line * weight, None, exact * self.base.largest)
        else:
            found = _Added(rows, added, line, weight, exact * self.base.largest)
        self[asked] = found
        return found

    def _exact_weight(self, asked: tuple[int, int]) -> float:
        return max(round(self._weight(*asked) * _WEIGHT_STEPS), 1) / _WEIGHT_STEPS

    def in_float64(self, counts: Counter[int]) -> NDArray[np.float64]:
        """Return the sums of all rows, however large."""
        sums = np.zeros(self.n, np.float64)
        for asked in counts.items():
            weight = self._exact_weight(asked)
            for each in (self.base, self.tail):
                rows, impact, line = each.of(asked[0])
                sums[rows] += impact.astype(np.float64) * weight
                if line is not None:
                    sums[: line.size] += line.astype(np.float64) * weight
        return sums


def best(
    of: Sums,
    counts: Counter[int],
    k: int,
    keys: NDArray[np.uint64],
    *,
    dead: NDArray[np.int64],
    among: NDArray[np.int64] | None,
) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Return keys and scores of the best k rows above 0, best first, ties in ascending order of key.

    Parameters
    ----------
    of : Sums
    counts : Counter
        How often a query has each of its terms.
    k : int
    keys : ndarray of uint64, shape (n,)
        Of all rows.
    dead : ndarray of int64
        Rows that are not found.
    among : ndarray of int64, optional
        Only these rows are, ascending.

    Notes
    -----
    O(postings of rare terms + n * frequent terms). To leave out rows that frequent terms cannot help any more (Turtle
    and Flood, "Query evaluation: strategies and optimizations", IPM 31, 1995), or to add those that tell little to the
    rows that lead without them, takes longer here than adding them all.
    """
    sums = np.zeros(of.n, np.float32)
    most = _add(of, counts, sums)
    # Nothing that is added is negative: where no sum comes to so much that float32 rounds it, none was rounded.
    if most >= _EXACT and float(sums.max(initial=0.0)) >= _EXACT:
        sums = of.in_float64(counts).astype(np.float32)
    sums[dead] = 0.0
    rows = _high(sums, k) if among is None else among
    return _ordered(rows, sums.take(rows), k, keys, of.base.segment.n)


def _add(of: Sums, counts: Counter[int], sums: NDArray[np.float32]) -> float:
    """Add what the terms of a query add to the rows; return what that is at most."""
    base = sums[: of.base.segment.n]
    rows, added = [], []
    all_most = 0.0
    for some_rows, some_added, line, weight, most in map(of.__getitem__, counts.items()):
        all_most += most
        if line is not None:
            base += line if weight is None else line * weight
        if some_rows.size:
            rows.append(some_rows)
            added.append(some_added)
    if rows:
        np.add.at(sums, np.concatenate(rows), np.concatenate(added))
    return all_most


def _high(sums: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return rows that hold the best k of those above 0."""
    floor = _floor(sums, k)
    rows: NDArray[np.int64] = (sums >= np.float32(floor) if floor > 0.0 else sums).nonzero()[0]
    return rows


def _floor(sums: NDArray[np.float32], k: int) -> float:
    """Return a number that is not above the k-th largest sum: the k-th largest of the maxima of columns."""
    if sums.size <= k:
        return 0.0
    folds = max(1, sums.size // (_COLUMNS * k))
    columns = sums.size // folds
    peaks = np.maximum.reduce(sums[: columns * folds].reshape(folds, columns), axis=0)
    peaks.partition(columns - k)
    return float(peaks[columns - k])


def _ordered(
    rows: NDArray[np.int64], scores: NDArray[np.float32], k: int, keys: NDArray[np.uint64], n_ascending: int
) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Return keys and scores of the best k of ascending rows, of which the first hold ascending keys."""
    edge = np.float32(0.0)
    if rows.size > 4 * k:  # else sorting all is as fast
        edge = np.partition(scores, rows.size - k)[rows.size - k]
    high = (scores >= edge if edge > 0 else scores > 0).nonzero()[0]
    if high.size < scores.size:
        rows, scores = rows.take(high), scores.take(high)
    found = keys.take(rows)
    if not rows.size or rows[-1] < n_ascending:
        order = np.argsort(-scores, kind="stable")[:k]
    else:
        order = np.lexsort((found, -scores))[:k]
    return found.take(order), scores.take(order)
