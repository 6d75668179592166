"""Pattern stores that are wrong in one known way each (see `aqe_core.testing.faulty`)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.pattern_store import NO_KEY, Hits
from aqe_core.testing.backends import BruteForceStore
from aqe_core.testing.faulty import wrong
from aqe_core.validate import as_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Keys = NDArray[np.uint64]
    Rows = NDArray[np.float32]


@wrong("protocol")
class ForgetsMetric(BruteForceStore):
    """Says that it was made for cosine, whatever it was made for."""

    def __init__(self, *, dim: int, metric: str = "cosine") -> None:
        super().__init__(dim=dim, metric=metric)
        self.metric = "cosine"


@wrong("empty_store")
class FailsWhenEmpty(BruteForceStore):
    """Takes the maximum of no scores."""

    def _rank(self, names: Keys, scores: Rows, k: int) -> Hits:
        scores.max()
        return super()._rank(names, scores, k)


@wrong("two_stores_are_apart")
class SharesTable(BruteForceStore):
    """Keeps its rows in the class."""

    shared: dict[tuple[int, str], BruteForceStore] = {}  # noqa: RUF012  # the fault

    def __init__(self, *, dim: int, metric: str = "cosine") -> None:
        super().__init__(dim=dim, metric=metric)
        first = self.shared.setdefault((dim, metric), self)
        self.__dict__ = first.__dict__


@wrong("add_and_keys")
class KeysThroughFloat(BruteForceStore):
    """Loses the low bits of large keys."""

    def _write(self, names: Keys, rows: Rows) -> None:
        rounded = np.minimum(names.astype(np.float64), 2.0**64 - 4096).astype(np.uint64)
        super()._write(np.where(names > 2**53, rounded, names), rows)


@wrong("add_and_keys")
class KeysUnsorted(BruteForceStore):
    """Lists keys as signed numbers would be sorted."""

    def keys(self) -> Keys:
        """Return the keys."""
        return np.sort(super().keys().view(np.int64)).view(np.uint64)


@wrong("add_nothing")
class FailsOnNothing(BruteForceStore):
    """Looks at the first of no rows."""

    def _write(self, names: Keys, rows: Rows) -> None:
        rows[0].sum()
        super()._write(names, rows)


@wrong("duplicates_in_one_add")
class FirstDuplicateWins(BruteForceStore):
    """Keeps the first of equal keys in one call."""

    def _write(self, names: Keys, rows: Rows) -> None:
        super()._write(names[::-1], rows[::-1])


@wrong("replace", "random_history")
class ForgetsReplacing(BruteForceStore):
    """Keeps the old row of a known key."""

    def _write(self, names: Keys, rows: Rows) -> None:
        fresh = ~np.isin(names, self._table[0])
        super()._write(names[fresh], rows[fresh])


@wrong("remove", "random_history")
class CountsRequested(BruteForceStore):
    """Counts what was asked for, not what was there."""

    def remove(self, keys: Any) -> int:
        """Remove keys."""
        super().remove(keys)
        return len(as_keys(keys))


@wrong("remove", "random_history")
class MovesKeyWithoutRow(BruteForceStore):
    """Closes a gap among the keys, but cuts the rows at the end."""

    def remove(self, keys: Any) -> int:
        """Remove keys."""
        names, rows = self._table
        gone = np.isin(names, as_keys(keys))
        self._table = (names[~gone], rows[: len(names) - int(gone.sum())])
        return int(gone.sum())


@wrong("remove_and_add_again", "random_history")
class NeverForgives(BruteForceStore):
    """Never lifts a tombstone."""

    def __init__(self, *, dim: int, metric: str = "cosine") -> None:
        super().__init__(dim=dim, metric=metric)
        self._gone = np.empty(0, np.uint64)

    def remove(self, keys: Any) -> int:
        """Remove keys."""
        self._gone = np.append(self._gone, as_keys(keys))
        return super().remove(keys)

    def _write(self, names: Keys, rows: Rows) -> None:
        alive = ~np.isin(names, self._gone)
        super()._write(names[alive], rows[alive])


@wrong("immutable_refuses", mutable=False)
class MutableAfterAll(BruteForceStore):
    """Declares that it cannot remove, and removes."""


@wrong("memory_layouts")
class AssumesContiguous(BruteForceStore):
    """Reads rows in the order in which they lie in memory."""

    def add(self, keys: Any, vectors: Any) -> None:
        """Store vectors."""
        array = np.asarray(vectors)
        super().add(keys, array.ravel(order="K").reshape(array.shape))


@wrong("memory_layouts", "other_dtypes")
class NormalizesInPlace(BruteForceStore):
    """Changes the array it was given."""

    def add(self, keys: Any, vectors: Any) -> None:
        """Store vectors."""
        super().add(keys, vectors)
        if isinstance(vectors, np.ndarray) and vectors.dtype.kind == "f" and len(vectors):
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).astype(vectors.dtype)


@wrong("other_dtypes")
class TakesOnlyArrays(BruteForceStore):
    """Knows no lists."""

    def add(self, keys: Any, vectors: Any) -> None:
        """Store vectors."""
        super().add(keys, vectors[:, :])


@wrong("no_aliasing")
class KeepsReference(BruteForceStore):
    """Keeps the caller's array."""

    def _write(self, names: Keys, rows: Rows) -> None:
        if len(self) or (names[1:] <= names[:-1]).any():
            super()._write(names, rows)
        else:
            self._table = (names, rows)


