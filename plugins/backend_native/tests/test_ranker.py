"""The native ranker learns, ranks and refuses as the NumPy backend's; each reads what the other wrote."""

from __future__ import annotations

import csv
from pathlib import Path

import attrs
import numpy as np
import pytest
from aqe_backend_numpy.ranker import NumpyRanker
from hypothesis import given, settings
from hypothesis import strategies as st

from aqe_core.contracts import Candidates, Outcomes, RankerCapabilities
from aqe_core.errors import InputError
from aqe_core.state import read_state, write_state
from aqe_core.testing import RankerConformance

NativeRanker = pytest.importorskip("aqe_backend_native.ranker", reason="the native extension is not built").NativeRanker

LOGS = Path(__file__).parents[4] / "shared" / "data" / "test-prioritization"
TOLERANCE = 1e-8  # as the class states


class TestNativeRanker(RankerConformance):
    capabilities = RankerCapabilities(context=True, budgeted=True)

    def make(self, **options):
        return NativeRanker(**options)


def history(n_cycles, n, seed, *, share=0.5):
    """Yield cycles of a growing suite, some of it left out, some of its durations unknown."""
    rng = np.random.default_rng(seed)
    seconds, broken = rng.lognormal(0.0, 1.5, n), np.zeros(n, np.bool_)
    for cycle in range(n_cycles):
        broken = np.where(broken, rng.random(n) < 0.8, rng.random(n) < 0.03)
        here = rng.permutation(n)[: rng.integers(1, n + 1)]
        context = {"churn": rng.poisson(2.0, len(here)).astype(float)} if cycle % 5 > 1 else {}
        given = np.where(rng.random(len(here)) < 0.2, np.nan, seconds[here])
        candidates = Candidates(
            [f"test_{i}" for i in here],
            duration_s=given,
            context=context,
            offset=rng.normal(0.0, 0.1, len(here)),
            budget_s=share * float(seconds[here].sum()),
        )
        ran = rng.random(len(here)) < 0.7
        yield candidates, Outcomes(broken[here], ran=ran, duration_s=np.where(ran, seconds[here], np.nan))


def assert_same_state(one, other):
    """Compare two states: numbers within the stated tolerance, all else exactly."""
    assert (one.kind, one.manifest) == (other.kind, other.manifest)
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        assert (array.dtype, array.shape) == (other.arrays[name].dtype, other.arrays[name].shape)
        np.testing.assert_allclose(other.arrays[name], array, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 70), st.floats(0.05, 1.5), st.integers(0, 2**64 - 1))
