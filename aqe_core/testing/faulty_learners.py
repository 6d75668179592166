"""Learners that are wrong in one known way each (see `aqe_core.testing.faulty`)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from aqe_core.errors import AqeError
from aqe_core.recording import ListRecorder
from aqe_core.testing.backend_learner import DictLearner
from aqe_core.testing.faulty import wrong

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqe_core.encoding import Encoding
    from aqe_core.state import EngineState


@wrong("protocol")
class HandsOutParams(DictLearner):
    """Returns its own dictionary of hyper-parameters."""

    def get_params(self) -> dict[str, Any]:
        """Return the hyper-parameters."""
        return self._params


@wrong("untried_is_initial")
class CreatesOnReading(DictLearner):
    """Stores a pair when its value is asked for."""

    def value(self, state: Any, action: Any) -> float:
        """Return a value."""
        return self._table.setdefault(state, {}).setdefault(action, self._params["initial_value"])


@wrong("q_learning_values")
class NoDiscount(DictLearner):
    """Takes the future for as much worth as the present."""

    def _future(self, state: Any, action: Any) -> float:
        return super()._future(state, action) / self._params["discount"]


@wrong("q_learning_values", "sarsa_values", "learns_corridor")
class WrongSign(DictLearner):
    """Moves away from the target."""

    def _learn(self, state: Any, action: Any, reward: float, next_state: Any, done: bool, then: Any) -> None:
        before = self.value(state, action)
        super()._learn(state, action, reward, next_state, done, then)
        self._table[state][action] = 2.0 * before - self._table[state][action]


@wrong("q_learning_is_off_policy")
class LooksAtNextAction(DictLearner):
    """Uses the next action in Q-learning."""

    def _future(self, state: Any, action: Any) -> float:
        return super()._future(state, action) if action is None else self.value(state, action)


@wrong("sarsa_values", "batch_with_next_actions")
class IgnoresNextAction(DictLearner):
    """Never uses the next action."""

    def update_batch(
        self, states: Any, actions: Any, rewards: Any, next_states: Any, dones: Any = None, next_actions: Any = None
    ) -> None:
        """Learn."""
        del next_actions
        super().update_batch(states, actions, rewards, next_states, dones)

    def _future(self, state: Any, action: Any) -> float:
        # One at a time it takes the worst: a batch and single updates must differ for the batch's check to see it.
        row = self._table.get(state, {})
        return min(row.values(), default=0.0) if action is not None else super()._future(state, None)


@wrong("sarsa_expectation")
class ExpectsTheBest(DictLearner):
    """Takes the best value where the expectation is asked for."""

    def _future(self, state: Any, action: Any) -> float:
        row = self._table.get(state, {})
        return max(row.values()) if row and action is None else super()._future(state, action)


@wrong("expected_sarsa_values")
class ExpectsTheNextAction(DictLearner):
    """Uses the next action where the expectation is asked for."""

    def _future(self, state: Any, action: Any) -> float:
        return super()._future(state, action) if action is None else self.value(state, action)


@wrong("terminal")
class BootstrapsOnDone(DictLearner):
    """Looks beyond the end of an episode."""

    def _learn(self, state: Any, action: Any, reward: float, next_state: Any, done: bool, then: Any) -> None:  # noqa: ARG002  # the fault
        super()._learn(state, action, reward, next_state, False, then)


@wrong("unknown_next_state")
class UnknownIsZero(DictLearner):
    """Takes an unknown state for worthless, whatever the initial value."""

    def _future(self, state: Any, action: Any) -> float:
        return super()._future(state, action) if state in self._table else 0.0


@wrong("keys_are_apart")
class TextKeys(DictLearner):
    """Takes 1 and "1" for one key."""

    def _learn(self, state: Any, action: Any, reward: float, next_state: Any, done: bool, then: Any) -> None:
        super()._learn(str(state), str(action), reward, str(next_state), done, then)

    def value(self, state: Any, action: Any) -> float:
        """Return a value."""
        return super().value(str(state), str(action))


@wrong("batch_equals_singles")
class SynchronousBatch(DictLearner):
    """Computes all targets of a batch from the table before it."""

    def _learn_all(self, rows: list[Any]) -> None:
        before = {state: dict(row) for state, row in self._table.items()}
        for row in rows:
            now, self._table = self._table, before
            future = self._future(row[3], row[5])
            self._table = now
            self._learn(
                row[0], row[1], row[2] + (0.0 if row[4] else self._params["discount"] * future), row[3], True, None
            )


@wrong("batch_with_next_actions")
class ShiftsNextActions(DictLearner):
    """Lines up the next actions one row too late."""

    def _learn_all(self, rows: list[Any]) -> None:
        thens = [rows[-1][5], *[row[5] for row in rows[:-1]]] if rows else []
        super()._learn_all([(*row[:5], then) for row, then in zip(rows, thens, strict=True)])


@wrong("batch_forms")
class AbsentMeansDone(DictLearner):
    """Takes absent dones for all true."""

    def update_batch(
        self, states: Any, actions: Any, rewards: Any, next_states: Any, dones: Any = None, next_actions: Any = None
    ) -> None:
        """Learn."""
        ends = np.ones(len(rewards), np.bool_) if dones is None else dones
        super().update_batch(states, actions, rewards, next_states, ends, next_actions)


@wrong("act_is_greedy")
class LastOfEqual(DictLearner):
    """Chooses the last of equal actions."""

    def act(self, state: Any, actions: Sequence[Any], *, explore: bool = True) -> Any:
        """Choose."""
        return super().act(state, actions[::-1], explore=explore)


@wrong("act_explores")
class ExploresElsewhere(DictLearner):
    """Never takes the best action when it explores."""

    def act(self, state: Any, actions: Sequence[Any], *, explore: bool = True) -> Any:
        """Choose."""
        best = super().act(state, actions, explore=False)
        chosen = super().act(state, actions, explore=explore)
        others = [action for action in actions if action != best]
        if explore and chosen == best and others and self._rng.random() < self._params["epsilon"] / len(actions):
            return others[int(self._rng.integers(len(others)))]
        return chosen


@wrong("seed")
class GlobalGenerator(DictLearner):
    """Draws from one generator for all learners."""

    _shared = np.random.default_rng(0)

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._rng = self._shared


@wrong("seed")
class IgnoresSeed(DictLearner):
    """Makes the same choices under every seed."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._rng = np.random.default_rng(0)


