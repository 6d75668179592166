"""The tabular learners: values worked out by hand, policies known from the literature, keys, kept states, size."""

from __future__ import annotations

import enum
import json
import random

import numpy as np
import pytest
from aqe_backend_numpy.learner import QLearning, Sarsa, make_learner

from aqe_core.contracts import Learner
from aqe_core.state import EngineState

HALVES = {"learning_rate": 0.5, "discount": 0.5}
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


# -- values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_is_a_learner(algorithm):
    learner = make_learner(algorithm=algorithm)
    assert isinstance(learner, Learner)
    assert learner.algorithm == algorithm
    assert isinstance(learner, QLearning if algorithm == "q-learning" else Sarsa)
    assert len(learner) == learner.steps == 0
    assert learner.value("s", "a") == 0.0


def test_q_learning_bootstraps_from_the_best_action():
    learner = make_learner(**HALVES)
    learner.update("t", "low", 2.0, "end", done=True)  # 0 + 0.5 * (2 - 0) = 1
    learner.update("t", "high", 8.0, "end", done=True)  # 0 + 0.5 * (8 - 0) = 4
    learner.update("s", "go", 1.0, "t")  # 0 + 0.5 * (1 + 0.5 * 4 - 0) = 1.5
    learner.update("s", "go", 1.0, "t")  # 1.5 + 0.5 * (1 + 0.5 * 4 - 1.5) = 2.25
    assert learner.value("t", "low") == 1.0
    assert learner.value("t", "high") == 4.0
    assert learner.value("s", "go") == 2.25
    assert len(learner) == 3
    assert learner.steps == 4
    assert learner.export_state().arrays["visits"].tolist() == [1, 1, 2]


def test_the_best_action_can_fall():
    learner = make_learner(learning_rate=1.0, discount=1.0)
    for action, reward in (("a", 5.0), ("b", 3.0), ("c", 4.0), ("a", -1.0), ("c", -2.0)):
        learner.update("t", action, reward, "end", done=True)
    learner.update("s", "go", 0.0, "t")
    assert learner.value("s", "go") == 3.0  # of a = -1, b = 3, c = -2
    learner.update("t", "b", -7.0, "end", done=True)
    learner.update("s", "go", 0.0, "t")
    assert learner.value("s", "go") == -1.0


def test_a_self_loop_reads_the_value_from_before():
    learner = make_learner(**HALVES)
    learner.update("s", "stay", 4.0, "s")  # nothing tried yet: 0 + 0.5 * (4 + 0.5 * 0 - 0) = 2
    learner.update("s", "stay", 4.0, "s")  # 2 + 0.5 * (4 + 0.5 * 2 - 2) = 3.5
    assert learner.value("s", "stay") == 3.5


def test_untried_actions_count_only_where_declared():
    free = make_learner(**HALVES, initial_value=1.0)
    closed = make_learner(**HALVES, initial_value=1.0, actions=["bad", "other", "go"])
    for learner in (free, closed):
        learner.update("t", "bad", -5.0, "end", done=True)  # 1 + 0.5 * (-5 - 1) = -2
        learner.update("s", "go", 0.0, "t")
    assert free.value("s", "go") == 0.0  # 1 + 0.5 * (0.5 * -2 - 1)
    assert closed.value("s", "go") == 0.75  # 1 + 0.5 * (0.5 * max(-2, 1, 1) - 1)
    assert closed.value("s", "other") == 1.0


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_unknown_next_state_has_the_initial_value(algorithm):
    learner = make_learner(algorithm=algorithm, **HALVES, initial_value=8.0)
    learner.update("s", "a", 0.0, "never seen")
    assert learner.value("s", "a") == 6.0  # 8 + 0.5 * (0 + 0.5 * 8 - 8)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_terminal_transition_does_not_bootstrap(algorithm):
    learner = make_learner(algorithm=algorithm, **HALVES)
    learner.update("t", "a", 100.0, "end", done=True)
    for done in (True, 1, np.True_):
        learner.update(f"s{done!r}", "a", 1.0, "t", done)
        assert learner.value(f"s{done!r}", "a") == 0.5


