"""The text index of one namespace: loaded, caught up with the truth, and kept for the next start."""

from __future__ import annotations

import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.embedder import Document
from aqe_core.errors import InputError, ReadOnlyError, StorageBusyError
from aqe_core.events import Event
from aqe_core.present import read_present
from aqe_core.state import EngineState

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from aqe_core.contracts.records import Pattern
    from aqe_core.contracts.storage import Changes
    from aqe_core.contracts.text_index import TextIndex
    from aqe_core.workspace import Workspace

__all__ = ["IndexedTexts", "document"]

_KIND = "workspace/text_index/1"  # the number goes up when `document` changes
_BATCH = 2048
_SAVED_SHARE = 16  # a state is kept anew when more than a sixteenth of the patterns has changed since
_FEW = 256


def document(pattern: Pattern) -> Document:
    """Return what is embedded and indexed of a pattern."""
    parts = (pattern.class_name, pattern.docstring if pattern.docstring not in pattern.text else "", pattern.text)
    return Document(pattern.name, "\n".join(part for part in parts if part))


class IndexedTexts:
    """Follows the patterns of a workspace's namespace with a text index."""

    def __init__(self, workspace: Workspace) -> None:
        self._ws = workspace
        self._storage = workspace.storage
        self._namespace = workspace.namespace
        self._name = f"text_index/{workspace.namespace}"
        self._lock = workspace.lock
        self._index: TextIndex | None = None
        self._seq = -1
        self._data_version = -1
        self._unsaved = 0

    def synced(
        self, progress: Callable[[str, int, int], None] | None = None, *, version: int | None = None
    ) -> TextIndex:
        """Return the index after it has applied everything that is in the truth, at ``version`` if that is known."""
        if version is None:
            version = self._storage.data_version()
        if self._index is not None and version == self._data_version:
            return self._index
        with self._lock:
            if self._index is None:
                self._index = self._ws.bound("text_index")
                if not self._load(self._index):
                    self._seq = -1
            changes = None if self._seq < 0 else self._storage.changes_since(self._namespace, self._seq)
            if changes is None:
                self._rebuild(self._index, progress)
            else:
                self._apply(self._index, changes, progress)
            self._data_version = version
            if self._unsaved > max(_FEW, len(self._index) // _SAVED_SHARE):
                self._save(self._index)
            return self._index

    def _load(self, index: TextIndex) -> bool:
        """Load the kept state; False on any doubt, and then the index is built anew."""
        kept = self._storage.load_state(self._name)
        if kept is None:
            return False
        state, seq = kept
        manifest = state.manifest
        try:
            if state.kind != _KIND:
                raise InputError(f"its kind is {state.kind!r}.", fix="none is needed, it is built anew.")
            index.import_state(EngineState(kind=manifest["kind"], manifest=manifest["state"], arrays=state.arrays))
        except (InputError, KeyError) as error:
            self._ws.plugins.tell(Event(name="state-dropped", data={"state": self._name, "error": str(error)}))
            return False
        changes = self._storage.changes_since(self._namespace, seq)
        if changes is None:
            return False
        # A sum that a lost or doubled change would upset.
        known = np.setdiff1d(index.keys(), changes.removed, assume_unique=True)
        new = np.isin(changes.written, known, assume_unique=True, invert=True)
        if known.size + np.count_nonzero(new) != self._storage.count_patterns(self._namespace):
            return False
        self._seq = seq
        return True

    def _apply(self, index: TextIndex, changes: Changes, progress: Callable[[str, int, int], None] | None) -> None:
        index.remove(changes.removed)
        self._add(index, changes.written, progress)
        self._seq = changes.seq
        self._unsaved += len(changes.removed) + len(changes.written)

    def _rebuild(self, index: TextIndex, progress: Callable[[str, int, int], None] | None) -> None:
        seq = self._storage.last_seq()
        index.remove(index.keys())
        keys = self._storage.pattern_keys(self._namespace)
        self._add(index, keys, progress)
        self._seq = seq
        self._unsaved = len(keys)

    def _add(
        self, index: TextIndex, keys: NDArray[np.uint64], progress: Callable[[str, int, int], None] | None
    ) -> None:
        for start in range(0, len(keys), _BATCH):
            if progress is not None:
                progress("indexing", start, len(keys))
            there, patterns = read_present(self._storage, self._namespace, keys[start : start + _BATCH])
            index.add(there, [document(pattern) for pattern in patterns])

    def _save(self, index: TextIndex) -> None:
        if self._storage.read_only:
            return
        state = index.export_state()
        manifest = {"kind": state.kind, "state": dict(state.manifest), **self._claim(index)}
        # A cache: where another process is writing, it is kept another time.
        with suppress(StorageBusyError, ReadOnlyError):
            self._storage.save_state(
                self._name, EngineState(kind=_KIND, manifest=manifest, arrays=state.arrays), seq=self._seq
            )
            self._unsaved = 0

    def _claim(self, index: TextIndex) -> dict[str, Any]:
        """Return what the state says of the truth, for `aqe verify`; nothing where another process has gone on."""
        there = self._storage.pattern_keys(self._namespace)
        changes = self._storage.changes_since(self._namespace, self._seq)
        if changes is None or len(changes.written) or len(changes.removed):
            return {}
        keys = np.sort(index.keys())
        claim = {
            "namespace": self._namespace,
            "last_key": int(there.max(initial=0)),
            "count": len(keys),
            "keys_crc32": zlib.crc32(keys.astype("<u8").tobytes()),
        }
        return {"truth": {"patterns": claim}}
