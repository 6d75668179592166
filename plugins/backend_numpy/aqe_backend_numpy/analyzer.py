"""Descriptive statistics and flakiness, vectorized."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aqe_core import validate
from aqe_core.contracts.analyzer import Description, Flakiness, GroupDescription

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["NumpyAnalyzer"]

_Z95 = 1.959963984540054  # the standard normal's 97.5 % quantile


class NumpyAnalyzer:
    """Statistics in float64. Fulfils `Analyzer`; stateless, so calls from several threads do not disturb each other.

    The variance takes two passes and a correction for the rounding of the mean (Chan, Golub and LeVeque 1983), so
    that a large common offset costs no digits. A result beyond the range of float64 is infinite.

    Examples
    --------
    >>> NumpyAnalyzer().describe([1.0, 2.0, 4.0], quantiles=[0.5]).median
    2.0
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def describe(self, values: ArrayLike, *, quantiles: ArrayLike = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)) -> Description:
        """Summarize values. O(n log n).

        Parameters
        ----------
        values : array of float64, shape (n,)
            Finite. ``n`` may be 0.
        quantiles : array of float64, shape (q,)
            Levels in 0 .. 1.

        Raises
        ------
        DimensionError, NonFiniteError, InputError
            Bad input.
        """
        array = validate.as_values(values)
        levels = validate.as_quantiles(quantiles).copy()
        ordered = np.sort(array)
        start, count = np.zeros(1, np.int64), np.array([array.size])
        _, mean, variance = _moments(ordered, np.zeros(array.size, np.int64), start, count)
        return Description(
            n=array.size,
            mean=float(mean[0]),
            variance=float(variance[0]),
            std=float(np.sqrt(variance[0])),
            min=float(_quantile(ordered, start, count, 0.0)[0]),
            max=float(_quantile(ordered, start, count, 1.0)[0]),
            median=float(_quantile(ordered, start, count, 0.5)[0]),
            quantile_levels=levels,
            quantiles=_quantile(ordered, start, count, levels),
        )

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
        array = validate.as_values(values)
        group, n_groups = validate.as_groups(groups, array.size, n_groups)
        order = np.lexsort((array, group))
        ordered, group = array[order], group[order]
        counts = np.bincount(group, minlength=n_groups)
        starts = counts.cumsum() - counts
        total, mean, variance = _moments(ordered, group, starts, counts)
        return GroupDescription(
            n=counts,
            total=total,
            mean=mean,
            variance=variance,
            min=_quantile(ordered, starts, counts, 0.0),
            max=_quantile(ordered, starts, counts, 1.0),
            median=_quantile(ordered, starts, counts, 0.5),
            p95=_quantile(ordered, starts, counts, 0.95),
        )

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
        outcomes = validate.as_outcomes(failed)
        group, n_groups = validate.as_groups(groups, outcomes.size, n_groups)
        order = np.argsort(group, kind="stable")
        ordered, group = outcomes[order], group[order]
        flipped = (ordered[1:] != ordered[:-1]) & (group[1:] == group[:-1])
        runs = np.bincount(group, minlength=n_groups)
        flips = np.bincount(group[1:][flipped], minlength=n_groups)
        rate, low, high = _wilson(flips, np.maximum(runs - 1, 0))
        return Flakiness(
            runs=runs,
            failures=np.bincount(group[ordered], minlength=n_groups),
            flips=flips,
            flip_rate=rate,
            low=low,
            high=high,
        )


def _moments(
    ordered: NDArray[np.float64],
    group: NDArray[np.int64],
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return sum, mean and variance (over ``n - 1``) of values that are sorted by group."""
    with np.errstate(all="ignore"):  # 0 / 0 is NaN on purpose; what overflows is infinite
        total = _sums(ordered, starts, counts)
        mean = total / counts
        apart = ordered - mean[group]
        drift = _sums(apart, starts, counts)
        apart *= apart
        squares = _sums(apart, starts, counts) - drift * drift / counts
        squares[~np.isfinite(squares)] = np.inf
        variance = np.where(counts > 1, np.maximum(squares, 0.0) / (counts - 1), np.nan)
    return total, mean, variance


def _sums(ordered: NDArray[np.float64], starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sum of each run of values."""
    sums = np.zeros(counts.size, np.float64)
    some = counts > 0
    if some.any():
        sums[some] = np.add.reduceat(ordered, starts[some])
    return sums


def _quantile(
    ordered: NDArray[np.float64],
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    level: float | NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the quantile of each ascending run, interpolated linearly (type 7 of Hyndman and Fan 1996).

    ``level`` and the runs are broadcast against each other; an empty run has NaN.
    """
    place = np.asarray(level * np.maximum(counts - 1, 0), np.float64)
    out = np.full(place.shape, np.nan)
    some = np.broadcast_to(counts > 0, place.shape)
    place = place[some]
    start = np.broadcast_to(starts, out.shape)[some]
    last = np.broadcast_to(counts, out.shape)[some] - 1
    below = np.minimum(np.floor(place).astype(np.int64), last)
    share = place - below
    left, right = ordered[start + below], ordered[start + np.minimum(below + 1, last)]
    # Weighted ends, not left + share * (right - left): the difference of two finite values may overflow.
    mixed = left * (1.0 - share) + right * share
    out[some] = np.where(share == 0.0, left, np.clip(mixed, left, right))
    return out


def _wilson(
    successes: NDArray[np.int64], trials: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the rate and its Wilson score interval at 95 % (Wilson 1927); NaN without trials."""
    z2 = _Z95 * _Z95
    with np.errstate(invalid="ignore"):
        rate = np.where(trials > 0, successes / trials, np.nan)
        centre = (successes + z2 / 2.0) / (trials + z2)
        spread = _Z95 / (trials + z2) * np.sqrt(trials * rate * (1.0 - rate) + z2 / 4.0)
    # At the ends the formula gives 0 and 1 exactly, but its rounding may not.
    low = np.where(successes == 0, 0.0, np.maximum(centre - spread, 0.0))
    high = np.where(successes == trials, 1.0, np.minimum(centre + spread, 1.0))
    low[trials == 0] = high[trials == 0] = np.nan
    return rate, low, high
