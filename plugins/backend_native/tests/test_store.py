"""The native pattern store from Python: the conformance kit, options, real data, threads."""

from __future__ import annotations

import contextlib
import inspect
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import numpy as np
import pytest

from aqe_core.contracts import StoreCapabilities
from aqe_core.contracts.pattern_store import NO_KEY, Hits
from aqe_core.errors import ConfigError, DimensionError, InputError, NonFiniteError
from aqe_core.testing import PatternStoreConformance

pytest.importorskip(
    "aqe_backend_native._native", reason="the native backend is not installed: pip install ./plugins/backend_native"
)

from aqe_backend_native.plugin import aqe_pattern_stores
from aqe_backend_native.quantization import make_quantizer
from aqe_backend_native.store import make_store

DATA = Path(__file__).parents[4] / "shared" / "data" / "test-patterns"


class TestNativeStore(PatternStoreConformance):
    capabilities = aqe_pattern_stores()[0].capabilities

    def make(self, **options):
        return (make_quantizer if "scheme" in options else make_store)(**options)


class TestNativeStoreFloat32InLists(PatternStoreConformance):
    capabilities = StoreCapabilities(filtered=True, checked=True, thread_safe=True)

    def make(self, **options):
        return make_store(keep="float32", index="lists", background=False, **options)


class TestNativeStoreOfAGraph(PatternStoreConformance):
    capabilities = attrs.evolve(aqe_pattern_stores()[0].capabilities, quantizers=())

    def make(self, **options):
        return make_store(index="hnsw", recall=0.97, background=False, **options)


def clustered(n, dim, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((50, dim))
    return (centres[rng.integers(50, size=n)] + 0.6 * rng.standard_normal((n, dim))).astype(np.float32)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def recall(store, rows, queries):
    scores = unit(queries) @ unit(rows).T
    least = np.sort(scores, axis=1)[:, -10]
    found = np.stack([store.search(query).keys for query in queries]).astype(int)
    return np.mean(np.take_along_axis(scores, found, axis=1) >= least[:, None] - 1e-6)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"index": "ivf"}, ConfigError, "index is 'ivf', but must be one of auto, flat, lists, hnsw."),
        ({"keep": "bits"}, ConfigError, "keep is 'bits', but must be one of planes, float16, float32."),
        ({"recall": 1.0}, ConfigError, "recall is 1.0, but must be in 0.5 .. 0.999."),
        ({"recall": "high"}, ConfigError, "recall is 'high'"),
        ({"seed": -1}, ConfigError, "seed is -1"),
        ({"seed": 0.5}, InputError, "seed is 0.5, but must be an integer."),
        ({"threads": 0}, ConfigError, "threads is 0"),
        ({"dim": 4097}, DimensionError, "dim is 4097, but must be in 1 .. 4096."),
    ],
)
def test_wrong_options_are_refused(options, error, words):
    with pytest.raises(error) as caught:
        make_store(**{"dim": 8, **options})
    assert words in str(caught.value)


def test_an_unknown_simd_level_is_refused(monkeypatch):
    monkeypatch.setenv("AQE_SIMD", "avx1024")
    with pytest.raises(ConfigError, match="AQE_SIMD is 'avx1024'"):
        make_store(dim=8)


def test_lists_are_learned_and_recall_is_measured():
    rows, queries = clustered(6000, 128), clustered(6100, 128)[-100:]
    store = make_store(dim=128, background=False)
    store.add(np.arange(6000), rows)
    stats = store.stats()
    assert stats["rows"] == 6000
    assert stats["recall"] >= 0.95
    assert stats["memory_bytes"] < 6000 * 700
    assert recall(store, rows, queries) >= 0.93
    assert recall_by_ef(store, rows, queries, 400) >= recall_by_ef(store, rows, queries, 20)


def recall_by_ef(store, rows, queries, ef):
    exact = [store.search(query, exact=True).keys for query in queries]
    found = [store.search(query, ef=ef).keys for query in queries]
    return np.mean([len(np.intersect1d(a, b)) for a, b in zip(exact, found, strict=True)]) / 10


