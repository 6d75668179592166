"""Actor-critic and PPO exactly as the ancestor, agentic-qe v2.8.0, computed them (see `aqe_backend_numpy.ancestor`).

What it called a probability is a preference. Its errors are kept: the critic follows the normalized advantage; the
actor moves by the advantage itself, whatever the probability; and PPO's ratio is always 1, so that it never clips.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_backend_numpy import _learner_input as given
from aqe_backend_numpy._fdlibm import exp, log
from aqe_backend_numpy.ancestor import (
    COUNTS,
    SHARES,
    SWITCHES,
    AncestorLearner,
    Experience,
    as_action,
    as_state,
    as_tuples,
)
from aqe_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from aqe_core.contracts.learner import A, ActionKey, StateKey
    from aqe_core.state import EngineState

__all__ = ["AncestorActorCritic", "AncestorPpo"]

LEAST_PROBABILITY = 0.001
MIN_HISTORY, MAX_HISTORY = 10, 1000


class _AncestorPolicy(AncestorLearner):
    """What both share: state values, and a choice by softmax."""

    _temperature = 1.0

    def _begin(self, params: dict[str, Any]) -> None:
        super()._begin(params)
        self._worths: dict[StateKey, float] = {}

    def state_value(self, state: StateKey | Mapping[str, Any]) -> float:
        """Return the learned value of a state, 0 if it was never left."""
        return self._worths.get(as_state(state, "state"), 0.0)

    def state_values(self) -> dict[StateKey, float]:
        """Return a copy of the state values, in the ancestor's order."""
        return dict(self._worths)

    def act(self, state: StateKey | Mapping[str, Any], actions: Sequence[A], *, explore: bool = True) -> A:
        """Choose one of the offered actions: with probability epsilon a uniform one, else by the softmax.

        Without ``explore`` the highest preference, 0 for actions never tried; of equal ones the first.
        """
        row = self._table.get(as_state(state, "state"), {})
        offered = given.as_offered(actions)
        preferences = [row.get(as_action(action, "an offered action"), 0.0) for action in offered]
        if not explore:
            return offered[preferences.index(max(preferences))]
        epsilon = self._exploration()
        if epsilon and self._random.random() < epsilon:
            return offered[self._random.below(len(offered))]
        draw = self._random.random()
        total = 0.0
        for position, share in enumerate(self._softmax(preferences)):
            total += share
            if draw <= total:
                return offered[position]
        return offered[-1]

    def _exploration(self) -> float:
        epsilon: float = self.epsilon
        return epsilon

    def _softmax(self, preferences: Iterable[float]) -> list[float]:
        scaled = [preference / self._temperature for preference in preferences]
        top = max(scaled)
        powers = [exp(value - top) for value in scaled]
        total = 0.0
        for power in powers:
            total += power
        return [power / total for power in powers]

    def _more_manifest(self) -> dict[str, Any]:
        return {"states": list(self._worths)}

    def _more_arrays(self) -> dict[str, NDArray[Any]]:
        return {"state_values": np.array(list(self._worths.values()), np.float64)}

    def _read_more(self, state: EngineState) -> dict[str, Any]:
        (worths,) = given.as_arrays(state, {"state_values": np.float64})
        given.refuse_outside(worths, "state_values", -given.MAX_VALUE, given.MAX_VALUE)
        names = given.as_names(state.manifest["states"], "states")
        if len(names) != worths.size:
            raise InputError(f"there are {len(names)} states, but {worths.size} values.", fix="export it again.")
        return {"worths": dict(zip(names, worths.tolist(), strict=True))}

    def _take_more(self, read: dict[str, Any]) -> None:
        self._worths = read["worths"]


