"""What a replay accepts: options and columns of transitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aqe_backend_numpy.neural._generator import as_count, as_seed
from aqe_core.errors import DimensionError, InputError, NonFiniteError
from aqe_core.validate import as_outcomes, as_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Columns", "Options", "as_columns", "as_options", "as_share"]


class Options(NamedTuple):
    """Checked options; their meaning is told by `aqe_backend_numpy.replay.buffer.NumpyReplay`."""

    capacity: int
    observation_dim: int
    action_dim: int
    n_envs: int
    n_step: int
    discount: float
    prioritized: bool
    priority_exponent: float
    importance_exponent: float
    seed: int


class Columns(NamedTuple):
    """Checked transitions, one per row."""

    observations: NDArray[np.float32]
    actions: NDArray[Any]
    rewards: NDArray[np.float64]
    next_observations: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    ended: NDArray[np.bool_]


def as_share(value: Any, what: str) -> float:
    """Return a number in 0 .. 1."""
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not is_number or not 0.0 <= value <= 1.0:
        raise InputError(f"{what} is {value!r}, but must be a number in 0 .. 1.", fix="choose one in range.")
    return float(value)


def as_options(given: dict[str, Any]) -> Options:
    """Return the options, checked."""
    lowest = {"capacity": 1, "observation_dim": 1, "action_dim": 0, "n_envs": 1, "n_step": 1}
    checked: dict[str, Any] = {name: as_count(given[name], name, low) for name, low in lowest.items()}
    for name in ("discount", "priority_exponent", "importance_exponent"):
        checked[name] = as_share(given[name], name)
    if not isinstance(given["prioritized"], (bool, np.bool_)):
        raise InputError(f"prioritized is {given['prioritized']!r}, but must be True or False.", fix="choose one.")
    return Options(**checked, prioritized=bool(given["prioritized"]), seed=as_seed(given["seed"]))


def as_columns(
    options: Options,
    observations: Any,
    actions: Any,
    rewards: Any,
    next_observations: Any,
    terminated: Any,
    truncated: Any,
) -> Columns:
    """Return transitions, checked."""
    paid = as_values(rewards, "rewards")
    n = len(paid)
    over = as_outcomes(terminated, "terminated", n)
    ended = over if truncated is None else over | as_outcomes(truncated, "truncated", n)
    shape = (n, options.observation_dim)
    return Columns(
        _as_float32(observations, shape, "observations"),
        _as_actions(actions, n, options.action_dim),
        paid,
        _as_float32(next_observations, shape, "next_observations"),
        over,
        ended,
    )


def _as_float32(values: Any, shape: tuple[int, ...], what: str) -> NDArray[np.float32]:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"dtype {array.dtype}")
        with np.errstate(over="ignore"):  # an overflow to infinity is refused below
            array = np.asarray(array, np.float32)
    except (TypeError, ValueError) as error:
        raise DimensionError(f"{what} cannot be read as numbers ({error}).", fix="pass an array of numbers.") from None
    if array.shape != shape:
        raise DimensionError(f"{what} have shape {array.shape}, but must have {shape}.", fix="pass one row each.")
    if array.size:
        # Their difference is finite exactly when all are: NaN spreads to both extremes.
        spread = float(array.max()) - float(array.min())
        if spread - spread != 0.0:
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise NonFiniteError(f"{what} hold {array[where]} at {where}.", fix="repair them where they are made.")
    return array


def _as_actions(values: Any, n: int, action_dim: int) -> NDArray[Any]:
    if action_dim:
        return _as_float32(values, (n, action_dim), "actions")
    array = np.asarray(values)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.shape != (n,):
        raise DimensionError(f"actions have shape {array.shape}, but must have ({n},).", fix="pass one each.")
    if array.dtype.kind not in "iu" or (array.size and array.dtype == np.uint64 and int(array.max()) >= 2**63):
        raise InputError(
            f"actions have dtype {array.dtype}, but must be 64-bit integers.", fix="or make it with action_dim."
        )
    return array.astype(np.int64, copy=False)
