"""Checks of learners, part 1: what is learned, chosen and kept."""

# ruff: noqa: D401  # the first line of a check says what is promised
from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.capabilities import BANDIT_ALGORITHMS, POLICY_ALGORITHMS
from aqe_core.contracts.learner import InspectableLearner, Learner
from aqe_core.errors import InputError, InvalidActionError
from aqe_core.state import EngineState, read_state, write_state
from aqe_core.testing.data import variants
from aqe_core.testing.expect import close, equal, raises, require, run_threads, same_state, unchanged
from aqe_core.testing.kit import Context, check
from aqe_core.testing.oracles import expected_sarsa, td

if TYPE_CHECKING:
    from collections.abc import Iterator

PARAMS: dict[str, Any] = {"learning_rate": 0.5, "discount": 0.9, "epsilon": 0.0, "seed": 1}
"""Hyper-parameters that every learner takes."""

Transition = tuple[Any, Any, float, Any, bool]


def algorithms(kit: Context) -> list[str]:
    """Return the declared algorithms over named states, in a fixed order."""
    return sorted(kit.capabilities.algorithms - BANDIT_ALGORITHMS)


def learners(kit: Context, **params: Any) -> Iterator[Any]:
    """Yield a fresh learner of each algorithm over named states."""
    for algorithm in algorithms(kit):
        yield kit.make(algorithm=algorithm, **{**PARAMS, **params})


def value_learners(kit: Context, **params: Any) -> Iterator[Any]:
    """Yield a fresh learner of each of them that learns values."""
    for algorithm in algorithms(kit):
        if algorithm not in POLICY_ALGORITHMS:
            yield kit.make(algorithm=algorithm, **{**PARAMS, **params})


def near(actual: Any, expected: float, what: str) -> None:
    """Require two values to be equal but for the order of float64 operations."""
    require(
        isinstance(actual, float) and abs(actual - expected) <= 1e-12 * max(1.0, abs(expected)),
        f"{what} is {actual!r}, expected {expected!r}",
    )


def transitions(n: int, *, seed: int = 0, text: bool = True) -> list[Transition]:
    """Return seeded transitions among few states and actions, so that pairs come again and again."""
    rng = np.random.default_rng(seed)
    rows = zip(
        rng.integers(0, 7, n).tolist(),
        rng.integers(0, 3, n).tolist(),
        rng.normal(size=n).tolist(),
        rng.integers(0, 9, n).tolist(),
        (rng.random(n) < 0.2).tolist(),
        strict=True,
    )
    if not text:
        return list(rows)
    return [(f"state {s}", f"action {a}", r, f"state {t}", d) for s, a, r, t, d in rows]


def learn(learner: Any, rows: list[Transition]) -> Any:
    """Apply transitions one at a time; return the learner."""
    for state, action, reward, next_state, done in rows:
        learner.update(state, action, reward, next_state, done)
    return learner


def through_json(state: EngineState) -> EngineState:
    """Return a state as storage gives it back: a manifest that was JSON text, and arrays of their own."""
    return EngineState(
        kind=state.kind,
        manifest=json.loads(json.dumps(dict(state.manifest), allow_nan=False)),
        arrays={name: array.copy() for name, array in state.arrays.items()},
    )


@check("learner")
def check_protocol(kit: Context) -> None:
    """A fresh learner fulfils the protocol, is empty, and knows its algorithm and hyper-parameters.

    If this fails, look at the constructor and at the names and signatures in aqe_core.contracts.learner.
    """
    for learner, algorithm in zip(learners(kit), algorithms(kit), strict=True):
        require(isinstance(learner, Learner), f"{type(learner).__name__} lacks a method of Learner")
        equal((learner.algorithm, len(learner)), (algorithm, 0), "(algorithm, len) of a fresh learner")
        params = learner.get_params()
        equal({name: params.get(name) for name in PARAMS}, PARAMS, "the hyper-parameters it was made with")
        bare = kit.make(algorithm=algorithm).get_params()
        equal(sorted(bare), sorted(params), "names of the hyper-parameters of a learner made with none")
        params["epsilon"] = 5.0
        equal(learner.get_params()["epsilon"], 0.0, "epsilon after changing the returned dictionary")