class AncestorActorCritic(_AncestorPolicy):
    """The ancestor's actor-critic.

    Parameters
    ----------
    learning_rate, discount, epsilon, epsilon_decay, min_epsilon, replay, replay_size, batch_size, seed
        As `aqe_backend_numpy.ancestor.AncestorLearner`; the learning rate is not used.
    actor_learning_rate, critic_learning_rate : float, default 0.01 and 0.1
    entropy_coefficient : float, default 0.01
    temperature : float, default 1.0
        Of the softmax, above 0, at most 1000.
    normalize_advantage : bool, default True
        By mean and standard deviation of the last 1,000 advantages, once there are 10.
    target_update_every : int, default 100
        Updates between copies of the state values; the copy values next states.
    """

    algorithm = "actor-critic"
    _shares = (*SHARES, "actor_learning_rate", "critic_learning_rate", "entropy_coefficient")
    _counts = (*COUNTS, "target_update_every")
    _switches = (*SWITCHES, "normalize_advantage")

    def __init__(
        self,
        *,
        learning_rate: float = 0.1,
        discount: float = 0.95,
        epsilon: float = 0.3,
        epsilon_decay: float = 0.995,
        min_epsilon: float = 0.01,
        replay: bool = True,
        replay_size: int = 10_000,
        batch_size: int = 32,
        seed: int = 42,
        actor_learning_rate: float = 0.01,
        critic_learning_rate: float = 0.1,
        entropy_coefficient: float = 0.01,
        temperature: float = 1.0,
        normalize_advantage: bool = True,
        target_update_every: int = 100,
    ) -> None:
        params = {
            "learning_rate": learning_rate,
            "discount": discount,
            "epsilon": epsilon,
            "epsilon_decay": epsilon_decay,
            "min_epsilon": min_epsilon,
            "replay": replay,
            "replay_size": replay_size,
            "batch_size": batch_size,
            "seed": seed,
            "actor_learning_rate": actor_learning_rate,
            "critic_learning_rate": critic_learning_rate,
            "entropy_coefficient": entropy_coefficient,
            "temperature": temperature,
            "normalize_advantage": normalize_advantage,
            "target_update_every": target_update_every,
        }
        self._begin(self._checked(params))

    def _checked(self, params: Mapping[str, Any]) -> dict[str, Any]:
        known = {*self._shares, *self._counts, *self._switches, "temperature", "seed"}
        given.as_dict(params, "params", known)
        temperature = given.as_number(params["temperature"], "temperature", 0.0, 1000.0, above=True)
        checked = super()._checked({name: value for name, value in params.items() if name != "temperature"})
        return {**checked, "temperature": temperature}

    def _begin(self, params: dict[str, Any]) -> None:
        super()._begin(params)
        self._temperature = params["temperature"]
        self._target: dict[StateKey, float] = {}
        self._history: list[float] = []
        self._logs: dict[StateKey, dict[ActionKey, float]] = {}
        self._updates = 0

    def log_probabilities(self) -> dict[StateKey, dict[ActionKey, float]]:
        """Return a copy of the logarithms of the probabilities at each pair's last update."""
        return {state: dict(row) for state, row in self._logs.items()}

    def _improve(self, one: Experience, next_action: ActionKey | None) -> None:  # noqa: ARG002  # not looked at
        params = self._params
        worth = self._worths.get(one.state, 0.0)
        ahead = 0.0 if one.done else self._target.get(one.next_state, self._worths.get(one.next_state, 0.0))
        advantage = one.reward + params["discount"] * ahead - worth
        if params["normalize_advantage"]:
            advantage = self._normalized(advantage)
        self._worths[one.state] = worth + params["critic_learning_rate"] * advantage
        row = self._table.get(one.state, {})
        shares = dict(zip(row, self._softmax(row.values()), strict=True)) if row else {}
        entropy = 0.0
        for share in shares.values():
            if share > 0:
                entropy -= share * log(share)
        share = shares.get(one.action, 0.0) if shares else 1.0
        step = params["actor_learning_rate"] * (advantage + params["entropy_coefficient"] * entropy)
        self._store(one, row.get(one.action, 0.0) + step)
        self._logs.setdefault(one.state, {})[one.action] = log(max(LEAST_PROBABILITY, share))
        self._updates += 1
        if self._updates % params["target_update_every"] == 0:
            self._target = dict(self._worths)

    def _normalized(self, advantage: float) -> float:
        history = self._history
        history.append(advantage)
        if len(history) > MAX_HISTORY:
            del history[0]
        if len(history) < MIN_HISTORY:
            return advantage
        mean, std = _moments(history)
        return (advantage - mean) / (std + 1e-8)

    def _more_manifest(self) -> dict[str, Any]:
        return {**super()._more_manifest(), "target_states": list(self._target), "updates": self._updates}

    def _more_arrays(self) -> dict[str, NDArray[Any]]:
        return {
            **super()._more_arrays(),
            "target_values": np.array(list(self._target.values()), np.float64),
            "history": np.array(self._history, np.float64),
            "log_probabilities": np.array([v for row in self._logs.values() for v in row.values()], np.float64),
        }

    def _read_more(self, state: EngineState) -> dict[str, Any]:
        read = super()._read_more(state)
        (targets,) = given.as_arrays(state, {"target_values": np.float64})
        (history,) = given.as_arrays(state, {"history": np.float64})
        _, logs = given.as_arrays(state, {"values": np.float64, "log_probabilities": np.float64})
        for name, array in (("target_values", targets), ("history", history), ("log_probabilities", logs)):
            given.refuse_outside(array, name, -given.MAX_VALUE, given.MAX_VALUE)
        names = given.as_names(state.manifest["target_states"], "target_states")
        updates = state.manifest["updates"]
        if len(names) != targets.size or type(updates) is not int or updates < 0 or history.size > MAX_HISTORY:
            raise InputError("targets, history or updates do not fit.", fix="export it again.")
        of_pair: dict[Any, dict[Any, float]] = {}
        for (place, action), value in zip(
            as_tuples(state.manifest["pairs"], "pairs", 2, logs.size), logs.tolist(), strict=True
        ):
            of_pair.setdefault(place, {})[action] = value
        targets_of = dict(zip(names, targets.tolist(), strict=True))
        return {**read, "targets": targets_of, "history": history.tolist(), "logs": of_pair, "updates": updates}

    def _take_more(self, read: dict[str, Any]) -> None:
        super()._take_more(read)
        self._target, self._history = read["targets"], read["history"]
        self._logs, self._updates = read["logs"], read["updates"]


