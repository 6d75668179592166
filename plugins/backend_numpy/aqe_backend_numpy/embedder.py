"""Texts to vectors by the subtokens they are made of: their identity by hashing, their company by a learned table."""

from __future__ import annotations

import math
import threading
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_backend_numpy._rarity import (
    KEY_BYTES,
    MAX_TEXT_CHARS,
    Rarity,
    count,
    digest_of,
    key_of,
    rarity_of_state,
    unfitted,
)
from aqe_backend_numpy._shipped import LEARNED_DIM, shipped
from aqe_backend_numpy._subtokens import subtokens_of_word, words
from aqe_core.errors import InputError
from aqe_core.validate import as_dim

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from aqe_core.contracts.embedder import Document
    from aqe_core.state import EngineState

__all__ = ["HASHED_UNIT", "SATURATION", "LexicalEmbedder", "as_documents", "signs_of"]

SATURATION = 1.2  # k1 of BM25
HASHED_UNIT = 24
"""Magnitude of a hashed component where the learned ones are int8."""
_UNKNOWN_UNIT = 17  # of the learned components of a subtoken without any: about the length of the table's median
_MIN_LEARNED_DIM = 384
_WEIGHT_STEPS = 64
_MAX_TF = 255
_SATURATED = np.array([tf * (SATURATION + 1) / (tf + SATURATION) for tf in range(_MAX_TF + 1)])
_NAMED = 2**32  # added to the tf of a subtoken that occurs in the name
_MAX_CACHED = 2**15  # subtokens whose vectors are kept: 12.6 MB at 384 dimensions
_MAX_CACHED_CHARS = 64
_CHUNK = 64  # documents weighted at once
_SIGNS_OF_BYTE = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).view(np.int8) * np.int8(2) - np.int8(1)


