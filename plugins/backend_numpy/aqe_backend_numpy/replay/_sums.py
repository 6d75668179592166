"""Weights whose running sums can be searched and changed quickly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["WIDTH", "Sums"]

WIDTH = 32  # weights per block: finding looks through one, a change sums all blocks up


class Sums:
    """``n`` non-negative weights, and the sums of blocks of them.

    A sum tree of two levels instead of log2(n): each level costs a NumPy call or two, which is more than what the few
    additions of a wide one cost. A sum is always computed from the weights, never changed by a difference, so no
    rounding error grows, and equal weights give equal sums.

    Parameters
    ----------
    n : int

    Attributes
    ----------
    weights : float64 array, shape (n,)
        To be changed by `set` only.
    """

    def __init__(self, n: int) -> None:
        self._blocks = np.zeros((-(-n // WIDTH), WIDTH))
        self._sums = np.zeros(len(self._blocks))
        self._running: NDArray[np.float64] | None = None  # of the sums, computed when it is asked for
        self.weights = self._blocks.reshape(-1)[:n]

    def set(self, indices: NDArray[np.int64], weights: NDArray[np.float64] | float) -> None:
        """Change weights; of equal indices the last counts. O(m WIDTH)."""
        self.weights[indices] = weights
        blocks = indices // WIDTH
        if blocks.size > len(self._sums):
            self._blocks.sum(axis=1, out=self._sums)
        else:
            self._sums[blocks] = self._blocks.take(blocks, axis=0).sum(axis=1)
        self._running = None

    def _sums_so_far(self) -> NDArray[np.float64]:
        if self._running is None:
            self._running = self._sums.cumsum()
        return self._running

    def total(self) -> float:
        """Return the sum of all weights. O(n / WIDTH) after a change, else O(1)."""
        return float(self._sums_so_far()[-1])

    def find(self, targets: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return, for each target in 0 .. total, the index where the running sum first exceeds it.

        A weight of zero is never found, whatever the rounding. O(m (WIDTH + log n)), and as `total`.
        """
        running = self._sums_so_far()
        reached = np.minimum(targets, np.nextafter(running[-1], -1.0))
        blocks = running.searchsorted(reached, side="right")
        reached -= np.where(blocks > 0, running[blocks - 1], 0.0)
        within = self._blocks.take(blocks, axis=0).cumsum(axis=1)
        # Rounding may leave a target at or above the sum of its block: the last weight there takes it.
        np.minimum(reached, np.nextafter(within[:, -1], -1.0), out=reached)
        places: NDArray[np.int64] = (within > reached[:, None]).argmax(axis=1)
        places += blocks * WIDTH
        return places
