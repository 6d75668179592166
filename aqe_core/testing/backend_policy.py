"""The reference policy learner: NumPy vectors per state and the textbook formulas (see `aqe_core.testing.backends`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.errors import InputError, InvalidActionError
from aqe_core.state import EngineState
from aqe_core.testing.backend_learner import as_names, as_number, as_share
from aqe_core.validate import as_key_name, as_outcomes, as_reward, as_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.learner import A, ActionKey, StateKey

__all__ = ["DictPolicy"]

_SHARES = ("learning_rate", "value_learning_rate", "discount", "epsilon", "entropy_coefficient", "gae_lambda")


class DictPolicy:
    """Tabular actor-critic or PPO: one step is one transition, in a random order per epoch."""

    def __init__(self, *, algorithm: str = "actor-critic", **params: Any) -> None:
        if algorithm not in {"actor-critic", "ppo"}:
            raise InputError(f"algorithm is {algorithm!r}.", fix="choose actor-critic or ppo.")
        self.algorithm = algorithm
        defaults: dict[str, Any] = {
            "learning_rate": 0.1, "value_learning_rate": 0.1, "discount": 0.95, "epsilon": 0.0,
            "entropy_coefficient": 0.0, "gae_lambda": 0.95, "initial_value": 0.0, "actions": None, "seed": 0,
            "clip": 0.2, "epochs": 4, "rollout": 32, "normalize_advantage": True,
        }  # fmt: skip
        self._params = {**defaults, **params}
        for name in _SHARES:
            as_share(self._params[name], name)
        as_number(self._params["initial_value"], "initial_value")
        self._rng = np.random.default_rng(self._params["seed"])
        self._rows: dict[StateKey, dict[ActionKey, float]] = {}
        self._visits: dict[tuple[StateKey, ActionKey], int] = {}
        self._lasts: dict[tuple[StateKey, ActionKey], int] = {}
        self.steps = 0
        self._values: dict[StateKey, float] = {}
        self._waiting: list[Any] = []

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def get_params(self) -> dict[str, Any]:
        """Return the hyper-parameters."""
        return dict(self._params)

    def set_params(self, **changes: float) -> None:
        """Change rates."""
        if not changes.keys() <= set(_SHARES):
            raise InputError(f"cannot change {sorted(changes)}.", fix=f"change one of {', '.join(_SHARES)}.")
        self._params |= {name: as_share(value, name) for name, value in changes.items()}

    # -- learning -----------------------------------------------------------------------------------------------

    def update(
        self,
        state: StateKey,
        action: ActionKey,
        reward: float,
        next_state: StateKey,
        done: bool = False,  # the contract's signature
        next_action: ActionKey | None = None,  # noqa: ARG002  # the contract's signature
    ) -> None:
        """Learn from one transition."""
        s, a = as_key_name(state, "state"), as_key_name(action, "action")
        self._learn((s, a, as_reward(reward), as_key_name(next_state, "next_state"), bool(done)))

    def update_batch(
        self,
        states: ArrayLike | Sequence[StateKey],
        actions: ArrayLike | Sequence[ActionKey],
        rewards: ArrayLike,
        next_states: ArrayLike | Sequence[StateKey],
        dones: ArrayLike | None = None,
        next_actions: ArrayLike | Sequence[ActionKey] | None = None,  # noqa: ARG002  # the contract's signature
    ) -> None:
        """Learn from transitions in order."""
        gains = as_values(rewards, "rewards").tolist()
        n = len(gains)
        columns = as_names(states, "state", n), as_names(actions, "action", n), gains
        ends = [False] * n if dones is None else as_outcomes(dones, "dones", n).tolist()
        for row in list(zip(*columns, as_names(next_states, "next_state", n), ends, strict=True)):
            self._learn(row)

    def _learn(self, step: Any) -> None:
        state, action = step[:2]
        row = self._rows.setdefault(state, dict.fromkeys(self._params["actions"] or (), 0.0))
        row.setdefault(action, 0.0)
        self._visits[state, action] = self._visits.get((state, action), 0) + 1
        self.steps += 1
        self._lasts[state, action] = self.steps
        self._waiting.append(step)
        if self.algorithm == "actor-critic" or len(self._waiting) >= self._params["rollout"]:
            steps, self._waiting = self._waiting, []
            self._train(steps)

    def _value(self, state: StateKey) -> float:
        value: float = self._values.get(state, self._params["initial_value"])
        return value

    def _delta(self, step: Any) -> float:
        state, _, reward, next_state, done = step
        ahead = 0.0 if done else self._params["discount"] * self._value(next_state)
        return float(reward + ahead - self._value(state))

    def _advantages(self, steps: list[Any]) -> NDArray[np.float64]:
        decay = self._params["discount"] * self._params["gae_lambda"]
        out = np.array([self._delta(step) for step in steps])
        for i in range(len(steps) - 2, -1, -1):
            if not steps[i][4] and steps[i][3] == steps[i + 1][0]:
                out[i] += decay * out[i + 1]
        return out

    def _train(self, steps: list[Any]) -> None:
        critic = self._params["value_learning_rate"]
        if self.algorithm == "actor-critic":
            ((state, action, *_),) = steps
            delta = self._delta(steps[0])
            self._values[state] = self._value(state) + critic * delta
            self._climb(state, action, delta)
            return
        advantages = self._advantages(steps)
        targets = advantages + [self._value(step[0]) for step in steps]
        if self._params["normalize_advantage"] and len(steps) > 1:
            scaled = advantages / max(1.0, np.abs(advantages).max())
            advantages = (scaled - scaled.mean()) / (scaled.std() + 1e-8)
        old = [self._softmax(step[0])[step[1]] for step in steps]
        for _ in range(self._params["epochs"]):
            for i in self._rng.permutation(len(steps)):
                self._improve(steps[i], float(advantages[i]), float(old[i]))
                state = steps[i][0]
                self._values[state] = self._value(state) + critic * float(targets[i] - self._value(state))

    def _improve(self, step: Any, advantage: float, old: float) -> None:
        state, action = step[:2]
        ratio = min(self._softmax(state)[action] / max(old, 1e-20), 1e20)
        clip = self._params["clip"]
        stops = ratio > 1.0 + clip if advantage > 0 else ratio < 1.0 - clip
        self._climb(state, action, 0.0 if stops else ratio * advantage)

    def _softmax(self, state: StateKey) -> dict[ActionKey, float]:
        row = self._rows[state]
        return dict(zip(row, _softmax(list(row.values())).tolist(), strict=True))

    def _climb(self, state: StateKey, action: ActionKey, weight: float) -> None:
        """Move a state's preferences along the gradient of ``weight * log p(action) + bonus * entropy``."""
        shares = self._softmax(state)
        logs = {b: float(np.log(max(p, 1e-300))) for b, p in shares.items()}
        entropy = -sum(p * logs[b] for b, p in shares.items())
        for b, p in shares.items():
            gradient = weight * (float(b == action) - p)
            gradient -= self._params["entropy_coefficient"] * p * (logs[b] + entropy)
            self._rows[state][b] += self._params["learning_rate"] * gradient

    # -- asking -------------------------------------------------------------------------------------------------

    def act(self, state: StateKey, actions: Sequence[A], *, explore: bool = True) -> A:
        """Choose one of the offered actions."""
        if not explore:
            preferences = self._preferences(state, actions)
            return actions[int(np.argmax(preferences))]
        return actions[int(self._rng.choice(len(actions), p=self.probabilities(state, actions)))]

    def _preferences(self, state: StateKey, actions: Sequence[ActionKey]) -> list[float]:
        if not len(actions):
            raise InvalidActionError("there is no action to choose from.", fix="offer at least one.")
        return [self.value(state, action) for action in actions]

    def probabilities(self, state: StateKey, actions: Sequence[ActionKey]) -> NDArray[np.float64]:
        """Return the probability of each offered action."""
        shares = _softmax(self._preferences(state, actions))
        mixed: NDArray[np.float64] = self._params["epsilon"] / len(actions) + (1.0 - self._params["epsilon"]) * shares
        return mixed

    def value(self, state: StateKey, action: ActionKey) -> float:
        """Return the preference of an action."""
        return self._rows.get(as_key_name(state, "state"), {}).get(as_key_name(action, "action"), 0.0)

    def visits(self, state: StateKey, action: ActionKey) -> int:
        """Return the number of updates of a pair."""
        return self._visits.get((state, action), 0)

    def last_update(self, state: StateKey, action: ActionKey) -> int:
        """Return the number of the last update of a pair."""
        return self._lasts.get((state, action), 0)

    # -- moving -------------------------------------------------------------------------------------------------

    def export_state(self) -> EngineState:
        """Return everything learned."""
        rows = [[state, list(row), [self._visits.get((state, a), 0) for a in row]] for state, row in self._rows.items()]
        manifest = {
            "params": self.get_params(),
            "rows": rows,
            "values": [list(pair) for pair in self._values.items()],
            "waiting": [list(step) for step in self._waiting],
            "lasts": [[*pair, last] for pair, last in self._lasts.items()],
            "steps": self.steps,
            "generator": self._rng.bit_generator.state,
        }
        preferences = np.array([value for row in self._rows.values() for value in row.values()], np.float64)
        return EngineState(
            kind=f"learner/{self.algorithm}/test-1", manifest=manifest, arrays={"preferences": preferences}
        )

    def import_state(self, state: EngineState) -> None:
        """Replace everything learned."""
        try:
            if state.kind != f"learner/{self.algorithm}/test-1":
                raise InputError(f"it is of kind {state.kind!r}")
            manifest = state.manifest
            other = DictPolicy(algorithm=self.algorithm, **manifest["params"])
            other._rng.bit_generator.state = manifest["generator"]
            pairs = [(s, a, n) for s, actions, counts in manifest["rows"] for a, n in zip(actions, counts, strict=True)]
            for (s, a, n), preference in zip(pairs, state.arrays["preferences"].tolist(), strict=True):
                other._rows.setdefault(as_key_name(s, "state"), {})[as_key_name(a, "action")] = preference
                other._visits[s, a] = n
            other._lasts = {(s, a): last for s, a, last in manifest["lasts"]}
            other.steps = int(manifest["steps"])
            other._values = dict(manifest["values"])
            other._waiting = [tuple(step) for step in manifest["waiting"]]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"this is not a state of the learner {self.algorithm!r} ({error}).",
                fix="import a state that such a learner exported.",
            ) from None
        self.__dict__.update(other.__dict__)


def _softmax(preferences: Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(preferences, np.float64)
    powers = np.exp(values - values.max())
    shares: NDArray[np.float64] = powers / powers.sum()
    return shares
