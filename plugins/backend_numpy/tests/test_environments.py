"""The control tasks: their dynamics by hand and by Gymnasium's own, resets, limits, states, and ordering tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from aqe_backend_numpy.environments import CartPole, Cycle, Ordering, Pendulum

from aqe_core.errors import DimensionError, InputError

TASKS = [CartPole, Pendulum]


def act(env, rng):
    if env.n_actions:
        return rng.integers(env.n_actions, size=env.n_envs)
    return rng.normal(0.0, 2.0, (env.n_envs, env.action_dim)).astype(np.float32)


def gymnasium_step(name, state, action):
    gymnasium = pytest.importorskip("gymnasium", reason="gymnasium is not installed")
    plain = gymnasium.make(name).unwrapped
    plain.reset(seed=0)
    plain.state = np.array(state)
    return plain.step(action)


@pytest.mark.parametrize(("task", "name"), [(CartPole, "CartPole-v1"), (Pendulum, "Pendulum-v1")])
def test_every_step_is_that_of_gymnasium(task, name):
    rng = np.random.default_rng(0)
    env = task(5, seed=1)
    for _ in range(120):
        before = env._state.T.copy()
        actions = act(env, rng)
        step = env.step(actions)
        seen = step.observations if step.final_observations is None else step.final_observations
        for i in range(5):
            theirs = gymnasium_step(name, before[i], actions[i])
            assert seen[i] == pytest.approx(theirs[0], rel=1e-6, abs=1e-6)
            assert step.rewards[i] == pytest.approx(theirs[1], rel=1e-12)
            assert step.terminated[i] == theirs[2]


def test_cartpole_by_hand():
    """A resting upright pole, pushed to the right: the accelerations of the published equations."""
    env = CartPole(1)
    env.set_state(np.zeros((1, 4)))
    step = env.step(np.array([1]))
    push = 10.0 / 1.1
    turning = -push / (0.5 * (4 / 3 - 0.1 / 1.1))
    assert step.observations[0] == pytest.approx([0, 0.02 * (push - 0.05 * turning / 1.1), 0, 0.02 * turning], rel=1e-6)
    assert (step.rewards[0], step.terminated[0], step.truncated[0]) == (1.0, False, False)


def test_pendulum_by_hand():
    env = Pendulum(1)
    env.set_state(np.array([[math.pi / 2, 1.0]]))
    step = env.step(np.array([[5.0]]))  # cut at 2
    speed = 1.0 + (15.0 + 6.0) * 0.05
    angle = math.pi / 2 + speed * 0.05
    assert step.observations[0] == pytest.approx([math.cos(angle), math.sin(angle), speed], rel=1e-6)
    assert step.rewards[0] == pytest.approx(-((math.pi / 2) ** 2 + 0.1 + 0.004))


@pytest.mark.parametrize("task", TASKS)
def test_episodes_begin_anew_in_the_same_step(task):
    env = task(3, max_steps=4, seed=2)
    rng = np.random.default_rng(0)
    for t in range(1, 13):
        step = env.step(act(env, rng))
        over = t % 4 == 0
        assert step.truncated.tolist() == [over] * 3
        assert (step.final_observations is not None) == over
        if over:
            assert not np.array_equal(step.final_observations, step.observations)
            assert np.array_equal(step.observations, env.observe())
        assert step.observations.dtype == np.float32
        assert step.observations.flags.c_contiguous


def test_only_the_copy_that_ended_begins_anew():
    env = CartPole(3)
    env.set_state(np.array([[0, 0, 0, 0], [2.39, 5.0, 0, 0], [0, 0, 0.1, 0]]))
    step = env.step(np.array([1, 1, 1]))
    assert step.terminated.tolist() == [False, True, False]
    assert step.final_observations[1, 0] > 2.4
    assert abs(step.observations[1]).max() <= 0.05
    assert np.array_equal(step.final_observations[[0, 2]], step.observations[[0, 2]])


@pytest.mark.parametrize("task", TASKS)
def test_seeds_and_states(task):
    one, other = task(2, seed=5), task(2, seed=6)
    assert not np.array_equal(one.observe(), other.observe())
    assert np.array_equal(one.observe(), task(2, seed=5).observe())
    for _ in range(7):
        one.step(act(one, np.random.default_rng(1)))
    other.import_state(one.export_state())
    for _ in range(300):
        actions = act(one, np.random.default_rng(2))
        ours, theirs = one.step(actions), other.step(actions)
        assert np.array_equal(ours.observations, theirs.observations)
    with pytest.raises(InputError):
        task(3).import_state(one.export_state())


@pytest.mark.parametrize(
    ("task", "actions", "error"),
    [
        (CartPole, [0], DimensionError),
        (CartPole, [0, 2], InputError),
        (CartPole, [0.0, 1.0], InputError),
        (Pendulum, [0.0, 1.0], DimensionError),
        (Pendulum, [[0.0], [np.nan]], InputError),
    ],
)
def test_bad_actions_are_refused(task, actions, error):
    env = task(2)
    before = env.observe()
    with pytest.raises(error):
        env.step(np.array(actions))
    assert np.array_equal(env.observe(), before)


def test_bad_sizes_are_refused():
    for options in ({"n_envs": 0}, {"n_envs": 2.0}, {"max_steps": 0}, {"seed": -1}):
        with pytest.raises(InputError):
            CartPole(**options)


# -- ordering ---------------------------------------------------------------------------------------------------------


def cycle(failed, durations=None, width=1):
    n = len(failed)
    return Cycle(np.arange(n * width).reshape(n, width), np.ones(n) if durations is None else durations, failed)


def napfd(failed, order) -> float:
    """Return the NAPFD of an order of places by its definition."""
    m, f = len(failed), sum(failed)
    ranks = [rank for rank, place in enumerate(order, 1) if failed[place]]
    share = len(ranks) / f
    return share - sum(ranks) / (m * f) + share / (2 * m)


def test_the_return_of_an_episode_is_its_napfd():
    rng = np.random.default_rng(0)
    for _ in range(30):
        failed = rng.random(7) < 0.4
        failed[0] = True
        durations = rng.uniform(0.1, 3.0, 7)
        durations[1] = 0.05
        env = Ordering([cycle(failed, durations)], budget=0.6)
        order, total, over = [], 0.0, False
        while not over:
            allowed = np.flatnonzero(env.masks()[0])
            order.append(int(rng.choice(allowed)))
            step = env.step(np.array(order[-1:]))
            total += step.rewards[0]
            over = step.terminated[0]
        assert total == pytest.approx(napfd(failed, order))
        used = durations[order].sum()
        left = 0.6 * durations.sum() - used
        assert left >= 0
        assert all(durations[place] > left for place in range(7) if place not in order)


def test_what_cannot_be_played_is_left_out_or_refused():
    playable = cycle([True, False, False])
    lone = cycle([True])  # half of the time has no room for it
    passing = cycle([False, False])
    env = Ordering([lone, passing, playable], 4, budget=0.5)
    assert (env.n_actions, env.observation_dim) == (3, 10)
    assert not env.masks()[:, 3:].any()
    for cycles, error in (
        ([lone, passing], InputError),
        ([], InputError),
        ([playable, cycle([True, False, False], width=2)], DimensionError),
        ([cycle([True, False], durations=[1.0, 0.0])], InputError),
        ([Cycle(np.zeros((2, 1)), [1.0], [True])], DimensionError),
    ):
        with pytest.raises(error):
            Ordering(cycles)
    with pytest.raises(InputError):
        Ordering([playable], budget=0.0)
    env = Ordering([playable], budget=0.9)
    env.step(np.array([1]))
    with pytest.raises(InputError, match="mask"):
        env.step(np.array([1]))


def test_observations_of_an_ordering():
    env = Ordering([cycle([True, False, False], durations=[1.0, 2.0, 1.0])], budget=0.75)
    assert env.observe().tolist() == [pytest.approx([0, 1 / 3, 1, 1, 2 / 3, 1, 2, 1 / 3, 1, 1])]
    step = env.step(np.array([0]))
    assert step.rewards[0] == pytest.approx(1 - 0.5 / 3)
    assert env.observe().tolist() == [pytest.approx([0, 1 / 3, 0, 1, 2 / 3, 1, 2, 1 / 3, 1, 2 / 3])]
