"""Checks of contextual bandits: values and choices by hand, what is learned and kept, bad input."""

# ruff: noqa: D401  # the first line of a check says what is promised
from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.bandit import Bandit
from aqe_core.errors import DimensionError, InputError, InvalidActionError, NonFiniteError
from aqe_core.state import EngineState, read_state, write_state
from aqe_core.testing.checks_learner import through_json
from aqe_core.testing.expect import close, equal, raises, require, same_state, unchanged
from aqe_core.testing.kit import Context, check

if TYPE_CHECKING:
    from collections.abc import Iterator

DIM = 3
ACTIONS: list[str | int] = ["a", 1, "1", "d"]
PARAMS: dict[str, Any] = {"dim": DIM, "actions": ACTIONS, "ridge": 2.0, "epsilon": 0.0, "seed": 1}


def bandits(kit: Context, **params: Any) -> Iterator[Any]:
    """Yield a fresh bandit of each declared algorithm."""
    for algorithm in sorted(kit.capabilities.bandits):
        yield kit.make(algorithm=algorithm, **{**PARAMS, **params})


def outcomes(n: int, seed: int = 0) -> tuple[Any, list[Any], Any]:
    """Return seeded contexts, actions and rewards."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, DIM)), [ACTIONS[i] for i in rng.integers(0, 4, n)], rng.normal(size=n)


def teach(bandit: Any, rows: tuple[Any, list[Any], Any]) -> Any:
    """Apply outcomes one at a time; return the bandit."""
    for context, action, reward in zip(*rows, strict=True):
        bandit.update(context, action, float(reward))
    return bandit


def ridge(rows: tuple[Any, list[Any], Any], action: Any) -> tuple[Any, Any]:
    """Return mean and covariance of an action's model by solving the normal equations once."""
    contexts, actions, rewards = rows
    mine = [i for i, each in enumerate(actions) if each == action and type(each) is type(action)]
    gram = 2.0 * np.eye(DIM) + contexts[mine].T @ contexts[mine]
    return np.linalg.solve(gram, contexts[mine].T @ rewards[mine]), np.linalg.inv(gram)


@check("learner", needs="bandits")
def check_bandit_protocol(kit: Context) -> None:
    """A fresh bandit fulfils the protocol, knows what it was made with, and expects nothing of any action.

    If this fails, look at the constructor and at the names and signatures in aqe_core.contracts.bandit.
    """
    for bandit, algorithm in zip(bandits(kit), sorted(kit.capabilities.bandits), strict=True):
        require(isinstance(bandit, Bandit), f"{type(bandit).__name__} lacks a method of Bandit")
        found = bandit.algorithm, bandit.dim, tuple(bandit.actions), bandit.steps
        equal(found, (algorithm, DIM, tuple(ACTIONS), 0), "(algorithm, dim, actions, steps) of a fresh bandit")
        params = bandit.get_params()
        equal({name: params.get(name) for name in PARAMS}, PARAMS, "the hyper-parameters it was made with")
        close(bandit.values(np.ones(DIM)), np.zeros(4), 0.0, "values of a fresh bandit")
        params["epsilon"] = 5.0
        equal(bandit.get_params()["epsilon"], 0.0, "epsilon after changing the returned dictionary")


@check("learner", needs="bandits")
def check_bandit_values(kit: Context) -> None:
    """Without a discount, values are those of a ridge regression per action over all that was seen.

    If this fails, look at the formula of Sherman and Morrison, and at 1 and "1", which are two actions.
    """
    rows = outcomes(80, seed=2)
    for bandit in bandits(kit, discount=1.0):
        teach(bandit, rows)
        equal(bandit.steps, 80, "number of updates")
        for context in np.vstack([np.eye(DIM), np.ones(DIM)]):
            wanted = [float(ridge(rows, action)[0] @ context) for action in ACTIONS]
            close(bandit.values(context), wanted, 1e-9, f"{bandit.algorithm}: values")


@check("learner", needs="linucb in algorithms")
def check_linucb_choices(kit: Context) -> None:
    """LinUCB chooses the highest of value + alpha * sqrt(x' S x); of equal ones the first offered.

    If this fails, look at the width of the bound, and at the order of what is offered.
    """
    rows = outcomes(25, seed=3)
    for alpha in (0.0, 0.7, 5.0):
        bandit = teach(kit.make(algorithm="linucb", **{**PARAMS, "alpha": alpha, "discount": 1.0}), rows)
        for context in np.random.default_rng(4).normal(size=(30, DIM)):
            models = [ridge(rows, action) for action in ACTIONS]
            bounds = [float(m @ context + alpha * math.sqrt(context @ s @ context)) for m, s in models]
            equal(bandit.act(context), ACTIONS[int(np.argmax(bounds))], f"choice with alpha {alpha}, bounds {bounds}")
        fresh = kit.make(algorithm="linucb", **{**PARAMS, "alpha": alpha})
        equal(fresh.act(np.ones(DIM), ["d", 1]), "d", "choice among equal ones")


