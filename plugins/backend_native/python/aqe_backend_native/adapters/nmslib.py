"""`nmslib <https://github.com/nmslib/nmslib>`_: graph search in many spaces, metric or not, as a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_backend_native.adapters._shared import KeyList, as_count, cosine_rows, in_order
from aqe_core import hookimpl
from aqe_core.contracts import EngineSpec, Hits, StoreCapabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray

AQE_API = 1
_NO_KEY = np.uint64(2**64 - 1)


@hookimpl
def aqe_pattern_stores() -> list[EngineSpec]:
    """Offer the graph of nmslib."""
    return [
        EngineSpec(
            name="nmslib",
            factory="aqe_backend_native.adapters.nmslib:NmslibStore",
            capabilities=StoreCapabilities(metrics=("cosine", "l2"), mutable=False),
            requires=("nmslib",),
            install='pip install "aqe-backend-native[nmslib]"',
            summary="HNSW graph of nmslib, also in non-metric spaces; adds only, and builds anew after adding",
        )
    ]


class NmslibStore:
    """An HNSW graph over float32 rows (Malkov and Yashunin 2018), by nmslib.

    The graph is built at the first search after rows were added, in O(n log n). Keys cannot be removed or replaced.

    Parameters
    ----------
    dim : int
    metric : str
        ``cosine`` or ``l2``.
    space : str, optional
        Another dense space of nmslib instead of the metric's, e.g. ``kldivgenfast`` or ``l1``; a score is the negative
        of its distance.
    m, ef_construction : int
        Links per row, and candidates while building.
    ef : int
        Candidates while searching; at least ``k`` are used.
    """

    def __init__(
        self,
        *,
        dim: int,
        metric: str,
        space: str | None = None,
        m: int = 16,
        ef_construction: int = 200,
        ef: int = 64,
    ) -> None:
        self.dim = dim
        self.metric = metric
        self._space = space
        self._build = {"M": as_count(m, "m", 2, 512), "efConstruction": as_count(ef_construction, "ef_construction")}
        self._ef = as_count(ef, "ef")
        self._keys = KeyList()
        self._rows: list[NDArray[np.float32]] = []
        self._index: Any = None

    def __len__(self) -> int:
        return len(self._keys)

    def keys(self) -> NDArray[np.uint64]:
        """Return the stored keys in ascending order."""
        return self._keys.sorted()

    def add(self, keys: NDArray[np.uint64], vectors: NDArray[np.float32]) -> None:
        """Store rows under new keys."""
        self._keys.append(keys)
        self._rows.append(cosine_rows(vectors, self.metric).copy())
        self._index = None

    def remove(self, keys: NDArray[np.uint64]) -> int:
        """Not offered; the guard refuses it."""
        raise NotImplementedError

    def search(self, queries: NDArray[np.float32], k: int = 10) -> Hits:
        """Find about the nearest rows of each query."""
        if self._index is None:
            self._index = self._built()
        self._index.setQueryTimeParams({"efSearch": max(self._ef, k)})
        every = self._keys.array()
        keys = np.full((len(queries), k), _NO_KEY)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        for number, (places, distances) in enumerate(
            self._index.knnQueryBatch(cosine_rows(queries, self.metric), k, num_threads=1)
        ):
            keys[number, : len(places)] = every[places]
            cosine = self.metric == "cosine" and self._space is None
            scores[number, : len(places)] = 1.0 - distances if cosine else -distances
        return in_order(keys, scores)

    def _built(self) -> Any:
        import nmslib

        self._rows = [np.concatenate(self._rows)]
        space = self._space or {"cosine": "cosinesimil", "l2": "l2"}[self.metric]
        index = nmslib.init(method="hnsw", space=space)
        index.addDataPointBatch(self._rows[0])
        index.createIndex({**self._build, "indexThreadQty": 1})
        return index
