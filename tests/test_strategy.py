"""Strategies: the best action is found, confidence is honest, what was learned stays, and all of it can be off."""

from __future__ import annotations

import math

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aqe_core
from aqe_core import strategy
from aqe_core.encoding import Encoding, Number, ancestor_state_key, mapping_key
from aqe_core.errors import CapabilityError, ConfigError, InputError, InvalidActionError, NonFiniteError, ReadOnlyError

ACTIONS = ["retry", "bisect", "skip"]


@pytest.fixture
def ws(tmp_path, monkeypatch):
    monkeypatch.delenv("AQE_NO_LEARNING", raising=False)
    with aqe_core.open(tmp_path) as opened:
        yield opened


def test_nothing_is_known_at_first(ws):
    found = ws.strategies.recommend({"kind": "flaky"}, ACTIONS)
    assert (found.action, found.value, found.visits, found.explored) == ("retry", 0.0, 0, False)
    assert found.confidence == pytest.approx(1 / 3)
    assert [each.action for each in found.alternatives] == ["bisect", "skip"]
    assert "new" in found.reasoning
    assert "not tried" in found.reasoning
    assert ws.strategies.recommend("x", ["only"]).confidence == 1.0


def test_the_best_action_of_each_situation_is_found(ws):
    random = np.random.default_rng(0)
    pays = {"flaky": [0.9, 0.3, 0.5], "broken": [0.1, 0.8, 0.4]}
    chosen = []
    for step in range(400):
        kind = ["flaky", "broken"][step % 2]
        found = ws.strategies.recommend({"kind": kind}, ACTIONS, explore=True)
        won = random.random() < pays[kind][ACTIONS.index(found.action)]
        ws.strategies.learn(found, reward=float(won))
        chosen.append(pays[kind][ACTIONS.index(found.action)] == max(pays[kind]))
    assert np.mean(chosen[-100:]) > 0.85
    for kind, best in (("flaky", "retry"), ("broken", "bisect")):
        found = ws.strategies.recommend({"kind": kind}, ACTIONS)
        assert found.action == best
        assert found.confidence > 0.9
        assert found.value == pytest.approx(max(pays[kind]), abs=0.2)
        assert found.visits > 50
        assert f"by {found.visits} outcomes" in found.reasoning
        assert found.value > found.alternatives[0].value


def test_rewards_that_change_are_followed(ws):
    for best in (0, 1):
        for _ in range(60):
            for number, action in enumerate(ACTIONS[:2]):
                ws.strategies.learn("s", action, reward=float(number == best))
        assert ws.strategies.recommend("s", ACTIONS[:2]).action == ACTIONS[best]


def test_an_unseen_situation_is_answered_from_all_and_less_surely(ws):
    for number in range(40):
        for action, reward in (("retry", 0.2), ("bisect", 1.0)):
            ws.strategies.learn(f"s{number % 4}", action, reward=reward + 0.1 * (number % 3))
    known = ws.strategies.recommend("s0", ACTIONS[:2])
    new = ws.strategies.recommend("elsewhere", ACTIONS[:2])
    assert known.action == new.action == "bisect"
    assert new.visits == 0
    assert new.value == pytest.approx(1.1, abs=0.1)
    assert 0.5 < new.confidence < known.confidence < 1
    assert "This situation is new; over all situations 'bisect' is worth about" in new.reasoning
    ws.strategies.learn("elsewhere", "retry", reward=0.1)
    assert "was not tried here yet" in ws.strategies.recommend("elsewhere", ACTIONS[:2]).reasoning


def test_it_tells_how_old_the_last_outcome_is(ws):
    def ages():
        found = ws.strategies.recommend("s", ["a", "b", "c"])
        return {each.action: each.age for each in (found, *found.alternatives)}, found.reasoning

    assert ages()[0] == {"a": None, "b": None, "c": None}
    ws.strategies.learn("s", "a", reward=1.0)
    assert ages()[0] == {"a": 0, "b": None, "c": None}
    assert "by 1 outcome. " in ages()[1]
    ws.strategies.learn("s", "b", reward=0.0, next_situation="elsewhere")
    ws.strategies.learn("elsewhere", "a", reward=0.5)
    assert ages()[0] == {"a": 2, "b": 1, "c": None}
    assert "by 1 outcome, the last of them 2 outcomes ago. " in ages()[1]


def test_what_follows_counts_discounted(ws):
    for _ in range(200):
        ws.strategies.learn("end", "go", reward=1.0)
        ws.strategies.learn("start", "go", reward=0.5, next_situation="end")
    assert ws.strategies.recommend("start", ["go"]).value == pytest.approx(0.5 + 0.95, abs=0.05)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60))
