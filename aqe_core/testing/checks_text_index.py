"""Checks of text indexes: what is found, in which order, after any history, and kept as a state."""

# ruff: noqa: D401  # the first line of a check says what is promised
from __future__ import annotations

import json
import threading
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.embedder import Document
from aqe_core.contracts.pattern_store import NO_KEY
from aqe_core.contracts.text_index import HybridIndex, Ranked, TextIndex
from aqe_core.errors import DimensionError, InputError
from aqe_core.searching import Tuning, fuse, nearest, worded
from aqe_core.state import EngineState
from aqe_core.testing.backends import BruteForceStore, HashEmbedder
from aqe_core.testing.checks_embedder import DOCUMENTS, ODD_TEXTS
from aqe_core.testing.data import scattered_keys
from aqe_core.testing.expect import equal, raises, raises_alike, require, run_threads, same_array
from aqe_core.testing.kit import Context, check
from aqe_core.validate import as_k, as_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aqe_core.contracts.pattern_store import Hits

KEYS = np.arange(10, 10 + len(DOCUMENTS), dtype=np.uint64)
QUERIES = ("retry", "cart total", "assert", "the wrong password", "login json", "nothing of this kind")
_VOCABULARY = [
    "retry",
    "login",
    "cart",
    "total",
    "json",
    "parse",
    "mail",
    "timeout",
    "password",
    "error",
    "cache",
    "order",
]


def filled(kit: Context) -> Any:
    """Return an index of the documents."""
    index = kit.make()
    index.add(KEYS, DOCUMENTS)
    return index


def random_document(rng: np.random.Generator) -> Document:
    """Return a document of a few of a dozen words."""
    words = rng.choice(_VOCABULARY, size=int(rng.integers(1, 12)))
    return Document(f"test_{words[0]}", " ".join(words))


def found(hits: Hits) -> list[int]:
    """Return the keys of one query's hits."""
    return [int(key) for key in hits.keys if key != NO_KEY]


def same_hits(actual: Hits, expected: Hits, what: str) -> None:
    """Require the same keys and scores, bit for bit."""
    same_array(actual.keys, expected.keys, f"keys of {what}")
    same_array(actual.scores, expected.scores, f"scores of {what}")


@check("text_index")
def check_protocol(kit: Context) -> None:
    """It fulfils the protocol, is empty when made, and names its fingerprint.

    If this fails, look at the names and signatures in aqe_core.contracts.text_index.
    """
    index = kit.make()
    require(isinstance(index, TextIndex), f"{type(index).__name__} lacks a method of TextIndex")
    require(isinstance(index.fingerprint, str) and index.fingerprint, "the fingerprint is empty or no text")
    equal(len(index), 0, "length of a new index")
    same_array(index.keys(), np.empty(0, np.uint64), "keys of a new index")
    equal(found(index.search("retry", 3)), [], "keys found in a new index")


@check("text_index")
def check_words_are_found(kit: Context) -> None:
    """A document is found by its words, in name and text, in any case; not without one of them.

    If this fails, look at splitting and lower-casing, and at hits with a score of 0.
    """
    index = filled(kit)
    equal(found(index.search("retry", 9)), found(index.search("RETRY", 9)), "keys for RETRY")
    equal(sorted(found(index.search("retry", 9))), KEYS[:2].tolist(), "keys for a word in names and texts")
    equal(found(index.search("outbox", 9)), KEYS[5:].tolist(), "keys for a word in one text")
    equal(found(index.search("zebra", 9)), [], "keys for a word in no document")
    equal(found(index.search("", 9)), [], "keys for an empty query")
    equal(found(index.search("zebra outbox", 9)), KEYS[5:].tolist(), "keys for one known and one unknown word")


@check("text_index")
def check_rare_words_tell_more(kit: Context) -> None:
    """Of two documents with one word of the query each, the one with the rarer word comes first.

    If this fails, look at the sign of the idf.
    """
    index = kit.make()
    common = [Document("", f"common word number{i}") for i in range(20)]
    index.add(np.arange(21), [*common, Document("", "rare word number20")])
    equal(found(index.search("common rare", 30))[0], 20, "first key")
    equal(len(found(index.search("common rare", 30))), 21, "number of hits")


