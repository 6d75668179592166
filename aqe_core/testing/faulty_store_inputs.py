"""Pattern stores that treat bad input wrongly, each in one known way (see `aqe_core.testing.faulty`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.pattern_store import NO_KEY, Hits
from aqe_core.testing.backends import BruteForceStore
from aqe_core.testing.faulty import wrong
from aqe_core.validate import as_k, as_queries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Keys = NDArray[np.uint64]
    Rows = NDArray[np.float32]


@wrong("bad_keys", "one_bad_key_stores_nothing")
class CastsKeys(BruteForceStore):
    """Turns whatever it gets into uint64."""

    def add(self, keys: Any, vectors: Any) -> None:
        """Store vectors."""
        super().add(self._cast(keys), vectors)

    def remove(self, keys: Any) -> int:
        """Remove keys."""
        return super().remove(self._cast(keys))

    def _cast(self, keys: Any) -> Keys:
        with np.errstate(all="ignore"):
            return np.atleast_1d(np.array(keys)).astype(np.uint64)


@wrong("one_bad_key_stores_nothing")
class StoresBeforeChecking(BruteForceStore):
    """Writes row by row, and stops at the bad one."""

    def add(self, keys: Any, vectors: Any) -> None:
        """Store vectors."""
        if isinstance(vectors, np.ndarray) and vectors.ndim == 2 and len(keys) == len(vectors):
            good = np.isfinite(vectors).all(axis=1)
            if not good.all():
                first = int(np.argmin(good))
                super().add(keys[:first], vectors[:first])
        super().add(keys, vectors)


@wrong("bad_vectors", "bad_queries")
class AcceptsNaN(BruteForceStore):
    """Takes NaN for zero."""

    def add(self, keys: Any, vectors: Any) -> None:
        """Store vectors."""
        super().add(keys, self._repair(vectors))

    def search(self, queries: Any, k: int = 10, *, among: Any = None) -> Hits:
        """Search."""
        return super().search(self._repair(queries), k, among=among)

    def _repair(self, rows: Any) -> Any:
        return np.nan_to_num(rows) if isinstance(rows, np.ndarray) and rows.dtype.kind == "f" else rows


@wrong("bad_vectors")
class WrongWords(BruteForceStore):
    """Refuses bad rows with the right error and words of its own."""

    def add(self, keys: Any, vectors: Any) -> None:
        """Store vectors."""
        try:
            super().add(keys, vectors)
        except ValueError as error:
            raise type(error)("something is wrong") from None


@wrong("zero_rows")
class RefusesZeros(BruteForceStore):
    """Refuses zeros under every metric."""

    def add(self, keys: Any, vectors: Any) -> None:
        """Store vectors."""
        if not np.any(vectors):
            raise ValueError("zeros")
        super().add(keys, vectors)


@wrong("mismatched_lengths")
class ZipsShortest(BruteForceStore):
    """Stores as many rows as there are keys, and says nothing about the rest."""

    def add(self, keys: Any, vectors: Any) -> None:
        """Store vectors."""
        n = min(len(keys), len(vectors)) if isinstance(vectors, np.ndarray) else len(keys)
        super().add(keys[:n], vectors[:n] if isinstance(vectors, (np.ndarray, list)) else vectors)


@wrong("bad_queries", "bad_k")
class EmptyNeedsNoCheck(BruteForceStore):
    """Answers before it looks at the question, if it is empty."""

    def search(self, queries: Any, k: int = 10, *, among: Any = None) -> Hits:
        """Search."""
        if not len(self):
            shape = (int(k),) if np.ndim(queries) == 1 else (len(queries), int(k))
            return Hits(np.full(shape, NO_KEY, np.uint64), np.full(shape, -np.inf, np.float32))
        return super().search(queries, k, among=among)


@wrong("bad_k")
class TruncatesK(BruteForceStore):
    """Takes "3" and 2.5 for k."""

    def search(self, queries: Any, k: int = 10, *, among: Any = None) -> Hits:
        """Search."""
        return super().search(queries, int(k), among=among)


@wrong("bad_among")
class TrustsAmong(BruteForceStore):
    """Compares whatever the filter holds."""

    def search(self, queries: Any, k: int = 10, *, among: Any = None) -> Hits:
        """Search."""
        as_queries(queries, self.dim, self.metric)
        as_k(k)
        return super().search(queries, k, among=None if among is None else self._known(among))

    def _known(self, among: Any) -> list[int]:
        wanted = np.array(among, object).ravel().tolist()
        return [key for key in self._table[0].tolist() if key in wanted]


@wrong("bad_construction")
class TakesAnyMetric(BruteForceStore):
    """Takes an unknown metric for l2."""

    def __init__(self, *, dim: int, metric: str = "cosine") -> None:
        super().__init__(dim=dim, metric=metric if metric in {"cosine", "dot"} else "l2")


@wrong("bad_construction")
class TakesAnyDim(BruteForceStore):
    """Rounds the number of dimensions."""

    def __init__(self, *, dim: int, metric: str = "cosine") -> None:
        super().__init__(dim=max(1, int(dim)), metric=metric)
