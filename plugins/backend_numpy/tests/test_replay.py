"""Replays: what is kept, what is drawn, n-step returns, priorities."""

from __future__ import annotations

import numpy as np
import pytest
from aqe_backend_numpy.replay._sums import WIDTH, Sums
from aqe_backend_numpy.replay.buffer import NumpyReplay
from hypothesis import given, settings
from hypothesis import strategies as st

import aqe_core
from aqe_core.errors import CapabilityError, ConfigError, DimensionError, InputError, NonFiniteError
from aqe_core.state import EngineState


def filled(n: int, **options) -> NumpyReplay:
    """Return a replay in which row i has observation i, action i, reward i and next observation i + 1."""
    replay = NumpyReplay(**{"capacity": 100, "observation_dim": 1, **options})
    for i in range(n):
        replay.add(np.array([i], np.float32), i, float(i), np.array([i + 1], np.float32), False)
    return replay


def columns(n: int, start: int = 0, ended: tuple[int, ...] = ()) -> tuple[np.ndarray, ...]:
    rows = np.arange(start, start + n)
    seen = rows[:, None].astype(np.float32)
    return seen, rows, rows.astype(np.float64), seen + 1, np.isin(rows, ended)


def equal_states(one: EngineState, other: EngineState) -> bool:
    return (
        one.manifest == other.manifest
        and one.arrays.keys() == other.arrays.keys()
        and all(np.array_equal(array, other.arrays[name]) for name, array in one.arrays.items())
    )


@pytest.mark.parametrize("prioritized", [False, True])
def test_only_what_was_added_is_drawn(prioritized):
    replay = filled(7, prioritized=prioritized)
    drawn = replay.sample(1000)
    assert set(drawn.actions.tolist()) == set(range(7))
    assert (drawn.observations[:, 0] == drawn.actions).all()
    assert (drawn.next_observations[:, 0] == drawn.actions + 1).all()
    assert (drawn.rewards == drawn.actions).all()
    assert (drawn.weights == 1.0).all()
    assert [each.dtype.name for each in drawn] == [
        "int64", "float32", "int64", "float64", "float32", "bool", "float64", "float64",
    ]  # fmt: skip


@pytest.mark.parametrize("prioritized", [False, True])
def test_a_full_ring_forgets_the_oldest(prioritized):
    replay = filled(17, capacity=10, prioritized=prioritized)
    assert len(replay) == replay.capacity == 10
    assert set(replay.sample(1000).actions.tolist()) == set(range(7, 17))


@settings(max_examples=60, deadline=None)
@given(
    capacity=st.integers(1, 12),
    parts=st.lists(st.integers(0, 30), max_size=6),
    n_step=st.integers(1, 4),
    prioritized=st.booleans(),
)
def test_a_batch_equals_single_additions(capacity, parts, n_step, prioritized):
    options = {"capacity": capacity, "observation_dim": 1, "n_step": n_step, "prioritized": prioritized}
    batched, single = NumpyReplay(**options), NumpyReplay(**options)
    start = 0
    for n in parts:
        rows = columns(n, start, ended=(3, 4, 17))
        batched.add_batch(*rows)
        for row in zip(*rows, strict=True):
            single.add(*row)
        start += n
    assert equal_states(batched.export_state(), single.export_state())
    if start:
        for ours, theirs in zip(batched.sample(20), single.sample(20), strict=True):
            assert np.array_equal(ours, theirs)


@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(1, 60),
    capacity=st.integers(1, 25),
    n_step=st.integers(1, 6),
    n_envs=st.integers(1, 3),
    endings=st.lists(st.sampled_from(["no", "no", "no", "terminated", "truncated"]), min_size=60, max_size=60),
)
def test_steps_taken_together_by_a_plain_loop(n, capacity, n_step, n_envs, endings):
    discount = 0.5
    replay = NumpyReplay(capacity=capacity, observation_dim=1, n_step=n_step, n_envs=n_envs, discount=discount, seed=1)
    over = np.array([each == "terminated" for each in endings[:n]])
    cut = np.array([each == "truncated" for each in endings[:n]])
    replay.add_batch(*columns(n)[:4], over, cut)
    drawn = replay.sample(64)
    for position, first in enumerate(drawn.actions.tolist()):
        reward, factor, row = 0.0, 1.0, first
        for _ in range(n_step):
            reward += factor * row
            factor *= discount
            last = row
            row += n_envs
            if over[last] or cut[last] or row >= n:
                break
        assert drawn.rewards[position] == reward
        assert drawn.next_observations[position, 0] == last + 1
        assert drawn.terminated[position] == over[last]
        assert drawn.discounts[position] == (0.0 if over[last] else factor)
        assert n - capacity <= first