@check("text_index")
def check_order_and_ties(kit: Context) -> None:
    """Scores are float32, above 0, descending; equal documents have equal scores, in ascending order of key.

    If this fails, look at the choice of the best k, and at ties at its edge.
    """
    index = kit.make()
    keys = scattered_keys(300, seed=3)
    index.add(keys, [Document("", ("retry cart", "retry", "cart login")[i % 3]) for i in range(300)])
    for k in (1, 7, 100, 250, 400):
        hits = index.search("retry", k)
        equal((str(hits.keys.dtype), str(hits.scores.dtype)), ("uint64", "float32"), "dtypes")
        n = len(found(hits))
        equal(n, min(k, 200), "number of hits")
        require((hits.scores[:n] > 0).all() and (hits.scores[n:] == -np.inf).all(), "a score is not above 0, or padded")
        order = np.lexsort((hits.keys[:n], -hits.scores[:n]))
        same_array(order, np.arange(n), "order by descending score, then key")
    equal(found(index.search("retry", 100)), np.sort(keys[1::3]).tolist(), "keys of the best 100, all equal")


@check("text_index")
def check_replace(kit: Context) -> None:
    """A known key gets the new document; of equal keys in one call the last counts.

    If this fails, look at the postings of the old document.
    """
    index = filled(kit)
    index.add(KEYS[:1], [Document("test_zebra", "zebra")])
    equal(len(index), len(KEYS), "length after replacing")
    equal(found(index.search("zebra", 9)), KEYS[:1].tolist(), "keys for the new word")
    equal(found(index.search("retry", 9)), KEYS[1:2].tolist(), "keys for the old word")
    index.add([5, 5], [Document("first", "first"), Document("second", "second")])
    equal(found(index.search("first", 9)), [], "keys for the first of two documents of one key")
    equal(found(index.search("second", 9)), [5], "keys for the last of two documents of one key")


@check("text_index")
def check_remove(kit: Context) -> None:
    """Removed documents are not found; unknown keys are passed over and not counted.

    If this fails, look at what remove() returns, and at rows that are only marked as dead.
    """
    index = filled(kit)
    equal(index.remove([10, 10, 999]), 1, "what remove() returns")
    same_array(index.keys(), KEYS[1:], "keys after removing")
    equal(found(index.search("retry", 9)), KEYS[1:2].tolist(), "keys for a word of the removed document")
    equal(index.remove(index.keys()), len(KEYS) - 1, "what removing the rest returns")
    equal((len(index), found(index.search("retry", 9))), (0, []), "length and hits of the emptied index")
    index.add(KEYS[:1], DOCUMENTS[:1])
    equal(found(index.search("retry", 9)), KEYS[:1].tolist(), "keys after adding again")


@check("text_index")
def check_random_history(kit: Context) -> None:
    """After random additions, replacements and removals it answers, bit for bit, like one built anew.

    If this fails, look at what still counts removed documents: document frequencies, the mean length, the number N.
    """
    rng = np.random.default_rng(11)
    index = kit.make()
    there: dict[int, Document] = {}
    for step in range(60):
        keys = rng.integers(0, 80, size=int(rng.integers(1, 30)))
        if step % 3 == 2:
            index.remove(keys)
            for key in keys.tolist():
                there.pop(key, None)
        else:
            documents = [random_document(rng) for _ in keys]
            index.add(keys, documents)
            there.update(zip(keys.tolist(), documents, strict=True))
        if step % 5 == 4:
            anew = kit.make()
            anew.add([*there], [*there.values()])
            same_array(index.keys(), anew.keys(), f"keys after {step + 1} steps")
            for query in ("retry", "cart total login", "json json order", "zebra"):
                same_hits(index.search(query, 100), anew.search(query, 100), f"{query!r} after {step + 1} steps")


@check("text_index")
def check_among(kit: Context) -> None:
    """Among given keys the best are found with the scores that they have among all.

    If this fails, look at statistics over the allowed documents only; and filter before choosing the best k.
    """
    index = filled(kit)
    for query in QUERIES:
        everything = index.search(query, 9)
        for among in (KEYS[::2], KEYS[::-1], [11, 12, 999], np.empty(0, np.uint64)):
            allowed = np.isin(everything.keys, among) & (everything.keys != NO_KEY)
            n = int(allowed.sum())
            hits = index.search(query, 9, among=among)
            same_array(hits.keys[:n], everything.keys[allowed], f"keys of {query!r} among {among}")
            same_array(hits.scores[:n], everything.scores[allowed], f"scores of {query!r} among {among}")
            require((hits.keys[n:] == NO_KEY).all(), f"{query!r} among {among} finds others")