@wrong("resume")
class ForgetsGenerator(DictLearner):
    """Leaves the generator out of its state."""

    def import_state(self, state: EngineState) -> None:
        """Import."""
        kept = self._rng
        super().import_state(state)
        self._rng = kept


@wrong("file")
class NamesArraysFreely(DictLearner):
    """Gives its array a name that no file can have."""

    def export_state(self) -> EngineState:
        """Export."""
        state = super().export_state()
        return attrs.evolve(state, arrays={"values/of pairs": state.arrays["values"]})


@wrong("visits")
class CountsBatchesOnce(DictLearner):
    """Counts a pair that comes twice in a batch once."""

    def _learn_all(self, rows: list[Any]) -> None:
        before = dict(self._visits)
        super()._learn_all(rows)
        self._visits = {pair: min(n, before.get(pair, 0) + 1) for pair, n in self._visits.items()}


@wrong("last_update")
class NumbersBatchesOnce(DictLearner):
    """Gives all updates of a batch the number of its last one."""

    def _learn_all(self, rows: list[Any]) -> None:
        super()._learn_all(rows)
        self._lasts |= {(row[0], row[1]): self.steps for row in rows}


@wrong("probabilities")
class NeverExploresTheBest(DictLearner):
    """Gives the greedy choice no share of epsilon."""

    def probabilities(self, state: Any, actions: Sequence[Any]) -> Any:
        """Return probabilities."""
        shares = super().probabilities(state, actions)
        best = int(shares.argmax())
        shares[best] = 1.0 - self._params["epsilon"]
        return shares / shares.sum()


@wrong("set_params")
class ChangesHalfway(DictLearner):
    """Changes what it can before it refuses the rest."""

    def set_params(self, **changes: float) -> None:
        """Change rates."""
        for name, value in changes.items():
            self._params[name] = value
            super().set_params(**{name: value})


