"""Checks of rankers."""

# ruff: noqa: D401  # the first line of a check says what is promised
from __future__ import annotations

import json
from typing import Any

import numpy as np

from aqe_core.contracts.ranker import Candidates, Outcomes, Ranker
from aqe_core.errors import DimensionError, InputError
from aqe_core.state import EngineState
from aqe_core.testing.expect import close, equal, raises, require, same_array, same_state, unchanged
from aqe_core.testing.kit import Context, check

History = list[tuple[Candidates, Outcomes]]


def history(n_cycles: int = 30, n: int = 40, *, seed: int = 0, context: bool = False) -> History:
    """Return seeded cycles of a changing subset of ``n`` tests, of which every fifth breaks and is mended."""
    rng = np.random.default_rng(seed)
    broken = np.zeros(n, np.bool_)
    seconds = rng.lognormal(0.0, 1.0, n)
    cycles = []
    for _ in range(n_cycles):
        fragile = np.arange(n) % 5 == 0
        broken = np.where(broken, rng.random(n) < 0.7, fragile & (rng.random(n) < 0.2))
        here = rng.permutation(n)[: n - 5]
        columns = {"churn": rng.poisson(2.0, len(here)).astype(float)} if context else {}
        candidates = Candidates([f"test_{i}" for i in here], duration_s=seconds[here], context=columns)
        ran = rng.random(len(here)) < 0.8
        cycles.append(
            (candidates, Outcomes(broken[here] & ran, ran=ran, duration_s=np.where(ran, seconds[here], np.nan)))
        )
    return cycles


def taught(ranker: Any, cycles: History) -> Any:
    """Let a ranker observe cycles; return it."""
    for candidates, outcomes in cycles:
        ranker.observe(candidates, outcomes)
    return ranker


def names_in_order(ranker: Any, candidates: Candidates) -> list[str]:
    """Return the names in the order of running."""
    return [candidates.tests[i] for i in ranker.rank(candidates).order.tolist()]


def permuted(candidates: Candidates, where: Any) -> Candidates:
    """Return the same candidates given in another order."""
    return Candidates(
        [candidates.tests[i] for i in where],
        duration_s=candidates.duration_s[where],
        context={name: column[where] for name, column in candidates.context.items()},
        offset=candidates.offset[where],
        budget_s=candidates.budget_s,
    )


def through_json(state: EngineState) -> EngineState:
    """Return a state as storage gives it back."""
    return EngineState(
        kind=state.kind,
        manifest=json.loads(json.dumps(dict(state.manifest), allow_nan=False)),
        arrays={name: array.copy() for name, array in state.arrays.items()},
    )


@check("ranker")
def check_protocol(kit: Context) -> None:
    """A fresh ranker fulfils the protocol, knows no test, and gives its parameters as a dictionary of its own.

    If this fails, look at the methods of `aqe_core.contracts.Ranker` and at `get_params`.
    """
    ranker = kit.make(seed=3)
    require(isinstance(ranker, Ranker), f"{type(ranker).__name__} lacks a method of Ranker")
    equal(len(ranker), 0, "length of a fresh ranker")
    equal(ranker.tests(), [], "tests of a fresh ranker")
    equal(ranker.get_params()["seed"], 3, "the seed")
    ranker.get_params()["seed"] = 4
    equal(ranker.get_params()["seed"], 3, "the seed after its dictionary was changed")


@check("ranker")
def check_form(kit: Context) -> None:
    """A ranking is a permutation in int64 with a probability for each candidate, also for none and for one.

    If this fails, look at the shapes and dtypes that `rank` returns for 0 and 1 candidates.
    """
    ranker = taught(kit.make(), history())
    for n in (0, 1, 2, 25):
        candidates = Candidates([f"test_{i}" for i in range(n)])
        ranking = ranker.rank(candidates)
        same_array(np.sort(ranking.order), np.arange(n), f"sorted order of {n} candidates")
        equal(ranking.probability.dtype, np.dtype(np.float64), "dtype of the probability")
        equal(ranking.probability.shape, (n,), f"shape of the probability of {n} candidates")
        good = (ranking.probability >= 0.0) & (ranking.probability <= 1.0)
        require(good.all(), f"a probability is outside 0 .. 1: {ranking.probability}")


@check("ranker")
def check_remembers(kit: Context) -> None:
    """Runs, failures, runs since the last failure and durations are those observed; what did not run counts nothing.

    If this fails, look at how `observe` counts tests that were not run, and at `history`.
    """
    ranker = kit.make()
    for failed, ran, seconds in (
        ([1, 0, 1], [1, 1, 0], [2.0, 3.0, np.nan]),
        ([0, 0, 0], [1, 1, 0], [2.0, np.nan, 9.0]),
    ):
        ranker.observe(Candidates(["a", "b", "c"]), Outcomes(failed, ran=ran, duration_s=seconds))
    equal(len(ranker), 3, "length after two cycles of three tests")
    equal(sorted(ranker.tests()), ["a", "b", "c"], "tests")
    found = ranker.history(["c", "a", "unknown", "b"])
    same_array(found.runs, [0, 2, 0, 2], "runs")
    same_array(found.failures, [0, 1, 0, 0], "failures")
    same_array(found.since_failure, [-1, 1, -1, -1], "runs since the last failure")
    close(found.duration_s, [np.nan, 2.0, np.nan, 3.0], 1e-12, "durations")


