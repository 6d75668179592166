"""Tabular Q-learning, SARSA and expected SARSA in Rust: the same results as the NumPy backend's, bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from aqe_backend_numpy import _learner_input as given
from aqe_backend_numpy.learner import made

from aqe_backend_native._native import SHARDS, TabularLearner
from aqe_backend_native.bandits import DiscountedLinUcb, LinUcb, Thompson
from aqe_core.errors import CapabilityError, ConfigError, InputError, InvalidActionError
from aqe_core.state import EngineState, Portable
from aqe_core.stream import Streamed
from aqe_core.suggest import did_you_mean
from aqe_core.validate import as_done, as_key_name, as_outcomes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aqe_core.contracts.learner import ActionKey, StateKey

__all__ = ["SHARDS", "ExpectedSarsa", "QLearning", "Sarsa", "make_learner"]

_ADJUSTABLE = ("learning_rate", "discount", "epsilon")


class Tabular(TabularLearner, Streamed, Portable):
    """What the tabular learners share; parameters as `make_learner`.

    ``update``, ``update_batch``, ``act``, ``value`` and ``len`` are the Rust methods themselves. They take plain
    arguments on their own and hand anything else to the methods below, which check it as every backend does.

    Safe for use from several threads. Batches whose states and next states share no shard (see ``shard``) run at the
    same time; everything else waits for its turn.
    """

    __slots__ = ()
    algorithm: ClassVar[str]
    _on_policy: ClassVar[bool]  # a state is valued under the own policy, not the best
    _follows: ClassVar[bool]  # the next action, where given, is looked at

    def __new__(
        cls,
        *,
        learning_rate: float = 0.1,
        discount: float = 0.95,
        epsilon: float = 0.1,
        initial_value: float = 0.0,
        actions: Sequence[ActionKey] | None = None,
        seed: int = 0,
    ) -> Self:
        """Make an empty learner from parameters that are checked here."""
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
        return super().__new__(cls, (cls._on_policy, cls._follows), params[:4], params.actions or (), params.seed)

    def get_params(self) -> dict[str, Any]:
        """Return the hyper-parameters, defaults included; ``make_learner`` takes them as they are."""
        numbers, actions, seed = self._params()
        fields = (*numbers, actions or None, seed)
        return dict(zip(given.Params._fields, fields, strict=True))

    def set_params(self, **changes: float) -> None:
        """Change ``learning_rate``, ``discount`` or ``epsilon`` from here on; a schedule is one call per episode.

        O(states) where the algorithm values states under its own policy, else O(1).

        Raises
        ------
        InputError
            Another parameter was named, or one is out of range; nothing was changed.
        """
        wrong = sorted(set(changes) - set(_ADJUSTABLE))
        if wrong:
            raise InputError(
                f"{wrong[0]} cannot be changed.",
                fix=f"make another learner; these can: {', '.join(sorted(_ADJUSTABLE))}.",
            )
        self._set_rates(*given.as_params({**self.get_params(), **changes})[:3])

    def visits(self, state: StateKey, action: ActionKey) -> int:
        """Return the number of updates of a pair. O(1).

        Raises
        ------
        InputError
            A key is neither str nor int.
        InvalidActionError
            The action is outside the declared set.
        """
        state = as_key_name(state, "state")
        (action,) = self._all_allowed([as_key_name(action, "action")])
        return self._visits(state, action)

    def probabilities(self, state: StateKey, actions: Sequence[ActionKey]) -> NDArray[np.float64]:
        """Return the probability of each offered action under ``act`` with ``explore``, float64, shape (offered,).

        ``epsilon / n`` each, and the greedy choice of the ``n`` offered ones ``1 - epsilon`` more.

        Raises
        ------
        InputError, InvalidActionError
            As ``act``.
        """
        offered = _as_offered(actions)
        name = as_key_name(state, "state")
        keys = self._all_allowed([as_key_name(action, "an offered action") for action in offered])
        epsilon = self.get_params()["epsilon"]
        shares = np.full(len(keys), epsilon / len(keys))
        shares[self._choose(name, keys, False)] += 1.0 - epsilon
        return shares

    # -- arguments that are not plain -----------------------------------------------------------------------------

    def _update_with_care(
        self, state: Any, action: Any, reward: Any, next_state: Any, done: Any, next_action: Any
    ) -> None:
        state = as_key_name(state, "state")
        (action,) = self._all_allowed([as_key_name(action, "action")])
        next_state = as_key_name(next_state, "next_state")
        if not self._follows:
            next_action = None
        if next_action is not None:
            (next_action,) = self._all_allowed([as_key_name(next_action, "next_action")])
        self._update((state, action, next_state), given.as_reward(reward), as_done(done), next_action)

    def _update_batch_with_care(
        self, states: Any, actions: Any, rewards: Any, next_states: Any, dones: Any, next_actions: Any
    ) -> None:
        before = _as_column(states, "states")
        n = len(before)
        chosen = self._all_allowed(_as_column(actions, "actions", n))
        after = _as_column(next_states, "next_states", n)
        following = None
        if next_actions is not None and self._follows:
            following = self._all_allowed(_as_column(next_actions, "next_actions", n))
        worth = given.as_rewards(rewards, n)
        ended = None if dones is None else as_outcomes(dones, "dones", n)
        self._update_batch(before, chosen, worth, after, ended, following)

    def _act_with_care(self, state: Any, actions: Any, explore: bool) -> Any:
        state = as_key_name(state, "state")
        offered = _as_offered(actions)
        keys = self._all_allowed([as_key_name(action, "an offered action") for action in offered])
        return offered[self._choose(state, keys, explore)]

    def _value_with_care(self, state: Any, action: Any) -> float:
        state = as_key_name(state, "state")
        (action,) = self._all_allowed([as_key_name(action, "action")])
        return self._value(state, action)

    def _all_allowed(self, actions: Any) -> Any:
        """Return the actions, all of them declared or nothing declared."""
        _, declared, _ = self._params()
        names = actions.tolist() if declared and isinstance(actions, np.ndarray) else actions
        if declared and not set(declared).issuperset(names):
            first = next(name for name in names if name not in declared)
            raise InvalidActionError(
                f"the action {first!r} is not declared.",
                fix="use a declared action, or make the learner without actions=[...].",
            )
        return actions

    # -- moving -------------------------------------------------------------------------------------------------

    def export_state(self) -> EngineState:
        """Return everything learned, with the generator, so that ``import_state`` continues bit for bit.

        Kind ``learner/<algorithm>/1``, as `aqe_backend_numpy.learner` writes it: each reads what the other wrote.
        """
        states, actions, rows, columns, values, visits, words = self._learned()
        return EngineState(
            kind=f"learner/{self.algorithm}/1",
            manifest={
                "params": self.get_params(),
                "states": states,
                "actions": actions,
                "rng": [3, words, None],  # the version that `random.Random.getstate` writes
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
        params, (_, words, _) = learned.params, learned.generator
        self._resume(
            (params[:4], len(params.actions or ()), params.seed),
            (learned.states, learned.actions),
            (learned.rows, learned.columns),
            learned.values,
            learned.visits,
            words,
        )


def _as_offered(actions: Any) -> list[Any]:
    if isinstance(actions, (str, bytes)) or not isinstance(actions, Iterable):
        raise InputError(f"actions are {actions!r}, but must be a list.", fix="pass a list of actions.")
    offered = list(actions)
    if not offered:
        raise InvalidActionError("no action was offered.", fix="pass at least one.")
    return offered


def _as_column(keys: Any, what: str, n: int | None = None) -> NDArray[np.int64] | list[StateKey]:
    column = given.as_batch_keys(keys, what, n)
    return np.ascontiguousarray(column) if isinstance(column, np.ndarray) else column


class QLearning(Tabular):
    """Q-learning, as `aqe_backend_numpy.learner.QLearning` describes it."""

    __slots__ = ()
    algorithm = "q-learning"
    _on_policy = False
    _follows = False


class Sarsa(Tabular):
    """SARSA and expected SARSA, as `aqe_backend_numpy.learner.Sarsa` describes them."""

    __slots__ = ()
    algorithm = "sarsa"
    _on_policy = True
    _follows = True


class ExpectedSarsa(Tabular):
    """Expected SARSA (van Seijen, van Hasselt, Whiteson and Wiering 2009): never looks at the next action.

    What `Sarsa` computes without one.
    """

    __slots__ = ()
    algorithm = "expected-sarsa"
    _on_policy = True
    _follows = False


_ALGORITHMS: dict[str, type[Tabular]] = {kind.algorithm: kind for kind in (QLearning, Sarsa, ExpectedSarsa)}


_BANDITS = {kind.algorithm: kind for kind in (LinUcb, DiscountedLinUcb, Thompson)}


def make_learner(*, algorithm: str = "q-learning", compat: str | None = None, **hyper_parameters: Any) -> Any:
    """Make a learner.

    Parameters
    ----------
    algorithm : str
        ``q-learning``, ``sarsa`` or ``expected-sarsa`` (`aqe_core.contracts.Learner`); ``linucb``,
        ``discounted-linucb`` or ``thompson`` (`aqe_core.contracts.Bandit`).
    compat : str, optional
        Refused: compatible forms are the NumPy backend's.
    **hyper_parameters
        ``learning_rate``, ``discount``, ``epsilon``, ``initial_value``, ``actions`` and ``seed``, with the ranges and
        defaults of `aqe_backend_numpy.learner.QLearning`; or those of `aqe_backend_numpy.bandits`.

    Raises
    ------
    CapabilityError
        There is no such algorithm, or a compatible form was asked for.
    ConfigError
        There is no such hyper-parameter, or one is needed.
    InputError
        A parameter is out of range.
    """
    known_algorithms = (*_ALGORITHMS, *_BANDITS)
    if algorithm not in known_algorithms or compat is not None:
        how = f" compatibly with {compat}" if compat else ""
        raise CapabilityError(
            f"this backend does not learn by {algorithm!r}{how}, only by {', '.join(sorted(known_algorithms))}.",
            fix="choose one of those, or another backend (aqe backends lists them).",
        )
    if algorithm in _BANDITS:
        return made(_BANDITS[algorithm], algorithm, hyper_parameters)
    known = given.Params._fields
    for name in hyper_parameters:
        if name not in known:
            raise ConfigError(
                f"the algorithm {algorithm!r} has no hyper-parameter {name!r}.",
                fix=did_you_mean(name, known, f"it takes: {', '.join(known)}."),
            )
    return _ALGORITHMS[algorithm](**hyper_parameters)
