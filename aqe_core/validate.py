"""One validator in front of every engine: the same error, in the same words, whoever computes.

An engine that declares the capability ``checked`` calls these itself (or does the same natively); for the others the
binding puts a guard in front that does (`aqe_core.guards`). Each function returns the value in the form the contracts
promise, and copies only when it must.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.pattern_store import METRICS, NO_KEY
from aqe_core.errors import CapabilityError, DimensionError, InputError, KeyRangeError, NonFiniteError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "as_context",
    "as_contexts",
    "as_dim",
    "as_done",
    "as_groups",
    "as_k",
    "as_key_name",
    "as_keys",
    "as_metric",
    "as_outcomes",
    "as_quantiles",
    "as_queries",
    "as_reward",
    "as_values",
    "as_vectors",
    "as_whole",
    "refuse_bad_rows",
]

_MAX_K = 2**24  # a row of hits has k places
_FLOAT64 = np.dtype(np.float64)  # of which NumPy has one only, unless bytes are swapped


def as_whole(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of one axis or more as it is if it is contiguous and aligned, and a copy that is if not.

    Views of files and of fields are aligned only by chance, and compiled code may not read them as they are.
    """
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else array.copy()


def as_dim(dim: Any, max_dim: int = 4096) -> int:
    """Return the number of dimensions as an int in 1 .. max_dim."""
    try:
        value = operator.index(dim)
    except TypeError:
        raise DimensionError(f"dim is {dim!r}, but must be an integer.", fix="pass e.g. dim=384.") from None
    if not 1 <= value <= max_dim:
        raise DimensionError(
            f"dim is {value}, but must be in 1 .. {max_dim}.",
            fix="choose a dim in that range, or another backend.",
        )
    return value


def as_metric(metric: Any, known: Iterable[str] = METRICS) -> str:
    """Return the metric if it is one of the known ones."""
    names = sorted(known)
    if not isinstance(metric, str) or metric not in METRICS:
        raise InputError(f"metric is {metric!r}, but must be one of {', '.join(METRICS)}.", fix="choose one of them.")
    if metric not in names:
        raise CapabilityError(
            f"this backend does not compute the metric {metric!r}, only {', '.join(names)}.",
            fix="choose one of those, or another backend (aqe backends lists them).",
        )
    return metric


def _as_array(values: Any, what: str) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise DimensionError(f"{what} cannot be read as an array ({error}).", fix="pass one flat list.") from None


def as_k(k: Any) -> int:
    """Return k as an int of at least 1."""
    try:
        value = operator.index(k)
    except TypeError:
        raise InputError(f"k is {k!r}, but must be an integer.", fix="pass e.g. k=10.") from None
    if not 1 <= value <= _MAX_K:
        raise InputError(f"k is {value}, but must be in 1 .. {_MAX_K}.", fix="pass e.g. k=10.")
    return value


def as_keys(keys: ArrayLike) -> NDArray[np.uint64]:
    """Return keys as a contiguous uint64 array of one axis; a single integer becomes one of length 1."""
    array = _as_array(keys, "keys")
    if array.ndim == 0:
        array = array.reshape(1)
    if array.ndim != 1:
        raise DimensionError(f"keys have shape {array.shape}, but must have one axis.", fix="pass keys.ravel().")
    if array.dtype == np.uint64:
        out = as_whole(array)
    elif array.size == 0:
        return np.empty(0, np.uint64)
    elif array.dtype.kind in "iu":
        if array.dtype.kind == "i" and int(array.min()) < 0:
            where = int(np.flatnonzero(array < 0)[0])
            raise KeyRangeError(
                f"keys[{where}] is {int(array[where])}, but keys are 0 .. 2**64 - 2.",
                fix="use non-negative integers.",
            )
        out = array.astype(np.uint64)
    else:
        # Python ints beyond int64 arrive as dtype object or float64; both are judged one by one.
        return _keys_one_by_one(keys)
    if out.size and int(out.max()) == NO_KEY:
        where = int(np.flatnonzero(out == np.uint64(NO_KEY))[0])
        raise KeyRangeError(f"keys[{where}] is 2**64 - 1, which marks missing hits.", fix="use keys in 0 .. 2**64 - 2.")
    return out


