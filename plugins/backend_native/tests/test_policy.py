"""The native policies learn what the NumPy backend's learn, within rounding; each reads what the other wrote."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from aqe_backend_numpy.environments import CartPole, Cycle, Ordering, Pendulum
from aqe_backend_numpy.neural.policy import make_policy as make_numpy

import aqe_core
from aqe_core.contracts import LearnerCapabilities
from aqe_core.errors import AqeError
from aqe_core.testing import LearnerConformance

make_native = pytest.importorskip("aqe_backend_native.policy", reason="the native extension is not built").make_policy

ALGORITHMS = ("actor-critic", "ppo")
DISCRETE = {"observation_dim": 4, "n_actions": 2, "hidden": (8, 5), "batch_steps": 96, "minibatch_size": 40}
CONTINUOUS = {"observation_dim": 3, "action_dim": 2, "hidden": (7,), "batch_steps": 64, "minibatch_size": 64}
TOLERANCE = 1e-4  # of one update, as the class states


class TestNativePolicies(LearnerConformance):
    capabilities = LearnerCapabilities(algorithms=(), vector_policies=ALGORITHMS, checked=True)

    def make(self, **options):
        return make_native(**options)


def options_of(algorithm, shape, **more):
    options = {**shape, "algorithm": algorithm, "entropy_coefficient": 0.01, **more}
    if algorithm == "actor-critic":
        del options["minibatch_size"]
    return options


def batch_of(policy, *, masked=False, t=32, n=3, seed=0):
    """Return steps that a policy has chosen, and made-up outcomes."""
    rng = np.random.default_rng(seed)
    dim, discrete = policy.settings.observation_dim, policy.settings.n_actions
    seen = rng.standard_normal((t, n, dim), dtype=np.float32)
    masks = None
    if masked:
        masks = rng.random((t, n, discrete)) < 0.6
        masks[..., 0] |= ~masks.any(axis=-1)
    flat = None if masks is None else masks.reshape(t * n, -1)
    chosen = policy.act(seen.reshape(t * n, dim), mask=flat)
    actions = np.asarray(chosen).reshape((t, n) if discrete else (t, n, -1))
    rewards, ended = rng.standard_normal((t, n)), rng.random((t, n)) < 0.1
    return seen, actions, rewards, ended, ~ended & (rng.random((t, n)) < 0.1), seen + 0.1, masks


def assert_near(one, other, tolerance=TOLERANCE):
    """Compare two states: numbers within a tolerance, generator, counts and parameters exactly."""
    assert (one.kind, one.manifest) == (other.kind, other.manifest)
    for name, array in one.arrays.items():
        assert (array.dtype, array.shape) == (other.arrays[name].dtype, other.arrays[name].shape)
        if name == "generator":
            assert array.tolist() == other.arrays[name].tolist()
        np.testing.assert_allclose(other.arrays[name], array, atol=tolerance, rtol=tolerance, err_msg=name)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("shape", "masked"), [(DISCRETE, False), (DISCRETE, True), (CONTINUOUS, False)])
@pytest.mark.parametrize("seed", range(3))
def test_an_update_is_the_same_within_rounding(algorithm, shape, masked, seed):
    options = options_of(algorithm, shape, seed=seed)
    one, other = make_numpy(**options), make_native(**options)
    for policy in (one, other):
        point = policy.update(*batch_of(policy, masked=masked, seed=seed))
        assert np.isfinite(point[3:]).all()
    assert_near(one.export_state(), other.export_state())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("shape", [DISCRETE, CONTINUOUS])
def test_each_goes_on_from_the_other_s_file(algorithm, shape, tmp_path):
    options = options_of(algorithm, shape)
    for write, read in ((make_numpy, make_native), (make_native, make_numpy)):
        writer, reader = write(**options), read(**options)
        writer.update(*batch_of(writer))
        writer.save(tmp_path / "policy.aqestate")
        reader.load(tmp_path / "policy.aqestate")
        assert_near(writer.export_state(), reader.export_state(), 0.0)
        seen = np.random.default_rng(1).standard_normal((50, options["observation_dim"]))
        np.testing.assert_allclose(reader.values(seen), writer.values(seen), atol=1e-5)
        np.testing.assert_allclose(reader.act(seen, explore=False), writer.act(seen, explore=False), atol=1e-5)
        for policy in (writer, reader):
            policy.update(*batch_of(policy, seed=2))
        assert_near(writer.export_state(), reader.export_state())


@pytest.mark.parametrize(("shape", "env"), [(DISCRETE, CartPole), ({**CONTINUOUS, "action_dim": 1}, Pendulum)])
def test_a_resumed_run_equals_an_uninterrupted_one(shape, env):
    options = options_of("ppo", shape, seed=4)
    whole, half = make_native(**options), make_native(**options)
    tasks = [env(4), env(4)]
    whole.learn(tasks[0], 400)
    half.learn(tasks[1], 200)
    resumed = make_native(**options)
    resumed.import_state(half.export_state())
    resumed.learn(tasks[1], whole.steps - half.steps, reset=False)
    assert_near(whole.export_state(), resumed.export_state(), 0.0)
    twin = copy.deepcopy(resumed)
    twin.update(*batch_of(twin))
    assert_near(whole.export_state(), resumed.export_state(), 0.0)


def test_masks_are_obeyed_while_learning():
    rng = np.random.default_rng(0)
    env = Ordering([Cycle(rng.random((6, 2)), np.ones(6), np.arange(6) == i) for i in range(4)], 4)
    policy = make_native(observation_dim=env.observation_dim, n_actions=env.n_actions, hidden=(8,), batch_steps=256)
    policy.learn(env, 1000)  # an action that is not allowed, the environment refuses
    assert np.isfinite(policy.export_state().arrays["parameters"]).all()
    seen, mask = np.zeros(env.observation_dim), np.zeros(env.n_actions, np.bool_)
    mask[1] = True
    assert {policy.act(seen, mask=mask) for _ in range(20)} == {1}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_solves_cartpole(algorithm):
    policy = aqe_core.open_learner("native", algorithm=algorithm, observation_dim=4, n_actions=2, seed=1)
    policy.learn(CartPole(32), 400_000, until=lambda point: point.episodes >= 20 and point.mean_return >= 475)
    assert policy.curve[-1].mean_return >= 475


@pytest.mark.parametrize(
    "arguments",
    [
        {"observation_dim": 4},
        {"observation_dim": 4, "n_actions": 2, "clip": 0.1},
        {"observation_dim": 4, "n_actions": 2, "learning_rate": -1.0},
        {"observation_dim": 4, "n_actions": 2, "algorithm": "dqn"},
    ],
)
def test_bad_parameters_are_refused_alike(arguments):
    told = []
    for make in (make_numpy, make_native):
        with pytest.raises(AqeError) as refused:
            make(**arguments)
        told.append((type(refused.value), str(refused.value)))
    assert told[0] == told[1]


@pytest.mark.parametrize("seen", [np.zeros(3), [np.nan] * 4, np.full(4, 1e7)])
def test_bad_observations_are_refused_alike(seen):
    told = []
    for make in (make_numpy, make_native):
        with pytest.raises(AqeError) as refused:
            make(observation_dim=4, n_actions=2).act(seen)
        told.append((type(refused.value), str(refused.value)))
    assert told[0] == told[1]
