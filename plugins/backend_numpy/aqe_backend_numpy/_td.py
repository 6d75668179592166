"""Temporal-difference updates of a `Table`, many in one call, with the outcome of one after the other.

In a batch most updates do not touch each other, so they are computed together, as a *wave*. An update has to wait for
a later wave

- when an earlier one that is still to come writes what it reads (what its next state is worth),
- when an earlier one that is still to come writes the same pair,
- when it would overwrite what an earlier one, itself waiting, has yet to read.

So each computes the same expression on the same numbers as alone, in its turn. Those that wait stay in a window, to
which the next ones are added; its size adapts to how many wait, and it is computed once it is full, in this call or a
later one. Of updates that wait for each other a wave does one, and more come meanwhile: chains that lasted for three
waves are done one by one, else they would fill the window. Where waves get too small to pay (few states, all of them
contested), the whole window is.

The whole window is computed, and those that wait write back what was there: fewer than half do, and leaving them out
of every column first takes longer.

Who waits is found with marks: those of states in arrays of their own, one per remainder of a state's number, and those
of pairs in the table's own cells, whose values are put back. Two states that share a mark by chance make an update wait
for nothing, which costs time and changes no result. The first in turn never waits, so each wave gets on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from aqe_backend_numpy._qtable import NEVER, STALE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from aqe_backend_numpy._qtable import Table

__all__ = ["MAX_BATCH", "Updater"]

Columns: TypeAlias = "tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]"
"""Homes, cells, sources and rewards of updates."""

MAX_BATCH = 2**14  # updates in one call, so that the arrays made of them stay in the cache
SMALL = 256  # fewer updates are faster one by one than as a wave
MAX_ALONE = 2**14  # so many are done one by one before the next wave is tried, where waves are too small
MIN_WINDOW, MAX_WINDOW = 512, 6144  # so many are compared with each other; adapted to how many wait
FIXED = 500  # so many updates in a wave take as long as what each wave takes besides
CHAINED = 64  # so many that waited through three waves are done one by one
ROOM = MAX_BATCH + MAX_WINDOW
MASK = 2**16 - 1
MAX_CLOCK = 2**31 - 1
TURNS = np.arange(MAX_WINDOW, 0, -1.0)  # what marks a cell
_NOTHING = np.zeros(0)


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
        # Those that wait are within, the latest first: of equal indices the last assignment stays, and that has to be
        # the first turn. New ones come before them.
        self._columns: Columns = (*np.empty((3, ROOM), np.int64), np.empty(ROOM))
        self._start = self._stop = ROOM
        self._held = _NOTHING  # what the last of them, those that waited through a wave, have read; `STALE`: nothing
        self._patient = 0  # how many of those waited through two
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
        """Learn from transitions in order, `MAX_BATCH` at most; the last wait for the next call or `finish`.

        Parameters
        ----------
        homes, cells : ndarray of int64, shape (n,)
            Home of each state, cell of each pair. The cells are kept by the table and must not change.
        sources : ndarray of int64, shape (n,)
            What each bootstraps from: a home, or with ``pairwise`` a cell; or `UNSEEN` or `TERMINAL`.
        rewards : ndarray of float64, shape (n,)
        pairwise : bool
        """
        if pairwise != self._pairwise:
            self.finish()
            self._pairwise = pairwise
        self.table.count(cells)
        self._learn((homes, cells, sources, rewards))

    def finish(self) -> None:
        """Learn from those that wait."""
        self._learn(None)

    def _learn(self, more: Columns | None) -> None:
        """Learn from those that wait: with more of them as long as they fill a window, else to the last."""
        try:
            if more is not None:
                self._append(more)
            while waiting := self._stop - self._start:
                n = max(self._size, self._held.size)
                if waiting < n:
                    if more is not None:
                        return
                    n = waiting
                if self._wave(n):
                    self._alone = MIN_WINDOW
                else:
                    self._in_turn(min(n + self._alone, waiting))
                    self._alone = min(self._alone * 2, MAX_ALONE)
        except BaseException:  # Ctrl-C: rather forget what waits than learn from it twice, or from half of it
            self._start = self._stop
            self._held, self._patient = _NOTHING, 0
            raise

    def _append(self, more: Columns) -> None:
        """Let more wait."""
        n, waiting = len(more[0]), self._stop - self._start
        if min(waiting, self._start) < n:  # no room, or having it at hand in the cache takes little
            for column in self._columns:
                column[ROOM - waiting :] = column[self._start : self._stop]
            self._start, self._stop = ROOM - waiting, ROOM
        for mine, new in zip(self._columns, more, strict=True):
            mine[self._start - n : self._start] = new[::-1]
        self._start -= n

    def _in_turn(self, n: int) -> None:
        """Do the first n one by one."""
        held = self._held[::-1][:n]
        read = held.tolist() + [STALE] * (n - held.size)
        part = slice(self._stop - n, self._stop)
        updates = zip(*[column[part][::-1].tolist() for column in self._columns], read, strict=True)
        with self.table.unpacked(for_updates=n):
            self.one_by_one(updates, pairwise=self._pairwise)
        self._stop -= n
        self._held = self._held[: self._held.size - held.size]
        self._patient = max(self._patient - n, 0)

    def _wave(self, n: int) -> bool:
        """Do those of the first n that need not wait; or nothing, and return False: too few would be done."""
        if n < SMALL:
            return False
        part = slice(self._stop - n, self._stop)
        homes, cells, sources, rewards = self._columns
        homes, cells, sources, rewards = homes[part], cells[part], sources[part], rewards[part]
        table, held = self.table, self._held
        worth = table.values_of(sources) if self._pairwise else table.worths_of(sources)
        values = table.value_view
        before = old = values.take(cells, mode="clip")  # all are in range; to "clip" takes less time than to look
        first = (old == NEVER).nonzero()[0]
        if first.size:
            before = old.copy()
            before[first] = table.initial
        try:
            late, rest = self._wait(homes, cells, sources)
            left = rest.size
            self._resize(n, left)
            if n - left < SMALL:
                values[cells] = old
                return False
            if held.size:
                np.copyto(worth[n - held.size :], held, where=held == held)  # noqa: PLR0124  # false for STALE only
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
        # Who waits longer lies behind.
        chained = left - int(rest.searchsorted(n - self._patient))
        self._patient = left - int(rest.searchsorted(n - self._held.size))
        self._held = held
        for column in (homes, cells, sources, rewards):
            column[:left] = column[rest]
        self._stop += left - n
        if chained >= CHAINED:
            self._in_turn(chained)
        return True

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
        self._clock -= len(cells)
        if self._clock < -MAX_CLOCK:
            self._written[:] = self._wanted[:] = 0
            self._clock = -len(cells)
        written, wanted = self._written, self._wanted
        turns = np.arange(self._clock + len(cells) - 1, self._clock - 1, -1, dtype=np.int32)
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
