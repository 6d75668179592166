"""What ``aqe doctor`` says of the search of a workspace: on its own vectors, beside an exact scan."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.errors import AqeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aqe_core.contracts.pattern_store import PatternStore
    from aqe_core.workspace import Workspace

__all__ = ["SAMPLE", "recall_on_own"]

SAMPLE = (20, 200)
"""Least and most patterns, drawn with a fixed seed, that are looked for; each one's own vector does not count."""

_K = 10
_FEW = 2 * _K
_LEAST = 0.8
_SCORES = 4_000_000  # what the exact scans compute together, about


def recall_on_own(ws: Workspace) -> str:
    """Return how much of what an exact scan finds the workspace's store finds; empty if there are too few patterns.

    Nothing is compared where the stored vectors are not those that the store searches: while others write, or after an
    interruption.

    Raises
    ------
    AqeError
        It finds less than 0.8 of it.
    """
    if len(ws.patterns) < _FEW:
        return ""
    seq = ws.storage.last_seq()
    store = ws.patterns.store
    keys, rows = ws.storage.load_vectors(ws.namespace, ws.patterns.embedder.fingerprint)
    if ws.storage.last_seq() != seq or not np.array_equal(keys, np.sort(store.keys())):
        return (
            f"not compared: {len(keys):,} of {len(store):,} patterns have a stored vector, or others write; "
            "`aqe search` stores what is missing"
        )
    lengths = np.linalg.norm(rows, axis=1)
    keys, rows = keys[lengths > 0], rows[lengths > 0] / lengths[lengths > 0, None]
    if len(keys) < _FEW:
        return ""  # without words there is no direction
    optimize = getattr(store, "optimize", None)
    if optimize is not None:
        optimize()  # an answer before that is right, but not the one of a minute later
    count = min(max(_SCORES // len(keys), SAMPLE[0]), SAMPLE[1])
    chosen = np.random.default_rng(0).permutation(len(keys))[:count]
    recall, p50_us = _compare(store, keys, rows, chosen)
    backend = ws.selections["pattern_store"].backend
    facts = f"{backend}: recall@{_K} {recall:.3f} on {len(chosen)} of {len(keys):,} own vectors, p50 {p50_us:.0f} us"
    if recall < _LEAST:
        raise AqeError(
            f"{facts}, where an exact scan finds all.",
            fix="raise the store's recall or ef in [pattern_store.options], or use backend = 'numpy'.",
        )
    stats: dict[str, Any] = getattr(store, "stats", dict)()
    simd = stats.get("simd")
    return f"{facts}, {simd} instructions" if simd else facts


def _compare(
    store: PatternStore, keys: NDArray[np.uint64], rows: NDArray[np.float32], chosen: NDArray[np.int64]
) -> tuple[float, float]:
    """Return the share of the nearest others that is found, and the median time of a search in microseconds."""
    k = min(_K, len(keys) - 1)
    found, times_s = 0, []
    for row in chosen.tolist():
        exact = rows @ rows[row]
        exact[row] = -np.inf
        least = np.partition(exact, -k)[-k] - 1e-6  # ties, and other roundings, count
        began_s = perf_counter()
        hits = store.search(rows[row], k + 1)
        times_s.append(perf_counter() - began_s)
        others = hits.keys[np.isin(hits.keys, keys) & (hits.keys != keys[row])][:k]
        found += int((exact[np.searchsorted(keys, others)] >= least).sum())
    return found / (k * len(chosen)), 1e6 * float(np.median(times_s))
