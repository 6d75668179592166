"""Analyzers and embedders that are wrong in one known way each (see `aqe_core.testing.faulty`)."""

from __future__ import annotations

import math
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from aqe_core.state import EngineState
from aqe_core.testing.backends import HashEmbedder, PlainAnalyzer
from aqe_core.testing.faulty import wrong

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aqe_core.contracts.analyzer import Description, Flakiness, GroupDescription


@wrong("protocol")
class CountsInFloats(PlainAnalyzer):
    """Returns n as a float."""

    def describe(self, values: Any, **options: Any) -> Description:
        """Summarize."""
        summary = super().describe(values, **options)
        return attrs.evolve(summary, n=float(summary.n))  # type: ignore[arg-type]  # the fault


@wrong("describe", "groups", "describe_far_from_zero")
class PopulationVariance(PlainAnalyzer):
    """Divides by n."""

    def _variance(self, items: list[float], mean: float) -> float:
        return super()._variance(items, mean) * (len(items) - 1) / max(1, len(items))


@wrong("describe", "groups")
class LowerQuantile(PlainAnalyzer):
    """Takes the order statistic below instead of interpolating."""

    def _quantile(self, items: list[float], level: float) -> float:
        return sorted(items)[math.floor(level * (len(items) - 1))] if items else math.nan


@wrong("describe_defaults")
class SortsLevels(PlainAnalyzer):
    """Returns quantiles in ascending order of level."""

    def describe(self, values: Any, *, quantiles: Any = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)) -> Description:
        """Summarize."""
        return super().describe(values, quantiles=sorted(quantiles))


@wrong("describe_far_from_zero")
class SumOfSquares(PlainAnalyzer):
    """Subtracts two large sums."""

    def _variance(self, items: list[float], mean: float) -> float:
        if len(items) < 2:
            return math.nan
        return abs(sum(item * item for item in items) - len(items) * mean * mean) / (len(items) - 1)


@wrong("describe_few", "groups")
class ZeroForNothing(PlainAnalyzer):
    """Gives 0 where there is no variance."""

    def _variance(self, items: list[float], mean: float) -> float:
        return super()._variance(items, mean) if len(items) > 1 else 0.0


@wrong("no_groups")
class FailsWithoutGroups(PlainAnalyzer):
    """Counts up to the largest of no groups."""

    def describe_groups(self, values: Any, groups: Any, n_groups: int) -> GroupDescription:
        """Summarize by group."""
        found = super().describe_groups(values, groups, n_groups)
        np.max(np.asarray(groups))
        return found


@wrong("flakiness")
class FlipsAcrossTests(PlainAnalyzer):
    """Counts flips between neighbours in the input, whichever test they belong to."""

    def flakiness(self, failed: Any, groups: Any, n_groups: int) -> Flakiness:
        """Count flips."""
        found = super().flakiness(failed, groups, n_groups)
        changed = np.diff(np.asarray(failed, np.int8)) != 0
        flips = np.bincount(np.asarray(groups, np.int64)[1:][changed], minlength=max(1, n_groups))[:n_groups]
        return attrs.evolve(found, flips=flips.astype(np.int64))


@wrong("flakiness")
class NormalInterval(PlainAnalyzer):
    """Uses the normal approximation, which leaves 0 .. 1."""

    def _interval(self, flips: int, n: int) -> tuple[float, float]:
        share = flips / n
        half = 1.96 * math.sqrt(share * (1.0 - share) / n)
        return share - half, share + half


@wrong("memory_layouts")
class SortsInPlace(PlainAnalyzer):
    """Sorts the caller's array."""

    def describe(self, values: Any, **options: Any) -> Description:
        """Summarize."""
        summary = super().describe(values, **options)
        if isinstance(values, np.ndarray) and values.flags.writeable:
            values.sort()
        return summary


@wrong("bad_values")
class DropsNaN(PlainAnalyzer):
    """Leaves out what is not finite."""

    def describe(self, values: Any, **options: Any) -> Description:
        """Summarize."""
        if isinstance(values, list):
            values = [value for value in values if not isinstance(value, float) or math.isfinite(value)]
        return super().describe(values, **options)


@wrong("bad_groups")
class WrapsGroups(PlainAnalyzer):
    """Counts negative groups from the end."""

    def describe_groups(self, values: Any, groups: Any, n_groups: int) -> GroupDescription:
        """Summarize by group."""
        if isinstance(groups, list) and groups and n_groups in {1, 2}:
            groups = [g % n_groups if isinstance(g, int) else g for g in groups]
        return super().describe_groups(values, groups, n_groups)


