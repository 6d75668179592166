"""What the tabular learners accept: columns of keys, rewards, parameters and exported states."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from aqe_core.errors import DimensionError, InputError, InvalidActionError
from aqe_core.validate import as_key_name, as_values, as_whole
from aqe_core.validate import as_reward as as_finite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aqe_backend_numpy._numbering import Key
    from aqe_core.state import EngineState

__all__ = [
    "MAX_COUNT",
    "MAX_REWARD",
    "MAX_VALUE",
    "PAIRS",
    "VERSION",
    "Learned",
    "Numbers",
    "Pairs",
    "Params",
    "as_actions",
    "as_arrays",
    "as_batch_keys",
    "as_count",
    "as_dict",
    "as_generator",
    "as_learned",
    "as_names",
    "as_number",
    "as_offered",
    "as_pairs",
    "as_params",
    "as_reward",
    "as_rewards",
    "as_seed",
    "as_version",
    "pair_names",
    "refuse_fixed",
    "refuse_outside",
]

A = TypeVar("A", str, int)
MAX_KEY = 2**63 - 1
MAX_REWARD = 1e290  # a value moves by at most one reward per update: no number of updates overflows
MAX_VALUE = 1e300
MAX_COUNT = 2**53  # exact as a double too; leaves room to count on
VERSION = 2  # of the states of tabular learners; 1 lacks `last_updates`
PAIRS = {
    "rows": np.int64,
    "columns": np.int64,
    "values": np.float64,
    "visits": np.int64,
    "last_updates": np.int64,
}


Numbers: TypeAlias = "dict[str, tuple[float, float, bool]]"
"""Lowest and highest value of each number among the hyper-parameters, and whether the lowest is excluded."""


class Params(NamedTuple):
    """Hyper-parameters, checked; the fields are those of `aqe_backend_numpy.learner.make_learner`."""

    learning_rate: float
    discount: float
    epsilon: float
    initial_value: float
    actions: tuple[Key, ...] | None
    seed: int


class Pairs(NamedTuple):
    """What is known of each pair."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: NDArray[np.float64]
    visits: NDArray[np.int64]
    last_updates: NDArray[np.int64]


class Learned(NamedTuple):
    """An exported state, checked."""

    params: Params
    states: list[Key]
    actions: list[Key]
    generator: tuple[int, tuple[int, ...], None]
    pairs: Pairs


def as_batch_keys(keys: Any, what: str, n: int | None = None) -> NDArray[np.int64] | list[Key]:
    """Return keys as an int64 array where all are integers, else as a list; ``n`` of them if given."""
    if isinstance(keys, (str, bytes)):
        raise InputError(f"{what} are one text, {keys!r}.", fix="pass a list of names.")
    if hasattr(keys, "__array__"):
        out = _array_keys(np.asarray(keys), what)
    elif isinstance(keys, Iterable):  # not through NumPy, which would make ["1", 1] two texts and [1, True] two ints
        out = _list_keys(list(keys), what)
    else:
        raise DimensionError(f"{what} are {keys!r}, but must have one axis.", fix="pass one key per update.")
    if n is not None and len(out) != n:
        raise DimensionError(f"there are {n} states, but {len(out)} {what}.", fix="pass one of each per update.")
    return out


def _list_keys(keys: list[Any], what: str) -> NDArray[np.int64] | list[Key]:
    kinds = set(map(type, keys))
    if kinds <= {int}:
        try:
            return np.array(keys, np.int64)
        except OverflowError:
            pass  # found and named below
    elif kinds == {str}:
        return keys
    return [as_key_name(key, f"{what}[{where}]") for where, key in enumerate(keys)]


def _array_keys(array: NDArray[Any], what: str) -> NDArray[np.int64] | list[Key]:
    if array.ndim != 1:
        raise DimensionError(
            f"{what} have shape {array.shape}, but must have one axis.", fix="pass one key per update."
        )
    if array.dtype.kind in "iu":
        if array.dtype == np.uint64 and array.size and int(array.max()) > MAX_KEY:
            return _list_keys(array.tolist(), what)
        return array.astype(np.int64, copy=False)
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.dtype.kind in "UTO":
        return _list_keys(array.tolist(), what)
    raise InputError(
        f"{what} have dtype {array.dtype}, but must be integers or names.", fix="encode them as text or numbers."
    )


def as_reward(reward: Any) -> float:
    """Return a reward as a float of bounded size."""
    value = as_finite(reward)
    if abs(value) > MAX_REWARD:
        raise InputError(f"reward is {value}, but must be within {MAX_REWARD} of zero.", fix="scale the rewards.")
    return value


