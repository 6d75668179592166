"""Q-learning and SARSA exactly as the ancestor, agentic-qe v2.8.0, computed them (``compat="agentic-qe-2.8"``).

Its rules, not the textbook's, to the last bit: the same order of floating-point operations and of table entries, the
same generator (mulberry32), the same replay, which enters what it replays once more. Where it errs, so do these:
``done`` does not stop the bootstrap, and actions that were never tried are not preferred to known ones that are bad.

States and actions may be given as the dicts that the ancestor used; they are known under its keys
(`aqe_core.encoding.ancestor_state_key`, `ancestor_action_key`). Text and integers are taken as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from aqe_backend_numpy import _learner_input as given
from aqe_core.encoding import ancestor_action_key, ancestor_state_key
from aqe_core.errors import InputError
from aqe_core.state import EngineState, Portable
from aqe_core.validate import as_done, as_key_name, as_outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.learner import A, ActionKey, StateKey

__all__ = [
    "COUNTS",
    "SHARES",
    "SWITCHES",
    "AncestorLearner",
    "AncestorQLearning",
    "AncestorSarsa",
    "Experience",
    "Mulberry32",
    "as_action",
    "as_state",
    "as_tuples",
]

COMPAT = "agentic-qe-2.8"
MAX_REPLAY = 2**24
SHARES = ("learning_rate", "discount", "epsilon", "epsilon_decay", "min_epsilon")
COUNTS = ("replay_size", "batch_size")
SWITCHES = ("replay",)
"""Hyper-parameters that every one but PPO has, by what they are."""


class Mulberry32:
    """The ancestor's generator (Tommy Ettinger's mulberry32): 32 bits of state, numbers in [0, 1).

    Examples
    --------
    >>> generator = Mulberry32(42)
    >>> [round(generator.random(), 10) for _ in range(3)]
    [0.6011037519, 0.448290559, 0.8524657935]
    """

    def __init__(self, seed: int) -> None:
        self.state = seed & 0xFFFFFFFF

    def random(self) -> float:
        """Return the next number."""
        self.state = (self.state + 0x6D2B79F5) & 0xFFFFFFFF
        t = self.state
        t = ((t ^ (t >> 15)) * (t | 1)) & 0xFFFFFFFF
        t ^= (t + (((t ^ (t >> 7)) * (t | 61)) & 0xFFFFFFFF)) & 0xFFFFFFFF
        return (t ^ (t >> 14)) / 4294967296

    def below(self, n: int) -> int:
        """Return an integer in 0 .. n - 1."""
        return math.floor(self.random() * n)

    def shuffle(self, items: list[Any]) -> None:
        """Shuffle in place: Fisher-Yates, from the end."""
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]


class Experience(NamedTuple):
    """One transition, by keys."""

    state: Any
    action: Any
    reward: float
    next_state: Any
    done: bool


class AncestorLearner(Portable):
    """What the ancestor's learners share: the table, the choice, the replay, the end of an episode.

    Parameters
    ----------
    learning_rate : float, default 0.1
    discount : float, default 0.95
    epsilon : float, default 0.3
        Of the first episode; `end_episode` multiplies it by ``epsilon_decay``, down to ``min_epsilon``.
    epsilon_decay : float, default 0.995
    min_epsilon : float, default 0.01
    replay : bool, default True
        Learn from ``batch_size`` remembered transitions at the end of each episode.
    replay_size : int, default 10000
    batch_size : int, default 32
    seed : int, default 42
        Of the generator; the ancestor had one for its whole process, here each learner has its own.

    Notes
    -----
    ``value`` is 0 for a pair never tried. Not safe for use from several threads at once.
    """

    algorithm: ClassVar[str]
    _shares: ClassVar[tuple[str, ...]] = SHARES
    _counts: ClassVar[tuple[str, ...]] = COUNTS
    _switches: ClassVar[tuple[str, ...]] = SWITCHES

    def __init__(
        self,
        *,
        learning_rate: float = 0.1,
        discount: float = 0.95,
        epsilon: float = 0.3,
        epsilon_decay: float = 0.995,
        min_epsilon: float = 0.01,
        replay: bool = True,
        replay_size: int = 10_000,
        batch_size: int = 32,
        seed: int = 42,
    ) -> None:
        params = {
            "learning_rate": learning_rate,
            "discount": discount,
            "epsilon": epsilon,
            "epsilon_decay": epsilon_decay,
            "min_epsilon": min_epsilon,
            "replay": replay,
            "replay_size": replay_size,
            "batch_size": batch_size,
            "seed": seed,
        }
        self._begin(self._checked(params))

    def _checked(self, params: Mapping[str, Any]) -> dict[str, Any]:
        given.as_dict(params, "params", {*self._shares, *self._counts, *self._switches, "seed"})
        for name in self._switches:
            if not isinstance(params[name], (bool, np.bool_)):
                raise InputError(f"{name} is {params[name]!r}, but must be True or False.", fix="choose one.")
        return {
            **{name: given.as_number(params[name], name, 0.0, 1.0) for name in self._shares},
            **{name: given.as_count(params[name], name, MAX_REPLAY) for name in self._counts},
            **{name: bool(params[name]) for name in self._switches},
            "seed": given.as_seed(params["seed"]),
        }

    def _begin(self, params: dict[str, Any]) -> None:
        self._params = params
        self._random = Mulberry32(params["seed"])
        self._table: dict[StateKey, dict[ActionKey, float]] = {}
        self._visits: dict[StateKey, dict[ActionKey, int]] = {}
        self._replay: list[Experience] = []
        self.epsilon = params["epsilon"]
        self.steps = 0
        self.episodes = 0

    def __len__(self) -> int:
        """Return the number of (state, action) pairs with a value. O(states)."""
        return sum(map(len, self._table.values()))

    def get_params(self) -> dict[str, Any]:
        """Return the hyper-parameters it was made with; ``make_learner`` takes them as they are."""
        return {**self._params, "compat": COMPAT}

    # -- learning -----------------------------------------------------------------------------------------------

    def update(
        self,
        state: StateKey | Mapping[str, Any],
        action: ActionKey | Mapping[str, Any],
        reward: float,
        next_state: StateKey | Mapping[str, Any],
        done: bool = False,
        next_action: ActionKey | Mapping[str, Any] | None = None,
    ) -> None:
        """Learn from one transition; as `aqe_core.contracts.Learner.update`, but for what the module says."""
        following = None if next_action is None else as_action(next_action, "next_action")
        one = Experience(
            as_state(state, "state"),
            as_action(action, "action"),
            given.as_reward(reward),
            as_state(next_state, "next_state"),
            as_done(done),
        )
        self._learn(one, following)

    def update_batch(
        self,
        states: ArrayLike | Sequence[StateKey],
        actions: ArrayLike | Sequence[ActionKey],
        rewards: ArrayLike,
        next_states: ArrayLike | Sequence[StateKey],
        dones: ArrayLike | None = None,
        next_actions: ArrayLike | Sequence[ActionKey] | None = None,
    ) -> None:
        """Learn from ``n`` transitions in order, one by one; as `aqe_core.contracts.Learner.update_batch`."""
        before = _column(states, "states", as_state)
        n = len(before)
        chosen = _column(actions, "actions", as_action, n)
        after = _column(next_states, "next_states", as_state, n)
        following = [None] * n if next_actions is None else _column(next_actions, "next_actions", as_action, n)
        gains = given.as_rewards(rewards, n).tolist()
        ends = [False] * n if dones is None else as_outcomes(dones, "dones", n).tolist()
        for state, action, reward, next_state, done, then in zip(
            before, chosen, gains, after, ends, following, strict=True
        ):
            self._learn(Experience(state, action, reward, next_state, done), then)

    def _learn(self, one: Experience, next_action: ActionKey | None) -> None:
        self._improve(one, next_action)
        if self._params["replay"]:
            self._replay.append(one)
            if len(self._replay) > self._params["replay_size"]:
                del self._replay[0]
        self.steps += 1

    def _improve(self, one: Experience, next_action: ActionKey | None) -> None:
        raise NotImplementedError

    def _store(self, one: Experience, value: float) -> None:
        self._table.setdefault(one.state, {})[one.action] = value
        visits = self._visits.setdefault(one.state, {})
        visits[one.action] = visits.get(one.action, 0) + 1

    def _step_towards(self, one: Experience, worth: float) -> None:
        old = self._table.get(one.state, {}).get(one.action, 0.0)
        target = one.reward + self._params["discount"] * worth
        self._store(one, old + self._params["learning_rate"] * (target - old))

    def end_episode(self) -> None:
        """Count the episode, lower epsilon, and replay if there is enough to replay."""
        self.episodes += 1
        self.epsilon = max(self._params["min_epsilon"], self.epsilon * self._params["epsilon_decay"])
        if self._params["replay"]:
            self.replay()

    def replay(self) -> None:
        """Learn again from ``batch_size`` different remembered transitions, drawn by rejection; none if too few."""
        n, wanted = len(self._replay), self._params["batch_size"]
        if n < wanted:
            return
        drawn: dict[int, None] = {}
        while len(drawn) < wanted:
            drawn[self._random.below(n)] = None
        for one in [self._replay[position] for position in drawn]:
            self._learn(one, None)

    # -- asking -------------------------------------------------------------------------------------------------

    def act(self, state: StateKey | Mapping[str, Any], actions: Sequence[A], *, explore: bool = True) -> A:
        """Choose one of the offered actions: with probability epsilon a uniform one, else the best *known* one.

        In an unknown state a random one; where none of the offered is known, the first. Without ``explore`` nothing is
        drawn, and an unknown state takes the first too.
        """
        key = as_state(state, "state")
        offered = given.as_offered(actions)
        keys = [as_action(action, "an offered action") for action in offered]
        if explore and self._random.random() < self.epsilon:
            return offered[self._random.below(len(keys))]
        row = self._table.get(key)
        if row is None:
            return offered[self._random.below(len(keys))] if explore else offered[0]
        known = [row.get(each, -math.inf) for each in keys]
        return offered[known.index(max(known))]

    def value(self, state: StateKey | Mapping[str, Any], action: ActionKey | Mapping[str, Any]) -> float:
        """Return the learned value of an action in a state; 0 if it was never tried."""
        return self._table.get(as_state(state, "state"), {}).get(as_action(action, "action"), 0.0)

    def visits(self, state: StateKey | Mapping[str, Any], action: ActionKey | Mapping[str, Any]) -> int:
        """Return the number of updates of a pair, replays included."""
        return self._visits.get(as_state(state, "state"), {}).get(as_action(action, "action"), 0)

    def table(self) -> dict[StateKey, dict[ActionKey, float]]:
        """Return a copy of the table: value by action, by state, in the ancestor's order."""
        return {state: dict(row) for state, row in self._table.items()}

    def stats(self) -> dict[str, float]:
        """Return the ancestor's statistics, under its names."""
        values = [value for row in self._table.values() for value in row.values()]
        total = 0.0
        for value in values:
            total += value
        return {
            "steps": self.steps,
            "episodes": self.episodes,
            "tableSize": len(values),
            "explorationRate": self.epsilon,
            "avgQValue": total / len(values) if values else 0.0,
            "maxQValue": max(values, default=0.0),
            "minQValue": min(values, default=0.0),
        }

    # -- moving -------------------------------------------------------------------------------------------------

    @property
    def _kind(self) -> str:
        return f"learner/{self.algorithm}/{COMPAT}/1"

    def export_state(self) -> EngineState:
        """Return everything, in the ancestor's order, so that ``import_state`` continues bit for bit.

        Kind ``learner/<algorithm>/agentic-qe-2.8/1``. The manifest holds ``params``, ``counters`` (``epsilon``,
        ``steps``, ``episodes``, ``generator``), ``pairs`` (``[state, action]``, by state) and ``replay`` (``[state,
        action, next state]``); the arrays ``values`` and ``visits`` per pair, ``rewards`` and ``dones`` per replay.
        """
        return EngineState(
            kind=self._kind,
            manifest={
                "params": dict(self._params),
                "counters": {name: getattr(self, name) for name in _COUNTERS} | {"generator": self._random.state},
                "pairs": [[state, action] for state, row in self._table.items() for action in row],
                "replay": [[one.state, one.action, one.next_state] for one in self._replay],
                **self._more_manifest(),
            },
            arrays={
                "values": np.array([v for row in self._table.values() for v in row.values()], np.float64),
                "visits": np.array([n for row in self._visits.values() for n in row.values()], np.int64),
                "rewards": np.array([one.reward for one in self._replay], np.float64),
                "dones": np.array([one.done for one in self._replay], np.bool_),
                **self._more_arrays(),
            },
        )

    def import_state(self, state: EngineState) -> None:
        """Replace everything by an exported state.

        Raises
        ------
        InputError
            It is not a state of this kind of learner; nothing was changed.
        """
        if state.kind != self._kind:
            raise InputError(f"the state is of kind {state.kind!r}, but must be {self._kind!r}.", fix="make that one.")
        more, held = set(self._more_manifest()), set(self._more_arrays())
        manifest = given.as_dict(state.manifest, "the manifest", {"params", "counters", "pairs", "replay"} | more)
        given.as_dict(state.arrays, "the arrays", {"values", "visits", "rewards", "dones"} | held)
        params = self._checked(manifest["params"])
        counters = _as_counters(manifest["counters"])
        values, visits = given.as_arrays(state, {"values": np.float64, "visits": np.int64})
        rewards, dones = given.as_arrays(state, {"rewards": np.float64, "dones": np.bool_})
        given.refuse_outside(values, "values", -given.MAX_VALUE, given.MAX_VALUE)
        given.refuse_outside(visits, "visits", 0, given.MAX_COUNT)
        given.refuse_outside(rewards, "rewards", -given.MAX_REWARD, given.MAX_REWARD)
        pairs = as_tuples(manifest["pairs"], "pairs", 2, values.size)
        remembered = as_tuples(manifest["replay"], "replay", 3, rewards.size)
        if len(set(pairs)) < len(pairs):
            raise InputError("pairs name one twice.", fix="export it again.")
        read = self._read_more(state)
        # From here on nothing can fail.
        self._begin(params)
        for (place, action), value, count in zip(pairs, values.tolist(), visits.tolist(), strict=True):
            self._table.setdefault(place, {})[action] = value
            self._visits.setdefault(place, {})[action] = count
        self._replay = [
            Experience(place, action, reward, after, done)
            for (place, action, after), reward, done in zip(remembered, rewards.tolist(), dones.tolist(), strict=True)
        ]
        self._random.state = counters["generator"]
        self.epsilon, self.steps, self.episodes = (counters[name] for name in _COUNTERS)
        self._take_more(read)

    def _more_manifest(self) -> dict[str, Any]:
        return {}

    def _more_arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    def _read_more(self, state: EngineState) -> Any:
        """Return what a subclass added to the state, checked."""

    def _take_more(self, read: Any) -> None:
        """Take over what `_read_more` returned."""


