# ruff: noqa: INP001  # a script, not a package
"""Measure the native learners and replays beside NumPy's, a dict and numba, in alternating rounds of one process.

``python plugins/backend_native/benchmarks/learning.py [ROUNDS]`` prints the best and the median rate of each.
"""

from __future__ import annotations

import sys
import threading
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from aqe_backend_native.learner import make_learner as make_native
from aqe_backend_native.replay import NativeReplay
from aqe_backend_numpy.learner import make_learner as make_numpy
from aqe_backend_numpy.replay.buffer import NumpyReplay

if TYPE_CHECKING:
    from collections.abc import Callable

N = 100_000
ROWS = 100_000  # kept in a replay
DIM = 16


class Dicts:
    """Q-learning over a dict of dicts."""

    def __init__(self) -> None:
        self.rows: dict[Any, dict[Any, float]] = {}

    def update(self, state: Any, action: Any, reward: float, next_state: Any) -> None:
        """Learn from one transition."""
        row = self.rows.get(state)
        if row is None:
            row = self.rows[state] = {}
        following = self.rows.get(next_state)
        old = row.get(action, 0.0)
        row[action] = old + 0.1 * (reward + 0.95 * (max(following.values()) if following else 0.0) - old)


def columns(states: int, n: int, seed: int = 0) -> list[Any]:
    """Return random transitions among so many states and ten actions."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, states, n), rng.integers(0, 10, n), rng.normal(size=n), rng.integers(0, states, n)]


def singles(learner: Any, rows: list[Any]) -> Callable[[], int]:
    """Return a round of single updates."""

    def run() -> int:
        update = learner.update
        for state, action, reward, next_state in rows:
            update(state, action, reward, next_state)
        return len(rows)

    return run


def batch(learner: Any, *lessons: list[Any]) -> Callable[[], int]:
    """Return a round of one batch per thread."""

    def run() -> int:
        threads = [threading.Thread(target=learner.update_batch, args=lesson) for lesson in lessons[1:]]
        for thread in threads:
            thread.start()
        learner.update_batch(*lessons[0])
        for thread in threads:
            thread.join()
        return sum(len(lesson[0]) for lesson in lessons)

    return run


def calls(call: Callable[..., Any], times: int, *arguments: Any, rows: int = 1) -> Callable[[], int]:
    """Return a round of equal calls."""

    def run() -> int:
        for _ in range(times):
            call(*arguments)
        return times * rows

    return run


def compiled(lesson: list[Any], states: int) -> Callable[[], int] | None:
    """Return a round of a compiled loop over whole arrays, without keys or visits; None without numba."""
    try:
        import numba
    except ImportError:
        return None

    @numba.njit  # type: ignore[untyped-decorator]  # numba has no types
    def learn(values: Any, s: Any, a: Any, r: Any, t: Any) -> None:
        for i in range(len(s)):
            best = values[t[i], 0]
            for j in range(1, values.shape[1]):
                best = max(best, values[t[i], j])
            values[s[i], a[i]] += 0.1 * (r[i] + 0.95 * best - values[s[i], a[i]])

    table = np.zeros((states, 10))
    return calls(learn, 1, table, *lesson, rows=len(lesson[0]))


def tabular() -> dict[str, Callable[[], int] | None]:
    """Return the rounds of tabular learners."""
    small, large = columns(10_000, 300_000), columns(1_600_000, 1_000_000)
    everywhere = np.arange(1_600_000)
    rows = list(zip(*(column[:N].tolist() for column in small), strict=True))
    names = [(f"state-{s}", f"action-{a}", r, f"state-{t}") for s, a, r, t in rows]
    names = [tuple(map(sys.intern, (s, a, t))) for s, a, _, t in names]  # type: ignore[misc]  # one object per name
    texts = [(s, a, row[2], t) for (s, a, t), row in zip(names, rows, strict=True)]  # type: ignore[misc]  # as above
    big = make_native()
    big.update_batch(everywhere, everywhere % 10, np.zeros(everywhere.size), everywhere)
    halves = [[s * 2 + half, a, r, t * 2 + half] for half in (0, 1) for s, a, r, t in [columns(5_000, 300_000, half)]]
    return {
        "update, text keys: native": singles(make_native(), texts),
        "update, text keys: numpy": singles(make_numpy(), texts),
        "update, text keys: dicts": singles(Dicts(), texts),
        "update, int keys: native": singles(make_native(), rows),
        "update, int keys: numpy": singles(make_numpy(), rows),
        "update, int keys: dicts": singles(Dicts(), rows),
        "batch, 10,000 states: native": batch(make_native(), small),
        "batch, 10,000 states: numpy": batch(make_numpy(), small),
        "batch, 10,000 states: numba": compiled(small, 10_000),
        "batch, 1.6 M states (307 MB): native": batch(big, large),
        "batch, 1.6 M states (128 MB): numba": compiled(large, 1_600_000),
        "batch, own shards, 1 thread": batch(make_native(), halves[0]),
        "batch, own shards, 2 threads": batch(make_native(), *halves),
    }


def replays() -> dict[str, Callable[[], int] | None]:
    """Return the rounds of replays."""
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(ROWS, DIM)).astype(np.float32)
    given = [seen, rng.integers(0, 4, ROWS), rng.normal(size=ROWS), seen, rng.random(ROWS) < 0.01]
    part = [column[:4096] for column in given]
    rounds: dict[str, Callable[[], int] | None] = {}
    for name, kind in (("native", NativeReplay), ("numpy", NumpyReplay)):
        plain, ranked = (kind(capacity=ROWS, observation_dim=DIM, prioritized=by) for by in (False, True))
        for replay in (plain, ranked):
            replay.add_batch(*given)
        rounds[f"replay, add one: {name}"] = calls(plain.add, 20_000, seen[0], 3, 1.0, seen[1], False)
        rounds[f"replay, add 4,096 (rows): {name}"] = calls(plain.add_batch, 30, *part, rows=4096)
        rounds[f"replay, sample(32): {name}"] = calls(plain.sample, 3000, 32)
        rounds[f"replay, sample(256): {name}"] = calls(plain.sample, 1000, 256)
        rounds[f"replay, prioritized sample(32): {name}"] = calls(ranked.sample, 1000, 32)
        errors = rng.normal(size=32)
        rounds[f"replay, 32 priorities: {name}"] = calls(ranked.update_priorities, 1000, np.arange(32) * 99, errors)
    return rounds


def main(rounds: int) -> None:
    """Print the best and median rate of each over so many rounds; a first one is not counted."""
    runs = {name: run for name, run in {**tabular(), **replays()}.items() if run is not None}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            done = run()
            rates[name].append(done / (time.perf_counter() - start))
    for name, found in rates.items():
        counted = found[1:]
        sys.stdout.write(f"{name:45} {max(counted):13,.0f} /s {median(counted):13,.0f} /s\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
