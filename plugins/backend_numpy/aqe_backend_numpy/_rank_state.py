"""A ranker's state as JSON values and arrays, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from aqe_backend_numpy import _rank_table as at
from aqe_backend_numpy._rank_features import FEATURES, START
from aqe_backend_numpy._rank_table import TestTable
from aqe_backend_numpy._rank_weights import WINDOW, Memory
from aqe_core.errors import AqeError, InputError
from aqe_core.ranker_input import as_tests
from aqe_core.state import EngineState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["KIND", "Learned", "export", "restored"]

KIND = "ranker/pairwise/1"

_MAY_BE_SPECIAL = (at.LOG_RECENT, at.DURATION)  # -inf for no failure, NaN for no known duration


_TALLIES = ((0.5, 5.0), (0.6, 2.0), (0.0, 0.0), (0.0, 0.0))
"""(failures, runs) of all runs, of first runs, of runs after a failed one, and of runs after a passed one. The first
two start as if a tenth of 5 runs and 0.3 of 2 first runs had failed."""


@attrs.define
class Learned:
    """What a ranker has learned.

    Attributes
    ----------
    table : TestTable
    tallies : ndarray of float64, shape (4, 2)
        See `_TALLIES`.
    context : dict of str to int
        Feature number of each context column, in the order of first observation.
    weights : ndarray of float64, shape (f,)
    memory : Memory
    cycles : int
        Observed ones.
    """

    table: TestTable
    tallies: NDArray[np.float64]
    context: dict[str, int]
    weights: NDArray[np.float64]
    memory: Memory
    cycles: int = 0

    @classmethod
    def nothing(cls) -> Learned:
        """Return what is known before the first cycle."""
        return cls(TestTable(), np.array(_TALLIES), {}, START.copy(), Memory.empty(len(FEATURES)))


def export(learned: Learned, params: dict[str, Any]) -> EngineState:
    """Return everything that a ranker learned."""
    memory, slots = learned.memory, learned.table.slots
    return EngineState(
        kind=KIND,
        manifest={
            "params": params,
            "tests": list(slots),
            "features": list(FEATURES),
            "context": list(learned.context),
            "cycles": learned.cycles,
            "failing_cycles": memory.cycles,
        },
        arrays={
            "rows": np.ascontiguousarray(learned.table.columns[:, : len(slots)].T),
            "tallies": learned.tallies.copy(),
            "weights": learned.weights.copy(),
            "window": memory.window.copy(),
            "counts": np.array(memory.counts, np.int64),
            "curvature": memory.curvature.copy(),
            "pull": memory.pull.copy(),
            "squares": memory.squares.copy(),
        },
    )


def restored(state: EngineState) -> tuple[Learned, dict[str, Any]]:
    """Return what was exported, and the parameters.

    Raises
    ------
    InputError
        It is not a state of this kind.
    """
    try:
        if state.kind != KIND:
            raise ValueError(f"it is of kind {state.kind!r:.80}")
        return _read(state.manifest, state.arrays), _params(state.manifest)
    except (AqeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"this is not a state of a pairwise ranker ({error}).", fix="import a state that such a ranker exported."
        ) from None


def _params(manifest: Mapping[str, Any]) -> dict[str, Any]:
    params = dict(manifest["params"])
    if params.keys() != {"seed", "strength"}:
        raise ValueError(f"its params are {params!r:.80}")
    return params


def _read(manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Learned:
    if list(manifest["features"]) != list(FEATURES):
        raise ValueError(f"its features are {manifest['features']!r:.200}")
    names, context = as_tests(manifest["tests"]), as_tests(manifest["context"])
    f = len(FEATURES) + len(context)
    counts = tuple(_array(arrays, "counts", (None,), np.int64).tolist())
    cycles, failing = (_natural(manifest[name], name) for name in ("cycles", "failing_cycles"))
    if len({*names}) < len(names) or len({*context}) < len(context):
        raise ValueError("a name comes twice")
    if min(counts, default=1) < 1 or len(counts) > min(failing, WINDOW):
        raise ValueError("a kept cycle has no pairs, or there are too many")
    rows = _array(arrays, "rows", (len(names), at.COLUMNS), special=_MAY_BE_SPECIAL)
    table = TestTable()
    table.slots = {name: slot for slot, name in enumerate(names)}
    table.write(np.arange(len(names)), rows.T)
    return Learned(
        table,
        _array(arrays, "tallies", (4, 2)),
        {name: len(FEATURES) + i for i, name in enumerate(context)},
        _array(arrays, "weights", (f,)),
        Memory(
            _array(arrays, "window", (f, sum(counts))),
            counts,
            _array(arrays, "curvature", (f, f)),
            _array(arrays, "pull", (f,)),
            _array(arrays, "squares", (f,)),
            failing,
        ),
        cycles,
    )


def _array(
    arrays: Any, name: str, shape: tuple[int | None, ...], dtype: Any = np.float64, special: tuple[int, ...] = ()
) -> Any:
    array = arrays[name]
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != len(shape):
        raise ValueError(f"its array {name!r} is not {np.dtype(dtype)} of {len(shape)} axes")
    if any(want not in {None, got} for want, got in zip(shape, array.shape, strict=True)):
        raise ValueError(f"its array {name!r} has shape {array.shape}")
    plain = np.delete(array, special, axis=1) if special else array
    if not np.isfinite(plain).all():
        raise ValueError(f"its array {name!r} is not finite")
    return array.copy()


def _natural(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} is {value!r:.40}")
    return value
