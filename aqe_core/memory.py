"""The memory of a workspace: patterns in storage, their vectors in the pattern store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from aqe_core import searching
from aqe_core.contracts.records import Pattern, PutReport
from aqe_core.errors import CapabilityError, InputError, NotFoundError
from aqe_core.events import Event
from aqe_core.filtering import Filter
from aqe_core.indexing import IndexedTexts, document
from aqe_core.searching import Match, Ranked, Tuning
from aqe_core.state import EngineState
from aqe_core.validate import as_k

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.embedder import Embedder
    from aqe_core.contracts.pattern_store import PatternStore
    from aqe_core.contracts.storage import Changes
    from aqe_core.contracts.text_index import TextIndex, WordMatch
    from aqe_core.workspace import Workspace

__all__ = ["Match", "Patterns"]

_BATCH = 2048
_SPARE = 200
_REFIT_GROWTH = 1.25
"""The embedder is fitted anew when the collection has grown or shrunk by this factor since the last fit."""


class Patterns:
    """Test patterns of one namespace of a workspace, as ``ws.patterns``."""

    def __init__(self, workspace: Workspace) -> None:
        self._ws = workspace
        self._storage = workspace.storage
        self._namespace = workspace.namespace
        self._lock = workspace.lock  # one lock for the whole workspace
        self._embedder: Embedder | None = None
        self._fitted_on = 0
        self._store: PatternStore | None = None
        self._seq = -1
        self._data_version = -1
        self._texts = IndexedTexts(workspace)
        self._filter = Filter(workspace)

    def __len__(self) -> int:
        """Return the number of patterns."""
        return self._storage.count_patterns(self._namespace)

    def add(
        self, items: str | Mapping[str, Any] | Pattern | Iterable[str | Mapping[str, Any] | Pattern]
    ) -> NDArray[np.uint64]:
        """Store patterns; they are durable and searchable when the call returns.

        Parameters
        ----------
        items : str, mapping, Pattern, or an iterable of these
            A string is both name and text, and its own id. A mapping has the fields of `Pattern`; what is not a field
            becomes metadata; ``id`` defaults to ``path::class_name::name``. A known id is replaced if the
            content differs.

        Returns
        -------
        ndarray of uint64, shape (n,)
            Keys, in the order given.

        Raises
        ------
        InputError
            An item is none of these, or lacks a name or text.
        StorageError
            Writing failed; nothing was stored.
        """
        listed = [items] if isinstance(items, (str, Mapping, Pattern)) else items
        return self.put([as_pattern(item) for item in listed]).keys

    def put(
        self,
        patterns: Sequence[Pattern],
        *,
        origins: Collection[str] = (),
        progress: Callable[[str, int, int], None] | None = None,
    ) -> PutReport:
        """Store patterns as `add` does and report what changed; see `aqe_core.contracts.Storage.put_patterns`."""
        with self._lock:
            report = self._storage.put_patterns(self._namespace, patterns, origins=origins)
            self._refit_if_grown(progress)
            self._synced(progress)
            self._texts.synced(progress)
        return report

    def get(self, key: int | str) -> Pattern:
        """Return a pattern by key or id.

        Raises
        ------
        NotFoundError
            There is none.
        """
        if isinstance(key, str):
            found = self._storage.find_patterns(self._namespace, [key])[0]
            if found is None:
                raise NotFoundError(f"there is no pattern with id {key!r}.", fix="`aqe search` shows ids.")
            return found
        return self._storage.get_patterns(self._namespace, [key])[0]

    def remove(self, keys: int | str | Iterable[int | str]) -> int:
        """Remove patterns by key or id; unknown ones are passed over. Return how many there were."""
        items = [keys] if isinstance(keys, (int, str, np.integer)) else list(keys)
        ids = [item for item in items if isinstance(item, str)]
        numbers = [int(item) for item in items if not isinstance(item, str)]
        found = self._storage.find_patterns(self._namespace, ids) if ids else []
        numbers += [pattern.key for pattern in found if pattern is not None and pattern.key is not None]
        return self._storage.remove_patterns(self._namespace, numbers)

    def search(
        self,
        query: str | ArrayLike,
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        mode: str | None = None,
        dedupe: bool = False,
    ) -> list[Match]:
        """Find the patterns that fit a text or vector best.

        Parameters
        ----------
        query : str or array of float32, shape (dim,)
            Words, code, or a vector of this workspace's embedder.
        k : int
            At most this many. Fewer only if there are fewer, or in ``lexical`` mode, if fewer have a word of the query.
        where : mapping, optional
            Only patterns that fit; see `aqe_core.filtering`.
        mode : str, optional
            ``hybrid`` (words and vectors), ``vector`` or ``lexical`` (words). By default the configured one for texts,
            ``vector`` for vectors.
        dedupe : bool
            Leave out near copies of better hits; `Match.copies` names them. Looks at 200 hits more than k.

        Returns
        -------
        list of Match
            Best first; equal scores in order of key.

        Raises
        ------
        InputError
            The query, ``k``, ``where`` or ``mode`` is wrong.
        """
        chosen = searching.mode_for(query, mode, self.tuning)
        k = as_k(k)
        among = None if where is None else self._filter.keys(where)
        ranked = self._ranked(query, k, chosen, among, spare=_SPARE if dedupe else 0)
        if not dedupe:
            return self._matches(ranked.first(k))
        kept, copies = searching.without_copies(ranked, self._vectors_of, k)
        ids = {pattern.key: pattern.id for pattern in self._storage.get_patterns(self._namespace, _joined(copies))}
        return [
            attrs.evolve(match, copies=tuple(ids[int(key)] for key in keys))
            for match, keys in zip(self._matches(kept), copies, strict=True)
        ]

    def _ranked(
        self, query: str | ArrayLike, k: int, mode: str, among: NDArray[np.uint64] | None, *, spare: int
    ) -> Ranked:
        """Return at least the best k, and about as many more as are to spare."""
        if mode == "lexical":
            assert isinstance(query, str)
            return searching.worded(self.texts, query, k + spare, among)
        store = self._synced()
        vector = self.embedder.embed_queries([query])[0] if isinstance(query, str) else query
        if mode == "vector":
            return searching.nearest(store, vector, k + spare, among)
        assert isinstance(query, str)
        return searching.hybrid(
            self.texts, store, query, vector, k, among=among, tuning=self.tuning, narrow=self._narrow
        )

    def _matches(self, ranked: Ranked) -> list[Match]:
        patterns = self._storage.get_patterns(self._namespace, ranked.keys)
        parts = zip(patterns, ranked.scores.tolist(), ranked.lexical.tolist(), ranked.vector.tolist(), strict=True)
        return [
            Match(
                pattern,
                score,
                None if lexical != lexical else lexical,  # noqa: PLR0124  # NaN
                None if vector != vector else vector,  # noqa: PLR0124  # NaN
            )
            for pattern, score, lexical, vector in parts
        ]

    def _vectors_of(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
        return self._storage.load_vectors(self._namespace, self.embedder.fingerprint, keys)

    def hint(self, where: Mapping[str, Any]) -> str:
        """Return a sentence about fields of a filter that no pattern has; empty if there are none."""
        return self._filter.hint(where)

    def word_matches(self, query: str, pattern: Pattern) -> list[WordMatch]:
        """Return where the words of a query stand in what is indexed of a pattern (`document`)."""
        return self.texts.matches(query, document(pattern))

    @cached_property
    def tuning(self) -> Tuning:
        """How this workspace searches."""
        return Tuning.of(self._ws.config)

    @cached_property
    def _narrow(self) -> bool:
        """Whether vectors need to be computed for the best by words only: they are of words, and a scan is exact."""
        found = {kind: self._ws.selections[kind].backend for kind in ("embedder", "pattern_store")}
        said = {kind: self._ws.plugins.find_engine(kind, name).spec.capabilities for kind, name in found.items()}
        store = said["pattern_store"]
        return (
            getattr(said["embedder"], "kind", "") == "lexical"
            and getattr(store, "exact", False)
            and getattr(store, "filtered", False)
        )

    # -- following the truth ----------------------------------------------------------------------------------------

    @property
    def embedder(self) -> Embedder:
        """The embedder, bound at first use, with its fitted state."""
        if self._embedder is None:
            embedder: Embedder = self._ws.bound("embedder")
            self._load_fit(embedder)
            self._embedder = embedder
        return self._embedder

    @property
    def texts(self) -> TextIndex:
        """The text index, caught up with the truth."""
        return self._texts.synced()

    @property
    def store(self) -> PatternStore:
        """The pattern store, caught up with the truth."""
        return self._synced()

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
            embedder.import_state(
                EngineState(kind=state.manifest["kind"], manifest=state.manifest["fit"], arrays=state.arrays)
            )
        except (InputError, KeyError) as error:
            # Of another embedder, or of another version of it: it is fitted anew with the next write.
            self._ws.plugins.tell(Event(name="state-dropped", data={"state": self._state_name(), "error": str(error)}))
            return False
        self._fitted_on = int(state.manifest["documents"])
        return embedder.fingerprint != before

    def _refit_if_grown(self, progress: Callable[[str, int, int], None] | None) -> None:
        embedder = self.embedder
        count = len(self)
        if count == 0 or self._fitted_on / _REFIT_GROWTH < count < max(self._fitted_on, 1) * _REFIT_GROWTH:
            return
        before = embedder.fingerprint
        documents = [document(pattern) for batch in self._storage.iter_patterns(self._namespace) for pattern in batch]
        if progress is not None:
            progress("fitting the embedder", 0, len(documents))
        embedder.fit(documents)
        self._fitted_on = len(documents)
        fit = embedder.export_state()
        manifest = {"kind": fit.kind, "fit": dict(fit.manifest), "documents": len(documents)}
        self._storage.save_state(
            self._state_name(), EngineState(kind="workspace/embedder/1", manifest=manifest, arrays=fit.arrays)
        )
        if embedder.fingerprint != before:
            self._store = None
            self._ws.plugins.tell(
                Event(name="refitted", data={"namespace": self._namespace, "patterns": len(documents)})
            )

    def _synced(self, progress: Callable[[str, int, int], None] | None = None) -> PatternStore:
        """Return the store after it has applied everything that is in the truth."""
        version = self._storage.data_version()
        store = self._store
        if store is not None and version == self._data_version:
            return store
        with self._lock:
            embedder = self.embedder
            if version != self._data_version and self._load_fit(embedder):
                self._store = None  # another process has fitted the embedder anew: all vectors differ
            changes = None if self._store is None else self._storage.changes_since(self._namespace, self._seq)
            if changes is None or not self._apply(changes, progress):
                self._rebuild(progress)
            self._data_version = version
            assert self._store is not None
            return self._store

    def _apply(self, changes: Changes, progress: Callable[[str, int, int], None] | None) -> bool:
        """Bring the store up to date; False if it cannot remove or replace, and has to be built anew."""
        assert self._store is not None
        try:
            self._store.remove(changes.removed)
            self._add(changes.written, progress)
        except CapabilityError:
            return False
        self._seq = changes.seq
        return True

    def _rebuild(self, progress: Callable[[str, int, int], None] | None) -> None:
        embedder = self.embedder
        self._seq = self._storage.last_seq()
        options = {"dim": embedder.dim, "metric": "cosine"}
        self._store = self._ws.bound("pattern_store", options)
        keys, vectors = self._storage.load_vectors(self._namespace, embedder.fingerprint)
        if len(keys):
            self._store.add(keys, vectors)
        if len(keys) < len(self):
            self._add(np.setdiff1d(self._storage.pattern_keys(self._namespace), keys, assume_unique=True), progress)

    def _add(self, keys: NDArray[np.uint64], progress: Callable[[str, int, int], None] | None) -> None:
        """Bring patterns into the store: vectors from storage where they are kept, embedded (and kept) where not."""
        assert self._store is not None
        embedder = self.embedder
        if not len(keys):
            return
        kept, vectors = self._storage.load_vectors(self._namespace, embedder.fingerprint, keys)
        if len(kept):
            self._store.add(kept, vectors)
        missing = np.setdiff1d(keys, kept, assume_unique=True)
        for start in range(0, len(missing), _BATCH):
            if progress is not None:
                progress("embedding", start, len(missing))
            chunk = missing[start : start + _BATCH]
            patterns = self._storage.get_patterns(self._namespace, chunk)
            vectors = embedder.embed([document(pattern) for pattern in patterns])
            self._store.add(chunk, vectors)
            if not self._storage.read_only:
                self._storage.put_vectors(self._namespace, chunk, vectors, embedder.fingerprint)


def _joined(keys: list[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    return np.concatenate([np.empty(0, np.uint64), *keys])


_FIELDS = {"id", "name", "text", "path", "class_name", "docstring", "markers", "line", "metadata", "origin"}


def as_pattern(item: str | Mapping[str, Any] | Pattern) -> Pattern:
    """Return a pattern from a string, a mapping or a pattern.

    Raises
    ------
    InputError
        It is none of these, or lacks a name or text.
    """
    if isinstance(item, Pattern):
        return item
    if isinstance(item, str):
        if not item.strip():
            raise InputError("a pattern is an empty string.", fix="give it some text.")
        return Pattern(id=item, name=item, text=item)
    if not isinstance(item, Mapping):
        raise InputError(
            f"a pattern is {type(item).__name__}, but must be a string, a mapping or a Pattern.",
            fix='e.g. {"name": "test_retry_is_capped", "text": "..."}',
        )
    fields = {name: item[name] for name in _FIELDS if name in item}
    rest = {name: value for name, value in item.items() if name not in _FIELDS}
    name, text = fields.get("name"), fields.get("text")
    if not (isinstance(name, str) or isinstance(text, str)):
        raise InputError(f"a pattern has neither name nor text, only {sorted(item)}.", fix="give it one of them.")
    fields["name"] = name if isinstance(name, str) else str(text).strip().splitlines()[0][:200]
    fields["text"] = text if isinstance(text, str) else str(name)
    fields["metadata"] = {**fields.get("metadata", {}), **rest}
    fields["markers"] = tuple(fields.get("markers", ()))
    where = "::".join(part for part in (fields.get("path", ""), fields.get("class_name", ""), fields["name"]) if part)
    fields.setdefault("id", where)
    return Pattern(**fields)
