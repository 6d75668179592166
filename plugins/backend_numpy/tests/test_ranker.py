"""The pairwise ranker: its parts against plain oracles, the whole on logs of several kinds."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import attrs
import numpy as np
import pytest
from aqe_backend_numpy import _rank_features as rf
from aqe_backend_numpy import _rank_order, _rank_table, _rank_weights
from aqe_backend_numpy.ranker import NumpyRanker
from hypothesis import given
from hypothesis import strategies as st

from aqe_core.contracts import Candidates, Outcomes
from aqe_core.errors import InputError

ROOT = Path(__file__).parents[3]
LOGS = ROOT.parent / "shared" / "data" / "test-prioritization"
EVALUATOR = ROOT.parent / "shared" / "bench" / "napfd.py"


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cycles(n_cycles, n, chance, *, seed=0):
    """Yield cycles in which test i fails with chance(cycle, rng)[i]."""
    rng = np.random.default_rng(seed)
    for cycle in range(n_cycles):
        yield Candidates([f"t{i}" for i in range(n)]), Outcomes(rng.random(n) < chance(cycle, rng))


# -- memory and features ----------------------------------------------------------------------------------------------


def test_a_test_of_three_runs_by_hand():
    ranker = NumpyRanker()
    for failed, seconds in ((True, 4.0), (False, 2.0), (False, 3.0)):
        ranker.observe(Candidates(["a", "b"]), Outcomes([failed, False], duration_s=[seconds, 1.0]))
    row = ranker._state.table.columns[:, ranker._state.table.slots["a"]]
    assert row[:4] == pytest.approx([rate * (1 - rate) ** 2 for rate in _rank_table.RATES])
    assert row[4:8] == pytest.approx([(1 - rate) ** 3 for rate in _rank_table.RATES])
    assert row[_rank_table.LOG_RECENT] == pytest.approx(np.log(0.4 * 0.6**2))
    assert row[_rank_table.RUNS :].tolist() == [3.0, 1.0, 2.0, 0.0, 0.0, 3.0]
    history = ranker.history(["a"])
    assert [int(column[0]) for column in history[:3]] == [3, 1, 2]
    assert ranker._state.tallies.tolist() == [[1.5, 11.0], [1.6, 4.0], [0.0, 1.0], [0.0, 3.0]]


def test_features_by_hand():
    ranker = NumpyRanker()
    ranker.observe(Candidates(["a", "b"]), Outcomes([True, False]))
    ranker.observe(Candidates(["a", "b"]), Outcomes([False, False], ran=[True, False]))
    table = ranker._state.table.read(np.array([0, 1, -1]))
    shares = rf.Shares(failed=0.2, new_failed=0.4, persistence=0.5)
    record, recency, duration, new, never, last, unwatched = rf.features(table, np.array([1.0, 2.0, 4.0]), shares)
    ewma = [rate * (1 - rate) + (1 - rate) ** 2 * 0.4 for rate in _rank_table.RATES]
    mean = (sum(ewma) + (1 + 0.8) / 4) / 5
    assert record[0] == pytest.approx(np.log(mean / (1 - mean)))
    assert record[2] == pytest.approx(np.log(0.4 / 0.6))
    assert recency[0] == pytest.approx(np.log(0.4 * 0.6 + 0.36 * 0.4) / 100)
    assert duration.tolist() == [0.0, 0.0, 0.0]  # a failed lately, b is in the middle, the last is new
    assert (new.tolist(), never.tolist()) == ([0.0, 0.0, 1.0], [0.0, 1.0, 0.0])
    assert last == pytest.approx([np.log(0.01 / 0.99) - np.log(0.25), np.log(1.0) - np.log(0.25), 0.0])
    assert unwatched == pytest.approx([0.0, np.log(1.5), 0.0])  # b passed and was left out once: 1 + r


def test_the_far_past_is_still_ordered():
    """Failures 3,000 and 4,000 passes ago, and none: in float32, or without logarithms, they would be equal."""
    fresh = _rank_table.FRESH[:, None]
    columns = []
    for passes in (3000, 4000):
        column = _rank_table.after_run(fresh, np.array([True]), 1.0, np.array([1.0]))
        for _ in range(passes):
            column = _rank_table.after_run(column, np.array([False]), 0.0, np.array([1.0]))
        columns.append(column)
    never = fresh
    for _ in range(4001):
        never = _rank_table.after_run(never, np.array([False]), 0.0, np.array([1.0]))
    table = np.concatenate([*columns, never], axis=1)
    recency = rf.features(table, np.ones(3), rf.Shares(0.1, 0.1, 0.0))[1]
    assert recency[0] > recency[1] > recency[2]
    assert np.isfinite(recency).all()


def test_persistence():
    assert rf.persistence((0.0, 0.0), (0.0, 0.0)) == pytest.approx(0.4)
    assert rf.persistence((94.0, 100.0), (0.0, 1e6)) == pytest.approx(95 / 102, abs=1e-5)
    assert rf.persistence((0.0, 100.0), (90.0, 100.0)) == 0.0
    assert rf.persistence((1e9, 1e9), (0.0, 1e9)) == 0.99


# -- learning ---------------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**64 - 1))
def test_pairs_are_distinct_and_even(m, q, salt):
    slots = np.random.default_rng(0).permutation(1000)[: m + q]
    failed, others = np.arange(m), np.arange(m, m + q)
    left, right = _rank_weights.pairs(failed, others, slots, salt)
    assert len(left) == len(right) == min(_rank_weights.PAIRS, m * q)
    assert len(set(zip(left.tolist(), right.tolist(), strict=True))) == len(left)
    if m * q <= _rank_weights.PAIRS:
        assert set(zip(left.tolist(), right.tolist(), strict=True)) == set(itertools.product(range(m), range(m, m + q)))
    counts = np.bincount(left, minlength=m)
    assert counts.max() - counts[counts > 0].min() <= 1 or m * q <= _rank_weights.PAIRS


def loss(memory, weights, start, strength):
    """The loss that the module's docstring states, for a window that holds everything."""
    each = np.repeat(1.0 / np.array(memory.counts), memory.counts)
    precision = strength * 0.25 * np.maximum(memory.squares / memory.cycles, 1e-6)
    odds = weights @ memory.window
    return float((each * np.logaddexp(0.0, -odds)).sum() + 0.5 * (precision * (weights - start) ** 2).sum())


