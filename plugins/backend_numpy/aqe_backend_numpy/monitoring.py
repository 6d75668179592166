"""How far a learner has come: running figures of its errors, its exploration and its returns, taken from outside.

A monitor is put around a learner only while someone looks; a learner alone pays nothing for it.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import attrs

from aqe_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aqe_core.contracts.learner import A, ActionKey, InspectableLearner, StateKey

__all__ = ["LearnerStats", "Monitor"]


@attrs.frozen(kw_only=True)
class LearnerStats:
    """What a `Monitor` saw; a mean of nothing is NaN.

    Attributes
    ----------
    updates, episodes : int
        Since the monitor was made.
    pairs : int
        Number of (state, action) pairs that the learner knows.
    mean_td_error : float
        Mean over the window of the steps that values made, divided by the learning rate: for learners of values that is
        the temporal-difference error, for policies the weighted advantage. Near 0: no bias is left.
    mean_abs_td_error : float
        Mean of their sizes. Falling: it converges; at a level above 0: noise.
    mean_entropy : float
        Mean over the window of the entropy of the probabilities of each choice, in nats.
    mean_relative_entropy : float
        The same divided by the logarithm of the number of offered actions: 1 is uniform, 0 is certain.
    epsilon : float
        Now.
    mean_return : float
        Mean undiscounted reward of the episodes in the window.
    """

    updates: int
    episodes: int
    pairs: int
    mean_td_error: float
    mean_abs_td_error: float
    mean_entropy: float
    mean_relative_entropy: float
    epsilon: float
    mean_return: float


class Monitor:
    """Acts and learns through a learner, and keeps count.

    Parameters
    ----------
    learner : InspectableLearner
    window : int
        How many updates, choices and episodes the means run over.

    Examples
    --------
    >>> from aqe_backend_numpy.learner import make_learner
    >>> monitor = Monitor(make_learner(learning_rate=0.5), window=10)
    >>> action = monitor.act("red", ["rerun", "bisect"])
    >>> monitor.update("red", action, 1.0, "green", done=True)
    >>> monitor.stats().mean_td_error, monitor.stats().mean_return
    (1.0, 1.0)
    """

    def __init__(self, learner: InspectableLearner, *, window: int = 1000) -> None:
        if type(window) is not int or window < 1:
            raise InputError(f"window is {window!r}, but must be an integer above 0.", fix="pass e.g. window=1000.")
        self.learner = learner
        self._errors: deque[float] = deque(maxlen=window)
        self._entropies: deque[tuple[float, float]] = deque(maxlen=window)
        self._returns: deque[float] = deque(maxlen=window)
        self._return = 0.0
        self._updates = 0
        self._episodes = 0

    def act(self, state: StateKey, actions: Sequence[A], *, explore: bool = True) -> A:
        """Choose as the learner does (`aqe_core.contracts.Learner.act`), and note the entropy of the choice."""
        shares = self.learner.probabilities(state, actions)
        entropy = -math.fsum(share * math.log(share) for share in shares.tolist() if share > 0.0)
        self._entropies.append((entropy, entropy / math.log(shares.size) if shares.size > 1 else 0.0))
        return self.learner.act(state, actions, explore=explore)

    def update(
        self,
        state: StateKey,
        action: ActionKey,
        reward: float,
        next_state: StateKey,
        done: bool = False,  # the contract's order
        next_action: ActionKey | None = None,
        *,
        truncated: bool = False,
    ) -> None:
        """Learn as the learner does (`aqe_core.contracts.Learner.update`), and note the error.

        ``truncated`` says that the episode was cut off; the learner goes on as if it went on, the count of returns not.
        """
        before = self.learner.value(state, action)
        self.learner.update(state, action, reward, next_state, done, next_action)
        rate = float(self.learner.get_params()["learning_rate"])
        self._errors.append((self.learner.value(state, action) - before) / rate)
        self._updates += 1
        self._return += float(reward)
        if done or truncated:
            self._returns.append(self._return)
            self._return = 0.0
            self._episodes += 1

    def stats(self) -> LearnerStats:
        """Return the figures now. O(window)."""
        return LearnerStats(
            updates=self._updates,
            episodes=self._episodes,
            pairs=len(self.learner),
            mean_td_error=_mean(self._errors),
            mean_abs_td_error=_mean(map(abs, self._errors)),
            mean_entropy=_mean(entropy for entropy, _ in self._entropies),
            mean_relative_entropy=_mean(relative for _, relative in self._entropies),
            epsilon=float(self.learner.get_params()["epsilon"]),
            mean_return=_mean(self._returns),
        )


def _mean(values: Iterable[float]) -> float:
    kept = list(values)
    return math.fsum(kept) / len(kept) if kept else math.nan