def _keys_one_by_one(keys: Any) -> NDArray[np.uint64]:
    items = keys.ravel().tolist() if isinstance(keys, np.ndarray) else np.atleast_1d(np.asarray(keys, object)).tolist()
    for where, item in enumerate(items):
        if not _is_integer(item) or not 0 <= item < NO_KEY:
            raise KeyRangeError(
                f"keys[{where}] is {item!r}, but keys are integers in 0 .. 2**64 - 2.",
                fix="map your own ids to integers first.",
            )
    return np.array(items, np.uint64)


def _is_integer(item: Any) -> bool:
    # Python's booleans are ints, NumPy's time differences are integers: neither is meant.
    return isinstance(item, (int, np.integer)) and not isinstance(item, (bool, np.timedelta64))


def _as_float32(values: ArrayLike, what: str) -> NDArray[np.float32]:
    if type(values) is np.ndarray and values.dtype == np.float32:
        return as_whole(values)  # the usual case; what follows costs a search microseconds
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError(array.dtype)
        with np.errstate(over="ignore"):  # an overflow to infinity is refused as non-finite with its place
            return as_whole(np.asarray(array, np.float32))
    except (TypeError, ValueError) as error:
        raise DimensionError(
            f"{what} cannot be read as a rectangular float32 array ({error}).",
            fix="pass numbers in rows of equal length.",
        ) from None


def _refuse_non_finite(array: NDArray[np.float32], what: str) -> None:
    row, column = np.argwhere(~np.isfinite(array))[0]
    raise NonFiniteError(
        f"{what}[{row}] has {array[row, column]} at position {column}.",
        fix="drop or repair the row; aqe never stores or searches NaN or infinity.",
    )


def refuse_bad_rows(array: NDArray[np.float32], metric: str, what: str) -> None:
    """Raise if a row of a float32 matrix is not finite, or all zeros under ``cosine``."""
    if len(array) == 1 or metric != "cosine":
        # Squares do not cancel, so a finite sum tells that all is; an overflow or a zero is looked at again below.
        total = float(np.vdot(array, array))
        if total < float("inf") and (total > 0.0 or metric != "cosine"):
            return
    # The sum of squares in float64 overflows for no float32 row: it is finite exactly when the row is.
    squares = np.einsum("ij,ij->i", array, array, dtype=np.float64)
    if not np.isfinite(squares).all():
        _refuse_non_finite(array, what)
    if metric == "cosine" and squares.size and not squares.all():
        where = int(np.flatnonzero(squares == 0)[0])
        raise InputError(
            f"{what}[{where}] is all zeros, and cosine is undefined for it.",
            fix="drop the row, or use metric='dot' or 'l2'.",
        )


def as_vectors(
    vectors: ArrayLike, n: int, dim: int, metric: str, *, check: bool = True, owner: str = "store"
) -> NDArray[np.float32]:
    """Return ``n`` vectors as a contiguous finite float32 matrix of shape (n, dim).

    ``owner`` is what they are for, as errors call it.
    ``check=False`` leaves the test of the values to a caller who looks at every row anyway (`refuse_bad_rows` is that
    test).
    """
    array = _as_float32(vectors, "vectors")
    if array.ndim == 1 and n == 1 and array.size:
        array = array[None, :]
    if array.ndim == 1 and array.size == 0 and n == 0:
        array = array.reshape(0, dim)
    if array.ndim != 2:
        raise DimensionError(
            f"vectors have shape {array.shape}, but must have shape ({n}, {dim}).",
            fix="pass one row per key.",
        )
    if array.shape[1] != dim:
        raise DimensionError(
            f"vectors have {array.shape[1]} dimensions, but the {owner} has {dim}.",
            fix=f"embed with the model the {owner} was made for, or open a {owner} with dim={array.shape[1]}.",
        )
    if array.shape[0] != n:
        raise DimensionError(f"there are {n} keys, but {array.shape[0]} vectors.", fix="pass one row per key.")
    if check:
        refuse_bad_rows(array, metric, "vectors")
    return array


