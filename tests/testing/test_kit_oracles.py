"""Oracles and data: against worked examples, and against each other."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqe_core.testing import data, expect, oracles


def test_exact_top_k_by_hand():
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    keys, scores = oracles.exact_top_k([2.0, 1.0], [9, 5, 4], rows, 2, "dot")
    assert keys.tolist() == [[4, 9]]
    assert scores.tolist() == [[2.0, 2.0]]
    assert oracles.exact_scores([2.0, 1.0], rows, "l2").tolist() == [[-2.0, -4.0, -2.0]]
    assert oracles.exact_scores([0.0, 3.0], rows, "cosine").tolist() == [[0.0, 1.0, 0.0]]


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_no_queries(metric):
    keys, scores = oracles.exact_top_k(np.empty((0, 2)), [1, 2], np.ones((2, 2)), 5, metric)
    assert keys.shape == scores.shape == (0, 2)


def test_recall():
    assert oracles.recall_at_k([[1, 2], [3, 9]], [[2, 1], [3, 4]]) == 0.75


def test_temporal_differences_by_hand():
    assert oracles.td(1.0, 2.0, 3.0, learning_rate=0.5, discount=0.9) == pytest.approx(1.0 + 0.5 * (2.0 + 2.7 - 1.0))
    assert oracles.expected_sarsa([1.0, 3.0], 0.5) == 0.5 * 3.0 + 0.5 * 2.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0.0, 1.0))
def test_quantile_is_numpys(values, level):
    assert oracles.quantile(values, level) == pytest.approx(float(np.quantile(values, level)), abs=1e-6)


def test_wilson_by_hand():
    low, high = oracles.wilson(5, 10)
    assert (round(low, 4), round(high, 4)) == (0.2366, 0.7634)
    low, high = oracles.wilson(0, 10)
    assert math.isclose(low, 0.0, abs_tol=1e-12)
    assert round(high, 4) == 0.2775


def test_data_is_seeded():
    for make in (
        lambda seed: data.clustered_vectors(20, 8, seed=seed),
        lambda seed: data.tied_vectors(20, 8, seed=seed),
        lambda seed: data.scattered_keys(20, seed=seed),
    ):
        assert make(1).tobytes() == make(1).tobytes()
        assert make(1).tobytes() != make(2).tobytes()


def test_data_is_what_it_says():
    vectors = data.clustered_vectors(50, 33)
    assert (vectors.shape, vectors.dtype) == ((50, 33), np.float32)
    tied = data.tied_vectors(22, 8, copies=4)
    _, counts = np.unique(tied, axis=0, return_counts=True)
    assert sorted(counts.tolist()) == [2, 4, 4, 4, 4, 4]
    keys = data.scattered_keys(30)
    assert len({*keys.tolist()}) == 30
    assert {0, 2**64 - 2} <= {*keys.tolist()}
    array = np.arange(6.0).reshape(3, 2)
    for form in data.variants(array).values():
        assert (form == array).all()
        assert not np.shares_memory(form, array)


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        ([1.0, 2.0], "is a list"),
        (np.array([1.0, 2.0], np.float32), "dtype of it"),
        (np.array([[1.0, 2.0]]), "shape of it"),
        (np.array([1.0, 3.0]), "it is"),
    ],
)
def test_same_array_sees_differences(actual, message):
    with pytest.raises(AssertionError, match=message):
        expect.same_array(actual, np.array([1.0, 2.0]), "it")


def test_close_names_the_place():
    expect.close([1.0, np.nan, np.inf], [1.0 + 1e-9, np.nan, np.inf], 1e-8, "it")
    with pytest.raises(AssertionError, match=r"it is .*2\.0.* at \(1,\)"):
        expect.close([1.0, 2.0], [1.0, 2.1], 1e-8, "it")
    with pytest.raises(AssertionError, match="shape of it"):
        expect.close([1.0], [1.0, 2.0], 1e-8, "it")


def test_raises_wants_the_exact_class():
    with pytest.raises(AssertionError, match="returns 3, expected KeyError"):
        expect.raises(KeyError, lambda: 3, "it")
    with pytest.raises(AssertionError, match="raises KeyError"):
        expect.raises(LookupError, lambda: {}["a"], "it")


def test_raises_alike_wants_an_error_to_compare_with():
    with pytest.raises(AssertionError, match="this check is wrong"):
        expect.raises_alike(lambda: 1, lambda: 2, "it")


def test_unchanged_sees_a_change():
    array = np.zeros(3)
    with pytest.raises(AssertionError, match="was changed"), expect.unchanged(array):
        array[1] = 1.0


def test_threads_report_failures():
    failures: list[str] = []
    stop = threading.Event()
    expect.run_threads([stop.wait], [lambda: {}["missing"]], stop, failures)
    assert failures == ["KeyError: 'missing'"]