@check("ranker")
def check_learns(kit: Context) -> None:
    """Tests that keep failing come before those that keep passing, with a higher probability.

    If this fails, look at the sign of what `observe` learns and of the sort.
    """
    tests = Candidates([f"test_{i}" for i in range(20)])
    failed = np.arange(20) % 7 == 3
    ranker = taught(kit.make(), [(tests, Outcomes(failed, duration_s=np.ones(20)))] * 10)
    ranking = ranker.rank(tests)
    same_array(np.sort(ranking.order[:3]), np.flatnonzero(failed), "the first three of three failing tests")
    chance = ranking.probability
    require(chance[failed].min() > chance[~failed].max(), f"the probabilities are {chance}")


@check("ranker")
def check_unseen(kit: Context) -> None:
    """A test never seen is ranked, below one that always fails.

    If this fails, look at what stands for the history of an unknown test.
    """
    tests = Candidates([f"test_{i}" for i in range(20)])
    failed = np.arange(20) == 5
    ranker = taught(kit.make(), [(tests, Outcomes(failed))] * 10)
    mixed = Candidates(["stranger", "test_5", "test_6"])
    ranking = ranker.rank(mixed)
    equal(int(ranking.order[0]), 1, "the first of a stranger, a failing and a passing test")
    require(np.isfinite(ranking.probability).all(), "a probability is not finite")
    equal(len(ranker), 20, "length after ranking a stranger")


@check("ranker")
def check_offset(kit: Context) -> None:
    """The caller's offset moves a test up or down.

    If this fails, look at where `Candidates.offset` enters the score.
    """
    ranker = taught(kit.make(), history())
    tests = [f"test_{i}" for i in range(12)]
    offset = np.zeros(12)
    offset[8], offset[2] = 40.0, -40.0
    order = ranker.rank(Candidates(tests, offset=offset)).order
    equal((int(order[0]), int(order[-1])), (8, 2), "first and last under offsets of 40 and -40")


@check("ranker")
def check_given_order(kit: Context) -> None:
    """Candidates that are equal otherwise keep the order given, and nothing else depends on that order.

    If this fails, look at sums whose rounding depends on the order, and at whether the sort is stable.
    """
    cycles = history(context=True)
    one, other = kit.make(), kit.make()
    rng = np.random.default_rng(5)
    for candidates, outcomes in cycles:
        where = rng.permutation(len(candidates))
        shuffled = Outcomes(outcomes.failed[where], ran=outcomes.ran[where], duration_s=outcomes.duration_s[where])
        one.observe(candidates, outcomes)
        other.observe(permuted(candidates, where), shuffled)
    last = cycles[-1][0]
    where = rng.permutation(len(last))
    mirrored = permuted(last, where)
    same_array(other.rank(mirrored).probability, one.rank(last).probability[where], "probabilities in another order")
    fresh = Candidates(["new_b", "new_a", "new_c"], duration_s=[1.0, 1.0, 1.0])
    equal(names_in_order(one, fresh), ["new_b", "new_a", "new_c"], "order of three equal tests")


@check("ranker", needs="budgeted")
def check_budget(kit: Context) -> None:
    """Under a budget many short tests run rather than one that is likelier to fail, but as long as all of them.

    If this fails, look at how durations and the budget enter the order.
    """
    tests = [f"test_{i}" for i in range(21)]
    seconds = np.ones(21)
    seconds[0] = 20.0
    ranker = kit.make()
    rng = np.random.default_rng(2)
    for _ in range(60):
        failed = rng.random(21) < np.where(seconds > 1.0, 0.5, 0.3)
        ranker.observe(Candidates(tests, duration_s=seconds), Outcomes(failed, duration_s=seconds))
    left, ran = 20.0, 0
    for i in ranker.rank(Candidates(tests, duration_s=seconds, budget_s=left)).order.tolist():
        if seconds[i] <= left:
            left -= seconds[i]
            ran += 1
    require(ran >= 10, f"of 20 short tests and one as long as the budget, {ran} run")


@check("ranker", needs="context")
def check_context(kit: Context) -> None:
    """A column of the context that goes with failures is learned, for tests never seen as well.

    If this fails, look at how `Candidates.context` becomes a feature, and whether its weight is learned.
    """
    rng = np.random.default_rng(4)
    ranker = kit.make()
    for cycle in range(60):
        churn = rng.poisson(3.0, 30).astype(float)
        candidates = Candidates([f"test_{cycle}_{i}" for i in range(30)], context={"churn": churn})
        ranker.observe(candidates, Outcomes(rng.random(30) < 0.02 + 0.08 * churn))
    fresh = Candidates(["calm", "busy"], context={"churn": [0.0, 9.0]})
    equal(names_in_order(ranker, fresh), ["busy", "calm"], "order of two new tests")


