"""Checks of learners, part 2: policies over a table, by hand."""

# ruff: noqa: D401  # the first line of a check says what is promised
from __future__ import annotations

import math
from typing import Any

import numpy as np

from aqe_core.testing.checks_learner import PARAMS, near, through_json
from aqe_core.testing.expect import equal, require, same_state
from aqe_core.testing.kit import Context, check

PLAIN: dict[str, Any] = {**PARAMS, "value_learning_rate": 0.5, "entropy_coefficient": 0.0}
PPO: dict[str, Any] = {**PLAIN, "gae_lambda": 0.5, "epochs": 1, "rollout": 1, "normalize_advantage": False}


def policies(kit: Context, **params: Any) -> list[Any]:
    """Return a fresh learner of each declared policy algorithm; PPO trains after each transition."""
    return [
        kit.make(algorithm=algorithm, **{**(PPO if algorithm == "ppo" else PLAIN), **params})
        for algorithm in sorted(kit.capabilities.policies)
    ]


@check("learner", needs="policies")
def check_policy_steps(kit: Context) -> None:
    """A preference moves by learning_rate * advantage * (1 - probability), the others of the state by the rest.

    If this fails, look at the gradient of the logarithm of the softmax, and at the set it runs over: what was tried.
    """
    for learner in policies(kit):
        learner.update("s", "a", 2.0, "end", done=True)
        near(learner.value("s", "a"), 0.0, "preference of the only action: its probability is 1 already")
        learner.update("s", "b", 4.0, "end", done=True)
        # The value of s was 0 + 0.5 * 2 = 1, so the advantage is 3, and both probabilities were 1/2.
        near(learner.value("s", "b"), 0.75, f"{learner.algorithm}: 0 + 0.5 * 3 * (1 - 1/2)")
        near(learner.value("s", "a"), -0.75, f"{learner.algorithm}: 0 - 0.5 * 3 * 1/2")
        near(learner.value("s", "c"), 0.0, "preference of an untried action")
        near(learner.value("nowhere", "a"), 0.0, "preference in an unknown state")
        equal(len(learner), 2, "number of pairs")


@check("learner", needs="policies")
def check_policy_declared(kit: Context) -> None:
    """With declared actions the softmax runs over all of them from the start.

    If this fails, look at the row of a new state.
    """
    for learner in policies(kit, actions=["a", "b", "c", "d"]):
        learner.update("s", "b", 4.0, "end", done=True)
        found = [learner.value("s", action) for action in "abcd"]
        for value, expected in zip(found, (-0.5, 1.5, -0.5, -0.5), strict=True):
            near(value, expected, f"{learner.algorithm}: preferences of a, b, c, d are {found}; one")


@check("learner", needs="policies")
def check_policy_bootstraps(kit: Context) -> None:
    """The next state's value counts unless the episode ended there; an unknown one has the initial value.

    If this fails, look at the advantage: reward + discount * V(next state) - V(state).
    """
    for done, reward in ((False, 1.0 + 0.9 * 5.0), (True, 1.0)):
        for learner in policies(kit, actions=["a", "b"]):
            learner.update("t", "a", 10.0, "end", done=True)  # the value of t is 5 now
            learner.update("s", "a", 1.0, "t", done)
            near(learner.value("s", "a"), 0.25 * reward, f"{learner.algorithm}: preference with done={done}")
        for learner in policies(kit, actions=["a", "b"], initial_value=2.0):
            learner.update("s", "a", 1.0, "never seen", done)
            advantage = 1.0 + (0.0 if done else 1.8) - 2.0
            near(learner.value("s", "a"), 0.25 * advantage, f"{learner.algorithm}: into an unknown state, done={done}")


@check("learner", needs="policies")
def check_policy_entropy(kit: Context) -> None:
    """The entropy bonus pulls preferences together.

    If this fails, look at its gradient: -p (log p + H) per preference.
    """
    for learner in policies(kit, actions=["a", "b"], entropy_coefficient=0.5):
        learner.update("s", "a", 4.0, "end", done=True)
        near(learner.value("s", "a"), 1.0, f"{learner.algorithm}: even probabilities have the largest entropy")
        learner.update("s", "a", 2.0, "end", done=True)  # no advantage, as the value of s is 2
        p = 1.0 / (1.0 + math.exp(-2.0))
        entropy = -p * math.log(p) - (1.0 - p) * math.log(1.0 - p)
        near(learner.value("s", "a"), 1.0 - 0.25 * p * (math.log(p) + entropy), f"{learner.algorithm}: pulled back")


