"""Engines that check nothing, behind a guard, keep the contract and refuse bad input in the words of the default."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aqe_core
from aqe_core.contracts import (
    METRICS,
    NO_KEY,
    Analyzer,
    Hits,
    Learner,
    LearnerCapabilities,
    PatternStore,
    StoreCapabilities,
)
from aqe_core.errors import AqeError, CapabilityError, ContractError, InvalidActionError
from aqe_core.guards import GuardedAnalyzer, GuardedBandit, GuardedLearner, GuardedStore
from aqe_core.state import EngineState
from aqe_core.testing import run_checks
from aqe_core.testing.backend_bandit import RidgeBandit
from aqe_core.testing.data import clustered_vectors, scattered_keys, variants
from aqe_core.testing.oracles import exact_scores

DIM = 3


def outcome(call):
    """Return what a call raises, as class and text; None if it returns."""
    try:
        call()
    except AqeError as error:
        return type(error), str(error)
    return None


class Bare:
    """A store with no check and no padding; it notes what reaches it, which must be as the guard promises."""

    def __init__(self, dim=DIM, metric="dot"):
        self.dim, self.metric = dim, metric
        self.rows = {}
        self.calls = []

    def __len__(self):
        return len(self.rows)

    def keys(self):
        return np.array(sorted(self.rows), np.uint64)

    def _note(self, name, *arrays):
        self.calls.append(name)
        for array in arrays:
            assert array.flags.c_contiguous
            assert array.dtype in (np.uint64, np.float32)
            assert len(array)

    def add(self, keys, vectors):
        self._note("add", keys, vectors)
        assert vectors.shape == (len(keys), self.dim)
        self.rows.update(zip(keys.tolist(), vectors.copy(), strict=True))

    def remove(self, keys):
        self._note("remove", keys)
        return sum(self.rows.pop(key, None) is not None for key in keys.tolist())

    def search(self, queries, k=10, *, among=None):
        self._note("search", queries)
        assert queries.ndim == 2
        assert 1 <= k <= len(self)
        keys = self.keys()
        if among is not None:
            assert (among.dtype, among.flags.c_contiguous, np.unique(among).tolist()) == (
                np.uint64,
                True,
                among.tolist(),
            )
            keys = np.intersect1d(keys, among)
        rows = np.array([self.rows[key] for key in keys.tolist()], np.float32).reshape(-1, self.dim)
        scores = exact_scores(queries, rows, self.metric)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return Hits(keys[order], np.take_along_axis(scores, order, 1).astype(np.float32))


def guarded(metric="dot", **capabilities):
    engine = Bare(metric=metric)
    return engine, GuardedStore(engine, StoreCapabilities(**{"filtered": True, **capabilities}))


# -- stores --------------------------------------------------------------------------------------------------------


def test_a_guarded_store_is_a_store():
    engine, store = guarded("l2")
    assert isinstance(store, PatternStore)
    assert (store.dim, store.metric, len(store)) == (DIM, "l2", 0)
    store.add([9, 2], np.eye(DIM)[:2])
    assert len(store) == len(engine) == 2
    assert store.keys().tolist() == [2, 9]
    assert store.remove([2, 2, 5]) == 1
    assert store.keys().tolist() == [9]


@pytest.mark.parametrize("metric", METRICS)
def test_a_guarded_store_answers_like_the_default(metric):
    _, store = guarded(metric)
    default = aqe_core.open_store("numpy", dim=DIM, metric=metric)
    vectors, keys = clustered_vectors(40, DIM, seed=1), scattered_keys(40, seed=2)
    for each in (store, default):
        each.add(keys, vectors)
        each.remove(keys[:5])
        each.add(keys[3:9], vectors[:6])
    queries = clustered_vectors(4, DIM, seed=3)
    for k in (1, 7, 100):
        for rows in (queries, queries[0], *variants(queries).values()):
            for among in (None, keys[10:20], keys[:0], [5, 6]):
                got, want = store.search(rows, k, among=among), default.search(rows, k, among=among)
                assert got.keys.dtype == want.keys.dtype
                assert got.keys.tolist() == want.keys.tolist()
                assert got.scores.dtype == want.scores.dtype
                assert np.allclose(got.scores, want.scores, atol=1e-4)


def test_fewer_hits_than_asked_for_are_filled_up():
    _, store = guarded()
    store.add([4, 5], [[1, 0, 0], [0, 1, 0]])
    hits = store.search([[1, 0, 0]], k=4)
    assert hits.keys.tolist() == [[4, 5, NO_KEY, NO_KEY]]
    assert hits.scores.tolist() == [[1.0, 0.0, -np.inf, -np.inf]]
    one = store.search([0, 1, 0], k=3, among=[4])
    assert (one.keys.tolist(), one.scores.tolist()) == ([4, NO_KEY, NO_KEY], [0.0, -np.inf, -np.inf])


def test_an_engine_is_not_asked_about_nothing():
    engine, store = guarded()
    assert store.search([[1, 0, 0]], k=2).keys.tolist() == [[NO_KEY, NO_KEY]]
    store.add([], np.empty((0, DIM)))
    assert store.remove([]) == 0
    assert engine.calls == []
    store.add([1], [[1, 0, 0]])
    hits = store.search(np.empty((0, DIM)), k=2)
    assert (hits.keys.shape, hits.keys.dtype, hits.scores.shape, hits.scores.dtype) == (
        (0, 2),
        np.uint64,
        (0, 2),
        np.float32,
    )
    assert engine.calls == ["add"]


@given(form=st.sampled_from(["Fortran-ordered", "strided", "reversed", "read-only"]), dtype=st.sampled_from("efdbiq?"))
def test_any_dtype_and_order_arrives_as_promised(form, dtype):
    engine, store = guarded()
    vectors = (np.arange(6 * DIM).reshape(6, DIM) % 7 + 1).astype(dtype)
    given_ = variants(vectors)[form]
    store.add(variants(np.arange(6, dtype=np.int32))[form], given_)
    store.search(given_, 2, among=variants(np.arange(4, dtype=np.int16))[form])
    store.remove(variants(np.arange(3))[form])
    assert engine.calls == ["add", "search", "remove"]
    assert np.array_equal(given_, vectors)


ROWS = np.eye(DIM)
NAN, INF = [[np.nan, 1, 1]], [[1, np.inf, 1]]

BAD_CALLS = {
    "add: too many keys": lambda s: s.add([1, 2, 3], ROWS[:2]),
    "add: too few keys": lambda s: s.add([1], ROWS),
    "add: no keys": lambda s: s.add([], ROWS),
    "add: keys are floats": lambda s: s.add([1.5], ROWS[:1]),
    "add: key is negative": lambda s: s.add([3, -1], ROWS[:2]),
    "add: key is the marker": lambda s: s.add(np.array([NO_KEY], np.uint64), ROWS[:1]),
    "add: key is too large": lambda s: s.add([2**64], ROWS[:1]),
    "add: keys are text": lambda s: s.add(["a"], ROWS[:1]),
    "add: keys are ragged": lambda s: s.add([[1], [1, 2]], ROWS[:2]),
    "add: keys have two axes": lambda s: s.add([[1, 2]], ROWS[:2]),
    "add: vectors are ragged": lambda s: s.add([1, 2], [[1, 2, 3], [1]]),
    "add: vectors are too short": lambda s: s.add([1], [[1, 2]]),
    "add: vectors are too long": lambda s: s.add([1], [1, 2, 3, 4]),
    "add: vectors have three axes": lambda s: s.add([1], [[[1, 2, 3]]]),
    "add: vectors are text": lambda s: s.add([1], [["a", "b", "c"]]),
    "add: vectors are nothing": lambda s: s.add([1], None),
    "add: a row is nan": lambda s: s.add([5, 6], [[1, 1, 1], *NAN]),
    "add: a row is infinite": lambda s: s.add([5], INF),
    "add: a row overflows float32": lambda s: s.add([5], [[1e300, 0, 0]]),
    "add: a row is zero": lambda s: s.add([5, 6], [[1, 1, 1], [0, 0, 0]]),
    "remove: negative": lambda s: s.remove([-1]),
    "remove: text": lambda s: s.remove("all"),
    "remove: two axes": lambda s: s.remove([[1]]),
    "search: k is zero": lambda s: s.search(ROWS, 0),
    "search: k is negative": lambda s: s.search(ROWS, -3),
    "search: k is a float": lambda s: s.search(ROWS, 1.0),
    "search: k is none": lambda s: s.search(ROWS, None),
    "search: k is huge": lambda s: s.search(ROWS, 2**31),
    "search: query is too short": lambda s: s.search([1, 2], 1),
    "search: query is nan": lambda s: s.search(NAN, 1),
    "search: query is infinite": lambda s: s.search(INF[0], 1),
    "search: query is zero": lambda s: s.search([0, 0, 0], 1),
    "search: query has three axes": lambda s: s.search([[[1, 2, 3]]], 1),
    "search: query is text": lambda s: s.search("abc", 1),
    "search: among is negative": lambda s: s.search(ROWS, 1, among=[-1]),
    "search: among are floats": lambda s: s.search(ROWS, 1, among=[0.5]),
    "search: bad query and bad k": lambda s: s.search(NAN, 0),
    "search: bad k and bad among": lambda s: s.search(ROWS, 0, among=[-1]),
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("call", BAD_CALLS.values(), ids=BAD_CALLS)
def test_bad_input_gets_the_same_error_and_changes_nothing(call, metric):
    engine, store = guarded(metric)
    default = aqe_core.open_store("numpy", dim=DIM, metric=metric)
    for each in (store, default):
        each.add([1, 9], [[1, 2, 3], [3, 2, 1]])
    engine.calls.clear()
    want = outcome(lambda: call(default))
    assert outcome(lambda: call(store)) == want
    if want is None:
        assert metric != "cosine"  # all that is bad here is bad for cosine; zero rows are for it only
    else:
        assert engine.calls == []
        assert store.keys().tolist() == [1, 9]


def test_what_an_engine_cannot_do_is_a_capability_error():
    engine, store = guarded(mutable=False, filtered=False)
    store.add([1, 2], ROWS[:2])
    store.add([3], ROWS[2:])
    for keys, rows in (([2], ROWS[:1]), ([7, 7], ROWS[:2]), ([8, 3], ROWS[:2])):
        assert outcome(lambda keys=keys, rows=rows: store.add(keys, rows))[0] is CapabilityError
    assert outcome(lambda: store.remove([1]))[0] is CapabilityError
    assert outcome(lambda: store.search(ROWS, 1, among=[1]))[0] is CapabilityError
    assert engine.calls == ["add", "add"]
    assert store.keys().tolist() == [1, 2, 3]
    assert store.search(ROWS[0], 1).keys.tolist() == [1]
    # Bad input is bad input, also where the engine could not do it anyway.
    for call in (lambda s: s.remove([-1]), lambda s: s.search(ROWS, 1, among=[-1]), lambda s: s.add([1], NAN)):
        assert outcome(lambda call=call: call(store)) == outcome(lambda call=call: call(guarded()[1]))


@pytest.mark.parametrize(
    ("keys", "scores"),
    [
        (np.zeros((1, 3)), np.zeros((1, 3))),  # more columns than asked for
        (np.zeros((1, 1)), np.zeros((1, 2))),
        (np.zeros(3), np.zeros(3)),
        (np.zeros((0, 1)), np.zeros((1, 1))),
    ],
)
def test_hits_of_a_wrong_shape_are_the_engines_fault(keys, scores):
    engine, store = guarded()
    store.add([1, 2], ROWS[:2])
    engine.search = lambda *_args, **_kwargs: Hits(keys.astype(np.uint64), scores.astype(np.float32))
    with pytest.raises(ContractError, match="the backend returned keys of shape"):
        store.search(ROWS[:1], 2)


def test_hits_of_one_query_may_come_flat_and_in_other_dtypes():
    engine, store = guarded()
    store.add([1, 2], ROWS[:2])
    engine.search = lambda *_args, **_kwargs: ([2, 1], [0.5, 0.25])
    hits = store.search(ROWS[0], 3)
    assert (hits.keys.tolist(), hits.scores.tolist()) == ([2, 1, NO_KEY], [0.5, 0.25, -np.inf])
    assert (hits.keys.dtype, hits.scores.dtype) == (np.uint64, np.float32)


# -- learners ------------------------------------------------------------------------------------------------------


class BareLearner:
    """Q-learning with no check: what reaches it must be of the promised types."""

    algorithm = "q-learning"

    def __init__(self, actions=None):
        self.values, self.actions, self.choice = {}, actions, None

    def __len__(self):
        return len(self.values)

    def get_params(self):
        return {"actions": self.actions}

    def update(self, state, action, reward, next_state, done=False, next_action=None):
        assert [type(each) in (str, int) for each in (state, action, next_state)] == [True] * 3
        assert (type(reward), type(done)) == (float, bool)
        assert next_action is None or type(next_action) in (str, int)
        best = max((value for (s, _), value in self.values.items() if s == next_state), default=0.0)
        old = self.values.get((state, action), 0.0)
        self.values[state, action] = old + 0.1 * (reward + 0.95 * (0.0 if done else best) - old)

    def update_batch(self, states, actions, rewards, next_states, dones=None, next_actions=None):
        assert (rewards.dtype, dones.dtype) == (np.float64, np.bool_)
        then = next_actions or [None] * len(states)
        for row in zip(states, actions, rewards.tolist(), next_states, dones.tolist(), then, strict=True):
            self.update(*row)

    def act(self, state, actions, *, explore=True):
        assert (type(actions), type(state) in (str, int)) == (list, True)
        return max(actions, key=lambda action: self.value(state, action)) if self.choice is None else self.choice

    def value(self, state, action):
        return self.values.get((state, action), 0.0)

    def export_state(self):
        return EngineState(kind="learner/bare/1", manifest={"n": len(self)})

    def import_state(self, state):
        self.values = {("imported", state.kind): 1.0}


def guarded_learner(actions=None):
    return GuardedLearner(BareLearner(actions), LearnerCapabilities())


def test_a_guarded_learner_is_a_learner():
    learner = guarded_learner()
    assert isinstance(learner, Learner)
    assert (learner.algorithm, len(learner), learner.get_params()) == ("q-learning", 0, {"actions": None})
    assert learner.export_state().kind == "learner/bare/1"
    learner.import_state(learner.export_state())
    assert len(learner) == 1


def test_a_guarded_learner_learns_like_the_default():
    learner, default = guarded_learner(), aqe_core.open_learner("numpy")
    rng = np.random.default_rng(0)
    n = 200
    for each, seed in ((learner, 1), (default, 1)):
        rng = np.random.default_rng(seed)
        states, actions, after = (rng.integers(0, 5, n) for _ in range(3))
        rewards, dones = rng.normal(size=n).astype(np.float32), rng.integers(0, 2, n)
        each.update_batch(states[::2], actions[::2], rewards[::2], after[::2], dones[::2])
        each.update_batch(states[:3], list(map(str, actions[:3])), rewards[:3], after[:3], next_actions=actions[:3])
        each.update("s", np.int64(1), 1, np.str_("t"), np.True_)
        each.update(1, "a", 0.5, 2, next_action="b")
    assert len(learner) == len(default)
    for state in (*range(5), "s", "t"):
        for action in (*range(5), *"01234", "a"):
            assert learner.value(state, action) == default.value(state, action)
        assert learner.act(state, np.arange(5), explore=False) == default.act(state, np.arange(5), explore=False)


GOOD = ("s", "a", 1.0, "t")

BAD_LEARNING = {
    "state": lambda x: x.update(None, *GOOD[1:]),
    "state is a float": lambda x: x.update(1.5, *GOOD[1:]),
    "state is true": lambda x: x.update(True, *GOOD[1:]),
    "state is too large": lambda x: x.update(2**63, *GOOD[1:]),
    "action": lambda x: x.update("s", ("a",), 1.0, "t"),
    "reward is nan": lambda x: x.update("s", "a", np.nan, "t"),
    "reward is infinite": lambda x: x.update("s", "a", np.inf, "t"),
    "reward is text": lambda x: x.update("s", "a", "1", "t"),
    "next state": lambda x: x.update("s", "a", 1.0, b"t"),
    "done": lambda x: x.update(*GOOD, "yes"),
    "done is two": lambda x: x.update(*GOOD, 2),
    "next action": lambda x: x.update(*GOOD, False, 1.5),
    "batch: too few states": lambda x: x.update_batch(["s"], ["a", "b"], [1, 2], ["t", "t"]),
    "batch: too few actions": lambda x: x.update_batch(["s", "s"], ["a"], [1, 2], ["t", "t"]),
    "batch: too few rewards": lambda x: x.update_batch([1, 1], [1, 1], [1], [1, 1]),
    "batch: too many next states": lambda x: x.update_batch([1], [1], [1], [1, 2]),
    "batch: too many dones": lambda x: x.update_batch([1], [1], [1], [1], [True, False]),
    "batch: too many next actions": lambda x: x.update_batch([1], [1], [1.0], [1], None, [1, 2]),
    "batch: nan": lambda x: x.update_batch([1, 1], [1, 1], [1, np.nan], [1, 1]),
    "batch: a state": lambda x: x.update_batch([1, None], [1, 1], [1, 1], [1, 1]),
    "batch: an action": lambda x: x.update_batch([1, 1], [1, 2.5], [1, 1], [1, 1]),
    "batch: a next state": lambda x: x.update_batch([1, 1], [1, 1], [1, 1], [1, ()]),
    "batch: a done": lambda x: x.update_batch([1], [1], [1], [1], [2]),
    "batch: states are one text": lambda x: x.update_batch("ab", [1, 1], [1, 1], [1, 1]),
    "batch: states have two axes": lambda x: x.update_batch(np.ones((2, 1), int), [1, 1], [1, 1], [1, 1]),
    "batch: states are a number": lambda x: x.update_batch(1, [1], [1], [1]),
    "batch: rewards are text": lambda x: x.update_batch([1], [1], ["x"], [1]),
    "act: nothing offered": lambda x: x.act("s", []),
    "act: a bad offer": lambda x: x.act("s", ["a", None]),
    "act: one text": lambda x: x.act("s", "ab"),
    "act: a bad state": lambda x: x.act(None, ["a"]),
    "act: a bad state and nothing offered": lambda x: x.act(None, []),
    "value: a bad state": lambda x: x.value(1.5, "a"),
    "value: a bad action": lambda x: x.value("s", None),
}


@pytest.mark.parametrize("call", BAD_LEARNING.values(), ids=BAD_LEARNING)
def test_bad_learning_gets_an_error_of_the_same_class_and_changes_nothing(call):
    # SARSA, as the default's Q-learning does not look at the next action, so not at a bad one either.
    learner, default = guarded_learner(), aqe_core.open_learner("numpy", algorithm="sarsa")
    for each in (learner, default):
        each.update(*GOOD)
    want = outcome(lambda: call(default))
    assert want is not None
    got = outcome(lambda: call(learner))
    assert got is not None
    assert got[0] is want[0]
    assert len(learner) == 1
    assert learner.value("s", "a") == default.value("s", "a")


def test_actions_outside_the_declared_set_are_refused():
    learner, default = guarded_learner(["run", 3]), aqe_core.open_learner("numpy", actions=["run", 3])
    calls = {
        "update": lambda x: x.update("s", "skip", 1.0, "t"),
        "an equal text is another": lambda x: x.update("s", "3", 1.0, "t"),
        "next": lambda x: x.update_batch(["s"], ["run"], [1.0], ["t"], None, ["run"]) or x.update("s", 4, 1.0, "t"),
        "batch": lambda x: x.update_batch(["s", "s"], ["run", "skip"], [1.0, 1.0], ["t", "t"]),
        "act": lambda x: x.act("s", ["run", "skip"]),
        "value": lambda x: x.value("s", "skip"),
    }
    for call in calls.values():
        for each in (learner, default):
            assert outcome(lambda call=call, each=each: call(each))[0] is InvalidActionError
    learner.update("s", "run", 1.0, "t")
    assert learner.act("s", ["run", 3], explore=False) == "run"
    with pytest.raises(InvalidActionError, match="'skip' is not one of the declared actions"):
        learner.update("s", "run", 1.0, "t", False, "skip")


def test_the_place_in_a_batch_is_named():
    with pytest.raises(AqeError, match=r"^states\[1\] is None"):
        guarded_learner().update_batch(["s", None], ["a", "a"], [1, 1], ["t", "t"])
    with pytest.raises(AqeError, match=r"^next_actions\[0\] is 0\.5"):
        guarded_learner().update_batch(["s"], ["a"], [1], ["t"], None, [0.5])


def test_a_choice_that_was_not_offered_is_the_engines_fault():
    engine = BareLearner()
    engine.choice = "c"
    with pytest.raises(ContractError, match="chose 'c', which was not offered"):
        GuardedLearner(engine).act("s", ["a", "b"])


# -- analyzers -----------------------------------------------------------------------------------------------------


class BareBandit(RidgeBandit):
    """A bandit that notes what reaches it, which must be as the guard promises."""

    def act(self, context, actions=None, *, explore=True):
        assert context.dtype == np.float64
        assert set(actions) <= set(self.actions)
        return super().act(context, actions, explore=explore)

    def update(self, context, action, reward):
        assert type(reward) is float
        super().update(context, action, reward)

    def update_batch(self, contexts, actions, rewards):
        assert type(actions) is list
        assert contexts.dtype == rewards.dtype == np.float64
        super().update_batch(contexts, actions, rewards)


def test_a_guarded_bandit_passes_the_kit():
    report = run_checks("learner", BareBandit, LearnerCapabilities(algorithms=("linucb",)))
    assert report.ok, report


def test_a_bandit_that_chooses_what_was_not_offered():
    class Wilful(BareBandit):
        def act(self, context, actions=None, *, explore=True):
            return "mine"

    bandit = GuardedBandit(Wilful(dim=1, actions=["a", "mine"]))
    with pytest.raises(ContractError, match="not offered"):
        bandit.act([1.0], ["a"])


class BareAnalyzer:
    """Notes what arrives; the numbers themselves are no matter of the guard."""

    def __init__(self):
        self.calls = []

    def describe(self, values, *, quantiles=(0.5,)):
        self.calls.append((values, quantiles))
        return "described"

    def describe_groups(self, values, groups, n_groups):
        self.calls.append((values, groups, n_groups))
        return "grouped"

    def flakiness(self, failed, groups, n_groups):
        self.calls.append((failed, groups, n_groups))
        return "flaky"


def test_a_guarded_analyzer_hands_on_arrays_of_the_promised_form():
    engine = BareAnalyzer()
    analyzer = GuardedAnalyzer(engine)
    assert isinstance(analyzer, Analyzer)
    assert analyzer.describe([1, 2], quantiles=0.5) == "described"
    assert (
        analyzer.describe_groups(np.arange(6, dtype=np.int8)[::2], np.zeros(6, np.uint8)[::2], np.int64(1)) == "grouped"
    )
    assert analyzer.flakiness([0, 1, 1], (0, 1, 1), 2) == "flaky"
    (values, levels), (more, groups, n), (failed, tests, m) = engine.calls
    for array, dtype in (
        (values, float),
        (levels, float),
        (more, float),
        (groups, np.int64),
        (failed, bool),
        (tests, np.int64),
    ):
        assert (array.dtype, array.ndim, array.flags.c_contiguous) == (dtype, 1, True)
    assert (values.tolist(), levels.tolist(), failed.tolist(), tests.tolist()) == (
        [1, 2],
        [0.5],
        [False, True, True],
        [0, 1, 1],
    )
    assert [(each, type(each)) for each in (n, m)] == [(1, int), (2, int)]


BAD_ANALYSIS = {
    "values are nan": lambda x: x.describe([1.0, np.nan]),
    "values have two axes": lambda x: x.describe([[1.0]]),
    "values are text": lambda x: x.describe(["a"]),
    "values are ragged": lambda x: x.describe([[1], [1, 2]]),
    "values are a number": lambda x: x.describe(3.0),
    "quantiles above one": lambda x: x.describe([1.0], quantiles=[0.5, 50]),
    "quantiles are nan": lambda x: x.describe([1.0], quantiles=[np.nan]),
    "bad values and bad quantiles": lambda x: x.describe([np.inf], quantiles=[2]),
    "group is too large": lambda x: x.describe_groups([1.0, 2.0], [0, 2], 2),
    "group is negative": lambda x: x.describe_groups([1.0], [-1], 2),
    "groups are floats": lambda x: x.describe_groups([1.0], [0.0], 2),
    "groups are too few": lambda x: x.describe_groups([1.0, 2.0], [0], 2),
    "number of groups": lambda x: x.describe_groups([1.0], [0], 2.0),
    "bad values and bad groups": lambda x: x.describe_groups([np.nan], [5], 1),
    "outcomes are text": lambda x: x.flakiness(["failed"], [0], 1),
    "outcome is two": lambda x: x.flakiness([0, 2], [0, 0], 1),
    "outcomes have two axes": lambda x: x.flakiness([[True]], [0], 1),
    "flaky groups are too many": lambda x: x.flakiness([True], [0, 0], 1),
    "flaky group is too large": lambda x: x.flakiness([True], [1], 1),
    "negative number of groups": lambda x: x.flakiness([], [], -1),
}


@pytest.mark.parametrize("call", BAD_ANALYSIS.values(), ids=BAD_ANALYSIS)
def test_bad_values_get_the_same_error(call):
    engine = BareAnalyzer()
    want = outcome(lambda: call(aqe_core.open_analyzer("numpy")))
    assert want is not None
    assert outcome(lambda: call(GuardedAnalyzer(engine))) == want
    assert engine.calls == []
