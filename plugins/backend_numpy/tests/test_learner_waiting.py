"""Single updates wait to be learned together; whoever asks, whenever, finds them learned."""

from __future__ import annotations

import json

import pytest
from aqe_backend_numpy import _tabular
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
