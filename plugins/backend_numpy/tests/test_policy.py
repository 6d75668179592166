"""Policies: acting, learning, resuming, and what is refused."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from aqe_backend_numpy.environments import CartPole, Cycle, Ordering, Pendulum

import aqe_core
from aqe_core.contracts import PolicyLearner, Step, VectorEnv
from aqe_core.errors import (
    AqeError,
    CapabilityError,
    ConfigError,
    DimensionError,
    InputError,
    InvalidActionError,
    NonFiniteError,
)
from aqe_core.state import EngineState

SMALL = {"hidden": (8,), "batch_steps": 64}
DISCRETE = {"observation_dim": 4, "n_actions": 2, **SMALL}
CONTINUOUS = {"observation_dim": 3, "action_dim": 1, **SMALL}
KINDS = [(algorithm, shape) for algorithm in ("ppo", "actor-critic") for shape in (DISCRETE, CONTINUOUS)]


def make(algorithm="ppo", **options):
    return aqe_core.open_learner("numpy", algorithm=algorithm, **{**DISCRETE, **options})


def env_for(shape, n=4, **options):
    return CartPole(n, **options) if "n_actions" in shape else Pendulum(n, **options)


def same(one: EngineState, other: EngineState) -> bool:
    return (
        one.kind == other.kind
        and one.manifest == other.manifest
        and one.arrays.keys() == other.arrays.keys()
        and all(np.array_equal(array, other.arrays[name], equal_nan=True) for name, array in one.arrays.items())
    )


@pytest.mark.parametrize(("algorithm", "shape"), KINDS)
def test_it_fulfils_the_contract(algorithm, shape):
    policy = aqe_core.open_learner("numpy", algorithm=algorithm, **shape)
    assert isinstance(policy, PolicyLearner)
    assert isinstance(env_for(shape), VectorEnv)
    assert policy.algorithm == algorithm
    again = aqe_core.open_learner("numpy", **policy.get_params())
    assert again.get_params() == policy.get_params()
    assert same(again.export_state(), policy.export_state())


def test_the_answers_have_the_documented_forms():
    policy = make()
    assert isinstance(policy.act(np.zeros(4)), int)
    many = policy.act(np.zeros((5, 4)))
    assert (many.dtype, many.shape) == (np.int64, (5,))
    vector = aqe_core.open_learner("numpy", algorithm="ppo", **CONTINUOUS)
    assert vector.act([0.0, 0, 0]).shape == (1,)
    assert vector.act(np.zeros((2, 3))).dtype == np.float32
    assert policy.values(np.zeros((3, 4))).shape == (3,)
    assert policy.values(np.zeros(4)).dtype == np.float64


def test_without_exploring_nothing_is_drawn():
    policy = make()
    before = policy.export_state()
    chosen = {policy.act([0.1, 0.2, 0.3, 0.4], explore=False) for _ in range(20)}
    assert len(chosen) == 1
    assert same(policy.export_state(), before)
    assert {policy.act([0.1, 0.2, 0.3, 0.4]) for _ in range(50)} == {0, 1}


def test_a_mask_is_obeyed():
    policy = make()
    for explore in (True, False):
        assert {policy.act(np.zeros(4), explore=explore, mask=[0, 1]) for _ in range(20)} == {1}
    rows = policy.act(np.zeros((4, 4)), mask=np.eye(2, dtype=bool)[[0, 1, 1, 0]])
    assert rows.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(("algorithm", "shape"), KINDS)
def test_a_resumed_run_equals_an_uninterrupted_one(algorithm, shape, tmp_path):
    options = {**shape, "anneal_steps": 1000, "normalize_observations": True, "normalize_rewards": True}
    whole = aqe_core.open_learner("numpy", algorithm=algorithm, seed=3, **options)
    halves = aqe_core.open_learner("numpy", algorithm=algorithm, seed=3, **options)
    env, other = env_for(shape, max_steps=30), env_for(shape, max_steps=30)
    whole.learn(env, 640)
    halves.learn(other, 320)
    halves.save(tmp_path / "policy.aqestate")
    resumed = aqe_core.open_learner("numpy", algorithm=algorithm, **{**shape, "hidden": (3, 3)})
    resumed.load(tmp_path / "policy.aqestate")
    fresh = env_for(shape)
    fresh.import_state(other.export_state())
    resumed.learn(fresh, 320, reset=False)
    assert same(resumed.export_state(), whole.export_state())
    assert np.array_equal(resumed.curve, whole.curve, equal_nan=True)
    assert resumed.steps == 640
    for _ in range(5):
        assert np.array_equal(resumed.act(fresh.observe()), whole.act(env.observe()))


def test_runs_of_learn_begin_anew_unless_told_otherwise():
    one, other = make(), make()
    env = CartPole(4)
    one.learn(env, 64)
    one.learn(env, 64)
    other.learn(CartPole(4, seed=9), 64)
    other.learn(CartPole(4, seed=8), 64)
    assert same(one.export_state(), other.export_state())


def test_seeds_decide():
    states = [make(seed=seed).learn(CartPole(4), 128).export_state() for seed in (1, 1, 2)]
    assert same(states[0], states[1])
    assert not same(states[0], states[2])


def test_a_copy_learns_alone():
    policy = make()
    before = policy.export_state()
    twin = copy.deepcopy(policy).learn(CartPole(4), 64)
    assert same(policy.export_state(), before)
    assert same(policy.learn(CartPole(4), 64).export_state(), twin.export_state())


def test_update_learns_what_learn_learns():
    """Acting by hand and calling update gives the parameters that learn gives."""
    for shape in (DISCRETE, CONTINUOUS):
        ours = aqe_core.open_learner("numpy", algorithm="ppo", **{**shape, "normalize_observations": False})
        theirs = copy.deepcopy(ours)
        env = env_for(shape, max_steps=10)
        ours.learn(env, 64)
        env = env_for(shape, max_steps=10)
        seen = env.reset(int(theirs.rng.integers(2**63)))
        noise = theirs.head.noise(theirs.rng, (16, 4), np.float32)
        rows = []
        for t in range(16):
            actions = theirs._choose(seen, None, noise[t])
            step = env.step(actions)
            final = step.observations if step.final_observations is None else step.final_observations
            rows.append((seen, actions, step.rewards, step.terminated, step.truncated, final))
            seen = step.observations
        point = theirs.update(*(np.stack(column) for column in zip(*rows, strict=True)))
        assert point == ours.curve[-1]
        assert np.array_equal(theirs.parameters, ours.parameters)
        assert theirs.curve == ()


def test_terminated_does_not_bootstrap_and_truncated_does():
    """With a large value of the final observation, only the truncated step looks good."""
    targets = {}
    for name, flags in {"terminated": (True, False), "truncated": (False, True)}.items():
        policy = make(epochs=600, learning_rate=0.03, discount=0.5)
        policy.critic.weights[-1][:] = 0.0
        policy.critic.biases[-1][:] = 8.0  # the value of everything
        policy.update(np.zeros((1, 1, 4)), [[0]], [[1.0]], [[flags[0]]], [[flags[1]]], np.ones((1, 1, 4)))
        targets[name] = policy.values(np.zeros((1, 4)))[0]
    assert targets["terminated"] == pytest.approx(1.0, abs=0.05)
    assert targets["truncated"] == pytest.approx(1.0 + 0.5 * 8.0, abs=0.05)


def test_one_step_of_one_copy_makes_no_nan():
    for algorithm, shape in KINDS:
        policy = aqe_core.open_learner("numpy", algorithm=algorithm, **{**shape, "batch_steps": 1})
        policy.learn(env_for(shape, 1), 3)
        assert np.isfinite(policy.export_state().arrays["parameters"]).all()
        assert len(policy.curve) == 3


class Choosing:
    """Two steps per episode; the mask allows one action that depends on the observation, and it is checked."""

    n_envs, observation_dim, n_actions, action_dim = 3, 2, 4, 0

    def reset(self, seed):
        self.rng = np.random.default_rng(seed)
        self.allowed = self.rng.integers(4, size=3)
        return self.observe()

    def observe(self):
        return np.stack((self.allowed, -self.allowed), axis=1).astype(np.float32)

    def masks(self):
        return np.eye(4, dtype=bool)[self.allowed]

    def step(self, actions):
        assert (actions == self.allowed).all()
        final = self.observe()
        self.allowed = self.rng.integers(4, size=3)
        over = np.ones(3, bool)
        return Step(self.observe(), np.ones(3), over, ~over, final)


def test_learning_with_all_but_one_action_masked_stays_finite():
    policy = aqe_core.open_learner(
        "numpy", algorithm="ppo", observation_dim=2, n_actions=4, entropy_coefficient=0.1, **SMALL
    )
    policy.learn(Choosing(), 300)
    assert np.isfinite(policy.export_state().arrays["parameters"]).all()
    assert policy.curve[-1].entropy == 0.0
    assert policy.curve[-1].mean_return == 1.0


def test_it_orders_tests_by_what_their_features_tell():
    rng = np.random.default_rng(0)
    cycles = []
    for _ in range(40):
        failed = rng.random(6) < 0.3
        features = np.stack((failed + 0.1 * rng.standard_normal(6), rng.standard_normal(6)), axis=1)
        cycles.append(Cycle(features, np.ones(6), failed))
    env = Ordering(cycles, 16, budget=0.5)
    policy = aqe_core.open_learner(
        "numpy", algorithm="ppo", observation_dim=env.observation_dim, n_actions=env.n_actions, batch_steps=1024
    )
    policy.learn(env, 1024)
    before = policy.curve[-1].mean_return
    policy.learn(env, 15_000)
    assert policy.curve[-1].mean_return > before + 0.15


@pytest.mark.parametrize(("algorithm", "steps"), [("ppo", 150_000), ("actor-critic", 400_000)])
def test_it_solves_cartpole(algorithm, steps):
    policy = aqe_core.open_learner("numpy", algorithm=algorithm, observation_dim=4, n_actions=2, seed=1)
    policy.learn(CartPole(32), steps, until=lambda point: point.episodes >= 20 and point.mean_return >= 475)
    assert policy.curve[-1].mean_return >= 475
    env = CartPole(100, seed=77)
    seen, total, going = env.observe(), np.zeros(100), np.ones(100, bool)
    for _ in range(500):
        step = env.step(policy.act(seen, explore=False))
        total += going * step.rewards
        going &= ~(step.terminated | step.truncated)
        seen = step.observations
    assert total.mean() >= 450


def test_it_solves_pendulum():
    policy = aqe_core.open_learner("numpy", algorithm="ppo", observation_dim=3, action_dim=1, seed=1)
    policy.learn(Pendulum(32), 200_000, until=lambda point: point.episodes >= 20 and point.mean_return >= -250)
    assert policy.curve[-1].mean_return >= -250


def test_the_curve_tells_what_happened():
    policy = make(seed=2)
    policy.learn(CartPole(4, max_steps=20), 640)
    points = policy.curve
    assert [point.steps for point in points] == list(range(64, 641, 64))
    assert all(0 < point.entropy <= np.log(2) + 1e-6 for point in points)
    assert all(point.kl >= 0 and point.value_loss >= 0 for point in points)
    assert points[-1].episodes >= 32
    assert points[-1].mean_return <= 20
    stopped = make().learn(CartPole(4), 10_000, until=lambda point: point.steps >= 128)
    assert stopped.steps == 128


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"algorithm": "dqn"}, CapabilityError),
        ({"algorithm": ["ppo"]}, CapabilityError),
        ({"lerning_rate": 1.0}, ConfigError),
        ({"algorithm": "actor-critic", "clip_range": 0.2}, ConfigError),
        ({"observation_dim": 0}, InputError),
        ({"observation_dim": True}, InputError),
        ({"n_actions": 0}, InputError),
        ({"action_dim": 3}, InputError),
        ({"n_actions": -1}, InputError),
        ({"learning_rate": float("nan")}, InputError),
        ({"discount": 1.1}, InputError),
        ({"hidden": 3}, InputError),
        ({"hidden": (0,)}, InputError),
        ({"epochs": 0}, InputError),
        ({"normalize_rewards": "yes"}, InputError),
        ({"seed": -1}, InputError),
    ],
)
def test_bad_parameters_are_refused(options, error):
    with pytest.raises(error) as caught:
        make(**options)
    assert type(caught.value) is error
    assert caught.value.fix


def test_the_nearest_parameter_is_named():
    with pytest.raises(ConfigError, match="learning_rate"):
        make(lerning_rate=1.0)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"observations": [0.0] * 3}, DimensionError),
        ({"observations": np.zeros((2, 2, 4))}, DimensionError),
        ({"observations": ["a"] * 4}, DimensionError),
        ({"observations": [0, 0, np.nan, 0]}, NonFiniteError),
        ({"observations": [0, 0, 1e39, 0]}, NonFiniteError),
        ({"observations": [0, 0, 1e7, 0]}, InputError),
        ({"observations": [0] * 4, "mask": [True]}, DimensionError),
        ({"observations": [0] * 4, "mask": [0.5, 1.0]}, InputError),
        ({"observations": [0] * 4, "mask": [2, 1]}, InputError),
        ({"observations": [0] * 4, "mask": [False, False]}, InvalidActionError),
    ],
)
def test_bad_observations_and_masks_are_refused(arguments, error):
    policy = make()
    before = policy.export_state()
    with pytest.raises(error) as caught:
        policy.act(**arguments)
    assert type(caught.value) is error
    assert same(policy.export_state(), before)


def test_vectors_have_no_masks():
    policy = aqe_core.open_learner("numpy", algorithm="ppo", **CONTINUOUS)
    with pytest.raises(InvalidActionError):
        policy.act([0, 0, 0], mask=[True])


def steps(**changed):
    """Return two steps in three copies, with some columns changed."""
    plain = {
        "observations": np.zeros((2, 3, 4)),
        "actions": np.zeros((2, 3), np.int64),
        "rewards": np.ones((2, 3)),
        "terminated": np.zeros((2, 3), bool),
        "truncated": np.zeros((2, 3), np.int8),
        "next_observations": np.zeros((2, 3, 4)),
    }
    return plain | changed


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"observations": np.zeros((2, 4))}, DimensionError),
        ({"observations": np.zeros((0, 3, 4))}, DimensionError),
        ({"observations": np.full((2, 3, 4), np.nan)}, NonFiniteError),
        ({"next_observations": np.full((2, 3, 4), np.inf)}, NonFiniteError),
        ({"next_observations": np.zeros((2, 3, 5))}, DimensionError),
        ({"rewards": np.full((2, 3), np.nan)}, NonFiniteError),
        ({"rewards": np.full((2, 3), 1e9)}, InputError),
        ({"rewards": np.ones(6)}, DimensionError),
        ({"actions": np.full((2, 3), 2)}, InvalidActionError),
        ({"actions": np.zeros((2, 3))}, InvalidActionError),
        ({"terminated": np.full((2, 3), 2)}, InputError),
        ({"truncated": np.zeros((3, 2), bool)}, DimensionError),
        ({"masks": np.ones((2, 3), bool)}, DimensionError),
        ({"masks": np.zeros((2, 3, 2), bool)}, InvalidActionError),
        ({"masks": np.tile([False, True], (2, 3, 1))}, InvalidActionError),
    ],
)
def test_bad_updates_are_refused_and_nothing_is_learned(changed, error):
    policy = make()
    before = policy.export_state()
    with pytest.raises(error) as caught:
        policy.update(**steps(**changed))
    assert type(caught.value) is error
    assert same(policy.export_state(), before)
    policy.update(**steps(masks=np.ones((2, 3, 2), np.int8)))


class Broken(CartPole):
    """CartPole with one wrong answer in its tenth step."""

    wrong = ""

    def reset(self, seed):
        self.count = 0
        return super().reset(seed)

    def step(self, actions):
        self.count += 1
        step = super().step(actions)
        if self.count != 10:
            return step
        if self.wrong == "observations":
            step.observations[1, 2] = np.nan
        if self.wrong == "rewards":
            step.rewards[0] = np.inf
        if self.wrong == "final":
            step = step._replace(truncated=np.ones(self.n_envs, bool), final_observations=None)
        return step

    def masks(self):
        if self.wrong == "masks":
            return np.zeros((self.n_envs, 2), bool) if self.count == 9 else np.ones((self.n_envs, 2), bool)
        if self.wrong == "some masks":
            return np.ones((self.n_envs, 2), bool) if self.count == 9 else None
        return None


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ("observations", NonFiniteError),
        ("rewards", NonFiniteError),
        ("final", InputError),
        ("masks", InvalidActionError),
        ("some masks", InputError),
    ],
)
def test_an_environment_is_not_trusted(wrong, error):
    env = Broken(4)
    env.wrong = wrong
    policy = make()
    with pytest.raises(error):
        policy.learn(env, 640)
    assert np.isfinite(policy.export_state().arrays["parameters"]).all()
    assert policy.steps == 0


def test_an_environment_that_does_not_fit_is_refused():
    with pytest.raises(DimensionError, match="observation_dim"):
        make().learn(Pendulum(2), 10)
    for total in (0, -1, 2.5, True):
        with pytest.raises(InputError):
            make().learn(CartPole(2), total)


def test_states_that_do_not_fit_are_refused():
    policy = make()
    policy.learn(CartPole(4), 64)
    state = policy.export_state()
    arrays, manifest = dict(state.arrays), dict(state.manifest)

    def changed(kind="policy/ppo/1", head=None, **members):
        return EngineState(kind=kind, manifest={**manifest, **(head or {})}, arrays={**arrays, **members})

    for wrong in (
        changed(kind="learner/q-learning/1"),
        make("actor-critic").export_state(),
        EngineState(kind="policy/ppo/1", manifest={}, arrays=arrays),
        EngineState(kind="policy/ppo/1", manifest=manifest, arrays={}),
        changed(parameters=np.zeros(3, np.float32)),
        changed(first=np.full_like(arrays["first"], np.nan)),
        changed(generator=np.zeros(6)),
        changed(head={"steps": -1}),
        changed(head={"params": {**manifest["params"], "epochs": 0}}),
        changed(curve=np.zeros(5)),
    ):
        with pytest.raises(InputError):
            policy.import_state(wrong)
        assert same(policy.export_state(), state)
    with pytest.raises(AqeError):
        policy.load("absent.aqestate")
