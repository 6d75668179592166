"""`sqlite-vec <https://github.com/asg017/sqlite-vec>`_: vectors in an SQLite table, as a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_backend_native.adapters._shared import cosine_rows, in_order, last_of_each
from aqe_core import hookimpl
from aqe_core.contracts import EngineSpec, Hits, StoreCapabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray

AQE_API = 1
_NO_KEY = np.uint64(2**64 - 1)
_MAX_K = 4096  # of sqlite-vec


@hookimpl
def aqe_pattern_stores() -> list[EngineSpec]:
    """Offer the vector table of sqlite-vec."""
    return [
        EngineSpec(
            name="sqlite-vec",
            factory="aqe_backend_native.adapters.sqlite_vec:SqliteVecStore",
            capabilities=StoreCapabilities(metrics=("cosine", "l2"), filtered=True),
            requires=("sqlite_vec",),
            install='pip install "aqe-backend-native[sqlite-vec]"',
            summary="exact scan of a vec0 table of sqlite-vec, filtered in SQL",
        )
    ]


class SqliteVecStore:
    """A full scan of a ``vec0`` table in memory, by sqlite-vec, loaded through apsw.

    Parameters
    ----------
    dim : int
    metric : str
        ``cosine`` or ``l2``.
    """

    def __init__(self, *, dim: int, metric: str) -> None:
        import apsw
        import sqlite_vec

        self.dim = dim
        self.metric = metric
        self._db = apsw.Connection(":memory:")
        self._db.enable_load_extension(True)
        self._db.load_extension(sqlite_vec.loadable_path())
        self._db.enable_load_extension(False)
        of = {"cosine": "cosine", "l2": "L2"}[metric]
        self._db.execute(f"CREATE VIRTUAL TABLE rows USING vec0(vector FLOAT[{int(dim)}] distance_metric={of})")
        self._n: int = 0

    def __len__(self) -> int:
        return self._n

    def keys(self) -> NDArray[np.uint64]:
        """Return the stored keys in ascending order."""
        rowids: list[Any] = [rowid for (rowid,) in self._db.execute("SELECT rowid FROM rows")]
        return np.sort(_as_keys(rowids))

    def add(self, keys: NDArray[np.uint64], vectors: NDArray[np.float32]) -> None:
        """Store rows; a key that is there gets the new one. All or nothing."""
        keys, vectors = last_of_each(keys, cosine_rows(vectors, self.metric))
        rowids = _as_rowids(keys)
        with self._db:
            self._db.executemany("DELETE FROM rows WHERE rowid = ?", ((rowid,) for rowid in rowids))
            self._db.executemany(
                "INSERT INTO rows(rowid, vector) VALUES (?, ?)",
                ((rowid, row.tobytes()) for rowid, row in zip(rowids, vectors, strict=True)),
            )
        self._count()

    def remove(self, keys: NDArray[np.uint64]) -> int:
        """Remove keys; return how many were there."""
        before = self._n
        with self._db:
            self._db.executemany("DELETE FROM rows WHERE rowid = ?", ((rowid,) for rowid in _as_rowids(keys)))
        self._count()
        return before - self._n

    def search(self, queries: NDArray[np.float32], k: int = 10, *, among: NDArray[np.uint64] | None = None) -> Hits:
        """Find the nearest rows of each query; at most 4096 of them, which is sqlite-vec's limit."""
        k = min(k, _MAX_K)
        keys = np.full((len(queries), k), _NO_KEY)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        sql = "SELECT rowid, distance FROM rows WHERE vector MATCH ? AND k = ?"
        allowed: tuple[str, ...] = ()
        if among is not None:
            sql += " AND rowid IN (SELECT value FROM json_each(?))"
            allowed = (str(_as_rowids(among)),)
        for number, query in enumerate(cosine_rows(queries, self.metric)):
            found: list[tuple[Any, ...]] = self._db.execute(sql, (query.tobytes(), k, *allowed)).fetchall()
            if found:
                distances = np.array([distance for _, distance in found], np.float64)
                keys[number, : len(found)] = _as_keys([rowid for rowid, _ in found])
                scores[number, : len(found)] = -np.square(distances) if self.metric == "l2" else 1.0 - distances
        return in_order(keys, scores)

    def _count(self) -> None:
        count: Any = self._db.execute("SELECT count(*) FROM rows").fetchall()[0][0]
        self._n = count


def _as_rowids(keys: NDArray[np.uint64]) -> list[int]:
    """Return keys as the signed integers that SQLite has: in the same order."""
    flipped: list[int] = (keys ^ np.uint64(1 << 63)).view(np.int64).tolist()
    return flipped


def _as_keys(rowids: list[int]) -> NDArray[np.uint64]:
    return np.array(rowids, np.int64).view(np.uint64) ^ np.uint64(1 << 63)
