"""Single updates wait to be learned together; whoever asks, whenever, finds them learned."""

from __future__ import annotations

import json

import numpy as np
import pytest
from aqe_backend_numpy import _numbering, _tabular, _td
from aqe_backend_numpy.learner import make_learner
from hypothesis import given, settings
from hypothesis import strategies as st

from aqe_core.errors import AqeError

ALGORITHMS = ("q-learning", "sarsa", "expected-sarsa")
KEYS = st.sampled_from(["a", "b", "c", 1, 2])
UPDATES = st.tuples(
    KEYS, KEYS, st.sampled_from([0.0, 1.0, -2.5, 3]), KEYS, st.booleans(), st.one_of(st.none(), st.none(), KEYS)
)
STEPS = st.one_of(UPDATES, UPDATES, UPDATES, st.sampled_from(["value", "visits", "act", "slower", "batch", "refused"]))


def interrupted(*_):
    raise KeyboardInterrupt


def frozen(learner):
    state = learner.export_state()
    return json.dumps(state.manifest), {name: array.tobytes() for name, array in state.arrays.items()}


def do(learner, step):
    """Do a step; return what was answered."""
    if isinstance(step, tuple):
        return learner.update(*step)
    if step == "value":
        return learner.value("a", "b")
    if step == "visits":
        return learner.visits("a", 1), len(learner), learner.steps
    if step == "act":
        return learner.act("a", ["b", "c", 1]), learner.probabilities("b", ["a", 2]).tolist()
    if step == "slower":
        return learner.set_params(learning_rate=learner.get_params()["learning_rate"] / 2)
    if step == "batch":
        return learner.update_batch(["a", 2], ["b", 1], [1.0, 2.0], ["b", "a"])
    with pytest.raises(AqeError):
        learner.update("a", "b", float("nan"), "c")
    with pytest.raises(AqeError):
        learner.update("a", None, 1.0, "c")
    return None


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("few", [0, 3])
@given(steps=st.lists(STEPS, max_size=60), full=st.sampled_from([1, 5, 1000]))
@settings(max_examples=60, deadline=None)
def test_waiting_changes_no_answer(algorithm, few, steps, full):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tabular, "FEW", few)
        patch.setattr(_tabular, "FULL", full * _tabular.WIDTH)
        waiting, prompt = (make_learner(algorithm=algorithm, seed=3) for _ in range(2))
        for step in steps:
            assert do(waiting, step) == do(prompt, step)
            frozen(prompt)  # asks for everything, so that nothing waits
        assert frozen(waiting) == frozen(prompt)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_waits_is_bounded(algorithm):
    learner = make_learner(algorithm=algorithm)
    for number in range(2 * _tabular.FULL // _tabular.WIDTH + 7):
        learner.update(f"s{number % 50}", "a", 1.0, "s0")
        assert len(learner._waiting) < _tabular.FULL
    assert learner.steps == 2 * _tabular.FULL // _tabular.WIDTH + 7


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_state_read_in_forgets_what_waits(algorithm):
    learner, empty = make_learner(algorithm=algorithm), make_learner(algorithm=algorithm)
    learner.update("s", "a", 1.0, "t")
    learner.import_state(empty.export_state())
    assert len(learner) == learner.steps == 0


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("n_states", [40, 3000])
def test_waves_that_leave_some_for_later_end_as_one_by_one(algorithm, n_states, monkeypatch):
    rng = np.random.default_rng(5)
    together, alone = (make_learner(algorithm=algorithm, seed=3) for _ in range(2))
    for part in range(6):
        states, after = rng.integers(0, n_states, (2, 1500))
        actions, following = rng.integers(0, 4 * part + 1, (2, 1500))  # a wider table every time
        rewards, dones = rng.normal(size=1500), rng.random(1500) < 0.1
        chosen = following if part % 2 else None
        together.update_batch(states, actions, rewards, after, dones, chosen)
        with monkeypatch.context() as patch:
            patch.setattr(_td, "SMALL", 1 << 30)
            alone.update_batch(states, actions, rewards, after, dones, chosen)
            len(alone)
    assert frozen(together) == frozen(alone)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_chains_of_a_batch_that_repeats_are_done_apart_and_as_one_by_one(algorithm, monkeypatch):
    rng = np.random.default_rng(5)
    states, after = rng.integers(0, 4000, (2, 2048))
    columns = [states, rng.integers(0, 4, 2048), rng.normal(size=2048), after]
    apart = []
    inner = _td.Updater._in_turn
    together, alone = (make_learner(algorithm=algorithm, seed=3) for _ in range(2))
    with monkeypatch.context() as patch:
        patch.setattr(_td.Updater, "_in_turn", lambda self, n: (apart.append(n), inner(self, n)))
        for _ in range(40):
            together.update_batch(*columns)
    assert apart
    assert max(apart) < _td.SMALL
    assert min(apart) >= _td.CHAINED
    with monkeypatch.context() as patch:
        patch.setattr(_td, "SMALL", 1 << 30)
        for _ in range(40):
            alone.update_batch(*columns)
        len(alone)
    assert frozen(together) == frozen(alone)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_interrupted_wave_leaves_no_marks_in_the_table(algorithm, monkeypatch):
    rng = np.random.default_rng(5)
    columns = [rng.integers(0, n, 3000) for n in (500, 5)] + [rng.normal(size=3000), rng.integers(0, 500, 3000)]
    learner = make_learner(algorithm=algorithm)
    learner.update_batch(*columns)
    before = learner.export_state().arrays["values"]
    inner = _td.Updater._wait

    def interrupted(self, *args):
        inner(self, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_td.Updater, "_wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            learner.update_batch(*columns)
    assert learner.export_state().arrays["values"].tobytes() == before.tobytes()


def test_what_waits_is_forgotten_where_moving_it_is_interrupted():
    class Stubborn(np.ndarray):
        def __setitem__(self, *_):
            raise KeyboardInterrupt

    rng = np.random.default_rng(5)
    columns = [rng.integers(0, n, 700) for n in (500, 5)] + [rng.normal(size=700), rng.integers(0, 500, 700)]
    learner, other = make_learner(), make_learner()
    learner.update_batch(*columns)
    whole = learner._updater._columns
    learner._updater._columns = (*whole[:2], whole[2].view(Stubborn), whole[3])
    with pytest.raises(KeyboardInterrupt):
        learner.update_batch(*columns)
    learner._updater._columns = whole
    learner.update(1, 1, 1.0, 2)
    other.update(1, 1, 1.0, 2)
    assert learner.value(1, 1) == other.value(1, 1)


def test_a_key_numbered_before_an_interruption_keeps_its_number(monkeypatch):
    learner = make_learner()
    keys, actions, rewards = np.array([3, 1, 2]), np.zeros(3, np.int64), np.ones(3)
    learner.update_batch([8], [0], [0.0], [9])
    with monkeypatch.context() as patch:
        patch.setattr(_numbering, "packed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            learner.update_batch(keys, actions, rewards, keys)
    learner.update(1, 0, 1.0, 4, True)
    assert learner.value(1, 0) == 0.1
    learner.update_batch(keys, actions, rewards, keys, np.ones(3, bool))
    assert [learner.visits(key, 0) for key in (1, 2, 3)] == [2, 1, 1]
    assert learner.value(1, 0) == 0.1 + 0.1 * (1.0 - 0.1)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_batches_smaller_than_a_window_equal_one_long_one(algorithm):
    rng = np.random.default_rng(11)
    columns = [rng.integers(0, n, 9000) for n in (2000, 6)] + [rng.normal(size=9000), rng.integers(0, 2000, 9000)]
    whole, parts = (make_learner(algorithm=algorithm) for _ in range(2))
    whole.update_batch(*columns)
    start = 0
    while start < 9000:
        stop = start + int(rng.integers(1, 700))
        parts.update_batch(*(column[start:stop] for column in columns))
        start = stop
    assert frozen(parts) == frozen(whole)
