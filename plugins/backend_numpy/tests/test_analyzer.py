"""The NumPy analyzer against the statistics module, NumPy's own functions and naive loops."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
from aqe_backend_numpy.analyzer import NumpyAnalyzer
from hypothesis import given
from hypothesis import strategies as st

from aqe_core.contracts import Analyzer
from aqe_core.errors import DimensionError, InputError, NonFiniteError

FLOATS = st.floats(-1e9, 1e9, allow_nan=False, width=32)
Z95 = statistics.NormalDist().inv_cdf(0.975)


@pytest.fixture
def analyzer():
    return NumpyAnalyzer()


def close(actual, expected, scale=1.0):
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12 * scale)


def test_fulfils_the_contract(analyzer):
    assert isinstance(analyzer, Analyzer)
    assert repr(analyzer) == "NumpyAnalyzer()"


@given(st.lists(FLOATS, min_size=2, max_size=60), st.lists(st.floats(0, 1), max_size=6))
def test_describe_agrees_with_statistics_and_numpy(values, levels):
    got = NumpyAnalyzer().describe(values, quantiles=levels)
    scale = max(1.0, *map(abs, values))
    assert got.n == len(values)
    close(got.mean, statistics.fmean(values), scale)
    np.testing.assert_allclose(got.variance, statistics.variance(values), rtol=1e-10, atol=1e-18 * scale**2)
    assert got.std == math.sqrt(got.variance)
    assert (got.min, got.max) == (min(values), max(values))
    close(got.median, statistics.median(values), scale)
    close(got.quantiles, np.quantile(np.array(values, np.float64), levels), scale)
    assert got.quantile_levels.tolist() == levels


def test_describe_of_a_known_sample(analyzer):
    got = analyzer.describe([4, 1, 3, 2], quantiles=[0.0, 0.25, 0.5, 1.0])
    assert (got.n, got.mean, got.min, got.max, got.median) == (4, 2.5, 1.0, 4.0, 2.5)
    assert got.variance == pytest.approx(5 / 3)
    assert got.quantiles.tolist() == [1.0, 1.75, 2.5, 4.0]


def test_describe_of_nothing_and_of_one_value(analyzer):
    nothing = analyzer.describe([])
    assert nothing.n == 0
    for name in ("mean", "variance", "std", "min", "max", "median"):
        assert math.isnan(getattr(nothing, name)), name
    assert nothing.quantiles.shape == (6,)
    assert np.isnan(nothing.quantiles).all()
    one = analyzer.describe([3.5], quantiles=0.9)
    assert (one.n, one.mean, one.min, one.max, one.median) == (1, 3.5, 3.5, 3.5, 3.5)
    assert math.isnan(one.variance)
    assert math.isnan(one.std)
    assert one.quantiles.tolist() == [3.5]


def test_a_large_offset_costs_no_digits(analyzer):
    values = 1e9 + np.array([4.0, 7.0, 13.0, 16.0])
    assert analyzer.describe(values).variance == 30.0
    assert analyzer.describe_groups(values, [0, 0, 0, 0], 1).variance.tolist() == [30.0]


def test_equal_values_have_no_variance(analyzer):
    assert analyzer.describe(np.full(1001, 0.1)).variance == pytest.approx(0.0, abs=1e-30)


def test_the_largest_values_give_infinity_and_no_warning(analyzer):
    top = np.finfo(np.float64).max
    got = analyzer.describe([-top, top, top], quantiles=[0.5, 0.25])
    assert got.variance == math.inf
    assert got.quantiles.tolist() == [top, 0.0]
    assert analyzer.describe([top, top]).mean == math.inf


@given(st.lists(st.tuples(FLOATS, st.integers(0, 5)), max_size=60), st.integers(6, 8))
def test_groups_agree_with_describing_each_alone(pairs, n_groups):
    values = np.array([value for value, _ in pairs], np.float64)
    groups = np.array([group for _, group in pairs], np.int64)
    analyzer = NumpyAnalyzer()
    got = analyzer.describe_groups(values, groups, n_groups)
    scale = max(1.0, *np.abs(values), 1.0)
    for group in range(n_groups):
        mine = values[groups == group]
        alone = analyzer.describe(mine, quantiles=[0.95])
        assert got.n[group] == mine.size
        close(got.total[group], math.fsum(mine), 60 * scale)
        close(got.mean[group], alone.mean, scale)
        np.testing.assert_allclose(got.variance[group], alone.variance, rtol=1e-10, atol=1e-18 * scale**2)
        np.testing.assert_array_equal(got.min[group], alone.min)
        np.testing.assert_array_equal(got.max[group], alone.max)
        np.testing.assert_array_equal(got.median[group], alone.median)
        np.testing.assert_array_equal(got.p95[group], alone.quantiles[0])


def test_no_groups_and_no_values(analyzer):
    assert analyzer.describe_groups([], [], 0).n.shape == (0,)
    empty = analyzer.describe_groups([], [], 2)
    assert empty.n.tolist() == [0, 0]
    assert empty.total.tolist() == [0.0, 0.0]
    assert np.isnan(empty.mean).all()
    assert analyzer.flakiness([], [], 0).runs.shape == (0,)
    assert np.isnan(analyzer.flakiness([], [], 3).low).all()


def naive_flakiness(failed, groups, n_groups):
    rows = []
    for group in range(n_groups):
        mine = [bool(f) for f, g in zip(failed, groups, strict=True) if g == group]
        flips = sum(a != b for a, b in itertools.pairwise(mine))
        n = len(mine) - 1
        if n < 1:
            rows.append((len(mine), sum(mine), flips, math.nan, math.nan, math.nan))
            continue
        p = flips / n
        half = Z95 * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n**2))
        bottom = 1 + Z95**2 / n
        middle = p + Z95**2 / (2 * n)
        rows.append((len(mine), sum(mine), flips, p, (middle - half) / bottom, (middle + half) / bottom))
    return rows


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=80))
def test_flakiness_agrees_with_a_loop(pairs):
    failed = [f for f, _ in pairs]
    groups = [g for _, g in pairs]
    got = NumpyAnalyzer().flakiness(failed, groups, 6)
    for group, (runs, failures, flips, *rates) in enumerate(naive_flakiness(failed, groups, 6)):
        assert (got.runs[group], got.failures[group], got.flips[group]) == (runs, failures, flips)
        mine = [got.flip_rate[group], got.low[group], got.high[group]]
        np.testing.assert_allclose(mine, rates, rtol=1e-12, atol=1e-12)
        assert not (mine[1] < 0.0)
        assert not (mine[2] > 1.0)


def test_a_broken_test_flips_once_and_a_flaky_one_again_and_again(analyzer):
    broken, flaky = [0, 0, 0, 0, 1, 1, 1, 1], [0, 1, 0, 1, 0, 1, 0, 1]
    got = analyzer.flakiness(broken + flaky, [0] * 8 + [1] * 8, 2)
    assert got.flips.tolist() == [1, 7]
    assert got.failures.tolist() == [4, 4]
    assert got.flip_rate.tolist() == [1 / 7, 1.0]
    assert got.high[1] == 1.0
    assert got.low[1] == pytest.approx(0.6456699, abs=1e-6)  # tabulated Wilson interval of 7 of 7


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda a: a.describe([[1.0]]), DimensionError),
        (lambda a: a.describe(["x"]), DimensionError),
        (lambda a: a.describe([1.0, math.nan]), NonFiniteError),
        (lambda a: a.describe([1.0], quantiles=[1.5]), InputError),
        (lambda a: a.describe([1.0], quantiles=[-0.1]), InputError),
        (lambda a: a.describe([1.0], quantiles=[math.nan]), NonFiniteError),
        (lambda a: a.describe_groups([1.0, math.inf], [0, 0], 1), NonFiniteError),
        (lambda a: a.describe_groups([1.0], [0, 1], 2), DimensionError),
        (lambda a: a.describe_groups([1.0], [2], 2), InputError),
        (lambda a: a.describe_groups([1.0], [-1], 2), InputError),
        (lambda a: a.describe_groups([1.0], [0.5], 2), InputError),
        (lambda a: a.describe_groups([1.0], [0], "two"), InputError),
        (lambda a: a.flakiness([2], [0], 1), InputError),
        (lambda a: a.flakiness([[True]], [0], 1), DimensionError),
        (lambda a: a.flakiness([True], [0, 0], 1), DimensionError),
        (lambda a: a.flakiness([True], [1], 1), InputError),
    ],
)
def test_bad_input_is_one_clear_error(analyzer, call, error):
    with pytest.raises(error) as caught:
        call(analyzer)
    assert type(caught.value) is error
    assert caught.value.fix


def test_arguments_are_not_changed(analyzer):
    values, groups = np.array([3.0, 1.0, 2.0]), np.array([1, 0, 1])
    levels = np.array([0.5])
    for array in (values, groups, levels):
        array.flags.writeable = False
    described = analyzer.describe(values[::-1], quantiles=levels)
    analyzer.describe_groups(values, groups, 2)
    analyzer.flakiness(values > 1, groups, 2)
    assert values.tolist() == [3.0, 1.0, 2.0]
    assert not np.shares_memory(described.quantile_levels, levels)
