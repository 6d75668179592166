"""The native replay keeps and draws what the NumPy one does, and each reads the other's states."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqe_core.errors import AqeError
from aqe_core.state import EngineState

pytest.importorskip("aqe_core.contracts.replay", reason="this aqe-core has no replays")
native = pytest.importorskip("aqe_backend_native.replay", reason="the native extension is not built")
numpy = pytest.importorskip("aqe_backend_numpy.replay.buffer")


def both(**options):
    """Return an empty replay of each backend."""
    options = {"capacity": 12, "observation_dim": 2, "seed": 5, **options}
    return numpy.NumpyReplay(**options), native.NativeReplay(**options)


def columns(n, start, *, action_dim=0, ends=()):
    """Return columns in which everything says the row's number."""
    rows = np.arange(start, start + n)
    seen = np.stack([rows, -rows], axis=1).astype(np.float32)
    actions = rows[:, None].repeat(action_dim, axis=1).astype(np.float32) if action_dim else rows
    return seen, actions, rows * 0.5, seen + 1, np.isin(rows, ends)


def frozen(replay):
    """Return all that a replay holds, in a form that compares bit for bit."""
    state = replay.export_state()
    arrays = {name: (str(array.dtype), array.shape, array.tobytes()) for name, array in state.arrays.items()}
    return state.kind, json.dumps(state.manifest), arrays, len(replay)


def same_rows(one, other):
    for ours, theirs in zip(one, other, strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


@settings(max_examples=100, deadline=None)
@given(
    capacity=st.integers(1, 12),
    parts=st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=6),
    n_step=st.integers(1, 4),
    n_envs=st.integers(1, 3),
    action_dim=st.integers(0, 2),
    prioritized=st.booleans(),
)
def test_the_same_additions_are_kept_and_drawn_alike(capacity, parts, n_step, n_envs, action_dim, prioritized):
    options = {"n_step": n_step, "n_envs": n_envs, "action_dim": action_dim, "prioritized": prioritized}
    one, other = both(capacity=capacity, **options)
    start = 0
    for n, singly in parts:
        rows = columns(n, start, action_dim=action_dim, ends=(3, 4, 17))
        cut = np.arange(start, start + n) % 7 == 6
        one.add_batch(*rows, cut)
        if singly:
            for row in zip(*rows, cut.tolist(), strict=True):
                other.add(*row)
        else:
            other.add_batch(*rows, cut)
        start += n
        assert frozen(one) == frozen(other)
        if start and not prioritized:
            same_rows(one.sample(20), other.sample(20))
    if start and prioritized:
        drawn = other.sample(50)
        assert np.array_equal(drawn.weights, np.ones(50))
        one.import_state(other.export_state())
        other.import_state(one.export_state())
        assert frozen(one) == frozen(other)
        unknown = set(drawn.indices.tolist()) - set(range(len(one)))
        assert not unknown


@pytest.mark.parametrize("exponent", [0.0, 0.6, 1.0])
def test_priorities_are_kept_alike_and_followed(exponent):
    one, other = both(capacity=200, prioritized=True, priority_exponent=exponent)
    rng = np.random.default_rng(1)
    for replay in (one, other):
        replay.add_batch(*columns(150, 0))
    errors = rng.normal(size=150) * np.where(rng.random(150) < 0.2, 100.0, 1.0)
    order = rng.permutation(150)
    for replay in (one, other):
        replay.update_priorities(order, errors)
        replay.update_priorities([3, 3], [1e300, -0.5])
        replay.add_batch(*columns(80, 150))
    mine, theirs = (replay.export_state() for replay in (other, one))
    np.testing.assert_allclose(mine.arrays["weights"], theirs.arrays["weights"], rtol=1e-14)
    assert mine.manifest["highest"] == pytest.approx(theirs.manifest["highest"], rel=1e-14)
    weights = mine.arrays["weights"]
    chances = weights / weights.sum()
    drawn = other.sample(100_000, importance_exponent=0.7)
    counts = np.bincount(drawn.indices, minlength=200)
    assert np.abs(counts - 100_000 * chances).max() <= 2.0  # one draw in each of equal parts
    expected = (200 * chances[drawn.indices]) ** -0.7
    np.testing.assert_allclose(drawn.weights, expected / expected.max(), rtol=1e-9)


@pytest.mark.parametrize("prioritized", [True, False])
def test_a_replay_goes_on_where_another_stopped(prioritized):
    _, whole = both(prioritized=prioritized, n_step=2)
    whole.add_batch(*columns(17, 0))
    drawn = whole.sample(5)
    if prioritized:
        whole.update_priorities(drawn.indices, drawn.rewards)
    resumed = native.NativeReplay(capacity=3, observation_dim=1)
    resumed.import_state(whole.export_state())
    for replay in (whole, resumed):
        replay.add_batch(*columns(2, 17))
    same_rows(whole.sample(30), resumed.sample(30))
    assert frozen(whole) == frozen(resumed)


def outcome(call, *arguments, **named):
    """Return what a call gave, or how it was refused."""
    try:
        return "gave", call(*arguments, **named)
    except AqeError as error:
        return type(error).__name__, str(error), error.fix


