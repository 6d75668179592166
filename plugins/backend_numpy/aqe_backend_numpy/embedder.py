"""Texts to vectors by the words they share: dense hashing of subtokens."""

from __future__ import annotations

import hashlib
import math
import threading
from collections import Counter
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_backend_numpy._subtokens import subtokens_of_word, words
from aqe_core.errors import InputError
from aqe_core.state import EngineState
from aqe_core.validate import as_dim

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from aqe_core.contracts.embedder import Document

__all__ = ["LexicalEmbedder"]

_KIND = "embedder/lexical/1"
_MAX_TEXT_CHARS = 2**18
_MAX_TERMS = 200_000  # of the fitted table: 2.4 MB
_MAX_CACHED = 2**15  # subtokens whose signs are kept: 12.6 MB at 384 dimensions
_MAX_CACHED_CHARS = 64
_CHUNK = 256  # documents weighted at once
_SATURATION = 1.2  # k1 of BM25
_KEY_BYTES = 8


def _digest(subtoken: str, n_bytes: int) -> bytes:
    return hashlib.shake_128(subtoken.encode("utf-8", "surrogatepass")).digest(n_bytes)


def _signs(subtoken: str, dim: int) -> NDArray[np.int8]:
    """Return the subtoken's vector of +1 and -1: the bits of its digest after its key."""
    bits = np.frombuffer(_digest(subtoken, _KEY_BYTES + (dim + 7) // 8), np.uint8)[_KEY_BYTES:]
    return np.unpackbits(bits, count=dim).view(np.int8) * np.int8(2) - np.int8(1)


def _key(subtoken: str) -> int:
    return int.from_bytes(_digest(subtoken, _KEY_BYTES), "little")


class _Table:
    """In how many documents each subtoken occurs; one that it does not hold counts as occurring in one.

    ``keys`` (uint64, ascending) and ``df`` (uint32, at least 2) have one entry per subtoken.
    """

    def __init__(self, n_documents: int, keys: NDArray[np.uint64], df: NDArray[np.uint32]) -> None:
        self.n_documents = n_documents
        self.keys = keys
        self.df = df
        for array in (keys, df):
            array.flags.writeable = False
        self.digest = "unfitted"
        if n_documents:
            content = hashlib.blake2b(str(n_documents).encode(), digest_size=8)
            for array in (keys.astype("<u8", copy=False), df.astype("<u4", copy=False)):
                content.update(array.tobytes())
            self.digest = content.hexdigest()

    def idf(self, subtoken: str) -> float:
        """Return ``ln((N + 1) / (df + 1)) + 1``; 1 when nothing was fitted."""
        if not self.n_documents:
            return 1.0
        key = np.uint64(_key(subtoken))
        place = int(self.keys.searchsorted(key))
        found = place < self.keys.size and self.keys[place] == key
        return math.log((self.n_documents + 1) / ((int(self.df[place]) if found else 1) + 1)) + 1


def _empty_table() -> _Table:
    return _Table(0, np.empty(0, np.uint64), np.empty(0, np.uint32))


class _Cache(dict[str, tuple[int, ...]]):
    """Word to the rows of its subtokens in ``signs`` and ``idf``; computes what it does not have yet."""

    def __init__(self, dim: int, table: _Table) -> None:
        super().__init__()
        self.table = table
        self.signs = np.empty((256, dim), np.int8)
        self.idf = np.empty(256)
        self._row_of: dict[str, int] = {}

    def __missing__(self, word: str) -> tuple[int, ...]:
        rows = tuple([self._row(subtoken) for subtoken in subtokens_of_word(word)])
        if len(word) <= _MAX_CACHED_CHARS:
            self[word] = rows
        return rows

    def rows(self, text: str) -> Iterable[int]:
        """Return the row of each subtoken of a text, in order."""
        return chain.from_iterable(map(self.__getitem__, words(text[:_MAX_TEXT_CHARS])))

    @property
    def full(self) -> bool:
        """Whether it holds more than it should; it is then begun anew before the next chunk."""
        return len(self._row_of) > _MAX_CACHED or len(self) > 4 * _MAX_CACHED

    def _row(self, subtoken: str) -> int:
        row = self._row_of.get(subtoken)
        return self._add(subtoken) if row is None else row

    def _add(self, subtoken: str) -> int:
        row = self._row_of[subtoken] = len(self._row_of)
        if row == len(self.idf):
            # Rows that are not filled yet are never read, so growing needs no initial value.
            self.signs = np.concatenate([self.signs, np.empty_like(self.signs)])
            self.idf = np.concatenate([self.idf, np.empty_like(self.idf)])
        self.signs[row] = _signs(subtoken, self.signs.shape[1])
        self.idf[row] = self.table.idf(subtoken)
        return row


class LexicalEmbedder:
    """Dense hashing of subtokens: near means shared words, weighted by rarity, not shared meaning.

    Each subtoken (a part of an identifier, or a word, without its inflection) has a fixed vector of ``dim`` random
    signs, the bits of SHAKE-128 of its text. A document is the sum of its subtokens' vectors, each weighted by

        idf * (tf * 2.2 / (tf + 1.2) + name_weight * [it occurs in the name])

    scaled to unit length; ``tf`` is how often it occurs in the text, and ``idf = ln((N + 1) / (df + 1)) + 1`` comes
    from the fitted collection (1 for all before `fit`). Cosines are therefore estimates of those between the sparse
    weighted word vectors, with a standard error of about ``dim ** -0.5``.

    Parameters
    ----------
    dim : int, default 384
        Number of dimensions, 1 .. 4096.
    name_weight : float, default 1.0
        Weight of occurring in the document's name, where occurring once in its text weighs 1.

    Notes
    -----
    Weights are rounded to 1/256, so that the sums of all but enormous documents are exact in float32: a text's vector
    depends neither on the platform, nor on the NumPy version, nor on what it is embedded together with.

    Only the first 262,144 characters of a text are read. Embedding costs O(length of the text + distinct subtokens *
    dim). Memory: up to 13 MB of cached signs at 384 dimensions, and 2.4 MB for the table. Calls from several threads
    are safe, one at a time.

    Random signs: Achlioptas, "Database-friendly random projections", JCSS 66 (2003). The saturation of tf is that of
    BM25 (Robertson and Zaragoza, 2009) with k1 = 1.2, b = 0.
    """

    def __init__(self, *, dim: int = 384, name_weight: float = 1.0) -> None:
        self._dim = as_dim(dim)
        self._name_weight = _as_weight(name_weight)
        self._lock = threading.Lock()
        self._cache = _Cache(self._dim, _empty_table())

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return self._dim

    @property
    def fingerprint(self) -> str:
        """``lexical/1/<dim>/<name_weight>/<digest of the fitted table>``; equal fingerprints make equal vectors."""
        return f"lexical/1/{self._dim}/{self._name_weight!r}/{self._cache.table.digest}"

    def fit(self, documents: Sequence[Document]) -> None:
        """Count in how many documents each subtoken occurs; replaces what was fitted before.

        The order of the documents does not matter. The 200,000 most frequent subtokens are kept (of equally frequent
        ones those of the smallest hash), and none that occurs in a single document.

        Raises
        ------
        InputError
            A document is not a pair of strings; nothing was changed.
        """
        subtokens_of = lru_cache(maxsize=2**16)(subtokens_of_word)
        counts: Counter[str] = Counter()
        n = 0
        for n, (name, text) in enumerate(_as_documents(documents), 1):  # noqa: B007  # n is used after the loop
            found = {*words(name[:_MAX_TEXT_CHARS]), *words(text[:_MAX_TEXT_CHARS])}
            counts.update({*chain.from_iterable(map(subtokens_of, found))})
        kept = sorted((-df, _key(subtoken)) for subtoken, df in counts.items() if df > 1)[:_MAX_TERMS]
        df_of = {key: -negative for negative, key in kept}
        keys = sorted(df_of)
        table = _Table(n, np.array(keys, np.uint64), np.array([df_of[key] for key in keys], np.uint32))
        with self._lock:
            self._cache = _Cache(self._dim, table)

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
        return self._embed(_as_documents(documents))

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed what is asked: as `embed` does with documents that have no name.

        Raises
        ------
        InputError
            A text is not a string.
        """
        return self._embed(_as_documents(_unnamed(texts)))

    def export_state(self) -> EngineState:
        """Return the fitted table; it does not depend on ``dim`` and ``name_weight``."""
        table = self._cache.table
        return EngineState(
            kind=_KIND,
            manifest={"n_documents": table.n_documents},
            arrays={"keys": table.keys, "df": table.df},
        )

    def import_state(self, state: EngineState) -> None:
        """Replace the fitted table.

        Raises
        ------
        InputError
            It is not a state of this embedder; nothing was changed.
        """
        table = _table_of(state)
        with self._lock:
            self._cache = _Cache(self._dim, table)

    def _embed(self, documents: list[tuple[str, str]]) -> NDArray[np.float32]:
        out = np.empty((len(documents), self._dim), np.float32)
        with self._lock:
            for start in range(0, len(documents), _CHUNK):
                if self._cache.full:
                    self._cache = _Cache(self._dim, self._cache.table)
                self._sum_chunk(documents[start : start + _CHUNK], out[start : start + _CHUNK])
        norms = np.sqrt(np.einsum("ij,ij->i", out, out, dtype=np.float64)).astype(np.float32)
        if np.count_nonzero(norms) < len(norms):
            out[norms == 0] = _signs("", self._dim)
            norms[norms == 0] = math.sqrt(self._dim)
        out /= norms[:, None]
        return out

    def _sum_chunk(self, documents: list[tuple[str, str]], out: NDArray[np.float32]) -> None:
        """Write the weighted sums of the documents' signs to the rows of ``out``."""
        cache = self._cache
        rows: list[int] = []
        tf: list[int] = []
        named: list[bool] = []
        ends: list[int] = []
        for name, text in documents:
            counts = Counter(cache.rows(text))
            in_name = set(cache.rows(name)) if name else frozenset()
            for row in in_name:
                counts[row] += 0
            rows += counts
            tf += counts.values()
            named += map(in_name.__contains__, counts)
            ends.append(len(rows))
        taken = np.array(rows, np.intp)
        weights = np.array(tf, np.float64)
        weights *= (_SATURATION + 1) / (weights + _SATURATION)
        if any(named):
            weights += self._name_weight * np.array(named, bool)
        weights *= cache.idf.take(taken)
        # Whole numbers (of 1/256) up to 2**24 add up exactly in float32, in whatever order BLAS adds them.
        exact = np.rint(weights * 256).astype(np.float32)
        start = 0
        for i, end in enumerate(ends):
            signs = cache.signs.take(taken[start:end], axis=0).astype(np.float32)
            np.dot(exact[start:end], signs, out=out[i])
            start = end


def _as_weight(value: Any) -> float:
    weight = float(value) if isinstance(value, (int, float)) else math.nan
    if not 0 <= weight <= 1e6:
        raise InputError(
            f"name_weight is {value!r}, but must be a number in 0 .. 1e6.", fix="pass e.g. name_weight=1.0."
        )
    return weight


def _unnamed(texts: Sequence[str]) -> Iterable[tuple[str, str]]:
    if isinstance(texts, (str, bytes)):
        raise InputError("texts is a single string, but must be a sequence of strings.", fix="pass [text].")
    return (("", text) for text in texts)


def _as_documents(documents: Iterable[Any]) -> list[tuple[str, str]]:
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


def _table_of(state: EngineState) -> _Table:
    """Return the table of a state after checking every promise that `_Table` makes."""
    n = state.manifest.get("n_documents")
    arrays = dict(state.arrays)
    keys, df = arrays.pop("keys", None), arrays.pop("df", None)
    complaint = ""
    if state.kind != _KIND:
        complaint = f"its kind is {state.kind!r}, not {_KIND!r}"
    elif not isinstance(n, int) or isinstance(n, bool) or n < 0:
        complaint = f"n_documents is {n!r}"
    elif arrays or not (isinstance(keys, np.ndarray) and isinstance(df, np.ndarray)):
        complaint = f"it has the arrays {sorted(state.arrays)}, not df and keys"
    elif keys.dtype != np.uint64 or df.dtype != np.uint32 or keys.ndim != 1 or keys.shape != df.shape:
        complaint = f"keys are {keys.dtype}{keys.shape} and df {df.dtype}{df.shape}"
    elif keys.size > _MAX_TERMS:
        complaint = f"it has {keys.size} entries, more than {_MAX_TERMS}"
    elif not (keys[1:] > keys[:-1]).all():
        complaint = "keys are not strictly ascending"
    elif keys.size and not (int(df.min()) >= 2 and int(df.max()) <= n):
        complaint = f"df is not in 2 .. n_documents = {n}"
    if complaint:
        raise InputError(
            f"this is not the state of a lexical embedder: {complaint}.",
            fix="import what export_state returned, or fit again.",
        )
    assert isinstance(n, int)
    assert keys is not None
    assert df is not None
    return _Table(n, keys.copy(), df.copy())