@check("learner", needs="bandits")
def check_bandit_masks(kit: Context) -> None:
    """Only offered actions are chosen, greedily or not; greedy choices draw nothing.

    If this fails, look at actions that were not offered.
    """
    rows = outcomes(60, seed=5)
    for bandit in bandits(kit, epsilon=0.3):
        teach(bandit, rows)
        for context in np.random.default_rng(6).normal(size=(20, DIM)):
            for offered in (["1", "a"], ["d"], [1, "d", "a"]):
                values: dict[Any, float] = dict(zip(ACTIONS, bandit.values(context).tolist(), strict=True))
                before = through_json(bandit.export_state())
                best = offered[int(np.argmax([values[action] for action in offered]))]
                equal(bandit.act(context, offered, explore=False), best, "greedy choice")
                same_state(through_json(bandit.export_state()), before, "state after a greedy choice")
                require(bandit.act(context, offered) in offered, "an action that was not offered was chosen")


@check("learner", needs="bandits")
def check_bandit_probabilities(kit: Context) -> None:
    """Probabilities are the shares of the choices that act makes; asking draws nothing.

    If this fails, look at epsilon and, where they are estimated, at the number of draws.
    """
    rows, context = outcomes(40, seed=7), np.array([0.5, -1.0, 2.0])
    offered = ["d", "a", 1]
    for bandit in bandits(kit, epsilon=0.3):
        teach(bandit, rows)
        before = through_json(bandit.export_state())
        shares = bandit.probabilities(context, offered)
        same_state(through_json(bandit.export_state()), before, "state after asking")
        close(shares.sum(), 1.0, 1e-9, f"{bandit.algorithm}: sum of the probabilities")
        chosen = [bandit.act(context, offered) for _ in range(3000)]
        found = [sum(each == a and type(each) is type(a) for each in chosen) / 3000 for a in offered]
        # Six standard deviations in 3,000 choices, and as many of an estimate from 1,000 draws.
        close(found, shares, 6.0 * np.sqrt(0.25 / 3000 + 0.25 / 1000), f"{bandit.algorithm}: shares of choices")
        require(bool((shares > 0.09).all()), f"{bandit.algorithm}: epsilon 0.3 of three actions leaves {shares}")


@check("learner", needs="thompson in algorithms")
def check_thompson_shares(kit: Context) -> None:
    """Thompson sampling takes an action as often as it is the best under the posterior.

    If this fails, look at the standard deviation of a draw: scale * sqrt(x' S x).
    """
    rows, context = outcomes(30, seed=8), np.array([1.0, 0.5, -0.5])
    for scale in (0.5, 2.0):
        bandit = teach(kit.make(algorithm="thompson", **{**PARAMS, "scale": scale, "discount": 1.0}), rows)
        (m1, s1), (m2, s2) = (ridge(rows, action) for action in ("a", "d"))
        spread = scale * math.sqrt(context @ s1 @ context + context @ s2 @ context)
        share = 0.5 * (1.0 + math.erf(float((m1 - m2) @ context) / spread / math.sqrt(2.0)))
        found = sum(bandit.act(context, ["a", "d"]) == "a" for _ in range(3000)) / 3000
        require(abs(found - share) < 0.055, f"with scale {scale} a was chosen in {found:.3f}, expected {share:.3f}")


@check("learner", needs="bandits")
def check_bandit_forgets(kit: Context) -> None:
    """With a discount, what was learned decays towards the prior with every update, also of actions not chosen.

    If this fails, look at discount ** (k / 2) for the mean and discount ** k for the covariance after k updates.
    """
    one = np.array([1.0])
    for bandit in bandits(kit, dim=1, discount=0.8, ridge=2.0):
        bandit.update(one, "a", 3.0)
        theta = 3.0 * 0.5 / 1.5
        close(bandit.values(one)[0], theta, 1e-12, f"{bandit.algorithm}: value after one update")
        bandit.update(one, "d", 0.0)
        bandit.update(one, "d", 0.0)
        theta *= 0.8
        close(bandit.values(one)[0], theta, 1e-12, f"{bandit.algorithm}: value after two updates of another")
        bandit.update(one, "a", 0.0)
        kept = 0.8**3
        variance = kept * 0.5 / 1.5 + (1.0 - kept) * 0.5
        theta *= math.sqrt(0.8)
        theta -= variance * theta / (1.0 + variance)
        close(bandit.values(one)[0], theta, 1e-12, f"{bandit.algorithm}: value after a second update")


@check("learner", needs="bandits")
def check_bandit_batch(kit: Context) -> None:
    """A batch leaves the bandit as the same updates one at a time do, bit for bit, and changes nothing given.

    If this fails, look at products of many contexts at once: they round differently.
    """
    rows = outcomes(50, seed=9)
    for bandit in bandits(kit):
        teach(bandit, rows)
        batch = kit.make(algorithm=bandit.algorithm, **PARAMS)
        with unchanged(rows[0], rows[2]):
            for part in (slice(0, 1), slice(1, 1), slice(1, 50)):
                batch.update_batch(rows[0][part], rows[1][part], rows[2][part])
        same_state(through_json(batch.export_state()), through_json(bandit.export_state()), "state after a batch")


