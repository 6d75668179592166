"""Checks of learners, part 3: policies over float vectors."""

# ruff: noqa: D401  # the first line of a check says what is promised
from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.policy import CurvePoint, PolicyLearner, Step
from aqe_core.errors import CapabilityError, DimensionError, InputError, InvalidActionError, NonFiniteError
from aqe_core.testing.checks_learner import through_json
from aqe_core.testing.expect import equal, raises, require, same_array, same_state
from aqe_core.testing.kit import Context, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

DISCRETE: dict[str, Any] = {"observation_dim": 2, "n_actions": 3}
VECTOR: dict[str, Any] = {"observation_dim": 2, "action_dim": 2}


def policies(kit: Context, *shapes: dict[str, Any], **params: Any) -> Iterator[Any]:
    """Yield a fresh policy of each declared algorithm and shape of actions, discrete ones by default."""
    for algorithm in sorted(kit.capabilities.vector_policies):
        for shape in shapes or (DISCRETE,):
            yield kit.make(algorithm=algorithm, **{**shape, "seed": 1, **params})


class Walk:
    """Copies of a small task: a random walk whose observations say where it stands, and that ends at either end."""

    def __init__(self, shape: dict[str, Any], n_envs: int = 4) -> None:
        self.n_envs = n_envs
        self.observation_dim = shape["observation_dim"]
        self.n_actions = shape.get("n_actions", 0)
        self.action_dim = shape.get("action_dim", 0)
        self.places = np.zeros(n_envs)
        self.rng = np.random.default_rng(0)

    def reset(self, seed: int) -> NDArray[np.float32]:
        """Begin anew."""
        self.rng = np.random.default_rng(seed)
        self.places = self.rng.uniform(-1.0, 1.0, self.n_envs)
        return self.observe()

    def observe(self) -> NDArray[np.float32]:
        """Return the observations of now."""
        return np.stack((self.places, np.abs(self.places)), axis=1).astype(np.float32)

    def masks(self) -> None:
        """Allow everything."""

    def step(self, actions: NDArray[Any]) -> Step:
        """Move; more than 2 from the middle is the end, and one in ten walks is cut off."""
        push = actions - 1.0 if self.n_actions else np.clip(actions[:, 0], -1.0, 1.0)
        self.places = self.places + 0.5 * push + 0.1 * self.rng.standard_normal(self.n_envs)
        terminated = np.abs(self.places) > 2.0
        truncated = self.rng.random(self.n_envs) < 0.1
        final, rewards, ended = self.observe(), -np.abs(self.places), terminated | truncated
        self.places = np.where(ended, 0.0, self.places)
        return Step(self.observe(), rewards, terminated, truncated, final if ended.any() else None)


@check("learner", needs="vector_policies")
def check_vector_policy_protocol(kit: Context) -> None:
    """A policy fulfils the protocol, says what it was made with, and answers in the documented forms.

    If this fails, look at the names and signatures in aqe_core.contracts.policy, and at get_params.
    """
    for policy in policies(kit, DISCRETE, VECTOR):
        require(isinstance(policy, PolicyLearner), f"{type(policy).__name__} is not a PolicyLearner")
        params = policy.get_params()
        again = kit.make(**params)
        equal(again.get_params(), params, "get_params() of a policy made from get_params()")
        same_state(again.export_state(), policy.export_state(), "state of a policy made from get_params()")
        for explore in (True, False):
            one = policy.act([0.5, -0.5], explore=explore)
            many = policy.act(np.zeros((4, 2)), explore=explore)
            if params["n_actions"]:
                require(type(one) is int and 0 <= one < 3, f"act of one observation is {one!r}, expected an int")
                equal((many.dtype, many.shape), (np.dtype(np.int64), (4,)), "form of many actions")
            else:
                equal((one.dtype, one.shape), (np.dtype(np.float32), (2,)), "form of one vector")
                equal((many.dtype, many.shape), (np.dtype(np.float32), (4, 2)), "form of many vectors")
        values = policy.values(np.zeros((4, 2)))
        equal((values.dtype, values.shape), (np.dtype(np.float64), (4,)), "form of values")
        policy.learn(Walk(params), 1)
        equal(len(policy.curve), 1, "points of the curve after one update")
        equal(policy.curve[0].steps, policy.steps, "steps of the newest point")
        require(isinstance(policy.curve[0], CurvePoint), "a point of the curve is no CurvePoint")


