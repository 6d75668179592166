"""The reference learner: a dictionary and the textbook formulas (see `aqe_core.testing.backends`)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.errors import DimensionError, InputError, InvalidActionError
from aqe_core.state import EngineState
from aqe_core.testing.oracles import expected_sarsa, td
from aqe_core.validate import as_key_name, as_outcomes, as_reward, as_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.learner import A, ActionKey, StateKey

__all__ = ["DictLearner", "as_names", "as_number", "as_share"]


class DictLearner:
    """Tabular Q-learning, SARSA or expected SARSA over string and integer keys.

    The best value of a state is that of its best action with a value; a state without any is worth the initial value.
    """

    def __init__(
        self,
        *,
        algorithm: str = "q-learning",
        learning_rate: float = 0.1,
        discount: float = 0.95,
        epsilon: float = 0.1,
        initial_value: float = 0.0,
        seed: int = 0,
    ) -> None:
        if algorithm not in {"q-learning", "sarsa", "expected-sarsa"}:
            raise InputError(f"algorithm is {algorithm!r}.", fix="choose q-learning, sarsa or expected-sarsa.")
        self.algorithm = algorithm
        self._params = {
            "learning_rate": as_share(learning_rate, "learning_rate"),
            "discount": as_share(discount, "discount"),
            "epsilon": as_share(epsilon, "epsilon"),
            "initial_value": as_number(initial_value, "initial_value"),
            "seed": seed,
        }
        self._table: dict[StateKey, dict[ActionKey, float]] = {}
        self._visits: dict[tuple[StateKey, ActionKey], int] = {}
        self._lasts: dict[tuple[StateKey, ActionKey], int] = {}
        self.steps = 0
        self._rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return sum(len(row) for row in self._table.values())

    def get_params(self) -> dict[str, Any]:
        """Return the hyper-parameters."""
        return dict(self._params)

    def update(
        self,
        state: StateKey,
        action: ActionKey,
        reward: float,
        next_state: StateKey,
        done: bool = False,  # the contract's signature
        next_action: ActionKey | None = None,
    ) -> None:
        """Learn from one transition."""
        s, a = as_key_name(state, "state"), as_key_name(action, "action")
        then = None if next_action is None else as_key_name(next_action, "next_action")
        self._learn(s, a, as_reward(reward), as_key_name(next_state, "next_state"), bool(done), then)

    def _learn(
        self,
        state: StateKey,
        action: ActionKey,
        reward: float,
        next_state: StateKey,
        done: bool,
        then: ActionKey | None,
    ) -> None:
        future = 0.0 if done else self._future(next_state, then)
        row = self._table.setdefault(state, {})
        self._visits[state, action] = self._visits.get((state, action), 0) + 1
        self.steps += 1
        self._lasts[state, action] = self.steps
        row[action] = td(
            row.get(action, self._params["initial_value"]),
            reward,
            future,
            learning_rate=self._params["learning_rate"],
            discount=self._params["discount"],
        )

    def _future(self, state: StateKey, action: ActionKey | None) -> float:
        row = self._table.get(state, {})
        initial = self._params["initial_value"]
        if self.algorithm == "sarsa" and action is not None:
            return row.get(action, initial)
        if not row:
            return initial
        values = list(row.values())
        return max(values) if self.algorithm == "q-learning" else expected_sarsa(values, self._params["epsilon"])

    def update_batch(
        self,
        states: ArrayLike | Sequence[StateKey],
        actions: ArrayLike | Sequence[ActionKey],
        rewards: ArrayLike,
        next_states: ArrayLike | Sequence[StateKey],
        dones: ArrayLike | None = None,
        next_actions: ArrayLike | Sequence[ActionKey] | None = None,
    ) -> None:
        """Learn from transitions in order."""
        gains = as_values(rewards, "rewards").tolist()
        n = len(gains)
        rows = zip(
            as_names(states, "state", n),
            as_names(actions, "action", n),
            gains,
            as_names(next_states, "next_state", n),
            [False] * n if dones is None else as_outcomes(dones, "dones", n).tolist(),
            [None] * n if next_actions is None else as_names(next_actions, "next_action", n),
            strict=True,
        )
        self._learn_all(list(rows))

    def _learn_all(self, rows: list[Any]) -> None:
        for row in rows:
            self._learn(*row)

    def act(self, state: StateKey, actions: Sequence[A], *, explore: bool = True) -> A:
        """Choose one of the offered actions."""
        if not len(actions):
            raise InvalidActionError("there is no action to choose from.", fix="offer at least one.")
        here, offered = as_key_name(state, "state"), [as_key_name(action, "action") for action in actions]
        if explore and self._rng.random() < self._params["epsilon"]:
            return actions[int(self._rng.integers(len(actions)))]
        return actions[self._best(here, offered)]

    def _best(self, state: StateKey, offered: Sequence[ActionKey]) -> int:
        values = [self.value(state, action) for action in offered]
        return values.index(max(values))

    def probabilities(self, state: StateKey, actions: Sequence[ActionKey]) -> NDArray[np.float64]:
        """Return the probability of each offered action."""
        if not len(actions):
            raise InvalidActionError("there is no action to choose from.", fix="offer at least one.")
        shares = np.full(len(actions), self._params["epsilon"] / len(actions))
        shares[self._best(state, actions)] += 1.0 - self._params["epsilon"]
        return shares

    def visits(self, state: StateKey, action: ActionKey) -> int:
        """Return the number of updates of a pair."""
        return self._visits.get((state, action), 0)

    def last_update(self, state: StateKey, action: ActionKey) -> int:
        """Return the number of the last update of a pair."""
        return self._lasts.get((state, action), 0)

    def set_params(self, **changes: float) -> None:
        """Change rates."""
        if not changes.keys() <= {"learning_rate", "discount", "epsilon"}:
            raise InputError(f"cannot change {sorted(changes)}.", fix="change learning_rate, discount or epsilon.")
        self._params |= {name: as_share(value, name) for name, value in changes.items()}

    def value(self, state: StateKey, action: ActionKey) -> float:
        """Return the learned value."""
        row = self._table.get(as_key_name(state, "state"), {})
        return row.get(as_key_name(action, "action"), self._params["initial_value"])

    def export_state(self) -> EngineState:
        """Return everything learned."""
        pairs = [(state, action) for state, row in self._table.items() for action in row]
        values = [value for row in self._table.values() for value in row.values()]
        manifest = {
            "algorithm": self.algorithm,
            "params": self.get_params(),
            "pairs": [[*pair, self._visits.get(pair, 0), self._lasts.get(pair, 0)] for pair in pairs],
            "steps": self.steps,
            "generator": self._rng.bit_generator.state,
        }
        return EngineState(
            kind=f"learner/{self.algorithm}/test-1",
            manifest=manifest,
            arrays={"values": np.array(values, np.float64)},
        )

    def import_state(self, state: EngineState) -> None:
        """Replace everything learned."""
        try:
            if state.kind != f"learner/{self.algorithm}/test-1":
                raise InputError(f"it is of kind {state.kind!r}")
            table: dict[StateKey, dict[ActionKey, float]] = {}
            visits: dict[tuple[StateKey, ActionKey], int] = {}
            lasts: dict[tuple[StateKey, ActionKey], int] = {}
            for (s, a, n, last), value in zip(state.manifest["pairs"], state.arrays["values"].tolist(), strict=True):
                table.setdefault(as_key_name(s, "state"), {})[as_key_name(a, "action")] = value
                visits[s, a], lasts[s, a] = n, last
            steps = int(state.manifest["steps"])
            generator = np.random.default_rng()
            generator.bit_generator.state = state.manifest["generator"]
            params = dict(state.manifest["params"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"this is not a state of the learner {self.algorithm!r} ({error}).",
                fix="import a state that such a learner exported.",
            ) from None
        self._table, self._visits, self._rng, self._params = table, visits, generator, params
        self._lasts, self.steps = lasts, steps


def as_names(column: Any, what: str, n: int) -> list[StateKey]:
    """Return a column of names."""
    items = column.tolist() if isinstance(column, np.ndarray) else list(column)
    if len(items) != n:
        raise DimensionError(f"there are {n} rewards, but {len(items)} {what}s.", fix="pass one of each.")
    return [as_key_name(item, what) for item in items]


def as_share(value: Any, name: str) -> float:
    """Return a number in 0 .. 1."""
    share = as_number(value, name)
    if not 0.0 <= share <= 1.0:
        raise InputError(f"{name} is {value!r}, but must be in 0 .. 1.", fix="pass a number in that range.")
    return share


def as_number(value: Any, name: str) -> float:
    """Return a finite number."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{name} is {value!r}, but must be a finite number.", fix="pass a finite number.")
    return float(value)