GOOD = {
    "observation": np.array([1.0, 2.0], np.float32),
    "action": 3,
    "reward": 1.0,
    "next_observation": np.array([3.0, 4.0], np.float32),
    "terminated": False,
    "truncated": False,
}
NAN = float("nan")
CHANGES = [
    *({name: value} for name in ("observation", "next_observation") for value in (
        [1.0, 2.0], np.array([1.0, NAN], np.float32), np.array([np.inf, 1.0]), np.zeros(3, np.float32), "ab", None,
        np.zeros(4, np.float32)[::2], np.zeros(2), 1.0,
    )),
    *({"action": value} for value in (0.5, True, np.int8(4), 2**63, "a", None, [1])),
    *({"reward": value} for value in (NAN, np.inf, 3, "x", None, np.float32(0.5))),
    *({name: value} for name in ("terminated", "truncated") for value in (1, 2, None, np.True_, "no")),
]  # fmt: skip


def test_one_row_is_refused_alike():
    for change in CHANGES:
        one, other = both()
        results = [outcome(replay.add, **GOOD | change) for replay in (one, other)]
        assert results[0] == results[1], change
        assert frozen(one) == frozen(other), change


def test_columns_are_refused_alike():
    good = dict(zip(("observations", "actions", "rewards", "next_observations", "terminated"), columns(3, 0)))  # noqa: B905  # truncated is left out
    changes = [
        *({name: value} for name in ("observations", "next_observations") for value in (
            np.zeros((2, 2), np.float32), np.zeros((3, 2)), np.full((3, 2), NAN, np.float32), np.zeros(6, np.float32),
            [[1, 2]] * 3, np.zeros((3, 4), np.float32)[:, ::2], np.asfortranarray(np.ones((3, 2), np.float32)),
        )),
        *({"actions": value} for value in ([1, 2, 3], [1.0] * 3, np.arange(6)[::2], np.arange(2), np.zeros((3, 1)))),
        *({"rewards": value} for value in ([1, 2, 3], np.array([1.0, NAN, 1.0]), np.arange(6.0)[::2], np.ones(2))),
        *({name: value} for name in ("terminated", "truncated") for value in (
            [0, 1, 1], [0, 1, 2], np.array([True, False]), np.ones(6, bool)[::2], ["a"] * 3,
        )),
    ]  # fmt: skip
    for action_dim in (0, 2):
        for change in changes:
            one, other = both(action_dim=action_dim)
            rows = good if not action_dim else good | {"actions": np.ones((3, 2), np.float32)}
            results = [outcome(replay.add_batch, **rows | change) for replay in (one, other)]
            assert results[0] == results[1], change
            assert frozen(one) == frozen(other), change


def test_draws_and_priorities_are_refused_alike():
    for prioritized in (False, True):
        one, other = both(prioritized=prioritized)
        calls = [
            *(("sample", (m,), {}) for m in (1, 0, -1, 1.0, True, None, "3")),
            *(("sample", (1,), {"importance_exponent": value}) for value in (-0.1, 1.1, NAN, "x")),
            *(("update_priorities", (rows, errors), {}) for rows, errors in (
                ([0], [1.0]), ([12], [1.0]), ([-1], [1.0]), ([0.0], [1.0]), ([0, 1], [1.0]), ([0], [NAN]), ([], []),
                (np.array([1, 2]), np.array([1.0, np.inf])), (np.array([2, 2]), np.array([1.0, -1.0])), ([0], ["a"]),
                (np.arange(4)[::2], np.arange(4.0)[::2]),
            )),
        ]  # fmt: skip
        for n in (0, 4):
            for replay in (one, other):
                replay.add_batch(*columns(n, 0))
            for name, arguments, named in calls:
                results = [outcome(getattr(replay, name), *arguments, **named)[0] for replay in (one, other)]
                assert results[0] == results[1], (name, arguments)
                refused = [outcome(getattr(replay, name), *arguments, **named) for replay in (one, other)]
                assert refused[0][0] == "gave" or refused[0] == refused[1]
        assert frozen(one)[3] == frozen(other)[3]


@pytest.mark.parametrize(
    "options", [{"capacity": 0}, {"n_step": 0}, {"discount": 1.5}, {"seed": -1}, {"prioritized": 1}]
)
def test_options_are_refused_alike(options):
    results = [
        outcome(make, **{"capacity": 3, "observation_dim": 1, **options})
        for make in (numpy.NumpyReplay, native.NativeReplay)
    ]
    assert results[0] == results[1]
    assert results[0][0] == "InputError"


def test_what_memory_cannot_hold_is_refused():
    with pytest.raises(MemoryError):
        native.NativeReplay(capacity=2**52, observation_dim=1000)
    _, replay = both()
    replay.add_batch(*columns(3, 0))
    with pytest.raises(MemoryError):
        replay.sample(2**52)


def test_a_broken_state_is_refused_and_changes_nothing():
    _, replay = both(prioritized=True)
    replay.add_batch(*columns(5, 0))
    before, good = frozen(replay), replay.export_state()
    for changes in (
        {"kind": "learner/sarsa/1"},
        {"manifest": {**good.manifest, "head": 3}},
        {"arrays": {**good.arrays, "weights": -good.arrays["weights"]}},
        {"arrays": {**good.arrays, "rewards": good.arrays["rewards"] * NAN}},
    ):
        with pytest.raises(AqeError):
            replay.import_state(
                EngineState(**{"kind": good.kind, "manifest": good.manifest, "arrays": good.arrays} | changes)
            )
        assert frozen(replay) == before


def test_it_can_be_kept_in_a_file(tmp_path):
    _, replay = both()
    replay.add_batch(*columns(30, 0))
    replay.save(tmp_path / "kept.aqestate")
    other = both()[0]
    other.load(tmp_path / "kept.aqestate")
    assert frozen(other) == frozen(replay)