def as_rewards(rewards: Any, n: int) -> NDArray[np.float64]:
    """Return ``n`` rewards as contiguous float64."""
    plain = type(rewards) is np.ndarray and rewards.dtype == np.float64 and rewards.shape == (n,) and n
    # Where one is NaN, so are both extremes, and no comparison holds.
    if plain and np.minimum.reduce(rewards) >= -MAX_REWARD and np.maximum.reduce(rewards) <= MAX_REWARD:
        return as_whole(rewards)
    array = as_values(rewards, "rewards")
    if array.size != n:
        raise DimensionError(f"there are {n} states, but {array.size} rewards.", fix="pass one per update.")
    if n and max(float(array.max()), -float(array.min())) > MAX_REWARD:
        where = int(np.flatnonzero(np.abs(array) > MAX_REWARD)[0])
        raise InputError(
            f"rewards[{where}] is {array[where]}, but must be within {MAX_REWARD} of zero.",
            fix="scale the rewards.",
        )
    return array


def as_number(value: Any, what: str, low: float, high: float, *, above: bool = False) -> float:
    """Return a number in a range as a float, without a negative zero."""
    number = None
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        # No int is too long for a float then; a bound would not fit into NumPy's narrow floats.
        number = float(min(max(value, -(10**300)), 10**300) if isinstance(value, int) else value)
    if number is None or not (low < number if above else low <= number) or not number <= high:
        interval = f"above {low:g} and at most {high:g}" if above else f"in {low:g} .. {high:g}"
        raise InputError(f"{what} is {value!r}, but must be a number {interval}.", fix="choose one in range.")
    return number + 0.0  # no negative zero: equal values are equal bits


def as_params(params: Mapping[str, Any]) -> Params:
    """Return the hyper-parameters, checked."""
    actions = params["actions"]
    return Params(
        learning_rate=as_number(params["learning_rate"], "learning_rate", 0.0, 1.0, above=True),
        discount=as_number(params["discount"], "discount", 0.0, 1.0),
        epsilon=as_number(params["epsilon"], "epsilon", 0.0, 1.0),
        initial_value=as_number(params["initial_value"], "initial_value", -MAX_REWARD, MAX_REWARD),
        actions=None if actions is None else as_actions(actions),
        seed=as_seed(params["seed"]),
    )


