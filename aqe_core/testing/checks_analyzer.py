"""Checks of analyzers: formulas, empty input, bad input."""

# ruff: noqa: D401  # the first line of a check says what is promised
from __future__ import annotations

import math
import statistics
import warnings
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.analyzer import Analyzer, Description, Flakiness, GroupDescription
from aqe_core.testing.data import variants
from aqe_core.testing.expect import close, equal, raises_alike, require, run_threads, same_array, unchanged
from aqe_core.testing.kit import Context, check
from aqe_core.testing.oracles import quantile, wilson
from aqe_core.validate import as_groups, as_outcomes, as_quantiles, as_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)

BAD_VALUES: dict[str, Any] = {
    "NaN": [1.0, float("nan")],
    "infinity": np.array([1.0, -np.inf]),
    "two axes": np.ones((2, 2)),
    "a single number": 3.0,
    "text": ["fast"],
    "None": [None, 1.0],
    "ragged rows": [[1.0], [1.0, 2.0]],
    "complex numbers": np.array([1.0 + 2.0j]),
}
"""What is not a row of finite numbers."""


def durations(n: int, *, seed: int = 0, offset: float = 0.0) -> NDArray[np.float64]:
    """Return seeded positive values with a long tail, as durations have."""
    return offset + np.random.default_rng(seed).lognormal(sigma=1.0, size=n)