def test_sarsa_follows_the_next_action():
    learner = make_learner(algorithm="sarsa", **HALVES, initial_value=2.0)
    learner.update("t", "x", 4.0, "end", done=True)  # 2 + 0.5 * (4 - 2) = 3
    learner.update("t", "y", 8.0, "end", done=True)  # 2 + 0.5 * (8 - 2) = 5
    learner.update("s", "a", 1.0, "t", False, "x")  # 2 + 0.5 * (1 + 0.5 * 3 - 2) = 2.25
    learner.update("s", "a", 1.0, "t", False, "y")  # 2.25 + 0.5 * (1 + 0.5 * 5 - 2.25) = 2.875
    learner.update("s", "b", 1.0, "t", False, "never tried")  # 2 + 0.5 * (1 + 0.5 * 2 - 2) = 2
    learner.update("s", "b", 1.0, "nowhere", False, "x")  # 2 + 0.5 * (1 + 0.5 * 2 - 2) = 2
    assert learner.value("s", "a") == 2.875
    assert learner.value("s", "b") == 2.0
    assert len(learner) == 4


def test_sarsa_expects_its_own_policy():
    learner = make_learner(algorithm="sarsa", **HALVES, epsilon=0.5)
    for action, reward in (("x", 4.0), ("y", 12.0), ("z", 2.0)):  # 2, 6, 1: best 6, mean 3
        learner.update("t", action, reward, "end", done=True)
    learner.update("s", "a", 1.0, "t")  # 0.5 * (1 + 0.5 * (0.5 * 6 + 0.5 * 3))
    assert learner.value("s", "a") == 1.625


def test_sarsa_expects_untried_actions_where_declared():
    learner = make_learner(algorithm="sarsa", **HALVES, epsilon=0.5, initial_value=2.0, actions=["a", "x", "y", "z"])
    learner.update("t", "x", -6.0, "end", done=True)  # 2 + 0.5 * (-6 - 2) = -2: best 2, mean (-2 + 3 * 2) / 4 = 1
    learner.update("s", "a", 0.0, "t")  # 2 + 0.5 * (0.5 * (0.5 * 2 + 0.5 * 1) - 2)
    assert learner.value("s", "a") == 1.375


def test_sarsa_without_exploration_is_q_learning():
    greedy, best = make_learner(algorithm="sarsa", epsilon=0.0), make_learner(epsilon=0.0)
    for learner in (greedy, best):
        wander(learner, 500, seed=1)
    assert frozen(greedy)[2] == frozen(best)[2]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_huge_rewards_never_overflow(algorithm):
    learner = make_learner(algorithm=algorithm, learning_rate=1.0, discount=1.0)
    for _ in range(500):
        learner.update("s", "a", 1e290, "s")
        learner.update("t", "a", -1e290, "t")
    assert 0.0 < learner.value("s", "a") < 1e294
    assert 0.0 > learner.value("t", "a") > -1e294


# -- policies -----------------------------------------------------------------------------------------------------

MOVES = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
START, GOAL = (3, 0), (3, 11)


def cliff(place, move):
    """Move in the cliff world of Sutton and Barto (2018), example 6.6."""
    row = min(max(place[0] + MOVES[move][0], 0), 3)
    column = min(max(place[1] + MOVES[move][1], 0), 11)
    if row == 3 and 0 < column < 11:
        return START, -100.0
    return (row, column), -1.0


def name(place):
    return f"{place[0]},{place[1]}"


def walk(learner):
    """Return the greedy path."""
    path = [START]
    while path[-1] != GOAL and len(path) < 50:
        move = learner.act(name(path[-1]), list(MOVES), explore=False)
        path.append(cliff(path[-1], move)[0])
    return path