class AncestorQLearning(AncestorLearner):
    """The ancestor's Q-learning: the largest *known* value of the next state (0 if none), also after the end."""

    algorithm = "q-learning"

    def _improve(self, one: Experience, next_action: ActionKey | None) -> None:  # noqa: ARG002  # off-policy
        self._step_towards(one, max(self._table.get(one.next_state, {}).values(), default=0.0))


class AncestorSarsa(AncestorLearner):
    """The ancestor's SARSA: the next action's value, or the expectation over the *known* ones, also after the end."""

    algorithm = "sarsa"

    def _improve(self, one: Experience, next_action: ActionKey | None) -> None:
        row = self._table.get(one.next_state, {})
        if next_action is not None:
            worth = row.get(next_action, 0.0)
        elif row:
            total = 0.0
            for value in row.values():
                total += value
            worth = self.epsilon * (total / len(row)) + (1 - self.epsilon) * max(row.values())
        else:
            worth = 0.0
        self._step_towards(one, worth)

    def convergence(self) -> dict[str, Any]:
        """Return the ancestor's convergence metrics, under its names."""
        stats = self.stats()
        spread = stats["maxQValue"] - stats["minQValue"]
        return {
            "isConverging": self.epsilon < 0.1 and spread < 10 and self.episodes > 20,
            "convergenceRate": min(1, self.episodes / 100),
            "stability": 1 - min(1, spread / 20) if spread > 0 else 0.5,
        }


