"""`hnswlib <https://github.com/nmslib/hnswlib>`_: the reference graph index, as a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aqe_backend_native.adapters._shared import as_count, cosine_rows, in_order, last_of_each
from aqe_core import hookimpl
from aqe_core.contracts import EngineSpec, Hits, StoreCapabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray

AQE_API = 1


@hookimpl
def aqe_pattern_stores() -> list[EngineSpec]:
    """Offer the graph of hnswlib."""
    return [
        EngineSpec(
            name="hnswlib",
            factory="aqe_backend_native.adapters.hnswlib:HnswlibStore",
            capabilities=StoreCapabilities(metrics=("cosine", "l2")),
            requires=("hnswlib",),
            install='pip install "aqe-backend-native[hnswlib]"',
            summary="HNSW graph of hnswlib, float32; removed rows keep their space",
        )
    ]


class HnswlibStore:
    """An HNSW graph over float32 rows (Malkov and Yashunin 2018), by hnswlib.

    Removed rows are marked and passed over, and keep their space; a key that comes back takes its old place.

    Parameters
    ----------
    dim : int
    metric : str
        ``cosine`` or ``l2``.
    m, ef_construction : int
        Links per row, and candidates while adding.
    ef : int
        Candidates while searching; at least ``k`` are used.
    """

    def __init__(self, *, dim: int, metric: str, m: int = 16, ef_construction: int = 200, ef: int = 64) -> None:
        import hnswlib

        self.dim = dim
        self.metric = metric
        self._ef = as_count(ef, "ef")
        self._index = hnswlib.Index(space=metric, dim=dim)
        self._index.init_index(
            max_elements=1024,
            M=as_count(m, "m", 2, 512),
            ef_construction=as_count(ef_construction, "ef_construction"),
            random_seed=100,
        )
        self._removed: set[int] = set()

    def __len__(self) -> int:
        return int(self._index.get_current_count()) - len(self._removed)

    def keys(self) -> NDArray[np.uint64]:
        """Return the stored keys in ascending order."""
        there = set(self._index.get_ids_list()) - self._removed if len(self) else set()
        return np.array(sorted(there), np.uint64)

    def add(self, keys: NDArray[np.uint64], vectors: NDArray[np.float32]) -> None:
        """Store rows; a key that is there gets the new one."""
        keys, vectors = last_of_each(keys, cosine_rows(vectors, self.metric))
        needed = self._index.get_current_count() + len(keys)
        if needed > self._index.get_max_elements():
            self._index.resize_index(max(needed, 2 * self._index.get_max_elements()))
        back = self._removed.intersection(keys.tolist())
        for key in back:
            self._index.unmark_deleted(key)
        self._removed -= back
        self._index.add_items(vectors, keys)

    def remove(self, keys: NDArray[np.uint64]) -> int:
        """Remove keys; return how many were there."""
        there = np.intersect1d(keys, self.keys()).tolist()
        for key in there:
            self._index.mark_deleted(key)
        self._removed.update(there)
        return len(there)

    def search(self, queries: NDArray[np.float32], k: int = 10) -> Hits:
        """Find about the nearest rows of each query."""
        # Removed rows are candidates too: without room for them hnswlib finds fewer than k and raises.
        self._index.set_ef(max(self._ef, k) + len(self._removed))
        keys, distances = self._index.knn_query(cosine_rows(queries, self.metric), k)
        scores = -distances if self.metric == "l2" else np.float32(1) - distances
        return in_order(keys.astype(np.uint64), scores)
