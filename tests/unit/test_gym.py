"""Gymnasium both ways; where it is not installed, only that this is said."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
from aqe_backend_numpy.environments import CartPole, Cycle, Ordering, Pendulum

import aqe_core
from aqe_core.errors import InputError, MissingExtraError
from aqe_core.gym import GymnasiumEnv, from_gymnasium, to_gymnasium


def orders(n_envs=1):
    rng = np.random.default_rng(0)
    return Ordering([Cycle(rng.random((5, 2)), np.ones(5), rng.random(5) < 0.5) for _ in range(10)], n_envs, budget=0.8)


@pytest.fixture
def gymnasium():
    return pytest.importorskip("gymnasium", reason="gymnasium is not installed")


def test_without_gymnasium_the_install_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    for wrong in (lambda: from_gymnasium("CartPole-v1"), lambda: to_gymnasium(CartPole())):
        with pytest.raises(MissingExtraError, match=r"aqe-core\[gym\]"):
            wrong()


@pytest.mark.parametrize("make", [CartPole, Pendulum, orders])
def test_gymnasium_accepts_ours(gymnasium, make):
    from gymnasium.utils.env_checker import check_env

    env = to_gymnasium(make())
    if make is orders:
        # The checker draws actions without a mask; here it draws only allowed ones.
        env.action_space.sample = lambda: int(np.flatnonzero(env.action_masks())[0])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(symmetric and normalized|maximum value|minimum value).*")
        warnings.filterwarnings("ignore", message=".*not having a spec.*")
        check_env(env, skip_render_check=True)


def test_ours_says_its_masks(gymnasium):
    env = to_gymnasium(orders())
    _, info = env.reset(seed=1)
    assert info["action_mask"].tolist() == [1] * 5
    seen, reward, terminated, truncated, info = env.step(2)
    assert info["action_mask"].tolist() == [1, 1, 0, 1, 1]
    assert env.action_masks().tolist() == [True, True, False, True, True]
    assert (seen.dtype, type(reward), terminated, truncated) == (np.float32, float, False, False)
    assert to_gymnasium(CartPole()).reset(seed=0)[1] == {}
    assert to_gymnasium(CartPole()).action_masks().all()
    with pytest.raises(InputError):
        to_gymnasium(CartPole(2))


@pytest.mark.parametrize(("task", "name"), [(CartPole, "CartPole-v1"), (Pendulum, "Pendulum-v1")])
def test_whole_episodes_are_those_of_gymnasium(gymnasium, task, name):
    theirs = from_gymnasium(name, n_envs=2)
    theirs.reset(3)
    ours = task(2)
    ours.set_state(np.stack([env.unwrapped.state for env in theirs.environments]))
    rng = np.random.default_rng(0)
    for _ in range(150):
        actions = rng.integers(2, size=2) if task is CartPole else rng.normal(size=(2, 1)).astype(np.float32)
        mine, other = ours.step(actions), theirs.step(actions)
        assert np.array_equal(mine.terminated, other.terminated)
        if mine.final_observations is None:
            assert mine.observations == pytest.approx(other.observations, rel=1e-4, abs=1e-5)
        else:
            assert mine.final_observations == pytest.approx(other.final_observations, rel=1e-4, abs=1e-5)
            ours.set_state(np.stack([env.unwrapped.state for env in theirs.environments]))


def test_a_policy_learns_on_gymnasium(gymnasium):
    env = from_gymnasium("CartPole-v1", n_envs=4)
    assert (env.observation_dim, env.n_actions, env.action_dim) == (4, 2, 0)
    policy = aqe_core.open_learner("numpy", algorithm="ppo", observation_dim=4, n_actions=2, batch_steps=256)
    policy.learn(env, 512)
    assert policy.steps == 512
    assert policy.curve[-1].episodes > 5
    same = aqe_core.open_learner("numpy", algorithm="ppo", observation_dim=4, n_actions=2, batch_steps=256)
    same.learn(from_gymnasium("CartPole-v1", n_envs=4), 512)
    assert same.curve == policy.curve


def test_masks_and_one_hot_observations(gymnasium):
    newest = max(name for name in gymnasium.registry if name.startswith("Taxi-v"))
    env = from_gymnasium(newest, n_envs=2)
    seen = env.reset(0)
    assert seen.shape == (2, 500)
    assert seen.sum(axis=1).tolist() == [1.0, 1.0]
    masks = env.masks()
    assert masks.shape == (2, 6)
    env.step(masks.argmax(axis=1))
    asked = GymnasiumEnv([to_gymnasium(orders()) for _ in range(2)])
    asked.reset(1)
    assert asked.masks().all()
    assert from_gymnasium("Pendulum-v1").masks() is None


def test_vectors_are_cut_at_their_bounds(gymnasium):
    env = from_gymnasium("Pendulum-v1")
    env.reset(0)
    before = env.environments[0].unwrapped.state.copy()
    env.step(np.array([[50.0]], np.float32))
    assert env.environments[0].unwrapped.last_u == 2.0
    assert not np.array_equal(before, env.environments[0].unwrapped.state)


def test_what_no_policy_takes_is_refused(gymnasium):
    class Odd(gymnasium.Env):
        observation_space = gymnasium.spaces.Dict({"a": gymnasium.spaces.Discrete(2)})
        action_space = gymnasium.spaces.Discrete(2)

    class Many(gymnasium.Env):
        observation_space = gymnasium.spaces.Discrete(2, start=1)
        action_space = gymnasium.spaces.MultiBinary(2)

    for wrong in (Odd, Many):
        with pytest.raises(InputError):
            from_gymnasium(wrong)
    with pytest.raises(InputError):
        from_gymnasium("CartPole-v1", n_envs=0)
