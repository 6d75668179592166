"""Checks of learners, part 2: bad input gets the documented error and changes nothing."""

# ruff: noqa: D401  # the first line of a check says what is promised
from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.errors import DimensionError, InputError, InvalidActionError
from aqe_core.state import EngineState
from aqe_core.testing.checks_learner import PARAMS, algorithms, learn, learners, through_json, transitions
from aqe_core.testing.expect import raises, raises_alike, require, same_state
from aqe_core.testing.kit import Context, check
from aqe_core.validate import as_key_name, as_outcomes, as_reward, as_values

if TYPE_CHECKING:
    from collections.abc import Iterator

BAD_REWARDS: tuple[Any, ...] = (float("nan"), float("inf"), -float("inf"), None, "much")
BAD_NAMES: tuple[Any, ...] = (None, 1.5, True, ("s",), b"s", 2**63, -(2**63) - 1)
"""What is neither text nor a 64-bit integer."""


def taught(kit: Context) -> Iterator[Any]:
    """Yield a learner of each algorithm that has learned something."""
    for learner in learners(kit):
        yield learn(learner, transitions(30, seed=20))


@contextmanager
def untouched(learner: Any) -> Iterator[None]:
    """Require that the exported state is the same after the block as before it."""
    before = through_json(learner.export_state())
    yield
    same_state(through_json(learner.export_state()), before, "state after a refused call")


def columns(n: int = 5) -> dict[str, Any]:
    """Return the arguments of a good batch."""
    return {
        "states": [f"state {i}" for i in range(n)],
        "actions": ["a"] * n,
        "rewards": [1.0] * n,
        "next_states": ["t"] * n,
        "dones": [False] * n,
    }


@check("learner")
def check_bad_reward(kit: Context) -> None:
    """A reward that is no finite number is refused, and the pair is not created.

    If this fails, look at aqe_core.validate.as_reward: call it before the table is touched.
    """
    for learner in taught(kit):
        for reward in BAD_REWARDS:
            update = partial(learner.update, "new", "a", reward, "t")
            with untouched(learner):
                raises_alike(partial(as_reward, reward), update, f"update with reward {reward!r}")


@check("learner")
def check_bad_names(kit: Context) -> None:
    """States and actions that are neither text nor 64-bit integers are refused.

    If this fails, look at aqe_core.validate.as_key_name; a boolean is no integer here.
    """
    for learner in taught(kit):
        good = {"state": "new", "action": "a", "reward": 1.0, "next_state": "t"}
        for bad in BAD_NAMES:
            with untouched(learner):
                for what in ("state", "action", "next_state"):
                    update = partial(learner.update, **{**good, what: bad})
                    raises_alike(partial(as_key_name, bad, what), update, f"update with {what} {bad!r}")
                raises(InputError, partial(learner.act, bad, ["a"]), f"act in state {bad!r}")
                raises(InputError, partial(learner.act, "s", ["a", bad]), f"act with action {bad!r}")
                raises(InputError, partial(learner.value, bad, "a"), f"value in state {bad!r}")
                raises(InputError, partial(learner.value, "s", bad), f"value of action {bad!r}")


@check("learner")
def check_nothing_offered(kit: Context) -> None:
    """Without an action to choose from there is an error of its own, and no random number is spent.

    If this fails, look at act(): test the length before drawing.
    """
    for learner in taught(kit):
        with untouched(learner):
            for explore in (True, False):
                raises(InvalidActionError, partial(learner.act, "s", [], explore=explore), "act without actions")


@check("learner")
def check_bad_batch(kit: Context) -> None:
    """A batch with one bad value, or columns of different lengths, teaches nothing at all.

    If this fails, look at checks inside the loop: check every column, then learn.
    """
    for learner in taught(kit):
        with untouched(learner):
            for reward in (float("nan"), float("-inf")):
                bad = columns() | {"rewards": [1.0] * 4 + [reward]}
                reference = partial(as_values, bad["rewards"], "rewards")
                raises_alike(reference, partial(learner.update_batch, **bad), f"update_batch with reward {reward}")
            for what in ("states", "actions", "next_states"):
                for name in (None, 1.5, True):
                    bad = columns()
                    bad[what][-1] = name
                    raises(InputError, partial(learner.update_batch, **bad), f"update_batch with {name!r} in {what}")
                bad = columns() | {what: np.linspace(0.0, 1.0, 5)}
                raises(InputError, partial(learner.update_batch, **bad), f"update_batch with float64 {what}")
            for what in columns():
                bad = columns()
                bad[what] = bad[what][:-1]
                raises(DimensionError, partial(learner.update_batch, **bad), f"update_batch with {what} one too short")
            bad = columns() | {"dones": [0, 1, 2, 0, 1]}
            raises_alike(
                partial(as_outcomes, bad["dones"], "dones", 5),
                partial(learner.update_batch, **bad),
                "update_batch with 2 in dones",
            )


@check("learner")
def check_bad_state(kit: Context) -> None:
    """A state of another kind or layout, or a broken one, is refused and changes nothing.

    If this fails, look at import_state: read everything into new objects, check them, then swap.
    """
    for learner in taught(kit):
        good = through_json(learner.export_state())
        bad = [
            EngineState(kind="embedder/other/1", manifest=good.manifest, arrays=good.arrays),
            EngineState(kind=good.kind + "0", manifest=good.manifest, arrays=good.arrays),
            EngineState(kind=good.kind, manifest={}, arrays={}),
        ]
        for name, array in good.arrays.items():
            if array.ndim and array.size:
                cut = {**good.arrays, name: array[:-1]}
                bad.append(EngineState(kind=good.kind, manifest=good.manifest, arrays=cut))
        for state in bad:
            with untouched(learner):
                raises(InputError, partial(learner.import_state, state), f"import of a broken {state.kind}")


@check("learner")
def check_bad_construction(kit: Context) -> None:
    """Hyper-parameters outside their range are refused.

    If this fails, look at the constructor: learning_rate, discount and epsilon are in 0 .. 1, all are finite.
    """
    for algorithm in algorithms(kit):
        for name in ("learning_rate", "discount", "epsilon", "initial_value"):
            outside = () if name == "initial_value" else (-0.1, 1.1, "much")
            for value in (float("nan"), float("inf"), *outside):
                make = partial(kit.make, algorithm=algorithm, **{**PARAMS, name: value})
                refused = False
                try:
                    make()
                except InputError:
                    refused = True
                require(refused, f"{name}={value!r} is accepted, expected an InputError")
