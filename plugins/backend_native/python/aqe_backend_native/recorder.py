"""The recorder of the tabular learners: learning, and keeping what was learned from, in one call of Rust."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_backend_native import _native
from aqe_core.encoding import Encoding
from aqe_core.recording import KEY_COLUMNS, as_state_key, refuse_surrogates

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    from aqe_backend_native.learner import Tabular
    from aqe_core.contracts.learner import StateKey

__all__ = ["Recorder"]


class Recorder(_native.Recorder):
    """Records a tabular learner; see `aqe_core.contracts.Recorder`.

    ``update``, ``update_batch``, ``drop`` and ``len`` are the Rust methods themselves; they hand what is not plain to
    the methods here. Dicts become keys in Rust, as long as their values are plain and the keys short.

    Parameters
    ----------
    learner : Tabular
    encoding : Encoding, optional

    Notes
    -----
    Transitions of several threads are all learned and all kept, but perhaps not in the same order.
    """

    __slots__ = ("_encoding", "_learner")
    _encoding: Encoding | None
    _learner: Tabular

    def __new__(cls, learner: Tabular, encoding: Encoding | None = None) -> Self:
        """Make one that keeps nothing."""
        self = super().__new__(cls, learner, _told(encoding))
        self._learner, self._encoding = learner, encoding
        return self

    def first(self, n: int) -> tuple[list[StateKey], dict[str, NDArray[Any]]]:
        """Return names and columns of the first ``n`` transitions; see `aqe_core.contracts.Recorder.first`."""
        names, columns = self._first(n)
        return names, dict(zip((*KEY_COLUMNS, "rewards", "dones"), columns, strict=True))

    def _update_with_care(self, state: Any, action: Any, reward: Any, after: Any, done: Any, following: Any) -> int:
        state, after = as_state_key(state, self._encoding), as_state_key(after, self._encoding)
        refuse_surrogates(state, action, after, following)
        checked = self._learner._checked  # noqa: SLF001  # its checks are ours
        return self._update(*checked(state, action, reward, after, done, following))

    def _update_batch_with_care(self, *columns: Any) -> int:
        states, actions, _, next_states, _, next_actions = columns
        for column in (states, actions, next_states, next_actions):
            if isinstance(column, (list, tuple)) or (isinstance(column, np.ndarray) and column.dtype.kind in "UO"):
                refuse_surrogates(*column)
        checked = self._learner._checked_batch  # noqa: SLF001  # same
        return self._update_batch(*checked(*columns))


def _told(encoding: Encoding | None) -> list[Any]:
    """Return the fields of an encoding as Rust takes them; none where it can only be asked in Python."""
    if type(encoding) is not Encoding:
        return []
    try:
        for part in encoding.parts:
            "".join((*part.texts, *(part.known or ()))).encode()
    except UnicodeEncodeError:
        return []
    return [
        (
            part.name,
            part.texts,
            None if part.known is None else list(part.known.items()),
            (part.low, part.high, part.width, float(part.bins)),
        )
        for part in encoding.parts
    ]