@check("learner", needs="bandits")
def check_bandit_resume(kit: Context) -> None:
    """A bandit that went through a file goes on bit for bit, its choices included.

    If this fails, look at what the state leaves out: the generator, the number of updates.
    """
    contexts = np.random.default_rng(10).normal(size=(30, DIM))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "bandit.aqestate"
        for whole in bandits(kit, epsilon=0.4, discount=0.95):
            teach(whole, outcomes(40, seed=11))
            whole.act(contexts[0])
            write_state(path, whole.export_state())
            resumed = kit.make(algorithm=whole.algorithm, **{**PARAMS, "seed": 99})
            resumed.update(contexts[0], "a", 100.0)
            resumed.import_state(read_state(path))
            for one in (whole, resumed):
                teach(one, outcomes(20, seed=12))
            chosen = [[one.act(context) for context in contexts] for one in (whole, resumed)]
            equal(chosen[1], chosen[0], f"{whole.algorithm}: choices after a break")
            ended = [through_json(one.export_state()) for one in (whole, resumed)]
            same_state(ended[1], ended[0], f"{whole.algorithm}: state after a break and more updates")


@check("learner", needs="bandits")
def check_bandit_learns(kit: Context) -> None:
    """Where the sign of one number decides which action pays, it soon takes the right one.

    If this fails, look at exploration: every action must be tried before its bound is low.
    """
    for bandit in bandits(kit, actions=["up", "down"]):
        rng = np.random.default_rng(13)
        right = 0
        for i in range(300):
            context = np.append(rng.normal(size=2), 1.0)
            action = bandit.act(context)
            pays = (action == "up") == (context[0] > 0.0)
            bandit.update(context, action, float(pays) + 0.1 * float(rng.normal()))
            right += pays and i >= 150
        require(right > 120, f"{bandit.algorithm}: {right} of the last 150 choices were right")


@check("learner", needs="bandits")
def check_bandit_bad_input(kit: Context) -> None:
    """Contexts, actions and rewards that do not fit get the documented errors and change nothing.

    If this fails, look at aqe_core.validate.as_context: call it before anything is touched.
    """
    good, rows = np.ones(DIM), outcomes(3)
    for bandit in bandits(kit):
        teach(bandit, outcomes(20, seed=14))
        before = through_json(bandit.export_state())
        for bad, error in (
            (np.ones(DIM + 1), DimensionError),
            (np.ones((1, DIM)), DimensionError),
            ("abc", DimensionError),
            ([1.0, math.nan, 0.0], NonFiniteError),
            ([1.0, math.inf, 0.0], NonFiniteError),
        ):
            for call in (
                bandit.act,
                bandit.probabilities,
                bandit.values,
                partial(bandit.update, action="a", reward=1.0),
            ):
                raises(error, partial(call, bad), f"{bandit.algorithm} with context {bad!r}")
            if error is NonFiniteError:
                wrong = np.vstack([rows[0][:2], bad])
                raises(error, partial(bandit.update_batch, wrong, *rows[1:]), f"update_batch with {bad!r}")
        raises(InvalidActionError, partial(bandit.act, good, []), "act without actions")
        raises(InvalidActionError, partial(bandit.act, good, ["a", "never"]), "act with an unknown action")
        raises(InvalidActionError, partial(bandit.update, good, "never", 1.0), "update of an unknown action")
        raises(NonFiniteError, partial(bandit.update, good, "a", math.nan), "update with reward NaN")
        raises(InputError, partial(bandit.update, good, "a", "much"), "update with a text as reward")
        raises(InvalidActionError, partial(bandit.update_batch, rows[0], ["a", "never", 1], rows[2]), "update_batch")
        raises(
            DimensionError, partial(bandit.update_batch, rows[0], rows[1][:2], rows[2]), "update_batch, one too short"
        )
        raises(
            DimensionError, partial(bandit.update_batch, rows[0], rows[1], rows[2][:2]), "update_batch, one too short"
        )
        for state in (
            EngineState(kind=before.kind + "0", manifest=before.manifest, arrays=before.arrays),
            EngineState(kind=before.kind, manifest={}, arrays={}),
            EngineState(
                kind=before.kind, manifest=before.manifest, arrays={n: a[:-1] for n, a in before.arrays.items()}
            ),
        ):
            raises(InputError, partial(bandit.import_state, state), "import of a broken state")
        same_state(through_json(bandit.export_state()), before, "state after refused calls")
    for algorithm in sorted(kit.capabilities.bandits):
        for name, value in (("epsilon", 2.0), ("ridge", 0.0), ("discount", 1.5), ("dim", 0), ("actions", ["a", "a"])):
            make = partial(kit.make, algorithm=algorithm, **{**PARAMS, name: value})
            refused = False
            try:
                make()
            except InputError:
                refused = True
            require(refused, f"{name}={value!r} is accepted, expected an InputError")
