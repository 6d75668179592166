"""What tabular learners share: everything but the worth of the next state.

Single updates are checked at once and learned later, together: some thousands wait in a list until it is full or the
table is asked for anything. That is several times as fast as learning them one by one, and as a batch equals its
updates one at a time bit for bit, nobody can tell.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from aqe_backend_numpy import _learner_input as given
from aqe_backend_numpy._numbering import packed
from aqe_backend_numpy._qtable import STALE, TERMINAL, UNSEEN, Table
from aqe_backend_numpy._td import MAX_BATCH, Updater
from aqe_core.errors import InvalidActionError
from aqe_core.state import EngineState, Portable
from aqe_core.stream import Streamed
from aqe_core.validate import as_done, as_key_name, as_outcomes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from aqe_backend_numpy._numbering import Key
    from aqe_core.contracts.learner import ActionKey, StateKey

__all__ = ["Tabular"]

A = TypeVar("A", str, int)
FEW = 32  # so many updates are learned faster without arrays
MAX_KEY = 2**63 - 1
WIDTH = 4  # items of an update in the waiting list: state, action, reward, and the next state or what stands for it
END = object()  # instead of the next state: there is none, the episode ended
FULL = MAX_BATCH * WIDTH


_ADJUSTABLE = ("learning_rate", "discount", "epsilon")


class Tabular(Streamed, Portable):
    """A `aqe_core.contracts.Learner` that lacks two choices; parameters as `aqe_backend_numpy.learner.QLearning`."""

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
        self._waiting: list[Any] = []  # `WIDTH` items of each update not yet learned, checked
        self._ends = False  # whether any of them may be an `END`
        self._pairwise = False  # whether they bootstrap from pairs: instead of the next state there is one
        self._behind = Table(params.initial_value, params.actions, params.epsilon if self._on_policy else None)
        self._declared = self._behind.actions if params.actions is not None else None
        self._updater = Updater(self._behind, params.learning_rate, params.discount)

    @property
    def _table(self) -> Table:
        """The table, with all updates learned."""
        if self._waiting:
            self._settle()
        self._updater.finish()
        return self._behind

    def __len__(self) -> int:
        """Return the number of (state, action) pairs with a value. O(1)."""
        return self._table.known

    @property
    def steps(self) -> int:
        """Number of updates learned."""
        return self._behind.steps + len(self._waiting) // WIDTH

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
        params = given.as_params({**self.get_params(), **changes})
        table = self._table  # what waits was to be learned under the old ones
        self._params = params
        self._updater.learning_rate = params.learning_rate
        self._updater.discount = params.discount
        if self._on_policy:
            table.set_epsilon(params.epsilon)

    # -- learning -----------------------------------------------------------------------------------------------

    def update(
        self,
        state: StateKey,
        action: ActionKey,
        reward: float,
        next_state: StateKey,
        done: bool = False,
        next_action: ActionKey | None = None,
    ) -> None:
        """Learn from one transition. O(1), amortized; one call in 16,384 takes some milliseconds.

        Parameters
        ----------
        state, action : str or int
            What was done where.
        reward : float
            Finite, within 1e290 of zero.
        next_state : str or int
            Where it led.
        done : bool
            The episode ended there: the next state is worth nothing.
        next_action : str or int, optional
            The action that will be taken in the next state. Only SARSA looks at it.

        Raises
        ------
        NonFiniteError
            The reward is NaN or infinite.
        InputError
            A key is neither str nor int, or a number is out of range.
        InvalidActionError
            The action is outside the declared set.
        """
        waiting = self._waiting
        if (
            type(reward) is float
            and -1e290 <= reward <= 1e290
            and (type(state) is str or (type(state) is int and -MAX_KEY <= state <= MAX_KEY))
            and (type(action) is str or (type(action) is int and -MAX_KEY <= action <= MAX_KEY))
            and (type(next_state) is str or (type(next_state) is int and -MAX_KEY <= next_state <= MAX_KEY))
            and done is False
            and next_action is None
            and self._declared is None
            and not self._pairwise
        ):
            waiting += (state, action, reward, next_state)
        else:
            self._wait(state, action, reward, next_state, done, next_action)
        if len(waiting) >= FULL:
            self._settle()

    def _wait(self, state: Any, action: Any, reward: Any, next_state: Any, done: Any, next_action: Any) -> None:
        """Check the arguments of an update, and let it wait."""
        # What is plain already is told here: asking the careful functions takes longer than all the rest.
        if not (type(state) is str or (type(state) is int and -MAX_KEY <= state <= MAX_KEY)):
            state = as_key_name(state, "state")
        if not (type(action) is str or (type(action) is int and -MAX_KEY <= action <= MAX_KEY)):
            action = as_key_name(action, "action")
        if not (type(next_state) is str or (type(next_state) is int and -MAX_KEY <= next_state <= MAX_KEY)):
            next_state = as_key_name(next_state, "next_state")
        if not (type(reward) is float and -1e290 <= reward <= 1e290):
            reward = given.as_reward(reward)
        if not (done is False or done is True):
            done = as_done(done)
        if next_action is not None:
            next_action = self._allowed(as_key_name(next_action, "next_action")) if self._follows else None
        if self._declared is not None:
            self._allowed(action)
        # First what may be said of nothing, last the one step that counts: it may be interrupted anywhere.
        if done:
            self._ends = True
            next_state = END
        elif (next_action is not None) != self._pairwise:
            self._settle()
            self._pairwise = not self._pairwise
        if self._pairwise and not done:
            next_state = next_state, next_action
        self._waiting += (state, action, reward, next_state)

    def _settle(self) -> None:
        """Learn what waits."""
        waiting, self._waiting = self._waiting, []
        ends, self._ends = self._ends, False
        states, actions, rewards, after = [waiting[start::WIDTH] for start in range(WIDTH)]
        if len(states) <= FEW:
            self._updater.finish()
            numbers = self._behind.add_actions(actions)  # all at once, as it may widen the table
            updates = [*map(self._numbered, states, numbers.tolist(), rewards, after)]
            self._updater.one_by_one(updates, pairwise=self._pairwise)
            return
        dones = following = None
        if ends:
            dones = np.array([each is END for each in after])
            anything = zip(states, actions, strict=True) if self._pairwise else states
            after = [own if each is END else each for own, each in zip(anything, after, strict=True)]
        if self._pairwise:
            after, following = map(list, zip(*after, strict=True))
        self._learn(states, actions, packed(rewards, np.float64), after, dones, following)

    def _numbered(self, state: Key, number: int, reward: float, after: Any) -> tuple[int, int, int, float, float]:
        """Count an update, as it waits, and return it as the updater takes it."""
        table = self._behind
        home = table.states.get(state) or table.add_state(state)
        cell = table.add_cell(home, number)
        if after is END:
            source = TERMINAL
        elif self._pairwise:
            source = table.find(*after)
        else:
            source = table.states.get(after, UNSEEN)
        table.count_one(cell)
        return home, cell, source, reward, STALE

    def _allowed(self, action: Key) -> Key:
        if self._declared is not None and action not in self._declared:
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
        if self._waiting:
            self._settle()
        for start in range(0, n, MAX_BATCH):
            part = slice(start, start + MAX_BATCH)
            self._learn(
                before[part],
                chosen[part],
                worth[part],
                after[part],
                None if ended is None else ended[part],
                None if following is None else following[part],
            )

    def _learn(
        self,
        states: NDArray[np.int64] | list[Key],
        actions: NDArray[np.int64] | list[Key],
        rewards: NDArray[np.float64],
        next_states: NDArray[np.int64] | list[Key],
        dones: NDArray[np.bool_] | None,
        next_actions: NDArray[np.int64] | list[Key] | None,
    ) -> None:
        """Learn from checked columns."""
        table = self._behind
        columns = table.add_actions(actions)  # first, as it may widen the table
        homes = table.add_states(states)
        cells = table.pairs(homes, columns, add=True)
        sources = table.find_states(next_states)
        if next_actions is not None:
            sources = table.pairs(sources, table.find_actions(next_actions), add=False)
        if dones is not None:
            sources[dones] = TERMINAL
        self._updater.apply(homes, cells, sources, rewards, pairwise=next_actions is not None)

    def _all_allowed(self, actions: NDArray[np.int64] | list[Key]) -> NDArray[np.int64] | list[Key]:
        if self._declared is not None and len(actions):
            unknown = np.flatnonzero(self._behind.find_actions(actions) == 0)
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
        keys = self._keys(offered)
        if explore and self._random.random() < self._params.epsilon:
            return offered[int(self._random.random() * len(keys))]
        return offered[self._best(state, keys)]

    def _keys(self, offered: Sequence[ActionKey]) -> list[Key]:
        """Return the offered actions, checked."""
        if self._declared is None:
            return [key if type(key) is str else as_key_name(key, "an offered action") for key in offered]
        return [self._allowed(as_key_name(key, "an offered action")) for key in offered]

    def _best(self, state: Key, keys: list[Key]) -> int:
        """Return the position of the best action, of equal ones the first."""
        values = self._table.values_in(state, keys)
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
        keys = self._keys(given.as_offered(actions))
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
        cell = self._cell(state, action)
        return self._table.value(cell)

    def visits(self, state: StateKey, action: ActionKey) -> int:
        """Return the number of updates of a pair. O(1).

        Raises
        ------
        InputError, InvalidActionError
            As `value`.
        """
        cell = self._cell(state, action)
        return int(self._table.counts[cell])

    def last_update(self, state: StateKey, action: ActionKey) -> int:
        """Return the number of the last update of a pair among all updates, counted from 1. O(1).

        0 if it was never tried, or if it is unknown: the pair was not updated since a state of version 1 was imported.

        Raises
        ------
        InputError, InvalidActionError
            As `value`.
        """
        cell = self._cell(state, action)
        return int(self._table.lasts[cell])

    def _cell(self, state: StateKey, action: ActionKey) -> int:
        """Return the cell of a pair, checked."""
        state, action = as_key_name(state, "state"), self._allowed(as_key_name(action, "action"))
        return self._table.find(state, action)

    # -- moving -------------------------------------------------------------------------------------------------

    def export_state(self) -> EngineState:
        """Return everything learned, with the generator, so that ``import_state`` continues bit for bit.

        Kind ``learner/<algorithm>/2``. The manifest holds ``params``; ``states`` and ``actions`` (lists of str and
        int, in order of first update); ``rng``, the state of Python's `random.Random` (Mersenne Twister). The arrays
        have one entry per known pair, by row, then column: ``rows`` and ``columns`` (int64, positions in those
        lists), ``values`` (float64), ``visits`` (int64, number of updates) and ``last_updates`` (int64, see
        `last_update`); version 1 lacks the last, and is read.
        """
        table = self._table
        version, words, _ = self._random.getstate()
        return EngineState(
            kind=f"learner/{self.algorithm}/{given.VERSION}",
            manifest={
                "params": self.get_params(),
                "states": list(table.states),
                "actions": list(table.actions),
                "rng": [version, list(words), None],
            },
            arrays=dict(zip(given.PAIRS, table.entries(), strict=True)),
        )

    def import_state(self, state: EngineState) -> None:
        """Replace everything learned, the hyper-parameters and the generator by an exported state.

        Raises
        ------
        InputError
            It is not a state of this kind of learner; nothing was changed.
        """
        learned = given.as_learned(state, self.algorithm)
        self._start(learned.params)
        table = self._behind
        table.add_actions(learned.actions)
        table.add_states(learned.states)
        table.fill(*learned.pairs)
        self._random.setstate(learned.generator)
