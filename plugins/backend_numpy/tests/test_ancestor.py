"""The compatible learners give the ancestor's answers to the last bit, and go on after a break as if there was none."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from aqe_backend_numpy._fdlibm import exp, log
from aqe_backend_numpy.ancestor import Mulberry32
from aqe_backend_numpy.learner import make_learner

import aqe_core
from aqe_core.contracts import Learner
from aqe_core.encoding import ancestor_action_key, ancestor_state_key
from aqe_core.errors import CapabilityError, ConfigError, InputError, InvalidActionError, NonFiniteError
from aqe_core.state import EngineState

GOLDEN = Path(__file__).parents[4] / "shared/fixtures/v2.8.0/golden.json"
ALGORITHMS = ("q-learning", "sarsa", "actor-critic", "ppo")
COMPAT = "agentic-qe-2.8"


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.exists():
        pytest.skip("the ancestor's answers are not there")
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def make(algorithm, **params):
    return make_learner(algorithm=algorithm, compat=COMPAT, **params)


def teach(learner, experiences):
    for e in experiences:
        learner.update(e["state"], e["action"], e["reward"], e["nextState"], e.get("done", False))
    return learner


def entries(learner):
    """Return the table as the golden file writes it: value and number of updates."""
    return {
        state: {action: [value, learner.visits(state, action)] for action, value in row.items()}
        for state, row in learner.table().items()
    }


def same(found, expected):
    """Compare with the order of the entries, which decides the order of sums."""
    assert json.dumps(found) == json.dumps(expected)


# -- the ancestor's answers -----------------------------------------------------------------------------------------


def test_generator(golden):
    generator = Mulberry32(42)
    assert [generator.random() for _ in range(8)] == golden["seeded_random_42_first8"]


def test_q_learning(golden):
    learner = teach(make("q-learning"), golden["experiences"])
    assert entries(learner) == golden["qlearning"]["qTable"]
    assert list(learner.table()) == list(golden["qlearning"]["qTable"])
    assert learner.stats() == golden["qlearning"]["stats"]
    learner.end_episode()
    after = golden["qlearning_after_endEpisode_seed42"]
    assert entries(learner) == after["qTable"]
    assert (learner.epsilon, learner.steps) == (after["explorationRate"], after["steps"])
    assert len(learner.export_state().manifest["replay"]) == after["bufferSize"]


def test_sarsa(golden):
    learner = make("sarsa")
    experiences = golden["experiences"]
    for i, e in enumerate(experiences):
        following = None if i % 3 == 0 else experiences[(i + 1) % 300]["action"]
        learner.update(e["state"], e["action"], e["reward"], e["nextState"], e.get("done", False), following)
    assert entries(learner) == golden["sarsa"]["qTable"]
    assert learner.convergence() == golden["sarsa"]["convergence"]


def test_actor_critic(golden):
    learner = teach(make("actor-critic", replay=False), golden["experiences"])
    wanted = golden["actor_critic"]
    logs = learner.log_probabilities()
    found = {
        state: {action: [value, logs[state][action], count] for action, (value, count) in row.items()}
        for state, row in entries(learner).items()
    }
    assert found == wanted["policy"]
    assert learner.state_values() == {state: value for state, (value, _) in wanted["values"].items()}


def test_ppo(golden):
    learner = teach(make("ppo", rollout=100), golden["experiences"])
    found = {
        state: {action: [value, 0, count] for action, (value, count) in row.items()}
        for state, row in entries(learner).items()
    }
    assert found == golden["ppo"]["policy"]
    same(learner.state_values(), golden["ppo"]["values"])


def test_batches_and_keys_are_the_same(golden):
    rows = golden["experiences"]
    for algorithm in ALGORITHMS:
        one, keyed, batch = (make(algorithm) for _ in range(3))
        teach(one, rows)
        for e in rows:
            keyed.update(
                ancestor_state_key(e["state"]), ancestor_action_key(e["action"]), e["reward"],
                ancestor_state_key(e["nextState"]), e.get("done", False),
            )  # fmt: skip
        columns = [[e[name] for e in rows] for name in ("state", "action", "reward", "nextState")]
        batch.update_batch(*columns, [e.get("done", False) for e in rows])
        assert frozen(one) == frozen(keyed) == frozen(batch)


# -- the rest -------------------------------------------------------------------------------------------------------


def frozen(learner):
    state = learner.export_state()
    return state.kind, json.dumps(state.manifest), {name: a.tobytes() for name, a in state.arrays.items()}


def wander(learner, n, seed):
    generator = Mulberry32(seed)
    for i in range(n):
        state, following = f"s{generator.below(4)}", f"s{generator.below(4)}"
        action = learner.act(state, ["x", "y", 3])
        learner.update(state, action, generator.random() - 0.3, following, i % 7 == 6)
        if i % 7 == 6:
            learner.end_episode()
    return learner


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_resume_equals_uninterrupted(algorithm, tmp_path):
    small = {"rollout": 16} if algorithm == "ppo" else {"batch_size": 8, "replay_size": 40}
    whole = wander(make(algorithm, **small), 120, 1)
    whole.save(tmp_path / "x.aqestate")
    resumed = make(algorithm, seed=7)
    resumed.update("to be forgotten", "x", 1.0, "s1")
    resumed.load(tmp_path / "x.aqestate")
    assert frozen(resumed) == frozen(whole)
    assert frozen(wander(resumed, 50, 2)) == frozen(wander(whole, 50, 2))
    again = make_learner(algorithm=algorithm, **whole.get_params())
    assert again.get_params() == whole.get_params()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_is_a_learner(algorithm):
    learner = aqe_core.open_learner("numpy", algorithm=algorithm, compat=COMPAT)
    assert isinstance(learner, Learner)
    assert learner.value("nowhere", "x") == 0.0
    assert learner.visits("nowhere", "x") == 0
    assert learner.act("nowhere", ["x", "y"], explore=False) == "x"
    assert len(learner) == 0
    assert learner.stats()["tableSize"] == 0


def test_done_is_ignored_where_the_ancestor_ignored_it():
    for algorithm in ("q-learning", "sarsa"):
        learner = make(algorithm, learning_rate=0.5, discount=0.5)
        learner.update("t", "x", 4.0, "end", True)
        learner.update("s", "a", 0.0, "t", True)
        assert learner.value("s", "a") == pytest.approx(0.5 * 0.5 * 2.0)


def test_known_actions_are_preferred_even_if_bad():
    learner = make("q-learning", epsilon=0.0)
    learner.update("s", "bad", -5.0, "t")
    assert learner.act("s", ["new", "bad"]) == "bad"
    assert learner.act("s", ["new", "newer"]) == "new"


def test_epsilon_falls_to_its_minimum():
    learner = make("q-learning", epsilon=0.5, epsilon_decay=0.5, min_epsilon=0.1)
    seen = []
    for _ in range(4):
        learner.end_episode()
        seen.append(learner.epsilon)
    assert seen == [0.25, 0.125, 0.1, 0.1]
    assert learner.episodes == 4


def test_choices_follow_the_preferences():
    learner = make("actor-critic", actor_learning_rate=1.0, epsilon=0.0, normalize_advantage=False)
    for _ in range(30):
        learner.update("s", "good", 1.0, "end", True)
        learner.update("s", "bad", -1.0, "end", True)
    chosen = [learner.act("s", ["bad", "good"]) for _ in range(300)]
    assert chosen.count("good") > 250
    assert learner.act("s", ["bad", "good"], explore=False) == "good"
    assert learner.state_value("s") == pytest.approx(0.0, abs=0.2)


def test_refusals():
    learner = make("q-learning")
    before = frozen(learner)
    for call, error in (
        (lambda: learner.update({"taskComplexity": 1.0}, "a", 1.0, "t"), InputError),
        (
            lambda: learner.update("s", {"strategy": "s", "parallelization": "x", "retryPolicy": "n"}, 1.0, "t"),
            InputError,
        ),
        (lambda: learner.update("s", "a", math.nan, "t"), NonFiniteError),
        (lambda: learner.update(None, "a", 1.0, "t"), InputError),
        (lambda: learner.update_batch(["s"], ["a", "b"], [1.0], ["t"]), InputError),
        (lambda: learner.act("s", []), InvalidActionError),
    ):
        with pytest.raises(error):
            call()
    assert frozen(learner) == before


def test_unknown_forms():
    with pytest.raises(CapabilityError, match="must be one of"):
        make_learner(compat="agentic-qe-1")
    with pytest.raises(CapabilityError, match="expected-sarsa"):
        make("expected-sarsa")
    with pytest.raises(ConfigError, match="no hyper-parameter"):
        make("ppo", epsilon=0.1)
    for params in ({"replay": 1}, {"batch_size": 0}, {"epsilon": 2.0}, {"seed": -1}):
        with pytest.raises(InputError):
            make("q-learning", **params)
    with pytest.raises(InputError):
        make("actor-critic", temperature=0.0)


def broken(state):
    """Yield states that differ from a good one in one point."""
    yield EngineState(kind="learner/other/1", manifest=state.manifest, arrays=state.arrays)
    for name in state.manifest:
        rest = {key: value for key, value in state.manifest.items() if key != name}
        yield EngineState(kind=state.kind, manifest=rest, arrays=state.arrays)
        yield EngineState(kind=state.kind, manifest={**state.manifest, name: None}, arrays=state.arrays)
    for name, array in state.arrays.items():
        yield EngineState(kind=state.kind, manifest=state.manifest, arrays={**state.arrays, name: array[:-1]})
        if array.dtype.kind == "f":
            yield EngineState(kind=state.kind, manifest=state.manifest, arrays={**state.arrays, name: array * math.nan})
    pairs = [*state.manifest["pairs"][:-1], state.manifest["pairs"][0]]
    yield EngineState(kind=state.kind, manifest={**state.manifest, "pairs": pairs}, arrays=state.arrays)
    for name, value in (("steps", -1), ("generator", 2**32), ("epsilon", 3.0), ("episodes", 1.5)):
        counters = {**state.manifest["counters"], name: value}
        yield EngineState(kind=state.kind, manifest={**state.manifest, "counters": counters}, arrays=state.arrays)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_broken_states(algorithm):
    learner = make(algorithm, **({"rollout": 16} if algorithm == "ppo" else {}))
    state = wander(learner, 120, 3).export_state()
    before = frozen(learner)
    for bad in broken(state):
        if bad.arrays.get("history") is not None and bad.arrays["history"].size == state.arrays["history"].size - 1:
            continue  # a shorter history is a history
        with pytest.raises(InputError):
            learner.import_state(bad)
        assert frozen(learner) == before


def test_exp_and_log_are_near_the_exact_ones():
    for i in range(-4000, 4000):
        x = i / 57.3
        assert exp(x) == pytest.approx(math.exp(x), rel=3e-16)
        assert log(math.exp(x)) == pytest.approx(math.log(math.exp(x)), rel=3e-16, abs=1e-300)
    assert exp(1e-9) == 1.0 + 1e-9
    for x in (1.0 + 2.0**-22, 2.0 * (1.0 + 2.0**-22), 1.0 - 2.0**-23, 4.0, 5e-324):
        assert log(x) == pytest.approx(math.log(x), rel=3e-16)
