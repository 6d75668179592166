"""The native learners give what the NumPy learners give, bit for bit, and refuse what they refuse, as they do."""

from __future__ import annotations

import enum
import inspect
import json
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from aqe_backend_numpy.learner import make_learner as make_numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from aqe_core.contracts import Learner, LearnerCapabilities
from aqe_core.errors import AqeError, CapabilityError, ConfigError, InputError, InvalidActionError
from aqe_core.state import EngineState, read_state
from aqe_core.testing import LearnerConformance

native = pytest.importorskip("aqe_backend_native.learner", reason="the native extension is not built")
make_native = native.make_learner
NativeReplay = pytest.importorskip("aqe_backend_native.replay").NativeReplay

ALGORITHMS = ("q-learning", "sarsa")  # those that the NumPy backend has had from the start


class TestNativeLearner(LearnerConformance):
    capabilities = LearnerCapabilities(
        algorithms=(*ALGORITHMS, "expected-sarsa"), replay=True, checked=True, thread_safe=True, inspectable=True
    )

    def make(self, **options):
        return NativeReplay(**options) if "capacity" in options else make_native(**options)


def frozen(learner):
    """Return all that a learner knows, in a form that compares bit for bit."""
    state = learner.export_state()
    arrays = {name: (str(array.dtype), array.tobytes()) for name, array in state.arrays.items()}
    return state.kind, json.dumps(state.manifest), arrays, len(learner), learner.steps


def through_json(state):
    """Return a state as it comes back from a file."""
    manifest = json.loads(json.dumps(state.manifest))
    return EngineState(kind=state.kind, manifest=manifest, arrays={k: v.copy() for k, v in state.arrays.items()})


class Color(str, enum.Enum):  # noqa: UP042  # the kind whose str() is not its value
    RED = "red"


def outcome(call, *arguments, **named):
    """Return what a call gave, or how it was refused."""
    try:
        return "gave", call(*arguments, **named)
    except AqeError as error:
        return type(error).__name__, str(error), error.fix


# -- a call's arguments ----------------------------------------------------------------------------------------------

CALLS = [
    ((1, 2, 3.0, 4), {}),
    ((1, 2, 3.0, 4, True), {}),
    ((1, 2, 3.0, 4, False, 2), {}),
    ((1, 2, 3.0, 4, False, None), {}),
    ((1, 2, 3.0, 4), {"done": True}),
    ((1, 2, 3.0, 4), {"next_action": 2}),
    ((1, 2, 3.0, 4, False), {"next_action": 2}),
    ((1, 2, 3.0), {"next_state": 4, "done": True}),
    ((1, 2, 3.0), {"done": True, "next_state": 4}),
    ((), {"state": "a", "action": "b", "reward": 1, "next_state": "c"}),
    ((), {"reward": 1, "next_state": "c", "action": "b", "state": "a", "next_action": "b", "done": np.False_}),
]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("values", "named"), CALLS)
def test_arguments_come_by_position_or_name_in_any_order(algorithm, values, named):
    ours, theirs = make_native(algorithm=algorithm), make_numpy(algorithm=algorithm)
    recorded = make_native(algorithm=algorithm)
    recorder = recorded.recorder()
    for n in (1, 2):
        assert ours.update(*values, **named) is None
        theirs.update(*values, **named)
        assert recorder.update(*values, **named) == n
    assert frozen(ours) == frozen(theirs) == frozen(recorded)


@pytest.mark.parametrize(
    ("values", "named", "told"),
    [
        ((), {}, "missing 4 required positional arguments"),
        ((1, 2, 3.0), {}, "missing 1 required positional argument: 'next_state'"),
        ((1, 2, 3.0, 4, False, None, 5), {}, "from 4 to 6 positional arguments"),
        ((1, 2, 3.0, 4), {"over": True}, "unexpected keyword argument 'over'"),
        ((1, 2, 3.0, 4, True), {"done": True}, "multiple values for argument 'done'"),
        ((1, 2, 3.0), {"state": 4}, "multiple values for argument 'state'"),
    ],
)
def test_a_call_that_does_not_fit_is_refused(values, named, told):
    learner = make_native()
    for update in (learner.update, learner.recorder().update):
        with pytest.raises(TypeError, match=told):
            update(*values, **named)
    assert learner.steps == 0


