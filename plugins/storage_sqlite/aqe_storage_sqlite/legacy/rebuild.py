"""Q-values that the ancestor lost, learned again from the experiences that it kept.

Its engine stored 0 for every value, under keys that no learner has. The experiences are all there, in order, so its
learning can be repeated: Q-learning with its rates over each experience, and after every tenth, once there are 32,
the last 32 once more in their order. The result equals the lost values to the last bit as long as one process learned
them all, which a table that the engine saved in between can prove.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from aqe_core.state import EngineState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Rebuilt", "Step", "learner_state", "rebuild"]

LEARNING_RATE = 0.1
DISCOUNT = 0.95
EPSILON = 0.3
_EVERY = 10
_BATCH = 32

Table: TypeAlias = "dict[str, dict[str, float]]"


class Step(NamedTuple):
    """One experience of the engine, by keys."""

    state: str
    action: str
    reward: float
    next_state: str


class Rebuilt(NamedTuple):
    """What an agent's engine had learned.

    Attributes
    ----------
    values, visits : dict of str to dict of str
        By state, then action.
    verified : bool or None
        Whether the values were, at some point on the way, exactly those that the engine saved; None: it saved none.
    """

    values: Table
    visits: dict[str, dict[str, int]]
    verified: bool | None


def rebuild(steps: Iterable[Step], saved: Mapping[str, Any] | None = None) -> Rebuilt:
    """Learn from the steps of one agent, in order, as its engine did. O(4.2 n) updates.

    Parameters
    ----------
    steps : iterable of Step
    saved : mapping, optional
        The table that the engine saved at some point: value by action, by state.
    """
    values: Table = {}
    visits: dict[str, dict[str, int]] = {}
    wanted = None if saved is None else sum(map(len, saved.values()))
    verified = None if saved is None else not saved
    recent: list[Step] = []
    pairs = 0
    for number, step in enumerate(steps, 1):
        recent = [*recent[1 - _BATCH :], step]
        again = recent if number % _EVERY == 0 and number >= _BATCH else []
        for each in (step, *again):
            pairs += _learn(values, visits, each)
        if pairs == wanted and not verified:
            verified = values == saved
    return Rebuilt(values, visits, verified)


def _learn(values: Table, visits: dict[str, dict[str, int]], step: Step) -> int:
    """Apply the Q-learning rule in the ancestor's order of operations; return 1 for a new pair, else 0."""
    ahead = values.get(step.next_state)
    worth = max(ahead.values()) if ahead else 0.0
    known = values.setdefault(step.state, {})
    old = known.get(step.action, 0.0)
    known[step.action] = old + LEARNING_RATE * (step.reward + DISCOUNT * worth - old)
    counts = visits.setdefault(step.state, {})
    counts[step.action] = counts.get(step.action, 0) + 1
    return int(counts[step.action] == 1)


def learner_state(values: Mapping[str, Mapping[str, float]], visits: Mapping[str, Mapping[str, int]]) -> EngineState:
    """Return a Q-table as the state ``learner/q-learning/1`` that learners import.

    Rows and columns are numbered in the order in which states and actions come up; the generator starts anew.
    """
    actions: dict[str, int] = {}
    for row in values.values():
        for action in row:
            actions.setdefault(action, len(actions))
    entries = sorted(
        (position, actions[action], value, visits[state][action])
        for position, (state, row) in enumerate(values.items())
        for action, value in row.items()
    )
    rows, columns, numbers, counts = zip(*entries, strict=True) if entries else ((), (), (), ())
    version, words, _ = random.Random(0).getstate()  # noqa: S311  # the learners' generator, not a secret
    params = {
        "learning_rate": LEARNING_RATE,
        "discount": DISCOUNT,
        "epsilon": EPSILON,
        "initial_value": 0.0,
        "actions": None,
        "seed": 0,
    }
    return EngineState(
        kind="learner/q-learning/1",
        manifest={
            "params": params,
            "states": list(values),
            "actions": list(actions),
            "rng": [version, list(words), None],
        },
        arrays={
            "rows": np.array(rows, np.int64),
            "columns": np.array(columns, np.int64),
            "values": np.array(numbers, np.float64),
            "visits": np.array(counts, np.int64),
        },
    )
