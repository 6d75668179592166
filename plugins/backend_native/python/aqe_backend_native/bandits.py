"""LinUCB, discounted LinUCB and Thompson sampling in Rust: the choices and errors of `aqe_backend_numpy.bandits`.

The two add in different orders: means agree within 1e-9 of their magnitude, and choices where scores differ by more.
States are of the same kinds; each backend reads what the other wrote. Random numbers are drawn by NumPy's generator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aqe_backend_numpy import bandits as plain

from aqe_backend_native._native import BanditModels

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from aqe_core.contracts.learner import ActionKey

__all__ = ["DiscountedLinUcb", "LinUcb", "Thompson"]


class _Native(BanditModels, plain.LinearBandit):
    """The models, in Rust.

    ``act`` and ``update`` are the Rust methods themselves. They take a float64 array, declared actions and a float on
    their own, and hand anything else, and choices that draw a number, to the methods of the NumPy backend.
    """

    _update_with_care = plain.LinearBandit.update

    def _act_with_care(self, context: Any, actions: Any, explore: bool) -> Any:
        return plain.LinearBandit.act(self, context, actions, explore=explore)

    def visits(self, action: ActionKey) -> int:
        """Return the number of updates of an action; see `aqe_backend_numpy.bandits.LinUcb`."""
        return self._counts()[self._row(action)]

    def _forget(self) -> None:
        params = self._params
        bounds = "alpha" in params and params["epsilon"] == 0.0
        prior = params["ridge"], params["discount"]
        self._begin(self.dim, self.actions, self._rows, prior, params["alpha"] if bounds else None)

    def _learn(self, x: NDArray[np.float64], row: int, reward: float) -> None:
        self._learn_all(x[None], [row], [reward])

    def _learned(self) -> dict[str, NDArray[Any]]:
        theta, covariance, updated, visits = self._parts()
        n, dim = len(self.actions), self.dim
        return {
            "theta": theta.reshape(n, dim),
            "covariance": covariance.reshape(n, dim, dim),
            "updated": updated,
            "visits": visits,
        }

    def _resume(self, steps: int, arrays: Mapping[str, Any]) -> None:
        self._restore(steps, *(arrays[name].ravel() for name in ("theta", "covariance", "updated", "visits")))


class LinUcb(_Native, plain.LinUcb):
    """LinUCB, as `aqe_backend_numpy.bandits.LinUcb` describes it."""


class DiscountedLinUcb(_Native, plain.DiscountedLinUcb):
    """LinUCB that forgets, as `aqe_backend_numpy.bandits.DiscountedLinUcb` describes it."""


class Thompson(_Native, plain.Thompson):
    """Thompson sampling, as `aqe_backend_numpy.bandits.Thompson` describes it."""
