"""How a ranker learns: logistic regression on pairs of a failed test and another, with a Gaussian prior.

The loss is ``sum over pairs of c log(1 + exp(-w . d)) + (w - w0) L (w - w0) / 2`` with d the difference of features.
Pairs of the last cycles are kept; older ones live on as the quadratic that approximated them when they left
(Laplace). The weights are the minimum, followed by Newton's method from where they were.
"""

from __future__ import annotations

from math import lcm
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PAIRS", "WINDOW", "Memory", "fit", "grown", "pairs", "remembered"]

PAIRS = 120
"""Pairs taken from a failing cycle, of weight 1 together."""
WINDOW = 20
"""Failing cycles whose pairs are kept."""

_NEWTON_STEPS = 2
_MASK = 2**64 - 1
_GOLDEN, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_SMALLEST_SQUARE = 1e-6
_MAX_LOG_ODDS = 40.0


class Memory(NamedTuple):
    """What the weights are learned from.

    Attributes
    ----------
    window : ndarray of float64, shape (f, p)
        Differences of features of the kept pairs, oldest first.
    counts : tuple of int
        Pairs of each kept cycle.
    curvature, pull : ndarray of float64, shape (f, f) and (f,)
        The quadratic of the older cycles: ``w . curvature . w / 2 - pull . w``.
    squares : ndarray of float64, shape (f,)
        Sum over failing cycles of the mean square of each difference.
    cycles : int
        Failing cycles learned from.
    """

    window: NDArray[np.float64]
    counts: tuple[int, ...]
    curvature: NDArray[np.float64]
    pull: NDArray[np.float64]
    squares: NDArray[np.float64]
    cycles: int

    @classmethod
    def empty(cls, f: int) -> Memory:
        """Return the memory of ``f`` features and no cycle."""
        return cls(np.empty((f, 0)), (), np.zeros((f, f)), np.zeros(f), np.zeros(f), 0)


def pairs(
    failed: NDArray[np.int64], others: NDArray[np.int64], slots: NDArray[np.int64], salt: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return up to `PAIRS` distinct pairs (failed, other) of indexes, spread evenly over both.

    Both lists are shuffled by a hash of each test's slot and the salt, so that no generator is needed and the order
    in which tests are given does not matter; pair i takes item i of the one, and of the other, around and around,
    shifted by one after each least common multiple so that no pair comes twice.
    """
    m, q = len(failed), len(others)
    left = failed[np.argsort(_hashed(slots[failed], salt), kind="stable")]
    right = others[np.argsort(_hashed(slots[others], salt), kind="stable")]
    i = np.arange(min(PAIRS, m * q))
    return left[i % m], right[(i + i // lcm(m, q)) % q]


def _hashed(slots: NDArray[np.int64], salt: int) -> NDArray[np.uint64]:
    """Return 64 well-mixed bits of each slot (the finalizer of SplitMix64; Steele, Lea and Flood 2014)."""
    start = (salt * _MIX_2 + _GOLDEN) & _MASK
    start = ((start ^ (start >> 30)) * _MIX_1) & _MASK
    bits = slots.astype(np.uint64) * np.uint64(_GOLDEN) + np.uint64(start)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(_MIX_1)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(_MIX_2)
    return bits ^ (bits >> np.uint64(31))


def remembered(memory: Memory, differences: NDArray[np.float64], weights: NDArray[np.float64]) -> Memory:
    """Return the memory with the pairs of one more cycle, shape (f, p); the oldest cycle leaves a full window."""
    window, counts, curvature, pull = memory.window, memory.counts, memory.curvature, memory.pull
    if len(counts) == WINDOW:
        oldest = window[:, : counts[0]]
        slope, bend = _derivatives(oldest, np.full(counts[0], 1.0 / counts[0]), weights)
        curvature = curvature + bend
        pull = pull + slope + bend @ weights
        window, counts = window[:, counts[0] :], counts[1:]
    return Memory(
        np.concatenate([window, differences], axis=1),
        (*counts, differences.shape[1]),
        curvature,
        pull,
        memory.squares + (differences * differences).mean(axis=1),
        memory.cycles + 1,
    )


def fit(
    memory: Memory, weights: NDArray[np.float64], start: NDArray[np.float64], strength: float
) -> NDArray[np.float64]:
    """Return the weights after two Newton steps.

    The prior's precision is ``strength`` cycles' worth of a feature's usual information, a quarter of its mean square.
    """
    each = np.repeat(1.0 / np.array(memory.counts), memory.counts)
    precision = strength * 0.25 * np.maximum(memory.squares / memory.cycles, _SMALLEST_SQUARE)
    for _ in range(_NEWTON_STEPS):
        slope, bend = _derivatives(memory.window, each, weights)
        slope += memory.pull - memory.curvature @ weights - precision * (weights - start)
        bend += memory.curvature
        bend[np.diag_indices_from(bend)] += precision
        weights = weights + np.linalg.solve(bend, slope)
    return weights


def _derivatives(
    differences: NDArray[np.float64], each: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the descent direction and the curvature of the pairs' loss, shapes (f,) and (f, f)."""
    wrong = 1.0 / (1.0 + np.exp(np.minimum(weights @ differences, _MAX_LOG_ODDS)))
    pull = each * wrong
    slope = differences @ pull
    bend = (differences * (pull - pull * wrong)) @ differences.T
    return slope, bend


def grown(memory: Memory, f: int) -> Memory:
    """Return the memory with room for ``f`` features; the new ones were 0 in all pairs."""
    more = f - len(memory.pull)
    return Memory(
        np.pad(memory.window, ((0, more), (0, 0))),
        memory.counts,
        np.pad(memory.curvature, ((0, more), (0, more))),
        np.pad(memory.pull, (0, more)),
        np.pad(memory.squares, (0, more)),
        memory.cycles,
    )