@check("learner", needs="policies")
def check_policy_choices(kit: Context) -> None:
    """Choices follow the softmax of the offered actions; greedy ones the largest preference, of equal ones the first.

    If this fails, look at actions that were not offered: they have no share.
    """
    for learner in policies(kit, epsilon=0.0):
        learner.update("s", "a", 2.0, "end", done=True)
        learner.update("s", "b", 4.0, "end", done=True)
        for offered, best in ((["a", "b", "c"], "b"), (["a", "c"], "c"), (["c", "d"], "c"), (["a"], "a")):
            equal(learner.act("s", offered, explore=False), best, f"{learner.algorithm}: greedy choice of {offered}")
        share = math.exp(-0.75) / (1.0 + math.exp(-0.75))
        chosen = [learner.act("s", ["a", "c"]) for _ in range(2000)]
        found = chosen.count("a") / 2000
        require(
            abs(found - share) < 6.0 * math.sqrt(share * (1.0 - share) / 2000), f"a was drawn {found}, not {share:.3f}"
        )
    for learner in policies(kit, epsilon=1.0):
        learner.update("s", "a", 2.0, "end", done=True)
        learner.update("s", "b", 40.0, "end", done=True)
        found = sum(learner.act("s", ["a", "b"]) == "a" for _ in range(2000)) / 2000
        require(0.43 < found < 0.57, f"{learner.algorithm}: with epsilon 1 a was chosen in {found} of the calls")


@check("learner", needs="ppo in algorithms")
def check_ppo_clips(kit: Context) -> None:
    """Once the ratio of new to old probability has left 1 - clip .. 1 + clip, it is pushed no further.

    If this fails, look at the comparison: a good action is clipped above, a bad one below, each only on its side.
    """
    for reward in (4.0, -4.0):
        found = []
        for epochs, clip in ((1, 0.2), (2, 0.2), (9, 0.2), (2, 10.0)):
            learner = kit.make(algorithm="ppo", **{**PPO, "epochs": epochs, "clip": clip, "actions": ["a", "b"]})
            learner.update("s", "a", reward, "end", done=True)
            found.append(learner.value("s", "a"))
        near(found[0], 0.25 * reward, "preference after one epoch: 0.5 * 1 * advantage * (1 - 1/2)")
        equal(found[1:3], [found[0]] * 2, "preference after more epochs, clipped")
        p = 1.0 / (1.0 + math.exp(-2.0 * found[0]))
        ratio = p / 0.5
        # A bad action whose probability fell is clipped below by 0.2; by 10 it is not.
        near(found[3], found[0] + 0.5 * ratio * reward * (1.0 - p), "preference after two epochs, not clipped")


@check("learner", needs="ppo in algorithms")
def check_ppo_advantages(kit: Context) -> None:
    """Advantages are summed backwards with discount * gae_lambda, until the end, and until a cut.

    If this fails, look at where a trajectory stops: a transition that ended, or one that leads elsewhere than the next.
    """
    params = {**PPO, "rollout": 2, "actions": ["a", "b"]}
    for rows, first in (
        ([("s", 1.0, "t", False), ("t", 4.0, "end", True)], 1.0 + 0.45 * 4.0),
        ([("s", 1.0, "t", False), ("u", 4.0, "end", True)], 1.0),
        ([("s", 1.0, "t", True), ("t", 4.0, "end", True)], 1.0),
    ):
        learner = kit.make(algorithm="ppo", **params)
        for state, reward, after, done in rows:
            learner.update(state, "a", reward, after, done)
        near(learner.value("s", "a"), 0.25 * first, f"preference after {rows}")
        near(learner.value(rows[1][0], "a"), 1.0, "preference of the second step")


@check("learner", needs="ppo in algorithms")
def check_ppo_rollout(kit: Context) -> None:
    """PPO trains when a rollout is full, not before; what waits is part of its state.

    If this fails, look at what the state leaves out.
    """
    whole, resumed = (kit.make(algorithm="ppo", **{**PPO, "rollout": 4, "normalize_advantage": True}) for _ in range(2))
    rows = [("s", "ab"[i % 2], float(i), "s", i % 3 == 2) for i in range(11)]
    for i, row in enumerate(rows):
        whole.update(*row)
        if i < 3:
            equal([whole.value("s", action) for action in "ab"], [0.0, 0.0], "preferences before the rollout is full")
        if i == 5:
            resumed.import_state(through_json(whole.export_state()))
        elif i > 5:
            resumed.update(*row)
    require(whole.value("s", "b") != 0.0, "two rollouts taught it nothing")
    same_state(
        through_json(resumed.export_state()), through_json(whole.export_state()), "state after a break in a rollout"
    )


@check("learner", needs="policies")
def check_policy_extremes(kit: Context) -> None:
    """Certain policies and huge rewards leave everything finite.

    If this fails, look at log(0), at exp of large numbers, and at the standard deviation of equal advantages.
    """
    extreme = {**PLAIN, "learning_rate": 1.0, "entropy_coefficient": 0.1}
    for algorithm in sorted(kit.capabilities.policies):
        learner = kit.make(algorithm=algorithm, **extreme)
        for i in range(400):
            learner.update("s", "a", 1e250 if i % 5 else 1.0, "s", i % 2 == 0)
            learner.update("s", "b", -1e250 if i % 7 else 1.0, "s", i % 3 == 0)
        found = np.array([learner.value("s", action) for action in ("a", "b")])
        require(np.isfinite(found).all(), f"{learner.algorithm}: preferences are {found}")
        for array in learner.export_state().arrays.values():
            require(array.dtype.kind != "f" or np.isfinite(array).all(), f"{learner.algorithm}: a value is not finite")
        equal(learner.act("s", ["a", "b"]) in {"a", "b"}, True, "a choice is made")
