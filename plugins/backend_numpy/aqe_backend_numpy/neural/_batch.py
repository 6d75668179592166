"""What a policy learns from: successive steps of several copies, acted in an environment or handed in, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aqe_core.errors import DimensionError, InputError, InvalidActionError, NonFiniteError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from aqe_backend_numpy.neural._settings import Settings
    from aqe_core.contracts.policy import VectorEnv

__all__ = ["LIMIT", "Batch", "Episodes", "as_batch", "as_masks", "as_rows", "collect"]

LIMIT = 1e6  # of observations, actions and rewards: what keeps float32 gradients finite


class Batch(NamedTuple):
    """Steps, as `aqe_core.contracts.PolicyLearner.update` takes them; the first two axes are (t, n)."""

    observations: NDArray[np.float32]
    actions: NDArray[Any]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    ended: NDArray[np.bool_]
    final: NDArray[np.float32]  # what was seen at the end of each ended episode, in order of (t, n)
    last: NDArray[np.float32]  # what is seen after the last step, shape (n, observation_dim)
    masks: NDArray[np.bool_] | None


class Episodes:
    """Returns of episodes under way and of the last ones that ended.

    Attributes
    ----------
    running : float64 array, shape (n_envs,)
    count : int
        Number that ended.
    recent : list of float
        Returns of the last 20 of them, oldest first.
    """

    def __init__(self) -> None:
        self.running = np.zeros(0)
        self.count = 0
        self.recent: list[float] = []

    def add(self, rewards: NDArray[np.float64], ended: NDArray[np.bool_]) -> None:
        """Take in a batch of steps, each of shape (t, n)."""
        for row, over in zip(rewards, ended, strict=True):
            self.running += row
            if over.any():
                finished = self.running[over].tolist()
                self.count += len(finished)
                self.recent = (self.recent + finished)[-20:]
                self.running[over] = 0.0

    def mean(self) -> float:
        """Return the mean return of the recent ones; NaN if there are none."""
        return sum(self.recent) / len(self.recent) if self.recent else float("nan")


def collect(
    env: VectorEnv, observations: NDArray[np.float32], length: int, choose: Callable[..., NDArray[Any]], noise: Any
) -> Batch:
    """Act for ``length`` steps, from these observations on.

    ``choose(observations, masks, noise[t])`` returns the actions. The environment is not trusted: what it gave is
    checked by `verified`.
    """
    n, dim = observations.shape
    seen = np.empty((length, n, dim), np.float32)
    rewards = np.empty((length, n))
    terminated = np.empty((length, n), np.bool_)
    ended = np.empty((length, n), np.bool_)
    actions: list[NDArray[Any]] = []
    masks: list[NDArray[np.bool_]] = []
    finals: list[NDArray[np.float32]] = []
    for t in range(length):
        seen[t] = observations
        allowed = env.masks()
        if allowed is not None:
            masks.append(as_masks(allowed, n, env.n_actions, f"masks of the environment at step {t}"))
        chosen = choose(observations, masks[-1] if allowed is not None else None, noise[t])
        actions.append(chosen)
        observations, rewards[t], terminated[t], truncated, final = env.step(chosen)
        np.logical_or(terminated[t], truncated, out=ended[t])
        if final is not None:
            finals.append(final[ended[t]])
    if masks and len(masks) != length:
        raise InputError("the environment gave masks at some steps only.", fix="let masks() return them always.")
    return Batch(
        seen,
        np.stack(actions),
        rewards,
        terminated,
        ended,
        np.concatenate(finals) if finals else np.empty((0, dim), np.float32),
        observations,
        np.stack(masks) if masks else None,
    )


def verified(batch: Batch) -> Batch:
    """Return the batch if all its numbers are finite and of bearable size."""
    for what in ("observations", "final", "last", "rewards", "actions"):
        array: NDArray[Any] = getattr(batch, what)
        if array.dtype.kind == "f":
            refuse_wild(array, {"final": "final observations", "last": "observations"}.get(what, what))
    if len(batch.final) != np.count_nonzero(batch.ended):
        raise InputError("an episode ended without its final observation.", fix="return it in Step.final_observations.")
    return batch


def refuse_wild(array: NDArray[Any], what: str) -> None:
    """Raise if a number is NaN, infinite or beyond `LIMIT`."""
    if array.size == 0 or max(float(array.max()), -float(array.min())) <= LIMIT:
        return
    where = tuple(int(i) for i in np.argwhere(~(np.abs(array) <= LIMIT))[0])
    value = array[where]
    if not np.isfinite(value):
        raise NonFiniteError(f"{what} hold {value} at {where}.", fix="repair them where they are made.")
    raise InputError(f"{what} hold {value} at {where}, but must be within {LIMIT:g} of zero.", fix="scale them.")


def as_rows(observations: Any, dim: int) -> tuple[NDArray[np.float32], bool]:
    """Return observations as float32 of shape (n, dim), and whether one of shape (dim,) was given."""
    array = _as_float(observations, "observations", np.float32)
    single = array.ndim == 1
    rows = array[None, :] if single else array
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise DimensionError(
            f"observations have shape {array.shape}, but must have shape ({dim},) or (n, {dim}).",
            fix="pass vectors of the length that the policy was made for.",
        )
    refuse_wild(rows, "observations")
    return rows, single


def _as_float(values: Any, what: str, dtype: Any) -> NDArray[Any]:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"dtype {array.dtype}")
        with np.errstate(over="ignore"):  # an overflow to infinity is refused with its place
            return np.ascontiguousarray(array, dtype) if array.ndim else np.asarray(array, dtype)
    except (TypeError, ValueError) as error:
        raise DimensionError(f"{what} cannot be read as numbers ({error}).", fix="pass an array of numbers.") from None


def as_masks(masks: Any, n: int, n_actions: int, what: str = "mask") -> NDArray[np.bool_]:
    """Return masks as bool of shape (n, n_actions); each row must allow something."""
    if not n_actions:
        raise InvalidActionError(f"{what}: actions that are vectors cannot be masked.", fix="pass none.")
    array = np.asarray(masks)
    if array.ndim == 1 and n == 1:
        array = array[None, :]
    if array.shape != (n, n_actions):
        raise DimensionError(f"{what}: shape {array.shape}, but must be ({n}, {n_actions}).", fix="pass one row each.")
    if array.dtype != np.bool_ and (array.dtype.kind not in "iu" or not ((array == 0) | (array == 1)).all()):
        raise InputError(f"{what}: dtype {array.dtype}, but must be bool (or 0 and 1).", fix="pass e.g. allowed > 0.")
    allowed = array.astype(np.bool_)
    if not allowed.any(axis=1).all():
        row = int(np.flatnonzero(~allowed.any(axis=1))[0])
        raise InvalidActionError(f"{what}: row {row} allows no action.", fix="allow at least one.")
    return allowed


def as_batch(
    settings: Settings,
    observations: Any,
    actions: Any,
    rewards: Any,
    terminated: Any,
    truncated: Any,
    next_observations: Any,
    masks: Any,
) -> Batch:
    """Return a batch that was handed in, checked."""
    seen = _as_float(observations, "observations", np.float32)
    if seen.ndim != 3 or seen.shape[2] != settings.observation_dim or seen.size == 0:
        raise DimensionError(
            f"observations have shape {seen.shape}, but must have (t, n, {settings.observation_dim}), t and n above 0.",
            fix="pass observations[:, None] of a single copy.",
        )
    t, n, dim = seen.shape
    after = _shaped(_as_float(next_observations, "next_observations", np.float32), (t, n, dim), "next_observations")
    paid = _shaped(_as_float(rewards, "rewards", np.float64), (t, n), "rewards")
    over = _as_flags(terminated, (t, n), "terminated")
    ended = over | _as_flags(truncated, (t, n), "truncated")
    chosen = _as_taken(settings, actions, (t, n))
    allowed = None
    if masks is not None:
        flat = _shaped(np.asarray(masks), (t, n, settings.n_actions), "masks").reshape(t * n, -1)
        allowed = as_masks(flat, t * n, settings.n_actions, "masks").reshape(t, n, -1)
        if not np.take_along_axis(allowed, chosen[:, :, None], axis=2).all():
            raise InvalidActionError(
                "an action was taken that its mask forbids.", fix="pass the masks it was chosen under."
            )
    refuse_wild(after, "next_observations")
    return verified(Batch(seen, chosen, paid, over, ended, after[ended], after[-1], allowed))


def _shaped(array: NDArray[Any], shape: tuple[int, ...], what: str) -> NDArray[Any]:
    if array.shape != shape:
        raise DimensionError(f"{what} have shape {array.shape}, but must have {shape}.", fix="pass one per step.")
    return array


def _as_flags(values: Any, shape: tuple[int, ...], what: str) -> NDArray[np.bool_]:
    array = _shaped(np.asarray(values), shape, what)
    if array.dtype != np.bool_ and not (array.dtype.kind in "iu" and ((array == 0) | (array == 1)).all()):
        raise InputError(f"{what} has dtype {array.dtype}, but must be bool (or 0 and 1).", fix="pass booleans.")
    return array.astype(np.bool_)


def _as_taken(settings: Settings, actions: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    if not settings.n_actions:
        return _shaped(_as_float(actions, "actions", np.float32), (*shape, settings.action_dim), "actions")
    array = _shaped(np.asarray(actions), shape, "actions")
    if array.dtype.kind not in "iu" or int(array.min()) < 0 or int(array.max()) >= settings.n_actions:
        raise InvalidActionError(
            f"actions must be integers in 0 .. {settings.n_actions - 1}; there are others.", fix="see n_actions."
        )
    return array.astype(np.int64)
