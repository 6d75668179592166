"""Linear contextual bandits: LinUCB, its discounted form, and Thompson sampling, in NumPy.

Each action ``a`` has a model of its own: the reward in context ``x`` is ``theta_a . x`` and noise, with the prior
``theta_a ~ N(0, I / ridge)``. It is kept as mean ``theta_a`` and covariance ``S_a``; an observation changes both in
O(dim**2) by the formula of Sherman and Morrison (1950)::

    s = S x;  d = 1 + s . x;  theta += s (reward - theta . x) / d;  S -= s s' / d

which equals ridge regression over all that was seen (S is the inverse of ``ridge I + sum of x x'``).

With a discount below 1 the models forget: between updates, theta follows a stationary process that returns to the
prior (AR(1)), so after ``k`` updates of the bandit ``theta -> discount**(k/2) theta`` and ``S -> discount**k S + (1 -
discount**k) I / ridge``. Unlike a plain exponential weight this never lets S grow beyond the prior, whatever was not
seen for long, and needs no inverse. The idea is that of D-LinUCB (Russac, Vernade and Cappe 2019).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aqe_backend_numpy import _learner_input as given
from aqe_core.errors import DimensionError, InputError, InvalidActionError
from aqe_core.state import EngineState, Portable
from aqe_core.stream import Streamed
from aqe_core.validate import as_context, as_contexts, as_dim, as_key_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.learner import A, ActionKey

__all__ = ["DiscountedLinUcb", "LinUcb", "LinearBandit", "Thompson"]

MAX_DIM = 1024
MAX_BANDIT_REWARD = 1e100  # its product with a context of at most 1e150 is finite
SAMPLES = 1000
_COMMON: given.Numbers = {
    "epsilon": (0.0, 1.0, False),
    "ridge": (1e-6, 1e6, False),
    "discount": (0.5, 1.0, False),
}
_ARRAYS = {"theta": 2, "covariance": 3, "updated": 1, "visits": 1}


def _best(scores: Sequence[float]) -> int:
    """Return the place of the highest score, of equal ones the first.

    BLAS rounds a row by its place among the others, so that equal models may differ in the last bits: scores within
    1e-12 of the highest, relatively, count as equal.
    """
    highest = max(scores)
    least = highest - 1e-12 * abs(highest)
    return [score >= least for score in scores].index(True)


class LinearBandit(Streamed, Portable):
    """What the three share: the models, and a choice by scores that a subclass computes."""

    algorithm: ClassVar[str]
    _numbers: ClassVar[given.Numbers] = _COMMON

    def __init__(self, params: dict[str, Any]) -> None:
        self._start(self._checked(params))

    def _checked(self, params: Any) -> dict[str, Any]:
        actions = given.as_actions(params["actions"])
        return {
            "dim": as_dim(params["dim"], MAX_DIM),
            "actions": actions,
            **{
                name: given.as_number(params[name], name, low, high, above=above)
                for name, (low, high, above) in self._numbers.items()
            },
            "seed": given.as_seed(params["seed"]),
        }

    def _start(self, params: dict[str, Any]) -> None:
        """Begin with models that know the prior only."""
        self._params = params
        self.dim: int = params["dim"]
        self.actions: tuple[ActionKey, ...] = params["actions"]
        self._rows = {action: row for row, action in enumerate(self.actions)}
        self._random = np.random.default_rng(params["seed"])
        self._forget()

    def _forget(self) -> None:
        """Make the models, which know nothing but the prior."""
        params, n, dim = self._params, len(self.actions), self.dim
        self.steps = 0
        # Row 0 of each model is theta, the others are S: one product with a context gives theta . x and S x of all.
        self._models = np.zeros((n, 1 + dim, dim))
        self._models[:, 1:] = np.eye(dim) / params["ridge"]
        self._flat = self._models.reshape(n * (1 + dim), dim)
        self._products = np.empty(n * (1 + dim))
        by_action = self._products.reshape(n, 1 + dim)
        self._means, self._rest = by_action[:, 0], by_action[:, 1:]
        # What an update needs, made once: for a few numbers a view costs as much as the arithmetic.
        self._model = list(self._models)
        self._gain = np.empty(1 + dim)
        self._gain_rest = self._gain[1:]
        self._gain_column, self._gain_row = self._gain[:, None], self._gain_rest[None, :]
        self._outer = np.empty((1 + dim, dim))
        self._updated = np.zeros(n, np.int64)
        self._visits = [0] * n
        self._forgets: bool = params["discount"] < 1.0

    def get_params(self) -> dict[str, Any]:
        """Return the hyper-parameters, defaults included; ``make_learner`` takes them as they are."""
        return {**self._params, "actions": list(self.actions)}

    def visits(self, action: ActionKey) -> int:
        """Return the number of updates of an action.

        Raises
        ------
        InvalidActionError
            It was not declared.
        """
        return self._visits[self._row(action)]

    # -- choosing -----------------------------------------------------------------------------------------------

    def _moments(self, context: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the expected reward of each action, and its variance in units of the noise's. O(actions dim**2).

        The first may be a view of a buffer, which the next call overwrites.
        """
        self._flat.dot(context, self._products)
        means, variances = self._means, self._rest.dot(context)
        if self._forgets:
            kept = self._params["discount"] ** (self.steps - self._updated)
            means = means * np.sqrt(kept)
            variances = kept * variances + (1.0 - kept) * (float(context @ context) / self._params["ridge"])
        return means, variances

    def _scores(self, means: NDArray[np.float64], variances: NDArray[np.float64]) -> list[float]:
        """Return what each action is chosen by."""
        raise NotImplementedError

    def act(self, context: ArrayLike, actions: Sequence[A] | None = None, *, explore: bool = True) -> A:
        """Choose an action. O(actions * dim**2).

        See `aqe_core.contracts.Bandit.act`. With ``explore`` and an ``epsilon`` above 0, one number is drawn and a
        uniformly random offered action is taken where it is below epsilon (a second number says which); otherwise that
        of the highest score, of equal ones the first offered.

        Raises
        ------
        DimensionError, NonFiniteError, InvalidActionError, InputError
            As the contract says.
        """
        x = as_context(context, self.dim)
        offered, rows = self._offered(actions)
        epsilon = self._params["epsilon"]
        if explore and epsilon and self._random.random() < epsilon:
            drawn: A = offered[int(self._random.random() * len(offered))]
            return drawn
        means, variances = self._moments(x)
        scores: list[float] = self._scores(means, variances) if explore else means.tolist()
        chosen: A = offered[_best(scores if rows is None else [scores[row] for row in rows])]
        return chosen

    def _offered(self, actions: Any) -> tuple[Any, list[int] | None]:
        if actions is None:
            return self.actions, None
        offered = given.as_offered(actions)
        return offered, [self._row(action) for action in offered]

    def _row(self, action: Any) -> int:
        if type(action) is str or type(action) is int:  # the usual way; what follows costs as much as the arithmetic
            row = self._rows.get(action)
            if row is not None:
                return row
        key = as_key_name(action, "action")
        try:
            return self._rows[key]
        except KeyError:
            raise InvalidActionError(
                f"the action {key!r} is not declared.", fix=f"use one of {', '.join(map(repr, self.actions[:9]))}."
            ) from None

    def probabilities(self, context: ArrayLike, actions: Sequence[ActionKey] | None = None) -> NDArray[np.float64]:
        """Return the propensity of each offered action, float64, shape (offered,); see `aqe_core.contracts.Bandit`.

        ``epsilon / n`` each, and the action of the highest score ``1 - epsilon`` more. For `Thompson` the second part
        is estimated from 1,000 draws of a generator of its own: the standard error is at most 0.016, and no share is
        below 1 / 1002 of it, as each action is counted as drawn once more and one is added to the draws per action.
        """
        x = as_context(context, self.dim)
        _, rows = self._offered(actions)
        means, variances = self._moments(x)
        if rows is not None:
            means, variances = means[rows], variances[rows]
        epsilon: float = self._params["epsilon"]
        shares: NDArray[np.float64] = epsilon / means.size + (1.0 - epsilon) * self._shares(means, variances)
        return shares

    def _shares(self, means: NDArray[np.float64], variances: NDArray[np.float64]) -> NDArray[np.float64]:
        shares = np.zeros(means.size)
        shares[_best(self._scores(means, variances))] = 1.0
        return shares

    def values(self, context: ArrayLike) -> NDArray[np.float64]:
        """Return the expected reward of each declared action, float64, shape (actions,). O(actions * dim**2).

        Raises
        ------
        DimensionError, NonFiniteError
            The context does not fit.
        """
        return self._moments(as_context(context, self.dim))[0].copy()

    # -- learning -----------------------------------------------------------------------------------------------

    def update(self, context: ArrayLike, action: ActionKey, reward: float) -> None:
        """Learn what an action earned in a context. O(dim**2); see `aqe_core.contracts.Bandit.update`."""
        self._learn(as_context(context, self.dim), self._row(action), _as_reward(reward))

    def update_batch(self, contexts: ArrayLike, actions: Sequence[ActionKey] | ArrayLike, rewards: ArrayLike) -> None:
        """Learn from ``n`` outcomes in order, as `update` does one by one, bit for bit. O(n * dim**2)."""
        rows = as_contexts(contexts, self.dim)
        keys = given.as_batch_keys(actions, "actions")
        gains = given.as_rewards(rewards, len(keys))
        if len(rows) != len(keys):
            raise DimensionError(
                f"there are {len(rows)} contexts, but {len(keys)} actions.", fix="pass one of each per outcome."
            )
        given.refuse_outside(gains, "rewards", -MAX_BANDIT_REWARD, MAX_BANDIT_REWARD)
        chosen = [self._row(key) for key in (keys if isinstance(keys, list) else keys.tolist())]
        self._learn_all(rows, chosen, gains.tolist())

    def _learn_all(self, contexts: NDArray[np.float64], rows: list[int], rewards: list[float]) -> None:
        for x, row, reward in zip(contexts, rows, rewards, strict=True):
            self._learn(x, row, reward)

    def _learn(self, x: NDArray[np.float64], row: int, reward: float) -> None:
        model = self._model[row]
        self.steps += 1
        if self._forgets:
            theta, covariance = model[0], model[1:]
            kept = self._params["discount"] ** (self.steps - int(self._updated[row]))
            theta *= math.sqrt(kept)
            covariance *= kept
            covariance.reshape(-1)[:: self.dim + 1] += (1.0 - kept) / self._params["ridge"]
            self._updated[row] = self.steps
        # With s = S x and r = s / sqrt(1 + x . s): S becomes S - r r', a product of one vector with itself, so that it
        # stays symmetric to the last bit; theta becomes theta + s (reward - theta . x) / (1 + x . s).
        gain, outer = self._gain, self._outer
        model.dot(x, gain)
        gain[0] = gain.item(0) - reward
        gain *= math.sqrt(1.0 / (1.0 + float(self._gain_rest.dot(x))))
        self._gain_column.dot(self._gain_row, outer)  # one product each, and no sum: nothing that BLAS could round
        model -= outer
        self._visits[row] += 1

    # -- moving -------------------------------------------------------------------------------------------------

    def export_state(self) -> EngineState:
        """Return everything learned, with the generator, so that ``import_state`` continues bit for bit.

        Kind ``learner/<algorithm>/1``. The manifest holds ``params``, ``steps`` and ``rng`` (the state of NumPy's
        PCG64). The arrays hold one entry per action, in the declared order: ``theta`` (float64, shape (n, dim)),
        ``covariance`` (float64, (n, dim, dim)), ``updated`` (int64, number of the last update; 0 without a discount)
        and ``visits`` (int64).
        """
        return EngineState(
            kind=f"learner/{self.algorithm}/1",
            manifest={"params": self.get_params(), "steps": self.steps, "rng": self._random.bit_generator.state},
            arrays=self._learned(),
        )

    def _learned(self) -> dict[str, NDArray[Any]]:
        """Return copies of the arrays that ``export_state`` describes."""
        return {
            "theta": self._models[:, 0].copy(),
            "covariance": self._models[:, 1:].copy(),
            "updated": self._updated.copy(),
            "visits": np.array(self._visits, np.int64),
        }

    def _resume(self, steps: int, arrays: Mapping[str, Any]) -> None:
        """Take what `_learned` returned, checked, into fresh models."""
        self.steps = steps
        self._models[:, 0], self._models[:, 1:] = arrays["theta"], arrays["covariance"]
        self._updated[:], self._visits = arrays["updated"], arrays["visits"].tolist()

    def import_state(self, state: EngineState) -> None:
        """Replace everything learned by an exported state.

        Raises
        ------
        InputError
            It is not a state of this kind of bandit; nothing was changed.
        """
        kind = f"learner/{self.algorithm}/1"
        if state.kind != kind:
            raise InputError(f"the state is of kind {state.kind!r}, but must be {kind!r}.", fix="make that bandit.")
        manifest = given.as_dict(state.manifest, "the manifest", {"params", "steps", "rng"})
        named = given.as_dict(manifest["params"], "params", {"dim", "actions", "seed", *self._numbers})
        params = self._checked(named)
        steps = manifest["steps"]
        if type(steps) is not int or not 0 <= steps <= given.MAX_COUNT:
            raise InputError(f"steps is {steps!r}, but must be in 0 .. {given.MAX_COUNT}.", fix="export it again.")
        arrays = given.as_dict(state.arrays, "the arrays", set(_ARRAYS))
        shape = (len(params["actions"]), params["dim"], params["dim"])
        for name, axes in _ARRAYS.items():
            dtype = np.int64 if axes == 1 else np.float64
            array = arrays[name]
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape[:axes]:
                raise InputError(f"{name} must be {np.dtype(dtype)} of shape {shape[:axes]}.", fix="export it again.")
            limit = steps if axes == 1 else given.MAX_VALUE
            given.refuse_outside(array.ravel(), name, 0 if axes == 1 else -limit, limit)
        generator = _as_generator(manifest["rng"])
        # From here on nothing can fail.
        self._start(params)
        self._random = generator
        self._resume(steps, arrays)


