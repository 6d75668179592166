"""Checks of learners, part 4: replays."""

# ruff: noqa: D401  # the first line of a check says what is promised
from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from aqe_core.contracts.replay import Replay
from aqe_core.errors import CapabilityError, DimensionError, InputError, NonFiniteError
from aqe_core.testing.checks_learner import through_json
from aqe_core.testing.expect import close, equal, raises, require, same_array, same_state
from aqe_core.testing.kit import Context, check


def replay_of(kit: Context, **options: Any) -> Any:
    """Return an empty replay."""
    return kit.make(**{"capacity": 10, "observation_dim": 1, "seed": 1, **options})


def rows_of(n: int, start: int = 0, ends: tuple[int, ...] = ()) -> list[Any]:
    """Return columns in which everything says the row's number; rows in ``ends`` terminate."""
    numbers = np.arange(start, start + n)
    seen = numbers[:, None].astype(np.float32)
    return [seen, numbers, numbers.astype(np.float64), seen + 1, np.isin(numbers, ends)]


@check("learner", needs="replay")
def check_replay_rows(kit: Context) -> None:
    """What is drawn was added, whole and in the documented forms; an integer or a vector is an action.

    If this fails, look at draws beyond the last written row, and at columns that are gathered by different indices.
    """
    for prioritized in (False, True):
        replay = replay_of(kit, prioritized=prioritized)
        require(isinstance(replay, Replay), f"{type(replay).__name__} is not a Replay")
        equal((replay.capacity, len(replay)), (10, 0), "capacity and len of an empty replay")
        equal(kit.make(**replay.get_params()).get_params(), replay.get_params(), "get_params() of its copy")
        replay.add_batch(*rows_of(4, ends=(2,)))
        drawn = replay.sample(200)
        equal(set(drawn.actions.tolist()), {0, 1, 2, 3}, "rows drawn")
        same_array(drawn.observations, drawn.actions[:, None].astype(np.float32), "observations")
        same_array(drawn.next_observations, drawn.actions[:, None].astype(np.float32) + 1, "next observations")
        same_array(drawn.rewards, drawn.actions.astype(np.float64), "rewards")
        same_array(drawn.terminated, drawn.actions == 2, "terminated")
        close(drawn.discounts, np.where(drawn.actions == 2, 0.0, 0.99), 1e-15, "discounts")
        same_array(drawn.weights, np.ones(200), "weights")
    vectors = replay_of(kit, action_dim=2)
    vectors.add([0.0], [0.5, -1.0], 1.0, [1.0], False, True)
    same_array(vectors.sample(1).actions, np.array([[0.5, -1.0]], np.float32), "actions that are vectors")


@check("learner", needs="replay")
def check_replay_wraps(kit: Context) -> None:
    """When it is full the newest take the place of the oldest, also many at once.

    If this fails, look at the position of the next row after a batch that passes the end, or that is longer than all.
    """
    for parts in ((10, 1), (7, 7), (3, 25), (10, 10, 10)):
        replay, total = replay_of(kit), 0
        for n in parts:
            replay.add_batch(*rows_of(n, total))
            total += n
        equal(len(replay), 10, "len of a full replay")
        equal(set(replay.sample(400).actions.tolist()), set(range(total - 10, total)), f"rows kept of {parts}")


@check("learner", needs="replay")
def check_replay_batch_equals_singles(kit: Context) -> None:
    """A batch leaves the replay as the same additions one at a time do, and both draw the same.

    If this fails, look at the wrap-around and at the priorities of new rows.
    """
    for options in ({}, {"prioritized": True}, {"n_step": 3, "n_envs": 2}):
        batch, single = replay_of(kit, **options), replay_of(kit, **options)
        for n, start in ((4, 0), (9, 4), (23, 13)):
            columns = rows_of(n, start, ends=(3, 20))
            batch.add_batch(*columns)
            for row in zip(*columns, strict=True):
                single.add(*row)
        same_state(batch.export_state(), single.export_state(), "state after batches")
        ours, theirs = batch.sample(20), single.sample(20)
        for name in ours._fields:
            same_array(getattr(ours, name), getattr(theirs, name), f"{name} drawn after batches")


@check("learner", needs="replay")
def check_replay_n_step(kit: Context) -> None:
    """Steps taken together are successive ones of one copy, end with the episode, and with the newest row.

    If this fails, look at the next row of the same copy, at truncated steps, and at the seam of a full ring.
    """
    for n_envs in (1, 2):
        replay = replay_of(kit, n_step=3, n_envs=n_envs, discount=0.5)
        terminated, truncated = np.isin(np.arange(14), (6,)), np.isin(np.arange(14), (9,))
        replay.add_batch(*rows_of(14)[:4], terminated, truncated)
        drawn = replay.sample(100)
        for place, first in enumerate(drawn.actions.tolist()):
            reward, factor, row = 0.0, 1.0, first
            for _ in range(3):
                reward, factor, last, row = reward + factor * row, factor * 0.5, row, row + n_envs
                if last in {6, 9} or row >= 14:
                    break
            what = f"of {n_envs} copies, from row {first}"
            close(drawn.rewards[place], reward, 1e-12, f"reward {what}")
            close(drawn.next_observations[place, 0], last + 1, 0.0, f"next observation {what}")
            close(drawn.discounts[place], 0.0 if last == 6 else factor, 1e-15, f"discount {what}")
            equal(bool(drawn.terminated[place]), last == 6, f"terminated {what}")