@wrong("state_is_a_copy")
class ExportsBuffer(DictLearner):
    """Exports an array that it goes on using."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._buffer = np.zeros(64)

    def export_state(self) -> EngineState:
        """Export."""
        state = super().export_state()
        values = state.arrays["values"]
        self._buffer[: len(values)] = values
        return attrs.evolve(state, arrays={"values": self._buffer})


@wrong("many_pairs")
class ForgetsOldStates(DictLearner):
    """Keeps at most 2,048 states."""

    def _learn(self, state: Any, action: Any, reward: float, next_state: Any, done: bool, then: Any) -> None:
        super()._learn(state, action, reward, next_state, done, then)
        if len(self._table) > 2048:
            del self._table[next(iter(self._table))]


@wrong("threads", thread_safe=True)
class LosesUpdates(DictLearner):
    """Replaces the whole table after every update."""

    def _learn(self, state: Any, action: Any, reward: float, next_state: Any, done: bool, then: Any) -> None:
        table = {key: dict(row) for key, row in self._table.items()}
        before = self.value(state, action)
        future = 0.0 if done else self._future(next_state, then)
        time.sleep(1e-5)  # another thread gets its turn here
        rate, discount = self._params["learning_rate"], self._params["discount"]
        table.setdefault(state, {})[action] = before + rate * (reward + discount * future - before)
        self._table = table


@wrong("bad_reward")
class AcceptsNaN(DictLearner):
    """Takes a reward that is no finite number for zero."""

    def update(
        self, state: Any, action: Any, reward: Any, next_state: Any, done: bool = False, next_action: Any = None
    ) -> None:
        """Learn."""
        good = isinstance(reward, (int, float)) and np.isfinite(reward)
        super().update(state, action, reward if good else 0.0, next_state, done, next_action)


@wrong("bad_names")
class AcceptsAnyName(DictLearner):
    """Takes the text of whatever it gets."""

    def update(
        self, state: Any, action: Any, reward: Any, next_state: Any, done: bool = False, next_action: Any = None
    ) -> None:
        """Learn."""
        names = [key if isinstance(key, (str, int)) else str(key) for key in (state, action, next_state)]
        super().update(names[0], names[1], reward, names[2], done, next_action)


@wrong("nothing_offered")
class DrawsFirst(DictLearner):
    """Spends a random number before it looks at what is offered."""

    def act(self, state: Any, actions: Sequence[Any], *, explore: bool = True) -> Any:
        """Choose."""
        if not len(actions):
            self._rng.random()
        return super().act(state, actions, explore=explore)


@wrong("bad_batch")
class LearnsUntilBad(DictLearner):
    """Learns row by row, and stops at the bad one."""

    def update_batch(
        self, states: Any, actions: Any, rewards: Any, next_states: Any, dones: Any = None, next_actions: Any = None
    ) -> None:
        """Learn."""
        try:
            super().update_batch(states, actions, rewards, next_states, dones, next_actions)
        except AqeError:
            self.update(states[0], actions[0], rewards[0], next_states[0])
            raise


@wrong("bad_state")
class ImportsAnything(DictLearner):
    """Imports as much of a state as it understands."""

    def import_state(self, state: EngineState) -> None:
        """Import."""
        pairs = state.manifest.get("pairs", [])
        values = state.arrays.get("values", np.empty(0)).tolist()
        self._table = {}
        for (s, a, _), value in zip(pairs, values, strict=False):
            self._table.setdefault(s, {})[a] = value


@wrong("bad_construction")
class TakesAnyRate(DictLearner):
    """Replaces hyper-parameters it cannot use by its defaults."""

    def __init__(self, **params: Any) -> None:
        try:
            super().__init__(**params)
        except AqeError:
            super().__init__()


class _Recorded(DictLearner):
    """Has a recorder of its own."""

    _made: type[ListRecorder] = ListRecorder

    def recorder(self, encoding: Encoding | None = None) -> ListRecorder:
        """Return a recorder."""
        return self._made(self, encoding)


class _DropsAll(ListRecorder):
    def drop(self, n: int) -> None:
        super().drop(n and len(self))


class _CountsOptions(ListRecorder):
    def update(self, state: Any, *rest: Any) -> int:
        if isinstance(state, dict) and state.get("kind") not in {"unit", "é", 3, True}:
            state = {**state, "kind": "unit"}
        return super().update(state, *rest)


class _LearnsFirst(ListRecorder):
    def update(self, state: Any, action: Any, reward: Any, next_state: Any, *rest: Any) -> int:
        if isinstance(next_state, str) and not next_state.isprintable():
            self._learner.update(state, action, reward, next_state, *rest)
        return super().update(state, action, reward, next_state, *rest)


@wrong("recorder_equals_learner")
class DropsAll(_Recorded):
    """Drops more than it was told to."""

    _made = _DropsAll


@wrong("recorder_encodes")
class TakesOthersForTheFirst(_Recorded):
    """Has no code for other options."""

    _made = _CountsOptions


@wrong("recorder_refuses")
class LearnsBeforeChecking(_Recorded):
    """Learns what it refuses to keep."""

    _made = _LearnsFirst
