"""The hand-written parts of the policies against finite differences and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from aqe_backend_numpy.neural._advantages import Moments, advantages, standardized
from aqe_backend_numpy.neural._heads import Categorical, Gaussian
from aqe_backend_numpy.neural._network import Adam, Mlp, size_of
from aqe_backend_numpy.neural._settings import as_settings
from aqe_backend_numpy.neural.policy import NeuralPolicy
from hypothesis import given, settings
from hypothesis import strategies as st


def policy_of(algorithm: str = "ppo", *, seed: int = 0, n_actions: int = 0, action_dim: int = 0, **hyper):
    chosen = as_settings(algorithm, 3, n_actions, action_dim, {"hidden": (5, 4), "seed": seed, **hyper})
    policy = NeuralPolicy(chosen, np.float64)
    policy.parameters += 0.3 * np.random.default_rng(seed).standard_normal(policy.parameters.size)
    return policy


def loss_of(policy, rows, actions, weights, targets, old, masks) -> float:
    """Return the loss as the paper writes it, by other means than `NeuralPolicy.slopes`."""
    s = policy.settings
    outputs = policy.actor.output(rows)
    if s.n_actions:
        if masks is not None:
            outputs = np.where(masks, outputs, -np.inf)
        chances = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
        logs = np.log(chances[np.arange(len(rows)), actions])
        safe = np.where(chances > 0, chances, 1.0)
        entropy = -(safe * np.log(safe)).sum(axis=1)
    else:
        deviation = np.exp(policy.spread)
        density = np.exp(-0.5 * ((actions - outputs) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))
        logs = np.log(density).sum(axis=1)
        entropy = np.full(len(rows), (0.5 * np.log(2 * math.pi * math.e * deviation**2)).sum())
    ratio = np.exp(logs - old)
    clipped = np.clip(ratio, 1 - s.clip_range, 1 + s.clip_range)
    surrogate = np.minimum(ratio * weights, clipped * weights)
    error = policy.critic.output(rows)[:, 0] - targets
    per_row = -surrogate - s.entropy_coefficient * entropy + s.value_coefficient * 0.5 * error**2
    return float(per_row.mean())


def batch_of(policy, n: int, seed: int, *, masked: bool):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, 3))
    masks = None
    if policy.settings.n_actions:
        actions = rng.integers(policy.settings.n_actions, size=n)
        if masked:
            masks = rng.random((n, policy.settings.n_actions)) < 0.5
            masks[np.arange(n), actions] = True
    else:
        actions = rng.standard_normal((n, policy.settings.action_dim))
    # Old probabilities a little off, so that some ratios are clipped on either side.
    old = policy.log_probabilities(rows, actions, masks) + rng.uniform(-0.5, 0.5, n)
    return rows, actions, rng.standard_normal(n), rng.standard_normal(n), old, masks


def numeric_gradient(policy, batch) -> np.ndarray:
    out = np.empty_like(policy.parameters)
    for i in range(out.size):
        kept = policy.parameters[i]
        policy.parameters[i] = kept + 1e-6
        above = loss_of(policy, *batch)
        policy.parameters[i] = kept - 1e-6
        out[i] = (above - loss_of(policy, *batch)) / 2e-6
        policy.parameters[i] = kept
    return out


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("shape", "masked"),
    [({"n_actions": 3}, False), ({"n_actions": 4}, True), ({"action_dim": 1}, False), ({"action_dim": 2}, False)],
)
def test_the_gradient_is_that_of_the_loss(shape, masked, seed):
    policy = policy_of(seed=seed, entropy_coefficient=0.1, value_coefficient=0.7, **shape)
    batch = batch_of(policy, 12, seed, masked=masked)
    entropy, kl, value_loss = policy.slopes(*batch)
    assert policy.gradient == pytest.approx(numeric_gradient(policy, batch), abs=2e-8, rel=2e-6)
    assert math.isfinite(entropy)
    assert kl > 0
    assert value_loss == pytest.approx(np.square(policy.critic.output(batch[0])[:, 0] - batch[3]).mean())


def test_the_actor_critic_follows_the_plain_policy_gradient():
    policy = policy_of("actor-critic", n_actions=3)
    batch = list(batch_of(policy, 10, 0, masked=False))
    batch[4] = policy.log_probabilities(*batch[:2], None)  # as in an update: the data are the policy's own
    policy.slopes(*batch)
    ours = policy.gradient.copy()
    rows, actions, weights = batch[:3]
    chances = np.exp(policy.actor.output(rows))
    chances /= chances.sum(axis=1, keepdims=True)
    slope = weights[:, None] * (chances - np.eye(3)[actions]) / len(rows)
    policy.gradient[:] = 0.0
    policy.actor.forward(rows)
    policy.actor.backward(slope)
    size = size_of((3, 5, 4, 3))
    assert ours[:size] == pytest.approx(policy.gradient[:size], abs=1e-12)


def test_one_allowed_action_gives_a_finite_gradient_of_zero():
    policy = policy_of(n_actions=5, entropy_coefficient=0.5)
    rows, actions, weights, targets, _, _ = batch_of(policy, 8, 0, masked=False)
    masks = np.eye(5, dtype=bool)[actions]
    entropy, kl, _ = policy.slopes(rows, actions, weights, targets, np.zeros(8), masks)
    assert (entropy, kl) == (0.0, 0.0)
    assert np.isfinite(policy.gradient).all()
    assert (policy.gradient[: size_of((3, 5, 4, 5))] == 0.0).all()


def test_a_hopeless_ratio_stays_finite():
    policy = policy_of(action_dim=1, initial_log_std=-5.0)
    rows = np.zeros((4, 3))
    policy.slopes(rows, np.full((4, 1), 1e6), np.ones(4), np.zeros(4), np.array([0.0, -1e12, 1e12, 0.0]), None)
    assert np.isfinite(policy.gradient).all()


def test_masked_actions_are_never_drawn():
    head = Categorical(4)
    rng = np.random.default_rng(0)
    outputs = np.zeros((5000, 4), np.float32)
    masks = np.tile([True, False, True, False], (5000, 1))
    head.bar(outputs, masks)
    drawn = head.sample(outputs, head.noise(rng, (5000,), np.float32))
    assert set(drawn.tolist()) == {0, 2}
    assert abs((drawn == 0).mean() - 0.5) < 0.04


def test_draws_have_the_probabilities_of_softmax():
    head = Categorical(3)
    outputs = np.tile(np.log([0.2, 0.5, 0.3]), (20_000, 1))
    drawn = head.sample(outputs, head.noise(np.random.default_rng(1), (20_000,), np.float64))
    assert np.bincount(drawn) / 20_000 == pytest.approx([0.2, 0.5, 0.3], abs=0.015)


def test_normal_draws_and_their_densities():
    head = Gaussian(2, np.log(np.array([0.5, 2.0])))
    means = np.tile([1.0, -1.0], (20_000, 1))
    drawn = head.sample(means, head.noise(np.random.default_rng(2), (20_000,), np.float64))
    assert drawn.mean(axis=0) == pytest.approx([1.0, -1.0], abs=0.05)
    assert drawn.std(axis=0) == pytest.approx([0.5, 2.0], rel=0.03)
    logs = head.log_probabilities(means[:1], np.array([[1.5, 1.0]]))
    plain = math.log(math.exp(-0.5) / (0.5 * math.sqrt(2 * math.pi))) + math.log(
        math.exp(-0.5) / (2 * math.sqrt(2 * math.pi))
    )
    assert logs == pytest.approx([plain])


@pytest.mark.parametrize(("fan_in", "fan_out"), [(8, 3), (3, 8), (5, 5)])
def test_initial_weights_are_orthogonal(fan_in, fan_out):
    sizes = (fan_in, fan_out, 1)
    parameters = np.zeros(size_of(sizes))
    network = Mlp(sizes, parameters, np.zeros_like(parameters))
    network.initialize(np.random.default_rng(0), 0.01)
    weight = network.weights[0]
    product = weight @ weight.T if fan_in < fan_out else weight.T @ weight
    assert product == pytest.approx(2.0 * np.eye(min(fan_in, fan_out)), abs=1e-12)
    assert np.linalg.norm(network.weights[1]) == pytest.approx(0.01)
    assert not network.biases[0].any()


def test_adam_by_the_formulas_of_the_paper():
    rng = np.random.default_rng(0)
    parameters = rng.standard_normal(6)
    plain = parameters.copy()
    adam = Adam(6, np.float64)
    first, second = np.zeros(6), np.zeros(6)
    for step in range(1, 6):
        gradient = rng.standard_normal(6)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        plain -= 0.01 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-5)
        adam.step(parameters, gradient.copy(), 0.01)
    assert parameters == pytest.approx(plain, rel=1e-12)
    assert adam.count == 5


@settings(max_examples=60, deadline=None)
@given(t=st.integers(1, 8), n=st.integers(1, 3), seed=st.integers(0, 999), trace=st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_advantages_by_the_sum_of_the_paper(t, n, seed, trace):
    rng = np.random.default_rng(seed)
    rewards, values, next_values = rng.standard_normal((3, t, n))
    terminated = rng.random((t, n)) < 0.2
    ended = terminated | (rng.random((t, n)) < 0.2)
    found = advantages(rewards, values, next_values, terminated, ended, 0.9, trace)
    for copy in range(n):
        for begin in range(t):
            total, factor = 0.0, 1.0
            for step in range(begin, t):
                after = 0.0 if terminated[step, copy] else next_values[step, copy]
                total += factor * (rewards[step, copy] + 0.9 * after - values[step, copy])
                factor *= 0.9 * trace
                if ended[step, copy]:
                    break
            assert found[begin, copy] == pytest.approx(total, abs=1e-12)


def test_standardizing_one_value_or_equal_ones_makes_no_nan():
    assert standardized(np.array([3.0])).tolist() == [3.0]
    assert standardized(np.array([3.0, 3.0])).tolist() == [0.0, 0.0]
    many = standardized(np.random.default_rng(0).normal(5.0, 3.0, 1000))
    assert (many.mean(), many.std()) == pytest.approx((0.0, 1.0), abs=1e-6)


def test_running_moments_are_those_of_all_rows():
    rng = np.random.default_rng(0)
    parts = [rng.normal(100.0, 3.0, (size, 2)) for size in (1, 7, 50)]
    moments = Moments(2)
    for part in parts:
        moments.add(part)
    rows = np.concatenate(parts)
    assert moments.count == 58
    assert moments.mean == pytest.approx(rows.mean(axis=0))
    assert moments.variance == pytest.approx(rows.var(axis=0))
    assert Moments(1).scale().tolist() == [1.0]