class LinUcb(LinearBandit):
    """LinUCB with separate models (Li, Chu, Langford and Schapire 2010): the highest upper confidence bound.

    The score of an action is ``theta . x + alpha * sqrt(x' S x)``; see the module.

    Parameters
    ----------
    dim : int
        Length of a context, 1 .. 1024. For an intercept, let one number always be 1.
    actions : sequence of str or int
        All of them.
    alpha : float, default 1.0
        How much uncertainty counts, in 0 .. 1000.
    ridge : float, default 1.0
        Weight of the prior, in 1e-6 .. 1e6.
    discount : float, default 1.0
        In 0.5 .. 1; see the module.
    epsilon : float, default 0.0
        Share of uniformly random choices, in 0 .. 1; above 0, every offered action has a propensity above 0.
    seed : int, default 0
        Of the generator.

    Notes
    -----
    Not safe for use from several threads at once.
    """

    algorithm = "linucb"
    _numbers: ClassVar[given.Numbers] = {"alpha": (0.0, 1000.0, False), **_COMMON}

    def __init__(
        self,
        *,
        dim: int,
        actions: Iterable[ActionKey],
        alpha: float = 1.0,
        ridge: float = 1.0,
        discount: float = 1.0,
        epsilon: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            {
                "dim": dim,
                "actions": actions,
                "alpha": alpha,
                "ridge": ridge,
                "discount": discount,
                "epsilon": epsilon,
                "seed": seed,
            }
        )

    def _scores(self, means: NDArray[np.float64], variances: NDArray[np.float64]) -> list[float]:
        alpha: float = self._params["alpha"]
        # Rounding may leave a tiny negative variance. Lists: there is a handful, for which NumPy takes longer.
        return [
            mean + alpha * math.sqrt(variance) if variance > 0.0 else mean
            for mean, variance in zip(means.tolist(), variances.tolist(), strict=True)
        ]