def signs_of(subtoken: str, dim: int) -> NDArray[np.int8]:
    """Return the subtoken's vector of +1 and -1: the bits of its digest after its key."""
    return _signs(digest_of(subtoken, KEY_BYTES + (dim + 7) // 8))[:dim]


def _signs(digest: bytes) -> NDArray[np.int8]:
    return _SIGNS_OF_BYTE.take(np.frombuffer(digest, np.uint8, offset=KEY_BYTES), axis=0).ravel()


class _Cache(dict[str, tuple[int, ...]]):
    """Word to the rows of its subtokens in ``vectors`` and ``idf``; computes what it does not have yet."""

    def __init__(self, dim: int, rarity: Rarity, *, learned: bool) -> None:
        super().__init__()
        self.rarity = rarity
        self.learned = learned
        self.vectors = np.empty((256, dim), np.int8)
        self.idf = np.empty(256)
        self._digest_bytes = KEY_BYTES + (dim + 7) // 8
        self._row_of: dict[str, int] = {}

    def __missing__(self, word: str) -> tuple[int, ...]:
        rows = tuple([self._row(subtoken) for subtoken in subtokens_of_word(word)])
        if len(word) <= _MAX_CACHED_CHARS:
            self[word] = rows
        return rows

    def rows(self, text: str) -> Iterable[int]:
        """Return the row of each subtoken of a text, in order."""
        return chain.from_iterable(map(self.__getitem__, words(text[:MAX_TEXT_CHARS])))

    def emptied_if_full(self) -> _Cache:
        """Return itself, or one to begin anew with if it holds more than it should."""
        if len(self._row_of) <= _MAX_CACHED and len(self) <= 4 * _MAX_CACHED:
            return self
        return _Cache(self.vectors.shape[1], self.rarity, learned=self.learned)

    def _row(self, subtoken: str) -> int:
        row = self._row_of.get(subtoken)
        return self._add(subtoken) if row is None else row

    def _add(self, subtoken: str) -> int:
        row = self._row_of[subtoken] = len(self._row_of)
        if row == len(self.idf):
            # Rows that are not filled yet are never read, so growing needs no initial value.
            self.vectors = np.concatenate([self.vectors, np.empty_like(self.vectors)])
            self.idf = np.concatenate([self.idf, np.empty_like(self.idf)])
        digest = digest_of(subtoken, self._digest_bytes)
        self.idf[row] = self.rarity.idf(subtoken, key_of(digest)) * _WEIGHT_STEPS
        self._fill(self.vectors[row], subtoken, _signs(digest))
        return row

    def _fill(self, vector: NDArray[np.int8], subtoken: str, signs: NDArray[np.int8]) -> None:
        dim = len(vector)
        if not self.learned:
            vector[:] = signs[:dim]
            return
        n_hashed = dim - LEARNED_DIM
        np.multiply(signs[:n_hashed], np.int8(HASHED_UNIT), out=vector[:n_hashed])
        table = shipped()
        known = table.row_of.get(subtoken)
        if known is None:
            np.multiply(signs[n_hashed:dim], np.int8(_UNKNOWN_UNIT), out=vector[n_hashed:])
        else:
            vector[n_hashed:] = table.vectors[known]


class LexicalEmbedder:
    """Sums of subtoken vectors: near means shared words, and words that tests use in the same company.

    Each subtoken (a part of an identifier, or a word, without its inflection) has a fixed vector. Its first components
    are random signs, the bits of SHAKE-128 of its text: they tell subtokens apart. Its last 256 come from a table of
    15,000 subtokens that ships with the package and was trained on the tests of other projects, so that descriptions
    lie near the code that they describe; a subtoken that the table lacks has random signs there too. A document is the
    sum of its subtokens' vectors, each weighted by

        idf * (tf * 2.2 / (tf + 1.2) + name_weight * [it occurs in the name])

    scaled to unit length; ``tf`` is how often it occurs in the text (up to 255), and

        idf = ln((N + 300 + 1) / (df + 300 p + 1)) + 1

    for one that occurs in ``df`` of the ``N`` documents of the fitted collection and in the share ``p`` of the tests
    that the table was made from. Before `fit`, ``N`` is 0.

    Parameters
    ----------
    dim : int, default 384
        Number of dimensions, 1 .. 4096.
    name_weight : float, default 0.6
        Weight of occurring in the document's name, where occurring once in its text weighs 1.
    learned : bool, optional
        Whether the last 256 components are from the table; by default from 384 dimensions on. With fewer, or without
        them, cosines are estimates of those between sparse weighted word vectors, with a standard error of about
        ``dim ** -0.5``.

    Notes
    -----
    Vectors are whole numbers and weights are rounded to 1/64, so that the sums of all but enormous documents are exact
    in float32: a text's vector depends neither on the platform, nor on the NumPy version, nor on what it is embedded
    together with.

    Only the first 262,144 characters of a text are read. Embedding costs O(length of the text + distinct subtokens *
    dim). Memory: up to 13 MB of cached vectors at 384 dimensions, 2.4 MB for the fitted collection, and 4 MB for the
    table, which processes share. Calls from several threads are safe, one at a time.

    Random signs: Achlioptas, "Database-friendly random projections", JCSS 66 (2003). The saturation of tf is that of
    BM25 (Robertson and Zaragoza, 2009) with k1 = 1.2, b = 0. How the table was made: ``data/PROVENANCE.md``.
    """

    def __init__(self, *, dim: int = 384, name_weight: float = 0.6, learned: bool | None = None) -> None:
        self._dim = as_dim(dim)
        self._name_weight = _as_weight(name_weight)
        self._learned = _as_learned(learned, self._dim)
        self._lock = threading.Lock()
        self._replace(unfitted())

    @property
    def _rarity(self) -> Rarity:
        return self._cache.rarity

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return self._dim

    @property
    def fingerprint(self) -> str:
        """``lexical/2/<dim>/<name_weight>/<table, or hashed>/<fitted collection>``; equal ones make equal vectors."""
        learned = "" if self._learned else "hashed-"
        return f"lexical/2/{self._dim}/{self._name_weight!r}/{learned}{shipped().digest}/{self._rarity.digest}"

    def fit(self, documents: Sequence[Document]) -> None:
        """Count in how many documents each subtoken occurs; replaces what was fitted before.

        The order of the documents does not matter. The 200,000 most frequent subtokens are kept (of equally frequent
        ones those of the smallest hash), and none that occurs in a single document.

        Raises
        ------
        InputError
            A document is not a pair of strings; nothing was changed.
        """
        self._replace(count(as_documents(documents)))

    def embed(self, documents: Sequence[Document]) -> NDArray[np.float32]:
        """Embed what is stored.

        Parameters
        ----------
        documents : sequence of Document
            Or of any pairs (name, text). It is fine, and usual, that the text repeats the name.

        Returns
        -------
        ndarray of float32, shape (n, dim)
            Rows of unit length, in order. Documents without a letter or digit all get the same vector.

        Raises
        ------
        InputError
            A document is not a pair of strings.
        """
        return self._embed(as_documents(documents))

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed what is asked: as `embed` does with documents that have no name.

        Raises
        ------
        InputError
            A text is not a string.
        """
        if isinstance(texts, list) and len(texts) == 1 and isinstance(texts[0], str):
            return self._embed_query(texts[0])  # the same in fewer steps
        return self._embed(as_documents(_unnamed(texts)))

    def export_state(self) -> EngineState:
        """Return the fitted collection; it does not depend on the parameters."""
        return self._rarity.state()

    def import_state(self, state: EngineState) -> None:
        """Replace the fitted collection.

        Raises
        ------
        InputError
            It is not a state of this embedder; nothing was changed.
        """
        self._replace(rarity_of_state(state))

    def _replace(self, rarity: Rarity) -> None:
        with self._lock:
            self._cache = _Cache(self._dim, rarity, learned=self._learned)

    def _embed(self, documents: list[tuple[str, str]]) -> NDArray[np.float32]:
        out = np.empty((len(documents), self._dim), np.float32)
        with self._lock:
            for start in range(0, len(documents), _CHUNK):
                self._cache = self._cache.emptied_if_full()
                self._sum(documents[start : start + _CHUNK], out[start : start + _CHUNK])
        _normalise(out)
        return out

    def _embed_query(self, text: str) -> NDArray[np.float32]:
        with self._lock:
            cache = self._cache = self._cache.emptied_if_full()
            counts = Counter(cache.rows(text))
            taken = np.fromiter(counts, np.intp, len(counts))
            weights = _SATURATED.take(np.fromiter(counts.values(), np.intp, len(counts)), mode="clip")
            weights *= cache.idf.take(taken)
            out: NDArray[np.float32] = np.dot(_whole(weights), cache.vectors.take(taken, axis=0).astype(np.float32))
        wide = out.astype(np.float64)
        square = float(wide.dot(wide))
        if square:
            out /= np.float32(math.sqrt(square))
        out = out.reshape(1, -1)
        if not square:
            _normalise(out)
        return out

    def _sum(self, documents: list[tuple[str, str]], out: NDArray[np.float32]) -> None:
        """Write the weighted sums of the documents' subtoken vectors to the rows of ``out``."""
        cache = self._cache
        rows: list[int] = []
        counted: list[int] = []
        ends: list[int] = []
        named = False
        for name, text in documents:
            counts = Counter(cache.rows(text))
            if name:
                named = True
                for row in set(cache.rows(name)):
                    counts[row] += _NAMED
            rows += counts
            counted += counts.values()
            ends.append(len(rows))
        taken, tf = np.array(rows, np.intp), np.array(counted, np.int64)
        if named:
            in_name = tf >= _NAMED
            tf -= in_name * _NAMED
        weights = _SATURATED.take(tf, mode="clip")
        if named:
            weights += in_name * self._name_weight
        weights *= cache.idf.take(taken)
        exact, vectors, start = _whole(weights), cache.vectors, 0
        for i, end in enumerate(ends):
            np.dot(exact[start:end], vectors.take(taken[start:end], axis=0).astype(np.float32), out=out[i])
            start = end


def _whole(weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return weights rounded: whole numbers up to 2**24 add up exactly in float32, in whatever order BLAS adds them."""
    return np.rint(weights, out=weights).astype(np.float32)


def _normalise(out: NDArray[np.float32]) -> None:
    """Scale rows to unit length; one of zeros becomes that of the empty subtoken."""
    wide = out.astype(np.float64)
    squares = np.matmul(wide[:, None, :], wide[:, :, None])[:, 0, 0]
    if not squares.all():
        out[squares == 0] = signs_of("", out.shape[1])
        squares[squares == 0] = out.shape[1]
    out /= np.sqrt(squares).astype(np.float32)[:, None]


def _as_weight(value: Any) -> float:
    weight = float(value) if isinstance(value, (int, float)) else math.nan
    if not 0 <= weight <= 1e6:
        raise InputError(
            f"name_weight is {value!r}, but must be a number in 0 .. 1e6.", fix="pass e.g. name_weight=1.0."
        )
    return weight


def _as_learned(value: Any, dim: int) -> bool:
    if value is None:
        return dim >= _MIN_LEARNED_DIM
    if not isinstance(value, bool) or (value and dim <= LEARNED_DIM):
        raise InputError(
            f"learned is {value!r} with dim {dim}, but must be true, false or absent, and true only above "
            f"{LEARNED_DIM} dimensions.",
            fix="leave it out.",
        )
    return value


def _unnamed(texts: Sequence[str]) -> Iterable[tuple[str, str]]:
    if isinstance(texts, (str, bytes)):
        raise InputError("texts is a single string, but must be a sequence of strings.", fix="pass [text].")
    return (("", text) for text in texts)


def as_documents(documents: Iterable[Any]) -> list[tuple[str, str]]:
    """Return the documents as a list of pairs of strings."""
    out = list(documents)
    for i, document in enumerate(out):
        if not (
            isinstance(document, tuple)
            and len(document) == 2
            and isinstance(document[0], str)
            and isinstance(document[1], str)
        ):
            raise InputError(
                f"item {i} is {document!r:.80}, but must be a text, or a document of name and text.",
                fix="pass strings, or Document(name, text).",
            )
    return out