def practise(learner, episodes, *, on_policy):
    for _ in range(episodes):
        place = START
        move = learner.act(name(place), list(MOVES))
        while place != GOAL:
            after, reward = cliff(place, move)
            then = learner.act(name(after), list(MOVES))
            given = then if on_policy else None
            learner.update(name(place), move, reward, name(after), after == GOAL, given)
            place, move = after, then


def test_q_learning_walks_along_the_cliff():
    learner = make_learner(learning_rate=0.5, discount=1.0, actions=list(MOVES))
    practise(learner, 500, on_policy=False)
    assert walk(learner) == [START, *((2, column) for column in range(12)), GOAL]


@pytest.mark.parametrize("on_policy", [True, False])
def test_sarsa_keeps_away_from_the_cliff(on_policy):
    learner = make_learner(algorithm="sarsa", learning_rate=0.1, discount=1.0, actions=list(MOVES))
    practise(learner, 1500, on_policy=on_policy)
    path = walk(learner)
    assert path[-1] == GOAL
    assert len(path) > 14  # longer than the shortest
    assert sum(row == 2 for row, _ in path) <= 4


# -- acting -------------------------------------------------------------------------------------------------------


def test_act_takes_the_first_of_the_best():
    learner = make_learner(**HALVES, initial_value=1.0)
    learner.update("s", "bad", -1.0, "end", done=True)
    learner.update("s", "good", 3.0, "end", done=True)
    learner.update("s", "twin", 3.0, "end", done=True)
    assert learner.act("s", ["bad", "new", "twin", "good"], explore=False) == "twin"
    assert learner.act("s", ["bad", "new", "newer"], explore=False) == "new"
    assert learner.act("elsewhere", ["bad", "good"], explore=False) == "bad"


def test_act_explores_with_probability_epsilon():
    learner = make_learner(epsilon=0.3)
    learner.update("s", "a", 1.0, "end", done=True)
    n = 20_000
    taken = [learner.act("s", ["a", "b", "c"]) for _ in range(n)]
    for action, share in (("a", 0.8), ("b", 0.1), ("c", 0.1)):
        assert abs(taken.count(action) / n - share) < 5 * (share * (1 - share) / n) ** 0.5


def test_act_repeats_with_the_seed():
    def chosen(seed):
        learner = make_learner(epsilon=1.0, seed=seed)
        return [learner.act("s", range(10)) for _ in range(50)]

    assert chosen(1) == chosen(1) != chosen(2)


def test_act_without_exploration_draws_nothing():
    learner = make_learner(epsilon=1.0)
    before = frozen(learner)
    learner.act("s", ["a", "b"], explore=False)
    assert frozen(learner) == before
    learner.act("s", ["a", "b"])
    assert frozen(learner) != before


def test_act_returns_what_was_offered():
    learner = make_learner()
    learner.update("s", 7, 1.0, "end", done=True)
    chosen = learner.act("s", np.array([3, 7]), explore=False)
    assert chosen == 7
    assert isinstance(chosen, np.int64)


# -- keys ---------------------------------------------------------------------------------------------------------


class Color(str, enum.Enum):  # noqa: UP042  # the kind whose str() is not its value
    RED = "red"


def test_numbers_and_texts_are_different_keys():
    learner = make_learner(**HALVES)
    learner.update(1, 1, 2.0, "end", done=True)
    learner.update("1", "1", 4.0, "end", done=True)
    assert learner.value(1, 1) == 1.0
    assert learner.value("1", "1") == 2.0
    assert learner.value(1, "1") == learner.value("1", 1) == 0.0
    assert learner.export_state().manifest["states"] == [1, "1"]


def test_keys_of_numpy_and_of_enumerations_are_plain():
    learner = make_learner(**HALVES)
    learner.update(np.int16(1), np.uint64(2), np.float32(2.0), np.int64(1), np.True_)
    learner.update(np.str_("s"), Color.RED, 2, "end", done=True)
    assert learner.value(1, 2) == learner.value("s", "red") == 1.0
    manifest = learner.export_state().manifest
    assert [type(key) for key in manifest["states"] + manifest["actions"]] == [int, str, int, str]
    learner.update_batch(np.array(["s"]), np.array(["red"], object), [2.0], [-(2**63)], [True])
    assert learner.value("s", "red") == 1.5


