"""Distributions over actions: discrete ones with masks, and vectors with independent normal components."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Categorical", "Gaussian"]

_BARRED = -1e9  # a logit whose probability is exactly zero, yet finite, so that nothing becomes NaN
_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class Categorical:
    """One of ``n`` actions, with probabilities softmax(outputs)."""

    spread: NDArray[Any] | None = None

    def __init__(self, n: int) -> None:
        self.width = n

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return what `sample` needs for so many draws, shape (*shape, n)."""
        # Gumbel noise is minus the logarithm of an exponential; a zero among those, rare as it is, would be infinite.
        drawn = rng.standard_exponential((*shape, self.width), dtype=dtype)
        np.maximum(drawn, np.finfo(dtype).tiny, out=drawn)
        np.log(drawn, out=drawn)
        return np.negative(drawn, out=drawn)

    def sample(self, outputs: NDArray[Any], noise: NDArray[Any]) -> NDArray[np.int64]:
        """Return actions drawn by the Gumbel-max rule."""
        drawn: NDArray[np.int64] = (outputs + noise).argmax(axis=1)
        return drawn

    def mode(self, outputs: NDArray[Any]) -> NDArray[np.int64]:
        """Return the most likely action; of equal ones the first."""
        best: NDArray[np.int64] = outputs.argmax(axis=1)
        return best

    @staticmethod
    def bar(outputs: NDArray[Any], masks: NDArray[np.bool_]) -> None:
        """Make the masked actions impossible, in place."""
        outputs[~masks] = _BARRED

    def log_probabilities(self, outputs: NDArray[Any], actions: NDArray[Any]) -> NDArray[Any]:
        """Return the log-probability of each action."""
        chosen: NDArray[Any] = _log_softmax(outputs)[np.arange(len(actions)), actions]
        return chosen

    def slopes(
        self, outputs: NDArray[Any], actions: NDArray[Any], weigh: Any, entropy_weight: float
    ) -> tuple[NDArray[Any], None, float]:
        """Return the loss's gradient by the outputs, None, and the mean entropy.

        ``weigh(log_probabilities)`` returns the loss's gradient by each action's log-probability; the mean entropy
        times ``entropy_weight`` is subtracted from the loss.
        """
        n = len(actions)
        rows = np.arange(n)
        logs = _log_softmax(outputs)
        chances = np.exp(logs)
        weights = weigh(logs[rows, actions])
        plogp = chances * logs  # zero where barred: the logarithm there is finite
        entropy = -plogp.sum(axis=1)
        slope = chances * -weights[:, None]
        slope[rows, actions] += weights
        if entropy_weight:
            # The gradient of -entropy by the logits is p (log p + entropy).
            plogp += chances * entropy[:, None]
            plogp *= entropy_weight / n
            slope += plogp
        return slope, None, float(entropy.mean())


class Gaussian:
    """A vector with independent normal components: means are the outputs, log-deviations parameters of their own."""

    def __init__(self, n: int, spread: NDArray[Any]) -> None:
        self.width = n
        self.spread = spread  # log of the standard deviations, looked at, shape (n,)

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return what `sample` needs for so many draws, shape (*shape, n)."""
        return rng.standard_normal((*shape, self.width), dtype=dtype)

    def sample(self, outputs: NDArray[Any], noise: NDArray[Any]) -> NDArray[Any]:
        """Return drawn vectors."""
        drawn: NDArray[Any] = outputs + noise * np.exp(self.spread)
        return drawn

    def mode(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Return the means."""
        return outputs

    def log_probabilities(self, outputs: NDArray[Any], actions: NDArray[Any]) -> NDArray[Any]:
        """Return the log-density of each action."""
        scaled = (actions - outputs) * np.exp(-self.spread)
        return self._log_density(scaled)

    def _log_density(self, scaled: NDArray[Any]) -> NDArray[Any]:
        density: NDArray[Any] = -0.5 * np.square(scaled).sum(axis=1)
        density -= self.spread.sum() + self.width * _HALF_LOG_TWO_PI
        return density

    def slopes(
        self, outputs: NDArray[Any], actions: NDArray[Any], weigh: Any, entropy_weight: float
    ) -> tuple[NDArray[Any], NDArray[Any], float]:
        """Return the loss's gradient by the outputs and by the log-deviations, and the entropy; see `Categorical`."""
        inverse = np.exp(-self.spread)
        scaled = (actions - outputs) * inverse
        weights = weigh(self._log_density(scaled))
        spread_slope = ((np.square(scaled) - 1.0) * weights[:, None]).sum(axis=0) - entropy_weight
        scaled *= weights[:, None]
        scaled *= inverse
        entropy = float(self.spread.sum()) + self.width * (0.5 + _HALF_LOG_TWO_PI)
        return scaled, spread_slope, entropy


def _log_softmax(outputs: NDArray[Any]) -> NDArray[Any]:
    logs: NDArray[Any] = outputs - outputs.max(axis=1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    return logs
