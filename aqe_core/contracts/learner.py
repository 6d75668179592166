"""The Learner contract: what pays in which situation, learned from outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from aqe_core.encoding import Encoding
    from aqe_core.state import EngineState

__all__ = ["ActionKey", "InspectableLearner", "Learner", "Recorder", "RecordingLearner", "StateKey"]

StateKey: TypeAlias = str | int
"""A state's name: text or a 64-bit integer. ``1`` and ``"1"`` are two states."""

ActionKey: TypeAlias = str | int
"""An action's name, likewise."""

A = TypeVar("A", str, int)


@runtime_checkable
class Learner(Protocol):
    """What to do in named states, learned from transitions: a table of values or of preferences.

    Made by a factory ``factory(*, algorithm: str, **hyper_parameters)``. Every tabular learner knows
    ``learning_rate``, ``discount``, ``epsilon`` (exploration), ``initial_value``, ``actions`` (the declared set, or
    None) and ``seed``, and refuses one out of range with `InputError`. ``q-learning``, ``sarsa`` and
    ``expected-sarsa`` learn the value of each pair; ``actor-critic`` and ``ppo`` a preference per pair, of which a
    softmax is the policy, and a value per state; the softmax of a state runs over the declared actions, or over those
    tried there. They also know ``value_learning_rate`` and ``entropy_coefficient``, and ``ppo`` knows ``gae_lambda``,
    ``clip``, ``epochs``, ``rollout`` (transitions per training) and ``normalize_advantage``. Rules that every learner
    keeps:

    - ``update_batch`` equals the same updates one at a time, in order, bit for bit.
    - The same seed and the same calls give the same learner, bit for bit.
    - A call that raises has changed nothing.
    - A terminal transition (``done=True``) does not bootstrap. An episode that was only cut off passes False, and does.
    - The value of a next state is taken over its actions that have a value, and with ``actions`` declared over all of
      them; a next state without any has the initial value.
    - Only an offered action is chosen: what is not offered is masked.
    - Equal learners export equal states, however they came about.
    """

    @property
    def algorithm(self) -> str:
        """Name of the algorithm, e.g. ``q-learning``."""
        ...

    def __len__(self) -> int:
        """Return the number of (state, action) pairs with a value. O(1)."""
        ...

    def get_params(self) -> dict[str, Any]:
        """Return the hyper-parameters it was made with, defaults included."""
        ...

    def update(
        self,
        state: StateKey,
        action: ActionKey,
        reward: float,
        next_state: StateKey,
        done: bool = False,  # the Gymnasium order of a transition
        next_action: ActionKey | None = None,
    ) -> None:
        """Learn from one transition.

        Parameters
        ----------
        state, action : str or int
            What was done where.
        reward : float
            Finite.
        next_state : str or int
            Where it led.
        done : bool
            The episode ended there (Gymnasium's ``terminated``): the next state is worth nothing. False where it was
            cut off (``truncated``): the next state's value stands for the rest.
        next_action : str or int, optional
            The action that will be taken next (SARSA). Without it SARSA uses the expectation under its own policy.
            The others do not look at it.

        Raises
        ------
        NonFiniteError
            The reward is NaN or infinite.
        InputError
            A key is neither str nor int.
        InvalidActionError
            An action is outside the declared set.
        """
        ...

    def update_batch(
        self,
        states: ArrayLike | Sequence[StateKey],
        actions: ArrayLike | Sequence[ActionKey],
        rewards: ArrayLike,
        next_states: ArrayLike | Sequence[StateKey],
        dones: ArrayLike | None = None,
        next_actions: ArrayLike | Sequence[ActionKey] | None = None,
    ) -> None:
        """Learn from ``n`` transitions in order.

        Parameters
        ----------
        states, actions, next_states, next_actions : int64 array or sequence of str or int, shape (n,)
            Integer arrays are the fast way.
        rewards : array of float64, shape (n,)
            Finite.
        dones : array of bool, shape (n,), optional
            All false when absent.

        Raises
        ------
        DimensionError
            The lengths differ.
        NonFiniteError, InputError, InvalidActionError
            As `update`; nothing was learned.
        """
        ...

    def act(self, state: StateKey, actions: Sequence[A], *, explore: bool = True) -> A:
        """Choose one of the offered actions.

        The greedy choice is the offered action of the highest value or preference (see `value`); of equal ones the
        first offered is chosen. With ``explore`` a uniformly random one is taken with probability epsilon, and
        otherwise a policy draws from the softmax of the preferences of the offered actions.

        Raises
        ------
        InvalidActionError
            Nothing was offered, or something outside the declared set.
        """
        ...

    def value(self, state: StateKey, action: ActionKey) -> float:
        """Return the learned value of an action in a state; the initial value if it was never tried.

        Of a policy, its preference: larger is likelier, 0 if it was never tried.
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
            It is not a state of this kind of learner; nothing was changed.
        """
        ...