def test_rows_are_drawn_in_proportion_to_their_priorities():
    errors = np.array([0.0, 1.0, 2.0, 4.0, -8.0, 0.5, 3.0, 16.0])
    replay = filled(8, prioritized=True, priority_exponent=0.7, seed=3)
    replay.update_priorities(np.arange(8), errors)
    chances = (np.abs(errors) + 1e-6) ** 0.7
    chances /= chances.sum()
    draws = np.concatenate([replay.sample(1).indices for _ in range(8000)])  # one a time: parts are not independent
    counts = np.bincount(draws, minlength=8)
    expected = 8000 * chances
    usual = expected > 5
    statistic = (np.square(counts - expected)[usual] / expected[usual]).sum()
    assert statistic < 24.3  # chi-square, 7 degrees of freedom, p = 0.001
    drawn = replay.sample(500, importance_exponent=0.9)
    weights = (8 * chances[drawn.indices]) ** -0.9
    assert drawn.weights == pytest.approx(weights / weights.max())


def test_a_large_batch_follows_the_priorities_closely():
    replay = filled(4, prioritized=True, priority_exponent=1.0)
    replay.update_priorities([0, 1, 2, 3], [1.0, 2.0, 3.0, 4.0])
    counts = np.bincount(replay.sample(1000).indices, minlength=4)
    assert np.abs(counts - [100, 200, 300, 400]).max() <= 1  # one draw in each of 1000 equal parts


def test_new_rows_get_the_largest_priority_and_are_drawn_soon():
    replay = filled(5, prioritized=True, priority_exponent=1.0)
    replay.update_priorities(np.arange(5), np.full(5, 50.0))
    replay.add([5.0], 5, 5.0, [6.0], False)
    weights = replay.export_state().arrays["weights"]
    assert weights == pytest.approx(np.full(6, 50.0 + 1e-6))
    overwritten = filled(5, capacity=5, prioritized=True)
    overwritten.update_priorities(np.arange(5), np.zeros(5))
    overwritten.add([5.0], 5, 5.0, [6.0], False)
    assert overwritten.export_state().arrays["weights"].argmax() == 0


def test_of_equal_indices_the_last_error_counts_and_its_sign_does_not_matter():
    replay = filled(3, prioritized=True, priority_exponent=1.0)
    replay.update_priorities([1, 1, 1], [9.0, 5.0, -2.0])
    assert replay.export_state().arrays["weights"][1] == pytest.approx(2.0 + 1e-6)


@pytest.mark.parametrize("prioritized", [False, True])
@pytest.mark.parametrize("n", [3, 25])
def test_a_saved_replay_goes_on_bit_for_bit(prioritized, n, tmp_path):
    whole = filled(n, capacity=10, prioritized=prioritized, n_step=2, seed=5)
    drawn = whole.sample(4)
    if prioritized:
        whole.update_priorities(drawn.indices, drawn.rewards)
    whole.save(tmp_path / "replay.aqestate")
    resumed = NumpyReplay(capacity=1, observation_dim=9)
    resumed.load(tmp_path / "replay.aqestate")
    for replay in (whole, resumed):
        replay.add_batch(*columns(4, start=100))
    for ours, theirs in zip(whole.sample(50), resumed.sample(50), strict=True):
        assert np.array_equal(ours, theirs)
    assert equal_states(whole.export_state(), resumed.export_state())


def test_vectors_as_actions():
    replay = aqe_core.open_replay("numpy", capacity=4, observation_dim=2, action_dim=3)
    replay.add([0, 1], [1, 2, 3], 1, [1, 1], True)
    drawn = replay.sample(2)
    assert drawn.actions.tolist() == [[1.0, 2.0, 3.0]] * 2
    assert drawn.discounts.tolist() == [0.0, 0.0]
    assert replay.get_params()["action_dim"] == 3


PLAIN = ([0.0], 1, 1.0, [1.0], False)


@pytest.mark.parametrize(
    ("place", "value", "error"),
    [
        (0, [np.nan], NonFiniteError),
        (0, np.array([np.inf], np.float32), NonFiniteError),
        (0, [1e39], NonFiniteError),
        (0, [0.0, 1.0], DimensionError),
        (0, ["x"], DimensionError),
        (1, 0.5, InputError),
        (1, [1, 2], DimensionError),
        (1, 2**63, InputError),
        (2, np.nan, NonFiniteError),
        (2, "x", DimensionError),
        (3, [-np.inf], NonFiniteError),
        (4, 2, InputError),
    ],
)
def test_bad_rows_are_refused_and_nothing_changes(place, value, error):
    replay = filled(2)
    before = replay.export_state()
    row = list(PLAIN)
    row[place] = value
    with pytest.raises(error):
        replay.add(*row)
    assert equal_states(replay.export_state(), before)
    replay.add(*PLAIN)
    assert len(replay) == 3


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("place", [0, 2, 3])
def test_one_bad_number_in_a_batch_is_found(place, value):
    replay = filled(2)
    before = replay.export_state()
    rows = list(columns(3))
    rows[place] = rows[place].copy()
    rows[place][1] = value
    with pytest.raises(NonFiniteError):
        replay.add_batch(*rows)
    assert equal_states(replay.export_state(), before)


