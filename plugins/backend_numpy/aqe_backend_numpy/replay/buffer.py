"""A replay over preallocated arrays: uniform or prioritized draws, n-step returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_backend_numpy.neural._generator import as_count, restored, words_of
from aqe_backend_numpy.replay._rows import Columns, Options, as_columns, as_options, as_share
from aqe_backend_numpy.replay._sums import Sums
from aqe_core.contracts.replay import Transitions
from aqe_core.errors import AqeError, CapabilityError, DimensionError, InputError
from aqe_core.state import EngineState, Portable
from aqe_core.validate import as_values

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["NumpyReplay"]

_KIND = "replay/1"
_SMALLEST = 1e-6  # priority of a row without error, before the exponent: every row is drawn now and then
_FLOAT32 = np.dtype(np.float32)  # there is one of it, unless the byte order is foreign
_LARGEST = 1e100  # keeps any sum of priorities finite


class NumpyReplay(Portable):
    """A `aqe_core.contracts.Replay` over preallocated NumPy arrays.

    Uniform draws, or proportional prioritization (Schaul, Quan, Antonoglou and Silver 2016): a row is drawn with
    probability ``p_i^a / sum over j of p_j^a``, where ``p`` is its last absolute error plus 1e-6, and for a new row the
    largest so far; one draw in each of equal parts of the sum. Its weight is ``(len * probability)^-b``, divided by the
    largest of the batch.

    Parameters
    ----------
    capacity : int
        Largest number of transitions.
    observation_dim : int
    action_dim : int, default 0
        Length of an action; 0 where actions are integers.
    n_envs : int, default 1
        Copies whose steps are added in turn; only ``n_step`` looks at it.
    n_step : int, default 1
        Largest number of successive steps taken together.
    discount : float, default 0.99
        Of rewards that come later, in 0 .. 1.
    prioritized : bool, default False
    priority_exponent : float, default 0.6
        ``a`` above: 0 is uniform.
    importance_exponent : float, default 0.4
        ``b`` above: 1 corrects for prioritized draws in full.
    seed : int, default 0

    Notes
    -----
    `add` is O(1), `sample` O(batch size * n_step), with priorities O(capacity / 32 + 32 batch size) more. Not safe for
    use from several threads at once.
    """

    def __init__(
        self,
        *,
        capacity: int,
        observation_dim: int,
        action_dim: int = 0,
        n_envs: int = 1,
        n_step: int = 1,
        discount: float = 0.99,
        prioritized: bool = False,
        priority_exponent: float = 0.6,
        importance_exponent: float = 0.4,
        seed: int = 0,
    ) -> None:
        given = {name: value for name, value in locals().items() if name in Options._fields}
        self._start(as_options(given))

    def _start(self, options: Options) -> None:
        self._options = options
        n, dim = options.capacity, options.observation_dim
        actions: NDArray[Any] = np.zeros((n, options.action_dim), np.float32)
        if not options.action_dim:
            actions = np.zeros(n, np.int64)
        self._columns = Columns(
            np.zeros((n, dim), np.float32),
            actions,
            np.zeros(n),
            np.zeros((n, dim), np.float32),
            np.zeros(n, np.bool_),
            np.zeros(n, np.bool_),
        )
        self._head = 0  # where the next row goes
        self._size = 0
        self._rng = np.random.Generator(np.random.PCG64(options.seed))
        self._tree = Sums(n) if options.prioritized else None
        self._fresh = 0  # rows before the head that the tree does not know yet
        self._highest = 1.0  # largest weight so far
        self._shape = (dim,)
        self._counts_actions = not options.action_dim
        self._tiny = np.full(dim, 1e-30, np.float32)  # no weighted sum of finite numbers overflows
        self._discounts = np.array([options.discount, 0.0])  # of a single step: by whether it terminated

    def __len__(self) -> int:
        """Return the number of transitions kept. O(1)."""
        return self._size

    @property
    def capacity(self) -> int:
        """Largest number of transitions kept."""
        return self._options.capacity

    def get_params(self) -> dict[str, Any]:
        """Return the options, defaults included."""
        return self._options._asdict()

    # -- adding ---------------------------------------------------------------------------------------------------

    def add(
        self,
        observation: Any,
        action: Any,
        reward: Any,
        next_observation: Any,
        terminated: Any,
        truncated: Any = False,
    ) -> None:
        """Keep one transition; see `aqe_core.contracts.Replay.add`. O(1)."""
        # The short way of plain arguments; anything else goes the careful one.
        if (
            type(observation) is type(next_observation) is np.ndarray
            and observation.dtype is next_observation.dtype is _FLOAT32
            and observation.shape == next_observation.shape == self._shape
            and type(action) is int
            and -(2**63) <= action < 2**63
            and self._counts_actions
            and type(reward) is float
            and type(terminated) is bool
            and type(truncated) is bool
        ):
            # A weighted sum is finite exactly when all is; of infinity or NaN the difference from itself is NaN.
            doubt = float(observation.dot(self._tiny)) + float(next_observation.dot(self._tiny)) + reward
            if doubt - doubt == 0.0:
                at = self._head
                columns = self._columns
                columns[0][at] = observation
                columns[1][at] = action
                columns[2][at] = reward
                columns[3][at] = next_observation
                columns[4][at] = terminated
                columns[5][at] = terminated or truncated
                self._advance(1)
                return
        rows: list[Any] = [[each] for each in (observation, action, reward, next_observation, terminated, truncated)]
        self.add_batch(*rows)

    def add_batch(
        self,
        observations: ArrayLike,
        actions: ArrayLike,
        rewards: ArrayLike,
        next_observations: ArrayLike,
        terminated: ArrayLike,
        truncated: ArrayLike | None = None,
    ) -> None:
        """Keep transitions in order; see `aqe_core.contracts.Replay.add_batch`. O(rows)."""
        rows: list[NDArray[Any]] = [
            *as_columns(self._options, observations, actions, rewards, next_observations, terminated, truncated)
        ]
        n, capacity = len(rows[0]), self._options.capacity
        skipped = max(0, n - capacity)  # would be overwritten at once
        self._head = (self._head + skipped) % capacity
        first = min(n - skipped, capacity - self._head)
        kept: tuple[NDArray[Any], ...] = self._columns
        for column, added in zip(kept, rows, strict=True):
            column[self._head : self._head + first] = added[skipped : skipped + first]
            column[: n - skipped - first] = added[skipped + first :]
        self._advance(n - skipped)

    def _advance(self, n: int) -> None:
        capacity = self._options.capacity
        self._head = (self._head + n) % capacity
        self._size = min(self._size + n, capacity)
        self._fresh = min(self._fresh + n, capacity)

    # -- drawing --------------------------------------------------------------------------------------------------

    def sample(self, batch_size: int, *, importance_exponent: float | None = None) -> Transitions:
        """Draw transitions with replacement; see `aqe_core.contracts.Replay.sample`."""
        m = as_count(batch_size, "batch_size")
        exponent = self._options.importance_exponent
        if importance_exponent is not None:
            exponent = as_share(importance_exponent, "importance_exponent")
        if not self._size:
            raise InputError("the replay is empty.", fix="add transitions first.")
        if self._tree is None:
            # Faster than integers(); the bias is below 2**-53 times the size.
            indices = (self._rng.random(m) * self._size).astype(np.int64)
            weights = np.ones(m)
        else:
            indices, weights = self._draw(self._tree, m, exponent)
        columns = self._columns
        if self._options.n_step > 1:
            last, rewards, discounts = self._ahead(indices)
            terminated = columns.terminated[last]
            discounts[terminated] = 0.0
        else:
            last, rewards, terminated = indices, columns.rewards[indices], columns.terminated[indices]
            discounts = self._discounts[terminated.view(np.int8)]
        return Transitions(
            indices,
            columns.observations.take(indices, axis=0),
            columns.actions[indices],
            rewards,
            columns.next_observations.take(last, axis=0),
            terminated,
            discounts,
            weights,
        )

    def _draw(self, tree: Sums, m: int, exponent: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return indices drawn by priority, one in each of ``m`` equal parts of the sum, and their weights."""
        self._enter_fresh(tree)
        total = tree.total()
        indices = tree.find((np.arange(m) + self._rng.random(m)) * (total / m))
        weights = (tree.weights[indices] * (self._size / total)) ** -exponent
        weights /= weights.max()
        return indices, weights

    def _enter_fresh(self, tree: Sums) -> None:
        if self._fresh:
            where = (np.arange(self._fresh) + self._head - self._fresh) % self._options.capacity
            tree.set(where, self._highest)
            self._fresh = 0

    def _ahead(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the last row of up to ``n_step`` successive ones, their discounted reward, and the discount after."""
        options, columns = self._options, self._columns
        oldest = self._head if self._size == options.capacity else 0
        # How many more steps of the same copy were added after each row.
        left = (self._size - 1 - (indices - oldest) % options.capacity) // options.n_envs
        last = indices
        rewards = columns.rewards[indices]
        discounts = np.full(indices.size, options.discount)
        going = ~columns.ended[indices]
        for step in range(1, options.n_step):
            going &= left >= step
            if not going.any():
                break
            after = (last + options.n_envs) % options.capacity
            last = np.where(going, after, last)
            rewards += np.where(going, discounts * columns.rewards[after], 0.0)
            discounts = np.where(going, discounts * options.discount, discounts)
            going &= ~columns.ended[last]
        return last, rewards, discounts

    def update_priorities(self, indices: ArrayLike, errors: ArrayLike) -> None:
        """Set the priority of drawn rows; see `aqe_core.contracts.Replay.update_priorities`. O(32 rows)."""
        tree = self._tree
        if tree is None:
            raise CapabilityError("this replay draws uniformly.", fix="make it with prioritized=True.")
        sizes = np.abs(as_values(errors, "errors"))
        where = np.asarray(indices)
        if not where.size:
            where = where.astype(np.int64)
        if where.shape != sizes.shape:
            raise DimensionError(
                f"indices have shape {where.shape}, errors {sizes.shape}, but both one axis.", fix="pass one each."
            )
        if where.dtype.kind not in "iu" or (where.size and not 0 <= int(where.min()) <= int(where.max()) < self._size):
            raise InputError(
                f"indices must be integers in 0 .. {self._size - 1}; there are others.", fix="pass those of sample()."
            )
        if not where.size:
            return
        self._enter_fresh(tree)
        weights = (np.minimum(sizes, _LARGEST) + _SMALLEST) ** self._options.priority_exponent
        tree.set(where.astype(np.int64, copy=False), weights)
        self._highest = max(self._highest, float(weights.max()))

    # -- moving ---------------------------------------------------------------------------------------------------

    def export_state(self) -> EngineState:
        """Return everything; kind ``replay/1``.

        The manifest has ``params``, ``head`` (where the next row goes) and ``highest`` (largest weight so far). Arrays,
        one row per slot that was written: ``observations``, ``actions``, ``rewards``, ``next_observations``,
        ``terminated``, ``ended``, ``weights`` (of prioritized ones); and ``generator``, six words of PCG64.
        """
        arrays: dict[str, NDArray[Any]] = {
            name: column[: self._size].copy() for name, column in self._columns._asdict().items()
        }
        if self._tree is not None:
            self._enter_fresh(self._tree)
            arrays["weights"] = self._tree.weights[: self._size].copy()
        return EngineState(
            kind=_KIND,
            manifest={"params": self.get_params(), "head": self._head, "highest": self._highest},
            arrays={**arrays, "generator": words_of(self._rng)},
        )

    def import_state(self, state: EngineState) -> None:
        """Replace everything by an exported state.

        Raises
        ------
        InputError
            It is not a state of a replay; nothing was changed.
        """
        if state.kind != _KIND:
            raise InputError(f"this is a state of kind {state.kind!r}, not {_KIND!r}.", fix="pass one of a replay.")
        fresh = object.__new__(NumpyReplay)
        try:
            fresh._start(as_options(dict(state.manifest["params"])))
            fresh._fill(state)
        except (AqeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"the state of a replay is damaged ({error}).", fix="take one exported by aqe.") from None
        self.__dict__.update(fresh.__dict__)

    def _fill(self, state: EngineState) -> None:
        arrays = state.arrays
        rows = Columns(**{name: arrays[name] for name in Columns._fields})
        size, head = len(rows.rewards), state.manifest["head"]
        capacity = self._options.capacity
        whole = size == capacity and 0 <= head < capacity
        if size > capacity or not (whole or head == size):
            raise ValueError(f"{size} rows of {capacity}, the next goes to {head}")
        checked: tuple[NDArray[Any], ...] = as_columns(self._options, *rows[:5], rows.ended)
        kept: tuple[NDArray[Any], ...] = self._columns
        for column, given in zip(kept, checked, strict=True):
            column[:size] = given
        self._size, self._head = size, as_count(head, "head", 0)
        self._rng = restored(arrays["generator"])
        if self._tree is not None:
            weights = as_values(arrays["weights"], "weights")
            self._highest = float(state.manifest["highest"])
            if len(weights) != size or (size and not 0.0 < weights.min() <= weights.max() <= self._highest):
                raise ValueError("weights")
            self._tree.set(np.arange(size), weights)
