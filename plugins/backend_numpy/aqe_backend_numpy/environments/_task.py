"""What the tasks share: copies side by side, time limits, new episodes, and their state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aqe_backend_numpy.neural._generator import as_count, as_seed, restored, words_of
from aqe_core.contracts.policy import Step
from aqe_core.errors import DimensionError, InputError
from aqe_core.state import EngineState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Task"]


class Task:
    """A `aqe_core.contracts.VectorEnv` that lacks its dynamics.

    The state is one row per variable, so that each operation runs along the copies.

    Parameters
    ----------
    n_envs : int
        Number of copies.
    max_steps : int, optional
        Length at which an episode is truncated; the task's own when absent.
    seed : int
        Of the generator that begins episodes.
    """

    name: ClassVar[str]
    observation_dim: int
    n_actions: int = 0
    action_dim: int = 0
    variables: ClassVar[int]
    limit: ClassVar[int]

    def __init__(self, n_envs: int = 1, *, max_steps: int | None = None, seed: int = 0) -> None:
        self.n_envs = as_count(n_envs, "n_envs")
        self.max_steps = self.limit if max_steps is None else as_count(max_steps, "max_steps")
        self.reset(seed)

    def reset(self, seed: int) -> NDArray[np.float32]:
        """Begin all episodes anew and return the observations, shape (n_envs, observation_dim)."""
        self._rng = np.random.Generator(np.random.PCG64(as_seed(seed)))
        self._ages = np.zeros(self.n_envs, np.int64)
        self._state = np.empty((self.variables, self.n_envs))
        self._begin(slice(None), self.n_envs)
        return self.observe()

    def masks(self) -> NDArray[np.bool_] | None:
        """Return which actions are allowed now, shape (n_envs, n_actions); None if all always are."""
        return None

    def step(self, actions: NDArray[Any]) -> Step:
        """Take one action in each copy; episodes that end begin anew. O(n_envs).

        Raises
        ------
        DimensionError, InputError
            The actions do not fit.
        """
        rewards, terminated = self._advance(self._as_actions(actions))
        self._ages += 1
        truncated = self._ages >= self.max_steps
        ended = terminated | truncated
        observations = self.observe()
        if not ended.any():
            return Step(observations, rewards, terminated, truncated, None)
        final = observations
        where = ended.nonzero()[0]
        self._begin(where, where.size)
        self._ages[where] = 0
        return Step(self.observe(), rewards, terminated, truncated, final)

    def _as_actions(self, actions: Any) -> NDArray[Any]:
        array = np.asarray(actions)
        shape = (self.n_envs,) if self.n_actions else (self.n_envs, self.action_dim)
        if array.shape != shape:
            raise DimensionError(f"actions have shape {array.shape}, but must have {shape}.", fix="pass one per copy.")
        if self.n_actions:
            if array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= self.n_actions:
                raise InputError(
                    f"actions are {actions!r}, but must be integers in 0 .. {self.n_actions - 1}.", fix="see n_actions."
                )
        elif array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise InputError(f"actions are {actions!r}, but must be finite numbers.", fix="see action_dim.")
        return array

    def set_state(self, state: NDArray[np.float64]) -> None:
        """Put each copy into a state, shape (n_envs, variables), at the beginning of an episode."""
        self._state = np.ascontiguousarray(np.asarray(state, np.float64).T)
        self._ages = np.zeros(self.n_envs, np.int64)

    def export_state(self) -> EngineState:
        """Return where every copy stands, with the generator."""
        return EngineState(
            kind=f"environment/{self.name}/1",
            manifest={"max_steps": self.max_steps},
            arrays={"state": self._state.copy(), "ages": self._ages.copy(), "generator": words_of(self._rng)},
        )

    def import_state(self, state: EngineState) -> None:
        """Go on where an exported environment of the same size stands.

        Raises
        ------
        InputError
            It is not a state of this environment.
        """
        arrays: Mapping[str, NDArray[Any]] = state.arrays
        if state.kind != f"environment/{self.name}/1" or arrays["state"].shape != self._state.shape:
            raise InputError(f"this is a {state.kind}, not {self.n_envs} of {self.name}.", fix="make one of its size.")
        self._rng = restored(arrays["generator"])
        self.max_steps = int(state.manifest["max_steps"])
        self._state = arrays["state"].copy()
        self._ages = arrays["ages"].copy()

    # -- what a task adds -----------------------------------------------------------------------------------------

    def observe(self) -> NDArray[np.float32]:
        """Return the observations of now, shape (n_envs, observation_dim)."""
        raise NotImplementedError  # pragma: no cover  # every task has its own

    def _begin(self, where: Any, n: int) -> None:
        """Draw the first state of ``n`` new episodes."""
        raise NotImplementedError  # pragma: no cover  # every task has its own

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Move every copy on, and return rewards and which terminated."""
        raise NotImplementedError  # pragma: no cover  # every task has its own
