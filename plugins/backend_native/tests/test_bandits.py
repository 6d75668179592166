"""The native bandits choose, learn and refuse as those of the NumPy backend; each reads what the other wrote."""

from __future__ import annotations

import enum

import numpy as np
import pytest
from aqe_backend_numpy.learner import make_learner as make_numpy

import aqe_core
from aqe_core.contracts import Bandit, LearnerCapabilities
from aqe_core.errors import AqeError
from aqe_core.state import EngineState
from aqe_core.testing import LearnerConformance

make_native = pytest.importorskip("aqe_backend_native.learner", reason="the native extension is not built").make_learner

ALGORITHMS = ("linucb", "discounted-linucb", "thompson")
ACTIONS = ["a", 1, "1", "ä", -5]


class TestNativeBandits(LearnerConformance):
    capabilities = LearnerCapabilities(algorithms=ALGORITHMS, checked=True)

    def make(self, **options):
        return make_native(**options)


class Color(str, enum.Enum):  # noqa: UP042  # the kind whose str() is not its value
    RED = "a"


def pair(algorithm, **options):
    """Return a bandit of each backend."""
    options = {"dim": 5, "actions": ACTIONS, "ridge": 0.5, **options}
    return make_numpy(algorithm=algorithm, **options), make_native(algorithm=algorithm, **options)


def outcome(call, *arguments, **named):
    """Return what a call gave, or how it was refused."""
    try:
        given = call(*arguments, **named)
    except AqeError as error:
        return type(error).__name__, str(error), error.fix
    return "gave", given.tolist() if isinstance(given, np.ndarray) else given


