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
_MIN_HELD = 2**22  # postings kept, at least, and half as many numbers of lines: 56 MiB


def length_unit(total: int, n: int) -> float:
    """Return the mean length, rounded to one of sixteen steps an octave.

    The impacts of all postings depend on it. As a step, it is a function of what is stored, and yet seldom changes
    with what is added.
    """
    return 2.0 ** (round(math.log2(total / n) * _LENGTH_STEPS) / _LENGTH_STEPS) if total else 1.0


class Weighed:
    """A segment whose postings are weighed by a mean length.

    The impact of a posting is BM25's saturated term frequency, ``tf (k1 + 1) / (tf + k1 (1 - b + b length / unit))``,
    rounded to 1/256, as term weights are rounded to 1/128: their products and sums are exact, in whatever order they
    are added. It is computed when its term is first asked for.

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
        self._k1 = k1
        self._damping = k1 * (1.0 - b) + (k1 * b / unit) * lengths[segment.first : segment.first + segment.n]
        often = np.diff(segment.starts) * _DENSE_SHARE > max(segment.n, _MIN_DENSE) if by_row else np.empty(0)
        self._line_of = {place: line for line, place in enumerate(np.flatnonzero(often).tolist())}
        self._filled: set[int] = set()
        self._by_row = np.zeros((len(self._line_of), segment.n), np.float32)

    def place(self, term: int) -> int:
        """Return where a term is in the segment, -1 if it is not there."""
        terms = self.segment.terms
        place = int(terms.searchsorted(term))
        return place if place < terms.size and terms[place] == term else -1

    def impacts(self, place: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Return the rows of a term, counted from the first of the segment, and its impact there."""
        segment = self.segment
        part = slice(segment.starts[place], segment.starts[place + 1])
        rows, tf = segment.rows[part].astype(np.intp), segment.tf[part]
        rows -= segment.first
        out = tf * (self._k1 + 1.0) / (tf + self._damping[rows])
        out *= _IMPACT_STEPS
        np.maximum(np.rint(out, out=out), 1.0, out=out)  # a shared word tells something, however common
        out /= _IMPACT_STEPS
        return rows, out.astype(np.float32)

    def line(self, place: int) -> NDArray[np.float32] | None:
        """Return the impacts of a frequent term by row, 0 where it is not; None for others."""
        line = self._line_of.get(place)
        if line is None:
            return None
        if line not in self._filled:
            rows, impact = self.impacts(place)
            self._by_row[line, rows] = impact
            self._filled.add(line)
        return self._by_row[line]


class _Added(NamedTuple):
    """What a term adds: ``added`` to ``rows``, and ``weight`` times ``line`` to all rows of the base."""

    rows: NDArray[np.intp]
    added: NDArray[np.float32]
    line: NDArray[np.float32] | None
    weight: np.float32 | None  # None for 1
    most: float  # to a row


class Sums(dict[tuple[int, int], _Added]):
    """What a term adds to scores, by its number and how often a query has it; found out when it is first asked for.

    For as long as what is stored stays as it is.

    Parameters
    ----------
    base, tail : Weighed
        Together the rows 0 .. n - 1; ``base`` in ascending order of key, and with ``by_row``.
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
        weight = np.float32(self._exact_weight(asked))
        rows, added = [np.empty(0, np.intp)], [np.empty(0, np.float32)]
        line = None
        for each in (self.base, self.tail):
            place = each.place(asked[0])
            if place < 0:
                continue
            by_row = each.line(place)
            if by_row is not None:
                line = by_row
            else:
                within, impact = each.impacts(place)
                rows.append(within + each.segment.first)
                added.append(impact * weight)
        found = _Added(np.concatenate(rows), np.concatenate(added), None, None, 0.0)
        most = float(found.added.max(initial=0.0))
        if line is not None:
            most = max(most, float(weight * line.max()))
            fits = self._lines + line.size <= self._room // 2
            found = found._replace(line=line * weight if fits else line, weight=None if fits else weight)
            self._lines += line.size * fits
        self._held += found.rows.size
        if self._held > self._room:
            self.clear()
            self._held = self._lines = 0
        found = self[asked] = found._replace(most=most)
        return found

    def _exact_weight(self, asked: tuple[int, int]) -> float:
        return max(round(self._weight(*asked) * _WEIGHT_STEPS), 1) / _WEIGHT_STEPS

    def in_float64(self, counts: Counter[int]) -> NDArray[np.float64]:
        """Return the sums of all rows, however large."""
        sums = np.zeros(self.n, np.float64)
        for asked in counts.items():
            weight = self._exact_weight(asked)
            for each in (self.base, self.tail):
                place = each.place(asked[0])
                if place >= 0:
                    rows, impact = each.impacts(place)
                    sums[rows + each.segment.first] += impact * weight
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
