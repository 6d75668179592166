"""Search over the patterns of a workspace: by words, by vectors, and by both.

A hybrid search fuses two lists, of the text index and of the pattern store. Scores of the two mean different things, so
each list is first scaled by its own best score, which becomes 1, and its hundredth, which becomes 0 (Bruch, Gai and
Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", TOIS 42, 2023, find this to be better than reciprocal
ranks, and robust).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import attrs
import numpy as np

from aqe_core.contracts.pattern_store import NO_KEY, Hits
from aqe_core.contracts.text_index import Ranked
from aqe_core.errors import CapabilityError, ConfigError, InputError
from aqe_core.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sized

    from numpy.typing import ArrayLike, NDArray

    from aqe_core.config import Config
    from aqe_core.contracts.embedder import Embedder
    from aqe_core.contracts.pattern_store import PatternStore
    from aqe_core.contracts.records import Pattern
    from aqe_core.contracts.text_index import HybridIndex, TextIndex

    Keys = NDArray[np.uint64]
    Scores = NDArray[np.float32]

__all__ = [
    "MODES",
    "Match",
    "Ranked",
    "Tuning",
    "fuse",
    "hybrid",
    "hybrid_of_few",
    "mode_for",
    "nearest",
    "ranked_by_vectors",
    "ranked_by_words",
    "without_copies",
    "worded",
]

MODES = ("hybrid", "vector", "lexical")
"""Ways to search."""

_DEPTH = 100
_SCANNED = 1024
_COPY = 0.9
_LOOKED_AT = 3
_MANY = 4
_NONE = np.array([NO_KEY], np.uint64)


class Match(NamedTuple):
    """One hit of a search.

    Attributes
    ----------
    pattern : Pattern
    score : float
        What the hits are ordered by; larger is better. In ``hybrid`` mode 0 .. 1, the weighted mean of the two parts,
        each scaled over its list; else the part itself.
    lexical : float or None
        The text index's score (BM25): 0 is no shared word. None if it was not asked, or had so many better ones that
        it did not say.
    vector : float or None
        The pattern store's score (cosine): 1 is the same direction. None likewise.
    copies : tuple of str
        Ids of near copies of it that were left out.
    """

    pattern: Pattern
    score: float
    lexical: float | None = None
    vector: float | None = None
    copies: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the form that ``aqe search --json`` prints."""
        return {
            "score": round(self.score, 6),
            "lexical": None if self.lexical is None else round(self.lexical, 6),
            "vector": None if self.vector is None else round(self.vector, 6),
            "copies": list(self.copies),
            **self.pattern.to_dict(),
        }


@attrs.frozen
class Tuning:
    """How a workspace searches, from its configuration.

    Attributes
    ----------
    mode : str
        For texts, when a search does not say.
    lexical_weight, vector_weight : float
        Of the two parts in a hybrid score.
    """

    mode: str = "hybrid"
    lexical_weight: float = 1.0
    vector_weight: float = 0.5

    @classmethod
    def of(cls, config: Config) -> Tuning:
        """Return the tuning that a configuration says.

        Raises
        ------
        ConfigError
            The mode is unknown; a weight is negative or not finite, or both are 0.
        """
        mode = config.get("search.mode")
        if mode.value not in MODES:
            fix = did_you_mean(mode.value, MODES, f"choose of {', '.join(MODES)}.")
            raise ConfigError(f"{mode.source}: search.mode is {mode.value!r}.", fix=fix)
        weights = [config.get("search.lexical_weight"), config.get("search.vector_weight")]
        if not all(0 <= each.value <= 1e6 for each in weights) or not any(each.value for each in weights):
            said = " and ".join(f"{each.value!r} ({each.source})" for each in weights)
            raise ConfigError(
                f"search.lexical_weight and search.vector_weight are {said}, but must be in 0 .. 1e6, one above 0.",
                fix="only their ratio counts; the defaults are 1.0 and 0.5.",
            )
        return cls(mode.value, float(weights[0].value), float(weights[1].value))


def mode_for(query: Any, mode: str | None, tuning: Tuning) -> str:
    """Return the mode of a search for a text or a vector.

    Raises
    ------
    InputError
        The mode is unknown, or the query is a vector and the mode needs words.
    """
    if mode is None:
        return tuning.mode if isinstance(query, str) else "vector"
    if mode not in MODES:
        raise InputError(f"mode is {mode!r}.", fix=did_you_mean(str(mode), MODES, f"choose of {', '.join(MODES)}."))
    if mode != "vector" and not isinstance(query, str):
        raise InputError(f"the query is no string, which the mode {mode!r} needs.", fix='pass a text or mode="vector".')
    return mode


