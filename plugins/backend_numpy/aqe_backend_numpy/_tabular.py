"""What tabular learners share: everything but the worth of the next state."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from aqe_backend_numpy import _learner_input as given
from aqe_backend_numpy._qtable import BLOCK, STALE, TERMINAL, UNSEEN, Table
from aqe_backend_numpy._td import Updater
from aqe_core.errors import InvalidActionError
from aqe_core.state import EngineState, Portable
from aqe_core.validate import as_done, as_key_name, as_outcomes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from aqe_backend_numpy._qtable import Key
    from aqe_core.contracts.learner import ActionKey, StateKey

__all__ = ["Tabular"]

A = TypeVar("A", str, int)
SLICE = 2**15  # of a batch, so that the arrays made of it stay in the cache


_ADJUSTABLE = ("learning_rate", "discount", "epsilon")


class Tabular(Portable):
    """A `aqe_core.contracts.Learner` that lacks ``update``; parameters as `aqe_backend_numpy.learner.QLearning`."""

    algorithm: ClassVar[str]
    _on_policy: ClassVar[bool]  # a state is valued under the own policy, not the best
    _follows: ClassVar[bool]  # the next action, where given, is looked at

    def __init__(
        self,
        *,
        learning_rate: float = 0.1,
        discount: float = 0.95,
        epsilon: float = 0.1,
        initial_value: float = 0.0,
        actions: Sequence[ActionKey] | None = None,
        seed: int = 0,
    ) -> None:
        params = given.as_params(
            {
                "learning_rate": learning_rate,
                "discount": discount,
                "epsilon": epsilon,
                "initial_value": initial_value,
                "actions": actions,
                "seed": seed,
            }
        )
        self._random = random.Random(params.seed)  # noqa: S311  # exploration, not secrets
        self._start(params)

    def _start(self, params: given.Params) -> None:
        """Begin with an empty table under these parameters."""
        self._params = params
        # What the short way of update reads, without a detour through the parameters.
        self._rate = params.learning_rate
        self._discount = params.discount
        self._initial = params.initial_value
        self._table = Table(params.initial_value, params.actions, params.epsilon if self._on_policy else None)
        self._states = self._table.states
        self._actions = self._table.actions
        self._updater = Updater(self._table, params.learning_rate, params.discount)

    def __len__(self) -> int:
        """Return the number of (state, action) pairs with a value. O(1)."""
        return self._table.known

    @property
    def steps(self) -> int:
        """Number of updates learned. O(pairs)."""
        return int(self._table.entries()[2].sum())

    def get_params(self) -> dict[str, Any]:
        """Return the hyper-parameters, defaults included; ``make_learner`` takes them as they are."""
        params = self._params._asdict()
        return params | {"actions": None if params["actions"] is None else list(params["actions"])}

    def set_params(self, **changes: float) -> None:
        """Change ``learning_rate``, ``discount`` or ``epsilon`` from here on; a schedule is one call per episode.

        O(pairs) where the algorithm values states under its own policy, else O(1).

        Raises
        ------
        InputError
            Another parameter was named, or one is out of range; nothing was changed.
        """
        given.refuse_fixed(changes, _ADJUSTABLE)
        self._params = params = given.as_params({**self.get_params(), **changes})
        self._rate = self._updater.learning_rate = params.learning_rate
        self._discount = self._updater.discount = params.discount
        if self._on_policy:
            self._table.set_epsilon(params.epsilon)

    # -- learning -----------------------------------------------------------------------------------------------

    def _update_with_care(
        self, state: Any, action: Any, reward: Any, next_state: Any, done: Any, next_action: Any
    ) -> None:
        """Update with anything: check every argument, enter new states and actions."""
        home, cell, source, reward = self._enter(state, action, reward, next_state, done, next_action)
        self._table.tally[cell] += 1
        self._updater.one_by_one([[home], [cell], [source], [reward]], [STALE], pairwise=next_action is not None)

    def _enter(
        self, state: Any, action: Any, reward: Any, next_state: Any, done: Any, next_action: Any
    ) -> tuple[int, int, int, float]:
        """Check every argument, then enter a new state or action; return home, cell, source and reward.

        The source is what the update bootstraps from: a home, or with a next action a cell; `UNSEEN` or `TERMINAL`.
        """
        state = as_key_name(state, "state")
        action = self._allowed(as_key_name(action, "action"))
        next_state = as_key_name(next_state, "next_state")
        if next_action is not None:
            next_action = self._allowed(as_key_name(next_action, "next_action"))
        reward = given.as_reward(reward)
        done = as_done(done)
        table = self._table
        home = table.add_state(state)
        _, offset, tile = table.add_action(action)
        cell = table.add_block(home, tile) * BLOCK + offset
        if done:
            source = TERMINAL
        elif next_action is None:
            source = table.states.get(next_state, UNSEEN)
        else:
            source = table.find(next_state, next_action)
        return home, cell, source, reward

    def _allowed(self, action: Key) -> Key:
        if self._params.actions is not None and action not in self._actions:
            raise InvalidActionError(
                f"the action {action!r} is not declared.",
                fix="use a declared action, or make the learner without actions=[...].",
            )
        return action

    def update_batch(
        self,
        states: ArrayLike | Sequence[StateKey],
        actions: ArrayLike | Sequence[ActionKey],
        rewards: ArrayLike,
        next_states: ArrayLike | Sequence[StateKey],
        dones: ArrayLike | None = None,
        next_actions: ArrayLike | Sequence[ActionKey] | None = None,
    ) -> None:
        """Learn from ``n`` transitions in order, as `update` does one by one, bit for bit. O(n).

        Integer arrays are the fast way; keys in 0 .. 2**20 - 1 the fastest.

        Parameters
        ----------
        states, actions, next_states, next_actions : int64 array or sequence of str or int, shape (n,)
            Q-learning does not look at ``next_actions``.
        rewards : array of float64, shape (n,)
            Finite, within 1e290 of zero.
        dones : array of bool, shape (n,), optional
            All false when absent.

        Raises
        ------
        DimensionError
            The lengths differ.
        NonFiniteError, InputError, InvalidActionError
            As `update`; nothing was learned.
        """
        before = given.as_batch_keys(states, "states")
        n = len(before)
        chosen = self._all_allowed(given.as_batch_keys(actions, "actions", n))
        after = given.as_batch_keys(next_states, "next_states", n)
        following = None
        if next_actions is not None and self._follows:
            following = self._all_allowed(given.as_batch_keys(next_actions, "next_actions", n))
        worth = given.as_rewards(rewards, n)
        ended = None if dones is None else as_outcomes(dones, "dones", n)
        if n == 0:
            return
        table = self._table
        for start in range(0, n, SLICE):
            part = slice(start, start + SLICE)
            homes = table.homes(before[part], add=True)
            cells = table.pairs(homes, table.columns(chosen[part], add=True), add=True)
            sources = table.homes(after[part], add=False)
            if following is not None:
                sources = table.pairs(sources, table.columns(following[part], add=False), add=False)
            if ended is not None:
                sources[ended[part]] = TERMINAL
            self._updater.apply(homes, cells, sources, worth[part], pairwise=following is not None)

    def _all_allowed(self, actions: NDArray[np.int64] | list[Key]) -> NDArray[np.int64] | list[Key]:
        if self._table.declared and len(actions):
            unknown = np.flatnonzero(self._table.columns(actions, add=False) == 0)
            if unknown.size:
                self._allowed(as_key_name(actions[unknown[0]], "action"))  # raises
        return actions

    # -- asking -------------------------------------------------------------------------------------------------

    def act(self, state: StateKey, actions: Sequence[A], *, explore: bool = True) -> A:
        """Choose one of the offered actions, epsilon-greedily. O(offered).

        The greedy choice is the offered action of the highest value; an action never tried has the initial value;
        of equal ones the first offered is chosen. With ``explore`` a uniformly random one is taken with probability
        epsilon; this draws one number from the generator, and a second one to choose. Without it nothing is drawn.

        Raises
        ------
        InputError
            A key is neither str nor int.
        InvalidActionError
            Nothing was offered, or something outside the declared set.
        """
        state = as_key_name(state, "state")
        offered = given.as_offered(actions)
        keys = [self._allowed(as_key_name(action, "an offered action")) for action in offered]
        if explore and self._random.random() < self._params.epsilon:
            return offered[int(self._random.random() * len(keys))]
        return offered[self._best(state, keys)]

    def _best(self, state: Key, keys: list[Key]) -> int:
        """Return the position of the best action, of equal ones the first."""
        table = self._table
        values = [table.value(table.find(state, key)) for key in keys]
        return values.index(max(values))

    def probabilities(self, state: StateKey, actions: Sequence[A]) -> NDArray[np.float64]:
        """Return the probability of each offered action under `act` with ``explore``, float64, shape (offered,).

        ``epsilon / n`` each, and the greedy choice of the ``n`` offered ones ``1 - epsilon`` more.

        Raises
        ------
        InputError, InvalidActionError
            As `act`.
        """
        state = as_key_name(state, "state")
        keys = [self._allowed(as_key_name(action, "an offered action")) for action in given.as_offered(actions)]
        shares = np.full(len(keys), self._params.epsilon / len(keys))
        shares[self._best(state, keys)] += 1.0 - self._params.epsilon
        return shares

    def value(self, state: StateKey, action: ActionKey) -> float:
        """Return the learned value of an action in a state; the initial value if it was never tried. O(1).

        Raises
        ------
        InputError
            A key is neither str nor int.
        InvalidActionError
            The action is outside the declared set.
        """
        state, action = as_key_name(state, "state"), self._allowed(as_key_name(action, "action"))
        return self._table.value(self._table.find(state, action))

    def visits(self, state: StateKey, action: ActionKey) -> int:
        """Return the number of updates of a pair. O(1).

        Raises
        ------
        InputError, InvalidActionError
            As `value`.
        """
        state, action = as_key_name(state, "state"), self._allowed(as_key_name(action, "action"))
        cell = self._table.find(state, action)
        return int(self._table.counts[cell]) + self._table.tally[cell]

    # -- moving -------------------------------------------------------------------------------------------------

    def export_state(self) -> EngineState:
        """Return everything learned, with the generator, so that ``import_state`` continues bit for bit.

        Kind ``learner/<algorithm>/1``. The manifest holds ``params``; ``states`` and ``actions`` (lists of str and
        int, in order of first update); ``rng``, the state of Python's `random.Random` (Mersenne Twister). The arrays
        have one entry per known pair, by row, then column: ``rows`` and ``columns`` (int64, positions in those
        lists), ``values`` (float64) and ``visits`` (int64, number of updates).
        """
        rows, columns, visits, values = self._table.entries()
        version, words, _ = self._random.getstate()
        return EngineState(
            kind=f"learner/{self.algorithm}/1",
            manifest={
                "params": self.get_params(),
                "states": list(self._states),
                "actions": list(self._actions),
                "rng": [version, list(words), None],
            },
            arrays={"rows": rows, "columns": columns, "values": values, "visits": visits},
        )

    def import_state(self, state: EngineState) -> None:
        """Replace everything learned, the hyper-parameters and the generator by an exported state.

        Raises
        ------
        InputError
            It is not a state of this kind of learner; nothing was changed.
        """
        learned = given.as_learned(state, f"learner/{self.algorithm}/1")
        self._start(learned.params)
        self._table.add_states(learned.states)
        for key in learned.actions:
            self._table.add_action(key)
        self._table.fill(learned.rows, learned.columns, learned.visits, learned.values)
        self._random.setstate(learned.generator)
