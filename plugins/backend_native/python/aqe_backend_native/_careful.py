"""What the Rust tables hand back: arguments that are not plain, checked here as every backend checks them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from aqe_backend_numpy import _learner_input as given

from aqe_core.errors import InputError, InvalidActionError
from aqe_core.validate import as_done, as_key_name, as_outcomes, as_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aqe_core.contracts.learner import ActionKey, StateKey

__all__ = ["Careful"]


class Careful:
    """The methods that a table in Rust calls with arguments that are not plain, and questions that are asked rarely.

    Of the class itself it needs ``_params``, ``_update``, ``_update_batch``, ``_choose``, ``_value`` and ``_visits``,
    which take checked arguments.
    """

    __slots__ = ()
    _follows: ClassVar[bool]  # the next action, where given, is looked at

    if TYPE_CHECKING:
        _params: Any
        _update: Any
        _update_batch: Any
        _choose: Any
        _value: Any
        _visits: Any

    def visits(self, state: StateKey, action: ActionKey) -> int:
        """Return the number of updates of a pair.

        Raises
        ------
        InputError
            A key is neither str nor int.
        InvalidActionError
            The action is outside the declared set.
        """
        visits, _ = self._visits(*self._pair(state, action))
        return int(visits)

    def last_update(self, state: StateKey, action: ActionKey) -> int:
        """Return the number of the last update of a pair among all updates, counted from 1.

        0 if it was never tried, or if it is unknown: the pair was not updated since a state of version 1 was imported.

        Raises
        ------
        InputError, InvalidActionError
            As `visits`.
        """
        _, last = self._visits(*self._pair(state, action))
        return int(last)

    def _pair(self, state: Any, action: Any) -> tuple[StateKey, ActionKey]:
        state = as_key_name(state, "state")
        (action,) = self._all_allowed([as_key_name(action, "action")])
        return state, action

    def _offered(self, state: Any, actions: Any) -> tuple[StateKey, list[ActionKey], list[Any]]:
        """Return the state, the keys of the offered actions, and these as they were given."""
        name = as_key_name(state, "state")
        if isinstance(actions, (str, bytes)) or not isinstance(actions, Iterable):
            raise InputError(f"actions are {actions!r}, but must be a list.", fix="pass a list of actions.")
        offered = list(actions)
        if not offered:
            raise InvalidActionError("no action was offered.", fix="pass at least one.")
        return name, self._all_allowed([as_key_name(action, "an offered action") for action in offered]), offered

    def _update_with_care(self, *transition: Any) -> None:
        self._update(*self._checked(*transition))

    def _checked(
        self, state: Any, action: Any, reward: Any, next_state: Any, done: Any, next_action: Any
    ) -> tuple[tuple[StateKey, ActionKey, StateKey], float, bool, ActionKey | None]:
        """Return the arguments of ``update``, checked, as ``_update`` takes them."""
        state, action = self._pair(state, action)
        next_state = as_key_name(next_state, "next_state")
        if not self._follows:
            next_action = None
        if next_action is not None:
            (next_action,) = self._all_allowed([as_key_name(next_action, "next_action")])
        return (state, action, next_state), given.as_reward(reward), as_done(done), next_action

    def _update_batch_with_care(self, *columns: Any) -> None:
        self._update_batch(*self._checked_batch(*columns))

    def _checked_batch(
        self, states: Any, actions: Any, rewards: Any, next_states: Any, dones: Any, next_actions: Any
    ) -> tuple[Any, Any, NDArray[np.float64], Any, NDArray[np.bool_] | None, Any]:
        """Return the arguments of ``update_batch``, checked, as ``_update_batch`` takes them."""
        before = _as_column(states, "states")
        n = len(before)
        chosen = self._all_allowed(_as_column(actions, "actions", n))
        after = _as_column(next_states, "next_states", n)
        following = None
        if next_actions is not None and self._follows:
            following = self._all_allowed(_as_column(next_actions, "next_actions", n))
        worth = given.as_rewards(rewards, n)
        ended = None if dones is None else as_outcomes(dones, "dones", n)
        return before, chosen, worth, after, ended, following

    def _act_with_care(self, state: Any, actions: Any, explore: bool) -> Any:
        name, keys, offered = self._offered(state, actions)
        return offered[self._choose(name, keys, explore)]

    def _value_with_care(self, state: Any, action: Any) -> float:
        return float(self._value(*self._pair(state, action)))

    def _all_allowed(self, actions: Any) -> Any:
        """Return the actions, all of them declared or nothing declared."""
        _, declared, _ = self._params()
        names = actions.tolist() if declared and isinstance(actions, np.ndarray) else actions
        if declared and not set(declared).issuperset(names):
            first = next(name for name in names if name not in declared)
            raise InvalidActionError(
                f"the action {first!r} is not declared.",
                fix="use a declared action, or make the learner without actions=[...].",
            )
        return actions


def _as_column(keys: Any, what: str, n: int | None = None) -> NDArray[np.int64] | list[StateKey]:
    column = given.as_batch_keys(keys, what, n)
    return as_whole(column) if isinstance(column, np.ndarray) else column