@check("learner")
def check_untried_is_initial(kit: Context) -> None:
    """A pair that was never tried has the initial value; asking for it, or acting, stores nothing.

    If this fails, look at a table that creates entries when it is read.
    """
    for learner in value_learners(kit, initial_value=2.5):
        near(learner.value("nowhere", "nothing"), 2.5, "value of an untried pair")
        equal(learner.act("nowhere", ["a", "b"]), "a", "greedy action in an unknown state")
        learner.update("s", "a", 1.0, "t", done=True)
        near(learner.value("s", "b"), 2.5, "value of an untried action of a known state")
        near(learner.value("s", "a"), td(2.5, 1.0, 0.0, learning_rate=0.5, discount=0.9), "value after one update")
        equal(len(learner), 1, "len after one update")


@check("learner", needs="q-learning in algorithms")
def check_q_learning_values(kit: Context) -> None:
    """Q-learning moves a value towards r + discount * (best value of the next state).

    If this fails, look at the target: the maximum is over the next state's values, as they are before the update.
    """
    learner = kit.make(algorithm="q-learning", **PARAMS)
    learner.update("t", "x", 4.0, "end", done=True)
    learner.update("t", "y", 10.0, "end", done=True)
    near(learner.value("t", "y"), 5.0, "value of (t, y)")
    learner.update("s", "a", 1.0, "t")
    near(learner.value("s", "a"), 2.75, "0 + 0.5 (1 + 0.9 * 5 - 0)")
    learner.update("s", "a", 1.0, "t")
    near(learner.value("s", "a"), 4.125, "2.75 + 0.5 (1 + 0.9 * 5 - 2.75)")
    learner.update("s", "a", 0.0, "s")
    near(learner.value("s", "a"), 3.91875, "4.125 + 0.5 (0 + 0.9 * 4.125 - 4.125), a loop")
    learner.update("s", "b", 0.0, "unknown")
    near(learner.value("s", "b"), 0.0, "value after a step to an unknown state")


@check("learner", needs="q-learning in algorithms")
def check_q_learning_is_off_policy(kit: Context) -> None:
    """Q-learning does not look at the next action.

    If this fails, look at the target: it has been given SARSA's.
    """
    learner = kit.make(algorithm="q-learning", **PARAMS)
    learner.update("t", "x", 2.0, "end", done=True)
    learner.update("t", "y", 10.0, "end", done=True)
    learner.update("s", "a", 0.0, "t", False, "x")
    near(learner.value("s", "a"), 0.5 * 0.9 * 5.0, "value with next_action='x'")


@check("learner", needs="sarsa in algorithms")
def check_sarsa_values(kit: Context) -> None:
    """SARSA moves a value towards r + discount * (value of the next action).

    If this fails, look at the target: it is the value of next_action, and the initial value if that was never tried.
    """
    learner = kit.make(algorithm="sarsa", **PARAMS)
    learner.update("t", "x", 4.0, "end", done=True)
    learner.update("t", "y", 10.0, "end", done=True)
    learner.update("s", "a", 1.0, "t", False, "x")
    near(learner.value("s", "a"), 1.4, "0 + 0.5 (1 + 0.9 * 2 - 0)")
    learner.update("s", "a", 1.0, "t", False, "y")
    near(learner.value("s", "a"), 3.45, "1.4 + 0.5 (1 + 0.9 * 5 - 1.4)")
    learner.update("s", "b", 1.0, "t", False, "never tried")
    near(learner.value("s", "b"), 0.5, "value with an untried next action")