def assert_near(one, other):
    """Compare two states: numbers within the stated tolerance, all else exactly."""
    assert (one.kind, one.manifest) == (other.kind, other.manifest)
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        assert (array.dtype, array.shape) == (other.arrays[name].dtype, other.arrays[name].shape)
        np.testing.assert_allclose(other.arrays[name], array, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dim", [1, 3, 8, 16, 21])
@pytest.mark.parametrize("options", [{}, {"discount": 0.9}, {"epsilon": 0.3}])
def test_any_course_is_the_same(algorithm, dim, options):
    rng = np.random.default_rng(dim)
    one, other = pair(algorithm, dim=dim, seed=7, **options)
    for action in ACTIONS:  # equal models have equal scores but for rounding, which is each backend's own
        context = rng.normal(size=dim)
        for each in (one, other):
            each.update(context, action, 0.5)
    for i in range(150):
        context = rng.normal(size=dim)
        offered = [None, ["ä", "a", 1], (1, "1")][i % 3]
        chosen = [each.act(context, offered, explore=i % 5 > 0) for each in (one, other)]
        assert chosen[0] == chosen[1]
        assert type(chosen[0]) is type(chosen[1])
        reward = float(rng.normal())
        for each in (one, other):
            each.update(context, chosen[0], reward)
        np.testing.assert_allclose(other.values(context), one.values(context), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(other.probabilities(context), one.probabilities(context), atol=0.01)
        if i == 75:  # each goes on from what the other wrote
            states = one.export_state(), other.export_state()
            one.import_state(states[1])
            other.import_state(states[0])
    assert_near(one.export_state(), other.export_state())
    assert [other.visits(action) for action in ACTIONS] == [one.visits(action) for action in ACTIONS]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_arguments_that_are_not_plain(algorithm):
    one, other = pair(algorithm)
    strided = np.arange(10.0)[::2]
    for context in (strided, [1, 2, 3, 4, 5], np.arange(5, dtype=np.int32), np.arange(5, dtype=np.float32)):
        for action in ("a", np.int64(1), np.str_("1"), Color.RED):
            for reward in (1.0, 2, np.float32(0.5), True):
                calls = [outcome(each.update, context, action, reward) for each in (one, other)]
                assert calls[0] == calls[1]
                assert one.steps == other.steps
    assert one.steps > 10
    assert_near(one.export_state(), other.export_state())
    big = np.arange(5.0).astype(">f8")
    assert outcome(other.act, big, explore=False) == outcome(one.act, big, explore=False)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_refusals_are_the_same(algorithm):
    one, other = pair(algorithm)
    good = np.ones(5)
    before = other.export_state()
    bad = [np.ones(4), np.ones((5, 1)), np.full(5, np.nan), np.full(5, 1e200), "x", None, [None] * 5]
    calls = [("act", (context,)) for context in bad] + [("update", (context, "a", 1.0)) for context in bad]
    calls += [("act", (good, offered)) for offered in ([], ["a", "never"], "a", [True], [1.0], 5)]
    calls += [("update", (good, action, 1.0)) for action in ("never", True, 1.0, None, [])]
    calls += [("update", (good, "a", reward)) for reward in (np.nan, np.inf, 1e101, "much", None)]
    calls += [("update_batch", (np.ones((2, 4)), ["a", "a"], [1.0, 1.0]))]
    calls += [("update_batch", (np.ones((2, 5)), ["a", "never"], [1.0, 1.0])), ("visits", ("never",))]
    for name, arguments in calls:
        found = [outcome(getattr(each, name), *arguments) for each in (one, other)]
        assert found[0] == found[1], (name, arguments)
        assert found[0][0] != "gave"
    assert_near(before, other.export_state())
    for options in ({"dim": 0}, {"actions": []}, {"alpha": -1.0}, {"depth": 3}, {"scale": "x"}):
        made = [outcome(pair, algorithm, **options)[1:], outcome(make_native, **{"algorithm": algorithm, **options})]
        assert made[0][0] != "gave"
        assert made[1][0] != "gave"
    assert outcome(make_native, algorithm=algorithm, dim=2) == outcome(make_numpy, algorithm=algorithm, dim=2)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_batches_are_the_same_bit_for_bit(algorithm):
    rng = np.random.default_rng(3)
    contexts, rewards = rng.normal(size=(60, 10))[:, ::2], rng.normal(size=60)
    actions = [ACTIONS[i] for i in rng.integers(0, 5, 60)]
    single, batch = (make_native(algorithm=algorithm, dim=5, actions=ACTIONS, discount=0.97) for _ in range(2))
    for context, action, reward in zip(contexts, actions, rewards.tolist(), strict=True):
        single.update(context, action, reward)
    batch.update_batch(contexts, actions, rewards)
    states = single.export_state(), batch.export_state()
    for name, array in states[0].arrays.items():
        assert array.tobytes() == states[1].arrays[name].tobytes()


def test_of_equal_models_the_first_offered_is_chosen():
    bandit = make_native(algorithm="linucb", dim=8, actions=list(range(20)))
    for context in np.random.default_rng(4).normal(size=(50, 8)):
        assert bandit.act(context) == 0
        assert bandit.act(context, [17, 3]) == 17


def test_covariances_stay_symmetric_and_positive():
    rng = np.random.default_rng(0)
    bandit = make_native(algorithm="linucb", dim=4, actions=[0, 1], ridge=0.01)
    base = rng.normal(size=4)
    for i in range(6_000):  # nearly the same direction again and again: the hard case for repeated updates
        bandit.update(base + 1e-4 * rng.normal(size=4), i % 2, float(rng.normal()))
    for covariance in bandit.export_state().arrays["covariance"]:
        assert (covariance == covariance.T).all()
        assert np.linalg.eigvalsh(covariance).min() > 0.0


def test_opened_by_name(tmp_path):
    bandit = aqe_core.open_learner("native", algorithm="linucb", dim=2, actions=["a", "b"])
    assert isinstance(bandit, Bandit)
    bandit.update([1.0, 0.0], "b", 1.0)
    bandit.save(tmp_path / "x.aqestate")
    other = make_numpy(algorithm="linucb", dim=3, actions=["x"])
    other.load(tmp_path / "x.aqestate")
    assert other.values([1.0, 0.0]).tolist() == bandit.values([1.0, 0.0]).tolist()


def test_a_state_whose_update_numbers_are_ahead_is_refused():
    bandit = make_native(algorithm="linucb", dim=2, actions=["a"])
    state = bandit.export_state()
    arrays = {**state.arrays, "updated": np.array([3])}
    refused = outcome(bandit.import_state, EngineState(kind=state.kind, manifest=state.manifest, arrays=arrays))
    assert refused[0] == "InputError"
