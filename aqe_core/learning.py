"""Learners that survive: every update is journalled in storage, in batches, and replayed after a crash.

One transaction per update would cost a hundred times the update. So updates are applied at once and collected; a batch
of them becomes durable together, when enough have come, when the first has waited long enough, on ``flush`` and when
the workspace closes. What a crash takes is what was not flushed; what it leaves equals a replay of all that was.

Layout in storage. State ``learner/NAMESPACE/NAME`` is a snapshot of the engine, its number the batches applied. States
``learner/NAMESPACE/NAME/00`` .. ``63`` are a ring of batches, each with its own number; a snapshot is taken before the
ring would overwrite one that is not in it.
"""

from __future__ import annotations

from itertools import chain, pairwise
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np

from aqe_core.errors import InputError, ReadOnlyError, StorageBusyError
from aqe_core.events import Event
from aqe_core.state import EngineState
from aqe_core.stream import Streamed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.learner import ActionKey, Learner, StateKey
    from aqe_core.workspace import Workspace

__all__ = ["DurableLearner"]

A = TypeVar("A", str, int)

_RING = 64
_SNAPSHOT_EVERY = 32
_MAX_BATCH = 65_536
_WIDTH = 6
_MAX_ROWS = (_RING - _SNAPSHOT_EVERY) * _MAX_BATCH
_SNAPSHOT_KIND = "workspace/learner/1"
_BATCH_KIND = "workspace/transitions/1"
_KEY_COLUMNS = ("states", "actions", "next_states", "next_actions")


class DurableLearner(Streamed):
    """A learner of a workspace whose updates are kept, as ``ws.learner("name")``.

    Parameters
    ----------
    workspace : Workspace
    name : str
        Learners of one workspace are told apart by it.
    engine : Learner
        Fresh; what is stored under the name is brought into it.
    batch : int
        So many updates become durable together.
    max_wait_s : float
        The first of a batch waits no longer than this for the next update to take it along.

    Raises
    ------
    InputError
        What is stored was learned with other parameters.

    Notes
    -----
    Thread-safe. One process at a time may learn under a name: a second one is refused when it flushes.
    """

    def __init__(
        self, workspace: Workspace, name: str, engine: Learner, *, batch: int = 1000, max_wait_s: float = 1.0
    ) -> None:
        if not 1 <= batch <= _MAX_BATCH:
            raise InputError(f"batch is {batch}, but must be in 1 .. {_MAX_BATCH}.", fix="choose one in range.")
        self.name = name
        self.engine = engine
        self._storage = workspace.storage
        self._read_only = workspace.storage.read_only
        self._update = engine.update
        self._tell = workspace.plugins.tell
        self._state_name = f"learner/{workspace.namespace}/{name}"
        self._full = batch * _WIDTH
        self._max_wait_s = max_wait_s
        self._lock = RLock()
        self._pending: list[Any] = []  # of each update that is not durable its `_WIDTH` arguments
        self._due = 0.0
        self._seq = 0
        self._snapshot_seq = 0
        self._restore()

    def __len__(self) -> int:
        """Return the number of (state, action) pairs with a value."""
        return len(self.engine)

    # -- learning ---------------------------------------------------------------------------------------------------

    def update(
        self,
        state: StateKey,
        action: ActionKey,
        reward: float,
        next_state: StateKey,
        done: bool = False,
        next_action: ActionKey | None = None,
    ) -> None:
        """Learn from one transition; see `aqe_core.contracts.Learner.update`.

        Raises
        ------
        NonFiniteError, InputError, InvalidActionError
            Bad input; nothing was learned.
        StorageError
            This update was to take its batch along, and writing failed: all of it is learned and stays collected, to
            be written with the next.
        """
        with self._lock:
            if self._read_only:
                self._refuse_to_learn()
            # Texts of ASCII, which most are, cost one look each; all else is looked at with care.
            if not (
                (type(state) is not str or state.isascii())
                and (type(action) is not str or action.isascii())
                and (type(next_state) is not str or next_state.isascii())
                and next_action is None
            ):
                _refuse_surrogates(*(key for key in (state, action, next_state, next_action) if isinstance(key, str)))
            self._update(state, action, reward, next_state, done, next_action)
            pending = self._pending
            if not pending:
                self._due = monotonic() + self._max_wait_s
            pending += (state, action, reward, next_state, done, next_action)
            if len(pending) >= self._full or monotonic() >= self._due:
                self.flush()

    def update_batch(
        self,
        states: ArrayLike | Sequence[StateKey],
        actions: ArrayLike | Sequence[ActionKey],
        rewards: ArrayLike,
        next_states: ArrayLike | Sequence[StateKey],
        dones: ArrayLike | None = None,
        next_actions: ArrayLike | Sequence[ActionKey] | None = None,
    ) -> None:
        """Learn from transitions in order; durable when the call returns. Errors as `update`."""
        with self._lock:
            if self._read_only:
                self._refuse_to_learn()
            n = np.size(rewards)
            if n > _MAX_ROWS:
                raise InputError(f"{n:,} transitions came at once.", fix=f"pass at most {_MAX_ROWS:,}.")
            for column in (states, actions, next_states, next_actions):
                if not isinstance(column, np.ndarray) or column.dtype.kind not in "iu":
                    _refuse_surrogates(*(key for key in _plain(column) if isinstance(key, str)))
            self.engine.update_batch(states, actions, rewards, next_states, dones, next_actions)
            ends = [False] * n if dones is None else dones
            following = [None] * n if next_actions is None else next_actions
            columns = map(_plain, (states, actions, rewards, next_states, ends, following))
            self._pending += chain.from_iterable(zip(*columns, strict=True))
            self.flush()

    def act(self, state: StateKey, actions: Sequence[A], *, explore: bool = True) -> A:
        """Choose one of the offered actions; see `aqe_core.contracts.Learner.act`."""
        with self._lock:
            return self.engine.act(state, actions, explore=explore)

    def value(self, state: StateKey, action: ActionKey) -> float:
        """Return the learned value of a pair; see `aqe_core.contracts.Learner.value`."""
        return self.engine.value(state, action)

    # -- keeping ----------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Number of updates that are learned but not durable yet."""
        return len(self._pending) // _WIDTH

    def flush(self) -> None:
        """Make every update durable. Nothing is done where nothing is collected.

        Raises
        ------
        StorageBusyError
            Another process has learned under this name since it was opened here.
        StorageError
            Writing failed; the updates stay collected.
        """
        with self._lock:
            while self._pending:
                rows, number = self._pending[: _MAX_BATCH * _WIDTH], self._seq + 1
                slot = f"{self._state_name}/{number % _RING:02}"
                there = self._storage.load_state(slot)
                if there is not None and there[1] >= number:
                    raise StorageBusyError(
                        f"another process has learned as {self.name!r} since it was opened here.",
                        fix="learn under a name of your own, or open it again.",
                    )
                self._storage.save_state(slot, _encoded(rows), seq=number)
                self._seq = number
                del self._pending[: len(rows)]
            if self._seq - self._snapshot_seq >= _SNAPSHOT_EVERY:
                self._save_snapshot()

    def _save_snapshot(self) -> None:
        """Keep the whole engine; nothing may be collected, or it would be replayed on top."""
        state = self.engine.export_state()
        manifest = {"kind": state.kind, "engine": dict(state.manifest)}
        snapshot = EngineState(kind=_SNAPSHOT_KIND, manifest=manifest, arrays=state.arrays)
        self._storage.save_state(self._state_name, snapshot, seq=self._seq)
        self._snapshot_seq = self._seq

    def _restore(self) -> None:
        """Bring the snapshot and the batches after it into the engine."""
        kept = self._storage.load_state(self._state_name)
        if kept is not None:
            wanted = self.engine.get_params()
            snapshot, self._seq = kept
            self._snapshot_seq = self._seq
            self.engine.import_state(
                EngineState(
                    kind=snapshot.manifest["kind"], manifest=snapshot.manifest["engine"], arrays=snapshot.arrays
                )
            )
            self._refuse_other_parameters(wanted)
        found = [self._storage.load_state(f"{self._state_name}/{slot:02}") for slot in range(_RING)]
        batches = {seq: state for state, seq in (each for each in found if each is not None) if seq > self._seq}
        while self._seq + 1 in batches:
            self._seq += 1
            _replay(self.engine, batches.pop(self._seq))
        if batches:
            # A damaged batch: what came after it was learned from another state, and cannot be replayed on this one.
            self._tell(Event(name="learning-lost", data={"learner": self.name, "batches": len(batches)}))
            self._seq = max(batches)
        if (kept is None or batches) and not self._read_only:
            self._save_snapshot()  # keeps the parameters, and lets what comes now follow on what is there

    def _refuse_to_learn(self) -> NoReturn:
        raise ReadOnlyError(
            f"the workspace is open read-only, so {self.name!r} cannot learn.", fix="open it without read_only."
        )

    def _refuse_other_parameters(self, wanted: dict[str, Any]) -> None:
        kept = self.engine.get_params()
        other = {name: value for name, value in kept.items() if wanted.get(name) != value}
        if other:
            told = ", ".join(f"{name}={value!r}" for name, value in other.items())
            raise InputError(
                f"the learner {self.name!r} was made with {told}.",
                fix="open it with these parameters, or learn under another name.",
            )