@check("learner", needs="replay")
def check_replay_priorities(kit: Context) -> None:
    """Rows are drawn in proportion to their priorities, and the weights undo that.

    If this fails, look at the sign of errors, at both exponents, and at sums that are not brought up to date.
    """
    errors = np.array([1.0, -2.0, 4.0, 0.5, 8.0, 0.0])
    replay = replay_of(kit, prioritized=True, priority_exponent=0.5, importance_exponent=0.8)
    replay.add_batch(*rows_of(6))
    replay.update_priorities(np.arange(6), errors)
    chances = np.sqrt(np.abs(errors) + 1e-6)
    chances /= chances.sum()
    counts = np.zeros(6)
    for _ in range(60):
        drawn = replay.sample(100)
        counts += np.bincount(drawn.indices, minlength=6)
        weights = (6 * chances[drawn.indices]) ** -0.8
        close(drawn.weights, weights / weights.max(), 1e-9, "importance weights")
    # Six standard deviations of independent draws; draws in equal parts vary less.
    close(counts / 6000, chances, 6 * np.sqrt(chances / 6000) + 1e-3, "shares of rows drawn")
    replay.add_batch(*rows_of(1, 6))
    replay.update_priorities(np.arange(6), np.zeros(6))
    shares = np.bincount(replay.sample(1000).indices, minlength=7) / 1000
    require(shares[6] > 0.9, f"a new row has the share {shares[6]:.3f}, though it has the largest priority so far")


@check("learner", needs="replay")
def check_replay_resume(kit: Context) -> None:
    """A replay that was exported, kept as JSON and arrays, and imported elsewhere draws on bit for bit.

    If this fails, look at what the state leaves out: the generator, the position, the largest priority.
    """
    for prioritized in (False, True):
        whole = replay_of(kit, prioritized=prioritized)
        whole.add_batch(*rows_of(13))
        drawn = whole.sample(3)
        if prioritized:
            whole.update_priorities(drawn.indices, drawn.rewards)
        resumed = replay_of(kit, capacity=3, seed=7)
        resumed.import_state(through_json(whole.export_state()))
        for replay in (whole, resumed):
            replay.add_batch(*rows_of(2, 13))
        for name, ours, theirs in zip(drawn._fields, resumed.sample(30), whole.sample(30), strict=True):
            same_array(ours, theirs, f"{name} after import")
        same_state(resumed.export_state(), whole.export_state(), "state after import")


@check("learner", needs="replay")
def check_replay_bad_input(kit: Context) -> None:
    """Bad rows, sizes, indices and options are refused with the right error, and nothing changes.

    If this fails, look at what is written before it is checked.
    """
    replay = replay_of(kit)
    raises(InputError, partial(replay.sample, 1), "a draw from an empty replay")
    replay.add_batch(*rows_of(12))
    before = through_json(replay.export_state())
    good: list[Any] = [[0.0], 1, 1.0, [1.0], False]
    wrong: list[tuple[type[Exception], Any, str]] = [
        (InputError, partial(replay.sample, 0), "a draw of nothing"),
        (CapabilityError, partial(replay.update_priorities, [0], [1.0]), "priorities of a uniform replay"),
    ]
    for place, error, value in (
        (0, NonFiniteError, [np.nan]),
        (0, DimensionError, [0.0, 1.0]),
        (1, InputError, 0.5),
        (2, NonFiniteError, np.inf),
        (3, NonFiniteError, [-np.inf]),
        (4, InputError, 3),
    ):
        row = [value if i == place else each for i, each in enumerate(good)]
        wrong.append((error, partial(replay.add, *row), f"add with a bad argument {place}"))
        columns = [[each, each] for each in good]
        columns[place] = [good[place], value]
        if error is not DimensionError:
            wrong.append((error, partial(replay.add_batch, *columns), f"add_batch with a bad argument {place}"))
    for expected, call, what in wrong:
        raises(expected, call, what)
        same_state(replay.export_state(), before, f"state after {what}")
    ranked = replay_of(kit, prioritized=True)
    ranked.add_batch(*rows_of(3))
    raises(InputError, partial(ranked.update_priorities, [3], [1.0]), "the priority of a row that is not there")
    raises(NonFiniteError, partial(ranked.update_priorities, [0], [np.nan]), "a priority of NaN")
    raises(DimensionError, partial(ranked.update_priorities, [0, 1], [1.0]), "one priority for two rows")
    for name, value in (("capacity", 0), ("n_step", 0), ("discount", 1.5), ("seed", -1)):
        raises(InputError, partial(replay_of, kit, **{name: value}), f"{name}={value}")
