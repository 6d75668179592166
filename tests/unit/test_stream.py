"""learn_one: what it hands to update, and what it refuses."""

from __future__ import annotations

import pytest

import aqe_core
from aqe_core.encoding import mapping_key
from aqe_core.errors import InputError, NonFiniteError
from aqe_core.stream import Streamed, learn_one

OUTCOME = {"state": "a", "action": "run", "reward": 1.0, "next_state": "b"}


def test_it_equals_update():
    one, other = (aqe_core.open_learner("numpy", algorithm="sarsa", seed=3) for _ in range(2))
    for i in range(20):
        state, reward = {"failures": i % 3, "kind": "flaky"}, float(i)
        outcome = {
            "state": state,
            "action": "run",
            "reward": reward,
            "next_state": {"failures": 0},
            "done": i % 5 == 4,
            "next_action": "skip",
        }
        learn_one(one, outcome)
        other.update(mapping_key(state), "run", reward, mapping_key({"failures": 0}), i % 5 == 4, "skip")
    assert one.export_state().manifest == other.export_state().manifest
    assert one.value(mapping_key({"failures": 1, "kind": "flaky"}), "run") == other.value(
        mapping_key({"failures": 1, "kind": "flaky"}), "run"
    )


def test_a_bandit_learns_from_contexts():
    bandit = aqe_core.open_learner("numpy", algorithm="linucb", dim=2, actions=["a", "b"])
    assert bandit.learn_one({"context": [1.0, 0.0], "action": "a", "reward": 2.0}) is bandit
    assert bandit.steps == 1


def test_the_mixin_returns_what_learned():
    class Counter(Streamed):
        total = 0.0

        def update(self, reward, weight=1.0):
            self.total += reward * weight

    assert Counter().learn_one({"reward": 2.0}).learn_one({"reward": 1.0, "weight": 3.0}).total == 5.0


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        ({name: value for name, value in OUTCOME.items() if name != "reward"}, "lacks 'reward'"),
        ({**OUTCOME, "rewards": 1.0}, "unknown entry 'rewards'"),
        ({**OUTCOME, 3: 1.0}, "unknown entry '3'"),
        ({"rewrd" if name == "reward" else name: value for name, value in OUTCOME.items()}, "did you mean 'reward'"),
        ([1, 2], "must be a mapping"),
        ({**OUTCOME, "state": {"nested": {}}}, "nested"),
        ({**OUTCOME, "state": {}}, "names"),
    ],
)
def test_what_is_no_outcome_is_refused(outcome, told):
    learner = aqe_core.open_learner("numpy")
    with pytest.raises(InputError, match=told):
        learn_one(learner, outcome)
    assert len(learner) == 0


def test_bad_values_are_refused_as_by_update():
    learner = aqe_core.open_learner("numpy")
    with pytest.raises(NonFiniteError):
        learn_one(learner, {**OUTCOME, "reward": float("nan")})


def test_a_workspace_learner_takes_a_stream(tmp_path):
    with aqe_core.open(tmp_path) as ws:
        learner = ws.learner("suite")
        assert learner.learn_one({**OUTCOME, "state": {"coverage": 0.5}}) is learner
        assert learner.pending == 1
        assert learner.value(mapping_key({"coverage": 0.5}), "run") != 0.0
