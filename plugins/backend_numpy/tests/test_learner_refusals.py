"""What the tabular learners refuse, and that a refused call has changed nothing."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from aqe_backend_numpy.learner import make_learner

from aqe_core.errors import CapabilityError, DimensionError, InputError, InvalidActionError, NonFiniteError
from aqe_core.state import EngineState

ALGORITHMS = ("q-learning", "sarsa")


def frozen(learner):
    """Return all that a learner knows, in a form that compares bit for bit."""
    state = learner.export_state()
    arrays = {name: (str(array.dtype), array.tobytes()) for name, array in state.arrays.items()}
    return state.kind, json.dumps(state.manifest), arrays


def through_json(state):
    """Return a state as it comes back from a file."""
    manifest = json.loads(json.dumps(state.manifest))
    return EngineState(kind=state.kind, manifest=manifest, arrays={k: v.copy() for k, v in state.arrays.items()})


def replace(state, *, kind=None, arrays=None, **manifest):
    """Return a state with some parts replaced."""
    return EngineState(
        kind=kind or state.kind,
        manifest={**state.manifest, **manifest},
        arrays={**state.arrays, **(arrays or {})},
    )


def wander(learner, n, seed):
    """Let a learner act and learn in a made-up world."""
    rng = random.Random(seed)
    actions = ["left", "right", 3, 4]
    for _ in range(n):
        state, following = f"s{rng.randrange(6)}", f"s{rng.randrange(6)}"
        action = learner.act(state, actions)
        learner.update(state, action, rng.gauss(0.0, 1.0), following, rng.random() < 0.1)


# -- refusals -----------------------------------------------------------------------------------------------------

GOOD = {"state": "s", "action": "a", "reward": 1.0, "next_state": "t"}
NO_KEYS = [None, True, np.False_, 1.0, b"s", ("s",), 2**63, -(2**63) - 1, np.datetime64(1, "s")]


@pytest.fixture(params=ALGORITHMS)
def taught(request):
    learner = make_learner(algorithm=request.param)
    wander(learner, 100, seed=3)
    learner.update(1, 1, 1.0, 1)
    learner.update("s", "a", 1.0, "t")
    return learner


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        *(({what: key}, InputError) for what in ("state", "action", "next_state") for key in NO_KEYS),
        *(({"next_state": key, "done": True}, InputError) for key in NO_KEYS),
        *(({"reward": reward}, NonFiniteError) for reward in (float("nan"), float("inf"), -float("inf"))),
        *(({"reward": reward}, InputError) for reward in ("1", None, 1e291, -1e300, 10**400, [1.0])),
        *(({"done": done}, InputError) for done in (None, "no", 2, [])),
        ({"state": True, "action": 1, "next_state": 1}, InputError),
        ({"state": 1, "action": 1.0, "next_state": 1}, InputError),
        ({"state": 1, "action": 1, "next_state": True}, InputError),
    ],
)
def test_a_refused_update_changes_nothing(taught, changes, error):
    before = frozen(taught)
    with pytest.raises(error) as caught:
        taught.update(**GOOD | changes)
    assert caught.type is error
    assert frozen(taught) == before


@pytest.mark.parametrize("action", [True, 1.5, b"a"])
def test_only_sarsa_looks_at_the_next_action(action):
    q_learning, sarsa = make_learner(), make_learner(algorithm="sarsa")
    q_learning.update(**GOOD, next_action=action)
    assert len(q_learning) == 1
    with pytest.raises(InputError):
        sarsa.update(**GOOD, next_action=action)
    q_learning.update_batch([1], [1], [1.0], [1], next_actions=[action, action])
    with pytest.raises(InputError):
        sarsa.update_batch([1], [1], [1.0], [1], next_actions=[action])
    assert len(sarsa) == 0


BATCH = {"states": [1, 2, 3], "actions": [1, 1, 1], "rewards": [1.0, 2.0, 3.0], "next_states": [2, 3, 9]}
KEYS = ("states", "actions", "next_states")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        *(({what: [1, "new", key]}, InputError) for what in KEYS for key in NO_KEYS),
        *(({what: [7, 8, 2**63]}, InputError) for what in KEYS),
        *(({what: np.array([7, 8, 2**63], np.uint64)}, InputError) for what in KEYS),
        *(({what: np.array(keys)}, InputError) for what in KEYS for keys in ([1.0, 2, 3], [True] * 3, [b"a"] * 3)),
        *(({what: "abc"}, InputError) for what in KEYS),
        *(
            ({what: short}, DimensionError)
            for what in KEYS
            for short in ([7], np.array([7, 8]), 7, np.ones((3, 1), int))
        ),
        *(({"rewards": rewards}, DimensionError) for rewards in ([1.0], np.ones((3, 1)), ["a", "b", "c"])),
        *(({"rewards": [1.0, 2.0, reward]}, NonFiniteError) for reward in (float("nan"), float("inf"))),
        ({"rewards": [1.0, -1e291, 1.0]}, InputError),
        *(({"dones": dones}, DimensionError) for dones in ([True], np.zeros((3, 1), bool))),
        *(({"dones": dones}, InputError) for dones in ([0, 1, 2], ["no", "no", "no"])),
    ],
)
def test_a_refused_batch_changes_nothing(taught, changes, error):
    before = frozen(taught)
    with pytest.raises(error) as caught:
        taught.update_batch(**BATCH | changes)
    assert caught.type is error
    assert frozen(taught) == before


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_undeclared_actions_are_refused(algorithm):
    learner = make_learner(algorithm=algorithm, actions=["a", "b", 3])
    learner.update(**GOOD)
    before = frozen(learner)
    refused = [
        lambda: learner.update(**GOOD | {"action": "c"}),
        lambda: learner.update_batch(["s", "s"], ["a", "c"], [1.0, 1.0], ["t", "t"]),
        lambda: learner.update_batch([1, 2], [3, 4], [1.0, 1.0], [1, 1]),
        lambda: learner.act("s", ["a", "c"]),
        lambda: learner.act("s", []),
        lambda: learner.value("s", "c"),
    ]
    if algorithm == "sarsa":
        refused += [
            lambda: learner.update(**GOOD, next_action="c"),
            lambda: learner.update_batch(["s"], ["a"], [1.0], ["t"], next_actions=["c"]),
        ]
    for call in refused:
        with pytest.raises(InvalidActionError):
            call()
        assert frozen(learner) == before


@pytest.mark.parametrize("actions", ["abc", 5, None, ["a", None], [True]])
def test_a_bad_offer_is_refused(actions):
    learner = make_learner(epsilon=1.0)
    before = frozen(learner)
    with pytest.raises(InputError):
        learner.act("s", actions)
    assert frozen(learner) == before


@pytest.mark.parametrize(
    "parameters",
    [
        *({"learning_rate": value} for value in (0.0, -0.1, 1.1, float("nan"), "0.1", None, True)),
        *({"discount": value} for value in (-0.1, 1.1, float("inf"), "much")),
        *({"epsilon": value} for value in (-0.1, 1.1, float("nan"))),
        *({"initial_value": value} for value in (float("nan"), -float("inf"), 1e300, 10**400, "0")),
        *({"actions": value} for value in ([], "ab", 3, ["a", "a"], [True], [1.5])),
        *({"seed": value} for value in (None, -1, 2**64, 1.0, True, "1")),
    ],
)
def test_parameters_out_of_range_are_refused(parameters):
    with pytest.raises(InputError, match=next(iter(parameters))):
        make_learner(**parameters)


@pytest.mark.parametrize("algorithm", ["dqn", None, [], "Q-learning"])
def test_an_unknown_algorithm_is_refused(algorithm):
    with pytest.raises(CapabilityError, match=r"q-learning, sarsa"):
        make_learner(algorithm=algorithm)


def broken_states():
    learner = make_learner(actions=["left", "right", 3, 4])
    wander(learner, 60, seed=1)
    good = through_json(learner.export_state())
    arrays, manifest = good.arrays, good.manifest
    version, words, _ = manifest["rng"]
    values, rows, visits = arrays["values"], arrays["rows"], arrays["visits"]
    yield from (replace(good, kind=kind) for kind in ("learner/sarsa/1", "learner/q-learning/3", "x"))
    yield EngineState(kind=good.kind, manifest={}, arrays={})
    yield EngineState(kind=good.kind, manifest=manifest, arrays={})
    yield EngineState(kind=good.kind, manifest=[], arrays=arrays)
    yield replace(good, extra=1)
    for name, array in arrays.items():
        yield replace(good, arrays={name: array[:-1]})
        yield replace(good, arrays={name: array.astype(np.float32)})
        yield replace(good, arrays={name: array.reshape(-1, 1)})
        yield replace(good, arrays={name: array.tolist()})
    yield replace(good, arrays={"extra": values})
    for number in (np.nan, np.inf, 1e301):
        yield replace(good, arrays={"values": np.where(rows == 1, number, values)})
    for number in (-1, 6):
        yield replace(good, arrays={"rows": np.where(rows == 1, number, rows)})
    yield replace(good, arrays={"columns": arrays["columns"] + 2})
    yield replace(good, arrays={"columns": arrays["columns"] * 0})  # pairs twice
    yield replace(good, arrays={"visits": visits - visits.min()})
    yield replace(good, arrays={"visits": visits + 2**53})
    yield replace(good, arrays={"visits": np.full_like(visits, 2**53)})  # together too many
    for number in (-1, int(visits.sum()) + 1):
        yield replace(good, arrays={"last_updates": np.full_like(visits, number)})
    yield replace(good, kind="learner/q-learning/1")  # which lacks them
    for names in (None, "s", [1.5], [True], ["s", "s"], manifest["states"][:-1]):
        yield replace(good, states=names)
    for names in (None, [None], manifest["actions"][::-1], [*manifest["actions"], "more"]):
        yield replace(good, actions=names)
    for change in ({"epsilon": 2.0}, {"epsilon": None}, {"extra": 1}, {"actions": ["other"]}):
        yield replace(good, params={**manifest["params"], **change})
    yield replace(good, params=None)
    for rng in (
        None,
        5,
        [],
        [version, words[:-1], None],
        [version, [*words[:-1], 700], None],
        [version, [-1, *words[1:]], None],
        [version, [2**32, *words[1:]], None],
        [version, [1.5, *words[1:]], None],
        [version, words, 0.5],
        [99, words, None],
    ):
        yield replace(good, rng=rng)


def test_a_broken_state_is_refused_and_changes_nothing():
    learner = make_learner()
    wander(learner, 50, seed=5)
    before = frozen(learner)
    n = 0
    for state in broken_states():
        with pytest.raises(InputError):
            learner.import_state(state)
        assert frozen(learner) == before
        n += 1
    assert n > 50
