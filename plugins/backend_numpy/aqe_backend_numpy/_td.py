"""Temporal-difference updates of a `Table`, many in one call, with the outcome of one after the other.

In a batch most updates do not touch each other, so they are computed together, as a *wave*. An update has to wait for
a later wave

- when an earlier one that is still to come writes what it reads (what its next state is worth),
- when an earlier one that is still to come writes the same pair,
- when it would overwrite what an earlier one, itself waiting, has yet to read.

So each computes the same expression on the same numbers as alone, in its turn. Those that wait stay in a window, to
which the next ones are added; its size adapts to how many wait. Where waves get too small to pay (few states, all of
them contested), the window is done one by one.

Who waits is found with marks, one per remainder of a state's or pair's number. Two that share a mark by chance make an
update wait for nothing, which costs time and changes no result. The first in turn never waits, so each wave gets on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from aqe_backend_numpy._qtable import NEVER, STALE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aqe_backend_numpy._qtable import Table

__all__ = ["Updater"]

Batch: TypeAlias = "tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]"
"""Homes, cells, sources and rewards."""

SMALL = 64  # so many updates are faster one by one than as a wave
MIN_WINDOW, MAX_WINDOW = 512, 8192  # so many are compared with each other; adapted to how many wait
MASK = 2**16 - 1
MAX_CLOCK = 2**31 - 1


class Updater:
    """Applies transitions, given as homes and cells, to a table.

    Parameters
    ----------
    table : Table
    learning_rate, discount : float
    """

    def __init__(self, table: Table, learning_rate: float, discount: float) -> None:
        self.table = table
        self.learning_rate = learning_rate
        self.discount = discount
        self._size = 4 * MIN_WINDOW
        self._clock = 0
        self._marks = np.zeros((3, MASK + 1), np.int32)

    def apply(
        self,
        homes: NDArray[np.int64],
        cells: NDArray[np.int64],
        sources: NDArray[np.int64],
        rewards: NDArray[np.float64],
        *,
        pairwise: bool,
    ) -> None:
        """Learn from transitions in order.

        Parameters
        ----------
        homes, cells : ndarray of int64, shape (n,)
            Home of each state, cell of each pair.
        sources : ndarray of int64, shape (n,)
            What each bootstraps from: a home, or with ``pairwise`` a cell; or `UNSEEN` or `TERMINAL`.
        rewards : ndarray of float64, shape (n,)
        pairwise : bool
        """
        np.add.at(self.table.counts, cells, 1)
        batch = (homes, cells, sources, rewards)
        window = np.zeros(0, np.int64)  # positions in the batch of those being compared, latest first
        held = np.zeros(0)  # what those at the end of the window, which waited before, have read; STALE: nothing yet
        start = 0
        while start < len(cells) or window.size:
            stop = min(start + max(self._size - window.size, 0), len(cells))
            window = np.concatenate((np.arange(stop - 1, start - 1, -1), window))
            start = stop
            window, held = self._advance(batch, window, held, pairwise)

    def _advance(
        self, batch: Batch, window: NDArray[np.int64], held: NDArray[np.float64], pairwise: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Do one wave of the window (or all of it one by one); return those still waiting, and what they hold."""
        homes, cells, all_sources, rewards = batch
        n = window.size
        sources = all_sources[window]
        if n > SMALL:
            late, waiting = self._waiting(homes[window], cells[window], sources, pairwise)
            turn = (~waiting).nonzero()[0]
            if turn.size * 2 < n:
                self._size = max(self._size // 2, MIN_WINDOW)
            elif turn.size * 10 > n * 9:
                self._size = min(self._size * 2, MAX_WINDOW)
        if n <= SMALL or turn.size < SMALL:
            read = held[::-1].tolist() + [STALE] * (n - held.size)
            for update in zip(*[each[window[::-1]].tolist() for each in batch], read, strict=True):
                self.one(*update, pairwise=pairwise)
            return window[:0], held[:0]
        worth = self.table.values_of(sources) if pairwise else self.table.worths_of(sources)
        if held.size:
            waited = worth[n - held.size :]
            kept = (held == held).nonzero()[0]  # noqa: PLR0124  # false for STALE only
            waited[kept] = held[kept]
        rest = waiting.nonzero()[0]
        held = worth[rest]
        # Whoever is not late now will never be: before him, updates only get fewer.
        held[late[rest]] = STALE
        done = window[turn]
        self._together(homes[done], cells[done], rewards[done], worth[turn])
        return window[rest], held

    def _waiting(
        self, homes: NDArray[np.int64], cells: NDArray[np.int64], sources: NDArray[np.int64], pairwise: bool
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which updates, latest first, cannot read yet, and which cannot be done yet."""
        # The clock runs backwards: marks of earlier waves lie after every turn of this one and need no wiping.
        before = self._clock
        self._clock -= len(cells)
        if self._clock < -MAX_CLOCK:
            self._marks[:] = 0
            before, self._clock = 0, -len(cells)
        written, updated, wanted = self._marks
        turns = np.arange(before - 1, self._clock - 1, -1, dtype=np.int32)
        pairs = cells & MASK
        writes, reads = (pairs if pairwise else homes & MASK), sources & MASK
        # Of equal indices the last assignment stays: that is the first turn.
        written[writes] = turns
        late = written[reads] < turns
        updated[pairs] = turns
        waiting = late | (updated[pairs] < turns)
        lates = late.nonzero()[0]
        if lates.size:
            wanted[reads[lates]] = turns[lates]
            waiting |= wanted[writes] < turns
        return late, waiting

    def _together(
        self,
        homes: NDArray[np.int64],
        cells: NDArray[np.int64],
        rewards: NDArray[np.float64],
        worth: NDArray[np.float64],
    ) -> None:
        """Learn from updates of different pairs of which none reads what another writes."""
        table = self.table
        values = table.value_view
        old = values[cells]
        first = old == NEVER
        new_pairs = int(np.count_nonzero(first))
        if new_pairs:
            old[first] = table.initial
            table.known += new_pairs
        # old + learning_rate * (rewards + discount * worth - old), in that order, without temporary arrays
        new = worth
        new *= self.discount
        new += rewards
        new -= old
        new *= self.learning_rate
        new += old
        values[cells] = new
        worths = table.worth_view
        if table.epsilon is not None:
            worths[homes] = STALE
            return
        best = worths[homes]
        rises = (new >= best).nonzero()[0]
        falls = ((old == best) & (new < best)).nonzero()[0]
        risen, top = homes[rises], new[rises]
        worths[risen] = top
        # Where one state rose twice, the last assignment stayed, and may be the smaller.
        above = (worths[risen] < top).nonzero()[0]
        if above.size:
            np.maximum.at(worths, risen[above], top[above])
        worths[homes[falls]] = STALE

    def one(
        self, home: int, cell: int, source: int, reward: float, held: float = STALE, *, pairwise: bool = False
    ) -> None:
        """Learn from one update; ``held`` is what it has read already, or `STALE`."""
        table = self.table
        values, worths = table.values, table.worths
        worth = held
        if worth != worth:  # noqa: PLR0124  # true for STALE only
            worth = (values if pairwise else worths)[source]
        if not worth > NEVER:
            worth = table.value(source) if pairwise else table.worth(source)
        old = values[cell]
        if old == NEVER:
            old = table.initial
            table.known += 1
        values[cell] = new = old + self.learning_rate * (reward + self.discount * worth - old)
        if table.epsilon is None:
            best = worths[home]
            if new >= best:
                worths[home] = new
            elif old == best:
                worths[home] = STALE
        else:
            worths[home] = STALE