@check("learner", needs="sarsa in algorithms")
def check_sarsa_expectation(kit: Context) -> None:
    """Without a next action SARSA uses the expectation under its own epsilon-greedy policy.

    If this fails, look at the weights: (1 - epsilon) for the best, epsilon spread over all values of the next state.
    """
    learner = kit.make(algorithm="sarsa", **{**PARAMS, "epsilon": 0.3})
    for action, reward in (("x", 4.0), ("y", 10.0), ("z", 6.0)):
        learner.update("t", action, reward, "end", done=True)
    learner.update("s", "a", 1.0, "t")
    future = expected_sarsa([2.0, 5.0, 3.0], 0.3)
    near(learner.value("s", "a"), td(0.0, 1.0, future, learning_rate=0.5, discount=0.9), "value of (s, a)")


@check("learner", needs="expected-sarsa in algorithms")
def check_expected_sarsa_values(kit: Context) -> None:
    """Expected SARSA uses the expectation under its own policy, also where a next action is given.

    If this fails, look at the target: (1 - epsilon) for the best value of the next state, epsilon spread over all.
    """
    learner, batch = (kit.make(algorithm="expected-sarsa", **{**PARAMS, "epsilon": 0.4}) for _ in range(2))
    for action, reward in (("x", 4.0), ("y", 10.0)):
        for one in (learner, batch):
            one.update("t", action, reward, "end", done=True)
    learner.update("s", "a", 1.0, "t", False, "x")
    batch.update_batch(["s"], ["a"], [1.0], ["t"], [False], ["x"])
    near(learner.value("s", "a"), 0.5 * (1.0 + 0.9 * (0.6 * 5.0 + 0.4 * 3.5)), "value of (s, a)")
    same_state(batch.export_state(), learner.export_state(), "state after the same in a batch")


@check("learner")
def check_terminal(kit: Context) -> None:
    """A terminal transition does not bootstrap, however much the next state is worth.

    If this fails, look at the target: with done it is the reward alone.
    """
    for learner in value_learners(kit, initial_value=3.0):
        learner.update("t", "x", 100.0, "end", done=True)
        learner.update("s", "a", 1.0, "t", done=True, next_action="x")
        near(learner.value("s", "a"), 2.0, f"{learner.algorithm}: 3 + 0.5 (1 - 3)")
        rows = ["s2"], ["a"], [1.0], ["t"], [True]
        learner.update_batch(*rows)
        near(learner.value("s2", "a"), 2.0, f"{learner.algorithm}: the same in a batch")


@check("learner")
def check_unknown_next_state(kit: Context) -> None:
    """A next state without any value is worth the initial value.

    If this fails, look at the maximum over no actions.
    """
    for learner in value_learners(kit, initial_value=2.0):
        learner.update("s", "a", 1.0, "never seen")
        near(learner.value("s", "a"), td(2.0, 1.0, 2.0, learning_rate=0.5, discount=0.9), "value of (s, a)")


@check("learner")
def check_keys_are_apart(kit: Context) -> None:
    """1 and "1" are two states and two actions; so are the ends of 64 bits, the empty text and any Unicode.

    If this fails, look at str(key), at float64 on the way of integers, and at arrays made of mixed lists.
    """
    keys: list[Any] = [1, "1", -1, 0, "", 2**63 - 1, -(2**63), "ä", "a\u0308", "a" * 1000, "nul\0", "nul"]
    for learner in value_learners(kit):
        batch = kit.make(algorithm=learner.algorithm, **PARAMS)
        for i, key in enumerate(keys):
            learner.update(key, key, 2.0 * i, "end", done=True)
        n = len(keys)
        batch.update_batch(keys, keys, [2.0 * i for i in range(n)], ["end"] * n, [True] * n)
        for one in (learner, batch):
            equal(len(one), n, "number of pairs")
            for i, key in enumerate(keys):
                near(one.value(key, key), float(i), f"value of {key!r:.30}")


