"""A batch teaches exactly what the same updates teach one at a time, and both what the formula says."""

from __future__ import annotations

import json
import random
from collections import deque

import numpy as np
import pytest
from aqe_backend_numpy import _qtable, _tabular, _td
from aqe_backend_numpy.learner import make_learner
from hypothesis import given, settings
from hypothesis import strategies as st

ALGORITHMS = ("q-learning", "sarsa")


def frozen(learner):
    """Return all that a learner knows, in a form that compares bit for bit."""
    state = learner.export_state()
    arrays = {name: (str(array.dtype), array.tobytes()) for name, array in state.arrays.items()}
    assert len(learner) == state.arrays["values"].size
    return state.kind, json.dumps(state.manifest), arrays


class Formula:
    """Q-learning and SARSA as the books have them, over a dict; sums in the order in which actions were first seen."""

    def __init__(self, *, algorithm, learning_rate, discount, epsilon, initial_value, actions):
        self.values, self.seen = {}, list(actions or ())
        self.algorithm, self.rate, self.discount = algorithm, learning_rate, discount
        self.epsilon, self.initial, self.actions = epsilon, initial_value, actions

    def worth(self, state):
        tried = [self.values[state, action] for action in self.seen if (state, action) in self.values]
        untried = len(self.actions) - len(tried) if self.actions else 0
        if not tried:
            return self.initial
        best = max(tried + [self.initial] * (untried > 0))
        if self.algorithm == "q-learning":
            return best
        total = 0.0
        for value in tried:
            total += value
        mean = (total + untried * self.initial) / (len(tried) + untried)
        return (1.0 - self.epsilon) * best + self.epsilon * mean

    def update(self, state, action, reward, next_state, done, next_action):
        if action not in self.seen:
            self.seen.append(action)
        worth = 0.0
        if not done and next_action is not None and self.algorithm == "sarsa":
            worth = self.values.get((next_state, next_action), self.initial)
        elif not done:
            worth = self.worth(next_state)
        old = self.values.get((state, action), self.initial)
        self.values[state, action] = old + self.rate * (reward + self.discount * worth - old)


def columns(transitions, *, arrays):
    """Return the arguments of update_batch."""
    states, actions, rewards, next_states, dones, next_actions = map(list, zip(*transitions, strict=True))
    given_next = None if next_actions[0] is None else next_actions
    if arrays:
        states, actions, next_states = (np.array(each) for each in (states, actions, next_states))
        given_next = None if given_next is None else np.array(given_next)
    return states, actions, np.array(rewards), next_states, np.array(dones), given_next


def compare(parameters, parts, *, arrays):
    """Teach in batches, one at a time and by the formula, and compare bit for bit after each part."""
    batches, singles, formula = make_learner(**parameters), make_learner(**parameters), Formula(**parameters)
    for part in parts:
        batches.update_batch(*columns(part, arrays=arrays))
        for transition in part:
            singles.update(*transition)
            formula.update(*transition)
        assert frozen(batches) == frozen(singles)
        assert all(singles.value(*pair) == value for pair, value in formula.values.items())
        assert len(singles) == len(formula.values)
    assert batches.steps == sum(map(len, parts))


rewards = st.sampled_from([-2.0, -1.0, -0.0, 0.0, 1.0]) | st.floats(-1e6, 1e6)


@st.composite
def lessons(draw):
    """Draw parameters, the form of keys, and batches full of conflicts."""
    n_states, n_actions = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 3, 18]))
    form = draw(st.sampled_from(["int", "wide", "str", "mixed"]))
    shape = {
        "int": lambda number: number,
        "wide": lambda number: (number - 2) * 2**40,
        "str": lambda number: f"key {number}",
        "mixed": lambda number: number if number % 2 else str(number),
    }[form]
    states = st.integers(0, n_states).map(shape)
    actions = st.integers(0, n_actions - 1).map(shape)
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        next_actions = actions if draw(st.booleans()) else st.none()
        transition = st.tuples(states, actions, rewards, states, st.booleans(), next_actions)
        parts.append(draw(st.lists(transition, min_size=1, max_size=60)))
    parameters = {
        "algorithm": draw(st.sampled_from(ALGORITHMS)),
        "learning_rate": draw(st.sampled_from([0.1, 0.5, 1.0])),
        "discount": draw(st.sampled_from([0.0, 0.95, 1.0])),
        "epsilon": draw(st.sampled_from([0.0, 0.1, 1.0])),
        "initial_value": draw(st.sampled_from([0.0, 2.5, -1.0])),
        "actions": draw(st.sampled_from([None, [shape(number) for number in range(n_actions)]])),
    }
    return parameters, parts, form in ("int", "wide") and draw(st.booleans())


@given(lessons(), st.sampled_from([0, _qtable.PAYS]))
@settings(deadline=None)
def test_small_batches_equal_singles(lesson, pays):
    parameters, parts, arrays = lesson
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_qtable, "PAYS", pays)
        compare(parameters, parts, arrays=arrays)


@given(lessons())
@settings(deadline=None)
def test_small_batches_in_waves_equal_singles(lesson):
    # The same with waves of any size, marks that many share, a clock that runs out, and updates that wait from one
    # slice of a batch to the next.
    parameters, parts, arrays = lesson
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tabular, "MAX_BATCH", 7)
        patch.setattr(_qtable, "MAX_LOGGED", 20)
        for constant, value in {"SMALL": 1, "MIN_WINDOW": 4, "MASK": 3, "MAX_CLOCK": 20, "CHAINED": 1}.items():
            patch.setattr(_td, constant, value)
        compare(parameters, parts, arrays=arrays)


