"""Weights whose running sums can be searched and changed quickly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SumTree"]

FAN = 64  # children per node: few levels, since each costs a NumPy call or two, yet short rows


class SumTree:
    """``n`` non-negative weights under a tree of their sums.

    Each node holds the sum of its `FAN` children. A sum is always computed from the children, never changed by a
    difference, so no rounding error grows, and equal weights give equal trees.

    Parameters
    ----------
    n : int

    Attributes
    ----------
    weights : float64 array, shape (n,)
        To be changed by `set` only.
    """

    def __init__(self, n: int) -> None:
        self._levels: list[NDArray[np.float64]] = []  # leaves first, each as rows of siblings
        rows = -(-n // FAN)
        while True:
            self._levels.append(np.zeros((rows, FAN)))
            if rows == 1:
                break
            rows = -(-rows // FAN)
        self.weights = self._levels[0].reshape(-1)[:n]

    def set(self, indices: NDArray[np.int64], weights: NDArray[np.float64] | float) -> None:
        """Change weights; of equal indices the last counts. O(m FAN levels)."""
        self.weights[indices] = weights
        for below, above in zip(self._levels, self._levels[1:], strict=False):
            indices = indices // FAN
            if indices.size > 2 * len(below):
                indices = np.arange(len(below))
            above.reshape(-1)[indices] = below[indices].sum(axis=1)

    def total(self) -> float:
        """Return the sum of all weights."""
        return float(self._levels[-1].sum())

    def find(self, targets: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return, for each target in 0 .. total, the index where the running sum first exceeds it. O(m FAN levels).

        A weight of zero is never found, whatever the rounding.
        """
        rest = targets.copy()
        nodes = np.zeros(rest.size, np.int64)
        for level in reversed(self._levels):
            running = level[nodes].cumsum(axis=1)
            # Rounding may leave a target at or above the sum of a node: the last child that has weight takes it.
            np.minimum(rest, np.nextafter(running[:, -1], -1.0), out=rest)
            child = (running <= rest[:, None]).sum(axis=1)
            at = np.arange(rest.size)
            before = np.where(child > 0, running[at, child - 1], 0.0)
            rest -= before
            nodes = nodes * FAN + child
        return nodes
