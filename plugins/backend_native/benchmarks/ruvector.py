# ruff: noqa: INP001  # a script, not a package
"""Measure searches of the native store beside @ruvector/core, the vector store of agentic-qe v2.8.0, awaited.

``python plugins/backend_native/benchmarks/ruvector.py NODE_FOLDER VECTORS.npy QUERIES.npy [ROWS ...]``, where
``npm install @ruvector/core`` was run in NODE_FOLDER. Without awaiting, a search there "takes" 2 µs whatever the size:
that is what making the promise takes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aqe_backend_native  # noqa: F401  # says what to install where it is absent
import numpy as np

import aqe_core

SCRIPT = Path(__file__).with_suffix(".js").resolve()
CONFIGS = {"defaults": None, "m 32, ef 200 / 100": {"m": 32, "efConstruction": 200, "efSearch": 100}}
QUERIES = 200
RECALL = 0.95


def native_us(vectors: np.ndarray, queries: np.ndarray) -> list[float]:
    """Return how long each search took in the native store, in µs."""
    store = aqe_core.open_store("native", dim=vectors.shape[1], metric="cosine", recall=RECALL)
    store.add(np.arange(len(vectors), dtype=np.uint64), vectors)
    store.optimize()
    times = []
    for query in (*queries, *queries):  # the first round is warm-up
        start = time.perf_counter()
        store.search(query, k=10)
        times.append((time.perf_counter() - start) * 1e6)
    return times[len(queries) :]


def ruvector_us(folder: str, vectors: np.ndarray, queries: np.ndarray, config: dict[str, int] | None) -> list[float]:
    """Return how long each search took in @ruvector/core, in µs."""
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch, name) for name in ("vectors", "queries", "store")]
        vectors.tofile(files[0])
        queries.tofile(files[1])
        command = ["node", SCRIPT, str(vectors.shape[1]), str(len(vectors)), *files]
        command += [json.dumps(config)] if config else []
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603  # our own
        return [float(took) for took in json.loads(done.stdout)]


def main() -> None:
    """Print p50 and p99 of both and the ratio of the p50s, for each number of rows."""
    folder, *paths = sys.argv[1:4]
    vectors, queries = (np.load(path, allow_pickle=False).astype(np.float32) for path in paths)
    queries = queries[:QUERIES]
    for n in map(int, sys.argv[4:] or ["2000", "12000"]):
        for name, config in CONFIGS.items():
            theirs = np.percentile(ruvector_us(folder, vectors[:n], queries, config), [50, 99])
            ours = np.percentile(native_us(vectors[:n], queries), [50, 99])
            print(  # noqa: T201  # what the script is for
                f"{n:7,} rows, {name:18}  @ruvector/core {theirs[0]:7.0f} / {theirs[1]:7.0f} us"
                f"  native {ours[0]:5.1f} / {ours[1]:5.1f} us  {theirs[0] / ours[0]:5.0f}x"
            )


if __name__ == "__main__":
    main()
