"""What the learners are measured beside: plain Python and NumPy, and replay libraries where they are installed."""

from __future__ import annotations

import functools
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.bench.measure import rate

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MODULES", "LinUcb", "array_updates", "dict_updates", "replays", "unordered_updates"]

MODULES = ("cpprb", "stable_baselines3", "tianshou", "torchrl")
"""Replay libraries that are measured where they are importable."""

RATE, DISCOUNT = 0.1, 0.95


def dict_updates(transitions: list[Any], seconds: float) -> Callable[[], float]:
    """Return the rate of Q-learning in a dictionary of dictionaries, in line."""
    table: dict[Any, dict[Any, float]] = {}

    def work() -> None:
        for state, action, reward, after in transitions:
            row = table.setdefault(state, {})
            future = table.get(after)
            best = max(future.values()) if future else 0.0
            old = row.get(action, 0.0)
            row[action] = old + RATE * (reward + DISCOUNT * best - old)

    return functools.partial(rate, work, len(transitions), seconds)


def array_updates(transitions: list[Any], n_states: int, seconds: float) -> Callable[[], float]:
    """Return the rate of Q-learning in a NumPy table, one update at a time."""
    table = np.zeros((n_states, 10))

    def work() -> None:
        for state, action, reward, after in transitions:
            table[state, action] += RATE * (reward + DISCOUNT * table[after].max() - table[state, action])

    return functools.partial(rate, work, len(transitions), seconds)


def unordered_updates(
    states: Any, actions: Any, rewards: Any, after: Any, n_states: int, seconds: float
) -> Callable[[], float]:
    """Return the rate of NumPy over whole columns; an update does not see those before it in its batch."""
    table = np.zeros((n_states, 10))

    def work() -> None:
        old = table[states, actions]
        table[states, actions] = old + RATE * (rewards + DISCOUNT * table[after].max(axis=1) - old)

    return functools.partial(rate, work, len(states), seconds)


class LinUcb:
    """LinUCB (Li, Chu, Langford and Schapire 2010), its inverses kept by the formula of Sherman and Morrison."""

    def __init__(self, dim: int, n_actions: int) -> None:
        self.inverses = np.tile(np.eye(dim), (n_actions, 1, 1))
        self.sums = np.zeros((n_actions, dim))
        self.weights = np.zeros((n_actions, dim))

    def act(self, context: Any) -> int:
        """Return the action of the largest upper bound."""
        spread = (self.inverses @ context) @ context
        return int((self.weights @ context + np.sqrt(spread)).argmax())

    def update(self, context: Any, action: int, reward: float) -> None:
        """Learn."""
        inverse = self.inverses[action]
        gain = inverse @ context
        inverse -= np.outer(gain, gain) / (1.0 + gain @ context)
        self.sums[action] += reward * context
        self.weights[action] = inverse @ self.sums[action]


