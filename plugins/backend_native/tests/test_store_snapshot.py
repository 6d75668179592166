"""Files of the native store from Python: what comes back, what is refused, the workspace.

Set AQE_MUTATIONS to change that many files of each index (200 otherwise);
`cargo test -p aqe-memory snapshot` does the same in Rust.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import aqe_core
from aqe_core.errors import DimensionError, InputError, ReadOnlyError

pytest.importorskip(
    "aqe_backend_native._native", reason="the native backend is not installed: pip install ./plugins/backend_native"
)

from aqe_backend_native.store import make_store

DATA = Path(__file__).parents[4] / "shared" / "data" / "test-patterns"
MUTATIONS = int(os.environ.get("AQE_MUTATIONS", "200"))


def filled(n=1500, **options):
    store = make_store(**{"dim": 32, "index": "lists", "background": False, **options})
    rows = np.random.default_rng(n).standard_normal((n, store.dim)).astype(np.float32)
    store.add(np.arange(n) * 3, rows)
    return store


def answers(store):
    queries = np.random.default_rng(1).standard_normal((5, store.dim)).astype(np.float32)
    return [array.tobytes() for exact in (False, True) for array in store.search(queries, 10, exact=exact)]


@pytest.mark.parametrize("keep", ["planes", "float16", "float32"])
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_a_loaded_store_answers_bit_for_bit(tmp_path, keep, metric):
    store = filled(dim=130, keep=keep, metric=metric)
    store.remove(np.arange(200) * 6)
    name = store.save(tmp_path / "store")
    other = make_store(dim=130, keep=keep, metric=metric, index="lists", background=False)
    assert other.load(tmp_path / "store") == name
    assert answers(other) == answers(store)
    assert np.array_equal(other.keys(), store.keys())
    facts = [{**each.stats(), "memory_bytes": 0} for each in (store, other)]
    assert facts[0] == facts[1]
    assert other.stats()["memory_bytes"] <= 1.2 * store.stats()["memory_bytes"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"dim": 33}, DimensionError, "is of a store whose dim is 32, but here it is 33."),
        ({"metric": "dot"}, InputError, "is of a store whose metric is cosine, but here it is dot."),
        ({"recall": 0.99}, InputError, "is of a store whose recall is 0.95, but here it is 0.99."),
        ({"index": "flat"}, InputError, "is of a store whose index is lists, but here it is flat."),
        ({"seed": 5}, InputError, "is of a store whose seed is 0, but here it is 5."),
    ],
)
def test_a_file_of_another_store_is_refused(tmp_path, options, error, words):
    filled().save(tmp_path / "store")
    store = filled(20, **options)
    before = answers(store)
    with pytest.raises(error, match=r"Fix: make the store as the saved one was") as caught:
        store.load(tmp_path / "store")
    assert words in str(caught.value)
    assert answers(store) == before


def test_files_that_are_no_snapshots_are_refused(tmp_path):
    store = filled(20)
    for content in (b"", b"x" * 5000, Path(__file__).read_bytes()):
        (tmp_path / "store").write_bytes(content)
        with pytest.raises(InputError, match="is no whole snapshot"):
            store.load(tmp_path / "store")
    with pytest.raises(InputError, match="cannot be read"):
        store.load(tmp_path / "absent")
    with pytest.raises(ReadOnlyError, match="cannot be written"):
        store.save(tmp_path)
    filled(20).save(tmp_path / "store")
    whole = bytearray((tmp_path / "store").read_bytes())
    whole[8] = 1
    (tmp_path / "store").write_bytes(whole)
    with pytest.raises(InputError, match=r"whose version is 1, but here it is \d"):
        store.load(tmp_path / "store")


@pytest.mark.parametrize("index", ["flat", "lists", "hnsw"])
def test_mutated_files_are_refused(tmp_path, index):
    rng = np.random.default_rng(MUTATIONS)
    file = tmp_path / "store"
    store = filled(1100, dim=130, index=index)
    store.save(file)
    whole = file.read_bytes()
    before = answers(store)
    for number in range(MUTATIONS):
        changed = bytearray(whole)
        kind = number % 5
        if kind == 0:
            del changed[int(rng.integers(len(whole))) :]
        elif kind == 1:
            start, length = rng.integers(len(whole) - 5000), rng.integers(1, 5000)
            changed[start : start + length] = rng.bytes(length)
        elif kind == 2:
            changed[int(rng.integers(256))] ^= 1 << int(rng.integers(8))
        else:
            changed[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
        file.write_bytes(changed)
        with pytest.raises(InputError):
            store.load(file)
    assert answers(store) == before


def test_a_workspace_opens_with_its_native_store_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    patterns = [{"name": f"test_{i}", "text": f"words {i} and {i % 37} and {i * i}"} for i in range(2500)]
    with aqe_core.open(tmp_path, pattern_store="native") as ws:
        ws.patterns.add(patterns)
        ws.patterns.store.optimize()
        expected = [match.pattern.name for match in ws.patterns.search("words 36", mode="vector")]
    with aqe_core.open(tmp_path, pattern_store="native") as ws:
        # Measured recall is there at once, and nothing is to be done beside the calls.
        stats = ws.patterns.store.stats()
        assert stats["recall"] is not None
        assert not stats["working"]
        assert [match.pattern.name for match in ws.patterns.search("words 36", mode="vector")] == expected


@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there")
def test_real_vectors_are_found_with_the_same_recall(tmp_path):
    rows = np.load(DATA / "vectors.npy", mmap_mode="r")[:6000].astype(np.float32)
    queries = np.load(DATA / "queries.npy")[:200].astype(np.float32)
    store = make_store(dim=rows.shape[1])
    store.add(np.arange(len(rows)), rows)
    store.save(tmp_path / "store")
    other = make_store(dim=rows.shape[1])
    other.load(tmp_path / "store")
    assert np.array_equal(other.search(queries).keys, store.search(queries).keys)
