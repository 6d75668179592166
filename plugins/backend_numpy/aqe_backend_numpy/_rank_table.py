"""What a ranker remembers of each test: one row of float64 columns, and how a cycle changes it."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "COLUMNS",
    "DURATION",
    "FAILURES",
    "FRESH",
    "LOG_RECENT",
    "N_RATES",
    "RATES",
    "RUNS",
    "SHARE",
    "SINCE",
    "UNSEEN",
    "UNTOUCHED",
    "TestTable",
    "after_run",
]

RATES = (0.1, 0.2, 0.4, 0.7)
"""Learning rates of the exponentially weighted failure shares: half lives of 6.6, 3.1, 1.4 and 0.6 runs."""

N_RATES = len(RATES)
UNTOUCHED = N_RATES
"""From here: what is left of each share's prior weight, ``(1 - rate) ** runs``. The shares themselves start at 0."""
LOG_RECENT = 2 * N_RATES
"""Logarithm of the numerator of the share of rate 0.4: it still tells failures 5,000 runs ago apart."""
RUNS, FAILURES, SINCE, SHARE, UNSEEN, DURATION = range(LOG_RECENT + 1, LOG_RECENT + 7)
"""Runs; failures; runs after the last failure (all runs if none); failure share of the last cycle in which it ran;
cycles since then in which it was a candidate and was not run; recent mean duration in s (NaN if unknown)."""
COLUMNS = LOG_RECENT + 7

FRESH = np.zeros(COLUMNS)
"""A test of which nothing is known."""
FRESH[UNTOUCHED : UNTOUCHED + N_RATES] = 1.0
FRESH[LOG_RECENT] = -np.inf
FRESH[DURATION] = np.nan

_KEEP = 1.0 - np.array(RATES)
_GAIN = np.array(RATES)
_LOG_KEEP = float(np.log(_KEEP[2]))
_LOG_GAIN = float(np.log(_GAIN[2]))
_MIN_DURATION_GAIN = 0.2  # the mean duration is that of all runs up to 5, then exponentially weighted


class TestTable:
    """Rows of tests, found by name.

    Attributes
    ----------
    slots : dict of str to int
        Row of each test, in the order of first observation.
    rows : ndarray of float64, shape (capacity, COLUMNS)
        The first ``len(slots)`` are in use.
    """

    __test__ = False  # a table of tests, not a test

    def __init__(self) -> None:
        self.slots: dict[str, int] = {}
        self.rows = np.tile(FRESH, (64, 1))

    def find(self, tests: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the row of each test, -1 if it has none, and the canonical order of the tests.

        That order is the same however the tests are given: known ones by row, then the others by name. All sums run
        in it, so that no rounding depends on the order in which a caller names the tests. O(n) when they come in it.
        """
        n = len(tests)
        slots = np.fromiter(map(self.slots.get, tests, repeat(-1)), np.int64, n)
        known = slots >= 0
        if known.all():
            if n < 2 or (slots[1:] > slots[:-1]).all():
                return slots, np.arange(n)
            return slots, np.argsort(slots, kind="stable")
        strangers = sorted(np.flatnonzero(~known).tolist(), key=tests.__getitem__)
        known_at = np.flatnonzero(known)
        by_slot = known_at[np.argsort(slots[known_at], kind="stable")]
        return slots, np.concatenate([by_slot, np.array(strangers, np.int64)])

    def read(self, slots: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the columns of rows, shape (COLUMNS, n); -1 is a fresh row."""
        rows = self.rows.take(np.maximum(slots, 0), axis=0)
        rows[slots < 0] = FRESH
        return np.ascontiguousarray(rows.T)

    def enter(self, tests: Sequence[str], slots: NDArray[np.int64], order: NDArray[np.int64]) -> None:
        """Give rows to those tests that have none, in the canonical order; ``slots`` is completed."""
        for i in order[slots[order] < 0].tolist():
            slots[i] = self.slots[tests[i]] = len(self.slots)
        if len(self.slots) > len(self.rows):
            more = np.tile(FRESH, (max(len(self.slots), 2 * len(self.rows)) - len(self.rows), 1))
            self.rows = np.concatenate([self.rows, more])


def after_run(
    table: NDArray[np.float64], failed: NDArray[np.bool_], share: float, duration_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the columns of tests, shape (COLUMNS, n), after one run of each in a cycle with a failure share."""
    out = table.copy()
    hit = failed.astype(np.float64)
    out[:N_RATES] = table[:N_RATES] * _KEEP[:, None] + _GAIN[:, None] * hit
    out[UNTOUCHED : UNTOUCHED + N_RATES] *= _KEEP[:, None]
    faded = table[LOG_RECENT] + _LOG_KEEP
    out[LOG_RECENT] = np.where(failed, np.logaddexp(faded, _LOG_GAIN), faded)
    out[RUNS] += 1.0
    out[FAILURES] += hit
    out[SINCE] = np.where(failed, 0.0, table[SINCE] + 1.0)
    out[SHARE] = share
    out[UNSEEN] = 0.0
    gain = np.maximum(_MIN_DURATION_GAIN, 1.0 / out[RUNS])
    mean = np.where(np.isnan(table[DURATION]), duration_s, table[DURATION] + gain * (duration_s - table[DURATION]))
    out[DURATION] = np.where(np.isnan(duration_s), table[DURATION], mean)
    return out