def worded(index: TextIndex, text: str, k: int, among: Keys | None) -> Hits:
    """Return what the text index finds."""
    k = _enough(k, index)
    found = _of_many(lambda width: index.search(text, width), k, len(index), among)
    return _listed(index.search(text, k, among=among)) if found is None else found


def nearest(store: PatternStore, vector: ArrayLike, k: int, among: Keys | None) -> Hits:
    """Return what the pattern store finds, also among given keys in one that cannot filter."""
    k = _enough(k, store)
    found = _of_many(lambda width: store.search(vector, width), k, len(store), among)
    if found is not None:
        return found
    try:
        return _listed(store.search(vector, k) if among is None else store.search(vector, k, among=among))
    except CapabilityError:
        if among is None:
            raise
        return _widening(store, vector, k, among)


def ranked_by_words(hits: Hits) -> Ranked:
    """Return what `worded` found as what a search returns."""
    scores = hits.scores.tolist()
    return Ranked(hits.keys.tolist(), scores, scores, [None] * len(scores))


def ranked_by_vectors(hits: Hits) -> Ranked:
    """Return what `nearest` found likewise."""
    scores = hits.scores.tolist()
    return Ranked(hits.keys.tolist(), scores, [None] * len(scores), scores)


def hybrid(
    index: TextIndex,
    embedder: Embedder,
    store: PatternStore,
    text: str,
    k: int,
    *,
    among: Keys | None,
    tuning: Tuning,
    narrow: bool,
    at_once: bool = False,
    spare: int = 0,
) -> Ranked:
    """Return the best k of what the text index and the pattern store find, fused, and so many more as are to spare.

    Parameters
    ----------
    index, embedder, store : TextIndex, Embedder, PatternStore
    text : str
    k : int
        How many are wanted.
    among : ndarray of uint64, optional
        Only these keys, ascending.
    tuning : Tuning
    narrow : bool
        In a collection of more than 1,024, compute the vector scores of the text index's best 100 (or 2 k) only,
        where it finds as many. For vectors made of words that finds the same, and saves the scan of all of them.
    at_once : bool
        The index is a `HybridIndex`, and may do it all in one call.
    spare : int
        They do not count where it is decided how long the lists are that are fused, so that the best k stay the same.
    """
    # So few are asked for nearly always, and then it does not matter how many there are.
    pool, depth = _sizes(k if 2 * k <= _DEPTH else _enough(k, index, store))
    narrow = narrow and (len(store) if among is None else among.size) > max(_SCANNED, pool)
    if at_once and among is None:
        weights = tuning.lexical_weight, tuning.vector_weight
        native = cast("HybridIndex", index)
        found = native.hybrid(
            text, embedder, store, k=k + spare, pool=pool, depth=depth, weights=weights, narrow=narrow
        )
        if found is not None:
            return found
    vector = embedder.embed_queries([text])[0]
    words = worded(index, text, pool, among)
    if narrow and words.keys.size == pool:
        among = np.sort(words.keys)
    return fuse(words, nearest(store, vector, pool, among), tuning, depth, k + spare)


def hybrid_of_few(
    index: TextIndex,
    text: str,
    k: int,
    *,
    tuning: Tuning,
    engines_for: Callable[[Keys], tuple[Embedder, PatternStore] | None],
) -> Ranked | None:
    """Return what a narrow `hybrid` does, without a store of all vectors; None where that one compares more than few.

    ``engines_for`` is asked for the embedder and a store of the vectors of given keys, ascending; it may decline.
    """
    pool, depth = _sizes(k)
    if len(index) <= max(_SCANNED, pool):
        return None
    words = worded(index, text, pool, None)
    engines = engines_for(np.sort(words.keys)) if words.keys.size == pool else None
    if engines is None:
        return None
    embedder, store = engines
    return fuse(words, nearest(store, embedder.embed_queries([text])[0], pool, None), tuning, depth)


def _enough(k: int, *engines: Sized) -> int:
    """Return k, or one more than there are: engines make room for as many as they are asked for."""
    return min(k, 1 + max(map(len, engines)))


def _sizes(k: int) -> tuple[int, int]:
    """Return how many of each list are fused, and the place that counts nothing."""
    return max(_DEPTH, 2 * k), max(_DEPTH, k)