_COUNTERS = ("epsilon", "steps", "episodes")


def as_state(state: Any, what: str) -> StateKey:
    """Return a state's key; a dict is the ancestor's."""
    if isinstance(state, Mapping):
        return _encoded(ancestor_state_key, state, what)
    return as_key_name(state, what)


def as_action(action: Any, what: str) -> ActionKey:
    """Return an action's key; a dict is the ancestor's."""
    if isinstance(action, Mapping):
        return _encoded(ancestor_action_key, action, what)
    return as_key_name(action, what)


def _encoded(encode: Callable[[Mapping[str, Any]], str], value: Mapping[str, Any], what: str) -> str:
    try:
        return encode(value)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"{what} is {value!r}, which is none of the ancestor's ({type(error).__name__}: {error}).",
            fix="pass its dict, or its key.",
        ) from None


def _column(values: Any, what: str, read: Callable[[Any, str], Any], n: int | None = None) -> list[Any]:
    if isinstance(values, (list, tuple)) and any(isinstance(value, Mapping) for value in values):
        values = [read(value, f"{what}[{where}]") for where, value in enumerate(values)]
    keys = given.as_batch_keys(values, what, n)
    return keys if isinstance(keys, list) else keys.tolist()


def _as_counters(value: Any) -> dict[str, Any]:
    counters = dict(given.as_dict(value, "counters", {*_COUNTERS, "generator"}))
    counters["epsilon"] = given.as_number(counters["epsilon"], "epsilon", 0.0, 1.0)
    for name, high in (("steps", given.MAX_COUNT), ("episodes", given.MAX_COUNT), ("generator", 2**32 - 1)):
        if type(counters[name]) is not int or not 0 <= counters[name] <= high:
            raise InputError(f"{name} is {counters[name]!r}, but must be in 0 .. {high}.", fix="export it again.")
    return counters


def as_tuples(value: Any, what: str, width: int, n: int) -> list[tuple[Any, ...]]:
    """Return ``n`` tuples of ``width`` names each."""
    rows = list(value) if isinstance(value, (list, tuple)) else []
    whole = all(isinstance(row, (list, tuple)) and len(row) == width for row in rows)
    if len(rows) != n or not whole:
        raise InputError(f"{what} must hold {n} entries of {width} names.", fix="export it again.")
    return [tuple(as_key_name(name, what) for name in row) for row in rows]
