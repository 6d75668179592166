"""The memory of a workspace: patterns in storage, their vectors in the pattern store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core import searching
from aqe_core.contracts.records import Pattern, PutReport
from aqe_core.embedding import EmbeddedPatterns, Reembedding
from aqe_core.errors import InputError, NotFoundError
from aqe_core.filtering import Filter
from aqe_core.indexing import IndexedTexts, document
from aqe_core.pattern_cache import PatternCache
from aqe_core.searching import Match, Ranked, Tuning
from aqe_core.validate import as_k

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.embedder import Embedder
    from aqe_core.contracts.pattern_store import PatternStore
    from aqe_core.contracts.text_index import TextIndex, WordMatch
    from aqe_core.selection import Selection
    from aqe_core.workspace import Workspace

__all__ = ["Match", "Patterns"]

_SPARE = 200
_TRIES = 20
"""A search is done again so often where others remove what it has found."""
_WIDER = 4


class Patterns:
    """Test patterns of one namespace of a workspace, as ``ws.patterns``."""

    def __init__(self, workspace: Workspace) -> None:
        self._ws = workspace
        self._storage = workspace.storage
        self._namespace = workspace.namespace
        self._lock = workspace.lock  # one lock for the whole workspace
        self._embedded = EmbeddedPatterns(workspace)
        self._texts = IndexedTexts(workspace)
        self._filter = Filter(workspace)
        self._cache = PatternCache(self._storage, self._namespace)
        self._capabilities: dict[str, tuple[Selection, Any]] = {}
        self._traits: tuple[Any, bool, bool] = (None, False, False)  # a pair of engines; narrow, at once
        self._has_answered = False

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
        listed: Iterable[Any] = [items]
        if isinstance(items, Iterable) and not isinstance(items, (str, Mapping, Pattern)):
            listed = items
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
            self._embedded.refit_if_grown(progress)
            self._embedded.synced(progress)
            self._texts.synced(progress)
        if progress is not None:
            self._embedded.wait(progress)
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
            Best first; equal scores in order of key. Searches share their patterns: do not change the metadata.

        Raises
        ------
        InputError
            The query, ``k``, ``where`` or ``mode`` is wrong.
        """
        chosen = searching.mode_for(query, mode, self.tuning)
        k = as_k(k)
        tries_left = _TRIES
        while True:
            version = self._storage.data_version()  # asked once: what follows catches up with it, or is of it already
            try:
                return self._found(query, k, chosen, where, dedupe=dedupe, version=version)
            except NotFoundError:  # another process has removed one of them meanwhile
                tries_left -= 1
                if not tries_left or self._storage.data_version() == version:
                    raise

    def _found(
        self,
        query: str | ArrayLike,
        k: int,
        mode: str,
        where: Mapping[str, Any] | None,
        *,
        dedupe: bool,
        version: int,
    ) -> list[Match]:
        among = None if where is None else self._filter.keys(where, version)
        ranked = self._ranked(query, k, mode, among, spare=_SPARE if dedupe else 0, version=version)
        if not dedupe:
            return self._matches(ranked.first(k), version)
        kept, copies = searching.without_copies(ranked, self._vectors_of, k)
        return [
            match._replace(copies=tuple([copy.id for copy in self._cache.get(keys, version)]))
            for match, keys in zip(self._matches(kept, version), copies, strict=True)
        ]

    def _ranked(
        self,
        query: str | ArrayLike,
        k: int,
        mode: str,
        among: NDArray[np.uint64] | None,
        *,
        spare: int,
        version: int,
    ) -> Ranked:
        """Return at least the best k, and about as many more as are to spare."""
        if mode == "vector":
            embedder, store = self._embedded.answering(version=version)
            wanted = k + spare
            if not isinstance(query, str):
                return searching.ranked_by_vectors(searching.nearest(store, query, wanted, among))
            # An approximate store knows its recall for queries like its rows; a few words are far from any row.
            width = wanted if self._capability("pattern_store", "exact") else wanted * _WIDER
            hits = searching.nearest(store, embedder.embed_queries([query])[0], width, among)
            return searching.ranked_by_vectors(hits).first(wanted)
        assert isinstance(query, str)
        index = self._texts.synced(version=version)
        if mode == "lexical":
            return searching.ranked_by_words(searching.worded(index, query, k + spare, among))
        if not self._has_answered:
            self._has_answered = True
            if among is None and not self._embedded.is_loaded:
                found = searching.hybrid_of_few(index, query, k, tuning=self.tuning, engines_for=self._engines_for)
                if found is not None:
                    return found
        pair = self._embedded.answering(version=version)
        known, narrow, at_once = self._traits
        if known is not pair:
            narrow, at_once = self._is_narrow, bool(self._capability("text_index", "hybrid"))
            self._traits = pair, narrow, at_once
        embedder, store = pair
        return searching.hybrid(
            index,
            embedder,
            store,
            query,
            k,
            among=among,
            tuning=self.tuning,
            narrow=narrow,
            at_once=at_once,
            spare=spare,
        )

    def _engines_for(self, keys: NDArray[np.uint64]) -> tuple[Embedder, PatternStore] | None:
        """Return the embedder and a store of these patterns only; None if that is not as good as one of all."""
        embedder, store = self._embedded.engines()
        if not (self._is_narrow and self._capability("pattern_store", "exact")):
            return None
        found, vectors = self._storage.load_vectors(self._namespace, embedder.fingerprint, keys)
        if len(found) < len(keys):
            return None
        store.add(found, vectors)
        return embedder, store

    def _matches(self, ranked: Ranked, version: int) -> list[Match]:
        keys, scores, lexical, vector = ranked
        return [
            _new(Match, (pattern, score, words, near, ()))  # in two thirds of the time of a call of the class
            for pattern, score, words, near in zip(self._cache.get(keys, version), scores, lexical, vector, strict=True)
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

    def _capability(self, kind: str, name: str) -> Any:
        """Return what the chosen engine of a kind declares; None where its kind does not know of such a thing."""
        selection = self._ws.selections[kind]
        known = self._capabilities.get(kind)
        if known is None or known[0] is not selection:
            known = selection, self._ws.plugins.find_engine(kind, selection.backend).spec.capabilities
            self._capabilities[kind] = known
        return getattr(known[1], name, None)

    @property
    def _is_narrow(self) -> bool:
        """Whether vectors are of words, and the store scores those that it is told to; see `searching.hybrid`."""
        return self._capability("embedder", "kind") == "lexical" and bool(self._capability("pattern_store", "filtered"))

    # -- following the truth ----------------------------------------------------------------------------------------

    @property
    def embedder(self) -> Embedder:
        """The embedder whose vectors are searched; bound at first use, with its fitted state."""
        return self._embedded.embedder

    @property
    def texts(self) -> TextIndex:
        """The text index, caught up with the truth."""
        return self._texts.synced()

    @property
    def store(self) -> PatternStore:
        """The pattern store, caught up with the truth."""
        return self._embedded.synced()

    @property
    def reembedding(self) -> Reembedding | None:
        """How far the making of new vectors in the background has come; None when none are made."""
        return self._embedded.reembedding

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until no vectors are being made in the background. Return whether that is so."""
        return self._embedded.wait(timeout_s=timeout_s)

    def put_vectors(self, keys: ArrayLike, vectors: ArrayLike, fingerprint: str) -> None:
        """Take vectors that the same embedder made elsewhere; see `aqe_core.embedding.EmbeddedPatterns`.

        Raises
        ------
        FingerprintError
            They were made under another fingerprint than the workspace's; nothing was stored.
        """
        self._embedded.put_vectors(keys, vectors, fingerprint)

    def close(self) -> None:
        """End what runs in the background."""
        self._embedded.close()


_new = tuple.__new__

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
    name, text = (each if isinstance(each := fields.get(field), str) else "" for field in ("name", "text"))
    if not (name.strip() or text.strip()):
        raise InputError(f"a pattern has neither name nor text, only {[*item]}.", fix="give it one of them.")
    fields["name"] = name if name.strip() else text.strip().splitlines()[0][:200]
    fields["text"] = text if isinstance(fields.get("text"), str) else name
    fields["metadata"] = {**_of_type(fields, "metadata", Mapping, {}), **rest}
    fields["markers"] = tuple(_of_type(fields, "markers", (list, tuple, set, frozenset), ()))
    parts = [_of_type(fields, field, str, "") for field in ("path", "class_name", "name")]
    fields["id"] = _of_type(fields, "id", str, "") or "::".join(filter(None, parts))
    return Pattern(**fields)


def _of_type(fields: Mapping[str, Any], field: str, kind: Any, default: Any) -> Any:
    value = fields.get(field, default)
    if not isinstance(value, kind):
        raise InputError(f"{field} of a pattern is {value!r:.60}.", fix=f"its type is that of {default!r}.")
    return value
