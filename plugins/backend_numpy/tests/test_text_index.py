"""The text index: its formula against a plain computation, its terms, its history, its state."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from aqe_backend_numpy import _sums
from aqe_backend_numpy import text_index as module
from aqe_backend_numpy._subtokens import subtokens
from aqe_backend_numpy._terms import FUNCTION_WORDS, identifiers, places, terms_of_identifier
from aqe_backend_numpy.embedder import LexicalEmbedder
from aqe_backend_numpy.store import NumpyPatternStore
from aqe_backend_numpy.text_index import NumpyTextIndex
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aqe_core import searching
from aqe_core.contracts.pattern_store import NO_KEY
from aqe_core.errors import InputError
from aqe_core.searching import Tuning
from aqe_core.state import EngineState

WORDS = ["retry", "timeOut", "cap_delay", "cart", "DataFrame", "is", "x", "日本", "größe"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)


def terms(text):
    return [term for identifier in identifiers(text) for term in terms_of_identifier(identifier)]


def plain_scores(documents, query, k1=1.2, b=0.75, name_weight=2):
    """BM25 as the docstring of the class says it, document by document, with its rounded parts."""
    tf = []
    for name, text in documents:
        counts = Counter(terms(text))
        for term in terms(name):
            counts[term] += name_weight
        tf.append(+counts)
    n, total = len(documents), sum(count.total() for count in tf)
    unit = 2.0 ** (round(math.log2(total / n) * 16) / 16) if total else 1.0
    asked = Counter(terms(query))
    holding = {term: sum(term in count for count in tf) for term in asked}
    scores = []
    for count in tf:
        score = 0.0
        for term, qtf in asked.items():
            if count[term]:
                idf = math.log((n - holding[term] + 0.5) / (holding[term] + 0.5) + 1.0)
                weight = (0.3 if term in FUNCTION_WORDS else 1.0) * idf * 2.0 * qtf / (qtf + 1.0)
                impact = count[term] * (k1 + 1) / (count[term] + k1 * (1 - b) + k1 * b / unit * count.total())
                score += max(1, round(weight * 128)) / 128 * max(1, round(impact * 256)) / 256
        scores.append(score)
    return np.array(scores, np.float32)


def random_documents(n, seed=0):
    rng = np.random.default_rng(seed)
    vocabulary = [f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(300)]
    shares = 1.0 / np.arange(1, 301)
    draw = [rng.choice(vocabulary, size=int(rng.integers(1, 40)), p=shares / shares.sum()) for _ in range(n)]
    return [(f"test_{words[0]}", " ".join(words)) for words in draw]


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=12), TEXTS)
@settings(max_examples=30, deadline=None)
def test_scores_are_those_of_the_formula(documents, query):
    index = NumpyTextIndex()
    index.add(np.arange(len(documents)), documents)
    hits = index.search(query, len(documents))
    expected = plain_scores(documents, query)
    found = hits.keys != NO_KEY
    assert found.sum() == (expected > 0).sum()
    np.testing.assert_array_equal(hits.scores[found], expected[hits.keys[found]])


@pytest.mark.parametrize("options", [{"k1": 0.0}, {"k1": 2.0, "b": 0.0}, {"b": 1.0}, {"name_weight": 0}])
def test_parameters_are_those_of_the_formula(options):
    documents = random_documents(40)
    index = NumpyTextIndex(**options)
    index.add(np.arange(40), documents)
    expected = plain_scores(documents, "worda wordb wordc", **options)
    hits = index.search("worda wordb wordc", 40)
    found = hits.keys != NO_KEY
    np.testing.assert_array_equal(hits.scores[found], expected[hits.keys[found]])


def test_dense_terms_and_groups_of_rows_give_the_same_scores():
    documents = random_documents(3000, seed=1)
    index = NumpyTextIndex()
    index.add(np.arange(3000), documents)
    query = " ".join(f"word{chr(97 + i)}a" for i in range(26))
    expected = plain_scores(documents, query)
    order = np.lexsort((np.arange(3000), -expected))
    for k in (1, 10, 100, 500, 2999):
        hits = index.search(query, k)
        n = min(k, int((expected > 0).sum()))
        np.testing.assert_array_equal(hits.keys[:n], order[:n].astype(np.uint64))
        np.testing.assert_array_equal(hits.scores[:n], expected[order[:n]])
    assert index._ready().base.of(index._vocabulary["wordaa"]).line is not None


class History(RuleBasedStateMachine):
    """Whatever was done to it, it answers like one built anew, also after a round trip through its state."""

    def __init__(self):
        super().__init__()
        self.index = NumpyTextIndex()
        self.there = {}

    @rule(pairs=st.lists(st.tuples(st.integers(0, 30), st.tuples(TEXTS, TEXTS)), max_size=10))
    def add(self, pairs):
        self.index.add([key for key, _ in pairs], [document for _, document in pairs])
        self.there.update(pairs)

    @rule(keys=st.lists(st.integers(0, 30), max_size=10))
    def remove(self, keys):
        there = {key for key in keys if self.there.pop(key, None) is not None}
        assert self.index.remove(keys) == len(there)

    @rule(query=TEXTS)
    def search(self, query):
        anew = NumpyTextIndex()
        anew.add([*self.there], [*self.there.values()])
        for mine, fresh in zip(self.index.search(query, 40), anew.search(query, 40), strict=True):
            np.testing.assert_array_equal(mine, fresh)

    @rule()
    def reopen(self):
        state = self.index.export_state()
        self.index = NumpyTextIndex()
        self.index.import_state(state)

    @invariant()
    def keys_are_there(self):
        assert self.index.keys().tolist() == sorted(self.there)
        assert len(self.index) == len(self.there)


History.TestCase.settings = settings(max_examples=10, stateful_step_count=10, deadline=None)
test_history = History.TestCase


def test_leaving_rows_out_loses_none_of_the_best():
    documents = random_documents(4000)
    index = NumpyTextIndex()
    index.add(np.arange(3900), documents[:3900])
    index.search("worda", 1)  # packs
    index.add(np.arange(3900, 4000), documents[3900:])  # a tail
    index.remove(np.arange(0, 4000, 9))  # rows that are dead in both
    queries = [text for _, text in documents[::200]] + ["wordaa wordba wordzl", "wordaa", "test wordca wordyk wordxl"]
    everything = index.keys()
    for query in queries:
        for k in (1, 5, 40):
            fast, plain = index.search(query, k), index.search(query, k, among=everything)
            np.testing.assert_array_equal(fast.keys, plain.keys)
            np.testing.assert_array_equal(fast.scores, plain.scores)


def test_sums_that_float32_would_round_are_exact():
    documents = [(name, f"{text} " * 40) for name, text in random_documents(1500, seed=5)]
    index = NumpyTextIndex(k1=100.0)
    index.add(np.arange(1500), documents)
    query = " ".join(f"word{chr(97 + i)}{chr(97 + j)}" for i in range(26) for j in range(26))
    expected = plain_scores(documents, query, k1=100.0)
    assert expected.max() > 2.0**9
    hits = index.search(query, 100)
    np.testing.assert_array_equal(hits.scores, expected[hits.keys])


def test_a_tail_is_packed_when_it_is_long_and_dead_rows_are_dropped():
    index = NumpyTextIndex()
    documents = random_documents(2000, seed=2)
    index.add(np.arange(2000), documents)
    index.search("worda")
    assert (index._base.n, index._tail.n) == (2000, 0)
    index.add([5000, 5001], documents[:2])
    index.search("worda")
    assert (index._base.n, index._tail.n) == (2000, 2)
    index.add(np.arange(3000, 3300), documents[:300])
    index.search("worda")
    assert (index._base.n, index._tail.n) == (2302, 0)
    before = index._base.rows.size
    index.remove(np.arange(1000))
    index.search("worda")
    assert index._base.n == 1302
    assert index._base.rows.size < 0.7 * before
    assert not index._dead.size


def test_unused_terms_are_forgotten():
    index = NumpyTextIndex()
    index.add(np.arange(100), [("", f"only{chr(97 + i % 26)}{chr(97 + i // 26)} common") for i in range(100)])
    index.remove(np.arange(90))
    index.search("common")
    assert len(index._vocabulary) == 11
    assert index.search("common", 20).keys[:10].tolist() == [*range(90, 100)]
    index.remove(np.arange(90, 100))
    assert not index._vocabulary


def test_terms_are_subtokens_and_their_pairs():
    assert terms("test_DataFrame x2") == ["test", "data", "fram", "testdata", "datafram", "x", "2", "x2"]
    assert terms("HTTPServer") == ["http", "server", "httpserver"]
    assert terms("__init__ _") == ["init"]


@given(st.text(max_size=60))
def test_terms_hold_all_subtokens_in_order(text):
    found = [part for name in identifiers(text) for part in terms_of_identifier(name)[: len(subtokens(name))]]
    assert found == subtokens(text)


@given(st.text(alphabet="ab_Cé日\u0308 .1ﬁ", max_size=40))
def test_places_are_where_the_identifiers_are(text):
    for name, start, end in places(text):
        assert 0 <= start < end <= len(text)
        assert identifiers(text[start:end]) == [name]
    assert [term for name, _, _ in places(text) for term in terms_of_identifier(name)] == terms(text)


def test_a_joined_word_is_found_by_its_parts_and_the_parts_by_the_joined_word():
    index = NumpyTextIndex()
    index.add([1, 2, 3], [("", "DataFrame"), ("", "data here and frame there"), ("", "dataframe")])
    assert index.search("dataframe").keys[:2].tolist() == [3, 1]
    assert index.search("data_frame").keys[0] == 1


def test_function_words_tell_little():
    index = NumpyTextIndex()
    index.add(np.arange(12), [("", "the should"), ("", "retry"), *(("", f"other {i}") for i in range(10))])
    assert index.search("the retry should").keys[:2].tolist() == [1, 0]
    assert index.search("the").keys[0] == 0


def test_matches_name_the_words():
    index = NumpyTextIndex()
    document = ("test_retryIsCapped", "assert retries == 3")
    index.add([1, 2], [document, ("", "assert something")])
    found = index.matches("the retries, capped", document)
    assert [(each.field, each.start, each.end, each.words) for each in found] == [
        ("name", 0, 18, ("retry", "cap")),
        ("text", 7, 14, ("retry",)),
    ]
    assert found[0].weight > found[1].weight > 0


def test_only_the_beginning_of_an_enormous_text_is_read():
    index = NumpyTextIndex()
    index.add([1], [("", " " * 2**18 + "retry")])
    assert index.search("retry").keys[0] == NO_KEY


def test_many_identifiers_empty_the_cache(monkeypatch):
    monkeypatch.setattr(module, "_MAX_CACHED", 4)
    index = NumpyTextIndex()
    for key in range(5):
        index.add([key], [("", "one two three four five six")])
    assert len(index._cache) <= 4
    assert index.search("six").keys[:5].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "options",
    [{"k1": -1}, {"k1": "1"}, {"k1": math.nan}, {"b": 1.1}, {"b": True}, {"name_weight": 1.5}, {"name_weight": 101}],
)
def test_parameters_that_make_no_sense(options):
    with pytest.raises(InputError, match="|".join(options)):
        NumpyTextIndex(**options)


def test_the_fingerprint_names_the_parameters():
    assert NumpyTextIndex().fingerprint == "bm25/1/1.2/0.75/2/1"
    assert repr(NumpyTextIndex(k1=2)) == "NumpyTextIndex(k1=2.0, b=0.75, name_weight=2)"


def broken(**changes):
    index = NumpyTextIndex()
    index.add([3, 5, 9], [("test_retry", "cap delay"), ("", "cap"), ("", "delay delay")])
    state = index.export_state()
    arrays = {name: changes.get(name, lambda array: array)(array.copy()) for name, array in state.arrays.items()}
    return EngineState(kind=state.kind, manifest=state.manifest, arrays=arrays)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"keys": lambda a: a.astype(np.int64)}, "its keys are no array of u8"),
        ({"keys": lambda a: a[::-1]}, "do not ascend"),
        ({"keys": lambda a: np.array([3, 5, NO_KEY], np.uint64)}, "do not ascend"),
        ({"keys": lambda a: a[:2]}, "lengths are not those"),
        ({"lengths": lambda a: -a}, "lengths are not those"),
        ({"counts": lambda a: a + 1}, "do not add up"),
        ({"counts": lambda a: a[1:]}, "differ in number"),
        ({"rows": lambda a: a + 5}, "a row has no key"),
        ({"rows": lambda a: a[::-1]}, "do not ascend, or"),
        ({"tf": lambda a: a * 0}, "no frequency"),
        ({"terms": lambda a: np.append(a, a[:1]) * 0 + 255}, "no text"),
        ({"terms": lambda a: np.frombuffer(b"x\n" * a.size, np.uint8)}, "differ in number, or a term is twice"),
    ],
)
def test_a_broken_state_is_refused(changes, complaint):
    index = NumpyTextIndex()
    index.add([1], [("", "kept")])
    with pytest.raises(InputError, match=complaint):
        index.import_state(broken(**changes))
    assert index.search("kept").keys[0] == 1


def test_a_state_of_other_parameters_is_refused():
    state = NumpyTextIndex(k1=2.0).export_state()
    with pytest.raises(InputError, match=r"expected 'text-index/postings/1' 'bm25/1/1\.2"):
        NumpyTextIndex().import_state(state)


def test_an_empty_state_makes_an_empty_index():
    index = NumpyTextIndex()
    index.import_state(NumpyTextIndex().export_state())
    assert len(index) == 0
    index.add([1], [("", "retry")])
    assert index.search("retry").keys[0] == 1


def both_engines(documents, *, metric="cosine"):
    embedder = LexicalEmbedder(dim=32)
    store, index = NumpyPatternStore(dim=32, metric=metric), NumpyTextIndex()
    keys = np.arange(len(documents)) * 3 + 1
    store.add(keys, embedder.embed(documents))
    index.add(keys, documents)
    return index, embedder, store


def fused(index, embedder, store, query, pool, depth, weights):
    words = searching.worded(index, query, pool, None)
    vectors = searching.nearest(store, embedder.embed_queries([query])[0], pool, np.sort(words.keys))
    return searching.fuse(words, vectors, Tuning(lexical_weight=weights[0], vector_weight=weights[1]), depth)


@pytest.mark.parametrize(("pool", "depth", "weights"), [(100, 100, (1.0, 0.5)), (7, 3, (0.0, 2.0)), (120, 1, (1, 0))])
def test_a_hybrid_search_is_the_fusion_of_its_parts(pool, depth, weights):
    documents = random_documents(1500, seed=3)
    index, embedder, store = both_engines(documents[:1400])
    index.search("worda", 1)  # packs
    late = np.arange(20_000, 20_100)
    index.add(late, documents[1400:])
    store.add(late[::-1], embedder.embed(documents[:1399:-1]))  # its keys do not ascend any more
    for each in (index, store):
        each.remove(np.arange(1, 4200, 30))
    asked = "worda wordba worda", documents[5][1], "wordaa testwordaa"
    for query in asked:
        found = index.hybrid(query, embedder, store, k=pool, pool=pool, depth=depth, weights=weights, narrow=True)
        assert found == fused(index, embedder, store, query, pool, depth, weights)


def test_a_hybrid_search_is_left_to_others_where_it_compares_more_than_the_best_by_words():
    index, embedder, store = both_engines(random_documents(60))
    plan = {"k": 10, "pool": 5, "depth": 5, "weights": (1.0, 0.5), "narrow": True}
    assert index.hybrid("worda wordb", embedder, store, **plan) is not None
    assert index.hybrid("worda wordb", embedder, store, **{**plan, "narrow": False}) is None
    assert index.hybrid("worda wordb", embedder, store, **{**plan, "pool": 61}) is None
    assert index.hybrid("worda wordb", embedder, object(), **plan) is None
    store.remove(store.keys()[::2])
    assert index.hybrid("worda wordb", embedder, store, **plan) is None
    with pytest.raises(InputError, match="the query is 7"):
        index.hybrid(7, embedder, store, **plan)


def test_what_is_kept_between_searches_is_bounded(monkeypatch):
    documents = random_documents(3000, seed=4)
    queries = [text for _, text in documents[:20]]
    index = NumpyTextIndex()
    index.add(np.arange(3000), documents)
    expected = [index.search(query, 50) for query in queries]
    monkeypatch.setattr(_sums, "_MIN_HELD", 1)
    other = NumpyTextIndex()
    other.import_state(index.export_state())
    sums = other._ready()
    for query, hits in zip(queries, expected, strict=True):
        found = other.search(query, 50)
        np.testing.assert_array_equal(found.keys, hits.keys)
        np.testing.assert_array_equal(found.scores, hits.scores)
        assert sum(each.rows.size for each in sums.values()) <= other._base.rows.size
    assert any(each.weight is not None for each in sums.values())
