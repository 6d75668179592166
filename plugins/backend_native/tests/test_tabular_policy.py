"""The native policies over a table give what the NumPy ones give, bit for bit, and refuse what they refuse."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from aqe_backend_numpy.learner import make_learner as make_numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from aqe_core.contracts import InspectableLearner, LearnerCapabilities
from aqe_core.errors import AqeError, ConfigError, InputError
from aqe_core.state import EngineState, read_state
from aqe_core.testing import LearnerConformance

native = pytest.importorskip("aqe_backend_native.learner", reason="the native extension is not built")
make_native = native.make_learner

ALGORITHMS = ("actor-critic", "ppo")


class TestNativePolicies(LearnerConformance):
    capabilities = LearnerCapabilities(algorithms=ALGORITHMS, checked=True, thread_safe=True, inspectable=True)

    def make(self, **options):
        return make_native(**options)


def frozen(learner):
    """Return all that a learner knows, in a form that compares bit for bit."""
    state = learner.export_state()
    arrays = {name: (str(array.dtype), array.tobytes()) for name, array in state.arrays.items()}
    return state.kind, json.dumps(state.manifest), arrays, len(learner), learner.steps


def through_json(state):
    """Return a state as it comes back from a file."""
    manifest = json.loads(json.dumps(state.manifest))
    return EngineState(kind=state.kind, manifest=manifest, arrays={k: v.copy() for k, v in state.arrays.items()})


def outcome(call, *arguments, **named):
    """Return what a call gave, or how it was refused."""
    try:
        found = call(*arguments, **named)
    except AqeError as error:
        return type(error).__name__, str(error), error.fix
    return "gave", found.tolist() if isinstance(found, np.ndarray) else found


KEYS = [0, 1, 17, -1, 2**23, 2**63 - 1, -(2**63), "", "a", "1", "nul\0", "\ud800", "a longer name", "😀"]
rewards = st.sampled_from([-2.0, -0.0, 0.0, 1.0, 1e290, -1e290]) | st.floats(-1e6, 1e6)


@st.composite
def courses(draw):
    """Draw parameters and a sequence of calls among few keys."""
    keys = draw(st.sampled_from([[0, 1, 2], KEYS]))
    key = st.sampled_from(keys)
    share = st.sampled_from([0.01, 0.5, 1.0])
    parameters = {
        "algorithm": draw(st.sampled_from(ALGORITHMS)),
        "learning_rate": draw(share),
        "value_learning_rate": draw(share),
        "discount": draw(st.sampled_from([0.0, 0.95, 1.0])),
        "epsilon": draw(st.sampled_from([0.0, 0.2])),
        "entropy_coefficient": draw(st.sampled_from([0.0, 0.1])),
        "initial_value": draw(st.sampled_from([0.0, 2.5])),
        "actions": draw(st.sampled_from([None, keys])),
        "seed": draw(st.integers(0, 2**64 - 1)),
    }
    if parameters["algorithm"] == "ppo":
        parameters |= {
            "rollout": draw(st.integers(1, 9)),
            "epochs": draw(st.integers(1, 3)),
            "clip": draw(st.sampled_from([0.0, 0.2, 10.0])),
            "gae_lambda": draw(st.sampled_from([0.0, 0.9])),
            "normalize_advantage": draw(st.booleans()),
        }
    transition = st.tuples(key, key, rewards, key, st.booleans())
    offered = st.lists(key, min_size=1, max_size=5)
    call = st.one_of(
        st.tuples(st.just("update"), transition),
        st.tuples(st.just("update_batch"), st.lists(transition, max_size=30)),
        st.tuples(st.just("act"), st.tuples(key, offered)),
        st.tuples(st.just("probabilities"), st.tuples(key, offered)),
        st.tuples(st.just("value"), st.tuples(key, key)),
        st.tuples(st.just("visits"), st.tuples(key, key)),
        st.tuples(st.just("state_value"), st.tuples(key)),
        st.tuples(st.just("swap"), st.none()),
        st.tuples(st.just("train"), st.none()),
    )
    return parameters, draw(st.lists(call, max_size=15))


def take(learner, name, arguments):
    """Do one call; return what it gave."""
    if name == "update_batch":
        return learner.update_batch(*([row[i] for row in arguments] for i in range(5)))
    if name == "train":
        return learner.train() if learner.algorithm == "ppo" else None
    return outcome(getattr(learner, name), *arguments)


@given(courses())
@settings(deadline=None, max_examples=150)
def test_any_course_is_the_same(course):
    parameters, calls = course
    one, other = make_numpy(**parameters), make_native(**parameters)
    with np.errstate(all="ignore"):  # rewards of 1e290 may go beyond what a float holds, in both alike
        for name, arguments in calls:
            if name == "swap":  # each goes on from what the other wrote
                states = one.export_state(), other.export_state()
                results = [outcome(one.import_state, through_json(states[1]))]
                results.append(outcome(other.import_state, through_json(states[0])))
                assert results[0] == results[1]
            else:
                assert repr(take(one, name, arguments)) == repr(take(other, name, arguments))
    assert frozen(one) == frozen(other)
    assert one.get_params() == other.get_params()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("declared", [True, False])
def test_a_long_run_is_the_same_in_batches_and_one_by_one(algorithm, declared):
    rng = np.random.default_rng(1)
    n = 3000
    columns = rng.integers(0, 20, n), rng.integers(0, 7, n), rng.normal(size=n), rng.integers(0, 25, n)
    ends = rng.random(n) < 0.1
    parameters = {"algorithm": algorithm, "entropy_coefficient": 0.02, "actions": list(range(7)) if declared else None}
    numpy, batch, single = make_numpy(**parameters), make_native(**parameters), make_native(**parameters)
    for learner in (numpy, batch):
        learner.update_batch(*columns, ends)
    for row in zip(*(column.tolist() for column in (*columns, ends)), strict=True):
        single.update(*row)
    assert frozen(numpy) == frozen(batch) == frozen(single)
    offered = [[int(a) for a in rng.integers(0, 7, 4)] for _ in range(500)]
    chosen = [[learner.act(i % 25, actions) for i, actions in enumerate(offered)] for learner in (numpy, batch)]
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_can_be_kept_in_a_file_of_either_backend(algorithm, tmp_path):
    for number, (make, read) in enumerate(((make_native, make_numpy), (make_numpy, make_native))):
        learner = make(algorithm=algorithm, actions=["a", "b"], seed=5)
        for i in range(150):
            learner.update(f"s{i % 4}", learner.act(f"s{i % 4}", ["a", "b"]), float(i % 3), f"s{(i + 1) % 4}")
        learner.save(tmp_path / f"{number}.aqestate")
        other = read(algorithm=algorithm)
        other.import_state(read_state(tmp_path / f"{number}.aqestate"))
        assert frozen(other) == frozen(learner)
        assert isinstance(other, InspectableLearner)


GOOD = {"state": "s", "action": "a", "reward": 1.0, "next_state": "t"}
CHANGES = [
    *({what: key} for what in ("state", "action", "next_state") for key in (None, True, 1.0, b"s", 2**63)),
    *({"reward": reward} for reward in (float("nan"), float("inf"), "1", None, 1e291)),
    *({"done": done} for done in (None, "no", 2, 1)),
    {"state": np.int16(3), "reward": np.float32(0.1), "next_state": "\ud800"},
    {"next_action": b"not looked at"},
    {"action": "undeclared"},
]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("actions", [None, ["a", "b"]])
def test_it_refuses_alike_and_learns_nothing_then(algorithm, actions):
    pair = [make(algorithm=algorithm, actions=actions, seed=3) for make in (make_numpy, make_native)]
    rows = {"states": ["s"] * 3, "actions": ["a", "b", "c"], "rewards": [1.0] * 3, "next_states": ["t"] * 3}
    calls = [lambda learner, change=change: learner.update(**GOOD | change) for change in CHANGES]
    calls += [lambda learner: learner.update_batch(**rows), lambda learner: learner.update_batch([1], ["a"], [], [1])]
    for offer in ([], "ab", None, ["c"], ["a", None]):
        calls += [lambda learner, offer=offer: learner.act("s", offer)]
        calls += [lambda learner, offer=offer: learner.probabilities("s", offer)]
    calls += [lambda learner: learner.value("s", "c"), lambda learner: learner.visits("s", 1.5)]
    calls += [lambda learner: learner.state_value(None), lambda learner: learner.set_params(seed=2)]
    calls += [lambda learner: learner.set_params(epsilon=2.0), lambda learner: learner.set_params(epsilon=0.5)]
    for number, call in enumerate(calls):
        results = [outcome(call, learner) for learner in pair]
        assert results[0] == results[1], number
        assert frozen(pair[0]) == frozen(pair[1]), number


@pytest.mark.parametrize(
    ("algorithm", "parameters"),
    [
        ("actor-critic", {"learning_rate": 0.0}),
        ("actor-critic", {"actions": []}),
        ("actor-critic", {"clip": 0.2}),
        ("ppo", {"epochs": 2.5}),
        ("ppo", {"rollout": True}),
        ("ppo", {"normalize_advantage": 1}),
        ("ppo", {"epoch": 3}),
        ("ppo", {"seed": -1}),
        ("ppo", {"clip": 1, "epochs": np.int64(2)}),
    ],
)
def test_parameters_are_refused_alike(algorithm, parameters):
    results = [
        outcome(lambda make=make: make(algorithm=algorithm, **parameters).get_params())
        for make in (make_numpy, make_native)
    ]
    assert results[0] == results[1]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_state_of_version_1_is_read_and_tells_no_last_updates(algorithm):
    one, other = make_numpy(algorithm=algorithm), make_native(algorithm=algorithm)
    for i in range(5):
        one.update(i % 2, i % 3, 1.0, 0)
    assert one.last_update(1, 0) == 4
    state = one.export_state()
    arrays = {name: array for name, array in state.arrays.items() if name != "last_updates"}
    for learner in (one, other):
        learner.import_state(EngineState(kind=f"learner/{algorithm}/1", manifest=state.manifest, arrays=arrays))
        assert (learner.steps, learner.visits(1, 0), learner.last_update(1, 0)) == (5, 1, 0)
        learner.update(0, 1, 1.0, 1)
        assert (learner.steps, learner.last_update(0, 1)) == (6, 6)
    assert frozen(one) == frozen(other)


def test_a_broken_state_is_refused_and_changes_nothing():
    learner = make_native(algorithm="ppo", rollout=5)
    for i in range(7):
        learner.update(i % 3, i % 2, 1.0, i)
    before, good = frozen(learner), through_json(learner.export_state())
    for changes in (
        {"kind": "learner/actor-critic/1"},
        {"manifest": {**good.manifest, "rollout_next_states": []}},
        {"arrays": {**good.arrays, "rollout_actions": good.arrays["rollout_actions"] + 5}},
        {"arrays": {**good.arrays, "state_values": good.arrays["state_values"][1:]}},
    ):
        with pytest.raises(InputError):
            learner.import_state(
                EngineState(**{"kind": good.kind, "manifest": good.manifest, "arrays": good.arrays} | changes)
            )
        assert frozen(learner) == before


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_threads_lose_no_update(algorithm):
    learner = make_native(algorithm=algorithm)
    rng = np.random.default_rng(1)
    n, threads = 2000, 4
    lesson = rng.integers(0, 50, n), rng.integers(0, 5, n), rng.normal(size=n), rng.integers(0, 50, n)

    def teach():
        for _ in range(4):
            learner.update_batch(*lesson)
            for state in range(50):
                learner.update(state, 1, 0.5, 3)
                learner.act(state, [0, 1])

    workers = [threading.Thread(target=teach) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert learner.steps == threads * 4 * (n + 50)


def test_it_learns_from_a_stream_and_names_what_it_takes():
    learner = make_native(algorithm="actor-critic", learning_rate=1.0, actions=["run", "skip"])
    learner.learn_one({"state": {"coverage": 0.8}, "action": "run", "reward": 1.0, "next_state": "end", "done": True})
    assert learner.value('m1:{"coverage":0.8}', "run") == 0.5
    assert isinstance(learner, native.ActorCritic)
    with pytest.raises(ConfigError, match="clip"):
        make_native(algorithm="ppo", clipp=0.1)