@pytest.mark.parametrize("ef", [0, -1, 2.5, "3"])
def test_a_wrong_ef_is_refused(ef):
    store = make_store(dim=8)
    with pytest.raises(InputError):
        store.search(np.ones(8, np.float32), ef=ef)


def test_a_large_k_does_not_take_memory_for_rows_that_are_not_there():
    store = make_store(dim=8)
    store.add([1], np.ones((1, 8)))
    hits = store.search(np.ones(8), k=1_000_000)
    assert hits.keys[0] == 1
    assert (hits.scores[1:] == -np.inf).all()


def test_a_search_answers_alike_however_it_is_asked():
    rows = clustered(300, 64)
    store = make_store(dim=64, background=False)
    store.add(np.arange(300), rows)
    query, spread = rows[3], np.repeat(rows[3], 2)[::2]
    unaligned = np.frombuffer(b"_" + query.tobytes(), np.float32, offset=1)
    frozen = query.copy()
    frozen.flags.writeable = False
    wanted = store.search(rows[3:4], 10)
    ways = [
        store.search(query),
        store.search(query, 10),
        store.search(query, k=10),
        store.search(queries=query, k=10),
        store.search(k=10, queries=query),
        store.search(query, np.int64(10)),
        store.search(query, k=10, among=None, ef=None, exact=False),
        *(store.search(each) for each in (spread, unaligned, frozen, query.tolist(), query.astype(float))),
        *(store.search(each) for each in (query.astype(">f4"), query.view(np.recarray))),
    ]
    for hits in ways:
        assert type(hits) is Hits
        assert np.array_equal(hits.keys, wanted.keys[0])
        assert np.array_equal(hits.scores, wanted.scores[0])
        assert (hits.keys.dtype, hits.scores.dtype) == (np.uint64, np.float32)
        for array in hits:
            assert array.shape == (10,)
            assert array.flags.owndata
            assert array.flags.writeable
    assert store.search.__doc__.startswith("Find the ``k`` nearest rows")
    assert list(inspect.signature(store.search).parameters) == ["queries", "k", "among", "ef", "exact"]
    keys = store.search(query).keys
    keys[:] = 0
    assert np.array_equal(store.search(query).keys, wanted.keys[0])


@pytest.mark.parametrize("k", [1, 7, 1024, 1025, 5000])
@pytest.mark.parametrize("n", [0, 3])
def test_places_without_a_row_are_filled(n, k):
    store = make_store(dim=8)
    store.add(np.arange(n), np.eye(8)[:n] + 1)
    hits = store.search(np.ones(8, np.float32), k)
    found = min(n, k)
    assert sorted(hits.keys[:found].tolist()) == list(range(n))[:found] or k < n
    assert (hits.keys[found:] == NO_KEY).all()
    assert (hits.scores[found:] == -np.inf).all()
    assert hits.keys.shape == hits.scores.shape == (k,)


@pytest.mark.parametrize("fill", [1, 0])
def test_what_is_wrong_is_refused_as_in_a_batch(fill):
    store = make_store(dim=8)
    store.add(np.arange(fill), np.ones((fill, 8)))
    good, bad = np.ones(8, np.float32), np.full(8, np.nan, np.float32)
    calls = {
        NonFiniteError: [lambda: store.search(bad), lambda: store.search(np.full(8, np.inf, np.float32), 10)],
        DimensionError: [lambda: store.search(np.ones(9, np.float32)), lambda: store.search(np.ones(0, np.float32))],
        InputError: [
            lambda: store.search(np.zeros(8, np.float32)),
            *(lambda k=k: store.search(good, k) for k in (0, -1, 2.5, "3", None, 2**70)),
        ],
        TypeError: [
            store.search,
            lambda: store.search(good, 10, None),
            lambda: store.search(good, queries=good),
            lambda: store.search(good, size=3),
        ],
    }
    for error, each in calls.items():
        for call in each:
            with pytest.raises(error):
                call()
    assert type(store).search(store, good).keys.shape == (10,)
    with pytest.raises(TypeError):
        type(store).search(None, good)