@check("learner", needs="vector_policies")
def check_vector_policy_seed(kit: Context) -> None:
    """The same seed and the same calls give the same policy; another seed another one.

    If this fails, look at a generator shared between policies, or at the global one.
    """
    for algorithm in sorted(kit.capabilities.vector_policies):
        states = []
        for seed in (4, 4, 5):
            policy = kit.make(algorithm=algorithm, **DISCRETE, seed=seed)
            policy.learn(Walk(DISCRETE), 1)
            chosen = [policy.act([0.1, 0.1]) for _ in range(40)]
            states.append((policy.export_state(), chosen))
        same_state(states[1][0], states[0][0], "state with the same seed")
        equal(states[1][1], states[0][1], "choices with the same seed")
        require(states[2][1] != states[0][1], "another seed makes the same 40 choices")


@check("learner", needs="vector_policies")
def check_vector_policy_resume(kit: Context) -> None:
    """A policy that was exported, kept as JSON and arrays, and imported elsewhere goes on bit for bit.

    If this fails, look at what the state leaves out: the optimizer, the generator, running moments, open episodes.
    """
    for shape in (DISCRETE, VECTOR):
        for algorithm in sorted(kit.capabilities.vector_policies):
            whole = kit.make(algorithm=algorithm, **shape, seed=2)
            env = Walk(shape)
            whole.learn(env, 1)
            resumed = kit.make(algorithm=algorithm, **shape, seed=9)
            resumed.import_state(through_json(whole.export_state()))
            places, rng = env.places.copy(), env.rng.bit_generator.state
            whole.learn(env, 1, reset=False)
            env.places, env.rng.bit_generator.state = places, rng
            resumed.learn(env, 1, reset=False)
            same_state(resumed.export_state(), whole.export_state(), f"state of {algorithm} after import and learning")
            rows = np.ones((8, 2))
            same_array(resumed.act(rows), whole.act(rows), "actions after import")


@check("learner", needs="vector_policies")
def check_vector_policy_masks(kit: Context) -> None:
    """A masked action is never taken, and learning with all but one masked stays finite.

    If this fails, look at where the mask enters the probabilities, and at 0 times the logarithm of 0.
    """
    for policy in policies(kit):
        for explore in (True, False):
            chosen = {policy.act([0.3, 0.3], explore=explore, mask=[True, False, True]) for _ in range(60)}
            require(1 not in chosen, "a masked action was taken")
        masks = np.eye(3, dtype=bool)[np.arange(20) % 3].reshape(20, 1, 3)
        seen = np.linspace(-1.0, 1.0, 40).reshape(20, 1, 2)
        flags = np.zeros((20, 1), np.bool_)
        for _ in range(3):
            point = policy.update(seen, masks.argmax(axis=2), np.ones((20, 1)), flags, flags, seen, masks)
        require(np.isfinite([point.entropy, point.kl, point.value_loss]).all(), f"the point is {point}")
        require(np.isfinite(policy.values(seen[:, 0])).all(), "values are not finite after masked learning")


@check("learner", needs="vector_policies")
def check_vector_policy_ends(kit: Context) -> None:
    """A terminated episode does not bootstrap, a truncated one does, with the value of its final observation.

    If this fails, look at which observation follows the last step, and at done = terminated or truncated.
    """
    seen = np.tile(np.array([[[-1.0, 0.0]], [[1.0, 0.0]]]), (8, 4, 1))  # in turn the first and the second place
    after = np.ones_like(seen)
    after[..., 1] = 0.0  # the first place leads to the second; every episode ends after one step
    rewards = np.where(seen[..., 0] > 0, 5.0, 0.0)
    for algorithm in sorted(kit.capabilities.vector_policies):
        found = []
        for cut in (False, True):
            policy = kit.make(algorithm=algorithm, **DISCRETE, seed=3, discount=0.9)
            first = seen[..., 0] < 0
            truncated, terminated = first & cut, ~(first & cut)
            for _ in range(150):
                actions = policy.act(seen.reshape(-1, 2)).reshape(16, 4)
                policy.update(seen, actions, rewards, terminated, truncated, after)
            found.append(float(policy.values([[-1.0, 0.0]])[0]))
        for value, expected, end in ((found[0], 0.0, "termination"), (found[1], 4.5, "truncation")):
            what = f"{algorithm}: the value before a {end} is {value:.3f}, expected about {expected}"
            require(abs(value - expected) < 1.0, what)