# -- keeping ------------------------------------------------------------------------------------------------------


def test_parameters_make_the_same_learner():
    learner = make_learner(
        algorithm="sarsa", learning_rate=np.float64(0.2), initial_value=-0.0, actions=("a", 1), seed=np.int64(7)
    )
    params = learner.get_params()
    assert params == {
        "learning_rate": 0.2,
        "discount": 0.95,
        "epsilon": 0.1,
        "initial_value": 0.0,
        "actions": ["a", 1],
        "seed": 7,
    }
    assert json.loads(json.dumps(params)) == params
    assert frozen(make_learner(algorithm="sarsa", **params)) == frozen(learner)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("actions", [None, ["left", "right", 3, 4, *range(10, 50)]])
def test_a_resumed_learner_goes_on_as_if_never_stopped(algorithm, actions):
    learner = make_learner(algorithm=algorithm, epsilon=0.3, initial_value=0.5, actions=actions, seed=9)
    wander(learner, 300, seed=1)
    other = make_learner(algorithm=algorithm, actions=["something", "else"], seed=1)
    other.update("forgotten", "else", 1.0, "x")
    other.import_state(through_json(learner.export_state()))
    assert frozen(other) == frozen(learner)
    assert len(other) == len(learner)
    assert other.steps == learner.steps == 300
    for each in (learner, other):
        wander(each, 300, seed=2)
        each.update_batch(["s1", 5] * 100, ["left", 3] * 100, [1.0, -1.0] * 100, [5, "s1"] * 100)
    assert frozen(other) == frozen(learner)


def test_an_exported_state_stays_as_it_was():
    learner = make_learner()
    wander(learner, 50, seed=1)
    state = learner.export_state()
    before = frozen(learner)
    other = make_learner()
    other.import_state(state)
    wander(learner, 50, seed=2)
    wander(other, 50, seed=2)
    third = make_learner()
    third.import_state(state)
    assert frozen(third) == before


def test_negative_zeros_become_zeros():
    learner, other = make_learner(), make_learner()
    learner.update("s", "a", 0.0, "t")
    state = learner.export_state()
    other.import_state(replace(state, arrays={"values": -state.arrays["values"]}))
    assert frozen(other) == frozen(learner)


def test_an_empty_learner_can_be_kept():
    learner = make_learner(seed=4)
    learner.act("s", ["a", "b"])
    other = make_learner()
    other.import_state(through_json(learner.export_state()))
    assert frozen(other) == frozen(learner)
    assert len(other) == 0


def test_parameters_may_be_narrow_floats_or_long_integers():
    params = make_learner(learning_rate=np.float32(0.5), epsilon=np.float16(0.25), initial_value=10**280).get_params()
    assert (params["learning_rate"], params["epsilon"], params["initial_value"]) == (0.5, 0.25, 1e280)


# -- size ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_twenty_thousand_actions_in_one_state(algorithm):
    n = 20_000
    learner = make_learner(algorithm=algorithm, learning_rate=0.5, epsilon=0.0)
    rewards = np.random.default_rng(1).normal(size=(2, n))
    learner.update_batch(np.zeros(n, int), np.arange(n), rewards[0], np.zeros(n, int), np.ones(n, bool))
    for test in range(n):
        learner.update(0, test, float(rewards[1, test]), 0, True)
    expected = rewards[0] * 0.5
    expected += 0.5 * (rewards[1] - expected)
    assert len(learner) == n
    assert [learner.value(0, test) for test in range(n)] == expected.tolist()
    assert learner.act(0, range(n), explore=False) == int(expected.argmax())
    learner.update("s", "a", 0.0, 0)
    assert learner.value("s", "a") == 0.5 * 0.95 * expected.max()


