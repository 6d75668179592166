"""Proximal policy optimization and advantage actor-critic in Rust: the NumPy backend's, with its networks replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from aqe_backend_numpy.neural._settings import Settings, as_settings
from aqe_backend_numpy.neural.policy import NeuralPolicy

from aqe_backend_native._native import PolicyCore
from aqe_core.validate import as_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NativePolicy", "make_policy"]


class NativePolicy(NeuralPolicy):
    """A `aqe_core.contracts.PolicyLearner`; make it by `make_policy`.

    What draws, counts, normalizes and saves is the NumPy backend's; the networks' outputs, the loss's gradient and the
    optimizer's steps are computed in Rust, in float32 with another order of sums. One update agrees with the NumPy
    backend's within 1e-4 of each parameter; over many updates rounding makes other choices, and runs of equal seed
    part. The same seed and calls give the same policy, bit for bit, on every processor.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        hidden = [settings.observation_dim, *settings.hidden]
        width = settings.n_actions or settings.action_dim
        self._core = PolicyCore([*hidden, width], [*hidden, 1], settings.n_actions > 0)

    def _choose(self, rows: NDArray[np.float32], masks: NDArray[np.bool_] | None, noise: Any) -> NDArray[Any]:
        rows = np.asarray(self._normal(rows), np.float32)
        return self._core.choose(self.parameters, _by_rows(rows), _by_rows(masks), noise)

    def _values(self, rows: NDArray[Any]) -> NDArray[Any]:
        return self._core.values(self.parameters, _by_rows(np.asarray(rows, np.float32)))

    def _descend(
        self,
        rows: NDArray[Any],
        actions: NDArray[Any],
        weights: NDArray[Any],
        targets: NDArray[Any],
        masks: NDArray[np.bool_] | None,
    ) -> tuple[float, float, float]:
        settings, adam, n = self.settings, self.adam, len(rows)
        size = min(settings.minibatch_size, n)
        orders = [self.rng.permutation(n) if size < n else np.arange(n) for _ in range(settings.epochs)]
        weighed = settings.clip_range, settings.entropy_coefficient, settings.value_coefficient
        entropy, kl, loss = self._core.descend(
            (self.parameters, adam.first, adam.second, adam.count),
            (_by_rows(rows), weights, targets),
            _by_rows(actions),
            _by_rows(masks),
            np.stack(orders),
            (size, *weighed, settings.max_gradient_norm, self._rate()),
        )
        adam.count += settings.epochs * -(-n // size)
        return entropy, kl, loss


def _by_rows(array: Any) -> Any:
    return None if array is None else as_whole(array)


def make_policy(
    *,
    algorithm: str = "ppo",
    observation_dim: int,
    n_actions: int = 0,
    action_dim: int = 0,
    **hyper_parameters: Any,
) -> NativePolicy:
    """Make a policy over float vectors; arguments and errors as `aqe_backend_numpy.neural.policy.make_policy`."""
    return NativePolicy(as_settings(algorithm, observation_dim, n_actions, action_dim, hyper_parameters))