class DiscountedLinUcb(LinUcb):
    """LinUCB that forgets: as `LinUcb`, with a ``discount`` of 0.99 unless another one is given."""

    algorithm = "discounted-linucb"

    def __init__(
        self,
        *,
        dim: int,
        actions: Iterable[ActionKey],
        alpha: float = 1.0,
        ridge: float = 1.0,
        discount: float = 0.99,
        epsilon: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            dim=dim, actions=actions, alpha=alpha, ridge=ridge, discount=discount, epsilon=epsilon, seed=seed
        )


class Thompson(LinearBandit):
    """Thompson sampling with linear models (Agrawal and Goyal 2013): each action as likely as it is the best.

    The score of an action is drawn from ``N(theta . x, scale**2 * x' S x)``, which is the distribution of ``theta . x``
    when theta is drawn from its posterior; one normal number per offered or not offered action and choice.

    Parameters
    ----------
    dim, actions, ridge, discount, epsilon, seed
        As `LinUcb`.
    scale : float, default 1.0
        Standard deviation of the noise of rewards, in 0 .. 1000: how much uncertainty counts.

    Notes
    -----
    Not safe for use from several threads at once.
    """

    algorithm = "thompson"
    _numbers: ClassVar[given.Numbers] = {"scale": (0.0, 1000.0, False), **_COMMON}

    def __init__(
        self,
        *,
        dim: int,
        actions: Iterable[ActionKey],
        scale: float = 1.0,
        ridge: float = 1.0,
        discount: float = 1.0,
        epsilon: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            {
                "dim": dim,
                "actions": actions,
                "scale": scale,
                "ridge": ridge,
                "discount": discount,
                "epsilon": epsilon,
                "seed": seed,
            }
        )

    def _scores(self, means: NDArray[np.float64], variances: NDArray[np.float64]) -> list[float]:
        spread = self._params["scale"] * np.sqrt(np.maximum(variances, 0.0))
        scores: list[float] = (means + spread * self._random.standard_normal(means.size)).tolist()
        return scores

    def _shares(self, means: NDArray[np.float64], variances: NDArray[np.float64]) -> NDArray[np.float64]:
        spread = self._params["scale"] * np.sqrt(np.maximum(variances, 0.0))
        draws = np.random.default_rng(self._params["seed"]).standard_normal((SAMPLES, means.size))
        best = (means + spread * draws).argmax(axis=1)
        return (1.0 + np.bincount(best, minlength=means.size)) / (SAMPLES + means.size)


def _as_reward(reward: Any) -> float:
    if type(reward) is float and -MAX_BANDIT_REWARD <= reward <= MAX_BANDIT_REWARD:
        return reward
    value = given.as_reward(reward)
    if abs(value) > MAX_BANDIT_REWARD:
        raise InputError(
            f"reward is {value}, but must be within {MAX_BANDIT_REWARD} of zero.", fix="scale the rewards."
        )
    return value


def _as_generator(value: Any) -> np.random.Generator:
    """Return a generator with an exported state."""
    generator = np.random.default_rng(0)
    try:
        generator.bit_generator.state = value
    except (TypeError, ValueError, KeyError, OverflowError):
        raise InputError("rng is not the state of a generator.", fix="export it again.") from None
    return generator
