"""What a ranker remembers of each test: a column of float64 numbers, and how a cycle changes it."""

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
    "TestNames",
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


class TestNames:
    """Numbers of tests, found by name.

    Attributes
    ----------
    slots : dict of str to int
        Number of each test, in the order of first observation.
    """

    __test__ = False  # names of tests, not a test

    def __init__(self) -> None:
        self.slots: dict[str, int] = {}
        self._found: tuple[tuple[str, ...], int, NDArray[np.int64], NDArray[np.int64]] | None = None

    def find(self, tests: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the number of each test, -1 if it has none, and the canonical order of the tests.

        That order is the same however the tests are given: known ones by number, then the others by name. All sums run
        in it, so that no rounding depends on the order in which a caller names the tests. O(n) when they come in it.
        What was found last is kept: mostly the same tests come again.
        """
        last = self._found
        if last is not None and last[1] == len(self.slots) and (last[0] is tests or last[0] == tests):
            return last[2:]
        slots = np.fromiter(map(self.slots.get, tests, repeat(-1)), np.int64, len(tests))
        found = slots, self._canonical(tests, slots)
        self._found = (tests, len(self.slots), *found)
        return found

    @staticmethod
    def _canonical(tests: tuple[str, ...], slots: NDArray[np.int64]) -> NDArray[np.int64]:
        n = len(tests)
        known = slots >= 0
        if known.all():
            if n < 2 or (slots[1:] > slots[:-1]).all():
                return np.arange(n)
            return np.argsort(slots, kind="stable")
        strangers = sorted(np.flatnonzero(~known).tolist(), key=tests.__getitem__)
        known_at = np.flatnonzero(known)
        by_slot = known_at[np.argsort(slots[known_at], kind="stable")]
        return np.concatenate([by_slot, np.array(strangers, np.int64)])

    def enter(self, tests: Sequence[str], slots: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give numbers to those tests that have none, in the canonical order; return the numbers of all."""
        missing = order[slots[order] < 0]
        if not missing.size:
            return slots
        slots = slots.copy()
        for i in missing.tolist():
            slots[i] = self.slots[tests[i]] = len(self.slots)
        return slots


class TestTable(TestNames):
    """What is remembered of tests.

    Attributes
    ----------
    columns : ndarray of float64, shape (COLUMNS, capacity)
        The first ``len(slots)`` are in use.
    """

    def __init__(self) -> None:
        super().__init__()
        self.columns = np.tile(FRESH[:, None], 64)

    def read(self, slots: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the columns of tests, shape (COLUMNS, n); -1 is a fresh one."""
        out = self.columns.take(slots, axis=1, mode="clip")
        if len(slots) and slots.min() < 0:
            out[:, slots < 0] = FRESH[:, None]
        return out

    def write(self, slots: NDArray[np.int64], columns: NDArray[np.float64]) -> None:
        """Remember the columns of tests, all of them with numbers; makes room."""
        held = self.columns.shape[1]
        if len(self.slots) > held:
            more = np.tile(FRESH[:, None], max(len(self.slots), 2 * held) - held)
            self.columns = np.concatenate([self.columns, more], axis=1)
        self.columns[:, slots] = columns


def after_run(
    table: NDArray[np.float64], failed: NDArray[np.bool_], share: float, duration_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the columns of tests, shape (COLUMNS, n), after one run of each in a cycle with a failure share."""
    out = np.empty_like(table)
    where = failed.nonzero()[0]
    np.multiply(table[:UNTOUCHED], _KEEP[:, None], out=out[:UNTOUCHED])
    out[:UNTOUCHED, where] += _GAIN[:, None]
    np.multiply(table[UNTOUCHED:LOG_RECENT], _KEEP[:, None], out=out[UNTOUCHED:LOG_RECENT])
    faded = np.add(table[LOG_RECENT], _LOG_KEEP, out=out[LOG_RECENT])
    faded[where] = np.logaddexp(faded[where], _LOG_GAIN)
    runs = np.add(table[RUNS], 1.0, out=out[RUNS])
    np.add(table[FAILURES], failed, out=out[FAILURES])
    np.add(table[SINCE], 1.0, out=out[SINCE])[where] = 0.0
    out[SHARE] = share
    out[UNSEEN] = 0.0
    known = table[DURATION]
    mean = known + np.maximum(_MIN_DURATION_GAIN, 1.0 / runs) * (duration_s - known)
    missing = np.isnan(mean)  # one of the two is unknown
    if missing.any():
        mean[missing] = np.where(np.isnan(duration_s), known, duration_s)[missing]
    out[DURATION] = mean
    return out