def test_a_query_is_searched_for_as_it_was_when_it_was_checked():
    rows, done = clustered(3000, 64), threading.Event()
    query = rows[7].copy()
    store = make_store(dim=64, background=False)
    store.add(np.arange(3000), rows)

    def spoil():
        while not done.is_set():
            query[:] = np.nan
            query[:] = rows[7]

    thread = threading.Thread(target=spoil)
    thread.start()
    try:
        for _ in range(3000):
            with contextlib.suppress(NonFiniteError):
                assert np.isfinite(store.search(query, 3).scores).all()
    finally:
        done.set()
        thread.join()
    assert store.search(query, 1).keys[0] == 7


def test_a_batch_in_threads_answers_as_single_searches_do():
    rows = clustered(3000, 160)
    store = make_store(dim=160, threads=3, background=False)
    store.add(np.arange(3000), rows)
    batch = store.search(rows[:200], k=7)
    for i in range(200):
        alone = store.search(rows[i], k=7)
        assert np.array_equal(alone.keys, batch.keys[i])
        assert np.array_equal(alone.scores, batch.scores[i])


def test_a_search_leaves_nothing_for_the_next_store_of_its_thread():
    rows = clustered(3000, 160)
    store = make_store(dim=160, background=False)
    store.add(np.arange(3000), rows)
    with ThreadPoolExecutor(1) as fresh:
        expected = fresh.submit(lambda: [store.search(row, k=7) for row in rows[:200]]).result()
    wide = make_store(dim=700, background=False)
    wide.add(np.arange(300), clustered(300, 700))
    for row, hits in zip(rows[:200], expected, strict=True):
        wide.search(100.0 * np.ones(700), k=1)
        found = store.search(row, k=7)
        assert np.array_equal(found.keys, hits.keys)
        assert np.array_equal(found.scores, hits.scores)


def test_the_same_calls_give_the_same_store():
    rows = clustered(5000, 128)
    answers = []
    for _ in range(2):
        store = make_store(dim=128, background=False, seed=3)
        for part in np.array_split(np.arange(5000), 7):
            store.add(part, rows[part])
        hits = store.search(rows[:50])
        answers.append((hits.keys.tobytes(), hits.scores.tobytes(), store.stats()))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_rows_added_by_threads_stand_as_those_added_by_one(metric):
    rows = clustered(5000, 32)
    stores = [make_store(dim=32, metric=metric, index="flat", threads=threads) for threads in (1, 2)]
    keys = np.arange(len(rows)) % 4900  # some keys come again: the last row counts
    for store in stores:
        store.add(keys, rows)
        store.optimize()
    answers = [store.search(rows[::100], exact=True) for store in stores]
    assert np.array_equal(answers[0].keys, answers[1].keys)
    assert np.array_equal(answers[0].scores, answers[1].scores)
    assert stores[0].search(rows[4950], k=1, exact=True).keys[0] == 50 or metric == "dot"


@pytest.mark.parametrize("scale", [1e-25, 1e25])
@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_very_small_and_very_large_numbers(metric, scale):
    rows = clustered(300, 16)
    store = make_store(dim=16, metric=metric)
    store.add(np.arange(300), rows * np.float32(scale))
    hits = store.search(rows[5], k=300)
    assert sorted(hits.keys.tolist()) == list(range(300))
    assert np.isfinite(hits.scores).all()


def test_searches_go_on_while_rows_are_added_and_lists_learned():
    rows = clustered(9000, 128)
    store = make_store(dim=128)
    store.add(np.arange(2000), rows[:2000])
    stop = threading.Event()
    wrong = []

    def read():
        while not stop.is_set():
            hits = store.search(rows[7])
            if hits.keys[0] != 7 or len({*hits.keys.tolist()}) != 10:
                wrong.append(hits)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for start in range(2000, 9000, 500):
        store.add(np.arange(start, start + 500), rows[start : start + 500])
    store.optimize()
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert store.stats()["tail"] in {0, 9000}


