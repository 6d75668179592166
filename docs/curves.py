"""Train the policies on control tasks, print what came out, and draw the learning curves.

Run ``OPENBLAS_NUM_THREADS=1 python docs/curves.py``; it takes a minute or two. With ``--check`` one short run of each
is made and nothing is written.
"""  # noqa: INP001  # a script, not part of a package

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from aqe_backend_numpy.environments import CartPole, Pendulum

import aqe_core

HERE = Path(__file__).parent / "algorithms"


class Task(NamedTuple):
    """What is trained: algorithm, environment, seeds, steps at most, and the mean return that counts as solved."""

    algorithm: str
    environment: Any
    seeds: int
    steps: int
    solved: float
    stops: bool  # as soon as it is solved; otherwise it goes on to the end


TASKS = (
    Task("ppo", CartPole, 10, 200_000, 475.0, True),
    Task("actor-critic", CartPole, 10, 500_000, 475.0, True),
    Task("ppo", Pendulum, 5, 200_000, -250.0, False),
)


class Run(NamedTuple):
    """One seed's outcome: the curve, the time to solve it, the rate, and greedy returns afterwards."""

    steps: list[int]
    returns: list[float]
    solved_s: float | None
    rate: float
    greedy: float
    worst: float


def train(task: Task, seed: int) -> Run:
    """Train with one seed, then play 100 episodes greedily."""
    env = task.environment(32)
    policy = aqe_core.open_learner(
        "numpy",
        algorithm=task.algorithm,
        observation_dim=env.observation_dim,
        n_actions=env.n_actions,
        action_dim=env.action_dim,
        seed=seed,
    )
    began_s = time.perf_counter()
    solved_s: float | None = None

    def until(point: Any) -> bool:
        nonlocal solved_s
        if solved_s is None and point.episodes >= 20 and point.mean_return >= task.solved:
            solved_s = time.perf_counter() - began_s
        return task.stops and solved_s is not None

    policy.learn(env, task.steps, until=until)
    rate = policy.steps / (time.perf_counter() - began_s)
    returns = play(policy, task.environment(100, seed=10_000 + seed))
    points = [point for point in policy.curve if point.episodes]
    return Run(
        [point.steps for point in points],
        [point.mean_return for point in points],
        solved_s,
        rate,
        float(returns.mean()),
        float(returns.min()),
    )


def play(policy: Any, env: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the return of one greedy episode in each copy."""
    total, going, seen = np.zeros(env.n_envs), np.ones(env.n_envs, np.bool_), env.observe()
    for _ in range(env.max_steps):
        step = env.step(policy.act(seen, explore=False))
        total += going * step.rewards
        going &= ~(step.terminated | step.truncated)
        seen = step.observations
    return total


def told(task: Task, runs: list[Run]) -> str:
    """Return a line of the table."""
    times = [run.solved_s for run in runs if run.solved_s is not None]
    when = f"{statistics.median(times):.2f} / {max(times):.2f} s" if times else "never"
    greedy = [run.greedy for run in runs]
    return (
        f"| {task.algorithm} | {task.environment.__name__} | {len(times)} of {len(runs)} | {when} | "
        f"{statistics.median(run.rate for run in runs):,.0f} | {statistics.mean(greedy):.0f} / {min(greedy):.0f} |"
    )


def drawing(task: Task, runs: list[Run]) -> str:
    """Return the curves as SVG: one line per seed, and a dashed one where the task counts as solved."""
    width, height, left, top = 560, 280, 60, 30
    last = max(run.steps[-1] for run in runs)
    low = min(0.0, *(min(run.returns) for run in runs))
    high = max(0.0, task.solved, *(max(run.returns) for run in runs))

    def x(steps: float) -> float:
        return round(left + (width - left - 15) * steps / last, 1)

    def y(value: float) -> float:
        return round(top + (height - top - 35) * (high - value) / (high - low), 1)

    title = f"{task.algorithm} on {task.environment.__name__}: mean return of the last 20 episodes, {len(runs)} seeds"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"',
        ' font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="18" font-size="12">{title}</text>',
        f'<path d="M{left} {top}V{height - 35}H{width - 15}" fill="none" stroke="black"/>',
        f'<path d="M{left} {y(task.solved)}H{width - 15}" stroke="gray" stroke-dasharray="4 3"/>',
    ]
    parts += [
        f'<text x="{left - 6}" y="{y(value) + 4}" text-anchor="end">{value:.0f}</text>'
        for value in sorted({low, task.solved, high})
    ]
    parts += [
        f'<text x="{x(share * last)}" y="{height - 18}" text-anchor="middle">{share * last / 1000:.0f} k</text>'
        for share in (0.0, 0.5, 1.0)
    ]
    parts.append(f'<text x="{width - 15}" y="{height - 4}" text-anchor="end">environment steps</text>')
    for number, run in enumerate(runs):
        stride = max(1, len(run.steps) // 80)
        points = list(zip(run.steps, run.returns, strict=True))
        kept = [*points[::stride], points[-1]]
        line = " ".join(f"{x(steps)},{y(value)}" for steps, value in kept)
        hue = 360 * number // len(runs)
        parts.append(f'<polyline points="{line}" fill="none" stroke="hsl({hue} 70% 45%)" stroke-width="1.3"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main(arguments: list[str]) -> int:
    """Train all, print the table, write the drawings."""
    check = "--check" in arguments
    sys.stdout.write("| algorithm | task | solved | median / worst | steps/s | greedy mean / worst seed |\n")
    sys.stdout.write("| --- | --- | --- | --- | --- | --- |\n")
    for task in TASKS:
        tried = task._replace(seeds=1, steps=10_000) if check else task
        runs = [train(tried, seed) for seed in range(tried.seeds)]
        sys.stdout.write(f"{told(tried, runs)}\n")
        sys.stdout.flush()
        drawn = drawing(tried, runs)
        if not check:
            name = f"{task.algorithm}-{task.environment.__name__.lower()}.svg"
            (HERE / name).write_text(drawn, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
