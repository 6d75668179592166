"""Tabular one-step actor-critic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aqe_backend_numpy._policy import PolicyTable
from aqe_backend_numpy._policy_input import ACTOR_CRITIC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqe_core.contracts.learner import ActionKey, StateKey

__all__ = ["ActorCritic"]


class ActorCritic(PolicyTable):
    """One-step actor-critic (Sutton and Barto 2018, section 13.5) with a softmax over a table of preferences.

    Parameters
    ----------
    learning_rate : float, default 0.1
        Of the preferences. Above 0, at most 1.
    value_learning_rate : float, default 0.1
        Of the state values, likewise.
    discount : float, default 0.95
        In 0 .. 1.
    epsilon : float, default 0.0
        Share of uniformly random choices in `act`, besides the policy's own randomness.
    entropy_coefficient : float, default 0.0
        Weight of the entropy in what is climbed, in 0 .. 1.
    initial_value : float, default 0.0
        Value of a state that was never left, within 1e290 of zero.
    actions : sequence of str or int, optional
        The whole set of actions. Others are refused.
    seed : int, default 0
        Of the generator, in 0 .. 2**64 - 1.

    Notes
    -----
    One update, in this order of floating-point operations (``V`` state values, ``theta`` preferences):

    1. ``delta = reward + discount * V(s') - V(s)``, with 0 for ``V(s')`` where the episode ended
    2. ``V(s) = V(s) + value_learning_rate * delta``
    3. ``pi``: the softmax of the row of ``s`` (`aqe_backend_numpy._policy.log_softmax`), before any change
    4. ``step = learning_rate * delta``; for each ``b`` of the row, in its order,
       ``theta(s, b) = theta(s, b) + step * ((1 if b is a else 0) - pi(b))``
    5. with an entropy coefficient, ``bonus = learning_rate * entropy_coefficient`` and
       ``H = -sum of pi(b) * log pi(b)``, the change of 4 is first diminished by ``bonus * pi(b) * (log pi(b) + H)``

    The factor ``discount ** t`` of the book's episodic form is left out, as is usual. Not safe for use from several
    threads at once.
    """

    algorithm = "actor-critic"
    _bounds = ACTOR_CRITIC

    def __init__(
        self,
        *,
        learning_rate: float = 0.1,
        value_learning_rate: float = 0.1,
        discount: float = 0.95,
        epsilon: float = 0.0,
        entropy_coefficient: float = 0.0,
        initial_value: float = 0.0,
        actions: Sequence[ActionKey] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            {
                "learning_rate": learning_rate,
                "value_learning_rate": value_learning_rate,
                "discount": discount,
                "epsilon": epsilon,
                "entropy_coefficient": entropy_coefficient,
                "initial_value": initial_value,
                "actions": actions,
                "seed": seed,
            }
        )

    def _learn(self, state: StateKey, action: ActionKey, reward: float, next_state: StateKey, done: bool) -> None:
        params = self._params
        ahead = 0.0 if done else self._worth(next_state)
        self._enter(state, action)
        worth = self._worths[state]
        delta = reward + params["discount"] * ahead - worth
        self._worths[state] = worth + params["value_learning_rate"] * delta
        self._climb(state, action, params["learning_rate"] * delta)
