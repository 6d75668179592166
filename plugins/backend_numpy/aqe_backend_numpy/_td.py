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

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from aqe_backend_numpy._qtable import NEVER, STALE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aqe_backend_numpy._qtable import Table

__all__ = ["Updater"]

Transitions: TypeAlias = "tuple[NDArray[Any], ...]"
"""Homes, cells, sources, rewards; then the marks of the pair, of what is written, of what is read."""

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
        pairs = (cells >> 1) & MASK
        writes, reads = (pairs, (sources >> 1) & MASK) if pairwise else (homes & MASK, sources & MASK)
        transitions: Transitions = (homes, cells, sources, rewards, pairs, writes, reads)
        window, held = transitions, np.zeros(0)
        start = 0
        while start < len(cells) or held.size:
            stop = min(start + max(self._size - held.size, 0), len(cells))
            fresh = tuple(each[start:stop] for each in transitions)
            window = tuple(map(np.concatenate, zip(window, fresh, strict=True))) if held.size else fresh
            start = stop
            window, held = self._advance(window, held, pairwise)

    def _advance(
        self, window: Transitions, held: NDArray[np.float64], pairwise: bool
    ) -> tuple[Transitions, NDArray[np.float64]]:
        """Do one wave of the window (or all of it one by one); return those still waiting, and what they hold.

        Held is what the first in the window, which waited before, have read already; `STALE`: nothing yet.
        """
        homes, cells, sources, rewards, pairs, writes, reads = window
        n = len(cells)
        if n > SMALL:
            late, waiting = self._waiting(pairs, writes, reads)
            turn = (~waiting).nonzero()[0]
            if turn.size * 2 < n:
                self._size = max(self._size // 2, MIN_WINDOW)
            elif turn.size * 10 > n * 9:
                self._size = min(self._size * 2, MAX_WINDOW)
        if n <= SMALL or turn.size < SMALL:
            self._one_by_one(homes, cells, sources, rewards, held, pairwise)
            return window, np.zeros(0)
        worth = self.table.values_of(sources) if pairwise else self.table.worths_of(sources)
        if held.size:
            np.copyto(worth[: held.size], held, where=~np.isnan(held))
        if turn.size == n:
            self._together(homes, cells, rewards, worth)
            return window, np.zeros(0)
        self._together(homes[turn], cells[turn], rewards[turn], worth[turn])
        rest = waiting.nonzero()[0]
        held = worth[rest]
        held[late[rest]] = STALE  # whoever is not late now will never be: before him, updates only get fewer
        return tuple(each[rest] for each in window), held

    def _waiting(
        self, pairs: NDArray[np.int64], writes: NDArray[np.int64], reads: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which updates cannot read yet, and which cannot be done yet, from the marks of what they touch."""
        # The clock runs backwards: marks of earlier waves lie after every turn of this one and need no wiping.
        self._clock -= len(pairs)
        if self._clock < -MAX_CLOCK:
            self._marks[:] = 0
            self._clock = -len(pairs)
        written, updated, wanted = self._marks
        turns = np.arange(self._clock, self._clock + len(pairs), dtype=np.int32)
        # Of equal indices the last assignment stays: backwards, that is the first turn.
        written[writes[::-1]] = turns[::-1]
        late = written[reads] < turns
        updated[pairs[::-1]] = turns[::-1]
        waiting = late | (updated[pairs] < turns)
        lates = late.nonzero()[0]
        if lates.size:
            wanted[reads[lates][::-1]] = turns[lates][::-1]
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
        view = table.cell_view
        counters = cells + 1
        counts = view[counters]
        old = view[cells]
        first = counts == 0.0
        if first.any():
            old[first] = table.initial
            table.known += int(np.count_nonzero(first))
        new = old + self.learning_rate * (rewards + self.discount * worth - old)
        view[cells] = new
        view[counters] = counts + 1.0
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

    def _one_by_one(
        self,
        homes: NDArray[np.int64],
        cells: NDArray[np.int64],
        sources: NDArray[np.int64],
        rewards: NDArray[np.float64],
        held: NDArray[np.float64],
        pairwise: bool,
    ) -> None:
        """Learn from updates in order; ``held`` is as in `_advance`."""
        table = self.table
        values, worths, initial = table.cells, table.worths, table.initial
        rate, discount, greedy = self.learning_rate, self.discount, table.epsilon is None
        read, slowly = (values, table.value) if pairwise else (worths, table.worth)
        kept = held.tolist() + [STALE] * (len(cells) - held.size)
        for home, cell, source, reward, keep in zip(
            homes.tolist(), cells.tolist(), sources.tolist(), rewards.tolist(), kept, strict=True
        ):
            worth = keep
            if worth != worth:  # noqa: PLR0124  # true for STALE only
                worth = read[source]
                if not worth > NEVER:
                    worth = slowly(source)
            count = values[cell + 1]
            if count:
                old = values[cell]
            else:
                old = initial
                table.known += 1
            values[cell + 1] = count + 1.0
            values[cell] = new = old + rate * (reward + discount * worth - old)
            if greedy:
                best = worths[home]
                if new >= best:
                    worths[home] = new
                elif old == best:
                    worths[home] = STALE
            else:
                worths[home] = STALE