def test_weights_are_where_the_loss_is_least():
    rng = np.random.default_rng(3)
    memory = _rank_weights.Memory.empty(3)
    start = np.array([1.0, 0.0, 0.0])
    weights = start
    for _ in range(15):
        memory = _rank_weights.remembered(memory, rng.normal(0.4, 1.0, (3, 30)), weights)
        weights = _rank_weights.fit(memory, weights, start, 5.0)
    for _ in range(5):
        weights = _rank_weights.fit(memory, weights, start, 5.0)
    least = loss(memory, weights, start, 5.0)
    for nudge in np.concatenate([np.eye(3), -np.eye(3)]) * 1e-3:
        assert loss(memory, weights + nudge, start, 5.0) > least


def test_what_leaves_the_window_is_not_forgotten():
    rng = np.random.default_rng(5)
    whole, short = _rank_weights.Memory.empty(2), _rank_weights.Memory.empty(2)
    weights = start = np.zeros(2)
    kept = []
    for i in range(_rank_weights.WINDOW + 20):
        differences = rng.normal(0.3 if i < 20 else 0.0, 1.0, (2, 50))
        kept.append(differences)
        short = _rank_weights.remembered(short, differences, weights)
        weights = _rank_weights.fit(short, weights, start, 1.0)
    assert len(short.counts) == _rank_weights.WINDOW
    whole = whole._replace(
        window=np.concatenate(kept, axis=1), counts=(50,) * len(kept), squares=short.squares, cycles=len(kept)
    )
    exact = start
    for _ in range(10):
        exact = _rank_weights.fit(whole, exact, start, 1.0)
    assert weights == pytest.approx(exact, abs=0.02)
    assert np.abs(exact).max() > 0.1


def test_it_learns_which_way_duration_points():
    """Long tests fail in one log and short ones in the other: the same start weights come to opposite ends."""
    tests, seconds = [f"t{i}" for i in range(60)], np.exp(np.linspace(-2, 2, 60))
    weights = []
    for sign in (1.0, -1.0):
        ranker, rng = NumpyRanker(), np.random.default_rng(1)
        for _ in range(150):
            failed = rng.random(60) < 0.02 * np.exp(sign * np.log(seconds))
            ranker.observe(Candidates(tests, duration_s=seconds), Outcomes(failed))
        weights.append(ranker._state.weights[rf.FEATURES.index("duration")])
    assert weights[0] > 0.1 > -0.1 > weights[1]


