"""Learning goes on without taking more memory: 30,000 updates each, or 10^7 with AQE_LONG_TESTS=1 (some minutes)."""

from __future__ import annotations

import gc
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from aqe_backend_numpy.environments import CartPole

import aqe_core

STATM = Path("/proc/self/statm")
UPDATES = 10**7 if os.environ.get("AQE_LONG_TESTS") == "1" else 3 * 10**4
ALLOWED_BYTES = 16 * 2**20  # what allocators keep, and a point of the learning curve per update of a policy
CHUNK = 1000

pytestmark = pytest.mark.skipif(not STATM.is_file(), reason="resident memory is read where /proc tells it")

BACKENDS = [
    "numpy",
    pytest.param(
        "native",
        marks=pytest.mark.skipif(find_spec("aqe_backend_native") is None, reason="the native backend is not installed"),
    ),
]


def resident_bytes():
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def single_updates(backend):
    learner = aqe_core.open_learner(backend, epsilon=0.2)

    def work():
        for i in range(CHUNK):
            learner.update(f"state {i % 97}", f"action {i % 7}", float(i % 5), f"state {i % 89}", i % 50 == 0)

    return work


def batches(backend):
    learner, rng = aqe_core.open_learner(backend, algorithm="sarsa"), np.random.default_rng(0)
    states, actions, after = rng.integers(500, size=(3, CHUNK))
    rewards, dones = rng.standard_normal(CHUNK), rng.random(CHUNK) < 0.1
    return lambda: learner.update_batch(states, actions, rewards, after, dones)


def tabular_policies(backend):
    critic, ppo = (aqe_core.open_learner(backend, algorithm=name) for name in ("actor-critic", "ppo"))
    rng = np.random.default_rng(0)
    states, actions, after = rng.integers(50, size=(3, CHUNK))
    rewards = rng.standard_normal(CHUNK)

    def work():
        critic.update_batch(states, actions, rewards, after)
        ppo.update_batch(states[:50], actions[:50], rewards[:50], after[:50])

    return work


def bandits(backend):
    bandit, rng = (
        aqe_core.open_learner(backend, algorithm="linucb", dim=4, actions=["a", "b"]),
        np.random.default_rng(0),
    )
    contexts = rng.standard_normal((CHUNK, 4))

    def work():
        for context in contexts:
            bandit.update(context, bandit.act(context), 1.0)

    return work


def replays(backend):
    replay = aqe_core.open_replay(backend, capacity=4096, observation_dim=8, prioritized=True, n_step=3)
    rng = np.random.default_rng(0)
    seen = rng.standard_normal((CHUNK, 8), dtype=np.float32)
    columns = seen, rng.integers(4, size=CHUNK), rng.standard_normal(CHUNK), seen + 1, rng.random(CHUNK) < 0.01

    def work():
        replay.add_batch(*columns)
        for _ in range(4):
            drawn = replay.sample(64)
            replay.update_priorities(drawn.indices, drawn.rewards)

    return work


def policies(backend):
    policy = aqe_core.open_learner(
        backend, algorithm="ppo", observation_dim=4, n_actions=2, hidden=(4,), batch_steps=CHUNK, epochs=1
    )
    env = CartPole(50)
    policy.learn(env, 1)
    return lambda: policy.learn(env, CHUNK, reset=False)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("make", [single_updates, batches, tabular_policies, bandits, replays, policies])
def test_no_memory_is_lost(make, backend):
    work = make(backend)
    for _ in range(UPDATES // CHUNK // 10):
        work()
    before = resident_bytes()
    for _ in range(UPDATES // CHUNK):
        work()
    assert resident_bytes() - before <= ALLOWED_BYTES
