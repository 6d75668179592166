"""What the right answer is, computed slowly and plainly in float64; and how near an answer comes to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "exact_scores",
    "exact_top_k",
    "expected_sarsa",
    "quantile",
    "recall_at_k",
    "score_scale",
    "td",
    "wilson",
]


def exact_scores(queries: ArrayLike, rows: ArrayLike, metric: str) -> NDArray[np.float64]:
    """Return the scores of all rows for all queries in float64, shape (m, n); equal rows have equal scores."""
    left, right = np.atleast_2d(np.asarray(queries, np.float64)), np.asarray(rows, np.float64)
    if metric == "l2":
        out = np.empty((len(left), len(right)))
        for i, query in enumerate(left):
            out[i] = -np.square(right - query).sum(axis=1)
        return out
    if metric == "cosine":
        left = left / np.linalg.norm(left, axis=1, keepdims=True)
        right = right / np.linalg.norm(right, axis=1, keepdims=True)
    # Not a matrix product: BLAS rounds a row differently at the end of a block.
    products: NDArray[np.float64] = np.einsum("md,nd->mn", left, right)
    return products


def score_scale(queries: ArrayLike, rows: ArrayLike, metric: str) -> NDArray[np.float64]:
    """Return the largest magnitude involved in each score, shape (m, n); errors of scores are relative to it.

    1 for ``cosine``, ``|q| |x|`` for ``dot``, ``(|q| + |x|)**2`` for ``l2``.
    """
    left = np.linalg.norm(np.atleast_2d(np.asarray(queries, np.float64)), axis=1)[:, None]
    right = np.linalg.norm(np.asarray(rows, np.float64), axis=1)[None, :]
    scales: dict[str, NDArray[np.float64]] = {
        "cosine": np.ones((left.shape[0], right.shape[1])),
        "dot": left * right,
        "l2": np.square(left + right),
    }
    return scales[metric]


def exact_top_k(
    queries: ArrayLike, keys: ArrayLike, rows: ArrayLike, k: int, metric: str
) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
    """Return keys and scores of the exact scan in the order (-score, key), each of shape (m, min(k, n))."""
    names = np.asarray(keys, np.uint64)
    scores = exact_scores(queries, rows, metric)
    order = (
        np.stack([np.lexsort((names, -row))[:k] for row in scores])
        if len(scores)
        else np.empty((0, min(k, len(names))), int)
    )
    return names[order], np.take_along_axis(scores, order, axis=1)


def recall_at_k(found: ArrayLike, wanted: ArrayLike) -> float:
    """Return the mean share of the wanted keys (m, k) that were found (m, any)."""
    pairs = zip(np.asarray(found).tolist(), np.asarray(wanted).tolist(), strict=True)
    return math.fsum(len({*row} & {*best}) / len(best) for row, best in pairs) / len(np.asarray(wanted))


def td(value: float, reward: float, future: float, *, learning_rate: float, discount: float) -> float:
    """Return a value after one temporal-difference step: Q + a (r + g Q' - Q) (Sutton and Barto 2018, eq. 6.7, 6.8)."""
    return value + learning_rate * (reward + discount * future - value)


def expected_sarsa(values: Sequence[float], epsilon: float) -> float:
    """Return the value of a state under the epsilon-greedy policy over these actions (eq. 6.9)."""
    return (1.0 - epsilon) * max(values) + epsilon * math.fsum(values) / len(values)


def quantile(values: Sequence[float], level: float) -> float:
    """Return a quantile by linear interpolation between order statistics (Hyndman and Fan 1996, type 7)."""
    ordered = sorted(values)
    position = level * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Return the score interval of a proportion at 95 % (Wilson 1927)."""
    z = 1.959963984540054
    share, z2 = successes / n, z * z / n
    centre = (share + z2 / 2.0) / (1.0 + z2)
    half = z * math.sqrt(share * (1.0 - share) / n + z2 / (4.0 * n)) / (1.0 + z2)
    return centre - half, centre + half
