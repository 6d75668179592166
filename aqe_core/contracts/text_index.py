"""The TextIndex contract: documents under keys, found by the words they share with a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.embedder import Document, Embedder
    from aqe_core.contracts.pattern_store import Hits, PatternStore
    from aqe_core.state import EngineState

__all__ = ["HybridIndex", "Ranked", "TextIndex", "WordMatch"]


class WordMatch(NamedTuple):
    """A place in a document where a word of a query stands.

    Attributes
    ----------
    field : str
        ``name`` or ``text``.
    start, end : int
        The place is ``field[start:end]``.
    words : tuple of str
        The index's words of the query that stand there, in its own spelling (stemmed, say).
    weight : float
        How much these words can tell: larger for rare ones; above 0.
    """

    field: str
    start: int
    end: int
    words: tuple[str, ...]
    weight: float


class Ranked(NamedTuple):
    """Keys, best first, with their scores. Lists of one length: they are few, and each is looked at by itself.

    Attributes
    ----------
    keys : list of int
    scores : list of float
        Descending; ties in ascending order of key.
    lexical, vector : list of float or None
        The parts of the score that the text index and the pattern store gave; None where one is not known.
    """

    keys: list[int]
    scores: list[float]
    lexical: Sequence[float | None]
    vector: Sequence[float | None]

    def first(self, k: int) -> Ranked:
        """Return the first k."""
        return self if len(self.keys) <= k else self.at(range(k))

    def at(self, places: Sequence[int]) -> Ranked:
        """Return those at some places."""
        return Ranked(*([column[place] for place in places] for column in self))  # type: ignore[arg-type]  # of each type one


@runtime_checkable
class TextIndex(Protocol):
    """Documents under 64-bit keys, ranked by the words they share with a query, rare words telling more.

    An index holds nothing that cannot be rebuilt from storage. It is made by a factory ``factory(**options)`` and is
    empty then. What a search returns depends on the stored documents alone, not on the history of adding and removing
    them: an index that was changed a thousand times answers, score by score, like one that was built anew.
    """

    @property
    def fingerprint(self) -> str:
        """Names algorithm, version and parameters; changes whenever a state or a score could."""
        ...

    def __len__(self) -> int:
        """Return the number of keys stored. O(1)."""
        ...

    def keys(self) -> NDArray[np.uint64]:
        """Return the stored keys in ascending order, as a copy, shape (n,)."""
        ...

    def add(self, keys: ArrayLike, documents: Sequence[Document]) -> None:
        """Store documents under keys; a key that is there already gets the new document.

        Of equal keys in one call the last document counts. Documents are searchable when the call returns.

        Parameters
        ----------
        keys : array of uint64, shape (n,)
            0 .. 2**64 - 2. ``n`` may be 0.
        documents : sequence of Document, length n

        Raises
        ------
        KeyRangeError, DimensionError, InputError
            Bad input; nothing was stored.
        """
        ...

    def remove(self, keys: ArrayLike) -> int:
        """Remove keys; unknown ones are passed over. Return how many distinct ones were there.

        Raises
        ------
        KeyRangeError, DimensionError
            Bad keys; nothing was removed.
        """
        ...

    def search(self, queries: str | Sequence[str], k: int = 10, *, among: ArrayLike | None = None) -> Hits:
        """Find the ``k`` documents of each query that fit best.

        Parameters
        ----------
        queries : str, or sequence of m str
        k : int
            At least 1. Only documents that share a word with the query are found: the rest of the answer is `NO_KEY`
            and ``-inf``.
        among : array of uint64, shape (a,), optional
            Only these keys may be returned; unknown ones are passed over. Scores are the same with and without.

        Returns
        -------
        Hits
            Arrays of shape (k,) for one query, else (m, k). Scores are above 0; ties in ascending order of key.

        Raises
        ------
        KeyRangeError, DimensionError, InputError
            Bad input.
        """
        ...

    def matches(self, query: str, document: Document) -> list[WordMatch]:
        """Return where the words of a query stand in a document, stored or not, by field and place.

        Raises
        ------
        InputError
            The query is no string, or the document no pair of strings.
        """
        ...

    def export_state(self) -> EngineState:
        """Return the stored documents as the index needs them."""
        ...

    def import_state(self, state: EngineState) -> None:
        """Replace what is stored.

        Raises
        ------
        InputError
            It is not a state of an index of this fingerprint; nothing was changed.
        """
        ...


@runtime_checkable
class HybridIndex(TextIndex, Protocol):
    """A text index that also makes hybrid searches by itself, with embedders and pattern stores that it knows.

    That saves the way there and back for each part. It is declared by the capability ``hybrid``.
    """

    def hybrid(
        self,
        query: str,
        embedder: Embedder,
        store: PatternStore,
        *,
        k: int,
        pool: int,
        depth: int,
        weights: tuple[float, float],
        narrow: bool,
    ) -> Ranked | None:
        """Return the best of what the index and the store find, fused; None where it does not do that by itself.

        So with engines that it does not know.

        The same, bit for bit, as the first k of `aqe_core.searching.fuse` of ``search(query, pool)`` and
        ``store.search(embedder.embed_queries([query])[0], pool)``.

        Parameters
        ----------
        query : str
        embedder : Embedder
        store : PatternStore
            Of the embedder's vectors.
        k : int
            How many are returned at most.
        pool : int
            How many of each list are looked at.
        depth : int
            At most ``pool``: the place in a list whose score counts nothing.
        weights : tuple of two floats
            Of the scores by words and by vectors.
        narrow : bool
            Where ``pool`` documents share a word with the query, let the store search ``among`` these only.
        """
        ...