def test_update_is_a_method_like_any_other():
    learner = make_native()
    native.QLearning.update(learner, 1, 2, 3.0, 4)
    assert learner.steps == 1
    with pytest.raises(TypeError, match="doesn't apply to a 'int' object"):
        native.QLearning.update(5, 1, 2, 3.0, 4)
    expected = "(state, action, reward, next_state, done=False, next_action=None)"
    assert str(inspect.signature(learner.update)) == expected
    assert learner.update.__doc__.startswith("Learn from one transition")


# -- the same, bit for bit -----------------------------------------------------------------------------------------

KEYS = [0, 1, 15, 16, 17, -1, 2**23 - 1, 2**23, 2**63 - 1, -(2**63), "", "a", "1", "0", "nul\0", "nul", "ä" * 3]
KEYS += ["\ud800", "a longer name of a state", "a longer name of a state?", "😀"]
rewards = st.sampled_from([-2.0, -1.0, -0.0, 0.0, 1.0, 1e290, -1e290]) | st.floats(-1e6, 1e6)


def operations(keys, actions):
    """Return a strategy of calls of a learner."""
    transition = st.tuples(keys, actions, rewards, keys, st.booleans())
    return st.one_of(
        st.tuples(st.just("update"), transition, st.none() | actions),
        st.tuples(st.just("batch"), st.lists(st.tuples(transition, actions), max_size=40), st.booleans()),
        st.tuples(st.just("act"), keys, st.lists(actions, min_size=1, max_size=5), st.booleans()),
        st.tuples(st.just("value"), keys, actions),
        st.tuples(st.just("swap")),
    )


@st.composite
def courses(draw):
    """Draw parameters and a sequence of calls among few or many keys."""
    form = draw(st.sampled_from(["int", "any", "many actions"]))
    if form == "int":
        states, offered = st.integers(0, 5), list(range(4))
    elif form == "any":
        states, offered = st.sampled_from(KEYS), KEYS
    else:
        states, offered = st.integers(-3, 3), list(range(40))
    parameters = {
        "algorithm": draw(st.sampled_from(ALGORITHMS)),
        "learning_rate": draw(st.sampled_from([0.1, 0.5, 1.0])),
        "discount": draw(st.sampled_from([0.0, 0.95, 1.0])),
        "epsilon": draw(st.sampled_from([0.0, 0.1, 1.0])),
        "initial_value": draw(st.sampled_from([0.0, 2.5, -1.0])),
        "actions": draw(st.sampled_from([None, offered])),
        "seed": draw(st.integers(0, 2**64 - 1)),
    }
    return parameters, draw(st.lists(operations(states, st.sampled_from(offered)), max_size=15))


def take(learner, operation):
    """Do one call; return what it gave."""
    name, *arguments = operation
    if name == "update":
        return learner.update(*arguments[0], arguments[1])
    if name == "batch":
        rows, given_next = arguments
        columns = [[row[0][i] for row in rows] for i in range(5)]
        return learner.update_batch(*columns[:4], columns[4], [row[1] for row in rows] if given_next else None)
    if name == "act":
        return learner.act(*arguments[:2], explore=arguments[2])
    return learner.value(*arguments)


@given(courses())
@settings(deadline=None, max_examples=100)
def test_any_course_is_the_same(course):
    parameters, calls = course
    one, other = make_numpy(**parameters), make_native(**parameters)
    for call in calls:
        if call[0] == "swap":  # each goes on from what the other wrote
            states = one.export_state(), other.export_state()
            one.import_state(through_json(states[1]))
            other.import_state(through_json(states[0]))
        else:
            assert take(one, call) == take(other, call)
    assert frozen(one) == frozen(other)
    assert one.get_params() == other.get_params()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("states", "actions"), [(3, 2), (5000, 10), (300, 40)])