@runtime_checkable
class InspectableLearner(Learner, Protocol):
    """A learner that tells how it got there, and whose rates may change; for the capability ``inspectable``."""

    def visits(self, state: StateKey, action: ActionKey) -> int:
        """Return the number of updates of a pair, 0 if it was never tried."""
        ...

    @property
    def steps(self) -> int:
        """Number of updates learned. O(1)."""
        ...

    def last_update(self, state: StateKey, action: ActionKey) -> int:
        """Return the number of the last update of a pair among all updates of the learner, counted from 1.

        So ``steps - last_update(state, action)`` updates came since. Updates are counted, not timed: equal learners
        stay equal. 0 if the pair was never tried, or if it is unknown, as the state that was imported did not tell.
        """
        ...

    def probabilities(self, state: StateKey, actions: Sequence[A]) -> NDArray[np.float64]:
        """Return the probability with which ``act`` with ``explore`` chooses each offered action.

        The propensities that off-policy evaluation needs in a log; nothing is drawn.

        Raises
        ------
        InvalidActionError
            Nothing was offered, or something outside the declared set.
        """
        ...

    def set_params(self, **changes: float) -> None:
        """Change ``learning_rate``, ``discount`` or ``epsilon`` from here on; a schedule is one call per episode.

        Raises
        ------
        InputError
            Another parameter was named, or one is out of range; nothing was changed.
        """
        ...


@runtime_checkable
class RecordingLearner(Learner, Protocol):
    """A learner with a recorder of its own.

    For all others `aqe_core.recording.ListRecorder` does the same. What it brings is speed: names are looked at once,
    where the learner looks at them anyway.
    """

    def recorder(self, encoding: Encoding | None = None) -> Recorder:
        """Return a recorder that keeps nothing yet.

        Parameters
        ----------
        encoding : Encoding, optional
            Makes keys of states that are mappings, equal to those of its ``key``; without one they are refused.
        """
        ...


class Recorder(Protocol):
    """Learns, and keeps what was learned from in order until it is dropped, so that a caller can make it durable.

    What it keeps, given to ``update_batch`` of an equal learner, makes that learner equal to this one. It may say of a
    next action that the learner does not look at that there was none. It need not be safe for several threads at once.
    """

    def __len__(self) -> int:
        """Return the number of transitions kept. O(1)."""
        ...

    def update(
        self,
        state: StateKey | Mapping[str, Any],
        action: ActionKey,
        reward: float,
        next_state: StateKey | Mapping[str, Any],
        done: bool = False,
        next_action: ActionKey | None = None,
    ) -> int:
        """Learn from one transition as `Learner.update`, keep it, and return how many are kept.

        Raises
        ------
        NonFiniteError, InputError, InvalidActionError
            As `Learner.update` and `aqe_core.encoding.Encoding.key`; and `InputError` for a text with half a surrogate
            pair, which could not be stored. Nothing was learned or kept.
        """
        ...

    def update_batch(
        self,
        states: ArrayLike | Sequence[StateKey],
        actions: ArrayLike | Sequence[ActionKey],
        rewards: ArrayLike,
        next_states: ArrayLike | Sequence[StateKey],
        dones: ArrayLike | None = None,
        next_actions: ArrayLike | Sequence[ActionKey] | None = None,
    ) -> int:
        """Learn from transitions as `Learner.update_batch`, keep them, and return how many are kept.

        Raises
        ------
        DimensionError, NonFiniteError, InputError, InvalidActionError
            As `Learner.update_batch`; and as `update` for texts. Nothing was learned or kept.
        """
        ...

    def first(self, n: int) -> tuple[list[StateKey], dict[str, NDArray[Any]]]:
        """Return the first ``n`` transitions, or all if there are fewer. O(transitions + names).

        Returns
        -------
        names : list of str or int
            Each once.
        columns : dict
            ``states``, ``actions``, ``next_states``, ``next_actions``: int32, positions in ``names`` (-1: no next
            action); ``rewards``: float64; ``dones``: bool.
        """
        ...

    def drop(self, n: int) -> None:
        """Keep the first ``n`` transitions, or all if there are fewer, no longer."""
        ...
