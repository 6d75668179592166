"""Checks of learners, part 5: recorders, their own or the common one."""

# ruff: noqa: D401  # the first line of a check says what is promised
from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.encoding import Choice, Encoding, Number
from aqe_core.errors import InputError, NonFiniteError
from aqe_core.recording import KEY_COLUMNS, recorder_of, replay
from aqe_core.testing.checks_learner import PARAMS, algorithms, through_json, transitions
from aqe_core.testing.expect import equal, raises, require, same_state
from aqe_core.testing.kit import Context, check

if TYPE_CHECKING:
    from collections.abc import Iterator

ENCODING = Encoding(
    Number(name="coverage", low=-0.3, high=0.7, bins=7),
    Number(name="n", high=5.0, bins=5),
    Choice(name="kind", options=["unit", "é", 3, True]),
)


def recorders(kit: Context, encoding: Encoding | None = None) -> Iterator[tuple[Any, Any, Any]]:
    """Yield a recorder of a fresh learner of each algorithm, the learner, and another one like it."""
    for algorithm in algorithms(kit):
        learner, other = (kit.make(algorithm=algorithm, **PARAMS) for _ in range(2))
        yield recorder_of(learner, encoding), learner, other


@check("learner")
def check_recorder_equals_learner(kit: Context) -> None:
    """What a recorder learned and kept makes an equal learner equal; and it keeps it until it is dropped.

    If this fails, look at next actions, at batches, and at what is dropped.
    """
    for recorder, learner, other in recorders(kit):
        rows: list[tuple[Any, ...]] = [(*row, row[1]) for row in transitions(30, seed=20)]
        rows += [*transitions(20, seed=21), (7, 1, 0.5, "7", True), (-1, 2**62, 0.5, 7, False)]
        for number, row in enumerate(rows, 1):
            equal(recorder.update(*row), number, f"{learner.algorithm}: number kept after an update")
        columns = list(zip(*transitions(25, seed=22), strict=True))
        rewards, dones = np.array(columns[2], np.float64), np.array(columns[4], np.bool_)
        states, actions, after = (list(columns[i]) for i in (0, 1, 3))
        kept = recorder.update_batch(states, actions, rewards, after, dones, actions)
        equal((kept, len(recorder)), (len(rows) + 25, len(rows) + 25), "number kept after a batch")
        for n in (0, 31, 1000):
            names, told = recorder.first(n)
            equal(len(names), len({(type(name), name) for name in names}), "names told, each once")
            require(all(told[name].dtype == np.int32 for name in KEY_COLUMNS), "positions of names are not int32")
            replay(other, names, told)
            recorder.drop(n)
        equal(len(recorder), 0, "number kept after all were dropped")
        same_state(through_json(other.export_state()), through_json(learner.export_state()), "state after a replay")


@check("learner")
def check_recorder_encodes(kit: Context) -> None:
    """States that are mappings become the keys that the encoding's own method makes, and are refused as it does.

    If this fails, look at the ends of a range, at values that are no float and no text, and at the order of operations.
    """
    rng = np.random.default_rng(23)
    numbers = [-0.3, 0.7, -9.0, 9.0, 0, np.float32(0.1), *rng.uniform(-0.4, 0.8, 60).tolist(), -0.3 + 3 / 7]
    kinds = ["unit", "é", "other", 3, True, 1, None, ""]
    states: list[Any] = [{"coverage": x, "n": i % 7, "kind": kinds[i % 8], "more": 1} for i, x in enumerate(numbers)]
    keys = [ENCODING.key(state) for state in states]
    wrong = [({"coverage": 0.5, "n": 1}, InputError), ({**states[0], "n": "1"}, InputError)]
    wrong += [
        ({**states[0], "coverage": True}, InputError),
        ({**states[0], "coverage": float("nan")}, NonFiniteError),
        ({**states[0], "n": None}, InputError),
    ]
    for recorder, learner, other in recorders(kit, ENCODING):
        for state, key, after in zip(states, keys, [*states[1:], "end"], strict=True):
            recorder.update(state, "a", 1.0, after)
            other.update(key, "a", 1.0, after if after == "end" else ENCODING.key(after))
        for state, error in wrong:
            raises(error, partial(recorder.update, state, "a", 1.0, "end"), f"update from {state}")
            raises(error, partial(recorder.update, "s", "a", 1.0, state), f"update into {state}")
        equal(len(recorder), len(states), "number kept, after refusals too")
        same_state(through_json(learner.export_state()), through_json(other.export_state()), "state")
    for recorder, learner, _ in recorders(kit):
        raises(InputError, partial(recorder.update, states[0], "a", 1.0, "end"), "a mapping without an encoding")
        equal((len(recorder), len(learner)), (0, 0), "number kept and learned after a refusal")


@check("learner")
def check_recorder_refuses(kit: Context) -> None:
    """Bad input is refused as by the learner, and texts that could not be stored; nothing is learned or kept then.

    If this fails, look at what is learned before it is checked.
    """
    half = "half \ud800"
    for recorder, learner, _ in recorders(kit):
        recorder.update("s", "a", 1.0, "t")
        before = through_json(learner.export_state())
        for row in (("s", "a", float("nan"), "t"), ("s", 1.5, 1.0, "t"), (half, "a", 1.0, "t"), ("s", half, 1.0, "t")):
            error = NonFiniteError if row[2] != 1.0 else InputError
            raises(error, partial(recorder.update, *row), f"update{row!r}")
            columns = [[row[0]] * 2, ["a", row[1]], [1.0, row[2]], [row[3]] * 2]
            raises(error, partial(recorder.update_batch, *columns), f"update_batch of {row!r}")
        raises(InputError, partial(recorder.update, "s", "a", 1.0, half), "half a surrogate pair as next state")
        equal(len(recorder), 1, "number kept")
        same_state(through_json(learner.export_state()), before, "state after refusals")
