"""Generalized advantage estimation, and running moments for normalization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Moments", "advantages", "standardized"]


def advantages(
    rewards: NDArray[Any],
    values: NDArray[Any],
    next_values: NDArray[Any],
    terminated: NDArray[np.bool_],
    ended: NDArray[np.bool_],
    discount: float,
    trace: float,
) -> NDArray[Any]:
    """Return the advantages of ``t`` steps in ``n`` copies (Schulman, Moritz, Levine, Jordan and Abbeel 2016).

    ``A[t] = sum over k of (discount * trace)^k delta[t + k]`` up to the end of the episode, with
    ``delta = reward + discount * next_value - value``. ``next_values`` are those of the observation before a new
    episode began: after a truncation they count, after a termination they do not. All arrays have shape (t, n).
    """
    out: NDArray[Any] = rewards + discount * np.where(terminated, 0.0, next_values) - values
    carry = np.where(ended, 0.0, discount * trace).astype(out.dtype)
    for step in range(len(out) - 2, -1, -1):
        out[step] += carry[step] * out[step + 1]
    return out


def standardized(values: NDArray[Any]) -> NDArray[Any]:
    """Return values with mean 0 and standard deviation 1; a lone value as it is, equal ones as zeros."""
    if values.size < 2:
        return values
    centred: NDArray[Any] = values - values.mean()
    centred /= centred.std() + 1e-8
    return centred


class Moments:
    """Running mean and variance of each column (Chan, Golub and LeVeque 1979).

    Attributes
    ----------
    count : float
    mean, variance : float64 array, shape (n,)
    """

    def __init__(self, n: int) -> None:
        self.count = 0.0
        self.mean = np.zeros(n)
        self.variance = np.ones(n)

    def add(self, rows: NDArray[Any]) -> None:
        """Take rows in, shape (m, n)."""
        m = float(len(rows))
        mean = rows.mean(axis=0, dtype=np.float64)
        variance = rows.var(axis=0, dtype=np.float64)
        total = self.count + m
        shift = mean - self.mean
        # Without data the variance is a placeholder and has no weight.
        self.variance = (self.variance * self.count + variance * m + shift**2 * self.count * m / total) / total
        self.mean = self.mean + shift * (m / total)
        self.count = total

    def scale(self) -> NDArray[np.float64]:
        """Return the standard deviations, never below 1e-4."""
        deviation: NDArray[np.float64] = np.maximum(np.sqrt(self.variance), 1e-4)
        return deviation
