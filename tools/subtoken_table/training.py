"""Contrastive training of subtoken vectors in NumPy: one thread, one seed, the same bits each time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from aqe_backend_numpy.embedder import signs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from corpus import Corpus, Rows
    from numpy.typing import NDArray


class Settings(NamedTuple):
    """What the table depends on beside the texts.

    ``n_hashed`` of the ``dim`` dimensions are the embedder's random signs and are not trained, so that what is learned
    complements them. ``temperature`` divides the cosines in the loss.
    """

    dim: int = 384
    n_hashed: int = 128
    n_vocabulary: int = 15_000
    per_project: int = 4000
    n_steps: int = 1500
    batch: int = 512
    temperature: float = 0.07
    learning_rate: float = 0.02
    seed: int = 20_261_122


class _Side(NamedTuple):
    """One side of a batch of pairs: sparse rows made dense, and their unit vectors."""

    matrix: NDArray[np.float32]
    columns: NDArray[np.int32]
    unit: NDArray[np.float32]
    norms: NDArray[np.float32]


class Trainer:
    """Vectors of all subtokens of a corpus, of which those of the vocabulary are trained.

    The loss of a batch of pairs is the symmetric InfoNCE of van den Oord et al. (2018), with the other pairs as the
    negatives; the optimizer is Adagrad (Duchi et al., 2011) with one accumulator per row and a rate that falls linearly
    to zero.
    """

    def __init__(self, corpus: Corpus, settings: Settings) -> None:
        self.corpus = corpus
        self.settings = settings
        self._generator = np.random.default_rng(settings.seed)
        dim, hashed = settings.dim, settings.n_hashed
        self.vectors = np.stack([signs_of(each, dim) for each in corpus.subtokens]).astype(np.float32) / math.sqrt(dim)
        shape = (corpus.n_vocabulary, dim - hashed)
        self.vectors[: corpus.n_vocabulary, hashed:] = self._generator.standard_normal(shape) / math.sqrt(dim)
        self._squares = np.zeros((corpus.n_vocabulary, 1), np.float32)
        by_group = np.argsort(corpus.groups, kind="stable")
        bounds = np.searchsorted(corpus.groups[by_group], np.arange(corpus.groups.max() + 2))
        self._siblings = [by_group[bounds[g] : bounds[g + 1]] for g in range(len(bounds) - 1)]

    def train(self, progress: Callable[[int, dict[str, float]], None]) -> None:
        """Run all steps; ``progress(step, mean loss by kind of pair)`` is called every 100."""
        losses: dict[str, list[float]] = {}
        n_steps = self.settings.n_steps
        for step, (kind, numbers) in zip(range(n_steps), self._batches(), strict=False):
            rate = self.settings.learning_rate * (1 - step / n_steps)
            losses.setdefault(kind, []).append(self._step(kind, numbers, rate))
            if (step + 1) % 100 == 0:
                progress(step + 1, {name: float(np.mean(values[-50:])) for name, values in sorted(losses.items())})

    def _batches(self) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """Yield batches for ever: each epoch takes every example once as each kind of pair, in random order."""
        size = self.settings.batch
        everyone = np.arange(self.corpus.n_examples)
        kinds = {"described": self.corpus.described, "named": everyone, "siblings": everyone}
        while True:
            epoch = []
            for kind, numbers in kinds.items():
                shuffled = self._generator.permutation(numbers)
                epoch += [(kind, shuffled[i : i + size]) for i in range(0, len(shuffled) - size // 2, size)]
            for i in self._generator.permutation(len(epoch)):
                yield epoch[i]

    def _step(self, kind: str, numbers: NDArray[np.int64], rate: float) -> float:
        corpus = self.corpus
        if kind == "described":
            return self._pull(self._side(corpus.descriptions, numbers), self._side(corpus.documents, numbers), rate)
        if kind == "named":
            return self._pull(self._side(corpus.names, numbers), self._side(corpus.bodies, numbers), rate)
        drawn = [self._siblings[corpus.groups[i]] for i in numbers]
        others = np.array([group[self._generator.integers(len(group))] for group in drawn])
        numbers, others = numbers[others != numbers], others[others != numbers]
        # Another test of the same class is no negative.
        same = corpus.groups[numbers][:, None] == corpus.groups[others][None]
        np.fill_diagonal(same, val=False)
        return self._pull(self._side(corpus.bodies, numbers), self._side(corpus.documents, others), rate, same)

    def _side(self, rows: Rows, numbers: NDArray[np.int64]) -> _Side:
        matrix, columns = rows.dense(numbers)
        sums = matrix @ self.vectors[columns]
        norms = np.sqrt(np.einsum("ij,ij->i", sums, sums))[:, None] + np.float32(1e-6)
        return _Side(matrix, columns, sums / norms, norms)

    def _pull(self, left: _Side, right: _Side, rate: float, hidden: NDArray[np.bool_] | None = None) -> float:
        """Take one step down the loss of pairs (left i, right i); return the loss."""
        n, temperature = len(left.unit), np.float32(self.settings.temperature)
        logits = left.unit @ right.unit.T / temperature
        if hidden is not None:
            logits[hidden] = -1e9
        gradient = np.zeros_like(logits)
        loss = 0.0
        for axis in (0, 1):
            shares = np.exp(logits - logits.max(axis=axis, keepdims=True))
            shares /= shares.sum(axis=axis, keepdims=True)
            loss -= float(np.log(np.maximum(np.diagonal(shares), 1e-20)).mean()) / 2
            gradient += shares / 2
        gradient[np.diag_indices(n)] -= 1
        gradient /= n * temperature
        toward_left, toward_right = gradient @ right.unit, gradient.T @ left.unit
        self._descend(left, toward_left, rate)
        self._descend(right, toward_right, rate)
        return loss

    def _descend(self, side: _Side, gradient: NDArray[np.float32], rate: float) -> None:
        along = np.einsum("ij,ij->i", gradient, side.unit)[:, None]
        of_sums = (gradient - side.unit * along) / side.norms
        n_trained = int(np.searchsorted(side.columns, self.corpus.n_vocabulary))
        columns, hashed = side.columns[:n_trained], self.settings.n_hashed
        steps = side.matrix[:, :n_trained].T @ of_sums[:, hashed:]
        self._squares[columns] += (steps * steps).mean(axis=1, keepdims=True)
        self.vectors[columns, hashed:] -= np.float32(rate) * steps / np.sqrt(self._squares[columns] + np.float32(1e-12))
