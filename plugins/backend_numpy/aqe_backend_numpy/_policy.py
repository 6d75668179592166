"""What tabular policy learners share: a preference per pair, a value per state, and a softmax that acts.

A state's *row* holds its preferences. With declared actions it holds all of them, in the declared order; without, those
that were tried there, in the order of their first updates. So where the legal actions depend on the state, and none are
declared, an illegal one never gets a probability. All sums run over the row from left to right.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from aqe_backend_numpy import _learner_input as given
from aqe_backend_numpy._policy_input import as_learned_policy, as_policy_params
from aqe_core.errors import InvalidActionError
from aqe_core.state import EngineState, Portable
from aqe_core.stream import Streamed
from aqe_core.validate import as_done, as_key_name, as_outcomes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from aqe_backend_numpy._policy_input import LearnedPolicy
    from aqe_core.contracts.learner import ActionKey, StateKey

__all__ = ["PolicyTable", "log_softmax"]

A = TypeVar("A", str, int)


def log_softmax(preferences: Iterable[float]) -> tuple[list[float], list[float]]:
    """Return the probabilities and their logarithms. O(n).

    ``m`` is the largest preference, ``total`` the sum of ``exp(p - m)`` from left to right; a probability is
    ``exp(p - m) / total``, its logarithm ``(p - m) - log(total)``: finite even where the probability is zero.
    """
    values = list(preferences)
    top = max(values)
    shifted = [value - top for value in values]
    powers = [math.exp(value) for value in shifted]
    total = 0.0
    for power in powers:
        total += power
    log_total = math.log(total)
    return [power / total for power in powers], [value - log_total for value in shifted]


class PolicyTable(Streamed, Portable):
    """A `aqe_core.contracts.Learner` that lacks ``_learn``, by which a subclass learns from one checked transition."""

    algorithm: ClassVar[str]
    _bounds: ClassVar[given.Numbers]

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._start(as_policy_params(self._bounds, params))
        self._random = random.Random(self._params["seed"])  # noqa: S311  # exploration, not secrets

    def _start(self, params: dict[str, Any]) -> None:
        """Begin with an empty table under these parameters."""
        self._params = params
        declared = params["actions"]
        self._declared: frozenset[ActionKey] | None = None if declared is None else frozenset(declared)
        self._rows: dict[StateKey, dict[ActionKey, float]] = {}
        self._visits: dict[StateKey, dict[ActionKey, int]] = {}
        self._lasts: dict[StateKey, dict[ActionKey, int]] = {}
        self._steps = 0
        self._worths: dict[StateKey, float] = {}
        self._actions: dict[ActionKey, int] = {action: column for column, action in enumerate(declared or ())}

    def __len__(self) -> int:
        """Return the number of (state, action) pairs with a preference. O(states)."""
        return sum(map(len, self._rows.values()))

    @property
    def steps(self) -> int:
        """Number of updates."""
        return self._steps

    def get_params(self) -> dict[str, Any]:
        """Return the hyper-parameters, defaults included; ``make_learner`` takes them as they are."""
        actions = self._params["actions"]
        return {**self._params, "actions": None if actions is None else list(actions)}

    def set_params(self, **changes: float) -> None:
        """Change hyper-parameters from here on, a learning rate or ``epsilon`` say; a schedule is a call per episode.

        Raises
        ------
        InputError
            One is unknown, not to be changed (``actions``, ``seed``), or out of range; nothing was changed.
        """
        given.refuse_fixed(changes, self._bounds)
        self._params = as_policy_params(self._bounds, {**self._params, **changes})

    # -- learning -----------------------------------------------------------------------------------------------

    def _learn(self, state: StateKey, action: ActionKey, reward: float, next_state: StateKey, done: bool) -> None:
        raise NotImplementedError

    def update(
        self,
        state: StateKey,
        action: ActionKey,
        reward: float,
        next_state: StateKey,
        done: bool = False,
        next_action: ActionKey | None = None,  # noqa: ARG002  # the contract; not looked at
    ) -> None:
        """Learn from one transition. O(actions of the state).

        Parameters
        ----------
        state, action : str or int
            What was done where.
        reward : float
            Finite, within 1e290 of zero.
        next_state : str or int
            Where it led.
        done : bool
            The episode ended there (Gymnasium's ``terminated``): the next state is worth nothing. An episode that was
            cut off (``truncated``) passes False, so that the next state's value stands for the rest.
        next_action : str or int, optional
            Not looked at.

        Raises
        ------
        NonFiniteError
            The reward is NaN or infinite.
        InputError
            A key is neither str nor int, or a number is out of range.
        InvalidActionError
            An action is outside the declared set.
        """
        state = as_key_name(state, "state")
        action = self._allowed(as_key_name(action, "action"))
        next_state = as_key_name(next_state, "next_state")
        self._learn(state, action, given.as_reward(reward), next_state, as_done(done))

    def update_batch(
        self,
        states: ArrayLike | Sequence[StateKey],
        actions: ArrayLike | Sequence[ActionKey],
        rewards: ArrayLike,
        next_states: ArrayLike | Sequence[StateKey],
        dones: ArrayLike | None = None,
        next_actions: ArrayLike | Sequence[ActionKey] | None = None,  # noqa: ARG002  # the contract; not looked at
    ) -> None:
        """Learn from ``n`` transitions in order, as `update` does one by one, bit for bit. O(n).

        Parameters
        ----------
        states, actions, next_states : int64 array or sequence of str or int, shape (n,)
        rewards : array of float64, shape (n,)
            Finite, within 1e290 of zero.
        dones : array of bool, shape (n,), optional
            All false when absent.
        next_actions : optional
            Not looked at.

        Raises
        ------
        DimensionError
            The lengths differ.
        NonFiniteError, InputError, InvalidActionError
            As `update`; nothing was learned.
        """
        before = _plain(given.as_batch_keys(states, "states"))
        n = len(before)
        chosen = [self._allowed(action) for action in _plain(given.as_batch_keys(actions, "actions", n))]
        after = _plain(given.as_batch_keys(next_states, "next_states", n))
        gains = given.as_rewards(rewards, n).tolist()
        ends = [False] * n if dones is None else as_outcomes(dones, "dones", n).tolist()
        for row in zip(before, chosen, gains, after, ends, strict=True):
            self._learn(*row)

    def _allowed(self, action: ActionKey) -> ActionKey:
        if self._declared is not None and action not in self._declared:
            raise InvalidActionError(
                f"the action {action!r} is not declared.",
                fix="use a declared action, or make the learner without actions=[...].",
            )
        return action

    def _enter(self, state: StateKey, action: ActionKey) -> dict[ActionKey, float]:
        """Return the row of a state, with the action in it, and count the visit."""
        row = self._rows.get(state)
        if row is None:
            declared = self._params["actions"] or ()
            row = self._rows[state] = dict.fromkeys(declared, 0.0)
            self._visits[state] = dict.fromkeys(declared, 0)
            self._lasts[state] = dict.fromkeys(declared, 0)
            self._worths[state] = self._params["initial_value"]
        if action not in row:
            row[action] = 0.0
            self._actions.setdefault(action, len(self._actions))
        visits = self._visits[state]
        visits[action] = visits.get(action, 0) + 1
        self._steps += 1
        self._lasts[state][action] = self._steps
        return row

    def _climb(self, state: StateKey, action: ActionKey, step: float) -> None:
        """Move a row along ``step`` times the gradient of its log-probability of an action, plus the entropy bonus."""
        row = self._rows[state]
        self._move(row, action, step, *log_softmax(row.values()))

    def _move(
        self, row: dict[ActionKey, float], action: ActionKey, step: float, shares: list[float], logs: list[float]
    ) -> None:
        bonus = self._params["learning_rate"] * self._params["entropy_coefficient"]
        entropy = 0.0
        if bonus:
            for share, log in zip(shares, logs, strict=True):
                entropy -= share * log
        for (other, preference), share, log in zip(row.items(), shares, logs, strict=True):
            change = step * ((1.0 if other == action else 0.0) - share)
            if bonus:
                change -= bonus * share * (log + entropy)
            row[other] = preference + change  # no new key: the row may be changed while it is read

    # -- asking -------------------------------------------------------------------------------------------------

    def act(self, state: StateKey, actions: Sequence[A], *, explore: bool = True) -> A:
        """Choose one of the offered actions. O(offered).

        With ``explore`` it is drawn with the probabilities of `probabilities`; this draws two numbers from the
        generator: whether to take a uniformly random action (the first is below epsilon), and which one. Without, it
        is the offered action of the highest preference, of equal ones the first, and nothing is drawn.

        Raises
        ------
        InputError
            A key is neither str nor int.
        InvalidActionError
            Nothing was offered, or something outside the declared set.
        """
        offered, preferences = self._offered(state, actions)
        if not explore:
            return offered[preferences.index(max(preferences))]
        uniform = self._random.random() < self._params["epsilon"]
        draw = self._random.random()
        if uniform:
            return offered[int(draw * len(offered))]
        shares, _ = log_softmax(preferences)
        total = 0.0
        for position, share in enumerate(shares):
            total += share
            if draw < total:
                return offered[position]
        return offered[shares.index(max(shares))]  # the draw lies above the rounded sum

    def _offered(self, state: StateKey, actions: Sequence[A]) -> tuple[list[A], list[float]]:
        row = self._rows.get(as_key_name(state, "state"), {})
        offered = given.as_offered(actions)
        keys = [self._allowed(as_key_name(action, "an offered action")) for action in offered]
        return offered, [row.get(key, 0.0) for key in keys]

    def probabilities(self, state: StateKey, actions: Sequence[A]) -> NDArray[np.float64]:
        """Return the probability of each offered action under `act` with ``explore``, float64, shape (offered,).

        ``epsilon / n + (1 - epsilon) * softmax`` over the preferences of the ``n`` offered actions; one that was never
        tried has the preference 0.

        Raises
        ------
        InputError, InvalidActionError
            As `act`.
        """
        _, preferences = self._offered(state, actions)
        shares = np.array(log_softmax(preferences)[0])
        epsilon: float = self._params["epsilon"]
        return epsilon / shares.size + (1.0 - epsilon) * shares

    def value(self, state: StateKey, action: ActionKey) -> float:
        """Return the preference of an action in a state, 0 if it was never tried: larger is likelier. O(1).

        Raises
        ------
        InputError
            A key is neither str nor int.
        InvalidActionError
            The action is outside the declared set.
        """
        state, action = as_key_name(state, "state"), self._allowed(as_key_name(action, "action"))
        return self._rows.get(state, {}).get(action, 0.0)

    def state_value(self, state: StateKey) -> float:
        """Return the learned value of a state, the initial value if it was never left. O(1).

        Raises
        ------
        InputError
            The key is neither str nor int.
        """
        return self._worth(as_key_name(state, "state"))

    def _worth(self, state: StateKey) -> float:
        worth: float = self._worths.get(state, self._params["initial_value"])
        return worth

    def visits(self, state: StateKey, action: ActionKey) -> int:
        """Return the number of updates of a pair. O(1).

        Raises
        ------
        InputError, InvalidActionError
            As `value`.
        """
        state, action = as_key_name(state, "state"), self._allowed(as_key_name(action, "action"))
        return self._visits.get(state, {}).get(action, 0)

    def last_update(self, state: StateKey, action: ActionKey) -> int:
        """Return the number of the last update of a pair among all updates, counted from 1. O(1).

        0 if it was never tried, or if it is unknown: the pair was not updated since a state of version 1 was imported.

        Raises
        ------
        InputError, InvalidActionError
            As `value`.
        """
        state, action = as_key_name(state, "state"), self._allowed(as_key_name(action, "action"))
        return self._lasts.get(state, {}).get(action, 0)

    # -- moving -------------------------------------------------------------------------------------------------

    def export_state(self) -> EngineState:
        """Return everything learned, with the generator, so that ``import_state`` continues bit for bit.

        Kind ``learner/<algorithm>/2``. The manifest holds ``params``; ``states`` and ``actions`` (lists of str and
        int, in order of first update); ``rng``, the state of Python's `random.Random` (Mersenne Twister). The arrays
        have one entry per pair, by row, in the order of the row: ``rows`` and ``columns`` (int64, positions in those
        lists), ``values`` (float64, preferences), ``visits`` (int64) and ``last_updates`` (int64, see `last_update`;
        version 1 lacks them, and is read); and one per state: ``state_values`` (float64).
        """
        pairs = [
            (
                row,
                self._actions[action],
                preference,
                self._visits[state][action],
                self._lasts[state][action],
            )
            for row, (state, preferences) in enumerate(self._rows.items())
            for action, preference in preferences.items()
        ]
        columns = zip(*pairs, strict=True) if pairs else [()] * len(given.PAIRS)
        dtypes = given.PAIRS.items()
        arrays = {name: np.array(column, dtype) for (name, dtype), column in zip(dtypes, columns, strict=True)}
        version, words, _ = self._random.getstate()
        return EngineState(
            kind=f"learner/{self.algorithm}/{given.VERSION}",
            manifest={
                "params": self.get_params(),
                "states": list(self._rows),
                "actions": list(self._actions),
                "rng": [version, list(words), None],
                **self._more_manifest(),
            },
            arrays={**arrays, "state_values": np.array(list(self._worths.values())), **self._more_arrays()},
        )

    def import_state(self, state: EngineState) -> None:
        """Replace everything learned, the hyper-parameters and the generator by an exported state.

        Raises
        ------
        InputError
            It is not a state of this kind of learner; nothing was changed.
        """
        learned = as_learned_policy(state, self.algorithm, self._bounds)
        states, actions = learned.states, learned.actions
        self._start(learned.params)
        self._actions = {action: column for column, action in enumerate(actions)}
        self._worths = dict(zip(states, learned.worths.tolist(), strict=True))
        self._rows = {name: {} for name in states}
        self._visits = {name: {} for name in states}
        self._lasts = {name: {} for name in states}
        for row, column, preference, count, last in zip(*(part.tolist() for part in learned.pairs), strict=True):
            self._rows[states[row]][actions[column]] = preference
            self._visits[states[row]][actions[column]] = count
            self._lasts[states[row]][actions[column]] = last
        self._steps = int(learned.pairs.visits.sum())
        self._random.setstate(learned.generator)
        self._take_more(learned)

    def _more_manifest(self) -> dict[str, Any]:
        """Return what a subclass adds to the manifest."""
        return {}

    def _more_arrays(self) -> dict[str, NDArray[Any]]:
        """Return what a subclass adds to the arrays."""
        return {}

    def _take_more(self, learned: LearnedPolicy) -> None:
        """Take over what a subclass added."""


def _plain(keys: NDArray[np.int64] | list[Any]) -> list[Any]:
    return keys if isinstance(keys, list) else keys.tolist()
