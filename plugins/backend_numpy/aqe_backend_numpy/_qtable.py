"""The table under the tabular learners: values and counts of (state, action) pairs in flat arrays.

Why not a dict of dicts: a flat array is read and written from Python one cell at a time and from NumPy many at a time,
with no conversion between the two. Why not a dense matrix: states that use different actions (25,000 tests in hundreds
of situations) would make it explode.

Layout. Actions are numbered as they appear and fall into tiles of 16. A state owns one *home* block of cells for the
first tile, and one further block for each other tile that it uses; a cell is one action. Blocks are only ever appended,
so their numbers stay valid for the life of the table. They are as wide as there are actions, 4 to 16, so that as much
as possible of the table stays in the cache: while there are fewer than 16 actions, each second new one moves the cells.
Memory is bounded by 784 bytes (and the dict entries) per state and per pair, whatever the shape: 392 per block, half as
much room to grow into, and the old arrays while growing.

========== ================== =========================================================================================
``values`` double per cell    the value; ``-inf``: never updated
``counts`` int64 per cell     updates learned; a few hundred thousand wait in a log, as counting many is cheaper
``lasts``  int64 per cell     number of the last of them among all updates, from 1 on; 0: none, or unknown
``worths`` double per block   at a home, what the state is worth to the one before, the initial value as long as nothing
                              was tried; ``nan``: stale. Small enough to stay in the cache.
========== ================== =========================================================================================

Blocks 0 and 1 belong to no state. In ``values`` as in ``worths``, position `UNSEEN` reads as the initial value and
position `TERMINAL` as zero, and nothing writes there.
"""

from __future__ import annotations

from array import array
from bisect import insort
from contextlib import contextmanager
from functools import reduce
from operator import add
from struct import pack_into
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from aqe_backend_numpy._numbering import Numbering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, MutableSequence, Sequence

    from numpy.typing import NDArray

    from aqe_backend_numpy._numbering import Key

__all__ = ["NEVER", "STALE", "TERMINAL", "UNSEEN", "Table"]

N = TypeVar("N", np.int64, np.float64)

TILE = 16  # actions
MIN_WIDTH = 4  # cells of a block
NEVER = float("-inf")
STALE = float("nan")
UNSEEN = 0
TERMINAL = 1
PAYS = 4  # cells that are made a list for one update
MAX_LOGGED = 1 << 18  # updates wait to be counted, 2 MiB of them and a batch at most: counting all through is cheaper
_NEVER = array("d", [NEVER])