def test_both_rank_and_learn_the_same(data_seed, n, share, seed):
    one, other = NumpyRanker(seed=seed), NativeRanker(seed=seed)
    for candidates, outcomes in history(40, n, data_seed, share=share):
        ours, theirs = one.rank(candidates), other.rank(candidates)
        assert theirs.order.tolist() == ours.order.tolist()
        np.testing.assert_allclose(theirs.probability, ours.probability, rtol=TOLERANCE, atol=TOLERANCE)
        assert one.explain(candidates).features == other.explain(candidates).features
        np.testing.assert_allclose(
            other.explain(candidates).parts, one.explain(candidates).parts, rtol=TOLERANCE, atol=TOLERANCE
        )
        one.observe(candidates, outcomes)
        other.observe(candidates, outcomes)
    assert_same_state(one.export_state(), other.export_state())
    assert one.tests() == other.tests()
    for ours, theirs in zip(one.history(one.tests()), other.history(one.tests()), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(theirs, ours, rtol=TOLERANCE)


@pytest.mark.parametrize("makers", [(NumpyRanker, NativeRanker), (NativeRanker, NumpyRanker)])
def test_each_goes_on_from_the_other_s_file(makers, tmp_path):
    writer, reader = makers[0](seed=5, strength=2.0), makers[1]()
    cycles = list(history(60, 40, 3))
    for candidates, outcomes in cycles[:45]:
        writer.observe(candidates, outcomes)
    write_state(tmp_path / "ranker.aqestate", writer.export_state())
    reader.import_state(read_state(tmp_path / "ranker.aqestate"))
    assert reader.get_params() == {"seed": 5, "strength": 2.0}
    for candidates, outcomes in cycles[45:]:
        assert reader.rank(candidates).order.tolist() == writer.rank(candidates).order.tolist()
        for ranker in (writer, reader):
            ranker.observe(candidates, outcomes)
    assert_same_state(writer.export_state(), reader.export_state())


@pytest.mark.skipif(not LOGS.is_dir(), reason="the shared logs are not here")
def test_both_order_a_real_log_the_same():
    with (LOGS / "iofrol.csv").open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines, delimiter=";") if int(row["Cycle"]) <= 120]
    one, other = NumpyRanker(), NativeRanker()
    for cycle in sorted({int(row["Cycle"]) for row in rows}):
        tests = {row["Name"]: row for row in rows if int(row["Cycle"]) == cycle}
        seconds = np.array([float(row["Duration"]) for row in tests.values()])
        candidates = Candidates(tests, duration_s=seconds, budget_s=max(float(seconds.sum()) / 2.0, 1e-3))
        assert other.rank(candidates).order.tolist() == one.rank(candidates).order.tolist()
        for ranker in (one, other):
            ranker.observe(candidates, Outcomes([row["Verdict"] != "0" for row in tests.values()], duration_s=seconds))


def test_a_budget_of_exactly_all_durations_is_none():
    seconds = np.full(1000, 0.1)
    tests = [f"t{i}" for i in range(1000)]
    for ranker in (NumpyRanker(), NativeRanker()):
        ranker.observe(Candidates(tests), Outcomes(np.arange(1000) % 7 == 0))
        plain = ranker.rank(Candidates(tests, duration_s=seconds))
        tight = ranker.rank(Candidates(tests, duration_s=seconds, budget_s=100.0))
        assert tight.order.tolist() == plain.order.tolist()


def test_extreme_numbers_stay_finite():
    ranker, rng = NativeRanker(), np.random.default_rng(0)
    for _ in range(30):
        candidates = Candidates(
            ["a", "b", "c"],
            duration_s=[0.0, 1e300, 1e-300],
            context={"x": [1e308, -1e308, 0.0]},
            offset=[1e6, -1e6, 0.0],
            budget_s=1.0,
        )
        assert np.isfinite(ranker.rank(candidates).probability).all()
        ranker.observe(candidates, Outcomes(rng.random(3) < 0.5))
    assert np.isfinite(ranker.export_state().arrays["weights"]).all()


def test_a_wrong_state_is_refused_and_nothing_changed():
    ranker = NativeRanker(seed=1)
    for candidates, outcomes in history(10, 20, 1):
        ranker.observe(candidates, outcomes)
    before = ranker.export_state()
    with pytest.raises(InputError):
        ranker.import_state(attrs.evolve(before, arrays={**before.arrays, "weights": np.ones(3)}))
    with pytest.raises(InputError):
        ranker.import_state(attrs.evolve(before, manifest={**before.manifest, "params": {"seed": -1, "strength": 5.0}}))
    assert_same_state(before, ranker.export_state())


@pytest.mark.parametrize("options", [{"seed": -1}, {"seed": True}, {"strength": 0.0}, {"strength": "5"}])
def test_wrong_options_are_refused_alike(options):
    with pytest.raises(InputError) as ours:
        NumpyRanker(**options)
    with pytest.raises(InputError) as theirs:
        NativeRanker(**options)
    assert str(ours.value) == str(theirs.value)


def test_names_that_are_no_unicode():
    names = ["\ud800", "\ud801", "ü", "a"]
    ranker = NativeRanker()
    ranker.observe(Candidates(names), Outcomes([True, False, False, False]))
    assert sorted(ranker.tests()) == sorted(names)
    assert ranker.rank(Candidates(names)).order[0] == 0
