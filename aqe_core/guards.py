"""Guards in front of engines that do not check their input themselves.

A guard validates and hands on; the engine behind it only ever sees contiguous arrays of the right dtype and shape with
finite values. An engine with the capability ``checked`` is bound without one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core import validate
from aqe_core.contracts.capabilities import BANDIT_ALGORITHMS
from aqe_core.contracts.pattern_store import NO_KEY, Hits
from aqe_core.errors import CapabilityError, ContractError, DimensionError, InputError, InvalidActionError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.analyzer import Analyzer, Description, Flakiness, GroupDescription
    from aqe_core.contracts.bandit import Bandit
    from aqe_core.contracts.capabilities import LearnerCapabilities, StoreCapabilities
    from aqe_core.contracts.learner import ActionKey, InspectableLearner, Learner, StateKey
    from aqe_core.contracts.pattern_store import PatternStore, SnapshotStore
    from aqe_core.state import EngineState

__all__ = [
    "GuardedAnalyzer",
    "GuardedBandit",
    "GuardedInspectable",
    "GuardedLearner",
    "GuardedSnapshotStore",
    "GuardedStore",
    "guarded_learner",
    "guarded_store",
]


class GuardedStore:
    """A pattern store whose input is checked before it arrives."""

    __slots__ = ("__weakref__", "_capabilities", "_dim", "_engine", "_metric", "keys")

    def __init__(self, engine: PatternStore, capabilities: StoreCapabilities) -> None:
        self._engine = engine
        self._capabilities = capabilities
        self._dim = engine.dim
        self._metric = engine.metric
        self.keys: Callable[[], NDArray[np.uint64]] = engine.keys

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return self._dim

    @property
    def metric(self) -> str:
        """The metric."""
        return self._metric

    def __len__(self) -> int:
        return len(self._engine)

    def add(self, keys: ArrayLike, vectors: ArrayLike) -> None:
        """See `aqe_core.contracts.PatternStore.add`."""
        checked = validate.as_keys(keys)
        rows = validate.as_vectors(vectors, len(checked), self._dim, self._metric)
        if not self._capabilities.mutable and (
            len(np.unique(checked)) < len(checked) or np.isin(checked, self.keys()).any()
        ):
            raise CapabilityError("this backend cannot replace a key.", fix="build a new store, or choose another.")
        if len(checked):
            self._engine.add(checked, rows)

    def remove(self, keys: ArrayLike) -> int:
        """See `aqe_core.contracts.PatternStore.remove`."""
        checked = np.unique(validate.as_keys(keys))
        if not self._capabilities.mutable:
            raise CapabilityError("this backend cannot remove.", fix="build a new store, or choose another.")
        return self._engine.remove(checked) if len(checked) else 0

    def search(self, queries: ArrayLike, k: int = 10, *, among: ArrayLike | None = None) -> Hits:
        """See `aqe_core.contracts.PatternStore.search`."""
        rows, single = validate.as_queries(queries, self._dim, self._metric)
        count = validate.as_k(k)
        filters: dict[str, Any] = {}
        if among is not None:
            filters["among"] = np.unique(validate.as_keys(among))
            if not self._capabilities.filtered:
                raise CapabilityError(
                    "this backend cannot filter by keys.", fix="filter its hits, or choose a backend that can."
                )
        n = len(self._engine)
        found = self._engine.search(rows, min(count, n), **filters) if n and len(rows) else _NOTHING
        keys, scores = _padded(found, len(rows), count)
        return Hits(keys[0], scores[0]) if single else Hits(keys, scores)


_NOTHING = Hits(np.empty(0, np.uint64), np.empty(0, np.float32))


class GuardedSnapshotStore(GuardedStore):
    """The same of a store that can be kept in a file."""

    __slots__ = ("load", "save")

    def __init__(self, engine: SnapshotStore, capabilities: StoreCapabilities) -> None:
        super().__init__(engine, capabilities)
        self.save: Callable[[str | os.PathLike[str]], str] = engine.save
        self.load: Callable[[str | os.PathLike[str]], str] = engine.load


def guarded_store(engine: Any, capabilities: StoreCapabilities) -> GuardedStore:
    """Return a pattern store behind its guard."""
    return (GuardedSnapshotStore if capabilities.snapshots else GuardedStore)(engine, capabilities)


def _padded(found: Hits, m: int, k: int) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Return hits of shape (m, k), filled up with `NO_KEY`: an engine may return fewer columns."""
    got_keys, got_scores = np.asarray(found[0], np.uint64), np.asarray(found[1], np.float32)
    if got_keys.shape == got_scores.shape == (m, k):
        return got_keys, got_scores
    keys = np.full((m, k), NO_KEY, np.uint64)
    scores = np.full((m, k), -np.inf, np.float32)
    if got_keys.size or got_scores.size:
        width = got_keys.size // m
        if got_keys.shape != got_scores.shape or got_keys.size != m * width or width > k:
            raise ContractError(
                f"the backend returned keys of shape {got_keys.shape} and scores of shape {got_scores.shape} for "
                f"{m} queries and k={k}.",
                fix="report it to its author.",
            )
        keys[:, :width] = got_keys.reshape(m, width)
        scores[:, :width] = got_scores.reshape(m, width)
    return keys, scores


