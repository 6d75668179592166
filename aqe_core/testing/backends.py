"""Reference engines, as short as the contracts allow: slow, exact, and written independently of every real backend.

They prove that the checks can be passed, serve as a loopback in tests of the binding, and are what the deliberately
wrong engines of `aqe_core.testing.faulty` are derived from. Each passes every check of its kind.
"""

from __future__ import annotations

import hashlib
import json
import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from aqe_core.contracts.analyzer import Description, Flakiness, GroupDescription
from aqe_core.contracts.capabilities import (
    AnalyzerCapabilities,
    EmbedderCapabilities,
    LearnerCapabilities,
    StoreCapabilities,
    TextIndexCapabilities,
)
from aqe_core.contracts.pattern_store import NO_KEY, Hits
from aqe_core.errors import InputError
from aqe_core.state import EngineState
from aqe_core.testing.oracles import exact_scores, quantile, wilson
from aqe_core.validate import (
    as_dim,
    as_groups,
    as_k,
    as_keys,
    as_metric,
    as_outcomes,
    as_quantiles,
    as_queries,
    as_values,
    as_vectors,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.embedder import Document

__all__ = [
    "REFERENCE_ANALYZER",
    "REFERENCE_BANDIT",
    "REFERENCE_EMBEDDER",
    "REFERENCE_LEARNER",
    "REFERENCE_POLICY",
    "REFERENCE_STORE",
    "REFERENCE_TEXT_INDEX",
    "BruteForceStore",
    "HashEmbedder",
    "PlainAnalyzer",
]

REFERENCE_STORE = StoreCapabilities(exact=True, filtered=True, checked=True, thread_safe=True)
REFERENCE_LEARNER = LearnerCapabilities(
    algorithms=("q-learning", "sarsa", "expected-sarsa"), checked=True, inspectable=True
)
REFERENCE_BANDIT = LearnerCapabilities(algorithms=("linucb", "discounted-linucb", "thompson"), checked=True)
REFERENCE_POLICY = LearnerCapabilities(algorithms=("actor-critic", "ppo"), checked=True, inspectable=True)
REFERENCE_ANALYZER = AnalyzerCapabilities(checked=True)
REFERENCE_EMBEDDER = EmbedderCapabilities(kind="lexical", fits=True)
REFERENCE_TEXT_INDEX = TextIndexCapabilities(thread_safe=True, hybrid=True)


class BruteForceStore:
    """An exact pattern store: one float64 scan per search.

    Thread-safe for one writer: keys and rows are one tuple, replaced as a whole and never changed. O(n) per write.
    """

    def __init__(self, *, dim: int, metric: str = "cosine") -> None:
        self.dim = as_dim(dim)
        self.metric = as_metric(metric)
        self._table = (np.empty(0, np.uint64), np.empty((0, self.dim), np.float32))

    def __len__(self) -> int:
        return len(self._table[0])

    def keys(self) -> NDArray[np.uint64]:
        """Return the stored keys in ascending order."""
        return self._table[0].copy()

    def add(self, keys: ArrayLike, vectors: ArrayLike) -> None:
        """Store vectors under keys."""
        names = as_keys(keys)
        rows = as_vectors(vectors, len(names), self.dim, self.metric)
        self._write(names, rows)

    def _write(self, names: NDArray[np.uint64], rows: NDArray[np.float32]) -> None:
        old_names, old_rows = self._table
        # The first of equal keys wins in np.unique, so the newest row must come first.
        all_names = np.concatenate([names[::-1], old_names])
        all_rows = np.concatenate([rows[::-1], old_rows])
        unique, first = np.unique(all_names, return_index=True)
        self._table = (unique, all_rows[first])

    def remove(self, keys: ArrayLike) -> int:
        """Remove keys; return how many were there."""
        names, rows = self._table
        gone = np.isin(names, as_keys(keys))
        self._table = (names[~gone], rows[~gone])
        return int(gone.sum())

    def search(self, queries: ArrayLike, k: int = 10, *, among: ArrayLike | None = None) -> Hits:
        """Find the nearest rows of each query."""
        wanted, single = as_queries(queries, self.dim, self.metric)
        k = as_k(k)
        names, rows = self._table
        if among is not None:
            chosen = np.isin(names, as_keys(among))
            names, rows = names[chosen], rows[chosen]
        out = self._rank(names, self._scores(wanted, rows), k)
        return Hits(out.keys[0], out.scores[0]) if single else out

    def _scores(self, queries: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return exact_scores(queries, rows, self.metric).astype(np.float32)

    def _rank(self, names: NDArray[np.uint64], scores: NDArray[np.float32], k: int) -> Hits:
        keys = np.full((len(scores), k), NO_KEY, np.uint64)
        best = np.full((len(scores), k), -np.inf, np.float32)
        for i, row in enumerate(scores):
            order = np.lexsort((names, -row))[:k]
            keys[i, : len(order)], best[i, : len(order)] = names[order], row[order]
        return Hits(keys, best)


class PlainAnalyzer:
    """Statistics by the textbook formulas, one value at a time."""

    def describe(self, values: ArrayLike, *, quantiles: ArrayLike = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)) -> Description:
        """Summarize values."""
        array, levels = as_values(values), as_quantiles(quantiles)
        return self._describe(array.tolist(), levels)

    def _describe(self, items: list[float], levels: NDArray[np.float64]) -> Description:
        n = len(items)
        mean = math.fsum(items) / n if n else math.nan
        variance = self._variance(items, mean)
        return Description(
            n=n,
            mean=mean,
            variance=variance,
            std=math.sqrt(variance),
            min=min(items, default=math.nan),
            max=max(items, default=math.nan),
            median=self._quantile(items, 0.5),
            quantile_levels=levels.copy(),
            quantiles=np.array([self._quantile(items, level) for level in levels.tolist()], np.float64),
        )

    def _variance(self, items: list[float], mean: float) -> float:
        if len(items) < 2:
            return math.nan
        return math.fsum((item - mean) ** 2 for item in items) / (len(items) - 1)

    def _quantile(self, items: list[float], level: float) -> float:
        return quantile(items, level) if items else math.nan

    def describe_groups(self, values: ArrayLike, groups: ArrayLike, n_groups: int) -> GroupDescription:
        """Summarize values by group."""
        array = as_values(values)
        numbers, count = as_groups(groups, len(array), n_groups)
        each = [self._describe(array[numbers == g].tolist(), np.array([0.95])) for g in range(count)]
        column = {
            name: np.array([getattr(one, name) for one in each], np.float64)
            for name in ("mean", "variance", "min", "max", "median")
        }
        return GroupDescription(
            n=np.array([one.n for one in each], np.int64),
            total=np.array([math.fsum(array[numbers == g]) for g in range(count)], np.float64),
            p95=np.array([one.quantiles[0] for one in each], np.float64),
            **column,
        )

    def flakiness(self, failed: ArrayLike, groups: ArrayLike, n_groups: int) -> Flakiness:
        """Count outcome changes by group."""
        outcomes = as_outcomes(failed)
        numbers, count = as_groups(groups, len(outcomes), n_groups)
        series = [outcomes[numbers == g].tolist() for g in range(count)]
        runs = [len(one) for one in series]
        flips = [self._flips(one) for one in series]
        bounds = [self._interval(f, n - 1) if n > 1 else (math.nan, math.nan) for f, n in zip(flips, runs, strict=True)]
        return Flakiness(
            runs=np.array(runs, np.int64),
            failures=np.array([sum(one) for one in series], np.int64),
            flips=np.array(flips, np.int64),
            flip_rate=np.array(
                [f / (n - 1) if n > 1 else math.nan for f, n in zip(flips, runs, strict=True)], np.float64
            ),
            low=np.array([low for low, _ in bounds], np.float64),
            high=np.array([high for _, high in bounds], np.float64),
        )

    def _flips(self, outcomes: list[bool]) -> int:
        return sum(a != b for a, b in pairwise(outcomes))

    def _interval(self, flips: int, n: int) -> tuple[float, float]:
        return wilson(flips, n)


class HashEmbedder:
    """A bag of hashed words, each weighted by its rarity in the fitted collection."""

    KIND = "embedder/test-hash/1"

    def __init__(self, *, dim: int = 64) -> None:
        self.dim = as_dim(dim)
        self._n = 0
        self._counts: dict[str, int] = {}

    @property
    def fingerprint(self) -> str:
        """Names everything that a vector depends on."""
        fitted = json.dumps([self._n, self._counts], sort_keys=True).encode()
        return f"test-hash/1/{self.dim}/{hashlib.sha256(fitted).hexdigest()[:16]}"

    def fit(self, documents: Sequence[Document]) -> None:
        """Count in how many documents each word occurs."""
        self._n = len(documents)
        self._counts = {}
        for name, text in documents:
            for word in {*self._words(f"{name} {text}")}:
                self._counts[word] = self._counts.get(word, 0) + 1

    def embed(self, documents: Sequence[Document]) -> NDArray[np.float32]:
        """Embed what is stored."""
        return self._embed([f"{name} {text}" for name, text in documents])

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed what is asked."""
        return self._embed(texts)

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.zeros((len(texts), self.dim), np.float64)
        for row, text in zip(rows, texts, strict=True):
            for word in self._words(text):
                digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                weight = math.log1p((1 + self._n) / (1 + self._counts.get(word, 0)))
                row[int.from_bytes(digest[:4], "little") % self.dim] += weight if digest[4] % 2 else -weight
        self._fill_empty(rows)
        return self._normalize(rows).astype(np.float32)

    def _words(self, text: str) -> list[str]:
        return text.lower().replace("_", " ").split()

    def _fill_empty(self, rows: NDArray[np.float64]) -> None:
        rows[~rows.any(axis=1), 0] = 1.0

    def _normalize(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        unit: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def export_state(self) -> EngineState:
        """Return the fitted counts."""
        return EngineState(kind=self.KIND, manifest={"dim": self.dim, "n": self._n, "counts": dict(self._counts)})

    def import_state(self, state: EngineState) -> None:
        """Replace the fitted counts."""
        if state.kind != self.KIND or state.manifest.get("dim") != self.dim:
            raise InputError(
                f"the state is of kind {state.kind!r}, expected {self.KIND!r} with dim {self.dim}.",
                fix="import a state that this embedder exported.",
            )
        self._n, self._counts = state.manifest["n"], dict(state.manifest["counts"])
