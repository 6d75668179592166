"""Recorders of learners: they learn, and keep what was learned from until it is durable.

A backend may bring a recorder of its own (`aqe_core.contracts.RecordingLearner`). For all others, this one collects the
arguments of each update in one flat list, and numbers names only when they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.learner import RecordingLearner
from aqe_core.encoding import Encoding
from aqe_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.learner import ActionKey, Learner, Recorder, StateKey

__all__ = ["KEY_COLUMNS", "ListRecorder", "as_encoding", "as_state_key", "recorder_of", "refuse_surrogates", "replay"]

KEY_COLUMNS = ("states", "actions", "next_states", "next_actions")
"""Those columns of `aqe_core.contracts.Recorder.first` that hold positions of names."""

_WIDTH = 6


def recorder_of(learner: Learner, encoding: Encoding | None = None) -> Recorder:
    """Return a recorder of a learner: its own where it has one.

    Raises
    ------
    InputError
        As `as_encoding`.
    """
    encoding = as_encoding(encoding)
    if isinstance(learner, RecordingLearner):
        return learner.recorder(encoding)
    return ListRecorder(learner, encoding)


def as_encoding(encoding: Any) -> Encoding | None:
    """Return an encoding or None as it is.

    Raises
    ------
    InputError
        It is something else.
    """
    if encoding is None or isinstance(encoding, Encoding):
        return encoding
    raise InputError(f"encoding is {encoding!r}, but must be an Encoding.", fix="pass aqe_core.encoding.Encoding(...).")


class ListRecorder:
    """Records any learner; see `aqe_core.contracts.Recorder`.

    Parameters
    ----------
    learner : Learner
    encoding : Encoding, optional
        Makes keys of states that are mappings; without one they are refused.

    Notes
    -----
    Not safe for use from several threads at once.
    """

    def __init__(self, learner: Learner, encoding: Encoding | None = None) -> None:
        self._learner = learner
        self._update = learner.update
        self._encoding = encoding
        self._kept: list[Any] = []  # of each transition its `_WIDTH` arguments

    def __len__(self) -> int:
        """Return the number of transitions kept."""
        return len(self._kept) // _WIDTH

    def update(
        self,
        state: StateKey | Mapping[str, Any],
        action: ActionKey,
        reward: float,
        next_state: StateKey | Mapping[str, Any],
        done: bool = False,
        next_action: ActionKey | None = None,
    ) -> int:
        """Learn from one transition, keep it, and return how many are kept. O(1) besides the learner's work."""
        if self._encoding is not None:
            state, next_state = as_state_key(state, self._encoding), as_state_key(next_state, self._encoding)
        # Texts of ASCII, which most are, cost one look each; all else is looked at with care.
        if not (
            (type(state) is not str or state.isascii())
            and (type(action) is not str or action.isascii())
            and (type(next_state) is not str or next_state.isascii())
            and next_action is None
        ):
            refuse_surrogates(state, action, next_state, next_action)
        self._update(state, action, reward, next_state, done, next_action)  # type: ignore[arg-type]  # it refuses mappings
        kept = self._kept
        kept += (state, action, reward, next_state, done, next_action)
        return len(kept) // _WIDTH

    def update_batch(
        self,
        states: ArrayLike | Sequence[StateKey],
        actions: ArrayLike | Sequence[ActionKey],
        rewards: ArrayLike,
        next_states: ArrayLike | Sequence[StateKey],
        dones: ArrayLike | None = None,
        next_actions: ArrayLike | Sequence[ActionKey] | None = None,
    ) -> int:
        """Learn from transitions in order, keep them, and return how many are kept. O(transitions)."""
        for column in (states, actions, next_states, next_actions):
            if not isinstance(column, np.ndarray) or column.dtype.kind not in "iu":
                refuse_surrogates(*_plain(column))
        self._learner.update_batch(states, actions, rewards, next_states, dones, next_actions)
        n = np.size(rewards)
        ends = [False] * n if dones is None else dones
        following = [None] * n if next_actions is None else next_actions
        columns = map(_plain, (states, actions, rewards, next_states, ends, following))
        self._kept += chain.from_iterable(zip(*columns, strict=True))
        return len(self)

    def first(self, n: int) -> tuple[list[StateKey], dict[str, NDArray[Any]]]:
        """Return the names and the columns of the first ``n`` transitions; see `aqe_core.contracts.Recorder.first`."""
        rows = self._kept[: n * _WIDTH]
        states, actions, rewards, next_states, dones, next_actions = [rows[start::_WIDTH] for start in range(_WIDTH)]
        columns = [states, actions, next_states, next_actions]
        if not set(map(type, chain.from_iterable(columns))) <= {str, int, type(None)}:
            # 1 and True, or a text and a NumPy text, are equal, but not one name.
            columns = [list(map(_as_plain, column)) for column in columns]
        names = dict.fromkeys(chain.from_iterable(columns))
        names.pop(None, None)
        numbers: dict[Any, int] = {name: number for number, name in enumerate(names)}
        numbers[None] = -1
        arrays: dict[str, NDArray[Any]] = {
            name: np.fromiter(map(numbers.__getitem__, column), np.int32, len(rewards))
            for name, column in zip(KEY_COLUMNS, columns, strict=True)
        }
        arrays |= {"rewards": np.array(rewards, np.float64), "dones": np.array(dones, np.bool_)}
        return list(names), arrays

    def drop(self, n: int) -> None:
        """Keep the first ``n`` transitions no longer."""
        del self._kept[: n * _WIDTH]


def replay(learner: Learner, names: Sequence[StateKey], columns: Mapping[str, NDArray[Any]]) -> None:
    """Learn what `aqe_core.contracts.Recorder.first` told, in the order in which it came. O(transitions).

    What came with a next action, and what came without, are batches of their own.
    """
    without = columns["next_actions"] < 0
    if not len(without):
        return
    borders = [0, *(np.flatnonzero(without[1:] != without[:-1]) + 1).tolist(), len(without)]
    for start, end in pairwise(borders):
        part = {name: column[start:end] for name, column in columns.items()}
        keys = {name: [names[i] for i in part[name].tolist()] for name in KEY_COLUMNS}
        learner.update_batch(
            keys["states"],
            keys["actions"],
            part["rewards"],
            keys["next_states"],
            part["dones"],
            None if without[start] else keys["next_actions"],
        )


def as_state_key(state: Any, encoding: Encoding | None) -> Any:
    """Return the key of a mapping by an encoding; anything else as it is."""
    if encoding is None or type(state) is str:
        return state
    return encoding.key(state) if type(state) is dict or isinstance(state, Mapping) else state


def refuse_surrogates(*keys: Any) -> None:
    """Refuse texts that could not be stored; what is no text is passed over.

    Raises
    ------
    InputError
        A text holds half a surrogate pair.
    """
    for key in keys:
        if isinstance(key, str):
            try:
                key.encode()
            except UnicodeEncodeError:
                raise InputError(
                    f"the key {key!r} holds half a surrogate pair, which UTF-8 cannot say.",
                    fix="decode its source with errors='replace'.",
                ) from None


def _plain(column: Any) -> list[Any]:
    """Return an array or sequence as a list of Python's own values; empty for what is neither."""
    if isinstance(column, np.ndarray):
        return list(column.tolist())
    return list(column) if isinstance(column, (list, tuple, range)) else []


def _as_plain(key: StateKey | None) -> StateKey | None:
    if key is None:
        return None
    return str(key) if isinstance(key, str) else int(key)