def stream(rng, n, *, states, actions, given_next):
    return [
        (
            rng.randrange(states),
            rng.randrange(actions),
            rng.choice([-1.0, 0.0, rng.gauss(-0.2, 1.0)]),
            rng.randrange(states + 2),
            rng.random() < 0.1,
            rng.randrange(actions) if given_next else None,
        )
        for _ in range(n)
    ]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(("states", "actions"), [(2, 3), (60, 10), (150, 40), (1000, 10), (4000, 17)])
def test_large_batches_equal_singles(algorithm, declared, states, actions):
    rng = random.Random(states)
    parameters = {
        "algorithm": algorithm,
        "learning_rate": 0.3,
        "discount": 0.9,
        "epsilon": 0.2,
        "initial_value": 0.1,
        "actions": list(range(actions)) if declared else None,
    }
    parts = [
        stream(rng, n, states=states, actions=actions, given_next=given_next)
        for n, given_next in ((3000, False), (100, True), (6000, True), (6000, False))
    ]
    compare(parameters, parts, arrays=True)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_slices_are_learned_as_one(algorithm, monkeypatch):
    whole = columns(stream(random.Random(5), 5000, states=300, actions=5, given_next=False), arrays=True)
    expected, learner = make_learner(algorithm=algorithm), make_learner(algorithm=algorithm)
    expected.update_batch(*whole)
    monkeypatch.setattr(_tabular, "MAX_BATCH", 900)
    learner.update_batch(*whole)
    assert frozen(learner) == frozen(expected)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_any_division_into_batches_is_the_same(algorithm):
    whole = columns(stream(random.Random(7), 5000, states=300, actions=5, given_next=False), arrays=True)
    expected = make_learner(algorithm=algorithm)
    expected.update_batch(*whole)
    for size in (1, 63, 700, 4096):
        learner = make_learner(algorithm=algorithm)
        for start in range(0, 5000, size):
            learner.update_batch(*(each if each is None else each[start : start + size] for each in whole))
        assert frozen(learner) == frozen(expected)


def test_the_clock_of_the_marks_can_run_out():
    lesson = columns(stream(random.Random(3), 5000, states=300, actions=5, given_next=False), arrays=True)
    learner, other = make_learner(), make_learner()
    learner._updater._clock = -(2**31) + 1000
    for each in (learner, other):
        each.update_batch(*lesson)
    assert frozen(learner) == frozen(other)


def test_one_state_rising_and_falling_often_in_one_wave():
    n = 2000
    for order in (np.arange(n), np.arange(n)[::-1], np.random.default_rng(1).permutation(n)):
        learner = make_learner(learning_rate=1.0, discount=1.0)
        zeros, ends = np.zeros(n, int), np.ones(n, bool)
        learner.update_batch(zeros, np.arange(n), order * 1.0, zeros, ends)
        learner.update("s", "a", 0.0, 0)
        assert learner.value("s", "a") == n - 1.0
        learner.update_batch(zeros, np.arange(n), order * -1.0 - 5.0, zeros, ends)
        learner.update("s", "a", 0.0, 0)
        assert learner.value("s", "a") == -5.0


def test_every_form_of_the_same_columns_is_the_same():
    states, actions, gains = [3, 1, 3, 2], [0, 1, 0, 1], [1.0, 2.0, -1.0, 0.5]
    wide = np.repeat(np.array([states, actions]), 2, axis=1)
    wide.flags.writeable = False
    forms = [
        (states, actions, gains, states),
        (tuple(states), tuple(actions), gains, deque(states)),
        (np.array(states, np.int8), np.array(actions, np.uint64), np.array(gains, np.float32), np.array(states)),
        (wide[0, ::2], wide[1, ::2], gains, wide[0, ::2]),
        (np.array(states, object), np.array(actions, object), gains, [np.int32(state) for state in states]),
    ]
    results = set()
    for form in forms:
        learner = make_learner()
        learner.update_batch(*form)
        results.add(json.dumps(frozen(learner)[1]) + repr(frozen(learner)[2]))
    assert len(results) == 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("actions", [None, [1, 2], ["a"]])
def test_an_empty_batch_teaches_nothing(algorithm, actions):
    learner = make_learner(algorithm=algorithm, actions=actions)
    before = frozen(learner)
    learner.update_batch([], [], [], [])
    learner.update_batch(np.array([]), np.array([], int), np.array([]), (), np.array([], bool), [])
    assert frozen(learner) == before
    learner.update(1, actions[0] if actions else 1, 1.0, 1)
    before = frozen(learner)
    learner.update_batch([], [], [], [], next_actions=[])
    assert frozen(learner) == before


def test_columns_are_left_alone():
    given_columns = columns(stream(random.Random(1), 500, states=9, actions=3, given_next=True), arrays=True)
    copies = [each.copy() for each in given_columns]
    make_learner(algorithm="sarsa").update_batch(*given_columns)
    assert all(np.array_equal(each, copy) for each, copy in zip(given_columns, copies, strict=True))


def test_a_state_met_as_next_state_becomes_known_later():
    # The first batch looks 7 up in vain; once it is a state, a batch must find it.
    learner = make_learner(learning_rate=0.5, discount=1.0)
    learner.update_batch([1], [0], [0.0], [7])
    learner.update(7, 0, 8.0, 7, True)
    learner.update_batch([1], [0], [0.0], [7])
    assert learner.value(1, 0) == 2.0


def test_wide_integers_keep_the_order_of_first_appearance():
    learner = make_learner()
    learner.update_batch([2**50, -3, 2**50, 7], [2**40, -1, -1, 0], [1.0] * 4, [0] * 4)
    manifest = learner.export_state().manifest
    assert manifest["states"] == [2**50, -3, 7]
    assert manifest["actions"] == [2**40, -1, 0]
