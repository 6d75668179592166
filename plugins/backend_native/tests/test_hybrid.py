"""A hybrid search in one native call against the fusion of its parts in NumPy."""

from __future__ import annotations

import random

import numpy as np
import pytest
from aqe_backend_numpy.embedder import LexicalEmbedder
from aqe_backend_numpy.store import NumpyPatternStore
from hypothesis import given, settings
from hypothesis import strategies as st

import aqe_core
from aqe_core import embedding, searching
from aqe_core.errors import InputError
from aqe_core.searching import Tuning

pytest.importorskip(
    "aqe_backend_native._native", reason="the native backend is not installed: pip install ./plugins/backend_native"
)

from aqe_backend_native.embedder import NativeLexicalEmbedder
from aqe_backend_native.store import make_store
from aqe_backend_native.text_index import NativeTextIndex

WORDS = ["retry", "login", "cart", "total", "json", "parse", "mail", "timeout", "größe", "日本", "HTTPServer", "the"]
NATIVE = {"embedder": "native", "text_index": "native", "pattern_store": "native"}


def documents(n, seed=0):
    rng = random.Random(seed)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 9))) for _ in range(n)]
    return [(f"test_{text.split()[0]}", text) for text in texts]


def engines(n, missing=0, **options):
    """Return an index, an embedder and a store of its vectors; the store lacks the first few."""
    stored = documents(n)
    index, embedder = NativeTextIndex(), NativeLexicalEmbedder(dim=64)
    embedder.fit(stored)
    store = make_store(dim=64, background=False, **options)
    keys = np.arange(5, 5 + 3 * n, 3, dtype=np.uint64)
    index.add(keys, stored)
    store.add(keys[missing:], embedder.embed(stored[missing:]))
    return index, embedder, store


SMALL, LARGE, APART = engines(40), engines(1500), engines(60, missing=20)
GAPS = engines(2000, missing=700)
EMPTY = NativeTextIndex(), NativeLexicalEmbedder(dim=64), make_store(dim=64)


@given(
    st.sampled_from([EMPTY, SMALL, LARGE, APART, GAPS]),
    st.lists(st.sampled_from([*WORDS, "zebra", "\ud800", "test_retryLogin"]), max_size=6).map(" ".join),
    st.integers(1, 700),
    st.sampled_from([(1.0, 0.5), (0.0, 1.0), (2.0, 0.0), (0.3, 7.0)]),
    st.booleans(),
)
@settings(deadline=None)
def test_it_is_the_fusion_of_its_parts(them, query, k, weights, narrow):
    tuning = Tuning(lexical_weight=weights[0], vector_weight=weights[1])
    found, expected = (
        searching.hybrid(*them, query, k, among=None, tuning=tuning, narrow=narrow, at_once=at_once)
        for at_once in (True, False)
    )
    assert found == expected


def test_engines_that_it_does_not_know():
    index, embedder, store = SMALL
    plan = {"k": 10, "pool": 10, "depth": 10, "weights": (1.0, 0.5), "narrow": False}
    other = NumpyPatternStore(dim=64)
    other.add([1], embedder.embed([("", "retry")]))
    assert index.hybrid("retry", embedder, other, **plan) is None
    assert index.hybrid("retry", LexicalEmbedder(dim=64), store, **plan) is None
    assert index.hybrid("retry", NativeLexicalEmbedder(dim=65), store, **plan) is None
    with pytest.raises(InputError):
        index.hybrid(7, embedder, store, **plan)


def test_a_workspace_answers_alike_with_and_without(tmp_path, monkeypatch):
    with aqe_core.open(tmp_path, **NATIVE) as ws:
        ws.patterns.add({"id": str(i), "name": name, "text": text} for i, (name, text) in enumerate(documents(1300)))
        asked = ["retry timeout", "größe 日本", "zebra", "def test_login(): assert HTTPServer().parse(json)"]
        ws.patterns.search("retry")  # vectors come with the first search
        ws.patterns.store.optimize()  # what the store still measures in the background changes what is nearest
        at_once = [ws.patterns.search(query, k) for query in asked for k in (1, 10, 80)]
        calls = []
        monkeypatch.setattr(NativeTextIndex, "hybrid", lambda *_, **__: calls.append(1))
        assert [ws.patterns.search(query, k) for query in asked for k in (1, 10, 80)] == at_once
        assert len(calls) == len(at_once)


def test_words_look_wider_where_the_store_is_approximate(tmp_path, monkeypatch):
    asked = []
    nearest = searching.nearest
    monkeypatch.setattr(searching, "nearest", lambda *given: asked.append(given[2]) or nearest(*given))
    with aqe_core.open(tmp_path, **NATIVE) as ws:
        ws.patterns.add([{"id": str(i), "name": name, "text": text} for i, (name, text) in enumerate(documents(300))])
        hits = ws.patterns.search("retry login", 5, mode="vector")
        assert len(hits) == 5
        ws.patterns.search(ws.patterns.embedder.embed_queries(["retry login"])[0], 5)
    with aqe_core.open(tmp_path, **NATIVE | {"pattern_store": "numpy"}) as ws:
        exact = ws.patterns.search("retry login", 5, mode="vector")
    assert asked == [20, 5, 5]
    assert [hit.vector for hit in hits] == pytest.approx([hit.vector for hit in exact], abs=0.004)


def test_embedders_that_make_the_same_vectors_take_over_at_once(tmp_path, monkeypatch):
    monkeypatch.setitem(embedding._BACKGROUND_FROM, "lexical", 0)
    found = []
    for embedder, kind in (
        ("lexical", LexicalEmbedder),
        ("native", NativeLexicalEmbedder),
        ("lexical", LexicalEmbedder),
    ):
        with aqe_core.open(tmp_path, embedder=embedder, text_index="numpy", pattern_store="numpy") as ws:
            if not found:
                ws.patterns.add([{"id": name + text, "name": name, "text": text} for name, text in documents(50)])
            found.append([(hit.pattern.id, hit.score) for hit in ws.patterns.search("retry login")])
            assert type(ws.patterns.embedder) is kind
            assert ws.patterns.reembedding is None
            assert ws.selections["embedder"].backend == embedder
    assert found[0] == found[1] == found[2]