@wrong("bad_levels_and_outcomes")
class TakesPercentages(PlainAnalyzer):
    """Takes levels above 1 for percentages."""

    def describe(self, values: Any, *, quantiles: Any = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)) -> Description:
        """Summarize."""
        percent = [level / 100.0 if isinstance(level, int) else level for level in quantiles]
        return super().describe(values, quantiles=percent)


@wrong("threads")
class SharesScratch(PlainAnalyzer):
    """Keeps the values in a buffer of the analyzer."""

    def _describe(self, items: list[float], levels: NDArray[np.float64]) -> Description:
        self._scratch = items
        time.sleep(1e-4)  # another thread gets its turn here
        return super()._describe(self._scratch, levels)


@wrong("protocol")
class NoFingerprint(HashEmbedder):
    """Has an empty fingerprint."""

    fingerprint = ""


@wrong("unit_rows", "odd_texts")
class NotNormalized(HashEmbedder):
    """Returns rows of any length."""

    def _normalize(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return rows


@wrong("odd_texts")
class ZeroForEmpty(HashEmbedder):
    """Returns a row of zeros for a text without words."""

    def _fill_empty(self, rows: NDArray[np.float64]) -> None:
        pass

    def _normalize(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(lengths == 0.0, 1.0, lengths)


@wrong("rows_are_independent")
class CentresBatch(HashEmbedder):
    """Subtracts the mean of the batch."""

    def _normalize(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        centred = rows - rows.mean(axis=0) if len(rows) > 1 else rows
        return super()._normalize(np.where(np.abs(centred).sum(axis=1, keepdims=True) > 0, centred, 1.0))


@wrong("same_fingerprint_same_vectors")
class UnseededSigns(HashEmbedder):
    """Draws other signs for every embedder, and does not say so."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._signs = np.random.default_rng().choice([-1.0, 1.0], size=self.dim)

    def _normalize(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return super()._normalize(rows * self._signs)


@wrong("embedding_changes_nothing")
class CountsWhatItEmbeds(HashEmbedder):
    """Learns from every document it embeds."""

    def embed(self, documents: Any) -> NDArray[np.float32]:
        """Embed."""
        rows = super().embed(documents)
        self._n += len(documents)
        return rows


@wrong("fit_changes_fingerprint")
class ConstantFingerprint(HashEmbedder):
    """Has one fingerprint for all fitted states."""

    fingerprint = "constant"


@wrong("fit_does_nothing", fits=False)
class FitsAfterAll(HashEmbedder):
    """Declares that it does not fit, and does."""


@wrong("state")
class ForgetsCounts(HashEmbedder):
    """Leaves the counts out of its state."""

    def export_state(self) -> EngineState:
        """Export."""
        state = super().export_state()
        return EngineState(kind=state.kind, manifest={**state.manifest, "counts": {}})


@wrong("bad_state")
class ImportsAnything(HashEmbedder):
    """Imports as much of a state as it understands."""

    def import_state(self, state: EngineState) -> None:
        """Import."""
        self._n = state.manifest.get("n", 0)
        self._counts = dict(state.manifest.get("counts", {}))


@wrong("nearness")
class TwoSpaces(HashEmbedder):
    """Hashes queries in another way than documents."""

    def embed_queries(self, texts: Any) -> NDArray[np.float32]:
        """Embed."""
        return super().embed_queries([" ".join(word[::-1] for word in self._words(text)) for text in texts])


@wrong("large_batches")
class ForgetsTheFirstRows(HashEmbedder):
    """Writes every chunk of 128 documents to the beginning of what it returns."""

    def embed(self, documents: Any) -> NDArray[np.float32]:
        """Embed."""
        rows = super().embed(documents)
        for start in range(128, len(rows), 128):
            rows[: len(rows[start : start + 128])] = rows[start : start + 128]
        return rows


@wrong("threads")
class SharesWords(HashEmbedder):
    """Keeps the texts in a field of the embedder."""

    def _embed(self, texts: Any) -> NDArray[np.float32]:
        self._texts = texts
        time.sleep(1e-3)  # another thread gets its turn here
        return super()._embed(self._texts)


@wrong("no_network")
class LooksForANewerModel(HashEmbedder):
    """Asks a server for a newer model, and goes on without when there is none."""

    def fit(self, documents: Any) -> None:
        """Fit."""
        with suppress(OSError), socket.socket() as here:
            here.settimeout(0.2)
            here.connect(("127.0.0.1", 9))
        super().fit(documents)
