"""Tabular Q-learning, SARSA and expected SARSA in Rust, the NumPy backend's bits; and the factory of every learner.

The policies over a table are in `aqe_backend_native.tabular_policy`, the bandits in `aqe_backend_native.bandits`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from aqe_backend_numpy import _learner_input as given
from aqe_backend_numpy.learner import made
from aqe_backend_numpy.learner import make_learner as make_numpy

from aqe_backend_native._careful import Careful
from aqe_backend_native._native import SHARDS, TabularLearner
from aqe_backend_native.bandits import DiscountedLinUcb, LinUcb, Thompson
from aqe_backend_native.recorder import Recorder
from aqe_backend_native.tabular_policy import ActorCritic, Ppo, TabularPolicy
from aqe_core.errors import CapabilityError, ConfigError, InputError
from aqe_core.state import EngineState, Portable
from aqe_core.stream import Streamed
from aqe_core.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aqe_core.contracts.learner import ActionKey, StateKey
    from aqe_core.encoding import Encoding

__all__ = ["SHARDS", "ActorCritic", "ExpectedSarsa", "Ppo", "QLearning", "Sarsa", "make_learner"]

_ADJUSTABLE = ("learning_rate", "discount", "epsilon")


class Tabular(Careful, TabularLearner, Streamed, Portable):
    """What the tabular learners share; parameters as `make_learner`.

    ``update``, ``update_batch``, ``act``, ``value`` and ``len`` are the Rust methods themselves. They take plain
    arguments on their own and hand anything else to `Careful`, which checks it as every backend does.

    Safe for use from several threads. Batches whose states and next states share no shard (see ``shard``) run at the
    same time; everything else waits for its turn.
    """

    __slots__ = ()
    algorithm: ClassVar[str]
    _on_policy: ClassVar[bool]  # a state is valued under the own policy, not the best

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

    def probabilities(self, state: StateKey, actions: Sequence[ActionKey]) -> NDArray[np.float64]:
        """Return the probability of each offered action under ``act`` with ``explore``, float64, shape (offered,).

        ``epsilon / n`` each, and the greedy choice of the ``n`` offered ones ``1 - epsilon`` more.

        Raises
        ------
        InputError, InvalidActionError
            As ``act``.
        """
        name, keys, _ = self._offered(state, actions)
        epsilon = self.get_params()["epsilon"]
        shares = np.full(len(keys), epsilon / len(keys))
        shares[self._choose(name, keys, False)] += 1.0 - epsilon
        return shares

    def recorder(self, encoding: Encoding | None = None) -> Recorder:
        """Return a recorder that keeps nothing yet; see `aqe_core.contracts.RecordingLearner.recorder`."""
        return Recorder(self, encoding)

    # -- moving -------------------------------------------------------------------------------------------------

    def export_state(self) -> EngineState:
        """Return everything learned, with the generator, so that ``import_state`` continues bit for bit.

        Kind ``learner/<algorithm>/2``, as `aqe_backend_numpy.learner` writes it: each reads what the other wrote.
        """
        states, actions, pairs, words = self._learned()
        return EngineState(
            kind=f"learner/{self.algorithm}/{given.VERSION}",
            manifest={
                "params": self.get_params(),
                "states": states,
                "actions": actions,
                "rng": [3, words, None],  # the version that `random.Random.getstate` writes
            },
            arrays=dict(zip(given.PAIRS, pairs, strict=True)),
        )

    def import_state(self, state: EngineState) -> None:
        """Replace everything learned, the hyper-parameters and the generator by an exported state.

        Raises
        ------
        InputError
            It is not a state of this kind of learner; nothing was changed.
        """
        learned = given.as_learned(state, self.algorithm)
        params, (_, words, _) = learned.params, learned.generator
        self._resume(
            (params[:4], len(params.actions or ()), params.seed),
            (learned.states, learned.actions),
            tuple(learned.pairs),
            words,
        )


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


_POLICIES: dict[str, type[TabularPolicy]] = {kind.algorithm: kind for kind in (ActorCritic, Ppo)}
_BANDITS = {kind.algorithm: kind for kind in (LinUcb, DiscountedLinUcb, Thompson)}


def make_learner(*, algorithm: str = "q-learning", compat: str | None = None, **hyper_parameters: Any) -> Any:
    """Make a learner.

    Parameters
    ----------
    algorithm : str
        ``q-learning``, ``sarsa``, ``expected-sarsa``, ``actor-critic`` or ``ppo`` (`aqe_core.contracts.Learner`);
        ``linucb``, ``discounted-linucb`` or ``thompson`` (`aqe_core.contracts.Bandit`).
    compat : str, optional
        ``agentic-qe-2.8``: as `aqe_backend_numpy.learner.make_learner`, whose learners these are: they are there to
        compute what the ancestor did, and nothing of them is written in Rust.
    **hyper_parameters
        With the ranges and defaults of the NumPy backend's class: `aqe_backend_numpy.learner.QLearning`,
        `aqe_backend_numpy.actor_critic.ActorCritic`, `aqe_backend_numpy.ppo.Ppo`, `aqe_backend_numpy.bandits`.

    Raises
    ------
    CapabilityError
        There is no such algorithm, or not in that compatible form.
    ConfigError
        There is no such hyper-parameter, or one is needed.
    InputError
        A parameter is out of range.
    """
    if compat is not None:
        return make_numpy(algorithm=algorithm, compat=compat, **hyper_parameters)
    known_algorithms = (*_ALGORITHMS, *_POLICIES, *_BANDITS)
    if algorithm not in known_algorithms:
        raise CapabilityError(
            f"this backend does not learn by {algorithm!r}, only by {', '.join(sorted(known_algorithms))}.",
            fix="choose one of those, or another backend (aqe backends lists them).",
        )
    if algorithm in _BANDITS:
        return made(_BANDITS[algorithm], algorithm, hyper_parameters)
    if algorithm in _POLICIES:
        return _POLICIES[algorithm](**hyper_parameters)
    known = given.Params._fields
    for name in hyper_parameters:
        if name not in known:
            raise ConfigError(
                f"the algorithm {algorithm!r} has no hyper-parameter {name!r}.",
                fix=did_you_mean(name, known, f"it takes: {', '.join(known)}."),
            )
    return _ALGORITHMS[algorithm](**hyper_parameters)