def as_queries(queries: ArrayLike, dim: int, metric: str) -> tuple[NDArray[np.float32], bool]:
    """Return queries as a contiguous finite float32 matrix (m, dim), and whether one of shape (dim,) was given."""
    array = _as_float32(queries, "queries")
    single = array.ndim == 1
    if single:
        array = array[None, :]
    if array.ndim != 2:
        raise DimensionError(
            f"queries have shape {array.shape}, but must have shape ({dim},) or (m, {dim}).",
            fix="pass one vector or a matrix with one query per row.",
        )
    if array.shape[1] != dim:
        raise DimensionError(
            f"queries have {array.shape[1]} dimensions, but the store has {dim}.",
            fix="embed the query with the model the store was made for.",
        )
    refuse_bad_rows(array, metric, "queries")
    return array, single


def as_reward(reward: Any) -> float:
    """Return a reward as a finite float."""
    value = reward if type(reward) is float else _as_float(reward)
    if value - value != 0.0:  # true exactly for NaN and the infinities
        raise NonFiniteError(f"reward is {value}.", fix="pass a finite reward; clip it where it is made.")
    return value


def _as_float(reward: Any) -> float:
    number = reward.item() if isinstance(reward, (np.ndarray, np.generic)) and reward.ndim == 0 else reward
    try:
        if isinstance(number, (str, bytes, bytearray, np.ndarray)):  # float() would parse or unpack them
            raise TypeError
        return float(number)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"reward is {reward!r}, but must be a number.", fix="pass a finite number.") from None


def as_values(values: ArrayLike, what: str = "values") -> NDArray[np.float64]:
    """Return values as a contiguous finite float64 array of one axis."""
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"dtype {array.dtype}")
        with np.errstate(over="ignore"):  # as in _as_float32
            array = as_whole(np.asarray(array, np.float64))
    except (TypeError, ValueError) as error:
        raise DimensionError(f"{what} cannot be read as float64 ({error}).", fix="pass an array of numbers.") from None
    if array.ndim != 1:
        raise DimensionError(f"{what} have shape {array.shape}, but must have one axis.", fix=f"pass {what}.ravel().")
    finite = np.isfinite(array)
    if not finite.all():
        where = int(np.flatnonzero(~finite)[0])
        raise NonFiniteError(
            f"{what}[{where}] is {array[where]}.", fix="drop missing values before; they are not zero."
        )
    return array


def as_context(context: ArrayLike, dim: int) -> NDArray[np.float64]:
    """Return a context as float64 of shape (dim,); finite, and so is the sum of its squares."""
    if type(context) is np.ndarray and context.dtype is _FLOAT64 and context.shape == (dim,) and context.flags.aligned:
        array = context
    else:
        array = _as_float64(context, "context")
        if array.shape != (dim,):
            raise DimensionError(
                f"the context has shape {array.shape}, but must have shape ({dim},).",
                fix="encode it as the bandit was made for.",
            )
    square = float(np.vdot(array, array))  # unlike dot it warns of no overflow, which is refused below
    if square - square != 0.0:  # true exactly for NaN and the infinities
        _refuse_context(array, "the context")
    return array


def as_contexts(contexts: ArrayLike, dim: int) -> NDArray[np.float64]:
    """Return contexts as float64 of shape (n, dim); finite, and so are the sums of their squares."""
    array = _as_float64(contexts, "contexts")
    if array.size == 0 and array.ndim < 2:
        array = array.reshape(0, dim)
    if array.ndim != 2 or array.shape[1] != dim:
        raise DimensionError(
            f"contexts have shape {array.shape}, but must have shape (n, {dim}).",
            fix="encode them as the bandit was made for.",
        )
    with np.errstate(over="ignore", invalid="ignore"):
        wrong = np.flatnonzero(~np.isfinite(np.einsum("ij,ij->i", array, array)))
    if wrong.size:
        _refuse_context(array[wrong[0]], f"contexts[{wrong[0]}]")
    return array


def _as_float64(values: ArrayLike, what: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"dtype {array.dtype}")
        return as_whole(np.asarray(array, np.float64))
    except (TypeError, ValueError) as error:
        raise DimensionError(f"{what} cannot be read as float64 ({error}).", fix="pass numbers.") from None