@check("learner")
def check_batch_equals_singles(kit: Context) -> None:
    """A batch leaves the learner as the same updates one at a time do, bit for bit.

    If this fails, look at updates of one pair within a batch: each must see the one before.
    """
    for learner in learners(kit):
        for text in (True, False):
            rows = transitions(300, seed=3, text=text)
            single = learn(kit.make(algorithm=learner.algorithm, **PARAMS), rows)
            batch = kit.make(algorithm=learner.algorithm, **PARAMS)
            states, actions, rewards, next_states, dones = (list(column) for column in zip(*rows, strict=True))
            for part in (slice(0, 1), slice(1, 200), slice(200, 300)):
                batch.update_batch(states[part], actions[part], rewards[part], next_states[part], np.array(dones[part]))
            same_state(batch.export_state(), single.export_state(), f"state of {learner.algorithm} after a batch")


@check("learner", needs="sarsa in algorithms")
def check_batch_with_next_actions(kit: Context) -> None:
    """Next actions in a batch mean what they mean one at a time.

    If this fails, look at how next_actions are lined up with the other columns.
    """
    rows = transitions(200, seed=4)
    thens = [f"action {i % 3}" for i in range(200)]
    single, batch = (kit.make(algorithm="sarsa", **PARAMS) for _ in range(2))
    for (state, action, reward, next_state, done), then in zip(rows, thens, strict=True):
        single.update(state, action, reward, next_state, done, then)
    states, actions, rewards, next_states, dones = (list(column) for column in zip(*rows, strict=True))
    batch.update_batch(states, actions, rewards, next_states, dones, thens)
    same_state(batch.export_state(), single.export_state(), "state after a batch with next actions")


@check("learner")
def check_batch_forms(kit: Context) -> None:
    """Integer arrays of any layout and type mean the same as lists; nothing given is changed; no rows are allowed.

    If this fails, look at the conversion of columns: int64, contiguous, copied before any change.
    """
    rows = transitions(60, seed=5, text=False)
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    for learner in learners(kit):
        wanted = learn(learner, rows).export_state()
        forms = [[variants(column)[name] for column in columns] for name in variants(columns[0])]
        forms += [[column.tolist() for column in columns], [*[c.astype(np.int32) for c in columns[:2]], *columns[2:]]]
        for form in forms:
            given = kit.make(algorithm=learner.algorithm, **PARAMS)
            with unchanged(*form):
                given.update_batch(*form)
            same_state(given.export_state(), wanted, "state after a batch in another form")
            given.update_batch([], [], [], [])
            same_state(given.export_state(), wanted, "state after a batch of no rows")
        absent, false = (kit.make(algorithm=learner.algorithm, **PARAMS) for _ in range(2))
        absent.update_batch(*columns[:4])
        false.update_batch(*columns[:4], np.zeros(60, np.bool_))
        same_state(absent.export_state(), false.export_state(), "state after a batch without dones")


@check("learner")
def check_act_is_greedy(kit: Context) -> None:
    """Without exploring, the offered action of the highest value is chosen; of equal ones the first offered.

    If this fails, look at the comparison (> keeps the first, >= the last) and at actions that were not offered.
    """
    for learner in value_learners(kit, epsilon=1.0):
        for action, reward in (("low", -2.0), ("high", 4.0), ("same", 4.0)):
            learner.update("s", action, reward, "end", done=True)
        for offered, best in (
            (["low", "high", "same"], "high"),
            (["same", "low", "high"], "same"),
            (["low", "new"], "new"),
            (["newer", "new"], "newer"),
            (("low",), "low"),
        ):
            equal(learner.act("s", offered, explore=False), best, f"{learner.algorithm}: greedy choice of {offered}")
        equal(learner.act("elsewhere", [3, 1, 2], explore=False), 3, "greedy choice in an unknown state")
        greedy = kit.make(algorithm=learner.algorithm, **PARAMS)
        greedy.update(1, 2, 1.0, 0, done=True)
        equal({greedy.act(1, [0, 1, 2]) for _ in range(50)}, {2}, "choices with epsilon 0")


