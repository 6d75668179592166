"""The Analyzer contract: statistics over test outcomes and durations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import attrs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Analyzer", "Description", "Flakiness", "GroupDescription"]


@attrs.frozen(kw_only=True, eq=False)
class Description:
    """Summary of ``n`` values.

    Attributes
    ----------
    n : int
    mean, min, max, median : float
        NaN when ``n`` is 0.
    variance, std : float
        With ``n - 1`` in the denominator; NaN when ``n`` is below 2.
    quantile_levels, quantiles : ndarray of float64, shape (q,)
        Linear interpolation between order statistics (Hyndman and Fan's type 7, NumPy's default).
    """

    n: int
    mean: float
    variance: float
    std: float
    min: float
    max: float
    median: float
    quantile_levels: NDArray[np.float64]
    quantiles: NDArray[np.float64]


@attrs.frozen(kw_only=True, eq=False)
class GroupDescription:
    """Summary of values by group; every array has shape (n_groups,), empty groups are 0 or NaN.

    Attributes
    ----------
    n : ndarray of int64
    total, mean, variance, min, max, median, p95 : ndarray of float64
        As in `Description`; ``total`` is the sum.
    """

    n: NDArray[np.int64]
    total: NDArray[np.float64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    median: NDArray[np.float64]
    p95: NDArray[np.float64]


@attrs.frozen(kw_only=True, eq=False)
class Flakiness:
    """How often each group changes its outcome between consecutive runs; arrays of shape (n_groups,).

    A test that broke once and stays broken flips once; a flaky one flips again and again.

    Attributes
    ----------
    runs, failures, flips : ndarray of int64
    flip_rate : ndarray of float64
        ``flips / (runs - 1)``; NaN below 2 runs.
    low, high : ndarray of float64
        Wilson score interval of the flip rate at 95 % (Wilson 1927); NaN below 2 runs.
    """

    runs: NDArray[np.int64]
    failures: NDArray[np.int64]
    flips: NDArray[np.int64]
    flip_rate: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@runtime_checkable
class Analyzer(Protocol):
    """Stateless statistics. Made by a factory ``factory(**options)``. No argument is changed."""

    def describe(self, values: ArrayLike, *, quantiles: ArrayLike = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)) -> Description:
        """Summarize values.

        Parameters
        ----------
        values : array of float64, shape (n,)
            Finite. ``n`` may be 0.
        quantiles : array of float64, shape (q,)
            Levels in 0 .. 1.

        Raises
        ------
        DimensionError
            ``values`` has not one axis.
        NonFiniteError
            A value is NaN or infinite.
        InputError
            A level is outside 0 .. 1.
        """
        ...

    def describe_groups(self, values: ArrayLike, groups: ArrayLike, n_groups: int) -> GroupDescription:
        """Summarize values by group. O(n log n).

        Parameters
        ----------
        values : array of float64, shape (n,)
            Finite.
        groups : array of int64, shape (n,)
            Group of each value, 0 .. n_groups - 1.
        n_groups : int

        Raises
        ------
        DimensionError, NonFiniteError, InputError
            Bad input.
        """
        ...

    def flakiness(self, failed: ArrayLike, groups: ArrayLike, n_groups: int) -> Flakiness:
        """Count outcome changes by group. O(n log n).

        Parameters
        ----------
        failed : array of bool, shape (n,)
            Outcomes in the order of time.
        groups : array of int64, shape (n,)
            Group (test) of each outcome, 0 .. n_groups - 1.
        n_groups : int

        Raises
        ------
        DimensionError, InputError
            Bad input.
        """
        ...