@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("given_next", [True, False])
def test_long_batches_are_the_same(algorithm, states, actions, declared, given_next):
    rng = np.random.default_rng(states)
    n = 5000
    parameters = {"algorithm": algorithm, "epsilon": 0.3, "initial_value": 0.25}
    parameters["actions"] = list(range(actions)) if declared else None
    batch, single, numpy = make_native(**parameters), make_native(**parameters), make_numpy(**parameters)
    for _ in range(2):
        columns = (
            rng.integers(0, states, n),
            rng.integers(0, actions, n),
            rng.normal(size=n),
            rng.integers(0, states + 5, n),
            rng.random(n) < 0.1,
            rng.integers(0, actions, n) if given_next else None,
        )
        batch.update_batch(*columns)
        numpy.update_batch(*columns)
        rows = [column.tolist() if column is not None else [None] * n for column in columns]
        for row in zip(*rows, strict=True):
            single.update(*row)
        assert frozen(batch) == frozen(single) == frozen(numpy)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_names_in_batches_are_the_same(algorithm):
    rng = np.random.default_rng(1)
    n = 3000
    names = [f"state {i}" for i in range(40)] + list(range(40))
    actions = [f"action {i}" for i in range(20)]
    columns = (
        [names[i] for i in rng.integers(0, 80, n)],
        [actions[i] for i in rng.integers(0, 20, n)],
        rng.normal(size=n),
        [names[i] for i in rng.integers(0, 80, n)],
        rng.random(n) < 0.1,
    )
    one, other = make_numpy(algorithm=algorithm), make_native(algorithm=algorithm)
    for learner in (one, other):
        learner.update_batch(*columns)
    assert frozen(one) == frozen(other)


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**32, 2**64 - 1])
def test_choices_are_the_same(seed):
    one, other = (make(epsilon=0.5, seed=seed) for make in (make_numpy, make_native))
    for learner in (one, other):
        learner.update("s", "c", 1.0, "s", True)
    offered = ["a", "b", "c", "d"]
    chosen = [[learner.act("s", offered) for _ in range(2000)] for learner in (one, other)]
    assert chosen[0] == chosen[1]
    assert frozen(one) == frozen(other)


def test_visits_count_on_beyond_32_bits():
    one, other = make_numpy(), make_native()
    one.update(1, 2, 1.0, 1)
    state = one.export_state()
    state = EngineState(
        kind=state.kind, manifest=state.manifest, arrays={**state.arrays, "visits": np.array([2**53 - 1])}
    )
    for learner in (one, other):
        learner.import_state(state)
        learner.update(1, 2, 1.0, 1)
    assert frozen(one) == frozen(other)
    assert other.steps == 2**53


@pytest.mark.parametrize("before", [2**32 - 300, 2**32 + 5, 2**40])
@pytest.mark.parametrize("actions", [10, 40])  # a block per state, and several
def test_last_updates_count_on_beyond_32_bits(before, actions):
    rng = np.random.default_rng(before)
    lesson = [rng.integers(0, 30, 700), rng.integers(0, actions, 700), rng.normal(size=700), rng.integers(0, 30, 700)]
    one, other = make_numpy(), make_native()
    one.update_batch(*(column[:200] for column in lesson))
    state = one.export_state()
    visits = state.arrays["visits"].copy()
    visits[3] += before - visits.sum()
    lasts = np.maximum(before - np.arange(visits.size), 0)
    arrays = {**state.arrays, "visits": visits, "last_updates": lasts}
    for learner in (one, other):
        learner.import_state(EngineState(kind=state.kind, manifest=state.manifest, arrays=arrays))
        assert learner.steps == before
        learner.update_batch(*lesson)
        for row in zip(*(column[:40].tolist() for column in lesson), strict=True):
            learner.update(*row)
    assert frozen(one) == frozen(other)
    again = make_native()
    again.import_state(through_json(other.export_state()))
    assert frozen(again) == frozen(other)
    pairs = list(zip(*(column.tolist() for column in lesson[:2]), strict=True))
    asked = [[(learner.visits(*pair), learner.last_update(*pair)) for pair in pairs] for learner in (one, other)]
    assert asked[0] == asked[1]
    assert other.last_update(*pairs[39]) == before + 740


