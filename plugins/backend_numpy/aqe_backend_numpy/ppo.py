"""Tabular proximal policy optimization."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aqe_backend_numpy._policy import PolicyTable, log_softmax
from aqe_backend_numpy._policy_input import PPO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aqe_backend_numpy._policy_input import LearnedPolicy
    from aqe_core.contracts.learner import ActionKey, StateKey

__all__ = ["Ppo"]

MAX_LOG_RATIO = 50.0


class Step(NamedTuple):
    """One transition that waits for training."""

    state: Any
    action: Any
    reward: float
    next_state: Any
    done: bool


class Ppo(PolicyTable):
    """PPO (Schulman et al. 2017) with a softmax over a table of preferences, and GAE (Schulman et al. 2016).

    Transitions are collected; every ``rollout`` of them the learner trains, and then forgets them.

    Parameters
    ----------
    learning_rate : float, default 0.05
        Of the preferences. Above 0, at most 1.
    value_learning_rate : float, default 0.1
        Of the state values, likewise.
    discount : float, default 0.95
        In 0 .. 1.
    gae_lambda : float, default 0.95
        0: one-step advantages; 1: whole returns.
    clip : float, default 0.2
        How far the ratio of new to old probability may go from 1 before its gradient is cut off, in 0 .. 10.
    epochs : int, default 4
        Passes over the collected transitions, 1 .. 1000.
    rollout : int, default 128
        Transitions per training, 1 .. 2**20.
    normalize_advantage : bool, default True
        Shift and scale the advantages of a rollout to mean 0 and standard deviation 1; not done for a single one.
    epsilon : float, default 0.0
        Share of uniformly random choices in `act`, besides the policy's own randomness.
    entropy_coefficient : float, default 0.01
        Weight of the entropy in what is climbed, in 0 .. 1.
    initial_value : float, default 0.0
        Value of a state that was never left, within 1e290 of zero.
    actions : sequence of str or int, optional
        The whole set of actions. Others are refused.
    seed : int, default 0
        Of the generator, in 0 .. 2**64 - 1.

    Notes
    -----
    The trajectory goes on from one transition to the next one that was given if the first has not ended and the second
    begins where it led; otherwise it was cut off there, and the next state's value stands for the rest. Training, in
    this order of floating-point operations, all sums from left to right:

    1. From the last transition to the first: ``delta = reward + discount * V(s') - V(s)``, 0 for ``V(s')`` after the
       end; ``A = delta + discount * gae_lambda * A_next`` (the product of the two numbers first), without the second
       term where the trajectory stops. ``target = A + V(s)``.
    2. Normalization: ``mean``; ``std = sqrt(sum of (A - mean) * (A - mean) / n)``; ``(A - mean) / (std + 1e-8)``.
    3. ``old``: the logarithm of each action's probability in its state's row now.
    4. Per epoch: the order is shuffled (``j = int(random() * (i + 1))`` for ``i`` from ``n - 1`` down to 1, swap). In
       that order, for each: ``ratio = exp(min(log pi(a) - old, 50))``; ``step = learning_rate * ratio * A``, but 0
       where ``A > 0`` and ``ratio > 1 + clip``, or ``A < 0`` and ``ratio < 1 - clip``. The preferences move as in
       `aqe_backend_numpy.actor_critic.ActorCritic`, steps 4 and 5; then
       ``V(s) = V(s) + value_learning_rate * (target - V(s))``.

    So each gradient step sees one transition (a minibatch of one), and the loss of the values is not clipped. Training
    is O(epochs * rollout * actions of a state). Not safe for use from several threads at once.
    """

    algorithm = "ppo"
    _bounds = PPO

    def __init__(
        self,
        *,
        learning_rate: float = 0.05,
        value_learning_rate: float = 0.1,
        discount: float = 0.95,
        gae_lambda: float = 0.95,
        clip: float = 0.2,
        epochs: int = 4,
        rollout: int = 128,
        normalize_advantage: bool = True,
        epsilon: float = 0.0,
        entropy_coefficient: float = 0.01,
        initial_value: float = 0.0,
        actions: Sequence[ActionKey] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            {
                "learning_rate": learning_rate,
                "value_learning_rate": value_learning_rate,
                "discount": discount,
                "gae_lambda": gae_lambda,
                "clip": clip,
                "epochs": epochs,
                "rollout": rollout,
                "normalize_advantage": normalize_advantage,
                "epsilon": epsilon,
                "entropy_coefficient": entropy_coefficient,
                "initial_value": initial_value,
                "actions": actions,
                "seed": seed,
            }
        )

    def _start(self, params: dict[str, Any]) -> None:
        super()._start(params)
        self._rollout: list[Step] = []

    def _learn(self, state: StateKey, action: ActionKey, reward: float, next_state: StateKey, done: bool) -> None:
        self._enter(state, action)
        self._rollout.append(Step(state, action, reward, next_state, done))
        if len(self._rollout) >= self._params["rollout"]:
            self.train()

    def train(self) -> None:
        """Learn from what was collected so far and forget it; nothing if nothing was. For the end of a run."""
        steps, self._rollout = self._rollout, []
        if not steps:
            return
        advantages, targets = self._estimates(steps)
        if self._params["normalize_advantage"] and len(steps) > 1:
            advantages = _normalized(advantages)
        old = [self._log_share(step.state, step.action) for step in steps]
        order = list(range(len(steps)))
        for _ in range(self._params["epochs"]):
            for i in range(len(order) - 1, 0, -1):
                j = int(self._random.random() * (i + 1))
                order[i], order[j] = order[j], order[i]
            for i in order:
                self._improve(steps[i], advantages[i], targets[i], old[i])

    def _estimates(self, steps: list[Step]) -> tuple[list[float], list[float]]:
        """Return the advantage of each step, and the return that its state's value should be."""
        discount, decay = self._params["discount"], self._params["discount"] * self._params["gae_lambda"]
        advantages = [0.0] * len(steps)
        following: Step | None = None
        advantage = 0.0
        for i in range(len(steps) - 1, -1, -1):
            step = steps[i]
            ahead = 0.0 if step.done else self._worth(step.next_state)
            delta = step.reward + discount * ahead - self._worths[step.state]
            goes_on = not step.done and following is not None and following.state == step.next_state
            advantage = delta + decay * advantage if goes_on else delta
            advantages[i] = advantage
            following = step
        targets = [a + self._worths[step.state] for a, step in zip(advantages, steps, strict=True)]
        return advantages, targets

    def _log_share(self, state: StateKey, action: ActionKey) -> float:
        row = self._rows[state]
        return log_softmax(row.values())[1][list(row).index(action)]

    def _improve(self, step: Step, advantage: float, target: float, old: float) -> None:
        params = self._params
        row = self._rows[step.state]
        shares, logs = log_softmax(row.values())
        ratio = math.exp(min(logs[list(row).index(step.action)] - old, MAX_LOG_RATIO))
        clipped = (advantage > 0 and ratio > 1.0 + params["clip"]) or (advantage < 0 and ratio < 1.0 - params["clip"])
        move = 0.0 if clipped else params["learning_rate"] * ratio * advantage
        self._move(row, step.action, move, shares, logs)
        worth = self._worths[step.state]
        self._worths[step.state] = worth + params["value_learning_rate"] * (target - worth)

    # -- moving -------------------------------------------------------------------------------------------------

    def _more_manifest(self) -> dict[str, Any]:
        return {"rollout_next_states": [step.next_state for step in self._rollout]}

    def _more_arrays(self) -> dict[str, NDArray[Any]]:
        rows = {state: row for row, state in enumerate(self._rows)}
        return {
            "rollout_states": np.array([rows[step.state] for step in self._rollout], np.int64),
            "rollout_actions": np.array([self._actions[step.action] for step in self._rollout], np.int64),
            "rollout_rewards": np.array([step.reward for step in self._rollout], np.float64),
            "rollout_dones": np.array([step.done for step in self._rollout], np.bool_),
        }

    def _take_more(self, learned: LearnedPolicy) -> None:
        rows, columns, *rest = (part.tolist() for part in learned.waiting[:4])
        named = ([learned.states[row] for row in rows], [learned.actions[column] for column in columns])
        rewards, dones = rest
        self._rollout = list(map(Step, *named, rewards, learned.waiting.next_states, dones))


def _normalized(values: list[float]) -> list[float]:
    total = 0.0
    for value in values:
        total += value
    mean = total / len(values)
    squares = 0.0
    for value in values:
        squares += (value - mean) * (value - mean)
    std = math.sqrt(squares / len(values))
    return [(value - mean) / (std + 1e-8) for value in values]