def replays(capacity: int, columns: tuple[Any, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a filled rival per installed library, its attributes named like our measures, and which failed and why."""
    makers = {
        "cpprb": _Cpprb,
        "stable_baselines3": _StableBaselines3,
        "tianshou": _Tianshou,
        "torchrl": _TorchRL,
    }
    rivals: dict[str, Any] = {"deque": _Deque(capacity, columns)}
    failed = {}
    for module, make in makers.items():
        if find_spec(module) is not None:
            try:
                rivals[module] = make(capacity, columns)
            except Exception as error:  # of another version, say: the other measures do not depend on it
                failed[module] = f"{type(error).__name__}: {error}"
    return rivals, failed


def _fill(capacity: int, add_batch: Callable[[], object], size: int) -> None:
    for _ in range(-(-capacity // size)):
        add_batch()


class _Deque:
    """A deque of tuples: what many write themselves."""

    def __init__(self, capacity: int, columns: tuple[Any, ...]) -> None:
        import random
        from collections import deque

        kept: deque[tuple[Any, ...]] = deque(maxlen=capacity)
        rows = list(zip(*columns, strict=True))
        generator = random.Random(1)  # noqa: S311  # draws, not secrets
        self.add = functools.partial(kept.append, rows[0])

        def sample(size: int) -> list[Any]:
            return [np.array(column) for column in zip(*generator.sample(kept, size), strict=True)]

        self.sample_32 = functools.partial(sample, 32)
        self.sample_256 = functools.partial(sample, 256)
        _fill(capacity, lambda: kept.extend(rows), len(rows))


class _Cpprb:
    def __init__(self, capacity: int, columns: tuple[Any, ...]) -> None:
        cpprb: Any = import_module("cpprb")

        dim = columns[0].shape[1]
        shapes = {"obs": {"shape": dim}, "act": {"dtype": np.int64}, "rew": {}, "next_obs": {"shape": dim}, "done": {}}
        uniform, ranked = cpprb.ReplayBuffer(capacity, shapes), cpprb.PrioritizedReplayBuffer(capacity, shapes)
        rows = dict(zip(shapes, columns, strict=True))
        row = {name: column[0] for name, column in rows.items()}
        self.add = functools.partial(uniform.add, **row)
        self.add_batch = functools.partial(uniform.add, **rows)
        self.sample_32 = functools.partial(uniform.sample, 32)
        self.sample_256 = functools.partial(uniform.sample, 256)
        self.prioritized_sample_32 = functools.partial(ranked.sample, 32)
        self.prioritized_sample_256 = functools.partial(ranked.sample, 256)
        for buffer in (uniform, ranked):
            _fill(capacity, functools.partial(buffer.add, **rows), len(columns[0]))


class _StableBaselines3:
    def __init__(self, capacity: int, columns: tuple[Any, ...]) -> None:
        spaces: Any = import_module("gymnasium.spaces")
        buffers: Any = import_module("stable_baselines3.common.buffers")
        observed = spaces.Box(-np.inf, np.inf, (columns[0].shape[1],), np.float32)
        buffer = buffers.ReplayBuffer(capacity, observed, spaces.Discrete(4), "cpu", handle_timeout_termination=False)
        seen, actions, rewards, after, done = (column[:1] for column in columns)
        self.add = functools.partial(buffer.add, seen, after, actions, rewards, done, [{}])
        self.sample_32 = functools.partial(buffer.sample, 32)
        self.sample_256 = functools.partial(buffer.sample, 256)
        _fill(capacity, self.add, 1)


class _Tianshou:
    def __init__(self, capacity: int, columns: tuple[Any, ...]) -> None:
        data: Any = import_module("tianshou.data")
        buffer = data.ReplayBuffer(capacity)
        seen, actions, rewards, after, done = (column[0] for column in columns)
        row = data.Batch(obs=seen, act=actions, rew=rewards, obs_next=after, terminated=done, truncated=False, info={})
        self.add = functools.partial(buffer.add, row)
        self.sample_32 = functools.partial(buffer.sample, 32)
        self.sample_256 = functools.partial(buffer.sample, 256)
        _fill(capacity, self.add, 1)


class _TorchRL:
    def __init__(self, capacity: int, columns: tuple[Any, ...]) -> None:
        torch: Any = import_module("torch")
        data: Any = import_module("torchrl.data")
        names = ("obs", "act", "rew", "next_obs", "done")
        rows = {name: torch.as_tensor(column) for name, column in zip(names, columns, strict=True)}
        many = import_module("tensordict").TensorDict(rows, batch_size=[len(columns[0])])
        buffer = data.ReplayBuffer(storage=data.LazyTensorStorage(capacity))
        self.add_batch = functools.partial(buffer.extend, many)
        _fill(capacity, self.add_batch, len(columns[0]))
        self.add = functools.partial(buffer.add, many[0])
        self.sample_32 = functools.partial(buffer.sample, 32)
        self.sample_256 = functools.partial(buffer.sample, 256)
