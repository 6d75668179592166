"""The text index: BM25 over subtokens and their joined pairs, with postings in NumPy arrays."""

from __future__ import annotations

import math
import threading
from collections import Counter
from itertools import chain, compress
from typing import TYPE_CHECKING

import numpy as np

from aqe_backend_numpy import _postings, _sums
from aqe_backend_numpy._keys import KeyIndex, as_set, extend, find
from aqe_backend_numpy._postings import Raw, Segment
from aqe_backend_numpy._sums import Sums, Weighed
from aqe_backend_numpy._terms import FUNCTION_WORDS, MAX_TEXT_CHARS, identifiers, matches_in, terms_of_identifier
from aqe_backend_numpy._text_input import as_document, as_documents, as_number, as_queries, as_query, as_whole
from aqe_backend_numpy._text_state import fingerprint_of, read_state, write_state
from aqe_backend_numpy.store import NumpyPatternStore
from aqe_core import validate
from aqe_core.contracts.pattern_store import NO_KEY, Hits
from aqe_core.contracts.text_index import Ranked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.embedder import Document, Embedder
    from aqe_core.contracts.pattern_store import PatternStore
    from aqe_core.contracts.text_index import WordMatch
    from aqe_core.state import EngineState

__all__ = ["NumpyTextIndex"]

_MAX_CACHED = 2**17  # identifiers whose terms are kept
_DEAD_SHARE = 4  # more than a quarter of dead rows or unused terms is not carried along
_TAIL_SHARE = 16
_MIN_TAIL = 256
_MAX_TF = 2**16 - 1
_FUNCTION_WEIGHT = 0.3
_NO_DEAD = np.empty(0, np.int64)


class _Cache(dict[str, tuple[int, ...]]):
    """Identifier to the numbers of its terms; gives new terms the next numbers."""

    def __init__(self, vocabulary: dict[str, int]) -> None:
        super().__init__()
        self._vocabulary = vocabulary

    def __missing__(self, identifier: str) -> tuple[int, ...]:
        vocabulary = self._vocabulary
        numbers = tuple([vocabulary.setdefault(term, len(vocabulary)) for term in terms_of_identifier(identifier)])
        if len(self) < _MAX_CACHED:
            self[identifier] = numbers
        return numbers


class _Known(dict[str, tuple[int, ...]]):
    """Identifier to the numbers of those of its terms that a vocabulary has, as it is now."""

    def __init__(self, vocabulary: dict[str, int]) -> None:
        super().__init__()
        self._vocabulary = vocabulary
        self._size = len(vocabulary)
        self.common = {vocabulary[word] for word in FUNCTION_WORDS if word in vocabulary}

    def __missing__(self, identifier: str) -> tuple[int, ...]:
        number_of = self._vocabulary.get
        numbers = tuple([n for term in terms_of_identifier(identifier) if (n := number_of(term)) is not None])
        self[identifier] = numbers
        return numbers

    def is_of(self, vocabulary: dict[str, int]) -> bool:
        """Return whether it still says what the vocabulary has, and is not too large."""
        return vocabulary is self._vocabulary and len(vocabulary) == self._size and len(self) < _MAX_CACHED


