"""Tabular actor-critic and PPO: the documented order of operations, kept states, refusals, what they learn."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest
from aqe_backend_numpy._policy import log_softmax
from aqe_backend_numpy.actor_critic import ActorCritic
from aqe_backend_numpy.learner import make_learner
from aqe_backend_numpy.ppo import Ppo
from hypothesis import given
from hypothesis import strategies as st

from aqe_core.contracts import InspectableLearner
from aqe_core.errors import ConfigError, InputError, InvalidActionError, NonFiniteError
from aqe_core.state import EngineState

ALGORITHMS = ("actor-critic", "ppo")


def frozen(learner):
    state = learner.export_state()
    return state.kind, json.dumps(state.manifest), {name: a.tobytes() for name, a in state.arrays.items()}


def wander(learner, n, seed):
    rng = random.Random(seed)
    for _ in range(n):
        state, following = f"s{rng.randrange(5)}", rng.choice(["s1", "s2", 7])
        action = learner.act(state, ["left", "right", 3])
        learner.update(state, action, rng.gauss(0.0, 1.0), following, rng.random() < 0.2)
    return learner


def plain_actor_critic(rows, *, rate, critic, discount, bonus):
    """The documented steps, written down a second time, over undeclared actions."""
    worths, table = {}, {}
    for s, a, r, t, done in rows:
        ahead = 0.0 if done else worths.get(t, 0.0)
        row = table.setdefault(s, {})
        row.setdefault(a, 0.0)
        worth = worths.get(s, 0.0)
        delta = r + discount * ahead - worth
        worths[s] = worth + critic * delta
        top = max(row.values())
        powers = [math.exp(p - top) for p in row.values()]
        total = 0.0
        for power in powers:
            total += power
        entropy = 0.0
        for power, p in zip(powers, row.values(), strict=True):
            entropy -= power / total * ((p - top) - math.log(total))
        for b, power in zip(list(row), powers, strict=True):
            change = rate * delta * ((1.0 if b == a else 0.0) - power / total)
            if bonus:
                change -= rate * bonus * (power / total) * (((row[b] - top) - math.log(total)) + entropy)
            row[b] += change
    return worths, table


@pytest.mark.parametrize("bonus", [0.0, 0.3])
def test_actor_critic_in_its_order_of_operations(bonus):
    rng = random.Random(3)
    rows = [
        (f"s{rng.randrange(4)}", rng.randrange(3), rng.gauss(0, 2), f"s{rng.randrange(5)}", rng.random() < 0.2)
        for _ in range(400)
    ]
    learner = ActorCritic(learning_rate=0.3, value_learning_rate=0.2, discount=0.9, entropy_coefficient=bonus)
    for row in rows:
        learner.update(*row)
    worths, table = plain_actor_critic(rows, rate=0.3, critic=0.2, discount=0.9, bonus=bonus)
    assert {s: learner.state_value(s) for s in worths} == worths
    assert {s: {a: learner.value(s, a) for a in row} for s, row in table.items()} == table
    assert learner.steps == 400


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=8))
def test_softmax(preferences):
    shares, logs = log_softmax(preferences)
    assert math.isclose(math.fsum(shares), 1.0, rel_tol=1e-12)
    assert all(map(math.isfinite, logs))
    order = np.argsort(preferences, kind="stable")
    assert (np.diff(np.array(shares)[order]) >= 0.0).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("actions", [None, ["left", "right", 3, "never"]])
def test_resume_equals_uninterrupted(algorithm, actions, tmp_path):
    params = {"epsilon": 0.1, "entropy_coefficient": 0.02, "actions": actions}
    whole = wander(make_learner(algorithm=algorithm, **params), 300, 1)
    whole.save(tmp_path / "x.aqestate")
    resumed = make_learner(algorithm=algorithm, seed=9)
    resumed.update("to be forgotten", "a", 1.0, "b")
    resumed.load(tmp_path / "x.aqestate")
    assert frozen(resumed) == frozen(whole)
    assert frozen(wander(resumed, 200, 2)) == frozen(wander(whole, 200, 2))
    assert isinstance(resumed, InspectableLearner)
    assert make_learner(algorithm=algorithm, **whole.get_params()).get_params() == whole.get_params()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_masks(algorithm):
    """What is not offered is never chosen, and what was never legal in a state never gets a share there."""
    learner = make_learner(algorithm=algorithm, **({"rollout": 8} if algorithm == "ppo" else {}))
    legal = {0: [0, 1], 1: [1, 2], 2: [2]}
    rng = random.Random(5)
    for i in range(300):
        state = i % 3
        action = learner.act(state, legal[state])
        assert action in legal[state]
        learner.update(state, action, rng.gauss(0, 1), (i + 1) % 3)
    assert [learner.visits(0, 2), learner.visits(2, 0), learner.value(2, 2)] == [0, 0, 0.0]
    assert learner.probabilities(2, [2]).tolist() == [1.0]


def test_ppo_trains_when_asked():
    learner = Ppo(rollout=100, actions=["a", "b"], normalize_advantage=False)
    learner.train()
    learner.update("s", "a", 1.0, "t", True)
    assert learner.value("s", "a") == 0.0
    learner.train()
    assert learner.value("s", "a") > 0.0
    assert learner.export_state().arrays["rollout_rewards"].size == 0


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_noisy_bandit_is_learned(algorithm):
    learner = make_learner(algorithm=algorithm, seed=2)
    rng = random.Random(8)
    for _ in range(4000):
        arm = learner.act("here", ["low", "high"])
        learner.update("here", arm, rng.gauss(0.2 if arm == "low" else 0.8, 0.5), "here", True)
    assert learner.probabilities("here", ["low", "high"])[1] > 0.85


@pytest.mark.parametrize(
    ("algorithm", "params", "error"),
    [
        ("actor-critic", {"learning_rate": 0.0}, InputError),
        ("actor-critic", {"value_learning_rate": math.nan}, InputError),
        ("actor-critic", {"clip": 0.2}, ConfigError),
        ("actor-critic", {"actions": []}, InputError),
        ("ppo", {"epochs": 0}, InputError),
        ("ppo", {"epochs": 2.5}, InputError),
        ("ppo", {"rollout": True}, InputError),
        ("ppo", {"clip": -0.1}, InputError),
        ("ppo", {"gae_lambda": 1.5}, InputError),
        ("ppo", {"normalize_advantage": 1}, InputError),
        ("ppo", {"seed": -1}, InputError),
        ("ppo", {"epoch": 3}, ConfigError),
    ],
)
def test_parameters_out_of_range(algorithm, params, error):
    with pytest.raises(error):
        make_learner(algorithm=algorithm, **params)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_refusals_change_nothing(algorithm):
    learner = wander(make_learner(algorithm=algorithm, actions=["left", "right", 3]), 40, 4)
    before = frozen(learner)
    for call, error in (
        (lambda: learner.update("s", "left", math.inf, "t"), NonFiniteError),
        (lambda: learner.update("s", "up", 1.0, "t"), InvalidActionError),
        (lambda: learner.update("s", "left", 1e300, "t"), InputError),
        (lambda: learner.update("s", "left", 1.0, "t", done=2), InputError),
        (lambda: learner.update_batch(["s"] * 3, ["left", 3, "up"], [1.0] * 3, ["t"] * 3), InvalidActionError),
        (lambda: learner.act("s", ["up"]), InvalidActionError),
        (lambda: learner.probabilities("s", "left"), InputError),
        (lambda: learner.visits("s", "up"), InvalidActionError),
        (lambda: learner.set_params(epsilon=0.5, actions=None), InputError),
        (lambda: learner.set_params(epsilon=-1.0), InputError),
    ):
        with pytest.raises(error):
            call()
    assert frozen(learner) == before


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_next_action_is_not_looked_at(algorithm):
    one, other = (make_learner(algorithm=algorithm, actions=["left", "right"]) for _ in range(2))
    one.update("s", "left", 1.0, "t", next_action="undeclared")
    other.update("s", "left", 1.0, "t")
    assert frozen(one) == frozen(other)


def broken(state):
    """Yield states that differ from a good one in one point."""
    yield EngineState(kind="learner/sarsa/1", manifest=state.manifest, arrays=state.arrays)
    for name in state.manifest:
        rest = {key: value for key, value in state.manifest.items() if key != name}
        yield EngineState(kind=state.kind, manifest=rest, arrays=state.arrays)
        yield EngineState(kind=state.kind, manifest={**state.manifest, name: None}, arrays=state.arrays)
    for name, array in state.arrays.items():
        for other in (array[:-1], array[::-1] if name == "rows" else array[:0], array.astype(np.float32)):
            yield EngineState(kind=state.kind, manifest=state.manifest, arrays={**state.arrays, name: other})
        if array.dtype.kind == "f":
            yield EngineState(kind=state.kind, manifest=state.manifest, arrays={**state.arrays, name: array * math.nan})
    columns = state.arrays["columns"].copy()
    columns[1] = columns[0]
    yield EngineState(kind=state.kind, manifest=state.manifest, arrays={**state.arrays, "columns": columns})
    params = {**state.manifest["params"], "actions": ["x"]}
    yield EngineState(kind=state.kind, manifest={**state.manifest, "params": params}, arrays=state.arrays)
    if "rollout_states" in state.arrays:
        after = [1.5] * state.arrays["rollout_states"].size
        manifest = {**state.manifest, "rollout_next_states": after}
        yield EngineState(kind=state.kind, manifest=manifest, arrays=state.arrays)
        actions = (state.arrays["rollout_actions"] + 1) % 9
        yield EngineState(kind=state.kind, manifest=state.manifest, arrays={**state.arrays, "rollout_actions": actions})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_broken_states(algorithm):
    learner = wander(make_learner(algorithm=algorithm), 60, 6)
    state = learner.export_state()
    before = frozen(learner)
    for bad in broken(state):
        with pytest.raises(InputError):
            learner.import_state(bad)
        assert frozen(learner) == before


def test_equal_learners_export_equal_states():
    rows = [("s", "a", 1.0, "t", False), ("t", 3, -1.0, "s", True), ("s", 3, 0.5, "s", False)] * 5
    for algorithm in ALGORITHMS:
        one, batch = (
            make_learner(algorithm=algorithm, **({"rollout": 4} if algorithm == "ppo" else {})) for _ in range(2)
        )
        for row in rows:
            one.update(*row)
        batch.update_batch(*(list(column) for column in zip(*rows, strict=True)))
        assert frozen(one) == frozen(batch)