def test_large_but_finite_rows_are_kept():
    replay = NumpyReplay(capacity=2, observation_dim=1)
    replay.add(np.array([3e38], np.float32), 1, 1e300, np.array([-3e38], np.float32), False)
    assert replay.sample(1).observations[0, 0] == np.float32(3e38)


@pytest.mark.parametrize(
    "options",
    [
        {"capacity": 0},
        {"observation_dim": 0},
        {"n_step": 0},
        {"n_envs": True},
        {"discount": 1.5},
        {"priority_exponent": "x"},
        {"importance_exponent": np.nan},
        {"prioritized": 1},
        {"seed": -1},
    ],
)
def test_bad_options_are_refused(options):
    with pytest.raises(InputError):
        aqe_core.open_replay("numpy", **{"capacity": 10, "observation_dim": 1, **options})


def test_other_wrong_uses_are_refused():
    replay = filled(3)
    with pytest.raises(CapabilityError):
        replay.update_priorities([0], [1.0])
    with pytest.raises(InputError, match="empty"):
        filled(0).sample(1)
    for size in (0, 1.5, True):
        with pytest.raises(InputError):
            replay.sample(size)
    with pytest.raises(InputError):
        replay.sample(1, importance_exponent=2.0)
    with pytest.raises(ConfigError):
        aqe_core.open_replay("numpy", capacity=1, observation_dim=1, sise=3)
    ranked = filled(3, prioritized=True)
    for indices, errors, error in (
        ([3], [1.0], InputError),
        ([-1], [1.0], InputError),
        ([0.5], [1.0], InputError),
        ([0, 1], [1.0], DimensionError),
        ([0], [np.nan], NonFiniteError),
    ):
        with pytest.raises(error):
            ranked.update_priorities(indices, errors)
    ranked.update_priorities([], [])


def test_damaged_states_are_refused():
    replay = filled(3, prioritized=True)
    state = replay.export_state()
    arrays, manifest = dict(state.arrays), dict(state.manifest)
    for wrong in (
        EngineState(kind="replay/2", manifest=manifest, arrays=arrays),
        EngineState(kind="replay/1", manifest={}, arrays=arrays),
        EngineState(kind="replay/1", manifest={**manifest, "head": 7}, arrays=arrays),
        EngineState(kind="replay/1", manifest=manifest, arrays={**arrays, "rewards": arrays["rewards"][:2]}),
        EngineState(kind="replay/1", manifest=manifest, arrays={**arrays, "weights": np.array([1.0, -1.0, 1.0])}),
        EngineState(kind="replay/1", manifest=manifest, arrays={**arrays, "generator": np.arange(3)}),
    ):
        with pytest.raises(InputError):
            replay.import_state(wrong)
        assert equal_states(replay.export_state(), state)


@settings(max_examples=50, deadline=None)
@given(
    weights=st.lists(st.sampled_from([0.0, 1e-12, 0.1, 1.0, 7.0, 1e12]), min_size=1, max_size=3 * WIDTH).filter(any),
    seed=st.integers(0, 99),
)
def test_it_finds_what_running_sums_find(weights, seed):
    tree = Sums(len(weights))
    given_weights = np.array(weights)
    tree.set(np.arange(len(weights)), given_weights)
    assert tree.total() == pytest.approx(given_weights.sum())
    targets = np.random.default_rng(seed).random(50) * tree.total()
    found = tree.find(targets)
    assert (given_weights[found] > 0).all()
    running = np.concatenate(([0.0], given_weights.cumsum()))
    slack = 1e-9 * running[-1]
    assert (running[found] <= targets + slack).all()
    assert (targets <= running[found + 1] + slack).all()
    edges = tree.find(np.array([0.0, tree.total()]))
    assert (given_weights[edges] > 0).all()


def test_sums_stay_in_step():
    rng = np.random.default_rng(0)
    tree = Sums(5 * WIDTH + 3)
    plain = np.zeros(5 * WIDTH + 3)
    for size in (1, 10, 5000):
        where = rng.integers(plain.size, size=size)
        weights = rng.random(size)
        tree.set(where, weights)
        plain[where] = weights
    assert tree.total() == pytest.approx(plain.sum())
    rebuilt = Sums(plain.size)
    rebuilt.set(np.arange(plain.size), plain)
    targets = rng.random(100) * plain.sum()
    assert np.array_equal(tree.find(targets), rebuilt.find(targets))