@check("text_index")
def check_shapes(kit: Context) -> None:
    """One query gives one axis, several give a row each with the same answers; none give none.

    If this fails, look at the special case of a single string.
    """
    index = filled(kit)
    batch = index.search([*QUERIES], 4)
    equal((batch.keys.shape, batch.scores.shape), ((len(QUERIES), 4), (len(QUERIES), 4)), "shapes of a batch")
    for i, query in enumerate(QUERIES):
        one = index.search(query, 4)
        equal(one.keys.shape, (4,), "shape for one query")
        same_array(one.keys, batch.keys[i], f"keys of {query!r} alone")
        same_array(one.scores, batch.scores[i], f"scores of {query!r} alone")
    equal(index.search([], 4).keys.shape, (0, 4), "shape for no query")


@check("text_index")
def check_matches(kit: Context) -> None:
    """Matches are in order, inside their field, and there are some exactly where a search finds the document.

    If this fails, look at offsets after normalizing or lower-casing, and at the two ways of splitting.
    """
    index = filled(kit)
    for query in QUERIES:
        hit = {*found(index.search(query, 9))}
        for key, document in zip(KEYS.tolist(), DOCUMENTS, strict=True):
            matches = index.matches(query, document)
            equal(bool(matches), key in hit, f"whether {query!r} matches {document.name}")
            equal(matches, sorted(matches, key=lambda each: (each.field, each.start)), "order of the matches")
            for each in matches:
                content = getattr(document, each.field)
                require(0 <= each.start < each.end <= len(content), f"{each} is outside its field")
                require(each.words and each.weight > 0, f"{each} has no words or no weight")
    wide = Document("", "größe 日本 retry")
    equal([wide.text[m.start : m.end] for m in index.matches("retry", wide)], ["retry"], "place after wide characters")


@check("text_index")
def check_odd_texts(kit: Context) -> None:
    """Empty, enormous and strange texts can be stored, asked and matched.

    If this fails, look at encoding lone surrogates, and at documents without a word.
    """
    index = kit.make()
    index.add(np.arange(len(ODD_TEXTS)), [Document(text, text) for text in ODD_TEXTS])
    equal(len(index), len(ODD_TEXTS), "length")
    for text in ODD_TEXTS:
        index.search(text, 20)
        index.matches(text, Document(text, text))
    equal(found(index.search("ä", 1)), [ODD_TEXTS.index("ä")], "key for a letter beyond ASCII")
    state = index.export_state()
    other = kit.make()
    other.import_state(state)
    same_hits(other.search("a", 20), index.search("a", 20), "odd texts after export and import")


@check("text_index")
def check_state(kit: Context) -> None:
    """An exported state, kept as JSON and arrays, makes a fresh index equal, and able to go on.

    If this fails, look at what the state leaves out, and at state that shares arrays with the index.
    """
    index = filled(kit)
    index.remove(KEYS[2:3])
    state = index.export_state()
    manifest = json.loads(json.dumps(dict(state.manifest), allow_nan=False))
    kept = EngineState(kind=state.kind, manifest=manifest, arrays={name: a.copy() for name, a in state.arrays.items()})
    expected = index.search([*QUERIES], 9)
    index.remove(KEYS)
    other = kit.make()
    other.add([1, 2], DOCUMENTS[:2])
    other.import_state(kept)
    same_array(other.keys(), np.delete(KEYS, 2), "keys after import")
    same_hits(other.search([*QUERIES], 9), expected, "hits after import")
    other.add(KEYS[2:3], DOCUMENTS[2:3])
    other.remove(KEYS[:1])
    anew = kit.make()
    anew.add(KEYS[1:], DOCUMENTS[1:])
    same_hits(other.search([*QUERIES], 9), anew.search([*QUERIES], 9), "hits after going on")


@check("text_index")
def check_bad_state(kit: Context) -> None:
    """A state of something else is refused and changes nothing.

    If this fails, look at import_state: check the kind first, then everything that is used.
    """
    index = filled(kit)
    good = index.export_state()
    bad = [
        EngineState(kind=kind, manifest=good.manifest, arrays=good.arrays) for kind in ("learner/x/1", good.kind + "0")
    ]
    bad.append(EngineState(kind=good.kind, manifest={}, arrays={}))
    expected = index.search([*QUERIES], 9)
    for state in bad:
        raises(InputError, partial(index.import_state, state), f"import of a broken {state.kind}")
        same_hits(index.search([*QUERIES], 9), expected, "hits after a refused import")


