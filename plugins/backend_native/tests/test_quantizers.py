"""The native quantizers against NumPy's: codes, scores, states and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aqe_core.errors import AqeError, ConfigError, InputError

pytest.importorskip(
    "aqe_backend_native._native", reason="the native backend is not installed: pip install ./plugins/backend_native"
)

from aqe_backend_native.quantization import make_quantizer
from aqe_backend_numpy.quantization.factory import make_quantizer as make_numpy_quantizer

DATA = Path(__file__).parents[4] / "shared" / "data" / "test-patterns"
SCHEMES = ("float16", "int8", "binary", "product")
METRICS = ("cosine", "dot", "l2")


def clustered(n=700, dim=45, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((9, dim))
    return (centres[rng.integers(9, size=n)] + 0.5 * rng.standard_normal((n, dim)) + 0.3).astype(np.float32)


def pair(scheme, metric, rows, **options):
    """Return the native quantizer and NumPy's, which has what the native one learned."""
    both = [
        make(scheme=scheme, dim=rows.shape[1], metric=metric, **options)
        for make in (make_quantizer, make_numpy_quantizer)
    ]
    both[0].train(rows)
    both[1].import_state(both[0].export_state())
    return both


def same_codes(scheme, mine, theirs):
    if scheme == "binary":
        assert np.array_equal(mine[:, :-8], theirs[:, :-8])
        a, b = (np.ascontiguousarray(each[:, -8:]).view("<f4") for each in (mine, theirs))
        # The second one is a difference of numbers as large as the first, summed in another order.
        assert (np.abs(a - b) <= 2e-7 * np.abs(b) + 1e-13 * b[:, :1] + 1e-12).all()
    else:
        assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dim", [3, 45, 64])
def test_codes_vectors_and_scores_are_those_of_numpy(scheme, metric, dim):
    rows = clustered(dim=dim)
    native, plain = pair(scheme, metric, rows)
    codes = plain.encode(rows)
    same_codes(scheme, native.encode(rows), codes)
    assert np.array_equal(native.decode(codes), plain.decode(codes))
    queries = clustered(n=5, dim=dim, seed=1)
    scale = np.abs(queries).max() * np.abs(rows).max() * dim
    for given_queries in (queries, queries[0]):
        scores, wanted = native.scores(given_queries, codes), plain.scores(given_queries, codes)
        assert scores.shape == wanted.shape
        assert scores.dtype == np.float32
        assert np.abs(scores - wanted).max() <= 2e-6 * scale


@pytest.mark.parametrize("scheme", SCHEMES)
def test_either_backend_reads_what_the_other_saved(scheme, tmp_path):
    rows = clustered()
    for first, second in ((make_quantizer, make_numpy_quantizer), (make_numpy_quantizer, make_quantizer)):
        one, other = (make(scheme=scheme, dim=45, metric="l2") for make in (first, second))
        one.train(rows)
        one.save(tmp_path / "learned.aqestate")
        other.load(tmp_path / "learned.aqestate")
        same_codes(scheme, other.encode(rows), one.encode(rows))
        mine, theirs = one.export_state(), other.export_state()
        assert (mine.kind, mine.manifest, set(mine.arrays)) == (theirs.kind, theirs.manifest, set(theirs.arrays))
        assert all(np.array_equal(mine.arrays[name], theirs.arrays[name]) for name in mine.arrays)


def test_product_learns_what_numpy_learns():
    rows = clustered(n=2000)
    both = [make(scheme="product", dim=45, groups=7, seed=3) for make in (make_quantizer, make_numpy_quantizer)]
    for each in both:
        each.train(rows)
    native, plain = both
    assert np.array_equal(native.export_state().arrays["parts"], plain.export_state().arrays["parts"])


@settings(max_examples=80, deadline=None)
@given(
    arrays(np.float32, (4, 9), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)),
    st.sampled_from(SCHEMES[:3]),
    st.sampled_from(METRICS[1:]),
)
def test_what_numpy_refuses_is_refused_with_its_words(rows, scheme, metric):
    native, plain = pair(scheme, metric, clustered(dim=9))
    outcomes = []
    for each in (native, plain):
        try:
            outcomes.append(each.encode(rows))
        except AqeError as error:
            outcomes.append(str(error))
    if isinstance(outcomes[1], str):
        assert outcomes[0] == outcomes[1]
    else:
        same_codes(scheme, *outcomes)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(SCHEMES), st.data())
def test_damaged_codes_are_refused_with_the_words_of_numpy(scheme, data):
    native, plain = pair(scheme, "dot", clustered(n=40, dim=9))
    codes = data.draw(arrays(np.uint8, (3, native.code_bytes)))
    outcomes = []
    for each in (native, plain):
        try:
            outcomes.append(each.decode(codes).tolist())
        except InputError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


def test_options_that_a_scheme_lacks_are_refused():
    with pytest.raises(ConfigError, match="the scheme 'int8' has no option 'groups'"):
        make_quantizer(scheme="int8", dim=8, groups=2)


@pytest.mark.skipif(not (DATA / "vectors.npy").exists(), reason="the shared data is absent")
@pytest.mark.parametrize(("scheme", "least"), [("float16", 0.999), ("int8", 0.99), ("binary", 0.72), ("product", 0.62)])
def test_codes_of_real_vectors_find_as_much_as_numpys(scheme, least):
    rows = np.load(DATA / "vectors.npy")[:5000].astype(np.float32)
    queries = np.load(DATA / "queries.npy")[:60].astype(np.float32)
    quantizer = make_quantizer(scheme=scheme, dim=rows.shape[1])
    quantizer.train(rows)
    exact = queries @ rows.T
    found = np.argsort(-quantizer.scores(queries, quantizer.encode(rows)), axis=1)[:, :10]
    tenth = np.sort(exact, axis=1)[:, -10, None]
    assert np.mean(np.take_along_axis(exact, found, axis=1) >= tenth - 1e-6) >= least
