"""Proximal policy optimization and advantage actor-critic, over float vectors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_backend_numpy.neural import _batch, _saved
from aqe_backend_numpy.neural._advantages import Moments, advantages, standardized
from aqe_backend_numpy.neural._batch import Batch, Episodes
from aqe_backend_numpy.neural._generator import as_count
from aqe_backend_numpy.neural._heads import Categorical, Gaussian
from aqe_backend_numpy.neural._network import Adam, Mlp, size_of
from aqe_backend_numpy.neural._settings import Settings, as_settings, to_params
from aqe_core.contracts.policy import CurvePoint
from aqe_core.errors import DimensionError
from aqe_core.state import EngineState, Portable

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.policy import VectorEnv

__all__ = ["NeuralPolicy", "make_policy"]

LOG_STD = (-5.0, 2.0)
_CLIP_OBSERVATIONS = 10.0  # standard deviations, where observations are normalized
_LARGEST_LOG_RATIO = 20.0  # its exponential is finite; the clipped loss does not look farther


class NeuralPolicy(Portable):
    """A `aqe_core.contracts.PolicyLearner`; make it by `make_policy`.

    Actor and critic are two perceptrons; all parameters lie in one vector, in which the optimizer steps.

    Parameters
    ----------
    settings : Settings
    dtype : dtype, default float32
        Of the parameters; float64 is for comparing gradients with finite differences.

    Notes
    -----
    One choice is O(parameters), an update O(batch_steps * epochs * parameters). Not safe for use from several threads.
    """

    def __init__(self, settings: Settings, dtype: Any = np.float32) -> None:
        self.settings = settings
        width = settings.n_actions or settings.action_dim
        actor = (settings.observation_dim, *settings.hidden, width)
        critic = (settings.observation_dim, *settings.hidden, 1)
        ends = np.cumsum([size_of(actor), size_of(critic), settings.action_dim])
        self.parameters = np.zeros(int(ends[2]), dtype)
        self.gradient = np.zeros(int(ends[2]), dtype)
        self.actor = Mlp(actor, self.parameters[: ends[0]], self.gradient[: ends[0]])
        self.critic = Mlp(critic, self.parameters[ends[0] : ends[1]], self.gradient[ends[0] : ends[1]])
        self.spread = self.parameters[ends[1] :]
        self._spread_gradient = self.gradient[ends[1] :]
        self.head: Categorical | Gaussian = Categorical(width) if settings.n_actions else Gaussian(width, self.spread)
        self.adam = Adam(len(self.parameters), dtype)
        self.rng = np.random.Generator(np.random.PCG64(settings.seed))
        self.actor.initialize(self.rng, 0.01)
        self.critic.initialize(self.rng, 1.0)
        self.spread[:] = settings.initial_log_std
        self.seen = Moments(settings.observation_dim)
        self.paid = Moments(1)
        self.discounted = np.zeros(0)  # running discounted return of each copy
        self.episodes = Episodes()
        self.points: list[CurvePoint] = []
        self.steps = 0

    @property
    def algorithm(self) -> str:
        """Name of the algorithm."""
        return self.settings.algorithm

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        """The learning curve: one point per update of `learn`, in order."""
        return tuple(self.points)

    def get_params(self) -> dict[str, Any]:
        """Return the hyper-parameters, defaults included; `make_policy` takes them as they are."""
        return to_params(self.settings)

    # -- acting ---------------------------------------------------------------------------------------------------

    def act(self, observations: ArrayLike, *, explore: bool = True, mask: ArrayLike | None = None) -> Any:
        """Choose an action for each observation; see `aqe_core.contracts.PolicyLearner.act`. O(n parameters)."""
        rows, single = _batch.as_rows(observations, self.settings.observation_dim)
        masks = None if mask is None else _batch.as_masks(mask, len(rows), self.settings.n_actions)
        noise = self.head.noise(self.rng, (len(rows),), self.parameters.dtype.type) if explore else None
        actions = self._choose(rows, masks, noise)
        if not single:
            return actions
        return int(actions[0]) if self.settings.n_actions else actions[0]

    def _choose(self, rows: NDArray[np.float32], masks: NDArray[np.bool_] | None, noise: Any) -> NDArray[Any]:
        outputs = self.actor.output(self._normal(rows))
        if masks is not None:
            Categorical.bar(outputs, masks)
        return self.head.mode(outputs) if noise is None else self.head.sample(outputs, noise)

    def values(self, observations: ArrayLike) -> NDArray[np.float64]:
        """Return the learned value of each observation, shape (n,), in the units of the rewards."""
        rows, _ = _batch.as_rows(observations, self.settings.observation_dim)
        return self._values(self._normal(rows)).astype(np.float64) * self._reward_scale()

    def _values(self, rows: NDArray[Any]) -> NDArray[Any]:
        return self.critic.output(rows)[:, 0]

    def _normal(self, rows: NDArray[Any]) -> NDArray[Any]:
        if not self.settings.normalize_observations:
            return rows
        scaled = (rows - self.seen.mean) / self.seen.scale()
        return np.clip(scaled, -_CLIP_OBSERVATIONS, _CLIP_OBSERVATIONS).astype(self.parameters.dtype)

    def _reward_scale(self) -> float:
        return float(self.paid.scale()[0]) if self.settings.normalize_rewards and self.paid.count else 1.0

    # -- learning -------------------------------------------------------------------------------------------------

    def learn(
        self,
        env: VectorEnv,
        total_timesteps: int,
        *,
        reset: bool = True,
        until: Callable[[CurvePoint], bool] | None = None,
    ) -> NeuralPolicy:
        """Act in an environment and learn; see `aqe_core.contracts.PolicyLearner.learn`.

        One update takes ``batch_steps`` steps, shared among the copies and rounded down to whole ones (at least one
        each).
        """
        total = as_count(total_timesteps, "total_timesteps")
        for name in ("observation_dim", "n_actions", "action_dim"):
            wanted, there = getattr(self.settings, name), getattr(env, name)
            if there != wanted:
                raise DimensionError(
                    f"the environment's {name} is {there}, the policy's {wanted}.", fix="make a policy that fits."
                )
        n = env.n_envs
        if reset or self.episodes.running.size != n:
            self.episodes.running = np.zeros(n)
            self.discounted = np.zeros(n)
        observations = env.reset(int(self.rng.integers(2**63))) if reset else env.observe()
        length = max(1, self.settings.batch_steps // n)
        end = self.steps + total
        with np.errstate(invalid="ignore", over="ignore"):  # an environment's NaN is refused after the steps
            while self.steps < end:
                noise = self.head.noise(self.rng, (length, n), self.parameters.dtype.type)
                batch = _batch.verified(_batch.collect(env, observations, length, self._choose, noise))
                observations = batch.last
                point = self._learn_from(batch)
                self.points.append(point)
                if until is not None and until(point):
                    break
        return self

    def update(
        self,
        observations: ArrayLike,
        actions: ArrayLike,
        rewards: ArrayLike,
        terminated: ArrayLike,
        truncated: ArrayLike,
        next_observations: ArrayLike,
        masks: ArrayLike | None = None,
    ) -> CurvePoint:
        """Learn from steps that were taken elsewhere; see `aqe_core.contracts.PolicyLearner.update`."""
        batch = _batch.as_batch(
            self.settings, observations, actions, rewards, terminated, truncated, next_observations, masks
        )
        n = batch.rewards.shape[1]
        if self.episodes.running.size != n:
            self.episodes.running = np.zeros(n)
            self.discounted = np.zeros(n)
        return self._learn_from(batch)

    def _learn_from(self, batch: Batch) -> CurvePoint:
        """Make one update: estimate advantages, then descend for some epochs."""
        settings = self.settings
        t, n, dim = batch.observations.shape
        self.episodes.add(batch.rewards, batch.ended)
        rewards = self._scaled_rewards(batch)
        dtype = self.parameters.dtype
        rows = self._normal(batch.observations.reshape(t * n, dim)).astype(dtype, copy=False)
        everything = np.concatenate((rows, self._normal(batch.last), self._normal(batch.final)))
        found = self._values(everything).astype(np.float64)
        values = found[: t * n].reshape(t, n)
        next_values = found[n : (t + 1) * n].reshape(t, n).copy()
        next_values[batch.ended] = found[(t + 1) * n :]
        gains = advantages(
            rewards, values, next_values, batch.terminated, batch.ended, settings.discount, settings.gae_lambda
        )
        targets = (gains + values).ravel().astype(dtype)
        actions = batch.actions.reshape(t * n, *batch.actions.shape[2:])
        masks = None if batch.masks is None else batch.masks.reshape(t * n, -1)
        weights = gains.ravel()
        if settings.normalize_advantages:
            weights = standardized(weights)
        self.steps += t * n
        entropy, kl, loss = self._descend(rows, actions, weights.astype(dtype), targets, masks)
        if settings.normalize_observations:  # from now on: a rollout is judged by the moments it was acted under
            self.seen.add(batch.observations.reshape(t * n, dim))
        return CurvePoint(self.steps, self.episodes.count, self.episodes.mean(), entropy, kl, loss)

    def _scaled_rewards(self, batch: Batch) -> NDArray[np.float64]:
        """Return the rewards, divided by the running deviation of the discounted return if wanted.

        Scaling by that deviation is described by Engstrom et al. (2020) as one of the parts that make PPO work.
        """
        if not self.settings.normalize_rewards:
            return batch.rewards
        returns = np.empty_like(batch.rewards)
        for step, row in enumerate(batch.rewards):
            self.discounted *= self.settings.discount
            self.discounted += row
            returns[step] = self.discounted
            self.discounted[batch.ended[step]] = 0.0
        self.paid.add(returns.reshape(-1, 1))
        return batch.rewards / self._reward_scale()

    def _descend(
        self,
        rows: NDArray[Any],
        actions: NDArray[Any],
        weights: NDArray[Any],
        targets: NDArray[Any],
        masks: NDArray[np.bool_] | None,
    ) -> tuple[float, float, float]:
        """Follow the gradient for all epochs; return entropy, divergence and value loss of the last."""
        settings = self.settings
        old = self.log_probabilities(rows, actions, masks)
        size = min(settings.minibatch_size, len(rows))
        rate = self._rate()
        for _ in range(settings.epochs):
            order = self.rng.permutation(len(rows)) if size < len(rows) else slice(None)
            columns = [rows[order], actions[order], weights[order], targets[order], old[order]]
            barred = None if masks is None else masks[order]
            found = []
            for start in range(0, len(rows), size):
                part = slice(start, start + size)
                cut, few = (each[part] for each in columns), None if barred is None else barred[part]
                part_rows, chosen, gained, aims, before = cut
                found.append((len(chosen), *self.slopes(part_rows, chosen, gained, aims, before, few)))
                self._clip_gradient()
                self.adam.step(self.parameters, self.gradient, rate)
                np.clip(self.spread, *LOG_STD, out=self.spread)
        sizes, entropies, divergences, losses = np.array(found).T
        entropy, kl, loss = (float(sizes.dot(each) / len(rows)) for each in (entropies, divergences, losses))
        return entropy, kl, loss

    def _rate(self) -> float:
        settings = self.settings
        left = max(0.0, 1.0 - self.steps / settings.anneal_steps) if settings.anneal_steps else 1.0
        return settings.learning_rate * left

    def log_probabilities(
        self, rows: NDArray[Any], actions: NDArray[Any], masks: NDArray[np.bool_] | None
    ) -> NDArray[Any]:
        """Return the log-probability (density) of each action under the policy of now."""
        outputs = self.actor.output(rows)
        if masks is not None:
            Categorical.bar(outputs, masks)
        return self.head.log_probabilities(outputs, actions)

    def slopes(
        self,
        rows: NDArray[Any],
        actions: NDArray[Any],
        weights: NDArray[Any],
        targets: NDArray[Any],
        old: NDArray[Any],
        masks: NDArray[np.bool_] | None,
    ) -> tuple[float, float, float]:
        """Fill `gradient` with that of the loss over a minibatch; return entropy, divergence and value loss.

        The loss is the mean of ``-min(ratio A, clip(ratio, 1 - c, 1 + c) A)``, minus the weighted entropy, plus the
        weighted ``(value - target)^2 / 2`` (Schulman, Wolski, Dhariwal, Radford and Klimov 2017).
        """
        settings = self.settings
        n = len(rows)
        divergence = 0.0

        def weigh(logs: NDArray[Any]) -> NDArray[Any]:
            nonlocal divergence
            shift = np.clip(logs - old, -_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO)
            ratio = np.exp(shift)
            divergence = float((ratio - 1.0 - shift).mean())  # never negative, unlike the mean of -shift
            limit = np.where(weights > 0, ratio > 1.0 + settings.clip_range, ratio < 1.0 - settings.clip_range)
            slope: NDArray[Any] = np.where(limit, 0.0, ratio * weights)
            slope *= -1.0 / n
            return slope.astype(self.parameters.dtype, copy=False)

        outputs = self.actor.forward(rows)
        if masks is not None:
            Categorical.bar(outputs, masks)
        slope, spread_slope, entropy = self.head.slopes(outputs, actions, weigh, settings.entropy_coefficient)
        self.actor.backward(slope)
        if spread_slope is not None:
            self._spread_gradient[:] = spread_slope
        error = self.critic.forward(rows)[:, 0] - targets
        self.critic.backward((error * (settings.value_coefficient / n))[:, None])
        return entropy, divergence, float(np.square(error, dtype=np.float64).mean())

    def _clip_gradient(self) -> None:
        norm = math.sqrt(float(np.dot(self.gradient, self.gradient)))
        if norm > self.settings.max_gradient_norm:
            self.gradient *= self.settings.max_gradient_norm / norm

    # -- moving ---------------------------------------------------------------------------------------------------

    def export_state(self) -> EngineState:
        """Return everything, so that ``import_state`` goes on bit for bit; the layout is told by `_saved`."""
        return _saved.exported(self)

    def import_state(self, state: EngineState) -> None:
        """Replace everything by an exported state.

        Raises
        ------
        InputError
            It is not a state of this kind of policy; nothing was changed.
        """
        self.__dict__ = _saved.imported(state, self.algorithm, type(self)).__dict__

    # The networks look into one vector of parameters; what copies attributes one by one would tear them apart.

    def __getstate__(self) -> EngineState:
        return self.export_state()

    def __setstate__(self, state: EngineState) -> None:
        self.__dict__ = _saved.imported(state, state.manifest["params"]["algorithm"], type(self)).__dict__


def make_policy(
    *,
    algorithm: str = "ppo",
    observation_dim: int,
    n_actions: int = 0,
    action_dim: int = 0,
    **hyper_parameters: Any,
) -> NeuralPolicy:
    """Make a policy over float vectors.

    Parameters
    ----------
    algorithm : str
        ``ppo`` or ``actor-critic``.
    observation_dim : int
        Length of an observation.
    n_actions, action_dim : int
        Number of discrete actions, or length of a vector; exactly one is above 0.
    **hyper_parameters
        See docs/algorithms.

    Raises
    ------
    CapabilityError
        No such algorithm.
    ConfigError
        No such hyper-parameter.
    InputError
        A hyper-parameter is out of range.
    """
    return NeuralPolicy(as_settings(algorithm, observation_dim, n_actions, action_dim, hyper_parameters))
