"""The Bandit contract: which action pays in a situation described by numbers, learned from single outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.learner import A, ActionKey
    from aqe_core.state import EngineState

__all__ = ["Bandit"]


@runtime_checkable
class Bandit(Protocol):
    """What each of a fixed set of actions earns in a context, a vector of numbers; there is no next state.

    Made by the factory of learners: ``factory(*, algorithm: str, dim: int, actions: Sequence[str | int],
    **hyper_parameters)``. Every one knows ``epsilon`` (share of uniformly random choices), ``ridge`` (weight of the
    prior), ``discount`` (of what was learned, per update) and ``seed``; ``linucb`` and ``discounted-linucb`` know
    ``alpha`` and ``thompson`` knows ``scale`` (how much uncertainty counts). Rules that every bandit keeps:

    - ``update_batch`` equals the same updates one at a time, in order, bit for bit.
    - The same seed and the same calls give the same bandit, bit for bit, on one machine.
    - A call that raises has changed nothing. NaN and infinity are refused.
    - Only an offered action is chosen: what is not offered is masked.
    """

    @property
    def algorithm(self) -> str:
        """Name of the algorithm, e.g. ``linucb``."""
        ...

    @property
    def dim(self) -> int:
        """Length of a context."""
        ...

    @property
    def actions(self) -> tuple[ActionKey, ...]:
        """The actions, in the declared order."""
        ...

    @property
    def steps(self) -> int:
        """Number of updates."""
        ...

    def get_params(self) -> dict[str, Any]:
        """Return the hyper-parameters it was made with, ``dim`` and ``actions`` included."""
        ...

    def act(self, context: ArrayLike, actions: Sequence[A] | None = None, *, explore: bool = True) -> A:
        """Choose an action.

        Parameters
        ----------
        context : array of float64, shape (dim,)
        actions : sequence of str or int, optional
            Those offered; all when absent.
        explore : bool
            Otherwise the action of the highest expected reward; of equal ones the first offered. Nothing is drawn then.

        Raises
        ------
        DimensionError
            The context has another shape.
        NonFiniteError
            It has NaN, infinity, or numbers whose squares overflow.
        InvalidActionError
            Nothing was offered, or an action that was not declared.
        """
        ...

    def probabilities(self, context: ArrayLike, actions: Sequence[ActionKey] | None = None) -> NDArray[np.float64]:
        """Return the probability with which ``act`` with ``explore`` chooses each offered action: its propensity.

        Where there is no closed form (``thompson``), an estimate; see the backend. The bandit's generator is not used.

        Raises
        ------
        DimensionError, NonFiniteError, InvalidActionError
            As `act`.
        """
        ...

    def values(self, context: ArrayLike) -> NDArray[np.float64]:
        """Return the expected reward of each declared action, float64, shape (actions,).

        Raises
        ------
        DimensionError, NonFiniteError
            As `act`.
        """
        ...

    def update(self, context: ArrayLike, action: ActionKey, reward: float) -> None:
        """Learn what an action earned in a context.

        Raises
        ------
        DimensionError, NonFiniteError, InvalidActionError
            As `act`; or the reward is no finite number.
        InputError
            The reward is no number, or too large.
        """
        ...

    def update_batch(self, contexts: ArrayLike, actions: Sequence[ActionKey] | ArrayLike, rewards: ArrayLike) -> None:
        """Learn from ``n`` outcomes in order.

        Parameters
        ----------
        contexts : array of float64, shape (n, dim)
        actions : sequence of str or int, shape (n,)
        rewards : array of float64, shape (n,)

        Raises
        ------
        DimensionError, NonFiniteError, InputError, InvalidActionError
            As `update`; nothing was learned.
        """
        ...

    def export_state(self) -> EngineState:
        """Return everything learned, with the generator, so that ``import_state`` continues bit for bit."""
        ...

    def import_state(self, state: EngineState) -> None:
        """Replace everything learned by an exported state.

        Raises
        ------
        InputError
            It is not a state of this kind of bandit; nothing was changed.
        """
        ...