class AncestorPpo(_AncestorPolicy):
    """The ancestor's PPO: every ``rollout`` transitions, ``epochs`` passes of unclipped steps by the advantage.

    Parameters
    ----------
    discount : float, default 0.99
    gae_lambda : float, default 0.95
    policy_learning_rate, value_learning_rate : float, default 0.0003 and 0.001
    epochs : int, default 4
    rollout : int, default 2048
        Its ``replayBufferSize``.
    seed : int, default 42

    Notes
    -----
    Its other parameters (``clipEpsilon``, ``miniBatchSize``, ``maxGradNorm``, coefficients of losses) had no effect.
    """

    algorithm = "ppo"
    _shares = ("discount", "gae_lambda", "policy_learning_rate", "value_learning_rate")
    _counts = ("epochs", "rollout")
    _switches = ()

    def __init__(
        self,
        *,
        discount: float = 0.99,
        gae_lambda: float = 0.95,
        policy_learning_rate: float = 0.0003,
        value_learning_rate: float = 0.001,
        epochs: int = 4,
        rollout: int = 2048,
        seed: int = 42,
    ) -> None:
        shares = (discount, gae_lambda, policy_learning_rate, value_learning_rate)
        params = {**dict(zip(self._shares, shares, strict=True)), "epochs": epochs, "rollout": rollout, "seed": seed}
        self._begin(self._checked(params))

    def _begin(self, params: dict[str, Any]) -> None:
        super()._begin({**params, "epsilon": 0.0, "replay": False})
        self._params = params
        self._recorded: list[float] = []  # the value of each waiting step's state when it came

    def _exploration(self) -> float:
        return 0.0

    def end_episode(self) -> None:
        """Count the episode."""
        self.episodes += 1

    def _learn(self, one: Experience, next_action: ActionKey | None) -> None:  # noqa: ARG002  # not looked at
        # The waiting trajectory is kept where the others keep what they replay.
        self._recorded.append(self._worths.get(one.state, 0.0))
        self._replay.append(one)
        self.steps += 1
        if len(self._replay) >= self._params["rollout"]:
            self._train()

    def _train(self) -> None:
        params = self._params
        advantages = self._advantages()
        returns = [advantage + value for advantage, value in zip(advantages, self._recorded, strict=True)]
        mean, std = _moments(advantages)
        advantages = [(advantage - mean) / (std + 1e-8) for advantage in advantages]
        for _ in range(params["epochs"]):
            order = list(range(len(self._replay)))
            self._random.shuffle(order)
            for i in order:
                one = self._replay[i]
                old = self._table.get(one.state, {}).get(one.action, 0.0)
                self._store(one, old + params["policy_learning_rate"] * advantages[i])
                worth = self._worths.get(one.state, 0.0)
                self._worths[one.state] = worth + params["value_learning_rate"] * (returns[i] - worth)
        self._replay, self._recorded = [], []

    def _advantages(self) -> list[float]:
        discount, gae_lambda = self._params["discount"], self._params["gae_lambda"]
        last = self._replay[-1]
        ahead = self._worths.get(last.next_state, 0.0)
        advantage = 0.0
        advantages = [0.0] * len(self._replay)
        for i in range(len(self._replay) - 1, -1, -1):
            one, value = self._replay[i], self._recorded[i]
            delta = one.reward + discount * (0.0 if one.done else ahead) - value
            advantage = delta if one.done else delta + discount * gae_lambda * advantage
            advantages[i] = advantage
            ahead = value
        return advantages

    def _more_arrays(self) -> dict[str, NDArray[Any]]:
        return {**super()._more_arrays(), "recorded": np.array(self._recorded, np.float64)}

    def _read_more(self, state: EngineState) -> dict[str, Any]:
        _, recorded = given.as_arrays(state, {"rewards": np.float64, "recorded": np.float64})
        given.refuse_outside(recorded, "recorded", -given.MAX_VALUE, given.MAX_VALUE)
        return {**super()._read_more(state), "recorded": recorded.tolist()}

    def _take_more(self, read: dict[str, Any]) -> None:
        super()._take_more(read)
        self._recorded = read["recorded"]


def _moments(values: list[float]) -> tuple[float, float]:
    """Return mean and population standard deviation, summed from left to right."""
    total = 0.0
    for value in values:
        total += value
    mean = total / len(values)
    squares = 0.0
    for value in values:
        squares += (value - mean) ** 2
    return mean, math.sqrt(squares / len(values))