class Table:
    """Values and counts of (state, action) pairs, and what each state is worth.

    Parameters
    ----------
    initial : float
        Value of a pair that was never updated.
    declared : iterable of str or int, optional
        The whole set of actions; without it a state knows the actions that were tried in it.
    epsilon : float or None
        A state is worth its best action (None), or the expectation under the epsilon-greedy policy.

    Attributes
    ----------
    values, worths : array of double
        See the module. Replaced, never resized, when they grow. Lists within `unpacked`.
    value_view, worth_view : ndarray of float64
        The same memory.
    counts, lasts : ndarray of int64
    states : dict
        Home by state.
    actions : dict
        Number by action, from 1.
    width : int
        Cells of a block; a cell is its block's number times this, plus the action's place in its tile.
    known : int
        Number of pairs that were updated.
    steps : int
        Number of updates.
    moving : callable
        Called before the cells move; whoever holds numbers of cells lets go of them.
    """

    def __init__(self, initial: float, declared: Iterable[Key] | None, epsilon: float | None) -> None:
        self.initial = initial
        self.epsilon = epsilon
        self._states, self._actions = Numbering(self._append), Numbering(self._name)
        self.states, self.actions = self._states.of, self._actions.of
        self.tiles: list[dict[int, int]] = [{}]  # of each tile beyond the first, block by home
        self.more: dict[int, list[tuple[int, int]]] = {}  # home -> (tile, block) beyond the first tile, sorted
        self.known = 0
        self.steps = 0
        self.width = MIN_WIDTH
        self.moving: Callable[[], None] = lambda: None
        self._blank_worth = array("d", [initial])
        self._keep(_NEVER * (2 * self.width), self._blank_worth * 2)
        self.used = 2
        for reserved in (self.values, self.worths):
            reserved[UNSEEN] = initial
            reserved[TERMINAL] = 0.0
        self._counts = np.zeros(0, np.int64)
        self._lasts = np.zeros(0, np.int64)
        self._log: list[NDArray[np.int64]] = []  # cells of updates not yet counted
        self._logged = 0
        self.add_actions(list(declared or ()))
        self.declared = len(self.actions)

    # -- growth -------------------------------------------------------------------------------------------------

    def _keep(self, values: array[float], worths: array[float]) -> None:
        self.values: MutableSequence[float] = values
        self.worths: MutableSequence[float] = worths
        self.value_view = np.frombuffer(values)
        self.worth_view = np.frombuffer(worths)

    def _append(self, blocks: int) -> range:
        """Return the numbers of so many new blocks. Amortized O(blocks)."""
        start, self.used = self.used, self.used + blocks
        if self.used > len(self.worths):
            # New arrays, because one that a NumPy view looks at cannot be resized; with half as much room again.
            values, worths = self.value_view, self.worth_view
            room = self.used + self.used // 2
            self._keep(_NEVER * (room * self.width), self._blank_worth * room)
            self.value_view[: values.size] = values
            self.worth_view[: worths.size] = worths
        return range(start, self.used)

    def _name(self, actions: int) -> range:
        """Return the numbers of so many new actions, for which there is room now."""
        start, stop = len(self.actions) + 1, len(self.actions) + 1 + actions
        self.tiles.extend({} for _ in range(len(self.tiles), -(-(stop - 1) // TILE)))
        width = min(stop - stop % 2, TILE)
        if width > self.width:
            self._widen(width)
        return range(start, stop)

    def _widen(self, new: int) -> None:
        """Make the blocks wider. O(cells), and done seven times at most."""
        old = self.width
        self.moving()
        numbers = np.zeros((2, len(self.worths) * new), np.int64)
        self._counts, self._lasts = (
            _widened(self.counts, old, numbers[0], new),
            _widened(self.lasts, old, numbers[1], new),
        )
        values, worths = self.value_view, self.worth_view
        self._keep(_NEVER * (len(worths) * new), array("d", worths.tobytes()))
        _widened(values, old, self.value_view, new)
        self.width = new

    def add_state(self, key: Key) -> int:
        """Return the home of a state, made if need be."""
        return self._states.add_one(key)

    def add_states(self, keys: NDArray[np.int64] | list[Key]) -> NDArray[np.int64]:
        """Return the home of each state, made in order where need be."""
        return self._states.add(keys)

    def add_actions(self, keys: NDArray[np.int64] | list[Key]) -> NDArray[np.int64]:
        """Return the number of each action, from 1; new ones in order where need be."""
        return self._actions.add(keys)

    def add_block(self, home: int, tile: int) -> int:
        """Return the block of a tile in a state, made if need be."""
        block = self.find_block(home, tile)
        if block == UNSEEN:
            (block,) = self._append(1)
            self.tiles[tile][home] = block
            insort(self.more.setdefault(home, []), (tile, block))
        return block

    def add_cell(self, home: int, number: int) -> int:
        """Return the cell of a pair of a home and the number of an action, made if need be."""
        if number <= self.width:
            return home * self.width + number - 1
        tile, offset = divmod(number - 1, TILE)
        return self.add_block(home, tile) * self.width + offset

    # -- counting -----------------------------------------------------------------------------------------------

    def count(self, cells: NDArray[np.int64]) -> None:
        """Count one update of each of these cells, in order. The array is kept until then, and must not change."""
        self._log.append(cells)
        self._logged += cells.size
        self.steps += cells.size
        if self._logged >= MAX_LOGGED:
            self._tally()

    @property
    def counts(self) -> NDArray[np.int64]:
        """Updates of each cell, counted to the last."""
        if self._log or self._counts.size < len(self.values):
            self._tally()
        return self._counts

    @property
    def lasts(self) -> NDArray[np.int64]:
        """Number of the last update of each cell."""
        _ = self.counts  # to the last
        return self._lasts

    def count_one(self, cell: int) -> None:
        """Count one update."""
        self.counts[cell] += 1
        self.steps += 1
        self._lasts[cell] = self.steps

    def _tally(self) -> None:
        if self._counts.size < len(self.values):
            self._counts = _grown(self._counts, len(self.values))
            self._lasts = _grown(self._lasts, len(self.values))
        log, self._log = self._log, []
        number = self.steps - self._logged + 1
        # One array after the other: both do not fit into the cache.
        for cells in log:
            np.add.at(self._counts, cells, 1)
        for cells in log:
            # Of equal indices the last assignment stays.
            self._lasts[cells] = np.arange(number, number + cells.size)
            number += cells.size
        self._logged = 0

    # -- reading ------------------------------------------------------------------------------------------------

    def find_states(self, keys: NDArray[np.int64] | list[Key]) -> NDArray[np.int64]:
        """Return the home of each state, `UNSEEN` where there is none."""
        return self._states.find(keys)

    def find_actions(self, keys: NDArray[np.int64] | list[Key]) -> NDArray[np.int64]:
        """Return the number of each action, from 1; 0 where there is none."""
        return self._actions.find(keys)

    def find_block(self, home: int, tile: int) -> int:
        """Return the block of a tile in a state, or `UNSEEN`."""
        return home if tile == 0 else self.tiles[tile].get(home, UNSEEN)

    def find(self, state: Key, action: Key) -> int:
        """Return the cell of a pair, or `UNSEEN`."""
        home = self.states.get(state)
        number = self.actions.get(action)
        if home is None or number is None:
            return UNSEEN
        tile, offset = divmod(number - 1, TILE)
        block = self.find_block(home, tile)
        return UNSEEN if block == UNSEEN else block * self.width + offset

    def value(self, cell: int) -> float:
        """Return the value in a cell."""
        value = self.values[cell]
        return value if value > NEVER else self.initial

    def values_in(self, state: Key, actions: Sequence[Key]) -> list[float]:
        """Return the `value` of each of these actions in a state."""
        home = self.states.get(state)
        if home is None:
            return [self.initial] * len(actions)
        if self.more:
            return [self.value(self.find(state, action)) for action in actions]
        numbers, values, before = self.actions, self.values, home * self.width - 1
        last = before + self.width  # an action beyond has no cell here
        found = []
        for action in actions:
            cell = before + numbers.get(action, TILE + 1)
            value = values[cell] if cell <= last else NEVER
            found.append(value if value > NEVER else self.initial)
        return found

    def worth(self, home: int) -> float:
        """Return what a state is worth. O(1), or O(actions of the state) if that is stale."""
        worth = self.worths[home]
        return self._backup(home) if worth != worth else worth  # noqa: PLR0124  # true for STALE only

    def _backup(self, home: int) -> float:
        width = self.width
        values = self.values[home * width : (home + 1) * width]
        for _, block in self.more.get(home, ()):
            values += self.values[block * width : (block + 1) * width]
        worth = max(values)
        if self.declared or self.epsilon is not None:
            tried = [value for value in values if value > NEVER]
            untried = max(self.declared - len(tried), 0)
            if untried:
                worth = max(worth, self.initial)
            if self.epsilon is not None:
                # Added from left to right: sum() rounds differently from one Python version to the next.
                mean = (reduce(add, tried, 0.0) + untried * self.initial) / (len(tried) + untried)
                worth = (1.0 - self.epsilon) * worth + self.epsilon * mean
        self.worths[home] = worth
        return worth

    def values_of(self, cells: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return `value` of each cell."""
        values = self.value_view[cells]
        values[values == NEVER] = self.initial
        return values

    def worths_of(self, homes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return `worth` of each home, bit for bit."""
        worths = self.worth_view.take(homes, mode="clip")
        stale = np.isnan(worths).nonzero()[0]
        if stale.size:
            worths[stale] = self._backup_many(homes[stale])
        return worths

    def _backup_many(self, homes: NDArray[np.int64]) -> NDArray[np.float64]:
        if self.more:
            return np.array([self.worth(home) for home in homes.tolist()])
        # Whole blocks, which lie together, then one row per action, so that reductions run along the homes.
        blocks = self.value_view.reshape(-1, self.width).take(homes, axis=0)
        values = np.ascontiguousarray(blocks.T[: len(self.actions)])
        worth: NDArray[np.float64] = np.maximum.reduce(values, axis=0)
        if self.declared or self.epsilon is not None:
            tried = values > NEVER
            n_tried = np.count_nonzero(tried, axis=0)
            untried = np.maximum(self.declared - n_tried, 0)
            worth = np.where(untried > 0, np.maximum(worth, self.initial), worth)
            if self.epsilon is not None:
                total = np.zeros(homes.size)
                for row in np.where(tried, values, 0.0):  # in the order of `_backup`; adding zero changes no bit
                    total += row
                mean = (total + untried * self.initial) / (n_tried + untried)
                worth = (1.0 - self.epsilon) * worth + self.epsilon * mean
        self.worth_view[homes] = worth
        return worth

    def set_epsilon(self, epsilon: float) -> None:
        """Value states under another policy from here on. O(pairs); nothing if it is the same."""
        if epsilon == self.epsilon:
            return
        self.epsilon = epsilon
        tried: NDArray[np.bool_] = np.asarray((self.value_view.reshape(-1, self.width) > NEVER).any(axis=1))
        tried[[UNSEEN, TERMINAL]] = False
        tried[list(self.more)] = True  # homes of further blocks, which hold a pair each
        self.worth_view[tried] = STALE

    # -- many at once -------------------------------------------------------------------------------------------

    def pairs(self, homes: NDArray[np.int64], columns: NDArray[np.int64], *, add: bool) -> NDArray[np.int64]:
        """Return the cell of each pair of a home and a column (`UNSEEN` if none); ``add`` makes them."""
        if len(self.tiles) == 1:
            cells = homes * self.width
            cells += columns
            cells -= 1
        else:
            tiles, positions = np.divmod(columns - 1, TILE)
            codes, inverse = np.unique(homes * len(self.tiles) + tiles, return_inverse=True)
            block = self.add_block if add else self.find_block
            blocks = [block(*divmod(code, len(self.tiles))) for code in codes.tolist()]
            cells = np.array(blocks, np.int64)[inverse] * self.width + positions
        if not add:
            cells[(homes == UNSEEN) | (columns == 0) | (cells < 2 * self.width)] = UNSEEN
        return cells

    @contextmanager
    def unpacked(self, *, for_updates: int) -> Iterator[None]:
        """Make ``values`` and ``worths`` lists meanwhile, if so many updates pay for it: those are read much faster."""
        values, worths = self.values, self.worths
        if len(values) > for_updates * PAYS:
            yield
            return
        self.values, self.worths = self.value_view.tolist(), self.worth_view.tolist()
        try:
            yield
        finally:
            pack_into(f"{len(values)}d", self.value_view.data, 0, *self.values)
            pack_into(f"{len(worths)}d", self.worth_view.data, 0, *self.worths)
            self.values, self.worths = values, worths

    # -- everything ---------------------------------------------------------------------------------------------

    def entries(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return rows, columns, values (float64), counts and lasts of the known pairs, by row, then column."""
        row_of = np.zeros(self.used, np.int64)
        tile_of = np.zeros(self.used, np.int64)
        for row, home in enumerate(self.states.values()):
            row_of[home] = row
            for tile, block in self.more.get(home, ()):
                row_of[block] = row
                tile_of[block] = tile
        known = self.value_view > NEVER
        known[: 2 * self.width] = False
        cells = np.flatnonzero(known)
        blocks, positions = np.divmod(cells, self.width)
        rows, columns = row_of[blocks], tile_of[blocks] * TILE + positions
        order = np.lexsort((columns, rows))
        cells = cells[order]
        return rows[order], columns[order], self.value_view[cells], self.counts[cells], self.lasts[cells]

    def fill(
        self,
        rows: NDArray[Any],
        columns: NDArray[Any],
        values: NDArray[Any],
        counts: NDArray[Any],
        lasts: NDArray[Any],
    ) -> None:
        """Enter what `entries` returned into a table that has the states and actions, but no pairs."""
        homes = np.fromiter(self.states.values(), np.int64, len(self.states))[rows]
        cells = self.pairs(homes, columns + 1, add=True)
        self.value_view[cells] = values
        self.counts[cells] = counts
        self.lasts[cells] = lasts
        self.worth_view[homes] = STALE
        self.known = len(cells)
        self.steps = int(counts.sum())


def _grown(array: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    grown = np.zeros(size, np.int64)
    grown[: array.size] = array
    return grown


def _widened(blocks: NDArray[N], old: int, into: NDArray[N], new: int) -> NDArray[N]:
    """Return ``into``, with what is in blocks of the old width written to the beginning of those of the new one."""
    into.reshape(-1, new)[:, :old] = blocks.reshape(-1, old)
    return into
