"""Tabular actor-critic and PPO in Rust: the results and states of the NumPy backend's, bit for bit.

Both call the C library's ``exp`` and ``log``, so that on one machine the bits are the same.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from aqe_backend_numpy import _learner_input as given
from aqe_backend_numpy import actor_critic, ppo
from aqe_backend_numpy._policy_input import ACTOR_CRITIC, PPO, as_learned_policy, as_policy_params

from aqe_backend_native._careful import Careful
from aqe_backend_native._native import SoftmaxLearner
from aqe_core.errors import ConfigError
from aqe_core.state import EngineState, Portable
from aqe_core.stream import Streamed
from aqe_core.suggest import did_you_mean
from aqe_core.validate import as_key_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aqe_core.contracts.learner import ActionKey, StateKey

__all__ = ["ActorCritic", "Ppo"]


class TabularPolicy(Careful, SoftmaxLearner, Streamed, Portable):
    """What both share; hyper-parameters and their defaults are those of the NumPy backend's class.

    ``update``, ``update_batch``, ``act``, ``value`` and ``len`` are the Rust methods themselves; a question for a pair
    is O(actions of the state). Safe for use from several threads, one at a time.
    """

    __slots__ = ()
    algorithm: ClassVar[str]
    _bounds: ClassVar[given.Numbers]
    _defaults: ClassVar[dict[str, Any]]
    _follows = False

    def __new__(cls, **hyper_parameters: Any) -> Self:
        """Make an empty learner.

        Raises
        ------
        ConfigError
            There is no such hyper-parameter.
        InputError
            One is out of range.
        """
        for name in hyper_parameters:
            if name not in cls._defaults:
                raise ConfigError(
                    f"the algorithm {cls.algorithm!r} has no hyper-parameter {name!r}.",
                    fix=did_you_mean(name, list(cls._defaults), f"it takes: {', '.join(cls._defaults)}."),
                )
        params = as_policy_params(cls._bounds, {**cls._defaults, **hyper_parameters})
        return super().__new__(cls, cls._numbers(params), params["actions"] or (), params["seed"])

    @classmethod
    def _numbers(cls, params: dict[str, Any]) -> list[float]:
        return [float(params[name]) for name in cls._bounds]

    def get_params(self) -> dict[str, Any]:
        """Return the hyper-parameters, defaults included; ``make_learner`` takes them as they are."""
        numbers, actions, seed = self._params()
        kinds = [type(self._defaults[name]) for name in self._bounds]
        named = {name: kind(number) for name, kind, number in zip(self._bounds, kinds, numbers, strict=True)}
        return {**named, "actions": actions or None, "seed": seed}

    def set_params(self, **changes: float) -> None:
        """Change hyper-parameters from here on, a learning rate or ``epsilon`` say; a schedule is a call per episode.

        Raises
        ------
        InputError
            One is unknown, not to be changed (``actions``, ``seed``), or out of range; nothing was changed.
        """
        given.refuse_fixed(changes, self._bounds)
        self._set_numbers(self._numbers(as_policy_params(self._bounds, {**self.get_params(), **changes})))

    def probabilities(self, state: StateKey, actions: Sequence[ActionKey]) -> NDArray[np.float64]:
        """Return the probability of each offered action under ``act`` with ``explore``, float64, shape (offered,).

        ``epsilon / n + (1 - epsilon) * softmax`` over the preferences of the ``n`` offered actions.

        Raises
        ------
        InputError, InvalidActionError
            As ``act``.
        """
        name, keys, _ = self._offered(state, actions)
        epsilon: float = self.get_params()["epsilon"]
        return epsilon / len(keys) + (1.0 - epsilon) * self._shares(name, keys)

    def state_value(self, state: StateKey) -> float:
        """Return the learned value of a state, the initial value if it was never left. O(1).

        Raises
        ------
        InputError
            The key is neither str nor int.
        """
        return self._state_value(as_key_name(state, "state"))

    # -- moving -------------------------------------------------------------------------------------------------

    def export_state(self) -> EngineState:
        """Return everything learned, with the generator, so that ``import_state`` continues bit for bit.

        Kind ``learner/<algorithm>/2``, as `aqe_backend_numpy._policy` writes it: each reads what the other wrote.
        """
        (states, actions, after), (pairs, worths), waits, words = self._learned()
        manifest = {
            "params": self.get_params(),
            "states": states,
            "actions": actions,
            "rng": [3, words, None],  # the version that `random.Random.getstate` writes
        }
        arrays = dict(zip(given.PAIRS, pairs, strict=True)) | {"state_values": worths}
        if "rollout" in self._bounds:
            manifest["rollout_next_states"] = after
            names = ("rollout_states", "rollout_actions", "rollout_rewards", "rollout_dones")
            arrays |= zip(names, waits, strict=True)
        return EngineState(kind=f"learner/{self.algorithm}/{given.VERSION}", manifest=manifest, arrays=arrays)

    def import_state(self, state: EngineState) -> None:
        """Replace everything learned, the hyper-parameters and the generator by an exported state.

        Raises
        ------
        InputError
            It is not a state of this kind of learner; nothing was changed.
        """
        learned = as_learned_policy(state, self.algorithm, self._bounds)
        params, (_, words, _) = learned.params, learned.generator
        self._resume(
            (self._numbers(params), len(params["actions"] or ()), params["seed"]),
            (learned.states, learned.actions, learned.waiting.next_states),
            (tuple(learned.pairs), np.ascontiguousarray(learned.worths)),
            tuple(map(np.ascontiguousarray, learned.waiting[:4])),
            words,
        )


def _defaults_of(kind: type) -> dict[str, Any]:
    return {name: each.default for name, each in inspect.signature(kind).parameters.items()}


class ActorCritic(TabularPolicy):
    """One-step actor-critic, as `aqe_backend_numpy.actor_critic.ActorCritic` describes it."""

    __slots__ = ()
    algorithm = "actor-critic"
    _bounds = ACTOR_CRITIC
    _defaults = _defaults_of(actor_critic.ActorCritic)


class Ppo(TabularPolicy):
    """Proximal policy optimization, as `aqe_backend_numpy.ppo.Ppo` describes it."""

    __slots__ = ()
    algorithm = "ppo"
    _bounds = PPO
    _defaults = _defaults_of(ppo.Ppo)

    def train(self) -> None:
        """Learn from what was collected so far and forget it; nothing if nothing was. For the end of a run."""
        self._train()