@check("learner", needs="vector_policies")
def check_vector_policy_learns(kit: Context) -> None:
    """Where the right action depends on the observation, it learns which, and the right vector likewise.

    If this fails, look at the sign of the policy's gradient and at the optimizer.
    """
    rng = np.random.default_rng(0)
    for policy in policies(kit, DISCRETE, VECTOR):
        discrete = policy.get_params()["n_actions"]
        flags = np.ones((16, 8), np.bool_)
        for _ in range(50):
            sides = rng.choice([-1.0, 1.0], (16, 8))
            seen = np.stack((sides, np.ones_like(sides)), axis=2)
            actions = policy.act(seen.reshape(-1, 2))
            if discrete:
                rewards = (actions.reshape(16, 8) == np.where(sides > 0, 2, 0)).astype(float)
                actions = actions.reshape(16, 8)
            else:
                actions = actions.reshape(16, 8, 2)
                rewards = -np.square(actions[..., 0] - sides)
            policy.update(seen, actions, rewards, flags, ~flags, seen)
        low, high = policy.act([[-1.0, 1.0], [1.0, 1.0]], explore=False)
        what = f"{policy.algorithm}: the best actions at -1 and 1"
        if discrete:
            equal((int(low), int(high)), (0, 2), what)
        else:
            require(low[0] < -0.3 and high[0] > 0.3, f"{what} are {low[0]:.3f} and {high[0]:.3f}")


@check("learner", needs="vector_policies")
def check_vector_policy_bad_input(kit: Context) -> None:
    """Bad observations, masks, steps and parameters are refused with the right error, and nothing changes.

    If this fails, look at what reaches the network unchecked.
    """
    unknown = partial(kit.make, algorithm="no such algorithm", **DISCRETE)
    raises(CapabilityError, unknown, "an unknown algorithm")
    seen, flags = np.zeros((2, 1, 2)), np.zeros((2, 1), np.bool_)
    plain: list[Any] = [seen, np.zeros((2, 1), np.int64), np.ones((2, 1)), flags, flags, seen]
    bad: list[tuple[int, type[Exception], Any]] = [
        (0, NonFiniteError, np.full((2, 1, 2), np.nan)),
        (1, InvalidActionError, np.full((2, 1), 3)),
        (2, NonFiniteError, np.full((2, 1), np.inf)),
        (3, InputError, np.full((2, 1), 2)),
        (5, DimensionError, np.zeros((2, 2))),
    ]
    for policy in policies(kit):
        before = through_json(policy.export_state())
        wrong: list[tuple[type[Exception], Any, str]] = [
            (NonFiniteError, partial(policy.act, [np.nan, 0.0]), "act on NaN"),
            (DimensionError, partial(policy.act, [0.0]), "act on a short observation"),
            (InvalidActionError, partial(policy.act, [0.0, 0.0], mask=[False] * 3), "act with nothing allowed"),
            (DimensionError, partial(policy.act, [0.0, 0.0], mask=[True]), "act with a short mask"),
            (NonFiniteError, partial(policy.values, [[np.inf, 0.0]]), "values of infinity"),
            (DimensionError, partial(policy.learn, Walk({**DISCRETE, "n_actions": 2}), 1), "learn elsewhere"),
        ]
        for place, error, value in bad:
            steps = [value if i == place else each for i, each in enumerate(plain)]
            wrong.append((error, partial(policy.update, *steps), f"update with a bad argument {place}"))
        for expected, call, what in wrong:
            raises(expected, call, what)
            same_state(policy.export_state(), before, f"state after {what}")
    params: dict[str, Any] = {"discount": 2.0, "learning_rate": float("nan"), "seed": -1, "n_actions": 0}
    for name, value in params.items():
        raises(InputError, partial(next, policies(kit, **{name: value})), f"{name}={value}")