def test_memory_follows_the_pairs_not_states_times_actions():
    states, own = 500, 40  # each with its own actions: a dense matrix would have 10 million cells
    rows = np.repeat(np.arange(states), own)
    learner = make_learner()
    learner.update_batch(rows, np.arange(states * own), np.ones(states * own), rows, np.ones(states * own, bool))
    assert len(learner) == states * own
    table = learner._table
    cells = len(table.values)
    assert len(table.counts) == cells == 16 * len(table.worths)
    assert cells <= 2 * 16 * (states * (own // 16 + 3))  # at most doubled


# -- rates that change, and what it tells ---------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["q-learning", "sarsa", "expected-sarsa"])
def test_a_schedule_is_the_same_as_learners_made_anew(algorithm):
    """After each change of rates the learner goes on as one that was made with them and took over the table."""
    learner = make_learner(algorithm=algorithm, epsilon=0.9)
    for turn, epsilon in enumerate((0.9, 0.5, 0.1)):
        learner.set_params(epsilon=epsilon, learning_rate=0.4 / (turn + 1), discount=0.5)
        other = make_learner(algorithm=algorithm)
        other.import_state(through_json(learner.export_state()))
        for one in (learner, other):
            wander(one, 200, turn)
        assert frozen(learner) == frozen(other)


def test_visits_add_up_over_batches_and_single_updates():
    learner = make_learner()
    for _ in range(3):
        learner.update("s", "a", 1.0, "t")
    learner.update_batch(["s"] * 5, ["a"] * 5, [1.0] * 5, ["t"] * 5)
    assert (learner.visits("s", "a"), learner.visits("s", "b"), learner.visits("u", "a"), learner.steps) == (8, 0, 0, 8)


def test_a_pair_tells_its_last_update():
    learner = make_learner()
    assert (learner.last_update("s", "a"), learner.steps) == (0, 0)
    for action in ("a", "b", "a"):
        learner.update("s", action, 1.0, "t")
    learner.update_batch(["s", "u", "s"] * 100, ["b", "a", "b"] * 100, [1.0] * 300, ["t"] * 300)
    learner.update("v", "a", 1.0, "t")
    pairs = [("s", "a"), ("s", "b"), ("u", "a"), ("v", "a"), ("v", "b")]
    assert [learner.last_update(*pair) for pair in pairs] == [3, 303, 302, 304, 0]
    assert learner.steps == 304
    assert learner.export_state().arrays["last_updates"].tolist() == [3, 303, 302, 304]


def test_a_state_of_version_1_is_read_and_tells_no_last_updates():
    learner = make_learner()
    learner.update_batch([1, 2, 1], [0, 0, 1], [1.0, 2.0, 3.0], [2, 1, 2])
    state = learner.export_state()
    arrays = {name: array for name, array in state.arrays.items() if name != "last_updates"}
    learner.import_state(EngineState(kind="learner/q-learning/1", manifest=state.manifest, arrays=arrays))
    assert (learner.steps, learner.last_update(1, 1)) == (3, 0)
    learner.update(2, 0, 1.0, 1)
    assert learner.export_state().arrays["last_updates"].tolist() == [0, 0, 4]


def test_probabilities_by_hand():
    learner = make_learner(epsilon=0.2)
    learner.update("s", "a", 1.0, "t", True)
    assert learner.probabilities("s", ["b", "a"]) == pytest.approx([0.1, 0.9])
    assert learner.probabilities("nowhere", [1, 2, 3, 4]) == pytest.approx([0.85, 0.05, 0.05, 0.05])


def test_expected_sarsa_is_q_learning_without_exploration():
    ours, theirs = make_learner(algorithm="expected-sarsa", epsilon=0.0), make_learner(epsilon=0.0)
    for learner in (ours, theirs):
        wander(learner, 500, 11)
    assert frozen(ours)[2] == frozen(theirs)[2]