def test_a_state_of_version_1_is_read_and_tells_no_last_updates():
    one, other = make_numpy(), make_native()
    one.update_batch([1, 2, 1], [0, 0, 1], [1.0, 2.0, 3.0], [2, 1, 2])
    state = one.export_state()
    arrays = {name: array for name, array in state.arrays.items() if name != "last_updates"}
    for learner in (one, other):
        learner.import_state(EngineState(kind="learner/q-learning/1", manifest=state.manifest, arrays=arrays))
        assert (learner.steps, learner.visits(1, 1), learner.last_update(1, 1)) == (3, 1, 0)
        learner.update(2, 0, 1.0, 1)
        assert (learner.steps, learner.last_update(2, 0), learner.last_update(1, 1)) == (4, 4, 0)
    assert frozen(one) == frozen(other)


# -- the same refusals -----------------------------------------------------------------------------------------------

NO_KEYS = [None, True, np.False_, 1.0, b"s", ("s",), 2**63, -(2**63) - 1, np.datetime64(1, "s")]
GOOD = {"state": "s", "action": "a", "reward": 1.0, "next_state": "t", "done": False, "next_action": None}
CHANGES = [
    *({what: key} for what in ("state", "action", "next_state", "next_action") for key in NO_KEYS),
    *({"reward": reward} for reward in (float("nan"), float("inf"), "1", None, 1e291, 10**400, 10**290, [1.0], 3)),
    *({"done": done} for done in (None, "no", 2, [], 1, np.True_)),
    {"state": np.int16(3), "action": np.str_("x"), "reward": np.float32(0.1), "next_state": Color.RED},
    {"state": "\ud800", "next_state": "\ud800", "action": "\udfff"},
    {"action": "undeclared"},
    {"next_action": "undeclared"},
    {"state": None, "action": "undeclared"},
]


def pair(algorithm, actions=None):
    """Return a NumPy and a native learner that know a little."""
    learners = [make(algorithm=algorithm, actions=actions, seed=3) for make in (make_numpy, make_native)]
    for learner in learners:
        learner.update("s", "a", 1.0, "t")
        learner.update_batch([1, 2], ["a", 3], [0.5, -0.5], [2, 1])
    return learners


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("actions", [None, ["a", "b", 3, "\udfff", "x"]])
def test_one_update_is_refused_alike(algorithm, actions):
    one, other = pair(algorithm, actions)
    for change in CHANGES:
        results = [outcome(learner.update, **GOOD | change) for learner in (one, other)]
        assert results[0] == results[1], change
        assert frozen(one) == frozen(other), change


BATCH = {"states": [1, 2, 3], "actions": [1, 1, 1], "rewards": [1.0, 2.0, 3.0], "next_states": [2, 3, 9]}
BAD_COLUMNS = [
    *([1, "new", key] for key in NO_KEYS),
    [7, 8, 2**63],
    np.array([7, 8, 2**63], np.uint64),
    np.array([1.0, 2, 3]),
    np.array([True] * 3),
    np.array([b"a"] * 3),
    "abc",
    [7],
    np.array([7, 8]),
    7,
    np.ones((3, 1), int),
    ("x", "y", "\ud800"),
    np.arange(6)[::2],
    np.array(["u", "v", "w"]),
    ["\ud801", "\ud801", 4],
]
ROWS = [
    *({what: column} for what in ("states", "actions", "next_states", "next_actions") for column in BAD_COLUMNS),
    *({"rewards": rewards} for rewards in ([1.0], np.ones((3, 1)), ["a"] * 3, [1, 2, 3], np.arange(6.0)[::2])),
    *({"rewards": np.array([1.0, reward, 1.0])} for reward in (np.nan, np.inf, -1e291)),
    *({"dones": dones} for dones in ([True], np.zeros((3, 1), bool), [0, 1, 2], ["no"] * 3, [0, 1, 1])),
    *({"dones": np.array(dones)} for dones in ([True, False], [True, False, True], [0.0, 1.0, 1.0])),
]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("actions", [None, ["a", 1, 3, "y"]])
def test_a_batch_is_refused_alike(algorithm, actions):
    one, other = pair(algorithm, actions)
    for change in ROWS:
        results = [outcome(learner.update_batch, **BATCH | change) for learner in (one, other)]
        assert results[0] == results[1], change
        assert frozen(one) == frozen(other), change


