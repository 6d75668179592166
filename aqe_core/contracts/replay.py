"""The Replay contract: transitions kept in a ring and drawn again, so that each is learned from more than once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from os import PathLike

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from aqe_core.state import EngineState

__all__ = ["Replay", "Transitions"]


class Transitions(NamedTuple):
    """Transitions drawn from a replay; ``m`` of them.

    The target of a value is ``rewards + discounts * V(next_observations)``.

    Attributes
    ----------
    indices : int64 array, shape (m,)
        Where they lie, for `Replay.update_priorities`.
    observations, next_observations : float32 array, shape (m, observation_dim)
        With ``n_step`` above 1 ``next_observations`` are those after the last step taken together.
    actions : int64 array of shape (m,), or float32 array of shape (m, action_dim)
    rewards : float64 array, shape (m,)
        Discounted sum over the steps taken together.
    terminated : bool array, shape (m,)
        The last of those steps ended the task.
    discounts : float64 array, shape (m,)
        ``discount ** steps`` taken together, 0 where terminated.
    weights : float64 array, shape (m,)
        Importance weights, the largest is 1; all 1 where draws are uniform.
    """

    indices: NDArray[np.int64]
    observations: NDArray[np.float32]
    actions: NDArray[Any]
    rewards: NDArray[np.float64]
    next_observations: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    discounts: NDArray[np.float64]
    weights: NDArray[np.float64]


@runtime_checkable
class Replay(Protocol):
    """A ring of transitions: when it is full, the newest takes the place of the oldest.

    Made by ``EngineSpec.replay`` of a learner, a factory
    ``factory(*, capacity: int, observation_dim: int, **options)`` which knows the options of
    `aqe_core.open_replay`. Rules that every one keeps:

    - Only rows that were added are drawn; after ``capacity`` more additions a row is gone.
    - ``add_batch`` equals the same additions one at a time.
    - Steps taken together are successive steps of one copy, and never go past the end of an episode.
    - The same seed and the same calls give the same draws; a replay that was exported and imported goes on bit for bit.
    - A call that raises has changed nothing; NaN and infinity are refused.
    """

    @property
    def capacity(self) -> int:
        """Largest number of transitions kept."""
        ...

    def __len__(self) -> int:
        """Return the number of transitions kept. O(1)."""
        ...

    def get_params(self) -> dict[str, Any]:
        """Return the options it was made with, defaults included."""
        ...

    def add(
        self,
        observation: ArrayLike,
        action: Any,
        reward: float,
        next_observation: ArrayLike,
        terminated: bool,
        truncated: bool = False,
    ) -> None:
        """Keep one transition.

        Parameters
        ----------
        observation, next_observation : array of float, shape (observation_dim,)
            ``next_observation`` is the one before a new episode begins.
        action : int, or array of float of shape (action_dim,)
        reward : float
        terminated, truncated : bool
            Gymnasium's: the task ended, or the episode was cut off.

        Raises
        ------
        DimensionError, NonFiniteError, InputError
            Something does not fit.
        """
        ...

    def add_batch(
        self,
        observations: ArrayLike,
        actions: ArrayLike,
        rewards: ArrayLike,
        next_observations: ArrayLike,
        terminated: ArrayLike,
        truncated: ArrayLike | None = None,
    ) -> None:
        """Keep ``m`` transitions in order; arrays as in `add` with one more axis in front.

        With ``n_envs`` above 1 the copies take turns: a step of the first, of the second, and so on.

        Raises
        ------
        DimensionError, NonFiniteError, InputError
            Something does not fit.
        """
        ...

    def sample(self, batch_size: int, *, importance_exponent: float | None = None) -> Transitions:
        """Draw transitions, with replacement.

        Parameters
        ----------
        batch_size : int
        importance_exponent : float, optional
            Instead of the replay's own, for a schedule; in 0 .. 1.

        Raises
        ------
        InputError
            Nothing was added yet, or an argument is out of range.
        """
        ...

    def update_priorities(self, indices: ArrayLike, errors: ArrayLike) -> None:
        """Set the priority of drawn rows by their errors; signs do not matter, of equal indices the last counts.

        Raises
        ------
        CapabilityError
            The replay draws uniformly.
        InputError, NonFiniteError, DimensionError
            Something does not fit.
        """
        ...

    def export_state(self) -> EngineState:
        """Return everything: rows, priorities, positions, the generator."""
        ...

    def import_state(self, state: EngineState) -> None:
        """Replace everything by an exported state.

        Raises
        ------
        InputError
            It is not a state of a replay; nothing was changed.
        """
        ...

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything to a file (``.aqestate``), atomically."""
        ...

    def load(self, path: str | PathLike[str]) -> None:
        """Replace everything by what a file holds."""
        ...
