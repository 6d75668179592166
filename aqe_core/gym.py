"""Environments of Gymnasium for our policies, and ours for whatever learns on Gymnasium (extra ``gym``).

Nothing here imports gymnasium before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.policy import Step
from aqe_core.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from aqe_core.contracts.policy import VectorEnv

__all__ = ["GymnasiumEnv", "from_gymnasium", "to_gymnasium"]

_BOUND = 1e6  # of observations and actions that have none of their own: what policies accept


def _gymnasium() -> Any:
    try:
        return import_module("gymnasium")
    except ImportError:
        raise MissingExtraError("gymnasium is not installed.", fix='pip install "aqe-core[gym]"') from None


class GymnasiumEnv:
    """A `aqe_core.contracts.VectorEnv` over environments of Gymnasium, stepped one after the other.

    Observations are flattened to float32 (a discrete one becomes one-hot); discrete actions count from 0; vectors are
    cut at the bounds of their space. Masks come from ``info["action_mask"]``, or from a method ``action_masks`` of the
    environment, where there is one. An episode that ends begins anew in the same step.

    Parameters
    ----------
    environments : list of gymnasium.Env
        Alike; closed by whoever made them.
    """

    def __init__(self, environments: list[Any]) -> None:
        spaces = _gymnasium().spaces
        self.environments = environments
        self.n_envs = len(environments)
        self._observed = environments[0].observation_space
        self._acted = environments[0].action_space
        if not isinstance(self._observed, (spaces.Box, spaces.Discrete)):
            raise InputError(
                f"the observations are a {type(self._observed).__name__}, but must be a Box or Discrete.",
                fix="flatten them with gymnasium.wrappers.FlattenObservation.",
            )
        if not isinstance(self._acted, (spaces.Box, spaces.Discrete)):
            raise InputError(
                f"the actions are a {type(self._acted).__name__}, but must be a Box or Discrete.",
                fix="wrap the environment so that one number or one vector is an action.",
            )
        discrete = isinstance(self._observed, spaces.Discrete)
        self._one_hot = np.eye(int(self._observed.n), dtype=np.float32) if discrete else None
        self.observation_dim = len(self._one_hot) if self._one_hot is not None else int(np.prod(self._observed.shape))
        self.n_actions = int(self._acted.n) if isinstance(self._acted, spaces.Discrete) else 0
        self.action_dim = 0 if self.n_actions else int(np.prod(self._acted.shape))
        self._rows = np.zeros((self.n_envs, self.observation_dim), np.float32)
        self._infos: list[dict[str, Any]] = [{} for _ in environments]

    def _row(self, observation: Any) -> NDArray[np.float32]:
        if self._one_hot is not None:
            row: NDArray[np.float32] = self._one_hot[int(observation) - int(self._observed.start)]
            return row
        return np.asarray(observation, np.float32).reshape(-1)

    def reset(self, seed: int) -> NDArray[np.float32]:
        """Begin all episodes anew; each copy gets a seed of its own, drawn from this one."""
        seeds = np.random.SeedSequence(seed).generate_state(self.n_envs)
        for i, (each, own) in enumerate(zip(self.environments, seeds.tolist(), strict=True)):
            observation, self._infos[i] = each.reset(seed=own)
            self._rows[i] = self._row(observation)
        return self.observe()

    def observe(self) -> NDArray[np.float32]:
        """Return the observations of now, shape (n_envs, observation_dim)."""
        return self._rows.copy()

    def step(self, actions: NDArray[Any]) -> Step:
        """Take one action in each copy; episodes that end begin anew."""
        rewards = np.empty(self.n_envs)
        terminated, truncated = np.zeros((2, self.n_envs), np.bool_)
        final: NDArray[np.float32] | None = None
        after = np.empty_like(self._rows)
        begun: dict[int, Any] = {}
        for i, each in enumerate(self.environments):
            observation, rewards[i], terminated[i], truncated[i], self._infos[i] = each.step(self._action(actions[i]))
            after[i] = self._row(observation)
            if terminated[i] or truncated[i]:
                begun[i], self._infos[i] = each.reset()
        if begun:
            final = after.copy()
            for i, observation in begun.items():
                after[i] = self._row(observation)
        self._rows = after
        return Step(self.observe(), rewards, terminated, truncated, final)

    def _action(self, action: Any) -> Any:
        if self.n_actions:
            return int(action) + int(self._acted.start)
        shaped = np.asarray(action, self._acted.dtype).reshape(self._acted.shape)
        return np.clip(shaped, self._acted.low, self._acted.high)

    def masks(self) -> NDArray[np.bool_] | None:
        """Return which actions are allowed now, shape (n_envs, n_actions); None if the environments do not say."""
        found = []
        for each, info in zip(self.environments, self._infos, strict=True):
            ask = getattr(each.unwrapped, "action_masks", None)
            mask = info.get("action_mask") if ask is None else ask()
            if mask is None:
                return None
            found.append(np.asarray(mask, np.bool_))
        return np.stack(found) if self.n_actions else None


def from_gymnasium(source: str | Callable[[], Any], n_envs: int = 1, **options: Any) -> GymnasiumEnv:
    """Make environments of Gymnasium into one that our policies learn on.

    Parameters
    ----------
    source : str or callable
        An id (``"CartPole-v1"``), or what makes one environment.
    n_envs : int
        Number of copies.
    **options
        For ``gymnasium.make``, or the callable.

    Returns
    -------
    GymnasiumEnv

    Raises
    ------
    MissingExtraError
        gymnasium is not installed.
    InputError
        Its observations or actions are of a kind that no policy takes.
    """
    gymnasium = _gymnasium()
    if n_envs < 1:
        raise InputError(f"n_envs is {n_envs!r}, but must be an integer of at least 1.", fix="pass e.g. n_envs=8.")
    make: Any = source
    if isinstance(source, str):
        return GymnasiumEnv([gymnasium.make(source, **options) for _ in range(n_envs)])
    return GymnasiumEnv([make(**options) for _ in range(n_envs)])


def to_gymnasium(env: VectorEnv) -> Any:
    """Make one environment of ours into a ``gymnasium.Env``.

    Parameters
    ----------
    env : VectorEnv
        Of one copy. Where it has ``observation_limit`` or ``action_limit``, these bound its spaces.

    Returns
    -------
    gymnasium.Env
        Where the environment has masks, ``info["action_mask"]`` (int8) and ``action_masks()`` hold the one of now.

    Raises
    ------
    MissingExtraError
        gymnasium is not installed.
    InputError
        The environment has more than one copy.
    """
    gymnasium = _gymnasium()
    if env.n_envs != 1:
        raise InputError(f"the environment has {env.n_envs} copies.", fix="make it with n_envs=1.")
    bound = float(getattr(env, "observation_limit", _BOUND))
    reach = float(getattr(env, "action_limit", _BOUND))

    class OfAqe(gymnasium.Env):  # type: ignore[name-defined,misc]  # gymnasium is imported only here: Any to mypy
        """One environment of aqe."""

        metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  # the form that Gymnasium prescribes

        def __init__(self) -> None:
            self.observation_space = gymnasium.spaces.Box(-bound, bound, (env.observation_dim,), np.float32)
            self.action_space = (
                gymnasium.spaces.Discrete(env.n_actions)
                if env.n_actions
                else gymnasium.spaces.Box(-reach, reach, (env.action_dim,), np.float32)
            )

        def _info(self) -> dict[str, Any]:
            masks = env.masks()
            return {} if masks is None else {"action_mask": masks[0].astype(np.int8)}

        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> tuple[NDArray[np.float32], dict[str, Any]]:
            super().reset(seed=seed, options=options)
            return env.reset(int(self.np_random.integers(2**63)))[0], self._info()

        def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
            step = env.step(np.asarray(action)[None])
            seen = step.observations if step.final_observations is None else step.final_observations
            return seen[0], float(step.rewards[0]), bool(step.terminated[0]), bool(step.truncated[0]), self._info()

        def action_masks(self) -> NDArray[np.bool_]:
            masks = env.masks()
            return np.ones(env.n_actions, np.bool_) if masks is None else masks[0]

    return OfAqe()
