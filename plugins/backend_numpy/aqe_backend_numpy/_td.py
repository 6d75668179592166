"""Temporal-difference updates of a `Table`, many in one call, with the outcome of one after the other.

In a batch most updates do not touch each other, so they are computed together, as a *wave*. An update has to wait for
a later wave

- when an earlier one that is still to come writes what it reads (what its next state is worth),
- when an earlier one that is still to come writes the same pair,
- when it would overwrite what an earlier one, itself waiting, has yet to read.

So each computes the same expression on the same numbers as alone, in its turn. Those that wait stay in a window, to
which the next ones are added; its size adapts to how many wait, and it is computed once it is full, in this call or a
later one. Where waves get too small to pay (few states, all of them contested), the window is done one by one.

The whole window is computed, and those that wait write back what was there: fewer than half do, and leaving them out
of every column first takes longer.

Who waits is found with marks: those of states in arrays of their own, one per remainder of a state's number, and those
of pairs in the table's own cells, whose values are put back. Two states that share a mark by chance make an update wait
for nothing, which costs time and changes no result. The first in turn never waits, so each wave gets on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from aqe_backend_numpy._qtable import NEVER, STALE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from aqe_backend_numpy._qtable import Table

__all__ = ["Updater"]

Columns: TypeAlias = "tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]"
"""Homes, cells, sources and rewards of updates, the latest first."""

SMALL = 256  # fewer updates are faster one by one than as a wave
MAX_ALONE = 2**14  # so many are done one by one before the next wave is tried, where waves are too small
MIN_WINDOW, MAX_WINDOW = 512, 6144  # so many are compared with each other; adapted to how many wait
FIXED = 1200  # so many updates in a wave take as long as what each wave takes besides
MASK = 2**16 - 1
MAX_CLOCK = 2**31 - 1
TURNS = np.arange(MAX_WINDOW, 0, -1.0)  # what marks a cell


class _Window(NamedTuple):
    """Updates that are not done yet; and of the last ones, those that waited, what each has read (`STALE`: nothing)."""

    columns: Columns
    held: NDArray[np.float64]

    @property
    def size(self) -> int:
        return len(self.columns[0])


_NONE = np.zeros(0, np.int64)
_NOBODY = _Window((_NONE, _NONE, _NONE, np.zeros(0)), np.zeros(0))


class Updater:
    """Applies transitions, given as homes and cells, to a table.

    Parameters
    ----------
    table : Table
    learning_rate, discount : float
    """

    def __init__(self, table: Table, learning_rate: float, discount: float) -> None:
        self.table = table
        table.moving = self.finish
        self.learning_rate = learning_rate
        self.discount = discount
        self._waiting = _NOBODY
        self._pairwise = False
        self._size = 4 * MIN_WINDOW
        self._alone = MIN_WINDOW
        self._clock = 0
        self._written, self._wanted = np.zeros((2, MASK + 1), np.int32)

    def apply(
        self,
        homes: NDArray[np.int64],
        cells: NDArray[np.int64],
        sources: NDArray[np.int64],
        rewards: NDArray[np.float64],
        *,
        pairwise: bool,
    ) -> None:
        """Learn from transitions in order. Some of the last are left to wait for the next call or `finish`.

        Parameters
        ----------
        homes, cells : ndarray of int64, shape (n,)
            Home of each state, cell of each pair. The cells are kept for a while and must not change.
        sources : ndarray of int64, shape (n,)
            What each bootstraps from: a home, or with ``pairwise`` a cell; or `UNSEEN` or `TERMINAL`.
        rewards : ndarray of float64, shape (n,)
        pairwise : bool
        """
        if pairwise != self._pairwise:
            self.finish()
            self._pairwise = pairwise
        self.table.count(cells)
        waiting, self._waiting = self._waiting, _NOBODY
        # Latest first: of equal indices the last assignment stays, and that has to be the first turn.
        columns = homes[::-1], cells[::-1], sources[::-1], rewards[::-1]
        start = len(cells)
        while start + waiting.size >= self._size:
            stop = start
            start -= max(self._size - waiting.size, 0)
            window = _joined(columns, start, stop, waiting)
            left = self._wave(window)
            if left is None:
                stop, start = start, max(start - self._alone, 0)
                left = self._in_turn(_joined(columns, start, stop, window))
                self._alone = min(self._alone * 2, MAX_ALONE)
            else:
                self._alone = MIN_WINDOW
            waiting = left
        self._waiting = _joined(columns, 0, start, waiting)

    def finish(self) -> None:
        """Learn from those that wait."""
        waiting, self._waiting = self._waiting, _NOBODY
        while waiting.size:
            left = self._wave(waiting)
            waiting = self._in_turn(waiting) if left is None else left

    def _in_turn(self, window: _Window) -> _Window:
        """Do all of the window one by one; return the empty one."""
        n = len(window.columns[0])
        read = window.held[::-1].tolist() + [STALE] * (n - window.held.size)
        updates = zip(*[column[::-1].tolist() for column in window.columns], read, strict=True)
        with self.table.unpacked(for_updates=n):
            self.one_by_one(updates, pairwise=self._pairwise)
        return _NOBODY

    def _wave(self, window: _Window) -> _Window | None:
        """Advance by one wave and return those still waiting; or do nothing and return None: too few would be done."""
        homes, cells, sources, rewards = window.columns
        n, table, held = len(cells), self.table, window.held
        if n < SMALL:
            return None
        worth = table.values_of(sources) if self._pairwise else table.worths_of(sources)
        values = table.value_view
        before = old = values.take(cells, mode="clip")  # all are in range; to "clip" takes less time than to look
        first = (old == NEVER).nonzero()[0]
        if first.size:
            before = old.copy()
            before[first] = table.initial
        try:
            late, rest = self._wait(homes, cells, sources)
            turns = n - rest.size
            self._resize(n, rest.size)
            if turns < SMALL:
                values[cells] = old
                return None
            if held.size:
                kept = (held == held).nonzero()[0]  # noqa: PLR0124  # false for STALE only
                worth[kept + (n - held.size)] = held[kept]
            # Whoever is not late now will never be: before him, updates only get fewer.
            worth[late] = STALE
            held, unchanged = worth[rest], old[rest]
            # before + learning_rate * (rewards + discount * worth - before), in that order, without temporary arrays
            new = worth
            new *= self.discount
            new += rewards
            new -= before
            new *= self.learning_rate
            new += before
            new[rest] = unchanged
            values[cells] = new
        except BaseException:  # Ctrl-C too may come while marks are in the table
            values[cells] = old
            raise
        if first.size:
            table.known += first.size - np.count_nonzero(unchanged == NEVER)
        self._settle_worths(homes, before, new, rest)
        return _Window((homes[rest], cells[rest], sources[rest], rewards[rest]), held)

    def _resize(self, n: int, n_waiting: int) -> None:
        """Bring the window nearer to the size at which an update takes the shortest time.

        A wave of n, of whom a share s waits, takes F + c n and does (1 - s) n; s grows with n. The quotient is least
        where c s n = F (1 - 2 s); ``FIXED`` is F / c.
        """
        if n_waiting * n > FIXED * (n - 2 * n_waiting):
            self._size = max(self._size - self._size // 8, MIN_WINDOW)
        else:
            self._size = min(self._size + self._size // 8, MAX_WINDOW)

    def _wait(
        self, homes: NDArray[np.int64], cells: NDArray[np.int64], sources: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which updates, latest first, cannot read yet, and which cannot be done yet: positions, ascending.

        Marks of pairs are left in their cells: others would push what is needed next out of the cache.
        """
        # The clock runs backwards: marks of earlier waves lie after every turn of this one and need no wiping.
        before = self._clock
        self._clock -= len(cells)
        if self._clock < -MAX_CLOCK:
            self._written[:] = self._wanted[:] = 0
            before, self._clock = 0, -len(cells)
        written, wanted = self._written, self._wanted
        turns = np.arange(before - 1, self._clock - 1, -1, dtype=np.int32)
        writes, reads = (cells if self._pairwise else homes), sources
        if self._pairwise or self.table.used > MASK:
            writes, reads = writes & MASK, reads & MASK
        written[writes] = turns
        waiting = written[reads] < turns
        late = waiting.nonzero()[0]
        values, marks = self.table.value_view, TURNS[: len(cells)]
        values[cells] = marks
        waiting |= values.take(cells, mode="clip") != marks
        if late.size:
            wanted[reads[late]] = turns[late]
            waiting |= wanted[writes] < turns
        return late, waiting.nonzero()[0]

    def _settle_worths(
        self,
        homes: NDArray[np.int64],
        before: NDArray[np.float64],
        new: NDArray[np.float64],
        rest: NDArray[np.int64],
    ) -> None:
        """Bring the worths of states up to date after a wave; ``rest`` are the positions of those that wait."""
        worths = self.table.worth_view
        if self.table.epsilon is not None:
            worths[np.delete(homes, rest)] = STALE
            return
        best = worths.take(homes, mode="clip")
        best[rest] = np.inf  # neither raised nor lowered by anything
        rises = (new >= best).nonzero()[0]
        risen, top = homes[rises], new[rises]
        worths[risen] = top
        # Where one state rose twice, the last assignment stayed, and may be the smaller.
        worths[risen[worths[risen] < top]] = STALE
        falls = ((before == best) & (new < best)).nonzero()[0]  # positions: masks that tell little are slow to take by
        worths[homes[falls]] = STALE

    def one_by_one(self, updates: Iterable[tuple[int, int, int, float, float]], *, pairwise: bool) -> None:
        """Learn from (home, cell, source, reward, held) in order; what is held was read already, or is `STALE`."""
        table = self.table
        values, worths, initial = table.values, table.worths, table.initial
        learning_rate, discount, greedy = self.learning_rate, self.discount, table.epsilon is None
        read, find = (values, table.value) if pairwise else (worths, table.worth)
        for home, cell, source, reward, held in updates:
            worth = held if held == held else read[source]  # noqa: PLR0124  # false for STALE only
            if not worth > NEVER:
                worth = find(source)
            old = values[cell]
            if old == NEVER:
                old = initial
                table.known += 1
            values[cell] = new = old + learning_rate * (reward + discount * worth - old)
            best = worths[home]
            if not greedy:
                worths[home] = STALE
            elif new >= best:
                worths[home] = new
            elif old == best:
                worths[home] = STALE


def _joined(columns: Columns, start: int, stop: int, behind: _Window) -> _Window:
    """Return part of the columns, and behind it a window."""
    homes, cells, sources, rewards = columns
    last = behind.columns
    joined = (
        np.concatenate((homes[start:stop], last[0])),
        np.concatenate((cells[start:stop], last[1])),
        np.concatenate((sources[start:stop], last[2])),
        np.concatenate((rewards[start:stop], last[3])),
    )
    return _Window(joined, behind.held)