@check("text_index", needs="hybrid")
def check_hybrid(kit: Context) -> None:
    """A hybrid search in one call is the fusion of its parts, bit for bit; with engines that it does not know, None.

    If this fails, look at the scaling of lists shorter than the depth, and at keys that are in one list only.
    """
    index = filled(kit)
    require(isinstance(index, HybridIndex), f"{type(index).__name__} lacks a method of HybridIndex")
    embedder = HashEmbedder()
    store = BruteForceStore(dim=embedder.dim, metric="cosine")
    store.add(KEYS, embedder.embed(DOCUMENTS))
    hows = (2, 9, True), (3, 9, False), (9, 20, True), (9, 4, True), (9, 1, False)
    for query, (pool, k, narrow) in product(QUERIES, hows):
        weights = 1.0, 0.5
        actual = index.hybrid(query, embedder, store, k=k, pool=pool, depth=pool, weights=weights, narrow=narrow)
        if actual is None:
            continue
        words = worded(index, query, pool, None)
        among = np.sort(words.keys) if narrow and words.keys.size == pool else None
        vectors = nearest(store, embedder.embed_queries([query])[0], pool, among)
        expected = fuse(words, vectors, Tuning(lexical_weight=weights[0], vector_weight=weights[1]), pool, k)
        for name in Ranked._fields:
            one, other = getattr(actual, name), getattr(expected, name)
            what = f"{name} of the best {k}, of {pool} each, for {query!r}"
            equal([type(value) for value in one], [type(value) for value in other], f"types of {what}")
            equal(one, other, what)


@check("text_index")
def check_bad_input(kit: Context) -> None:
    """Bad keys, documents, queries and k get the contract's errors; nothing is changed.

    If this fails, look at the order: check everything first, then change.
    """
    index = filled(kit)
    expected = index.search([*QUERIES], 9)
    for keys in ([-1], [2**64 - 1], [1.5], [[1]]):
        raises_alike(partial(as_keys, keys), partial(index.add, keys, DOCUMENTS[:1]), f"add of keys {keys}")
        raises_alike(partial(as_keys, keys), partial(index.remove, keys), f"remove of keys {keys}")
        raises_alike(partial(as_keys, keys), partial(index.search, "retry", 1, among=keys), f"search among {keys}")
    raises(DimensionError, partial(index.add, [1, 2], DOCUMENTS[:1]), "add of two keys and one document")
    odd: list[Any] = [None, "text", ("name", None), ("name",), 7]
    for document in odd:
        raises(InputError, partial(index.add, [1, 2], [DOCUMENTS[0], document]), f"add of {document!r}")
        raises(InputError, partial(index.matches, "retry", document), f"matches of {document!r}")
    raises(InputError, partial(index.search, ["retry", 7]), "search for a number")
    raises(InputError, partial(index.matches, 7, DOCUMENTS[0]), "matches for a number")
    for k in (0, -1, 1.5, "3"):
        raises_alike(partial(as_k, k), partial(index.search, "retry", k), f"search with k={k!r}")
    same_array(index.keys(), KEYS, "keys after refused calls")
    same_hits(index.search([*QUERIES], 9), expected, "hits after refused calls")


@check("text_index", needs="thread_safe")
def check_threads(kit: Context) -> None:
    """Searches in several threads beside a writer find what is always there, with sound scores.

    If this fails, look at scratch space that searches share, and at arrays that a writer changes in place.
    """
    index = filled(kit)
    stop = threading.Event()
    failures: list[str] = []

    def write() -> None:
        rng = np.random.default_rng(5)
        while not stop.is_set():
            keys: NDArray[np.int64] = rng.integers(100, 140, size=8)
            index.add(keys, [random_document(rng) for _ in keys])
            index.remove(keys[:4])

    def read() -> None:
        for _ in range(50):
            for word, key in (("outbox", 15), ("decimal", 14)):
                hits = index.search(word, 3)
                if found(hits) != [key] or not hits.scores[0] > 0:
                    failures.append(f"{word!r} finds {hits}")

    run_threads([write], [read, read, read], stop, failures)
    require(not failures, "; ".join(failures[:3]))