@wrong("no_aliasing")
class HandsOutKeys(BruteForceStore):
    """Returns its own array of keys."""

    def keys(self) -> Keys:
        """Return the keys."""
        return self._table[0]


@wrong("growth")
class FullAt256(BruteForceStore):
    """Loses what does not fit."""

    def _write(self, names: Keys, rows: Rows) -> None:
        super()._write(names, rows)
        kept, matrix = self._table
        self._table = (kept[:256], matrix[:256])


@wrong("threads")
class SharesScratch(BruteForceStore):
    """Keeps the query in a buffer of the store."""

    def _scores(self, queries: Rows, rows: Rows) -> Rows:
        self._scratch = queries
        time.sleep(0)  # another thread gets its turn here
        time.sleep(1e-4)
        return super()._scores(self._scratch, rows)


@wrong("shapes")
class SingleKeepsAxis(BruteForceStore):
    """Answers one query with a matrix."""

    def search(self, queries: Any, k: int = 10, *, among: Any = None) -> Hits:
        """Search."""
        hits = super().search(queries, k, among=among)
        return Hits(*np.atleast_2d(*hits))


@wrong("shapes")
class NoColumnsForNoQueries(BruteForceStore):
    """Answers no queries with an array of shape (0, 0)."""

    def _rank(self, names: Keys, scores: Rows, k: int) -> Hits:
        return super()._rank(names, scores, k if len(scores) else 0)


@wrong("padding", "empty_store")
class DoesNotPad(BruteForceStore):
    """Returns fewer columns when there are fewer rows."""

    def _rank(self, names: Keys, scores: Rows, k: int) -> Hits:
        return super()._rank(names, scores, min(k, len(names)))


@wrong("padding", "empty_store")
class PadsWithZero(BruteForceStore):
    """Fills up with key 0."""

    def _rank(self, names: Keys, scores: Rows, k: int) -> Hits:
        keys, best = super()._rank(names, scores, k)
        return Hits(np.where(keys == NO_KEY, np.uint64(0), keys), best)


@wrong("scores", "exact_scan")
class PlainDistance(BruteForceStore):
    """Takes the root of the squared distance."""

    def _scores(self, queries: Rows, rows: Rows) -> Rows:
        scores = super()._scores(queries, rows)
        return -np.sqrt(-scores) if self.metric == "l2" else scores


@wrong("shapes", "scores")
class DoubleScores(BruteForceStore):
    """Returns scores in float64."""

    def _rank(self, names: Keys, scores: Rows, k: int) -> Hits:
        keys, best = super()._rank(names, scores, k)
        return Hits(keys, best.astype(np.float64))


@wrong("scores", "exact_scan")
class HalfPrecision(BruteForceStore):
    """Rounds rows to float16."""

    def _write(self, names: Keys, rows: Rows) -> None:
        super()._write(names, rows.astype(np.float16).astype(np.float32))


@wrong("scores_of_many")
class RoundsWhenMany(BruteForceStore):
    """Keeps fewer bits of its rows once there are many, and does not say so."""

    def _scores(self, queries: Rows, rows: Rows) -> Rows:
        scores = super()._scores(queries, rows)
        return np.round(scores, 2) if len(rows) > 1000 else scores