def test_rows_are_exact_weighted_moments(tmp_path_factory, rewards):
    with aqe_core.open(tmp_path_factory.mktemp("ws")) as ws:
        for reward in rewards:
            ws.strategies.learn("s", "a", reward=reward)
        row = ws.strategies._row("s", "a")
    weights = 0.95 ** np.arange(len(rewards))[::-1]
    mean = np.average(rewards, weights=weights)
    variance = np.average((np.array(rewards) - mean) ** 2, weights=weights)
    assert row.visits == len(rewards)
    assert row.mean == pytest.approx(mean, rel=1e-9, abs=1e-9)
    assert row.variance == pytest.approx(variance, rel=1e-6, abs=1e-6)
    assert row.worth == pytest.approx(weights.sum() ** 2 / (weights**2).sum())


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_confidence_does_not_depend_on_the_unit(tmp_path, scale):
    with aqe_core.open(tmp_path) as ws:
        for number in range(9):
            ws.strategies.learn("s", ACTIONS[number % 3], reward=scale * [1.0, 2.0, 1.5, 0.5][number % 4])
        found = ws.strategies.recommend("s", ACTIONS)
    with aqe_core.open(tmp_path, namespace="plain") as ws:
        for number in range(9):
            ws.strategies.learn("s", ACTIONS[number % 3], reward=[1.0, 2.0, 1.5, 0.5][number % 4])
        plain = ws.strategies.recommend("s", ACTIONS)
    assert found.confidence == pytest.approx(plain.confidence, abs=0.002)


def test_the_probability_to_be_the_best():
    def shares(*of):
        return strategy._best_shares([strategy._Belief(mean, scale**2, 1e6, 1.0) for mean, scale in of])

    assert shares((0, 0), (0, 0)).tolist() == [0.5, 0.5]
    two = shares((1.0, 1.0), (0.0, 1.0))
    assert two[0] == pytest.approx(0.5 * (1 + math.erf(0.5)), abs=0.02)  # the difference is N(1, 2)
    assert shares((0, 1), (0, 1), (0, 1)) == pytest.approx([1 / 3] * 3, abs=0.02)
    assert 0.999 < shares((9.0, 0.1), (0.0, 0.1))[0] < 1


def test_confidence_is_calibrated_on_simulated_bandits(tmp_path, monkeypatch):
    """Of the recommendations that claim p, at least about p are right, and not many more."""
    monkeypatch.setattr(strategy, "_DRAWS", 256)
    random = np.random.default_rng(7)
    said, right = [], []
    with aqe_core.open(tmp_path) as ws:
        ws.strategies._values()
        for _ in range(150):
            # A namespace of its own would cost a file each: a fresh learner in memory has nothing of other bandits.
            ws.strategies._learner.engine.import_state(aqe_core.open_learner(learning_rate=0.05).export_state())
            count = int(random.integers(2, 5))
            means, noise = random.normal(size=count), float(random.choice([0.5, 1.0, 2.0]))
            for _ in range(int(random.integers(5, 40))):
                arm = int(random.integers(count))
                ws.strategies.learn("s", str(arm), reward=random.normal(means[arm], noise))
            found = ws.strategies.recommend("s", [str(arm) for arm in range(count)])
            said.append(found.confidence)
            right.append(int(found.action) == means.argmax())
    said, right = np.array(said), np.array(right)
    assert abs(said.mean() - right.mean()) < 0.08  # two standard errors
    sure = said > 0.85
    assert sure.sum() > 20
    assert right[sure].mean() > 0.85
    assert right[sure].mean() > right[said < 0.6].mean()


def test_learned_things_stay(tmp_path):
    with aqe_core.open(tmp_path) as ws:
        for number in range(30):
            ws.strategies.learn({"a": 1}, ACTIONS[number % 3], reward=float(number % 3))
        before = ws.strategies.recommend({"a": 1}, ACTIONS)
    with aqe_core.open(tmp_path, read_only=True) as ws:
        assert ws.strategies.recommend({"a": 1.0}, ACTIONS) == before
        with pytest.raises(ReadOnlyError):
            ws.strategies.learn("s", "a", reward=1.0)
    assert before.action == "skip"


def test_exploration_says_so_and_is_drawn_by_probability(ws):
    for _ in range(3):
        ws.strategies.learn("s", "retry", reward=1.0)
        ws.strategies.learn("s", "bisect", reward=0.8)
    found = [ws.strategies.recommend("s", ACTIONS[:2], explore=True) for _ in range(400)]
    explored = [each for each in found if each.explored]
    greedy = ws.strategies.recommend("s", ACTIONS[:2])
    assert {each.action for each in explored} == {"bisect"}
    assert len(explored) / 400 == pytest.approx(1 - greedy.confidence, abs=0.08)
    assert "drawn to learn more; 'retry' has the highest value" in explored[0].reasoning
    assert explored[0].alternatives[0].action == "retry"
    assert not greedy.explored


