"""The tabular learners on tasks whose optimal policies are known: exact values of what they learned, by dynamics.

A task is a table of dynamics, as Gymnasium's toy texts have: ``P[state][action]`` lists (probability, next state,
reward, terminated). The learned greedy policy is evaluated exactly, by solving its linear equations, and compared with
the optimum from value iteration.
"""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
from aqe_backend_numpy.learner import make_learner

ROWS, COLUMNS = 4, 12
START = 36


def cliff():
    """Cliff walking (Sutton and Barto 2018, example 6.6): up, right, down, left; -1 a step, -100 for a fall."""

    def step(state, action):
        row, column = divmod(state, COLUMNS)
        row = min(max(row + (-1, 0, 1, 0)[action], 0), ROWS - 1)
        column = min(max(column + (0, 1, 0, -1)[action], 0), COLUMNS - 1)
        if row == ROWS - 1 and 0 < column < COLUMNS - 1:
            return [(1.0, START, -100.0, False)]
        state = row * COLUMNS + column
        return [(1.0, state, -1.0, state == ROWS * COLUMNS - 1)]

    return {s: {a: step(s, a) for a in range(4)} for s in range(ROWS * COLUMNS)}


def values_of(dynamics, policy, discount):
    """Return the exact value of each state under a deterministic policy."""
    n = len(dynamics)
    transitions, rewards = np.zeros((n, n)), np.zeros(n)
    for s in range(n):
        for p, t, r, done in dynamics[s][policy[s]]:
            rewards[s] += p * r
            transitions[s, t] += 0.0 if done else p
    return np.linalg.solve(np.eye(n) - discount * transitions, rewards)


def optimum(dynamics, discount):
    """Return the optimal values, by value iteration."""
    values = np.zeros(len(dynamics))
    for _ in range(3000):
        best = np.array(
            [
                max(
                    sum(p * (r + discount * values[t] * (not done)) for p, t, r, done in each) for each in acts.values()
                )
                for acts in dynamics.values()
            ]
        )
        if np.abs(best - values).max() < 1e-12:
            break
        values = best
    return values


def train(learner, dynamics, episodes, *, epsilon=0.0, seed=0, limit=100):
    """Let a learner act and learn, with exploring starts: each episode begins with a random action somewhere.

    Exploration falls from epsilon to zero over the first four fifths of the episodes.
    """
    rng = random.Random(seed)
    actions = list(dynamics[0])
    for episode in range(episodes):
        learner.set_params(epsilon=epsilon * max(0.0, 1.0 - episode / (0.8 * episodes)))
        state, action = rng.randrange(len(dynamics)), rng.choice(actions)
        for _ in range(limit):
            outcomes = dynamics[state][action]
            at = rng.choices(range(len(outcomes)), [each[0] for each in outcomes])[0] if len(outcomes) > 1 else 0
            _, after, reward, done = outcomes[at]
            following = learner.act(after, actions)
            learner.update(state, action, float(reward), int(after), bool(done), following)
            state, action = int(after), following
            if done:
                break
    return [learner.act(state, actions, explore=False) for state in dynamics]


def gymnasium_dynamics(name, **options):
    gymnasium = pytest.importorskip("gymnasium", reason="gymnasium is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of an environment are announced so
        return {int(s): dict(acts) for s, acts in gymnasium.make(name, **options).unwrapped.P.items()}


@pytest.mark.parametrize("algorithm", ["q-learning", "sarsa", "expected-sarsa"])
def test_cliff(algorithm):
    dynamics = cliff()
    learner = make_learner(algorithm=algorithm, learning_rate=0.5, discount=1.0, epsilon=0.1, actions=range(4), seed=1)
    policy = train(learner, dynamics, 1500)
    assert walk(dynamics, policy) == -13.0  # the shortest way, along the edge


def walk(dynamics, policy):
    """Return the undiscounted return of a deterministic policy from the start."""
    state, total = START, 0.0
    for _ in range(100):
        _, state, reward, done = dynamics[state][policy[state]][0]
        total += reward
        if done:
            break
    return total


def test_sarsa_keeps_off_the_edge_while_it_explores():
    """The textbook's figure: with exploration that never ends, SARSA takes a safer way, Q-learning the edge."""
    dynamics = cliff()
    found = {}
    for algorithm in ("q-learning", "expected-sarsa"):
        learner = make_learner(algorithm=algorithm, learning_rate=0.5, discount=1.0, epsilon=0.1, seed=2)
        for _ in range(800):
            state = START
            for _ in range(200):
                action = learner.act(state, range(4))
                _, after, reward, done = dynamics[state][action][0]
                learner.update(state, action, reward, after, done)
                state = after
                if done:
                    break
        found[algorithm] = walk(dynamics, [learner.act(s, range(4), explore=False) for s in dynamics])
    assert found["q-learning"] == -13.0
    assert -19.0 <= found["expected-sarsa"] < -13.0


@pytest.mark.parametrize("algorithm", ["actor-critic", "ppo"])
def test_policies_find_a_good_way_over_the_cliff(algorithm):
    dynamics = cliff()
    rates = (
        {"learning_rate": 0.1, "discount": 1.0}
        if algorithm == "actor-critic"
        else {"learning_rate": 0.2, "discount": 0.99}
    )
    learner = make_learner(algorithm=algorithm, value_learning_rate=0.3, actions=range(4), seed=3, **rates)
    for _ in range(500):
        state = START
        for _ in range(100):
            action = learner.act(state, range(4))
            _, after, reward, done = dynamics[state][action][0]
            learner.update(state, action, reward / 10.0, after, done)
            state = after
            if done:
                break
    policy = [learner.act(s, range(4), explore=False) for s in dynamics]
    assert -21.0 <= walk(dynamics, policy) <= -13.0


@pytest.mark.parametrize("algorithm", ["q-learning", "sarsa"])
@pytest.mark.parametrize(
    ("name", "options", "discount", "episodes", "rate", "epsilon", "initial"),
    [
        ("CliffWalking-v1", {}, 0.99, 1500, 0.5, 0.0, 0.0),
        ("FrozenLake-v1", {"is_slippery": False}, 0.9, 400, 1.0, 0.0, 1.0),
        ("FrozenLake-v1", {"is_slippery": True}, 0.95, 8000, 0.03, 1.0, 0.0),
        ("Taxi-v4", {}, 0.95, 10000, 1.0, 0.0, 20.0),
    ],
)
def test_gymnasium(algorithm, name, options, discount, episodes, rate, epsilon, initial):
    dynamics = gymnasium_dynamics(name, **options)
    starts = {"CliffWalking-v1": [START], "FrozenLake-v1": [0]}.get(name)
    if starts is None:  # a passenger that waits somewhere else than where it wants to go
        starts = [s for s in dynamics if (s // 4) % 5 < 4 and (s // 4) % 5 != s % 4]
    actions = list(dynamics[0])
    # Where nothing is random, an initial value that nothing exceeds makes even a greedy learner try everything.
    learner = make_learner(
        algorithm=algorithm, learning_rate=rate, discount=discount, initial_value=initial, actions=actions, seed=5
    )
    policy = train(learner, dynamics, episodes, epsilon=epsilon, seed=6)
    best = optimum(dynamics, discount)[starts].mean()
    found = values_of(dynamics, policy, discount)[starts].mean()
    assert found == pytest.approx(best, rel=1e-9, abs=1e-9)
