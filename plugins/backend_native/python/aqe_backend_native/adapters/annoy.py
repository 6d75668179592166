"""`annoy <https://github.com/spotify/annoy>`_: a forest that many processes can share as a file, as a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    """Offer the forest of annoy."""
    return [
        EngineSpec(
            name="annoy",
            factory="aqe_backend_native.adapters.annoy:AnnoyStore",
            capabilities=StoreCapabilities(metrics=("cosine", "l2"), mutable=False),
            requires=("annoy",),
            install='pip install "aqe-backend-native[annoy]"',
            summary="forest of annoy; adds only, and builds anew after adding",
        )
    ]


class AnnoyStore:
    """A forest of random projection trees (Bernhardsson 2013), by annoy.

    Annoy's forests do not change: rows that were added are searchable because the next search builds the forest anew,
    in O(n log n). Keys cannot be removed or replaced.

    Parameters
    ----------
    dim : int
    metric : str
        ``cosine`` or ``l2``.
    n_trees : int
    search_k : int
        Nodes looked at for each query; -1 for ``n_trees * k``.
    seed : int
    """

    def __init__(self, *, dim: int, metric: str, n_trees: int = 50, search_k: int = -1, seed: int = 0) -> None:
        from annoy import AnnoyIndex

        self.dim = dim
        self.metric = metric
        self._n_trees = as_count(n_trees, "n_trees")
        self._search_k = as_count(search_k, "search_k", -1, 2**31 - 1)
        self._index = AnnoyIndex(dim, {"cosine": "angular", "l2": "euclidean"}[metric])
        self._index.set_seed(as_count(seed, "seed", 0, 2**31 - 1))
        self._keys = KeyList()
        self._built = False

    def __len__(self) -> int:
        return len(self._keys)

    def keys(self) -> NDArray[np.uint64]:
        """Return the stored keys in ascending order."""
        return self._keys.sorted()

    def add(self, keys: NDArray[np.uint64], vectors: NDArray[np.float32]) -> None:
        """Store rows under new keys."""
        if self._built:
            self._index.unbuild()
            self._built = False
        for position, row in zip(self._keys.append(keys), cosine_rows(vectors, self.metric), strict=True):
            self._index.add_item(position, row)

    def remove(self, keys: NDArray[np.uint64]) -> int:
        """Not offered; the guard refuses it."""
        raise NotImplementedError

    def search(self, queries: NDArray[np.float32], k: int = 10) -> Hits:
        """Find about the nearest rows of each query."""
        if not self._built:
            self._index.build(self._n_trees, n_jobs=1)
            self._built = True
        every = self._keys.array()
        keys = np.full((len(queries), k), _NO_KEY)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        for number, query in enumerate(cosine_rows(queries, self.metric)):
            places, distances = self._index.get_nns_by_vector(query, k, self._search_k, include_distances=True)
            squared = np.square(np.array(distances, np.float64))
            keys[number, : len(places)] = every[places]
            scores[number, : len(places)] = -squared if self.metric == "l2" else 1.0 - squared / 2.0
        return in_order(keys, scores)