@check("learner")
def check_act_explores(kit: Context) -> None:
    """With probability epsilon a uniformly random offered action is taken, the best one included.

    If this fails, look at the draw: epsilon is the chance of a random choice, not of another choice.
    """
    offered = ["a", "b", "c", "d"]
    # Six standard deviations around the expected share of "a", the best action, in 2,000 choices.
    for epsilon, low, high in ((1.0, 0.19, 0.31), (0.5, 0.56, 0.69)):
        for learner in value_learners(kit, epsilon=epsilon):
            learner.update("s", "a", 1.0, "end", done=True)
            chosen = [learner.act("s", offered) for _ in range(2000)]
            equal(sorted({*chosen}), offered, "actions ever chosen")
            share = chosen.count("a") / 2000
            require(low < share < high, f"epsilon {epsilon}: the best action was chosen in {share:.3f} of the calls")


@check("learner")
def check_seed(kit: Context) -> None:
    """The same seed and the same calls give the same choices and the same learner; another seed other choices.

    If this fails, look at a generator shared between learners, or at the global one.
    """
    for algorithm in algorithms(kit):
        first, again, other = (
            kit.make(algorithm=algorithm, **{**PARAMS, "epsilon": 1.0, "seed": seed}) for seed in (7, 7, 8)
        )
        chosen = []
        for learner in (first, again, other):
            learn(learner, transitions(20, seed=6))
            chosen.append([learner.act("state 1", list(range(10))) for _ in range(60)])
        equal(chosen[1], chosen[0], "choices with the same seed")
        require(chosen[2] != chosen[0], "another seed makes the same 60 choices")
        same_state(again.export_state(), first.export_state(), "state with the same seed")


@check("learner")
def check_resume(kit: Context) -> None:
    """A learner that was exported, kept as JSON and arrays, and imported elsewhere goes on bit for bit.

    If this fails, look at what the state leaves out: the generator, keys that are integers, the order of the table.
    """
    for algorithm in algorithms(kit):
        params = {**PARAMS, "epsilon": 0.5}
        whole = learn(kit.make(algorithm=algorithm, **params), [*transitions(80, seed=8), *transitions(9, text=False)])
        for _ in range(5):
            whole.act("state 1", [1, 2, 3])
        state = through_json(whole.export_state())
        resumed = kit.make(algorithm=algorithm, **{**params, "seed": 99})
        resumed.update("to be forgotten", "a", 1.0, "b")
        resumed.import_state(state)
        equal(len(resumed), len(whole), "len after import")
        equal(resumed.value("to be forgotten", "a"), 0.0, "value of what was learned before the import")
        for learner in (whole, resumed):
            learn(learner, transitions(80, seed=9))
        chosen = [[learner.act("state 2", [1, 2, 3, 4]) for _ in range(40)] for learner in (whole, resumed)]
        equal(chosen[1], chosen[0], "choices after import")
        ended = through_json(whole.export_state()), through_json(resumed.export_state())
        same_state(ended[1], ended[0], "state after import and more updates")


