"""Seeded data for checks and tests: the same arguments give the same bytes on every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["clustered_vectors", "scattered_keys", "tied_vectors", "variants"]


def clustered_vectors(
    n: int, dim: int, *, n_clusters: int = 16, spread: float = 0.3, seed: int = 0
) -> NDArray[np.float32]:
    """Return vectors around cluster centres, shape (n, dim), as embeddings of real texts lie.

    Parameters
    ----------
    n, dim : int
    n_clusters : int
        Centres are drawn from a standard normal distribution.
    spread : float
        Standard deviation around a centre.
    seed : int
    """
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((n_clusters, dim))
    rows = centres[rng.integers(n_clusters, size=n)] + spread * rng.standard_normal((n, dim))
    return rows.astype(np.float32)


def tied_vectors(n: int, dim: int, *, copies: int = 4, seed: int = 0) -> NDArray[np.float32]:
    """Return vectors of which every row occurs ``copies`` times (the last ones perhaps fewer), shuffled."""
    rng = np.random.default_rng(seed)
    distinct = rng.standard_normal((-(-n // copies), dim)).astype(np.float32)
    return rng.permutation(np.repeat(distinct, copies, axis=0)[:n])


def scattered_keys(n: int, *, seed: int = 0) -> NDArray[np.uint64]:
    """Return distinct keys in no order, spread over 0 .. 2**64 - 2, both ends included when ``n`` is above 1."""
    rng = np.random.default_rng(seed)
    keys = np.unique(rng.integers(1, 2**64 - 2, size=n, dtype=np.uint64, endpoint=False))
    keys[:1], keys[1:][-1:] = 0, 2**64 - 2
    return rng.permutation(keys)


def variants(array: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the same values in other memory: Fortran order, strided, reversed, read-only."""
    strided = np.repeat(array, 2, axis=0)[::2]
    backwards = np.ascontiguousarray(array[::-1])[::-1]
    frozen = array.copy()
    frozen.setflags(write=False)
    return {
        "Fortran-ordered": np.array(array, order="F"),
        "strided": strided,
        "reversed": backwards,
        "read-only": frozen,
    }