# -- the order --------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=60), st.floats(0.001, 0.9))
def test_the_mean_probability_is_the_usual_share(scores, share):
    chance = _rank_order.probabilities(np.array(scores), share)
    assert chance.mean() == pytest.approx(share, abs=1e-6)
    assert (np.diff(chance[np.argsort(scores, kind="stable")]) >= 0.0).all()


def found(order, chance, cost, budget):
    """The objective, one test at a time: skip what does not fit."""
    n, left, rank, total = len(order), budget, 0, 0.0
    for i in order:
        if cost[i] <= left:
            left -= cost[i]
            rank += 1
            total += chance[i] * (1.0 + 0.5 / n - rank / n)
    return total


@pytest.mark.parametrize("seed", range(20))
def test_the_budget_step_helps_and_is_not_far_from_the_best(seed):
    rng = np.random.default_rng(seed)
    chance, cost = rng.beta(0.5, 3.0, 7), rng.lognormal(0.0, 1.5, 7)
    scores = np.log(chance / (1.0 - chance))
    budget = 0.5 * cost.sum()
    order = _rank_order.ordered(scores, chance, cost, budget)
    assert sorted(order.tolist()) == list(range(7))
    mine = found(order, chance, cost, budget)
    assert mine >= found(np.argsort(-scores), chance, cost, budget) - 0.15 * chance.sum()
    best = max(found(each, chance, cost, budget) for each in itertools.permutations(range(7)))
    assert mine >= 0.6 * best


def test_without_a_budget_the_score_decides_and_ties_keep_their_order():
    scores = np.array([0.0, 1.0, 0.0, 2.0, 1.0])
    order = _rank_order.ordered(scores, np.full(5, 0.2), np.arange(5.0), float("inf"))
    assert order.tolist() == [3, 1, 4, 0, 2]
    assert _rank_order.ordered(scores[:0], scores[:0], scores[:0], 1.0).tolist() == []
    assert _rank_order.ordered(scores, np.full(5, 0.2), np.zeros(5), 1.0).tolist() == [3, 1, 4, 0, 2]


def test_of_equal_orders_that_with_fewer_skipped_is_taken():
    # One second each for 1 and 2; 0 never fits beside them, and would have to be skipped in front of either.
    chance = np.array([0.5, 0.45, 0.4, 0.01])
    assert _rank_order.ordered(chance, chance, np.array([10.0, 1.0, 1.0, 9.0]), 10.0).tolist() == [1, 2, 0, 3]


def test_the_order_given_does_not_matter_under_a_budget():
    rng = np.random.default_rng(8)
    ranker = NumpyRanker()
    for candidates, outcomes in cycles(40, 50, lambda _, __: np.linspace(0.05, 0.5, 50)):
        ranker.observe(candidates, outcomes)
    tests, seconds = [f"t{i}" for i in range(50)], rng.lognormal(0, 1, 50)
    where = rng.permutation(50)
    one = ranker.rank(Candidates(tests, duration_s=seconds, budget_s=20.0))
    other = ranker.rank(Candidates([tests[i] for i in where], duration_s=seconds[where], budget_s=20.0))
    assert other.probability.tolist() == one.probability[where].tolist()
    mirrored = where[other.order]  # the same but for tests of equal history, which keep the order given
    assert one.probability[mirrored].tolist() == one.probability[one.order].tolist()


# -- states and refusals ----------------------------------------------------------------------------------------------


def taught():
    ranker = NumpyRanker(seed=7)
    for candidates, outcomes in cycles(30, 20, lambda _, __: np.linspace(0.0, 0.5, 20)):
        ranker.observe(candidates, outcomes)
    return ranker


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("manifest", "features", ["record"]),
        ("manifest", "tests", ["t0"] * 20),
        ("manifest", "tests", "t0"),
        ("manifest", "cycles", -1),
        ("manifest", "cycles", True),
        ("manifest", "failing_cycles", 3),
        ("manifest", "params", {"seed": 1}),
        ("manifest", "params", {"seed": -1, "strength": 5.0}),
        ("manifest", "context", ["churn"]),
        ("arrays", "weights", np.full(7, np.nan)),
        ("arrays", "weights", np.ones(6)),
        ("arrays", "rows", np.ones((20, 3))),
        ("arrays", "rows", [[1.0]]),
        ("arrays", "counts", np.array([0, 1])),
        ("arrays", "counts", np.array([1.0])),
        ("arrays", "tallies", np.ones((4, 3))),
        ("arrays", "window", None),
    ],
)
def test_a_wrong_state_is_refused_and_nothing_changed(part, name, value):
    ranker = taught()
    before = ranker.export_state()
    wrong = attrs.evolve(before, **{part: {**getattr(before, part), name: value}})
    with pytest.raises(InputError):
        ranker.import_state(wrong)
    after = ranker.export_state()
    assert after.manifest == before.manifest
    assert all(np.array_equal(after.arrays[key], before.arrays[key], equal_nan=True) for key in before.arrays)