@check("ranker")
def check_explain(kit: Context) -> None:
    """An explanation has a finite part for each candidate and feature, whose mean over the candidates is 0.

    If this fails, look at the shape of the parts, and at what they are relative to.
    """
    ranker = taught(kit.make(), history())
    candidates = Candidates([f"test_{i}" for i in range(20)], offset=np.arange(20.0))
    features, parts = ranker.explain(candidates)
    require(isinstance(features, tuple) and len(set(features)) == len(features), f"features are {features!r}")
    equal((parts.dtype, parts.shape), (np.dtype(np.float64), (20, len(features))), "dtype and shape of the parts")
    close(parts.mean(axis=0), np.zeros(len(features)), 1e-9, "mean of the parts")
    require(np.abs(parts).max() > 1.0, "no part tells candidates apart")
    equal(ranker.explain(Candidates([])).parts.shape, (0, len(features)), "shape of the parts of no candidate")


@check("ranker")
def check_seed(kit: Context) -> None:
    """The same seed and the same cycles give the same ranker, bit for bit.

    If this fails, look at global random state, clocks, and the order of sets.
    """
    one, other = (taught(kit.make(seed=11), history()) for _ in range(2))
    same_state(one.export_state(), other.export_state(), "state of a second ranker of the same seed")


@check("ranker")
def check_reading_changes_nothing(kit: Context) -> None:
    """Ranking, explaining and looking into the history change nothing, nor do any of them change their arguments.

    If this fails, look at caches that `rank` fills and arrays that are written in place.
    """
    cycles = history()
    ranker = taught(kit.make(), cycles[:20])
    before = ranker.export_state()
    candidates, outcomes = cycles[20]
    with unchanged(candidates.duration_s, candidates.offset, outcomes.failed, outcomes.ran, outcomes.duration_s):
        for _ in range(2):
            ranker.rank(candidates)
            ranker.explain(Candidates([*candidates.tests[:5], "stranger"]))
            ranker.history(["stranger", candidates.tests[0]])
        same_state(ranker.export_state(), before, "state after ranking")
        ranker.observe(candidates, outcomes)


@check("ranker")
def check_resume(kit: Context) -> None:
    """A ranker that was exported, kept as JSON and arrays, and imported elsewhere goes on bit for bit.

    If this fails, look at what the state leaves out: counters, kept pairs, parameters.
    """
    cycles = history(45, context=True)
    whole = taught(kit.make(seed=2), cycles)
    resumed = kit.make(seed=9)
    resumed.import_state(through_json(taught(kit.make(seed=2), cycles[:25]).export_state()))
    equal(resumed.get_params(), whole.get_params(), "parameters after import")
    taught(resumed, cycles[25:])
    same_state(resumed.export_state(), whole.export_state(), "state of the resumed ranker")
    last = cycles[-1][0]
    same_array(resumed.rank(last).probability, whole.rank(last).probability, "probabilities of the resumed ranker")


@check("ranker")
def check_state_is_a_copy(kit: Context) -> None:
    """An exported state does not change with the ranker, nor the ranker with the state.

    If this fails, look at arrays that are handed out or taken in without a copy.
    """
    cycles = history()
    ranker = taught(kit.make(), cycles[:15])
    state = ranker.export_state()
    kept = through_json(state)
    taught(ranker, cycles[15:20])
    same_state(state, kept, "an exported state after more cycles")
    other = kit.make()
    other.import_state(state)
    for array in state.arrays.values():
        array.fill(0)
    same_state(other.export_state(), kept, "a ranker after the imported state was wiped")


@check("ranker")
def check_bad_input(kit: Context) -> None:
    """What is not candidates, outcomes or a state of this ranker is refused by one typed error; nothing is learned.

    If this fails, look at the first line of `rank`, `explain`, `observe` and `import_state`.
    """
    ranker = taught(kit.make(), history(5))
    before = ranker.export_state()
    good, two = Candidates(["a", "b"]), Outcomes([True, False])
    raises(InputError, lambda: ranker.rank(["a", "b"]), "rank of a list")
    raises(InputError, lambda: ranker.explain(["a", "b"]), "explain of a list")
    raises(InputError, lambda: ranker.history([1]), "history of a number")
    raises(InputError, lambda: ranker.observe(["a", "b"], two), "observe of a list")
    raises(InputError, lambda: ranker.observe(good, [True, False]), "observe of a list of outcomes")
    raises(DimensionError, lambda: ranker.observe(good, Outcomes([True])), "observe of one outcome for two")
    foreign = EngineState(kind="ranker/of/another", manifest={}, arrays={})
    raises(InputError, lambda: ranker.import_state(foreign), "import of a foreign state")
    hollow = EngineState(kind=before.kind, manifest={}, arrays={})
    raises(InputError, lambda: ranker.import_state(hollow), "import of an empty state")
    for seed in (-1, 2**64, "x", 1.5):
        raises(InputError, lambda seed=seed: kit.make(seed=seed), f"seed={seed!r}")  # type: ignore[misc]  # bound by default
    same_state(ranker.export_state(), before, "state after refused calls")
