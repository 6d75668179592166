"""Bandits that are wrong in one known way each (see `aqe_core.testing.faulty`)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.errors import AqeError
from aqe_core.testing.backend_bandit import RidgeBandit
from aqe_core.testing.faulty import wrong

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqe_core.state import EngineState


@wrong("bandit_protocol")
class ListsActionsSorted(RidgeBandit):
    """Sorts its actions."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.actions = tuple(sorted(self.actions, key=str))


@wrong("bandit_values")
class NoPrior(RidgeBandit):
    """Takes a ridge of 1, whatever was asked for."""

    def _model(self, action: Any) -> Any:
        kept = self._params["ridge"]
        self._params["ridge"] = 1.0
        try:
            return super()._model(action)
        finally:
            self._params["ridge"] = kept


@wrong("linucb_choices")
class VarianceForWidth(RidgeBandit):
    """Leaves out the square root."""

    def _moments(self, context: Any, offered: Any) -> Any:
        means, spreads = super()._moments(context, offered)
        return means, spreads**2


@wrong("bandit_masks")
class OffersAll(RidgeBandit):
    """Chooses among all actions, whatever is offered."""

    def act(self, context: Any, actions: Sequence[Any] | None = None, *, explore: bool = True) -> Any:
        """Choose."""
        if actions is not None:
            self._offered(actions)
        return super().act(context, None, explore=explore)


@wrong("bandit_probabilities")
class CertainOfItself(RidgeBandit):
    """Says of its choice that nothing else was possible."""

    def probabilities(self, context: Any, actions: Sequence[Any] | None = None) -> Any:
        """Return propensities."""
        shares = super().probabilities(context, actions)
        return np.eye(len(shares))[shares.argmax()]


@wrong("thompson_shares")
class HalfTheSpread(RidgeBandit):
    """Draws with half the standard deviation."""

    def _moments(self, context: Any, offered: Any) -> Any:
        means, spreads = super()._moments(context, offered)
        return means, spreads / 2.0


@wrong("bandit_forgets")
class ForgetsTwice(RidgeBandit):
    """Lets the mean decay as fast as the covariance."""

    def _model(self, action: Any) -> Any:
        mean, covariance = super()._model(action)
        last = max((step for step, seen in enumerate(self._seen, 1) if seen[1] == action), default=0)
        return mean * math.sqrt(self._params["discount"] ** (len(self._seen) - last)), covariance


@wrong("bandit_batch")
class LearnsBackwards(RidgeBandit):
    """Learns a batch from its end."""

    def update_batch(self, contexts: Any, actions: Any, rewards: Any) -> None:
        """Learn."""
        super().update_batch(contexts[::-1], list(actions)[::-1], rewards[::-1])


@wrong("bandit_resume")
class DrawsAnew(RidgeBandit):
    """Leaves the generator out of its state."""

    def import_state(self, state: EngineState) -> None:
        """Import."""
        kept = self._rng
        super().import_state(state)
        self._rng = kept


@wrong("bandit_learns")
class OpposesRewards(RidgeBandit):
    """Takes rewards for costs."""

    def _moments(self, context: Any, offered: Any) -> Any:
        means, spreads = super()._moments(context, offered)
        return -means, spreads


@wrong("bandit_bad_input")
class TakesAnyReward(RidgeBandit):
    """Takes a reward that is no finite number for zero."""

    def update(self, context: Any, action: Any, reward: Any) -> None:
        """Learn."""
        try:
            super().update(context, action, reward)
        except AqeError:
            super().update(context, action, 0.0)
