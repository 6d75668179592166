"""The PolicyLearner contract: what to do next, learned over vectors of numbers instead of named states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from aqe_core.state import EngineState

__all__ = ["CurvePoint", "PolicyLearner", "Step", "VectorEnv"]


class Step(NamedTuple):
    """What a step of ``n`` environments side by side led to.

    Attributes
    ----------
    observations : float32 array, shape (n, observation_dim)
        What is seen now; where an episode ended, the first observation of the next one.
    rewards : float64 array, shape (n,)
    terminated : bool array, shape (n,)
        The task ended: nothing comes after.
    truncated : bool array, shape (n,)
        The episode was cut off, by a time limit say, though the task went on.
    final_observations : float32 array, shape (n, observation_dim), or None
        What was seen before the next episode began; equal to ``observations`` where none ended. None if none ended.
    """

    observations: NDArray[np.float32]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    final_observations: NDArray[np.float32] | None


@runtime_checkable
class VectorEnv(Protocol):
    """``n_envs`` copies of one task, stepped together; an episode that ends begins anew in the same step."""

    @property
    def n_envs(self) -> int:
        """Number of copies."""
        ...

    @property
    def observation_dim(self) -> int:
        """Length of an observation."""
        ...

    @property
    def n_actions(self) -> int:
        """Number of discrete actions; 0 where actions are vectors."""
        ...

    @property
    def action_dim(self) -> int:
        """Length of an action that is a vector; 0 where actions are discrete."""
        ...

    def reset(self, seed: int) -> NDArray[np.float32]:
        """Begin all episodes anew, drawn from the seed; return the observations, shape (n_envs, observation_dim)."""
        ...

    def observe(self) -> NDArray[np.float32]:
        """Return the observations of now, shape (n_envs, observation_dim)."""
        ...

    def step(self, actions: NDArray[Any]) -> Step:
        """Take one action in each copy: int64 of shape (n_envs,), or float32 of shape (n_envs, action_dim)."""
        ...

    def masks(self) -> NDArray[np.bool_] | None:
        """Return which actions are allowed now, shape (n_envs, n_actions); None if all are."""
        ...


class CurvePoint(NamedTuple):
    """One entry of a learning curve: the state of affairs after an update.

    Attributes
    ----------
    steps : int
        Environment steps so far, over all copies.
    episodes : int
        Episodes that ended so far.
    mean_return : float
        Mean undiscounted return of the last 20 episodes that ended (of fewer, if there are not so many); NaN before
        the first.
    entropy : float
        Mean entropy of the policy on the data of the update, in nats.
    kl : float
        Estimated Kullback-Leibler divergence from the policy that collected the data to the new one, in nats.
    value_loss : float
        Mean squared error of the values, before the update's last pass.
    """

    steps: int
    episodes: int
    mean_return: float
    entropy: float
    kl: float
    value_loss: float


@runtime_checkable
class PolicyLearner(Protocol):
    """A policy over float vectors, with a value function, learned from what it does itself.

    Made by ``EngineSpec.policy`` of a learner, a factory
    ``factory(*, algorithm: str, observation_dim: int, n_actions: int = 0, action_dim: int = 0, **hyper_parameters)``.
    Exactly one of ``n_actions`` (discrete) and ``action_dim`` (vectors) is above 0. Rules that every one keeps:

    - The same seed and the same calls give the same learner, bit for bit, on one machine.
    - A call that raises has changed nothing. NaN and infinity are refused wherever they come from.
    - A terminated episode does not bootstrap; a truncated one does, with the value of its final observation.
    - A masked action is never taken and never gets a gradient.
    - A learner that was exported and imported goes on bit for bit, also in the middle of an episode if the environment
      is still there.
    """

    @property
    def algorithm(self) -> str:
        """Name of the algorithm, e.g. ``ppo``."""
        ...

    @property
    def steps(self) -> int:
        """Number of environment steps learned from."""
        ...

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        """The learning curve: one point per update of `learn`, in order."""
        ...

    def get_params(self) -> dict[str, Any]:
        """Return the hyper-parameters it was made with, defaults included."""
        ...

    def act(self, observations: ArrayLike, *, explore: bool = True, mask: ArrayLike | None = None) -> Any:
        """Choose an action.

        Parameters
        ----------
        observations : array of float, shape (observation_dim,) or (n, observation_dim)
        explore : bool
            Draw from the policy; otherwise its most likely action (of equal ones the first), or its mean.
        mask : array of bool, shape (n_actions,) or (n, n_actions), optional
            Which discrete actions are allowed; all when absent.

        Returns
        -------
        int, or int64 array of shape (n,)
            Discrete actions.
        float32 array of shape (action_dim,) or (n, action_dim)
            Others.

        Raises
        ------
        DimensionError, NonFiniteError
            The observations do not fit.
        InvalidActionError
            The mask allows nothing, or there are no discrete actions.
        """
        ...

    def values(self, observations: ArrayLike) -> NDArray[np.float64]:
        """Return the learned value of each observation, shape (n,): the discounted return expected from there."""
        ...

    def learn(
        self,
        env: VectorEnv,
        total_timesteps: int,
        *,
        reset: bool = True,
        until: Callable[[CurvePoint], bool] | None = None,
    ) -> PolicyLearner:
        """Act in an environment and learn, for at least so many more steps.

        Parameters
        ----------
        env : VectorEnv
        total_timesteps : int
            Over all copies, rounded up to whole updates.
        reset : bool
            Begin new episodes, seeded by the learner's generator; otherwise go on where the environment stands.
        until : callable, optional
            Called with the curve's newest point after each update; true stops.

        Returns
        -------
        PolicyLearner
            Itself.

        Raises
        ------
        InputError
            The environment does not fit, or gave something impossible; what was learned until the last update stays.
        """
        ...

    def update(
        self,
        observations: ArrayLike,
        actions: ArrayLike,
        rewards: ArrayLike,
        terminated: ArrayLike,
        truncated: ArrayLike,
        next_observations: ArrayLike,
        masks: ArrayLike | None = None,
    ) -> CurvePoint:
        """Learn from ``t`` successive steps in ``n`` copies, chosen by this policy since its last update.

        Parameters
        ----------
        observations, next_observations : array of float, shape (t, n, observation_dim)
            ``next_observations`` are those before a new episode began.
        actions : array, shape (t, n) of integers or (t, n, action_dim) of floats
        rewards, terminated, truncated : array, shape (t, n)
        masks : array of bool, shape (t, n, n_actions), optional

        Returns
        -------
        CurvePoint
            Not added to the curve.

        Raises
        ------
        DimensionError, NonFiniteError, InputError, InvalidActionError
            Something does not fit; nothing was learned.
        """
        ...

    def export_state(self) -> EngineState:
        """Return everything: parameters, optimizer, schedules, normalization, generator, counters and the curve."""
        ...

    def import_state(self, state: EngineState) -> None:
        """Replace everything by an exported state.

        Raises
        ------
        InputError
            It is not a state of this kind of policy; nothing was changed.
        """
        ...

    def save(self, path: str | PathLike[str]) -> None:
        """Write `export_state` to a file (``.aqestate``), atomically."""
        ...

    def load(self, path: str | PathLike[str]) -> None:
        """Import the state in a file.

        Raises
        ------
        InputError
            It is damaged, or not a state of this kind of policy; nothing was changed.
        """
        ...
