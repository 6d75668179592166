"""Ordering: run the tests of a cycle in an order that finds its failures early, within a budget of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aqe_backend_numpy.environments._task import Task
from aqe_backend_numpy.neural._generator import as_count
from aqe_core.errors import DimensionError, InputError
from aqe_core.validate import as_outcomes, as_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Cycle", "Ordering"]


class Cycle(NamedTuple):
    """The tests of one run of a suite.

    Attributes
    ----------
    features : array of float, shape (m, d)
        What was known of each test before the run.
    durations_s : array of float, shape (m,)
        Above 0.
    failed : array of bool, shape (m,)
        What came out.
    """

    features: ArrayLike
    durations_s: ArrayLike
    failed: ArrayLike


class Ordering(Task):
    """Choose the tests of a cycle one after the other until none fits into the rest of the budget.

    An action is the place of a test in its cycle; the mask allows those that were not run and still fit. Running a
    failing test as the ``r``-th of ``m``, of which ``f`` fail, pays ``(1 - (r - 0.5) / m) / f``, others nothing: the
    return of an episode is its cycle's NAPFD (Qu, Cohen and Woolf 2007), in 0 .. 1. An observation is, for each place,
    the features, the duration as a share of the budget and whether the test may be run, and last the rest of the budget
    as a share.

    Parameters
    ----------
    cycles : sequence of Cycle
        At least one with a failing test and one that fits the budget; each episode draws one of these.
    n_envs : int
    budget : float, default 0.5
        Share of the cycle's duration that may be used.
    seed : int
    """

    name = "ordering"
    variables = 2  # of an episode: the cycle's number and the budget that is left, in seconds
    limit = 2**53
    observation_limit = 1e6

    def __init__(self, cycles: Sequence[Cycle], n_envs: int = 1, *, budget: float = 0.5, seed: int = 0) -> None:
        if not 0.0 < budget <= 1.0:
            raise InputError(f"budget is {budget!r}, but must be a share above 0 and at most 1.", fix="pass e.g. 0.5.")
        read = [_as_arrays(number, cycle) for number, cycle in enumerate(cycles)]
        played = [
            (features, durations, failed)
            for features, durations, failed in read
            if failed.any() and durations.min() <= budget * durations.sum()
        ]
        if not played:
            raise InputError("no cycle has both a failing test and one that fits.", fix="pass others, or more budget.")
        widths = {features.shape[1] for features, _, _ in played}
        if len(widths) > 1:
            raise DimensionError(f"tests have {sorted(widths)} features.", fix="give all tests the same features.")
        count, places, width = len(played), max(len(failed) for _, _, failed in played), widths.pop()
        self._features = np.zeros((count, places, width), np.float32)
        self._durations_s = np.full((count, places), np.inf)  # no budget has room for what is not there
        self._failed = np.zeros((count, places), np.bool_)
        for number, (features, durations, failed) in enumerate(played):
            self._features[number, : len(failed)] = features
            self._durations_s[number, : len(failed)] = durations
            self._failed[number, : len(failed)] = failed
        self._sizes = np.array([len(failed) for _, _, failed in played])
        self._budgets_s = np.array([budget * durations.sum() for _, durations, _ in played])
        self._taken = np.zeros((as_count(n_envs, "n_envs"), places), np.bool_)
        self.n_actions = places
        self.observation_dim = places * (width + 2) + 1
        super().__init__(n_envs, seed=seed)

    def masks(self) -> NDArray[np.bool_]:
        """Return which tests may be run now, shape (n_envs, n_actions)."""
        return self._allowed(self._state[0].astype(np.int64), self._state[1])

    def _allowed(self, cycles: NDArray[np.int64], left_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        allowed: NDArray[np.bool_] = ~self._taken & (self._durations_s[cycles] <= left_s[:, None])
        return allowed

    def observe(self) -> NDArray[np.float32]:
        """Return the observations of now, shape (n_envs, observation_dim)."""
        cycles, left_s = self._state[0].astype(np.int64), self._state[1]
        budgets_s = self._budgets_s[cycles]
        shares = np.minimum(self._durations_s[cycles] / budgets_s[:, None], 2.0)
        places = np.concatenate(
            (self._features[cycles], shares[:, :, None], self._allowed(cycles, left_s)[:, :, None]), axis=2
        )
        rows = places.reshape(self.n_envs, -1)
        return np.concatenate((rows, (left_s / budgets_s)[:, None]), axis=1).astype(np.float32)

    def _begin(self, where: Any, n: int) -> None:
        cycles = self._rng.integers(len(self._sizes), size=n)
        self._state[0, where] = cycles
        self._state[1, where] = self._budgets_s[cycles]
        self._taken[where] = False

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        copies = np.arange(self.n_envs)
        if not self.masks()[copies, actions].all():
            raise InputError("a test was chosen that the mask forbids.", fix="choose by masks().")
        cycles = self._state[0].astype(np.int64)
        ranks = self._taken.sum(axis=1) + 1
        self._taken[copies, actions] = True
        left_s = self._state[1]
        left_s -= self._durations_s[cycles, actions]
        found = self._failed[cycles, actions] / self._failed[cycles].sum(axis=1)
        rewards = found * (1.0 - (ranks - 0.5) / self._sizes[cycles])
        return rewards, np.logical_not(self._allowed(cycles, left_s).any(axis=1))


def _as_arrays(number: int, cycle: Cycle) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_]]:
    durations = as_values(cycle.durations_s, f"durations_s of cycle {number}")
    failed = as_outcomes(cycle.failed, f"failed of cycle {number}", len(durations))
    features = np.asarray(cycle.features, np.float32)
    if features.ndim != 2 or len(features) != len(durations) or not np.isfinite(features).all():
        raise DimensionError(
            f"features of cycle {number} have shape {features.shape}, but must be finite, one row per test.",
            fix="pass an array of shape (tests, features).",
        )
    if not len(durations) or durations.min() <= 0:
        raise InputError(f"cycle {number} has no tests, or one that takes no time.", fix="leave it out.")
    return features, durations, failed
