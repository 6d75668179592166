"""The adapters: the conformance kit, what they refuse, and that they live together in one process."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

pytest.importorskip(
    "aqe_backend_native", reason="the native backend is not installed: pip install ./plugins/backend_native"
)

from aqe_core.errors import CapabilityError, InputError
from aqe_core.guards import GuardedStore
from aqe_core.testing import PatternStoreConformance

MODULES = {"annoy": "annoy", "hnswlib": "hnswlib", "nmslib": "nmslib", "sqlite-vec": "sqlite_vec", "usearch": "usearch"}


def spec_of(name):
    module = importlib.import_module(f"aqe_backend_native.adapters.{MODULES[name]}")
    (spec,) = module.aqe_pattern_stores()
    return spec, getattr(module, spec.factory.partition(":")[2])


def need(name):
    """Skip without importing: the adapters know in which order the libraries bear each other."""
    if find_spec(MODULES[name]) is None:
        pytest.skip(f'{name} is not installed: pip install "aqe-backend-native[{name}]"')


def make(name, **options):
    need(name)
    spec, factory = spec_of(name)
    return GuardedStore(factory(**options), spec.capabilities)


class _Adapter:
    name = ""

    def make(self, **options):
        need(self.name)
        return spec_of(self.name)[1](**options)


class TestAnnoy(_Adapter, PatternStoreConformance):
    name = "annoy"
    capabilities = spec_of("annoy")[0].capabilities


class TestHnswlib(_Adapter, PatternStoreConformance):
    name = "hnswlib"
    capabilities = spec_of("hnswlib")[0].capabilities


class TestNmslib(_Adapter, PatternStoreConformance):
    name = "nmslib"
    capabilities = spec_of("nmslib")[0].capabilities


class TestSqliteVec(_Adapter, PatternStoreConformance):
    name = "sqlite-vec"
    capabilities = spec_of("sqlite-vec")[0].capabilities


class TestUsearch(_Adapter, PatternStoreConformance):
    name = "usearch"
    capabilities = spec_of("usearch")[0].capabilities


@pytest.mark.parametrize("name", MODULES)
def test_the_spec_names_its_extra(name):
    spec, _ = spec_of(name)
    assert spec.name == name
    assert spec.requires == (MODULES[name],)
    assert spec.install == f'pip install "aqe-backend-native[{name}]"'


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_answers_are_those_of_a_full_scan(name, metric):
    random = np.random.default_rng(5)
    centres = random.normal(size=(20, 16))
    rows = (centres[random.integers(0, 20, 600)] + 0.3 * random.normal(size=(600, 16))).astype(np.float32)
    keys = random.permutation(600).astype(np.uint64) + np.uint64(2**63)  # beyond what a signed integer holds
    store = make(name, dim=16, metric=metric)
    store.add(keys[:300], rows[:300])
    store.search(rows[0], 1)
    store.add(keys[300:], rows[300:])
    found, scores = store.search(rows[:40], 10)
    exact = _scores(rows[:40], rows, metric)
    best = np.sort(exact, axis=1)[:, ::-1][:, :10]
    position = np.argsort(keys)[np.searchsorted(np.sort(keys), found)]
    np.testing.assert_allclose(scores, np.take_along_axis(exact, position, axis=1), atol=1e-4)
    assert (scores >= best[:, -1:] - 1e-4).mean() >= 0.95


def _scores(queries, rows, metric):
    queries, rows = queries.astype(np.float64), rows.astype(np.float64)
    if metric == "l2":
        return -((queries[:, None] - rows[None]) ** 2).sum(axis=2)
    return (queries / np.linalg.norm(queries, axis=1)[:, None]) @ (rows / np.linalg.norm(rows, axis=1)[:, None]).T


@pytest.mark.parametrize("name", ["annoy", "nmslib"])
def test_what_cannot_change_says_so(name):
    store = make(name, dim=4, metric="l2")
    store.add([1], [[1.0, 0.0, 0.0, 0.0]])
    with pytest.raises(CapabilityError):
        store.remove([1])
    with pytest.raises(CapabilityError):
        store.add([1], [[0.0, 1.0, 0.0, 0.0]])
    assert len(store) == 1


def test_many_removals_leave_hnswlib_enough_answers():
    store = make("hnswlib", dim=4, metric="l2")
    rows = np.random.default_rng(1).normal(size=(500, 4)).astype(np.float32)
    store.add(np.arange(500), rows)
    store.remove(np.arange(480))
    found = store.search(rows[0], 20)
    assert sorted(found.keys.tolist()) == list(range(480, 500))


def test_sqlite_vec_filters_in_sql():
    store = make("sqlite-vec", dim=4, metric="cosine")
    rows = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    store.add(np.arange(50), rows)
    found = store.search(rows[0], 3, among=[49, 17, 3, 2**64 - 2])
    assert sorted(found.keys.tolist()) == [3, 17, 49]


def test_another_space_of_nmslib():
    need("nmslib")
    rows = np.random.default_rng(2).random((200, 8), np.float32) + np.float32(0.01)
    rows /= rows.sum(axis=1, keepdims=True)
    store = spec_of("nmslib")[1](dim=8, metric="l2", space="kldivgenfast")
    store.add(np.arange(200, dtype=np.uint64), rows)
    found = store.search(rows[:5], 1)
    assert found.keys[:, 0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "option"), [("usearch", "ef"), ("hnswlib", "m"), ("annoy", "n_trees"), ("nmslib", "ef")]
)
@pytest.mark.parametrize("value", [0, -5, 1.5, True, "8"])
def test_a_bad_option_is_refused(name, option, value):
    with pytest.raises(InputError, match=f"{option} is {value!r}"):
        make(name, dim=4, metric="l2", **{option: value})


def test_usearch_and_nmslib_live_together():
    need("usearch")
    need("nmslib")
    code = (
        "import numpy as np\n"
        "from aqe_backend_native.adapters.usearch import UsearchStore\n"
        "from aqe_backend_native.adapters.nmslib import NmslibStore\n"
        "for kind in (UsearchStore, NmslibStore):\n"
        "    store = kind(dim=2, metric='l2')\n"
        "    store.add(np.array([7], np.uint64), np.ones((1, 2), np.float32))\n"
        "    print(store.search(np.ones((1, 2), np.float32), 1).keys)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["[[7]]", "[[7]]"]
