"""`usearch <https://github.com/unum-cloud/usearch>`_: a graph index with real removal, as a plugin."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_backend_native.adapters._shared import as_count, cosine_rows, in_order, last_of_each
from aqe_core import hookimpl
from aqe_core.contracts import EngineSpec, Hits, StoreCapabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray

AQE_API = 1


@hookimpl
def aqe_pattern_stores() -> list[EngineSpec]:
    """Offer the graph of usearch."""
    return [
        EngineSpec(
            name="usearch",
            factory="aqe_backend_native.adapters.usearch:UsearchStore",
            capabilities=StoreCapabilities(metrics=("cosine", "l2")),
            requires=("usearch",),
            install='pip install "aqe-backend-native[usearch]"',
            summary="HNSW graph of usearch, float32",
        )
    ]


class UsearchStore:
    """An HNSW graph over float32 rows (Malkov and Yashunin 2018), by usearch.

    Parameters
    ----------
    dim : int
    metric : str
        ``cosine`` or ``l2``. Not ``dot``: usearch returns ``1 - dot``, in which small products drown.
    connectivity, expansion_add : int
        Links per row (M) and candidates while adding (efConstruction).
    ef : int
        Candidates while searching; at least ``k`` are used.
    """

    def __init__(
        self, *, dim: int, metric: str, connectivity: int = 16, expansion_add: int = 128, ef: int = 64
    ) -> None:
        if find_spec("nmslib") is not None:
            import nmslib  # noqa: F401  # loaded after usearch, its C++ runtime cannot read a number any more
        from usearch.index import Index

        self.dim = dim
        self.metric = metric
        self._ef = as_count(ef, "ef")
        self._index: Any = Index(
            ndim=dim,
            metric={"cosine": "cos", "l2": "l2sq"}[metric],
            dtype="f32",
            connectivity=as_count(connectivity, "connectivity", 2, 512),
            expansion_add=as_count(expansion_add, "expansion_add"),
            expansion_search=self._ef,
        )

    def __len__(self) -> int:
        return len(self._index)

    def keys(self) -> NDArray[np.uint64]:
        """Return the stored keys in ascending order."""
        return np.sort(np.asarray(self._index.keys, np.uint64)) if len(self) else np.empty(0, np.uint64)

    def add(self, keys: NDArray[np.uint64], vectors: NDArray[np.float32]) -> None:
        """Store rows; a key that is there is removed first."""
        keys, vectors = last_of_each(keys, cosine_rows(vectors, self.metric))
        there = np.asarray(self._index.contains(keys), np.bool_)
        if there.any():
            self._index.remove(keys[there])
        self._index.add(keys, vectors, threads=1)  # in several threads, rows can end up cut off from the graph

    def remove(self, keys: NDArray[np.uint64]) -> int:
        """Remove keys; return how many were there."""
        there = keys[np.asarray(self._index.contains(keys), np.bool_)]
        if len(there):
            self._index.remove(there)
        return len(there)

    def search(self, queries: NDArray[np.float32], k: int = 10) -> Hits:
        """Find about the nearest rows of each query."""
        self._index.expansion_search = max(self._ef, k)
        found = self._index.search(cosine_rows(queries, self.metric), k)
        keys = np.asarray(found.keys, np.uint64).reshape(len(queries), -1)
        distances = np.asarray(found.distances, np.float32).reshape(keys.shape)
        counts = np.asarray(getattr(found, "counts", np.full(len(queries), keys.shape[1]))).reshape(-1)
        missing = np.arange(keys.shape[1]) >= counts[:, None]
        scores = -distances if self.metric == "l2" else np.float32(1) - distances
        return in_order(np.where(missing, np.uint64(2**64 - 1), keys), np.where(missing, -np.float32(np.inf), scores))
