"""``aqe bench quantization``: what short codes cost in recall, and what they save in bytes and time."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aqe_core.bench.measure import Measure, rate, run
from aqe_core.bench.search_data import ENOUGH, made
from aqe_core.errors import CapabilityError, NoWorkspaceError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from aqe_core.bench.measure import Progress
    from aqe_core.contracts.quantizer import Quantizer
    from aqe_core.plugins import FoundEngine

__all__ = ["ENGINE", "ROWS", "measure", "notes"]

ENGINE = "pattern_store"
ROWS = 10_000
_QUERIES = 100
_K = 10
_CANDIDATES = 100


class _Data(NamedTuple):
    rows: NDArray[np.float32]
    queries: NDArray[np.float32]
    exact: NDArray[np.float32]  # scores, shape (queries, rows)
    source: str


def measure(
    found: FoundEngine, *, folder: Path, rounds: int, seconds: float, rows: int, progress: Progress | None = None
) -> dict[str, Any]:
    """Measure every quantizer of a backend under cosine.

    Raises
    ------
    CapabilityError
        It has none.
    """
    from aqe_core.engines import open_quantizer

    schemes = sorted(getattr(found.spec.capabilities, "quantizers", ()))
    if not schemes:
        raise CapabilityError(f"the backend {found.spec.name!r} has no quantizers.", fix="measure numpy.")
    data = _data(folder, rows)
    measures = [
        each
        for scheme in schemes
        for each in _of(open_quantizer(found.spec.name, scheme=scheme, dim=data.rows.shape[1]), data, seconds)
    ]
    measured = run(measures, rounds, progress)
    facts = {"data": data.source, "dim": data.rows.shape[1], "queries": len(data.queries)}
    return {"rounds": rounds, "rows": len(data.rows), "measures": measured, **facts}


def notes(found: dict[str, Any]) -> list[str]:
    """Return what stands below the table."""
    return [
        f"{found['rows']:,} rows of {found['dim']} dimensions, {found['data']}; {found['queries']} queries, cosine.",
        f"recall: share of the true ten among the best {_K} by the codes; candidates: among the best {_CANDIDATES}.",
        f"{found['rounds']} rounds, in turns with the peer: the exact scan in float32.",
    ]


def _of(quantizer: Quantizer, data: _Data, seconds: float) -> list[Measure]:
    """Return the measures of one quantizer, which is trained here."""
    name = quantizer.scheme
    quantizer.train(data.rows)
    codes = quantizer.encode(data.rows)
    scores = quantizer.scores(data.queries, codes)
    n, one = len(data.rows), data.queries[:1]
    scan = {"float32": partial(rate, lambda: one @ data.rows.T, n, seconds)}
    return [
        Measure(f"{name}_bytes", "bytes", lambda: float(quantizer.code_bytes), less_is_better=True),
        Measure(f"{name}_recall", "share", partial(_share, scores, data.exact, _K)),
        Measure(f"{name}_candidates", "share", partial(_share, scores, data.exact, _CANDIDATES)),
        Measure(f"{name}_train", "vectors/s", partial(_train, quantizer, data.rows)),
        Measure(f"{name}_encode", "vectors/s", partial(rate, lambda: quantizer.encode(data.rows), n, seconds)),
        Measure(f"{name}_score", "vectors/s", partial(rate, lambda: quantizer.scores(one, codes), n, seconds), scan),
    ]


def _train(quantizer: Quantizer, rows: NDArray[np.float32]) -> float:
    began_s = time.perf_counter()
    quantizer.train(rows)  # learns the same again, so that the codes stay right
    return len(rows) / (time.perf_counter() - began_s)


def _share(scores: NDArray[np.float32], exact: NDArray[np.float32], among: int) -> float:
    """Return the share of the true ten that is among the best so many by the estimate; ties count."""
    among = min(among, scores.shape[1])
    k = min(_K, scores.shape[1])
    least = np.partition(exact, -k, axis=1)[:, -k, None]
    best = np.argpartition(scores, -among, axis=1)[:, -among:]
    hits = (np.take_along_axis(exact, best, axis=1) >= least).sum(axis=1)
    return float(np.minimum(hits, k).mean() / k)


def _data(folder: Path, n: int) -> _Data:
    own = _own(folder)
    vectors = made(n + _QUERIES) if own is None else own
    mixed = vectors[np.random.default_rng(0).permutation(len(vectors))[: n + _QUERIES]]
    unit = (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)
    held_out = min(_QUERIES, len(unit) // 10) or 1
    rows, queries = unit[held_out:][:n], unit[:held_out]
    source = "made vectors in clusters" if own is None else "vectors of this workspace"
    return _Data(rows, queries, queries @ rows.T, source)


def _own(folder: Path) -> NDArray[np.float32] | None:
    """Return the vectors of the workspace's patterns, None if there are too few."""
    from aqe_core.workspace import open as open_workspace

    try:
        with open_workspace(folder, read_only=True) as ws:
            if len(ws.patterns) < ENOUGH:
                return None
            _, rows = ws.storage.load_vectors(ws.namespace, ws.patterns.embedder.fingerprint)
    except NoWorkspaceError:
        return None
    rows = rows[rows.any(axis=1)]
    return rows if len(rows) >= ENOUGH else None
