"""Off-policy estimates against expectations that are known exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from aqe_backend_numpy.bandits import LinUcb, Thompson
from aqe_backend_numpy.off_policy import dr, ips, reward_model, snips
from hypothesis import example, given
from hypothesis import strategies as st

from aqe_core.errors import AqeError, DimensionError, InputError, NonFiniteError

# A problem of 3 contexts and 4 actions: rewards, logging policy and target policy are tables.
REWARD = np.array([[1.0, 0.0, 2.0, -1.0], [0.5, 0.5, 3.0, 0.0], [-2.0, 1.0, 0.0, 4.0]])
LOGGING = np.array([[0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25], [0.1, 0.6, 0.2, 0.1]])
TARGET = np.array([[0.0, 0.1, 0.8, 0.1], [0.0, 0.0, 1.0, 0.0], [0.2, 0.2, 0.2, 0.4]])
VALUE = float((TARGET * REWARD).sum(axis=1).mean())


def log_of(n, seed, noise=0.5):
    """Return contexts, actions and rewards that the logging policy gave."""
    rng = np.random.default_rng(seed)
    contexts = rng.integers(0, 3, n)
    actions = (rng.random(n)[:, None] > np.cumsum(LOGGING, axis=1)[contexts]).sum(axis=1)
    return contexts, actions, REWARD[contexts, actions] + noise * rng.normal(size=n)


def estimates(n, seed, model=REWARD, logged=LOGGING):
    contexts, actions, rewards = log_of(n, seed)
    columns = rewards, logged[contexts, actions], TARGET[contexts, actions]
    ahead = (TARGET * model).sum(axis=1)[contexts]
    return {"ips": ips(*columns), "snips": snips(*columns), "dr": dr(*columns, model[contexts, actions], ahead)}


def test_exact_expectations_over_every_decision():
    """Weighted by how often the logging policy gives each decision, the terms add up to the value exactly."""
    contexts, actions = np.divmod(np.arange(12), 4)
    how_often = LOGGING[contexts, actions] / 3.0
    counts = np.round(how_often * 600).astype(int)
    assert np.allclose(counts, how_often * 600)  # so that the log below is exactly what is expected
    contexts, actions = np.repeat(contexts, counts), np.repeat(actions, counts)
    columns = REWARD[contexts, actions], LOGGING[contexts, actions], TARGET[contexts, actions]
    assert ips(*columns).value == pytest.approx(VALUE, rel=1e-12)
    assert ips(*columns).mean_weight == pytest.approx(1.0, rel=1e-12)
    assert snips(*columns).value == pytest.approx(VALUE, rel=1e-12)
    wrong_model = np.arange(12.0).reshape(3, 4)
    ahead = (TARGET * wrong_model).sum(axis=1)[contexts]
    assert dr(*columns, wrong_model[contexts, actions], ahead).value == pytest.approx(VALUE, rel=1e-12)


@pytest.mark.parametrize("name", ["ips", "snips", "dr"])
def test_intervals_hold_what_they_promise(name):
    found = [estimates(400, seed)[name] for seed in range(200)]
    covered = np.mean([one.low <= VALUE <= one.high for one in found])
    assert 0.89 < covered < 0.995
    spread = np.std([one.value for one in found])
    assert spread == pytest.approx(np.mean([one.standard_error for one in found]), rel=0.2)
    assert np.mean([one.value for one in found]) == pytest.approx(VALUE, abs=4.0 * spread / math.sqrt(200))


def test_doubly_robust_has_the_least_spread_and_survives_wrong_propensities():
    right, wrong = estimates(20_000, 1), estimates(20_000, 1, logged=np.full((3, 4), 0.25))
    assert right["dr"].standard_error < right["snips"].standard_error < right["ips"].standard_error
    assert wrong["dr"].value == pytest.approx(VALUE, abs=0.05)
    assert abs(wrong["ips"].value - VALUE) > 0.1
    # And the weights tell that the propensities are wrong.
    assert abs(wrong["ips"].mean_weight - 1.0) > 5.0 * wrong["ips"].mean_weight_error
    assert abs(right["ips"].mean_weight - 1.0) < 4.0 * right["ips"].mean_weight_error


def test_the_logging_policy_itself():
    _, _, rewards = log_of(100, 2)
    same = np.full(100, 0.3)
    for estimate in (ips, snips):
        found = estimate(rewards, same, same)
        assert found.value == pytest.approx(rewards.mean())
        assert found.standard_error == pytest.approx(rewards.std(ddof=1) / 10.0)
        assert (found.effective_n, found.max_weight) == (pytest.approx(100.0), 1.0)


@example([(0.0, 1.0, 2.2250738585e-313)], 1.0)
@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(0.01, 1), st.floats(0, 1)), min_size=1, max_size=20),
    st.floats(0.1, 50),
)
def test_properties(rows, limit):
    rewards, propensities, target = (list(column) for column in zip(*rows, strict=True))
    found = ips(rewards, propensities, target, max_weight=limit)
    assert found.max_weight <= limit
    assert 0.0 <= found.effective_n <= len(rows) + 1e-9
    if any(target):
        value = snips(rewards, propensities, target, max_weight=limit).value
        assert min(rewards) - 1e-9 <= value <= max(rewards) + 1e-9


def test_a_single_decision_has_no_spread():
    found = ips([2.0], [0.5], [0.25])
    assert found.value == 1.0
    assert math.isnan(found.standard_error)


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        (([], [], []), InputError),
        (([1.0], [0.5, 0.5], [1.0]), DimensionError),
        (([1.0], [0.5], [1.0, 1.0]), DimensionError),
        (([math.nan], [0.5], [1.0]), NonFiniteError),
        (([1.0], [0.0], [1.0]), InputError),
        (([1.0], [1.5], [1.0]), InputError),
        (([1.0], [0.5], [-0.1]), InputError),
        (([1.0], [1e-320], [1.0]), InputError),
    ],
)
def test_bad_logs(columns, error):
    for estimate in (ips, snips):
        with pytest.raises(error):
            estimate(*columns)
    with pytest.raises(AqeError):
        dr(*columns, [1.0], [1.0])


def test_other_refusals():
    with pytest.raises(InputError, match="max_weight"):
        ips([1.0], [0.5], [1.0], max_weight=0.0)
    with pytest.raises(InputError, match="none of the logged"):
        snips([1.0], [0.5], [0.0])
    with pytest.raises(DimensionError):
        dr([1.0], [0.5], [1.0], [1.0, 2.0], [1.0])


# -- the reward model ---------------------------------------------------------------------------------------------


def test_reward_model_is_a_ridge_regression_that_did_not_see_the_decision():
    rng = np.random.default_rng(3)
    contexts, actions = rng.normal(size=(60, 2)), rng.integers(0, 2, 60)
    rewards = contexts @ [1.0, -2.0] + 3.0 * actions
    found = reward_model(contexts, actions, rewards, 3, ridge=1e-9)
    for action in (0, 1):
        assert found[:, action] == pytest.approx(contexts @ [1.0, -2.0] + 3.0 * action, abs=1e-6)
    assert found[0, 2] == pytest.approx(rewards[np.arange(60) % 5 != 0].mean())
    other = rewards.copy()
    other[7] += 100.0
    changed = reward_model(contexts, actions, other, 3, ridge=1e-9)
    assert changed[7].tolist() == found[7].tolist()
    assert not np.allclose(changed[8], found[8])


def test_reward_model_refusals():
    good = np.zeros((4, 2)), [0, 1, 0, 1], [1.0] * 4
    for bad in ({"ridge": 0.0}, {"folds": 1}, {"folds": 5}):
        with pytest.raises(InputError):
            reward_model(*good, 2, **bad)
    with pytest.raises(InputError):
        reward_model(*good, 1)
    with pytest.raises(DimensionError):
        reward_model(np.zeros(4), *good[1:], 2)


@pytest.mark.parametrize("kind", [LinUcb, Thompson])
def test_a_bandits_log_evaluates_other_policies(kind):
    """End to end: a learning bandit logs its propensities, and the value of other policies follows from its log."""
    rng = np.random.default_rng(5)
    weights = np.array([[1.0, 0.0], [-1.0, 0.5], [0.0, 1.0]])
    bandit = kind(dim=2, actions=[0, 1, 2], epsilon=0.3)
    contexts, taken, rewards, logged = rng.normal(size=(4000, 2)), [], [], []
    for x in contexts:
        shares = bandit.probabilities(x)
        action = bandit.act(x)
        reward = float(weights[action] @ x + 0.3 * rng.normal())
        bandit.update(x, action, reward)
        taken.append(action)
        rewards.append(reward)
        logged.append(shares[action])
    best = (contexts @ weights.T).argmax(axis=1)
    truth = float((contexts @ weights.T).max(axis=1).mean())
    target = (np.array(taken) == best).astype(float)
    model = reward_model(contexts, taken, rewards, 3)
    rows = np.arange(4000)
    found = dr(rewards, logged, target, model[rows, taken], model[rows, best])
    assert found.low - 0.02 < truth < found.high + 0.02
    assert found.standard_error < 0.05
    assert snips(rewards, logged, target).value == pytest.approx(truth, abs=0.1)