@pytest.mark.parametrize("how", ["file", "environment"])
def test_it_can_be_switched_off(tmp_path, monkeypatch, how):
    with aqe_core.open(tmp_path) as ws:
        ws.strategies.learn("s", "bisect", reward=1.0)
        assert ws.strategies.enabled
    if how == "file":
        (tmp_path / "aqe.toml").write_text("[learning]\nenabled = false\n")
    else:
        monkeypatch.setenv("AQE_NO_LEARNING", "1")
    with aqe_core.open(tmp_path) as ws:
        found = ws.strategies.recommend("s", ACTIONS)
        ws.strategies.learn(found, reward=9.0)
        ws.strategies.learn("s", "skip", reward=9.0)
        assert (found.action, found.confidence, found.alternatives) == ("retry", 0.0, ())
        assert "switched off" in found.reasoning
    (tmp_path / "aqe.toml").unlink(missing_ok=True)
    monkeypatch.delenv("AQE_NO_LEARNING", raising=False)
    with aqe_core.open(tmp_path) as ws:
        again = ws.strategies.recommend("s", ACTIONS)
        assert again.action == "bisect"
        assert {each.visits for each in again.alternatives} == {0}


def test_keys_of_mappings(ws):
    assert mapping_key({"b": 1.0, "a": True, "c": None}) == mapping_key({"c": None, "a": True, "b": 1})
    assert mapping_key({"a": 0.811}) == mapping_key({"a": 0.809}) != mapping_key({"a": 0.83})
    assert mapping_key({"a": 1}) != mapping_key({"a": True})
    coarse = ws.strategies.keyed_by(Encoding(Number(name="coverage", high=100.0, bins=2)).key)
    assert coarse.recommend({"coverage": 90}, ["a"]).situation == "k1:coverage=1"
    coarse.learn({"coverage": 90}, "a", reward=1.0)
    assert ws.strategies.recommend("k1:coverage=1", ["a"]).visits == 1
    with pytest.raises(InputError, match="no key"):
        ws.strategies.keyed_by(ancestor_state_key).recommend({"taskComplexity": 1}, ["a"])


@pytest.mark.parametrize(
    "state",
    [{}, {1: "a"}, {"a": [1]}, {"a": b"x"}, {"a": float("nan")}, {"a": 1j}, {"a": np.arange(3)}, {"a": "x" * 5000}, "",
     7, None, "x" * 5000, {"a": 10**400}],
)  # fmt: skip
def test_bad_situations(ws, state):
    with pytest.raises(InputError):
        ws.strategies.recommend(state, ACTIONS)
    with pytest.raises(InputError):
        ws.strategies.learn("s", "a", reward=1.0, next_situation=state if state is not None else 5)
    assert ws.strategies.recommend("s", ["a"]).visits == 0


@pytest.mark.parametrize("actions", [[], "retry", None, ["a", "a"], [1], [""], {"a": 1}, ["x"] * 1001, ["x" * 5000]])
def test_bad_actions(ws, actions):
    with pytest.raises(InvalidActionError):
        ws.strategies.recommend("s", actions)
    with pytest.raises(InvalidActionError):
        ws.strategies.learn("s", actions if actions != "retry" else None, reward=1.0)


@pytest.mark.parametrize(
    ("reward", "error"),
    [(math.nan, NonFiniteError), (-math.inf, NonFiniteError), ("1", InputError), (1e101, InputError)],
)
def test_bad_rewards_change_nothing(ws, reward, error):
    ws.strategies.learn("s", "a", reward=1.0)
    with pytest.raises(error):
        ws.strategies.learn("s", "a", reward=reward)
    assert ws.strategies.recommend("s", ["a"]).visits == 1


def test_a_learner_that_cannot_serve(tmp_path):
    (tmp_path / "aqe.toml").write_text('[learner.options]\nalgorithm = "actor-critic"\n')
    with aqe_core.open(tmp_path) as ws, pytest.raises(ConfigError, match="actor-critic"):
        ws.strategies.recommend("s", ACTIONS)
    (tmp_path / "aqe.toml").write_text('[learner]\nbackend = "file:dicts.py:Plain"\n')
    (tmp_path / "dicts.py").write_text("from aqe_core.testing.backend_learner import DictLearner as Plain\n")
    with aqe_core.open(tmp_path, namespace="b") as ws, pytest.raises(CapabilityError, match="visits"):
        ws.strategies.recommend("s", ACTIONS)


def test_recommendations_are_plain_values(ws):
    found = attrs.asdict(ws.strategies.recommend("s", ACTIONS))
    assert set(found) == {
        "action", "confidence", "value", "visits", "age", "alternatives", "reasoning", "explored", "situation",
    }  # fmt: skip
    assert type(found["confidence"]) is float
