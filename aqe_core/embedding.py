"""The vectors of a namespace's patterns: made, kept, followed, and made anew in the background."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from aqe_core.embedding_cache import EmbeddingCache
from aqe_core.errors import AqeError, CapabilityError, FingerprintError, InputError
from aqe_core.events import Event
from aqe_core.indexing import document
from aqe_core.present import read_present
from aqe_core.snapshots import StoreSnapshot
from aqe_core.state import EngineState

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.embedder import Embedder
    from aqe_core.contracts.pattern_store import PatternStore
    from aqe_core.contracts.records import Pattern
    from aqe_core.contracts.storage import Changes
    from aqe_core.selection import Selection
    from aqe_core.workspace import Workspace

    Progress = Callable[[str, int, int], None]

__all__ = ["EmbeddedPatterns", "Reembedding"]

_BATCH = 2048
_SLOW_BATCH = 64
_REFIT_GROWTH = 1.25
"""The embedder is fitted anew when the collection has grown or shrunk by this factor since the last fit."""
_BACKGROUND_FROM = {"lexical": 5000, "semantic": 200}
"""Smaller collections are embedded anew at once, by kind of embedder: it takes less time than a person minds."""
_STATE = "workspace/embedder/1"


@attrs.frozen
class Reembedding:
    """How far the making of new vectors has come.

    Attributes
    ----------
    old, new : str
        Fingerprints: of the vectors that are searched now, and of those being made (empty until that is fitted).
    done, total : int
        Patterns.
    error : str
        Why it ended, if it failed; the old vectors stay.
    """

    old: str
    new: str
    done: int
    total: int
    error: str = ""


class _Stopped(Exception):  # noqa: N818  # not an error: somebody closed the workspace
    pass


class EmbeddedPatterns:
    """Patterns of one namespace as vectors of one fingerprint in a pattern store that follows the truth.

    When another embedder is configured, or the collection has outgrown the fit, the old vectors go on answering while
    a thread makes all vectors anew; then all change at once. At no time does a store hold vectors of two fingerprints.
    A process that ends in between loses nothing but that work; of an embedder that does not fit, not even that: what
    was made is in the `EmbeddingCache`, which is kept in storage.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._ws = workspace
        self._storage = workspace.storage
        self._namespace = workspace.namespace
        self._lock = workspace.lock  # one lock for the whole workspace
        self._embedder: Embedder | None = None
        self._selection: Selection | None = None
        self._fitted_on = 0
        self._store: PatternStore | None = None
        self._answering: tuple[Embedder, PatternStore] | None = None
        self._seq = -1
        self._data_version = -1
        self._cache: EmbeddingCache | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._state: Reembedding | None = None
        self._snapshot = StoreSnapshot(workspace)

    # -- what answers now -------------------------------------------------------------------------------------------

    @property
    def embedder(self) -> Embedder:
        """The embedder whose vectors are in the store; bound at first use, with its fitted state."""
        with self._lock:
            if self._embedder is None:
                self._bind()
            assert self._embedder is not None
            return self._embedder

    @property
    def reembedding(self) -> Reembedding | None:
        """How far new vectors are; None if none are being made. After a failure it stays, with the error."""
        return self._state

    def synced(self, progress: Progress | None = None) -> PatternStore:
        """Return the store after it has applied everything that is in the truth."""
        return self.answering(progress)[1]

    def answering(
        self, progress: Progress | None = None, *, version: int | None = None
    ) -> tuple[Embedder, PatternStore]:
        """Return the store of `synced` with the embedder of its vectors: a pair, whatever changes meanwhile.

        ``version`` is the truth's, if that is known.
        """
        if version is None:
            version = self._storage.data_version()
        pair = self._answering
        if pair is not None and pair[1] is self._store and version == self._data_version:
            return pair
        with self._lock:
            embedder = self.embedder
            if version != self._data_version and self._load_fit(embedder):
                self._store = None  # another process has fitted the embedder anew: all vectors differ
            changes = None if self._store is None else self._storage.changes_since(self._namespace, self._seq)
            if changes is None or not self._apply(changes, progress):
                try:
                    self._rebuild(progress)
                except BaseException:  # an interruption too: what it left is not all
                    self._store = None
                    raise
            self._data_version = version
            assert self._store is not None
            self._answering = embedder, self._store
            return self._answering

    @property
    def is_loaded(self) -> bool:
        """Whether there is a store of all vectors, however old."""
        return self._store is not None

    def engines(self) -> tuple[Embedder, PatternStore]:
        """Return the embedder and a new, empty pattern store."""
        with self._lock:
            return self.embedder, self._make_store(self.embedder)

    def put_vectors(self, keys: ArrayLike, vectors: ArrayLike, fingerprint: str) -> None:
        """Take vectors of patterns that were made elsewhere by the same embedder.

        Raises
        ------
        FingerprintError
            They were made under another fingerprint than the workspace's; nothing was stored.
        """
        mine = self.embedder.fingerprint
        if fingerprint != mine:
            kept, _ = self._storage.load_vectors(self._namespace, mine)
            count = self._storage.count_patterns(self._namespace)
            raise FingerprintError(
                f"{np.size(keys)} vectors were made by {fingerprint!r}, but {len(kept)} of the {count} patterns have "
                f"vectors made by {mine!r}, with which they cannot be compared.",
                fix="embed these patterns with the workspace's embedder, or select the other one for all of them.",
            )
        with self._lock:
            self._storage.put_vectors(self._namespace, keys, vectors, fingerprint)
            self._snapshot.drop()
            self._store = None
            self._data_version = -1

    # -- choosing the embedder --------------------------------------------------------------------------------------

    def _bind(self) -> None:
        """Bind the configured embedder or, where the stored vectors are of another that can be made, that one."""
        wanted: Embedder = self._ws.bound("embedder")
        selection = self._ws.selections["embedder"]
        earlier = self._earlier(wanted, selection)
        if earlier is None:
            self._embedder, self._selection = wanted, selection
            self._load_fit(wanted)
            return
        self._embedder, self._selection = earlier
        self._ws.selections["embedder"] = self._selection
        self._start(wanted, selection)

    def _earlier(self, wanted: Embedder, selection: Selection) -> tuple[Embedder, Selection] | None:
        """Return the embedder that made the stored vectors, if it is not the wanted one and can be made."""
        kept = self._storage.load_state(self._state_name())
        count = self._storage.count_patterns(self._namespace)
        if kept is None or self._storage.read_only or count < self._background_from(selection):
            return None
        manifest = kept[0].manifest
        backend, options = manifest.get("backend"), manifest.get("options")
        if not isinstance(backend, str) or not isinstance(options, dict):
            return None
        if (backend, options) == (selection.backend, dict(selection.options)) or _can_take_over(wanted, kept[0]):
            return None
        from aqe_core.binding import bind

        try:
            old = attrs.evolve(selection, backend=backend, options=options, fallback=False)
            embedder, old = bind(old, self._ws.plugins)
            embedder.import_state(_fit_of(kept[0]))
        except (AqeError, KeyError):
            return None  # it is not there any more: all is embedded anew before the first answer
        if embedder.fingerprint in {wanted.fingerprint, ""} or embedder.fingerprint != manifest.get("fingerprint"):
            return None
        self._fitted_on = int(manifest.get("documents", 0))
        return embedder, old

    def _state_name(self) -> str:
        return f"embedder/{self._namespace}"

    def _load_fit(self, embedder: Embedder) -> bool:
        """Load the stored fit if there is another than the embedder has. Return whether vectors may differ now."""
        kept = self._storage.load_state(self._state_name())
        if kept is None:
            return False
        before = embedder.fingerprint
        state, _ = kept
        try:
            embedder.import_state(_fit_of(state))
            self._fitted_on = int(state.manifest["documents"])
        except (InputError, KeyError) as error:
            # Of another embedder, or of another version of it: it is fitted anew with the next write.
            self._ws.plugins.tell(Event(name="state-dropped", data={"state": self._state_name(), "error": str(error)}))
            return False
        return embedder.fingerprint != before

    def refit_if_grown(self, progress: Progress | None = None) -> None:
        """Fit the embedder anew if the collection has outgrown the fit: now, or in the background if that takes long.

        With ``progress`` it is done now.
        """
        with self._lock:
            embedder = self.embedder
            count = self._storage.count_patterns(self._namespace)
            fits = self._fitted_on / _REFIT_GROWTH < count < max(self._fitted_on, 1) * _REFIT_GROWTH
            if count == 0 or fits or self._thread is not None:
                return
            assert self._selection is not None
            if progress is None and self._store is not None and count >= self._background_from(self._selection):
                self._start(self._ws.bound("embedder"), self._selection)
            else:
                self._refit(embedder, progress)

    def _background_from(self, selection: Selection) -> int:
        return _BACKGROUND_FROM.get(self._declares("kind", selection) or "lexical", 0)

    def _declares(self, name: str, selection: Selection) -> Any:
        """Return a capability of an embedder; None where that is none of an embedder's."""
        return getattr(self._ws.plugins.find_engine("embedder", selection.backend).spec.capabilities, name, None)

    def _refit(self, embedder: Embedder, progress: Progress | None) -> None:
        before = embedder.fingerprint
        if progress is not None:
            progress("fitting the embedder", 0, self._storage.count_patterns(self._namespace))
        documents = [document(pattern) for batch in self._storage.iter_patterns(self._namespace) for pattern in batch]
        embedder.fit(documents)
        assert self._selection is not None
        self._save_fit(embedder, self._selection, len(documents))
        if embedder.fingerprint != before:
            self._store = None
            self._tell_refitted(len(documents))

    def _save_fit(self, embedder: Embedder, selection: Selection, n_documents: int) -> None:
        self._fitted_on = n_documents
        fit = embedder.export_state()
        manifest = {
            "kind": fit.kind,
            "fit": dict(fit.manifest),
            "documents": n_documents,
            "backend": selection.backend,
            "options": dict(selection.options),
            "fingerprint": embedder.fingerprint,
        }
        self._storage.save_state(self._state_name(), EngineState(kind=_STATE, manifest=manifest, arrays=fit.arrays))

    def _tell_refitted(self, n_documents: int) -> None:
        self._ws.plugins.tell(Event(name="refitted", data={"namespace": self._namespace, "patterns": n_documents}))

    # -- in the background ------------------------------------------------------------------------------------------

    def _start(self, embedder: Embedder, selection: Selection) -> None:
        """Begin to make all vectors anew with an embedder of its own, while the present one answers."""
        assert self._embedder is not None
        self._stop.clear()
        count = self._storage.count_patterns(self._namespace)
        self._state = Reembedding(self._embedder.fingerprint, "", 0, count)
        self._thread = threading.Thread(
            target=self._reembed, args=(embedder, selection), name=f"aqe-embed-{self._namespace}", daemon=True
        )
        self._thread.start()

    def wait(self, progress: Progress | None = None, timeout_s: float | None = None) -> bool:
        """Wait until no vectors are being made in the background. Return whether that is so."""
        thread, waited_s = self._thread, 0.0
        while thread is not None and thread.is_alive() and (timeout_s is None or waited_s < timeout_s):
            if progress is not None and self._state is not None:
                progress("embedding", self._state.done, self._state.total)
            thread.join(0.05)
            waited_s += 0.05
        return thread is None or not thread.is_alive()

    def close(self) -> None:
        """End what runs in the background, keeping what can be used later."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        if self._store is not None and self._embedder is not None:
            self._snapshot.save_if_due(self._store, self._embedder.fingerprint, self._seq)

    def _reembed(self, embedder: Embedder, selection: Selection) -> None:
        """Run in a thread: make all vectors, then change over."""
        assert self._state is not None
        started = self._state
        try:
            seq = self._storage.last_seq()
            self._fit_stoppably(embedder)
            self._state = attrs.evolve(started, new=embedder.fingerprint)
            made: dict[int, NDArray[np.float32]] = {}
            for batch in self._storage.iter_patterns(self._namespace, batch=_SLOW_BATCH):
                self._make(embedder, selection, batch, made)
            with self._lock:
                self._change_over(embedder, selection, made, seq)
            self._state = None
        except _Stopped:
            self._state = None
        except Exception as error:
            self._state = attrs.evolve(self._state or started, error=str(error) or type(error).__name__)
            data = {"state": self._state_name(), "error": f"new vectors could not be made: {error}"}
            self._ws.plugins.tell(Event(name="state-dropped", data=data))
        finally:
            with suppress(AqeError):
                self._save_cache()
            self._thread = None

    def _fit_stoppably(self, embedder: Embedder) -> None:
        documents = []
        for batch in self._storage.iter_patterns(self._namespace):
            if self._stop.is_set():
                raise _Stopped
            documents += [document(pattern) for pattern in batch]
        embedder.fit(documents)

    def _make(
        self, embedder: Embedder, selection: Selection, batch: list[Pattern], made: dict[int, NDArray[np.float32]]
    ) -> None:
        if self._stop.is_set():
            raise _Stopped
        for pattern, vector in zip(batch, self._embed(embedder, selection, batch), strict=True):
            assert pattern.key is not None
            made[pattern.key] = vector
        assert self._state is not None
        self._state = attrs.evolve(self._state, done=len(made), total=max(len(made), self._state.total))

    def _change_over(
        self, embedder: Embedder, selection: Selection, made: dict[int, NDArray[np.float32]], seq: int
    ) -> None:
        """Under the lock: catch up with what was written meanwhile, then let the new vectors answer."""
        changes = self._storage.changes_since(self._namespace, seq)
        seq = self._storage.last_seq() if changes is None else changes.seq
        if changes is None:
            stale, removed = self._storage.pattern_keys(self._namespace), np.empty(0, np.uint64)
            made.clear()
        else:
            stale, removed = changes.written, changes.removed
        for key in removed.tolist():
            made.pop(key, None)
        for start in range(0, len(stale), _SLOW_BATCH):
            _, batch = read_present(self._storage, self._namespace, stale[start : start + _SLOW_BATCH])
            self._make(embedder, selection, batch, made)
        keys = np.array(sorted(made), np.uint64)
        vectors = np.array([made[key] for key in keys.tolist()], np.float32).reshape(len(keys), embedder.dim)
        store = self._make_store(embedder)
        store.add(keys, vectors)
        self._save_fit(embedder, selection, len(keys))
        self._storage.put_vectors(self._namespace, keys, vectors, embedder.fingerprint, unchanged_since=seq)
        self._embedder, self._selection, self._store = embedder, selection, store
        self._answering = embedder, store
        self._snapshot.changed(len(store))
        self._ws.selections["embedder"] = selection
        if changes is not None:
            self._seq = changes.seq
        self._data_version = self._storage.data_version()
        self._tell_refitted(len(keys))

    # -- vectors ----------------------------------------------------------------------------------------------------

    def _embed(self, embedder: Embedder, selection: Selection, patterns: list[Pattern]) -> NDArray[np.float32]:
        documents = [document(pattern) for pattern in patterns]
        if self._declares("fits", selection):
            return embedder.embed(documents)  # whatever changes its fit changes its fingerprint, too
        if self._cache is None:
            self._cache = EmbeddingCache()
            self._cache.load(self._storage, self._cache_name())
        return self._cache.embed(embedder, documents)

    def _cache_name(self) -> str:
        return f"embedding-cache/{self._namespace}"

    def _save_cache(self) -> None:
        if self._cache is not None:
            self._cache.save(self._storage, self._cache_name())

    def _make_store(self, embedder: Embedder) -> PatternStore:
        store: PatternStore = self._ws.bound("pattern_store", {"dim": embedder.dim, "metric": "cosine"})
        return store

    def _apply(self, changes: Changes, progress: Progress | None) -> bool:
        """Bring the store up to date; False if it cannot remove or replace, and has to be built anew."""
        assert self._store is not None
        try:
            self._store.remove(changes.removed)
            self._add(changes.written, changes.seq, progress)
        except CapabilityError:
            return False
        self._seq = changes.seq
        self._snapshot.changed(len(changes.removed) + len(changes.written))
        return True

    def _rebuild(self, progress: Progress | None) -> None:
        embedder = self.embedder
        self._store = self._make_store(embedder)
        changes = self._snapshot.load(self._store, embedder.fingerprint)
        if changes is not None and self._apply(changes, progress):
            return
        if len(self._store):
            self._store = self._make_store(embedder)
        self._seq = self._storage.last_seq()
        keys, vectors = self._storage.load_vectors(self._namespace, embedder.fingerprint)
        if len(keys):
            self._store.add(keys, vectors)
        if len(keys) < self._storage.count_patterns(self._namespace):
            lacking = np.setdiff1d(self._storage.pattern_keys(self._namespace), keys, assume_unique=True)
            self._add(lacking, self._seq, progress)
        self._snapshot.changed(len(self._store))

    def _add(self, keys: NDArray[np.uint64], seq: int, progress: Progress | None) -> None:
        """Bring patterns into the store: vectors from storage where they are kept, embedded (and kept) where not.

        What others have done to them after ``seq`` is left to the next changes.
        """
        assert self._store is not None
        assert self._selection is not None
        embedder = self.embedder
        if not len(keys):
            return
        kept, vectors = self._storage.load_vectors(self._namespace, embedder.fingerprint, keys)
        if len(kept):
            self._store.add(kept, vectors)
        missing = np.setdiff1d(keys, kept, assume_unique=True)
        batch = _BATCH if self._declares("fits", self._selection) else _SLOW_BATCH
        for start in range(0, len(missing), batch):
            if progress is not None:
                progress("embedding", start, len(missing))
            chunk, patterns = read_present(self._storage, self._namespace, missing[start : start + batch])
            if not len(chunk):
                continue
            vectors = self._embed(embedder, self._selection, patterns)
            self._store.add(chunk, vectors)
            if not self._storage.read_only:
                self._storage.put_vectors(self._namespace, chunk, vectors, embedder.fingerprint, unchanged_since=seq)


def _can_take_over(embedder: Embedder, state: EngineState) -> bool:
    """Return whether an embedder makes the vectors of another one whose fit was kept; it has that fit then."""
    try:
        embedder.import_state(_fit_of(state))
    except (InputError, KeyError):
        return False
    return embedder.fingerprint == state.manifest.get("fingerprint")


def _fit_of(state: EngineState) -> EngineState:
    """Return the embedder's own state inside the kept one."""
    return EngineState(kind=state.manifest["kind"], manifest=state.manifest["fit"], arrays=state.arrays)