@check("learner")
def check_file(kit: Context) -> None:
    """What is learned survives a file: write_state, then read_state.

    If this fails, look at what the state holds: JSON values in the manifest, numeric arrays under plain names.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "learner.aqestate"
        for learner in learners(kit):
            learn(learner, transitions(40, seed=13))
            write_state(path, learner.export_state())
            other = kit.make(algorithm=learner.algorithm, **PARAMS)
            other.import_state(read_state(path))
            same_state(through_json(other.export_state()), through_json(learner.export_state()), "state from a file")


@check("learner")
def check_state_is_a_copy(kit: Context) -> None:
    """An exported state does not change with the learner, nor the learner with the state.

    If this fails, look at arrays handed out of the table: copy them.
    """
    for learner in learners(kit):
        learn(learner, transitions(50, seed=10))
        state = learner.export_state()
        for name, array in state.arrays.items():
            require(array.dtype != object, f"array {name!r} has dtype object")
        kept = through_json(state)
        learn(learner, transitions(50, seed=11)).export_state()
        same_state(through_json(state), kept, "state exported before more updates")
        later, last = through_json(learner.export_state()), learner.export_state()
        for array in last.arrays.values():
            if array.flags.writeable:
                array.fill(0)
        same_state(through_json(learner.export_state()), later, "state after an exported one was overwritten")


@check("learner")
def check_many_pairs(kit: Context) -> None:
    """Three thousand states in one batch, and a second batch over them, keep every value.

    If this fails, look at the growth of the table.
    """
    states = np.arange(3000) * 7919
    for learner in value_learners(kit):
        for gain in (2.0, 4.0):
            learner.update_batch(states, states % 5, np.full(3000, gain), states, np.ones(3000, np.bool_))
        equal(len(learner), 3000, "number of pairs")
        for state in states[::97].tolist():
            near(learner.value(state, state % 5), 2.5, f"value of ({state}, {state % 5})")


@check("learner")
def check_learns_corridor(kit: Context) -> None:
    """In a corridor of six places with a reward at the right end it learns to go right from everywhere.

    If this fails, look at the sign of the step, at the discount, and at which state's value is used.
    """
    for learner in learners(kit, epsilon=0.5, learning_rate=0.3):
        rng = np.random.default_rng(12)
        for _ in range(200):
            place = 0
            for _ in range(60):
                offered = ["left", "right"] if rng.random() < 0.5 else ["right", "left"]
                action = learner.act(place, offered)
                after = max(place - 1, 0) if action == "left" else place + 1
                then = learner.act(after, offered)
                learner.update(place, action, float(after == 5), after, after == 5, then)
                place = after
                if place == 5:
                    break
        chosen = [learner.act(place, ["left", "right"], explore=False) for place in range(5)]
        equal(chosen, ["right"] * 5, f"{learner.algorithm}: greedy path")


@check("learner", needs="inspectable")
def check_visits(kit: Context) -> None:
    """Visits count the updates of a pair, one at a time or in batches, also after an import; asking counts nothing.

    If this fails, look at batches in which a pair comes twice.
    """
    for learner in learners(kit):
        require(isinstance(learner, InspectableLearner), f"{type(learner).__name__} lacks a method of its protocol")
        learner.update("s", "a", 1.0, "t")
        learner.update_batch(["s", "s", "u"], ["a", "a", "b"], [1.0] * 3, ["t"] * 3)
        other = kit.make(algorithm=learner.algorithm, **PARAMS)
        other.import_state(through_json(learner.export_state()))
        for one in (learner, other):
            found = [one.visits(*pair) for pair in (("s", "a"), ("u", "b"), ("s", "b"), ("never", "a"))]
            equal(found, [3, 1, 0, 0], f"{learner.algorithm}: visits")


@check("learner", needs="inspectable")
def check_last_update(kit: Context) -> None:
    """A pair tells the number of its last update, of all from 1 on, in batches and after an import too.

    If this fails, look at batches in which a pair comes twice, and at where the numbers go on after an import.
    """
    for learner in learners(kit):
        equal((learner.steps, learner.last_update("s", "a")), (0, 0), "steps and last update before any")
        learner.update("s", "a", 1.0, "t")
        learner.update_batch(["s", "u", "s", "u"], ["b", "b", "b", "a"], [1.0] * 4, ["t"] * 4)
        other = kit.make(algorithm=learner.algorithm, **PARAMS)
        other.import_state(through_json(learner.export_state()))
        for one in (learner, other):
            for _ in range(2):
                pairs = (("s", "a"), ("s", "b"), ("u", "b"), ("u", "a"), ("s", "c"), ("never", "a"))
                found = [one.last_update(*pair) for pair in pairs]
                equal(found, [1, 4, 3, 5, 0, 0], f"{learner.algorithm}: last updates")
            one.update("u", "b", 1.0, "t")
            equal((one.last_update("u", "b"), one.steps), (6, 6), f"{learner.algorithm}: the next, and steps")


@check("learner", needs="inspectable")
def check_probabilities(kit: Context) -> None:
    """Probabilities are those of the choices that act makes, of the offered actions only; asking draws nothing.

    If this fails, look at epsilon (the greedy choice gets its share too) and at actions that were not offered.
    """
    offered = ["b", "a", "new"]
    for learner in learners(kit, epsilon=0.8):
        for action, reward in (("a", 1.0), ("b", -1.0), ("other", 3.0)) * 9:
            learner.update("s", action, reward, "end", done=True)
        before = through_json(learner.export_state())
        shares = learner.probabilities("s", offered)
        same_state(through_json(learner.export_state()), before, "state after asking")
        close(shares.sum(), 1.0, 1e-12, f"{learner.algorithm}: sum of the probabilities")
        chosen = [learner.act("s", offered) for _ in range(2000)]
        found = [chosen.count(action) / 2000 for action in offered]
        # Six standard deviations of a share in 2,000 choices.
        close(found, shares, 6.0 * np.sqrt(shares * (1.0 - shares) / 2000) + 1e-12, f"{learner.algorithm}: shares")
        raises(InvalidActionError, partial(learner.probabilities, "s", []), "probabilities of nothing")


@check("learner", needs="inspectable")
def check_set_params(kit: Context) -> None:
    """Changed rates hold from then on, are part of the state, and a refused change changes nothing.

    If this fails, look at values that are kept for later: they depend on epsilon where the algorithm is on-policy.
    """
    for algorithm in algorithms(kit):
        changed = learn(kit.make(algorithm=algorithm, **{**PARAMS, "epsilon": 0.9}), transitions(40, seed=14))
        start = through_json(changed.export_state())
        for bad in ({"epsilon": 2.0}, {"learning_rate": float("nan")}, {"seed": 3}, {"nonsense": 1.0}):
            raises(InputError, partial(changed.set_params, **bad), f"set_params({bad})")
        same_state(through_json(changed.export_state()), start, "state after refused changes")
        changed.set_params(epsilon=0.25, learning_rate=0.125)
        equal(changed.get_params()["epsilon"], 0.25, "epsilon after the change")
        # Another one that takes over the state has nothing kept from before the change.
        other = kit.make(algorithm=algorithm, **PARAMS)
        other.import_state(through_json(changed.export_state()))
        equal(other.get_params()["learning_rate"], 0.125, "learning_rate after an import")
        for one in (changed, other):
            learn(one, transitions(40, seed=15))
        ended = through_json(changed.export_state()), through_json(other.export_state())
        same_state(ended[0], ended[1], f"{algorithm}: state after the change and more updates")


@check("learner", needs="thread_safe")
def check_threads(kit: Context) -> None:
    """Updates from several threads, each in states of its own, end as they would alone.

    If this fails, look at the growth of the table and the numbering of new keys: they need a lock.
    """
    for algorithm in algorithms(kit):
        # PPO trains after each transition: a rollout of several threads is not what each would collect alone.
        params = {**PARAMS, "rollout": 1} if algorithm == "ppo" else PARAMS
        learner, alone = (kit.make(algorithm=algorithm, **params) for _ in range(2))
        rows = [[(f"{i} {s}", a, r, f"{i} {t}", d) for s, a, r, t, d in transitions(200, seed=i)] for i in range(4)]
        failures: list[str] = []
        run_threads([], [partial(learn, learner, part) for part in rows], threading.Event(), failures)
        require(not failures, "; ".join(failures[:3]))
        for part in rows:
            learn(alone, part)
        equal(len(learner), len(alone), "number of pairs")
        for state, action, *_ in {(s, a): 0 for part in rows for s, a, *_ in part}:
            equal(learner.value(state, action), alone.value(state, action), f"value of ({state!r}, {action!r})")