@pytest.mark.parametrize("strength", [0.0, -1.0, float("nan"), float("inf"), "5", True, None])
def test_a_wrong_strength_is_refused(strength):
    with pytest.raises(InputError, match="strength is"):
        NumpyRanker(strength=strength)


def test_context_that_comes_late_goes_and_comes_again():
    rng = np.random.default_rng(2)
    ranker = taught()
    tests = [f"t{i}" for i in range(20)]
    for cycle in range(60):
        churn = rng.poisson(3.0, 20).astype(float)
        context = {"churn": churn, "flat": np.ones(20)} if cycle % 3 else {}
        ranker.observe(Candidates(tests, context=context), Outcomes(rng.random(20) < 0.05 * churn))
    names = ranker.explain(Candidates(tests)).features
    assert names == (*rf.FEATURES, "churn", "flat", "given")
    calm = ranker.rank(Candidates(["a", "b"], context={"churn": [0.0, 9.0], "unknown": [1.0, 2.0]}))
    assert calm.order.tolist() == [1, 0]
    resumed = NumpyRanker()
    resumed.import_state(ranker.export_state())
    assert resumed.explain(Candidates(tests)).parts.tolist() == ranker.explain(Candidates(tests)).parts.tolist()


def test_no_overflow_from_extreme_numbers():
    ranker = NumpyRanker()
    rng = np.random.default_rng(0)
    for _ in range(30):
        candidates = Candidates(
            ["a", "b", "c"],
            duration_s=[0.0, 1e300, 1e-300],
            context={"x": [1e308, -1e308, 0.0]},
            offset=[1e6, -1e6, 0.0],
        )
        ranking = ranker.rank(candidates)
        assert np.isfinite(ranking.probability).all()
        ranker.observe(candidates, Outcomes(rng.random(3) < 0.5))


# -- whole logs -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (LOGS.is_dir() and EVALUATOR.is_file()), reason="the shared logs and evaluator are not here")
@pytest.mark.parametrize(("feedback", "least"), [("full", 0.577), ("scheduled", 0.550)])
def test_a_real_log(feedback, least):
    napfd = load(EVALUATOR, "napfd")
    adapters = load(ROOT / "tests" / "acceptance" / "adapters.py", "adapters")
    log = napfd.load(LOGS / "iofrol.csv")
    mean, _, _, _ = napfd.evaluate(log, adapters.make_ranker, seeds=1, feedback=feedback)
    assert mean["napfd"] >= least


def test_better_than_the_failure_rate_where_failures_stick():
    """Tests break rarely and stay broken for a while; half of the time is spent. Mean recall of failing tests."""
    rng = np.random.default_rng(1)
    n = 60
    seconds, broken = rng.lognormal(1.0, 1.0, n), np.zeros(n, np.bool_)
    tests = [f"t{i}" for i in range(n)]
    ranker, runs, fails, got = NumpyRanker(), np.zeros(n), np.zeros(n), {"ranker": [], "rate": []}
    for _ in range(200):
        broken = np.where(broken, rng.random(n) < 0.8, rng.random(n) < 0.01)
        candidates = Candidates(tests, duration_s=seconds, budget_s=float(seconds.sum()) / 2)
        orders = {"ranker": ranker.rank(candidates).order, "rate": np.argsort(-(fails + 1) / (runs + 2), kind="stable")}
        if broken.any():
            for name, order in orders.items():
                ranks = np.flatnonzero(broken[order]) + 1
                got[name].append(1.0 - ranks.mean() / n)
        ranker.observe(candidates, Outcomes(broken, duration_s=seconds))
        runs, fails = runs + 1, fails + broken
    assert np.mean(got["ranker"]) > np.mean(got["rate"]) + 0.02
