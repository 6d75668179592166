"""``aqe bench learning``: tables, replays and policies of a backend, beside plain Python and what else is installed."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

import aqe_core
from aqe_core.bench import learning_peers as peers
from aqe_core.bench.measure import Measure, absent, rate, run
from aqe_core.encoding import Choice, Encoding, Number
from aqe_core.engines import open_learner, open_replay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aqe_core.plugins import FoundEngine

__all__ = ["ENGINE", "ROWS", "measure", "notes"]

ENGINE = "learner"
ROWS = 10_000

BATCH = 4096
EPISODE = 16_384  # steps that become durable together
OBSERVATION_DIM = 16
CAPACITY = 100_000
SOLVED = 475.0


def measure(
    found: FoundEngine, *, rounds: int, seconds: float, rows: int, progress: Any = None, **_: Any
) -> dict[str, Any]:
    """Measure the learners of a backend.

    Parameters
    ----------
    found : FoundEngine
    rounds : int
        The median of these is reported.
    seconds : float
        Length of a round.
    rows : int
        States of the table.
    progress : callable, optional

    Returns
    -------
    dict
        ``backend``, ``rounds``, ``absent`` (peers that are not installed), ``failed`` (peers that could not be made,
        and why) and ``measures``.
    """
    with contextlib.ExitStack() as opened:
        return _measure(found, rounds, seconds, rows, progress, opened)


def _measure(
    found: FoundEngine, rounds: int, seconds: float, rows: int, progress: Any, opened: contextlib.ExitStack
) -> dict[str, Any]:
    measures = [*_tables(found.spec.name, rows, seconds), *_kept(found.spec.name, seconds, opened)]
    if "linucb" in getattr(found.spec.capabilities, "algorithms", ()):
        measures += _bandits(found.spec.name, seconds)
    failed: dict[str, str] = {}
    if found.spec.replay:
        measures += _replays(found.spec.name, seconds, failed)
    if found.spec.policy:
        measures += _policies(found, seconds)
    return {
        "backend": found.spec.name,
        "rounds": rounds,
        "absent": absent(peers.MODULES),
        "failed": failed,
        "measures": run(measures, rounds, progress),
    }


def notes(measured: dict[str, Any]) -> list[str]:
    """Return what stands below the table."""
    missing = ", ".join(measured["absent"]) or "none"
    lines = [f"backend {measured['backend']}; {measured['rounds']} rounds; not installed: {missing}"]
    return [*lines, *(f"{name} was left out: {reason}" for name, reason in measured["failed"].items())]


# -- tables -----------------------------------------------------------------------------------------------------------


def _tables(backend: str, n_states: int, seconds: float) -> Iterator[Measure]:
    rng = np.random.default_rng(1)
    states, after = rng.integers(n_states, size=(2, BATCH))
    actions, rewards = rng.integers(10, size=BATCH), rng.standard_normal(BATCH)
    rows = list(zip(states.tolist(), actions.tolist(), rewards.tolist(), after.tolist(), strict=True))
    named = [(f"state {s}", f"action {a}", r, f"state {t}") for s, a, r, t in rows]

    def one_by_one(transitions: list[Any]) -> Callable[[], float]:
        update = open_learner(backend, learning_rate=0.1, discount=0.95).update

        def work() -> None:
            for state, action, reward, next_state in transitions:
                update(state, action, reward, next_state)

        return functools.partial(rate, work, BATCH, seconds)

    for name, transitions in (("update_text_keys", named), ("update_int_keys", rows)):
        beside: dict[str, Callable[[], float]] = {"dict of dicts": peers.dict_updates(transitions, seconds)}
        if transitions is rows:
            beside["NumPy, one at a time"] = peers.array_updates(transitions, n_states, seconds)
        yield Measure(name, "/s", one_by_one(transitions), beside)
    learner = open_learner(backend, learning_rate=0.1, discount=0.95)
    work = functools.partial(learner.update_batch, states, actions, rewards, after)
    yield Measure(
        "update_batch_int_keys",
        "/s",
        functools.partial(rate, work, BATCH, seconds),
        {
            "dict of dicts": peers.dict_updates(rows, seconds),
            "NumPy, ignoring order": peers.unordered_updates(states, actions, rewards, after, n_states, seconds),
        },
    )


# -- from dicts to the disk -------------------------------------------------------------------------------------------


def _kept(backend: str, seconds: float, opened: contextlib.ExitStack) -> Iterator[Measure]:
    """Yield steps of an episode from dicts: states encoded, learned from, durable when the work is done.

    Not kept, a state's key is made once, and is the next state's and then the state's.
    """
    encoding = Encoding(
        Number(name="coverage", high=100.0, bins=10),
        Number(name="duration_s", high=60.0, bins=10),
        Number(name="attempts", high=5.0, bins=5),
        Choice(name="kind", options=["unit", "integration", "ui"]),
    )
    rng = np.random.default_rng(4)
    kinds = [("unit", "integration", "ui")[i] for i in rng.integers(3, size=EPISODE)]
    states = [
        {"coverage": 100.0 * a, "duration_s": 60.0 * b, "attempts": int(6.0 * c), "kind": kind}
        for kind, (a, b, c) in zip(kinds, rng.random((EPISODE, 3)).tolist(), strict=True)
    ]
    actions = [("run", "skip", "retry")[i] for i in rng.integers(3, size=EPISODE)]
    rows = list(zip(actions, rng.standard_normal(EPISODE).tolist(), states, strict=True))
    folder = opened.enter_context(tempfile.TemporaryDirectory())
    workspace = opened.enter_context(aqe_core.open(folder, learner=backend))
    durable = workspace.learner("bench", batch=EPISODE, encoding=encoding, learning_rate=0.1, discount=0.95)
    engine = open_learner(backend, learning_rate=0.1, discount=0.95)

    def kept() -> None:
        update, state = durable.update, states[0]
        for action, reward, after in rows:
            update(state, action, reward, after)
            state = after
        durable.flush()

    def not_kept() -> None:
        update, key = engine.update, encoding.key
        state = key(states[0])
        for action, reward, after in rows:
            next_state = key(after)
            update(state, action, reward, next_state)
            state = next_state

    beside = {"not kept": functools.partial(rate, not_kept, EPISODE, seconds)}
    yield Measure("update_dicts_durable", "/s", functools.partial(rate, kept, EPISODE, seconds), beside)


# -- bandits ----------------------------------------------------------------------------------------------------------


def _bandits(backend: str, seconds: float) -> Iterator[Measure]:
    """Yield steps, each a choice and an update, with contexts of 16 numbers and 10 actions."""
    rng = np.random.default_rng(3)
    contexts, rewards = rng.standard_normal((512, 16)), rng.random(512).tolist()
    bandit: Any = open_learner(backend, algorithm="linucb", dim=16, actions=list(range(10)))
    rival = peers.LinUcb(16, 10)

    def work(one: Any) -> None:
        for context, reward in zip(contexts, rewards, strict=True):
            one.update(context, one.act(context), reward)

    def steps(one: Any) -> Callable[[], float]:
        return functools.partial(rate, functools.partial(work, one), len(contexts), seconds)

    yield Measure("linucb_steps", "/s", steps(bandit), {"NumPy, inverses kept": steps(rival)})


# -- replays ----------------------------------------------------------------------------------------------------------


def _replays(backend: str, seconds: float, failed: dict[str, str]) -> Iterator[Measure]:
    rng = np.random.default_rng(2)
    seen = rng.standard_normal((1024, OBSERVATION_DIM), dtype=np.float32)
    columns = (seen, rng.integers(4, size=1024), rng.standard_normal(1024), seen + 1, rng.random(1024) < 0.01)
    row = (seen[0], 1, 0.5, seen[1], False)

    def filled(*, prioritized: bool) -> Any:
        replay = open_replay(
            backend, capacity=CAPACITY, observation_dim=OBSERVATION_DIM, prioritized=prioritized, seed=1
        )
        for _ in range(-(-CAPACITY // 1024)):
            replay.add_batch(*columns)
        return replay

    uniform, ranked = filled(prioritized=False), filled(prioritized=True)
    rivals, problems = peers.replays(CAPACITY, columns)
    failed.update(problems)

    def beside(what: str, units: int) -> dict[str, Callable[[], float]]:
        works = {name: getattr(rival, what) for name, rival in rivals.items() if hasattr(rival, what)}
        return {name: functools.partial(rate, work, units, seconds) for name, work in works.items()}

    ours: dict[str, tuple[int, Callable[[], object]]] = {
        "add": (1, functools.partial(uniform.add, *row)),
        "add_batch": (1024, functools.partial(uniform.add_batch, *columns)),
        "sample_32": (1, functools.partial(uniform.sample, 32)),
        "sample_256": (1, functools.partial(uniform.sample, 256)),
        "prioritized_sample_32": (1, functools.partial(ranked.sample, 32)),
        "prioritized_sample_256": (1, functools.partial(ranked.sample, 256)),
    }
    for name, (units, work) in ours.items():
        yield Measure(f"replay_{name}", "/s", functools.partial(rate, work, units, seconds), beside(name, units))


# -- policies ---------------------------------------------------------------------------------------------------------


def _policies(found: FoundEngine, seconds: float) -> Iterator[Measure]:
    """Yield how fast PPO learns CartPole."""
    cartpole = import_module("aqe_backend_numpy.environments").CartPole  # built in: for every backend the same
    seeds = iter(range(1 << 30))

    def steps() -> float:
        policy = _ppo(found.spec.name, 0)
        env = cartpole(32)
        policy.learn(env, 1)  # what happens only once
        before: int = policy.steps
        began_s = time.perf_counter()
        policy.learn(env, 1 << 40, reset=False, until=lambda _: time.perf_counter() - began_s > seconds)
        done: int = policy.steps - before
        return done / (time.perf_counter() - began_s)

    def solve() -> float:
        policy = _ppo(found.spec.name, next(seeds))
        began_s = time.perf_counter()
        policy.learn(cartpole(32), 500_000, until=lambda point: point.episodes >= 20 and point.mean_return >= SOLVED)
        return time.perf_counter() - began_s

    yield Measure("ppo_cartpole_steps", "/s", steps)
    yield Measure("ppo_cartpole_solved", "s", solve, less_is_better=True)


def _ppo(backend: str, seed: int) -> Any:
    return open_learner(backend, algorithm="ppo", observation_dim=4, n_actions=2, seed=seed)
