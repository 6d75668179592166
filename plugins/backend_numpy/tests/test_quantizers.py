"""Quantizers against formulas written out, and on real vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from aqe_backend_numpy.quantization.factory import make_quantizer
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import aqe_core
from aqe_core.errors import CapabilityError, ConfigError, DimensionError, InputError
from aqe_core.state import EngineState

DATA = Path(__file__).parents[4] / "shared" / "data" / "test-patterns"
SCHEMES = ("float16", "int8", "binary", "product")


def trained(scheme, rows, metric="dot", **options):
    quantizer = make_quantizer(scheme=scheme, dim=rows.shape[1], metric=metric, **options)
    quantizer.train(rows)
    return quantizer


def random_rows(n=400, dim=19, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((9, dim))
    return (centres[rng.integers(9, size=n)] + 0.5 * rng.standard_normal((n, dim)) + 0.3).astype(np.float32)


def test_float16_is_the_nearest_half():
    rows = random_rows()
    quantizer = make_quantizer(scheme="float16", dim=19, metric="dot")
    assert quantizer.trained
    assert np.array_equal(quantizer.encode(rows), rows.astype("<f2").view(np.uint8))
    assert np.array_equal(quantizer.decode(quantizer.encode(rows)), rows.astype(np.float16).astype(np.float32))
    with pytest.raises(InputError, match="a magnitude above 65,504 cannot be held as float16"):
        quantizer.encode(1e5 * rows)


finite = st.floats(-(2.0**20), 2.0**20, width=32)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, (5, 7), elements=finite), st.integers(0, 4))
def test_int8_is_off_by_half_a_step_at_most(rows, chosen):
    quantizer = trained("int8", rows)
    decoded = quantizer.decode(quantizer.encode(rows))
    mean = rows.mean(axis=0, dtype=np.float64)
    steps = np.abs(rows - mean).max(axis=1, keepdims=True) / 127
    # Beside the rounding to a step there are those of float32, of the numbers as large as they are.
    slack = 1e-6 * np.abs(rows).max() + 1e-30
    assert (np.abs(decoded - rows) <= 0.501 * steps + slack).all()
    assert np.array_equal(quantizer.encode(rows)[chosen], quantizer.encode(rows[chosen])[0])


@pytest.mark.parametrize("metric", ["dot", "l2", "cosine"])
def test_binary_is_the_estimator_written_out(metric):
    rows, queries = random_rows(), random_rows(6, seed=1)
    quantizer = trained("binary", rows, metric)
    scores = quantizer.scores(queries, quantizer.encode(rows))
    if metric == "cosine":
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    c = rows.mean(axis=0, dtype=np.float64)
    for j, x in enumerate(rows.astype(np.float64)):
        r = x - c
        s = np.where(r >= 0, 1.0, -1.0)
        dots = queries @ c + (r @ r) / np.abs(r).sum() * ((queries - c) @ s) + r @ c
        expected = dots if metric != "l2" else np.minimum(2 * dots - x @ x - (queries * queries).sum(axis=1), 0)
        assert np.allclose(scores[:, j], expected, atol=3e-5)


def test_the_binary_estimate_has_no_bias_for_random_directions():
    rng = np.random.default_rng(4)
    rows, queries = rng.standard_normal((2000, 64)), rng.standard_normal((50, 64))
    quantizer = trained("binary", rows.astype(np.float32))
    scores = quantizer.scores(queries.astype(np.float32), quantizer.encode(rows.astype(np.float32)))
    exact = queries @ rows.T
    slope = (scores * exact).sum() / (exact * exact).sum()
    assert abs(slope - 1) < 0.02


@pytest.mark.parametrize("metric", ["dot", "l2", "cosine"])
def test_product_scores_are_those_of_the_decoded_rows(metric):
    rows, queries = random_rows(), random_rows(6, seed=1)
    quantizer = trained("product", rows, metric, groups=4)
    assert quantizer.code_bytes == 4
    codes = quantizer.encode(rows)
    decoded = quantizer.decode(codes).astype(np.float64)
    if metric == "cosine":
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    expected = -np.square(queries[:, None] - decoded).sum(axis=2) if metric == "l2" else queries @ decoded.T
    assert np.allclose(quantizer.scores(queries, codes), expected, atol=1e-4)


def test_product_codes_name_the_nearest_parts():
    rows = random_rows(600)
    quantizer = trained("product", rows, groups=19)  # one dimension each
    assert np.abs(quantizer.decode(quantizer.encode(rows)) - rows).max() < 0.6
    few = trained("product", rows[:3], groups=2)
    assert np.allclose(few.decode(few.encode(rows[:3])), rows[:3], atol=1e-6)  # fewer rows than parts
    with pytest.raises(InputError, match="a code holds 255, but there are 3 parts"):
        few.decode(np.full((1, 2), 255, np.uint8))
    assert not np.array_equal(quantizer.encode(rows), trained("product", rows, groups=19, seed=1).encode(rows))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scheme": "product", "groups": 9}, "groups is 9, but there are 8 dimensions."),
        ({"scheme": "product", "seed": -1}, "seed is -1, but must be an integer"),
        ({"scheme": "int8", "groups": 2}, "the scheme 'int8' has no option 'groups'."),
    ],
)
def test_wrong_options_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        make_quantizer(dim=8, **options)


def test_they_are_opened_by_name():
    assert aqe_core.open_quantizer(scheme="binary", dim=16, metric="l2").code_bytes == 10
    with pytest.raises(CapabilityError, match="no quantizer 'ternary', only binary, float16, int8, product"):
        aqe_core.open_quantizer(scheme="ternary", dim=16)
    with pytest.raises(DimensionError):
        aqe_core.open_quantizer(scheme="int8", dim=0)
    with pytest.raises(DimensionError, match="vectors have 5 dimensions, but the quantizer has 4"):
        aqe_core.open_quantizer(scheme="int8", dim=4).train(np.ones((2, 5)))


@pytest.mark.parametrize("scheme", ["int8", "binary"])
def test_a_row_at_the_mean_and_rows_of_any_size(scheme):
    rows = np.ones((4, 9), np.float32)
    quantizer = trained(scheme, rows)
    assert np.array_equal(quantizer.decode(quantizer.encode(rows)), rows)
    for size in (1e-38, 1e-30, 1e15):
        rows = (random_rows(50, 9) * size).astype(np.float32)
        quantizer = trained(scheme, rows)
        scores = quantizer.scores(rows[:1], quantizer.encode(rows))
        assert np.isfinite(scores).all()
    # Squares above the range of float32 are refused; nothing becomes infinite without a word.
    large = np.full((2, 9), 3e38, np.float32)
    large[1] = -large[1]
    quantizer = trained(scheme, large)
    with pytest.raises(InputError):
        quantizer.scores(large, quantizer.encode(large))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_damaged_codes_give_no_silent_nan(scheme):
    rows = random_rows()
    quantizer = trained(scheme, rows)
    codes = np.full((3, quantizer.code_bytes), 255, np.uint8)
    if scheme == "product":
        quantizer = trained(scheme, rows[:100])
    with pytest.raises(InputError, match=r"damaged code|a code holds"):
        quantizer.decode(codes)
    with pytest.raises(InputError, match=r"damaged code|a code holds"):
        quantizer.scores(rows[0], codes)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_states_of_others_and_damaged_ones_are_refused(scheme):
    rows = random_rows()
    quantizer = trained(scheme, rows)
    codes = quantizer.encode(rows)
    state = quantizer.export_state()
    others = [EngineState(kind="quantizer/other/1", manifest=state.manifest, arrays=state.arrays)]
    others += [EngineState(kind=state.kind, manifest={**state.manifest, "dim": 20}, arrays=state.arrays)]
    others += [EngineState(kind=state.kind, manifest=state.manifest, arrays={**state.arrays, "more": rows})]
    for name, array in state.arrays.items():
        damaged = array.copy()
        damaged.flat[0] = np.nan
        for wrong in (damaged, array[..., :-1], array.astype(np.float64)):
            others.append(EngineState(kind=state.kind, manifest=state.manifest, arrays={**state.arrays, name: wrong}))
    for other in others:
        with pytest.raises(InputError):
            quantizer.import_state(other)
        assert np.array_equal(quantizer.encode(rows), codes)
    assert repr(quantizer).endswith("Quantizer(dim=19, metric='dot')")


def test_an_untrained_state_is_kept_as_such():
    quantizer = trained("int8", random_rows())
    quantizer.import_state(make_quantizer(scheme="int8", dim=19, metric="dot").export_state())
    assert not quantizer.trained


@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there")
@pytest.mark.parametrize(
    ("scheme", "recall", "candidates"),
    [("float16", 0.999, 1.0), ("int8", 0.98, 1.0), ("binary", 0.7, 0.98), ("product", 0.6, 0.97)],
)
def test_real_vectors_keep_their_neighbours(scheme, recall, candidates):
    rows = np.load(DATA / "vectors.npy", mmap_mode="r")[:5000].astype(np.float32)
    queries = np.load(DATA / "queries.npy")[:100].astype(np.float32)
    quantizer = trained(scheme, rows, "cosine")
    scores = quantizer.scores(queries, quantizer.encode(rows))
    exact = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ (
        rows / np.linalg.norm(rows, axis=1, keepdims=True)
    ).T
    least = np.partition(exact, -10, axis=1)[:, -10, None] - 1e-6
    for among, wanted in ((10, recall), (100, candidates)):
        best = np.argpartition(scores, -among, axis=1)[:, -among:]
        found = (np.take_along_axis(exact, best, axis=1) >= least).sum(axis=1)
        assert np.minimum(found, 10).mean() / 10 >= wanted


def test_a_scale_that_takes_numbers_beyond_float32_is_refused():
    quantizer = make_quantizer(scheme="int8", dim=4)
    quantizer.train(np.eye(4, dtype=np.float32))
    codes = np.full((1, quantizer.code_bytes), 124, np.uint8)  # the scale is 5.2e36, and so finite
    with pytest.raises(InputError, match="a damaged code"):
        quantizer.decode(codes)
    with pytest.raises(InputError, match="a score is beyond float32, or a code is damaged"):
        quantizer.scores(np.ones(4, np.float32), codes)