def _plain(column: Any) -> list[Any]:
    """Return an array or sequence as a list of Python's own values; empty for what is neither."""
    if isinstance(column, np.ndarray):
        return list(column.tolist())
    return list(column) if isinstance(column, (list, tuple, range)) else []


def _refuse_surrogates(*keys: str) -> None:
    """Refuse, before it is learned, what could not be stored."""
    for key in keys:
        try:
            key.encode()
        except UnicodeEncodeError:
            raise InputError(
                f"the key {key!r} holds half a surrogate pair, which UTF-8 cannot say.",
                fix="decode its source with errors='replace'.",
            ) from None


def _encoded(rows: list[Any]) -> EngineState:
    """Return transitions, `_WIDTH` items each, as a state: names in the manifest, each once, positions in arrays."""
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
        for name, column in zip(_KEY_COLUMNS, columns, strict=True)
    }
    arrays |= {"rewards": np.array(rewards, np.float64), "dones": np.array(dones, np.bool_)}
    return EngineState(kind=_BATCH_KIND, manifest={"names": list(names)}, arrays=arrays)


def _as_plain(key: StateKey | None) -> StateKey | None:
    if key is None:
        return None
    return str(key) if isinstance(key, str) else int(key)


def _replay(learner: Learner, batch: EngineState) -> None:
    """Learn a batch once more: what came with a next action, and what came without, in the order in which it came."""
    names = batch.manifest["names"]
    arrays = batch.arrays
    without = arrays["next_actions"] < 0
    borders = [0, *(np.flatnonzero(without[1:] != without[:-1]) + 1).tolist(), len(without)]
    for start, end in pairwise(borders):
        part = {name: array[start:end] for name, array in arrays.items()}
        keys = {name: [names[i] for i in array.tolist()] for name, array in part.items() if name in _KEY_COLUMNS}
        learner.update_batch(
            keys["states"],
            keys["actions"],
            part["rewards"],
            keys["next_states"],
            part["dones"],
            None if without[start] else keys["next_actions"],
        )
