"""The memory of a workspace: patterns in storage, their vectors in the pattern store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from aqe_core.contracts.pattern_store import NO_KEY
from aqe_core.contracts.records import Pattern, PutReport
from aqe_core.embedding import EmbeddedPatterns, Reembedding
from aqe_core.errors import CapabilityError, InputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.embedder import Embedder
    from aqe_core.contracts.pattern_store import PatternStore
    from aqe_core.workspace import Workspace

__all__ = ["Match", "Patterns"]


@attrs.frozen
class Match:
    """One hit of a search.

    Attributes
    ----------
    pattern : Pattern
    score : float
        The pattern store's; larger is better. Under ``cosine`` 1.0 is the same direction.
    """

    pattern: Pattern
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Return the form that ``aqe search --json`` prints."""
        return {"score": round(self.score, 6), **self.pattern.to_dict()}


class Patterns:
    """Test patterns of one namespace of a workspace, as ``ws.patterns``."""

    def __init__(self, workspace: Workspace) -> None:
        self._ws = workspace
        self._storage = workspace.storage
        self._namespace = workspace.namespace
        self._lock = workspace.lock  # one lock for the whole workspace
        self._embedded = EmbeddedPatterns(workspace)

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
            self._embedded.refit_if_grown(progress)
            self._embedded.synced(progress)
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

    def search(self, query: str | ArrayLike, k: int = 10, *, where: Mapping[str, Any] | None = None) -> list[Match]:
        """Find the patterns nearest to a text or vector.

        Parameters
        ----------
        query : str or array of float32, shape (dim,)
            Words, code, or a vector of this workspace's embedder.
        k : int
            At most this many; fewer only if there are fewer.
        where : mapping, optional
            All entries must fit: ``id``, ``name``, ``path``, ``class_name``, ``origin``, ``marker`` or a metadata key;
            a list means any of.

        Returns
        -------
        list of Match
            Best first; equal scores in order of key.

        Raises
        ------
        InputError
            The query, ``k`` or ``where`` is wrong.
        """
        store = self._embedded.synced()
        vector = self.embedder.embed_queries([query])[0] if isinstance(query, str) else query
        if where is None:
            hits = store.search(vector, k)
            keys, scores = np.atleast_1d(hits.keys), np.atleast_1d(hits.scores)
            found = keys != NO_KEY
            keys, scores = keys[found], scores[found]
        else:
            keys, scores = self._search_among(store, vector, k, self._storage.pattern_keys(self._namespace, where))
        patterns = self._storage.get_patterns(self._namespace, keys)
        return [Match(pattern, float(score)) for pattern, score in zip(patterns, scores, strict=True)]

    def _search_among(
        self, store: PatternStore, vector: ArrayLike, k: int, allowed: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
        """Return the best k allowed keys, also from a store that cannot filter: it is asked for more and more."""
        try:
            hits = store.search(vector, k, among=allowed)
        except CapabilityError:
            return _widening(store, vector, k, allowed)
        found = hits.keys != NO_KEY
        return hits.keys[found], hits.scores[found]

    # -- following the truth ----------------------------------------------------------------------------------------

    @property
    def embedder(self) -> Embedder:
        """The embedder whose vectors are searched; bound at first use, with its fitted state."""
        return self._embedded.embedder

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


def _widening(
    store: PatternStore, vector: ArrayLike, k: int, allowed: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    wanted = min(k, len(allowed))
    width = max(4 * k, 64)
    while True:
        hits = store.search(vector, width)
        fits = np.isin(hits.keys, allowed)
        if int(fits.sum()) >= wanted or width >= len(store):
            return hits.keys[fits][:k], hits.scores[fits][:k]
        width *= 4


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
