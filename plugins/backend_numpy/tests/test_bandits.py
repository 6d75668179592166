"""Linear bandits: numbers that stay sound over long runs, choices, refusals that the kit does not ask for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from aqe_backend_numpy.bandits import DiscountedLinUcb, LinUcb, Thompson
from aqe_backend_numpy.learner import make_learner

import aqe_core
from aqe_core.contracts import Bandit
from aqe_core.errors import ConfigError, InputError, InvalidActionError, NonFiniteError
from aqe_core.state import EngineState

KINDS = (LinUcb, DiscountedLinUcb, Thompson)


@pytest.mark.parametrize("algorithm", ["linucb", "discounted-linucb", "thompson"])
def test_opened_by_name(algorithm, tmp_path):
    bandit = aqe_core.open_learner("numpy", algorithm=algorithm, dim=2, actions=["a", "b"])
    assert isinstance(bandit, Bandit)
    bandit.update([1.0, 0.0], "b", 1.0)
    bandit.save(tmp_path / "x.aqestate")
    other = make_learner(algorithm=algorithm, **bandit.get_params())
    other.load(tmp_path / "x.aqestate")
    assert other.values([1.0, 0.0]).tolist() == bandit.values([1.0, 0.0]).tolist()
    assert (other.visits("a"), other.visits("b"), other.steps) == (0, 1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_covariances_stay_symmetric_and_positive(kind):
    rng = np.random.default_rng(0)
    bandit = kind(dim=4, actions=[0, 1], ridge=0.01)
    base = rng.normal(size=4)
    for i in range(6_000):  # nearly the same direction again and again: the hard case for repeated updates
        bandit.update(base + 1e-4 * rng.normal(size=4), i % 2, float(rng.normal()))
    for covariance in bandit.export_state().arrays["covariance"]:
        assert (covariance == covariance.T).all()
        assert np.linalg.eigvalsh(covariance).min() > 0.0
        assert np.linalg.eigvalsh(covariance).max() <= 100.0 * (1.0 + 1e-9)
    assert np.isfinite(bandit.values(base)).all()


def test_long_runs_stay_near_the_regression():
    rng = np.random.default_rng(1)
    contexts, rewards = rng.normal(size=(8_000, 5)), rng.normal(size=8_000)
    bandit = LinUcb(dim=5, actions=["a"], ridge=3.0)
    bandit.update_batch(contexts, ["a"] * 8_000, rewards)
    wanted = np.linalg.solve(3.0 * np.eye(5) + contexts.T @ contexts, contexts.T @ rewards)
    assert bandit.export_state().arrays["theta"][0] == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_discounted_follows_a_change():
    rng = np.random.default_rng(2)
    right = {}
    for kind in (LinUcb, DiscountedLinUcb):
        bandit = kind(dim=1, actions=["a", "b"], alpha=0.5, **({"discount": 0.97} if kind is DiscountedLinUcb else {}))
        right[kind] = 0
        for i in range(3000):
            action = bandit.act([1.0])
            pays = (action == "a") == (i < 1500)
            bandit.update([1.0], action, float(pays) + 0.1 * float(rng.normal()))
            right[kind] += pays and 1600 <= i < 2600
    assert right[DiscountedLinUcb] > 850 > right[LinUcb]


def test_huge_but_finite_numbers():
    for kind in KINDS:
        bandit = kind(dim=2, actions=["a", "b"])
        bandit.update([1e150, 0.0], "a", 1e100)
        bandit.update([0.0, 1e-300], "a", -1e100)
        assert np.isfinite(bandit.values([1.0, 1.0])).all()
        bandit.act([1e140, 1e140])
        for bad in ([1e160, 0.0], [math.nan, 0.0]):
            with pytest.raises(NonFiniteError):
                bandit.act(bad)
        with pytest.raises(InputError):
            bandit.update([1.0, 1.0], "a", 1e101)
        with pytest.raises(InputError):
            bandit.update_batch([[1.0, 1.0]], ["a"], [1e101])


def test_epsilon_explores_uniformly():
    bandit = LinUcb(dim=1, actions=["a", "b", "c"], epsilon=0.6, alpha=0.0)
    bandit.update([1.0], "b", 5.0)
    assert bandit.probabilities([1.0]) == pytest.approx([0.2, 0.6, 0.2])
    chosen = [bandit.act([1.0]) for _ in range(3000)]
    assert chosen.count("b") / 3000 == pytest.approx(0.6, abs=0.06)


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"dim": 2}, ConfigError),
        ({"actions": ["a"]}, ConfigError),
        ({"dim": 2, "actions": ["a"], "scale": 1.0}, ConfigError),
        ({"dim": 2000, "actions": ["a"]}, InputError),
        ({"dim": 2, "actions": []}, InputError),
        ({"dim": 2, "actions": ["a"], "alpha": -1.0}, InputError),
        ({"dim": 2, "actions": ["a"], "discount": 0.1}, InputError),
    ],
)
def test_parameters_out_of_range(params, error):
    with pytest.raises(error):
        make_learner(algorithm="linucb", **params)


def test_broken_states():
    bandit = Thompson(dim=2, actions=["a", "b"])
    bandit.update([1.0, 2.0], "a", 1.0)
    state = bandit.export_state()
    before = {name: array.tobytes() for name, array in state.arrays.items()}
    for manifest in ({"steps": -1}, {"steps": 1.5}, {"rng": None}, {"rng": {"state": 1}}, {"params": {}}, {"more": 1}):
        with pytest.raises(InputError):
            bandit.import_state(
                EngineState(kind=state.kind, manifest={**state.manifest, **manifest}, arrays=state.arrays)
            )
    for name, array in state.arrays.items():
        for bad in (
            array[:1],
            array.astype(np.float32),
            None,
            array - 5 if array.dtype.kind == "i" else array * np.nan,
        ):
            arrays = {**state.arrays, name: bad}
            with pytest.raises(InputError):
                bandit.import_state(EngineState(kind=state.kind, manifest=state.manifest, arrays=arrays))
    assert {name: array.tobytes() for name, array in bandit.export_state().arrays.items()} == before


def test_visits_of_unknown_actions():
    with pytest.raises(InvalidActionError):
        LinUcb(dim=1, actions=["a"]).visits("b")
    with pytest.raises(InputError):
        LinUcb(dim=1, actions=["a"]).act([1.0], "a")


@pytest.mark.parametrize("algorithm", ["linucb", "discounted-linucb"])
def test_of_equal_models_the_first_offered_is_chosen(algorithm):
    random = np.random.default_rng(4)
    for dim in (3, 8, 16, 31):
        bandit = aqe_core.open_learner("numpy", algorithm=algorithm, dim=dim, actions=list("abcdefghij"))
        for context in random.normal(size=(50, dim)):
            assert bandit.act(context) == "a"
            assert bandit.act(context, ["g", "c", "j"]) == "g"
            assert bandit.probabilities(context)[0] == 1.0