class GuardedLearner:
    """A learner whose input is checked before it arrives."""

    __slots__ = ("__weakref__", "_actions", "_engine", "export_state", "get_params", "import_state")

    def __init__(self, engine: Learner, _: object = None) -> None:
        self._engine = engine
        declared = engine.get_params().get("actions")
        self._actions = frozenset(declared) if declared is not None else None
        self.get_params: Callable[[], dict[str, Any]] = engine.get_params
        self.export_state: Callable[[], EngineState] = engine.export_state
        self.import_state: Callable[[EngineState], None] = engine.import_state

    @property
    def algorithm(self) -> str:
        """Name of the algorithm."""
        return self._engine.algorithm

    def __len__(self) -> int:
        return len(self._engine)

    def _action(self, action: object, what: str = "action") -> ActionKey:
        key = validate.as_key_name(action, what)
        if self._actions is not None and key not in self._actions:
            raise InvalidActionError(f"action {key!r} is not one of the declared actions.", fix="declare it.")
        return key

    def update(
        self,
        state: StateKey,
        action: ActionKey,
        reward: float,
        next_state: StateKey,
        done: bool = False,  # the contract's order
        next_action: ActionKey | None = None,
    ) -> None:
        """See `aqe_core.contracts.Learner.update`."""
        self._engine.update(
            validate.as_key_name(state, "state"),
            self._action(action),
            validate.as_reward(reward),
            validate.as_key_name(next_state, "next_state"),
            validate.as_done(done),
            None if next_action is None else self._action(next_action),
        )

    def update_batch(
        self,
        states: ArrayLike | Sequence[StateKey],
        actions: ArrayLike | Sequence[ActionKey],
        rewards: ArrayLike,
        next_states: ArrayLike | Sequence[StateKey],
        dones: ArrayLike | None = None,
        next_actions: ArrayLike | Sequence[ActionKey] | None = None,
    ) -> None:
        """See `aqe_core.contracts.Learner.update_batch`."""
        checked_rewards = validate.as_values(rewards, "rewards")
        n = len(checked_rewards)
        self._engine.update_batch(
            self._names(states, n, "state"),
            self._names(actions, n, "action"),
            checked_rewards,
            self._names(next_states, n, "next_state"),
            np.zeros(n, np.bool_) if dones is None else validate.as_outcomes(dones, "dones", n),
            None if next_actions is None else self._names(next_actions, n, "next_action"),
        )

    def _names(self, names: Any, n: int, what: str) -> list[StateKey]:
        items = _items(names, f"{what}s")
        if len(items) != n:
            raise DimensionError(f"there are {n} rewards, but {len(items)} {what}s.", fix="pass one of each.")
        return [
            self._action(item, f"{what}s[{where}]")
            if "action" in what
            else validate.as_key_name(item, f"{what}s[{where}]")
            for where, item in enumerate(items)
        ]

    def act(self, state: StateKey, actions: Sequence[Any], *, explore: bool = True) -> Any:
        """See `aqe_core.contracts.Learner.act`."""
        checked_state = validate.as_key_name(state, "state")
        offered = self._offered(actions)
        chosen: Any = self._engine.act(checked_state, offered, explore=explore)
        if chosen not in offered:
            raise ContractError(f"the backend chose {chosen!r}, which was not offered.", fix="report it to its author.")
        return chosen

    def value(self, state: StateKey, action: ActionKey) -> float:
        """See `aqe_core.contracts.Learner.value`."""
        return self._engine.value(validate.as_key_name(state, "state"), self._action(action))

    def _offered(self, actions: Sequence[ActionKey]) -> list[Any]:
        offered = [self._action(action) for action in _items(actions, "actions")]
        if not offered:
            raise InvalidActionError("no action was offered.", fix="offer at least one.")
        return offered


class GuardedInspectable(GuardedLearner):
    """The same of a learner that tells how it got there."""

    __slots__ = ("set_params",)

    _engine: InspectableLearner

    def __init__(self, engine: InspectableLearner) -> None:
        super().__init__(engine)
        self.set_params: Callable[..., None] = engine.set_params

    def visits(self, state: StateKey, action: ActionKey) -> int:
        """See `aqe_core.contracts.InspectableLearner.visits`."""
        return self._engine.visits(validate.as_key_name(state, "state"), self._action(action))

    @property
    def steps(self) -> int:
        """Number of updates."""
        return self._engine.steps

    def last_update(self, state: StateKey, action: ActionKey) -> int:
        """See `aqe_core.contracts.InspectableLearner.last_update`."""
        return self._engine.last_update(validate.as_key_name(state, "state"), self._action(action))

    def probabilities(self, state: StateKey, actions: Sequence[ActionKey]) -> NDArray[np.float64]:
        """See `aqe_core.contracts.InspectableLearner.probabilities`."""
        checked_state = validate.as_key_name(state, "state")
        return self._engine.probabilities(checked_state, self._offered(actions))


