"""Policy learners that are wrong in one known way each (see `aqe_core.testing.faulty`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.testing.backend_policy import DictPolicy
from aqe_core.testing.faulty import wrong

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqe_core.state import EngineState


@wrong("policy_steps", "policy_declared")
class MovesOnlyTheChosen(DictPolicy):
    """Takes the advantage itself for the gradient, whatever the probability."""

    def _climb(self, state: Any, action: Any, weight: float) -> None:
        self._rows[state][action] += self._params["learning_rate"] * weight


@wrong("policy_declared")
class ForgetsDeclared(DictPolicy):
    """Runs the softmax over what was tried, also where actions are declared."""

    def _learn(self, step: Any) -> None:
        self._rows.setdefault(step[0], {})
        super()._learn(step)


@wrong("policy_bootstraps")
class PolicyLooksBeyondTheEnd(DictPolicy):
    """Bootstraps from the next state of an episode that ended."""

    def _delta(self, step: Any) -> float:
        return super()._delta((*step[:4], False))


@wrong("policy_bootstraps")
class CutIsTheEnd(DictPolicy):
    """Never looks at the next state's value."""

    def _delta(self, step: Any) -> float:
        return super()._delta((*step[:4], True))


@wrong("policy_entropy")
class SpreadsWrongWay(DictPolicy):
    """Makes certain policies more certain."""

    def _climb(self, state: Any, action: Any, weight: float) -> None:
        kept = self._params["entropy_coefficient"]
        self._params["entropy_coefficient"] = -kept
        super()._climb(state, action, weight)
        self._params["entropy_coefficient"] = kept


@wrong("policy_choices", "probabilities")
class DrawsFromAll(DictPolicy):
    """Draws as if every known action was offered, and takes the first offered one in place of any other."""

    def act(self, state: Any, actions: Sequence[Any], *, explore: bool = True) -> Any:
        """Choose."""
        everything = [*actions, *(a for a in self._rows.get(state, {}) if a not in actions)]
        chosen = super().act(state, everything, explore=explore) if actions else super().act(state, actions)
        return chosen if chosen in actions else actions[0]


@wrong("ppo_clips")
class NeverClips(DictPolicy):
    """Pushes probabilities as far as they go."""

    def _improve(self, step: Any, advantage: float, old: float) -> None:
        kept = self._params["clip"]
        self._params["clip"] = 1e9
        super()._improve(step, advantage, old)
        self._params["clip"] = kept


@wrong("ppo_advantages")
class RunsThroughCuts(DictPolicy):
    """Sums advantages over the whole rollout, whatever ended in it."""

    def _advantages(self, steps: list[Any]) -> Any:
        decay = self._params["discount"] * self._params["gae_lambda"]
        out = np.array([self._delta(step) for step in steps])
        for i in range(len(steps) - 2, -1, -1):
            out[i] += decay * out[i + 1]
        return out


@wrong("ppo_rollout")
class DropsTheRollout(DictPolicy):
    """Leaves what waits for training out of its state."""

    def import_state(self, state: EngineState) -> None:
        """Import."""
        super().import_state(state)
        self._waiting = []


@wrong("policy_extremes")
class OverflowingSoftmax(DictPolicy):
    """Takes the exponential of preferences as they are."""

    def _softmax(self, state: Any) -> dict[Any, float]:
        row = self._rows[state]
        with np.errstate(all="ignore"):
            powers = np.exp(list(row.values()))
            return dict(zip(row, (powers / powers.sum()).tolist(), strict=True))
