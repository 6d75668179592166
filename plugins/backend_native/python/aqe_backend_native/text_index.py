"""The text index in Rust: BM25 as the NumPy backend computes it, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from aqe_backend_numpy._postings import Segment
from aqe_backend_numpy._subtokens import subtokens
from aqe_backend_numpy._terms import FUNCTION_WORDS, identifiers, matches_in, terms_of_identifier
from aqe_backend_numpy._text_input import as_document, as_documents, as_number, as_queries, as_query, as_whole
from aqe_backend_numpy._text_state import fingerprint_of, read_state, write_state

from aqe_backend_native import _native
from aqe_backend_native.embedder import NativeLexicalEmbedder
from aqe_core import validate
from aqe_core.contracts.pattern_store import Hits
from aqe_core.contracts.text_index import Ranked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.embedder import Document, Embedder
    from aqe_core.contracts.pattern_store import PatternStore
    from aqe_core.contracts.text_index import WordMatch
    from aqe_core.state import EngineState

__all__ = ["NativeTextIndex"]


def _terms(text: str) -> list[str]:
    return [term for identifier in identifiers(text) for term in terms_of_identifier(identifier)]


_BEYOND = _terms, subtokens


class NativeTextIndex:
    """BM25 by term-at-a-time sums over lists of postings. Fulfils `HybridIndex`.

    The terms, the formula, the rounding and the parameters are those of `aqe_backend_numpy.text_index.NumpyTextIndex`,
    and so are all results, to the last bit; each reads the states that the other wrote.

    Parameters
    ----------
    k1 : float, default 1.2
        0 .. 100. How soon more occurrences stop to tell.
    b : float, default 0.75
        0 .. 1. How much a long document has to share more.
    name_weight : int, default 2
        0 .. 100. How often an occurrence in the name counts.

    Notes
    -----
    A search costs O(postings of the query's terms + n). Adding costs O(terms of the documents); a removal
    O(postings of the document's terms), of many documents at once one pass over all postings. Postings are weighed
    anew, all of them, by the first search after the mean length passed to another sixteenth of an octave. Memory is
    about 12 bytes a posting, and the vocabulary.

    Thread-safe: searches run at the same time, beside Python; changes wait for their turn.

    Examples
    --------
    >>> index = NativeTextIndex()
    >>> index.add([7, 8], [("test_retry_is_capped", "assert delays[-1] == 30"), ("test_login", "assert ok")])
    >>> index.search("capped retries", k=1).keys
    array([7], dtype=uint64)
    """

    def __init__(self, *, k1: float = 1.2, b: float = 0.75, name_weight: int = 2) -> None:
        self._k1 = as_number("k1", k1, 100.0)
        self._b = as_number("b", b, 1.0)
        self._name_weight = as_whole("name_weight", name_weight, 100)
        self._index = _native.TextIndex(self._k1, self._b, self._name_weight, sorted(FUNCTION_WORDS))

    @property
    def fingerprint(self) -> str:
        """That of the NumPy backend's index with these parameters: equal ones give equal results."""
        return fingerprint_of(self._k1, self._b, self._name_weight)

    def __len__(self) -> int:
        return len(self._index)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(k1={self._k1!r}, b={self._b!r}, name_weight={self._name_weight!r})"

    def keys(self) -> NDArray[np.uint64]:
        """Return the stored keys in ascending order, as a copy, shape (n,). O(n log n)."""
        return self._index.keys()

    def add(self, keys: ArrayLike, documents: Sequence[Document]) -> None:
        """Store documents under keys; a key that is there already gets the new document.

        Of equal keys in one call the last document counts. The first 262,144 characters of a text are read.

        Raises
        ------
        KeyRangeError, DimensionError, InputError
            Bad input; nothing was stored.
        """
        last, pairs = as_documents(keys, documents)
        self._index.add(list(last), [pairs[i] for i in last.values()], _terms)

    def remove(self, keys: ArrayLike) -> int:
        """Remove keys; unknown ones are passed over. Return how many distinct ones were there.

        Raises
        ------
        KeyRangeError, DimensionError
            Bad keys; nothing was removed.
        """
        return self._index.remove(np.unique(validate.as_keys(keys)))

    def search(self, queries: str | Sequence[str], k: int = 10, *, among: ArrayLike | None = None) -> Hits:
        """Find the ``k`` documents of each query that fit best, as `aqe_core.contracts.TextIndex.search` says.

        Raises
        ------
        KeyRangeError, DimensionError, InputError
            Bad input.
        """
        texts = as_queries(queries)
        k = validate.as_k(k)
        allowed = None if among is None else np.unique(validate.as_keys(among))
        keys, scores = self._index.search(texts, k, allowed, _terms)
        if isinstance(queries, str):
            return Hits(keys, scores)
        return Hits(keys.reshape(len(texts), k), scores.reshape(len(texts), k))

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
        """Search with the embedder and the pattern store of this package, and fuse; None with others.

        See `aqe_core.contracts.HybridIndex.hybrid`.
        """
        if not isinstance(embedder, NativeLexicalEmbedder) or not isinstance(store, _native.PatternStore):
            return None
        text, engines = as_query(query, "the query"), (self._index, embedder.sums, store)
        found = _native.hybrid(text, _BEYOND, engines, (k, pool, depth), weights, narrow)
        return None if found is None else tuple.__new__(Ranked, found)

    def matches(self, query: str, document: Document) -> list[WordMatch]:
        """Return the identifiers of a document that hold terms of a query, by field and place.

        Only terms that some stored document holds count.

        Raises
        ------
        InputError
            The query is no string, or the document no pair of strings.
        """
        name, text = as_document(document, "the document")
        weights = self._index.weights(as_query(query, "the query"), _terms)
        return matches_in(dict(weights), name, text)

    def export_state(self) -> EngineState:
        """Return the vocabulary and the postings, as the NumPy backend's index does. O(postings)."""
        keys, lengths, text, counts, rows, tf = self._index.packed()
        terms = text.decode("utf-8", "surrogatepass").split("\n") if text else []
        starts = np.append(0, np.cumsum(counts))
        numbers = np.arange(len(terms), dtype=np.int32)
        base = Segment(0, keys.size, numbers, starts, rows, tf)
        return write_state(self.fingerprint, terms, keys, lengths, base)

    def import_state(self, state: EngineState) -> None:
        """Replace what is stored. O(postings).

        Raises
        ------
        InputError
            It is not a state of an index with these parameters; nothing was changed.
        """
        _, keys, lengths, base = read_state(state, self.fingerprint)
        terms, counts = state.arrays["terms"].tobytes(), state.arrays["counts"]
        self._index.unpack(keys, lengths, terms, np.ascontiguousarray(counts), base.rows, base.tf)
