"""The reference text index: BM25 over whole words, computed anew for every search."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core import searching
from aqe_core.contracts.pattern_store import NO_KEY, Hits
from aqe_core.contracts.text_index import WordMatch
from aqe_core.errors import DimensionError, InputError
from aqe_core.state import EngineState
from aqe_core.validate import as_k, as_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.embedder import Document, Embedder
    from aqe_core.contracts.pattern_store import PatternStore
    from aqe_core.contracts.text_index import Ranked

__all__ = ["PlainTextIndex"]

_WORD = re.compile(r"[^\W_]+")


class PlainTextIndex:
    """Keeps the documents and scans them all. Thread-safe for one writer: the table is replaced as a whole."""

    KIND = "text-index/test-plain/1"
    fingerprint = "test-plain/1"

    def __init__(self) -> None:
        self._table: dict[int, tuple[str, str]] = {}

    def __len__(self) -> int:
        return len(self._table)

    def keys(self) -> NDArray[np.uint64]:
        """Return the stored keys in ascending order."""
        return np.array(sorted(self._table), np.uint64)

    def add(self, keys: ArrayLike, documents: Sequence[Document]) -> None:
        """Store documents."""
        wanted = as_keys(keys).tolist()
        pairs = [self._document(document) for document in documents]
        if len(pairs) != len(wanted):
            raise DimensionError(f"there are {len(wanted)} keys, but {len(pairs)} documents.", fix="pass as many.")
        self._table = {**self._table, **dict(zip(wanted, pairs, strict=True))}

    def remove(self, keys: ArrayLike) -> int:
        """Remove documents."""
        gone = {*as_keys(keys).tolist()} & {*self._table}
        self._table = {key: pair for key, pair in self._table.items() if key not in gone}
        return len(gone)

    def search(self, queries: str | Sequence[str], k: int = 10, *, among: ArrayLike | None = None) -> Hits:
        """Score every document."""
        texts = [queries] if isinstance(queries, str) else [*queries]
        k = as_k(k)
        allowed = None if among is None else {*as_keys(among).tolist()}
        table = self._table
        keys = np.full((len(texts), k), NO_KEY, np.uint64)
        scores = np.full((len(texts), k), -np.inf, np.float32)
        for row, text in enumerate(texts):
            found = self._ranked(table, self._query(text), allowed)[:k]
            keys[row, : len(found)] = [key for _, key in found]
            scores[row, : len(found)] = [-score for score, _ in found]
        return Hits(keys[0], scores[0]) if isinstance(queries, str) else Hits(keys, scores)

    def _ranked(
        self, table: dict[int, tuple[str, str]], query: str, allowed: set[int] | None
    ) -> list[tuple[float, int]]:
        counts = {key: Counter(self._words(f"{name} {text}")) for key, (name, text) in table.items()}
        mean = sum(count.total() for count in counts.values()) / max(1, len(counts))
        words = {word: self._idf(word, counts) for word in sorted({*self._words(query)})}
        ranked = []
        for key, count in counts.items():
            if allowed is None or key in allowed:
                damping = 0.3 + 0.9 * count.total() / max(mean, 1.0)
                score = sum(idf * 2.2 * count[word] / (count[word] + damping) for word, idf in words.items())
                if score > 0:
                    ranked.append((-float(np.float32(score)), key))
        return sorted(ranked)

    def _idf(self, word: str, counts: dict[int, Counter[str]]) -> float:
        df = sum(word in count for count in counts.values())
        return math.log1p((len(counts) - df + 0.5) / (df + 0.5))

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
        """Search by words and by vectors, and fuse."""
        tuning = searching.Tuning(lexical_weight=weights[0], vector_weight=weights[1])
        words = searching.worded(self, query, pool, None)
        among = np.sort(words.keys) if narrow and words.keys.size == pool else None
        vector = embedder.embed_queries([query])[0]
        return searching.fuse(words, searching.nearest(store, vector, pool, among), tuning, depth, k)

    def matches(self, query: str, document: Document) -> list[WordMatch]:
        """Look for the words one by one."""
        words = {*self._words(self._query(query))}
        fields = zip(("name", "text"), self._document(document), strict=True)
        return [
            WordMatch(field, found.start(), found.end(), (found[0].lower(),), 1.0)
            for field, content in fields
            for found in _WORD.finditer(content)
            if found[0].lower() in words
        ]

    def export_state(self) -> EngineState:
        """Return the documents."""
        documents = [[str(key), *pair] for key, pair in sorted(self._table.items())]
        return EngineState(kind=self.KIND, manifest={"documents": documents})

    def import_state(self, state: EngineState) -> None:
        """Replace the documents."""
        documents = state.manifest.get("documents")
        if state.kind != self.KIND or not isinstance(documents, list):
            raise InputError(f"the state is of kind {state.kind!r}, expected {self.KIND!r}.", fix="import another.")
        self._table = {int(key): (name, text) for key, name, text in documents}

    def _words(self, text: str) -> list[str]:
        return [word.lower() for word in _WORD.findall(text)]

    def _query(self, query: Any) -> str:
        if not isinstance(query, str):
            raise InputError(f"the query is {query!r:.60}, but must be a string.", fix="pass a string.")
        return query

    def _document(self, document: Any) -> tuple[str, str]:
        if not (isinstance(document, tuple) and len(document) == 2 and all(isinstance(part, str) for part in document)):
            raise InputError(f"{document!r:.60} is no document.", fix="pass Document(name, text).")
        return document[0], document[1]