@pytest.mark.parametrize("actions", [None, ["a", "b"]])
def test_questions_are_refused_alike(actions):
    one, other = pair("q-learning", ["a", "b", 3] if actions else None)
    offers = ["abc", 5, None, ["a", None], [True], [], (), ["undeclared"], np.array(["a", "b"]), ("b", "a"), ["\ud800"]]
    calls = [lambda learner, offer=offer: learner.act("s", offer) for offer in offers]
    calls += [lambda learner, key=key: learner.act(key, ["a"]) for key in NO_KEYS]
    calls += [lambda learner, key=key: learner.value(key, "a") for key in NO_KEYS]
    calls += [lambda learner, key=key: learner.value("s", key) for key in (*NO_KEYS, "undeclared", "\ud800", "a")]
    calls += [lambda learner, explore=explore: learner.act("s", ["a"], explore=explore) for explore in (0, 1, None)]
    for number, call in enumerate(calls):
        results = [outcome(call, learner) for learner in (one, other)]
        assert results[0] == results[1], number
        assert frozen(one) == frozen(other), number


@pytest.mark.parametrize(
    "parameters",
    [
        *({"learning_rate": value} for value in (0.0, 1.1, float("nan"), None, True, np.float32(0.5), 1)),
        *({"seed": value} for value in (None, -1, 2**64, 1.0, True)),
        *({"actions": value} for value in ([], "ab", ["a", "a"], [True], [np.int8(1), "\ud800"])),
    ],
)
def test_parameters_are_refused_alike(parameters):
    results = [outcome(lambda make=make: make(**parameters).get_params()) for make in (make_numpy, make_native)]
    assert results[0] == results[1]


def test_a_broken_state_is_refused_and_changes_nothing():
    _, learner = pair("q-learning")
    before, good = frozen(learner), through_json(learner.export_state())
    for changes in (
        {"kind": "learner/sarsa/1"},
        {"manifest": {**good.manifest, "rng": [3, [0] * 624 + [700], None]}},
        {"manifest": {**good.manifest, "states": good.manifest["states"][:-1]}},
        {"arrays": {**good.arrays, "visits": good.arrays["visits"] * 0}},
    ):
        parts = {"kind": good.kind, "manifest": good.manifest, "arrays": good.arrays} | changes
        with pytest.raises(AqeError):
            learner.import_state(EngineState(**parts))
        assert frozen(learner) == before


# -- many ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_batches_in_own_shards_end_as_alone(algorithm):
    n, threads = 20_000, 4
    # Declared, because the order in which actions appear decides how a mean of their values is rounded.
    shared, alone = (make_native(algorithm=algorithm, actions=list(range(20))) for _ in range(2))
    lessons = []
    for thread in range(threads):  # each in its own remainders by the number of shards
        rng = np.random.default_rng(thread)
        states, after = (rng.integers(0, 500, n) * native.SHARDS + thread for _ in range(2))
        lessons.append((states, rng.integers(0, 20, n), rng.normal(size=n), after))
    assert {shared.shard(int(state)) for state in lessons[3][0]} == {3}
    start = threading.Barrier(threads)

    def teach(lesson):
        start.wait()
        for part in range(0, n, 1000):
            shared.update_batch(*(column[part : part + 1000] for column in lesson))

    workers = [threading.Thread(target=teach, args=(lesson,)) for lesson in lessons]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for lesson in lessons:
        alone.update_batch(*lesson)
    assert len(shared) == len(alone)
    assert shared.steps == threads * n
    for states, actions, *_ in lessons:
        for state, action in zip(states[:500].tolist(), actions[:500].tolist(), strict=True):
            assert shared.value(state, action) == alone.value(state, action)