def _refuse_context(row: NDArray[np.float64], what: str) -> None:
    place = int(np.abs(row).argmax()) if np.isfinite(row).all() else int(np.flatnonzero(~np.isfinite(row))[0])
    raise NonFiniteError(
        f"{what} has {row[place]} at position {place}.", fix="pass finite numbers whose squares are finite."
    )


def as_outcomes(failed: ArrayLike, what: str = "failed", n: int | None = None) -> NDArray[np.bool_]:
    """Return outcomes as a bool array of one axis (and length ``n``); numbers must be 0 or 1."""
    array = _as_array(failed, what)
    if array.ndim != 1:
        raise DimensionError(f"{what} has shape {array.shape}, but must have one axis.", fix=f"pass {what}.ravel().")
    if n is not None and len(array) != n:
        raise DimensionError(f"{what} has {len(array)} items, but must have {n}.", fix="pass one of each.")
    if array.dtype != np.bool_ and array.size:
        if array.dtype.kind not in "fiu":
            raise InputError(f"{what} has dtype {array.dtype}, but must be bool.", fix="pass e.g. outcome == 'failed'.")
        wrong = np.flatnonzero((array != 0) & (array != 1))
        if wrong.size:
            raise InputError(
                f"{what}[{wrong[0]}] is {array[wrong[0]]}, but must be a boolean (or 0 or 1).",
                fix="pass e.g. outcome == 'failed'.",
            )
    return np.ascontiguousarray(array, np.bool_)


def as_done(done: Any) -> bool:
    """Return whether an episode ended, as a bool; 0 and 1 are taken."""
    if done is False or done is True:
        return done
    if isinstance(done, np.bool_) or (_is_integer(done) and done in (0, 1)):
        return bool(done)
    raise InputError(f"done is {done!r}, but must be True or False.", fix="pass Gymnasium's 'terminated'.")


def as_key_name(name: Any, what: str) -> str | int:
    """Return a state's or action's name as str or int; NumPy's own scalars are taken, booleans are not."""
    if type(name) is str:
        return name
    if isinstance(name, str):
        return str.__str__(name)  # str() of an enumeration's member would be another text
    if _is_integer(name) and -(2**63) <= name < 2**63:
        return int(name)
    raise InputError(
        f"{what} is {name!r}, but must be a str or a 64-bit int.",
        fix="encode it as text or a number, e.g. with aqe_core.encoding.",
    )


def as_groups(groups: ArrayLike, n: int, n_groups: Any) -> tuple[NDArray[np.int64], int]:
    """Return group numbers as int64 of shape (n,), each in 0 .. n_groups - 1, and their number."""
    try:
        count = operator.index(n_groups)
    except TypeError:
        raise InputError(f"n_groups is {n_groups!r}, but must be an integer.", fix="pass len(names).") from None
    if count < 0:
        raise InputError(f"n_groups is {count}, but must not be negative.", fix="pass len(names).")
    array = _as_array(groups, "groups")
    if array.size == 0:
        array = array.astype(np.int64).reshape(-1)
    if array.shape != (n,):
        raise DimensionError(f"there are {n} values, but groups have shape {array.shape}.", fix="pass one group each.")
    if array.dtype.kind not in "iu":
        raise InputError(f"groups have dtype {array.dtype}, but must be integers.", fix="number the groups from 0.")
    if n and (int(array.min()) < 0 or int(array.max()) >= count):
        where = int(np.flatnonzero((array < 0) | (array >= count))[0])
        raise InputError(
            f"groups[{where}] is {array[where]}, but must be in 0 .. n_groups - 1 = {count - 1}.",
            fix="number the groups from 0.",
        )
    return as_whole(np.asarray(array, np.int64)), count


def as_quantiles(levels: ArrayLike) -> NDArray[np.float64]:
    """Return quantile levels as float64, each in 0 .. 1; a single number becomes one of length 1."""
    array = as_values(np.atleast_1d(_as_array(levels, "quantiles")), "quantiles")
    wrong = np.flatnonzero((array < 0.0) | (array > 1.0))
    if wrong.size:
        raise InputError(
            f"quantiles[{wrong[0]}] is {array[wrong[0]]}, but must be in 0 .. 1.", fix="divide percentages by 100."
        )
    return array
