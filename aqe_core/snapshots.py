"""The pattern store of one namespace in a file beside the data file, so that opening need not build it anew.

The file is a cache that is not part of the truth. A state in storage says which content it must have, of which
embedder's vectors, and up to which journal number: where anything differs (another process wrote the file, the data
file was restored from a backup), the store is built from the vectors instead.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import numpy as np

from aqe_core.contracts.pattern_store import SnapshotStore
from aqe_core.errors import AqeError, InputError
from aqe_core.events import Event
from aqe_core.state import EngineState

if TYPE_CHECKING:
    from pathlib import Path

    from aqe_core.contracts.pattern_store import PatternStore
    from aqe_core.contracts.storage import Changes
    from aqe_core.workspace import Workspace

__all__ = ["StoreSnapshot"]

_KIND = "workspace/pattern_store/1"
_FROM = 2048  # rows; fewer are added anew in the time that it takes to look
_SAVED_SHARE = 16  # a snapshot is written anew when more than a sixteenth of the rows has changed since
_FEW = 256


@attrs.frozen
class _Kept:
    backend: str
    fingerprint: str
    content: str

    @classmethod
    def of(cls, state: EngineState) -> _Kept | None:
        values = [state.manifest.get(name) for name in ("backend", "fingerprint", "content")]
        strings = [value for value in values if isinstance(value, str)]
        return cls(*strings) if state.kind == _KIND and len(strings) == 3 else None


class StoreSnapshot:
    """Keeps the pattern store of a workspace's namespace, if the store can be kept (`SnapshotStore`)."""

    def __init__(self, workspace: Workspace) -> None:
        self._ws = workspace
        self._storage = workspace.storage
        self._name = f"pattern_store/{workspace.namespace}"
        self._unsaved = 0

    @property
    def path(self) -> Path:
        """The file; it need not be there."""
        data = self._storage.path
        namespace = hashlib.blake2b(self._ws.namespace.encode(), digest_size=8).hexdigest()
        return data.with_name(f"{data.name}-snapshots") / f"pattern_store-{namespace}.snapshot"

    def changed(self, rows: int) -> None:
        """Note that so many rows have changed since the last snapshot."""
        self._unsaved += rows

    def load(self, store: PatternStore, fingerprint: str) -> Changes | None:
        """Load the kept rows into an empty store.

        Parameters
        ----------
        store : PatternStore
        fingerprint : str
            Of the embedder whose vectors it must hold.

        Returns
        -------
        Changes or None
            What the store has yet to apply; None if nothing usable was loaded, whatever the store holds then.
        """
        kept = self._storage.load_state(self._name) if isinstance(store, SnapshotStore) else None
        if kept is None:
            return None
        state, seq = kept
        wanted = _Kept.of(state)
        if wanted is None or (wanted.backend, wanted.fingerprint) != (self._backend, fingerprint):
            return None
        assert isinstance(store, SnapshotStore)
        try:
            content = store.load(self.path)
            if content != wanted.content:
                raise InputError(f"{self.path} is not the snapshot that was kept last.", fix="none is needed.")
        except InputError as error:
            self._ws.plugins.tell(Event(name="state-dropped", data={"state": self._name, "error": str(error)}))
            return None
        self._unsaved = 0
        changes = self._storage.changes_since(self._ws.namespace, seq)
        if changes is None:
            return None
        # A sum that a lost or doubled change would upset.
        known = np.setdiff1d(store.keys(), changes.removed, assume_unique=True)
        count = len(np.union1d(known, changes.written))
        return changes if count == self._storage.count_patterns(self._ws.namespace) else None

    def save_if_due(self, store: PatternStore, fingerprint: str, seq: int) -> None:
        """Keep a store if enough of it has changed since that was last done. What fails is done another time."""
        rows = len(store)
        due = rows >= _FROM and self._unsaved > max(_FEW, rows // _SAVED_SHARE)
        if not due or not isinstance(store, SnapshotStore) or self._storage.read_only:
            return
        with suppress(AqeError, OSError):
            folder = self.path.parent
            folder.mkdir(exist_ok=True)
            (folder / ".gitignore").write_text("*\n", encoding="utf-8")
            manifest = {"backend": self._backend, "fingerprint": fingerprint, "content": store.save(self.path)}
            self._storage.save_state(self._name, EngineState(kind=_KIND, manifest=manifest), seq=seq)
            self._unsaved = 0

    def drop(self) -> None:
        """Forget what is kept: vectors have changed in a way that the journal does not tell."""
        if self._storage.load_state(self._name) is not None:
            self._storage.save_state(self._name, EngineState(kind=_KIND, manifest={}))

    @property
    def _backend(self) -> str:
        return self._ws.selections["pattern_store"].backend