def as_seed(seed: Any) -> int:
    """Return the seed of a generator."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
        raise InputError(f"seed is {seed!r}, but must be an integer in 0 .. 2**64 - 1.", fix="pass e.g. seed=0.")
    return int(seed)


def as_actions(actions: Any) -> tuple[Key, ...]:
    """Return the declared set of actions, each once."""
    if isinstance(actions, (str, bytes)) or not isinstance(actions, (Iterable, np.ndarray)):
        raise InputError(
            f"actions are {actions!r}, but must be a list of names or integers.",
            fix="pass e.g. actions=['run', 'skip'].",
        )
    declared = tuple(as_key_name(action, f"actions[{where}]") for where, action in enumerate(actions))
    if not declared or len(set(declared)) < len(declared):
        raise InputError(
            f"actions declare {len(declared)} names, {len(set(declared))} of them different.",
            fix="declare at least one action, each once; or leave it out for an open set.",
        )
    return declared


def as_version(state: EngineState, algorithm: str) -> int:
    """Return the version of an exported state, once it is one of this algorithm."""
    for version in range(1, VERSION + 1):
        if state.kind == f"learner/{algorithm}/{version}":
            return version
    wanted = f"learner/{algorithm}/{VERSION}"
    raise InputError(f"the state is of kind {state.kind!r}, but must be {wanted!r}.", fix="make that learner.")


def as_learned(state: EngineState, algorithm: str) -> Learned:
    """Return an exported state of this algorithm, checked."""
    version = as_version(state, algorithm)
    manifest = as_dict(state.manifest, "the manifest", {"params", "states", "actions", "rng"})
    params = as_params(as_dict(manifest["params"], "params", set(Params._fields)))
    states = as_names(manifest["states"], "states")
    actions = as_names(manifest["actions"], "actions")
    if params.actions is not None and list(params.actions) != actions:
        raise InputError("the declared actions differ from the actions of the table.", fix="export it again.")
    as_dict(state.arrays, "the arrays", pair_names(version))
    pairs = as_pairs(state, version, len(states), len(actions), least=1)
    return Learned(params, states, actions, as_generator(manifest["rng"]), pairs)


def pair_names(version: int) -> set[str]:
    """Return the names of the arrays of pairs in a state of this version."""
    return set(PAIRS) - ({"last_updates"} if version == 1 else set())


def as_pairs(state: EngineState, version: int, n_states: int, n_actions: int, *, least: int) -> Pairs:
    """Return what a state says of its pairs, each once and updated at least so often, checked."""
    names = pair_names(version)
    arrays = as_arrays(state, {name: dtype for name, dtype in PAIRS.items() if name in names})
    rows, columns, values, visits = arrays[:4]
    refuse_outside(rows, "rows", 0, n_states - 1)
    refuse_outside(columns, "columns", 0, n_actions - 1)
    refuse_outside(values, "values", -MAX_VALUE, MAX_VALUE)
    refuse_outside(visits, "visits", least, MAX_COUNT)
    if (steps := float(visits.sum(dtype=np.float64))) > MAX_COUNT:
        raise InputError(f"visits add up to {steps:g}, more than {MAX_COUNT}.", fix="export it again.")
    last_updates = arrays[4] if version > 1 else np.zeros_like(visits)
    refuse_outside(last_updates, "last_updates", 0, int(visits.sum()))
    if np.unique(rows * max(n_actions, 1) + columns).size != rows.size:
        raise InputError("a pair of row and column is there twice.", fix="export it again.")
    # Adding zero copies, and turns negative zeros, which a learner never has, into zeros.
    return Pairs(rows, columns, values + 0.0, visits, last_updates)


def as_arrays(state: EngineState, dtypes: Mapping[str, Any]) -> list[NDArray[Any]]:
    """Return these arrays of a state, which must have one axis, equal lengths and the dtypes given."""
    arrays: list[Any] = [state.arrays[name] for name in dtypes]
    n = len(arrays[0]) if isinstance(arrays[0], np.ndarray) and arrays[0].ndim else 0
    for array, (name, dtype) in zip(arrays, dtypes.items(), strict=True):
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != (n,):
            raise InputError(f"{name} must be an array of {np.dtype(dtype)}, shape ({n},).", fix="export it again.")
    return arrays


def as_dict(value: Any, what: str, keys: set[str]) -> Mapping[str, Any]:
    """Return a mapping that has exactly these keys."""
    if not isinstance(value, Mapping) or set(value) != keys:
        raise InputError(f"{what} must hold exactly {', '.join(sorted(keys))}.", fix="export it again.")
    return value


def as_names(names: Any, what: str) -> list[Key]:
    """Return a list of different names."""
    if not isinstance(names, (list, tuple)):
        raise InputError(f"{what} must be a list of names.", fix="export it again.")
    keys = [as_key_name(name, f"{what}[{where}]") for where, name in enumerate(names)]
    if len(set(keys)) < len(keys):
        raise InputError(f"{what} hold a name twice.", fix="export it again.")
    return keys


def as_generator(value: Any) -> tuple[int, tuple[int, ...], None]:
    """Return the state of a `random.Random` that has drawn no normal numbers."""
    try:
        version, words, gauss = value
        if gauss is not None or any(type(word) is not int or not 0 <= word < 2**32 for word in words):
            raise ValueError(words)  # the same refusal as for what setstate finds
        generator = (version, tuple(words), None)
        random.Random().setstate(generator)  # noqa: S311  # exploration, not secrets
    except (TypeError, ValueError, OverflowError):
        raise InputError("rng is not the state of a generator.", fix="export it again.") from None
    return generator


def refuse_outside(array: NDArray[Any], what: str, low: float, high: float) -> None:
    """Raise unless all values are in a range, ends included."""
    wrong = np.flatnonzero(~((array >= low) & (array <= high)))
    if wrong.size:
        raise InputError(
            f"{what}[{wrong[0]}] is {array[wrong[0]]}, but must be in {low:g} .. {high:g}.", fix="export it again."
        )


def as_count(value: Any, what: str, high: int) -> int:
    """Return a number of things, 1 .. high."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= high:
        raise InputError(f"{what} is {value!r}, but must be an integer in 1 .. {high}.", fix="choose one in range.")
    return int(value)


def as_offered(actions: Sequence[A]) -> list[A]:
    """Return the offered actions, at least one."""
    if type(actions) is not list and (isinstance(actions, (str, bytes)) or not isinstance(actions, Iterable)):
        raise InputError(f"actions are {actions!r}, but must be a list.", fix="pass a list of actions.")
    offered = list(actions)
    if not offered:
        raise InvalidActionError("no action was offered.", fix="pass at least one.")
    return offered


def refuse_fixed(changes: Mapping[str, Any], adjustable: Iterable[str]) -> None:
    """Raise if something other than these parameters is to be changed."""
    wrong = sorted(set(changes) - set(adjustable))
    if wrong:
        raise InputError(
            f"{wrong[0]} cannot be changed.", fix=f"make another learner; these can: {', '.join(sorted(adjustable))}."
        )
