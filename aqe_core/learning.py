"""Learners that survive: every update is journalled in storage, in batches, and replayed after a crash.

One transaction per update would cost a hundred times the update. So updates are applied at once and collected; a batch
of them becomes durable together, when enough have come, when the first has waited long enough, on ``flush`` and when
the workspace closes. What a crash takes is what was not flushed; what it leaves equals a replay of all that was.

Layout in storage. State ``learner/NAMESPACE/NAME`` is a snapshot of the engine, its number the batches applied. States
``learner/NAMESPACE/NAME/00`` .. ``63`` are a ring of batches, each with its own number; a snapshot is taken before the
ring would overwrite one that is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np

from aqe_core.errors import InputError, ReadOnlyError, StorageBusyError, StorageError
from aqe_core.events import Event
from aqe_core.recording import as_state_key, recorder_of, replay
from aqe_core.state import EngineState
from aqe_core.stream import Streamed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from aqe_core.contracts.learner import ActionKey, Learner, StateKey
    from aqe_core.encoding import Encoding
    from aqe_core.workspace import Workspace

__all__ = ["DurableLearner"]

A = TypeVar("A", str, int)

_RING = 64
_SNAPSHOT_EVERY = 32
_MAX_BATCH = 65_536
_MAX_ROWS = (_RING - _SNAPSHOT_EVERY) * _MAX_BATCH
_SNAPSHOT_KIND = "workspace/learner/1"
_BATCH_KIND = "workspace/transitions/1"


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
    encoding : Encoding, optional
        Makes keys of states that are mappings. What is stored are the keys: use the same one next time.

    Raises
    ------
    InputError
        What is stored was learned with other parameters, or the encoding is none.

    Notes
    -----
    Thread-safe. One process at a time may learn under a name: a second one is refused when it flushes.
    """

    def __init__(
        self,
        workspace: Workspace,
        name: str,
        engine: Learner,
        *,
        batch: int = 1000,
        max_wait_s: float = 1.0,
        encoding: Encoding | None = None,
    ) -> None:
        if not 1 <= batch <= _MAX_BATCH:
            raise InputError(f"batch is {batch}, but must be in 1 .. {_MAX_BATCH}.", fix="choose one in range.")
        self.name = name
        self.engine = engine
        self._storage = workspace.storage
        self._learns = not workspace.storage.read_only
        self.encoding = encoding
        self._recorder = recorder_of(engine, encoding)
        self._update = self._recorder.update
        self._tell = workspace.plugins.tell
        self._state_name = f"learner/{workspace.namespace}/{name}"
        self._batch = batch
        self._max_wait_s = max_wait_s
        self._lock = RLock()
        self._made_with = {"algorithm": engine.algorithm, **engine.get_params()}
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
        state: StateKey | Mapping[str, Any],
        action: ActionKey,
        reward: float,
        next_state: StateKey | Mapping[str, Any],
        done: bool = False,
        next_action: ActionKey | None = None,
    ) -> None:
        """Learn from one transition; see `aqe_core.contracts.Learner.update`.

        States may be mappings, if there is an encoding.

        Raises
        ------
        NonFiniteError, InputError, InvalidActionError
            Bad input; nothing was learned.
        StorageError
            This update was to take its batch along, and writing failed: all of it is learned and stays collected, to
            be written with the next. Or the workspace was closed: nothing was learned.
        """
        with self._lock:
            if not self._learns:
                self._refuse_to_learn()
            kept = self._update(state, action, reward, next_state, done, next_action)
            if kept == 1:
                self._due = monotonic() + self._max_wait_s
            if kept >= self._batch or monotonic() >= self._due:
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
            if not self._learns:
                self._refuse_to_learn()
            n = np.size(rewards)
            if n > _MAX_ROWS:
                raise InputError(f"{n:,} transitions came at once.", fix=f"pass at most {_MAX_ROWS:,}.")
            self._recorder.update_batch(states, actions, rewards, next_states, dones, next_actions)
            self.flush()

    def act(self, state: StateKey | Mapping[str, Any], actions: Sequence[A], *, explore: bool = True) -> A:
        """Choose one of the offered actions; see `aqe_core.contracts.Learner.act`."""
        with self._lock:
            return self.engine.act(as_state_key(state, self.encoding), actions, explore=explore)

    def value(self, state: StateKey | Mapping[str, Any], action: ActionKey) -> float:
        """Return the learned value of a pair; see `aqe_core.contracts.Learner.value`."""
        return self.engine.value(as_state_key(state, self.encoding), action)

    # -- keeping ----------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Number of updates that are learned but not durable yet."""
        return len(self._recorder)

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
            while len(self._recorder):
                number = self._seq + 1
                slot = f"{self._state_name}/{number % _RING:02}"
                there = self._storage.load_state(slot)
                if there is not None and there[1] >= number:
                    raise StorageBusyError(
                        f"another process has learned as {self.name!r} since it was opened here.",
                        fix="learn under a name of your own, or open it again.",
                    )
                names, arrays = self._recorder.first(_MAX_BATCH)
                batch = EngineState(kind=_BATCH_KIND, manifest={"names": names}, arrays=arrays)
                self._storage.save_state(slot, batch, seq=number)
                self._seq = number
                self._recorder.drop(_MAX_BATCH)
            if self._seq - self._snapshot_seq >= _SNAPSHOT_EVERY:
                self._save_snapshot()

    def close(self) -> None:
        """Make every update durable, and refuse those that come later. Done by closing the workspace.

        Raises
        ------
        StorageBusyError, StorageError
            As `flush`.
        """
        with self._lock:
            self._learns = False
            self.flush()

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
            self._refuse_differing(self.engine.get_params(), wanted)
        found = [self._storage.load_state(f"{self._state_name}/{slot:02}") for slot in range(_RING)]
        batches = {seq: state for state, seq in (each for each in found if each is not None) if seq > self._seq}
        while self._seq + 1 in batches:
            self._seq += 1
            batch = batches.pop(self._seq)
            replay(self.engine, batch.manifest["names"], batch.arrays)
        if batches:
            # A damaged batch: what came after it was learned from another state, and cannot be replayed on this one.
            self._tell(Event(name="learning-lost", data={"learner": self.name, "batches": len(batches)}))
            self._seq = max(batches)
        if (kept is None or batches) and self._learns:
            self._save_snapshot()  # keeps the parameters, and lets what comes now follow on what is there

    def _refuse_to_learn(self) -> NoReturn:
        if not self._storage.read_only:
            raise StorageError(f"the workspace of the learner {self.name!r} was closed.", fix="open it anew.")
        raise ReadOnlyError(
            f"the workspace is open read-only, so {self.name!r} cannot learn.", fix="open it without read_only."
        )

    def refuse_other_parameters(self, wanted: Mapping[str, Any]) -> None:
        """Refuse hyper-parameters that differ from those it was made with.

        Raises
        ------
        InputError
            One does, or there is none of that name.
        """
        made_with = self._made_with
        for name, value in wanted.items():
            if name not in made_with and value is not None:
                raise InputError(
                    f"the learner {self.name!r} has no parameter {name!r}.", fix=f"use {', '.join(made_with)}."
                )
        self._refuse_differing(made_with, made_with | {name: _listed(value) for name, value in wanted.items()})

    def _refuse_differing(self, kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        other = {name: value for name, value in kept.items() if wanted.get(name) != value}
        if other:
            told = ", ".join(f"{name}={value!r}" for name, value in other.items())
            raise InputError(
                f"the learner {self.name!r} was made with {told}.",
                fix="open it with these parameters, or learn under another name.",
            )


def _listed(value: Any) -> Any:
    """Return a hyper-parameter as ``get_params`` tells it: what may be given as any collection is a list there."""
    return [*value] if isinstance(value, Iterable) and not isinstance(value, str) else value