@pytest.mark.skipif(not DATA.exists(), reason="needs the shared data set of test patterns")
@pytest.mark.parametrize("target", [0.95, 0.99])
def test_recall_on_real_patterns(target):
    rows = unit(np.load(DATA / "vectors.npy")[:12000].astype(np.float32))
    queries = unit(np.load(DATA / "queries.npy")[:400].astype(np.float32))
    store = make_store(dim=384, recall=target, background=False)
    store.add(np.arange(12000), rows)
    assert store.stats()["lists"] > 1
    assert store.stats()["memory_bytes"] < 12000 * 700
    assert recall(store, rows, queries) >= target - 0.01


def test_what_another_thread_writes_meanwhile_makes_no_row_that_is_not_finite():
    rows, spoiled = clustered(6000, 128), threading.Event()
    good, done = rows.copy(), threading.Event()

    def spoil():
        while not done.is_set():
            rows[2000:, 5] = np.nan
            spoiled.set()
            rows[2000:] = good[2000:]

    thread = threading.Thread(target=spoil)
    thread.start()
    store = make_store(dim=128, index="flat", background=False)
    try:
        spoiled.wait()
        for turn in range(12):
            with contextlib.suppress(NonFiniteError):
                store.add(np.arange(6000) + 6000 * (turn % 4), rows)
    finally:
        done.set()
        thread.join()
    store.add(np.arange(6000), good)
    hits = store.search(good[0], len(store))
    assert len(store) >= 6000
    assert np.isfinite(hits.scores).all()
    assert hits.scores[0] == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("level", ["portable", "avx2", "avx512", "avx512vbmi", "neon"])
def test_a_forced_level_gives_the_same_answers(level):
    code = (
        "import numpy as np, aqe_backend_native.store as s\n"
        "r = np.random.default_rng(1).standard_normal((1500, 130)).astype(np.float32)\n"
        "t = s.make_store(dim=130, background=False); t.add(np.arange(1500), r)\n"
        "h = t.search(r[:20]); print(h.keys.tolist(), h.scores.view(np.uint32).tolist(), t.stats()['simd'])\n"
    )

    def answer(simd):
        env = {**os.environ, "AQE_SIMD": simd}
        out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        return out.stdout.rsplit(maxsplit=1)

    hits, used = answer(level)
    if used != level:
        pytest.skip(f"this processor does not have {level}")
    assert hits == answer("portable")[0]


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_a_graph_holds_its_recall_through_removals_and_comes_back_from_a_file(metric, tmp_path):
    rows = clustered(3060, 96)
    rows, queries = unit(rows[:3000]), unit(rows[3000:])
    keys = np.arange(3000, dtype=np.uint64)
    store = make_store(dim=96, metric=metric, index="hnsw", background=False)
    store.add(keys, rows)
    store.optimize()
    assert store.stats()["graph"] == 3000
    assert store.stats()["lists"] == 0
    assert recall(store, rows, queries) >= 0.93
    gone = np.random.default_rng(1).permutation(keys)[:1500]
    assert store.remove(gone) == 1500
    assert not np.isin(store.search(queries, 50).keys, gone).any()
    few = np.setdiff1d(keys, gone)[:7]
    assert np.array_equal(np.sort(store.search(queries[0], 7, among=few).keys), few)
    store.add(gone, rows[gone])
    store.optimize()
    assert recall(store, rows, queries) >= 0.93
    found = store.search(queries, 10, ef=200).keys
    wanted = store.search(queries, 10, exact=True).keys
    assert np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, wanted, strict=True)]) >= 9.7
    name = store.save(tmp_path / "graph")
    other = make_store(dim=96, metric=metric, index="hnsw", background=False)
    assert other.load(tmp_path / "graph") == name
    assert np.array_equal(other.search(queries, 10).keys, store.search(queries, 10).keys)
    assert other.stats()["graph"] == 3000


def test_a_graph_that_does_not_help_gives_way_to_a_scan():
    rows = np.random.default_rng(0).standard_normal((3000, 512)).astype(np.float32)
    store = make_store(dim=512, index="hnsw", recall=0.99, background=False)
    store.add(np.arange(3000, dtype=np.uint64), rows)
    store.optimize()
    assert store.stats()["graph"] == 0
    hits = store.search(rows[:20], 10)
    assert np.array_equal(hits.keys[:, 0], np.arange(20))