class NumpyTextIndex:
    """BM25 by term-at-a-time sums over packed postings. Fulfils `HybridIndex`.

    The terms of a document are its subtokens, as the lexical embedder takes them, and neighbouring subtokens of one
    identifier joined. Its score for a query is the sum over the query's terms of

        idf * qtf * 2 / (qtf + 1) * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / mean length))

    where ``tf`` is how often the term occurs in the text, plus ``name_weight`` times how often in the name; ``length``
    is the sum of ``tf``; ``idf = ln((N - df + 0.5) / (df + 0.5) + 1)``; ``qtf`` is how often the term occurs in the
    query. Function words of English ("the", "should") in a query weigh 0.3 of that.

    Parameters
    ----------
    k1 : float, default 1.2
        0 .. 100. How soon more occurrences stop to tell.
    b : float, default 0.75
        0 .. 1. How much a long document has to share more.
    name_weight : int, default 2
        0 .. 100. A test's source holds its name once more, so that it counts three times there.

    Notes
    -----
    Scores are exact sums of rounded parts (impacts to 1/256, weights to 1/128, both at least that, the mean length to
    1/16 octave), and so depend only on what is stored now: not on the order of terms, of documents, or of additions and
    removals.

    A search costs O(postings of the query's terms + n). Adding costs O(terms of the documents); the first search after
    that sorts what was added since the last packing, amortized O(log n) a document: a tail of at most a sixteenth of
    the rows stays apart, a longer one is packed together with the rest, without removed rows. A removal looks through
    all postings once. Memory is about 6 bytes a posting (35 in a typical test), the vocabulary, and what searches found
    out about the terms that they asked for: up to 12 bytes a posting, 4 bytes a document for each term that is in more
    than an eighth of them, and as much again or 24 MiB.

    Thread-safe: calls take turns.

    Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009; their simple field
    weighting (3.6), and their saturation of query terms with k3 = 1.

    Examples
    --------
    >>> index = NumpyTextIndex()
    >>> index.add([7, 8], [("test_retry_is_capped", "assert delays[-1] == 30"), ("test_login", "assert ok")])
    >>> index.search("capped retries", k=1).keys
    array([7], dtype=uint64)
    """

    def __init__(self, *, k1: float = 1.2, b: float = 0.75, name_weight: int = 2) -> None:
        self._k1 = as_number("k1", k1, 100.0)
        self._b = as_number("b", b, 1.0)
        self._name_weight = as_whole("name_weight", name_weight, 100)
        self._lock = threading.RLock()
        self._reset({}, np.empty(0, np.uint64), np.empty(0, np.int64))

    def _reset(self, vocabulary: dict[str, int], keys: NDArray[np.uint64], lengths: NDArray[np.int64]) -> None:
        """Begin anew with rows that have no postings yet."""
        self._vocabulary = vocabulary
        self._cache = _Cache(vocabulary)
        self._known = _Known(vocabulary)
        self._keys = keys
        self._lengths = lengths  # of removed rows too, until they are dropped
        self._dead = _NO_DEAD
        self._lookup = KeyIndex(keys[:0], None, 0)
        self._lookup = extend(self._lookup, keys, _NO_DEAD)
        self._total_length = int(lengths.sum())
        self._df = np.zeros(max(1024, len(vocabulary)), np.int64)
        self._base = _postings.pack(_postings.joined([]), 0, 0)
        self._tail = self._base
        self._pending: list[Raw] = []
        self._weighed: tuple[Weighed, ...] = ()
        self._sums: Sums | None = None

    @property
    def fingerprint(self) -> str:
        """``bm25/1/<k1>/<b>/<name_weight>/<version of the terms>``."""
        return fingerprint_of(self._k1, self._b, self._name_weight)

    def __len__(self) -> int:
        return self._keys.size - self._dead.size

    def __repr__(self) -> str:
        return f"{type(self).__name__}(k1={self._k1!r}, b={self._b!r}, name_weight={self._name_weight!r})"

    def keys(self) -> NDArray[np.uint64]:
        """Return the stored keys in ascending order, as a copy, shape (n,). O(n log n)."""
        with self._lock:
            return np.sort(np.delete(self._keys, self._dead))

    # -- writing ------------------------------------------------------------------------------------------------------

    def add(self, keys: ArrayLike, documents: Sequence[Document]) -> None:
        """Store documents under keys; a key that is there already gets the new document.

        Of equal keys in one call the last document counts. The first 262,144 characters of a text are read.

        Parameters
        ----------
        keys : array of uint64, shape (n,)
        documents : sequence of Document, length n
            Or of any pairs (name, text).

        Raises
        ------
        KeyRangeError, DimensionError, InputError
            Bad input; nothing was stored.
        """
        last, pairs = as_documents(keys, documents)
        with self._lock:
            if last:
                self._drop(np.fromiter(last, np.uint64, len(last)))
                self._append(last, pairs)

    def _append(self, last: dict[int, int], pairs: list[tuple[str, str]]) -> None:
        """Add rows for distinct keys that are not there, given with the places of their documents."""
        if len(self._cache) >= _MAX_CACHED:
            self._cache.clear()
        chosen = [pairs[i] for i in last.values()]
        texts, of_texts = self._numbered([text for _, text in chosen])
        names, of_names = self._numbered([name for name, _ in chosen])
        n, first = len(last), self._keys.size
        # One number for row and term, so that equal pairs add up.
        pair = np.concatenate([of_texts, of_names]) * 2**32 + np.concatenate([texts, names])
        places_of, inverse = np.unique(pair, return_inverse=True)
        occurrences = np.ones(pair.size)
        occurrences[texts.size :] = self._name_weight
        tf = np.minimum(np.bincount(inverse, occurrences, places_of.size), _MAX_TF)
        rows, terms = places_of >> 32, (places_of & (2**32 - 1)).astype(np.int32)
        rows, terms, tf = rows[tf > 0], terms[tf > 0], tf[tf > 0]
        lengths = np.bincount(rows, tf, n).astype(np.int64)
        self._keys = np.append(self._keys, np.fromiter(last, np.uint64, n))
        self._lengths = np.append(self._lengths, lengths)
        self._lookup = extend(self._lookup, self._keys, self._dead)
        self._total_length += int(lengths.sum())
        self._count(terms, 1)
        self._pending.append(Raw((rows + first).astype(np.int32), terms, tf.astype(np.uint16)))

    def _numbered(self, texts: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the numbers of all terms of some texts, and of each the place of its text."""
        numbers_of = self._cache.__getitem__
        numbers: list[int] = []
        ends = [0]
        for text in texts:
            numbers.extend(chain.from_iterable(map(numbers_of, identifiers(text[:MAX_TEXT_CHARS]))))
            ends.append(len(numbers))
        return np.array(numbers, np.int64), np.repeat(np.arange(len(texts)), np.diff(ends))

    def remove(self, keys: ArrayLike) -> int:
        """Remove keys; unknown ones are passed over. Return how many distinct ones were there. O(all postings).

        Raises
        ------
        KeyRangeError, DimensionError
            Bad keys; nothing was removed.
        """
        wanted = as_set(validate.as_keys(keys))
        with self._lock:
            return self._drop(wanted)

    def _drop(self, keys: NDArray[np.uint64]) -> int:
        """Mark the rows of distinct keys as dead; their postings stay until the next packing."""
        rows = find(self._lookup, self._keys, self._dead, keys)
        rows = rows[rows >= 0]
        if rows.size:
            gone = np.zeros(self._keys.size, np.bool_)
            gone[rows] = True
            for raw in (*map(_postings.raw_of, (self._base, self._tail)), *self._pending):
                self._count(raw.terms[gone[raw.rows]], -1)
            self._total_length -= int(self._lengths[rows].sum())
            self._dead = np.sort(np.concatenate((self._dead, rows)))
            if self._dead.size == self._keys.size:
                self._reset({}, self._keys[:0], self._lengths[:0])
        return rows.size

    def _count(self, terms: NDArray[np.int32], by: int) -> None:
        """Let as many more, or fewer, documents hold each of the terms as it is named."""
        self._sums = None
        if self._df.size < len(self._vocabulary):
            self._df = np.append(self._df, np.zeros(len(self._vocabulary), np.int64))
        self._df[: terms.max(initial=-1) + 1] += by * np.bincount(terms)

    # -- packing ------------------------------------------------------------------------------------------------------

    def _ready(self) -> Sums:
        """Return what terms add to scores, by the present postings, mean length and shares of documents."""
        if self._sums is not None:
            return self._sums
        n = self._keys.size
        too_many = n - self._base.n > max(_MIN_TAIL, self._base.n // _TAIL_SHARE)
        if too_many or self._dead.size * _DEAD_SHARE > n:
            self._pack_all()
        elif self._pending:
            raw = _postings.joined([_postings.raw_of(self._tail), *self._pending])
            self._tail = _postings.pack(raw, self._base.n, n - self._base.n)
            self._pending = []
        unit = _sums.length_unit(self._total_length, len(self))
        base = self._kept(self._base, unit) or Weighed(self._base, self._lengths, unit, self._k1, self._b, by_row=True)
        tail = self._kept(self._tail, unit) or Weighed(self._tail, self._lengths, unit, self._k1, self._b, by_row=False)
        self._weighed = base, tail
        self._sums = Sums(base, tail, self._weight)
        return self._sums

    def _kept(self, segment: Segment, unit: float) -> Weighed | None:
        return next((each for each in self._weighed if each.segment is segment and each.unit == unit), None)

    def _pack_all(self) -> None:
        """Pack all postings into the base, in order of key, without removed rows; forget terms that are not used."""
        parts = [*map(_postings.raw_of, (self._base, self._tail)), *self._pending]
        raw = _postings.joined(parts)
        living = np.delete(np.arange(self._keys.size), self._dead)
        living = living[np.argsort(self._keys[living])]
        new_row = np.full(self._keys.size, -1, np.int32)
        new_row[living] = np.arange(living.size)
        rows, terms = new_row[raw.rows], raw.terms
        kept = rows >= 0
        rows, terms, tf = rows[kept], terms[kept], raw.tf[kept]
        df = self._df[: len(self._vocabulary)]
        used = df > 0
        vocabulary = self._vocabulary
        if np.count_nonzero(~used) * _DEAD_SHARE > used.size:
            terms = (np.cumsum(used, dtype=np.int32) - 1)[terms]
            vocabulary = {term: i for i, term in enumerate(compress(vocabulary, used.tolist()))}
            df = df[used]
        self._reset(vocabulary, self._keys[living], self._lengths[living])
        self._df[: df.size] = df
        self._base = _postings.pack(Raw(rows, terms, tf), 0, living.size)
        self._tail = _postings.pack(_postings.joined([]), living.size, 0)

    # -- searching ----------------------------------------------------------------------------------------------------

    def search(self, queries: str | Sequence[str], k: int = 10, *, among: ArrayLike | None = None) -> Hits:
        """Find the ``k`` documents of each query that fit best.

        Parameters
        ----------
        queries : str, or sequence of m str
        k : int
            At least 1.
        among : array of uint64, shape (a,), optional
            Only these keys may be returned; unknown ones are passed over.

        Returns
        -------
        Hits
            Arrays of shape (k,) for one query, else (m, k); `NO_KEY` and ``-inf`` where nothing shares a term any
            more.

        Raises
        ------
        KeyRangeError, DimensionError, InputError
            Bad input.
        """
        single = isinstance(queries, str)
        texts = as_queries(queries)
        k = validate.as_k(k)
        allowed = None if among is None else as_set(validate.as_keys(among))
        keys = np.full((len(texts), k), NO_KEY, np.uint64)
        scores = np.full((len(texts), k), -np.inf, np.float32)
        with self._lock:
            sums = self._ready()
            rows = None
            if allowed is not None:
                rows = find(self._lookup, self._keys, self._dead, allowed)
                rows = np.sort(rows[rows >= 0])
            for i, text in enumerate(texts):
                found, at = self._search(sums, text, k, rows)
                keys[i, : found.size] = found
                scores[i, : found.size] = at
        return Hits(keys[0], scores[0]) if single else Hits(keys, scores)

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
        """Search with any embedder and this package's pattern store, and fuse; None if that compares more than `pool`.

        See `aqe_core.contracts.HybridIndex.hybrid`.
        """
        if not narrow or not isinstance(store, NumpyPatternStore):
            return None
        with self._lock:
            keys, found = self._search(self._ready(), as_query(query, "the query"), pool, None)
        if keys.size < pool:
            return None
        near = store.scores(embedder.embed_queries([query])[0], keys)
        if near is None:
            return None
        lexical, vector = found.astype(np.float64), near.astype(np.float64)
        scores = weights[0] * _scaled(lexical, lexical, depth)
        scores += weights[1] * _scaled(vector, np.sort(vector)[::-1], depth)
        scores /= weights[0] + weights[1]
        order = np.lexsort((keys, -scores))[:k]
        return Ranked(*[column[order].tolist() for column in (keys, scores, lexical, vector)])

    def _search(
        self, sums: Sums, text: str, k: int, rows: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
        """Return keys and scores of the best rows, best first; at most k."""
        return _sums.best(sums, self._counts(text), k, self._keys, dead=self._dead, among=rows)

    def _counts(self, query: str) -> Counter[int]:
        """Return the numbers of the terms of a query that the vocabulary has, each with how often they occur."""
        if not self._known.is_of(self._vocabulary):
            self._known = _Known(self._vocabulary)
        return Counter(chain.from_iterable(map(self._known.__getitem__, identifiers(query[:MAX_TEXT_CHARS]))))

    def _weight(self, number: int, count: int) -> float:
        """Return the weight of a term in a query that has it so many times; 0 where no document holds it."""
        n, held_by = len(self), int(self._df[number])
        idf = math.log((n - held_by + 0.5) / (held_by + 0.5) + 1.0) if held_by else 0.0
        if number in self._known.common:
            idf *= _FUNCTION_WEIGHT
        return idf * 2.0 * count / (count + 1.0)

    def matches(self, query: str, document: Document) -> list[WordMatch]:
        """Return the identifiers of a document that hold terms of a query, by field and place.

        Only terms that some stored document holds count.

        Raises
        ------
        InputError
            The query is no string, or the document no pair of strings.
        """
        name, text = as_document(document, "the document")
        asked = as_query(query, "the query")
        with self._lock:
            terms = {term for identifier in identifiers(asked) for term in terms_of_identifier(identifier)}
            number_of = self._vocabulary.get
            weights = {n: weight for n, count in self._counts(asked).items() if (weight := self._weight(n, count))}
        return matches_in({term: weights[n] for term in terms if (n := number_of(term, -1)) in weights}, name, text)

    # -- state --------------------------------------------------------------------------------------------------------

    def export_state(self) -> EngineState:
        """Return the vocabulary and the postings. O(postings)."""
        with self._lock:
            self._pack_all()
            return write_state(self.fingerprint, list(self._vocabulary), self._keys, self._lengths, self._base)

    def import_state(self, state: EngineState) -> None:
        """Replace what is stored. O(postings).

        Raises
        ------
        InputError
            It is not a state of an index with these parameters; nothing was changed.
        """
        vocabulary, keys, lengths, base = read_state(state, self.fingerprint)
        with self._lock:
            self._reset(vocabulary, keys, lengths)
            self._df[: len(vocabulary)] = np.bincount(base.terms, np.diff(base.starts), len(vocabulary))
            self._base = base
            self._tail = _postings.pack(_postings.joined([]), keys.size, 0)


def _scaled(scores: NDArray[np.float64], descending: NDArray[np.float64], depth: int) -> NDArray[np.float64]:
    """Return scores as shares of the way from the one at ``depth``, which and below which it is 0, to the best."""
    top, low = float(descending[0]), float(descending[depth - 1])
    scaled = (scores - low) / (top - low) if top > low else (scores >= top).astype(np.float64)
    return np.maximum(scaled, 0.0, out=scaled)
