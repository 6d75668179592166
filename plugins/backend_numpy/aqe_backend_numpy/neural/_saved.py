"""A policy as JSON values and arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_backend_numpy.neural._generator import restored, words_of
from aqe_backend_numpy.neural._settings import OWN, as_settings
from aqe_core.contracts.policy import CurvePoint
from aqe_core.errors import AqeError, InputError
from aqe_core.state import EngineState

if TYPE_CHECKING:
    from aqe_backend_numpy.neural.policy import NeuralPolicy

__all__ = ["exported", "imported"]


def exported(policy: NeuralPolicy) -> EngineState:
    """Return everything a policy holds.

    Kind ``policy/<algorithm>/1``. The manifest has ``params``, ``steps``, ``episodes`` and ``optimizer_steps``. Arrays:
    ``parameters``, ``first`` and ``second`` (float32: actor, critic, log-deviations; a layer is its weights, row by row
    from the inputs, then its biases), ``generator`` (uint64, six words of PCG64), ``observation_moments`` (float64,
    rows count, mean, variance), ``return_moments`` (likewise, one column), ``running_returns``,
    ``running_discounted``, ``recent_returns`` (float64) and ``curve`` (float64, one row per point).
    """
    return EngineState(
        kind=f"policy/{policy.algorithm}/1",
        manifest={
            "params": policy.get_params(),
            "steps": policy.steps,
            "episodes": policy.episodes.count,
            "optimizer_steps": policy.adam.count,
        },
        arrays={
            "parameters": policy.parameters.copy(),
            "first": policy.adam.first.copy(),
            "second": policy.adam.second.copy(),
            "generator": words_of(policy.rng),
            "observation_moments": _moments(policy.seen),
            "return_moments": _moments(policy.paid),
            "running_returns": policy.episodes.running.copy(),
            "running_discounted": policy.discounted.copy(),
            "recent_returns": np.array(policy.episodes.recent, np.float64),
            "curve": np.array(policy.points, np.float64).reshape(-1, len(CurvePoint._fields)),
        },
    )


def _moments(moments: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.stack((np.full_like(moments.mean, moments.count), moments.mean, moments.variance))


def imported(state: EngineState, algorithm: str, make: type[NeuralPolicy]) -> NeuralPolicy:
    """Return a policy that holds what was exported."""
    kind = f"policy/{algorithm}/1"
    if state.kind != kind:
        raise InputError(f"this is a state of kind {state.kind!r}, not {kind!r}.", fix="make the kind it was saved by.")
    try:
        params = dict(state.manifest["params"])
        policy = make(as_settings(**{name: params.pop(name) for name in OWN}, given=params))
        _fill(policy, state)
    except (AqeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the state of kind {kind!r} is damaged ({error}).", fix="take one exported by aqe.") from None
    return policy


def _fill(policy: NeuralPolicy, state: EngineState) -> None:
    arrays, manifest = state.arrays, state.manifest
    size, dim = policy.parameters.size, policy.settings.observation_dim
    copies = len(arrays["running_returns"])
    for name, shape in {
        "parameters": (size,),
        "first": (size,),
        "second": (size,),
        "observation_moments": (3, dim),
        "return_moments": (3, 1),
        "running_returns": (copies,),
        "running_discounted": (copies,),
    }.items():
        array = arrays[name]
        if array.shape != shape or array.dtype.kind != "f" or not np.isfinite(array).all():
            raise InputError(f"{name} has shape {array.shape}, but must be finite floats of shape {shape}.")
    policy.parameters[:] = arrays["parameters"]
    policy.adam.first[:] = arrays["first"]
    policy.adam.second[:] = arrays["second"]
    policy.adam.count = _count(manifest["optimizer_steps"])
    policy.rng = restored(arrays["generator"])
    for moments, name in ((policy.seen, "observation_moments"), (policy.paid, "return_moments")):
        rows = np.array(arrays[name], np.float64)
        moments.count, moments.mean, moments.variance = float(rows[0, 0]), rows[1].copy(), rows[2].copy()
    policy.episodes.running = np.array(arrays["running_returns"], np.float64)
    policy.episodes.count = _count(manifest["episodes"])
    policy.episodes.recent = np.array(arrays["recent_returns"], np.float64).tolist()
    policy.discounted = np.array(arrays["running_discounted"], np.float64)
    policy.steps = _count(manifest["steps"])
    curve = np.array(arrays["curve"], np.float64).reshape(-1, len(CurvePoint._fields))
    policy.points = [CurvePoint(int(row[0]), int(row[1]), *row[2:]) for row in curve.tolist()]


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InputError(f"a count is {value!r}.")
    return value