class GuardedBandit:
    """A bandit whose input is checked before it arrives."""

    __slots__ = ("__weakref__", "_engine", "export_state", "get_params", "import_state")

    def __init__(self, engine: Bandit) -> None:
        self._engine = engine
        self.get_params: Callable[[], dict[str, Any]] = engine.get_params
        self.export_state: Callable[[], EngineState] = engine.export_state
        self.import_state: Callable[[EngineState], None] = engine.import_state

    @property
    def algorithm(self) -> str:
        """Name of the algorithm."""
        return self._engine.algorithm

    @property
    def dim(self) -> int:
        """Length of a context."""
        return self._engine.dim

    @property
    def actions(self) -> tuple[ActionKey, ...]:
        """The actions."""
        return self._engine.actions

    @property
    def steps(self) -> int:
        """Number of updates."""
        return self._engine.steps

    def _action(self, action: object) -> ActionKey:
        key = validate.as_key_name(action, "action")
        if key not in self._engine.actions:
            raise InvalidActionError(f"the action {key!r} is not declared.", fix="use a declared one.")
        return key

    def _offered(self, actions: Any) -> list[ActionKey]:
        offered = (
            list(self._engine.actions) if actions is None else [self._action(a) for a in _items(actions, "actions")]
        )
        if not offered:
            raise InvalidActionError("no action was offered.", fix="offer at least one.")
        return offered

    def act(self, context: ArrayLike, actions: Sequence[Any] | None = None, *, explore: bool = True) -> Any:
        """See `aqe_core.contracts.Bandit.act`."""
        offered: list[Any] = self._offered(actions)
        chosen = self._engine.act(validate.as_context(context, self.dim), offered, explore=explore)
        if chosen not in offered:
            raise ContractError(f"the backend chose {chosen!r}, which was not offered.", fix="report it to its author.")
        return chosen

    def probabilities(self, context: ArrayLike, actions: Sequence[ActionKey] | None = None) -> NDArray[np.float64]:
        """See `aqe_core.contracts.Bandit.probabilities`."""
        return self._engine.probabilities(validate.as_context(context, self.dim), self._offered(actions))

    def values(self, context: ArrayLike) -> NDArray[np.float64]:
        """See `aqe_core.contracts.Bandit.values`."""
        return self._engine.values(validate.as_context(context, self.dim))

    def update(self, context: ArrayLike, action: ActionKey, reward: float) -> None:
        """See `aqe_core.contracts.Bandit.update`."""
        row = validate.as_context(context, self.dim)
        self._engine.update(row, self._action(action), validate.as_reward(reward))

    def update_batch(self, contexts: ArrayLike, actions: Any, rewards: ArrayLike) -> None:
        """See `aqe_core.contracts.Bandit.update_batch`."""
        rows = validate.as_contexts(contexts, self.dim)
        names, gains = (
            [self._action(action) for action in _items(actions, "actions")],
            validate.as_values(rewards, "rewards"),
        )
        if not len(rows) == len(names) == len(gains):
            raise DimensionError(
                f"there are {len(rows)} contexts, {len(names)} actions and {len(gains)} rewards.",
                fix="pass one of each per outcome.",
            )
        self._engine.update_batch(rows, names, gains)


def guarded_learner(engine: Any, capabilities: LearnerCapabilities | None = None) -> Any:
    """Return a learner or bandit behind its guard."""
    if engine.algorithm in BANDIT_ALGORITHMS:
        return GuardedBandit(engine)
    inspectable = capabilities is not None and capabilities.inspectable
    return GuardedInspectable(engine) if inspectable else GuardedLearner(engine)


def _items(names: Any, what: str) -> list[Any]:
    if isinstance(names, (str, bytes)):
        raise InputError(f"{what} are one text, {names!r}.", fix="pass a list of names.")
    if not hasattr(names, "__iter__") or getattr(names, "ndim", 1) != 1:
        raise DimensionError(f"{what} are {names!r}, but must have one axis.", fix="pass a list of names.")
    return names.tolist() if isinstance(names, np.ndarray) else list(names)


class GuardedAnalyzer:
    """An analyzer whose input is checked before it arrives."""

    __slots__ = ("__weakref__", "_engine")

    def __init__(self, engine: Analyzer, _: object = None) -> None:
        self._engine = engine

    def describe(self, values: ArrayLike, *, quantiles: ArrayLike = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)) -> Description:
        """See `aqe_core.contracts.Analyzer.describe`."""
        return self._engine.describe(validate.as_values(values), quantiles=validate.as_quantiles(quantiles))

    def describe_groups(self, values: ArrayLike, groups: ArrayLike, n_groups: int) -> GroupDescription:
        """See `aqe_core.contracts.Analyzer.describe_groups`."""
        checked = validate.as_values(values)
        return self._engine.describe_groups(checked, *validate.as_groups(groups, len(checked), n_groups))

    def flakiness(self, failed: ArrayLike, groups: ArrayLike, n_groups: int) -> Flakiness:
        """See `aqe_core.contracts.Analyzer.flakiness`."""
        checked = validate.as_outcomes(failed)
        return self._engine.flakiness(checked, *validate.as_groups(groups, len(checked), n_groups))