@wrong("cosine_of_tiny_and_huge_rows")
class SingleLengths(BruteForceStore):
    """Computes lengths in float32, where squares underflow and overflow."""

    def _scores(self, queries: Rows, rows: Rows) -> Rows:
        if self.metric != "cosine":
            return super()._scores(queries, rows)
        with np.errstate(all="ignore"):
            left, right = (m / np.sqrt(np.square(m).sum(axis=1, keepdims=True)) for m in (queries, rows))
            scores: Rows = left @ right.T
        return scores


@wrong("l2_of_equal_rows")
class ExpandedSquares(BruteForceStore):
    """Computes |q|^2 - 2 q x + |x|^2 in float32 and does not bound it."""

    def _scores(self, queries: Rows, rows: Rows) -> Rows:
        if self.metric != "l2":
            return super()._scores(queries, rows)
        squares = np.square(queries).sum(axis=1)[:, None] + np.square(rows).sum(axis=1)
        scores: Rows = 2 * (queries @ rows.T) - squares
        return scores


@wrong("exact_scan", "batch_equals_singles", "padding")
class DropsLastHit(BruteForceStore):
    """Leaves the last place empty."""

    def _rank(self, names: Keys, scores: Rows, k: int) -> Hits:
        keys, best = super()._rank(names, scores, k)
        places = np.arange(len(keys)), (keys != NO_KEY).sum(axis=1) - 1
        if len(names):
            keys[places], best[places] = NO_KEY, -np.inf
        return Hits(keys, best)


@wrong("exact_scan")
class LosesEndOfBlock(BruteForceStore):
    """Scans blocks of 1,024 rows and forgets the rest."""

    def _rank(self, names: Keys, scores: Rows, k: int) -> Hits:
        whole = len(names) // 1024 * 1024 or len(names)
        return super()._rank(names[:whole], scores[:, :whole], k)


@wrong("batch_equals_singles")
class RoundsBatches(BruteForceStore):
    """Computes batches of more than 64 in float16."""

    def _scores(self, queries: Rows, rows: Rows) -> Rows:
        scores = super()._scores(queries, rows)
        return scores.astype(np.float16).astype(np.float32) if len(queries) > 64 else scores


@wrong("ties")
class HigherKeyFirst(BruteForceStore):
    """Orders ties by descending key."""

    def _rank(self, names: Keys, scores: Rows, k: int) -> Hits:
        keys, best = super()._rank(~names, scores, k)
        return Hits(np.where(best == -np.inf, np.uint64(NO_KEY), ~keys), best)


@wrong("recall", exact=False)
class LooksAtHalf(BruteForceStore):
    """Looks at every second row."""

    def _rank(self, names: Keys, scores: Rows, k: int) -> Hits:
        return super()._rank(names[::2], scores[:, ::2], k) if len(names) > 1000 else super()._rank(names, scores, k)


@wrong("among")
class FiltersAfterwards(BruteForceStore):
    """Filters the k best instead of finding the k best of the filter."""

    def search(self, queries: Any, k: int = 10, *, among: Any = None) -> Hits:
        """Search."""
        keys, scores = super().search(queries, k)
        if among is None:
            return Hits(keys, scores)
        out = ~np.isin(keys, as_keys(among))
        return Hits(np.where(out, np.uint64(NO_KEY), keys), np.where(out, np.float32(-np.inf), scores))


@wrong("among_nothing")
class EmptyMeansAll(BruteForceStore):
    """Takes an empty filter for none."""

    def search(self, queries: Any, k: int = 10, *, among: Any = None) -> Hits:
        """Search."""
        return super().search(queries, k, among=None if among is None or not len(among) else among)


@wrong("among_after_remove")
class RemembersRemoved(BruteForceStore):
    """Finds removed keys again when the filter names them."""

    def __init__(self, *, dim: int, metric: str = "cosine") -> None:
        super().__init__(dim=dim, metric=metric)
        self._everything = BruteForceStore(dim=dim, metric=metric)

    def _write(self, names: Keys, rows: Rows) -> None:
        super()._write(names, rows)
        self._everything.add(names, rows)

    def search(self, queries: Any, k: int = 10, *, among: Any = None) -> Hits:
        """Search."""
        if among is None:
            return super().search(queries, k)
        return self._everything.search(queries, k, among=among)


@wrong("unfiltered_refuses", filtered=False)
class IgnoresAmong(BruteForceStore):
    """Declares that it cannot filter, and ignores the filter."""

    def search(self, queries: Any, k: int = 10, *, among: Any = None) -> Hits:  # noqa: ARG002  # the fault
        """Search."""
        return super().search(queries, k)
