"""What tabular policies accept: hyper-parameters and exported states, checked alike for every backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aqe_backend_numpy import _learner_input as given
from aqe_core.errors import InputError
from aqe_core.validate import as_key_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from aqe_backend_numpy._numbering import Key
    from aqe_core.state import EngineState

__all__ = ["ACTOR_CRITIC", "PPO", "LearnedPolicy", "Waiting", "as_learned_policy", "as_policy_params"]

MAX_EPOCHS = 1000
MAX_ROLLOUT = 2**20

ACTOR_CRITIC: given.Numbers = {
    "learning_rate": (0.0, 1.0, True),
    "value_learning_rate": (0.0, 1.0, True),
    "discount": (0.0, 1.0, False),
    "epsilon": (0.0, 1.0, False),
    "entropy_coefficient": (0.0, 1.0, False),
    "initial_value": (-given.MAX_REWARD, given.MAX_REWARD, False),
}
PPO: given.Numbers = {
    **ACTOR_CRITIC,
    "gae_lambda": (0.0, 1.0, False),
    "clip": (0.0, 10.0, False),
    "epochs": (1, MAX_EPOCHS, False),
    "rollout": (1, MAX_ROLLOUT, False),
    "normalize_advantage": (0, 1, False),
}
"""Their hyper-parameters besides ``actions`` and ``seed``."""

_WAITING = {
    "rollout_states": np.int64,
    "rollout_actions": np.int64,
    "rollout_rewards": np.float64,
    "rollout_dones": np.bool_,
}


class Waiting(NamedTuple):
    """Transitions that wait for PPO's training, by positions in the lists of states and actions."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    rewards: NDArray[np.float64]
    dones: NDArray[np.bool_]
    next_states: list[Key]


class LearnedPolicy(NamedTuple):
    """An exported state, checked."""

    params: dict[str, Any]
    states: list[Key]
    actions: list[Key]
    generator: tuple[int, tuple[int, ...], None]
    pairs: given.Pairs
    worths: NDArray[np.float64]
    waiting: Waiting


def as_policy_params(bounds: given.Numbers, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyper-parameters, checked."""
    checked: dict[str, Any] = {}
    for name, (low, high, above) in bounds.items():
        value = params[name]
        if name in {"epochs", "rollout"}:
            checked[name] = given.as_count(value, name, int(high))
        elif name == "normalize_advantage":
            if not isinstance(value, (bool, np.bool_)):
                raise InputError(f"{name} is {value!r}, but must be True or False.", fix="choose one.")
            checked[name] = bool(value)
        else:
            checked[name] = given.as_number(value, name, low, high, above=above)
    actions = params["actions"]
    return {
        **checked,
        "actions": None if actions is None else given.as_actions(actions),
        "seed": given.as_seed(params["seed"]),
    }


def as_learned_policy(state: EngineState, algorithm: str, bounds: given.Numbers) -> LearnedPolicy:
    """Return an exported state of this algorithm, checked."""
    version = given.as_version(state, algorithm)
    rolls = "rollout" in bounds
    names = {"params", "states", "actions", "rng"} | ({"rollout_next_states"} if rolls else set())
    manifest = given.as_dict(state.manifest, "the manifest", names)
    arrays = given.pair_names(version) | {"state_values"} | (set(_WAITING) if rolls else set())
    given.as_dict(state.arrays, "the arrays", arrays)
    params = as_policy_params(bounds, given.as_dict(manifest["params"], "params", {*bounds, "actions", "seed"}))
    states = given.as_names(manifest["states"], "states")
    actions = given.as_names(manifest["actions"], "actions")
    if params["actions"] is not None and list(params["actions"]) != actions:
        raise InputError("the declared actions differ from the actions of the table.", fix="export it again.")
    pairs = given.as_pairs(state, version, len(states), len(actions), least=0)
    if (np.diff(pairs.rows) < 0).any() or np.unique(pairs.rows).size != len(states):
        raise InputError("rows must name every state, in order.", fix="export it again.")
    (worths,) = given.as_arrays(state, {"state_values": np.float64})
    given.refuse_outside(worths, "state_values", -given.MAX_VALUE, given.MAX_VALUE)
    if worths.size != len(states):
        raise InputError(f"there are {len(states)} states, but {worths.size} state_values.", fix="export it again.")
    generator = given.as_generator(manifest["rng"])
    waiting = _as_waiting(state, states, actions) if rolls else _NOTHING
    return LearnedPolicy(params, states, actions, generator, pairs, worths, waiting)


_NOTHING = Waiting(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.bool_), [])


def _as_waiting(state: EngineState, states: list[Key], actions: list[Key]) -> Waiting:
    rows, columns, rewards, dones = given.as_arrays(state, _WAITING)
    given.refuse_outside(rows, "rollout_states", 0, len(states) - 1)
    given.refuse_outside(columns, "rollout_actions", 0, len(actions) - 1)
    given.refuse_outside(rewards, "rollout_rewards", -given.MAX_REWARD, given.MAX_REWARD)
    after = state.manifest["rollout_next_states"]
    if not isinstance(after, (list, tuple)) or len(after) != len(rows):
        raise InputError("rollout_next_states must name one state per step.", fix="export it again.")
    known = set(zip(state.arrays["rows"].tolist(), state.arrays["columns"].tolist(), strict=True))
    if not known.issuperset(zip(rows.tolist(), columns.tolist(), strict=True)):
        raise InputError("a step of the rollout is no pair of the table.", fix="export it again.")
    return Waiting(rows, columns, rewards, dones, [as_key_name(name, "rollout_next_states") for name in after])
