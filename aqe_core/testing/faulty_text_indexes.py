"""Text indexes that are wrong in one known way each (see `aqe_core.testing.faulty`)."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.pattern_store import Hits
from aqe_core.state import EngineState
from aqe_core.testing.backend_text_index import PlainTextIndex
from aqe_core.testing.faulty import wrong
from aqe_core.validate import as_keys

if TYPE_CHECKING:
    from aqe_core.contracts.text_index import Ranked, WordMatch


@wrong("protocol")
class NoFingerprint(PlainTextIndex):
    """Has an empty fingerprint."""

    fingerprint = ""


@wrong("words_are_found")
class MindsCase(PlainTextIndex):
    """Takes words as they are written."""

    def _words(self, text: str) -> list[str]:
        return text.replace("_", " ").split()


@wrong("words_are_found", "matches")
class FindsEverything(PlainTextIndex):
    """Gives every document a little."""

    def _ranked(self, table: Any, query: str, allowed: set[int] | None) -> list[tuple[float, int]]:
        ranked = super()._ranked(table, query, allowed)
        others = {*table} - {key for _, key in ranked}
        return ranked + [(-1e-9, key) for key in sorted(others) if allowed is None or key in allowed]


@wrong("rare_words_tell_more")
class CommonWordsTellMore(PlainTextIndex):
    """Weighs a word by how many documents hold it."""

    def _idf(self, word: str, counts: dict[int, Counter[str]]) -> float:
        return 1.0 + sum(word in count for count in counts.values())


@wrong("order_and_ties")
class LaterKeyFirst(PlainTextIndex):
    """Lists equal scores in descending order of key."""

    def _ranked(self, table: Any, query: str, allowed: set[int] | None) -> list[tuple[float, int]]:
        return sorted(super()._ranked(table, query, allowed), key=lambda each: (each[0], -each[1]))


@wrong("replace", "random_history")
class ForgetsReplacing(PlainTextIndex):
    """Keeps the old document of a known key."""

    def add(self, keys: Any, documents: Any) -> None:
        """Store documents."""
        before = dict(self._table)
        super().add(keys, documents)
        self._table = {**self._table, **before}


@wrong("remove")
class CountsRequested(PlainTextIndex):
    """Counts what was asked for, not what was there."""

    def remove(self, keys: Any) -> int:
        """Remove documents."""
        super().remove(keys)
        return len(as_keys(keys))


@wrong("random_history", "state")
class RemembersFrequencies(PlainTextIndex):
    """Goes on counting removed documents."""

    def __init__(self) -> None:
        super().__init__()
        self._ever: Counter[str] = Counter()

    def add(self, keys: Any, documents: Any) -> None:
        """Store documents."""
        super().add(keys, documents)
        for name, text in documents:
            self._ever.update({*self._words(f"{name} {text}")})

    def _idf(self, word: str, counts: dict[int, Counter[str]]) -> float:  # noqa: ARG002  # the fault
        return 1.0 / (1.0 + self._ever[word])


@wrong("among")
class FiltersAfterwards(PlainTextIndex):
    """Computes its statistics over the allowed documents only."""

    def _ranked(self, table: Any, query: str, allowed: set[int] | None) -> list[tuple[float, int]]:
        kept = {key: pair for key, pair in table.items() if allowed is None or key in allowed}
        return super()._ranked(kept, query, None)


@wrong("shapes")
class SingleKeepsAxis(PlainTextIndex):
    """Answers one query with a matrix."""

    def search(self, queries: Any, k: int = 10, *, among: Any = None) -> Hits:
        """Search."""
        return Hits(*np.atleast_2d(*super().search(queries, k, among=among)))


@wrong("matches")
class MatchesFromLowered(PlainTextIndex):
    """Counts places in the text without its first word."""

    def matches(self, query: str, document: Any) -> list[WordMatch]:
        """Look for words."""
        found = super().matches(query, document)
        return [each._replace(start=each.start + 3, end=each.end + 3) for each in found]


@wrong("odd_texts")
class EncodesStrictly(PlainTextIndex):
    """Cannot store what UTF-8 cannot."""

    def add(self, keys: Any, documents: Any) -> None:
        """Store documents."""
        super().add(keys, documents)
        for name, text in documents:
            f"{name}{text}".encode()


@wrong("state")
class ExportsNames(PlainTextIndex):
    """Leaves the texts out of its state."""

    def export_state(self) -> EngineState:
        """Export."""
        state = super().export_state()
        documents = [[key, name, ""] for key, name, _ in state.manifest["documents"]]
        return EngineState(kind=state.kind, manifest={"documents": documents})


@wrong("bad_state")
class ImportsAnything(PlainTextIndex):
    """Imports as much of a state as it understands."""

    def import_state(self, state: EngineState) -> None:
        """Import."""
        self._table = {int(key): (name, text) for key, name, text in state.manifest.get("documents", [])}


@wrong("bad_input")
class TakesNumbers(PlainTextIndex):
    """Takes anything for a query."""

    def _query(self, query: Any) -> str:
        return str(query)


@wrong("threads")
class SharesScratch(PlainTextIndex):
    """Keeps the query in a buffer of the index."""

    def _ranked(self, table: Any, query: str, allowed: set[int] | None) -> list[tuple[float, int]]:
        self._scratch = query
        time.sleep(1e-4)  # another thread gets its turn here
        return super()._ranked(table, self._scratch, allowed)


@wrong("hybrid")
class ForgetsVectors(PlainTextIndex):
    """Fuses with a weight of 0 for the vectors."""

    def hybrid(self, query: str, embedder: Any, store: Any, **plan: Any) -> Ranked | None:
        """Do as the reference does, but for the weight."""
        return super().hybrid(query, embedder, store, **{**plan, "weights": (1.0, 0.0)})


@wrong("hybrid")
class HandsArraysOver(PlainTextIndex):
    """Returns arrays, as it has them, for lists."""

    def hybrid(self, query: str, embedder: Any, store: Any, **plan: Any) -> Ranked | None:
        """Do as the reference does, but for the type."""
        found = super().hybrid(query, embedder, store, **plan)
        return None if found is None else found._replace(keys=np.array(found.keys, np.uint64))  # type: ignore[arg-type]  # wrong