def fuse(words: Hits, vectors: Hits, tuning: Tuning, depth: int = _DEPTH, k: int | None = None) -> Ranked:
    """Return the best k, or all, of two lists, by the weighted mean of their scaled scores; ties in order of key.

    The best of a list scales to 1 and the one at ``depth`` to 0, as do those after it, and those that are in the other
    list only. Where fewer have a word of the query, 0 stands for no such word; a shorter list of vectors goes down to
    its last one.
    """
    # Their union: all of the one list, then what only the other has.
    n = words.keys.size
    by_key = words.keys.argsort()
    place = np.concatenate((by_key, [n]))[words.keys.searchsorted(vectors.keys, sorter=by_key)]
    alone = np.concatenate((words.keys, _NONE))[place] != vectors.keys
    keys, lexical = words.keys, words.scores.astype(np.float64)
    if alone.any():
        place[alone] = np.arange(n, n + np.count_nonzero(alone))
        keys = np.concatenate((keys, vectors.keys[alone]))
        lexical = np.append(lexical, np.full(keys.size - n, np.nan))
    vector = np.full(keys.size, np.nan)
    vector[place] = vectors.scores
    whole = n >= depth
    scores = tuning.lexical_weight * _scaled(lexical, words.scores[:depth], None if whole else 0.0)
    scores += tuning.vector_weight * _scaled(vector, vectors.scores[:depth], None)
    scores /= tuning.lexical_weight + tuning.vector_weight
    order = np.lexsort((keys, -scores))[:k]
    parts = [[None if score != score else score for score in part[order].tolist()] for part in (lexical, vector)]  # noqa: PLR0124  # NaN
    return Ranked(keys[order].tolist(), scores[order].tolist(), *parts)


def _scaled(scores: NDArray[np.float64], listed: Scores, floor: float | None) -> NDArray[np.float64]:
    if not listed.size:
        return np.zeros(scores.size)
    top = float(listed[0])
    low = float(listed[-1]) if floor is None else floor
    spread = top - low
    scaled = (scores - low) / spread if spread > 0 else (scores >= top).astype(np.float64)
    return np.fmax(scaled, 0.0)  # NaN, which is not in the list, becomes 0 too


def without_copies(
    ranked: Ranked, vectors_of: Callable[[Keys], tuple[Keys, Scores]], k: int
) -> tuple[Ranked, list[list[int]]]:
    """Return the best k that are no near copies of better ones, and for each the keys of its near copies.

    A near copy is one whose vector has a cosine of at least 0.9 with the better one's. Of those that are ranked, as
    many are looked at as it takes, 3 k at a time; one without a stored vector is taken for no copy.
    """
    kept: list[int] = []
    copies: list[list[int]] = []
    rows: list[Scores] = []  # of those that are kept
    keys = ranked.keys
    for start in range(0, len(keys), _LOOKED_AT * k):
        chunk = keys[start : start + _LOOKED_AT * k]
        stored, vectors = vectors_of(np.array(chunk, np.uint64))
        row_of = dict(zip(stored.tolist(), vectors, strict=True))
        for place in range(start, start + len(chunk)):
            row = row_of.get(keys[place])
            alike = [] if row is None or not rows else (np.stack(rows) @ row >= _COPY).nonzero()[0].tolist()
            if alike:
                copies[alike[0]].append(keys[place])
            elif len(kept) < k:
                kept.append(place)
                copies.append([])
                rows.append(np.zeros(vectors.shape[1], np.float32) if row is None else row)
        if len(kept) == k:
            break
    return ranked.at(kept), copies


def _listed(hits: Hits) -> Hits:
    if hits.keys.size and hits.keys[-1] != NO_KEY:
        return hits
    found = hits.keys != NO_KEY
    return Hits(hits.keys[found], hits.scores[found])


def _of_many(search: Callable[[int], Hits], k: int, n: int, among: Keys | None) -> Hits | None:
    """Return the best k allowed keys out of somewhat more of the best of all, where most of all n are allowed.

    None where that is not so, or where too few of them are allowed. Looking a few keys up in the ascending ``among`` is
    faster than looking up all of ``among`` in the engine.
    """
    if among is None or among.size * _MANY < n or not among.size:
        return None
    width = -(-2 * k * n // among.size)
    keys, scores = _listed(search(width))
    fits = among[np.minimum(among.searchsorted(keys), among.size - 1)] == keys
    if int(fits.sum()) < k and keys.size == width:
        return None
    return Hits(keys[fits][:k], scores[fits][:k])


def _widening(store: PatternStore, vector: ArrayLike, k: int, allowed: Keys) -> Hits:
    """Return the best k allowed keys of a store that cannot filter: it is asked for more and more."""
    wanted = min(k, len(allowed))
    width = max(4 * k, 64)
    while True:
        keys, scores = _listed(store.search(vector, width))
        fits = np.isin(keys, allowed)
        if int(fits.sum()) >= wanted or width >= len(store):
            return Hits(keys[fits][:k], scores[fits][:k])
        width *= 4
