"""The NumPy pattern store against brute force in float64, a dict, and itself."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import numpy as np
import pytest
from aqe_backend_numpy import _keys, _scan
from aqe_backend_numpy.store import NumpyPatternStore
from hypothesis import given, settings
from hypothesis import strategies as st

from aqe_core.contracts import METRICS, NO_KEY, PatternStore
from aqe_core.errors import DimensionError, InputError, KeyRangeError, NonFiniteError

LARGEST = np.finfo(np.float32).max
SHARED = Path(__file__).parents[4] / "shared" / "data" / "test-patterns"


def normal(n, dim, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def filled(metric, vectors, keys=None):
    store = NumpyPatternStore(dim=vectors.shape[1], metric=metric)
    store.add(np.arange(len(vectors)) if keys is None else keys, vectors)
    return store


def brute_scores(metric, vectors, query):
    """Scores in float64, from the rows as given."""
    rows, query = vectors.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        return -((rows - query) ** 2).sum(axis=1)
    dots = rows @ query
    if metric == "cosine":
        dots /= np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    return dots


def assert_exact(metric, vectors, keys, query, k, hits):
    """Hits are the best k: right scores, right order, nothing better left out."""
    truth = brute_scores(metric, vectors, query)
    n = min(k, len(keys))
    assert hits.keys.shape == hits.scores.shape == (k,)
    assert (hits.keys[n:] == NO_KEY).all()
    assert (hits.scores[n:] == -np.inf).all()
    place = {int(key): row for row, key in enumerate(keys)}
    mine = truth[[place[int(key)] for key in hits.keys[:n]]]
    scale = max(1.0, float(np.abs(truth).max(initial=0.0)))
    np.testing.assert_allclose(hits.scores[:n], mine, rtol=0, atol=3e-7 * scale)
    np.testing.assert_allclose(mine, -np.sort(-truth)[:n], rtol=0, atol=3e-7 * scale)
    assert len(set(hits.keys[:n].tolist())) == n
    for i in range(n - 1):
        a, b = hits.scores[i : i + 2]
        assert a > b or (a == b and hits.keys[i] < hits.keys[i + 1])


def same(a, b):
    assert a.keys.tolist() == b.keys.tolist()
    assert a.scores.tobytes() == b.scores.tobytes()


def test_fulfils_the_contract():
    store = NumpyPatternStore(dim=3)
    assert isinstance(store, PatternStore)
    assert (store.dim, store.metric, len(store)) == (3, "cosine", 0)
    assert repr(store) == "NumpyPatternStore(dim=3, metric='cosine')"


# Search


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("n", "dim"), [(1, 1), (7, 3), (33, 5), (257, 17), (600, 300), (1000, 64), (3001, 20)])
def test_search_equals_brute_force(metric, n, dim):
    vectors = normal(n, dim) * np.random.default_rng(1).uniform(0.1, 10, (n, 1)).astype(np.float32)
    keys = np.random.default_rng(2).permutation(5 * n)[:n].astype(np.uint64) + np.uint64(2**63)
    queries = normal(9, dim, seed=3)
    store = filled(metric, vectors, keys)
    for k in (1, 10, n, n + 3):
        batch = store.search(queries, k)
        assert batch.keys.dtype == np.uint64
        assert batch.scores.dtype == np.float32
        assert batch.keys.shape == (9, k)
        for i, query in enumerate(queries):
            single = store.search(query, k)
            assert_exact(metric, vectors, keys, query, k, single)
            assert batch.keys[i].tolist() == single.keys.tolist()
            assert batch.scores[i].tobytes() == single.scores.tobytes()


@pytest.mark.parametrize("metric", METRICS)
def test_several_blocks_and_tiles_give_the_same_bits_as_one(metric, monkeypatch):
    vectors, queries = normal(2500, 12), normal(300, 12, seed=1)
    want = filled(metric, vectors).search(queries, 20)
    monkeypatch.setattr(_scan, "_TILE", 2**16)
    monkeypatch.setattr("aqe_backend_numpy._rows._MIN_BLOCK", 12 * 100)
    pieces = NumpyPatternStore(dim=12, metric=metric)
    for start in range(0, 2500, 130):
        pieces.add(np.arange(start, min(start + 130, 2500)), vectors[start : start + 130])
    assert len(pieces._rows.blocks) > 3
    same(pieces.search(queries, 20), want)
    assert pieces.search(queries[5], 20).scores.tobytes() == want.scores[5].tobytes()
    assert pieces.search(queries[:5], 400).keys[:, :20].tolist() == want.keys[:5].tolist()


def test_k_larger_than_a_tile(monkeypatch):
    monkeypatch.setattr(_scan, "_TILE", 64)
    vectors, queries = normal(500, 4), normal(6, 4, seed=1)
    monkeypatch.setattr("aqe_backend_numpy._rows._MIN_BLOCK", 40)
    store = NumpyPatternStore(dim=4, metric="dot")
    for start in range(0, 500, 20):
        store.add(np.arange(start, start + 20), vectors[start : start + 20])
    hits = store.search(queries, 123)
    for i, query in enumerate(queries):
        one = type(hits)(hits.keys[i], hits.scores[i])
        assert_exact("dot", vectors, np.arange(500), query, 123, one)


@given(
    metric=st.sampled_from(METRICS),
    rows=st.lists(st.lists(st.integers(-2, 2), min_size=3, max_size=3), min_size=1, max_size=40),
    queries=st.lists(st.lists(st.integers(-2, 2), min_size=3, max_size=3), min_size=1, max_size=6),
    k=st.integers(1, 45),
)
def test_small_integers_with_many_ties(metric, rows, queries, k):
    rows, queries = [np.array(part, np.float32) for part in (rows, queries)]
    if metric == "cosine":
        rows, queries = rows[rows.any(axis=1)], queries[queries.any(axis=1)]
    if not len(rows):
        return
    store = filled(metric, rows)
    hits = store.search(queries, k)
    for i, query in enumerate(queries):
        one = store.search(query, k)
        same(one, type(hits)(hits.keys[i], hits.scores[i]))
        assert_exact(metric, rows, np.arange(len(rows)), query, k, one)
        if metric != "cosine":  # integers are exact, so the order is known to the bit
            truth = brute_scores(metric, rows, query)
            order = np.lexsort((np.arange(len(rows)), -truth))[:k]
            assert one.keys[: len(order)].tolist() == order.tolist()
            assert one.scores[: len(order)].tolist() == truth[order].tolist()


@pytest.mark.parametrize("metric", METRICS)
def test_equal_rows_tie_by_key(metric):
    vectors = np.repeat(normal(3, 48), 700, axis=0)
    keys = np.random.default_rng(0).permutation(len(vectors))
    store = filled(metric, vectors, keys)
    for query in (vectors[0], vectors[0] + 0.25, -vectors[1500]):
        hits = store.search(query, 50)
        group = np.argmax(brute_scores(metric, vectors[::700], query))
        assert len(set(hits.scores.tolist())) == 1
        assert hits.keys.tolist() == sorted(keys[group * 700 : (group + 1) * 700].tolist())[:50]
        same(hits, type(hits)(*(part[1] for part in store.search([query] * 5, 50))))


def test_masses_of_ties_in_a_batch_are_answered_one_by_one(monkeypatch):
    monkeypatch.setattr(_scan, "_MAX_PAIRS", 1000)
    store = filled("cosine", np.repeat(normal(1, 8), 400, axis=0))
    hits = store.search(normal(20, 8, seed=1), 5)
    assert (hits.keys == np.arange(5)).all()


@pytest.mark.parametrize("metric", METRICS)
def test_rows_that_a_float32_sum_cannot_tell_apart(metric):
    """The rounding of the scan exceeds the differences, so that the best by scan are not the best."""
    base = np.random.default_rng(0).uniform(100, 1000, 300).astype(np.float32)
    vectors = base + np.random.default_rng(1).integers(-1, 2, (2000, 300)).astype(np.float32) / 64
    query = base if metric == "l2" else np.random.default_rng(2).uniform(1, 2, 300).astype(np.float32)
    if metric == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store = filled(metric, vectors)
    truth = brute_scores(metric, vectors, query).astype(np.float32)
    order = np.lexsort((np.arange(2000), -truth))[:7]
    hits = store.search(query, 7)
    assert hits.keys.tolist() == order.tolist()
    np.testing.assert_array_max_ulp(hits.scores, truth[order], 1)
    same(hits, type(hits)(*(part[3] for part in store.search([query] * 5, 7))))


def test_a_query_whose_partial_sums_overflow_float32():
    """In float32 the even rows reach infinity halfway; in truth they end near 0, and the odd ones are better."""
    dim = 16384
    vectors = np.zeros((60, dim), np.float32)
    vectors[::2] = np.where(np.arange(dim) < dim // 2, 1, -1)
    vectors[1::2] = np.eye(30, dim)
    query = np.full(dim, 3e38, np.float32)
    hits = filled("cosine", vectors).search(query, 3)
    assert hits.keys.tolist() == [1, 3, 5]
    np.testing.assert_allclose(hits.scores, 1 / 128, rtol=1e-6)


def test_scores_beyond_the_largest_are_ties():
    vectors = np.random.default_rng(0).standard_normal((2000, 4)).astype(np.float32)
    query = np.full(4, 3e38, np.float32)
    beyond = np.flatnonzero(vectors.astype(np.float64) @ query >= np.finfo(np.float32).max)
    store = filled("dot", vectors)
    assert store.search(query, 5).keys.tolist() == beyond[:5].tolist()
    assert store.search([query] * 300, 5).keys.tolist() == [beyond[:5].tolist()] * 300


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e-18, 1e18, 1e30, 3e38])
def test_extreme_magnitudes(metric, scale):
    unit = np.clip(normal(300, 6) / 4, -1, 1)
    vectors = (unit * scale).astype(np.float32)
    vectors = vectors[vectors.any(axis=1)]
    queries = vectors[:9] if metric != "dot" else vectors[:9] / np.float32(max(scale, 1e-38))
    store = filled(metric, vectors)
    batch = store.search(queries, 5)
    assert np.isfinite(batch.scores).all()
    for i, query in enumerate(queries):
        one = store.search(query, 5)
        truth = brute_scores(metric, vectors, query)
        mine = truth[one.keys.astype(int)].clip(-LARGEST, LARGEST)
        best = np.sort(truth)[::-1][:5].clip(-LARGEST, LARGEST)
        np.testing.assert_allclose(mine, best, rtol=3e-7, atol=2e-45)
        np.testing.assert_allclose(one.scores, mine, rtol=3e-7, atol=2e-45)
        same(one, type(one)(batch.keys[i], batch.scores[i]))


def test_scores_beyond_float32_are_held_at_its_largest():
    store = filled("dot", np.array([[3e38, 3e38], [1.0, 0.0], [-3e38, -3e38], [2e38, 2e38]], np.float32))
    hits = store.search([3e38, 3e38], k=5)
    assert hits.keys.tolist() == [0, 3, 1, 2, NO_KEY]
    assert hits.scores[[0, 1, 3, 4]].tolist() == [LARGEST, LARGEST, -LARGEST, -np.inf]
    assert hits.scores[2] == pytest.approx(3e38)
    far = filled("l2", np.array([[3e38], [-3e38]], np.float32)).search([3e38], k=2)
    assert far.keys.tolist() == [0, 1]
    assert far.scores.tolist() == [0.0, -LARGEST]


def test_one_huge_row_does_not_blur_the_others():
    vectors = normal(400, 16)
    vectors[7] *= 1e6
    for metric in ("dot", "l2"):
        store = filled(metric, vectors)
        for query in normal(5, 16, seed=1):
            hits = store.search(query, 30)
            truth = brute_scores(metric, vectors, query).astype(np.float32)
            assert hits.keys.tolist() == np.lexsort((np.arange(400), -truth))[:30].tolist()


def test_cosine_ignores_length_and_stays_within_one():
    vectors = normal(500, 7)
    store = filled("cosine", vectors * np.logspace(-30, 30, 500)[:, None])
    hits = store.search(vectors, 1)
    assert hits.keys[:, 0].tolist() == list(range(500))
    assert (hits.scores <= 1.0).all()
    np.testing.assert_allclose(hits.scores, 1.0, atol=1e-7)
    np.testing.assert_allclose(store.search(-vectors[3], 500).scores[-1], -1.0, atol=1e-7)


def test_the_zero_query_scores_zero_under_dot():
    hits = filled("dot", normal(50, 4)).search(np.zeros(4), 3)
    assert hits.keys.tolist() == [0, 1, 2]
    assert hits.scores.tolist() == [0.0, 0.0, 0.0]


def test_unit_rows_keep_their_bits():
    vectors = normal(300, 96)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert filled("cosine", vectors)._rows.blocks[0].tobytes() == vectors.tobytes()


def test_empty_store_and_no_queries():
    store = NumpyPatternStore(dim=4)
    for k in (1, 3):
        hits = store.search(np.ones(4), k)
        assert hits.keys.tolist() == [NO_KEY] * k
        assert hits.scores.tolist() == [-np.inf] * k
        assert store.search(np.ones((2, 4)), k).keys.shape == (2, k)
    assert store.keys().tolist() == []
    assert store.remove([1, 2]) == 0
    store.add([], np.empty((0, 4)))
    store.add(1, np.ones(4))
    none = store.search(np.empty((0, 4)), 3)
    assert none.keys.shape == none.scores.shape == (0, 3)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.6, 1.0])
def test_among(metric, share):
    rng = np.random.default_rng(5)
    vectors, queries = normal(900, 10), normal(6, 10, seed=1)
    keys = rng.permutation(2000)[:900].astype(np.uint64)
    store = filled(metric, vectors, keys)
    store.remove(keys[:90])
    chosen = rng.permutation(900)[: int(900 * share)]
    wanted = np.concatenate(
        (keys[chosen], keys[chosen][:5], np.array([999_999], np.uint64))
    )  # repeated and unknown ones too
    left = chosen[chosen >= 90]
    hits = store.search(queries, 12, among=wanted)
    for i, query in enumerate(queries):
        one = store.search(query, 12, among=wanted)
        same(one, type(one)(hits.keys[i], hits.scores[i]))
        assert_exact(metric, vectors[left], keys[left], query, 12, one)


def test_among_nothing():
    hits = filled("cosine", normal(5, 3)).search(np.ones(3), 2, among=[])
    assert hits.keys.tolist() == [NO_KEY, NO_KEY]


# Adding, replacing, removing

KEYS = st.integers(0, 30) | st.sampled_from([2**63, NO_KEY - 1])
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "remove", "search"]), st.lists(KEYS, max_size=12), st.integers(0, 99)),
    max_size=30,
)


@settings(deadline=None)
@given(metric=st.sampled_from(METRICS), steps=STEPS, tail=st.sampled_from([0, 3, 1024]))
def test_any_history_equals_a_dict(metric, steps, tail):
    store, model = NumpyPatternStore(dim=4, metric=metric), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_keys, "_MAX_TAIL", tail)
        patch.setattr("aqe_backend_numpy._rows._MIN_BLOCK", 20)
        for verb, keys, seed in steps:
            rows = normal(len(keys), 4, seed)
            if verb == "add":
                store.add(np.array(keys, np.uint64), rows)
                model.update(zip(keys, rows, strict=True))
            elif verb == "remove":
                assert store.remove(np.array(keys, np.uint64)) == len({*keys} & {*model})
                for key in keys:
                    model.pop(key, None)
            elif model:
                here = np.array(sorted(model), np.uint64)
                vectors = np.array([model[int(key)] for key in here])
                query = normal(1, 4, seed)[0]
                assert_exact(metric, vectors, here, query, 5, store.search(query, 5))
                among = [key for key in keys if key in model]
                hits = store.search(query, 40, among=np.array(keys, np.uint64))
                assert {*hits.keys.tolist()} - {NO_KEY} == {*among}
            assert len(store) == len(model)
            assert store.keys().tolist() == sorted(model)


def test_of_equal_keys_in_one_call_the_last_row_counts():
    store = filled("dot", np.array([[1.0], [2.0], [3.0], [4.0]]), [5, 1, 5, 1])
    hits = store.search([1.0], 4)
    assert hits.keys.tolist() == [1, 5, NO_KEY, NO_KEY]
    assert hits.scores[:2].tolist() == [4.0, 3.0]


def test_the_same_rows_by_another_route_give_the_same_answers():
    vectors, queries = normal(600, 32), normal(20, 32, seed=1)
    want = filled("cosine", vectors).search(queries, 7)
    store = NumpyPatternStore(dim=32)
    for row in np.random.default_rng(0).permutation(600):
        store.add(int(row), vectors[row] * 4)
    store.add(np.arange(600, 900), normal(300, 32, seed=2))
    store.remove(np.arange(600, 900))
    store.add(np.arange(100), -vectors[:100])
    store.add(np.arange(100), vectors[:100])
    same(store.search(queries, 7), want)


def test_removing_gives_the_memory_back(monkeypatch):
    monkeypatch.setattr("aqe_backend_numpy._rows._MIN_BLOCK", 1)
    store = filled("l2", normal(2000, 16))
    assert store.remove(np.arange(400)) == 400
    assert sum(map(len, store._arrays.blocks)) == 2000
    assert store.remove(np.arange(1900)) == 1500
    assert sum(map(len, store._arrays.blocks)) == store._arrays.keys.size == 100
    assert store.remove(store.keys()) == 100
    assert store._arrays.blocks[0].size == 0


def test_replacing_for_ever_does_not_grow(monkeypatch):
    monkeypatch.setattr("aqe_backend_numpy._rows._MIN_BLOCK", 1)
    vectors = normal(100, 8)
    store = filled("cosine", vectors)
    for _ in range(30):
        store.add(np.arange(100), vectors)
        store.add(3, vectors[3])
        assert sum(map(len, store._arrays.blocks)) <= 260
    assert len(store) == 100


def test_growth_moves_nothing_and_reserves_at_most_half():
    store = filled("cosine", normal(40_000, 8))
    assert len(store._arrays.blocks[0]) == 40_000
    first = store._arrays.blocks[0]
    store.add(50_000, np.ones(8))
    assert store._arrays.blocks[0] is first
    assert sum(map(len, store._arrays.blocks)) <= 1.5 * 40_000 + 2**18 // 8


@pytest.mark.parametrize("make", [
    lambda a: a.astype(np.float64),
    lambda a: a.astype(np.float16),
    np.asfortranarray,
    lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    lambda a: a[::-1][::-1],
    lambda a: a.tolist(),
    lambda a: a.astype(np.int8),
    lambda a: a.astype(">f4"),
])  # fmt: skip
def test_any_numeric_array_may_be_given(make):
    plain = np.random.default_rng(0).integers(-9, 10, (40, 6)).astype(np.float32)
    plain[:, 0] = 1.0
    given_vectors = make(plain)
    if isinstance(given_vectors, np.ndarray):
        given_vectors.flags.writeable = False
    store = NumpyPatternStore(dim=6, metric="dot")
    store.add([*range(40)], given_vectors)
    same(store.search(given_vectors, 5), filled("dot", plain).search(plain, 5))


def test_arrays_are_copied_and_not_changed():
    keys, vectors, query = np.arange(5, dtype=np.uint64), normal(5, 3) * 7, normal(1, 3, seed=1)[0]
    before = vectors.tobytes(), query.tobytes()
    store = filled("cosine", vectors, keys)
    hits = store.search(query, 3)
    assert (vectors.tobytes(), query.tobytes()) == before
    keys[:] = 99
    vectors[:] = 1.0
    store.keys()[:] = 77
    hits.keys[:] = 0
    assert store.keys().tolist() == [0, 1, 2, 3, 4]
    assert store.search(query, 3).scores.tobytes() == hits.scores.tobytes()


# Bad input

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda s: s.add([-1], [[1.0, 2.0]]), KeyRangeError, "keys[0]"),
        (lambda s: s.add([1, NO_KEY], np.ones((2, 2))), KeyRangeError, "keys[1]"),
        (lambda s: s.add([1.5], np.ones((1, 2))), KeyRangeError, "keys[0]"),
        (lambda s: s.add([[1]], np.ones((1, 2))), DimensionError, "one axis"),
        (lambda s: s.add([1], [[1.0, 2.0, 3.0]]), DimensionError, "3 dimensions"),
        (lambda s: s.add([1, 2], [[1.0, 2.0]]), DimensionError, "2 keys"),
        (lambda s: s.add([1, 2], [[1.0], [1.0, 2.0]]), DimensionError, "rectangular"),
        (lambda s: s.add([1, 2, 3], [[1, 2], [3, NAN], [0, 0]]), NonFiniteError, "vectors[1]"),
        (lambda s: s.add([0, 0], [[1, INF], [3, 4]]), NonFiniteError, "vectors[0]"),
        (lambda s: s.add([9], [[1e300, 0.0]]), NonFiniteError, "vectors[0]"),
        (lambda s: s.add([1, 2], [[1, 2], [0, 0]]), InputError, "vectors[1] is all zeros"),
        (lambda s: s.remove([-1]), KeyRangeError, "keys[0]"),
        (lambda s: s.remove(["a"]), KeyRangeError, "keys[0]"),
        (lambda s: s.search([1.0, 2.0, 3.0]), DimensionError, "3 dimensions"),
        (lambda s: s.search([[[1.0, 2.0]]]), DimensionError, "shape"),
        (lambda s: s.search([1.0, NAN]), NonFiniteError, "queries[0]"),
        (lambda s: s.search([[1.0, 2.0], [INF, 1.0]]), NonFiniteError, "queries[1]"),
        (lambda s: s.search([0.0, 0.0]), InputError, "queries[0] is all zeros"),
        (lambda s: s.search([1.0, 2.0], 0), InputError, "k is 0"),
        (lambda s: s.search([1.0, 2.0], 1.5), InputError, "k is 1.5"),
        (lambda s: s.search([1.0, 2.0], among=[-4]), KeyRangeError, "keys[0]"),
    ],
)
def test_bad_input_is_one_clear_error_and_changes_nothing(call, error, words):
    store = filled("cosine", normal(4, 2))
    store.remove([2])
    before = store._rows
    with pytest.raises(error) as caught:
        call(store)
    assert type(caught.value) is error
    assert words in str(caught.value)
    assert caught.value.fix
    assert store._rows is before
    assert store.keys().tolist() == [0, 1, 3]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"dim": 0}, DimensionError),
        ({"dim": 65537}, DimensionError),
        ({"dim": "x"}, DimensionError),
        ({"dim": 3, "metric": "manhattan"}, InputError),
    ],
)
def test_bad_options(options, error):
    with pytest.raises(error):
        NumpyPatternStore(**options)


def test_a_refused_add_leaves_room_for_the_next():
    store = filled("cosine", normal(10, 3))
    want = store.search([1.0, 2.0, 3.0], 10)
    for _ in range(3):
        with pytest.raises(NonFiniteError):
            store.add([3, 20, 21, 22, 23], [[1, 1, 1], [2, 2, 2], [1, NAN, 1], [1, 0, 0], [0, 1, 0]])
    same(store.search([1.0, 2.0, 3.0], 10), want)
    store.add(20, [1.0, 2.0, 3.0])
    assert store.search([1.0, 2.0, 3.0], 1).keys.tolist() == [20]


def test_no_error_state_of_numpy_breaks_a_search():
    with np.errstate(all="raise"):
        store = filled("cosine", normal(300, 5) * np.float32(1e-20))
        store.search(normal(6, 5), 9)
        store.remove(np.arange(20))
        assert store.search(normal(1, 5)[0], 300).keys[-20:].tolist() == [NO_KEY] * 20


# Threads


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_searches_beside_a_writer_see_whole_states_only(metric):
    """Every state of the store holds each row twice, under key and key + 1000: a search never sees one of the two."""
    vectors = normal(60, 8)
    store = NumpyPatternStore(dim=8, metric=metric)
    stop, failures, rounds = threading.Event(), [], [0, 0, 0]

    def read(reader):
        try:
            while not stop.is_set():
                row = rounds[reader] % 60
                hits = store.search(vectors[row] if reader else vectors, 2)
                keys, scores = hits.keys.ravel()[-2:].tolist(), hits.scores.ravel()[-2:].tolist()
                if keys[0] != NO_KEY and not (keys[1] == keys[0] + 1000 and scores[0] == scores[1]):
                    failures.append((keys, scores))
                rounds[reader] += 1
        except Exception as error:
            failures.append(error)

    readers = [threading.Thread(target=read, args=(reader,)) for reader in range(3)]
    for thread in readers:
        thread.start()
    rng = np.random.default_rng(0)
    for step in itertools.count():
        if failures or (step >= 300 and min(rounds) >= 20):
            break
        some = rng.permutation(60)[:20]
        pair = np.concatenate((some, some + 1000))
        if rng.random() < 0.4:
            store.remove(pair)
        else:
            store.add(pair, np.concatenate((vectors[some], vectors[some])))
    stop.set()
    for thread in readers:
        thread.join()
    assert not failures


def test_writers_take_turns():
    store = NumpyPatternStore(dim=4)
    vectors = normal(500, 4)

    def write(part):
        for row in range(part, 500, 4):
            store.add(row, vectors[row])

    threads = [threading.Thread(target=write, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.keys().tolist() == list(range(500))
    assert store.search(vectors, 1).keys[:, 0].tolist() == list(range(500))


# Real data


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data set test-patterns is not here")
def test_recall_on_real_embeddings_is_one():
    def load(name):
        rows = np.load(SHARED / name).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    vectors, queries, truth = load("vectors.npy"), load("queries.npy"), np.load(SHARED / "truth.npy")
    hits = filled("cosine", vectors).search(queries, 100)
    wide = vectors.astype(np.float64)
    for query, keys, best in zip(queries.astype(np.float64), hits.keys, truth, strict=True):
        mine = wide[keys.astype(np.int64)] @ query
        # Rows of equal code have equal vectors, so that the truth is one of several: compare the scores.
        np.testing.assert_allclose(mine, wide[best] @ query, rtol=0, atol=2e-6)
        assert len(set(keys.tolist())) == 100


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_scores_of_keys_are_those_of_a_search(metric):
    rng = np.random.default_rng(5)
    store = NumpyPatternStore(dim=9, metric=metric)
    store.add(np.arange(300), rng.normal(size=(300, 9)).astype(np.float32))
    query = rng.normal(size=9).astype(np.float32)
    keys = rng.permutation(300)[:40].astype(np.uint64)
    hits = store.search(query, 300)
    expected = dict(zip(hits.keys.tolist(), hits.scores.tolist(), strict=True))
    np.testing.assert_array_equal(store.scores(query, keys), [expected[key] for key in keys.tolist()])
    assert store.scores(query, np.array([3, 300], np.uint64)) is None
    store.remove([3])
    assert store.scores(query, np.array([3], np.uint64)) is None
    with pytest.raises(DimensionError):
        store.scores(query[:8], keys)