def grouped(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """Return values, groups and their number; group 2 is empty, group 5 has one value, the last group is empty."""
    rng = np.random.default_rng(seed)
    numbers = rng.choice([0, 1, 3, 4], size=200).astype(np.int64)
    numbers[77] = 5
    return durations(200, seed=seed), numbers, 7


@check("analyzer")
def check_protocol(kit: Context) -> None:
    """It fulfils the protocol, and answers are of the contract's types.

    If this fails, look at the names and signatures in aqe_core.contracts.analyzer.
    """
    analyzer = kit.make()
    require(isinstance(analyzer, Analyzer), f"{type(analyzer).__name__} lacks a method of Analyzer")
    summary = analyzer.describe([1.0, 2.0])
    require(isinstance(summary, Description), f"describe returns a {type(summary).__name__}")
    equal(type(summary.n), int, "type of n")
    for name in ("mean", "variance", "std", "min", "max", "median"):
        require(isinstance(getattr(summary, name), float), f"{name} is a {type(getattr(summary, name)).__name__}")
    groups = analyzer.describe_groups([1.0, 2.0], [0, 1], 2)
    require(isinstance(groups, GroupDescription), f"describe_groups returns a {type(groups).__name__}")
    flaky = analyzer.flakiness([True, False], [0, 0], 1)
    require(isinstance(flaky, Flakiness), f"flakiness returns a {type(flaky).__name__}")


@check("analyzer")
def check_describe(kit: Context) -> None:
    """Mean, variance, extremes and quantiles follow their formulas, for 1 to 1,000 values.

    If this fails, look at the denominator of the variance (n - 1) and the kind of quantile (type 7).
    """
    analyzer = kit.make()
    for n in (2, 3, 10, 1000):
        values = durations(n, seed=n)
        items = values.tolist()
        summary = analyzer.describe(values, quantiles=LEVELS)
        equal(summary.n, n, "n")
        equal((summary.min, summary.max), (min(items), max(items)), "(min, max)")
        near = partial(close, tolerance=1e-12 * max(items) ** 2)
        near(summary.mean, math.fsum(items) / n, what=f"mean of {n} values")
        near(summary.variance, statistics.variance(items), what=f"variance of {n} values")
        near(summary.std, statistics.stdev(items), what=f"std of {n} values")
        near(summary.median, statistics.median(items), what=f"median of {n} values")
        same_array(summary.quantile_levels, np.array(LEVELS), "quantile_levels")
        near(summary.quantiles, [quantile(items, level) for level in LEVELS], what=f"quantiles of {n} values")


@check("analyzer")
def check_describe_defaults(kit: Context) -> None:
    """Without levels the quantiles 5, 25, 50, 75, 95 and 99 % are given; levels may come in any order, or none.

    If this fails, look at the default of ``quantiles``, and at quantiles that were sorted on the way.
    """
    analyzer, values = kit.make(), durations(50)
    same_array(analyzer.describe(values).quantile_levels, np.array([0.05, 0.25, 0.5, 0.75, 0.95, 0.99]), "levels")
    mixed = analyzer.describe(values, quantiles=[0.9, 0.1, 0.9])
    expected = [quantile(values.tolist(), level) for level in (0.9, 0.1, 0.9)]
    close(mixed.quantiles, expected, 1e-12 * values.max(), "quantiles in the given order")
    equal(analyzer.describe(values, quantiles=[]).quantiles.shape, (0,), "shape of no quantiles")


@check("analyzer")
def check_describe_far_from_zero(kit: Context) -> None:
    """The variance of values around 1e9 is right to six digits.

    If this fails, look at sums of squares: subtract the mean first (two passes), or use Welford's update.
    """
    values = durations(500, seed=1, offset=1e9)
    expected = statistics.variance(values.tolist())
    close(kit.make().describe(values).variance, expected, 1e-6 * expected, "variance of values around 1e9")
    of_group = kit.make().describe_groups(values, np.zeros(500, np.int64), 1).variance
    close(of_group, [expected], 1e-6 * expected, "variance of a group of values around 1e9")


@check("analyzer")
def check_describe_few(kit: Context) -> None:
    """No values give NaN, one value has no variance; nothing is warned about.

    If this fails, look at reductions over empty arrays and at n - 1 in the denominator.
    """
    analyzer = kit.make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        none, one = analyzer.describe([], quantiles=[0.5]), analyzer.describe([3.0], quantiles=[0.0, 0.5])
    equal(none.n, 0, "n of no values")
    for name in ("mean", "variance", "std", "min", "max", "median"):
        require(math.isnan(getattr(none, name)), f"{name} of no values is {getattr(none, name)}, expected NaN")
    same_array(none.quantiles, np.array([np.nan]), "quantiles of no values")
    equal((one.n, one.mean, one.min, one.max, one.median), (1, 3.0, 3.0, 3.0, 3.0), "summary of one value")
    require(math.isnan(one.variance) and math.isnan(one.std), "one value has a variance, expected NaN")
    same_array(one.quantiles, np.array([3.0, 3.0]), "quantiles of one value")


@check("analyzer")
def check_groups(kit: Context) -> None:
    """Each group is described as its values alone are; empty groups are 0 or NaN.

    If this fails, look at groups out of order, empty groups in between and at the end, and groups of one value.
    """
    values, numbers, count = grouped()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = kit.make().describe_groups(values, numbers, count)
    parts = [values[numbers == g].tolist() for g in range(count)]
    same_array(found.n, np.array([len(part) for part in parts], np.int64), "n by group")
    formulas: dict[str, Any] = {
        "total": math.fsum,
        "mean": lambda part: math.fsum(part) / len(part) if part else math.nan,
        "variance": lambda part: statistics.variance(part) if len(part) > 1 else math.nan,
        "min": lambda part: min(part, default=math.nan),
        "max": lambda part: max(part, default=math.nan),
        "median": lambda part: quantile(part, 0.5) if part else math.nan,
        "p95": lambda part: quantile(part, 0.95) if part else math.nan,
    }
    for name, formula in formulas.items():
        column = getattr(found, name)
        equal(str(column.dtype), "float64", f"dtype of {name}")
        close(column, [formula(part) for part in parts], 1e-11 * values.max() ** 2, f"{name} by group")


@check("analyzer")
def check_no_groups(kit: Context) -> None:
    """No values in no or in three groups give arrays of that length.

    If this fails, look at bincount and reduceat of empty arrays.
    """
    analyzer = kit.make()
    for count in (0, 3):
        found, flaky = analyzer.describe_groups([], [], count), analyzer.flakiness([], [], count)
        same_array(found.n, np.zeros(count, np.int64), "n of no values")
        same_array(found.total, np.zeros(count), "total of no values")
        same_array(found.mean, np.full(count, np.nan), "mean of no values")
        same_array(flaky.runs, np.zeros(count, np.int64), "runs of no outcomes")
        same_array(flaky.flip_rate, np.full(count, np.nan), "flip_rate of no outcomes")


@check("analyzer")
def check_flakiness(kit: Context) -> None:
    """Flips are counted between consecutive runs of one group, whatever lies between them.

    If this fails, look at pairs that straddle two groups, and at a sort by group that is not stable.
    """
    series = {0: "PPPPFFFF", 1: "PFPFPFPF", 2: "PPPP", 3: "F", 4: "", 5: "FP", 6: "PF" * 60}
    outcomes = [[letter == "F" for letter in text] for text in series.values()]
    longest = max(map(len, outcomes))
    # Interleaved: the first run of each group, then the second of each ...
    rows = [(g, one[i]) for i in range(longest) for g, one in enumerate(outcomes) if i < len(one)]
    failed = np.array([outcome for _, outcome in rows])
    numbers = np.array([g for g, _ in rows], np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = kit.make().flakiness(failed, numbers, 7)
    flips = [1, 7, 0, 0, 0, 1, 119]
    same_array(found.runs, np.array([len(one) for one in outcomes], np.int64), "runs")
    same_array(found.failures, np.array([sum(one) for one in outcomes], np.int64), "failures")
    same_array(found.flips, np.array(flips, np.int64), "flips")
    pairs = [(flip, len(one) - 1) for flip, one in zip(flips, outcomes, strict=True)]
    close(found.flip_rate, [f / n if n > 0 else math.nan for f, n in pairs], 1e-15, "flip_rate")
    bounds = [wilson(f, n) if n > 0 else (math.nan, math.nan) for f, n in pairs]
    close(found.low, [low for low, _ in bounds], 1e-9, "low")
    close(found.high, [high for _, high in bounds], 1e-9, "high")


@check("analyzer")
def check_memory_layouts(kit: Context) -> None:
    """Arrays may be strided, reversed, read-only or of another type, or lists; they are never changed.

    If this fails, look at in-place sorting, and at native code that assumes contiguous float64.
    """
    analyzer = kit.make()
    values, numbers, count = grouped(seed=3)
    values = np.round(values * 8.0) / 8.0  # exact in float32
    failed = values > 1.0
    wanted = analyzer.describe(values.copy()), analyzer.describe_groups(values.copy(), numbers.copy(), count)
    flaky = analyzer.flakiness(failed.copy(), numbers.copy(), count)
    forms = [(v, variants(numbers)[name], variants(failed)[name]) for name, v in variants(values).items()]
    forms += [
        (values.astype(np.float32), numbers.astype(np.int32), failed.astype(np.int8)),
        (values.tolist(), numbers.tolist(), failed.tolist()),
    ]
    for given, of, outcomes in forms:
        with unchanged(given, of, outcomes):
            summary, groups = analyzer.describe(given), analyzer.describe_groups(given, of, count)
            flips = analyzer.flakiness(outcomes, of, count)
        close(summary.quantiles, wanted[0].quantiles, 1e-12, "quantiles of another form of the values")
        close(groups.total, wanted[1].total, 1e-9, "totals of another form of the values")
        same_array(flips.flips, flaky.flips, "flips of another form of the outcomes")


@check("analyzer")
def check_bad_values(kit: Context) -> None:
    """Values that are not one row of finite numbers are refused.

    If this fails, look at aqe_core.validate.as_values: call it first, or say the same.
    """
    analyzer = kit.make()
    for name, values in BAD_VALUES.items():
        reference = partial(as_values, values)
        raises_alike(reference, partial(analyzer.describe, values), f"describe of {name}")
        raises_alike(reference, partial(analyzer.describe_groups, values, [0, 0], 1), f"describe_groups of {name}")


@check("analyzer")
def check_bad_groups(kit: Context) -> None:
    """Groups outside 0 .. n_groups - 1, of another length or not integers are refused.

    If this fails, look at aqe_core.validate.as_groups: call it first, or say the same.
    """
    analyzer = kit.make()
    bad: list[tuple[Any, Any]] = [
        ([0, 2], 2),
        ([0, -1], 2),
        ([0], 2),
        ([0, 1, 1], 2),
        ([0.0, 1.0], 2),
        ([[0, 1]], 2),
        ([0, 0], 0),
        ([0, 0], -1),
        ([0, 0], 1.5),
        ([0, 0], None),
    ]
    for numbers, count in bad:
        reference, what = partial(as_groups, numbers, 2, count), f"groups {numbers} of {count}"
        raises_alike(reference, partial(analyzer.describe_groups, [1.0, 2.0], numbers, count), what)
        raises_alike(reference, partial(analyzer.flakiness, [True, False], numbers, count), what)


@check("analyzer")
def check_bad_levels_and_outcomes(kit: Context) -> None:
    """Levels outside 0 .. 1 and outcomes other than yes and no are refused.

    If this fails, look at aqe_core.validate.as_quantiles and as_outcomes.
    """
    analyzer = kit.make()
    for levels in ([1.1], [-0.1], [95], [float("nan")], ["half"]):
        call = partial(analyzer.describe, [1.0, 2.0], quantiles=levels)
        raises_alike(partial(as_quantiles, levels), call, f"quantiles={levels}")
    for failed in ([0, 2], [0.5, 1.0], ["passed", "failed"], [[True, False]]):
        call = partial(analyzer.flakiness, failed, [0, 0], 1)
        raises_alike(partial(as_outcomes, failed), call, f"outcomes {failed}")


@check("analyzer", needs="thread_safe")
def check_threads(kit: Context) -> None:
    """Calls from several threads do not disturb each other.

    If this fails, look at scratch buffers kept between calls.
    """
    analyzer = kit.make()
    inputs = [durations(300, seed=seed) for seed in range(4)]
    wanted = [analyzer.describe(values).quantiles.tolist() for values in inputs]
    failures: list[str] = []

    def work(i: int) -> None:
        for _ in range(40):
            found = analyzer.describe(inputs[i]).quantiles.tolist()
            if found != wanted[i]:
                failures.append(f"quantiles are {found}, alone {wanted[i]}")
                return

    run_threads([], [partial(work, i) for i in range(4)], Event(), failures)
    require(not failures, "; ".join(failures[:3]))