def test_threads_that_share_every_state_lose_no_update():
    learner = make_native(learning_rate=0.5)
    rng = np.random.default_rng(1)
    n, threads = 3000, 4
    lesson = (rng.integers(0, 50, n), rng.integers(0, 5, n), rng.normal(size=n), rng.integers(0, 50, n))
    names = [f"s{i}" for i in range(20)]

    def teach():
        for i in range(5):
            learner.update_batch(*lesson)
            learner.update_batch(names, names, np.ones(20), names[::-1])
            for name in names:
                learner.update(name, "a", 1.0, names[i])
                learner.act(name, ["a", "b"])
                learner.export_state()

    workers = [threading.Thread(target=teach) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert learner.steps == threads * 5 * (n + 20 + 20)
    state = learner.export_state()
    assert len(set(state.manifest["states"])) == len(state.manifest["states"]) == 70
    assert np.isfinite(state.arrays["values"]).all()


def resident_bytes():
    resource = pytest.importorskip("resource", reason="needs the resource module")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def test_updates_of_known_pairs_need_no_more_memory():
    learner = make_native()
    rng = np.random.default_rng(1)
    n = 50_000
    lesson = (rng.integers(0, 100, n), rng.integers(0, 5, n), rng.normal(size=n), rng.integers(0, 100, n))
    names = [f"a name that is {i} characters long or so" for i in range(100)]

    def teach():
        learner.update_batch(*lesson)
        learner.update_batch(names, names, np.ones(100), names)
        for name in names:
            learner.update(name, "a", 1, name, False, "b")
            learner.update(name, "a", np.float32(1), np.int64(3))
            learner.act(name, ["a", "b"])
            learner.value(name, "a")
            with pytest.raises(InvalidActionError):
                learner.act(name, [])

    for _ in range(20):
        teach()
    before = resident_bytes()
    for _ in range(180):  # ten million updates in all
        teach()
    assert resident_bytes() - before < 4 * 2**20


def test_expected_sarsa_is_sarsa_without_a_next_action():
    expected, sarsa = (make_native(algorithm=name, epsilon=0.3) for name in ("expected-sarsa", "sarsa"))
    rng = np.random.default_rng(1)
    columns = (rng.integers(0, 9, 500), rng.integers(0, 4, 500), rng.normal(size=500), rng.integers(0, 9, 500))
    for rows in zip(*(column[:99].tolist() for column in columns), strict=True):
        expected.update(*rows, False, 2)
        sarsa.update(*rows)
    expected.update_batch(*columns, next_actions=columns[1])
    sarsa.update_batch(*columns)
    expected.update(1, 1, 1.0, 1, next_action=b"not looked at")
    sarsa.update(1, 1, 1.0, 1)
    assert frozen(expected)[1:] == frozen(sarsa)[1:]
    assert expected.export_state().kind == "learner/expected-sarsa/2"


def test_rates_can_change():
    learner = make_native(algorithm="expected-sarsa", learning_rate=0.5, discount=1.0, epsilon=0.0)
    learner.update("t", "x", 4.0, "end", done=True)  # 2
    learner.update("t", "y", 12.0, "end", done=True)  # 6
    learner.update("s", "a", 0.0, "t")  # 0.5 * 6
    learner.set_params(epsilon=1.0, learning_rate=1.0)
    learner.update("s", "a", 0.0, "t")  # the mean of 2 and 6
    assert learner.value("s", "a") == 4.0
    learner.set_params(discount=0.5)
    assert learner.get_params() == {**make_native().get_params(), "learning_rate": 1.0, "discount": 0.5, "epsilon": 1.0}
    before = frozen(learner)
    for wrong in ({"seed": 3}, {"epsilon": 2.0}, {"discount": 0.1, "learning_rate": 0.0}):
        with pytest.raises(InputError):
            learner.set_params(**wrong)
        assert frozen(learner) == before


def test_visits_and_probabilities_are_told():
    learner = make_native(epsilon=0.25, actions=["a", "b", 3, 4])
    for _ in range(3):
        learner.update("s", 3, 1.0, "s")
    assert (learner.visits("s", 3), learner.visits("s", "a"), learner.visits("t", 3)) == (3, 0, 0)
    assert learner.probabilities("s", ["a", 3, np.int64(4), "b"]).tolist() == [0.0625, 0.8125, 0.0625, 0.0625]
    before = frozen(learner)
    for call in (learner.visits, lambda state, action: learner.probabilities(state, [action])):
        with pytest.raises(InvalidActionError):
            call("s", "c")
        with pytest.raises(InputError):
            call(None, "a")
    with pytest.raises(InvalidActionError):
        learner.probabilities("s", [])
    assert frozen(learner) == before


def test_it_can_be_kept_in_a_file(tmp_path):
    learner = make_native()
    learner.update("s", "a", 1.0, "t")
    learner.save(tmp_path / "kept.aqestate")
    other = make_numpy()
    other.import_state(read_state(tmp_path / "kept.aqestate"))
    assert frozen(other) == frozen(learner)
    again = make_native()
    again.load(tmp_path / "kept.aqestate")
    assert frozen(again) == frozen(learner)


@pytest.mark.parametrize("algorithm", ["dqn", None, [], "Q-learning"])
def test_an_unknown_algorithm_is_refused(algorithm):
    with pytest.raises(CapabilityError, match="actor-critic, discounted-linucb, expected-sarsa, linucb, ppo"):
        make_native(algorithm=algorithm)


def test_unknown_parameters_are_refused():
    with pytest.raises(ConfigError, match="learning_rat"):
        make_native(learning_rat=0.1)


@pytest.mark.parametrize("algorithm", ["q-learning", "sarsa", "actor-critic", "ppo"])
def test_the_ancestors_learners_are_those_of_numpy(algorithm):
    one, other = (make(algorithm=algorithm, compat="agentic-qe-2.8") for make in (make_numpy, make_native))
    assert type(one) is type(other)
    for learner in (one, other):
        for i in range(30):
            learner.update(i % 3, i % 2, float(i % 5), (i + 1) % 3, i % 10 == 9)
        learner.end_episode()
    states = [through_json(learner.export_state()) for learner in (one, other)]
    assert states[0].kind == states[1].kind == f"learner/{algorithm}/agentic-qe-2.8/1"
    assert states[0].manifest == states[1].manifest
    assert all(np.array_equal(states[1].arrays[name], array) for name, array in states[0].arrays.items())
    for wrong in ({"compat": "agentic-qe-1"}, {"algorithm": "expected-sarsa"}, {"gamma": 1}):
        asked = {"algorithm": algorithm, "compat": "agentic-qe-2.8", **wrong}
        refusals = [outcome(lambda make=make, asked=asked: make(**asked)) for make in (make_numpy, make_native)]
        assert refusals[0] == refusals[1]
        assert refusals[0][0] in {"CapabilityError", "ConfigError"}


def test_it_is_a_learner():
    learner = make_native(algorithm="sarsa")
    assert isinstance(learner, Learner)
    assert isinstance(learner, native.Sarsa)
    assert isinstance(make_native(), native.QLearning)
    spec = SimpleNamespace(**learner.get_params())
    assert (spec.learning_rate, spec.actions, spec.seed) == (0.1, None, 0)


def test_it_learns_from_a_stream_of_mappings():
    learner = make_native(learning_rate=0.5)
    outcome = {"state": {"coverage": 0.8}, "action": "run", "reward": 1.0, "next_state": "end", "done": True}
    assert learner.learn_one(outcome) is learner
    assert learner.value('m1:{"coverage":0.8}', "run") == 0.5
    with pytest.raises(InputError, match="lacks 'reward'"):
        learner.learn_one({"state": "s", "action": "a", "next_state": "t"})
