"""Hyper-parameters of the policies: what they are, their defaults, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from aqe_backend_numpy.neural._generator import as_count, as_seed
from aqe_core.errors import CapabilityError, ConfigError, InputError
from aqe_core.suggest import did_you_mean

__all__ = ["ALGORITHMS", "OWN", "Settings", "as_settings", "to_params"]


class Settings(NamedTuple):
    """Checked hyper-parameters; their meaning is told by `aqe_backend_numpy.neural.policy.make_policy`."""

    algorithm: str
    observation_dim: int
    n_actions: int
    action_dim: int
    hidden: tuple[int, ...]
    learning_rate: float
    anneal_steps: int
    discount: float
    gae_lambda: float
    batch_steps: int
    minibatch_size: int
    epochs: int
    clip_range: float
    entropy_coefficient: float
    value_coefficient: float
    max_gradient_norm: float
    initial_log_std: float
    normalize_advantages: bool
    normalize_observations: bool
    normalize_rewards: bool
    seed: int


_SHARED: dict[str, Any] = {
    "hidden": (64, 64),
    "anneal_steps": 0,
    "value_coefficient": 0.5,
    "max_gradient_norm": 0.5,
    "initial_log_std": 0.0,
    "seed": 0,
}
_DISCRETE: dict[str, Any] = {"normalize_observations": False, "normalize_rewards": False}
_CONTINUOUS: dict[str, Any] = {"normalize_observations": True, "normalize_rewards": True}
_PPO: dict[str, Any] = {
    "learning_rate": 3e-3,
    "discount": 0.98,
    "gae_lambda": 0.95,
    "batch_steps": 2048,
    "minibatch_size": 256,
    "epochs": 4,
    "clip_range": 0.2,
    "entropy_coefficient": 0.0,
    "normalize_advantages": True,
}
_A2C: dict[str, Any] = {
    "learning_rate": 3e-3,
    "discount": 0.98,
    "gae_lambda": 0.95,
    "batch_steps": 512,
    "entropy_coefficient": 0.0,
    "normalize_advantages": False,
}
# One set of defaults per algorithm and family of tasks, found on CartPole and Pendulum (docs/algorithms/ppo.md).
_DEFAULTS: dict[tuple[str, bool], dict[str, Any]] = {
    ("ppo", True): {**_SHARED, **_DISCRETE, **_PPO},
    ("ppo", False): {
        **_SHARED,
        **_CONTINUOUS,
        **_PPO,
        "learning_rate": 1e-3,
        "discount": 0.9,
        "batch_steps": 4096,
        "minibatch_size": 512,
        "epochs": 10,
    },
    ("actor-critic", True): {**_SHARED, **_DISCRETE, **_A2C},
    ("actor-critic", False): {**_SHARED, **_CONTINUOUS, **_A2C, "discount": 0.9},
}
ALGORITHMS = ("actor-critic", "ppo")
OWN = ("algorithm", "observation_dim", "n_actions", "action_dim")  # what a policy is, rather than how it learns

_RANGES: dict[str, tuple[float, float]] = {
    "learning_rate": (0.0, 1.0),
    "discount": (0.0, 1.0),
    "gae_lambda": (0.0, 1.0),
    "clip_range": (1e-6, 1e6),
    "entropy_coefficient": (0.0, 1e3),
    "value_coefficient": (0.0, 1e3),
    "max_gradient_norm": (1e-6, 1e6),
    "initial_log_std": (-5.0, 2.0),
}
_LOWEST = {"anneal_steps": 0, "batch_steps": 1, "minibatch_size": 1, "epochs": 1}


def as_settings(
    algorithm: Any, observation_dim: Any, n_actions: Any, action_dim: Any, given: Mapping[str, Any]
) -> Settings:
    """Return the hyper-parameters, checked; an absent one has its default, and so has None."""
    if algorithm not in ALGORITHMS:
        raise CapabilityError(
            f"this backend has no policy that learns by {algorithm!r}, only by {', '.join(ALGORITHMS)}.",
            fix="choose one of those, or another backend (aqe backends lists them).",
        )
    observation_dim = as_count(observation_dim, "observation_dim")
    n_actions = as_count(n_actions, "n_actions", 0)
    action_dim = as_count(action_dim, "action_dim", 0)
    if (n_actions > 0) == (action_dim > 0):
        raise InputError(
            f"n_actions is {n_actions} and action_dim is {action_dim}, but exactly one must be above 0.",
            fix="pass n_actions=2 for two discrete actions, or action_dim=2 for vectors of two numbers.",
        )
    defaults = _DEFAULTS[algorithm, n_actions > 0]
    for name in given:
        if name not in defaults:
            raise ConfigError(
                f"the {algorithm} policy has no option {name!r}.",
                fix=did_you_mean(name, list(defaults), f"it takes: {', '.join(sorted(defaults))}."),
            )
    chosen = {**defaults, **{name: value for name, value in given.items() if value is not None}}
    checked = {name: _checked(name, value) for name, value in chosen.items()}
    # The actor-critic makes one pass over all data at once, where every ratio is 1.
    once = {"minibatch_size": checked["batch_steps"], "epochs": 1, "clip_range": 1.0}
    return Settings(**{
        "algorithm": str(algorithm),
        "observation_dim": observation_dim,
        "n_actions": n_actions,
        "action_dim": action_dim,
        **once,
        **checked,
    })  # fmt: skip


def _checked(name: str, value: Any) -> Any:
    if name == "hidden":
        if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
            raise InputError(f"hidden is {value!r}, but must list widths.", fix="pass e.g. hidden=(64, 64).")
        return tuple(as_count(width, "a width in hidden") for width in value)
    if name == "seed":
        return as_seed(value)
    if name in _LOWEST:
        return as_count(value, name, _LOWEST[name])
    if name.startswith("normalize"):
        if not isinstance(value, (bool, np.bool_)):
            raise InputError(f"{name} is {value!r}, but must be True or False.", fix="choose one.")
        return bool(value)
    low, high = _RANGES[name]
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise InputError(f"{name} is {value!r}, but must be a number in {low:g} .. {high:g}.", fix="choose one.")
    return float(value)


def to_params(settings: Settings) -> dict[str, Any]:
    """Return what `as_settings` takes: only the options of the algorithm."""
    known = _DEFAULTS[settings.algorithm, settings.n_actions > 0]
    values = settings._asdict()
    return {
        name: list(value) if name == "hidden" else value
        for name, value in values.items()
        if name in OWN or name in known
    }
