"""The native text half against the NumPy backend's: subtokens, index and embedder return the same, bit for bit."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from aqe_backend_numpy._subtokens import subtokens
from aqe_backend_numpy._terms import identifiers, terms_of_identifier
from aqe_backend_numpy.embedder import LexicalEmbedder
from aqe_backend_numpy.text_index import NumpyTextIndex
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aqe_core.errors import InputError
from aqe_core.state import EngineState
from aqe_core.testing import EmbedderConformance, TextIndexConformance

pytest.importorskip(
    "aqe_backend_native._native", reason="the native backend is not installed: pip install ./plugins/backend_native"
)

from aqe_backend_native import _native
from aqe_backend_native.embedder import NativeLexicalEmbedder
from aqe_backend_native.plugin import aqe_embedders, aqe_text_indexes
from aqe_backend_native.text_index import NativeTextIndex

# What meets in names, and where cutting, stemming and normalising go wrong first.
BITS = ["A", "AB", "ABC", "s", "es", "ed", "ing", "ies", "ied", "e", "ss", "mm", "x", "plan", "raise", "7", "42", "_"]
BITS += [
    " ",
    "=",
    ".",
    "\n",
    "\0",
    "é",
    "e\u0301",
    "\u0301",
    "\u0338",
    "ß",
    "İ",
    "\u017f",
    "ﬁ",
    "²",
    "Ⅳ",
    "日本",
    "カ",
    "한",
]
BITS += ["\u0969", "\ud800", "😀", "a" * 70, "\u1e9e", "Ǆ", "ǅ", "\u00a8", "\u00a0"]
CODE = st.lists(st.sampled_from(BITS), max_size=12).map("".join)
TEXTS = st.one_of(CODE, st.text(st.characters(exclude_categories=[]), max_size=30))
DOCUMENTS = st.tuples(TEXTS, TEXTS)


def terms(text):
    return [term for identifier in identifiers(text) for term in terms_of_identifier(identifier)]


def real_texts(n):
    folders = [Path(__file__).parents[2], Path(np.__file__).parent / "_core" / "tests"]
    return [path.read_text("utf-8") for folder in folders for path in sorted(folder.rglob("*.py"))[:n]]


@given(TEXTS)
def test_subtokens_and_terms_are_those_of_python(text):
    assert _native.subtokens(text, subtokens) == subtokens(text)
    assert _native.terms(text, terms) == terms(text)


def test_subtokens_and_terms_of_sources():
    for text in real_texts(60):
        read = text[: 2**18]
        assert _native.subtokens(text, subtokens) == subtokens(read)
        assert _native.terms(text, terms) == terms(read)


@pytest.mark.parametrize("char", ["a", "é", "日", "\ud800"])
def test_only_the_beginning_of_an_enormous_text_is_read(char):
    text = f"{char} " * 2**17 + "over"
    assert _native.subtokens(text, subtokens) == subtokens(text[: 2**18])
    assert _native.subtokens(text[4:], subtokens)[-1] == "over"


# -- index ------------------------------------------------------------------------------------------------------------


class TestNativeTextIndex(TextIndexConformance):
    capabilities = aqe_text_indexes()[0].capabilities

    def make(self, **options):
        return NativeTextIndex(**options)


def both(documents=(), **options):
    pair = NumpyTextIndex(**options), NativeTextIndex(**options)
    for index in pair:
        index.add(range(len(documents)), documents)
    return pair


def assert_same_hits(pair, queries, k, among=None):
    expected, found = (index.search(queries, k, among=among) for index in pair)
    np.testing.assert_array_equal(found.keys, expected.keys)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert (found.keys.dtype, found.scores.dtype) == (expected.keys.dtype, expected.scores.dtype)


def random_documents(n, seed=0):
    rng = np.random.default_rng(seed)
    vocabulary = [f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(300)] + ["the", "größe", "日本"]
    shares = 1.0 / np.arange(1, len(vocabulary) + 1)
    draw = [rng.choice(vocabulary, size=int(rng.integers(1, 40)), p=shares / shares.sum()) for _ in range(n)]
    return [(f"test_{words[0]}", " ".join(words)) for words in draw]


@given(st.lists(DOCUMENTS, max_size=6), st.lists(TEXTS, max_size=3), st.integers(1, 8))
def test_results_are_those_of_numpy(documents, queries, k):
    pair = both(documents)
    assert_same_hits(pair, queries, k)
    for query in queries:
        assert_same_hits(pair, query, k)
        assert_same_hits(pair, query, k, among=[4, 1, 1, 99])
        for document in documents:
            assert pair[1].matches(query, document) == pair[0].matches(query, document)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"k1": 0.0},
        {"k1": 2, "b": 0},
        {"b": 1.0, "name_weight": 0},
        {"name_weight": 100},
        {"k1": 100.0, "name_weight": 1},  # sums beyond 32 bits
    ],
)
def test_many_documents_and_all_parameters(options):
    documents = random_documents(3000)
    pair = both(documents, **options)
    assert pair[1].fingerprint == pair[0].fingerprint
    queries = [text for _, text in documents[::250]]
    queries += ["the test of worda", "nothing", "", "日本 größe", " ".join(text for _, text in documents[:200])]
    for k in (1, 10, 100, 5000):
        assert_same_hits(pair, queries, k)
    assert_same_hits(pair, queries, 20, among=range(0, 6000, 7))


def test_scores_that_float32_rounds_are_tied_alike():
    # Scores above 512 have no bit for the last of their steps.
    text = " ".join(f"rare{i:04}x" for i in range(200))
    documents = [(f"n{i}", text + " tail" * (i % 3)) for i in range(20)] + random_documents(500)
    pair = both(documents, k1=100.0, b=0.1)
    assert pair[1].search(text, 1).scores[0] > 512
    assert_same_hits(pair, [text, text + " tail"], 7)


class History(RuleBasedStateMachine):
    """Additions, replacements and removals leave both engines with the same answers."""

    def __init__(self):
        super().__init__()
        self.pair = both()
        self.documents = random_documents(400, seed=3)

    @rule(first=st.integers(0, 300), n=st.integers(1, 60), shift=st.integers(0, 399))
    def add(self, first, n, shift):
        keys = [first + i for i in range(n)]
        for index in self.pair:
            index.add(keys, [self.documents[(key + shift) % 400] for key in keys])

    @rule(keys=st.lists(st.integers(0, 360), max_size=80))
    def remove(self, keys):
        counts = {index.remove(keys) for index in self.pair}
        assert len(counts) == 1

    @rule(swapped=st.booleans())
    def move(self, swapped):
        numpy_state, native_state = (index.export_state() for index in self.pair)
        self.pair[0].import_state(native_state if swapped else numpy_state)
        self.pair[1].import_state(numpy_state if swapped else native_state)

    @invariant()
    def same(self):
        numpy_index, native = self.pair
        assert len(native) == len(numpy_index)
        np.testing.assert_array_equal(native.keys(), numpy_index.keys())
        assert_same_hits(self.pair, ["test worda wordb", "wordca wordaa the", "größe"], 15)
        assert_same_hits(self.pair, "test worda", 15, among=range(0, 300, 3))


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)


def test_a_state_holds_no_more_than_what_is_stored():
    index = NativeTextIndex()
    index.add([5, 3, 9], [("gone", "forgotten"), ("b", "kept words"), ("c", "words")])
    index.remove([5])
    other = NativeTextIndex()
    other.add([3, 9], [("b", "kept words"), ("c", "words")])
    found, expected = index.export_state(), other.export_state()
    assert found.manifest == expected.manifest
    for name in ("keys", "lengths"):
        np.testing.assert_array_equal(found.arrays[name], expected.arrays[name])
    assert b"forgotten" not in found.arrays["terms"].tobytes()


def test_an_empty_state_empties_an_index():
    index = NativeTextIndex()
    index.add([1], [("a", "b")])
    index.import_state(NumpyTextIndex().export_state())
    assert len(index) == 0
    index.add([2], [("a", "b")])
    assert index.search("a", 1).keys.tolist() == [2]


@pytest.mark.parametrize(
    "call",
    [
        lambda index: index.add([1, 2], [("a", "b")]),
        lambda index: index.add([-1], [("a", "b")]),
        lambda index: index.add([1], ["ab"]),
        lambda index: index.remove([2**64 - 1]),
        lambda index: index.search(7),
        lambda index: index.search(["a", 7]),
        lambda index: index.search("a", 0),
        lambda index: index.search("a", among=["x"]),
        lambda index: index.matches("a", ("b",)),
        lambda index: index.import_state(EngineState(kind="other", manifest={}, arrays={})),
    ],
)
def test_bad_input_is_refused_in_the_same_words(call):
    said = []
    for index in both([("a", "b")]):
        with pytest.raises(Exception) as refusal:  # noqa: PT011  # which one is compared below
            call(index)
        said.append((type(refusal.value), str(refusal.value)))
        assert len(index) == 1
    assert said[0] == said[1]


def test_options_are_refused_and_shown():
    for options in ({"k1": -1}, {"b": 2}, {"name_weight": 1.5}):
        with pytest.raises(InputError):
            NativeTextIndex(**options)
    assert repr(NativeTextIndex(k1=2)) == "NativeTextIndex(k1=2.0, b=0.75, name_weight=2)"


def in_threads(work, n=4):
    errors = []

    def guarded(i):
        try:
            work(i)
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_threads_search_while_others_write():
    documents = random_documents(600)
    numpy_index, native = both(documents)

    def work(i):
        for at in range(i, 600, 4):
            native.add([at + 1000], [documents[at]])
            found = native.search(documents[at][1], 5)
            assert found.scores[0] > 0
            native.remove([at + 1000])

    in_threads(work)
    assert_same_hits((numpy_index, native), [text for _, text in documents[::50]], 10)


# -- embedder ---------------------------------------------------------------------------------------------------------


class TestNativeLexicalEmbedder(EmbedderConformance):
    capabilities = aqe_embedders()[0].capabilities

    def make(self, **options):
        return NativeLexicalEmbedder(**options)


OPTIONS = [{}, {"dim": 64}, {"dim": 7, "name_weight": 0}, {"dim": 300, "learned": True}, {"dim": 512, "learned": False}]


@pytest.mark.parametrize("options", OPTIONS)
@settings(max_examples=25, deadline=None)
@given(documents=st.lists(DOCUMENTS, max_size=5), collection=st.lists(DOCUMENTS, max_size=5))
def test_vectors_are_those_of_numpy(options, documents, collection):
    expected, found = LexicalEmbedder(**options), NativeLexicalEmbedder(**options)
    for fitted in (False, True):
        if fitted:
            for embedder in (expected, found):
                embedder.fit(collection)
        assert found.fingerprint == expected.fingerprint
        np.testing.assert_array_equal(found.embed(documents), expected.embed(documents))
        texts = [text for _, text in documents]
        np.testing.assert_array_equal(found.embed_queries(texts), expected.embed_queries(texts))


def test_vectors_of_sources_after_a_fit():
    texts = real_texts(60)
    documents = [(text[10:60], text[at : at + 900]) for text in texts for at in range(0, min(len(text), 9000), 900)]
    expected, found = LexicalEmbedder(), NativeLexicalEmbedder()
    expected.fit(documents)
    found.fit(documents)
    assert found.fingerprint == expected.fingerprint
    np.testing.assert_array_equal(found.embed(documents), expected.embed(documents))
    again = NativeLexicalEmbedder()
    again.import_state(expected.export_state())
    assert again.fingerprint == found.fingerprint
    np.testing.assert_array_equal(again.embed(documents[:9]), expected.embed(documents[:9]))


def test_many_subtokens_begin_the_cache_anew():
    found, expected = NativeLexicalEmbedder(dim=16), LexicalEmbedder(dim=16)
    before = found.embed_queries(["capped retries"])
    for start in range(0, 80_000, 20_000):
        text = " ".join(f"{i}" for i in range(start, start + 20_000))
        np.testing.assert_array_equal(found.embed_queries([text]), expected.embed_queries([text]))
    np.testing.assert_array_equal(found.embed_queries(["capped retries"]), before)


def test_threads_embed_the_same():
    embedder = NativeLexicalEmbedder()
    documents = random_documents(80)
    expected = LexicalEmbedder().embed(documents)

    def work(i):
        for at in range(i, 80, 2):
            np.testing.assert_array_equal(embedder.embed(documents[at : at + 3]), expected[at : at + 3])

    in_threads(work)


def test_a_table_of_two_lengths_is_refused():
    with pytest.raises(ValueError, match="one length"):
        _native.SubtokenTable(["a"], [1, 2], 5, np.zeros((1, 256), np.int8))
