"""The reference bandit: all outcomes in a list, and a regression solved anew (see `aqe_core.testing.backends`)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.errors import DimensionError, InputError, InvalidActionError
from aqe_core.state import EngineState
from aqe_core.testing.backend_learner import as_number, as_share
from aqe_core.validate import as_context, as_contexts, as_dim, as_key_name, as_reward, as_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.learner import A, ActionKey

__all__ = ["RidgeBandit"]


class RidgeBandit:
    """LinUCB, discounted LinUCB or Thompson sampling, with one Gaussian per action."""

    def __init__(self, *, algorithm: str = "linucb", dim: int, actions: Sequence[ActionKey], **params: Any) -> None:
        defaults = {"alpha": 1.0, "scale": 1.0, "ridge": 1.0, "discount": 1.0, "epsilon": 0.0, "seed": 0}
        self.algorithm = algorithm
        self.dim = as_dim(dim)
        self.actions = tuple(actions)
        self._params = {**defaults, **params}
        if len(set(self.actions)) < len(self.actions) or not self.actions:
            raise InputError(f"actions are {actions!r}.", fix="name each once.")
        if as_number(self._params["ridge"], "ridge") <= 0.0:
            raise InputError("ridge is not above 0.", fix="choose a weight above 0.")
        for name in ("epsilon", "discount"):
            as_share(self._params[name], name)
        self._rng = np.random.default_rng(self._params["seed"])
        self._asked: Any = None
        self._kept: dict[ActionKey, Any] = {}
        self._seen: list[tuple[list[float], ActionKey, float]] = []

    @property
    def steps(self) -> int:
        """Number of updates."""
        return len(self._seen)

    def get_params(self) -> dict[str, Any]:
        """Return the hyper-parameters."""
        return {**self._params, "dim": self.dim, "actions": list(self.actions)}

    def update(self, context: ArrayLike, action: ActionKey, reward: float) -> None:
        """Learn from one outcome."""
        x = as_context(context, self.dim)
        self._seen.append((x.tolist(), self._known(action), as_reward(reward)))

    def update_batch(self, contexts: ArrayLike, actions: Sequence[ActionKey] | ArrayLike, rewards: ArrayLike) -> None:
        """Learn from outcomes in order."""
        rows, gains = as_contexts(contexts, self.dim).tolist(), as_values(rewards, "rewards").tolist()
        names = [self._known(action) for action in list(actions)]  # type: ignore[arg-type]  # one axis, or it is no column
        if not len(rows) == len(names) == len(gains):
            raise DimensionError("the columns have different lengths.", fix="pass one of each.")
        self._seen += zip(rows, names, gains, strict=True)

    def _known(self, action: Any) -> ActionKey:
        key = as_key_name(action, "action")
        if key not in self.actions:
            raise InvalidActionError(f"{key!r} is not declared.", fix="use a declared action.")
        return key

    def _model(self, action: ActionKey) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and covariance now."""
        discount, prior = self._params["discount"], np.eye(self.dim) / self._params["ridge"]
        # Goes on from where it was asked last: solving everything anew would make the checks slow.
        mean, covariance, last, start = self._kept.get(action, (np.zeros(self.dim), prior, 0, 0))
        for step, (x, other, reward) in enumerate(self._seen[start:], start + 1):
            if other != action:
                continue
            kept = discount ** (step - last)
            mean, covariance, last = mean * math.sqrt(kept), kept * covariance + (1.0 - kept) * prior, step
            information = np.linalg.inv(covariance)
            covariance = np.linalg.inv(information + np.outer(x, x))
            mean = covariance @ (information @ mean + reward * np.array(x))
        self._kept[action] = mean, covariance, last, len(self._seen)
        kept = discount ** (len(self._seen) - last)
        return mean * math.sqrt(kept), kept * covariance + (1.0 - kept) * prior

    def _moments(self, context: ArrayLike, offered: Sequence[ActionKey]) -> tuple[Any, Any]:
        x = as_context(context, self.dim)
        models = [self._model(action) for action in offered]
        return np.array([m @ x for m, _ in models]), np.array([math.sqrt(x @ s @ x) for _, s in models])

    def _offered(self, actions: Any) -> list[Any]:
        offered = list(self.actions if actions is None else actions)
        if not offered:
            raise InvalidActionError("there is no action to choose from.", fix="offer at least one.")
        return [self._known(action) for action in offered]

    def act(self, context: ArrayLike, actions: Sequence[A] | None = None, *, explore: bool = True) -> A:
        """Choose an action."""
        offered = self._offered(actions)
        means, spreads = self._memory(context, offered)
        if not explore:
            return offered[int(np.argmax(means))]  # type: ignore[no-any-return]  # what was offered
        if self._rng.random() < self._params["epsilon"]:
            return offered[int(self._rng.integers(len(offered)))]  # type: ignore[no-any-return]  # same
        scores = self._scores(means, spreads, self._rng, 1)[0]
        return offered[int(np.argmax(scores))]  # type: ignore[no-any-return]  # same

    def _memory(self, context: ArrayLike, offered: Sequence[ActionKey]) -> tuple[Any, Any]:
        """Return `_moments`, kept while nothing new is seen: the checks ask thousands of times."""
        key = (len(self._seen), np.asarray(context).tobytes(), tuple(offered), tuple(map(type, offered)))
        if self._asked != key:
            self._answer = self._moments(context, offered)
            self._asked = key
        return self._answer

    def _scores(self, means: Any, spreads: Any, rng: np.random.Generator, n: int) -> Any:
        if self.algorithm == "thompson":
            return means + self._params["scale"] * spreads * rng.standard_normal((n, len(means)))
        return np.tile(means + self._params["alpha"] * spreads, (n, 1))

    def probabilities(self, context: ArrayLike, actions: Sequence[ActionKey] | None = None) -> NDArray[np.float64]:
        """Return propensities."""
        offered = self._offered(actions)
        best = self._scores(*self._moments(context, offered), np.random.default_rng(5), 1000).argmax(axis=1)
        epsilon = self._params["epsilon"]
        shares: NDArray[np.float64] = np.bincount(best, minlength=len(offered)) / 1000
        mixed: NDArray[np.float64] = epsilon / len(offered) + (1.0 - epsilon) * shares
        return mixed

    def values(self, context: ArrayLike) -> NDArray[np.float64]:
        """Return expected rewards."""
        return np.asarray(self._moments(context, self.actions)[0])

    def export_state(self) -> EngineState:
        """Return everything learned."""
        return EngineState(
            kind=f"learner/{self.algorithm}/test-1",
            manifest={
                "params": self.get_params(),
                "actions": [action for _, action, _ in self._seen],
                "generator": self._rng.bit_generator.state,
            },
            arrays={
                "contexts": np.array([x for x, _, _ in self._seen], np.float64).reshape(-1, self.dim),
                "rewards": np.array([reward for _, _, reward in self._seen], np.float64),
            },
        )

    def import_state(self, state: EngineState) -> None:
        """Replace everything learned."""
        try:
            if state.kind != f"learner/{self.algorithm}/test-1":
                raise InputError(f"it is of kind {state.kind!r}")
            other = RidgeBandit(algorithm=self.algorithm, **state.manifest["params"])
            other.update_batch(state.arrays["contexts"], state.manifest["actions"], state.arrays["rewards"])
            other._rng.bit_generator.state = state.manifest["generator"]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"this is no such state ({error}).", fix="import one that was exported.") from None
        self.__dict__.update(other.__dict__)
